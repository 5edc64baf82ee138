//! Which VDIs are exported, and to whom.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use nbd::server::{Limits, ListenerId, ListenerOptions};
use nbd::{Export, Exports, Found, Peer, PeerAddress, Refusal, Server};
use uuid::Uuid;

use super::certificate::{Certificate, CertificateError};
use super::endpoint::{Endpoint, TlsEndpoint};
use super::export_name;
use super::readers::{ReadOnly, Readers};
use super::write_gate::{Gated, WriteGate, WriteHold};
use crate::io::durable::create_directories;

/// Most VDIs that are published at once; each has a socket and a thread.
pub const MAX_PUBLISHED: usize = 1024;

/// Most connections of all exports together.
pub const MAX_CONNECTIONS: usize = 1024;

/// How long consumers may take to leave an export that is withdrawn.
pub const WITHDRAW_PATIENCE: Duration = Duration::from_secs(10);

/// Longest path of a unix socket: `sun_path` without its final zero (unix(7)).
const MAX_SOCKET_PATH: usize = 107;

/// The name of the socket for readers with a session; shorter than the others.
const READERS_SOCKET: &str = "readers.sock";

/// Length of `<vdi uuid>.sock`.
const SOCKET_NAME_LENGTH: usize = 36 + 5;

/// Where exports lie and listen.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// Sockets are made in `nbd` below it, the certificate is kept in it.
    pub data_dir: PathBuf,
    /// The name for a new certificate.
    pub host_name: String,
    /// The address for readers with a session; none for no such listener.
    pub tls_address: Option<SocketAddr>,
}

/// What the API server answers about readers that come with a session.
///
/// Calls come from the thread of the connection, during its handshake.
pub trait ReaderGate: Send + Sync {
    /// True when the session is valid and may read VDIs.
    fn is_valid_session(&self, session: &str) -> bool;

    /// Opens a VDI that is not published, for reading. It is closed when the last reader is gone.
    fn open(&self, vdi: Uuid) -> Result<Arc<dyn Export>, Refusal>;
}

/// Why something is not exported.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory of the sockets cannot be used.
    #[error("{action} {}", path.display())]
    Directory {
        /// What was attempted.
        action: &'static str,
        /// The directory.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// There is no certificate.
    #[error("prepare the certificate of the NBD listener")]
    Certificate(#[source] CertificateError),
    /// The NBD server failed.
    #[error("{action}")]
    Server {
        /// What was attempted: `listen on the socket of the VDI` ...
        action: &'static str,
        /// Why it failed.
        #[source]
        source: nbd::Error,
    },
    /// The VDI is published already.
    #[error("VDI {vdi} is exported already on {}", socket.display())]
    Published {
        /// The VDI.
        vdi: Uuid,
        /// Its socket.
        socket: PathBuf,
    },
    /// There are too many exports.
    #[error("VDI {vdi} would be more than {limit} exports; detach others first")]
    TooMany {
        /// The VDI.
        vdi: Uuid,
        /// The limit.
        limit: usize,
    },
    /// A VDI that readers had open was not closed in time.
    #[error(
        "VDI {vdi} is still open for readers {waited:?} after they were disconnected; try again"
    )]
    ReadersStay {
        /// The VDI.
        vdi: Uuid,
        /// How long was waited.
        waited: Duration,
    },
    /// What was written last may not be on stable storage.
    #[error("flush and close VDI {vdi}; what was written last may be lost")]
    Close {
        /// The VDI.
        vdi: Uuid,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// The exports of a storage manager.
pub struct VdiExports {
    server: Server,
    table: Arc<Table>,
    socket_dir: PathBuf,
    /// Made for this process only, because the path below the data directory is too long for a socket.
    is_temporary_dir: bool,
    tls: Option<TlsEndpoint>,
    /// True once the socket for readers is listened on: nobody waits there before somebody asks for it.
    serves_readers: Mutex<bool>,
}

struct Published {
    export: Arc<dyn Export>,
    socket: PathBuf,
    listener: Option<ListenerId>,
    /// False from the moment it is being withdrawn.
    open: bool,
}

struct Table {
    published: Mutex<BTreeMap<Uuid, Published>>,
    /// What writes to VDIs pass; of those that are published or held back.
    gates: Mutex<BTreeMap<Uuid, Weak<WriteGate>>>,
    /// What readers with a session opened and still use.
    readers: Arc<Readers>,
    gate: Arc<dyn ReaderGate>,
    /// The socket for readers with a session on this machine.
    readers_socket: PathBuf,
}

impl VdiExports {
    /// Prepares the directory of the sockets and starts the TLS listener, if there is to be one.
    pub fn start(options: &ExportOptions, gate: Arc<dyn ReaderGate>) -> Result<Self, Error> {
        let (socket_dir, is_temporary_dir) = prepare_socket_dir(&options.data_dir)?;
        let table = Arc::new(Table {
            published: Mutex::default(),
            gates: Mutex::default(),
            readers: Arc::default(),
            gate,
            readers_socket: socket_dir.join(READERS_SOCKET),
        });
        let limits = Limits {
            connections: MAX_CONNECTIONS,
            ..Limits::default()
        };
        let server = Server::new(table.clone(), limits);
        let tls = match options.tls_address {
            None => None,
            Some(address) => {
                let certificate =
                    Certificate::load_or_create(&options.data_dir, &options.host_name);
                let certificate = certificate.map_err(Error::Certificate)?;
                let listening =
                    server.listen_tcp(address, ListenerOptions::tls(certificate.config));
                let (_, address) = listening.map_err(|source| Error::Server {
                    action: "listen for NBD over TLS",
                    source,
                })?;
                let (certificate_pem, subject) = (certificate.certificate_pem, certificate.subject);
                Some(TlsEndpoint {
                    address,
                    certificate_pem,
                    subject,
                })
            }
        };
        Ok(VdiExports {
            server,
            table,
            socket_dir,
            is_temporary_dir,
            tls,
            serves_readers: Mutex::default(),
        })
    }

    /// The unix socket where readers with a session connect, with the names that the TLS listener takes; it listens from now on.
    ///
    /// # Errors
    /// `Server` when it cannot be listened on; the next call tries again.
    pub fn readers_socket(&self) -> Result<&Path, Error> {
        let socket = self.table.readers_socket.as_path();
        let mut serves = self
            .serves_readers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !*serves {
            let listening = self
                .server
                .listen_unix(socket, ListenerOptions::plaintext());
            listening.map_err(|source| Error::Server {
                action: "listen on the socket for readers",
                source,
            })?;
            *serves = true;
        }
        Ok(socket)
    }

    /// Where readers with a session connect.
    pub fn tls_endpoint(&self) -> Option<&TlsEndpoint> {
        self.tls.as_ref()
    }

    /// The export name for a reader with this session; a bearer token.
    pub fn session_export_name(vdi: Uuid, session: &str) -> String {
        export_name::format(vdi, session)
    }

    /// Exports an opened VDI on its own unix socket until it is withdrawn.
    ///
    /// # Errors
    /// `Published`, `TooMany`, and `Server` when the socket cannot be listened on; the export is left open.
    pub fn publish(&self, vdi: Uuid, export: Arc<dyn Export>) -> Result<Endpoint, Error> {
        let socket = self.socket_dir.join(format!("{vdi}.sock"));
        {
            let mut published = self.table.published();
            if let Some(found) = published.get(&vdi) {
                return Err(Error::Published {
                    vdi,
                    socket: found.socket.clone(),
                });
            }
            if published.len() >= MAX_PUBLISHED {
                return Err(Error::TooMany {
                    vdi,
                    limit: MAX_PUBLISHED,
                });
            }
            let export: Arc<dyn Export> = Arc::new(Gated::new(export, self.table.gate(vdi)));
            // Before the socket listens, so that the first client finds it.
            published.insert(
                vdi,
                Published {
                    export,
                    socket: socket.clone(),
                    listener: None,
                    open: true,
                },
            );
        }
        match self
            .server
            .listen_unix(&socket, ListenerOptions::plaintext())
        {
            Ok(listener) => {
                let mut published = self.table.published();
                match published.get_mut(&vdi).filter(|entry| entry.open) {
                    Some(entry) => entry.listener = Some(listener),
                    // Withdrawn meanwhile.
                    None => {
                        drop(published);
                        let _ = self.server.stop_listening(listener);
                    }
                }
                Ok(Endpoint {
                    unix_socket: socket,
                    export_name: vdi.to_string(),
                })
            }
            Err(source) => {
                self.table.published().remove(&vdi);
                Err(Error::Server {
                    action: "listen on the socket of the VDI",
                    source,
                })
            }
        }
    }

    /// Where a published VDI is.
    pub fn endpoint(&self, vdi: Uuid) -> Option<Endpoint> {
        let published = self.table.published();
        let entry = published.get(&vdi).filter(|entry| entry.open)?;
        Some(Endpoint {
            unix_socket: entry.socket.clone(),
            export_name: vdi.to_string(),
        })
    }

    /// Holds back what consumers write to a VDI, published or not, until the hold is let go of, or until the time has come and
    /// somebody waits. None when it is held back already.
    pub fn hold_writes(&self, vdi: Uuid, until: Instant) -> Option<WriteHold> {
        self.table.gate(vdi).shut(until)
    }

    /// Flushes a VDI, if it is published.
    ///
    /// # Errors
    /// Those of its medium.
    pub fn flush(&self, vdi: Uuid) -> io::Result<()> {
        let export = {
            let published = self.table.published();
            published.get(&vdi).map(|entry| entry.export.clone())
        };
        export.map_or(Ok(()), |export| export.flush())
    }

    /// Ends a VDI's export: no new consumer, then those that are there are disconnected, then it is flushed and closed.
    ///
    /// Readers with a session are disconnected too, also from a VDI that is not published; a VDI that nobody uses is no
    /// error.
    ///
    /// # Errors
    /// `Server` and `ReadersStay` when a consumer did not leave within `WITHDRAW_PATIENCE`: the VDI stays open, and the
    /// call can be repeated.
    /// `Close` when the last flush failed: the VDI is closed all the same.
    pub fn withdraw(&self, vdi: Uuid) -> Result<(), Error> {
        let listener = {
            let mut published = self.table.published();
            published.get_mut(&vdi).and_then(|entry| {
                entry.open = false;
                entry.listener.take()
            })
        };
        if let Some(listener) = listener {
            // Another withdrawal may have stopped it.
            let _ = self.server.stop_listening(listener);
        }
        let disconnected = self.server.disconnect(&vdi.to_string(), WITHDRAW_PATIENCE);
        disconnected.map_err(|source| Error::Server {
            action: "disconnect the consumers of the VDI",
            source,
        })?;
        if !self.table.readers.wait_closed(vdi, WITHDRAW_PATIENCE) {
            return Err(Error::ReadersStay {
                vdi,
                waited: WITHDRAW_PATIENCE,
            });
        }
        let Some(entry) = self.table.published().remove(&vdi) else {
            return Ok(());
        };
        entry
            .export
            .close()
            .map_err(|source| Error::Close { vdi, source })
    }

    /// The VDIs that are published.
    pub fn published(&self) -> Vec<Uuid> {
        self.table.published().keys().copied().collect()
    }

    /// Withdraws everything and stops listening.
    ///
    /// # Errors
    /// The first error of those that [`VdiExports::withdraw`] gave; the others are withdrawn all the same.
    pub fn shutdown(&self) -> Result<(), Error> {
        let mut outcome = Ok(());
        for vdi in self.published() {
            let withdrawn = self.withdraw(vdi);
            if outcome.is_ok() {
                outcome = withdrawn;
            }
        }
        outcome.and(self.stop())
    }

    /// Stops listening. What is still published stays open, for a medium that does not let go of it.
    ///
    /// # Errors
    /// `Server` when a consumer does not leave.
    pub fn stop(&self) -> Result<(), Error> {
        let stopped = self.server.shutdown(WITHDRAW_PATIENCE);
        if self.is_temporary_dir {
            // Leaving an empty directory behind is not worth an error.
            let _ = std::fs::remove_dir(&self.socket_dir);
        }
        stopped.map_err(|source| Error::Server {
            action: "stop the NBD server",
            source,
        })
    }
}

/// Makes `<data_dir>/nbd` with mode 0700 and clears it of dead sockets. Where a socket's path would be too long there, a
/// directory of a random name is made below /tmp instead.
fn prepare_socket_dir(data_dir: &Path) -> Result<(PathBuf, bool), Error> {
    let wanted = std::path::absolute(data_dir)
        .unwrap_or_else(|_| data_dir.to_owned())
        .join("nbd");
    let fits = wanted.as_os_str().as_bytes().len() + 1 + SOCKET_NAME_LENGTH <= MAX_SOCKET_PATH;
    let path = if fits {
        wanted
    } else {
        PathBuf::from(format!("/tmp/xensm-nbd-{}", Uuid::new_v4().simple()))
    };
    let failed = |action, source| Error::Directory {
        action,
        path: path.clone(),
        source,
    };
    if !create_directories(&path).map_err(|source| failed("create directory", source))? {
        // Made by an earlier version or by hand: the sockets in it must not be reachable by others.
        let mode = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(&path, mode)
            .map_err(|source| failed("restrict directory", source))?;
    }
    remove_dead_sockets(&path).map_err(|source| failed("clear directory", source))?;
    if !fits {
        tracing::info!(directory = %path.display(), "put NBD sockets below /tmp: the data directory's path is too long");
    }
    Ok((path, !fits))
}

/// Removes the sockets of an earlier process; the data directory serves one process at a time.
fn remove_dead_sockets(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_socket = name
            .to_str()
            .and_then(|name| name.strip_suffix(".sock"))
            .is_some_and(|stem| stem.parse::<Uuid>().is_ok());
        if is_socket {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

impl Table {
    fn published(&self) -> MutexGuard<'_, BTreeMap<Uuid, Published>> {
        self.published
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The gate of a VDI. It is there as long as somebody has it.
    fn gate(&self, vdi: Uuid) -> Arc<WriteGate> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = gates.get(&vdi).and_then(Weak::upgrade) {
            return gate;
        }
        gates.retain(|_, gate| gate.strong_count() > 0);
        let gate = Arc::default();
        gates.insert(vdi, Arc::downgrade(&gate));
        gate
    }

    fn find_local(&self, name: &str, socket: &Path) -> Result<Found, Refusal> {
        let published = self.published();
        let entry = published
            .iter()
            .find(|(_, entry)| entry.open && entry.socket == socket);
        let (vdi, entry) = entry.ok_or(Refusal::Unknown)?;
        let key = vdi.to_string();
        if !name.is_empty() && name != key {
            return Err(Refusal::Unknown);
        }
        Ok(Found {
            key,
            export: entry.export.clone(),
        })
    }

    fn find_remote(&self, name: &str) -> Result<Found, Refusal> {
        let name = export_name::parse(name).ok_or(Refusal::Unknown)?;
        // Asked first: without a session nobody learns which VDIs there are.
        if !self.gate.is_valid_session(&name.session) {
            return Err(Refusal::Unknown);
        }
        let key = name.vdi.to_string();
        let shared = self
            .published()
            .get(&name.vdi)
            .map(|entry| (entry.open, entry.export.clone()));
        match shared {
            Some((true, export)) => Ok(Found {
                key,
                export: Arc::new(ReadOnly::borrowing(export)),
            }),
            Some((false, _)) => Err(Refusal::ShuttingDown),
            None => Ok(Found {
                key,
                export: self.readers.open(name.vdi, || self.gate.open(name.vdi))?,
            }),
        }
    }
}

impl Exports for Table {
    fn find(&self, name: &str, peer: &Peer) -> Result<Found, Refusal> {
        match &peer.address {
            PeerAddress::Unix(socket) if *socket == self.readers_socket => self.find_remote(name),
            PeerAddress::Unix(socket) => self.find_local(name, socket),
            PeerAddress::Tcp { .. } if peer.tls => self.find_remote(name),
            PeerAddress::Tcp { .. } => Err(Refusal::TlsRequired),
            PeerAddress::Adopted => Err(Refusal::Unknown),
        }
    }
}
