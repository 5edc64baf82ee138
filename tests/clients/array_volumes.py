"""The life of volumes that an array makes, with OpenStack's SDK and boto3 by turns; prints `ok` at the end.

Arguments: the program xensm, a volume type.
"""
import subprocess
import sys
import time

import boto3
import openstack

XENSM, TYPE = sys.argv[1:]
GIB = 1 << 30
# Arrays round up.
SLACK = 64 << 20
storage = openstack.connect(cloud="xensm").block_storage
storage.default_microversion = "3.71"
ec2 = boto3.client("ec2")


def said(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def attach(volume):
    return said(XENSM, "attach", volume.id).strip()


def detach(volume):
    said(XENSM, "detach", volume.id)


def io(uri, *commands):
    arguments = [argument for command in commands for argument in ("-c", command)]
    text = said("qemu-io", "-f", "raw", uri, *arguments)
    assert "failed" not in text and "different" not in text, f"{commands}: {text}"


def has(uri, gib):
    size = int(said("nbdinfo", "--size", uri))
    assert gib * GIB <= size < gib * GIB + SLACK, f"{size} instead of {gib} GiB"


def look(volume, gib, *commands):
    uri = attach(volume)
    has(uri, gib)
    io(uri, *commands)
    detach(volume)


def until(what, answer):
    deadline = time.time() + 180
    while not (found := answer()):
        assert time.time() < deadline, f"never: {what}"
        time.sleep(0.1)
    return found


def settled(thing, status="available"):
    thing = thing.fetch(storage)
    return storage.wait_for_status(thing, status, failures=["error"], interval=0.1, wait=180)


def in_ec2(volume):
    """What EC2 calls a volume: the first digits of its id."""
    return "vol-" + volume.id.replace("-", "")[:17]


def state(snapshot, wanted):
    return ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]["State"] == wanted


def gone(volume):
    """True when neither API knows a volume any more."""
    return all(other.id != volume.id for other in storage.volumes())


# Made and written, a snapshot under a consumer who goes on, and what is made of it.
base = settled(storage.create_volume(name="base", size=1, volume_type=TYPE))
uri = attach(base)
has(uri, 1)
io(uri, "read -P 0 0 1M", "write -P 0xa1 0 64k", "write -P 0xa1 1020M 64k", "flush")
first = settled(storage.create_snapshot(volume_id=base.id, name="first", force=True))
io(uri, "write -P 0xb2 0 64k", "flush", "read -P 0xa1 1020M 64k")
storage.extend_volume(base, 2)
settled(base, "in-use")
has(uri, 2)
io(uri, "write -P 0xb2 2047M 64k", "flush")
detach(base)
one = settled(storage.create_volume(name="one", snapshot_id=first.id))
look(one, 1, "read -P 0xa1 0 64k", "read -P 0xa1 1020M 64k", "write -P 0xc3 0 64k")
two = settled(storage.create_volume(name="two", source_volume_id=base.id, size=3))
look(two, 3, "read -P 0xb2 0 64k", "read -P 0xa1 1020M 64k", "read -P 0xb2 2047M 64k", "write -P 0xd4 2560M 64k")
look(base, 2, "read -P 0xb2 0 64k", "read -P 0xb2 2047M 64k")
look(one, 1, "read -P 0xc3 0 64k")

# Back to the snapshot, and as large as it has become.
storage.revert_volume_to_snapshot(base, first)
settled(base)
settled(first)
look(base, 2, "read -P 0xa1 0 64k", "read -P 0xa1 1020M 64k", "write -P 0xe5 0 64k")

# EC2: a snapshot, whose volume goes before it, and a larger volume of it.
second = ec2.create_snapshot(VolumeId=in_ec2(base))["SnapshotId"]
until("the snapshot is taken", lambda: state(second, "completed"))
look(base, 2, "write -P 0xf6 0 64k")
ec2.delete_volume(VolumeId=in_ec2(base))
until("the volume is gone", lambda: gone(base))
assert state(second, "completed")
ec2.create_volume(AvailabilityZone="nova", VolumeType=TYPE, SnapshotId=second, Size=3)
born = until("the volume is known", lambda: [volume for volume in storage.volumes() if volume.id not in (one.id, two.id)])
three = settled(born[0])
look(three, 3, "read -P 0xe5 0 64k", "read -P 0xa1 1020M 64k")
ec2.modify_volume(VolumeId=in_ec2(three), Size=4)
until("the volume has grown", lambda: storage.get_volume(three).size == 4)
look(settled(three), 4, "read -P 0xe5 0 64k", "write -P 0x17 4095M 64k")

# Everything goes, in whatever order.
ec2.delete_snapshot(SnapshotId=second)
storage.delete_snapshot(first)
until("the snapshots are gone", lambda: not list(storage.snapshots()))
look(one, 1, "read -P 0xc3 0 64k", "read -P 0xa1 1020M 64k")
for volume in (one, two, three):
    storage.delete_volume(volume)
until("the volumes are gone", lambda: not list(storage.volumes()))
print("ok")
