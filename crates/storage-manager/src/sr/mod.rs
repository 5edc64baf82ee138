//! SR types: one file per type, the same functions in the same order in each.
//!
//! Everything here is synchronous and positional. The server runs these calls on the bounded pool of threads of the SR they
//! belong to, so that a medium that hangs exhausts nothing but its own SR.

mod array_sr;
mod attached_lvhd;
mod backend_error;
mod config_changes;
mod equal;
mod equal_config;
mod ext;
mod ext_volume;
mod file;
mod hba;
mod iscsi;
mod iscsi_config;
mod labels;
mod lun_per_vdi_sr;
mod lvhd;
mod lvm;
mod lvmohba;
mod lvmoiscsi;
mod netapp;
mod netapp_config;
mod nfs;
mod nfs_config;
mod nfs_probe;
mod owned_group;
pub mod vhd_files_sr;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;
use xenapi::Failure;

use crate::medium::hba::Sysfs;

pub use array_sr::{ArraySrOptions, AttachedArraySr};
pub use config_changes::{ConfigChanges, KnownSr};
pub use equal::EqualSr;
pub use ext::ExtSr;
pub use file::FileSr;
pub use hba::HbaSr;
pub use iscsi::IscsiSr;
pub use labels::{KeptLabels, SrLabels, VdiLabels};
pub use lvmohba::LvmOHbaSr;
pub use lvmoiscsi::LvmoIscsiSr;
pub use netapp::NetappSr;
pub(crate) use netapp::OTHER_CONFIG_KEYS as NETAPP_KEYS;
pub use nfs::NfsSr;
pub(crate) use nfs_config::PATIENCE_KEYS;

/// What a driver is told about the SR that it works on.
#[derive(Clone, Debug)]
pub struct SrParams {
    /// The SR's uuid.
    pub sr_uuid: Uuid,
    /// The PBD's `device_config`, with every `*_secret` key resolved to its clear value under the plain name.
    pub device_config: BTreeMap<String, String>,
    /// `SR.sm_config`.
    pub sm_config: BTreeMap<String, String>,
}

/// What `SM` records say of a driver.
#[derive(Debug)]
pub struct DriverInfo {
    /// The type as `SR.create` takes it, lower case: `file`.
    pub sr_type: &'static str,
    /// The name for people: `Local Path VHD`.
    pub name_label: &'static str,
    /// A sentence for people.
    pub name_description: &'static str,
    /// Capability names without version, in the vocabulary of XenAPI (`VDI_CREATE` ...).
    pub capabilities: &'static [&'static str],
    /// `device_config` keys and what they mean; the ones that are required come first.
    pub configuration: &'static [(&'static str, &'static str)],
    /// How many of `configuration` are required.
    pub required_count: usize,
}

/// Space of an SR, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SrSpace {
    /// Size of the medium.
    pub physical_size: u64,
    /// Bytes in use on the medium.
    pub physical_utilisation: u64,
}

/// A VDI as the medium shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundVdi {
    /// The VDI's uuid.
    pub uuid: Uuid,
    /// `VDI.location`, unique within the SR.
    pub location: String,
    /// Virtual size in bytes, as rounded by the driver.
    pub virtual_size: u64,
    /// Bytes on the medium.
    pub physical_utilisation: u64,
    /// False for hidden parents.
    pub managed: bool,
    /// True for parents of other images.
    pub read_only: bool,
    /// `VDI.sm_config` as the driver keeps it (`vdi_type`, `vhd-parent`, ...).
    pub sm_config: BTreeMap<String, String>,
    /// True when a change-tracking log belongs to it.
    pub cbt_enabled: bool,
    /// True when only the change-tracking log is left: the VDI has the type `cbt_metadata` and no data.
    pub is_cbt_metadata: bool,
}

/// What the second image of a snapshot is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotKind {
    /// `VDI.snapshot`: takes over the source's change-tracking log, if it has one.
    Snapshot,
    /// `VDI.clone`: has no change-tracking log.
    Clone,
}

/// What the caller of a snapshot or a clone advises; drivers for which it means nothing pass over it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotHints {
    /// `driver_params:epochhint`: what is snapshotted with one value belongs together, and shows the time of the first one.
    pub epochhint: Option<String>,
}

/// What a snapshot or a clone left on the medium.
#[derive(Clone, Debug, PartialEq)]
pub struct SnapshotReport {
    /// The new VDI, under the uuid that was asked for.
    pub new: FoundVdi,
    /// The source as it is now, under the uuid that it had.
    pub source: FoundVdi,
    /// The hidden parent that holds the source's data up to now; none where the source had none of its own, and both are
    /// children of the parent that it had before.
    pub base: Option<FoundVdi>,
}

/// An image that could not be read; the scan goes on without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedImage {
    /// The file or logical volume.
    pub location: String,
    /// Why, for an operator.
    pub reason: String,
}

/// What a scan of the medium found.
#[derive(Clone, Debug, Default)]
pub struct ScanReport {
    /// Every readable image that is not a hidden leaf.
    pub vdis: Vec<FoundVdi>,
    /// Every image that could not be read.
    pub damaged: Vec<DamagedImage>,
    /// Space of the SR.
    pub space: SrSpace,
}

/// What is asked for with `VDI.create`.
#[derive(Clone, Debug)]
pub struct NewVdi {
    /// The uuid to use; chosen by the server and stored with the intent before the driver is called, so that a crash
    /// between the two is found.
    pub uuid: Uuid,
    /// Bytes asked for; the driver rounds up.
    pub virtual_size: u64,
    /// `VDI.sm_config` of the caller (`type=raw` ...).
    pub sm_config: BTreeMap<String, String>,
}

/// What is asked for with `VDI.introduce`.
#[derive(Clone, Debug)]
pub struct IntroducedVdi {
    /// The uuid that the caller gave; none when the driver is to tell it.
    pub uuid: Option<Uuid>,
    /// `VDI.location` of the caller; may be empty.
    pub location: String,
    /// `VDI.sm_config` of the caller (`LUNid`, `SCSIid` ...).
    pub sm_config: BTreeMap<String, String>,
}

/// How a VDI is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Reads only; any number at a time.
    ReadOnly,
    /// Reads and writes; one at a time.
    ReadWrite,
}

/// An SR type. One value per type, made at start.
pub trait SrType: Send + Sync {
    /// What the SM record says.
    fn info(&self) -> &'static DriverInfo;

    /// Longest time that a call may take which looks at the medium as a whole (`create`, `probe`, `attach`, `delete`, `scan`,
    /// `detach`), for types where that is longer than twice what every other call may. What has not ended by then goes on
    /// behind; its caller is told that the SR does not answer. Clients of ours wait 120 s.
    fn patience(&self) -> Option<Duration> {
        None
    }

    /// Refuses what cannot be made beside the SRs that the pool has; called before `create`. No I/O.
    fn check_beside(&self, params: &SrParams, others: &[KnownSr]) -> Result<(), Failure> {
        let _ = (params, others);
        Ok(())
    }

    /// Says by its SCSI id, in `device_config:SCSIid`, which LUN `create` would write to, where the configuration names it in
    /// another way. What is missing or wrong is left to `create`.
    fn resolved(&self, params: SrParams) -> Result<SrParams, Failure> {
        Ok(params)
    }

    /// Checks the configuration and prepares an empty SR on the medium.
    fn create(&self, params: &SrParams) -> Result<(), Failure>;

    /// Looks for SRs: answers the XML document of `SR.probe`.
    fn probe(&self, params: &SrParams) -> Result<String, Failure>;

    /// Makes the SR usable on this host. Idempotent.
    fn attach(&self, params: &SrParams) -> Result<Arc<dyn AttachedSr>, Failure>;

    /// Removes the SR from the medium. Refuses with `SR_NOT_EMPTY` while a visible VDI is left.
    fn delete(&self, params: &SrParams) -> Result<(), Failure>;
}

/// An SR that is attached (its PBD is plugged).
pub trait AttachedSr: Send + Sync {
    /// Releases the medium.
    fn detach(&self) -> Result<(), Failure>;

    /// What was written, before and by `detach`, and is lost because the medium did not take it, in words for an operator; asked
    /// for after `detach`.
    fn unsaved(&self) -> Option<String> {
        None
    }

    /// What is to be recorded in `PBD.device_config` and `SR.sm_config`; asked for after `attach`, which follows `create`
    /// too, and after each `scan`. No I/O.
    fn config_changes(&self) -> ConfigChanges {
        ConfigChanges::default()
    }

    /// Why the SR does not work as it should, in words for an operator; none while it does. Shown in `SR.other_config` and
    /// asked for every few seconds. No I/O, and no wait for anything that waits for I/O.
    fn health(&self) -> Option<String> {
        None
    }

    /// True when the medium keeps names and snapshot links of VDIs; then the four calls that follow are made.
    fn keeps_labels(&self) -> bool {
        false
    }

    /// What the medium keeps. What damaged entries said is left out.
    fn labels(&self) -> Result<KeptLabels, Failure> {
        Ok(KeptLabels::default())
    }

    /// Writes those of some VDIs in the place of what the medium has for them. They survive this process; a power cut may take
    /// those of the last second, which the scan after the next attach writes again. Texts too long for the medium are cut. An entry for a VDI that is gone from the medium is left out.
    fn write_vdi_labels(&self, labels: &[VdiLabels]) -> Result<(), Failure> {
        let _ = labels;
        Ok(())
    }

    /// Writes those of the SR, as lastingly.
    fn write_sr_labels(&self, labels: &SrLabels) -> Result<(), Failure> {
        let _ = labels;
        Ok(())
    }

    /// Lists what is on the medium.
    fn scan(&self) -> Result<ScanReport, Failure>;

    /// Space of the SR now.
    fn space(&self) -> Result<SrSpace, Failure>;

    /// Makes an empty VDI. On return it is on stable storage; on error nothing is left.
    fn create_vdi(&self, new: &NewVdi) -> Result<FoundVdi, Failure>;

    /// True when nobody makes VDIs here, but those that are on the medium (LUNs) are taken into use and given back. Then the
    /// record alone says which are in use: a scan introduces VDIs that are not and changes `managed` of none, `VDI.create`
    /// calls `take_vdi`, and `VDI.destroy` calls `delete_vdi`, which leaves the VDI on the medium.
    fn takes_vdis(&self) -> bool {
        false
    }

    /// Chooses a VDI that is not `in_use` and is as large as asked for. The answer has the uuid of the chosen one, whatever
    /// `new.uuid` says; the record is written before another call of this SR chooses.
    fn take_vdi(&self, new: &NewVdi, in_use: &BTreeSet<Uuid>) -> Result<FoundVdi, Failure> {
        let _ = (new, in_use);
        Err(not_supported())
    }

    /// Finds the VDI on the medium that a caller of `VDI.introduce` means. The answer has the uuid to record it under.
    fn introduce_vdi(&self, introduced: &IntroducedVdi) -> Result<FoundVdi, Failure> {
        let _ = introduced;
        Err(not_supported())
    }

    /// Removes a VDI. A VDI that is already gone is no error.
    fn delete_vdi(&self, uuid: Uuid) -> Result<(), Failure>;

    /// Reads one VDI's state from the medium; `VDI_MISSING` if it is not there.
    fn stat_vdi(&self, uuid: Uuid) -> Result<FoundVdi, Failure>;

    /// Makes a second VDI with the content that the first has now, in constant time: `VDI.snapshot` and `VDI.clone`. Writes
    /// of a consumer that have returned are in it. A consumer stays connected.
    ///
    /// On return both are on stable storage; on error the source is as it was.
    fn snapshot_vdi(
        &self,
        source: Uuid,
        new: Uuid,
        kind: SnapshotKind,
    ) -> Result<SnapshotReport, Failure> {
        let _ = (source, new, kind);
        Err(not_supported())
    }

    /// As [`AttachedSr::snapshot_vdi`], with what the caller advises. For drivers that can follow it.
    fn snapshot_vdi_hinted(
        &self,
        source: Uuid,
        new: Uuid,
        kind: SnapshotKind,
        hints: &SnapshotHints,
    ) -> Result<SnapshotReport, Failure> {
        let _ = hints;
        self.snapshot_vdi(source, new, kind)
    }

    /// Gives a VDI the content of another that shares its chain, in constant time: `VDI.revert`. Its uuid stays. The VDI
    /// must not be open.
    fn revert_vdi(&self, vdi: Uuid, snapshot: Uuid) -> Result<SnapshotReport, Failure> {
        let _ = (vdi, snapshot);
        Err(not_supported())
    }

    /// Grows a VDI to at least `size` bytes; what is added reads as zeros. The size that it has already is no error, a
    /// smaller one is refused. A consumer stays connected and may use the new range when this has returned.
    fn resize_vdi(&self, uuid: Uuid, size: u64) -> Result<FoundVdi, Failure> {
        let _ = (uuid, size);
        Err(not_supported())
    }

    /// Starts to note which blocks of a VDI change. Idempotent.
    fn enable_cbt(&self, uuid: Uuid) -> Result<FoundVdi, Failure> {
        let _ = uuid;
        Err(not_supported())
    }

    /// Drops the change-tracking log of a VDI. Idempotent.
    fn disable_cbt(&self, uuid: Uuid) -> Result<FoundVdi, Failure> {
        let _ = uuid;
        Err(not_supported())
    }

    /// Deletes the data of a snapshot and keeps its change-tracking log: `VDI.data_destroy`.
    fn destroy_vdi_data(&self, uuid: Uuid) -> Result<FoundVdi, Failure> {
        let _ = uuid;
        Err(not_supported())
    }

    /// The blocks of 64 KiB that differ between two VDIs of one chain of change-tracking logs: one bit per block of the
    /// newer VDI, the most significant bit of each byte first.
    fn changed_blocks(&self, from: Uuid, to: Uuid) -> Result<Vec<u8>, Failure> {
        let _ = (from, to);
        Err(not_supported())
    }

    /// The blocks of 2 MiB of which the images that only one of two VDIs has may hold something else: one bit per block of
    /// the newer VDI, the most significant bit of each byte first. A block whose bit is not set is the same in both.
    fn differing_blocks(&self, from: Uuid, to: Uuid) -> Result<Vec<u8>, Failure> {
        let _ = (from, to);
        Err(not_supported())
    }

    /// What coalesces the images of the SR; none where VDIs have no chains.
    fn chains(&self) -> Option<Arc<dyn crate::gc::ImageStore>> {
        None
    }

    /// True when the medium shows something else than at the last scan, so that one shall come. Asked about twice a minute;
    /// for drivers whose medium others change.
    fn has_changed(&self) -> Result<bool, Failure> {
        Ok(false)
    }

    /// Opens a VDI for a consumer. The export keeps the image open (and, read-write, locked) until it is dropped;
    /// `close` on it reports what a drop would have to swallow.
    fn open_vdi(&self, uuid: Uuid, mode: OpenMode) -> Result<Arc<dyn nbd::Export>, Failure>;
}

/// The answer of a driver that lacks an operation; the server replaces the code's parameter with the SR's reference.
fn not_supported() -> Failure {
    Failure::new("SR_OPERATION_NOT_SUPPORTED", [""])
}

/// Every SR type that there is, in the order in which `SR.get_supported_types` tells them.
pub fn types() -> Vec<Arc<dyn SrType>> {
    vec![
        Arc::new(FileSr::default()),
        Arc::new(NfsSr::default()),
        Arc::new(EqualSr::default()),
        Arc::new(ExtSr::default()),
        Arc::new(HbaSr::hba(Sysfs::default())),
        Arc::new(HbaSr::rawhba(Sysfs::default())),
        Arc::new(IscsiSr::default()),
        Arc::new(lvm::LvmSr::default()),
        Arc::new(LvmoIscsiSr::default()),
        Arc::new(LvmOHbaSr::new(Sysfs::default())),
        Arc::new(NetappSr::default()),
    ]
}
