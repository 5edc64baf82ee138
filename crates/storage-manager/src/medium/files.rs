//! Named files that hold images, wherever they are: in a directory of this machine, on an NFS server, as the logical volumes
//! of a volume group.

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::io::lock::LockMode;
use crate::io::positional::Allocation;
use crate::sr::SrSpace;

/// Most entries that a listing takes; a medium with more is refused rather than read for ever.
pub const MAX_ENTRIES: usize = 1 << 18;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads.
    Read,
    /// Reads and writes.
    ReadWrite,
}

/// What tells a file from all others of its medium, whatever its names are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u128);

/// An open file: bytes at offsets, and a lock.
pub trait MediumFile: vhd::Storage + Debug {
    /// Which file it is.
    fn id(&self) -> io::Result<FileId>;

    /// Takes the file's lock, or changes the one that this handle has; false when another handle's excludes it. It excludes
    /// other handles of this process, and other processes and machines where the medium can do that.
    fn try_lock(&self, mode: LockMode) -> io::Result<bool>;

    /// Releases the lock. What is dropped releases it too.
    fn unlock(&self);

    /// Tells what lies at `offset` and how many bytes from there are alike, at most `length`. A medium that does not know
    /// answers that all is data.
    fn allocation(&self, offset: u64, length: u64) -> io::Result<(Allocation, u64)> {
        let _ = offset;
        Ok((Allocation::Data, length))
    }
}

/// The files of one SR.
///
/// Names are plain: no separators. Nothing follows a symbolic link. A change of names survives a crash once [`Files::sync`] has
/// returned, and before that it has happened or not, as a whole.
pub trait Files: Send + Sync + Debug {
    /// Where they are, for messages.
    fn path(&self) -> &Path;

    /// The names, in no order.
    ///
    /// # Errors
    /// Of the kind `FileTooLarge` when there are more than [`MAX_ENTRIES`].
    fn entries(&self) -> io::Result<Vec<String>>;

    /// Opens the regular file with this name.
    ///
    /// # Errors
    /// Of the kind `InvalidInput` when the name belongs to something else than a regular file.
    fn open_file(&self, name: &str, access: Access) -> io::Result<Arc<dyn MediumFile>>;

    /// Makes an empty file that must not exist, open for reading and writing.
    fn create_file(&self, name: &str) -> io::Result<Arc<dyn MediumFile>>;

    /// Gives a file its final name, which must be free; `AlreadyExists` otherwise.
    fn publish(&self, from: &str, to: &str) -> io::Result<()>;

    /// Gives a file the name of another, which loses it; one or the other has the name at any time.
    fn replace(&self, from: &str, to: &str) -> io::Result<()>;

    /// Gives a file a second name, which must be free; false where the medium knows no second names.
    fn link(&self, from: &str, to: &str) -> io::Result<bool> {
        let _ = (from, to);
        Ok(false)
    }

    /// Removes a file; false when there was none.
    fn remove(&self, name: &str) -> io::Result<bool>;

    /// The file that has this name, or none.
    fn id_of(&self, name: &str) -> io::Result<Option<FileId>>;

    /// True when the entry is a directory.
    fn is_directory(&self, name: &str) -> io::Result<bool>;

    /// Puts names that were made, changed and removed on stable storage.
    fn sync(&self) -> io::Result<()>;

    /// Size and use of the medium.
    fn space(&self) -> io::Result<SrSpace>;
}
