//! What this crate fails with.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The configuration or the data directory cannot be used as it is.
    Invalid,
    /// Somebody else holds what is needed (another process on the same data directory, a port in use).
    Conflict,
    /// What was read is not what was written.
    Corrupt,
    /// A system call failed; trying again may help.
    Unavailable,
    /// A bug.
    Internal,
}

/// An error of the storage manager itself; what a XenAPI call fails with is [`xenapi::Failure`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call on a file or directory failed.
    #[error("{action} {}", path.display())]
    File {
        /// What was attempted, as an infinitive: `create directory`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The object database cannot be opened.
    #[error("open object database {}", path.display())]
    DatabaseOpen {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Box<redb::Error>,
    },
    /// Another process has the object database open.
    #[error("open object database {}: another process has it open; one data directory serves one process", path.display())]
    DatabaseBusy {
        /// The file.
        path: PathBuf,
    },
    /// The object database was written by a program whose format is not known here.
    #[error(
        "open object database {}: it has format {found}, this program reads up to format {expected}; start the newer program again",
        path.display()
    )]
    DatabaseVersion {
        /// The file.
        path: PathBuf,
        /// The format of the file.
        found: u32,
        /// The newest format that this program reads.
        expected: u32,
    },
    /// A row of the object database cannot be understood.
    #[error("read object database {}: row {row} is damaged: {reason}", path.display())]
    DatabaseCorrupt {
        /// The file.
        path: PathBuf,
        /// Table and key.
        row: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A transaction could not be made durable; nothing is written any more until the program is started again.
    #[error("write object database {}", path.display())]
    DatabaseWrite {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Box<redb::Error>,
    },
    /// The file that holds the key of the secrets is not a key.
    #[error(
        "read key file {}: it has {found} bytes, expected {expected}; put the right file back, or delete all secrets",
        path.display()
    )]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        found: usize,
        /// The length of a key in bytes.
        expected: usize,
    },
    /// An address cannot be listened on.
    #[error("listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// A unix socket cannot be listened on.
    #[error("listen on unix socket {}", path.display())]
    ListenUnix {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The certificate and key for TLS cannot be used.
    #[error("load TLS certificate {} and key {}", certificate.display(), key.display())]
    Tls {
        /// The certificate chain, PEM.
        certificate: PathBuf,
        /// The private key, PEM.
        key: PathBuf,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The NBD exports cannot be started.
    #[error("start the NBD exports")]
    Exports {
        /// Why not.
        source: crate::export::Error,
    },
    /// A first record could not be made, which the schema should have allowed.
    #[error("make the first {class} record")]
    FirstRecord {
        /// The class.
        class: &'static str,
        /// Why not.
        source: xenapi::Failure,
    },
}

impl Error {
    /// Returns what a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::File { .. }
            | Error::ListenUnix { .. }
            | Error::DatabaseWrite { .. }
            | Error::Exports { .. } => ErrorKind::Unavailable,
            Error::DatabaseOpen { source, .. } => match source.as_ref() {
                redb::Error::Io(_) => ErrorKind::Unavailable,
                _ => ErrorKind::Corrupt,
            },
            Error::DatabaseCorrupt { .. } => ErrorKind::Corrupt,
            Error::DatabaseBusy { .. } | Error::Listen { .. } => ErrorKind::Conflict,
            Error::DatabaseVersion { .. } | Error::KeyFile { .. } | Error::Tls { .. } => {
                ErrorKind::Invalid
            }
            Error::FirstRecord { .. } => ErrorKind::Internal,
        }
    }

    /// Returns a sentence that may be shown to a tenant.
    pub fn public(&self) -> &'static str {
        match self.kind() {
            ErrorKind::Invalid => "The storage manager is not configured correctly.",
            ErrorKind::Conflict => "The storage manager is in use by another process.",
            ErrorKind::Corrupt => "The storage manager's database is damaged.",
            ErrorKind::Unavailable => "The storage manager is not available.",
            ErrorKind::Internal => "The storage manager failed.",
        }
    }

    /// Returns the whole chain of causes on one line, for the operator.
    pub fn detail(&self) -> String {
        chain_text(self)
    }
}

/// An error and its causes on one line, each told once.
pub(crate) fn chain_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = cause.source();
    }
    text
}
