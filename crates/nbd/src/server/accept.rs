//! The server itself: what listens, and who is let in.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::budget::Budget;
use super::connection::Connection;
use super::exports::{Exports, Peer, PeerAddress};
use super::handshake::{Agreed, Handshake};
use super::limits::{ACCEPT_PAUSE, CLOSE_TIMEOUT, Limits};
use super::listener::{Listener, SocketFile, listen_tcp, listen_unix};
use super::registry::{ConnectionInfo, Registration, Registry};
use crate::Error;
use crate::channel::{Channel, Receiver, Sender, Socket};

/// Whether connections of a listener are encrypted.
#[derive(Clone)]
pub enum TlsPolicy {
    /// Never: STARTTLS is refused.
    Plaintext,
    /// As the client likes; an export may still refuse with [`super::Refusal::TlsRequired`].
    Offered(Arc<rustls::ServerConfig>),
    /// Always: every other option is refused before STARTTLS.
    Required(Arc<rustls::ServerConfig>),
}

impl fmt::Debug for TlsPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TlsPolicy::Plaintext => "Plaintext",
            TlsPolicy::Offered(_) => "Offered",
            TlsPolicy::Required(_) => "Required",
        })
    }
}

/// How a listener treats its connections.
#[derive(Clone, Debug)]
pub struct ListenerOptions {
    /// Whether they are encrypted.
    pub tls: TlsPolicy,
}

impl ListenerOptions {
    /// Plain connections, for a unix socket.
    pub fn plaintext() -> Self {
        ListenerOptions {
            tls: TlsPolicy::Plaintext,
        }
    }

    /// Encrypted connections only.
    pub fn tls(config: Arc<rustls::ServerConfig>) -> Self {
        ListenerOptions {
            tls: TlsPolicy::Required(config),
        }
    }
}

/// Names a listener of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerId(u64);

struct Running {
    listener: Arc<Listener>,
    thread: JoinHandle<()>,
    /// Removed last, when nothing listens on it any more.
    file: Option<SocketFile>,
}

struct Shared {
    exports: Arc<dyn Exports>,
    limits: Limits,
    budget: Arc<Budget>,
    registry: Arc<Registry>,
}

#[derive(Default)]
struct Listeners {
    next_id: u64,
    running: HashMap<u64, Running>,
}

/// An NBD server.
///
/// Dropping it ends what [`Server::shutdown`] would end, with less patience and without a report.
pub struct Server {
    shared: Arc<Shared>,
    listeners: Mutex<Listeners>,
}

impl Server {
    /// A server that listens nowhere yet.
    pub fn new(exports: Arc<dyn Exports>, limits: Limits) -> Self {
        let shared = Shared {
            exports,
            budget: Budget::new(limits.buffer_bytes),
            limits,
            registry: Arc::default(),
        };
        Server {
            shared: Arc::new(shared),
            listeners: Mutex::default(),
        }
    }

    /// Listens on a unix socket with mode 0600; its file is removed when the listener stops.
    ///
    /// # Errors
    /// [`Error::SocketInUse`] if a live server has the socket; a file left by a dead one is replaced.
    pub fn listen_unix(&self, path: &Path, options: ListenerOptions) -> Result<ListenerId, Error> {
        let (listener, file) = listen_unix(path)?;
        self.start(listener, Some(file), options)
    }

    /// Listens on a TCP address and tells which one was bound, for port 0.
    pub fn listen_tcp(
        &self,
        address: SocketAddr,
        options: ListenerOptions,
    ) -> Result<(ListenerId, SocketAddr), Error> {
        let (listener, bound) = listen_tcp(address)?;
        Ok((self.start(listener, None, options)?, bound))
    }

    /// Serves a connection that was made elsewhere.
    ///
    /// # Errors
    /// [`Error::Limit`] if there are too many connections.
    pub fn serve(&self, stream: UnixStream, options: &ListenerOptions) -> Result<(), Error> {
        if self
            .shared
            .admit(Socket::Unix(stream), PeerAddress::Adopted, options)
        {
            return Ok(());
        }
        let limit = self.shared.limits.connections as u64;
        Err(Error::Limit {
            what: "count of connections",
            found: self.shared.registry.count() as u64,
            limit,
        })
    }

    /// The live connections, oldest first.
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        self.shared.registry.connections()
    }

    /// Ends every connection to the export that [`super::Found::key`] names, and waits until none uses it.
    ///
    /// [`Exports::find`] must refuse the export from before this call on, else clients connect anew. Requests in flight
    /// are answered in the first half of `patience`; then the sockets are cut.
    ///
    /// # Errors
    /// [`Error::StillBusy`] if a thread has not come back from a call on the export in time.
    pub fn disconnect(&self, key: &str, patience: Duration) -> Result<usize, Error> {
        self.shared
            .registry
            .end(|info| info.key.as_deref() == Some(key), patience)
    }

    /// Stops a listener; its connections live on.
    pub fn stop_listening(&self, id: ListenerId) -> Result<(), Error> {
        let running = self.lock().running.remove(&id.0);
        let running = running.ok_or(Error::NoSuchListener { id: id.0 })?;
        stop(running);
        Ok(())
    }

    /// Stops listening and ends all connections; later connections are refused.
    ///
    /// # Errors
    /// [`Error::StillBusy`] if a thread has not come back from a call on an export in time.
    pub fn shutdown(&self, patience: Duration) -> Result<(), Error> {
        self.shared.registry.close();
        let running: Vec<Running> = self
            .lock()
            .running
            .drain()
            .map(|(_, running)| running)
            .collect();
        running.into_iter().for_each(stop);
        self.shared.registry.end(|_| true, patience)?;
        Ok(())
    }

    fn start(
        &self,
        listener: Listener,
        file: Option<SocketFile>,
        options: ListenerOptions,
    ) -> Result<ListenerId, Error> {
        let listener = Arc::new(listener);
        let thread = {
            let (listener, shared) = (listener.clone(), self.shared.clone());
            thread::Builder::new()
                .name("nbd-accept".to_owned())
                .spawn(move || shared.accept(&listener, &options))
                .map_err(Error::io("start the thread of a listener"))?
        };
        let mut listeners = self.lock();
        listeners.next_id += 1;
        let id = listeners.next_id;
        listeners.running.insert(
            id,
            Running {
                listener,
                thread,
                file,
            },
        );
        Ok(ListenerId(id))
    }

    fn lock(&self) -> MutexGuard<'_, Listeners> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.shutdown(2 * CLOSE_TIMEOUT) {
            tracing::warn!(%error, "an NBD server was dropped while it was busy");
        }
    }
}

fn stop(running: Running) {
    running.listener.stop();
    if running.thread.join().is_err() {
        tracing::error!("the thread of an NBD listener panicked");
    }
    drop(running.listener);
    drop(running.file);
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &Listener, options: &ListenerOptions) {
        loop {
            match listener.accept() {
                Ok((socket, address)) => {
                    self.admit(socket, address, options);
                }
                Err(_) if listener.is_stopped() => return,
                Err(error) if is_passing(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "could not accept an NBD connection");
                    thread::park_timeout(ACCEPT_PAUSE);
                }
            }
        }
    }

    /// Starts the thread of a connection; false when it was turned away.
    fn admit(
        self: &Arc<Self>,
        socket: Socket,
        address: PeerAddress,
        options: &ListenerOptions,
    ) -> bool {
        let socket = Arc::new(socket);
        let peer = Peer {
            address,
            tls: false,
        };
        let Some(registration) = self
            .registry
            .add(socket.clone(), peer.clone(), &self.limits)
        else {
            tracing::warn!(
                ?peer,
                limits = ?self.limits,
                "turned an NBD connection away: too many, or going down"
            );
            return false;
        };
        let (shared, tls) = (self.clone(), options.tls.clone());
        let started = thread::Builder::new()
            .name("nbd-worker".to_owned())
            .spawn(move || {
                let id = registration.id();
                if let Err(error) = shared.converse(socket, peer, &tls, registration) {
                    let cause = std::error::Error::source(&error)
                        .map(ToString::to_string)
                        .unwrap_or_default();
                    tracing::info!(connection.id = id, %error, cause, "an NBD handshake failed");
                }
            });
        if let Err(error) = &started {
            tracing::warn!(%error, "could not start the thread of an NBD connection");
        }
        started.is_ok()
    }

    /// Runs a connection from its greeting to its end.
    fn converse(
        &self,
        socket: Arc<Socket>,
        peer: Peer,
        tls: &TlsPolicy,
        registration: Registration,
    ) -> Result<(), Error> {
        let mut channel = Channel::new(socket);
        let (mut receiver, mut sender) = (Receiver::new(), Sender::default());
        channel.set_deadline(Some(Instant::now() + self.limits.handshake))?;
        let handshake = Handshake {
            channel: &mut channel,
            receiver: &mut receiver,
            sender: &mut sender,
            exports: &*self.exports,
            tls,
            registration: &registration,
            peer,
            state: Agreed::default(),
        };
        let Some(negotiated) = handshake.run()? else {
            sender.close(&channel);
            return Ok(());
        };
        channel.set_deadline(None)?;
        let max_workers = self.limits.workers_per_connection;
        Connection::new(
            negotiated,
            channel,
            receiver,
            sender,
            registration,
            self.budget.clone(),
            max_workers,
        )
        .work();
        Ok(())
    }
}

/// Errors that belong to one connection that came and went.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
    )
}
