//! An attached SR whose VDIs are VHD files, whatever medium has the files: what `file`, `ext`, `nfs` and the SRs on volume
//! groups share.
//!
//! An SR type finds its medium, takes it for itself, and calls [`VhdFilesSr::attach`] with two things:
//!
//! - the medium's files, an `Arc<dyn Files>`; every operation on VDIs is done on them by `layout::vhd_files`;
//! - a [`MediumGuard`]: what keeps others from the medium, and lets go of it when the SR is detached and nothing uses the files
//!   any more: a lock file, an owner record, a mount, a session with a server. When it has an [`Ownership`] the files are wrapped,
//!   so that every write asks it. It also tells what only the SR type knows: the
//!   medium's health, what it wants recorded, names that the medium keeps.
//!
//! [`AttachedSrs`] gives the same attached SR to who attaches it again, and [`remove_images`] is what `SR.destroy` does to the
//! files.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use uuid::Uuid;
use xenapi::Failure;

use super::backend_error::{self as backend, Command};
use super::{
    AttachedSr, ConfigChanges, FoundVdi, KeptLabels, NewVdi, OpenMode, ScanReport, SnapshotKind,
    SnapshotReport, SrLabels, SrSpace, VdiLabels,
};
use crate::gc::ImageStore;
use crate::io::lock::LockFile;
use crate::layout::vhd_files::names::{EntryKind, ImageFormat, ImageName, LABELS_NAME, classify};
use crate::layout::vhd_files::{
    Branched, Error as LayoutError, FileChains, LabelLog, NewImage, VhdDirectory,
};
use crate::medium::files::Files;
use crate::medium::owner::{OwnedFiles, OwnerStore, Ownership};

/// How long a detach waits for a medium that does not answer, before it lets go of its record: less than a step of a merge is
/// waited for.
const DETACH_PATIENCE: Duration = Duration::from_secs(8);

/// What SRs of this kind can do.
pub(super) const CAPABILITIES: &[&str] = &[
    "SR_PROBE",
    "SR_UPDATE",
    "THIN_PROVISIONING",
    "VDI_ACTIVATE",
    "VDI_ATTACH",
    "VDI_CLONE",
    "VDI_CONFIG_CBT",
    "VDI_CREATE",
    "VDI_DEACTIVATE",
    "VDI_DELETE",
    "VDI_DETACH",
    "VDI_RESIZE",
    "VDI_RESIZE_ONLINE",
    "VDI_REVERT",
    "VDI_SNAPSHOT",
];

/// What keeps the medium of an attached SR for it, and what the SR type knows of the medium beside its files.
///
/// What is dropped without [`MediumGuard::release`] lets go as a process that dies does.
pub trait MediumGuard: Send + Sync + Debug {
    /// Lets go of the medium; nothing uses its files any more.
    ///
    /// # Errors
    /// The SR is not detached then, serves nothing, and the call is repeated when it is detached again.
    fn release(&self) -> Result<(), Failure>;

    /// The record by which other storage managers are kept from the medium, where there is one: then nothing is written to the
    /// files that its owner may not write.
    fn ownership(&self) -> Option<Arc<Ownership>> {
        None
    }

    /// Tells that the medium was taken by this record: what a lost connection kept back is written only if that still holds.
    fn note_owner(&self, ownership: &Arc<Ownership>) {
        let _ = ownership;
    }

    /// Has nothing wait for the medium longer than until then, also of what is under way; none takes that back.
    fn hurry(&self, until: Option<Instant>) {
        let _ = until;
    }

    /// As [`AttachedSr::unsaved`]; asked when nothing uses the files any more.
    fn unsaved(&self) -> Option<String> {
        None
    }

    /// As [`AttachedSr::health`]; what the owner record has to complain of is told without it.
    fn health(&self) -> Option<String> {
        None
    }

    /// As [`AttachedSr::config_changes`].
    fn config_changes(&self) -> ConfigChanges {
        ConfigChanges::default()
    }

    /// As [`AttachedSr::has_changed`].
    fn has_changed(&self) -> Result<bool, Failure> {
        Ok(false)
    }

    /// Where names and snapshot links are kept; none where they are kept in a file among the images.
    fn label_store(&self) -> Option<&dyn LabelStore> {
        None
    }
}

/// The names and snapshot links that a medium keeps.
pub trait LabelStore {
    /// As [`AttachedSr::labels`].
    fn labels(&self) -> Result<KeptLabels, Failure>;

    /// As [`AttachedSr::write_vdi_labels`].
    fn write_vdi_labels(&self, labels: &[VdiLabels]) -> Result<(), Failure>;

    /// As [`AttachedSr::write_sr_labels`].
    fn write_sr_labels(&self, labels: &SrLabels) -> Result<(), Failure>;
}

impl LabelStore for LabelLog {
    fn labels(&self) -> Result<KeptLabels, Failure> {
        self.read().map_err(|error| labels_failed("read", &error))
    }

    fn write_vdi_labels(&self, labels: &[VdiLabels]) -> Result<(), Failure> {
        self.append(None, labels)
            .map_err(|error| labels_failed("write", &error))
    }

    fn write_sr_labels(&self, labels: &SrLabels) -> Result<(), Failure> {
        self.append(Some(labels), &[])
            .map_err(|error| labels_failed("write", &error))
    }
}

fn labels_failed(action: &str, error: &std::io::Error) -> Failure {
    let detail = format!("{action} {LABELS_NAME}, where the names of VDIs are kept: {error}");
    backend::failed(Command::SrScan, &detail)
}

impl MediumGuard for LockFile {
    fn release(&self) -> Result<(), Failure> {
        self.unlock();
        Ok(())
    }
}

/// Takes a shared medium for an SR by the owner record in `store`; how long that may wait: [`crate::medium::owner`].
///
/// # Errors
/// 16, naming the other, while another storage manager owns it.
pub fn take_ownership(
    sr_uuid: Uuid,
    store: Arc<dyn OwnerStore>,
    command: Command,
) -> Result<Arc<Ownership>, Failure> {
    Ownership::take(store, &holder(sr_uuid)).map_err(|error| backend::owner(command, &error))
}

/// What the record of an SR says to others of this storage manager.
pub(super) fn holder(sr_uuid: Uuid) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let process = std::process::id();
    format!("process {process} on {} (SR {sr_uuid})", host.trim())
}

/// An attached SR of VHD files.
#[derive(Debug)]
pub struct VhdFilesSr {
    sr_uuid: Uuid,
    place: String,
    /// None once it is detached.
    served: RwLock<Option<Served>>,
    /// None once the medium was let go of; declared last, so that it is dropped after everything else. Locked for a moment
    /// only, inside of `served`.
    guard: RwLock<Option<Arc<dyn MediumGuard>>>,
    /// What was lost when it was detached.
    unsaved: Mutex<Option<String>>,
}

#[derive(Debug)]
struct Served {
    images: Arc<VhdDirectory>,
    chains: Arc<FileChains>,
    labels: LabelLog,
}

impl VhdFilesSr {
    /// Finishes or undoes what an earlier process left half made, and serves the files. `place` says where the SR is, for
    /// [`AttachedSrs`].
    ///
    /// # Errors
    /// The guard is released.
    pub fn attach(
        sr_uuid: Uuid,
        place: &str,
        files: Arc<dyn Files>,
        guard: Arc<dyn MediumGuard>,
    ) -> Result<Arc<Self>, Failure> {
        let files = match guard.ownership() {
            Some(ownership) => Arc::new(OwnedFiles::new(files, ownership)),
            None => files,
        };
        let images = match VhdDirectory::new(files) {
            Ok(images) => Arc::new(images),
            Err(error) => {
                if let Err(failure) = guard.release() {
                    tracing::warn!(sr.uuid = %sr_uuid, %failure, "let go of the medium of an SR that could not be attached");
                }
                return Err(backend::layout(Command::SrAttach, sr_uuid, &error));
            }
        };
        let served = Served {
            chains: FileChains::new(images.clone()),
            labels: LabelLog::new(images.files().clone()),
            images,
        };
        Ok(Arc::new(VhdFilesSr {
            sr_uuid,
            place: place.to_owned(),
            served: RwLock::new(Some(served)),
            guard: RwLock::new(Some(guard)),
            unsaved: Mutex::default(),
        }))
    }

    /// False once it is detached.
    pub(super) fn is_served(&self) -> bool {
        let served = self.served.read().unwrap_or_else(PoisonError::into_inner);
        served.is_some()
    }

    fn detach_from(&self, guard: &dyn MediumGuard) -> Result<(), Failure> {
        let mut place = self.served.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(served) = place.as_ref() {
            refuse_open(served)?;
            // A step that does not end keeps the medium from being another's.
            if !served.chains.close() {
                served.chains.reopen();
                let detail = "a merge of images did not end in time; try again";
                return Err(backend::failed(Command::SrDetach, detail));
            }
            served.images.stop_spares();
            if let Err(error) = served.labels.flush() {
                tracing::warn!(sr.uuid = %self.sr_uuid, %error, "flush {LABELS_NAME} while detaching; the next scan writes what it lacks");
            }
        }
        *place = None;
        *self.unsaved.lock().unwrap_or_else(PoisonError::into_inner) = guard.unsaved();
        guard.release()?;
        *self.guard.write().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }

    fn guard(&self) -> Option<Arc<dyn MediumGuard>> {
        let guard = self.guard.read().unwrap_or_else(PoisonError::into_inner);
        guard.clone()
    }

    /// Runs `operation` on the images; the SR stays attached until it is done.
    fn with_images<T>(
        &self,
        command: Command,
        operation: impl FnOnce(&VhdDirectory) -> Result<T, LayoutError>,
    ) -> Result<T, Failure> {
        let served = self.served.read().unwrap_or_else(PoisonError::into_inner);
        let Some(served) = served.as_ref() else {
            return Err(backend::detached(self.sr_uuid));
        };
        operation(&served.images).map_err(|error| backend::layout(command, self.sr_uuid, &error))
    }

    /// Runs `operation` on what keeps the labels; the SR stays attached until it is done.
    fn with_labels<T>(
        &self,
        operation: impl FnOnce(&dyn LabelStore) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let served = self.served.read().unwrap_or_else(PoisonError::into_inner);
        let Some(served) = served.as_ref() else {
            return Err(backend::detached(self.sr_uuid));
        };
        let guard = self.guard();
        match guard.as_ref().and_then(|guard| guard.label_store()) {
            Some(store) => operation(store),
            None => operation(&served.labels),
        }
    }
}

/// The attached SRs of one SR type.
///
/// Each SR has a lock of its own, since taking one in does I/O: a medium that hangs keeps no other SR waiting.
#[derive(Debug, Default)]
pub struct AttachedSrs {
    slots: Mutex<BTreeMap<Uuid, Slot>>,
}

type Slot = Arc<Mutex<Weak<VhdFilesSr>>>;

impl AttachedSrs {
    /// The SR if it is attached at this place already, else what `attach` makes of it.
    pub fn attach(
        &self,
        sr_uuid: Uuid,
        place: &str,
        attach: impl FnOnce() -> Result<Arc<VhdFilesSr>, Failure>,
    ) -> Result<Arc<dyn AttachedSr>, Failure> {
        let slot = self.slot(sr_uuid);
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sr) = slot.upgrade()
            && sr.place == place
            && sr.is_served()
        {
            return Ok(sr);
        }
        let sr = attach()?;
        *slot = Arc::downgrade(&sr);
        Ok(sr)
    }

    /// The place of an SR; places that nobody uses are dropped.
    fn slot(&self, sr_uuid: Uuid) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|_, slot| {
            Arc::strong_count(slot) > 1 || slot.lock().is_ok_and(|sr| sr.strong_count() > 0)
        });
        slots.entry(sr_uuid).or_default().clone()
    }
}

/// Removes the images of an SR and what else storage managers keep beside them; files that belong to somebody else stay.
///
/// Write order: files are removed one by one, then the names are synced. A crash in between leaves fewer files, and the call can
/// be repeated.
///
/// # Errors
/// `SR_NOT_EMPTY` while a VDI is left, 63 while an image cannot be read: nothing was removed.
pub fn remove_images(sr_uuid: Uuid, files: Arc<dyn Files>) -> Result<(), Failure> {
    let path = files.path().to_owned();
    let system_call =
        |action, error| backend::system_call(Command::SrDelete, action, &path, &error);
    let layout = |error: LayoutError| backend::layout(Command::SrDelete, sr_uuid, &error);
    let images = VhdDirectory::new(files).map_err(layout)?;
    let survey = images.survey().map_err(layout)?;
    if survey.images.values().any(|image| !image.hidden) {
        return Err(Failure::new("SR_NOT_EMPTY", [""; 0]));
    }
    if let Some(image) = survey.damaged.first() {
        let detail = format!(
            "{} cannot be read ({}) and may hold somebody's data; repair or remove it first",
            path.join(&image.location).display(),
            image.reason
        );
        return Err(backend::failed(Command::SrDelete, &detail));
    }
    let files = images.files();
    let entries = files.entries();
    for entry in entries.map_err(|error| system_call("list", error))? {
        let ours = matches!(
            classify(&entry),
            EntryKind::Image(_)
                | EntryKind::SrFile
                | EntryKind::NewLeaf(_)
                | EntryKind::NewBase(_)
                | EntryKind::ResizeJournal(_)
        );
        let is_directory = || {
            files
                .is_directory(&entry)
                .map_err(|error| system_call("look into", error))
        };
        if ours && !is_directory()? {
            files
                .remove(&entry)
                .map_err(|error| system_call("remove files of", error))?;
        }
    }
    files
        .sync()
        .map_err(|error| system_call("sync directory", error))
}

impl AttachedSr for VhdFilesSr {
    /// Refuses with `VDI_IN_USE` while a VDI is open. Detaching twice is no error; when the medium could not be let go of, the
    /// next call tries that again.
    ///
    /// A medium that does not answer is waited for only so long: what it did not take by then, of what nobody has open any more,
    /// is told by [`AttachedSr::unsaved`].
    fn detach(&self) -> Result<(), Failure> {
        {
            let place = self.served.read().unwrap_or_else(PoisonError::into_inner);
            place.as_ref().map_or(Ok(()), refuse_open)?;
        }
        let Some(guard) = self.guard() else {
            return Ok(());
        };
        // Before calls under way are waited for: nobody who uses a VDI is among them.
        guard.hurry(Some(Instant::now() + DETACH_PATIENCE));
        self.detach_from(&*guard).inspect_err(|_| guard.hurry(None))
    }

    fn unsaved(&self) -> Option<String> {
        let unsaved = self.unsaved.lock().unwrap_or_else(PoisonError::into_inner);
        unsaved.clone()
    }

    fn config_changes(&self) -> ConfigChanges {
        let changes = self.guard().map(|guard| guard.config_changes());
        changes.unwrap_or_default()
    }

    fn health(&self) -> Option<String> {
        let guard = self.guard()?;
        let owner = guard.ownership().and_then(|owner| owner.complaint());
        owner.or_else(|| guard.health())
    }

    fn has_changed(&self) -> Result<bool, Failure> {
        self.guard().map_or(Ok(false), |guard| guard.has_changed())
    }

    fn keeps_labels(&self) -> bool {
        true
    }

    fn labels(&self) -> Result<KeptLabels, Failure> {
        self.with_labels(|store| store.labels())
    }

    fn write_vdi_labels(&self, labels: &[VdiLabels]) -> Result<(), Failure> {
        self.with_labels(|store| store.write_vdi_labels(labels))
    }

    fn write_sr_labels(&self, labels: &SrLabels) -> Result<(), Failure> {
        self.with_labels(|store| store.write_sr_labels(labels))
    }

    fn chains(&self) -> Option<Arc<dyn ImageStore>> {
        let served = self.served.read().unwrap_or_else(PoisonError::into_inner);
        Some(served.as_ref()?.chains.clone())
    }

    fn scan(&self) -> Result<ScanReport, Failure> {
        let survey = self.with_images(Command::SrScan, VhdDirectory::survey)?;
        Ok(ScanReport {
            vdis: survey.vdis(),
            damaged: survey.damaged,
            space: self.space()?,
        })
    }

    fn space(&self) -> Result<SrSpace, Failure> {
        self.with_images(Command::SrScan, |images| {
            let path = images.files().path().to_owned();
            images.files().space().map_err(|source| LayoutError::Io {
                action: "get the space of",
                path,
                source,
            })
        })
    }

    fn create_vdi(&self, new: &NewVdi) -> Result<FoundVdi, Failure> {
        let raw = new.sm_config.get("type").is_some_and(|kind| kind == "raw");
        let format = if raw {
            ImageFormat::Raw
        } else {
            ImageFormat::Vhd
        };
        let name = ImageName {
            uuid: new.uuid,
            format,
        };
        let image = NewImage {
            name,
            virtual_size: new.virtual_size,
        };
        self.with_images(Command::VdiCreate, |images| images.create(&image))
    }

    fn delete_vdi(&self, uuid: Uuid) -> Result<(), Failure> {
        self.with_images(Command::VdiDelete, |images| images.remove(uuid))
    }

    fn stat_vdi(&self, uuid: Uuid) -> Result<FoundVdi, Failure> {
        self.with_images(Command::VdiLoad, |images| images.stat(uuid))
    }

    fn enable_cbt(&self, uuid: Uuid) -> Result<FoundVdi, Failure> {
        self.with_images(Command::VdiEnableCbt, |images| images.enable_cbt(uuid))
    }

    fn disable_cbt(&self, uuid: Uuid) -> Result<FoundVdi, Failure> {
        self.with_images(Command::VdiDisableCbt, |images| images.disable_cbt(uuid))
    }

    fn destroy_vdi_data(&self, uuid: Uuid) -> Result<FoundVdi, Failure> {
        self.with_images(Command::VdiDelete, |images| images.destroy_data(uuid))
    }

    fn changed_blocks(&self, from: Uuid, to: Uuid) -> Result<Vec<u8>, Failure> {
        // Why there is no answer is an answer of the chain, and has numbers of its own.
        let answer = self.with_images(Command::VdiChangedBlocks, |images| {
            Ok(images.changed_blocks(from, to))
        })?;
        answer.map_err(|error| backend::changed_blocks(self.sr_uuid, error))
    }

    fn differing_blocks(&self, from: Uuid, to: Uuid) -> Result<Vec<u8>, Failure> {
        self.with_images(Command::VdiLoad, |images| images.differing_blocks(from, to))
    }

    /// A clone is on the medium what a snapshot is.
    fn snapshot_vdi(
        &self,
        source: Uuid,
        new: Uuid,
        kind: SnapshotKind,
    ) -> Result<SnapshotReport, Failure> {
        let command = match kind {
            SnapshotKind::Snapshot => Command::VdiSnapshot,
            SnapshotKind::Clone => Command::VdiClone,
        };
        let branched = self.with_images(command, |images| images.snapshot(source, new, kind))?;
        report(command, branched)
    }

    fn revert_vdi(&self, vdi: Uuid, snapshot: Uuid) -> Result<SnapshotReport, Failure> {
        let command = Command::VdiRevert;
        let branched = self.with_images(command, |images| images.revert(vdi, snapshot))?;
        report(command, branched)
    }

    fn resize_vdi(&self, uuid: Uuid, size: u64) -> Result<FoundVdi, Failure> {
        self.with_images(Command::VdiResize, |images| images.resize(uuid, size))
    }

    fn open_vdi(&self, uuid: Uuid, mode: OpenMode) -> Result<Arc<dyn nbd::Export>, Failure> {
        let image = self.with_images(Command::VdiAttach, |images| images.open(uuid, mode))?;
        Ok(image)
    }
}

fn refuse_open(served: &Served) -> Result<(), Failure> {
    match served.images.open_images().all().first() {
        Some(image) => {
            let parameters = [image.uuid().to_string(), "detach".to_owned()];
            Err(Failure::new("VDI_IN_USE", parameters))
        }
        None => Ok(()),
    }
}

fn report(command: Command, branched: Branched) -> Result<SnapshotReport, Failure> {
    let Branched { source, new, base } = branched;
    let new = new.ok_or_else(|| backend::failed(command, "no second image was made"))?;
    Ok(SnapshotReport { new, source, base })
}

#[cfg(test)]
#[path = "vhd_files_sr_tests.rs"]
mod tests;
