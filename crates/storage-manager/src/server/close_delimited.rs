//! Answers that end with the connection, under the version of the protocol that clients expect.
//!
//! The HTTP library ends a body of unknown length with the connection only in answers of HTTP/1.0; in others it sends chunks,
//! which clients of a pool's import and export do not expect. So those answers are made as HTTP/1.0, and the one letter of
//! the status line is put right here. Source: golden `xenapi/http`, "HTTP/1.1 200 OK" without a length.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How a line begins that is put right.
const MADE: &[u8] = b"HTTP/1.0 ";

/// What may stand in front of it, for a client that asked.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Where the letter is.
const MINOR_AT: usize = 7;

/// A connection whose next answer may be one that ends with it.
pub struct CloseDelimited<S> {
    stream: S,
    expected: Arc<AtomicBool>,
}

impl<S> CloseDelimited<S> {
    /// Wraps a connection; set `expected` when the answer to come shall be put right.
    pub fn new(stream: S, expected: Arc<AtomicBool>) -> Self {
        CloseDelimited { stream, expected }
    }

    /// The bytes to write in place of these, if it is them.
    fn mended(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let line = bytes.strip_prefix(CONTINUE).unwrap_or(bytes);
        if !self.expected.load(Ordering::Acquire) || !line.starts_with(MADE) {
            return None;
        }
        let line_at = bytes.len() - line.len();
        let mut mended = bytes.to_vec();
        mended[line_at + MINOR_AT] = b'1';
        Some(mended)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CloseDelimited<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Some(mended) = self.mended(bytes) else {
            return Pin::new(&mut self.stream).poll_write(context, bytes);
        };
        let written = Pin::new(&mut self.stream).poll_write(context, &mended);
        if let Poll::Ready(Ok(1..)) = written {
            self.expected.store(false, Ordering::Release);
        }
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match slices.first() {
            Some(first) if self.mended(first).is_some() => self.poll_write(context, first),
            _ => Pin::new(&mut self.stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for CloseDelimited<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}
