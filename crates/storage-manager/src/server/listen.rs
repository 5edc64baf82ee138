//! Sockets: a unix socket for root on this machine, and TCP with or without TLS.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::Server;
use super::close_delimited::CloseDelimited;
use super::connection::Connection;
use super::dispatch::Origin;
use super::http;
use crate::Error;
use crate::config::TlsFiles;

/// Most connections at once; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 1024;

/// How long a client may take for the head of a request; also how long an idle connection is kept.
const HEAD_DEADLINE: Duration = Duration::from_secs(120);

/// How long a TLS handshake may take.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// How long accepting rests after the system refused a connection (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Listens on a unix socket that only root, or the user of this process, can open. A dead socket is replaced.
pub fn bind_unix(path: &Path) -> Result<UnixListener, Error> {
    let failed = |source| Error::ListenUnix {
        path: path.to_owned(),
        source,
    };
    match std::fs::symlink_metadata(path) {
        // The object database is held by this process, so the socket of this data directory is nobody's.
        Ok(found)
            if found.file_type().is_socket()
                && std::os::unix::net::UnixStream::connect(path).is_err() =>
        {
            std::fs::remove_file(path).map_err(failed)?;
        }
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

/// Listens on a TCP address.
pub fn bind_tcp(address: SocketAddr) -> Result<TcpListener, Error> {
    let failed = |source| Error::Listen { address, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

/// Reads the certificate chain and key of a TLS listener.
pub fn load_tls(files: &TlsFiles) -> Result<TlsAcceptor, Error> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Tls {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        source,
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect)
        .map_err(|error| failed(Box::new(error)))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| failed(Box::new(error)))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| failed(Box::new(error)))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Everything that listens.
pub struct Listeners {
    /// The unix socket.
    pub unix: UnixListener,
    /// TCP, if configured.
    pub tcp: Option<TcpListener>,
    /// What makes TCP speak TLS.
    pub tls: Option<TlsAcceptor>,
}

/// Serves until `shutdown` is cancelled, then lets open requests end for at most `deadline`.
pub async fn serve(
    server: Arc<Server>,
    listeners: Listeners,
    shutdown: CancellationToken,
    deadline: Duration,
) -> io::Result<()> {
    let unix = tokio::net::UnixListener::from_std(listeners.unix)?;
    let tcp = listeners
        .tcp
        .map(tokio::net::TcpListener::from_std)
        .transpose()?;
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let slot = tokio::select! {
            slot = slots.clone().acquire_owned() => slot.map_err(io::Error::other)?,
            () = shutdown.cancelled() => break,
        };
        tokio::select! {
            accepted = unix.accept() => match accepted {
                Ok((stream, _)) => connection(&server, &graceful, stream, Origin::UnixSocket, slot),
                Err(error) => refused(&error).await,
            },
            accepted = accept_tcp(tcp.as_ref()) => match accepted {
                Ok(stream) => match listeners.tls.clone() {
                    Some(tls) => handshake(&server, &graceful, tls, stream, slot),
                    None => connection(&server, &graceful, stream, Origin::Tcp, slot),
                },
                Err(error) => refused(&error).await,
            },
            () = shutdown.cancelled() => break,
        }
    }
    drop((unix, tcp));
    // Calls that wait for events are told, so that they do not hold the shutdown up.
    server.shutdown.cancel();
    if tokio::time::timeout(deadline, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("some connections did not end in time and are cut");
    }
    Ok(())
}

async fn accept_tcp(
    listener: Option<&tokio::net::TcpListener>,
) -> io::Result<tokio::net::TcpStream> {
    match listener {
        Some(listener) => {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        }
        None => std::future::pending().await,
    }
}

async fn refused(error: &io::Error) {
    tracing::warn!(%error, "a connection could not be accepted");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

fn handshake(
    server: &Arc<Server>,
    graceful: &GracefulShutdown,
    tls: TlsAcceptor,
    stream: tokio::net::TcpStream,
    slot: OwnedSemaphorePermit,
) {
    let (server, watcher) = (server.clone(), graceful.watcher());
    server.clone().running.spawn(async move {
        let shaken = tokio::select! {
            shaken = tokio::time::timeout(HANDSHAKE_DEADLINE, tls.accept(stream)) => shaken,
            () = server.shutdown.cancelled() => return,
        };
        match shaken {
            Ok(Ok(stream)) => run(server, watcher, stream, Origin::Tcp, slot).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    });
}

fn connection<S>(
    server: &Arc<Server>,
    graceful: &GracefulShutdown,
    stream: S,
    origin: Origin,
    slot: OwnedSemaphorePermit,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(run(
        server.clone(),
        graceful.watcher(),
        stream,
        origin,
        slot,
    ));
}

async fn run<S>(
    server: Arc<Server>,
    watcher: hyper_util::server::graceful::Watcher,
    stream: S,
    origin: Origin,
    _slot: OwnedSemaphorePermit,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let about = Connection::new(origin);
    let stream = CloseDelimited::new(stream, about.ends_with_answer.clone());
    let cut = about.cut.clone();
    let service = service_fn(move |request| http::handle(server.clone(), about.clone(), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        ended = watcher.watch(connection) => if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        },
        () = cut.cancelled() => tracing::debug!("a connection was cut off"),
    }
}
