//! SR type `lvmohba`: LVHD on a LUN behind the host bus adapters of this machine.
//!
//! Parameters, limits and errors: `docs/sr-types.md`.

use std::io;
use std::path::Path;
use std::sync::Arc;

use xenapi::Failure;

use super::backend_error as backend;
use super::lvhd::{self, LvhdDevices, LvhdMedium, LvhdSrs};
use super::vhd_files_sr::MediumGuard;
use super::{AttachedSr, ConfigChanges, DriverInfo, SrParams, SrType};
use crate::layout::lun_per_vdi::{Look, LunSource};
use crate::medium::block_device::BlockDevice;
use crate::medium::hba::{HbaLuns, LunPath, Sysfs, devlist};

/// What the SM record says; the texts are XenServer's.
static INFO: DriverInfo = DriverInfo {
    sr_type: "lvmohba",
    name_label: "LVHD over FC",
    name_description: "SR plugin which represents disks as VHDs on Logical Volumes within a Volume Group created on an HBA LUN, e.g. hardware-based iSCSI or FC support",
    capabilities: lvhd::CAPABILITIES,
    configuration: &[
        ("SCSIid", "The scsi_id of the destination LUN"),
        (
            "allocation",
            "Valid values are thick or thin (optional, defaults to thick)",
        ),
        (
            "force",
            "true to destroy what is on the LUN when the SR is created (optional)",
        ),
    ],
    required_count: 1,
};

/// Every family of adapters.
const ANY: &str = "any";

/// The SR type.
#[derive(Debug)]
pub struct LvmOHbaSr {
    luns: HbaLuns,
    attached: LvhdSrs,
}

/// The LUN is held by being open.
#[derive(Debug)]
struct OpenLun;

impl MediumGuard for OpenLun {
    fn release(&self) -> Result<(), Failure> {
        Ok(())
    }
}

impl LvmOHbaSr {
    /// On the adapters that a tree shows.
    pub fn new(sysfs: Sysfs) -> Self {
        LvmOHbaSr {
            luns: HbaLuns::new(sysfs, ANY),
            attached: LvhdSrs::default(),
        }
    }

    /// The LUN that the PBD names by `SCSIid`, or by the node of a path in `device`.
    ///
    /// # Errors
    /// 107 when it names none, with the LUNs that there are.
    fn scsi_id(&self, params: &SrParams) -> Result<String, Failure> {
        let get = |key: &str| {
            let text = params.device_config.get(key).map(|text| text.trim());
            text.filter(|text| !text.is_empty())
        };
        if let Some(scsi_id) = get("SCSIid") {
            return Ok(scsi_id.to_owned());
        }
        let Some(device) = get("device") else {
            return Err(self.no_lun("name one of the LUNs by device_config:SCSIid"));
        };
        let node = Path::new(device).file_name().unwrap_or_default();
        let paths = self.luns.paths_by_lun(Look::Known).unwrap_or_default();
        let named = |path: &&LunPath| *path.node == *node;
        let path = paths.iter().flatten().find(named);
        path.map(|path| path.identity.scsi_id.clone())
            .filter(|scsi_id| !scsi_id.is_empty())
            .ok_or_else(|| self.no_lun(&format!("device {device} is none of the LUNs")))
    }

    /// 107: no LUN is named, or there is none of that name. The document lists LUNs and adapters.
    fn no_lun(&self, detail: &str) -> Failure {
        let luns = self.luns.paths_by_lun(Look::Rescan).unwrap_or_default();
        let document = devlist(&luns, &self.luns.adapters().unwrap_or_default());
        Failure::backend(
            107,
            "The SCSIid parameter is missing or incorrect",
            detail,
            &document,
        )
    }

    fn open(&self, scsi_id: &str) -> Result<Vec<Arc<dyn BlockDevice>>, Failure> {
        let opened = LunSource::open(&self.luns, scsi_id).or_else(|error| match error.kind() {
            // One that the kernel has not seen yet.
            io::ErrorKind::NotFound => self
                .luns
                .paths_by_lun(Look::Rescan)
                .and_then(|_| LunSource::open(&self.luns, scsi_id)),
            _ => Err(error),
        });
        match opened {
            Ok(device) => Ok(vec![device]),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(self.no_lun(&error.to_string()))
            }
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                Err(backend::sr_in_use(&error.to_string()))
            }
            Err(error) => Err(Failure::backend(
                47,
                "The SR is not available",
                &format!("open LUN {scsi_id}: {error}"),
                "",
            )),
        }
    }
}

/// A LUN that other machines may have too. Nothing of it is kept in memory, so that its record is read as it is.
fn shared(devices: Vec<Arc<dyn BlockDevice>>) -> LvhdDevices {
    LvhdDevices {
        for_record: Some(devices.clone()),
        all: devices,
    }
}

impl SrType for LvmOHbaSr {
    fn info(&self) -> &'static DriverInfo {
        &INFO
    }

    fn resolved(&self, mut params: SrParams) -> Result<SrParams, Failure> {
        if params.device_config.contains_key("device") {
            let scsi_id = self.scsi_id(&params)?;
            params.device_config.insert("SCSIid".to_owned(), scsi_id);
        }
        Ok(params)
    }

    /// Makes a volume group of the LUN. What is on it is refused, saying what it is, unless `device_config:force` is `true`.
    fn create(&self, params: &SrParams) -> Result<(), Failure> {
        let scsi_id = self.scsi_id(params)?;
        lvhd::create(params, &shared(self.open(&scsi_id)?))
    }

    fn probe(&self, params: &SrParams) -> Result<String, Failure> {
        let scsi_id = self.scsi_id(params)?;
        lvhd::probe(params, &self.open(&scsi_id)?)
    }

    fn attach(&self, params: &SrParams) -> Result<Arc<dyn AttachedSr>, Failure> {
        let scsi_id = self.scsi_id(params)?;
        let config_changes = ConfigChanges::default()
            .device("SCSIid", scsi_id.as_str())
            .without_device("device")
            .sm("multipathable", "true");
        let sr = self.attached.attach(params, &scsi_id, || {
            Ok(LvhdMedium {
                devices: shared(self.open(&scsi_id)?),
                guard: Arc::new(OpenLun),
                config_changes,
            })
        })?;
        Ok(sr)
    }

    fn delete(&self, params: &SrParams) -> Result<(), Failure> {
        let scsi_id = self.scsi_id(params)?;
        lvhd::delete(params, &shared(self.open(&scsi_id)?))
    }
}
