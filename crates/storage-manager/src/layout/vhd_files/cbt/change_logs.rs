//! The logs of an SR directory and the chain that they form.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use uuid::Uuid;

use super::allocation::blocks_of_leaf;
use super::log_file;
use super::tracker::{ChangeTracker, Tracking};
use crate::layout::cbt_log::{ChainError, ChangeLog, Header, changed_between, log_length};
use crate::layout::vhd_files::names::{EntryKind, cbt_log_of, classify};
use crate::layout::vhd_files::{Error, Result};
use crate::medium::files::{Access, Files};

/// Why there is no list of changed blocks.
pub type ChangedBlocksError = ChainError<Error>;

/// What is shown of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSummary {
    /// Size of the VDI in bytes.
    pub size: u64,
    /// Length of the log in bytes.
    pub length: u64,
}

/// The logs of an SR directory.
///
/// A log that nobody has open is consistent: what is not is mended when the SR is attached and when a VDI is opened.
#[derive(Debug)]
pub struct ChangeLogs {
    pub(super) files: Arc<dyn Files>,
    /// The trackers of the VDIs that are open for writing. Held while logs are linked, so that one change of the chain is
    /// made at a time; consumers' reads and writes never wait for it.
    open: Mutex<Trackers>,
}

pub(super) type Trackers = BTreeMap<Uuid, Weak<ChangeTracker>>;

impl ChangeLogs {
    /// The logs in this directory.
    pub fn new(files: Arc<dyn Files>) -> Self {
        ChangeLogs {
            files,
            open: Mutex::default(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Trackers> {
        // Changed by single assignments; what is on the medium is mended by whoever comes next.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to track a VDI that was opened for writing. `leaf` is its image, none when it is raw; `size` its size.
    ///
    /// Before this returns the flag of its log is clear on stable storage. A log that was not closed cleanly is completed
    /// with the blocks of the leaf. A log that cannot be written any more is dropped, since it would soon be wrong.
    ///
    /// # Errors
    /// When such a log cannot be removed either: the VDI must not be written then.
    pub fn open(
        &self,
        vdi: Uuid,
        leaf: Option<Arc<dyn vhd::Storage>>,
        size: u64,
        path: &Path,
    ) -> Result<Arc<ChangeTracker>> {
        let mut open = self.lock();
        open.retain(|_, tracker| tracker.strong_count() > 0);
        let tracking = match self.complete(vdi, leaf, size, path, true) {
            Ok(tracking) => tracking,
            Err(error) => {
                self.drop_damaged(vdi, &error)?;
                None
            }
        };
        let tracker = Arc::new(ChangeTracker::new(vdi, tracking));
        open.insert(vdi, Arc::downgrade(&tracker));
        Ok(tracker)
    }

    /// Ends the tracking of a VDI: its log is closed, and from here on the file is what counts.
    pub fn close(&self, tracker: &Arc<ChangeTracker>, image_is_clean: bool) {
        let mut open = self.lock();
        tracker.close(image_is_clean);
        let is_this = |listed: &Weak<ChangeTracker>| Weak::as_ptr(listed) == Arc::as_ptr(tracker);
        if open.get(&tracker.vdi()).is_some_and(is_this) {
            open.remove(&tracker.vdi());
        }
    }

    /// Completes a log that was not closed cleanly, fits it to the VDI's size, and notes that it is open or closed.
    ///
    /// One that another storage manager left open is dropped: it may lack bits that no leaf knows of any more.
    pub(super) fn complete(
        &self,
        vdi: Uuid,
        leaf: Option<Arc<dyn vhd::Storage>>,
        size: u64,
        path: &Path,
        is_open: bool,
    ) -> Result<Option<Tracking>> {
        let Some((file, header)) = log_file::open(&*self.files, vdi)? else {
            return Ok(None);
        };
        if !header.consistent && !header.open_here {
            self.drop_damaged(vdi, &Error::LogInconsistent { vdi })?;
            return Ok(None);
        }
        let mut log = log_file::content(&*self.files, vdi, &*file, header)?;
        let is_complete = log.header.consistent && log.header.size == size;
        if !log.header.consistent
            && let Some(leaf) = leaf
        {
            tracing::info!(vdi.uuid = %vdi, "complete a change-tracking log that was not closed with the blocks of the image");
            log.blocks
                .union(&blocks_of_leaf(&leaf, log.header.size, path)?);
        }
        log.resize(size);
        log.set_open(is_open);
        let written = match is_complete {
            true => log_file::write_header(&*file, &log.header),
            false => log_file::write_blocks(&*file, &log),
        };
        written.map_err(|source| log_file::io_error(&*self.files, "write", vdi, source))?;
        Ok(Some(Tracking::new(file, &log)))
    }

    fn drop_damaged(&self, vdi: Uuid, error: &Error) -> Result<()> {
        tracing::warn!(vdi.uuid = %vdi, error = %error.chain_text(), "drop a change-tracking log that cannot be kept up; the next backup of the VDI must be a full one");
        log_file::remove(&*self.files, vdi)
    }

    /// Starts the log of a VDI of `size` bytes; one that has a log keeps it.
    pub fn enable(&self, vdi: Uuid, size: u64) -> Result<()> {
        let open = self.lock();
        if self.header(&open, vdi)?.is_some() {
            return Ok(());
        }
        let tracker = tracker_of(&open, vdi);
        let mut log = ChangeLog::new(size, None);
        log.set_open(tracker.is_some());
        let file = log_file::replace(&*self.files, vdi, &log)?;
        if let Some(tracker) = tracker {
            tracker.replace(Some(Tracking::new(file, &log)));
        }
        Ok(())
    }

    /// Drops the log of a VDI and cuts the chain there; without one nothing happens.
    ///
    /// Write order: the child forgets it, the parent forgets it, it is removed. A crash in between leaves links that lead
    /// one way, which are mended at the next attach.
    pub fn disable(&self, vdi: Uuid) -> Result<()> {
        let open = self.lock();
        if let Some(header) = self.header(&open, vdi)? {
            if let Some(child) = header.child {
                self.change_header(&open, child, |header| {
                    if header.parent == Some(vdi) {
                        header.parent = None;
                    }
                })?;
            }
            self.relink_parent(&open, header.parent, vdi, None)?;
        }
        if let Some(tracker) = tracker_of(&open, vdi) {
            tracker.replace(None);
        }
        log_file::remove(&*self.files, vdi)
    }

    /// Makes sure that the log of a VDI says on stable storage all that has changed so far, because its leaf, which could
    /// tell otherwise, is about to become a base: to be called, while the consumer is held off, before a snapshot, a clone
    /// or whatever else gives the VDI another leaf. A log for which that cannot be done is dropped.
    pub fn seal(
        &self,
        vdi: Uuid,
        leaf: Option<Arc<dyn vhd::Storage>>,
        size: u64,
        path: &Path,
    ) -> Result<()> {
        let open = self.lock();
        let sealed = match tracker_of(&open, vdi) {
            Some(tracker) => tracker
                .try_publish()
                .map_err(|source| log_file::io_error(&*self.files, "write", vdi, source)),
            None => match log_file::open(&*self.files, vdi)? {
                Some((_, header)) if !header.consistent || header.size != size => {
                    self.complete(vdi, leaf, size, path, false).map(drop)
                }
                _ => Ok(()),
            },
        };
        drop(open);
        sealed.or_else(|error| {
            tracing::warn!(vdi.uuid = %vdi, error = %error.chain_text(), "drop a change-tracking log that could not be written before a snapshot");
            self.disable(vdi)
        })
    }

    /// Gives the log of a VDI to its new snapshot; the VDI goes on with an empty one. True when the snapshot has a log now.
    ///
    /// To be called after [`ChangeLogs::seal`], while the consumer is still held off and both images have their names.
    ///
    /// Write order, and what a crash leaves in each gap:
    /// 1. The snapshot's log is made: a copy of the VDI's, whose child is the VDI. Until 2 the VDI's own log still holds all
    ///    since the same parent, so the next attach removes the copy.
    /// 2. The VDI's log is replaced by an empty one, whose parent is the snapshot.
    /// 3. The log before gets the snapshot as its child; the next attach would do it.
    ///
    /// When it fails the snapshot has no log and the VDI keeps the one that it had, which is still right.
    pub fn hand_over(&self, vdi: Uuid, snapshot: Uuid) -> bool {
        let open = self.lock();
        match self.try_hand_over(&open, vdi, snapshot) {
            Ok(handed_over) => handed_over,
            Err(error) => {
                tracing::warn!(vdi.uuid = %vdi, snapshot.uuid = %snapshot, error = %error.chain_text(), "could not give the change-tracking log to the snapshot; it has none");
                // Mended at the next attach if it cannot be removed.
                let _ = log_file::remove(&*self.files, snapshot);
                false
            }
        }
    }

    fn try_hand_over(&self, open: &Trackers, vdi: Uuid, snapshot: Uuid) -> Result<bool> {
        let tracker = tracker_of(open, vdi);
        let Some(mut log) = self.log(open, vdi)? else {
            return Ok(false);
        };
        let before = log.header.parent;
        let size = log.header.size;
        log.header.child = Some(vdi);
        log.set_open(false);
        log_file::replace(&*self.files, snapshot, &log)?;
        let mut fresh = ChangeLog::new(size, Some(snapshot));
        fresh.set_open(tracker.is_some());
        let file = log_file::replace(&*self.files, vdi, &fresh)?;
        if let Some(tracker) = tracker {
            tracker.replace(Some(Tracking::new(file, &fresh)));
        }
        if let Err(error) = self.relink_parent(open, before, vdi, Some(snapshot)) {
            tracing::warn!(vdi.uuid = %vdi, error = %error.chain_text(), "could not link the log before a snapshot to it; done at the next attach");
        }
        Ok(true)
    }

    /// Fits the log to a VDI that has grown; to be called while the consumer is held off, before he learns of the size.
    /// A log for which that cannot be done is dropped.
    pub fn resized(&self, vdi: Uuid, size: u64) -> Result<()> {
        let open = self.lock();
        let resized = self.log(&open, vdi).and_then(|log| {
            let Some(mut log) = log.filter(|log| log.header.size != size) else {
                return Ok(());
            };
            log.resize(size);
            let file = log_file::replace(&*self.files, vdi, &log)?;
            if let Some(tracker) = tracker_of(&open, vdi) {
                tracker.replace(Some(Tracking::new(file, &log)));
            }
            Ok(())
        });
        drop(open);
        resized.or_else(|error| {
            tracing::warn!(vdi.uuid = %vdi, error = %error.chain_text(), "drop a change-tracking log that could not grow with its VDI");
            self.disable(vdi)
        })
    }

    /// Takes the log of a VDI that is gone out of the chain: what it says goes to its child.
    ///
    /// Write order, and what a crash leaves in each gap:
    /// 1. The child gets the bits: it says more than it should, which costs a longer backup.
    /// 2. The child gets the parent: the next attach removes the log, all of which its child has.
    /// 3. The parent gets the child; the next attach would do it.
    /// 4. The log is removed.
    pub fn destroyed(&self, vdi: Uuid) -> Result<()> {
        let open = self.lock();
        let Some(log) = self.log(&open, vdi)? else {
            // There may be one that cannot be read.
            return match log_file::exists(&*self.files, vdi)? {
                true => log_file::remove(&*self.files, vdi),
                false => Ok(()),
            };
        };
        let parent = log.header.parent;
        let mut heir = None;
        if let Some(child) = log.header.child
            && let Some(header) = self.header(&open, child)?
            && header.parent == Some(vdi)
        {
            self.absorb(&open, child, &log)?;
            self.change_header(&open, child, |header| header.parent = parent)?;
            heir = Some(child);
        }
        self.relink_parent(&open, parent, vdi, heir)?;
        log_file::remove(&*self.files, vdi)
    }

    fn absorb(&self, open: &Trackers, child: Uuid, log: &ChangeLog) -> Result<()> {
        let failed = |source| log_file::io_error(&*self.files, "write", child, source);
        if let Some(tracker) = tracker_of(open, child) {
            return tracker.absorb(&log.blocks).map_err(failed);
        }
        let Some((file, header)) = log_file::open(&*self.files, child)? else {
            return Ok(());
        };
        let mut heir = log_file::content(&*self.files, child, &*file, header)?;
        heir.blocks.union(&log.blocks);
        log_file::write_blocks(&*file, &heir).map_err(failed)
    }

    /// The blocks of `to` that have changed since `from`, as the API answers them.
    pub fn changed_blocks(
        &self,
        from: Uuid,
        to: Uuid,
    ) -> std::result::Result<Vec<u8>, ChangedBlocksError> {
        let open = self.lock();
        let changed = changed_between(from, to, |vdi| {
            let log = self.log(&open, vdi)?;
            match log {
                Some(log) if !log.header.consistent && tracker_of(&open, vdi).is_none() => {
                    Err(Error::LogInconsistent { vdi })
                }
                other => Ok(other),
            }
        })?;
        Ok(changed.to_api_bytes())
    }

    /// The log of a VDI as it is now; none without one.
    pub fn log_of(&self, vdi: Uuid) -> Result<Option<ChangeLog>> {
        self.log(&self.lock(), vdi)
    }

    /// What is shown of a VDI's log; none without one.
    pub fn summary(&self, vdi: Uuid) -> Result<Option<LogSummary>> {
        let header = self.header(&self.lock(), vdi)?;
        Ok(header.map(|header| LogSummary {
            size: header.size,
            length: log_length(header.size),
        }))
    }

    /// All logs that can be read; one that cannot hides no other.
    pub fn all(&self) -> Result<BTreeMap<Uuid, LogSummary>> {
        let mut found = BTreeMap::new();
        for vdi in self.listed()? {
            match self.summary(vdi) {
                Ok(Some(summary)) => {
                    found.insert(vdi, summary);
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(vdi.uuid = %vdi, error = %error.chain_text(), "leave out a change-tracking log");
                }
            }
        }
        Ok(found)
    }

    /// The VDIs for which there is a file of a log.
    pub(super) fn listed(&self) -> Result<Vec<Uuid>> {
        let entries = self.files.entries().map_err(|source| Error::Io {
            action: "list",
            path: self.files.path().to_owned(),
            source,
        })?;
        let names = entries.iter().map(String::as_str);
        let logs = names.filter(|name| classify(name) == EntryKind::SrFile);
        let mut vdis: Vec<Uuid> = logs.filter_map(cbt_log_of).collect();
        vdis.sort_unstable();
        Ok(vdis)
    }

    pub(super) fn header(&self, open: &Trackers, vdi: Uuid) -> Result<Option<Header>> {
        if let Some(tracker) = tracker_of(open, vdi) {
            return Ok(tracker.header());
        }
        let opened = log_file::open_for(&*self.files, vdi, Access::Read)?;
        Ok(opened.map(|(_, header)| header))
    }

    fn log(&self, open: &Trackers, vdi: Uuid) -> Result<Option<ChangeLog>> {
        match tracker_of(open, vdi) {
            Some(tracker) => Ok(tracker.log()),
            None => log_file::read(&*self.files, vdi),
        }
    }

    /// Changes the header of a log, if there is one and it changes.
    pub(super) fn change_header(
        &self,
        open: &Trackers,
        vdi: Uuid,
        change: impl Fn(&mut Header),
    ) -> Result<()> {
        let Some(before) = self.header(open, vdi)? else {
            return Ok(());
        };
        let mut after = before;
        change(&mut after);
        if after == before {
            return Ok(());
        }
        let written = match tracker_of(open, vdi) {
            Some(tracker) => tracker.change_header(change),
            None => match log_file::open(&*self.files, vdi)? {
                Some((file, _)) => log_file::write_header(&*file, &after),
                None => Ok(()),
            },
        };
        written.map_err(|source| log_file::io_error(&*self.files, "write", vdi, source))
    }

    /// Gives the log `parent` the child `to` where it has the child `from`.
    fn relink_parent(
        &self,
        open: &Trackers,
        parent: Option<Uuid>,
        from: Uuid,
        to: Option<Uuid>,
    ) -> Result<()> {
        let Some(parent) = parent else { return Ok(()) };
        self.change_header(open, parent, |header| {
            if header.child == Some(from) {
                header.child = to;
            }
        })
    }
}

fn tracker_of(open: &Trackers, vdi: Uuid) -> Option<Arc<ChangeTracker>> {
    open.get(&vdi).and_then(Weak::upgrade)
}
