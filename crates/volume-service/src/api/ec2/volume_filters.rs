//! The filters of DescribeVolumes.

use super::super::timestamp;
use super::filters::{Filter, TAG};
use super::instance_view::{attach_time, shown_id};
use super::volume_view::{attachment_status, ec2_status, ec2_statuses, is_encrypted};
use crate::app::volumes::VolumeQuery;
use crate::model::attachment::Attachment;
use crate::model::volume::{Volume, VolumeStatus};

/// The filters that there are.
pub(super) const NAMES: &[&str] = &[
    "volume-id",
    "status",
    "size",
    "volume-type",
    "availability-zone",
    "availability-zone-id",
    "create-time",
    "encrypted",
    "multi-attach-enabled",
    "fast-restored",
    "operator.managed",
    "operator.principal",
    "snapshot-id",
    "attachment.instance-id",
    "attachment.device",
    "attachment.status",
    "attachment.attach-time",
    "attachment.delete-on-termination",
    TAG,
    "tag-key",
    "tag-value",
];

/// True when the volume passes with its attachments.
pub(super) fn passes(filter: &Filter, volume: &Volume, attachments: &[Attachment]) -> bool {
    if let Some(matches) = filter.matches_tags(&volume.metadata) {
        return matches;
    }
    let mut attached = attachments.iter();
    match filter.name.as_str() {
        "volume-id" => filter.matches(&volume.ec2_id),
        "status" => filter.matches(ec2_status(volume, attachments)),
        "size" => filter.matches(&volume.size_gib.to_string()),
        "volume-type" => filter.matches(&volume.flavor_label),
        "availability-zone" | "availability-zone-id" => filter.matches(&volume.zone),
        "create-time" => filter.matches(&timestamp::ec2(volume.created_at_us)),
        "encrypted" => filter.matches(word(is_encrypted(volume))),
        "multi-attach-enabled" => filter.matches(word(volume.traits.multiattach)),
        "fast-restored" | "operator.managed" => filter.matches("false"),
        "snapshot-id" => volume
            .source_snapshot_id
            .is_some_and(|id| filter.matches(&id.ec2_id())),
        "attachment.instance-id" => {
            let mut instances = attached.filter_map(|one| one.instance_id.as_deref());
            instances.any(|id| filter.matches(&shown_id(id)))
        }
        "attachment.device" => {
            filter.matches_any(attached.filter_map(|one| one.mountpoint.as_deref()))
        }
        "attachment.status" => {
            filter.matches_any(attached.map(|one| attachment_status(one.status)))
        }
        "attachment.attach-time" => {
            attached.any(|one| filter.matches(&timestamp::ec2(attach_time(one))))
        }
        "attachment.delete-on-termination" => {
            attached.any(|one| filter.matches(&one.delete_on_termination.to_string()))
        }
        // Nobody but the owner manages a volume; other names are checked before.
        _ => false,
    }
}

fn word(flag: bool) -> &'static str {
    if flag { "true" } else { "false" }
}

/// Leaves to the database what it can decide, and says whether anything can match; the filters are applied again to what comes
/// back.
pub(super) fn narrow(query: &mut VolumeQuery, filter: &Filter) -> bool {
    if filter.name == "status" {
        // Also of patterns: there are few states.
        let may_match = |status: &VolumeStatus| {
            let mut shown = ec2_statuses(*status).iter();
            shown.any(|shown| filter.matches(shown))
        };
        if query.statuses.is_empty() {
            query.statuses = VolumeStatus::ALL.to_vec();
        }
        query.statuses.retain(may_match);
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
        ("volume-id", _) => query.any_of.ec2_ids.push(values),
        ("volume-type", _) => query.any_of.flavor_labels.push(values),
        ("snapshot-id", _) => query.any_of.source_ec2_ids.push(values),
        ("attachment.instance-id", _) => query.any_of.instance_ids.push(values),
        ("availability-zone" | "availability-zone-id", [zone]) => query.zone = Some(zone.clone()),
        ("size", [size]) => {
            if let Ok(size) = size.parse() {
                query.size_gib = Some(size);
            }
        }
        _ => {}
    }
    true
}
