//! The error values of replies.

use std::fmt;
use std::io;

/// An error value of a reply.
///
/// # Source
/// "Error values": the numbers are those of Linux but fixed by the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// Operation not permitted.
    Perm,
    /// Input or output error.
    Io,
    /// Not enough memory.
    NoMem,
    /// Invalid argument.
    Inval,
    /// No space left.
    NoSpc,
    /// Value too large.
    Overflow,
    /// Not supported.
    NotSup,
    /// The server is going down.
    Shutdown,
    /// A value that the document does not list; to be treated as [`ErrorCode::Inval`].
    Other(u32),
}

impl ErrorCode {
    /// The value on the wire.
    pub fn to_wire(self) -> u32 {
        match self {
            ErrorCode::Perm => 1,
            ErrorCode::Io => 5,
            ErrorCode::NoMem => 12,
            ErrorCode::Inval => 22,
            ErrorCode::NoSpc => 28,
            ErrorCode::Overflow => 75,
            ErrorCode::NotSup => 95,
            ErrorCode::Shutdown => 108,
            ErrorCode::Other(value) => value,
        }
    }

    /// The error of a wire value that is not zero.
    pub fn from_wire(value: u32) -> ErrorCode {
        match value {
            1 => ErrorCode::Perm,
            5 => ErrorCode::Io,
            12 => ErrorCode::NoMem,
            22 => ErrorCode::Inval,
            28 => ErrorCode::NoSpc,
            75 => ErrorCode::Overflow,
            95 => ErrorCode::NotSup,
            108 => ErrorCode::Shutdown,
            other => ErrorCode::Other(other),
        }
    }

    /// What a client is told of a failed call on an export.
    ///
    /// "Unsupported" becomes `EINVAL`: the document keeps `ENOTSUP` for fast zeroing.
    pub fn from_io(error: &io::Error) -> ErrorCode {
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorCode::Perm,
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => ErrorCode::NoSpc,
            io::ErrorKind::OutOfMemory => ErrorCode::NoMem,
            io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => ErrorCode::Inval,
            _ => ErrorCode::Io,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            ErrorCode::Perm => "EPERM",
            ErrorCode::Io => "EIO",
            ErrorCode::NoMem => "ENOMEM",
            ErrorCode::Inval => "EINVAL",
            ErrorCode::NoSpc => "ENOSPC",
            ErrorCode::Overflow => "EOVERFLOW",
            ErrorCode::NotSup => "ENOTSUP",
            ErrorCode::Shutdown => "ESHUTDOWN",
            ErrorCode::Other(value) => return write!(f, "error {value}"),
        };
        f.write_str(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_wire() {
        for value in 1..200 {
            assert_eq!(ErrorCode::from_wire(value).to_wire(), value);
        }
    }

    #[test]
    fn causes_map_to_what_the_document_asks_for() {
        let code = |kind| ErrorCode::from_io(&io::Error::from(kind));
        assert_eq!(code(io::ErrorKind::StorageFull), ErrorCode::NoSpc);
        assert_eq!(code(io::ErrorKind::QuotaExceeded), ErrorCode::NoSpc);
        assert_eq!(code(io::ErrorKind::FileTooLarge), ErrorCode::NoSpc);
        assert_eq!(code(io::ErrorKind::ReadOnlyFilesystem), ErrorCode::Perm);
        assert_eq!(code(io::ErrorKind::Unsupported), ErrorCode::Inval);
        assert_eq!(code(io::ErrorKind::BrokenPipe), ErrorCode::Io);
    }
}
