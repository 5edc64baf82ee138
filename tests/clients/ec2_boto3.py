"""The life of a volume with boto3; prints `ok` at the end."""
import os
import sys
import time

import boto3
from botocore.exceptions import ClientError

ec2 = boto3.client("ec2")


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        found = error.response["Error"]["Code"]
        assert found == code, f"{found} instead of {code}: {error}"
        return
    sys.exit(f"{code} was expected")


zones = ec2.describe_availability_zones()["AvailabilityZones"]
assert [zone["ZoneName"] for zone in zones] == ["nova"], zones

made = ec2.create_volume(
    AvailabilityZone="nova", Size=1, VolumeType="default", ClientToken="once",
    TagSpecifications=[{"ResourceType": "volume", "Tags": [{"Key": "Name", "Value": "<boto & co>"}]}])
assert made["VolumeId"].startswith("vol-") and len(made["VolumeId"]) == 21, made
assert made["State"] in ("creating", "available") and made["Size"] == 1 and made["VolumeType"] == "default", made
again = ec2.create_volume(
    AvailabilityZone="nova", Size=1, VolumeType="default", ClientToken="once",
    TagSpecifications=[{"ResourceType": "volume", "Tags": [{"Key": "Name", "Value": "<boto & co>"}]}])
assert again["VolumeId"] == made["VolumeId"], "a client token makes one volume"
refused("IdempotentParameterMismatch", ec2.create_volume,
        AvailabilityZone="nova", Size=2, VolumeType="default", ClientToken="once")

ec2.get_waiter("volume_available").wait(VolumeIds=[made["VolumeId"]], WaiterConfig={"Delay": 0.2, "MaxAttempts": 900})
shown = ec2.describe_volumes(VolumeIds=[made["VolumeId"]])["Volumes"]
assert len(shown) == 1 and shown[0]["Tags"] == [{"Key": "Name", "Value": "<boto & co>"}], shown
by_tag = ec2.describe_volumes(Filters=[{"Name": "tag:Name", "Values": ["<boto*"]}])["Volumes"]
assert [volume["VolumeId"] for volume in by_tag] == [made["VolumeId"]], by_tag

refused("InvalidVolume.NotFound", ec2.describe_volumes, VolumeIds=["vol-00000000000000000"])
refused("InvalidVolume.NotFound", ec2.delete_volume, VolumeId="vol-00000000000000000")
refused("InvalidZone.NotFound", ec2.create_volume, AvailabilityZone="moon", Size=1, VolumeType="default")
refused("InvalidParameterValue", ec2.create_volume, AvailabilityZone="nova", Size=-1, VolumeType="default")
refused("DryRunOperation", ec2.create_volume, AvailabilityZone="nova", Size=1, VolumeType="default", DryRun=True)
refused("InvalidAction", ec2.describe_vpcs)
stranger = boto3.client("ec2", aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"], aws_secret_access_key="wrong")
refused("SignatureDoesNotMatch", stranger.describe_volumes)
stranger = boto3.client("ec2", aws_access_key_id="nobody", aws_secret_access_key="wrong")
refused("AuthFailure", stranger.describe_volumes)

more = [ec2.create_volume(AvailabilityZone="nova", Size=1, VolumeType="default")["VolumeId"] for _ in range(6)]
pages = ec2.get_paginator("describe_volumes").paginate(PaginationConfig={"PageSize": 5})
seen = [volume["VolumeId"] for page in pages for volume in page["Volumes"]]
assert sorted(seen) == sorted(more + [made["VolumeId"]]), seen

ec2.get_waiter("volume_available").wait(VolumeIds=more, WaiterConfig={"Delay": 0.2, "MaxAttempts": 900})
for volume in more + [made["VolumeId"]]:
    ec2.delete_volume(VolumeId=volume)
deadline = time.time() + 180
while ec2.describe_volumes()["Volumes"]:
    assert time.time() < deadline, "volumes are left"
    time.sleep(0.1)
print("ok")
