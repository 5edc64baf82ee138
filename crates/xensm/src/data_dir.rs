//! The directory that holds everything of an installation on one machine.
//!
//! ```text
//! xensm.db             the database (SQLite), unless another URL is configured
//! secrets.toml         master key and storage manager password, mode 0600
//! clouds.yaml openrc.sh ec2rc.sh xenapi.sh    credentials for clients, mode 0600
//! storage-manager/     the embedded Storage Manager: object database, key, certificate, NBD sockets
//! xenapi.sock          its XenAPI on a unix socket
//! backends/default/    the SR directory of the first start's flavor
//! serve.lock           held while `xensm serve` or `xensm storage-manager` runs
//! ```

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::failure::{Exit, Failure, Result};

/// How long a start waits for the lock: a process that was killed holds it for a moment.
const LOCK_PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);
/// How often it tries.
const LOCK_POLL: std::time::Duration = std::time::Duration::from_millis(20);

/// The longest path of a unix socket that the kernel takes.
const SOCKET_PATH_MAX: usize = 107;

/// A data directory.
#[derive(Clone, Debug)]
pub struct DataDir {
    root: PathBuf,
}

/// Held while a process serves from the directory.
#[derive(Debug)]
pub struct ServeLock {
    _file: File,
}

impl DataDir {
    /// Names a directory that need not exist yet.
    pub fn new(root: &Path) -> Result<Self> {
        let root = std::path::absolute(root).map_err(|cause| {
            Failure::failed(
                format!("find the data directory {}", root.display()),
                &cause,
            )
        })?;
        Ok(DataDir { root })
    }

    /// Makes the directory (mode 0700) when it is not there, and checks that sockets fit below it.
    pub fn create(&self) -> Result<()> {
        if self.socket().as_os_str().len() > SOCKET_PATH_MAX {
            return Err(Failure::new(
                Exit::Usage,
                format!(
                    "the path of the data directory {} is too long for unix sockets",
                    self.root.display()
                ),
            )
            .hint(format!(
                "choose a --data-dir so that {} has at most {SOCKET_PATH_MAX} bytes",
                self.socket().display()
            )));
        }
        if self.root.is_dir() {
            return Ok(());
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.root)
            .map_err(|cause| {
                Failure::failed(
                    format!("create the data directory {}", self.root.display()),
                    &cause,
                )
            })
    }

    /// Takes the lock of a serving process, or says who holds it.
    pub fn lock(&self) -> Result<ServeLock> {
        let path = self.root.join("serve.lock");
        let attempt = format!("lock {}", path.display());
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            // A link that somebody put here would have its target emptied below.
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path)
            .map_err(|cause| Failure::failed(&attempt, &cause))?;
        // A process that was killed holds it until the system has cleared it away.
        let started = std::time::Instant::now();
        let mut locked = file.try_lock();
        while matches!(locked, Err(TryLockError::WouldBlock)) && started.elapsed() < LOCK_PATIENCE {
            std::thread::sleep(LOCK_POLL);
            locked = file.try_lock();
        }
        match locked {
            Ok(()) => {
                let written = file
                    .set_len(0)
                    .and_then(|()| write!(file, "{}", std::process::id()));
                written.map_err(|cause| Failure::failed(&attempt, &cause))?;
                Ok(ServeLock { _file: file })
            }
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                Err(Failure::new(
                    Exit::Conflict,
                    format!(
                        "process {} already serves from {}",
                        holder.trim(),
                        self.root.display()
                    ),
                )
                .hint("stop it, or give this one another directory with --data-dir"))
            }
            Err(TryLockError::Error(cause)) => Err(Failure::failed(&attempt, &cause)),
        }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The default database URL.
    pub fn database_url(&self) -> String {
        format!("sqlite://{}", self.root.join("xensm.db").display())
    }

    /// The embedded Storage Manager's own directory.
    pub fn storage_manager(&self) -> PathBuf {
        self.root.join("storage-manager")
    }

    /// The embedded Storage Manager's unix socket.
    pub fn socket(&self) -> PathBuf {
        self.root.join("xenapi.sock")
    }

    /// The SR directory of the first start's flavor.
    pub fn default_backend(&self) -> PathBuf {
        self.root.join("backends").join("default")
    }

    /// A file directly in the directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

/// Writes a file that only its owner may read, so that after a crash it is there whole or not at all.
///
/// # Durability
/// 1. The content goes into a new file with a name of chance, which no other process writes and no link leads away from.
/// 2. The file is flushed. A crash up to here leaves that file, which nobody reads.
/// 3. It gets its name, and the directory is flushed. On return the content and the name are on stable storage.
pub fn write_private(path: &Path, content: &str) -> Result<()> {
    let attempt = format!("write {}", path.display());
    let directory = path.parent().unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        // Mode 0600, and never one that is there already.
        let mut file = tempfile::Builder::new()
            .prefix(".xensm-")
            .suffix(".new")
            .tempfile_in(directory)?;
        file.write_all(content.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(|cause| Failure::failed(attempt, &cause))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn no_link_leads_a_file_of_ours_away() {
        let directory = tempfile::tempdir().unwrap();
        let theirs = directory.path().join("theirs");
        std::fs::write(&theirs, "theirs").unwrap();
        let data_dir = DataDir::new(&directory.path().join("data")).unwrap();
        data_dir.create().unwrap();
        for name in ["secrets.toml", "secrets.new", "serve.lock"] {
            symlink(&theirs, data_dir.file(name)).unwrap();
        }
        let path = data_dir.file("secrets.toml");
        write_private(&path, "ours").unwrap();
        let found = std::fs::symlink_metadata(&path).unwrap();
        assert!(found.is_file(), "the name is a file's, no link");
        assert_eq!(found.permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "ours");
        assert!(data_dir.lock().is_err(), "it would write into their file");
        assert_eq!(std::fs::read_to_string(&theirs).unwrap(), "theirs");
        let left = std::fs::read_dir(data_dir.root()).unwrap().count();
        assert_eq!(left, 3, "nothing else is left");
    }
}
