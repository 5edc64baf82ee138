"""What snapshots, clones, reverted and extended volumes hold, read and written with qemu-io; prints `ok` at the end.

Arguments: the program xensm. XENSM_DATA_DIR names the installation, XENSM_VOLUME_TYPE the volume type.
"""
import os
import subprocess
import sys
import time

import openstack
from openstack import exceptions

XENSM = sys.argv[1]
VOLUME_TYPE = os.environ.get("XENSM_VOLUME_TYPE", "default")
GIB = 1 << 30
storage = openstack.connect(cloud="xensm").block_storage
storage.default_microversion = "3.71"


def said(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def io(uri, *commands):
    arguments = [argument for command in commands for argument in ("-c", command)]
    text = said("qemu-io", "-f", "raw", uri, *arguments)
    assert "failed" not in text and "different" not in text, f"{commands}: {text}"


def size(uri):
    return int(said("nbdinfo", "--size", uri))


def attach(volume):
    return said(XENSM, "attach", volume.id).strip()


def detach(volume):
    said(XENSM, "detach", volume.id)


def look(volume, *commands):
    uri = attach(volume)
    io(uri, *commands)
    detach(volume)


def settled(thing, status="available"):
    thing = thing.fetch(storage)
    return storage.wait_for_status(thing, status, failures=["error"], interval=0.1, wait=180)


def snapshot(volume, name, **more):
    return settled(storage.create_snapshot(volume_id=volume.id, name=name, **more))


def refused(call, *arguments):
    try:
        call(*arguments)
    except exceptions.HttpException as refusal:
        return str(refusal)
    sys.exit(f"{call.__name__}{arguments} was not refused")


def empty(list_all):
    deadline = time.time() + 180
    while list(list_all()):
        assert time.time() < deadline, "something is left"
        time.sleep(0.1)


# A snapshot of a volume in use; the consumer goes on.
base = settled(storage.create_volume(name="base", size=1, volume_type=VOLUME_TYPE))
uri = attach(base)
io(uri, "write -P 0xa1 0 64k", "write -P 0xa1 900M 64k", "flush")
consumer = subprocess.Popen(["qemu-io", "-f", "raw", uri], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def tell(command):
    """Has the consumer that never leaves do something, and waits until it has."""
    consumer.stdin.write(f"{command}\n")
    consumer.stdin.flush()
    lines = []
    while not lines or "ops/sec" not in lines[-1]:
        line = consumer.stdout.readline()
        assert line and "failed" not in line and "different" not in line, f"{command}: {lines} {line}"
        lines.append(line)


tell("read -P 0xa1 0 64k")
first = snapshot(base, "first", force=True)
tell("write -P 0xb2 0 64k")
tell("read -P 0xa1 900M 64k")
io(uri, "flush")
second = snapshot(base, "second", force=True)
tell("write -P 0xc3 0 64k")
io(uri, "flush")
one = settled(storage.create_volume(name="one", snapshot_id=first.id))
two = settled(storage.create_volume(name="two", snapshot_id=second.id, size=2))
three = settled(storage.create_volume(name="three", source_volume_id=base.id))
look(one, "read -P 0xa1 0 64k", "read -P 0xa1 900M 64k", "read -P 0 64k 64k", "write -P 0xd4 0 64k")
of_two = attach(two)
assert size(of_two) == 2 * GIB
io(of_two, "read -P 0xb2 0 64k", "read -P 0 1G 64k", "write -P 0xe5 1536M 64k", "read -P 0xe5 1536M 64k")
detach(two)
look(three, "read -P 0xc3 0 64k", "read -P 0xa1 900M 64k")
tell("read -P 0xc3 0 64k")
consumer.stdin.close()
assert consumer.wait(timeout=180) == 0
detach(base)
assert "snapshots" in refused(lambda: storage.delete_volume(base, ignore_missing=False))
# What was made from it stays when the snapshot goes.
for taken in (first, second):
    storage.delete_snapshot(taken)
empty(storage.snapshots)
look(one, "read -P 0xd4 0 64k", "read -P 0xa1 900M 64k")
look(base, "read -P 0xc3 0 64k", "read -P 0xa1 900M 64k")
for volume in (base, one, two, three):
    storage.delete_volume(volume)
empty(storage.volumes)

# Reverted to the latest snapshot, and grown at rest and attached.
volume = settled(storage.create_volume(name="v", size=1, volume_type=VOLUME_TYPE))
look(volume, "write -P 0xa1 0 64k", "write -P 0xa1 1020M 64k")
old, new = snapshot(volume, "old"), snapshot(volume, "new")
look(volume, "write -P 0xb2 0 64k", "write -P 0xb2 500M 64k")
assert "latest" in refused(storage.revert_volume_to_snapshot, volume, old)
uri = attach(volume)
assert "available" in refused(storage.revert_volume_to_snapshot, volume, new)
io(uri, "read -P 0xb2 0 64k")
detach(volume)
storage.revert_volume_to_snapshot(volume, new)
settled(volume)
settled(new)
look(volume, "read -P 0xa1 0 64k", "read -P 0 500M 64k", "read -P 0xa1 1020M 64k", "write -P 0xc3 500M 64k")
storage.extend_volume(volume, 2)
assert settled(volume).size == 2
uri = attach(volume)
assert size(uri) == 2 * GIB
io(uri, "read -P 0xa1 1020M 64k", "read -P 0 1G 64k", "write -P 0xc3 1536M 64k", "flush")
storage.extend_volume(volume, 3)
assert settled(volume, "in-use").size == 3
assert size(uri) == 3 * GIB
io(uri, "read -P 0xc3 1536M 64k", "read -P 0 2G 64k", "write -P 0xd4 2560M 64k")
detach(volume)
# Grown since: reverted all the same, and as large as it has become.
storage.revert_volume_to_snapshot(volume, new)
assert settled(volume).size == 3
settled(new)
uri = attach(volume)
assert size(uri) == 3 * GIB
io(uri, "read -P 0xa1 0 64k", "read -P 0 500M 64k", "read -P 0 1536M 64k", "read -P 0 2560M 64k")
detach(volume)
storage.delete(f"/volumes/{volume.id}?cascade=True", microversion="3.71")
empty(storage.volumes)
assert not list(storage.snapshots())
print("ok")
