//! A directory of this machine that holds images as files.
//!
//! Everything is done relative to one open descriptor, by plain names, and never through a symbolic link: what is in the
//! directory may have been written by others.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::io::fault;
use crate::io::group_sync::GroupSync;
pub use crate::medium::files::Access;
use crate::medium::files::MAX_ENTRIES;
use crate::sr::SrSpace;

/// Mode of the files that are made: tenants' bytes are nobody else's business.
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// An open directory.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    handle: File,
    sync: GroupSync,
}

impl Directory {
    /// Opens an existing directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Directory {
            path: path.to_owned(),
            handle: File::from(handle),
            sync: GroupSync::default(),
        })
    }

    /// Where it is, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names in it, in no order, without `.` and `..`.
    ///
    /// # Errors
    /// Of the kind `FileTooLarge` when there are more than [`MAX_ENTRIES`].
    pub fn entries(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.handle)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name == b"." || name == b".." {
                continue;
            }
            if names.len() == MAX_ENTRIES {
                let text = format!(
                    "{} has more than {MAX_ENTRIES} entries",
                    self.path.display()
                );
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
            }
            names.push(OsString::from_vec(name));
        }
        Ok(names)
    }

    /// Opens the regular file with this name.
    ///
    /// # Errors
    /// Of the kind `InvalidInput` when the name belongs to something else than a regular file.
    pub fn open_file(&self, name: &str, access: Access) -> io::Result<File> {
        let flags = match access {
            Access::Read => OFlags::RDONLY,
            Access::ReadWrite => OFlags::RDWR,
        };
        // NONBLOCK: a FIFO put here by somebody must not hang the SR.
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match rustix::fs::openat(&self.handle, name, flags, Mode::empty()) {
            Ok(descriptor) => File::from(descriptor),
            Err(Errno::LOOP | Errno::NXIO | Errno::ISDIR) => return Err(not_a_regular_file()),
            Err(error) => return Err(error.into()),
        };
        if !file.metadata()?.is_file() {
            return Err(not_a_regular_file());
        }
        Ok(file)
    }

    /// Makes a file that must not exist, open for reading and writing.
    pub fn create_file(&self, name: &str) -> io::Result<File> {
        fault::point("directory: create file")?;
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let descriptor: OwnedFd = rustix::fs::openat(&self.handle, name, flags, FILE_MODE)?;
        Ok(File::from(descriptor))
    }

    /// Makes a file without a name, open for reading and writing, which is gone with its last descriptor: no crash leaves
    /// anything of it. [`Directory::name_file`] names it.
    ///
    /// # Errors
    /// Of the kind `Unsupported` where the file system knows no such files.
    pub fn create_unnamed_file(&self) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.handle, ".", flags, FILE_MODE) {
            Ok(descriptor) => Ok(File::from(descriptor)),
            // The second is what a kernel says that does not know the flag.
            Err(Errno::OPNOTSUPP | Errno::ISDIR) => Err(io::ErrorKind::Unsupported.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives a file without a name one, which must be free; false where that is not possible.
    ///
    /// # Durability
    /// None before [`Directory::sync`].
    pub fn name_file(&self, file: &File, name: &str) -> io::Result<bool> {
        fault::point("directory: name file")?;
        // The way that needs no privilege; it needs /proc.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let flags = AtFlags::SYMLINK_FOLLOW;
        match rustix::fs::linkat(rustix::fs::CWD, path, &self.handle, name, flags) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT | Errno::PERM | Errno::OPNOTSUPP | Errno::XDEV) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives a file its final name, which must be free; `AlreadyExists` otherwise.
    ///
    /// # Durability
    /// None before [`Directory::sync`].
    pub fn publish(&self, from: &str, to: &str) -> io::Result<()> {
        fault::point("directory: publish")?;
        match rustix::fs::renameat_with(
            &self.handle,
            from,
            &self.handle,
            to,
            RenameFlags::NOREPLACE,
        ) {
            Ok(()) => Ok(()),
            // File systems that cannot: a link refuses an existing name just as well.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                rustix::fs::linkat(&self.handle, from, &self.handle, to, AtFlags::empty())?;
                Ok(rustix::fs::unlinkat(&self.handle, from, AtFlags::empty())?)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Gives a file the name of another, which loses it; one or the other has the name at any time.
    ///
    /// # Durability
    /// None before [`Directory::sync`].
    pub fn replace(&self, from: &str, to: &str) -> io::Result<()> {
        fault::point("directory: replace")?;
        Ok(rustix::fs::renameat(&self.handle, from, &self.handle, to)?)
    }

    /// Gives a file a second name, which must be free; false where the file system knows no hard links.
    ///
    /// # Durability
    /// None before [`Directory::sync`].
    pub fn link(&self, from: &str, to: &str) -> io::Result<bool> {
        let linked = fault::point("directory: link").and_then(|()| {
            let flags = AtFlags::empty();
            Ok(rustix::fs::linkat(
                &self.handle,
                from,
                &self.handle,
                to,
                flags,
            )?)
        });
        match linked {
            Ok(()) => Ok(true),
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => Ok(false),
                _ => Err(error),
            },
        }
    }

    /// The other names in this directory that the file with this name has.
    pub fn other_names(&self, name: &str) -> io::Result<Vec<OsString>> {
        let status = rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if status.st_nlink < 2 {
            return Ok(Vec::new());
        }
        let mut others = Vec::new();
        for other in self.entries()? {
            match rustix::fs::statat(&self.handle, other.as_os_str(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(found) if other != name && found.st_ino == status.st_ino => others.push(other),
                Ok(_) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(others)
    }

    /// Removes a file; false when there was none.
    ///
    /// # Durability
    /// None before [`Directory::sync`].
    pub fn remove(&self, name: &str) -> io::Result<bool> {
        fault::point("directory: remove")?;
        match rustix::fs::unlinkat(&self.handle, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// True when there is an entry with this name, whatever it is.
    pub fn contains(&self, name: &str) -> io::Result<bool> {
        match rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// True when the entry is a directory.
    pub fn is_directory(&self, name: &std::ffi::OsStr) -> io::Result<bool> {
        let status = rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(rustix::fs::FileType::from_raw_mode(status.st_mode).is_dir())
    }

    /// Removes an entry that is no directory, whatever its name; false when there was none.
    pub fn remove_entry(&self, name: &std::ffi::OsStr) -> io::Result<bool> {
        match rustix::fs::unlinkat(&self.handle, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Tells whether an open file is still the one that has this name.
    pub fn names(&self, name: &str, file: &File) -> io::Result<bool> {
        let ours = file.metadata()?;
        match rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(named) => Ok(named.st_dev == ours.dev() && named.st_ino == ours.ino()),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Puts names that were made and removed on stable storage; one sync serves all threads that wait for one.
    pub fn sync(&self) -> io::Result<()> {
        fault::point("directory: sync")?;
        self.sync.sync(&self.handle)
    }

    /// Size and use of the file system, as XenServer counts them.
    ///
    /// Source: `(blocks, blocks - bfree) * frsize` of statvfs.
    pub fn space(&self) -> io::Result<SrSpace> {
        let status = rustix::fs::fstatvfs(&self.handle)?;
        Ok(SrSpace {
            physical_size: status.f_blocks.saturating_mul(status.f_frsize),
            physical_utilisation: status
                .f_blocks
                .saturating_sub(status.f_bfree)
                .saturating_mul(status.f_frsize),
        })
    }
}

fn not_a_regular_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishes_without_replacing() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::open(dir.path()).unwrap();
        directory.create_file("a").unwrap();
        directory.publish("a", "b").unwrap();
        directory.create_file("a").unwrap();
        assert_eq!(
            directory.publish("a", "b").unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert!(directory.remove("a").unwrap());
        assert!(!directory.remove("a").unwrap());
        assert_eq!(directory.entries().unwrap(), ["b"]);
        // A listing starts from the beginning each time.
        assert_eq!(directory.entries().unwrap(), ["b"]);
    }

    #[test]
    fn a_file_without_a_name_gets_one_that_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::open(dir.path()).unwrap();
        let file = directory.create_unnamed_file().unwrap();
        assert!(directory.entries().unwrap().is_empty());
        directory.create_file("taken").unwrap();
        let error = directory.name_file(&file, "taken").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert!(directory.name_file(&file, "free").unwrap());
        assert!(directory.names("free", &file).unwrap());
        assert!(directory.other_names("free").unwrap().is_empty());
    }

    #[test]
    fn opens_regular_files_only() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::open(dir.path()).unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("l")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            dir.path().join("f"),
            rustix::fs::FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        for name in ["d", "l", "f"] {
            for access in [Access::Read, Access::ReadWrite] {
                let error = directory.open_file(name, access).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name}: {error}");
            }
        }
        assert_eq!(
            directory.open_file("x", Access::Read).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}
