//! The filters of DescribeSnapshots.

use super::super::timestamp;
use super::filters::{Filter, TAG};
use super::snapshot_view::{ec2_status, is_encrypted, progress, transfer_type};
use crate::app::snapshots::SnapshotQuery;
use crate::model::id::VolumeId;
use crate::model::snapshot::{Snapshot, SnapshotStatus};

/// The filters that there are.
pub(super) const NAMES: &[&str] = &[
    "description",
    "encrypted",
    "owner-alias",
    "owner-id",
    "progress",
    "snapshot-id",
    "start-time",
    "status",
    "storage-tier",
    "transfer-type",
    "volume-id",
    "volume-size",
    TAG,
    "tag-key",
    "tag-value",
];

/// True when the snapshot passes.
pub(super) fn passes(filter: &Filter, snapshot: &Snapshot) -> bool {
    if let Some(matches) = filter.matches_tags(&snapshot.metadata) {
        return matches;
    }
    match filter.name.as_str() {
        "description" => filter.matches(&snapshot.description),
        "encrypted" => filter.matches(&is_encrypted(snapshot).to_string()),
        // An alias belongs to a vendor; nobody here is one.
        "owner-alias" => false,
        "owner-id" => filter.matches(&snapshot.project_id),
        "progress" => filter.matches(progress(snapshot.status)),
        "snapshot-id" => filter.matches(&snapshot.ec2_id),
        "start-time" => filter.matches(&timestamp::ec2(snapshot.created_at_us)),
        "status" => filter.matches(ec2_status(snapshot.status)),
        "storage-tier" => filter.matches("standard"),
        "transfer-type" => filter.matches(transfer_type(snapshot)),
        "volume-id" => filter.matches(&snapshot.volume_id.ec2_id()),
        "volume-size" => filter.matches(&snapshot.size_gib.to_string()),
        // The names are checked before.
        _ => false,
    }
}

/// Leaves to the database what it can decide, and says whether anything can match; the filters are applied again to what comes
/// back.
pub(super) fn narrow(query: &mut SnapshotQuery, filter: &Filter) -> bool {
    let of_status: Option<fn(SnapshotStatus) -> &'static str> = match filter.name.as_str() {
        "status" => Some(ec2_status),
        "progress" => Some(progress),
        _ => None,
    };
    if let Some(shown) = of_status {
        // Also of patterns: there are few states.
        if query.statuses.is_empty() {
            query.statuses = SnapshotStatus::ALL.to_vec();
        }
        query
            .statuses
            .retain(|status| filter.matches(shown(*status)));
        return !query.statuses.is_empty();
    }
    let values = filter
        .exact()
        .filter(|values| query.any_of.has_room_for(values.len()));
    let Some(values) = values else {
        return true;
    };
    if let Some(key) = filter.tag() {
        query.any_of.tags.push((key.to_owned(), values));
        return true;
    }
    match (filter.name.as_str(), values.as_slice()) {
        ("tag-key", _) => query.any_of.tag_keys.push(values),
        ("snapshot-id", _) => query.any_of.ec2_ids.push(values),
        // What is of no volume has a name that no id begins with.
        ("volume-id", names) if !names.contains(&VolumeId::NONE.ec2_id()) => {
            query.any_of.source_ec2_ids.push(values);
        }
        ("description", [description]) => query.description = Some(description.clone()),
        ("volume-size", [size]) => {
            if let Ok(size) = size.parse() {
                query.size_gib = Some(size);
            }
        }
        _ => {}
    }
    true
}
