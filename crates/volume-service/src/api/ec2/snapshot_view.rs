//! A snapshot as EC2 clients see it.
//!
//! The answer of the request that makes one has less in it than a description. Source: recordings of EC2 of September 2026.

use super::route::Element;
use super::tags;
use super::xml::Xml;
use crate::model::snapshot::{Snapshot, SnapshotStatus};

/// A snapshot in an answer.
pub(super) const SNAPSHOT: &[Element] = &[
    Element::text("snapshotId"),
    Element::text("volumeId"),
    Element::text("status"),
    Element::text("statusMessage"),
    Element::text("startTime"),
    Element::text("progress"),
    Element::text("ownerId"),
    Element::text("volumeSize"),
    Element::text("description"),
    Element::text("encrypted"),
    Element::text("storageTier"),
    Element::text("transferType"),
    Element::text("completionDurationMinutes"),
    Element::text("completionTime"),
    tags::SET,
];

/// A snapshot in the answer of the request that asks for it.
pub(super) const NEW_SNAPSHOT: &[Element] = &[
    Element::text("snapshotId"),
    Element::text("volumeId"),
    Element::text("status"),
    Element::text("startTime"),
    Element::text("progress"),
    Element::text("ownerId"),
    Element::text("volumeSize"),
    Element::text("description"),
    Element::text("encrypted"),
    tags::SET,
];

/// EC2 knows fewer states, and none for what is on its way out: nothing can be made from that, as from one not yet taken.
pub(super) fn ec2_status(status: SnapshotStatus) -> &'static str {
    match status {
        SnapshotStatus::Creating
        | SnapshotStatus::Deleting
        | SnapshotStatus::Managing
        | SnapshotStatus::Unmanaging
        | SnapshotStatus::Updating
        | SnapshotStatus::BackingUp => "pending",
        SnapshotStatus::Available | SnapshotStatus::Restoring => "completed",
        SnapshotStatus::Error | SnapshotStatus::ErrorDeleting | SnapshotStatus::Deleted => "error",
    }
}

/// A snapshot is taken in one piece: it is there or it is not.
pub(super) fn progress(status: SnapshotStatus) -> &'static str {
    match status {
        SnapshotStatus::Creating | SnapshotStatus::Managing | SnapshotStatus::Error => "0%",
        SnapshotStatus::Available
        | SnapshotStatus::Restoring
        | SnapshotStatus::Deleting
        | SnapshotStatus::ErrorDeleting
        | SnapshotStatus::Unmanaging
        | SnapshotStatus::Updating
        | SnapshotStatus::BackingUp
        | SnapshotStatus::Deleted => "100%",
    }
}

/// The size that is shown: of a copy none before it is there.
fn shown_size(snapshot: &Snapshot) -> u64 {
    let is_there = ec2_status(snapshot.status) == "completed";
    match snapshot.traits.ebs.is_copy && !is_there {
        true => 0,
        false => snapshot.size_gib,
    }
}

/// How its content gets to where it is stored.
pub(super) fn transfer_type(snapshot: &Snapshot) -> &'static str {
    match snapshot.traits.ebs.completion_minutes {
        Some(_) => "time-based",
        None => "standard",
    }
}

/// True when its content is encrypted.
pub(super) fn is_encrypted(snapshot: &Snapshot) -> bool {
    snapshot.traits.ebs.encryption_key_id.is_some()
}

/// Writes a snapshot as it is described.
pub(super) fn write(xml: &mut Xml, snapshot: &Snapshot) {
    xml.text("snapshotId", &snapshot.ec2_id);
    xml.text("volumeId", &snapshot.volume_id.ec2_origin());
    xml.text("status", ec2_status(snapshot.status));
    if !snapshot.failure.is_empty() {
        xml.text("statusMessage", &snapshot.failure);
    }
    xml.time("startTime", snapshot.created_at_us);
    xml.text("progress", progress(snapshot.status));
    xml.text("ownerId", &snapshot.project_id);
    xml.number("volumeSize", shown_size(snapshot));
    xml.text("description", &snapshot.description);
    xml.flag("encrypted", is_encrypted(snapshot));
    xml.text("storageTier", "standard");
    xml.text("transferType", transfer_type(snapshot));
    let ebs = &snapshot.traits.ebs;
    if let Some(minutes) = ebs.completion_minutes {
        xml.number(
            "completionDurationMinutes",
            minutes.try_into().unwrap_or_default(),
        );
    }
    if let Some(at_us) = ebs.completed_at_us {
        xml.time("completionTime", at_us);
    }
    tags::write(xml, &snapshot.metadata);
}

/// Writes a snapshot as the request is answered that asks for it; `status` is what the action calls its state.
pub(super) fn write_new(xml: &mut Xml, status: &'static str, snapshot: &Snapshot) {
    xml.text("snapshotId", &snapshot.ec2_id);
    xml.text("volumeId", &snapshot.volume_id.ec2_id());
    xml.text(status, ec2_status(snapshot.status));
    xml.time("startTime", snapshot.created_at_us);
    xml.empty("progress");
    xml.text("ownerId", &snapshot.project_id);
    xml.number("volumeSize", snapshot.size_gib);
    xml.text("description", &snapshot.description);
    xml.flag("encrypted", is_encrypted(snapshot));
    write_tags(xml, snapshot);
}

/// Writes the tags of something new, which EC2 shows also when there are none.
pub(super) fn write_tags(xml: &mut Xml, snapshot: &Snapshot) {
    if snapshot.metadata.is_empty() {
        return xml.empty("tagSet");
    }
    tags::write(xml, &snapshot.metadata);
}
