"""What the EBS CSI driver sends, in its order and with its loops, and what it reads of the answers; prints `ok` at the end.

Source: the driver's `pkg/cloud/cloud.go` and `pkg/cloud/devicemanager` of August 2026, read, not run: it needs a Kubernetes.

XENSM_VOLUME_TYPE names the volume type; the driver itself asks for `gp3` when nobody says."""

import hashlib
import os
import re

import boto3
import botocore.exceptions

from ec2_clients import until
from openstack_view import OpenStack

VOLUME_TYPE = os.environ.get("XENSM_VOLUME_TYPE", "default")
NAME_TAG = "CSIVolumeName"
SNAPSHOT_TAG = "CSIVolumeSnapshotName"
# The largest number that it can send, by which it learns the most that a type takes.
ABSURD_IOPS = 2147483647
# Types with AWS's names and limits, as an operator makes them.
TYPES = {
    "gp3": {"ec2:iops": "3000..80000", "ec2:iops_default": "3000", "ec2:iops_per_gib": "500", "ec2:throughput": "125..2000"},
    "gp2": {"ec2:iops_baseline": "3:100..16000"},
}
ec2 = boto3.client("ec2")


def refusal(call, **arguments):
    try:
        call(**arguments)
    except botocore.exceptions.ClientError as error:
        return error.response["Error"]
    raise AssertionError(f"{arguments} was not refused")


def tags(**named):
    return [{"Key": key, "Value": value} for key, value in named.items()]


def probe():
    """The controller's health check."""
    assert refusal(ec2.describe_availability_zones, DryRun=True)["Code"] == "DryRunOperation"


def limit_of_iops(volume_type):
    """The most I/O operations a second of a type: read out of the sentence that refuses too many of them."""
    told = refusal(
        ec2.create_volume,
        AvailabilityZone="nova",
        Size=4,
        VolumeType=volume_type,
        Iops=ABSURD_IOPS,
        DryRun=True,
    )["Message"]
    if "parameter iops is not supported" in told:
        return None
    return int(re.search(r"(?i)volume iops.*is too high.*maximum is (\d+)", told).group(1))


def volumes_named(name):
    return ec2.describe_volumes(Filters=[{"Name": f"tag:{NAME_TAG}", "Values": [name]}])["Volumes"]


def create_disk(name, size, zone_key="AvailabilityZone", **more):
    token = hashlib.sha256(name.encode()).hexdigest()
    specification = [{"ResourceType": "volume", "Tags": tags(**{NAME_TAG: name, "ebs.csi.aws.com/cluster": "true"})}]
    zone = {zone_key: ec2.describe_availability_zones()["AvailabilityZones"][0]["ZoneName"]}
    if "SourceVolumeId" in more:
        call = ec2.copy_volumes
    else:
        call = ec2.create_volume
        more = {"Encrypted": False, **zone, **more}
    made = call(
        ClientToken=token,
        Size=size,
        VolumeType=VOLUME_TYPE,
        MultiAttachEnabled=False,
        TagSpecifications=specification,
        **more,
    )
    if "Volumes" in made:
        made = made["Volumes"][0]
    # Another replica of the controller, or this one after a crash.
    again = call(
        ClientToken=token,
        Size=size,
        VolumeType=VOLUME_TYPE,
        MultiAttachEnabled=False,
        TagSpecifications=specification,
        **more,
    )
    again = again["Volumes"][0] if "Volumes" in again else again
    assert again["VolumeId"] == made["VolumeId"], (made, again)
    assert made["Size"] == size, made

    def is_made():
        shown = disk(made["VolumeId"])
        return shown if shown["State"] in ("available", "in-use") else None

    shown = until(f"{name} is made", is_made)
    assert {"Key": NAME_TAG, "Value": name} in shown["Tags"], shown
    assert [item["VolumeId"] for item in volumes_named(name)] == [made["VolumeId"]]
    return made["VolumeId"]


def disk(volume):
    found = ec2.describe_volumes(VolumeIds=[volume])["Volumes"]
    assert len(found) == 1, found
    return found[0]


def in_batch(volumes):
    """Many ids at a time; one that is unknown makes it ask one by one."""
    absent = "vol-00000000000000000"
    told = refusal(ec2.describe_volumes, VolumeIds=[*volumes, absent])
    assert told["Code"] == "InvalidVolume.NotFound" and re.findall("vol-[0-9a-f]+", told["Message"]) == [absent], told
    found = ec2.describe_volumes(VolumeIds=volumes)["Volumes"]
    assert {item["VolumeId"] for item in found} == set(volumes)


def node():
    """The instance with its type, as the controller and the node look at it."""
    # The service looks at the pool now and then.
    found = until("there is an instance", lambda: ec2.describe_instances()["Reservations"])[0]["Instances"][0]
    shown = ec2.describe_instances(InstanceIds=[found["InstanceId"]])["Reservations"][0]["Instances"][0]
    assert shown["Placement"]["AvailabilityZone"] == "nova", shown
    types = ec2.describe_instance_types(InstanceTypes=[shown["InstanceType"]])["InstanceTypes"]
    # It takes one when nothing is said.
    assert types[0]["EbsInfo"].get("MaximumEbsCards", 1) == 1, types
    assert types[0]["EbsInfo"]["MaximumEbsAttachments"] > 0, types
    return shown["InstanceId"]


def free_device(instance):
    """The first name that no disk of the instance has."""
    shown = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    used = {mapping["DeviceName"] for mapping in shown["BlockDeviceMappings"]}
    names = [f"/dev/xvda{chr(letter)}" for letter in range(ord("a"), ord("z"))]
    return next(name for name in names if name not in used), shown["BlockDeviceMappings"]


def attachment_on(volume, instance):
    shown = disk(volume)
    assert shown["MultiAttachEnabled"] or len(shown["Attachments"]) <= 1, shown
    return next((item for item in shown["Attachments"] if item["InstanceId"] == instance), None)


def attach_disk(volume, instance):
    device, _ = free_device(instance)
    made = ec2.attach_volume(Device=device, InstanceId=instance, VolumeId=volume)
    assert made["State"] in ("attaching", "attached"), made

    def is_attached():
        found = attachment_on(volume, instance)
        # While it waits it looks at how long it has taken, and whether it is the device that it asked for.
        assert found["Device"] == device and found["AttachTime"].tzinfo is not None, found
        return found["State"] == "attached"

    until(f"{volume} is attached", is_attached)
    mapped = {item["DeviceName"]: item["Ebs"]["VolumeId"] for item in free_device(instance)[1] if "Ebs" in item}
    assert mapped[device] == volume, mapped
    told = refusal(ec2.attach_volume, Device=device, InstanceId=instance, VolumeId=volume)
    assert told["Code"] in ("VolumeInUse", "InvalidParameterValue"), told
    return device


def device_is_taken(volume, instance, device):
    """By this it learns that a name is taken by something that it cannot see."""
    told = refusal(ec2.attach_volume, Device=device, InstanceId=instance, VolumeId=volume)
    assert told["Code"] == "InvalidParameterValue" and told["Message"].endswith("already in use"), told


def detach_disk(volume, instance):
    ec2.detach_volume(InstanceId=instance, VolumeId=volume)
    # An attachment that stayed there as `detached` would be waited for.
    until(f"{volume} is detached", lambda: attachment_on(volume, instance) is None)
    code = refusal(ec2.detach_volume, InstanceId=instance, VolumeId=volume)["Code"]
    assert code in ("IncorrectState", "InvalidAttachment.NotFound", "InvalidVolume.NotFound"), code


def modification_is_done(volume):
    try:
        found = ec2.describe_volumes_modifications(VolumeIds=[volume])["VolumesModifications"]
    except botocore.exceptions.ClientError as error:
        assert error.response["Error"]["Code"] == "InvalidVolumeModification.NotFound", error
        return True
    assert found[0]["ModificationState"] != "failed", found
    return found[0]["ModificationState"] in ("optimizing", "completed")


def resize(volume, size):
    assert modification_is_done(volume)
    made = ec2.modify_volume(VolumeId=volume, Size=size)["VolumeModification"]
    assert made["TargetSize"] == size, made
    until(f"{volume} is modified", lambda: modification_is_done(volume))
    # Looked at once, and an error when it is not so.
    assert disk(volume)["Size"] >= size, disk(volume)


def change_tags(volume):
    ec2.create_tags(Resources=[volume], Tags=tags(team="storage"))
    ec2.delete_tags(Resources=[volume], Tags=[{"Key": "team"}])
    assert "team" not in {tag["Key"] for tag in disk(volume)["Tags"]}


def health(volume):
    found = ec2.describe_volume_status(VolumeIds=[volume])["VolumeStatuses"]
    assert found[0]["VolumeStatus"]["Status"] == "ok", found
    details = {item["Name"]: item["Status"] for item in found[0]["VolumeStatus"]["Details"]}
    assert details["io-enabled"] == "passed", details


def take_snapshot(name, volume):
    specification = [{"ResourceType": "snapshot", "Tags": tags(**{SNAPSHOT_TAG: name})}]
    made = ec2.create_snapshot(
        VolumeId=volume,
        TagSpecifications=specification,
        Description=f"Created by AWS EBS CSI driver for volume {volume}",
    )["SnapshotId"]

    def is_ready():
        found = ec2.describe_snapshots(SnapshotIds=[made])["Snapshots"][0]
        assert found["State"] in ("pending", "completed"), found
        return found["State"] == "completed" and found

    found = until(f"{name} is ready", is_ready)
    assert found["VolumeId"] == volume and found["StartTime"].tzinfo is not None, found
    by_name = ec2.describe_snapshots(Filters=[{"Name": f"tag:{SNAPSHOT_TAG}", "Values": [name]}])["Snapshots"]
    assert [item["SnapshotId"] for item in by_name] == [made], by_name
    of_volume = ec2.describe_snapshots(MaxResults=5, Filters=[{"Name": "volume-id", "Values": [volume]}])["Snapshots"]
    assert [item["SnapshotId"] for item in of_volume] == [made], of_volume
    return made


def delete_disk(volume):
    ec2.delete_volume(VolumeId=volume)

    def is_gone():
        found = ec2.describe_volumes(Filters=[{"Name": "volume-id", "Values": [volume]}])["Volumes"]
        return all(item["State"] in ("deleting", "deleted") for item in found)

    until(f"{volume} is gone", is_gone)


def main():
    openstack = OpenStack()
    for name, limits in TYPES.items():
        openstack.post("/types", {"volume_type": {"name": name, "extra_specs": limits}})
    probe()
    instance = node()
    assert limit_of_iops("gp3") == 80000
    assert limit_of_iops("gp2") is None
    volume = create_disk("pvc-1", 1)
    by_zone_id = create_disk("pvc-2", 1, zone_key="AvailabilityZoneId")
    in_batch([volume, by_zone_id])
    device = attach_disk(volume, instance)
    device_is_taken(by_zone_id, instance, device)
    attach_disk(by_zone_id, instance)
    health(volume)
    resize(volume, 2)
    change_tags(volume)
    snapshot = take_snapshot("snapshot-1", volume)
    restored = create_disk("pvc-3", 2, SnapshotId=snapshot)
    cloned = create_disk("pvc-4", 2, SourceVolumeId=volume)
    for one in (volume, by_zone_id):
        detach_disk(one, instance)
    for one in (volume, by_zone_id, restored, cloned):
        delete_disk(one)
    ec2.delete_snapshot(SnapshotId=snapshot, DryRun=False)
    assert refusal(ec2.delete_snapshot, SnapshotId=snapshot, DryRun=False)["Code"] == "InvalidSnapshot.NotFound"


main()
print("ok")
