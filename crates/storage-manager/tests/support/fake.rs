//! An SR type whose medium is a directory of plain files and that hangs or fails when a test says so.

#![allow(clippy::unwrap_used)] // a test helper fails its test
#![allow(dead_code)] // each test file uses its own part

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use nbd::{BlockStatus, Export, Extent};
use storage_manager::sr::{
    AttachedSr, ConfigChanges, DamagedImage, DriverInfo, FoundVdi, IntroducedVdi, KeptLabels,
    KnownSr, NewVdi, OpenMode, ScanReport, SnapshotKind, SnapshotReport, SrLabels, SrParams,
    SrSpace, SrType, VdiLabels,
};
use uuid::Uuid;
use xenapi::Failure;

static INFO: DriverInfo = DriverInfo {
    sr_type: "fake",
    name_label: "Fake",
    name_description: "for tests",
    capabilities: &[
        "VDI_CREATE",
        "VDI_DELETE",
        "VDI_ATTACH",
        "VDI_DETACH",
        "VDI_UPDATE",
        "VDI_SNAPSHOT",
        "VDI_CLONE",
        "VDI_RESIZE",
        "VDI_RESIZE_ONLINE",
        "VDI_REVERT",
        "VDI_CONFIG_CBT",
        "VDI_INTRODUCE",
    ],
    configuration: &[("location", "directory")],
    required_count: 1,
};

/// Something that lets nobody through while it is closed.
#[derive(Default)]
pub struct Gate {
    is_closed: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    pub fn close(&self) {
        *self.is_closed.lock().unwrap() = true;
    }

    pub fn open(&self) {
        *self.is_closed.lock().unwrap() = false;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let mut is_closed = self.is_closed.lock().unwrap();
        while *is_closed {
            is_closed = self.opened.wait(is_closed).unwrap();
        }
    }
}

/// What a test makes the medium do.
#[derive(Default)]
pub struct Switches {
    calls: Gate,
    /// Reads of consumers.
    pub reads: Gate,
    pub fail_scan: AtomicBool,
    pub fail_attach: AtomicBool,
    pub fail_delete: AtomicBool,
    pub fail_writes: AtomicBool,
    /// The medium shows nothing of what is on it, as a directory does whose file system is not mounted.
    pub is_gone: AtomicBool,
    /// What the medium keeps of names; none when it keeps none.
    pub labels: Mutex<Option<KeptLabels>>,
    pub fail_labels: AtomicBool,
    /// What the driver wants recorded.
    pub changes: Mutex<ConfigChanges>,
    /// What the driver says of its health.
    pub health: Mutex<Option<String>>,
    /// VDIs are taken into use rather than made.
    pub takes_vdis: AtomicBool,
    /// A key of `device_config` that two SRs must not have with one value.
    pub exclusive_key: Mutex<Option<String>>,
}

impl Switches {
    pub fn hang(&self, hang: bool) {
        if hang {
            self.calls.close();
        } else {
            self.calls.open();
        }
    }

    fn pass(&self) {
        self.calls.pass();
    }
}

/// The SR type.
#[derive(Default)]
pub struct FakeSr {
    pub switches: Arc<Switches>,
}

struct Attached {
    location: PathBuf,
    switches: Arc<Switches>,
}

fn failed(error: &io::Error) -> Failure {
    Failure::backend(1200, &error.to_string(), "", "")
}

fn location(params: &SrParams) -> Result<PathBuf, Failure> {
    params
        .device_config
        .get("location")
        .map(PathBuf::from)
        .ok_or_else(|| Failure::backend(94, "no location", "", ""))
}

impl SrType for FakeSr {
    fn info(&self) -> &'static DriverInfo {
        &INFO
    }

    fn create(&self, params: &SrParams) -> Result<(), Failure> {
        self.switches.pass();
        fs::create_dir_all(location(params)?).map_err(|e| failed(&e))
    }

    fn check_beside(&self, params: &SrParams, others: &[KnownSr]) -> Result<(), Failure> {
        let key = self.switches.exclusive_key.lock().unwrap();
        let Some(key) = key.as_ref() else {
            return Ok(());
        };
        let value = params.device_config.get(key);
        if others.iter().any(|sr| sr.device_config.get(key) == value) {
            return Err(Failure::backend(16, "The SR is in use", "another SR", ""));
        }
        Ok(())
    }

    fn probe(&self, params: &SrParams) -> Result<String, Failure> {
        if params.device_config.contains_key("hang") {
            self.switches.pass();
        }
        Ok("<SRlist/>".to_owned())
    }

    fn attach(&self, params: &SrParams) -> Result<Arc<dyn AttachedSr>, Failure> {
        self.switches.pass();
        if self.switches.fail_attach.load(Ordering::SeqCst) {
            return Err(Failure::backend(61, "not mounted", "", ""));
        }
        Ok(Arc::new(Attached {
            location: location(params)?,
            switches: self.switches.clone(),
        }))
    }

    fn delete(&self, params: &SrParams) -> Result<(), Failure> {
        let is_empty = fs::read_dir(location(params)?)
            .map_err(|e| failed(&e))?
            .next()
            .is_none();
        if is_empty {
            Ok(())
        } else {
            Err(Failure::new("SR_NOT_EMPTY", Vec::<String>::new()))
        }
    }
}

/// Beside `<uuid>.img`: `<uuid>.hidden` of a parent, `<uuid>.parent` with a uuid, `<uuid>.cbt` of a tracked one.
impl Attached {
    fn path(&self, uuid: Uuid) -> PathBuf {
        self.beside(uuid, "img")
    }

    fn beside(&self, uuid: Uuid, what: &str) -> PathBuf {
        self.location.join(format!("{uuid}.{what}"))
    }

    fn mark(&self, uuid: Uuid, what: &str, text: &str) {
        fs::write(self.beside(uuid, what), text).unwrap();
    }

    fn unmark(&self, uuid: Uuid, what: &str) {
        let _ = fs::remove_file(self.beside(uuid, what));
    }

    fn found(&self, uuid: Uuid) -> Result<FoundVdi, Failure> {
        let cbt_enabled = self.beside(uuid, "cbt").exists();
        let image = fs::metadata(self.path(uuid));
        let is_cbt_metadata = image.is_err() && cbt_enabled;
        let size = if is_cbt_metadata {
            64
        } else {
            image.map_err(|e| failed(&e))?.len()
        };
        let hidden = self.beside(uuid, "hidden").exists();
        let parent = fs::read_to_string(self.beside(uuid, "parent"));
        Ok(FoundVdi {
            uuid,
            location: uuid.to_string(),
            virtual_size: size,
            physical_utilisation: size,
            managed: !hidden && !self.takes_vdis(),
            read_only: hidden,
            sm_config: parent
                .map(|parent| BTreeMap::from([("vhd-parent".to_owned(), parent)]))
                .unwrap_or_default(),
            cbt_enabled,
            is_cbt_metadata,
        })
    }
}

impl AttachedSr for Attached {
    fn detach(&self) -> Result<(), Failure> {
        self.switches.pass();
        Ok(())
    }

    fn config_changes(&self) -> ConfigChanges {
        self.switches.changes.lock().unwrap().clone()
    }

    fn health(&self) -> Option<String> {
        self.switches.health.lock().unwrap().clone()
    }

    fn keeps_labels(&self) -> bool {
        self.switches.labels.lock().unwrap().is_some()
    }

    fn labels(&self) -> Result<KeptLabels, Failure> {
        Ok(self.switches.labels.lock().unwrap().clone().unwrap())
    }

    fn write_vdi_labels(&self, labels: &[VdiLabels]) -> Result<(), Failure> {
        if self.switches.fail_labels.load(Ordering::SeqCst) {
            return Err(Failure::backend(181, "Metadata error", "", ""));
        }
        let mut kept = self.switches.labels.lock().unwrap();
        let kept = kept.as_mut().unwrap();
        for new in labels {
            kept.vdis.retain(|vdi| vdi.uuid != new.uuid);
            kept.vdis.push(new.clone());
        }
        Ok(())
    }

    fn write_sr_labels(&self, labels: &SrLabels) -> Result<(), Failure> {
        self.switches.labels.lock().unwrap().as_mut().unwrap().sr = Some(labels.clone());
        Ok(())
    }

    fn takes_vdis(&self) -> bool {
        self.switches.takes_vdis.load(Ordering::SeqCst)
    }

    /// The smallest that fits.
    fn take_vdi(&self, new: &NewVdi, in_use: &BTreeSet<Uuid>) -> Result<FoundVdi, Failure> {
        let report = self.scan()?;
        let free = report
            .vdis
            .into_iter()
            .filter(|vdi| !in_use.contains(&vdi.uuid) && vdi.virtual_size >= new.virtual_size);
        free.min_by_key(|vdi| vdi.virtual_size)
            .ok_or_else(|| Failure::backend(44, "There is insufficient space", "", ""))
    }

    fn introduce_vdi(&self, introduced: &IntroducedVdi) -> Result<FoundVdi, Failure> {
        let uuid = introduced
            .sm_config
            .get("LUNid")
            .and_then(|id| id.parse().ok());
        let missing = || Failure::backend(89, "The LUNid is missing", "", "");
        self.found(uuid.ok_or_else(missing)?)
    }

    fn scan(&self) -> Result<ScanReport, Failure> {
        self.switches.pass();
        if self.switches.fail_scan.load(Ordering::SeqCst) {
            return Err(Failure::backend(40, "The SR scan failed", "", ""));
        }
        let mut report = ScanReport {
            space: self.space()?,
            ..ScanReport::default()
        };
        if self.switches.is_gone.load(Ordering::SeqCst) {
            return Ok(report);
        }
        for entry in fs::read_dir(&self.location).map_err(|e| failed(&e))? {
            let name = entry
                .map_err(|e| failed(&e))?
                .file_name()
                .into_string()
                .unwrap();
            let (stem, suffix) = name.split_once('.').unwrap_or((&name, ""));
            match (suffix, Uuid::parse_str(stem)) {
                ("img", Ok(uuid)) => report.vdis.push(self.found(uuid)?),
                ("cbt", Ok(uuid)) if !self.path(uuid).exists() => {
                    report.vdis.push(self.found(uuid)?);
                }
                ("hidden" | "parent" | "cbt", Ok(_)) => {}
                _ => report.damaged.push(DamagedImage {
                    location: name,
                    reason: "not an image".to_owned(),
                }),
            }
        }
        Ok(report)
    }

    fn space(&self) -> Result<SrSpace, Failure> {
        Ok(SrSpace {
            physical_size: 1 << 40,
            physical_utilisation: 1 << 20,
        })
    }

    fn create_vdi(&self, new: &NewVdi) -> Result<FoundVdi, Failure> {
        self.switches.pass();
        let file = File::create_new(self.path(new.uuid)).map_err(|e| failed(&e))?;
        file.set_len(new.virtual_size).map_err(|e| failed(&e))?;
        self.found(new.uuid)
    }

    fn delete_vdi(&self, uuid: Uuid) -> Result<(), Failure> {
        self.switches.pass();
        if self.switches.fail_delete.load(Ordering::SeqCst) {
            return Err(Failure::backend(80, "VDI deletion failed", "", ""));
        }
        if self.takes_vdis() {
            return Ok(());
        }
        for what in ["hidden", "parent", "cbt"] {
            self.unmark(uuid, what);
        }
        match fs::remove_file(self.path(uuid)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&error)),
            _ => Ok(()),
        }
    }

    fn stat_vdi(&self, uuid: Uuid) -> Result<FoundVdi, Failure> {
        self.found(uuid)
    }

    fn snapshot_vdi(
        &self,
        source: Uuid,
        new: Uuid,
        kind: SnapshotKind,
    ) -> Result<SnapshotReport, Failure> {
        self.switches.pass();
        let base = Uuid::from_u128(new.as_u128() ^ 1);
        for copy in [base, new] {
            fs::copy(self.path(source), self.path(copy)).map_err(|e| failed(&e))?;
        }
        self.mark(base, "hidden", "");
        if let Ok(parent) = fs::read_to_string(self.beside(source, "parent")) {
            self.mark(base, "parent", &parent);
        }
        for child in [source, new] {
            self.mark(child, "parent", &base.to_string());
        }
        if kind == SnapshotKind::Snapshot && self.beside(source, "cbt").exists() {
            self.mark(new, "cbt", "");
        }
        Ok(SnapshotReport {
            new: self.found(new)?,
            source: self.found(source)?,
            base: Some(self.found(base)?),
        })
    }

    fn revert_vdi(&self, vdi: Uuid, snapshot: Uuid) -> Result<SnapshotReport, Failure> {
        self.switches.pass();
        fs::copy(self.path(snapshot), self.path(vdi)).map_err(|e| failed(&e))?;
        Ok(SnapshotReport {
            new: self.found(vdi)?,
            source: self.found(snapshot)?,
            base: None,
        })
    }

    fn resize_vdi(&self, uuid: Uuid, size: u64) -> Result<FoundVdi, Failure> {
        self.switches.pass();
        if size < self.found(uuid)?.virtual_size {
            return Err(Failure::backend(
                79,
                "VDI Invalid size",
                "shrinking not allowed",
                "",
            ));
        }
        let file = File::options().write(true).open(self.path(uuid));
        file.and_then(|file| file.set_len(size))
            .map_err(|e| failed(&e))?;
        self.found(uuid)
    }

    fn enable_cbt(&self, uuid: Uuid) -> Result<FoundVdi, Failure> {
        self.switches.pass();
        self.mark(uuid, "cbt", "");
        self.found(uuid)
    }

    fn disable_cbt(&self, uuid: Uuid) -> Result<FoundVdi, Failure> {
        self.unmark(uuid, "cbt");
        self.found(uuid)
    }

    fn destroy_vdi_data(&self, uuid: Uuid) -> Result<FoundVdi, Failure> {
        fs::remove_file(self.path(uuid)).map_err(|e| failed(&e))?;
        self.found(uuid)
    }

    fn changed_blocks(&self, from: Uuid, to: Uuid) -> Result<Vec<u8>, Failure> {
        if from == to {
            return Err(Failure::backend(460, "Failed to calculate", "same", ""));
        }
        Ok(vec![0b1000_0000, 1])
    }

    fn open_vdi(&self, uuid: Uuid, mode: OpenMode) -> Result<Arc<dyn Export>, Failure> {
        self.switches.pass();
        let file = File::options()
            .read(true)
            .write(true)
            .open(self.path(uuid))
            .map_err(|e| failed(&e))?;
        Ok(Arc::new(PlainFile {
            file,
            switches: self.switches.clone(),
            is_read_only: mode == OpenMode::ReadOnly,
        }))
    }
}

struct PlainFile {
    file: File,
    switches: Arc<Switches>,
    is_read_only: bool,
}

impl Export for PlainFile {
    fn size(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| metadata.len())
    }

    fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.switches.reads.pass();
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        if self.switches.fail_writes.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write_all_at(data, offset)
    }

    fn write_zeroes_at(&self, offset: u64, length: u64) -> io::Result<()> {
        self.file
            .write_all_at(&vec![0; usize::try_from(length).unwrap()], offset)
    }

    fn trim_at(&self, _offset: u64, _length: u64) -> io::Result<()> {
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn block_status(&self, _offset: u64, length: u64, _limit: usize) -> io::Result<Vec<Extent>> {
        Ok(vec![Extent {
            length,
            status: BlockStatus::Data,
        }])
    }

    fn close(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}
