//! The body of a request, which knows whether it was given to a connection.

use super::error::Sent;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

/// The body of a call; it notes when the first of it is taken for sending.
pub(super) struct CallBody {
    bytes: Option<Bytes>,
    sent: Arc<AtomicBool>,
}

impl CallBody {
    pub(super) fn new(bytes: Bytes, sent: Arc<AtomicBool>) -> Self {
        CallBody {
            bytes: Some(bytes),
            sent,
        }
    }
}

pub(super) fn sent_state(sent: &AtomicBool) -> Sent {
    if sent.load(Ordering::Acquire) {
        Sent::Maybe
    } else {
        Sent::No
    }
}

impl Body for CallBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::convert::Infallible>>> {
        self.sent.store(true, Ordering::Release);
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
