//! What the NFS client fails with.

use std::io;
use std::net::SocketAddr;

use super::status::Status;
use super::xdr::Malformed;

/// A failure of a call, or of the way to the server.
#[derive(Debug, thiserror::Error)]
pub enum NfsError {
    /// No connection could be made until the deadline.
    #[error("connect to NFS server {address}")]
    Connect {
        /// The server.
        address: SocketAddr,
        /// The last failure.
        source: io::Error,
    },
    /// The connection broke, and no other brought an answer until the deadline.
    #[error("call {procedure} of NFS server {address}: the connection broke")]
    Broken {
        /// The server.
        address: SocketAddr,
        /// What was called.
        procedure: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It may not be called any more.
    #[error("call {procedure} of NFS server {address}: it was not called")]
    NotSent {
        /// The server.
        address: SocketAddr,
        /// What was to be called.
        procedure: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The server took the call and did not answer until the deadline.
    #[error("call {procedure} of NFS server {address}: no answer in {seconds} s")]
    NoAnswer {
        /// The server.
        address: SocketAddr,
        /// What was called.
        procedure: &'static str,
        /// How long was waited.
        seconds: u64,
    },
    /// The server answered with something that the protocol does not know.
    #[error("call {procedure} of the NFS server")]
    Malformed {
        /// What was called.
        procedure: &'static str,
        /// What is wrong.
        source: Malformed,
    },
    /// The RPC layer of the server refused the call.
    #[error("call {procedure} of the NFS server: {reason}")]
    Refused {
        /// What was called.
        procedure: &'static str,
        /// Why.
        reason: Refusal,
    },
    /// The call failed.
    #[error("{procedure}: {status}")]
    Status {
        /// What was called.
        procedure: &'static str,
        /// The server's answer.
        status: Status,
        /// True when the call was sent more than once, so that an earlier sending may have succeeded.
        repeated: bool,
    },
    /// The server's connection is held by calls that wait, until the deadline.
    #[error("call {procedure}: all {limit} connections to the NFS server wait for answers")]
    Crowded {
        /// What was called.
        procedure: &'static str,
        /// Most connections.
        limit: usize,
    },
}

/// Why the RPC layer of a server refuses a call.
///
/// Source: RFC 5531, section 9, `reply_stat`, `accept_stat`, `reject_stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such program at this port.
    #[error("there is no such service at this port")]
    NoProgram,
    /// The program has other versions.
    #[error("the server offers versions {lowest} to {highest} of the service")]
    Version {
        /// The lowest version.
        lowest: u32,
        /// The highest version.
        highest: u32,
    },
    /// The version has no such procedure.
    #[error("the service has no such procedure")]
    NoProcedure,
    /// The server could not read the arguments.
    #[error("the server could not read the arguments")]
    Arguments,
    /// The server failed.
    #[error("the server had a failure of its own")]
    System,
    /// The credentials are refused.
    #[error(
        "the server refuses the credentials (code {0}); allow AUTH_SYS and this address in the export"
    )]
    Credentials(u32),
    /// The server speaks another version of RPC.
    #[error("the server does not speak version 2 of RPC")]
    RpcVersion,
}

/// A result of this client.
pub type Result<T, E = NfsError> = std::result::Result<T, E>;

impl NfsError {
    /// The server's answer, when it gave one.
    pub fn status(&self) -> Option<Status> {
        match self {
            NfsError::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// True when the call was sent more than once and the last answer says something else than success.
    pub fn is_repeated(&self) -> bool {
        matches!(self, NfsError::Status { repeated: true, .. })
    }

    /// True for this answer.
    pub fn is(&self, status: Status) -> bool {
        self.status() == Some(status)
    }

    fn kind(&self) -> io::ErrorKind {
        match self {
            NfsError::Connect { source, .. }
            | NfsError::Broken { source, .. }
            | NfsError::NotSent { source, .. } => source.kind(),
            NfsError::NoAnswer { .. } | NfsError::Crowded { .. } => io::ErrorKind::TimedOut,
            NfsError::Malformed { .. } => io::ErrorKind::InvalidData,
            NfsError::Refused { reason, .. } => match reason {
                Refusal::Credentials(_) => io::ErrorKind::PermissionDenied,
                _ => io::ErrorKind::Unsupported,
            },
            NfsError::Status { status, .. } => status.kind(),
        }
    }

    /// The whole chain of causes on one line.
    pub fn chain_text(&self) -> String {
        crate::error::chain_text(self)
    }
}

impl From<NfsError> for io::Error {
    fn from(error: NfsError) -> Self {
        io::Error::new(error.kind(), error.chain_text())
    }
}
