//! A tiny pool for the tests of the client: it records the calls and answers what the test says.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;
use xenapi::wire::Limits;
use xenapi::xmlrpc::{self, Call};
use xenapi::{Failure, Value};

/// What the server does with a call.
pub enum Reply {
    Result(Result<Value, Failure>),
    /// Closes the connection without an answer.
    Break,
    /// Never answers.
    Hang,
    Status(u16),
    Body(Vec<u8>),
}

impl From<Value> for Reply {
    fn from(value: Value) -> Self {
        Reply::Result(Ok(value))
    }
}

impl From<&str> for Reply {
    fn from(text: &str) -> Self {
        Reply::Result(Ok(Value::from(text)))
    }
}

impl From<Failure> for Reply {
    fn from(failure: Failure) -> Self {
        Reply::Result(Err(failure))
    }
}

type Handler = dyn Fn(&Call) -> Reply + Send + Sync;

pub struct Server {
    pub address: Option<SocketAddr>,
    calls: Arc<Mutex<Vec<String>>>,
    accepting: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Server {
    pub async fn tcp(
        address: &str,
        handler: impl Fn(&Call) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (calls, handler) = (Arc::default(), Arc::new(handler) as Arc<Handler>);
        let accepting = tokio::spawn({
            let calls = Arc::clone(&calls);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, Arc::clone(&calls), Arc::clone(&handler)));
                }
            }
        });
        Server {
            address: Some(address),
            calls,
            accepting,
        }
    }

    pub async fn tls(
        config: Arc<rustls::ServerConfig>,
        handler: impl Fn(&Call) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (calls, handler) = (Arc::default(), Arc::new(handler) as Arc<Handler>);
        let accepting = tokio::spawn({
            let calls = Arc::clone(&calls);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (calls, handler) = (Arc::clone(&calls), Arc::clone(&handler));
                    let acceptor = tokio_rustls::TlsAcceptor::from(config.clone());
                    tokio::spawn(async move {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            serve(stream, calls, handler).await;
                        }
                    });
                }
            }
        });
        Server {
            address: Some(address),
            calls,
            accepting,
        }
    }

    pub fn unix(path: &Path, handler: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let (calls, handler) = (Arc::default(), Arc::new(handler) as Arc<Handler>);
        let accepting = tokio::spawn({
            let calls = Arc::clone(&calls);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, Arc::clone(&calls), Arc::clone(&handler)));
                }
            }
        });
        Server {
            address: None,
            calls,
            accepting,
        }
    }

    pub fn port(&self) -> u16 {
        self.address.unwrap().port()
    }

    pub fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.address.unwrap())
    }

    /// The methods that were called so far.
    pub fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }

    pub fn count(&self, method: &str) -> usize {
        self.calls().iter().filter(|call| *call == method).count()
    }
}

async fn serve<S>(stream: S, calls: Arc<Mutex<Vec<String>>>, handler: Arc<Handler>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: http::Request<Incoming>| {
        let (calls, handler) = (Arc::clone(&calls), Arc::clone(&handler));
        let answer: Pin<Box<dyn Future<Output = Result<_, std::io::Error>> + Send>> =
            Box::pin(async move {
                assert_eq!(request.headers()["content-type"], "text/xml");
                let body = request
                    .into_body()
                    .collect()
                    .await
                    .map_err(std::io::Error::other)?
                    .to_bytes();
                let call = xmlrpc::parse_call(&body, &Limits::CALL).unwrap();
                calls.lock().unwrap().push(call.method.clone());
                answer(handler(&call)).await
            });
        answer
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(reply: Reply) -> Result<http::Response<Full<Bytes>>, std::io::Error> {
    let body = match reply {
        Reply::Result(result) => xmlrpc::write_response(&result).unwrap(),
        Reply::Body(body) => body,
        Reply::Break => return Err(std::io::Error::other("the test breaks the connection")),
        Reply::Hang => match std::future::pending::<Infallible>().await {},
        Reply::Status(status) => {
            return Ok(http::Response::builder()
                .status(status)
                .body(Full::default())
                .unwrap());
        }
    };
    Ok(http::Response::new(Full::from(body)))
}

/// Answers a login and leaves the rest to the handler.
pub fn with_login(
    handler: impl Fn(&Call) -> Reply + Send + Sync + 'static,
) -> impl Fn(&Call) -> Reply + Send + Sync + 'static {
    move |call| match call.method.as_str() {
        "session.login_with_password" => {
            assert_eq!(
                call.params[..2],
                [Value::from("root"), Value::from("hunter2")]
            );
            Reply::from("OpaqueRef:the-session")
        }
        _ => handler(call),
    }
}
