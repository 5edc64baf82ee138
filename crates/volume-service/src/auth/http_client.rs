//! A small HTTP/1.1 client: one request on a connection of its own, everything bounded, no redirects, no proxies.
//!
//! Where it connects to is decided from the addresses that a name resolves to, and the connection is made to the very address
//! that was judged, so that a name that resolves differently the second time gains nothing.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// Most addresses of a name that are tried.
const ADDRESSES_MAX: usize = 8;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// The URL is not one that can be asked.
    #[error("{url} is no URL of the form http(s)://host[:port]/path")]
    Url {
        /// The URL.
        url: String,
    },
    /// The server may not be asked.
    #[error("{host} has no address that may be connected to (found {found:?})")]
    Address {
        /// The host.
        host: String,
        /// What it resolves to.
        found: Vec<IpAddr>,
    },
    /// Too many requests wait for answers.
    #[error("more than {most} requests wait for answers")]
    Busy {
        /// The limit.
        most: usize,
    },
    /// No connection.
    #[error("cannot connect to {host}")]
    Connect {
        /// The host.
        host: String,
        /// The cause.
        source: std::io::Error,
    },
    /// An `https` URL, and nothing to know the server by.
    #[error("{host} speaks TLS and no certificate is configured to know it by")]
    Untrusted {
        /// The host.
        host: String,
    },
    /// The conversation broke.
    #[error("the conversation with {host} broke")]
    Talk {
        /// The host.
        host: String,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server took too long.
    #[error("{host} did not answer within {} ms", waited.as_millis())]
    Deadline {
        /// The host.
        host: String,
        /// How long was waited.
        waited: Duration,
    },
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What is asked.
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    pub(crate) url: &'a str,
    pub(crate) headers: Vec<(&'static str, HeaderValue)>,
    pub(crate) body: Bytes,
}

/// The client.
pub(crate) struct HttpClient {
    tls: Option<Arc<ClientConfig>>,
    deadline: Duration,
    answer_max_bytes: usize,
    places: Semaphore,
    places_max: usize,
    may_connect: fn(IpAddr) -> bool,
}

impl HttpClient {
    /// A client with its limits: time for a whole request, bytes of an answer, requests at a time, addresses.
    pub(crate) fn new(
        tls: Option<Arc<ClientConfig>>,
        deadline: Duration,
        answer_max_bytes: usize,
        places_max: usize,
        may_connect: fn(IpAddr) -> bool,
    ) -> Self {
        HttpClient {
            tls,
            deadline,
            answer_max_bytes,
            places: Semaphore::new(places_max),
            places_max,
            may_connect,
        }
    }

    /// Asks, and reads the whole answer, whatever its status.
    pub(crate) async fn ask(&self, ask: Ask<'_>) -> Result<Answer, HttpError> {
        let _place = self.places.try_acquire().map_err(|_| HttpError::Busy {
            most: self.places_max,
        })?;
        let (uri, host) = target(ask.url)?;
        let late = HttpError::Deadline {
            host: host.clone(),
            waited: self.deadline,
        };
        tokio::time::timeout(self.deadline, self.converse(ask, uri, host))
            .await
            .unwrap_or(Err(late))
    }

    async fn converse(&self, ask: Ask<'_>, uri: Uri, host: String) -> Result<Answer, HttpError> {
        let is_tls = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let stream = self.connect(&host, port).await?;
        let request = request(ask, &uri).map_err(|cause| HttpError::Talk {
            host: host.clone(),
            source: cause.into(),
        })?;
        if !is_tls {
            return self.talk(TokioIo::new(stream), request, host).await;
        }
        let config = self
            .tls
            .clone()
            .ok_or_else(|| HttpError::Untrusted { host: host.clone() })?;
        let name =
            ServerName::try_from(host.clone()).map_err(|_| HttpError::Url { url: host.clone() })?;
        let stream = tokio_rustls::TlsConnector::from(config)
            .connect(name, stream)
            .await
            .map_err(|source| HttpError::Connect {
                host: host.clone(),
                source,
            })?;
        self.talk(TokioIo::new(stream), request, host).await
    }

    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, HttpError> {
        let failed = |source| HttpError::Connect {
            host: host.to_owned(),
            source,
        };
        let found: Vec<SocketAddr> = tokio::net::lookup_host((host, port))
            .await
            .map_err(failed)?
            .take(ADDRESSES_MAX)
            .collect();
        let allowed: Vec<SocketAddr> = found
            .iter()
            .copied()
            .filter(|address| (self.may_connect)(address.ip()))
            .collect();
        if allowed.is_empty() {
            return Err(HttpError::Address {
                host: host.to_owned(),
                found: found.iter().map(SocketAddr::ip).collect(),
            });
        }
        let stream = TcpStream::connect(allowed.as_slice())
            .await
            .map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        Ok(stream)
    }

    async fn talk<S>(
        &self,
        stream: S,
        request: Request<Full<Bytes>>,
        host: String,
    ) -> Result<Answer, HttpError>
    where
        S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let broken = |source: Box<dyn std::error::Error + Send + Sync>| HttpError::Talk {
            host: host.clone(),
            source,
        };
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream)
            .await
            .map_err(|cause| broken(cause.into()))?;
        let conversation = async move {
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = Limited::new(body, self.answer_max_bytes).collect().await?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Answer {
                status: head.status,
                headers: head.headers,
                body: body.to_bytes(),
            })
        };
        tokio::pin!(conversation);
        tokio::select! {
            answer = &mut conversation => answer.map_err(broken),
            ended = connection => match ended {
                // The last bytes may have arrived with the end of the connection.
                Ok(()) => conversation.await.map_err(broken),
                Err(cause) => Err(broken(cause.into())),
            },
        }
    }
}

/// The URI and its host, without brackets, of a URL that can be asked.
pub(crate) fn target(url: &str) -> Result<(Uri, String), HttpError> {
    let refused = || HttpError::Url {
        url: url.chars().take(200).collect(),
    };
    let uri: Uri = url.parse().map_err(|_| refused())?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    let authority = uri.authority().ok_or_else(refused)?;
    let host = authority.host().trim_matches(['[', ']']).to_owned();
    if !is_http || host.is_empty() || authority.as_str().contains('@') {
        return Err(refused());
    }
    Ok((uri, host))
}

fn request(ask: Ask<'_>, uri: &Uri) -> Result<Request<Full<Bytes>>, http::Error> {
    let path = uri
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str);
    let authority = uri.authority().map_or("", http::uri::Authority::as_str);
    let mut request = Request::builder()
        .method(ask.method)
        .uri(path)
        .header(header::HOST, authority)
        .header(header::CONNECTION, "close");
    for (name, value) in ask.headers {
        request = request.header(name, value);
    }
    request.body(Full::new(ask.body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_urls_are_asked() {
        assert_eq!(target("https://[::1]:5000/v3").unwrap().1, "::1");
        for url in [
            "",
            "ftp://x/",
            "https:///x",
            "/v3",
            "http://user:pw@host/",
            "unix:/x",
        ] {
            assert!(target(url).is_err(), "{url}");
        }
    }
}
