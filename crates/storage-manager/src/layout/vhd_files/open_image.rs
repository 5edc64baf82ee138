//! One VDI opened for a consumer.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Instant;

use nbd::{BlockStatus, ContextExtent, Export, Extent};
use uuid::Uuid;

use super::cbt::{ChangeLogs, ChangeTracker};
use super::names::{ImageFormat, ImageName};
use super::open_images::{Hold, OpenImages, Use};
use super::parents::SrParents;
use super::paused::Paused;
use super::{Error, Result};
use crate::io::lock::LockMode;
use crate::io::positional::Allocation;
use crate::layout::cbt_log::ChangeLog;
use crate::medium::files::{Files, MediumFile, Room};
use crate::sr::OpenMode;

/// An image with its parents, open and locked until it is closed or dropped.
///
/// Within the process [`OpenImages`] says who may have it; a flock on the image file, exclusive for writing, shared for
/// reading and on parents, says so to other processes.
#[derive(Debug)]
pub struct OpenImage {
    name: ImageName,
    images: Arc<OpenImages>,
    path: PathBuf,
    size: AtomicU64,
    read_only: bool,
    /// Held shared while a flush runs, exclusively around a pause: so a pause begins when no flush is under way, and
    /// reads and writes need not wait for one. Taken before `backing`.
    flushes: RwLock<()>,
    /// None once it is closed.
    backing: RwLock<Option<Backing>>,
    /// True when something was written since the last flush began.
    dirty: AtomicBool,
    /// True after a failed flush of a raw image, whose later flushes nobody could believe: the kernel tells of a lost
    /// write once. A chain knows that of itself.
    raw_poisoned: AtomicBool,
    /// An image that fails goes on failing: only the first time is worth a line in the log.
    failure_logged: AtomicBool,
    /// Notes what is written, for a VHD that is open for writing.
    tracker: Option<Arc<ChangeTracker>>,
    logs: Arc<ChangeLogs>,
    files: Arc<dyn Files>,
    /// The log of an image that is open for reading, read when a reader first asks for it.
    recorded: OnceLock<Option<ChangeLog>>,
}

/// The metadata context in which readers see what has changed since the predecessor of an image.
const CHANGES_CONTEXT: &str = "qemu:dirty-bitmap:cbt";

/// The flag of a changed range in [`CHANGES_CONTEXT`].
///
/// Source: qemu, `docs/interop/nbd.txt`.
const DIRTY: u32 = 1;

/// What is behind the export, and what is held for it.
#[derive(Debug)]
pub(super) struct Backing {
    pub format: Format,
    /// The file that is read and written, which has its flock.
    pub leaf: Arc<dyn MediumFile>,
    /// The image itself.
    pub hold: Hold,
    /// The parents, none for a raw image.
    pub parents: Vec<Hold>,
}

pub(super) enum Format {
    Vhd(vhd::Chain),
    Raw,
}

impl std::fmt::Debug for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Format::Vhd(_) => "Vhd",
            Format::Raw => "Raw",
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
        files: &Arc<dyn Files>,
        images: &Arc<OpenImages>,
        logs: &Arc<ChangeLogs>,
        name: ImageName,
        file: Arc<dyn MediumFile>,
        mode: OpenMode,
    ) -> Result<Self> {
        let path = files.path().join(name.file_name());
        let backing = open_backing(files, images, name, file, mode)?;
        let size = backing.size().map_err(|source| Error::Io {
            action: "get the length of",
            path: path.clone(),
            source,
        })?;
        let tracker = match (&backing.format, mode) {
            (Format::Vhd(_), OpenMode::ReadWrite) => {
                let leaf: Arc<dyn vhd::Storage> = backing.leaf.clone();
                Some(logs.open(name.uuid, Some(leaf), size, &path)?)
            }
            _ => None,
        };
        Ok(OpenImage {
            name,
            images: images.clone(),
            path,
            size: AtomicU64::new(size),
            read_only: mode == OpenMode::ReadOnly,
            flushes: RwLock::new(()),
            backing: RwLock::new(Some(backing)),
            dirty: AtomicBool::new(false),
            raw_poisoned: AtomicBool::new(false),
            failure_logged: AtomicBool::new(false),
            tracker,
            logs: logs.clone(),
            files: files.clone(),
            recorded: OnceLock::new(),
        })
    }

    /// Holds off the consumer, flushes, and lets `change` replace what is behind the export; then the consumer goes on.
    ///
    /// The consumer's calls wait meanwhile, so `change` does what cannot be done before or after. It is flushed once
    /// while the consumer goes on, so that little is left for the flush in the pause.
    ///
    /// # Errors
    /// Those of `change`, whose effect is then its own affair; `Io` when the image could not be flushed, and nothing else
    /// has happened; `Closed`.
    ///
    /// # Durability
    /// When `change` is called, every write that has returned to the consumer is on stable storage.
    pub fn with_paused<T>(&self, change: impl FnOnce(&mut Paused<'_>) -> Result<T>) -> Result<T> {
        let flush_failed = |source| Error::Io {
            action: "flush",
            path: self.path.clone(),
            source,
        };
        let closed = || Error::Closed {
            uuid: self.name.uuid,
        };
        if !self.is_open() {
            return Err(closed());
        }
        self.flush().map_err(flush_failed)?;
        let _no_flush = self.flushes.write().unwrap_or_else(PoisonError::into_inner);
        let begun = Instant::now();
        let mut backing = self.backing.write().unwrap_or_else(PoisonError::into_inner);
        let paused = backing.as_mut().ok_or_else(closed)?;
        if self.dirty.swap(false, Ordering::AcqRel) {
            self.flush_backing(paused)
                .inspect_err(|error| self.log_failure("flush", error))
                .map_err(flush_failed)?;
        }
        let outcome = change(&mut Paused::new(&mut backing, &self.path));
        if let Some(backing) = backing.as_ref()
            && let Ok(size) = backing.size()
        {
            self.size.store(size, Ordering::Release);
        }
        drop(backing);
        self.images.pauses().add(begun.elapsed());
        outcome
    }

    /// Holds off the consumer for a change that needs no flush: nothing is read or written for the pause itself.
    ///
    /// # Errors
    /// Those of `change`; `Closed`.
    pub fn hold_off<T>(&self, change: impl FnOnce(&mut Paused<'_>) -> Result<T>) -> Result<T> {
        let _no_flush = self.flushes.write().unwrap_or_else(PoisonError::into_inner);
        let begun = Instant::now();
        let mut backing = self.backing.write().unwrap_or_else(PoisonError::into_inner);
        if backing.is_none() {
            return Err(Error::Closed {
                uuid: self.name.uuid,
            });
        }
        let outcome = change(&mut Paused::new(&mut backing, &self.path));
        drop(backing);
        self.images.pauses().add(begun.elapsed());
        outcome
    }

    /// Looks at the chain while the consumer goes on; none for a raw image and once it is closed.
    pub fn with_chain<T>(&self, look: impl FnOnce(&vhd::Chain) -> T) -> Option<T> {
        let backing = self.backing.read().unwrap_or_else(PoisonError::into_inner);
        match &backing.as_ref()?.format {
            Format::Vhd(chain) => Some(look(chain)),
            Format::Raw => None,
        }
    }

    /// The file of the image that is served; none once it is closed.
    pub fn leaf_file(&self) -> Option<Arc<dyn MediumFile>> {
        let backing = self.backing.read().unwrap_or_else(PoisonError::into_inner);
        Some(backing.as_ref()?.leaf.clone())
    }

    /// True when it reads through this image.
    pub fn has_parent(&self, name: ImageName) -> bool {
        let backing = self.backing.read().unwrap_or_else(PoisonError::into_inner);
        let parents = backing.as_ref().map(|backing| &backing.parents);
        parents.is_some_and(|parents| parents.iter().any(|hold| hold.name() == name))
    }

    fn flush_backing(&self, backing: &Backing) -> io::Result<()> {
        self.usable()?;
        if let Some(tracker) = &self.tracker {
            tracker.publish();
        }
        match &backing.format {
            _ if self.read_only => Ok(()),
            Format::Vhd(chain) => chain.flush().map_err(io::Error::from),
            Format::Raw => self.sync_raw(&*backing.leaf),
        }
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

    /// What has changed since the predecessor's log ended; none where there is no predecessor, since without it nobody
    /// could tell since when.
    fn changes(&self) -> Option<Cow<'_, ChangeLog>> {
        let log = match &self.tracker {
            Some(tracker) => tracker.log().map(Cow::Owned),
            None => self.recorded_changes().map(Cow::Borrowed),
        };
        log.filter(|log| log.header.parent.is_some())
    }

    fn recorded_changes(&self) -> Option<&ChangeLog> {
        let recorded = self.recorded.get_or_init(|| {
            let read = self.logs.log_of(self.name.uuid);
            let read = read.inspect_err(|error| {
                tracing::warn!(vdi.uuid = %self.name.uuid, error = %error.chain_text(), "could not read a change-tracking log; offer none");
            });
            read.ok().flatten().filter(|log| log.header.consistent)
        });
        recorded.as_ref()
    }

    /// Refuses calls after a failed flush of a raw image.
    fn usable(&self) -> io::Result<()> {
        if self.raw_poisoned.load(Ordering::Acquire) {
            let uuid = self.name.uuid;
            return Err(io::Error::other(Error::Poisoned { uuid }));
        }
        Ok(())
    }

    fn sync_raw(&self, file: &dyn MediumFile) -> io::Result<()> {
        self.usable()?;
        file.flush()
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

    /// Runs a write of a range. Its blocks are marked before; that there is something to flush is noted when it is over: a
    /// flush that began before may have missed it.
    fn write_with(
        &self,
        action: &'static str,
        (offset, length): (u64, u64),
        operation: impl FnOnce(&Backing) -> io::Result<()>,
    ) -> io::Result<()> {
        self.images.activity().note_use();
        let outcome = self.with_backing(action, |backing| {
            // Not before the backing is held: between the mark and the write nobody may swap the log.
            if let Some(tracker) = &self.tracker {
                tracker.mark(offset, length);
            }
            operation(backing)
        });
        self.dirty.store(true, Ordering::Release);
        outcome
    }
}

impl Export for OpenImage {
    fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.images.activity().note_use();
        self.with_backing("read", |backing| match &backing.format {
            Format::Vhd(chain) => chain.read_at(buffer, offset).map_err(io::Error::from),
            Format::Raw => backing.leaf.read_at(buffer, offset),
        })
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let range = (offset, data.len() as u64);
        self.write_with("write", range, |backing| match &backing.format {
            Format::Vhd(chain) => chain.write_at(data, offset).map_err(io::Error::from),
            Format::Raw => backing.leaf.write_at(data, offset),
        })
    }

    fn write_zeroes_at(&self, offset: u64, length: u64) -> io::Result<()> {
        self.write_with(
            "write zeros to",
            (offset, length),
            |backing| match &backing.format {
                Format::Vhd(chain) => chain.write_zeroes(offset, length).map_err(io::Error::from),
                Format::Raw => zero_raw(&*backing.leaf, offset, length),
            },
        )
    }

    fn trim_at(&self, offset: u64, length: u64) -> io::Result<()> {
        self.write_with("trim", (offset, length), |backing| match &backing.format {
            Format::Vhd(chain) => chain.discard(offset, length).map_err(io::Error::from),
            // A medium that cannot give the space back keeps it.
            Format::Raw => backing.leaf.punch_hole(offset, length).map(drop),
        })
    }

    fn flush(&self) -> io::Result<()> {
        if self.read_only {
            return Ok(());
        }
        let _pause_waits = self.flushes.read().unwrap_or_else(PoisonError::into_inner);
        self.dirty.store(false, Ordering::Release);
        self.with_backing("flush", |backing| self.flush_backing(backing))
    }

    fn block_status(&self, offset: u64, length: u64, limit: usize) -> io::Result<Vec<Extent>> {
        self.with_backing("look at the blocks of", |backing| match &backing.format {
            Format::Vhd(chain) => {
                let extents = chain
                    .block_status(offset, length, limit)
                    .map_err(io::Error::from)?;
                Ok(extents.into_iter().map(vhd_extent).collect())
            }
            Format::Raw => raw_status(&*backing.leaf, offset, length, limit),
        })
    }

    fn contexts(&self) -> Vec<String> {
        self.changes()
            .map(|_| CHANGES_CONTEXT.to_owned())
            .into_iter()
            .collect()
    }

    fn context_status(
        &self,
        context: &str,
        offset: u64,
        length: u64,
        limit: usize,
    ) -> io::Result<Vec<ContextExtent>> {
        let log = self
            .changes()
            .filter(|_| context == CHANGES_CONTEXT)
            .ok_or(io::ErrorKind::Unsupported)?;
        let runs = log.blocks.runs(offset, length, limit);
        let extents = runs.into_iter().map(|run| ContextExtent {
            length: run.length,
            flags: if run.changed { DIRTY } else { 0 },
        });
        Ok(extents.collect())
    }

    /// Flushes, closes the files and releases their locks. Closing twice is no error.
    fn close(&self) -> io::Result<()> {
        // Kept to the end, so that whoever sees the image closed finds its files flushed and let go of.
        let mut open = self.backing.write().unwrap_or_else(PoisonError::into_inner);
        let Some(backing) = open.take() else {
            return Ok(());
        };
        let closed = match &backing.format {
            _ if self.read_only => Ok(()),
            Format::Vhd(chain) => chain.close().map_err(io::Error::from),
            Format::Raw => self.sync_raw(&*backing.leaf),
        };
        // While the image is still locked: the next opener must find the log closed.
        if let Some(tracker) = &self.tracker {
            self.logs.close(tracker, closed.is_ok());
        }
        // While nobody else can have it.
        if !self.read_only
            && closed.is_ok()
            && let Err(error) = self.files.provide(&self.name.file_name(), Room::Resting)
        {
            tracing::warn!(vdi.uuid = %self.name.uuid, %error, "an image that was closed keeps more room than it needs");
        }
        drop(backing);
        drop(open);
        closed.inspect_err(|error| self.log_failure("close", error))
    }
}

impl Drop for OpenImage {
    fn drop(&mut self) {
        // Logged by `close`; whoever wants to know calls it himself.
        let _ = self.close();
    }
}

impl Backing {
    fn size(&self) -> io::Result<u64> {
        match &self.format {
            Format::Vhd(chain) => Ok(chain.size()),
            Format::Raw => self.leaf.len(),
        }
    }
}

/// Holds, locks and opens an image and its parents.
pub(super) fn open_backing(
    files: &Arc<dyn Files>,
    images: &Arc<OpenImages>,
    name: ImageName,
    file: Arc<dyn MediumFile>,
    mode: OpenMode,
) -> Result<Backing> {
    let path = files.path().join(name.file_name());
    let io_error = |action, source| Error::Io {
        action,
        path: path.clone(),
        source,
    };
    let (wanted, lock_mode, access) = match mode {
        OpenMode::ReadOnly => (Use::Read, LockMode::Shared, vhd::Access::ReadOnly),
        OpenMode::ReadWrite => (Use::Write, LockMode::Exclusive, vhd::Access::ReadWrite),
    };
    let in_use = || Error::InUse { uuid: name.uuid };
    let hold = images.hold(name, wanted).ok_or_else(in_use)?;
    if !file
        .try_lock(lock_mode)
        .map_err(|source| io_error("lock", source))?
    {
        return Err(in_use());
    }
    let is_current = files.names(&name.file_name(), &*file);
    if !is_current.map_err(|source| io_error("look at", source))? {
        return Err(Error::Missing {
            uuid: name.uuid,
            directory: files.path().to_owned(),
        });
    }
    let leaf = file;
    let (format, parents) = match name.format {
        ImageFormat::Raw => (Format::Raw, Vec::new()),
        ImageFormat::Vhd => {
            let resolver = SrParents::new(files.clone(), images.clone());
            let chain = vhd::Chain::open(leaf.clone(), &resolver, access);
            let chain = chain.map_err(|source| Error::Image {
                action: "open",
                path: path.clone(),
                source,
            })?;
            (Format::Vhd(chain), resolver.into_holds())
        }
    };
    Ok(Backing {
        format,
        leaf,
        hold,
        parents,
    })
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

fn zero_raw(file: &dyn MediumFile, offset: u64, length: u64) -> io::Result<()> {
    match file.punch_hole(offset, length)? {
        true => Ok(()),
        false => file.write_zeroes_at(offset, length),
    }
}

fn raw_status(
    file: &dyn MediumFile,
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
