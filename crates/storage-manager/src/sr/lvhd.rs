//! An LVHD SR on block devices, whatever they are reached by: what `lvm`, `lvmoiscsi` and `lvmohba` share.
//!
//! An SR type opens its devices and calls [`create`], [`probe`], [`LvhdSrs::attach`] and [`delete`] with them. The volume group
//! is `VG_XenStorage-<sr>`; its volumes are those of `layout::lvhd`, its operations those of [`VhdFilesSr`].

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use lvm::device::Device;
use lvm::group::{Group, NewGroup, Overwrite};
use uuid::Uuid;
use xenapi::Failure;

use super::attached_lvhd::AttachedLvhd;
use super::backend_error::{self as backend, Command};
use super::owned_group::OwnedGroup;
use super::vhd_files_sr::MediumGuard;
use super::{ConfigChanges, SrParams};
use crate::layout::lvhd::device::PhysicalDevice;
use crate::layout::lvhd::journal::JournalId;
use crate::layout::lvhd::management::{ManagementError, ManagementVolume};
use crate::layout::lvhd::mgt::{Allocation, SrRecord};
use crate::layout::lvhd::recovery::recover;
use crate::layout::lvhd::volume_files::VolumeFiles;
use crate::layout::lvhd::volumes::Volumes;
use crate::layout::lvhd::{names, owner_volume};
use crate::layout::vhd_files::VhdDirectory;
use crate::layout::vhd_files::names::ImageFormat;
use crate::medium::block_device::BlockDevice;
use crate::medium::owner::Timing;
use crate::medium::signature;

/// What SRs of this kind can do.
pub(super) const CAPABILITIES: &[&str] = &[
    "SR_PROBE",
    "SR_UPDATE",
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
    "VDI_UPDATE",
];

/// Key of `device_config` that lets [`create`] overwrite what is on the devices.
pub const FORCE: &str = "force";

/// Key of `device_config` and of `SR.sm_config` that says thick or thin.
pub const ALLOCATION: &str = "allocation";

/// Key of `SR.sm_config` that tells an LVHD SR from one of before there were VHDs.
pub const USE_VHD: &str = "use_vhd";

/// Devices that an SR type has opened for one SR.
pub struct LvhdMedium {
    /// All devices of the volume group.
    pub devices: LvhdDevices,
    /// What keeps them for this SR until it is detached.
    pub guard: Arc<dyn MediumGuard>,
    /// What else is recorded of the SR.
    pub config_changes: ConfigChanges,
}

/// The devices of one SR.
pub struct LvhdDevices {
    /// All of them.
    pub all: Vec<Arc<dyn BlockDevice>>,
    /// The same by a way that keeps nothing back and gives up in time, for the owner record; none for devices that nobody
    /// else reaches.
    pub for_record: Option<Vec<Arc<dyn BlockDevice>>>,
}

/// The attached LVHD SRs of one SR type.
///
/// Each SR has a lock of its own, since taking one in does I/O: a device that hangs keeps no other SR waiting.
#[derive(Debug, Default)]
pub struct LvhdSrs {
    slots: Mutex<BTreeMap<Uuid, Slot>>,
    /// The waits for owner records.
    timing: Timing,
}

type Slot = Arc<Mutex<Weak<AttachedLvhd>>>;

/// Makes an empty SR on devices.
///
/// # Errors
/// 16 when something is on a device, unless `device_config` has `force=true`; 77 when the group cannot be made.
///
/// # Durability
/// As [`Group::create`]; then, on devices that others reach, the volume of the owner record, then the volume `MGT`, each in one
/// commit.
pub fn create(params: &SrParams, devices: &LvhdDevices) -> Result<(), Failure> {
    let is_shared = devices.for_record.is_some();
    let devices = &*devices.all;
    let allocation = wanted_allocation(params)?.unwrap_or_default();
    let force = params
        .device_config
        .get(FORCE)
        .is_some_and(|it| it == "true");
    for device in devices.iter().filter(|_| !force) {
        require_empty(&**device)?;
    }
    let new = NewGroup {
        overwrite: Overwrite::Force,
        ..NewGroup::default()
    };
    let made = Group::create(physical(devices), &names::vg_name(params.sr_uuid), &new);
    let failed = |error| group_failure(Command::SrCreate, &error);
    let group = made.map_err(failed)?;
    if is_shared {
        owner_volume::make_in_new(&group).map_err(failed)?;
    }
    let volumes = open_group(params, devices, None, Command::SrCreate)?;
    let record = SrRecord {
        uuid: params.sr_uuid,
        allocation,
        ..SrRecord::default()
    };
    let made = ManagementVolume::create(&volumes, record);
    made.map(drop).map_err(|error| management_failure(&error))
}

/// Refuses a device that holds something, saying what.
fn require_empty(device: &dyn BlockDevice) -> Result<(), Failure> {
    let found = signature::find(device);
    let found = found.map_err(|error| device_failure(device, "look for data on", &error))?;
    let Some(found) = found else {
        return Ok(());
    };
    let group = group_on(device).map(|group| format!(" of the volume group {}", group.name));
    let detail = format!(
        "device {} holds {found}{}; choose an empty device, introduce the SR that is there, or give device_config:{FORCE}=true to destroy what it holds",
        device.name(),
        group.unwrap_or_default()
    );
    Err(in_use(&detail))
}

fn group_on(device: &dyn BlockDevice) -> Option<Arc<lvm::metadata::VolumeGroup>> {
    struct Borrowed<'a>(&'a dyn BlockDevice);
    impl Device for Borrowed<'_> {
        fn size(&self) -> io::Result<u64> {
            self.0.size()
        }
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
            self.0.read_at(buffer, offset)
        }
        fn write_at(&self, _data: &[u8], _offset: u64) -> io::Result<()> {
            Err(io::ErrorKind::PermissionDenied.into())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }
    let found = lvm::group::inspect(&Borrowed(device)).ok()??;
    found.group
}

/// The SRs on devices, as `SR.probe` answers: one entry for each volume group of an SR.
///
/// With `sm_config:metadata=true` also their names and whether they hold the metadata of a pool.
pub fn probe(params: &SrParams, devices: &[Arc<dyn BlockDevice>]) -> Result<String, Failure> {
    let mut found: BTreeMap<Uuid, (Vec<Arc<dyn BlockDevice>>, u64)> = BTreeMap::new();
    for device in devices {
        let Some(group) = group_on(&**device) else {
            continue;
        };
        if let Some(sr) = names::sr_of_vg(&group.name) {
            let entry = found.entry(sr).or_default();
            entry.0.push(device.clone());
            entry.1 = group.size();
        }
    }
    let with_names = params
        .sm_config
        .get("metadata")
        .is_some_and(|it| it == "true");
    let mut xml = String::from("<?xml version=\"1.0\" ?>\n<SRlist>\n");
    for (sr, (devices, size)) in &found {
        let paths: Vec<String> = devices.iter().map(|device| device.name()).collect();
        let mut fields = vec![
            ("UUID", sr.to_string()),
            ("Devlist", paths.join(",")),
            ("size", size.to_string()),
        ];
        if with_names {
            fields.extend(kept_names(devices));
        }
        xml.push_str("\t<SR>\n");
        for (tag, text) in fields {
            let text = crate::layout::lvhd::mgt::escape(&text);
            let _ = writeln!(xml, "\t\t<{tag}>{text}</{tag}>");
        }
        xml.push_str("\t</SR>\n");
    }
    xml.push_str("</SRlist>\n");
    Ok(xml)
}

/// What the medium says of the SR; nothing where it cannot be read.
fn kept_names(devices: &[Arc<dyn BlockDevice>]) -> Vec<(&'static str, String)> {
    let volumes = Volumes::open(devices).ok();
    let management = volumes.and_then(|volumes| ManagementVolume::open(&volumes).ok().flatten());
    let Some(content) = management.map(|management| management.content()) else {
        return Vec::new();
    };
    let has_pool = content.vdis().any(|vdi| vdi.kind == "metadata");
    vec![
        ("name_label", content.sr.name_label.clone()),
        ("name_description", content.sr.name_description.clone()),
        ("pool_metadata_detected", has_pool.to_string()),
    ]
}

impl LvhdSrs {
    /// With other waits for owner records, which must be the same on each machine that shares the devices.
    #[cfg(test)]
    pub(super) fn with_timing(timing: Timing) -> Self {
        LvhdSrs {
            slots: Mutex::default(),
            timing,
        }
    }

    /// The SR if it is attached at this place already, else what is on the devices that `open` opens.
    pub fn attach(
        &self,
        params: &SrParams,
        place: &str,
        open: impl FnOnce() -> Result<LvhdMedium, Failure>,
    ) -> Result<Arc<AttachedLvhd>, Failure> {
        let slot = self.slot(params.sr_uuid);
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sr) = slot.upgrade()
            && sr.is_served_at(place)
        {
            return Ok(sr);
        }
        let medium = open()?;
        let sr = attach(params, place, medium, &self.timing)?;
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

fn attach(
    params: &SrParams,
    place: &str,
    medium: LvhdMedium,
    timing: &Timing,
) -> Result<Arc<AttachedLvhd>, Failure> {
    let LvhdMedium {
        devices,
        guard,
        config_changes,
    } = medium;
    let (guard, owned) = match own(params, &devices, Command::SrAttach, timing) {
        Ok(None) => (guard, None),
        Ok(Some(owned)) => {
            guard.note_owner(owned.ownership());
            let owned = Arc::new(owned.behind(guard));
            let guard: Arc<dyn MediumGuard> = owned.clone();
            (guard, Some(owned))
        }
        Err(failure) => {
            let _ = guard.release();
            return Err(failure);
        }
    };
    let prepared = prepare(params, &devices.all, owned.as_deref());
    let (files, management) = match prepared {
        Ok(prepared) => prepared,
        Err(failure) => {
            if let Err(failure) = guard.release() {
                tracing::warn!(sr.uuid = %params.sr_uuid, %failure, "let go of the devices of an SR that could not be attached");
            }
            return Err(failure);
        }
    };
    AttachedLvhd::new(params, place, files, management, guard, config_changes)
}

/// Reads the group, finishes what was cut off, and finds out what the SR is like.
fn prepare(
    params: &SrParams,
    devices: &[Arc<dyn BlockDevice>],
    owned: Option<&OwnedGroup>,
) -> Result<(Arc<VolumeFiles>, Option<ManagementVolume>), Failure> {
    let volumes = open_group(params, devices, owned, Command::SrAttach)?;
    let wanted = wanted_allocation(params)?.unwrap_or_default();
    let management = manage(params, &volumes, wanted)?;
    let kept = management.as_ref().map(|it| it.content().sr.allocation);
    let files = Arc::new(VolumeFiles::new(volumes, kept.unwrap_or(wanted)));
    recover(&files);
    Ok((files, management))
}

/// The volume of names. It is made where there is none, unless the SR is one of before there were VHDs; one that cannot be read is
/// left alone, and the SR works without names.
fn manage(
    params: &SrParams,
    volumes: &Volumes,
    allocation: Allocation,
) -> Result<Option<ManagementVolume>, Failure> {
    match ManagementVolume::open(volumes) {
        Ok(Some(management)) => Ok(Some(management)),
        Ok(None) if is_legacy(params, volumes) => Ok(None),
        Ok(None) => {
            let record = SrRecord {
                uuid: params.sr_uuid,
                allocation,
                ..SrRecord::default()
            };
            let made = ManagementVolume::create(volumes, record);
            made.map(Some).map_err(|error| management_failure(&error))
        }
        Err(error @ ManagementError::Defect(_)) => {
            tracing::error!(sr.uuid = %params.sr_uuid, %error, "names on the medium of an SR cannot be read, and are not kept there");
            Ok(None)
        }
        Err(error) => Err(management_failure(&error)),
    }
}

/// True for an SR that has raw volumes only and is not said to have VHDs.
///
/// Source: reference 5.8, legacy SRs.
fn is_legacy(params: &SrParams, volumes: &Volumes) -> bool {
    let index = volumes.index();
    let mut images = index
        .group
        .logical_volumes
        .iter()
        .filter_map(|volume| names::volume_image(&volume.name))
        .peekable();
    let says_so = params.sm_config.get(USE_VHD).is_some_and(|it| it == "true");
    !says_so && images.peek().is_some() && images.all(|image| image.format == ImageFormat::Raw)
}

/// Removes the SR from its devices.
///
/// # Errors
/// `SR_NOT_EMPTY` while a VDI is left; 51 while there is an image that cannot be read, or a volume that is none of an SR's; 16
/// while another storage manager has the SR.
pub fn delete(params: &SrParams, devices: &LvhdDevices) -> Result<(), Failure> {
    let owned = own(params, devices, Command::SrDelete, &Timing::default())?;
    let deleted = delete_owned(params, &devices.all, owned.as_ref());
    if let Some(owned) = &owned {
        match deleted {
            // Its record is gone with the group.
            Ok(()) => owned.abandon(),
            Err(_) => owned.release()?,
        }
    }
    deleted
}

fn delete_owned(
    params: &SrParams,
    devices: &[Arc<dyn BlockDevice>],
    owned: Option<&OwnedGroup>,
) -> Result<(), Failure> {
    let volumes = open_group(params, devices, owned, Command::SrDelete)?;
    require_no_strangers(&volumes)?;
    let files = Arc::new(VolumeFiles::new(volumes.clone(), Allocation::Thick));
    recover(&files);
    let layout = |error| backend::layout(Command::SrDelete, params.sr_uuid, &error);
    let images = VhdDirectory::new(files).map_err(layout)?;
    let survey = images.survey().map_err(layout)?;
    if survey.images.values().any(|image| !image.hidden) {
        return Err(Failure::new("SR_NOT_EMPTY", [""; 0]));
    }
    if let Some(image) = survey.damaged.first() {
        let detail = format!(
            "{} cannot be read ({}) and may hold somebody's data; repair or remove it first",
            volumes.path().join(&image.location).display(),
            image.reason
        );
        return Err(Failure::backend(51, "LV remove failed", &detail, ""));
    }
    let removed = volumes.group().remove();
    removed.map_err(|error| group_failure(Command::SrDelete, &error))
}

/// Refuses a group in which somebody keeps a volume that no SR makes.
fn require_no_strangers(volumes: &Volumes) -> Result<(), Failure> {
    let index = volumes.index();
    let is_ours = |name: &str| {
        names::file_name(name).is_some()
            || [names::MGT, names::OWNER].contains(&name)
            || JournalId::of_volume(name).is_some()
    };
    let mut all = index.group.logical_volumes.iter();
    let Some(stranger) = all.find(|volume| !is_ours(&volume.name)) else {
        return Ok(());
    };
    let detail = format!(
        "{} is no volume of an SR and may hold somebody's data; save it and remove it first",
        volumes.path().join(&stranger.name).display()
    );
    Err(Failure::backend(51, "LV remove failed", &detail, ""))
}

/// Takes devices for the SR that others reach too.
fn own(
    params: &SrParams,
    devices: &LvhdDevices,
    command: Command,
    timing: &Timing,
) -> Result<Option<OwnedGroup>, Failure> {
    let Some(for_record) = &devices.for_record else {
        return Ok(None);
    };
    let open = || {
        let group = Group::open(physical(for_record));
        let group = group.map_err(|error| group_failure(command, &error))?;
        require_name(params, &group.volume_group().name)?;
        Ok(group)
    };
    OwnedGroup::take(params.sr_uuid, open, command, timing).map(Some)
}

/// Reads the volume group of the SR.
fn open_group(
    params: &SrParams,
    devices: &[Arc<dyn BlockDevice>],
    owned: Option<&OwnedGroup>,
    command: Command,
) -> Result<Arc<Volumes>, Failure> {
    let owner = owned.map(|owned| owned.ownership().clone());
    let volumes = Volumes::open_owned(devices, owner);
    let volumes = volumes.map_err(|error| group_failure(command, &error))?;
    require_name(params, &volumes.index().group.name)?;
    if let Some(owned) = owned {
        owned.note_volumes(&volumes)?;
    }
    Ok(volumes)
}

/// Refuses the group of another SR.
fn require_name(params: &SrParams, found: &str) -> Result<(), Failure> {
    let wanted = names::vg_name(params.sr_uuid);
    if found == wanted {
        return Ok(());
    }
    let detail = format!(
        "the devices hold the volume group {found}, and SR {} has {wanted}; give the devices of that one",
        params.sr_uuid
    );
    Err(unavailable(&detail))
}

fn physical(devices: &[Arc<dyn BlockDevice>]) -> Vec<Arc<dyn Device>> {
    let devices = devices.iter();
    let physical =
        devices.map(|device| -> Arc<dyn Device> { Arc::new(PhysicalDevice(device.clone())) });
    physical.collect()
}

/// Thick or thin, as the configuration says.
fn wanted_allocation(params: &SrParams) -> Result<Option<Allocation>, Failure> {
    let configs = [&params.device_config, &params.sm_config];
    let Some(word) = configs.iter().find_map(|config| config.get(ALLOCATION)) else {
        return Ok(None);
    };
    let found = Allocation::parse(word);
    found.map(Some).ok_or_else(|| {
        let detail = format!("allocation {word:?} is neither thick nor thin");
        Failure::backend(1, "Invalid argument", &detail, "")
    })
}

/// 16: a device has something on it, or somebody else has it.
pub(super) fn in_use(detail: &str) -> Failure {
    Failure::backend(16, "The SR is currently in use", detail, "")
}

/// 47: the volume group cannot be had.
pub(super) fn unavailable(detail: &str) -> Failure {
    Failure::backend(47, "The SR is not available", detail, "")
}

/// 181: the volume of names.
pub(super) fn management_failure(error: &dyn std::error::Error) -> Failure {
    let detail = crate::error::chain_text(error);
    Failure::backend(
        181,
        "Error in Metadata volume operation for SR.",
        &detail,
        "",
    )
}

pub(super) fn group_failure(command: Command, error: &lvm::Error) -> Failure {
    let detail = crate::error::chain_text(error);
    match command {
        Command::SrCreate => Failure::backend(77, "Volume Group create failed", &detail, ""),
        Command::SrDelete => Failure::backend(51, "LV remove failed", &detail, ""),
        _ => unavailable(&detail),
    }
}

fn device_failure(device: &dyn BlockDevice, action: &str, error: &io::Error) -> Failure {
    let detail = format!("{action} {}: {error}", device.name());
    Failure::backend(200, "An I/O error occurred", &detail, "")
}
