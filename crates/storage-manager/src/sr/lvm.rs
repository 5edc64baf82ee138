//! SR type `lvm`: LVHD on devices of this machine.
//!
//! Parameters, limits and errors: `docs/sr-types.md`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use xenapi::Failure;

use super::lvhd::{self, LvhdDevices, LvhdMedium, LvhdSrs, in_use};
use super::vhd_files_sr::MediumGuard;
use super::{AttachedSr, ConfigChanges, DriverInfo, KnownSr, SrParams, SrType};
use crate::medium::block_device::BlockDevice;
use crate::medium::local_device::{LocalDevice, OpenError, is_root_device};

/// What the SM record says; the texts are XenServer's.
static INFO: DriverInfo = DriverInfo {
    sr_type: "lvm",
    name_label: "Local VHD on LVM",
    name_description: "SR plugin which represents disks as VHD disks on Logical Volumes within a locally-attached Volume Group",
    capabilities: lvhd::CAPABILITIES,
    configuration: &[
        ("device", "local device path (required) (e.g. /dev/sda3)"),
        (
            "allocation",
            "Valid values are thick or thin (optional, defaults to thick)",
        ),
        (
            "force",
            "true to destroy what is on the devices when the SR is created (optional)",
        ),
    ],
    required_count: 1,
};

/// Most devices of one SR.
const MAX_DEVICES: usize = 64;

/// The SR type.
#[derive(Debug, Default)]
pub struct LvmSr {
    attached: LvhdSrs,
}

/// The devices, which nobody else has until they are released.
#[derive(Debug)]
struct OpenDevices(Vec<Arc<LocalDevice>>);

impl MediumGuard for OpenDevices {
    fn release(&self) -> Result<(), Failure> {
        self.0.iter().for_each(|device| device.release());
        Ok(())
    }
}

impl SrType for LvmSr {
    fn info(&self) -> &'static DriverInfo {
        &INFO
    }

    fn check_beside(&self, params: &SrParams, others: &[KnownSr]) -> Result<(), Failure> {
        let wanted = paths(params)?;
        for other in others
            .iter()
            .filter(|other| other.sr_uuid != params.sr_uuid)
        {
            let devices = other.device_config.get("device");
            let mut devices = devices.into_iter().flat_map(|list| list.split(','));
            if let Some(taken) =
                devices.find(|device| wanted.contains(&PathBuf::from(device.trim())))
            {
                return Err(in_use(&format!(
                    "device {taken} belongs to SR {}; choose another device, or destroy that SR first",
                    other.sr_uuid
                )));
            }
        }
        Ok(())
    }

    /// Makes a volume group of the devices. What is on them is refused, saying what it is, unless `device_config:force` is
    /// `true`; the device of the root file system is refused in any case.
    fn create(&self, params: &SrParams) -> Result<(), Failure> {
        let paths = paths(params)?;
        if let Some(root) = paths.iter().find(|path| is_root_device(path)) {
            let detail = format!("device {} holds the root file system", root.display());
            return Err(Failure::backend(
                105,
                "Root system device, cannot be used for VM storage",
                &detail,
                "",
            ));
        }
        lvhd::create(params, &alone(&open(&paths)?))
    }

    fn probe(&self, params: &SrParams) -> Result<String, Failure> {
        let mut devices: Vec<Arc<dyn BlockDevice>> = Vec::new();
        for path in paths(params)? {
            let device = LocalDevice::look(&path).map_err(|error| open_failure(&error))?;
            devices.push(Arc::new(device));
        }
        lvhd::probe(params, &devices)
    }

    fn attach(&self, params: &SrParams) -> Result<Arc<dyn AttachedSr>, Failure> {
        let paths = paths(params)?;
        let place = format!("{paths:?}");
        let sr = self.attached.attach(params, &place, || {
            let devices = open(&paths)?;
            Ok(LvhdMedium {
                devices: alone(&devices),
                guard: Arc::new(OpenDevices(devices)),
                config_changes: ConfigChanges::default(),
            })
        })?;
        Ok(sr)
    }

    fn delete(&self, params: &SrParams) -> Result<(), Failure> {
        lvhd::delete(params, &alone(&open(&paths(params)?)?))
    }
}

/// The devices that the PBD names.
fn paths(params: &SrParams) -> Result<Vec<PathBuf>, Failure> {
    let list = params.device_config.get("device");
    let names: Vec<&str> = list
        .into_iter()
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect();
    if names.is_empty() {
        return Err(Failure::backend(
            90,
            "The request is missing the device parameter",
            "",
            "",
        ));
    }
    let refuse = |detail: String| {
        Err(Failure::backend(
            91,
            "The device path is invalid",
            &detail,
            "",
        ))
    };
    if names.len() > MAX_DEVICES {
        return refuse(format!(
            "{} devices are named, {MAX_DEVICES} are possible",
            names.len()
        ));
    }
    let mut paths: Vec<PathBuf> = Vec::new();
    for name in names {
        let path = Path::new(name);
        if !path.is_absolute() || name.contains('\0') {
            return refuse(format!(
                "{name:?} is not an absolute path; write the whole path, as /dev/sdb"
            ));
        }
        if paths.iter().any(|other| other == path) {
            return refuse(format!("{name:?} is named twice"));
        }
        paths.push(path.to_owned());
    }
    Ok(paths)
}

fn open(paths: &[PathBuf]) -> Result<Vec<Arc<LocalDevice>>, Failure> {
    let devices = paths
        .iter()
        .map(|path| LocalDevice::open(path).map(Arc::new));
    let devices: Result<_, OpenError> = devices.collect();
    devices.map_err(|error| open_failure(&error))
}

/// Devices without an owner record: the kernel keeps everybody else on this machine from them, and its page cache makes a
/// device of this type one that no other machine may write to.
fn alone(devices: &[Arc<LocalDevice>]) -> LvhdDevices {
    let devices = devices.iter().cloned();
    LvhdDevices {
        all: devices
            .map(|device| -> Arc<dyn BlockDevice> { device })
            .collect(),
        for_record: None,
    }
}

fn open_failure(error: &OpenError) -> Failure {
    let detail = crate::error::chain_text(error);
    match error {
        OpenError::Busy { .. } => in_use(&detail),
        OpenError::Missing { .. } | OpenError::Kind { .. } => {
            Failure::backend(91, "The device path is invalid", &detail, "")
        }
        OpenError::Io { .. } => Failure::backend(200, "An I/O error occurred", &detail, ""),
    }
}
