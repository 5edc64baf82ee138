//! How the server learns what it serves.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::Export;

/// The exports of a server.
///
/// Calls come from the thread of the asking connection, during its handshake.
pub trait Exports: Send + Sync {
    /// Finds the export that a client names.
    ///
    /// `name` comes from the peer: valid UTF-8 of at most 4096 bytes, perhaps empty, perhaps a bearer token. A client
    /// may ask for one name several times in one handshake. For one thing served the same export must be given to all,
    /// since clients are told that a flush on one connection covers all connections.
    fn find(&self, name: &str, peer: &Peer) -> Result<Found, Refusal>;

    /// Names shown to a client that asks for a list; refused unless this is overridden.
    fn list(&self, peer: &Peer) -> Result<Vec<String>, Refusal> {
        let _ = peer;
        Err(Refusal::Forbidden {
            reason: "exports are not listed",
        })
    }
}

/// An export that was found.
pub struct Found {
    /// What [`super::Server::disconnect`] names it by; shown in logs, so never a secret.
    pub key: String,
    /// The export.
    pub export: Arc<dyn Export>,
}

/// Why a client does not get what it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such export, or this peer shall not know of it.
    Unknown,
    /// It is there and this peer may not have it.
    Forbidden {
        /// Shown to the peer.
        reason: &'static str,
    },
    /// It is served under TLS only.
    TlsRequired,
    /// The server is going down.
    ShuttingDown,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Where it comes from.
    pub address: PeerAddress,
    /// Whether the connection is under TLS.
    pub tls: bool,
}

/// Where a connection comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerAddress {
    /// It came through the unix socket at this path.
    Unix(PathBuf),
    /// It came over TCP.
    Tcp {
        /// Address of the peer.
        remote: SocketAddr,
        /// Address that it connected to.
        local: SocketAddr,
    },
    /// It was handed over already connected, see [`super::Server::serve`].
    Adopted,
}
