"""Every command of `cinder`: what it does, what it refuses, and which of them must wait; ends with `ok`."""

import os

import openstack as sdk
from commands import check_inventory, cinder, cinder_commands, until

os.environ["OS_VOLUME_API_VERSION"] = "3.71"
cloud = sdk.connect()
storage = cloud.block_storage
project = cloud.current_project_id
NOWHERE = "00000000-0000-4000-8000-000000000000"


def becomes(kind, name, status):
    def look():
        found = getattr(storage, f"find_{kind}")(name, ignore_missing=False)
        assert found.status == status or not found.status.startswith("error"), found
        return found if found.status == status else None

    return until(f"{kind} {name} is {status}", look)


def gone(kind, name):
    until(f"{kind} {name} is gone", lambda: not getattr(storage, f"find_{kind}")(name))


# Volumes.
cinder("create --name one --description d --availability-zone nova --metadata a=b --hint different_host=x 1")
one = becomes("volume", "one", "available")
cinder("create --name polled --poll 1")
for line in [
    "",
    " --name one",
    " --status available",
    " --bootable false",
    " --metadata a=b",
    " --all-tenants 1",
    f" --tenant {project}",
    " --limit 1",
    f" --marker {one.id}",
    " --fields id,name",
    " --sort name:asc,size:desc",
    " --filters name~=one",
    " --with-count",
    " --migration_status none",
]:
    cinder("list" + line)
assert "one" not in cinder("list --status error")
assert "one" not in cinder("list --filters colour=red")
assert "one" in cinder("show one")
cinder("show no-such", refused="no-such")
cinder("rename --description e one uno")
cinder("metadata uno set c=d")
cinder("metadata uno unset a")
assert "c" in cinder("metadata-show uno")
cinder("metadata-update-all uno e=f")
assert storage.get_volume(one.id).metadata == {"e": "f"}
cinder("image-metadata uno set os=linux")
assert "linux" in cinder("image-metadata-show uno")
cinder("image-metadata uno unset os")
cinder("set-bootable uno true")
cinder("readonly-mode-update uno true")
cinder("readonly-mode-update uno false")
cinder("extend uno 2")
becomes("volume", "uno", "available")
cinder("extend uno 1", refused="greater")
cinder("reset-state --state error --attach-status detached uno")
cinder("reset-state --type volume --state available --reset-migration-status uno")
cinder("type-create --description d --is-public true gold")
cinder("retype --migration-policy never uno gold")
cinder("retype uno no-such", refused="no-such")
cinder("create --source-volid " + one.id + " --name clone 2")
becomes("volume", "clone", "available")
cinder("create --volume-type no-such 1", refused="no-such")
cinder("create", refused="size")
cinder("summary")
cinder("summary --all-tenants")

# Snapshots.
cinder("snapshot-create --name early --description d --metadata a=b uno")
early = becomes("snapshot", "early", "available")
cinder("snapshot-rename --description e early dawn")
cinder("snapshot-metadata dawn set c=d")
cinder("snapshot-metadata dawn unset a")
cinder("snapshot-metadata-show dawn")
cinder("snapshot-metadata-update-all dawn e=f")
assert storage.get_snapshot(early.id).metadata == {"e": "f"}
cinder("snapshot-reset-state --state error dawn")
cinder("snapshot-reset-state --state available dawn")
cinder("reset-state --type snapshot --state available dawn")
for line in [
    "",
    " --name dawn",
    " --status available",
    f" --volume-id {one.id}",
    " --all-tenants 1",
    f" --tenant {project}",
    " --metadata e=f",
    " --limit 1",
    " --sort name:asc",
    " --with-count",
]:
    assert "dawn" in cinder("snapshot-list" + line), line
assert "dawn" in cinder("snapshot-show dawn")
cinder("snapshot-create no-such", refused="no-such")
cinder("delete uno", refused="uno")
cinder("create --snapshot-id " + early.id + " --name grown 3")
becomes("volume", "grown", "available")
cinder("revert-to-snapshot dawn")
becomes("volume", "uno", "available")

# Attachments.
server = "11111111-1111-4111-8111-111111111111"
cinder(f"attachment-create --mode rw uno {server}")
attachment = next(storage.attachments()).id
cinder(
    "attachment-update --initiator i --ip 192.0.2.1 --host h --platform p --ostype o --multipath False"
    f" --mountpoint /dev/vdb {attachment}"
)
cinder(f"attachment-complete {attachment}")
assert "attached" in cinder(f"attachment-show {attachment}")
for line in ["", " --all-tenants 1", f" --volume-id {one.id}", " --status attached", " --limit 1", " --sort created_at:desc", f" --tenant {project}"]:
    assert attachment in cinder("attachment-list" + line), line
cinder(f"attachment-delete {attachment}")
becomes("volume", "uno", "available")
cinder(f"attachment-show {attachment}", refused=attachment)
cinder(f"attachment-create --connect True --initiator i --ip 192.0.2.1 --host h uno {server}")
cinder(f"attachment-delete {next(storage.attachments()).id}")
becomes("volume", "uno", "available")

# Types.
cinder("type-create --is-public false silver")
silver = next(kind for kind in storage.types(is_public=False) if kind.name == "silver").id
cinder("type-list")
cinder("type-list --filters is_public=false")
cinder("type-show silver")
cinder("type-default")
cinder("type-key silver set k=v")
cinder("extra-specs-list")
cinder("type-key silver unset k")
cinder("type-key gold set k=v", refused="in use")
cinder(f"type-access-add --volume-type silver --project-id {project}")
cinder("type-access-list --volume-type silver")
cinder(f"type-access-add --volume-type silver --project-id {project}", refused="access")
cinder(f"type-access-remove --volume-type silver --project-id {project}")
cinder(f"type-update --name bronze --description d --is-public true {silver}")
cinder("encryption-type-create --cipher c --key-size 128 --control-location back-end bronze p")
cinder("encryption-type-update --cipher d bronze")
cinder("encryption-type-show bronze")
cinder("encryption-type-list")
cinder("encryption-type-delete bronze")
cinder(f"default-type-set bronze {project}")
cinder(f"default-type-list --project-id {project}")
cinder("default-type-list")
cinder("type-delete bronze", refused="default")
cinder(f"default-type-unset {project}")
cinder("qos-create fast consumer=back-end k=v")
fast = storage.find_qos_spec("fast").id
cinder("qos-list")
cinder(f"qos-show {fast}")
cinder(f"qos-key {fast} set l=w")
cinder(f"qos-key {fast} unset l")
cinder(f"qos-associate {fast} {silver}")
cinder(f"qos-get-association {fast}")
cinder(f"qos-delete {fast}", refused="in use")
cinder(f"qos-disassociate {fast} {silver}")
cinder(f"qos-associate {fast} {silver}")
cinder(f"qos-disassociate-all {fast}")
cinder(f"qos-delete --force True {fast}")
cinder("type-delete bronze")
cinder("type-delete gold", refused="in use")

# Quotas, limits.
cinder(
    "quota-update --volumes 9 --snapshots 8 --gigabytes 60 --per-volume-gigabytes 50 --backups 1 --backup-gigabytes 2"
    f" --groups 3 {project}"
)
cinder(f"quota-update --volumes 7 --volume-type gold {project}")
assert "volumes_gold" in cinder(f"quota-show {project}")
cinder(f"quota-usage {project}")
cinder(f"quota-defaults {project}")
cinder("create 51", refused="51")
cinder(f"quota-delete {project}")
cinder("quota-class-update --volumes 10001 --gigabytes 1000000 default")
assert "10001" in cinder("quota-class-show default")
assert "10001" in cinder("absolute-limits")
cinder(f"absolute-limits {project}")
cinder("rate-limits")

# Transfers.
cinder("transfer-create --name present --no-snapshots clone")
cinder("transfer-list --all-tenants 1 --sort name:asc")
cinder("transfer-show present")
cinder(f"transfer-accept {storage.find_transfer('present').id} wrong", refused="auth")
cinder("transfer-delete present")
offer = storage.create_transfer(volume_id=storage.find_volume("clone").id, name="again")
cinder(f"transfer-accept {offer.id} {offer.auth_key}")
becomes("volume", "clone", "available")

# Adoption.
host = storage.get_volume(one.id).host
cinder(f"manageable-list --detailed True --limit 10 --offset 0 --sort size:asc {host}")
cinder(f"snapshot-manageable-list --detailed True {host}")
clone = storage.find_volume("clone").id
cinder("unmanage clone")
gone("volume", "clone")
cinder(f"manage --name back --description d --volume-type gold --availability-zone nova --metadata a=b --bootable {host} vol-{clone}")
becomes("volume", "back", "available")
cinder("snapshot-unmanage dawn")
gone("snapshot", "dawn")
cinder(f"snapshot-manage --id-type source-name --name dusk --description d --metadata a=b uno snap-{early.id}")
becomes("snapshot", "dusk", "available")

# Groups.
cinder("group-type-create --description d --is-public true pairs")
cinder("group-type-show pairs")
kind = storage.find_group_type("pairs").id
cinder(f"group-type-update --name couples --description e --is-public true {kind}")
cinder("group-type-key couples set a=b consistent_group_snapshot_enabled='<is> True'")
cinder("group-type-key couples unset a")
assert "<is> True" in cinder("group-specs-list")
cinder("group-type-list --filters is_public=true")
cinder("group-type-create couples", refused="already exists")
cinder("group-create --name duo --description d --availability-zone nova couples gold")
duo = becomes("group", "duo", "available").id
cinder(f"create --name left --volume-type gold --group-id {duo} 1")
left = becomes("volume", "left", "available").id
cinder(f"group-update --name pair --description e --remove-volumes {left} duo")
cinder(f"group-update --add-volumes {left} pair")
cinder(f"group-update --add-volumes {clone} pair", refused="Cannot add volume")
for line in ["", " --all-tenants 1", " --filters name=pair", " --filters name~=ai status=available"]:
    assert "pair" in cinder("group-list" + line), line
assert left in cinder("group-show --list-volume True pair")
assert left in cinder(f"list --filters group_id={duo}")
cinder("delete left", refused="must not belong to a group")
cinder("group-snapshot-create --name both --description d pair")
becomes("group_snapshot", "both", "available")
for line in ["", " --all-tenants 1", " --status available", f" --group-id {duo}", " --filters name=both"]:
    assert "both" in cinder("group-snapshot-list" + line), line
cinder("group-snapshot-show both")
assert "both" in cinder(f"snapshot-list --volume-id {left}")
cinder("reset-state --type group-snapshot --state error both")
cinder("reset-state --type group-snapshot --state available both")
cinder("group-create-from-src --group-snapshot both --name copy --description d")
becomes("group", "copy", "available")
cinder("group-create-from-src --source-group pair --name twin")
becomes("group", "twin", "available")
cinder("group-delete --delete-volumes pair", refused="existing snapshots")
cinder("group-snapshot-delete both")
gone("group_snapshot", "both")
cinder("reset-state --type group --state error pair")
cinder("group-delete pair", refused="delete-volumes")
cinder("group-delete --delete-volumes pair copy twin")
for name in ["pair", "copy", "twin"]:
    gone("group", name)

# Groups as older clients know them.
cinder("consisgroup-create --name trio --description d --availability-zone nova gold")
trio = becomes("consistency_group", "trio", "available").id
cinder(f"create --name third --volume-type gold --consisgroup-id {trio} 1")
third = becomes("volume", "third", "available").id
cinder(f"consisgroup-update --name three --description e --remove-volumes {third} trio")
cinder(f"consisgroup-update --add-volumes {third} three")
assert "three" in cinder("consisgroup-list --all-tenants 1")
cinder("consisgroup-show three")
cinder("cgsnapshot-create --name threefold --description d three")
becomes("consistency_group_snapshot", "threefold", "available")
for line in ["", " --all-tenants 1", " --status available", f" --consistencygroup-id {trio}"]:
    assert "threefold" in cinder("cgsnapshot-list" + line), line
cinder("cgsnapshot-show threefold")
cinder("consisgroup-create-from-src --cgsnapshot threefold --name four --description d")
becomes("consistency_group", "four", "available")
cinder("consisgroup-create-from-src --source-cg three --name five")
becomes("consistency_group", "five", "available")
cinder("cgsnapshot-delete threefold")
gone("consistency_group_snapshot", "threefold")
cinder("consisgroup-delete three", refused="delete-volumes")
cinder("consisgroup-delete --force three four five")
for name in ["three", "four", "five"]:
    gone("consistency_group", name)

# Services.
zone = "xensm@nova"
cinder(f"service-list --host {zone} --binary cinder-volume --withreplication True")
cinder(f"service-disable --reason rest {zone} cinder-volume")
assert "rest" in cinder("service-list")
cinder(f"service-enable {zone} cinder-volume")
cinder(f"service-disable {zone} cinder-cook", refused="cook")
cinder(f"freeze-host {zone}")
cinder(f"thaw-host {zone}")
cinder(f"service-get-log --binary cinder-volume --server {zone} --prefix volume_service")
cinder("service-set-log --prefix volume_service::scheduler debug")
assert "DEBUG" in cinder(f"service-get-log --server {zone} --prefix volume_service::scheduler")
cinder("work-cleanup --binary cinder-volume --resource-type Volume")
cinder("get-pools --detail")
cinder("get-pools --filters volume_type=gold")
cinder(f"get-capabilities {zone}")
cinder("cluster-list --detailed")
cinder("availability-zone-list")
cinder("list-filters --resource volume")
cinder("version-list")
cinder("api-version")

# Messages.
cinder(f"quota-update --gigabytes 11 {project}")
cinder("create --name full 9", refused="gigabytes")
cinder(f"quota-delete {project}")
message = until("a message says so", lambda: next(storage.messages(), None)).id
cinder("message-list --limit 1 --sort created_at:asc --resource_type VOLUME --level ERROR --filters message_level=ERROR")
cinder(f"message-show {message}")
cinder(f"message-delete {message}")
cinder(f"message-show {message}", refused="No message")

# What must wait, and how it is refused until then.
BACKUP = "no backup service is built yet"
IMAGE = "there is no image service to copy from or to"
REPLICATION = "there is no replication yet"
CLUSTER = "workers are symmetric: there are no clusters of services"
LATER = {
    "backup-create": ("backup-create uno", "503", BACKUP),
    "backup-delete": (f"backup-delete {NOWHERE}", "delete", BACKUP),
    "backup-export": (f"backup-export {NOWHERE}", "could not be found", BACKUP),
    "backup-import": ("backup-import s m", "503", BACKUP),
    "backup-reset-state": (f"backup-reset-state {NOWHERE}", "No volumebackup", BACKUP),
    "backup-restore": (f"backup-restore {NOWHERE}", "No volumebackup", BACKUP),
    "backup-show": (f"backup-show {NOWHERE}", "No volumebackup", BACKUP),
    "backup-update": (f"backup-update --name n {NOWHERE}", "No volumebackup", BACKUP),
    "migrate": ("migrate uno xensm@nova#x", "xensm@nova#x", "volumes are not moved between backends yet"),
    "upload-to-image": ("upload-to-image uno image", "image", IMAGE),
    "reimage": (f"reimage uno {NOWHERE}", "Image", IMAGE),
    "failover-host": (f"failover-host {zone}", "Host status", REPLICATION),
    "group-enable-replication": ("group-enable-replication lonely", "not a replication group", REPLICATION),
    "group-disable-replication": ("group-disable-replication lonely", "not a replication group", REPLICATION),
    "group-failover-replication": ("group-failover-replication lonely", "not a replication group", REPLICATION),
    "group-list-replication-targets": ("group-list-replication-targets lonely", "not a replication group", REPLICATION),
    "group-type-default": ("group-type-default", "Default group type can not be found", "no configuration names one"),
    "cluster-enable": ("cluster-enable cinder-volume c", "404", CLUSTER),
    "cluster-disable": ("cluster-disable cinder-volume c", "404", CLUSTER),
    "cluster-show": ("cluster-show cinder-volume c", "404", CLUSTER),
}
cinder("group-create --name lonely couples gold")
for line, words, _ in LATER.values():
    cinder(line, refused=words)
cinder("group-delete lonely")
gone("group", "lonely")
cinder("group-type-delete couples")
cinder("backup-list")

# The end.
cinder("snapshot-delete --force dusk")
gone("snapshot", "dusk")
cinder("force-delete grown")
cinder("delete --cascade uno back polled")
until("every volume is gone", lambda: not list(storage.volumes()))
cinder("delete uno", refused="uno")
check_inventory("cinder", cinder_commands(), LATER)
print("ok")
