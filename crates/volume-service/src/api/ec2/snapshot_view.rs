//! A snapshot as EC2 clients see it.

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

/// Writes the fields of a snapshot.
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
    xml.number("volumeSize", snapshot.size_gib);
    xml.text("description", &snapshot.description);
    xml.flag("encrypted", false);
    xml.text("storageTier", "standard");
    tags::write(xml, &snapshot.metadata);
}
