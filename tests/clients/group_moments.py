"""What the test of group snapshots has the stock client do: `prepare` makes the group `pair` of the volumes `a` and `b`; `take NAME`
takes a group snapshot of it, makes a group of that, and prints the new volumes by what they are copies of."""

import json
import sys

import openstack as sdk
from commands import log_in, openstack, until

# How often a group snapshot is asked for.
TAKES_MAX = 5

log_in(OS_VOLUME_API_VERSION="3.71")
storage = sdk.connect(block_storage_default_microversion="3.71").block_storage


def becomes_available(kind, name):
    def look():
        found = getattr(storage, f"find_{kind}")(name, ignore_missing=False)
        assert not found.status.startswith("error"), (found, list(storage.messages()))
        return found if found.status == "available" else None

    return until(f"{kind} {name} is available", look)


def prepare():
    openstack("volume group type create pairs")
    openstack("volume group type set --property consistent_group_snapshot_enabled='<is> True' pairs")
    openstack("volume group create --volume-group-type pairs --volume-type default --name pair")
    for name in ["a", "b"]:
        openstack(f"volume create --size 1 {name}")
        becomes_available("volume", name)
    openstack("volume group add volume pair a b")
    print("ok")


def take_at_one_moment(name):
    """Writers are held for 5 s at most. A machine that is busy with other tests may not bring all members together in that time,
    also not in the tries of one operation: then it is asked for again."""
    for _ in range(TAKES_MAX):
        openstack(f"volume group snapshot create --name {name} pair")

        def look():
            found = storage.find_group_snapshot(name, ignore_missing=False)
            return found if found.status in ("available", "error") else None

        if until(f"group_snapshot {name} is taken or not", look).status == "available":
            return
        openstack(f"volume group snapshot delete {name}")
        until(f"group_snapshot {name} is gone", lambda: storage.find_group_snapshot(name) is None or None)
    raise AssertionError((name, list(storage.messages())))


def take(name):
    take_at_one_moment(name)
    openstack(f"volume group create --group-snapshot {name} --name {name}")
    group = becomes_available("group", name)
    copies = [volume for volume in storage.volumes() if volume.group_id == group.id]
    of = {volume.id: storage.get_snapshot(volume.snapshot_id).volume_id for volume in copies}
    print(json.dumps({storage.get_volume(source).name: copy for copy, source in of.items()}))


{"prepare": prepare, "take": take}[sys.argv[1]](*sys.argv[2:])
