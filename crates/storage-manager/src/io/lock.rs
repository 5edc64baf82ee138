//! Locks between processes, released by the kernel when the holder dies.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

/// Longest record that is read back from a lock file.
const MAX_RECORD: u64 = 256;

/// How often a lock file that was replaced under us is opened again.
const MAX_REOPENS: usize = 16;

/// How a file is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// Any number of holders at a time.
    Shared,
    /// One holder.
    Exclusive,
}

/// Locks an open file without waiting; false when another holder excludes it.
///
/// The lock belongs to the open file description: it ends when the file is closed, and two opens in one process
/// exclude each other as two processes do.
pub fn try_lock(file: &File, mode: LockMode) -> io::Result<bool> {
    let operation = match mode {
        LockMode::Shared => FlockOperation::NonBlockingLockShared,
        LockMode::Exclusive => FlockOperation::NonBlockingLockExclusive,
    };
    match rustix::fs::flock(file, operation) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Releases a lock at once.
///
/// Closing the file would do, but for a moment not: a child process that another thread is just starting holds a copy of
/// the descriptor until it runs its program.
pub fn unlock(file: &File) {
    // Fails only for what is no open file; closing follows in any case.
    let _ = rustix::fs::flock(file, FlockOperation::Unlock);
}

/// A lock file that is held, with a record of the holder in it.
#[derive(Debug)]
pub struct LockFile {
    file: File,
    path: PathBuf,
}

/// Why a lock file could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another open file holds it.
    #[error("{} is held by {record}", path.display())]
    Held {
        /// The lock file.
        path: PathBuf,
        /// What the holder wrote into it, on one line.
        record: String,
    },
    /// The file could not be opened, locked or written.
    #[error("take the lock file {}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl LockFile {
    /// Takes the lock at `path`, making the file if needed, and writes `record` into it.
    pub fn acquire(path: &Path, record: &str) -> Result<Self, LockError> {
        let io_error = |source| LockError::Io {
            path: path.to_owned(),
            source,
        };
        for _ in 0..MAX_REOPENS {
            let file = open_or_create(path).map_err(io_error)?;
            if !try_lock(&file, LockMode::Exclusive).map_err(io_error)? {
                return Err(LockError::Held {
                    path: path.to_owned(),
                    record: read_record(&file),
                });
            }
            // The holder before us may have unlinked the file after we opened it: then we locked a file without a name.
            if !same_file(&file, path).map_err(io_error)? {
                continue;
            }
            write_record(path, record).map_err(io_error)?;
            return Ok(LockFile {
                file,
                path: path.to_owned(),
            });
        }
        Err(io_error(io::Error::other(
            "the file was replaced at every try",
        )))
    }

    /// Releases the lock before this is dropped; the file stays.
    pub fn unlock(&self) {
        unlock(&self.file);
    }

    /// Removes the file and then releases the lock.
    pub fn remove(self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        unlock(&self.file);
    }
}

/// Opens for reading: a file held open for writing would keep an administrator from remounting the medium read-only.
fn open_or_create(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(File::from(rustix::fs::open(
        path,
        flags,
        Mode::RUSR | Mode::WUSR,
    )?))
}

fn write_record(path: &Path, record: &str) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    File::from(rustix::fs::open(path, flags, Mode::empty())?).write_all(record.as_bytes())
}

fn same_file(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match std::fs::symlink_metadata(path) {
        Ok(named) => Ok(named.dev() == ours.dev() && named.ino() == ours.ino()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The holder's record with everything that is not printable ASCII replaced: it goes into error messages.
fn read_record(file: &File) -> String {
    let mut record = Vec::new();
    // A record that cannot be read only makes the message poorer.
    let _ = file.take(MAX_RECORD).read_to_end(&mut record);
    let text: String = record
        .iter()
        .map(|&byte| {
            if (0x20..0x7f).contains(&byte) {
                byte as char
            } else {
                ' '
            }
        })
        .collect();
    match text.trim() {
        "" => "an unknown process".to_owned(),
        text => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;

    #[test]
    fn the_second_is_told_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = LockFile::acquire(&path, "process 17\n").unwrap();
        let error = LockFile::acquire(&path, "process 18\n").unwrap_err();
        assert!(
            matches!(&error, LockError::Held { record, .. } if record == "process 17"),
            "{error}"
        );
        drop(held);
        LockFile::acquire(&path, "process 18\n")
            .unwrap()
            .remove()
            .unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn shared_and_exclusive() {
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(dir.path().join("f"))
                .unwrap()
        };
        let (one, two, three) = (open(), open(), open());
        assert!(try_lock(&one, LockMode::Shared).unwrap());
        assert!(try_lock(&two, LockMode::Shared).unwrap());
        assert!(!try_lock(&three, LockMode::Exclusive).unwrap());
        drop((one, two));
        assert!(try_lock(&three, LockMode::Exclusive).unwrap());
    }

    #[test]
    fn threads_that_remove_and_take_never_hold_it_together() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let holders = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let Ok(lock) = LockFile::acquire(&path, "x") else {
                            continue;
                        };
                        assert_eq!(holders.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                        holders.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        lock.remove().unwrap();
                    }
                });
            }
        });
    }
}
