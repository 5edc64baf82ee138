//! An SR type whose medium is a directory of plain files and that hangs or fails when a test says so.

#![allow(clippy::unwrap_used)] // a test helper fails its test

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use nbd::{BlockStatus, Export, Extent};
use storage_manager::sr::{
    AttachedSr, DamagedImage, DriverInfo, FoundVdi, NewVdi, OpenMode, ScanReport, SrParams,
    SrSpace, SrType,
};
use uuid::Uuid;
use xenapi::Failure;

static INFO: DriverInfo = DriverInfo {
    sr_type: "fake",
    name_label: "Fake",
    name_description: "for tests",
    capabilities: &["VDI_CREATE", "VDI_DELETE", "VDI_ATTACH", "VDI_DETACH"],
    configuration: &[("location", "directory")],
    required_count: 1,
};

/// What a test makes the medium do.
#[derive(Default)]
pub struct Switches {
    hang: Mutex<bool>,
    release: Condvar,
    pub fail_scan: AtomicBool,
    pub fail_attach: AtomicBool,
    pub fail_delete: AtomicBool,
}

impl Switches {
    pub fn hang(&self, hang: bool) {
        *self.hang.lock().unwrap() = hang;
        self.release.notify_all();
    }

    fn pass(&self) {
        let mut hang = self.hang.lock().unwrap();
        while *hang {
            hang = self.release.wait(hang).unwrap();
        }
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

    fn probe(&self, _params: &SrParams) -> Result<String, Failure> {
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

impl Attached {
    fn path(&self, uuid: Uuid) -> PathBuf {
        self.location.join(format!("{uuid}.img"))
    }
}

fn found(uuid: Uuid, size: u64) -> FoundVdi {
    FoundVdi {
        uuid,
        location: uuid.to_string(),
        virtual_size: size,
        physical_utilisation: size,
        managed: true,
        read_only: false,
        sm_config: BTreeMap::new(),
        cbt_enabled: false,
        is_cbt_metadata: false,
    }
}

impl AttachedSr for Attached {
    fn detach(&self) -> Result<(), Failure> {
        Ok(())
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
        for entry in fs::read_dir(&self.location).map_err(|e| failed(&e))? {
            let name = entry
                .map_err(|e| failed(&e))?
                .file_name()
                .into_string()
                .unwrap();
            let stem = name.trim_end_matches(".img").to_owned();
            match (name.ends_with(".img"), Uuid::parse_str(&stem)) {
                (true, Ok(uuid)) => report.vdis.push(found(
                    uuid,
                    fs::metadata(self.path(uuid)).map_err(|e| failed(&e))?.len(),
                )),
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
        Ok(found(new.uuid, new.virtual_size))
    }

    fn delete_vdi(&self, uuid: Uuid) -> Result<(), Failure> {
        self.switches.pass();
        if self.switches.fail_delete.load(Ordering::SeqCst) {
            return Err(Failure::backend(80, "VDI deletion failed", "", ""));
        }
        match fs::remove_file(self.path(uuid)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&error)),
            _ => Ok(()),
        }
    }

    fn stat_vdi(&self, uuid: Uuid) -> Result<FoundVdi, Failure> {
        let size = fs::metadata(self.path(uuid)).map_err(|e| failed(&e))?.len();
        Ok(found(uuid, size))
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
            is_read_only: mode == OpenMode::ReadOnly,
        }))
    }
}

struct PlainFile {
    file: File,
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
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
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
