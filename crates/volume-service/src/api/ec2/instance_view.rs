//! An instance as EC2 clients see it.

use super::route::Element;
use super::tags;
use super::volume_view::attachment_status;
use super::xml::Xml;
use crate::app::instances::Shown;
use crate::model::attachment::Attachment;
use crate::model::id::{InstanceId, VolumeId};
use crate::model::instance::{BlockDevice, Instance, PowerState, name_of};

/// The image of every instance: none is known.
const NO_IMAGE: &str = "ami-00000000";
/// The device that a VM starts from when none says so.
const FIRST_DEVICE: u32 = 0;

/// A reservation in an answer: each instance has one of its own.
pub(super) const RESERVATION: &[Element] = &[
    Element::text("reservationId"),
    Element::text("ownerId"),
    Element::text("groupSet"),
    Element::of("instancesSet", INSTANCE),
];
const INSTANCE: &[Element] = &[
    Element::text("instanceId"),
    Element::text("imageId"),
    Element::of("instanceState", STATE),
    Element::text("privateDnsName"),
    Element::text("dnsName"),
    Element::text("reason"),
    Element::text("amiLaunchIndex"),
    Element::text("productCodes"),
    Element::text("instanceType"),
    Element::text("launchTime"),
    Element::of(
        "placement",
        &[
            Element::text("availabilityZone"),
            Element::text("groupName"),
            Element::text("tenancy"),
        ],
    ),
    Element::of("monitoring", &[Element::text("state")]),
    Element::text("groupSet"),
    Element::text("architecture"),
    Element::text("rootDeviceType"),
    Element::text("rootDeviceName"),
    MAPPING,
    Element::text("virtualizationType"),
    Element::text("clientToken"),
    tags::SET,
    Element::text("hypervisor"),
    Element::text("networkInterfaceSet"),
    Element::text("ebsOptimized"),
];
/// The state of an instance in an answer.
pub(super) const STATE: &[Element] = &[Element::text("code"), Element::text("name")];
/// The block devices of an instance in an answer.
pub(super) const MAPPING: Element = Element::of(
    "blockDeviceMapping",
    &[
        Element::text("deviceName"),
        Element::of(
            "ebs",
            &[
                Element::text("volumeId"),
                Element::text("status"),
                Element::text("attachTime"),
                Element::text("deleteOnTermination"),
                Element::text("associatedResource"),
            ],
        ),
    ],
);

/// EC2's code and word for an instance's state.
pub(super) fn state(instance: &Instance) -> (u64, &'static str) {
    match instance.power_state {
        _ if instance.gone_at_us.is_some() => (48, "terminated"),
        PowerState::Running => (16, "running"),
        PowerState::Halted | PowerState::Paused | PowerState::Suspended => (80, "stopped"),
    }
}

/// The id of the reservation that an instance has to itself.
pub(super) fn reservation_id(id: InstanceId) -> String {
    id.ec2_id().replacen("i-", "r-", 1)
}

/// The name of an instance where a name stands for an instance: what is no VM's uuid is shown as it is.
pub(super) fn shown_id(instance_id: &str) -> String {
    let parsed = instance_id.parse::<InstanceId>();
    parsed.map_or_else(|_| instance_id.to_owned(), InstanceId::ec2_id)
}

/// A block device of an instance.
pub(super) struct Mapped {
    pub(super) device: String,
    pub(super) volume: String,
    pub(super) status: &'static str,
    pub(super) attached_at_us: i64,
    pub(super) delete_on_termination: bool,
    resource: Option<String>,
}

/// The block devices of an instance: the project's own volumes, and of a VM whatever else it has, so that nobody takes its name for a
/// free one. What else a control domain has is other projects'.
pub(super) fn mapped(shown: &Shown) -> Vec<Mapped> {
    let instance = &shown.instance;
    let mut all: Vec<Mapped> = shown.attachments.iter().map(own).collect();
    if !instance.is_control_domain {
        let is_own = |device: &&BlockDevice| {
            let mut attachments = shown.attachments.iter();
            attachments.any(|one| Some(one.id.0) == device.attachment)
        };
        let foreign = instance.devices.iter().filter(|device| !is_own(device));
        all.extend(foreign.map(|device| Mapped {
            device: device_name(device),
            // Not the volume's: the disk is none of this service's, or another project's.
            volume: VolumeId(device.vbd_uuid).ec2_id(),
            status: "attached",
            attached_at_us: instance.started_at_us,
            delete_on_termination: false,
            resource: None,
        }));
    }
    all.sort_by(|one, other| one.device.cmp(&other.device));
    all
}

fn own(attachment: &Attachment) -> Mapped {
    Mapped {
        device: attachment.mountpoint.clone().unwrap_or_default(),
        volume: attachment.volume_id.ec2_id(),
        status: attachment_status(attachment.status),
        attached_at_us: attach_time(attachment),
        delete_on_termination: attachment.delete_on_termination,
        resource: resource(attachment),
    }
}

/// When somebody attached it, as far as that has come.
pub(super) fn attach_time(attachment: &Attachment) -> i64 {
    attachment
        .attached_at_us
        .unwrap_or(attachment.created_at_us)
}

/// Where the bytes of a volume are that is attached to a control domain: an NBD URI.
pub(super) fn resource(attachment: &Attachment) -> Option<String> {
    let uri = attachment.connection_info.get("uri")?.as_str()?;
    Some(uri.to_owned())
}

fn device_name(device: &BlockDevice) -> String {
    match (device.device.as_str(), device.position) {
        ("", Some(position)) => format!("/dev/{}", name_of(position)),
        (name, _) => format!("/dev/{name}"),
    }
}

/// The device that an instance starts from.
pub(super) fn root_device(instance: &Instance) -> String {
    let mut devices = instance.devices.iter();
    let root = devices
        .clone()
        .find(|device| device.is_bootable)
        .or_else(|| devices.find(|device| device.position == Some(FIRST_DEVICE)));
    let name = |device: &BlockDevice| device.position.map(name_of);
    let named = root.and_then(name);
    format!("/dev/{}", named.unwrap_or_else(|| name_of(FIRST_DEVICE)))
}

/// Writes an instance with its reservation.
pub(super) fn write(xml: &mut Xml, shown: &Shown, owner: &str) {
    xml.text("reservationId", &reservation_id(shown.instance.id));
    xml.text("ownerId", owner);
    xml.empty("groupSet");
    xml.items("instancesSet", [shown], write_instance);
}

fn write_instance(xml: &mut Xml, shown: &Shown) {
    let instance = &shown.instance;
    xml.text("instanceId", &instance.id.ec2_id());
    xml.text("imageId", NO_IMAGE);
    write_state(xml, instance);
    xml.empty("privateDnsName");
    xml.empty("dnsName");
    xml.empty("reason");
    xml.number("amiLaunchIndex", 0);
    xml.empty("productCodes");
    xml.text("instanceType", &instance.instance_type);
    xml.time("launchTime", instance.started_at_us);
    xml.element("placement", |xml| {
        xml.text("availabilityZone", &instance.zone);
        xml.empty("groupName");
        xml.text("tenancy", "default");
    });
    xml.element("monitoring", |xml| xml.text("state", "disabled"));
    xml.empty("groupSet");
    xml.text("architecture", "x86_64");
    xml.text("rootDeviceType", "ebs");
    xml.text("rootDeviceName", &root_device(instance));
    write_mapping(xml, shown);
    xml.text("virtualizationType", "hvm");
    xml.empty("clientToken");
    tags::write(xml, &shown.tags);
    xml.text("hypervisor", "xen");
    xml.empty("networkInterfaceSet");
    xml.flag("ebsOptimized", false);
}

/// Writes `instanceState`.
pub(super) fn write_state(xml: &mut Xml, instance: &Instance) {
    let (code, name) = state(instance);
    xml.element("instanceState", |xml| {
        xml.number("code", code);
        xml.text("name", name);
    });
}

/// Writes `blockDeviceMapping`.
pub(super) fn write_mapping(xml: &mut Xml, shown: &Shown) {
    xml.items("blockDeviceMapping", mapped(shown), |xml, mapped| {
        xml.text("deviceName", &mapped.device);
        xml.element("ebs", |xml| {
            xml.text("volumeId", &mapped.volume);
            xml.text("status", mapped.status);
            xml.time("attachTime", mapped.attached_at_us);
            xml.flag("deleteOnTermination", mapped.delete_on_termination);
            if let Some(resource) = &mapped.resource {
                xml.text("associatedResource", resource);
            }
        });
    });
}
