//! The filters of DescribeVolumes.

use super::super::timestamp;
use super::fault::Result;
use super::filters::{self, Filter};
use super::volume_view::{attachment_status, ec2_status};
use crate::model::attachment::Attachment;
use crate::model::volume::Volume;

/// The filters that there are, `tag:<key>` and `tag-key` aside.
pub(super) const NAMES: [&str; 15] = [
    "volume-id",
    "status",
    "size",
    "volume-type",
    "availability-zone",
    "create-time",
    "encrypted",
    "multi-attach-enabled",
    "fast-restored",
    "snapshot-id",
    "attachment.instance-id",
    "attachment.device",
    "attachment.status",
    "attachment.attach-time",
    "attachment.delete-on-termination",
];

/// True when the volume passes; refuses names that EC2 does not have.
pub(super) fn passes(filter: &Filter, volume: &Volume, attachments: &[Attachment]) -> Result<bool> {
    if let Some(matches) = filter.matches_tags(&volume.metadata) {
        return Ok(matches);
    }
    let attached = |text: fn(&Attachment) -> Option<String>| -> Vec<String> {
        attachments
            .iter()
            .filter(|attachment| attachment.volume_id == volume.id)
            .filter_map(text)
            .collect()
    };
    let texts = match filter.name.as_str() {
        "volume-id" => vec![volume.ec2_id.clone()],
        "status" => vec![ec2_status(volume, attachments).to_owned()],
        "size" => vec![volume.size_gib.to_string()],
        "volume-type" => vec![volume.flavor_label.clone()],
        "availability-zone" => vec![volume.zone.clone()],
        "create-time" => vec![timestamp::ec2(volume.created_at_us)],
        "encrypted" | "multi-attach-enabled" | "fast-restored" => vec!["false".to_owned()],
        "snapshot-id" => volume
            .source_snapshot_id
            .map(|id| id.ec2_id())
            .into_iter()
            .collect(),
        "attachment.instance-id" => attached(|a| a.instance_id.clone()),
        "attachment.device" => attached(|a| a.mountpoint.clone()),
        "attachment.status" => attached(|a| Some(attachment_status(a.status).to_owned())),
        "attachment.attach-time" => attached(|a| a.attached_at_us.map(timestamp::ec2)),
        "attachment.delete-on-termination" => attached(|_| Some("false".to_owned())),
        _ => return Err(filters::unknown(&filter.name)),
    };
    Ok(filter.matches_any(&texts))
}
