"""boto3's snapshots of every kind, against a service with a worker that answers at once: copied, shared, public, locked."""

import boto3
from botocore.exceptions import ClientError

ec2 = boto3.client("ec2")


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error.response
    else:
        raise AssertionError(code)


def wait(name, **arguments):
    ec2.get_waiter(name).wait(WaiterConfig={"Delay": 1, "MaxAttempts": 100}, **arguments)


volume = ec2.create_volume(Size=2, AvailabilityZone="nova", VolumeType="gold")["VolumeId"]
wait("volume_available", VolumeIds=[volume])
made = ec2.create_snapshot(VolumeId=volume, Description="first")
assert made["State"] == "pending" and made["Progress"] == "" and made["Tags"] == [], made
wait("snapshot_completed", SnapshotIds=[made["SnapshotId"]])
source = ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"][0]
assert source["TransferType"] == "standard" and source["Encrypted"] is False, source

# boto3 adds a presigned URL and its own name of the region.
region = ec2.meta.region_name
tags = [{"ResourceType": "snapshot", "Tags": [{"Key": "Name", "Value": "copy"}]}]
copy = ec2.copy_snapshot(SourceRegion=region, SourceSnapshotId=source["SnapshotId"], TagSpecifications=tags)
assert copy["Tags"] == [{"Key": "Name", "Value": "copy"}], copy
wait("snapshot_completed", SnapshotIds=[copy["SnapshotId"]])
shown = ec2.describe_snapshots(SnapshotIds=[copy["SnapshotId"]])["Snapshots"][0]
assert (shown["VolumeId"], shown["VolumeSize"], shown["Description"]) == ("vol-ffffffff", 2, ""), shown
lost = ec2.copy_snapshot(SourceRegion=region, SourceSnapshotId="snap-0123456789abcdef0")["SnapshotId"]
lost = ec2.describe_snapshots(SnapshotIds=[lost])["Snapshots"][0]
assert (lost["State"], lost["StateMessage"]) == ("error", "Source snapshot is not found"), lost
restored = ec2.create_volume(SnapshotId=copy["SnapshotId"], AvailabilityZone="nova")
assert restored["Size"] == 2, restored

shares = {"SnapshotId": source["SnapshotId"], "Attribute": "createVolumePermission"}
ec2.modify_snapshot_attribute(**shares, OperationType="add", GroupNames=["all"])
found = ec2.describe_snapshot_attribute(**shares)
assert found["CreateVolumePermissions"] == [{"Group": "all"}], found
public = ec2.describe_snapshots(RestorableByUserIds=["all"])["Snapshots"]
assert [one["SnapshotId"] for one in public] == [source["SnapshotId"]], public
snapshot = boto3.resource("ec2").Snapshot(source["SnapshotId"])
snapshot.modify_attribute(CreateVolumePermission={"Remove": [{"Group": "all"}]})
assert ec2.describe_snapshot_attribute(**shares)["CreateVolumePermissions"] == []
refused(
    "InvalidAMIAttributeItemValue",
    snapshot.modify_attribute,
    CreateVolumePermission={"Add": [{"UserId": "123456789012"}]},
)
assert ec2.get_snapshot_block_public_access_state()["State"] == "unblocked"
assert ec2.enable_snapshot_block_public_access(State="block-new-sharing")["State"] == "block-new-sharing"
refused("OperationNotPermitted", ec2.modify_snapshot_attribute, **shares, OperationType="add", GroupNames=["all"])
assert ec2.disable_snapshot_block_public_access()["State"] == "unblocked"
ec2.reset_snapshot_attribute(**shares)

lock = ec2.lock_snapshot(SnapshotId=source["SnapshotId"], LockMode="compliance", LockDuration=1, CoolOffPeriod=1)
assert lock["LockState"] == "compliance-cooloff" and lock["CoolOffPeriod"] == 1, lock
assert (lock["LockExpiresOn"] - lock["LockCreatedOn"]).days == 1, lock
locked = ec2.describe_locked_snapshots()["Snapshots"]
assert [one["SnapshotId"] for one in locked] == [source["SnapshotId"]], locked
refused("OperationNotPermitted", ec2.delete_snapshot, SnapshotId=source["SnapshotId"])
assert ec2.unlock_snapshot(SnapshotId=source["SnapshotId"])["SnapshotId"] == source["SnapshotId"]
for one in (source["SnapshotId"], copy["SnapshotId"], lost["SnapshotId"]):
    ec2.delete_snapshot(SnapshotId=one)
    refused("InvalidSnapshot.NotFound", ec2.describe_snapshots, SnapshotIds=[one])

assert ec2.list_snapshots_in_recycle_bin()["Snapshots"] == []
refused("InvalidSnapshot.NotFound", ec2.restore_snapshot_from_recycle_bin, SnapshotId=source["SnapshotId"])
assert ec2.describe_fast_snapshot_restores()["FastSnapshotRestores"] == []
assert ec2.describe_snapshot_tier_status()["SnapshotTierStatuses"] == []
refused(
    "InvalidInstanceID.NotFound",
    ec2.create_snapshots,
    InstanceSpecification={"InstanceId": "i-0123456789abcdef0"},
)
print("done")
