//! A volume as EC2 clients see it.

use super::route::Element;
use super::tags;
use super::xml::Xml;
use crate::model::attachment::{Attachment, AttachmentStatus};
use crate::model::volume::{Volume, VolumeStatus};

/// A volume in an answer.
pub(super) const VOLUME: &[Element] = &[
    Element::text("volumeId"),
    Element::text("size"),
    Element::text("snapshotId"),
    Element::text("availabilityZone"),
    Element::text("status"),
    Element::text("createTime"),
    Element::of("attachmentSet", ATTACHMENT),
    tags::SET,
    Element::text("volumeType"),
    Element::text("encrypted"),
    Element::text("multiAttachEnabled"),
];
const ATTACHMENT: &[Element] = &[
    Element::text("volumeId"),
    Element::text("instanceId"),
    Element::text("device"),
    Element::text("status"),
    Element::text("attachTime"),
    Element::text("deleteOnTermination"),
];

/// EC2 knows fewer states: what somebody has claimed is in use, what grows is what it was (the first one with attachments, the last
/// one without), and what is being reverted is not there yet.
pub(super) fn ec2_statuses(status: VolumeStatus) -> &'static [&'static str] {
    match status {
        VolumeStatus::Extending => &["in-use", "available"],
        VolumeStatus::Creating | VolumeStatus::Reverting | VolumeStatus::Managing => &["creating"],
        VolumeStatus::Available => &["available"],
        VolumeStatus::Deleting | VolumeStatus::Unmanaging => &["deleting"],
        VolumeStatus::Error
        | VolumeStatus::ErrorDeleting
        | VolumeStatus::ErrorManaging
        | VolumeStatus::ErrorExtending
        | VolumeStatus::ErrorBackingUp
        | VolumeStatus::ErrorRestoring => &["error"],
        // What somebody has claimed; and where nothing can be done to it now, and nothing is wrong with it.
        VolumeStatus::Reserved
        | VolumeStatus::Attaching
        | VolumeStatus::InUse
        | VolumeStatus::Detaching
        | VolumeStatus::AwaitingTransfer
        | VolumeStatus::Maintenance
        | VolumeStatus::Retyping
        | VolumeStatus::BackingUp
        | VolumeStatus::RestoringBackup
        | VolumeStatus::Downloading
        | VolumeStatus::Uploading => &["in-use"],
    }
}

/// The state of a volume with these attachments.
pub(super) fn ec2_status(volume: &Volume, attachments: &[Attachment]) -> &'static str {
    match ec2_statuses(volume.status) {
        [attached, ..] if !attachments.is_empty() => attached,
        [.., alone] => alone,
        [] => "error",
    }
}

/// The same for attachments.
pub(super) fn attachment_status(status: AttachmentStatus) -> &'static str {
    match status {
        AttachmentStatus::Reserved | AttachmentStatus::Attaching => "attaching",
        AttachmentStatus::Attached => "attached",
        AttachmentStatus::Detaching => "detaching",
        AttachmentStatus::ErrorAttaching | AttachmentStatus::ErrorDetaching => "busy",
    }
}

/// Writes the fields of a volume with its attachments.
pub(super) fn write(xml: &mut Xml, volume: &Volume, attachments: &[Attachment]) {
    xml.text("volumeId", &volume.ec2_id);
    xml.number("size", volume.size_gib);
    match volume.source_snapshot_id {
        Some(id) => xml.text("snapshotId", &id.ec2_id()),
        None => xml.empty("snapshotId"),
    }
    xml.text("availabilityZone", &volume.zone);
    xml.text("status", ec2_status(volume, attachments));
    xml.time("createTime", volume.created_at_us);
    xml.items("attachmentSet", attachments, |xml, attachment| {
        write_attachment(xml, volume, attachment);
    });
    tags::write(xml, &volume.metadata);
    xml.text("volumeType", &volume.flavor_label);
    xml.flag("encrypted", false);
    xml.flag("multiAttachEnabled", false);
}

fn write_attachment(xml: &mut Xml, volume: &Volume, attachment: &Attachment) {
    xml.text("volumeId", &volume.ec2_id);
    if let Some(instance) = &attachment.instance_id {
        xml.text("instanceId", instance);
    }
    if let Some(device) = &attachment.mountpoint {
        xml.text("device", device);
    }
    xml.text("status", attachment_status(attachment.status));
    if let Some(us) = attachment.attached_at_us {
        xml.time("attachTime", us);
    }
    xml.flag("deleteOnTermination", false);
}
