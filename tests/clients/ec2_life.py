"""The life of a volume as EC2 clients live it, by each of three clients, with a look through OpenStack's API after every step; prints
`ok` at the end.

The volume is made, tagged, attached to the control domain and written through the attachment; a snapshot is taken, copied and made a
volume of, which holds the bytes of that moment; it is grown while it is attached; everything is detached and deleted.

XENSM_VOLUME_TYPE names the volume type."""

import os
import subprocess

from ec2_clients import CLIENTS, refused, until
from openstack_view import OpenStack

VOLUME_TYPE = os.environ.get("XENSM_VOLUME_TYPE", "default")
openstack = OpenStack()


def io(uri, *commands):
    arguments = [argument for command in commands for argument in ("-c", command)]
    done = subprocess.run(["qemu-io", "-f", "raw", uri, *arguments], capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0 and "failed" not in said and "different" not in said, f"{commands} of {uri}: {said}"


def export(client, volume):
    """Where the bytes of an attached volume are: clients that are old enough do not know that they are told."""
    info = openstack.attachments(volume)[0]["connection_info"]
    uri = info.get("data", info)["uri"]
    assert client.export(volume) in (None, uri), client.export(volume)
    return uri


def openstack_says(volume, **wanted):
    """OpenStack's view is the same one, at once."""
    shown = openstack.volume(volume)
    found = {name: shown[name] for name in wanted}
    assert found == wanted, f"{volume}: {found}"


def attach(client, volume, instance, device):
    client.attach(volume, instance, device)
    client.wait_in_use(volume)
    wanted = [{"instance": instance, "device": device, "state": "attached"}]
    until(f"{volume} is attached", lambda: client.volume(volume)["attachments"] == wanted)
    openstack_says(volume, status="in-use")
    refused("VolumeInUse", client.delete_volume, volume)
    refused("VolumeInUse", client.attach, volume, instance, "/dev/sdz")
    return export(client, volume)


def detach(client, volume):
    client.detach(volume)
    client.wait_available(volume)
    assert client.volume(volume)["attachments"] == []
    openstack_says(volume, status="available", attachments=[])
    refused("IncorrectState", client.detach, volume)


def make(client):
    assert client.zones() == ["nova"]
    refused("DryRunOperation", client.dry_run_of_zones)
    name = f"<life> & {client.name}"
    volume = client.create_volume("nova", size=1, volume_type=VOLUME_TYPE, tags={"Name": name})
    client.wait_available(volume)
    shown = client.volume(volume)
    assert (shown["size"], shown["type"], shown["tags"]) == (1, VOLUME_TYPE, {"Name": name}), shown
    assert client.volumes_with_tag("Name", "<life>*" + client.name[-3:]) == [volume]
    openstack_says(volume, status="available", size=1, volume_type=VOLUME_TYPE, metadata={"Name": name})
    return volume


def tag(client, volume):
    name = client.tags(volume)["Name"]
    client.add_tags(volume, {"stage": "written", "gone": ""})
    client.remove_tag(volume, "gone")
    assert client.tags(volume) == {"Name": name, "stage": "written"}
    openstack_says(volume, metadata={"Name": name, "stage": "written"})


def take(client, volume):
    taken = client.create_snapshot(volume, "of the first bytes")
    client.wait_completed(taken)
    shown = client.snapshot(taken)
    assert (shown["size"], shown["volume"], shown["description"]) == (1, volume, "of the first bytes"), shown
    assert openstack.snapshot(taken)["status"] == "available"
    return taken


def grow(client, volume, size):
    client.modify(volume, size)
    until(f"{volume} is modified", lambda: client.modification(volume) == ("completed", size))
    assert client.volume(volume)["size"] == size
    openstack_says(volume, size=size)


def live(client):
    volume = make(client)
    tag(client, volume)
    # The service looks at the pool now and then.
    running = until("an instance runs", lambda: [name for name, state in client.instances().items() if state == "running"])
    instance = running[0]
    uri = attach(client, volume, instance, "/dev/sdf")
    io(uri, "write -P 0xa1 0 1M", "write -P 0xa1 1023M 1M", "flush")
    taken = take(client, volume)
    io(uri, "write -P 0xb2 0 1M", "flush", "read -P 0xb2 0 1M")
    copied = client.copy_snapshot(taken, "a copy")
    client.wait_completed(copied)
    client.delete_snapshot(taken)

    restored = client.create_volume("nova", size=2, volume_type=VOLUME_TYPE, snapshot=copied)
    client.wait_available(restored)
    openstack_says(restored, size=2, status="available", snapshot_id=openstack.snapshot(copied)["id"])
    of_restored = attach(client, restored, instance, "/dev/sdg")
    io(of_restored, "read -P 0xa1 0 1M", "read -P 0xa1 1023M 1M", "read -P 0 1M 1022M", "read -P 0 1G 1G")
    grow(client, restored, 3)
    openstack_says(restored, status="in-use")
    detach(client, restored)
    of_restored = attach(client, restored, instance, "/dev/sdg")
    io(of_restored, "read -P 0xa1 1023M 1M", "write -P 0xc3 3071M 1M", "read -P 0xc3 3071M 1M")
    io(uri, "read -P 0xb2 0 1M", "read -P 0xa1 1023M 1M")

    for one in [volume, restored]:
        detach(client, one)
        client.delete_volume(one)
        client.wait_deleted(one)
        assert openstack.volume(one) is None
    client.delete_snapshot(copied)
    refused("InvalidSnapshot.NotFound", client.delete_snapshot, taken)


for kind in CLIENTS:
    live(kind())
print("ok")
