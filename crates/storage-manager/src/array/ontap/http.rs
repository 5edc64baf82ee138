//! One HTTP exchange with a filer: a connection of its own, deadlines, a bounded answer.
//!
//! Drivers are synchronous and may be called on any thread, also on one that belongs to an async runtime; so each exchange runs
//! on a thread of its own for as long as it lasts.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::Secret;
use crate::medium::iscsi::resolve;

/// Longest wait for a connection and its handshake, for each address.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// How long the filer may work on a change by REST before it answers with a job instead, in seconds.
pub const RETURN_TIMEOUT_S: u64 = 15;

/// Longest wait for the whole answer; by REST the filer itself is asked to answer within [`RETURN_TIMEOUT_S`].
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

/// Most bytes of an answer.
const MAX_ANSWER: usize = 16 << 20;

/// Most addresses of a name that are tried.
const MAX_ADDRESSES: usize = 4;

/// Where a filer is and how it is talked to.
pub struct Place {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// How its certificate is known; none for HTTP without TLS.
    pub tls: Option<Arc<ClientConfig>>,
    /// The header `Authorization`.
    pub authorization: Secret,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The name does not resolve.
    #[error("the name {host:?} of the filer does not resolve")]
    Name {
        /// The name.
        host: String,
        /// Why.
        #[source]
        source: crate::medium::iscsi::PortalError,
    },
    /// No connection came about: nothing was done.
    #[error("connect to the filer at {address}")]
    Connect {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The request was given to the connection and no answer came: it may have been carried out.
    #[error("await the answer of the filer at {address}")]
    Lost {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A request that cannot be written.
    #[error("write a request for the filer at {address}")]
    Request {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: http::Error,
    },
}

/// What bodies are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// Of REST.
    Json,
    /// Of ZAPI.
    Xml,
}

impl Media {
    fn name(self) -> &'static str {
        match self {
            Media::Json => "application/json",
            Media::Xml => "text/xml",
        }
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub body: Bytes,
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

impl Place {
    /// Name and port.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Sends a request and waits for its answer.
    pub fn exchange(
        &self,
        method: &Method,
        target: &str,
        media: Media,
        body: Option<Vec<u8>>,
    ) -> Result<Answer, HttpError> {
        let address = format!("{}:{}", self.host, self.port);
        let found = resolve(&self.host, self.port).map_err(|source| HttpError::Name {
            host: self.host.clone(),
            source,
        })?;
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header("host", &address)
            .header("authorization", self.authorization.expose())
            .header("accept", media.name());
        if body.is_some() {
            request = request.header("content-type", media.name());
        }
        let request = request.body(Full::new(Bytes::from(body.unwrap_or_default())));
        let request = request.map_err(|source| HttpError::Request {
            address: address.clone(),
            source,
        })?;
        let addresses: Vec<SocketAddr> = found.iter().map(|portal| portal.address).collect();
        let run = || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let runtime = runtime.map_err(|source| HttpError::Connect {
                address: address.clone(),
                source,
            })?;
            runtime.block_on(self.run(&address, &addresses, request))
        };
        let ended = std::thread::scope(|scope| scope.spawn(run).join());
        ended.unwrap_or_else(|_| {
            Err(HttpError::Lost {
                address: format!("{}:{}", self.host, self.port),
                source: "the exchange panicked; see the log".into(),
            })
        })
    }

    async fn run(
        &self,
        address: &str,
        addresses: &[SocketAddr],
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, HttpError> {
        let stream = self.connect(addresses).await;
        let stream = stream.map_err(|source| HttpError::Connect {
            address: address.to_owned(),
            source,
        })?;
        let lost = |source: Box<dyn std::error::Error + Send + Sync>| HttpError::Lost {
            address: address.to_owned(),
            source,
        };
        let answered = tokio::time::timeout(ANSWER_PATIENCE, async {
            let connected = hyper::client::conn::http1::handshake(TokioIo::new(stream));
            let (mut sender, connection) = connected.await?;
            // Ends with the runtime, which lives as long as this exchange.
            tokio::spawn(connection);
            let response = sender.send_request(request).await?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Answer {
                status: parts.status,
                body: body.to_bytes(),
            })
        });
        match answered.await {
            Ok(answered) => answered.map_err(lost),
            Err(_) => Err(lost(format!("none within {ANSWER_PATIENCE:?}").into())),
        }
    }

    async fn connect(&self, addresses: &[SocketAddr]) -> io::Result<Box<dyn Duplex>> {
        let mut failure = io::Error::from(io::ErrorKind::NotFound);
        for address in addresses.iter().take(MAX_ADDRESSES) {
            match tokio::time::timeout(CONNECT_PATIENCE, self.connect_to(*address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failure = error,
                Err(_) => {
                    let text = format!("{address} did not answer within {CONNECT_PATIENCE:?}");
                    failure = io::Error::new(io::ErrorKind::TimedOut, text);
                }
            }
        }
        Err(failure)
    }

    async fn connect_to(&self, address: SocketAddr) -> io::Result<Box<dyn Duplex>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(tls));
        Ok(Box::new(connector.connect(name, stream).await?))
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}
