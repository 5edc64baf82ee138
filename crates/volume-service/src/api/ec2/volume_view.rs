//! A volume as EC2 clients see it.

use super::route::Element;
use super::xml::Xml;
use super::{instance_view, tags};
use crate::api::identity::REGION;
use crate::app::volume_performance::Shown;
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
    Element::text("availabilityZoneId"),
    Element::text("iops"),
    Element::text("throughput"),
    Element::text("volumeInitializationRate"),
    Element::text("kmsKeyId"),
    Element::text("sseType"),
    Element::text("sourceVolumeId"),
    Element::text("ownerId"),
    Element::text("volumeArn"),
    OPERATOR,
];
/// An attachment in an answer.
pub(super) const ATTACHMENT: &[Element] = &[
    Element::text("volumeId"),
    Element::text("instanceId"),
    Element::text("device"),
    Element::text("status"),
    Element::text("attachTime"),
    Element::text("deleteOnTermination"),
    Element::text("associatedResource"),
    Element::text("ebsCardIndex"),
];

/// Who manages a thing, in an answer.
pub(super) const OPERATOR: Element = Element::of(
    "operator",
    &[Element::text("managed"), Element::text("hiddenByDefault")],
);

/// Writes that nobody but the owner manages a thing.
pub(super) fn write_operator(xml: &mut Xml) {
    xml.element("operator", |xml| {
        xml.flag("managed", false);
        xml.flag("hiddenByDefault", false);
    });
}

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
pub(super) fn write(xml: &mut Xml, volume: &Volume, attachments: &[Attachment], shown: &Shown) {
    write_fields(
        xml,
        volume,
        ec2_status(volume, attachments),
        volume.created_at_us,
    );
    xml.items("attachmentSet", attachments, |xml, attachment| {
        write_attachment(xml, volume, attachment);
    });
    write_traits(xml, volume, shown);
}

/// Writes the fields of a volume that was just made: EC2 leaves out the attachments then, and parts of seconds.
pub(super) fn write_new(xml: &mut Xml, volume: &Volume, shown: &Shown) {
    let made_at_us = volume.created_at_us - volume.created_at_us.rem_euclid(1_000_000);
    write_fields(xml, volume, ec2_status(volume, &[]), made_at_us);
    write_traits(xml, volume, shown);
}

fn write_fields(xml: &mut Xml, volume: &Volume, status: &str, created_at_us: i64) {
    xml.text("volumeId", &volume.ec2_id);
    xml.number("size", volume.size_gib);
    match volume.source_snapshot_id {
        Some(id) => xml.text("snapshotId", &id.ec2_id()),
        None => xml.empty("snapshotId"),
    }
    xml.text("availabilityZone", &volume.zone);
    xml.text("availabilityZoneId", &volume.zone);
    xml.text("status", status);
    xml.time("createTime", created_at_us);
}

fn write_traits(xml: &mut Xml, volume: &Volume, shown: &Shown) {
    tags::write(xml, &volume.metadata);
    xml.text("volumeType", &volume.flavor_label);
    if let Some(iops) = shown.performance.iops {
        xml.number("iops", iops);
    }
    if let Some(throughput) = shown.performance.throughput {
        xml.number("throughput", throughput);
    }
    if let Some(rate) = shown.ebs.initialization_rate {
        xml.number("volumeInitializationRate", rate);
    }
    if let Some(id) = volume.source_volume_id {
        xml.text("sourceVolumeId", &id.ec2_id());
    }
    let project = &volume.project_id;
    xml.flag("encrypted", is_encrypted(volume));
    if let Some(key) = volume.traits.encryption_key_id {
        xml.text(
            "kmsKeyId",
            &format!("arn:aws:kms:{REGION}:{project}:key/{key}"),
        );
        xml.text("sseType", "sse-kms");
    }
    xml.flag("multiAttachEnabled", volume.traits.multiattach);
    xml.text("ownerId", project);
    let id = &volume.ec2_id;
    xml.text(
        "volumeArn",
        &format!("arn:aws:ec2:{REGION}:{project}:volume/{id}"),
    );
    write_operator(xml);
}

/// True when its bytes are encrypted where it is used.
pub(super) fn is_encrypted(volume: &Volume) -> bool {
    volume.traits.encryption_key_id.is_some()
}

/// Writes the fields of an attachment.
pub(super) fn write_attachment(xml: &mut Xml, volume: &Volume, attachment: &Attachment) {
    xml.text("volumeId", &volume.ec2_id);
    if let Some(instance) = &attachment.instance_id {
        xml.text("instanceId", &instance_view::shown_id(instance));
    }
    if let Some(device) = &attachment.mountpoint {
        xml.text("device", device);
    }
    xml.text("status", attachment_status(attachment.status));
    xml.time("attachTime", instance_view::attach_time(attachment));
    xml.flag("deleteOnTermination", attachment.delete_on_termination);
    if let Some(resource) = instance_view::resource(attachment) {
        xml.text("associatedResource", &resource);
    }
    xml.number("ebsCardIndex", 0);
}
