//! The TCP connection under a session: it can be cut, and it is known how much has left.

use std::io;
use std::net::{Shutdown, TcpStream as RawStream};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

/// How long is waited for bytes to leave.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(1);

/// A handle to a connection.
pub struct Wire {
    raw: RawStream,
    sent: AtomicU64,
}

impl Wire {
    /// The handle, and the stream that goes on.
    pub fn new(
        stream: TcpStream,
    ) -> io::Result<(
        Arc<Self>,
        impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    )> {
        stream.set_nodelay(true)?;
        let raw = RawStream::from(stream.as_fd().try_clone_to_owned()?);
        let wire = Arc::new(Wire {
            raw,
            sent: AtomicU64::new(0),
        });
        let (read, write) = stream.into_split();
        let counted = Counted {
            write,
            wire: Arc::clone(&wire),
        };
        Ok((wire, tokio::io::join(read, counted)))
    }

    /// Ends the connection without a word of the protocol above.
    pub fn cut(&self) {
        // It may be gone already.
        let _ = self.raw.shutdown(Shutdown::Both);
    }

    /// How many bytes have left.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Acquire)
    }

    /// Waits until so many bytes have left, or the client takes none.
    pub async fn wait_for(&self, bytes: u64) {
        let started = Instant::now();
        while self.sent() < bytes && started.elapsed() < PATIENCE {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

struct Counted {
    write: OwnedWriteHalf,
    wire: Arc<Wire>,
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.write).poll_write(context, bytes))?;
        self.wire.sent.fetch_add(written as u64, Ordering::Release);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_shutdown(context)
    }
}
