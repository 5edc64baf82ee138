"""Writes snapshots block by block with boto3's `ebs` client, and reads volumes that are made of them; prints `ok` at the end.

Arguments: the program xensm. XENSM_VOLUME_TYPE names the volume type.
"""
import base64
import hashlib
import os
import subprocess
import sys
import time

import boto3
import openstack
from botocore.exceptions import ClientError

XENSM = sys.argv[1]
BLOCK = 512 * 1024
ec2 = boto3.client("ec2")
ebs = boto3.client("ebs")
storage = openstack.connect(cloud="xensm").block_storage


def said(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def until(what, look):
    deadline = time.time() + 180
    while True:
        found = look()
        if found:
            return found
        assert time.time() < deadline, what
        time.sleep(0.1)


def settled(snapshot_id):
    def look():
        found = ec2.describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"][0]
        return found["State"] != "pending" and found
    return until(f"{snapshot_id} is settled", look)


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        return error.response.get("Reason")
    sys.exit(f"{arguments} was not refused")


def sha256(data):
    return hashlib.sha256(data).digest()


def put(snapshot_id, index, data):
    # The first block waits for its volume, as clients that come again do.
    arguments = dict(SnapshotId=snapshot_id, BlockIndex=index, BlockData=data, DataLength=len(data),
                     Checksum=base64.b64encode(sha256(data)).decode(), ChecksumAlgorithm="SHA256")

    def look():
        try:
            return ebs.put_snapshot_block(**arguments)
        except ClientError as error:
            assert error.response["Error"]["Code"] == "RequestThrottledException", error
    return until(f"block {index} is written", look)


def write(blocks, **more):
    """A snapshot with these blocks."""
    made = ebs.start_snapshot(VolumeSize=1, **more)
    assert made["Status"] == "pending" and made["BlockSize"] == BLOCK, made
    made = made["SnapshotId"]
    for index, data in blocks.items():
        put(made, index, data)
    sums = b"".join(sha256(data) for _, data in sorted(blocks.items()))
    done = ebs.complete_snapshot(SnapshotId=made, ChangedBlocksCount=len(blocks), ChecksumAlgorithm="SHA256",
                                 Checksum=base64.b64encode(sha256(sums)).decode(), ChecksumAggregationMethod="LINEAR")
    assert done["Status"] == "pending", done
    return made


def look(snapshot_id, *commands):
    """Looks into a volume that is made from a snapshot."""
    made = ec2.create_volume(AvailabilityZone="nova", SnapshotId=snapshot_id)["VolumeId"]

    def available():
        found = ec2.describe_volumes(VolumeIds=[made])["Volumes"][0]
        assert found["State"] != "error", found
        return found["State"] == "available"
    until(f"{made} is available", available)
    digits = made.removeprefix("vol-")
    [name] = [one.id for one in storage.volumes() if one.id.replace("-", "").startswith(digits)]
    uri = said(XENSM, "attach", name).strip()
    text = said("qemu-io", "-f", "raw", uri, *(part for command in commands for part in ("-c", command)))
    assert "failed" not in text and "different" not in text, text
    said(XENSM, "detach", name)
    ec2.delete_volume(VolumeId=made)


full = {0: b"\xa1" * BLOCK, 5: b"\xa2" * BLOCK, 2047: b"\xa3" * BLOCK}
tags = [{"Key": "Name", "Value": "written"}]
first = write(full, Description="of a disk", Tags=tags)
shown = settled(first)
assert shown["State"] == "completed", shown
assert (shown["VolumeId"], shown["VolumeSize"], shown["Tags"]) == ("vol-ffffffff", 1, tags), shown
look(first, f"read -P 0xa1 0 {BLOCK}", f"read -P 0 {BLOCK} {4 * BLOCK}", f"read -P 0xa2 {5 * BLOCK} {BLOCK}",
     f"read -P 0xa3 {2047 * BLOCK} {BLOCK}")

# With a parent only what differs is written.
second = write({5: b"\xb2" * BLOCK, 9: b"\xb3" * BLOCK}, ParentSnapshotId=first)
assert settled(second)["State"] == "completed"
look(second, f"read -P 0xa1 0 {BLOCK}", f"read -P 0xb2 {5 * BLOCK} {BLOCK}", f"read -P 0xb3 {9 * BLOCK} {BLOCK}",
     f"read -P 0xa3 {2047 * BLOCK} {BLOCK}")
changed = ebs.list_changed_blocks(FirstSnapshotId=first, SecondSnapshotId=second)["ChangedBlocks"]
listed = {block["BlockIndex"]: block for block in changed}
assert {5, 9} <= listed.keys() and 2047 not in listed, listed.keys()
read = ebs.get_snapshot_block(SnapshotId=second, BlockIndex=9, BlockToken=listed[9]["SecondBlockToken"])
assert read["BlockData"].read() == b"\xb3" * BLOCK
stranger = write({0: b"\xc1" * BLOCK})
assert settled(stranger)["State"] == "completed"
assert refused("ValidationException", ebs.list_changed_blocks, FirstSnapshotId=first, SecondSnapshotId=stranger) == "UNRELATED_SNAPSHOTS"

# What is said wrongly of it fails the snapshot.
wrong = ebs.start_snapshot(VolumeSize=1)["SnapshotId"]
put(wrong, 0, b"\xd1" * BLOCK)
ebs.complete_snapshot(SnapshotId=wrong, ChangedBlocksCount=2)
failed = settled(wrong)
assert failed["State"] == "error" and failed["StateMessage"] == "Changed blocks count mismatch for snapshot", failed
again = dict(SnapshotId=first, ChangedBlocksCount=3)
assert refused("ValidationException", ebs.complete_snapshot, **again) == "INVALID_SNAPSHOT_ID"

for one in (first, second, stranger, wrong):
    ec2.delete_snapshot(SnapshotId=one)
until("no snapshot is left", lambda: not ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"])
# Nor a volume of anybody.
until("no volume is left", lambda: not list(storage.volumes(all_projects=True)))
print("ok")
