"""A volume in the control domain of the storage manager, with boto3's own waiters and the bytes through NBD; prints `ok` at the end."""
import subprocess
import time

import boto3
from botocore.exceptions import ClientError

DEADLINE = time.time() + 180
OFTEN = {"Delay": 0.2, "MaxAttempts": 900}
ec2 = boto3.client("ec2")


def until(what, look):
    while True:
        found = look()
        if found:
            return found
        assert time.time() < DEADLINE, what
        time.sleep(0.1)


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error.response
    else:
        raise AssertionError(code)


def instances():
    return [instance for page in ec2.get_paginator("describe_instances").paginate()
            for reservation in page["Reservations"] for instance in reservation["Instances"]]


def io(uri, command):
    done = subprocess.run(["qemu-io", "-f", "raw", uri, "-c", command, "-c", "flush"], capture_output=True, text=True)
    text = done.stdout + done.stderr
    assert done.returncode == 0 and "failed" not in text and "different" not in text, text


instance = until("the control domain is seen", instances)[0]
name = instance["InstanceId"]
assert instance["State"] == {"Code": 16, "Name": "running"} and instance["BlockDeviceMappings"] == [], instance
ec2.get_waiter("instance_running").wait(InstanceIds=[name], WaiterConfig=OFTEN)
status = ec2.describe_instance_status(InstanceIds=[name])["InstanceStatuses"][0]
assert status["InstanceStatus"]["Status"] == "ok", status
types = ec2.describe_instance_types(InstanceTypes=[instance["InstanceType"]])["InstanceTypes"]
assert types[0]["EbsInfo"]["MaximumEbsAttachments"] > 1, types

volume = ec2.create_volume(AvailabilityZone="nova", Size=1, VolumeType="default")["VolumeId"]
refused("IncorrectState", ec2.detach_volume, VolumeId=volume)
ec2.get_waiter("volume_available").wait(VolumeIds=[volume], WaiterConfig=OFTEN)


def attachments():
    # As Terraform's provider looks.
    filters = [{"Name": "attachment.device", "Values": ["/dev/sdf"]},
               {"Name": "attachment.instance-id", "Values": [name]}]
    found = ec2.describe_volumes(VolumeIds=[volume], Filters=filters)["Volumes"]
    return found[0]["Attachments"] if found else []


def attached():
    found = attachments()
    assert found and found[0]["State"] in ("attaching", "attached") and "AttachTime" in found[0], found
    return found[0]["State"] == "attached" and found[0]


for content in ("write -P 7 1M 64k", "read -P 7 1M 64k"):
    answer = ec2.attach_volume(VolumeId=volume, InstanceId=name, Device="/dev/sdf")
    assert answer["State"] == "attaching" and answer["Device"] == "/dev/sdf", answer
    refused("VolumeInUse", ec2.attach_volume, VolumeId=volume, InstanceId=name, Device="/dev/sdg")
    ec2.get_waiter("volume_in_use").wait(VolumeIds=[volume], WaiterConfig=OFTEN)
    found = until("the volume is attached", attached)
    assert found["InstanceId"] == name and found["Device"] == "/dev/sdf" and not found["DeleteOnTermination"], found
    io(found["AssociatedResource"], content)
    [mapped] = instances()[0]["BlockDeviceMappings"]
    assert mapped["DeviceName"] == "/dev/sdf" and mapped["Ebs"]["VolumeId"] == volume, mapped
    refused("VolumeInUse", ec2.delete_volume, VolumeId=volume)
    ec2.modify_instance_attribute(InstanceId=name, BlockDeviceMappings=[
        {"DeviceName": "/dev/sdf", "Ebs": {"DeleteOnTermination": True}}])
    assert attachments()[0]["DeleteOnTermination"] is True
    answer = ec2.detach_volume(VolumeId=volume, InstanceId=name, Device="/dev/sdf")
    assert answer["State"] == "detaching", answer
    ec2.get_waiter("volume_available").wait(VolumeIds=[volume], WaiterConfig=OFTEN)
    until("nothing lingers", lambda: not attachments())
ec2.delete_volume(VolumeId=volume)
ec2.get_waiter("volume_deleted").wait(VolumeIds=[volume], WaiterConfig=OFTEN)
until("the volume is gone", lambda: not ec2.describe_volumes()["Volumes"])
print("ok")
