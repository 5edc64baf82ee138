//! A volume as EC2 clients see it.

use super::super::timestamp;
use super::tags;
use super::xml::Xml;
use crate::model::attachment::{Attachment, AttachmentStatus};
use crate::model::volume::{Volume, VolumeStatus};

/// EC2 knows fewer states: what somebody has claimed is in use.
pub(super) fn ec2_status(status: VolumeStatus) -> &'static str {
    match status {
        VolumeStatus::Creating => "creating",
        VolumeStatus::Available => "available",
        VolumeStatus::Reserved
        | VolumeStatus::Attaching
        | VolumeStatus::InUse
        | VolumeStatus::Detaching
        | VolumeStatus::Extending
        | VolumeStatus::Reverting => "in-use",
        VolumeStatus::Deleting => "deleting",
        VolumeStatus::Error | VolumeStatus::ErrorDeleting => "error",
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
    xml.empty("snapshotId");
    xml.text("availabilityZone", &volume.zone);
    xml.text("status", ec2_status(volume.status));
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
