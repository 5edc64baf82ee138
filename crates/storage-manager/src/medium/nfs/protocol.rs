//! What both versions of the protocol can do, in one set of words.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::error::Result;
use super::transport::Gate;
use super::xdr::{Malformed, Reader};
use crate::medium::files::FileId;
use crate::sr::SrSpace;

/// Longest handle of a file: version 4 has 128 bytes, version 3 has 64.
pub const MAX_HANDLE: usize = 128;

/// Longest name that is taken from a server.
pub const MAX_NAME: usize = 1024;

/// Permissions of files that are made.
pub const FILE_MODE: u32 = 0o600;

/// Permissions of directories that are made.
pub const DIRECTORY_MODE: u32 = 0o700;

/// Bytes of a listing that are asked for at once.
pub const LISTING_BYTES: u32 = 64 * 1024;

/// What changes when a server was restarted and may have lost unstable writes.
pub type Verifier = [u8; 8];

/// The server's handle of a file.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Handle(Arc<[u8]>);

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Bytes.
    Regular,
    /// Names.
    Directory,
    /// Anything else.
    Other,
}

/// What a server says of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// What it is.
    pub kind: FileKind,
    /// Bytes.
    pub size: u64,
    /// Names that it has.
    pub links: u32,
    /// What tells it from others.
    pub id: FileId,
    /// When its bytes were last changed, by the server's clock.
    pub modified: SystemTime,
}

/// A file that was looked up or made.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its handle.
    pub handle: Handle,
    /// What the server says of it.
    pub attributes: Attributes,
}

/// A range that a server has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Where.
    pub offset: u64,
    /// Bytes.
    pub length: usize,
    /// None when it is on stable storage already.
    pub unstable: Option<Verifier>,
}

/// How a range is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stability {
    /// The server may keep it in memory until a commit.
    Unstable,
    /// It is on stable storage when the call returns.
    Stable,
}

/// One export of one server by one version of the protocol.
///
/// Calls are synchronous and may run on several threads at once. A call that was sent more than once and then failed says so
/// ([`super::error::NfsError::is_repeated`]): its caller looks whether it succeeded the first time.
pub trait Protocol: Send + Sync + Debug {
    /// The directory that is served. Asked of the server each time.
    fn root(&self) -> Result<Found>;

    /// Looks up a name; nothing is followed.
    fn lookup(&self, directory: &Handle, name: &str) -> Result<Found>;

    /// What the server says of a file.
    fn attributes(&self, file: &Handle) -> Result<Attributes>;

    /// Cuts or grows a file, on stable storage.
    fn set_size(&self, file: &Handle, size: u64) -> Result<()>;

    /// Reads; fewer bytes only at the end of the file.
    fn read(&self, file: &Handle, offset: u64, buffer: &mut [u8]) -> Result<usize>;

    /// Writes all of `data`, in pieces of which each may be as stable as the server likes, but not less than asked for.
    fn write(
        &self,
        file: &Handle,
        offset: u64,
        data: &[u8],
        stability: Stability,
    ) -> Result<Vec<Written>>;

    /// Puts everything on stable storage that was written under the verifier that it returns.
    fn commit(&self, file: &Handle) -> Result<Verifier>;

    /// Makes a file that must not exist. Sent twice it is made once.
    fn create(&self, directory: &Handle, name: &str) -> Result<Found>;

    /// Makes a directory.
    fn make_directory(&self, directory: &Handle, name: &str) -> Result<()>;

    /// Removes a file.
    fn remove(&self, directory: &Handle, name: &str) -> Result<()>;

    /// Removes an empty directory.
    fn remove_directory(&self, directory: &Handle, name: &str) -> Result<()>;

    /// Gives a file another name, which another file loses.
    fn rename(&self, directory: &Handle, from: &str, to: &str) -> Result<()>;

    /// Gives a file a second name.
    fn link(&self, file: &Handle, directory: &Handle, name: &str) -> Result<()>;

    /// The names in a directory without `.` and `..`, and those of its directories where the server says so; none when there
    /// are more than `limit`.
    fn entries(&self, directory: &Handle, limit: usize) -> Result<Option<Vec<String>>>;

    /// Size and use of the file system.
    fn space(&self, directory: &Handle) -> Result<SrSpace>;

    /// Frees the space of a range, on stable storage; false where the server cannot.
    fn punch_hole(&self, file: &Handle, offset: u64, length: u64) -> Result<bool>;

    /// Says goodbye, as far as that is possible at once, and ends the waits of others.
    fn close(&self);

    /// Sets what is asked before calls are sent that change something, and before any are sent again.
    fn set_gate(&self, gate: Gate);

    /// Has no call wait longer than until then, also of those under way; none lets each wait as long as it may.
    fn hurry(&self, until: Option<Instant>);

    /// Since when calls wait and the server says nothing, if they do.
    fn silence(&self) -> Option<Duration>;
}

/// A time of a server; the beginning of time for one that cannot be.
pub fn time(seconds: i64, nanoseconds: u32) -> SystemTime {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    let since = Duration::new(seconds, nanoseconds.min(999_999_999));
    UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
}

impl Handle {
    /// Takes a handle from an answer.
    pub fn read(reader: &mut Reader<'_>, limit: usize) -> Result<Self, Malformed> {
        Ok(Handle(reader.opaque(limit)?.into()))
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
