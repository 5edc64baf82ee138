//! One VDI opened for a consumer.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use nbd::{BlockStatus, Export, Extent};
use uuid::Uuid;

use super::names::{ImageFormat, ImageName};
use super::parents::SrParents;
use super::{Error, Result};
use crate::io::lock::{LockMode, try_lock};
use crate::io::positional::{Allocation, PositionalFile};
use crate::medium::directory::Directory;
use crate::sr::OpenMode;

/// An image with its parents, open and locked until it is closed or dropped.
///
/// The lock is a flock on the image file: exclusive for writing, shared for reading and on parents. So an image is
/// written by one opener in one process, and never read by others meanwhile.
#[derive(Debug)]
pub struct OpenImage {
    name: ImageName,
    path: PathBuf,
    size: u64,
    read_only: bool,
    /// None once it is closed.
    backing: RwLock<Option<Backing>>,
    /// True when something was written since the last flush began.
    dirty: AtomicBool,
    /// True after a failed flush of a raw image, whose later flushes nobody could believe: the kernel tells of a lost
    /// write once. A chain knows that of itself.
    raw_poisoned: AtomicBool,
    /// An image that fails goes on failing: only the first time is worth a line in the log.
    failure_logged: AtomicBool,
}

enum Backing {
    Vhd(vhd::Chain),
    Raw(PositionalFile),
}

impl std::fmt::Debug for Backing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Backing::Vhd(_) => "Vhd",
            Backing::Raw(_) => "Raw",
        })
    }
}

impl OpenImage {
    /// Locks and opens an image whose file was opened with the access that `mode` needs.
    ///
    /// # Errors
    /// `InUse` when another opener excludes this one, `Missing` when it was removed meanwhile, `Image` when it or a
    /// parent is damaged or not there.
    pub fn open(
        directory: Arc<Directory>,
        name: ImageName,
        file: File,
        mode: OpenMode,
    ) -> Result<Self> {
        let path = directory.path().join(name.file_name());
        let io_error = |action, source| Error::Io {
            action,
            path: path.clone(),
            source,
        };
        let (lock_mode, access) = match mode {
            OpenMode::ReadOnly => (LockMode::Shared, vhd::Access::ReadOnly),
            OpenMode::ReadWrite => (LockMode::Exclusive, vhd::Access::ReadWrite),
        };
        if !try_lock(&file, lock_mode).map_err(|source| io_error("lock", source))? {
            return Err(Error::InUse { uuid: name.uuid });
        }
        if !directory
            .names(&name.file_name(), &file)
            .map_err(|source| io_error("look at", source))?
        {
            return Err(Error::Missing {
                uuid: name.uuid,
                directory: directory.path().to_owned(),
            });
        }
        let file = PositionalFile::locked(file);
        let (backing, size) = match name.format {
            ImageFormat::Raw => {
                let size = file
                    .size()
                    .map_err(|source| io_error("get the length of", source))?;
                (Backing::Raw(file), size)
            }
            ImageFormat::Vhd => {
                let chain = vhd::Chain::open(Arc::new(file), &SrParents::new(directory), access)
                    .map_err(|source| Error::Image {
                        action: "open",
                        path: path.clone(),
                        source,
                    })?;
                let size = chain.size();
                (Backing::Vhd(chain), size)
            }
        };
        Ok(OpenImage {
            name,
            path,
            size,
            read_only: mode == OpenMode::ReadOnly,
            backing: RwLock::new(Some(backing)),
            dirty: AtomicBool::new(false),
            raw_poisoned: AtomicBool::new(false),
            failure_logged: AtomicBool::new(false),
        })
    }

    /// The VDI.
    pub fn uuid(&self) -> Uuid {
        self.name.uuid
    }

    /// False once it is closed.
    pub fn is_open(&self) -> bool {
        self.backing
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    /// Flushes what was written since the last flush, if anything; a failure is logged and reported to the consumer by its
    /// next call, since the image is then poisoned.
    pub fn flush_in_background(&self) {
        if self.dirty.load(Ordering::Acquire) && self.is_open() {
            // Logged by `flush`.
            let _ = self.flush();
        }
    }

    /// Runs `operation` on what is behind the export.
    fn with_backing<T>(
        &self,
        action: &'static str,
        operation: impl FnOnce(&Backing) -> io::Result<T>,
    ) -> io::Result<T> {
        let backing = self.backing.read().unwrap_or_else(PoisonError::into_inner);
        let Some(backing) = backing.as_ref() else {
            return Err(io::Error::other(Error::Closed {
                uuid: self.name.uuid,
            }));
        };
        self.usable()?;
        operation(backing).inspect_err(|error| self.log_failure(action, error))
    }

    /// Refuses calls after a failed flush of a raw image.
    fn usable(&self) -> io::Result<()> {
        if self.raw_poisoned.load(Ordering::Acquire) {
            let uuid = self.name.uuid;
            return Err(io::Error::other(Error::Poisoned { uuid }));
        }
        Ok(())
    }

    fn sync_raw(&self, file: &PositionalFile) -> io::Result<()> {
        self.usable()?;
        file.sync_data()
            .inspect_err(|_| self.raw_poisoned.store(true, Ordering::Release))
    }

    fn log_failure(&self, action: &'static str, error: &io::Error) {
        if !self.failure_logged.swap(true, Ordering::Relaxed) {
            let mut causes = String::new();
            let mut cause = std::error::Error::source(error);
            while let Some(error) = cause {
                causes.push_str(": ");
                causes.push_str(&error.to_string());
                cause = error.source();
            }
            tracing::error!(
                vdi.uuid = %self.name.uuid,
                image.path = %self.path.display(),
                "could not {action} image: {error}{causes}; later failures of this image are not logged until it is reopened"
            );
        }
    }

    /// Runs a write, and notes it when it is over: a flush that began before may have missed it.
    fn write_with(
        &self,
        action: &'static str,
        operation: impl FnOnce(&Backing) -> io::Result<()>,
    ) -> io::Result<()> {
        let outcome = self.with_backing(action, operation);
        self.dirty.store(true, Ordering::Release);
        outcome
    }
}

impl Export for OpenImage {
    fn size(&self) -> u64 {
        self.size
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.with_backing("read", |backing| match backing {
            Backing::Vhd(chain) => chain.read_at(buffer, offset).map_err(io::Error::from),
            Backing::Raw(file) => file.read_exact_at(buffer, offset),
        })
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.write_with("write", |backing| match backing {
            Backing::Vhd(chain) => chain.write_at(data, offset).map_err(io::Error::from),
            Backing::Raw(file) => file.write_all_at(data, offset),
        })
    }

    fn write_zeroes_at(&self, offset: u64, length: u64) -> io::Result<()> {
        self.write_with("write zeros to", |backing| match backing {
            Backing::Vhd(chain) => chain.write_zeroes(offset, length).map_err(io::Error::from),
            Backing::Raw(file) => file.punch_hole(offset, length),
        })
    }

    fn trim_at(&self, offset: u64, length: u64) -> io::Result<()> {
        self.write_with("trim", |backing| match backing {
            Backing::Vhd(chain) => chain.discard(offset, length).map_err(io::Error::from),
            Backing::Raw(file) => file.punch_hole(offset, length),
        })
    }

    fn flush(&self) -> io::Result<()> {
        if self.read_only {
            return Ok(());
        }
        self.dirty.store(false, Ordering::Release);
        self.with_backing("flush", |backing| match backing {
            Backing::Vhd(chain) => chain.flush().map_err(io::Error::from),
            Backing::Raw(file) => self.sync_raw(file),
        })
    }

    fn block_status(&self, offset: u64, length: u64, limit: usize) -> io::Result<Vec<Extent>> {
        self.with_backing("look at the blocks of", |backing| match backing {
            Backing::Vhd(chain) => {
                let extents = chain
                    .block_status(offset, length, limit)
                    .map_err(io::Error::from)?;
                Ok(extents.into_iter().map(vhd_extent).collect())
            }
            Backing::Raw(file) => raw_status(file, offset, length, limit),
        })
    }

    /// Flushes, closes the files and releases their locks. Closing twice is no error.
    fn close(&self) -> io::Result<()> {
        let backing = self
            .backing
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let closed = match &backing {
            None => return Ok(()),
            Some(_) if self.read_only => Ok(()),
            Some(Backing::Vhd(chain)) => chain.close().map_err(io::Error::from),
            Some(Backing::Raw(file)) => self.sync_raw(file),
        };
        closed.inspect_err(|error| self.log_failure("close", error))
    }
}

impl Drop for OpenImage {
    fn drop(&mut self) {
        // Logged by `close`; whoever wants to know calls it himself.
        let _ = self.close();
    }
}

fn vhd_extent(extent: vhd::Extent) -> Extent {
    let status = match extent.status {
        vhd::ExtentStatus::Data => BlockStatus::Data,
        vhd::ExtentStatus::Hole => BlockStatus::Hole,
    };
    Extent {
        length: extent.length,
        status,
    }
}

fn raw_status(
    file: &PositionalFile,
    offset: u64,
    length: u64,
    limit: usize,
) -> io::Result<Vec<Extent>> {
    let mut extents = Vec::new();
    let mut done = 0;
    while done < length && extents.len() < limit {
        let (allocation, run) = file.allocation(offset + done, length - done)?;
        let status = match allocation {
            Allocation::Data => BlockStatus::Data,
            Allocation::Hole => BlockStatus::Hole,
        };
        extents.push(Extent {
            length: run,
            status,
        });
        done += run;
    }
    Ok(extents)
}
