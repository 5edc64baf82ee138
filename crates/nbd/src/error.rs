//! What can go wrong between two peers.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::protocol::ErrorCode;

/// An error of the server, the client or the codec.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call on a connection or a listener failed.
    #[error("{action}")]
    Io {
        /// What was attempted, on what.
        action: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The peer closed the connection in the middle of a message.
    #[error("the peer closed the connection while this side waited for {what}")]
    Closed {
        /// What was being read.
        what: &'static str,
    },
    /// A message does not start with its magic number.
    #[error("{what} starts with {found:#x}, expected {expected:#x}")]
    Magic {
        /// The message.
        what: &'static str,
        /// The number found.
        found: u64,
        /// The number of the protocol.
        expected: u64,
    },
    /// A message is shorter or longer than what it says it holds.
    #[error("{what} has {found} bytes, expected {expected}")]
    Length {
        /// The message or the part of it.
        what: &'static str,
        /// Bytes found.
        found: u64,
        /// Bytes expected.
        expected: u64,
    },
    /// A length or a count is above a limit of this side.
    #[error("{what} is {found}, the limit is {limit}")]
    Limit {
        /// What is limited.
        what: &'static str,
        /// The value found.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// A string is not UTF-8.
    #[error("{what} is not UTF-8")]
    NotUtf8 {
        /// The string.
        what: &'static str,
    },
    /// A field has a value that the protocol does not allow at this point.
    #[error("{what} is {found:#x}, which the protocol does not allow here")]
    Unexpected {
        /// The field.
        what: &'static str,
        /// The value found.
        found: u64,
    },
    /// The peer sent bytes between STARTTLS and the TLS handshake.
    #[error("the peer sent plain bytes after STARTTLS; the connection was closed")]
    PlaintextAfterStartTls,
    /// TLS failed.
    #[error("TLS with the peer")]
    Tls {
        /// The cause.
        source: rustls::Error,
    },
    /// The handshake was not over at its deadline.
    #[error("the deadline passed while this side waited for {what}")]
    Deadline {
        /// What was being read or written.
        what: &'static str,
    },
    /// The server refused an option (client side).
    #[error("the server refused {option} with reply {reply:#x}: {message}")]
    OptionRefused {
        /// Name of the option.
        option: &'static str,
        /// The `NBD_REP_ERR` value.
        reply: u32,
        /// Text of the server, printable characters only.
        message: String,
    },
    /// The server answered a request with an error (client side).
    #[error("the server answered {command} with {code}")]
    Refused {
        /// Name of the command.
        command: &'static str,
        /// The error value.
        code: ErrorCode,
    },
    /// An earlier failure left the connection in the middle of a message (client side).
    #[error("the connection failed earlier: connect anew")]
    Broken,
    /// The export has not got what the request needs (client side).
    #[error("the server does not offer {feature} for this export")]
    NotOffered {
        /// The feature.
        feature: &'static str,
    },
    /// A range lies outside the export (client side).
    #[error("{length} bytes at {offset} lie outside the export of {size} bytes")]
    OutOfRange {
        /// Start in bytes.
        offset: u64,
        /// Length in bytes.
        length: u64,
        /// Size of the export in bytes.
        size: u64,
    },
    /// A path is too long for a unix socket.
    #[error(
        "unix socket path {path} has {length} bytes, at most {limit} fit: choose a shorter directory"
    )]
    SocketPathTooLong {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
        /// What the operating system takes.
        limit: usize,
    },
    /// Another process listens on the unix socket.
    #[error("{path} is in use by a running server: stop it or choose another path")]
    SocketInUse {
        /// The path.
        path: PathBuf,
    },
    /// Something that is no socket lies where the unix socket is to be.
    #[error("{path} exists and is not a socket: move it away")]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The unix socket could not be made.
    #[error("listen on unix socket {path}")]
    Listen {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The listener is not one of this server, or has been stopped.
    #[error("listener {id} is not running on this server")]
    NoSuchListener {
        /// Its number.
        id: u64,
    },
    /// Connections were told to end and some of their threads still work.
    #[error("{connections} connection(s) were still in an export's call after {waited:?}")]
    StillBusy {
        /// Connections left.
        connections: usize,
        /// How long was waited.
        waited: Duration,
    },
}

impl Error {
    pub(crate) fn io(action: &'static str) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io { action, source }
    }
}
