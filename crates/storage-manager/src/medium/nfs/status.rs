//! The answers by which NFS servers say that a call failed. Versions 3 and 4 share the numbers that both have.
//!
//! Source: RFC 1813, section 2.6 (`nfsstat3`); RFC 8881, section 15.1 (`nfsstat4`).

use std::fmt;
use std::io::ErrorKind;

/// A number of `nfsstat3` or `nfsstat4`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u32);

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $kind:ident, $text:literal;)*) => {
        impl Status {
            $($(#[$doc])* pub const $name: Status = Status($number);)*

            fn known(self) -> Option<(&'static str, ErrorKind, &'static str)> {
                match self.0 {
                    $($number => Some((stringify!($name), ErrorKind::$kind, $text)),)*
                    _ => None,
                }
            }
        }
    };
}

statuses! {
    /// Success.
    OK = 0, Other, "it succeeded";
    /// Not the owner.
    PERM = 1, PermissionDenied, "only the owner may do that";
    /// No such name.
    NOENT = 2, NotFound, "there is no such file or directory";
    /// The medium failed.
    IO = 5, Other, "the server's medium had an I/O error";
    /// No such device.
    NXIO = 6, Other, "the server's device is gone";
    /// Not allowed.
    ACCES = 13, PermissionDenied, "permission denied; look at the export's rules (root squashing, reserved ports) and at the owner of the directory";
    /// The name is taken.
    EXIST = 17, AlreadyExists, "the name is taken";
    /// Not on one file system.
    XDEV = 18, CrossesDevices, "both names must lie on one file system";
    /// No such device.
    NODEV = 19, Other, "the server's device is gone";
    /// Not a directory.
    NOTDIR = 20, NotADirectory, "it is not a directory";
    /// A directory.
    ISDIR = 21, IsADirectory, "it is a directory";
    /// A bad argument.
    INVAL = 22, InvalidInput, "the server takes an argument for invalid";
    /// Larger than the file system allows.
    FBIG = 27, FileTooLarge, "the file would be larger than the server's file system allows";
    /// Full.
    NOSPC = 28, StorageFull, "the server's file system is full";
    /// Read-only.
    ROFS = 30, ReadOnlyFilesystem, "the export is read-only";
    /// Too many links.
    MLINK = 31, TooManyLinks, "the file has too many links";
    /// The name is too long.
    NAMETOOLONG = 63, InvalidFilename, "the name is too long";
    /// Not empty.
    NOTEMPTY = 66, DirectoryNotEmpty, "the directory is not empty";
    /// Over quota.
    DQUOT = 69, QuotaExceeded, "the quota on the server is used up";
    /// The file is gone.
    STALE = 70, StaleNetworkFileHandle, "the server does not know the file any more: it was removed there, or its file system was mounted or exported anew; detach the VDI and attach it again";
    /// Too many levels of remote.
    REMOTE = 71, Other, "the file lies on yet another server";
    /// A handle that the server did not make.
    BADHANDLE = 10001, StaleNetworkFileHandle, "the server does not know the file handle";
    /// A cookie of a listing that is not valid any more.
    BAD_COOKIE = 10003, Other, "the directory changed while it was listed";
    /// Not supported.
    NOTSUPP = 10004, Unsupported, "the server does not support that";
    /// A buffer is too small.
    TOOSMALL = 10005, Other, "a buffer is too small";
    /// The server failed.
    SERVERFAULT = 10006, Other, "the server had a failure of its own";
    /// A type of file that the server lacks.
    BADTYPE = 10007, Unsupported, "the server does not support this type of file";
    /// Come back later.
    DELAY = 10008, ResourceBusy, "the server asks to try again later";
    /// The lease ended.
    EXPIRED = 10011, Other, "the lease of this client has expired";
    /// Locked by another.
    LOCKED = 10012, ResourceBusy, "another client has locked the file";
    /// Clients of before the server's restart come first.
    GRACE = 10013, ResourceBusy, "the server was restarted and waits for its earlier clients";
    /// Another kind of security is asked for.
    WRONGSEC = 10016, PermissionDenied, "the export asks for another kind of security than AUTH_SYS";
    /// Another client has the name.
    CLID_INUSE = 10017, ResourceBusy, "another client has this client's name";
    /// Out of a resource.
    RESOURCE = 10018, ResourceBusy, "the server has no resources left";
    /// Another minor version is asked for.
    MINOR_VERS_MISMATCH = 10021, Unsupported, "the server does not speak this minor version";
    /// The server does not know the client.
    STALE_CLIENTID = 10022, Other, "the server does not know this client any more";
    /// A state from before the restart.
    STALE_STATEID = 10023, Other, "the server was restarted";
    /// A state that the server does not know.
    BAD_STATEID = 10025, Other, "the server does not know the state of the open file";
    /// A symbolic link.
    SYMLINK = 10029, InvalidInput, "it is a symbolic link";
    /// An attribute that the server lacks.
    ATTRNOTSUPP = 10032, Unsupported, "the server does not support an attribute";
    /// Opened otherwise.
    OPENMODE = 10038, PermissionDenied, "the file is not open for that";
    /// An unknown operation.
    OP_ILLEGAL = 10044, Unsupported, "the server does not know this operation";
    /// No such session.
    BADSESSION = 10052, Other, "the server does not know the session any more";
    /// No such slot.
    BADSLOT = 10053, Other, "the server does not know the slot of the session";
    /// Said before.
    COMPLETE_ALREADY = 10054, Other, "the client has said before that it has nothing to reclaim";
    /// The connection does not belong to the session.
    CONN_NOT_BOUND_TO_SESSION = 10055, Other, "the connection does not belong to the session";
    /// Out of order.
    SEQ_MISORDERED = 10063, Other, "a call of the session came out of order";
    /// Too large a call.
    REQ_TOO_BIG = 10065, Other, "the call is larger than the server takes";
    /// Too large an answer.
    REP_TOO_BIG = 10066, Other, "the answer is larger than agreed on";
    /// An answer that was not kept.
    RETRY_UNCACHED_REP = 10068, Other, "the server did not keep the answer of a repeated call";
    /// The client has other sessions.
    CLIENTID_BUSY = 10074, ResourceBusy, "the client still has sessions";
    /// Not the call that was repeated.
    SEQ_FALSE_RETRY = 10076, Other, "a repeated call differs from the first";
    /// A slot above the highest.
    BAD_HIGH_SLOT = 10077, Other, "the server does not know the slot of the session";
    /// The session is being ended.
    DEADSESSION = 10078, Other, "the session is being ended";
}

impl Status {
    /// The kind of I/O error that it is nearest to.
    pub fn kind(self) -> ErrorKind {
        self.known().map_or(ErrorKind::Other, |(_, kind, _)| kind)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known() {
            Some((name, _, text)) => write!(f, "{text} ({name})"),
            None => write!(f, "the server answers with error {}", self.0),
        }
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known() {
            Some((name, _, _)) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}
