//! SR type `ext`: VHD files in an ext4 file system of their own, on a volume over whole devices of this machine.
//!
//! The file system is the kernel's: this type needs root, device-mapper and the system's tools. Parameters, limits and errors:
//! `docs/sr-types.md`.

use std::fmt::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;
use xenapi::Failure;

use super::backend_error::{self as backend, Command};
use super::ext_volume::{ExtVolume, System, VolumeError};
use super::vhd_files_sr::{AttachedSrs, CAPABILITIES, MediumGuard, VhdFilesSr, remove_images};
use super::{AttachedSr, DriverInfo, SrParams, SrType};
use crate::io::lock::LockFile;
use crate::layout::vhd_files::names::LOCK_NAME;
use crate::medium::directory::Directory;
use crate::medium::local_device::{LocalDevice, OpenError, is_root_device};
use crate::medium::signature;

/// What the SM record says; the texts are XenServer's.
static INFO: DriverInfo = DriverInfo {
    sr_type: "ext",
    name_label: "Local EXT3 VHD",
    name_description: "SR plugin which represents disks as VHD files stored on a local EXT3 filesystem, created inside an LVM volume",
    capabilities: CAPABILITIES,
    configuration: &[("device", "local device path (required) (e.g. /dev/sda3)")],
    required_count: 1,
};

/// Key of `device_config` that has a device taken which holds something.
const FORCE: &str = "force";

/// Most devices of one SR.
const MAX_DEVICES: usize = 32;

/// The SR type.
#[derive(Debug, Default)]
pub struct ExtSr {
    system: System,
    attached: AttachedSrs,
}

/// The mount and the lock of an attached SR.
#[derive(Debug)]
struct Mounted {
    /// None once it is released.
    lock: Mutex<Option<LockFile>>,
    volume: ExtVolume,
}

impl Mounted {
    fn new(lock: LockFile, volume: ExtVolume) -> Self {
        let lock = Mutex::new(Some(lock));
        Mounted { lock, volume }
    }
}

impl MediumGuard for Mounted {
    /// Write order: the lock is released, the file system unmounted, the volume given back. A crash in between leaves what
    /// the next attach begins with.
    fn release(&self) -> Result<(), Failure> {
        // Closed too: an open file keeps the file system mounted.
        drop(
            self.lock
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        let unmounted = self.volume.unmount();
        unmounted.map_err(|error| failed(Step::Unmount, &error))
    }
}

impl SrType for ExtSr {
    fn info(&self) -> &'static DriverInfo {
        &INFO
    }

    /// The devices must hold nothing, or `force=true` be given.
    ///
    /// # Durability
    /// On return the file system is on the devices.
    fn create(&self, params: &SrParams) -> Result<(), Failure> {
        let volume = self.volume(params)?;
        require_system(&volume, Step::Group)?;
        for device in devices(params)? {
            require_blank(Path::new(&device), is_forced(params))?;
        }
        volume.create().map_err(|error| failed(Step::Group, &error))
    }

    fn probe(&self, params: &SrParams) -> Result<String, Failure> {
        let devices = devices(params)?;
        let volume = self.volume(params)?;
        require_system(&volume, Step::Look)?;
        for device in &devices {
            LocalDevice::look(Path::new(device)).map_err(|error| open_failed(&error))?;
        }
        let found = volume
            .find_groups()
            .map_err(|error| failed(Step::Look, &error))?;
        let mut document = "<?xml version=\"1.0\" ?>\n<SRlist>\n".to_owned();
        for group in found {
            // Writing to a string does not fail. The names of devices have no character that XML knows.
            let _ = write!(
                document,
                "\t<SR>\n\t\t<UUID>\n\t\t\t{}\n\t\t</UUID>\n\t\t<Devlist>\n\t\t\t{}\n\t\t</Devlist>\n\t\t<size>\n\t\t\t{}\n\t\t</size>\n\t</SR>\n",
                group.sr_uuid,
                devices.join(","),
                group.size
            );
        }
        document.push_str("</SRlist>\n");
        Ok(document)
    }

    fn attach(&self, params: &SrParams) -> Result<Arc<dyn AttachedSr>, Failure> {
        let place = devices(params)?.join(",");
        let volume = self.volume(params)?;
        self.attached.attach(params.sr_uuid, &place, || {
            require_system(&volume, Step::Mount)?;
            let (directory, lock) = mount(&volume, params.sr_uuid, Command::SrAttach)?;
            let guard = Mounted::new(lock, volume);
            VhdFilesSr::attach(params.sr_uuid, &place, Arc::new(directory), Arc::new(guard))
        })
    }

    /// Removes the images, then the volume, the group and the labels of the devices.
    ///
    /// Write order: as [`remove_images`]; then the file system is unmounted and all of it removed at once. A crash in between
    /// leaves an empty SR, and the call can be repeated.
    fn delete(&self, params: &SrParams) -> Result<(), Failure> {
        let volume = self.volume(params)?;
        require_system(&volume, Step::Group)?;
        let (directory, lock) = mount(&volume, params.sr_uuid, Command::SrDelete)?;
        let removed = remove_images(params.sr_uuid, Arc::new(directory));
        let unmounted = Mounted::new(lock, volume.clone()).release();
        removed.and(unmounted)?;
        volume.remove().map_err(|error| failed(Step::Group, &error))
    }
}

impl ExtSr {
    /// The type on another system than that of this machine.
    #[cfg(test)]
    pub(super) fn on(system: System) -> Self {
        ExtSr {
            system,
            attached: AttachedSrs::default(),
        }
    }

    fn volume(&self, params: &SrParams) -> Result<ExtVolume, Failure> {
        let devices = devices(params)?;
        Ok(ExtVolume::new(self.system.clone(), params.sr_uuid, devices))
    }
}

/// What was being done, which decides the number of a failure.
#[derive(Clone, Copy, Debug)]
enum Step {
    Look,
    Group,
    Mount,
    Unmount,
}

fn failed(step: Step, error: &VolumeError) -> Failure {
    let (number, text) = match step {
        Step::Look => (93, "PVs failed"),
        Step::Group => (77, "Volume Group creation failed"),
        Step::Mount => (52, "Logical Volume mount/activate error"),
        Step::Unmount => (53, "Logical Volume unmount/deactivate error"),
    };
    if let (Step::Unmount, VolumeError::Exec(error)) = (step, error)
        && error.to_string().contains("busy")
    {
        let detail = format!("{error}; end what uses the mounted file system");
        return backend::sr_in_use(&detail);
    }
    Failure::backend(number, text, &error.to_string(), "")
}

fn require_system(volume: &ExtVolume, step: Step) -> Result<(), Failure> {
    volume
        .require_system()
        .map_err(|error| failed(step, &error))
}

fn is_forced(params: &SrParams) -> bool {
    params
        .device_config
        .get(FORCE)
        .is_some_and(|value| value == "true")
}

/// The devices that the PBD names.
///
/// Only characters that mean nothing to LVM2's filters and to XML.
fn devices(params: &SrParams) -> Result<Vec<String>, Failure> {
    let text = params.device_config.get("device");
    let text = text.filter(|text| !text.is_empty()).ok_or_else(|| {
        Failure::backend(90, "The request is missing the device parameter", "", "")
    })?;
    let invalid = |detail: &str| {
        let detail = format!("device {text:?} {detail}");
        Failure::backend(91, "The device parameter is invalid", &detail, "")
    };
    let devices: Vec<String> = text.split(',').map(|part| part.trim().to_owned()).collect();
    if devices.len() > MAX_DEVICES {
        return Err(invalid(&format!("names more than {MAX_DEVICES} devices")));
    }
    for device in &devices {
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._:@+-".contains(c);
        if !device.starts_with("/dev/") || !device.chars().all(plain) || device.contains("..") {
            return Err(invalid(
                "is not a path below /dev of letters, digits and ._:@+-; write /dev/disk/by-id/...",
            ));
        }
    }
    if let Some(twice) = devices
        .iter()
        .enumerate()
        .find_map(|(at, device)| devices[..at].contains(device).then_some(device))
    {
        return Err(invalid(&format!("names {twice} twice")));
    }
    Ok(devices)
}

/// Refuses a device that is not there, is the system's, is in use, or holds something.
fn require_blank(path: &Path, forced: bool) -> Result<(), Failure> {
    if is_root_device(path) {
        let detail = format!("{} holds the system itself; choose another", path.display());
        return Err(Failure::backend(
            105,
            "The device is the root device",
            &detail,
            "",
        ));
    }
    let device = LocalDevice::open(path).map_err(|error| open_failed(&error))?;
    let found = signature::find(&device).map_err(|error| {
        open_failed(&OpenError::Io {
            action: "read",
            path: path.to_owned(),
            source: error,
        })
    })?;
    match found {
        Some(found) if !forced => Err(backend::sr_in_use(&format!(
            "{} holds {found}; use an empty device, introduce the SR that is there, or give device_config:{FORCE}=true to overwrite it",
            path.display()
        ))),
        _ => Ok(()),
    }
}

fn open_failed(error: &OpenError) -> Failure {
    match error {
        OpenError::Busy { .. } => backend::sr_in_use(&error.to_string()),
        OpenError::Missing { .. } | OpenError::Kind { .. } => Failure::backend(
            91,
            "The device parameter is invalid",
            &error.to_string(),
            "",
        ),
        OpenError::Io { source, .. } => {
            let detail = format!("{error}: {source}");
            Failure::backend(91, "The device parameter is invalid", &detail, "")
        }
    }
}

/// Mounts the file system and takes it for this process.
///
/// # Errors
/// It is unmounted again, unless another process has it.
fn mount(
    volume: &ExtVolume,
    sr_uuid: Uuid,
    command: Command,
) -> Result<(Directory, LockFile), Failure> {
    volume
        .mount()
        .map_err(|error| failed(Step::Mount, &error))?;
    let point = volume.mount_point();
    let record = format!("process {} (SR {sr_uuid})\n", std::process::id());
    let lock = LockFile::acquire(&point.join(LOCK_NAME), &record)
        .map_err(|error| backend::lock(command, &error))?;
    match Directory::open(&point) {
        Ok(directory) => Ok((directory, lock)),
        Err(error) => {
            drop(lock);
            // What is mounted still is used by the next attach.
            let _ = volume.unmount();
            Err(backend::system_call(
                command,
                "open directory",
                &point,
                &error,
            ))
        }
    }
}

#[cfg(test)]
#[path = "ext_tests.rs"]
mod tests;
