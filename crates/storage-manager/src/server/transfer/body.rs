//! The body of an answer that is made while it is sent.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::sync::mpsc;

/// Chunks between the task of a transfer and the socket.
pub const BODY_CHUNKS: usize = 2;

/// A body of unknown length: it ends when its sender is dropped.
#[derive(Debug)]
pub struct StreamBody(mpsc::Receiver<Bytes>);

/// Makes a body and what fills it.
pub fn channel() -> (mpsc::Sender<Bytes>, StreamBody) {
    let (send, receive) = mpsc::channel(BODY_CHUNKS);
    (send, StreamBody(receive))
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = self.0.poll_recv(context);
        chunk.map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}
