//! SR type `file`: VHD files in a directory of this machine.
//!
//! Parameters, limits and errors: `docs/sr-types.md`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, Weak};

use uuid::Uuid;
use xenapi::Failure;

use super::backend_error::{self as backend, Command};
use super::{
    AttachedSr, DriverInfo, FoundVdi, NewVdi, OpenMode, ScanReport, SnapshotKind, SnapshotReport,
    SrParams, SrSpace, SrType,
};
use crate::gc::ImageStore;
use crate::io::durable::create_directories;
use crate::io::lock::LockFile;
use crate::layout::vhd_files::names::{EntryKind, ImageFormat, ImageName, LOCK_NAME, classify};
use crate::layout::vhd_files::{
    Branched, Error as LayoutError, FileChains, NewImage, VhdDirectory,
};
use crate::medium::directory::Directory;

/// What the SM record says; the texts are XenServer's.
static INFO: DriverInfo = DriverInfo {
    sr_type: "file",
    name_label: "Local Path VHD",
    name_description: "SR plugin which represents disks as VHD files stored on a local path",
    capabilities: &[
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
    ],
    configuration: &[("location", "local directory path (required)")],
    required_count: 1,
};

/// The SR type.
#[derive(Debug, Default)]
pub struct FileSr {
    /// What is attached, so that attaching again gives the same. Each SR has a lock of its own, since taking one in does
    /// I/O: a directory that hangs keeps no other SR waiting.
    attached: Mutex<BTreeMap<Uuid, Slot>>,
}

type Slot = Arc<Mutex<Weak<AttachedFileSr>>>;

/// An attached SR.
#[derive(Debug)]
pub struct AttachedFileSr {
    sr_uuid: Uuid,
    location: PathBuf,
    /// None once it is detached.
    served: RwLock<Option<Served>>,
}

#[derive(Debug)]
struct Served {
    images: Arc<VhdDirectory>,
    chains: Arc<FileChains>,
    /// Kept for its lock; declared last, so that it is released after everything else.
    _lock: LockFile,
}

impl SrType for FileSr {
    fn info(&self) -> &'static DriverInfo {
        &INFO
    }

    /// The directory must be absent, then it is made with those above it, or empty.
    ///
    /// # Durability
    /// On return the directory survives a power cut.
    fn create(&self, params: &SrParams) -> Result<(), Failure> {
        let location = location(params, Command::SrCreate)?;
        let system_call =
            |action, error| backend::system_call(Command::SrCreate, action, &location, &error);
        if create_directories(&location).map_err(|error| system_call("create directory", error))? {
            return Ok(());
        }
        // A lock file without a holder is what an SR leaves that was forgotten, or created by a process that died.
        let lock = take_lock(params, &location, Command::SrCreate)?;
        let directory =
            Directory::open(&location).map_err(|error| system_call("open directory", error))?;
        let entries = directory
            .entries()
            .map_err(|error| system_call("list", error))?;
        if let Some(found) = entries.iter().find(|name| *name != LOCK_NAME) {
            let detail = format!(
                "directory {} is not empty: it holds {}; choose an empty one, or introduce the SR that is there",
                location.display(),
                found.to_string_lossy()
            );
            lock.remove()
                .map_err(|error| system_call("remove the lock file in", error))?;
            return Err(backend::failed(Command::SrCreate, &detail));
        }
        lock.remove()
            .map_err(|error| system_call("remove the lock file in", error))
    }

    /// An SR directory does not say which SR it is, so there is nothing to find but whether it could be one.
    ///
    /// XenServer's `file` driver answers with an empty list too, where it answers at all.
    fn probe(&self, params: &SrParams) -> Result<String, Failure> {
        let location = location(params, Command::SrAttach)?;
        Directory::open(&location).map_err(|error| {
            backend::system_call(Command::SrAttach, "open directory", &location, &error)
        })?;
        Ok("<?xml version=\"1.0\" ?>\n<SRlist/>\n".to_owned())
    }

    fn attach(&self, params: &SrParams) -> Result<Arc<dyn AttachedSr>, Failure> {
        let location = location(params, Command::SrAttach)?;
        let slot = self.slot(params.sr_uuid);
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sr) = slot.upgrade()
            && sr.location == location
            && sr.is_served()
        {
            return Ok(sr);
        }
        let directory = Directory::open(&location).map_err(|error| {
            backend::system_call(Command::SrAttach, "open directory", &location, &error)
        })?;
        let lock = take_lock(params, &location, Command::SrAttach)?;
        let images = VhdDirectory::new(directory)
            .map(Arc::new)
            .map_err(|error| backend::layout(Command::SrAttach, params.sr_uuid, &error))?;
        let served = RwLock::new(Some(Served {
            chains: FileChains::new(images.clone()),
            images,
            _lock: lock,
        }));
        let sr = Arc::new(AttachedFileSr {
            sr_uuid: params.sr_uuid,
            location,
            served,
        });
        *slot = Arc::downgrade(&sr);
        Ok(sr)
    }

    /// Removes the images and what else storage managers keep beside them. The directory stays, and so does every file
    /// in it that belongs to somebody else; a directory that is gone is no error.
    ///
    /// Write order: files are unlinked one by one, then the directory is synced, the lock file goes last. A crash in
    /// between leaves fewer files, and the call can be repeated.
    fn delete(&self, params: &SrParams) -> Result<(), Failure> {
        let location = location(params, Command::SrDelete)?;
        let system_call =
            |action, error| backend::system_call(Command::SrDelete, action, &location, &error);
        let layout =
            |error: LayoutError| backend::layout(Command::SrDelete, params.sr_uuid, &error);
        let directory = match Directory::open(&location) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(|error| system_call("open directory", error))?,
        };
        let lock = take_lock(params, &location, Command::SrDelete)?;
        let images = VhdDirectory::new(directory).map_err(layout)?;
        let survey = images.survey().map_err(layout)?;
        if survey.images.values().any(|image| !image.hidden) {
            return Err(Failure::new("SR_NOT_EMPTY", [""; 0]));
        }
        if let Some(image) = survey.damaged.first() {
            let detail = format!(
                "{} cannot be read ({}) and may hold somebody's data; repair or remove it first",
                location.join(&image.location).display(),
                image.reason
            );
            return Err(backend::failed(Command::SrDelete, &detail));
        }
        let directory = images.directory();
        for entry in directory
            .entries()
            .map_err(|error| system_call("list", error))?
        {
            let ours = matches!(
                classify(&entry.to_string_lossy()),
                EntryKind::Image(_)
                    | EntryKind::SrFile
                    | EntryKind::NewLeaf(_)
                    | EntryKind::NewBase(_)
                    | EntryKind::ResizeJournal(_)
            );
            if ours
                && !directory
                    .is_directory(&entry)
                    .map_err(|error| system_call("look into", error))?
            {
                directory
                    .remove_entry(&entry)
                    .map_err(|error| system_call("remove files of", error))?;
            }
        }
        directory
            .sync()
            .map_err(|error| system_call("sync directory", error))?;
        lock.remove()
            .map_err(|error| system_call("remove the lock file in", error))
    }
}

impl FileSr {
    /// The place of an SR; places that nobody uses are dropped.
    fn slot(&self, sr_uuid: Uuid) -> Slot {
        let mut attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        attached.retain(|_, slot| {
            Arc::strong_count(slot) > 1 || slot.lock().is_ok_and(|sr| sr.strong_count() > 0)
        });
        attached.entry(sr_uuid).or_default().clone()
    }
}

impl AttachedFileSr {
    fn is_served(&self) -> bool {
        self.served
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    /// Runs `operation` on the images; the SR stays attached until it is done.
    fn with_images<T>(
        &self,
        command: Command,
        operation: impl FnOnce(&VhdDirectory) -> Result<T, LayoutError>,
    ) -> Result<T, Failure> {
        let served: RwLockReadGuard<'_, Option<Served>> =
            self.served.read().unwrap_or_else(PoisonError::into_inner);
        let Some(served) = served.as_ref() else {
            return Err(backend::detached(self.sr_uuid));
        };
        operation(&served.images).map_err(|error| backend::layout(command, self.sr_uuid, &error))
    }
}

impl AttachedSr for AttachedFileSr {
    /// Refuses with `VDI_IN_USE` while a VDI is open. Detaching twice is no error.
    fn detach(&self) -> Result<(), Failure> {
        let mut served = self.served.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(served) = served.as_ref()
            && let Some(image) = served.images.open_images().all().first()
        {
            return Err(Failure::new(
                "VDI_IN_USE",
                [image.uuid().to_string(), "detach".to_owned()],
            ));
        }
        // A step that does not end keeps the directory from being another's.
        if let Some(served) = served.as_ref()
            && !served.chains.close()
        {
            served.chains.reopen();
            let detail = "a merge of images did not end in time; try again";
            return Err(backend::failed(Command::SrDetach, detail));
        }
        if let Some(served) = served.as_ref() {
            served.images.stop_spares();
        }
        *served = None;
        Ok(())
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
            let directory = images.directory();
            let path = directory.path().to_owned();
            directory.space().map_err(|source| LayoutError::Io {
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

fn report(command: Command, branched: Branched) -> Result<SnapshotReport, Failure> {
    let Branched { source, new, base } = branched;
    let new = new.ok_or_else(|| backend::failed(command, "no second image was made"))?;
    Ok(SnapshotReport { new, source, base })
}

/// The directory that the PBD names.
///
/// Absolute and without `.` and `..`, so that one directory has one name in messages and none depends on where the
/// process was started.
fn location(params: &SrParams, command: Command) -> Result<PathBuf, Failure> {
    let text = params
        .device_config
        .get("location")
        .filter(|text| !text.is_empty());
    let text = text.ok_or_else(backend::location_missing)?;
    let refuse = |reason: &str| {
        Err(backend::failed(
            command,
            &format!("location {text:?} {reason}"),
        ))
    };
    let path = Path::new(text);
    if !path.is_absolute() {
        return refuse("is not an absolute path; write the whole path, from / on");
    }
    // `components` would swallow a `.`.
    if text.split('/').any(|part| part == "." || part == "..") {
        return refuse("has a component . or ..; write the path that is meant");
    }
    if text.contains('\0') {
        return refuse("has a zero byte");
    }
    if !path
        .components()
        .any(|component| matches!(component, Component::Normal(_)))
    {
        return refuse("is the root directory; choose a directory that holds nothing else");
    }
    Ok(path.components().collect())
}

fn take_lock(params: &SrParams, location: &Path, command: Command) -> Result<LockFile, Failure> {
    let record = format!("process {} (SR {})\n", std::process::id(), params.sr_uuid);
    LockFile::acquire(&location.join(LOCK_NAME), &record)
        .map_err(|error| backend::lock(command, &error))
}
