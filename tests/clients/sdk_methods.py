"""Every method of openstacksdk's block storage proxy and of its cloud layer for volumes, each at least once; ends with `ok`."""

import inspect
import time

import openstack
from openstack import exceptions
from openstack.block_storage.v3 import _proxy
from openstack.cloud import _block_storage

# How long a volume may take to become what a call made of it, on a machine that is busy with other tests.
PATIENCE_S = 300
NOWHERE = "00000000-0000-4000-8000-000000000000"
SERVER = "11111111-1111-4111-8111-111111111111"

# The methods that came back with an answer.
done = set()


class Watched:
    """A proxy that remembers which of its methods came back; what they call inside is not counted."""

    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        found = getattr(self.inner, name)
        if not callable(found):
            return found

        def call(*args, **arguments):
            answer = found(*args, **arguments)
            if inspect.isgenerator(answer):
                answer = list(answer)
            done.add(name)
            return answer

        return call


def methods(of):
    return {name for name, value in vars(of).items() if not name.startswith("_") and callable(value)}


def refused(call, *args, words=None, **arguments):
    try:
        answer = call(*args, **arguments)
    except exceptions.SDKException as refusal:
        assert not words or words in str(refusal), refusal
        return refusal
    raise AssertionError(f"not refused: {answer}")


cloud = openstack.connect(block_storage_default_microversion="3.71")
storage = Watched(cloud.block_storage)
project = cloud.current_project_id


def becomes(volume, status):
    # What it was called with says what was, and would not be asked again.
    volume = storage.get_volume(volume.id)
    storage.wait_for_status(volume, status, failures=["error"], interval=0.1, wait=PATIENCE_S)
    return storage.get_volume(volume.id)


def gone(resource):
    storage.wait_for_delete(resource, interval=0.1, wait=PATIENCE_S)


def until(what, look):
    deadline = time.monotonic() + PATIENCE_S
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what}: not in {PATIENCE_S} s"
        time.sleep(0.1)
    return found


# Volumes.
one = storage.create_volume(name="one", size=1, metadata={"a": "b"}, description="d", availability_zone="nova")
one = becomes(one, "available")
assert storage.find_volume("one").id == one.id and storage.find_volume("two") is None
refused(storage.find_volume, "two", ignore_missing=False)
storage.update_volume(one, name="uno")
storage.set_volume_metadata(one, c="d")
assert storage.fetch_volume_metadata(one).metadata == {"a": "b", "c": "d"}
storage.delete_volume_metadata(one, ["a"])
assert storage.get_volume_metadata(one).metadata == {"c": "d"}
for query in [{}, {"details": False}, {"all_projects": True}, {"name": "uno"}, {"status": "available"}, {"limit": 1}, {"sort_key": "name"}]:
    assert [volume.id for volume in storage.volumes(**query)] == [one.id], query
assert storage.summary(True).total_count == 1
storage.extend_volume(one, 2)
one = becomes(one, "available")
assert one.size == 2
refused(storage.complete_volume_extend, one)
storage.set_volume_readonly(one, True)
storage.set_volume_readonly(one, False)
storage.set_volume_bootable_status(one, True)
storage.set_volume_image_metadata(one, os="linux")
storage.delete_volume_image_metadata(one, ["os"])
storage.reset_volume_status(one, status="error")
storage.reset_volume_status(one, status="available", attach_status="detached", migration_status="none")

# Snapshots.
early = storage.create_snapshot(volume_id=one.id, name="early", metadata={"a": "b"})
storage.wait_for_status(early, "available", interval=0.1, wait=PATIENCE_S)
assert storage.find_snapshot("early").id == early.id
storage.update_snapshot(early, name="dawn", description="d")
storage.set_snapshot_metadata(early, c="d")
assert storage.fetch_snapshot_metadata(early).metadata == {"a": "b", "c": "d"}
storage.delete_snapshot_metadata(early, ["a"])
assert storage.get_snapshot_metadata(early).metadata == {"c": "d"}
storage.reset_snapshot_status(early, "error")
storage.reset_snapshot(early, "creating")
storage.set_snapshot_status(early, "available", progress="100%")
assert storage.get_snapshot(early.id).status == "available"
for query in [{}, {"details": False}, {"all_projects": True}, {"name": "dawn"}, {"volume_id": one.id}, {"limit": 1}]:
    assert [snapshot.id for snapshot in storage.snapshots(**query)] == [early.id], query
storage.revert_volume_to_snapshot(one, early)
one = becomes(one, "available")
refused(storage.delete_volume, one, ignore_missing=False)

# Attachments, as services make them and as they did.
connector = {"host": "h", "ip": "192.0.2.1", "initiator": "i", "platform": "p", "os_type": "o", "multipath": False}
made = storage.create_attachment(one, connector=None, instance=SERVER, mode="rw")
storage.update_attachment(made, connector=connector)
storage.complete_attachment(made)
assert storage.get_attachment(made.id).status == "attached"
assert [attachment.id for attachment in storage.attachments(volume_id=one.id)] == [made.id]
storage.delete_attachment(made)
one = becomes(one, "available")
storage.reserve_volume(one)
storage.unreserve_volume(one)
storage.reserve_volume(one)
assert storage.init_volume_attachment(one, connector)
storage.attach_volume(one, "/dev/vdb", instance=SERVER)
one = becomes(one, "in-use")
storage.begin_volume_detaching(one)
storage.abort_volume_detaching(one)
storage.begin_volume_detaching(one)
storage.terminate_volume_attachment(one, connector)
storage.detach_volume(one, one.attachments[0]["attachment_id"])
one = becomes(one, "available")

# Types.
gold = storage.create_type(name="gold", description="d", is_public=False)
storage.update_type(gold, name="oro", description="e")
assert storage.update_type_extra_specs(gold, a="b", c="d").extra_specs["a"] == "b"
storage.delete_type_extra_specs(gold, ["a", "c"])
assert storage.find_type("oro").id == gold.id == storage.get_type(gold.id).id
assert {kind.name for kind in storage.types()} >= {"default"}
storage.add_type_access(gold, project)
assert [access["project_id"] for access in storage.get_type_access(gold)] == [project]
storage.remove_type_access(gold, project)
storage.add_type_access(gold, project)
storage.create_type_encryption(gold, provider="luks", cipher="c", key_size=256, control_location="front-end")
assert storage.get_type_encryption(gold.id).provider == "luks"
storage.update_type_encryption(volume_type=gold, provider="luks2")
storage.delete_type_encryption(volume_type=gold)
storage.set_default_type(project, gold.id)
assert storage.show_default_type(project).volume_type_id == gold.id
assert len(storage.default_types()) == 1
storage.unset_default_type(project)
storage.retype_volume(one, gold.id)
assert storage.get_volume(one.id).volume_type == "oro"

slow = storage.create_qos_spec(name="slow", consumer="both", a="b")
storage.update_qos_spec(slow.id, c="d")
storage.delete_qos_spec_metadata(slow, ["a"])
assert storage.find_qos_spec("slow").id == storage.get_qos_spec(slow.id).id
assert len(storage.qos_specs()) == 1
storage.associate_qos_spec(slow, gold.id)
assert [one_of.name for one_of in storage.qos_spec_associations(slow)] == ["oro"]
storage.disassociate_qos_spec(slow, gold.id)
storage.associate_qos_spec(slow, gold.id)
storage.disassociate_all_qos_spec(slow)
storage.delete_qos_spec(slow)

# Adoption.
other = becomes(storage.create_volume(name="other", size=1), "available")
host = other.host
storage.unmanage_volume(other)
gone(other)
assert len(storage.manageable_volumes(details=True, host=host)) == 2
back = storage.manage_volume(host=host, ref={"source-name": f"vol-{other.id}"}, name="back")
becomes(back, "available")
storage.unmanage_snapshot(early)
gone(early)
assert len(storage.manageable_snapshots(details=True, host=host)) == 1
dusk = storage.manage_snapshot(volume_id=one.id, ref={"source-name": f"snap-{early.id}"}, name="dusk")
storage.wait_for_status(dusk, "available", interval=0.1, wait=PATIENCE_S)

# Groups.
couples = storage.create_group_type(name="pairs", description="d", is_public=False)
storage.update_group_type(couples, name="couples", is_public=True)
storage.create_group_type_group_specs(couples, {"a": "b", "consistent_group_snapshot_enabled": "<is> True"})
assert storage.update_group_type_group_specs_property(couples, "a", "c") == "c"
assert storage.get_group_type_group_specs_property(couples, "a") == "c"
storage.delete_group_type_group_specs_property(couples, "a")
assert list(storage.fetch_group_type_group_specs(couples).group_specs) == ["consistent_group_snapshot_enabled"]
assert storage.find_group_type("couples").id == storage.get_group_type(couples.id).id == storage.group_types()[0].id
pair = storage.create_group(name="duo", description="d", group_type=couples.id, volume_types=[gold.id], availability_zone="nova")
# By their ids: what a group object was updated with before is sent again.
storage.update_group(pair.id, name="pair", description="e", add_volumes=one.id)
assert storage.get_group(pair.id, list_volume=True).volumes == [one.id]
assert storage.find_group("pair").id == storage.groups()[0].id == pair.id
both = storage.create_group_snapshot(group_id=pair.id, name="both")
storage.wait_for_status(both, "available", interval=0.1, wait=PATIENCE_S)
assert storage.find_group_snapshot("both").id == storage.get_group_snapshot(both.id).id == storage.group_snapshots()[0].id
storage.reset_group_snapshot_status(both, "error")
storage.reset_group_snapshot_state(both, "available")
copy = storage.create_group_from_source(group_snapshot_id=both.id, source_group_id=None, name="copy")
storage.wait_for_status(storage.get_group(copy.id), "available", interval=0.1, wait=PATIENCE_S)
storage.delete_group_snapshot(both)
gone(both)
storage.reset_group_status(copy, "error")
storage.reset_group_state(copy, "available")
storage.delete_group(copy, delete_volumes=True)
gone(copy)
refused(storage.delete_group, pair, words="delete-volumes")
storage.update_group(pair.id, remove_volumes=one.id)

# Groups as older clients know them.
trio = storage.create_consistency_group(name="trio", volume_types=gold.id, availability_zone="nova")
storage.update_consistency_group(trio.id, name="three", add_volumes=one.id)
assert storage.find_consistency_group("three").id == storage.get_consistency_group(trio.id).id == trio.id
assert {group.id for group in storage.consistency_groups()} == {trio.id, pair.id}
threefold = storage.create_consistency_group_snapshot(consistencygroup_id=trio.id, name="threefold")
storage.wait_for_status(threefold, "available", interval=0.1, wait=PATIENCE_S)
assert storage.find_consistency_group_snapshot("threefold").id == storage.get_consistency_group_snapshot(threefold.id).id
assert [snapshot.id for snapshot in storage.consistency_group_snapshots()] == [threefold.id]
four = storage.create_consistency_group_from_source(consistency_group_snapshot=threefold, name="four")
storage.wait_for_status(storage.get_consistency_group(four.id), "available", interval=0.1, wait=PATIENCE_S)
storage.delete_consistency_group_snapshot(threefold)
gone(threefold)
copied = next(volume for volume in storage.volumes() if volume.group_id == four.id)
storage.update_consistency_group(four.id, remove_volumes=copied.id)
storage.update_consistency_group(trio.id, remove_volumes=one.id)
for group in [four, trio]:
    storage.delete_consistency_group(group)
    gone(group)
storage.delete_volume(copied)
gone(copied)

# Transfers.
offer = storage.create_transfer(volume_id=back.id, name="offer")
assert storage.find_transfer("offer").id == storage.get_transfer(offer.id).id == storage.transfers()[0].id
storage.accept_transfer(offer.id, offer.auth_key)
offer = storage.create_transfer(volume_id=back.id)
storage.delete_transfer(offer)

# Quotas.
assert storage.update_quota_set(project, volumes=9).volumes == 9
assert storage.get_quota_set(project, usage=True).usage["volumes"] == 2
storage.get_quota_set_defaults(project)
storage.revert_quota_set(project)
assert storage.update_quota_class_set("default", volumes=10001).volumes == 10001
assert storage.get_quota_class_set().volumes == 10001
assert storage.get_limits().absolute.max_total_volumes == 10001

# Services and what there is to read.
zone = "xensm@nova"
service = storage.find_service("cinder-volume", host=zone, ignore_missing=False)
assert len(storage.services()) == 2
storage.disable_service(service, reason="rest")
storage.enable_service(service)
storage.freeze_service(service)
storage.thaw_service(service)
storage.set_service_log_levels(level="DEBUG", prefix="volume_service::scheduler")
levels = storage.get_service_log_levels(binary="cinder-volume", server=zone, prefix="volume_service::scheduler")
assert [one_of.levels for one_of in levels] == [{"volume_service::scheduler": "DEBUG"}], levels
storage.cleanup_service_workers(host=zone, cluster_name=None, binary="cinder-volume")
assert storage.backend_pools()[0].name == host
assert storage.get_capabilities(zone).vendor_name
assert [zone.name for zone in storage.availability_zones()] == ["nova"]
storage.extensions()
storage.resource_filters()
storage.clusters()
storage.backups()
storage.update_quota_set(project, gigabytes=9)
refused(storage.create_volume, size=9, words="gigabytes")
storage.revert_quota_set(project)
message = until("a message says so", lambda: storage.messages())[0]
assert message.message_level == "ERROR"
storage.get_message(message.id)
storage.delete_message(message)

# The cloud layer: names or ids, and waiting. It sends what the newest microversions refuse.
layer = Watched(openstack.connect())
made = layer.create_volume(1, wait=True, timeout=PATIENCE_S, name="layer")
assert layer.get_volume("layer").id == layer.get_volume_by_id(made.id).id == layer.get_volume_id("layer")
assert layer.volume_exists("layer") and len(layer.list_volumes()) == 3
assert len(layer.search_volumes(filters={"name": "layer"})) == len(layer.get_volumes({"id": NOWHERE})) + 1
layer.update_volume("layer", description="d")
layer.set_volume_bootable("layer", False)
assert layer.get_volume_limits().absolute
assert layer.get_volume_type("oro") and len(layer.list_volume_types()) == len(layer.search_volume_types()) == 2
layer.create_volume_snapshot(made.id, wait=True, timeout=PATIENCE_S, name="layered")
found = layer.get_volume_snapshot("layered")
assert layer.get_volume_snapshot_by_id(found.id).id == layer.search_volume_snapshots("layered")[0].id
assert len(layer.list_volume_snapshots()) == 2
layer.delete_volume_snapshot("layered", wait=True, timeout=PATIENCE_S)
assert layer.get_volume_attach_device(made, SERVER) is None
layer.remove_volume_type_access("oro", project)
layer.add_volume_type_access("oro", project)
assert layer.get_volume_type_access("oro")
layer.set_volume_quotas("admin", volumes=9)
assert layer.get_volume_quotas("admin").volumes == 9
layer.delete_volume_quotas("admin")
assert layer.list_volume_backups() == layer.search_volume_backups() == [] and layer.get_volume_backup("x") is None
layer.delete_volume("layer", wait=True, timeout=PATIENCE_S)

# What must wait, and how it is refused until then.
BACKUP = "no backup service is built yet"
IMAGE = "there is no image service to copy from or to"
CLUSTER = "workers are symmetric: there are no clusters of services"
MOVE = "volumes are not moved between backends yet"
REPLICATION = "there is no replication yet"
LATER = {
    "create_backup": (dict(volume_id=one.id), BACKUP),
    "get_backup": ([NOWHERE], BACKUP),
    "find_backup": (dict(name_or_id="x", ignore_missing=False), BACKUP),
    "delete_backup": (dict(backup=NOWHERE, ignore_missing=False), BACKUP),
    "update_backup": (dict(backup=NOWHERE, name="x"), BACKUP),
    "fetch_backup_metadata": ([NOWHERE], BACKUP),
    "get_backup_metadata": ([NOWHERE], BACKUP),
    "set_backup_metadata": (dict(backup=NOWHERE, a="b"), BACKUP),
    "delete_backup_metadata": (dict(backup=NOWHERE, keys=["a"]), BACKUP),
    "import_backup": (["s", "u"], BACKUP),
    "export_backup": ([NOWHERE], BACKUP),
    "export_record": ([NOWHERE], BACKUP),
    "restore_backup": ([NOWHERE, one.id], BACKUP),
    "reset_backup_status": ([NOWHERE, "error"], BACKUP),
    "reset_backup": ([NOWHERE, "error"], BACKUP),
    "create_image": (dict(name="i", volume=one.id, allow_duplicates=False, container_format=None, disk_format=None, wait=False, timeout=1), IMAGE),
    "upload_volume_to_image": ([one.id, "i"], IMAGE),
    "migrate_volume": (dict(volume=one.id, host="xensm@nova#x"), MOVE),
    "complete_volume_migration": ([one.id, NOWHERE], MOVE),
    "complete_volume_extend": ([one.id], "no service is told of a volume that grew, and waited for"),
    "failover_service": ([service], REPLICATION),
    "enable_group_replication": ([pair], REPLICATION),
    "disable_group_replication": ([pair], REPLICATION),
    "failover_group_replication": ([pair], REPLICATION),
    "get_cluster": (["c"], CLUSTER),
    "find_cluster": (dict(name_or_id="c", ignore_missing=False), CLUSTER),
    "enable_cluster": (["c"], CLUSTER),
    "disable_cluster": (["c"], CLUSTER),
}
for name, (arguments, _) in LATER.items():
    if isinstance(arguments, dict):
        refused(getattr(storage, name), **arguments)
    else:
        refused(getattr(storage, name), *arguments)
LAYER_LATER = {
    "create_volume_backup": BACKUP,
    "export_volume_backup": BACKUP,
    "delete_volume_backup": BACKUP,
    "attach_volume": "instances are a compute service's",
    "detach_volume": "instances are a compute service's",
}

storage.delete_snapshot(dusk)
gone(dusk)
for volume in storage.volumes():
    storage.delete_volume(volume, cascade=True)
    gone(volume)
storage.delete_group(pair)
gone(pair)
storage.delete_group_type(couples)
storage.delete_type(gold)

existing = methods(_proxy.Proxy)
missing = sorted(existing - done - set(LATER))
assert not missing, f"methods that nothing calls: {missing}"
built = sorted(set(LATER) & done)
assert not built, f"methods that work now: {built}"
existing = methods(_block_storage.BlockStorageCloudMixin)
missing = sorted(existing - done - set(LAYER_LATER))
assert not missing, f"functions of the cloud layer that nothing calls: {missing}"
print("ok")
