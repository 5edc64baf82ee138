//! A snapshot of a volume and the states it goes through.
//!
//! ```text
//!            create              revert
//!  creating ---------> available <-----> restoring
//!     |                    |
//!     v                    v
//!   error ------------> deleting --> (gone)
//!                        |    ^
//!                        v    |
//!                     error_deleting
//!
//!  (a VDI that is there) --> managing --> available, error       available --> unmanaging --> (the VDI stays)
//! ```
//!
//! An operator may set the others, and most of these, by hand; such a snapshot is marked ([`SnapshotTraits::is_hand_set`]).

use std::collections::BTreeMap;

use uuid::Uuid;

use super::id::{BackendId, FlavorId, SnapshotId, VolumeId};

/// A snapshot's state, in OpenStack's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SnapshotStatus {
    /// An operation is taking it.
    Creating,
    /// Taken; volumes can be made from it.
    Available,
    /// Its volume is being reverted to it.
    Restoring,
    /// An operation is removing it.
    Deleting,
    /// It could not be taken; the reason is kept.
    Error,
    /// It could not be removed; the reason is kept.
    ErrorDeleting,
    /// An operation is adopting a VDI that was there before it.
    Managing,
    /// An operation is letting go of its VDI, which stays.
    Unmanaging,
    /// Set by an operator only, as are all that follow.
    Updating,
    /// As Cinder has it.
    BackingUp,
    /// As Cinder has it.
    Deleted,
}

impl SnapshotStatus {
    /// Every state.
    pub const ALL: [SnapshotStatus; 11] = [
        SnapshotStatus::Creating,
        SnapshotStatus::Available,
        SnapshotStatus::Restoring,
        SnapshotStatus::Deleting,
        SnapshotStatus::Error,
        SnapshotStatus::ErrorDeleting,
        SnapshotStatus::Managing,
        SnapshotStatus::Unmanaging,
        SnapshotStatus::Updating,
        SnapshotStatus::BackingUp,
        SnapshotStatus::Deleted,
    ];

    /// The states that a snapshot is deleted from.
    pub const DELETABLE: [SnapshotStatus; 3] = [
        SnapshotStatus::Available,
        SnapshotStatus::Error,
        SnapshotStatus::ErrorDeleting,
    ];

    /// The word that OpenStack uses, which is also what the database stores.
    pub fn as_str(self) -> &'static str {
        match self {
            SnapshotStatus::Creating => "creating",
            SnapshotStatus::Available => "available",
            SnapshotStatus::Restoring => "restoring",
            SnapshotStatus::Deleting => "deleting",
            SnapshotStatus::Error => "error",
            SnapshotStatus::ErrorDeleting => "error_deleting",
            SnapshotStatus::Managing => "managing",
            SnapshotStatus::Unmanaging => "unmanaging",
            SnapshotStatus::Updating => "updating",
            SnapshotStatus::BackingUp => "backing-up",
            SnapshotStatus::Deleted => "deleted",
        }
    }

    /// Parses the word.
    pub fn parse(text: &str) -> Option<Self> {
        SnapshotStatus::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
    }

    /// True while an operation owns the snapshot.
    pub fn is_transitional(self) -> bool {
        matches!(
            self,
            SnapshotStatus::Creating
                | SnapshotStatus::Restoring
                | SnapshotStatus::Deleting
                | SnapshotStatus::Managing
                | SnapshotStatus::Unmanaging
        )
    }

    /// The states that may follow. A forced deletion may begin anywhere.
    pub fn next(self) -> &'static [SnapshotStatus] {
        use SnapshotStatus::{Available, Deleting, Error, ErrorDeleting, Restoring, Unmanaging};
        match self {
            SnapshotStatus::Creating => &[Available, Error, Deleting],
            SnapshotStatus::Available => &[Restoring, Deleting, Unmanaging],
            SnapshotStatus::Restoring => &[Available, Deleting],
            SnapshotStatus::Deleting => &[ErrorDeleting],
            SnapshotStatus::Managing => &[Available, Error],
            SnapshotStatus::Unmanaging => &[Available],
            SnapshotStatus::Error
            | SnapshotStatus::ErrorDeleting
            | SnapshotStatus::Updating
            | SnapshotStatus::BackingUp
            | SnapshotStatus::Deleted => &[Deleting],
        }
    }
}

/// A snapshot as a project sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Its id, for life.
    pub id: SnapshotId,
    /// Its EC2 name, for life: `snap-` and 17 hex digits.
    pub ec2_id: String,
    /// The project that owns it, which is the volume's.
    pub project_id: String,
    /// The user who asked for it.
    pub user_id: String,
    /// The volume that it was taken of; it exists as long as its snapshots do.
    pub volume_id: VolumeId,
    /// A name for people; may be empty, need not be unique.
    pub name: String,
    /// A sentence for people.
    pub description: String,
    /// The volume's size when it was taken, in GiB.
    pub size_gib: u64,
    /// Its state.
    pub status: SnapshotStatus,
    /// The availability zone, which is the volume's.
    pub zone: String,
    /// The backend that holds it.
    pub backend_id: Option<BackendId>,
    /// The VDI, once taken.
    pub vdi_uuid: Option<Uuid>,
    /// The user's own keys.
    pub metadata: BTreeMap<String, String>,
    /// What few snapshots have.
    pub traits: SnapshotTraits,
    /// Why the last operation failed; empty when it did not.
    pub failure: String,
    /// Microseconds since 1970.
    pub created_at_us: i64,
    /// Microseconds since 1970; absent when never changed.
    pub updated_at_us: Option<i64>,
}

/// What few snapshots have; the default is what all others have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotTraits {
    /// The group snapshot that it belongs to.
    pub group_snapshot_id: Option<Uuid>,
    /// How far it is taken, where somebody said so.
    pub progress: Option<String>,
    /// True when an operator set its state by hand: no reconciler takes it further.
    pub is_hand_set: bool,
    /// What EC2 knows of it.
    pub ebs: SnapshotEbs,
}

/// What EC2 says of a copy of nothing.
pub const SOURCE_IS_GONE: &str = "Source snapshot is not found";

/// What EC2 knows of a snapshot and OpenStack does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotEbs {
    /// When it was complete, in microseconds since 1970; absent before, and where nobody wrote it down.
    pub completed_at_us: Option<i64>,
    /// What all snapshots have that were asked for together, to be taken at one moment.
    pub set_id: Option<Uuid>,
    /// True for a copy of a snapshot.
    pub is_copy: bool,
    /// What a copy is made from, which may be gone; absent when it never was there.
    pub copied_from: Option<SnapshotId>,
    /// The flavor of the volume that the first snapshot was taken of; of a copy only.
    pub flavor_id: Option<FlavorId>,
    /// Whether an instance may boot from it; of a copy only.
    pub bootable: bool,
    /// The key that the content is encrypted with.
    pub encryption_key_id: Option<Uuid>,
    /// The volume that the first snapshot was taken of; of a copy only.
    pub lineage: Option<VolumeId>,
    /// In how many minutes it was to be complete, where that was said; of a copy only.
    pub completion_minutes: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_can_be_left_and_none_leads_to_itself() {
        for status in SnapshotStatus::ALL {
            assert_eq!(SnapshotStatus::parse(status.as_str()), Some(status));
            assert!(!status.next().is_empty(), "{status:?}");
            assert!(!status.next().contains(&status), "{status:?}");
        }
        for status in SnapshotStatus::DELETABLE {
            assert!(status.next().contains(&SnapshotStatus::Deleting));
        }
    }
}
