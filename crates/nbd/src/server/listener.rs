//! Listening sockets, and the files of unix sockets.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use super::exports::PeerAddress;
use super::limits::{BACKLOG, KEEPALIVE_COUNT, KEEPALIVE_IDLE, KEEPALIVE_INTERVAL};
use crate::Error;
use crate::channel::Socket;

/// Longest path of a unix socket: `sun_path` without its final zero (unix(7)).
const MAX_SOCKET_PATH: usize = 107;

/// A listening socket.
pub(super) struct Listener {
    socket: ListeningSocket,
    stopped: AtomicBool,
}

enum ListeningSocket {
    Unix(UnixListener, PathBuf),
    Tcp(TcpListener),
}

impl Listener {
    fn new(socket: ListeningSocket) -> Self {
        Listener {
            socket,
            stopped: AtomicBool::new(false),
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    pub(super) fn accept(&self) -> io::Result<(Socket, PeerAddress)> {
        match &self.socket {
            ListeningSocket::Unix(listener, path) => {
                let (stream, _) = listener.accept()?;
                Ok((Socket::Unix(stream), PeerAddress::Unix(path.clone())))
            }
            ListeningSocket::Tcp(listener) => {
                let (stream, remote) = listener.accept()?;
                stream.set_nodelay(true)?;
                sockopt::set_socket_keepalive(&stream, true)?;
                sockopt::set_tcp_keepidle(&stream, KEEPALIVE_IDLE)?;
                sockopt::set_tcp_keepintvl(&stream, KEEPALIVE_INTERVAL)?;
                sockopt::set_tcp_keepcnt(&stream, KEEPALIVE_COUNT)?;
                let local = stream.local_addr()?;
                Ok((Socket::Tcp(stream), PeerAddress::Tcp { remote, local }))
            }
        }
    }

    /// Wakes the thread that accepts; every later accept fails.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        let how = rustix::net::Shutdown::Both;
        let _ = match &self.socket {
            ListeningSocket::Unix(listener, _) => rustix::net::shutdown(listener, how),
            ListeningSocket::Tcp(listener) => rustix::net::shutdown(listener, how),
        };
    }
}

pub(super) fn listen_tcp(address: SocketAddr) -> Result<(Listener, SocketAddr), Error> {
    let listener = TcpListener::bind(address).map_err(Error::io("listen on a TCP address"))?;
    let bound = listener
        .local_addr()
        .map_err(Error::io("ask for the address of a listener"))?;
    Ok((Listener::new(ListeningSocket::Tcp(listener)), bound))
}

/// Listens on a unix socket that only this user may connect to.
///
/// A socket file that nobody listens on is replaced, one of a running server is refused.
pub(super) fn listen_unix(path: &Path) -> Result<(Listener, SocketFile), Error> {
    let failed = |source: Errno| Error::Listen {
        path: path.to_owned(),
        source: source.into(),
    };
    let length = path.as_os_str().as_bytes().len();
    if length > MAX_SOCKET_PATH {
        return Err(Error::SocketPathTooLong {
            path: path.to_owned(),
            length,
            limit: MAX_SOCKET_PATH,
        });
    }
    let address = SocketAddrUnix::new(path).map_err(failed)?;
    let socket = stream_socket(SocketFlags::CLOEXEC).map_err(failed)?;
    // Linux gives the file the mode of the socket, so it is never open to others, not even for a moment.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(failed)?;
    match rustix::net::bind(&socket, &address) {
        Err(Errno::ADDRINUSE) => {
            remove_stale(path, &address)?;
            rustix::net::bind(&socket, &address).map_err(failed)?;
        }
        other => other.map_err(failed)?,
    }
    let file = SocketFile::of(path).map_err(|source| Error::Listen {
        path: path.to_owned(),
        source,
    })?;
    rustix::net::listen(&socket, BACKLOG).map_err(failed)?;
    Ok((
        Listener::new(ListeningSocket::Unix(
            UnixListener::from(socket),
            path.to_owned(),
        )),
        file,
    ))
}

fn stream_socket(flags: SocketFlags) -> Result<rustix::fd::OwnedFd, Errno> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

/// Removes a socket file whose process is gone.
fn remove_stale(path: &Path, address: &SocketAddrUnix) -> Result<(), Error> {
    let failed = |source: io::Error| Error::Listen {
        path: path.to_owned(),
        source,
    };
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(Error::NotASocket {
                path: path.to_owned(),
            });
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    }
    // Not blocking: a server whose backlog is full is alive as well.
    let probe = stream_socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
        .map_err(|error| failed(error.into()))?;
    match rustix::net::connect(&probe, address) {
        Err(Errno::CONNREFUSED) => match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
            _ => Ok(()),
        },
        Err(Errno::NOENT) => Ok(()),
        _ => Err(Error::SocketInUse {
            path: path.to_owned(),
        }),
    }
}

/// The file of a unix socket, removed when dropped unless another one has taken its place.
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(SocketFile {
            path: path.to_owned(),
            identity: identity(path)?,
        })
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "could not remove the socket file");
        }
    }
}
