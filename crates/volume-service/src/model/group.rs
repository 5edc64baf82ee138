//! Groups of volumes, their types and their snapshots.
//!
//! ```text
//!  (from a source) --> creating --> available <--> (members come and go)
//!                          |            |
//!                          v            v        last member is gone
//!                        error -----> deleting ------------------------> (gone)
//!                                       |   ^
//!                                       v   |
//!                                 error_deleting
//! ```
//!
//! A group that is not made from a source is `available` from the start: it has nothing in a pool. A group snapshot begins as
//! `creating`, while one operation takes the snapshots of all members; otherwise its states are those of a group.
//!
//! An operator may set every state by hand; the row is marked then, and no reconciler takes it further.

use std::collections::BTreeMap;

use super::id::{FlavorId, GroupId, GroupSnapshotId, GroupTypeId};

/// The name of the type that the groups of the old consistency group API have.
pub const CONSISTENCY_TYPE: &str = "default_cgsnapshot_type";

/// The group spec that asks for snapshots of one moment.
pub const CONSISTENT_SPEC: &str = "consistent_group_snapshot_enabled";

/// Most volumes of a group: the snapshots of all are taken at one moment, by calls that wait for each other.
pub const MEMBERS_MAX: usize = 64;

/// The state of a group or a group snapshot, in OpenStack's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GroupStatus {
    /// Its members are being made.
    Creating,
    /// It may be used.
    Available,
    /// Its members are being removed.
    Deleting,
    /// A member could not be made; the reason is kept.
    Error,
    /// A member could not be removed; the reason is kept.
    ErrorDeleting,
    /// Set by an operator only, as the one that follows.
    Updating,
    /// As Cinder has it.
    Deleted,
}

impl GroupStatus {
    /// Every state.
    pub const ALL: [GroupStatus; 7] = [
        GroupStatus::Creating,
        GroupStatus::Available,
        GroupStatus::Deleting,
        GroupStatus::Error,
        GroupStatus::ErrorDeleting,
        GroupStatus::Updating,
        GroupStatus::Deleted,
    ];

    /// The states that it is deleted from.
    pub const DELETABLE: [GroupStatus; 3] = [
        GroupStatus::Available,
        GroupStatus::Error,
        GroupStatus::ErrorDeleting,
    ];

    /// The word that OpenStack uses, which is also what the database stores.
    pub fn as_str(self) -> &'static str {
        match self {
            GroupStatus::Creating => "creating",
            GroupStatus::Available => "available",
            GroupStatus::Deleting => "deleting",
            GroupStatus::Error => "error",
            GroupStatus::ErrorDeleting => "error_deleting",
            GroupStatus::Updating => "updating",
            GroupStatus::Deleted => "deleted",
        }
    }

    /// Parses the word.
    pub fn parse(text: &str) -> Option<Self> {
        GroupStatus::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
    }
}

/// A group type: what groups are promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupType {
    /// Its id.
    pub id: GroupTypeId,
    /// Its name, unique.
    pub name: String,
    /// A sentence for people.
    pub description: String,
    /// True when every project may use it; else administrators only.
    pub is_public: bool,
    /// Its group specs.
    pub specs: BTreeMap<String, String>,
    /// Microseconds since 1970.
    pub created_at_us: i64,
}

impl GroupType {
    /// True when its groups are promised snapshots of one moment.
    pub fn is_consistent(&self) -> bool {
        let says_yes = |value: &String| value == "<is> True";
        self.specs.get(CONSISTENT_SPEC).is_some_and(says_yes)
    }
}

/// A group of volumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// The project that owns it and all its members.
    pub project_id: String,
    /// The user who made it.
    pub user_id: String,
    /// Its type.
    pub type_id: GroupTypeId,
    /// The type's name.
    pub type_name: String,
    /// A name for people; may be empty.
    pub name: String,
    /// A sentence for people.
    pub description: String,
    /// The zone of all members.
    pub zone: String,
    /// Its state.
    pub status: GroupStatus,
    /// The flavors that members may have.
    pub flavors: Vec<FlavorId>,
    /// The group snapshot that it was made from; it may be gone by now.
    pub group_snapshot_id: Option<GroupSnapshotId>,
    /// The group that it was made from; it may be gone by now.
    pub source_group_id: Option<GroupId>,
    /// Why it is in error; empty when it is not.
    pub failure: String,
    /// True when an operator set its state by hand.
    pub is_hand_set: bool,
    /// Microseconds since 1970.
    pub created_at_us: i64,
}

/// The snapshots of all members of a group, taken at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSnapshot {
    /// Its id.
    pub id: GroupSnapshotId,
    /// The group.
    pub group_id: GroupId,
    /// The project that owns it, which is the group's.
    pub project_id: String,
    /// The user who asked for it.
    pub user_id: String,
    /// The group's type.
    pub type_id: GroupTypeId,
    /// The type's name.
    pub type_name: String,
    /// A name for people; may be empty.
    pub name: String,
    /// A sentence for people.
    pub description: String,
    /// The group's zone.
    pub zone: String,
    /// Its state.
    pub status: GroupStatus,
    /// Why it is in error; empty when it is not.
    pub failure: String,
    /// True when an operator set its state by hand.
    pub is_hand_set: bool,
    /// Microseconds since 1970.
    pub created_at_us: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_parsed_as_they_are_written() {
        for status in GroupStatus::ALL {
            assert_eq!(GroupStatus::parse(status.as_str()), Some(status));
        }
        assert_eq!(GroupStatus::parse("in-use"), None);
    }
}
