//! Makes connections: unix socket, TCP, TLS over TCP.

use super::endpoint::Endpoint;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::future::Future;
use std::io::{self, Error, ErrorKind};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// What the HTTP client calls to get a connection.
#[derive(Clone)]
pub(super) struct Connector {
    /// The socket, when the pool is reached by one: then it is connected whatever the URI says.
    socket: Option<Arc<PathBuf>>,
    tls: Option<Arc<ClientConfig>>,
    timeout: Duration,
}

impl Connector {
    pub(super) fn new(
        endpoint: &Endpoint,
        tls: Option<Arc<ClientConfig>>,
        timeout: Duration,
    ) -> Self {
        let socket = match endpoint {
            Endpoint::Unix(path) => Some(Arc::new(path.clone())),
            _ => None,
        };
        Connector {
            socket,
            tls,
            timeout,
        }
    }

    async fn connect(self, uri: http::Uri) -> io::Result<Stream> {
        if let Some(path) = self.socket {
            return Ok(Stream(Box::new(UnixStream::connect(path.as_ref()).await?)));
        }
        let host = uri
            .host()
            .unwrap_or_default()
            .trim_start_matches('[')
            .trim_end_matches(']');
        let secure = uri.scheme() == Some(&http::uri::Scheme::HTTPS);
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        if !secure {
            return Ok(Stream(Box::new(stream)));
        }
        // Without a configuration there is no trust, and no connection.
        let config = self
            .tls
            .ok_or_else(|| Error::new(ErrorKind::InvalidInput, "no TLS trust is configured"))?;
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| Error::new(ErrorKind::InvalidInput, error))?;
        let stream = tokio_rustls::TlsConnector::from(config)
            .connect(name, stream)
            .await?;
        Ok(Stream(Box::new(stream)))
    }
}

impl tower::Service<http::Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Stream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: http::Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let timeout = connector.timeout;
            match tokio::time::timeout(timeout, connector.connect(uri)).await {
                Ok(stream) => stream.map(TokioIo::new),
                Err(_) => Err(Error::new(
                    ErrorKind::TimedOut,
                    format!("no connection within {} ms", timeout.as_millis()),
                )),
            }
        })
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection of any kind.
pub(super) struct Stream(Box<dyn Duplex>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}
