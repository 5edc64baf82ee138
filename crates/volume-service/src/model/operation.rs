//! A durable operation: what is being done to the pool on somebody's behalf.

use super::id::OperationId;

/// What an operation does. Its steps live in `operation/<kind>.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OperationKind {
    /// Place a volume and make its VDI.
    CreateVolume,
    /// Remove a volume's VDI and then the volume.
    DeleteVolume,
    /// Create or introduce a backend's SR and plug it.
    ConnectBackend,
    /// Make and plug a VBD (or tell a Xen host what to introduce).
    AttachVolume,
    /// Unplug and remove it.
    DetachVolume,
    /// Make a volume larger.
    ExtendVolume,
    /// Bring a volume back to its latest snapshot.
    RevertVolume,
    /// Take a snapshot of a volume.
    CreateSnapshot,
    /// Remove a snapshot's VDI and then the snapshot.
    DeleteSnapshot,
    /// Make a volume of a VDI that is there.
    ManageVolume,
    /// Let go of a volume's VDI and remove the volume.
    UnmanageVolume,
    /// Make a snapshot of a VDI that is there.
    ManageSnapshot,
    /// Let go of a snapshot's VDI and remove the snapshot.
    UnmanageSnapshot,
    /// Take the snapshots of all members of a group at one moment.
    CreateGroupSnapshot,
    /// Take snapshots of several volumes of an instance at one moment.
    CreateSnapshots,
    /// Make and plug a VBD in an instance.
    AttachInstance,
}

impl OperationKind {
    /// True for what takes or leaves VDIs that were not made here: nothing that carries its mark is ever destroyed for being
    /// left over.
    pub fn is_about_foreign_vdis(self) -> bool {
        matches!(
            self,
            OperationKind::ManageVolume
                | OperationKind::UnmanageVolume
                | OperationKind::ManageSnapshot
                | OperationKind::UnmanageSnapshot
        )
    }

    /// Every kind.
    pub const ALL: [OperationKind; 16] = [
        OperationKind::CreateVolume,
        OperationKind::DeleteVolume,
        OperationKind::ConnectBackend,
        OperationKind::AttachVolume,
        OperationKind::DetachVolume,
        OperationKind::ExtendVolume,
        OperationKind::RevertVolume,
        OperationKind::CreateSnapshot,
        OperationKind::DeleteSnapshot,
        OperationKind::ManageVolume,
        OperationKind::UnmanageVolume,
        OperationKind::ManageSnapshot,
        OperationKind::UnmanageSnapshot,
        OperationKind::CreateGroupSnapshot,
        OperationKind::CreateSnapshots,
        OperationKind::AttachInstance,
    ];

    /// The word that is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            OperationKind::CreateVolume => "create_volume",
            OperationKind::DeleteVolume => "delete_volume",
            OperationKind::ConnectBackend => "connect_backend",
            OperationKind::AttachVolume => "attach_volume",
            OperationKind::DetachVolume => "detach_volume",
            OperationKind::ExtendVolume => "extend_volume",
            OperationKind::RevertVolume => "revert_volume",
            OperationKind::CreateSnapshot => "create_snapshot",
            OperationKind::DeleteSnapshot => "delete_snapshot",
            OperationKind::ManageVolume => "manage_volume",
            OperationKind::UnmanageVolume => "unmanage_volume",
            OperationKind::ManageSnapshot => "manage_snapshot",
            OperationKind::UnmanageSnapshot => "unmanage_snapshot",
            OperationKind::CreateGroupSnapshot => "create_group_snapshot",
            OperationKind::CreateSnapshots => "create_snapshots",
            OperationKind::AttachInstance => "attach_instance",
        }
    }

    /// Parses the word.
    pub fn parse(text: &str) -> Option<Self> {
        OperationKind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// Where an operation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OperationState {
    /// Waits for a worker, or for its `not_before`.
    Pending,
    /// A worker holds the lease and goes forward.
    Running,
    /// A worker holds the lease and undoes.
    Undoing,
    /// Finished as asked.
    Succeeded,
    /// Undone; the reason is kept.
    Failed,
}

impl OperationState {
    /// Every state.
    pub const ALL: [OperationState; 5] = [
        OperationState::Pending,
        OperationState::Running,
        OperationState::Undoing,
        OperationState::Succeeded,
        OperationState::Failed,
    ];

    /// The word that is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            OperationState::Pending => "pending",
            OperationState::Running => "running",
            OperationState::Undoing => "undoing",
            OperationState::Succeeded => "succeeded",
            OperationState::Failed => "failed",
        }
    }

    /// Parses the word.
    pub fn parse(text: &str) -> Option<Self> {
        OperationState::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
    }

    /// True when nothing is left to do.
    pub fn is_finished(self) -> bool {
        matches!(self, OperationState::Succeeded | OperationState::Failed)
    }
}

/// An operation's row.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// Its id; objects that it makes in a pool carry it as `xensm:operation`.
    pub id: OperationId,
    /// What it does.
    pub kind: OperationKind,
    /// What it is done to: a volume, snapshot, group snapshot, backend or attachment id as text. At most one unfinished operation per target.
    pub target: String,
    /// The zone whose workers may take it.
    pub zone: String,
    /// Where it stands.
    pub state: OperationState,
    /// The index of the step to run (or, when undoing, to undo) next.
    pub step: u32,
    /// True once the step has been begun under some lease: a later runner must first look for what it left.
    pub step_begun: bool,
    /// What the steps produced, as one typed JSON document per kind.
    pub outputs: serde_json::Value,
    /// How many times the present step failed in a way that may pass.
    pub attempts: u32,
    /// Who holds the lease.
    pub lease_owner: Option<String>,
    /// Grows by one with each claim; every write of a worker names the one it holds.
    pub lease_generation: i64,
    /// Microseconds since 1970.
    pub lease_expires_at_us: Option<i64>,
    /// Not to be claimed earlier; microseconds since 1970.
    pub not_before_us: i64,
    /// Why it failed or is being retried.
    pub failure: String,
    /// The request that asked for it, for logs.
    pub request_id: String,
    /// Microseconds since 1970.
    pub created_at_us: i64,
    /// Microseconds since 1970.
    pub updated_at_us: i64,
}
