//! A volume and the states it goes through.
//!
//! ```text
//!            create             attach: reserve, connect, complete
//!  creating ---------> available ---> reserved ---> attaching ---> in-use
//!     |                 |   ^            |             |            |
//!     v                 |   +------------+-------------+- detaching +
//!   error --> deleting <+
//!               |  +--> (gone)
//!               +-----> error_deleting --> deleting
//!
//!  available, in-use --> extending --> what the attachments imply
//!  available ----------> reverting --> available
//!
//!  (a VDI that is there) --> managing --> available       available --> unmanaging --> (the VDI stays)
//!                               +-------> error_managing
//! ```
//!
//! An operator may set the others, and most of these, by hand; such a volume is marked ([`VolumeTraits::is_hand_set`]).

use std::collections::BTreeMap;

use uuid::Uuid;

use super::id::{BackendId, FlavorId, SnapshotId, VolumeId};

/// A volume's state, in OpenStack's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VolumeStatus {
    /// An operation is making it.
    Creating,
    /// Ready, attached nowhere.
    Available,
    /// Claimed for an attachment that has no connector yet.
    Reserved,
    /// An operation is attaching it.
    Attaching,
    /// Attached.
    InUse,
    /// An operation is detaching it.
    Detaching,
    /// An operation is making it larger; it may be attached meanwhile.
    Extending,
    /// An operation is bringing it back to its latest snapshot.
    Reverting,
    /// An operation is removing it.
    Deleting,
    /// It could not be made; the reason is kept.
    Error,
    /// It could not be removed; the reason is kept.
    ErrorDeleting,
    /// An operation is adopting a VDI that was there before it.
    Managing,
    /// An operation is letting go of its VDI, which stays.
    Unmanaging,
    /// No VDI could be adopted; the reason is kept.
    ErrorManaging,
    /// It is offered to another project.
    AwaitingTransfer,
    /// An operator keeps everybody away from it.
    Maintenance,
    /// Set by an operator only, as are all that follow.
    Retyping,
    /// As Cinder has it.
    ErrorExtending,
    /// As Cinder has it.
    BackingUp,
    /// As Cinder has it.
    ErrorBackingUp,
    /// As Cinder has it.
    RestoringBackup,
    /// As Cinder has it.
    ErrorRestoring,
    /// As Cinder has it.
    Downloading,
    /// As Cinder has it.
    Uploading,
}

impl VolumeStatus {
    /// Every state.
    pub const ALL: [VolumeStatus; 24] = [
        VolumeStatus::Creating,
        VolumeStatus::Available,
        VolumeStatus::Reserved,
        VolumeStatus::Attaching,
        VolumeStatus::InUse,
        VolumeStatus::Detaching,
        VolumeStatus::Extending,
        VolumeStatus::Reverting,
        VolumeStatus::Deleting,
        VolumeStatus::Error,
        VolumeStatus::ErrorDeleting,
        VolumeStatus::Managing,
        VolumeStatus::Unmanaging,
        VolumeStatus::ErrorManaging,
        VolumeStatus::AwaitingTransfer,
        VolumeStatus::Maintenance,
        VolumeStatus::Retyping,
        VolumeStatus::ErrorExtending,
        VolumeStatus::BackingUp,
        VolumeStatus::ErrorBackingUp,
        VolumeStatus::RestoringBackup,
        VolumeStatus::ErrorRestoring,
        VolumeStatus::Downloading,
        VolumeStatus::Uploading,
    ];

    /// The word that OpenStack uses, which is also what the database stores.
    pub fn as_str(self) -> &'static str {
        match self {
            VolumeStatus::Creating => "creating",
            VolumeStatus::Available => "available",
            VolumeStatus::Reserved => "reserved",
            VolumeStatus::Attaching => "attaching",
            VolumeStatus::InUse => "in-use",
            VolumeStatus::Detaching => "detaching",
            VolumeStatus::Extending => "extending",
            VolumeStatus::Reverting => "reverting",
            VolumeStatus::Deleting => "deleting",
            VolumeStatus::Error => "error",
            VolumeStatus::ErrorDeleting => "error_deleting",
            VolumeStatus::Managing => "managing",
            VolumeStatus::Unmanaging => "unmanaging",
            VolumeStatus::ErrorManaging => "error_managing",
            VolumeStatus::AwaitingTransfer => "awaiting-transfer",
            VolumeStatus::Maintenance => "maintenance",
            VolumeStatus::Retyping => "retyping",
            VolumeStatus::ErrorExtending => "error_extending",
            VolumeStatus::BackingUp => "backing-up",
            VolumeStatus::ErrorBackingUp => "error_backing-up",
            VolumeStatus::RestoringBackup => "restoring-backup",
            VolumeStatus::ErrorRestoring => "error_restoring",
            VolumeStatus::Downloading => "downloading",
            VolumeStatus::Uploading => "uploading",
        }
    }

    /// Parses the word.
    pub fn parse(text: &str) -> Option<Self> {
        VolumeStatus::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
    }

    /// True while an operation owns the volume.
    pub fn is_transitional(self) -> bool {
        matches!(
            self,
            VolumeStatus::Creating
                | VolumeStatus::Attaching
                | VolumeStatus::Detaching
                | VolumeStatus::Extending
                | VolumeStatus::Reverting
                | VolumeStatus::Deleting
                | VolumeStatus::Managing
                | VolumeStatus::Unmanaging
        )
    }
}

/// A volume as a project sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Volume {
    /// Its id, for life.
    pub id: VolumeId,
    /// Its EC2 name, for life: `vol-` and 17 hex digits.
    pub ec2_id: String,
    /// The project that owns it.
    pub project_id: String,
    /// The user who made it.
    pub user_id: String,
    /// A name for people; may be empty, need not be unique.
    pub name: String,
    /// A sentence for people.
    pub description: String,
    /// Size in GiB.
    pub size_gib: u64,
    /// The size in GiB that it is being extended to.
    pub extending_to_gib: Option<u64>,
    /// Its state.
    pub status: VolumeStatus,
    /// The flavor it was asked for.
    pub flavor_id: FlavorId,
    /// The flavor's label.
    pub flavor_label: String,
    /// The availability zone.
    pub zone: String,
    /// The backend that holds it, once placed.
    pub backend_id: Option<BackendId>,
    /// The VDI, once made.
    pub vdi_uuid: Option<Uuid>,
    /// The snapshot that it was made from; it may be gone by now.
    pub source_snapshot_id: Option<SnapshotId>,
    /// The volume that it was cloned from; it may be gone by now.
    pub source_volume_id: Option<VolumeId>,
    /// True when an instance may boot from it.
    pub bootable: bool,
    /// The user's own keys.
    pub metadata: BTreeMap<String, String>,
    /// What few volumes have.
    pub traits: VolumeTraits,
    /// Why the last operation failed, backend by backend; empty when it did not.
    pub failure: String,
    /// Microseconds since 1970.
    pub created_at_us: i64,
    /// Microseconds since 1970; absent when never changed.
    pub updated_at_us: Option<i64>,
}

/// What few volumes have; the default is what all others have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeTraits {
    /// The group that it belongs to.
    pub group_id: Option<Uuid>,
    /// True when that is one of the consistency group API.
    pub in_consistency_group: bool,
    /// True when several instances may write it at once.
    pub multiattach: bool,
    /// Whether it may only be read; absent until somebody said so or the contrary.
    pub read_only: Option<bool>,
    /// The key that it is encrypted with.
    pub encryption_key_id: Option<Uuid>,
    /// What an operator said of its migration.
    pub migration_status: Option<String>,
    /// True when an operator set its state by hand: no reconciler takes it further.
    pub is_hand_set: bool,
    /// What is known of the image that is in it.
    pub image_metadata: BTreeMap<String, String>,
}
