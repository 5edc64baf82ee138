//! What the records of an SR and its VDIs say that nothing on the medium shows, for drivers that keep it there.

use uuid::Uuid;

/// The names and the snapshot link of one VDI.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VdiLabels {
    /// The VDI's uuid.
    pub uuid: Uuid,
    /// `VDI.name_label`.
    pub name_label: String,
    /// `VDI.name_description`.
    pub name_description: String,
    /// `VDI.type`: `user`, `system`, `metadata` ...
    pub vdi_type: String,
    /// `VDI.is_a_snapshot`.
    pub is_a_snapshot: bool,
    /// `VDI.snapshot_of` by its uuid; none where that VDI is gone or was never one.
    pub snapshot_of: Option<Uuid>,
    /// `VDI.snapshot_time` in seconds since 1970; 0 stands for none.
    pub snapshot_time: i64,
    /// `VDI.read_only`.
    pub read_only: bool,
    /// `VDI.managed`; false for hidden parents.
    pub managed: bool,
}

/// The names of an SR.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SrLabels {
    /// `SR.name_label`.
    pub name_label: String,
    /// `SR.name_description`.
    pub name_description: String,
}

/// What a medium keeps of names and snapshot links.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptLabels {
    /// Those of the SR; none where the medium has none.
    pub sr: Option<SrLabels>,
    /// Those of VDIs, at most one entry for each; VDIs that the medium has no entry of are left out.
    pub vdis: Vec<VdiLabels>,
}
