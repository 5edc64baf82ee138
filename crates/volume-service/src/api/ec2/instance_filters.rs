//! The filters of the actions that describe instances.

use super::super::timestamp;
use super::filters::{Filter, TAG};
use super::instance_view::{Mapped, mapped, reservation_id, root_device, state};
use crate::app::instances::Shown;

/// The filters of DescribeInstances.
pub(super) const NAMES: &[&str] = &[
    "affinity",
    "architecture",
    "availability-zone",
    "block-device-mapping.attach-time",
    "block-device-mapping.delete-on-termination",
    "block-device-mapping.device-name",
    "block-device-mapping.status",
    "block-device-mapping.volume-id",
    "client-token",
    "dns-name",
    "hypervisor",
    "image-id",
    "instance-id",
    "instance-lifecycle",
    "instance-state-code",
    "instance-state-name",
    "instance-type",
    "ip-address",
    "kernel-id",
    "key-name",
    "launch-index",
    "launch-time",
    "monitoring-state",
    "owner-id",
    "placement-group-name",
    "platform",
    "platform-details",
    "private-dns-name",
    "private-ip-address",
    "product-code",
    "ramdisk-id",
    "reason",
    "requester-id",
    "reservation-id",
    "root-device-name",
    "root-device-type",
    "spot-instance-request-id",
    "state-reason-code",
    "state-reason-message",
    "subnet-id",
    TAG,
    "tag-key",
    "tenancy",
    "virtualization-type",
    "vpc-id",
];
/// The filters of DescribeInstanceStatus.
pub(super) const STATUS_NAMES: &[&str] = &[
    "availability-zone",
    "event.code",
    "event.description",
    "event.instance-event-id",
    "event.not-after",
    "event.not-before",
    "event.not-before-deadline",
    "instance-state-code",
    "instance-state-name",
    "instance-status.reachability",
    "instance-status.status",
    "system-status.reachability",
    "system-status.status",
];

/// What DescribeInstanceStatus says of an instance that runs, and of one that does not.
pub(super) fn health(is_running: bool) -> (&'static str, Option<&'static str>) {
    match is_running {
        true => ("ok", Some("passed")),
        false => ("not-applicable", None),
    }
}

/// True when the instance passes; `owner` is the project that asks.
pub(super) fn passes(filter: &Filter, shown: &Shown, owner: &str) -> bool {
    if let Some(matches) = filter.matches_tags(&shown.tags) {
        return matches;
    }
    let instance = &shown.instance;
    let (code, state) = state(instance);
    let (status, reachability) = health(state == "running");
    match filter.name.as_str() {
        "instance-id" => filter.matches(&instance.id.ec2_id()),
        "reservation-id" => filter.matches(&reservation_id(instance.id)),
        "owner-id" => filter.matches(owner),
        "instance-state-name" => filter.matches(state),
        "instance-state-code" => filter.matches(&code.to_string()),
        "instance-status.status" | "system-status.status" => filter.matches(status),
        "instance-status.reachability" | "system-status.reachability" => {
            reachability.is_some_and(|word| filter.matches(word))
        }
        "availability-zone" => filter.matches(&instance.zone),
        "instance-type" => filter.matches(&instance.instance_type),
        "launch-time" => filter.matches(&timestamp::ec2(instance.started_at_us)),
        "launch-index" => filter.matches("0"),
        "architecture" => filter.matches("x86_64"),
        "hypervisor" => filter.matches("xen"),
        "monitoring-state" => filter.matches("disabled"),
        "root-device-name" => filter.matches(&root_device(instance)),
        "root-device-type" => filter.matches("ebs"),
        "tenancy" => filter.matches("default"),
        "virtualization-type" => filter.matches("hvm"),
        name => match name.strip_prefix("block-device-mapping.") {
            Some(part) => mapped(shown)
                .iter()
                .any(|one| passes_device(filter, part, one)),
            // No instance has the rest: networks, images, events.
            None => false,
        },
    }
}

fn passes_device(filter: &Filter, part: &str, one: &Mapped) -> bool {
    match part {
        "volume-id" => filter.matches(&one.volume),
        "device-name" => filter.matches(&one.device),
        "status" => filter.matches(one.status),
        "attach-time" => filter.matches(&timestamp::ec2(one.attached_at_us)),
        "delete-on-termination" => filter.matches(match one.delete_on_termination {
            true => "true",
            false => "false",
        }),
        _ => false,
    }
}
