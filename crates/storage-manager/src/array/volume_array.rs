//! What an attached SR asks of an array.

use std::collections::BTreeMap;
use std::fmt::Debug;

use uuid::Uuid;

use super::error::ArrayError;
use crate::medium::iscsi::Credentials;
use crate::sr::{
    DamagedImage, FoundVdi, KeptLabels, NewVdi, OpenMode, SnapshotHints, SnapshotKind, SrLabels,
    SrSpace, VdiLabels,
};

/// A volume of the array that is a VDI.
#[derive(Clone, Debug, PartialEq)]
pub struct ArrayVolume {
    /// The VDI.
    pub vdi: Uuid,
    /// Bytes that a consumer sees, as the array has rounded them.
    pub virtual_size: u64,
    /// Bytes on the array, as far as it tells.
    pub physical_utilisation: u64,
    /// True when nobody may write to it, whatever its VDI's record says.
    pub read_only: bool,
    /// `VDI.sm_config` as the driver keeps it.
    pub sm_config: BTreeMap<String, String>,
}

impl ArrayVolume {
    /// The VDI as the server records it.
    pub fn found(self) -> FoundVdi {
        FoundVdi {
            uuid: self.vdi,
            location: self.vdi.to_string(),
            virtual_size: self.virtual_size,
            physical_utilisation: self.physical_utilisation,
            managed: true,
            read_only: self.read_only,
            sm_config: self.sm_config,
            cbt_enabled: false,
            is_cbt_metadata: false,
        }
    }
}

/// What an array has of an SR.
#[derive(Clone, Debug, Default)]
pub struct ArrayListing {
    /// The volumes that are VDIs.
    pub volumes: Vec<ArrayVolume>,
    /// Volumes that bear our mark and cannot be used: their VDIs keep their records. `location` is the VDI's uuid.
    pub damaged: Vec<DamagedImage>,
    /// Space of the SR.
    pub space: SrSpace,
}

/// How a volume is reached that was made visible to an initiator.
#[derive(Clone, Debug)]
pub struct Exposure {
    /// The target's name.
    pub target: String,
    /// Host or address, and port; the preferred one first.
    pub portals: Vec<(String, u16)>,
    /// The number of the LUN.
    pub lun: u16,
    /// The id that the LUN must show (as `scsi_id -g` prints it), if the array tells it.
    pub scsi_id: Option<String>,
    /// The serial number that the LUN must show (page 0x80), if the array tells it. A LUN that shows neither is another one.
    pub serial: Option<String>,
    /// Who we are, if the target wants to know.
    pub credentials: Option<Credentials>,
    /// Bytes that consumers may see, where the LUN may have more: those behind may be what others left there.
    pub limit: Option<u64>,
}

/// The control plane of an array, for one SR.
///
/// Every call may run on several threads at once and ends within a stated time. A call that fails, or whose process dies, leaves
/// the state before it or the one after it, or something that [`VolumeArray::list`], [`VolumeArray::delete`] or the next attach
/// removes or finishes. An answer that was lost on its way is looked for before a change is tried again.
pub trait VolumeArray: Send + Sync + Debug {
    /// What it is called, for messages: `filer 10.0.0.5`.
    fn name(&self) -> String;

    /// What there is of the SR. Leftovers of calls that were cut off are removed on the way, as far as that takes no long.
    fn list(&self) -> Result<ArrayListing, ArrayError>;

    /// Space of the SR.
    fn space(&self) -> Result<SrSpace, ArrayError>;

    /// The volume of a VDI; none when there is none.
    fn find(&self, vdi: Uuid) -> Result<Option<ArrayVolume>, ArrayError>;

    /// Makes an empty volume, which reads as zeros. On error nothing is left.
    fn create(&self, new: &NewVdi) -> Result<ArrayVolume, ArrayError>;

    /// Makes a second volume with the content that the first has now. What an earlier try made under the uuid `new` is answered
    /// as it is.
    fn snapshot(
        &self,
        source: Uuid,
        new: Uuid,
        kind: SnapshotKind,
        hints: &SnapshotHints,
    ) -> Result<ArrayVolume, ArrayError>;

    /// Gives a volume the content of another one, which was made of it. Nobody has it open.
    fn revert(&self, vdi: Uuid, snapshot: Uuid) -> Result<ArrayVolume, ArrayError>;

    /// Grows a volume to at least `size` bytes; the size that it has is no error.
    fn resize(&self, vdi: Uuid, size: u64) -> Result<ArrayVolume, ArrayError>;

    /// Deletes a volume; one that is gone is no error. Nobody of this process has it open. Not called for VDIs that no list has
    /// shown and that were not begun to be made.
    fn delete(&self, vdi: Uuid) -> Result<(), ArrayError>;

    /// Makes a volume visible to this initiator. Idempotent.
    fn expose(&self, vdi: Uuid, initiator: &str, mode: OpenMode) -> Result<Exposure, ArrayError>;

    /// Takes a volume out of the sight of this initiator. One that it does not see, or that is gone, is no error.
    fn conceal(&self, vdi: Uuid, initiator: &str) -> Result<(), ArrayError>;

    /// The names and snapshot links that the array keeps.
    fn labels(&self) -> Result<KeptLabels, ArrayError>;

    /// Writes names and snapshot links of VDIs; those of a VDI that is gone are left out, and texts too long are cut.
    fn write_vdi_labels(&self, labels: &[VdiLabels]) -> Result<(), ArrayError>;

    /// Writes the names of the SR.
    fn write_sr_labels(&self, labels: &SrLabels) -> Result<(), ArrayError>;

    /// Why the array does not work as it should, in words for an operator; no I/O.
    fn health(&self) -> Option<String> {
        None
    }

    /// Lets go of sessions that it holds. Idempotent; a call that comes after opens them again.
    fn release(&self) {}
}
