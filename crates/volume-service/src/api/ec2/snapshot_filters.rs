//! The filters of DescribeSnapshots.

use super::super::timestamp;
use super::fault::Result;
use super::filters::{self, Filter};
use super::snapshot_view::{ec2_status, progress};
use crate::model::snapshot::Snapshot;

/// The filters that there are, `tag:<key>` and `tag-key` aside.
pub(super) const NAMES: [&str; 11] = [
    "description",
    "encrypted",
    "owner-alias",
    "owner-id",
    "progress",
    "snapshot-id",
    "start-time",
    "status",
    "storage-tier",
    "volume-id",
    "volume-size",
];

/// True when the snapshot passes; refuses names that EC2 does not have.
pub(super) fn passes(filter: &Filter, snapshot: &Snapshot) -> Result<bool> {
    if let Some(matches) = filter.matches_tags(&snapshot.metadata) {
        return Ok(matches);
    }
    let text = match filter.name.as_str() {
        "description" => snapshot.description.clone(),
        "encrypted" => "false".to_owned(),
        // An alias belongs to a vendor; nobody here is one.
        "owner-alias" => return Ok(false),
        "owner-id" => snapshot.project_id.clone(),
        "progress" => progress(snapshot.status).to_owned(),
        "snapshot-id" => snapshot.ec2_id.clone(),
        "start-time" => timestamp::ec2(snapshot.created_at_us),
        "status" => ec2_status(snapshot.status).to_owned(),
        "storage-tier" => "standard".to_owned(),
        "volume-id" => snapshot.volume_id.ec2_id(),
        "volume-size" => snapshot.size_gib.to_string(),
        _ => return Err(filters::unknown(&filter.name)),
    };
    Ok(filter.matches_any(&[text]))
}
