"""What Terraform's `aws_ebs_volume` and `aws_volume_attachment` send, in their order and with their loops, and what they read of the
answers; prints `ok` at the end.

Source: the provider's `ebs_volume.go`, `ebs_volume_attachment.go` and waiters of 2026, read, not run: the provider is a program that
its registry hands out, and tests reach no registry of that kind.

XENSM_VOLUME_TYPE names the volume type."""

import os

import boto3
import botocore.exceptions

from ec2_clients import until

VOLUME_TYPE = os.environ.get("XENSM_VOLUME_TYPE", "default")
ec2 = boto3.client("ec2")


def code_of(call, **arguments):
    """The refusal's code; None when there was none."""
    try:
        call(**arguments)
    except botocore.exceptions.ClientError as error:
        return error.response["Error"]["Code"]
    return None


def state_change(what, look, pending, target):
    """The provider's loop: another state than those that it knows is a failure; nothing is a target when there is no target."""

    def step():
        found = look()
        state = found["State"] if found else None
        if state in target or (not target and found is None):
            return found or {"State": None}
        assert found is not None and state in pending, f"{what}: {found}"
        return None

    return until(what, step)


def find(volume):
    try:
        found = ec2.describe_volumes(VolumeIds=[volume])["Volumes"]
    except botocore.exceptions.ClientError as error:
        assert error.response["Error"]["Code"] == "InvalidVolume.NotFound", error
        return None
    # Of a single one; a deleted one is as good as none.
    assert len(found) == 1 and found[0]["VolumeId"] == volume, found
    return None if found[0]["State"] == "deleted" else found[0]


def find_attachment(volume, instance, device):
    filters = [
        {"Name": "attachment.device", "Values": [device]},
        {"Name": "attachment.instance-id", "Values": [instance]},
    ]
    found = ec2.describe_volumes(VolumeIds=[volume], Filters=filters)["Volumes"]
    if not found or found[0]["State"] in ("available", "deleted"):
        return None
    for attachment in found[0]["Attachments"]:
        if attachment["State"] == "detached":
            continue
        if (attachment["Device"], attachment["InstanceId"]) == (device, instance):
            return attachment
    return None


def read(volume, **wanted):
    """The state that is kept: a plan after it must find nothing to change."""
    shown = find(volume)
    found = {name: shown.get(name) for name in wanted}
    assert found == wanted, f"{volume}: {shown}"
    for name in ("AvailabilityZone", "CreateTime", "Encrypted", "MultiAttachEnabled", "Size", "VolumeType"):
        assert name in shown, f"{name} of {shown}"
    return shown


def create(token, tags, **wanted):
    specification = [{"ResourceType": "volume", "Tags": [{"Key": key, "Value": tags[key]} for key in tags]}]
    made = ec2.create_volume(AvailabilityZone="nova", ClientToken=token, TagSpecifications=specification, **wanted)
    volume = made["VolumeId"]
    state_change(f"{volume} is created", lambda: find(volume), ["creating"], ["available"])
    return volume


def update(volume, **wanted):
    ec2.modify_volume(VolumeId=volume, **wanted)
    state_change(f"{volume} is updated", lambda: find(volume), ["creating", "modifying"], ["available", "in-use"])


def delete(volume, final_snapshot):
    snapshot = None
    if final_snapshot:
        specification = [{"ResourceType": "snapshot", "Tags": [{"Key": "Name", "Value": "last"}]}]
        snapshot = ec2.create_snapshot(VolumeId=volume, TagSpecifications=specification)["SnapshotId"]
        ec2.get_waiter("snapshot_completed").wait(
            SnapshotIds=[snapshot], WaiterConfig={"Delay": 0.2, "MaxAttempts": 1500}
        )
    assert code_of(ec2.delete_volume, VolumeId=volume) is None
    state_change(f"{volume} is deleted", lambda: find(volume), ["deleting"], [])
    return snapshot


def attach(volume, instance, device):
    assert find_attachment(volume, instance, device) is None

    def of_instance():
        found = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"]
        return {"State": found[0]["State"]["Name"]}

    state_change(f"{instance} is ready", of_instance, ["pending", "stopping"], ["running", "stopped"])
    ec2.attach_volume(Device=device, InstanceId=instance, VolumeId=volume)
    look = lambda: find_attachment(volume, instance, device)  # noqa: E731
    state_change(f"{volume} is attached", look, ["attaching"], ["attached"])


def detach(volume, instance, device):
    code = code_of(ec2.detach_volume, Device=device, Force=False, InstanceId=instance, VolumeId=volume)
    assert code is None, code
    look = lambda: find_attachment(volume, instance, device)  # noqa: E731
    state_change(f"{volume} is detached", look, ["detaching"], [])
    # Once more, as after a run that broke off: this code with this word is taken for success.
    try:
        ec2.detach_volume(Device=device, Force=False, InstanceId=instance, VolumeId=volume)
        raise AssertionError("a volume was detached twice")
    except botocore.exceptions.ClientError as error:
        told = error.response["Error"]
        assert told["Code"] == "IncorrectState" and "available" in told["Message"], told


def tags_of(volume):
    found = ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [volume]}])["Tags"]
    return {tag["Key"]: tag["Value"] for tag in found}


def main():
    # What the provider asks before anything else, unless it is told not to.
    identity = boto3.client("sts", endpoint_url=os.environ["AWS_ENDPOINT_URL_EC2"]).get_caller_identity()
    assert identity["Account"] and identity["Arn"], identity
    assert ec2.describe_availability_zones(Filters=[{"Name": "state", "Values": ["available"]}])["AvailabilityZones"]
    assert "supported-platforms" in {
        item["AttributeName"] for item in ec2.describe_account_attributes()["AccountAttributes"]
    }

    # apply: a volume and its attachment.
    volume = create("terraform-20261123000000000000000001", {"Name": "data"}, Size=1, VolumeType=VOLUME_TYPE)
    read(volume, Size=1, VolumeType=VOLUME_TYPE, AvailabilityZone="nova", Tags=[{"Key": "Name", "Value": "data"}])
    # The service looks at the pool now and then.
    found = until("there is an instance", lambda: ec2.describe_instances()["Reservations"])
    instance = found[0]["Instances"][0]["InstanceId"]
    attach(volume, instance, "/dev/sdh")

    # apply: larger, with other tags, while it is attached.
    update(volume, Size=2)
    until("the size is kept", lambda: find(volume)["Size"] == 2)
    ec2.delete_tags(Resources=[volume], Tags=[{"Key": "Name"}])
    ec2.create_tags(Resources=[volume], Tags=[{"Key": "Stage", "Value": "test"}])
    assert tags_of(volume) == {"Stage": "test"}
    read(volume, Size=2, State="in-use", Tags=[{"Key": "Stage", "Value": "test"}])

    # apply: a volume of a snapshot, without a size.
    detach(volume, instance, "/dev/sdh")
    snapshot = delete(volume, final_snapshot=True)
    assert find(volume) is None
    restored = create("terraform-20261123000000000000000002", {}, SnapshotId=snapshot, VolumeType=VOLUME_TYPE)
    read(restored, Size=2, SnapshotId=snapshot)

    # destroy.
    delete(restored, final_snapshot=False)
    ec2.delete_snapshot(SnapshotId=snapshot)
    # Deleted by somebody else: a success too.
    assert code_of(ec2.delete_volume, VolumeId=restored) == "InvalidVolume.NotFound"


main()
print("ok")
