//! One HTTP listener: connections up to a limit, header deadline, TLS, clean shutdown.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// How long a client may take to send a request's head, and a TLS client its handshake.
const HEAD_DEADLINE: Duration = Duration::from_secs(30);
/// The largest head of a request.
const HEAD_MAX_BYTES: usize = 64 * 1024;
/// How long running requests may take to finish once shutdown began.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(20);
/// How long to wait after the system refused a connection (no file descriptors, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener and what it serves.
pub struct HttpServer {
    /// Where connections come from.
    pub listener: TcpListener,
    /// What answers them.
    pub router: Router,
    /// Speaks TLS when given.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Connections served at a time; more wait in the kernel's queue.
    pub connections_max: usize,
}

impl HttpServer {
    /// Serves until told to stop, then lets running requests finish within a deadline.
    pub async fn serve(self, shutdown: CancellationToken) {
        let places = Arc::new(Semaphore::new(self.connections_max));
        let acceptor = self.tls.map(TlsAcceptor::from);
        let mut connections = JoinSet::new();
        loop {
            let place = tokio::select! {
                () = shutdown.cancelled() => break,
                place = Arc::clone(&places).acquire_owned() => place.expect("the semaphore is never closed"),
            };
            let accepted = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            // Finished connections are dropped as new ones come, so that the set stays as large as the limit.
            while connections.try_join_next().is_some() {}
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let _ = stream.set_nodelay(true);
            let (router, shutdown, acceptor) =
                (self.router.clone(), shutdown.clone(), acceptor.clone());
            connections.spawn(async move {
                let _place = place;
                match acceptor {
                    None => serve_connection(stream, router, shutdown).await,
                    Some(acceptor) => {
                        match tokio::time::timeout(HEAD_DEADLINE, acceptor.accept(stream)).await {
                            Ok(Ok(stream)) => serve_connection(stream, router, shutdown).await,
                            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                            Err(_) => tracing::debug!("a TLS handshake took too long"),
                        }
                    }
                }
            });
        }
        drop(self.listener);
        let finished = tokio::time::timeout(SHUTDOWN_DEADLINE, async {
            while connections.join_next().await.is_some() {}
        });
        if finished.await.is_err() {
            tracing::warn!(
                connections = connections.len(),
                "requests did not finish in time and were cut off"
            );
        }
    }
}

async fn serve_connection<S>(stream: S, router: Router, shutdown: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(tower_service(router));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(HEAD_MAX_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// The router as a service for hyper's own body type.
fn tower_service(
    router: Router,
) -> impl tower::Service<
    http::Request<Incoming>,
    Response = http::Response<axum::body::Body>,
    Error = std::convert::Infallible,
    Future: Send,
> + Clone {
    tower::ServiceExt::map_request(router, |request: http::Request<Incoming>| {
        request.map(axum::body::Body::new)
    })
}
