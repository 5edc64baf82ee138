//! An attached SR on an array: VDIs are volumes that the array makes, snapshots and clones are its own.
//!
//! ```text
//! open:    right to use the VDI -> volume exposed to this initiator -> LUN opened
//! close:   flush -> LUN and right let go -> volume concealed, unless somebody opened it meanwhile
//! ```
//!
//! A crash in between leaves a volume exposed that nobody uses. The attach that follows conceals what is exposed to this
//! initiator, the next open finds it exposed already, and a delete conceals it first: see the array's own module.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use nbd::{BlockStatus, Export, Extent};
use uuid::Uuid;
use xenapi::Failure;

use super::backend_error::{self as backend, Command};
use super::{
    AttachedSr, ConfigChanges, FoundVdi, KeptLabels, NewVdi, OpenMode, ScanReport, SnapshotHints,
    SnapshotKind, SnapshotReport, SrLabels, SrSpace, VdiLabels,
};
use crate::array::{ArrayError, ArrayListing, DataPath, OpenVolume, VolumeArray};
use crate::layout::lun_per_vdi::{LunExport, OpenLuns};

/// What is told of an SR on an array.
#[derive(Clone, Debug, Default)]
pub struct ArraySrOptions {
    /// Our name for targets.
    pub initiator: String,
    /// What is recorded of the SR when it is attached.
    pub config_changes: ConfigChanges,
}

/// An attached SR.
#[derive(Debug)]
pub struct AttachedArraySr {
    sr_uuid: Uuid,
    config_changes: ConfigChanges,
    /// None once it is detached.
    volumes: RwLock<Option<Arc<Volumes>>>,
}

/// The volumes and who uses them: what exports hold too.
#[derive(Debug)]
struct Volumes {
    initiator: String,
    array: Arc<dyn VolumeArray>,
    data: Arc<dyn DataPath>,
    open: Arc<OpenLuns>,
    /// What is open, so that it can be flushed and told of a new size.
    exports: Mutex<HashMap<Uuid, Vec<Weak<ArrayExport>>>>,
    /// The VDIs that may have volumes.
    known: Mutex<Known>,
    /// One lock for each VDI that is being exposed, concealed or deleted.
    steps: Mutex<HashMap<Uuid, Arc<Mutex<()>>>>,
}

/// The VDIs that were seen on the array or begun to be made there.
///
/// A start deletes what an earlier run may have made: hundreds of uuids that were kept for VDIs and of which hardly any was used. An
/// array need not be asked for each of them.
#[derive(Debug, Default)]
struct Known {
    is_listed: bool,
    /// True when there are damaged volumes of which the array does not tell whose they are.
    has_nameless: bool,
    vdis: HashSet<Uuid>,
}

impl AttachedArraySr {
    /// Takes over an array on which the SR is.
    pub fn new(
        sr_uuid: Uuid,
        array: Arc<dyn VolumeArray>,
        data: Arc<dyn DataPath>,
        options: ArraySrOptions,
    ) -> Self {
        let volumes = Volumes {
            initiator: options.initiator,
            array,
            data,
            open: Arc::default(),
            exports: Mutex::default(),
            known: Mutex::default(),
            steps: Mutex::default(),
        };
        AttachedArraySr {
            sr_uuid,
            config_changes: options.config_changes,
            volumes: RwLock::new(Some(Arc::new(volumes))),
        }
    }

    /// True until it is detached.
    pub fn is_attached(&self) -> bool {
        self.volumes().is_ok()
    }

    fn volumes(&self) -> Result<Arc<Volumes>, Failure> {
        let volumes = self.volumes.read().unwrap_or_else(PoisonError::into_inner);
        volumes
            .clone()
            .ok_or_else(|| backend::detached(self.sr_uuid))
    }

    /// Has the array do something, with its failure as clients know it.
    fn ask<T>(
        &self,
        command: Command,
        work: impl FnOnce(&Volumes) -> Result<T, ArrayError>,
    ) -> Result<T, Failure> {
        let volumes = self.volumes()?;
        work(&volumes).map_err(|error| backend::array(command, self.sr_uuid, &error))
    }

    /// A snapshot or a clone. Writes of a consumer that have returned are in it, also those that its target still has in a cache
    /// and that a failover would lose: the open volume is flushed first.
    fn branch(
        &self,
        source: Uuid,
        new: Uuid,
        kind: SnapshotKind,
        hints: &SnapshotHints,
    ) -> Result<SnapshotReport, Failure> {
        let command = match kind {
            SnapshotKind::Snapshot => Command::VdiSnapshot,
            SnapshotKind::Clone => Command::VdiClone,
        };
        let volumes = self.volumes()?;
        for export in volumes.exports_of(source) {
            export.flush().map_err(|error| {
                let detail = format!("flush VDI {source} before its snapshot: {error}");
                backend::failed(command, &detail)
            })?;
        }
        self.ask(command, |volumes| {
            lock(&volumes.known).vdis.insert(new);
            let made = volumes.array.snapshot(source, new, kind, hints)?;
            let source = volumes.get(source)?;
            Ok(SnapshotReport {
                new: made.found(),
                source,
                base: None,
            })
        })
    }
}

impl Volumes {
    fn get(&self, vdi: Uuid) -> Result<FoundVdi, ArrayError> {
        let found = self.array.find(vdi)?;
        let found = found.ok_or_else(|| ArrayError::Missing {
            array: self.array.name(),
            vdi,
        })?;
        Ok(found.found())
    }

    fn list(&self) -> Result<ArrayListing, ArrayError> {
        let listing = self.array.list()?;
        let mut known = lock(&self.known);
        known.is_listed = true;
        let whole = listing.volumes.iter().map(|volume| volume.vdi);
        known.vdis.extend(whole);
        let damaged = listing.damaged.iter();
        let damaged: Vec<_> = damaged.map(|it| Uuid::parse_str(&it.location)).collect();
        known.has_nameless = damaged.iter().any(Result::is_err);
        known.vdis.extend(damaged.into_iter().flatten());
        Ok(listing)
    }

    /// False when the VDI has no volume for certain.
    fn may_exist(&self, vdi: Uuid) -> Result<bool, ArrayError> {
        let has = |known: &Known| known.has_nameless || known.vdis.contains(&vdi);
        {
            let known = lock(&self.known);
            if has(&known) || known.is_listed {
                return Ok(has(&known));
            }
        }
        self.list()?;
        Ok(has(&lock(&self.known)))
    }

    /// Runs a step on a VDI while no other of its steps runs.
    fn in_step<T>(&self, vdi: Uuid, work: impl FnOnce() -> T) -> T {
        let step = lock(&self.steps).entry(vdi).or_default().clone();
        let held = lock(&step);
        let result = work();
        drop(held);
        let mut steps = lock(&self.steps);
        // Ours and the map's: nobody waits for it.
        if Arc::strong_count(&step) == 2 {
            steps.remove(&vdi);
        }
        result
    }

    fn exports_of(&self, vdi: Uuid) -> Vec<Arc<ArrayExport>> {
        let exports = lock(&self.exports);
        let found = exports.get(&vdi).into_iter().flatten();
        // One that is closed, and not yet dropped by who had it, has nothing to flush.
        let found = found.filter_map(Weak::upgrade);
        found.filter(|export| export.inner().is_ok()).collect()
    }

    fn note_export(&self, vdi: Uuid, export: &Arc<ArrayExport>) {
        let mut exports = lock(&self.exports);
        exports.retain(|_, of_vdi| {
            of_vdi.retain(|export| export.strong_count() > 0);
            !of_vdi.is_empty()
        });
        exports.entry(vdi).or_default().push(Arc::downgrade(export));
    }

    /// Takes a VDI that nobody has open out of the sight of this initiator.
    fn conceal(&self, vdi: Uuid) {
        self.in_step(vdi, || {
            if self.open.is_open(vdi) {
                return;
            }
            if let Err(error) = self.array.conceal(vdi, &self.initiator) {
                let error = error.chain_text();
                tracing::warn!(vdi.uuid = %vdi, error, "a volume that nobody uses stays visible to this initiator; its next use or deletion, or the next attach of the SR, sees to that");
            }
        });
    }
}

impl AttachedSr for AttachedArraySr {
    /// Refuses with `VDI_IN_USE` while a VDI is open. Detaching twice is no error.
    fn detach(&self) -> Result<(), Failure> {
        let mut volumes = self.volumes.write().unwrap_or_else(PoisonError::into_inner);
        let Some(attached) = volumes.as_ref() else {
            return Ok(());
        };
        if let Some(vdi) = attached.open.any() {
            let params = [vdi.to_string(), "detach".to_owned()];
            return Err(Failure::new("VDI_IN_USE", params));
        }
        attached.array.release();
        *volumes = None;
        Ok(())
    }

    fn config_changes(&self) -> ConfigChanges {
        self.config_changes.clone()
    }

    fn health(&self) -> Option<String> {
        let volumes = self.volumes().ok()?;
        let of_both = [volumes.array.health(), volumes.data.health()];
        let of_both: Vec<String> = of_both.into_iter().flatten().collect();
        (!of_both.is_empty()).then(|| of_both.join("; "))
    }

    fn keeps_labels(&self) -> bool {
        true
    }

    fn labels(&self) -> Result<KeptLabels, Failure> {
        self.ask(Command::SrScan, |volumes| volumes.array.labels())
    }

    fn write_vdi_labels(&self, labels: &[VdiLabels]) -> Result<(), Failure> {
        self.ask(Command::SrScan, |volumes| {
            volumes.array.write_vdi_labels(labels)
        })
    }

    fn write_sr_labels(&self, labels: &SrLabels) -> Result<(), Failure> {
        self.ask(Command::SrScan, |volumes| {
            volumes.array.write_sr_labels(labels)
        })
    }

    fn scan(&self) -> Result<ScanReport, Failure> {
        let listing = self.ask(Command::SrScan, Volumes::list)?;
        let vdis = listing.volumes.into_iter();
        Ok(ScanReport {
            vdis: vdis.map(|volume| volume.found()).collect(),
            damaged: listing.damaged,
            space: listing.space,
        })
    }

    fn space(&self) -> Result<SrSpace, Failure> {
        self.ask(Command::SrScan, |volumes| volumes.array.space())
    }

    fn create_vdi(&self, new: &NewVdi) -> Result<FoundVdi, Failure> {
        let made = self.ask(Command::VdiCreate, |volumes| {
            lock(&volumes.known).vdis.insert(new.uuid);
            volumes.array.create(new)
        })?;
        Ok(made.found())
    }

    fn delete_vdi(&self, uuid: Uuid) -> Result<(), Failure> {
        let volumes = self.volumes()?;
        volumes.in_step(uuid, || {
            if volumes.open.is_open(uuid) {
                return Err(backend::vdi_in_use(Command::VdiDelete, uuid));
            }
            let deleted = match volumes.may_exist(uuid) {
                Ok(false) => return Ok(()),
                Ok(true) => volumes.array.delete(uuid),
                Err(error) => Err(error),
            };
            deleted.map_err(|error| backend::array(Command::VdiDelete, self.sr_uuid, &error))
        })
    }

    fn stat_vdi(&self, uuid: Uuid) -> Result<FoundVdi, Failure> {
        self.ask(Command::VdiLoad, |volumes| volumes.get(uuid))
    }

    fn snapshot_vdi(
        &self,
        source: Uuid,
        new: Uuid,
        kind: SnapshotKind,
    ) -> Result<SnapshotReport, Failure> {
        self.branch(source, new, kind, &SnapshotHints::default())
    }

    fn snapshot_vdi_hinted(
        &self,
        source: Uuid,
        new: Uuid,
        kind: SnapshotKind,
        hints: &SnapshotHints,
    ) -> Result<SnapshotReport, Failure> {
        self.branch(source, new, kind, hints)
    }

    fn revert_vdi(&self, vdi: Uuid, snapshot: Uuid) -> Result<SnapshotReport, Failure> {
        let volumes = self.volumes()?;
        volumes.in_step(vdi, || {
            if volumes.open.is_open(vdi) {
                return Err(backend::vdi_in_use(Command::VdiRevert, vdi));
            }
            self.ask(Command::VdiRevert, |volumes| {
                let reverted = volumes.array.revert(vdi, snapshot)?;
                Ok(SnapshotReport {
                    new: reverted.found(),
                    source: volumes.get(snapshot)?,
                    base: None,
                })
            })
        })
    }

    fn resize_vdi(&self, uuid: Uuid, size: u64) -> Result<FoundVdi, Failure> {
        let volumes = self.volumes()?;
        let grown = self.ask(Command::VdiResize, |volumes| {
            volumes.array.resize(uuid, size)
        })?;
        for export in volumes.exports_of(uuid) {
            export.await_size(grown.virtual_size).map_err(|error| {
                let detail = format!("use the new size of VDI {uuid}, which is open: {error}");
                backend::failed(Command::VdiResize, &detail)
            })?;
        }
        Ok(grown.found())
    }

    fn open_vdi(&self, uuid: Uuid, mode: OpenMode) -> Result<Arc<dyn Export>, Failure> {
        let volumes = self.volumes()?;
        let open = volumes.open.open(uuid, mode);
        let open = open.ok_or_else(|| backend::vdi_in_use(Command::VdiAttach, uuid))?;
        // Detached meanwhile: what was taken from it must not be used.
        self.volumes()?;
        let opened = volumes.in_step(uuid, || {
            let exposed = volumes.array.expose(uuid, &volumes.initiator, mode)?;
            let volume = volumes.data.open(&exposed, uuid)?;
            Ok((volume, exposed.limit))
        });
        let opened = opened
            .map_err(|error| backend::array(Command::VdiAttach, self.sr_uuid, &error))
            .and_then(|(volume, limit)| {
                let is_read_only = mode == OpenMode::ReadOnly;
                let export = LunExport::new(volume.device.clone(), is_read_only, open);
                let export = export.map_err(|error| {
                    let detail = format!("open {}: {error}", volume.device.name());
                    backend::failed(Command::VdiAttach, &detail)
                })?;
                Ok((volume, export, limit))
            });
        let (volume, lun, limit) = match opened {
            Ok(opened) => opened,
            Err(failure) => {
                volumes.conceal(uuid);
                return Err(failure);
            }
        };
        let export = Arc::new(ArrayExport {
            vdi: uuid,
            is_read_only: mode == OpenMode::ReadOnly,
            volumes: volumes.clone(),
            limit: limit.map(AtomicU64::new),
            inner: RwLock::new(Some(Arc::new(Inner { lun, volume }))),
        });
        volumes.note_export(uuid, &export);
        Ok(export)
    }
}

/// An open VDI. When it is closed its volume is concealed.
#[derive(Debug)]
struct ArrayExport {
    vdi: Uuid,
    is_read_only: bool,
    volumes: Arc<Volumes>,
    /// Bytes of the VDI, where the LUN may have more.
    limit: Option<AtomicU64>,
    /// None once it is closed.
    inner: RwLock<Option<Arc<Inner>>>,
}

#[derive(Debug)]
struct Inner {
    lun: LunExport,
    volume: OpenVolume,
}

impl ArrayExport {
    fn inner(&self) -> io::Result<Arc<Inner>> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let inner = inner.clone();
        inner.ok_or_else(|| io::Error::other("the VDI is closed"))
    }

    fn await_size(&self, size: u64) -> io::Result<()> {
        // Closed meanwhile: who opens it next sees the new size.
        let Ok(inner) = self.inner() else {
            return Ok(());
        };
        inner.volume.await_size(size)?;
        if let Some(limit) = &self.limit {
            limit.fetch_max(size, Ordering::AcqRel);
        }
        Ok(())
    }

    /// The device, for a range that is the VDI's.
    fn within(&self, offset: u64, length: u64) -> io::Result<Arc<Inner>> {
        let inner = self.inner()?;
        let limit = self.limit.as_ref();
        let limit = limit.map_or(u64::MAX, |limit| limit.load(Ordering::Acquire));
        match offset.checked_add(length) {
            Some(end) if end <= limit => Ok(inner),
            _ => {
                let text = format!(
                    "{length} bytes at {offset} of VDI {} end behind its {limit} bytes",
                    self.vdi
                );
                Err(io::Error::new(io::ErrorKind::InvalidInput, text))
            }
        }
    }
}

impl Export for ArrayExport {
    fn size(&self) -> u64 {
        let size = self.inner().map_or(0, |inner| inner.lun.size());
        let limit = self.limit.as_ref();
        limit.map_or(size, |limit| size.min(limit.load(Ordering::Acquire)))
    }

    fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.within(offset, buffer.len() as u64)?
            .lun
            .read_at(buffer, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.within(offset, data.len() as u64)?
            .lun
            .write_at(data, offset)
    }

    fn write_zeroes_at(&self, offset: u64, length: u64) -> io::Result<()> {
        self.within(offset, length)?
            .lun
            .write_zeroes_at(offset, length)
    }

    fn trim_at(&self, offset: u64, length: u64) -> io::Result<()> {
        self.within(offset, length)?.lun.trim_at(offset, length)
    }

    fn flush(&self) -> io::Result<()> {
        self.inner()?.lun.flush()
    }

    fn block_status(&self, _offset: u64, length: u64, _limit: usize) -> io::Result<Vec<Extent>> {
        self.inner()?;
        Ok(vec![Extent {
            length,
            status: BlockStatus::Data,
        }])
    }

    fn close(&self) -> io::Result<()> {
        let inner = {
            let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
            inner.take()
        };
        let Some(inner) = inner else { return Ok(()) };
        let closed = inner.lun.close();
        // Sessions of its own end before the array forgets that we may have them.
        drop(inner);
        self.volumes.conceal(self.vdi);
        closed
    }
}

impl Drop for ArrayExport {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::warn!(%error, vdi.uuid = %self.vdi, "what was written last to a volume may be lost");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "array_sr_tests.rs"]
mod tests;
