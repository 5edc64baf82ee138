//! A directory of this machine that holds images as files.
//!
//! Everything is done relative to one open descriptor, by plain names, and never through a symbolic link: what is in the
//! directory may have been written by others.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::io::fault;
use crate::io::group_sync::GroupSync;
use crate::io::positional::PositionalFile;
use crate::medium::files::{Access, FileId, Files, MAX_ENTRIES, MediumFile, UnnamedFile};
use crate::medium::local_file::local_id;
use crate::sr::SrSpace;

/// Mode of the files that are made: tenants' bytes are nobody else's business.
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// An open directory.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    handle: Arc<File>,
    sync: GroupSync,
}

/// A file without a name, for the directory in which it is to get one.
#[derive(Debug)]
struct Unnamed {
    directory: Arc<File>,
    /// The same file twice: with its descriptor, and for who reads and writes.
    local: Arc<PositionalFile>,
    file: Arc<dyn MediumFile>,
}

impl Directory {
    /// Opens an existing directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Directory {
            path: path.to_owned(),
            handle: Arc::new(File::from(handle)),
            sync: GroupSync::default(),
        })
    }

    fn status_of(&self, name: &str) -> io::Result<Option<rustix::fs::Stat>> {
        match rustix::fs::statat(&*self.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(status) => Ok(Some(status)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Files for Directory {
    fn path(&self) -> &Path {
        &self.path
    }

    fn entries(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&*self.handle)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
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
            names.push(String::from_utf8_lossy(name).into_owned());
        }
        Ok(names)
    }

    fn open_file(&self, name: &str, access: Access) -> io::Result<Arc<dyn MediumFile>> {
        let flags = match access {
            Access::Read => OFlags::RDONLY,
            Access::ReadWrite => OFlags::RDWR,
        };
        // NONBLOCK: a FIFO put here by somebody must not hang the SR.
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match rustix::fs::openat(&*self.handle, name, flags, Mode::empty()) {
            Ok(descriptor) => File::from(descriptor),
            Err(Errno::LOOP | Errno::NXIO | Errno::ISDIR) => return Err(not_a_regular_file()),
            Err(error) => return Err(error.into()),
        };
        if !file.metadata()?.is_file() {
            return Err(not_a_regular_file());
        }
        Ok(Arc::new(PositionalFile::new(file)))
    }

    fn create_file(&self, name: &str) -> io::Result<Arc<dyn MediumFile>> {
        fault::point("directory: create file")?;
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let descriptor: OwnedFd = rustix::fs::openat(&*self.handle, name, flags, FILE_MODE)?;
        Ok(Arc::new(PositionalFile::new(File::from(descriptor))))
    }

    fn create_unnamed_file(&self) -> io::Result<Box<dyn UnnamedFile>> {
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        match rustix::fs::openat(&*self.handle, ".", flags, FILE_MODE) {
            Ok(descriptor) => {
                let local = Arc::new(PositionalFile::new(File::from(descriptor)));
                Ok(Box::new(Unnamed {
                    directory: self.handle.clone(),
                    file: local.clone(),
                    local,
                }))
            }
            // The second is what a kernel says that does not know the flag.
            Err(Errno::OPNOTSUPP | Errno::ISDIR) => Err(io::ErrorKind::Unsupported.into()),
            Err(error) => Err(error.into()),
        }
    }

    fn publish(&self, from: &str, to: &str) -> io::Result<()> {
        fault::point("directory: publish")?;
        match rustix::fs::renameat_with(
            &*self.handle,
            from,
            &*self.handle,
            to,
            RenameFlags::NOREPLACE,
        ) {
            Ok(()) => Ok(()),
            // File systems that cannot: a link refuses an existing name just as well.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                rustix::fs::linkat(&*self.handle, from, &*self.handle, to, AtFlags::empty())?;
                Ok(rustix::fs::unlinkat(&*self.handle, from, AtFlags::empty())?)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn replace(&self, from: &str, to: &str) -> io::Result<()> {
        fault::point("directory: replace")?;
        Ok(rustix::fs::renameat(
            &*self.handle,
            from,
            &*self.handle,
            to,
        )?)
    }

    fn link(&self, from: &str, to: &str) -> io::Result<bool> {
        let linked = fault::point("directory: link").and_then(|()| {
            let flags = AtFlags::empty();
            Ok(rustix::fs::linkat(
                &*self.handle,
                from,
                &*self.handle,
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

    /// A file that has one name, as nearly all have, is not compared with the others.
    fn other_names(&self, name: &str) -> io::Result<Vec<String>> {
        let status = self.status_of(name)?.ok_or(io::ErrorKind::NotFound)?;
        if status.st_nlink < 2 {
            return Ok(Vec::new());
        }
        let mut others = Vec::new();
        for other in self.entries()? {
            if let Some(found) = self.status_of(&other)?
                && other != name
                && found.st_ino == status.st_ino
            {
                others.push(other);
            }
        }
        Ok(others)
    }

    fn remove(&self, name: &str) -> io::Result<bool> {
        fault::point("directory: remove")?;
        match rustix::fs::unlinkat(&*self.handle, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn id_of(&self, name: &str) -> io::Result<Option<FileId>> {
        let status = self.status_of(name)?;
        Ok(status.map(|status| local_id(status.st_dev, status.st_ino)))
    }

    fn is_directory(&self, name: &str) -> io::Result<bool> {
        let status = self.status_of(name)?.ok_or(io::ErrorKind::NotFound)?;
        Ok(rustix::fs::FileType::from_raw_mode(status.st_mode).is_dir())
    }

    /// One sync serves all threads that wait for one.
    fn sync(&self) -> io::Result<()> {
        fault::point("directory: sync")?;
        self.sync.sync(&self.handle)
    }

    /// As XenServer counts them.
    ///
    /// Source: `(blocks, blocks - bfree) * frsize` of statvfs.
    fn space(&self) -> io::Result<SrSpace> {
        let status = rustix::fs::fstatvfs(&*self.handle)?;
        Ok(SrSpace {
            physical_size: status.f_blocks.saturating_mul(status.f_frsize),
            physical_utilisation: status
                .f_blocks
                .saturating_sub(status.f_bfree)
                .saturating_mul(status.f_frsize),
        })
    }
}

impl UnnamedFile for Unnamed {
    fn file(&self) -> &Arc<dyn MediumFile> {
        &self.file
    }

    fn name(&self, name: &str) -> io::Result<bool> {
        fault::point("directory: name file")?;
        // The way that needs no privilege; it needs /proc.
        let path = format!("/proc/self/fd/{}", self.local.file().as_raw_fd());
        let flags = AtFlags::SYMLINK_FOLLOW;
        match rustix::fs::linkat(rustix::fs::CWD, path, &*self.directory, name, flags) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT | Errno::PERM | Errno::OPNOTSUPP | Errno::XDEV) => Ok(false),
            Err(error) => Err(error.into()),
        }
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
        let unnamed = directory.create_unnamed_file().unwrap();
        assert!(directory.entries().unwrap().is_empty());
        directory.create_file("taken").unwrap();
        let error = unnamed.name("taken").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert!(unnamed.name("free").unwrap());
        assert!(directory.names("free", &**unnamed.file()).unwrap());
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
