"""The life of snapshots with openstacksdk; prints `ok` at the end."""
import sys
import time

import openstack
from openstack import exceptions

cloud = openstack.connect(cloud="xensm")
storage = cloud.block_storage
NOWHERE = "00000000-0000-4000-8000-000000000000"


def settled(thing):
    thing = thing.fetch(storage)
    return storage.wait_for_status(thing, "available", failures=["error"], interval=0.1, wait=180)


def refused(status, call, *arguments, **named):
    try:
        call(*arguments, **named)
    except exceptions.HttpException as refusal:
        assert refusal.status_code == status, f"{refusal.status_code} instead of {status}: {refusal}"
        return str(refusal)
    sys.exit(f"{status} was expected of {arguments} {named}")


def gone(find, thing):
    deadline = time.time() + 180
    while find(thing.id) is not None:
        assert time.time() < deadline, f"{thing.id} is left"
        time.sleep(0.1)


base = settled(storage.create_volume(name="base", size=1, volume_type="default"))
refused(404, storage.create_snapshot, volume_id=NOWHERE, name="none")
made = storage.create_snapshot(volume_id=base.id, name="first", description="before", metadata={"k": "v"})
assert made.status == "creating" and made.size == 1 and made.volume_id == base.id, made
first = settled(made)
shown = storage.get_snapshot(first.id)
assert shown.name == "first" and shown.description == "before" and shown.metadata == {"k": "v"}, shown
assert shown.progress == "100%" and shown.project_id == cloud.current_project_id, shown
assert shown.user_id == cloud.current_user_id, shown

storage.update_snapshot(first, name="renamed")
storage.set_snapshot_metadata(first, colour="red")
storage.delete_snapshot_metadata(storage.get_snapshot(first.id), ["k"])
assert storage.get_snapshot_metadata(first).metadata == {"colour": "red"}
assert storage.find_snapshot("renamed").id == first.id

# Lists: filters, sorting, pages of two in order.
others = []
for number in range(4):
    others.append(settled(storage.create_snapshot(volume_id=base.id, name=f"page-{number}")))
everything = [first.id] + [snapshot.id for snapshot in others]
for details in (True, False):
    seen = [snapshot.id for snapshot in storage.snapshots(details=details, limit=2, sort_key="created_at", sort_dir="asc")]
    assert seen == everything, seen
assert [snapshot.id for snapshot in storage.snapshots(name="renamed")] == [first.id]
assert [snapshot.id for snapshot in storage.snapshots(volume_id=NOWHERE)] == []
assert len(list(storage.snapshots(volume_id=base.id, status="available"))) == 5
assert len(list(storage.snapshots(all_projects=True))) == 5

# Volumes made from it and from its volume.
refused(400, storage.create_volume, snapshot_id=NOWHERE, source_volume_id=base.id)
refused(404, storage.create_volume, snapshot_id=NOWHERE)
refused(404, storage.create_volume, source_volume_id=NOWHERE)
clone = settled(storage.create_volume(name="clone", snapshot_id=first.id))
assert clone.size == 1 and clone.snapshot_id == first.id and clone.source_volume_id is None, clone
larger = settled(storage.create_volume(name="larger", snapshot_id=first.id, size=2))
assert storage.get_volume(larger.id).size == 2
copy = settled(storage.create_volume(name="copy", source_volume_id=base.id))
assert copy.source_volume_id == base.id and copy.snapshot_id is None, copy
assert "cannot be smaller" in refused(400, storage.create_volume, snapshot_id=None, source_volume_id=larger.id, size=1)

# Quotas: five snapshots of one GiB, and volumes of five.
limits = storage.get_limits().absolute
assert limits.total_snapshots_used == 5 and limits.total_gigabytes_used == 10, limits
usage = storage.get_quota_set(cloud.current_project_id, usage=True)
assert usage.usage["snapshots"] == 5 and usage.usage["gigabytes"] == 10, usage

# Only the latest snapshot is reverted to, and only at its size.
refused(400, storage.revert_volume_to_snapshot, base, first)
storage.revert_volume_to_snapshot(base, others[-1])
settled(base)
settled(others[-1])
storage.extend_volume(base, 2)
settled(base)
assert storage.get_volume(base.id).size == 2
assert "greater than current size" in refused(400, storage.extend_volume, base, 2)
# Unlike in Cinder, a volume that has grown since is reverted too, and keeps its size.
storage.revert_volume_to_snapshot(base, others[-1])
assert settled(base).size == 2

# States are set by hand, and back.
for state in ("error", "available"):
    storage.reset_snapshot_status(first, state)
    assert storage.get_snapshot(first.id).status == state
    storage.reset_volume_status(base, state, None, None)
    assert storage.get_volume(base.id).status == state

# A volume with snapshots stays; a snapshot that others were made from does not.
refused(400, storage.delete_volume, base, ignore_missing=False)
storage.delete_snapshot(first)
gone(lambda id: storage.find_snapshot(id), first)
refused(404, storage.get_snapshot, first.id)
assert storage.get_volume(clone.id).snapshot_id == first.id
# With its snapshots it goes.
storage.delete(f"/volumes/{base.id}?cascade=True", microversion="3.71")
gone(lambda id: storage.find_volume(id), base)
assert list(storage.snapshots()) == []
for volume in (clone, larger, copy):
    storage.delete_volume(volume)
    gone(lambda id: storage.find_volume(id), volume)
limits = storage.get_limits().absolute
assert limits.total_snapshots_used == 0 and limits.total_gigabytes_used == 0, limits
print("ok")
