"""Reads snapshots block by block with boto3's `ebs` client and compares with what was written through NBD; prints `ok` at the end.

Arguments: the program xensm. XENSM_VOLUME_TYPE names the volume type.
"""
import base64
import hashlib
import os
import subprocess
import sys
import time
import xmlrpc.client

import boto3
import openstack
from botocore.exceptions import ClientError

XENSM = sys.argv[1]
VOLUME_TYPE = os.environ.get("XENSM_VOLUME_TYPE", "default")
BLOCK = 512 * 1024
ec2 = boto3.client("ec2")
ebs = boto3.client("ebs")


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


def volume(volume_id, state="available"):
    def look():
        found = ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]
        assert found["State"] != "error", found
        return found["State"] == state
    until(f"{volume_id} is {state}", look)


def snapshot(volume_id):
    made = ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"]

    def look():
        found = ec2.describe_snapshots(SnapshotIds=[made])["Snapshots"][0]
        assert found["State"] != "error", found
        return found["State"] == "completed"
    until(f"{made} is completed", look)
    return made


def openstack_id(volume_id):
    """The OpenStack id begins with the digits of the EC2 id."""
    digits = volume_id.removeprefix("vol-")
    known = openstack.connect(cloud="xensm").block_storage.volumes()
    [found] = [one.id for one in known if one.id.replace("-", "").startswith(digits)]
    return found


def write(name, *commands):
    uri = said(XENSM, "attach", name).strip()
    arguments = [argument for command in (*commands, "flush") for argument in ("-c", command)]
    text = said("qemu-io", "-f", "raw", uri, *arguments)
    assert "failed" not in text, text
    said(XENSM, "detach", name)


def blocks(snapshot_id):
    """Every block of a snapshot, read by its token, by number."""
    found, token = {}, {}
    while True:
        page = ebs.list_snapshot_blocks(SnapshotId=snapshot_id, MaxResults=100, **token)
        for block in page["Blocks"]:
            found[block["BlockIndex"]] = read(snapshot_id, block["BlockIndex"], block["BlockToken"])
        if page["Blocks"]:
            assert (page["BlockSize"], page["VolumeSize"]) == (BLOCK, 1), page
        if not page.get("NextToken"):
            return found
        token = {"NextToken": page["NextToken"]}


def read(snapshot_id, index, token):
    answer = ebs.get_snapshot_block(SnapshotId=snapshot_id, BlockIndex=index, BlockToken=token)
    data = answer["BlockData"].read()
    assert len(data) == answer["DataLength"] == BLOCK
    assert answer["Checksum"] == base64.b64encode(hashlib.sha256(data).digest()).decode()
    return data


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        return error.response.get("Reason")
    sys.exit(f"{arguments} was not refused")


made = ec2.create_volume(AvailabilityZone="nova", Size=1, VolumeType=VOLUME_TYPE)["VolumeId"]
volume(made)
base = openstack_id(made)
write(base, "write -P 0xa1 0 64k", f"write -P 0xa2 {BLOCK} {2 * BLOCK}", "write -P 0xa3 1073676288 64k")
first = snapshot(made)
write(base, f"write -P 0xb1 {BLOCK} 64k", f"write -P 0xb2 512M {BLOCK}", f"write -z {2 * BLOCK} {BLOCK}")
second = snapshot(made)

of_first, of_second = blocks(first), blocks(second)
zeros = bytes(BLOCK)
content = lambda found, index: found.get(index, zeros)
assert content(of_first, 0)[:65536] == b"\xa1" * 65536 and content(of_first, 0)[65536:] == bytes(BLOCK - 65536)
assert content(of_first, 1) == content(of_first, 2) == b"\xa2" * BLOCK
assert content(of_first, 2047)[-65536:] == b"\xa3" * 65536
assert content(of_second, 1) == b"\xb1" * 65536 + b"\xa2" * (BLOCK - 65536)
assert content(of_second, 2) == zeros
assert content(of_second, 1024) == b"\xb2" * BLOCK
assert len(of_first) < 100 and len(of_second) < 100, "holes are not listed"

# What is listed as changed holds all that has changed, and far from everything.
truth = {index for index in range(2048) if content(of_first, index) != content(of_second, index)}
assert truth == {1, 2, 1024}, truth
changed = ebs.list_changed_blocks(FirstSnapshotId=first, SecondSnapshotId=second)
listed = {block["BlockIndex"]: block for block in changed["ChangedBlocks"]}
assert truth <= listed.keys(), (truth, listed.keys())
assert 2047 not in listed, "a block that neither snapshot has alone"
for index, block in listed.items():
    for snapshot_id, name, known in ((first, "FirstBlockToken", of_first), (second, "SecondBlockToken", of_second)):
        if name in block:
            assert read(snapshot_id, index, block[name]) == content(known, index)
        else:
            assert content(known, index) == zeros
same = ebs.list_changed_blocks(FirstSnapshotId=first, SecondSnapshotId=first)
assert same["ChangedBlocks"] == [], same

# A volume is made from a snapshot that is being read, and the reader goes on.
copy = ec2.create_volume(AvailabilityZone="nova", SnapshotId=second)["VolumeId"]
volume(copy)
assert blocks(second) == of_second
ec2.delete_volume(VolumeId=copy)

# With a log of changes it is known which blocks have changed, and no others are listed.
logged = ec2.create_volume(AvailabilityZone="nova", Size=1, VolumeType=VOLUME_TYPE)["VolumeId"]
volume(logged)
url, user, password = (os.environ[f"XENAPI_{name}"] for name in ("URL", "USERNAME", "PASSWORD"))
pool = xmlrpc.client.ServerProxy(url, allow_none=True)


def xenapi(call, *arguments):
    method = pool
    for part in call.split("."):
        method = getattr(method, part)
    answer = method(*arguments)
    assert answer["Status"] == "Success", f"{call}: {answer}"
    return answer["Value"]


session = xenapi("session.login_with_password", user, password, "1.0", "a story")
[vdi] = xenapi("VDI.get_by_name_label", session, f"vol-{openstack_id(logged)}")
xenapi("VDI.enable_cbt", session, vdi)
write(openstack_id(logged), "write -P 0xc1 0 4M")
before = snapshot(logged)
write(openstack_id(logged), f"write -P 0xc2 {3 * BLOCK + 4096} 512", "write -P 0xc3 700M 64k")
after = snapshot(logged)
changed = ebs.list_changed_blocks(FirstSnapshotId=before, SecondSnapshotId=after)["ChangedBlocks"]
assert [block["BlockIndex"] for block in changed] == [3, 1400], changed
assert "FirstBlockToken" in changed[0] and "FirstBlockToken" not in changed[1]
assert read(after, 1400, changed[1]["SecondBlockToken"]) == b"\xc3" * 65536 + bytes(BLOCK - 65536)
assert refused("ValidationException", ebs.list_changed_blocks, FirstSnapshotId=first, SecondSnapshotId=after) == "UNRELATED_SNAPSHOTS"
for taken in (before, after):
    ec2.delete_snapshot(SnapshotId=taken)
xenapi("session.logout", session)

# Refusals as the client reads them.
token = ebs.list_snapshot_blocks(SnapshotId=first)["Blocks"][0]["BlockToken"]
nobody = "snap-0123456789abcdef0"
assert refused("ResourceNotFoundException", ebs.list_snapshot_blocks, SnapshotId=nobody) == "SNAPSHOT_NOT_FOUND"
wrong = dict(SnapshotId=second, BlockIndex=0, BlockToken=token)
assert refused("ValidationException", ebs.get_snapshot_block, **wrong) == "INVALID_BLOCK_TOKEN"
assert refused("ValidationException", ebs.list_changed_blocks, SecondSnapshotId=first) == "INVALID_SNAPSHOT_ID"

# A snapshot that is being read is deleted, and is gone for its reader.
ec2.delete_snapshot(SnapshotId=first)
gone = dict(SnapshotId=first, BlockIndex=0, BlockToken=token)
assert refused("ResourceNotFoundException", ebs.get_snapshot_block, **gone) == "SNAPSHOT_NOT_FOUND"
assert blocks(second) == of_second
ec2.delete_snapshot(SnapshotId=second)
until("no snapshot is left", lambda: not ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"])
for one in (made, logged):
    ec2.delete_volume(VolumeId=one)
until("no volume is left", lambda: not ec2.describe_volumes()["Volumes"])
print("ok")
