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
//! ```

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
}

impl VolumeStatus {
    /// Every state.
    pub const ALL: [VolumeStatus; 11] = [
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
    /// Why the last operation failed, backend by backend; empty when it did not.
    pub failure: String,
    /// Microseconds since 1970.
    pub created_at_us: i64,
    /// Microseconds since 1970; absent when never changed.
    pub updated_at_us: Option<i64>,
}
