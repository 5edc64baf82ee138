"""The life of volumes on LUNs, with OpenStack's SDK and boto3 by turns; prints `ok` at the end.

Arguments: the program xensm, a volume type of SR type lvmoiscsi, one of SR type iscsi with two LUNs, of 1 and 2 GiB.
"""
import subprocess
import sys
import time

import boto3
import openstack

XENSM, LVHD, LUNS = sys.argv[1:]
GIB = 1 << 30
storage = openstack.connect(cloud="xensm").block_storage
storage.default_microversion = "3.71"
ec2 = boto3.client("ec2")


def said(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def look(volume, *commands):
    uri = said(XENSM, "attach", volume.id).strip()
    io(uri, *commands)
    size = int(said("nbdinfo", "--size", uri))
    said(XENSM, "detach", volume.id)
    return size


def io(uri, *commands):
    arguments = [argument for command in commands for argument in ("-c", command)]
    text = said("qemu-io", "-f", "raw", uri, *arguments)
    assert "failed" not in text and "different" not in text, f"{commands}: {text}"


def until(what, answer):
    deadline = time.time() + 180
    while not (found := answer()):
        assert time.time() < deadline, f"never: {what}"
        time.sleep(0.1)
    return found


def settled(thing, status="available"):
    thing = thing.fetch(storage)
    return storage.wait_for_status(thing, status, failures=["error"], interval=0.1, wait=180)


def ec2_id(volume):
    """What EC2 calls a volume that nothing but its size tells from the others."""
    shown = ec2.describe_volumes(Filters=[{"Name": "size", "Values": [str(volume.size)]}])["Volumes"]
    assert len(shown) == 1, shown
    return shown[0]["VolumeId"]


def state(snapshot, wanted):
    shown = ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]
    return shown if shown["State"] == wanted else None


# LVHD on a LUN: a snapshot of a volume in use, a volume of it, both grown, each by the other API.
base = settled(storage.create_volume(name="base", size=1, volume_type=LVHD))
uri = said(XENSM, "attach", base.id).strip()
io(uri, "write -P 0xa1 0 64k", "write -P 0xa1 1020M 64k", "flush")
snapshot = ec2.create_snapshot(VolumeId=ec2_id(base))["SnapshotId"]
until("the snapshot is taken", lambda: state(snapshot, "completed"))
io(uri, "write -P 0xb2 0 64k", "flush", "read -P 0xa1 1020M 64k")
said(XENSM, "detach", base.id)
made = ec2.create_volume(AvailabilityZone="nova", VolumeType=LVHD, SnapshotId=snapshot, Size=3)["VolumeId"]
clone = settled(next(volume for volume in storage.volumes() if volume.id != base.id))
assert look(clone, "read -P 0xa1 0 64k", "read -P 0xa1 1020M 64k", "read -P 0 2G 64k", "write -P 0xc3 2G 64k") == 3 * GIB
storage.extend_volume(base, 2)
assert settled(base).size == 2
assert look(base, "read -P 0xb2 0 64k", "read -P 0xa1 1020M 64k", "read -P 0 1G 64k", "write -P 0xd4 2047M 64k") == 2 * GIB
ec2.modify_volume(VolumeId=made, Size=4)
until("the volume has grown", lambda: storage.get_volume(clone).size == 4)
assert look(settled(clone), "read -P 0xc3 2G 64k", "read -P 0xa1 0 64k", "read -P 0 3G 64k") == 4 * GIB
ec2.delete_snapshot(SnapshotId=snapshot)
until("the snapshot is gone", lambda: not list(storage.snapshots()))
storage.delete_volume(base)
look(clone, "read -P 0xa1 1020M 64k", "read -P 0xc3 2G 64k")
ec2.delete_volume(VolumeId=made)
until("the volumes are gone", lambda: not list(storage.volumes()))

# A LUN for each volume: the smallest that is large enough, and no snapshots, which both APIs say.
small = settled(storage.create_volume(name="small", size=1, volume_type=LUNS))
assert look(small, "read -P 0 0 1M", "write -P 0xe5 1023M 1M", "write -P 0xe5 0 64k") == GIB
refused = storage.create_snapshot(volume_id=small.id, name="refused")
until("the snapshot failed", lambda: storage.get_snapshot(refused).status == "error")
told = storage.get("/messages", microversion="3.71").json()["messages"]
assert any("takes no snapshots" in message["user_message"] for message in told), told
storage.delete_snapshot(refused)
until("the snapshot is gone", lambda: not list(storage.snapshots()))
large = ec2.create_volume(AvailabilityZone="nova", VolumeType=LUNS, Size=2)["VolumeId"]
ec2.get_waiter("volume_available").wait(VolumeIds=[large], WaiterConfig={"Delay": 0.2, "MaxAttempts": 900})
refused = ec2.create_snapshot(VolumeId=large)["SnapshotId"]
shown = until("the snapshot failed", lambda: state(refused, "error"))
assert "takes no snapshots" in shown["StateMessage"], shown
ec2.delete_snapshot(SnapshotId=refused)
until("the snapshot is gone", lambda: not list(storage.snapshots()))
third = storage.create_volume(name="third", size=1, volume_type=LUNS)
until("there are no more LUNs", lambda: storage.get_volume(third).status == "error")
look(small, "read -P 0xe5 1023M 1M", "read -P 0xe5 0 64k")
ec2.delete_volume(VolumeId=large)
for volume in (small, third):
    storage.delete_volume(volume)
until("the volumes are gone", lambda: not list(storage.volumes()))
print("ok")
