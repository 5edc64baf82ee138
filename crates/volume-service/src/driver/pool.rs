//! The seam between operations and a pool.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use uuid::Uuid;

use super::error::PoolError;
use super::instances::FoundInstance;
use super::marks::{Making, VdiOwner};
use super::moment::MomentOutcomes;
use super::probe::Probed;
use crate::config::Secret;
use crate::model::attachment::AttachMode;
use crate::model::id::{AttachmentId, OperationId, SnapshotId, VolumeId};

/// The answer of a pool, when it comes.
pub type PoolFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, PoolError>> + Send + 'a>>;

/// A pool, as operations and reconcilers see it.
///
/// Every call ends within the client's deadline. Methods that remove answer success when the object is gone already; methods that
/// make something are never repeated by the implementation.
///
/// # Cancel safety
/// A dropped call may still happen in the pool; whoever drops one must look for what it left.
pub trait Pool: Send + Sync {
    /// The SR with this uuid.
    fn find_sr(&self, uuid: Uuid) -> PoolFuture<'_, Option<FoundSr>>;

    /// Every SR that carries a mark, whoever made it.
    fn marked_srs(&self) -> PoolFuture<'_, Vec<FoundSr>>;

    /// `SR.probe` on the master host: what is on the medium.
    fn probe_sr<'a>(&'a self, spec: &'a SrSpec) -> PoolFuture<'a, Probed>;

    /// `SR.create` on the master host, carrying the mark from the first moment. Returns its uuid.
    fn create_sr<'a>(&'a self, spec: &'a SrSpec) -> PoolFuture<'a, Uuid>;

    /// `SR.introduce` under a uuid that the pool does not know, and the mark.
    fn introduce_sr<'a>(&'a self, uuid: Uuid, spec: &'a SrSpec) -> PoolFuture<'a, ()>;

    /// Writes the mark on an SR that has none.
    fn mark_sr<'a>(&'a self, uuid: Uuid, mark: &'a str) -> PoolFuture<'a, ()>;

    /// Makes sure that the master host has a plugged PBD for the SR: `PBD.create` when there is none, then `PBD.plug`.
    fn plug_sr<'a>(&'a self, uuid: Uuid, spec: &'a SrSpec) -> PoolFuture<'a, ()>;

    /// `SR.scan`.
    fn scan_sr(&self, uuid: Uuid) -> PoolFuture<'_, ()>;

    /// What the SR's record says of its room.
    fn sr_space(&self, uuid: Uuid) -> PoolFuture<'_, SrSpace>;

    /// Takes the mark off an SR that stays in the pool.
    fn unmark_sr(&self, uuid: Uuid) -> PoolFuture<'_, ()>;

    /// `PBD.unplug` of all its PBDs, then `SR.forget`. Data stays on the medium.
    fn forget_sr(&self, uuid: Uuid) -> PoolFuture<'_, ()>;

    /// The VDIs labelled for this volume, in every SR, whoever made them.
    fn vdis_of_volume(&self, volume: VolumeId) -> PoolFuture<'_, Vec<FoundVdi>>;

    /// The VDIs of an SR that carry a mark of ours, but for those that the storage manager keeps for itself (`managed` false).
    fn vdis_of_sr(&self, sr_uuid: Uuid) -> PoolFuture<'_, Vec<FoundVdi>>;

    /// Every VDI of an SR, whoever made it, but for those that the storage manager keeps for itself (`managed` false).
    fn vdis_all(&self, sr_uuid: Uuid) -> PoolFuture<'_, Vec<ForeignVdi>>;

    /// Takes all of our marks off a VDI, and gives it a name where one is given. One that is gone is fine.
    fn release_vdi<'a>(&'a self, uuid: Uuid, name_label: Option<&'a str>) -> PoolFuture<'a, ()>;

    /// `VDI.create`. Returns its uuid.
    fn create_vdi<'a>(&'a self, spec: &'a VdiSpec) -> PoolFuture<'a, Uuid>;

    /// The VDI with this uuid.
    fn find_vdi(&self, uuid: Uuid) -> PoolFuture<'_, Option<FoundVdi>>;

    /// Writes on a VDI who is making something from it; the answer is who does that already, and then nothing is changed.
    fn begin_making<'a>(&'a self, uuid: Uuid, making: &'a Making)
    -> PoolFuture<'a, Option<String>>;

    /// Takes that mark off, whatever it says.
    fn end_making(&self, uuid: Uuid) -> PoolFuture<'_, ()>;

    /// `VDI.snapshot`. Returns the uuid of the snapshot, which carries a copy of the VDI's marks.
    fn snapshot_vdi(&self, uuid: Uuid) -> PoolFuture<'_, Uuid>;

    /// `VDI.snapshot` of several VDIs at one moment: of what consumers write one after the other, all snapshots together hold what
    /// was written up to that moment, and nothing of what came later. `moment` is a name for the pool's log.
    ///
    /// Each snapshot carries a copy of its VDI's marks. The storage manager takes all or none; where an answer is lost some may
    /// be there all the same: see [`all_made`](super::all_made).
    ///
    /// # Errors
    /// Nothing was begun: `Unsupported` when the pool cannot keep a moment for so many (at most
    /// [`MOMENT_MEMBERS`](super::MOMENT_MEMBERS)), `Gone` when one of the VDIs is.
    fn snapshot_vdis<'a>(
        &'a self,
        sources: &'a [Uuid],
        moment: &'a str,
    ) -> PoolFuture<'a, MomentOutcomes>;

    /// `VDI.clone`. Returns the uuid of the clone, which carries a copy of the VDI's marks.
    fn clone_vdi(&self, uuid: Uuid) -> PoolFuture<'_, Uuid>;

    /// `VDI.copy` into a VDI that is there, to its end.
    fn copy_vdi(&self, from: Uuid, into: Uuid) -> PoolFuture<'_, ()>;

    /// Gives a VDI the name of its owner, and marks in the place of all of ours that it carries. The marks come last, so that a
    /// VDI with an owner's mark has its name too.
    fn label_vdi<'a>(&'a self, uuid: Uuid, marks: &'a VdiMarks) -> PoolFuture<'a, ()>;

    /// `VDI.resize` or `VDI.resize_online`.
    fn resize_vdi(&self, uuid: Uuid, size_bytes: u64, how: Resize) -> PoolFuture<'_, ()>;

    /// `VDI.destroy`.
    fn destroy_vdi(&self, uuid: Uuid) -> PoolFuture<'_, ()>;

    /// `VBD.create`. Returns its uuid.
    ///
    /// # Errors
    /// `DeviceTaken` when the position in a VM is.
    fn create_vbd<'a>(&'a self, spec: &'a VbdSpec) -> PoolFuture<'a, Uuid>;

    /// The VBDs that carry `xensm:attachment`, in control domains and VMs; those of one VDI when it is given.
    fn vbds(&self, vdi: Option<Uuid>) -> PoolFuture<'_, Vec<FoundVbd>>;

    /// `VBD.plug`, unless it is plugged. Returns where the bytes are served, if the storage manager says so.
    ///
    /// # Errors
    /// `Halted` in a VM that is off.
    fn plug_vbd(&self, uuid: Uuid) -> PoolFuture<'_, Option<NbdEndpoint>>;

    /// `VBD.unplug` or `VBD.unplug_force`, unless it is not plugged.
    fn unplug_vbd(&self, uuid: Uuid, how: Unplug) -> PoolFuture<'_, ()>;

    /// `VBD.destroy`.
    fn destroy_vbd(&self, uuid: Uuid) -> PoolFuture<'_, ()>;

    /// Every VM that is neither a template nor a snapshot, control domains too.
    fn instances(&self) -> PoolFuture<'_, Vec<FoundInstance>>;

    /// Makes sure that the host that a VM runs on has a plugged PBD for a shared SR; nothing for a VM that runs nowhere, and for an SR
    /// that is plugged there.
    ///
    /// # Errors
    /// `OutOfReach` for an SR that only another host has.
    fn plug_sr_for(&self, sr: Uuid, vm: Uuid) -> PoolFuture<'_, ()>;
}

/// What an SR is made or introduced with.
#[derive(Clone, Debug)]
pub struct SrSpec {
    /// `SR.name_label`.
    pub name_label: String,
    /// `SR.name_description`.
    pub name_description: String,
    /// `SR.type`.
    pub sr_type: String,
    /// `SR.shared`: whether every host of the pool shall use it.
    pub is_shared: bool,
    /// `device_config` without secrets.
    pub config: BTreeMap<String, String>,
    /// The secret keys of `device_config`; a pool keeps them as secrets of its own.
    pub secrets: BTreeMap<String, Secret>,
    /// The mark of the backend row.
    pub mark: String,
}

/// An SR that the pool knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundSr {
    /// Its uuid.
    pub uuid: Uuid,
    /// Its type.
    pub sr_type: String,
    /// The mark it carries.
    pub mark: Option<String>,
    /// The mark that it was made or introduced with; none for an SR that was in the pool before it became a backend.
    pub made_with: Option<String>,
}

/// What an SR's record says of its room, in bytes; absent where the pool has not measured yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SrSpace {
    /// `physical_size`.
    pub physical_size: Option<u64>,
    /// `physical_utilisation`.
    pub physical_utilisation: Option<u64>,
    /// `virtual_allocation`.
    pub virtual_allocation: Option<u64>,
    /// True when the master host has a plugged PBD.
    pub is_plugged: bool,
    /// True when the storage manager says that the SR does not work as it should; a real pool never says so.
    pub is_ailing: bool,
}

/// What a volume's VDI is made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VdiSpec {
    /// The SR.
    pub sr_uuid: Uuid,
    /// The volume.
    pub volume: VolumeId,
    /// The operation.
    pub operation: OperationId,
    /// The lease generation under which it is made.
    pub generation: i64,
    /// The deployment's mark.
    pub deployment: super::Deployment,
    /// `virtual_size` in bytes.
    pub size_bytes: u64,
    /// Whether several VMs may write it at once.
    pub is_sharable: bool,
}

/// The marks of a VDI that was made from another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VdiMarks {
    /// What it is for.
    pub owner: VdiOwner,
    /// The operation.
    pub operation: OperationId,
    /// The lease generation under which it is made.
    pub generation: i64,
    /// The deployment's mark.
    pub deployment: super::Deployment,
}

/// How a VDI is made larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resize {
    /// It is attached nowhere.
    Offline,
    /// It may be attached.
    Online,
}

/// A VDI that carries a mark of ours, or is labelled for a volume. What was made from it in the pool by others carries copies of
/// its marks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundVdi {
    /// Its uuid.
    pub uuid: Uuid,
    /// The volume, when the mark can be read and is its own.
    pub volume: Option<VolumeId>,
    /// The snapshot, when the mark can be read and is its own.
    pub snapshot: Option<SnapshotId>,
    /// True when it says, and itself, that an operation needs it for a while.
    pub is_temporary: bool,
    /// Who is making something from it; or who made it, when it has no marks of its own yet.
    pub making: Option<Making>,
    /// The deployment that made it, when the mark can be read.
    pub deployment: Option<Uuid>,
    /// The operation that made it, when the mark can be read and is its own.
    pub operation: Option<OperationId>,
    /// The generation under which it was made; 0 when the mark cannot be read.
    pub generation: i64,
    /// `virtual_size` in bytes.
    pub size_bytes: u64,
    /// True for snapshots, ours or others'.
    pub is_a_snapshot: bool,
}

/// A VDI, whoever made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignVdi {
    /// What its marks say.
    pub marks: FoundVdi,
    /// `VDI.name_label`.
    pub name_label: String,
    /// The VDI that it is a snapshot of, when the SR has that.
    pub snapshot_of: Option<Uuid>,
    /// True when a VM, or a consumer of ours, may be using it.
    pub is_in_use: bool,
}

/// How a VBD is unplugged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unplug {
    /// The guest is asked to let go.
    Ask,
    /// It is not.
    Force,
}

/// Where an attachment's VBD is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VbdTarget {
    /// On the master host's control domain, at any position.
    ControlDomain,
    /// On a VM.
    Vm {
        /// The VM.
        uuid: Uuid,
        /// The position; none for any.
        position: Option<u32>,
    },
}

/// What an attachment's VBD is made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VbdSpec {
    /// The VDI.
    pub vdi_uuid: Uuid,
    /// Where it is made.
    pub target: VbdTarget,
    /// The attachment.
    pub attachment: AttachmentId,
    /// The deployment's mark.
    pub deployment: super::Deployment,
    /// Whether the consumer writes.
    pub mode: AttachMode,
    /// What the pool is told of the traffic that is wanted; empty for nothing.
    pub qos: BTreeMap<String, String>,
}

impl VbdSpec {
    /// The name of the way in which the pool is to schedule the traffic.
    ///
    /// # Source
    /// XenServer's `VBD.qos_algorithm_type` knows `ionice`, whose parameters are `sched` and `class`.
    pub fn qos_algorithm(&self) -> &'static str {
        let names = |key| self.qos.contains_key(key);
        match () {
            () if self.qos.is_empty() => "",
            () if names("sched") || names("class") => "ionice",
            () => "xensm",
        }
    }
}

/// A VBD of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundVbd {
    /// Its uuid.
    pub uuid: Uuid,
    /// The attachment, when the mark can be read.
    pub attachment: Option<AttachmentId>,
    /// The deployment that made it, when the mark can be read.
    pub deployment: Option<Uuid>,
    /// True when it is plugged.
    pub is_plugged: bool,
}

/// Where a plugged VBD's bytes are served.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NbdEndpoint {
    /// The unix socket's path.
    pub socket: String,
    /// The export's name.
    pub export: String,
}
