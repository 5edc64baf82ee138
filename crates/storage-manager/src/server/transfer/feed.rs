//! The body of a request as something that a thread reads.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

/// Pieces of a body between socket and thread; the HTTP library makes them at most 408 KiB large.
pub const FEED_PIECES: usize = 16;

/// Reads what comes through a channel; its end is the end of the channel.
#[derive(Debug)]
pub struct Feed {
    receive: mpsc::Receiver<Bytes>,
    current: Bytes,
}

/// Makes a feed and what fills it.
pub fn channel() -> (mpsc::Sender<Bytes>, Feed) {
    let (send, receive) = mpsc::channel(FEED_PIECES);
    let current = Bytes::new();
    (send, Feed { receive, current })
}

impl Read for Feed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while self.current.is_empty() {
            match self.receive.blocking_recv() {
                Some(piece) => self.current = piece,
                None => return Ok(0),
            }
        }
        let length = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
