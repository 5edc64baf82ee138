//! A volume as EC2 clients see it.

use super::super::timestamp;
use super::tags;
use super::xml::Xml;
use crate::model::attachment::{Attachment, AttachmentStatus};
use crate::model::volume::{Volume, VolumeStatus};

/// EC2 knows fewer states: what somebody has claimed is in use, what grows is what it was, and what is being reverted is not
/// there yet.
pub(super) fn ec2_status(volume: &Volume, attachments: &[Attachment]) -> &'static str {
    match volume.status {
        VolumeStatus::Creating | VolumeStatus::Reverting | VolumeStatus::Managing => "creating",
        VolumeStatus::Extending => {
            let is_attached = attachments.iter().any(|one| one.volume_id == volume.id);
            if is_attached { "in-use" } else { "available" }
        }
        VolumeStatus::Available => "available",
        VolumeStatus::Reserved
        | VolumeStatus::Attaching
        | VolumeStatus::InUse
        | VolumeStatus::Detaching => "in-use",
        VolumeStatus::Deleting | VolumeStatus::Unmanaging => "deleting",
        VolumeStatus::Error
        | VolumeStatus::ErrorDeleting
        | VolumeStatus::ErrorManaging
        | VolumeStatus::ErrorExtending
        | VolumeStatus::ErrorBackingUp
        | VolumeStatus::ErrorRestoring => "error",
        // Nothing can be done to it now, and nothing is wrong with it.
        VolumeStatus::AwaitingTransfer
        | VolumeStatus::Maintenance
        | VolumeStatus::Retyping
        | VolumeStatus::BackingUp
        | VolumeStatus::RestoringBackup
        | VolumeStatus::Downloading
        | VolumeStatus::Uploading => "in-use",
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

/// Writes the fields of a volume; `attachments` may hold those of other volumes too.
pub(super) fn write(xml: &mut Xml, volume: &Volume, attachments: &[Attachment]) {
    xml.text("volumeId", &volume.ec2_id);
    xml.text("size", &volume.size_gib.to_string());
    match volume.source_snapshot_id {
        Some(id) => xml.text("snapshotId", &id.ec2_id()),
        None => xml.empty("snapshotId"),
    }
    xml.text("availabilityZone", &volume.zone);
    xml.text("status", ec2_status(volume, attachments));
    xml.text("createTime", &timestamp::ec2(volume.created_at_us));
    let own = attachments
        .iter()
        .filter(|attachment| attachment.volume_id == volume.id);
    xml.items("attachmentSet", own, |xml, attachment| {
        write_attachment(xml, volume, attachment);
    });
    tags::write(xml, &volume.metadata);
    xml.text("volumeType", &volume.flavor_label);
    xml.text("encrypted", "false");
    xml.text("multiAttachEnabled", "false");
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
        xml.text("attachTime", &timestamp::ec2(us));
    }
    xml.text("deleteOnTermination", "false");
}
