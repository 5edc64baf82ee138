"""The life of snapshots with boto3; prints `ok` at the end. XENSM_VOLUME_TYPE names the volume type."""
import os
import sys
import time

import boto3
from botocore.exceptions import ClientError

VOLUME_TYPE = os.environ.get("XENSM_VOLUME_TYPE", "default")
ec2 = boto3.client("ec2")
QUICK = {"Delay": 0.2, "MaxAttempts": 900}


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        found = error.response["Error"]["Code"]
        assert found == code, f"{found} instead of {code}: {error}"
        return
    sys.exit(f"{code} was expected")


def until(what, done):
    deadline = time.time() + 180
    while not done():
        assert time.time() < deadline, f"never: {what}"
        time.sleep(0.1)


def volume(**wanted):
    made = ec2.create_volume(AvailabilityZone="nova", VolumeType=VOLUME_TYPE, **wanted)
    ec2.get_waiter("volume_available").wait(VolumeIds=[made["VolumeId"]], WaiterConfig=QUICK)
    return ec2.describe_volumes(VolumeIds=[made["VolumeId"]])["Volumes"][0]


base = volume(Size=1)
refused("InvalidVolume.NotFound", ec2.create_snapshot, VolumeId="vol-00000000000000000")
refused("DryRunOperation", ec2.create_snapshot, VolumeId=base["VolumeId"], DryRun=True)
tags = [{"Key": "Name", "Value": "<first>"}]
made = ec2.create_snapshot(
    VolumeId=base["VolumeId"], Description="a & b", TagSpecifications=[{"ResourceType": "snapshot", "Tags": tags}])
assert made["SnapshotId"].startswith("snap-") and len(made["SnapshotId"]) == 22, made
assert made["State"] in ("pending", "completed") and made["VolumeSize"] == 1 and made["Tags"] == tags, made
first = made["SnapshotId"]
ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[first], WaiterConfig=QUICK)
shown = ec2.describe_snapshots(SnapshotIds=[first])["Snapshots"]
assert len(shown) == 1 and shown[0]["Description"] == "a & b" and shown[0]["Progress"] == "100%", shown
assert shown[0]["VolumeId"] == base["VolumeId"] and shown[0]["Encrypted"] is False, shown
assert ec2.describe_snapshot_attribute(SnapshotId=first, Attribute="createVolumePermission")["CreateVolumePermissions"] == []

more = [ec2.create_snapshot(VolumeId=base["VolumeId"])["SnapshotId"] for _ in range(5)]
ec2.get_waiter("snapshot_completed").wait(SnapshotIds=more, WaiterConfig=QUICK)
pages = ec2.get_paginator("describe_snapshots").paginate(OwnerIds=["self"], PaginationConfig={"PageSize": 5})
seen = [snapshot["SnapshotId"] for page in pages for snapshot in page["Snapshots"]]
assert seen == [first] + more, seen


def found(**arguments):
    return [snapshot["SnapshotId"] for snapshot in ec2.describe_snapshots(**arguments)["Snapshots"]]


for name, value, expected in [
    ("volume-id", base["VolumeId"], [first] + more), ("status", "completed", [first] + more), ("status", "pending", []),
    ("tag:Name", "<first>", [first]), ("tag-key", "Name", [first]), ("description", "a*", [first]),
    ("volume-size", "1", [first] + more), ("volume-size", "2", []), ("owner-id", shown[0]["OwnerId"], [first] + more),
    ("snapshot-id", more[0], [more[0]]), ("encrypted", "true", []), ("progress", "100%", [first] + more),
]:
    hits = found(Filters=[{"Name": name, "Values": [value]}])
    assert hits == expected, (name, value, hits)
assert found(OwnerIds=["amazon"]) == [] and found(RestorableByUserIds=["all"]) == []
assert found(RestorableByUserIds=["self"]) == [first] + more

clone = volume(SnapshotId=first)
assert clone["SnapshotId"] == first and clone["Size"] == 1, clone
larger = volume(SnapshotId=first, Size=2)
assert larger["Size"] == 2, larger
by_source = ec2.describe_volumes(Filters=[{"Name": "snapshot-id", "Values": [first]}])["Volumes"]
assert sorted(v["VolumeId"] for v in by_source) == sorted([clone["VolumeId"], larger["VolumeId"]]), by_source
once = dict(AvailabilityZone="nova", VolumeType=VOLUME_TYPE, SnapshotId=first, ClientToken="once")
twice = {ec2.create_volume(**once)["VolumeId"] for _ in range(2)}
assert len(twice) == 1, twice
refused("IdempotentParameterMismatch", ec2.create_volume, **{**once, "SnapshotId": more[0]})
ec2.get_waiter("volume_available").wait(VolumeIds=list(twice), WaiterConfig=QUICK)

refused("InvalidVolumeModification.NotFound", ec2.describe_volumes_modifications, VolumeIds=[base["VolumeId"]])
change = ec2.modify_volume(VolumeId=base["VolumeId"], Size=3)["VolumeModification"]
assert (change["OriginalSize"], change["TargetSize"]) == (1, 3), change
assert change["ModificationState"] in ("modifying", "completed"), change


def modification():
    return ec2.describe_volumes_modifications(VolumeIds=[base["VolumeId"]])["VolumesModifications"][0]


until("the modification is complete", lambda: modification()["ModificationState"] == "completed")
assert (modification()["OriginalSize"], modification()["TargetSize"], modification()["Progress"]) == (1, 3, 100)
assert ec2.describe_volumes(VolumeIds=[base["VolumeId"]])["Volumes"][0]["Size"] == 3
assert len(ec2.describe_volumes_modifications()["VolumesModifications"]) == 1

snapshot_of_larger = ec2.create_snapshot(VolumeId=base["VolumeId"])["SnapshotId"]
ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[snapshot_of_larger], WaiterConfig=QUICK)
nothing = "snap-00000000000000000"
for code, call, arguments in [
    ("InvalidSnapshot.NotFound", ec2.describe_snapshots, dict(SnapshotIds=[nothing])),
    ("InvalidSnapshot.NotFound", ec2.delete_snapshot, dict(SnapshotId=nothing)),
    ("InvalidSnapshot.NotFound", ec2.create_volume, dict(AvailabilityZone="nova", VolumeType=VOLUME_TYPE, SnapshotId=nothing)),
    ("InvalidSnapshotID.Malformed", ec2.delete_snapshot, dict(SnapshotId="snap-xyz")),
    ("InvalidParameterValue", ec2.delete_snapshot, dict(SnapshotId="vol-00000000")),
    ("InvalidParameterValue", ec2.describe_snapshots, dict(Filters=[{"Name": "colour", "Values": ["red"]}])),
    ("MissingParameter", ec2.create_volume, dict(AvailabilityZone="nova", VolumeType=VOLUME_TYPE)),
    ("InvalidParameterValue", ec2.modify_volume, dict(VolumeId=base["VolumeId"], Size=2)),
    ("InvalidParameterCombination", ec2.modify_volume, dict(VolumeId=base["VolumeId"], Iops=100)),
]:
    refused(code, call, **arguments)

# Snapshots outlive their volume, and volumes are made from them as before.
ec2.delete_volume(VolumeId=base["VolumeId"])
gone = [{"Name": "volume-id", "Values": [base["VolumeId"]]}]
until("the volume is gone", lambda: not ec2.describe_volumes(Filters=gone)["Volumes"])
assert found(Filters=gone) == [first] + more + [snapshot_of_larger]
orphan = volume(SnapshotId=snapshot_of_larger)
assert orphan["Size"] == 3 and orphan["SnapshotId"] == snapshot_of_larger, orphan

for snapshot in [first] + more + [snapshot_of_larger]:
    ec2.delete_snapshot(SnapshotId=snapshot)
until("the snapshots are gone", lambda: not ec2.describe_snapshots()["Snapshots"])
assert ec2.describe_volumes(VolumeIds=[clone["VolumeId"]])["Volumes"][0]["SnapshotId"] == first
for name in [orphan["VolumeId"], clone["VolumeId"], larger["VolumeId"]] + list(twice):
    ec2.delete_volume(VolumeId=name)
until("the volumes are gone", lambda: not ec2.describe_volumes()["Volumes"])
print("ok")
