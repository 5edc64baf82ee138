"""Every command of `openstack` for block storage: what it does, what it refuses, and which of them must wait; ends with `ok`."""

import openstack as sdk
from commands import check_inventory, cinder, compute_service, log_in, openstack, openstack_commands, shown, until

log_in(OS_VOLUME_API_VERSION="3.71")
cloud = sdk.connect()
storage = cloud.block_storage
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
made = shown("volume create --size 1 --description first --property a=b --property c=d --read-only --bootable one")
assert (made["status"], made["size"]) == ("creating", 1), made
one = becomes("volume", "one", "available")
found = shown("volume show one")
assert found["description"] == "first" and found["properties"]["a"] == "b", found
until("it is bootable", lambda: storage.get_volume(one.id).is_bootable)
openstack("volume set --read-write --non-bootable --no-property --property e=f --description second one")
found = shown("volume show one")
assert found["properties"] == {"e": "f", "readonly": "False"}, found
assert (found["bootable"], found["description"]) == (False, "second"), found
openstack("volume set --image-property os=linux --property g=h one")
assert storage.get_volume(one.id).volume_image_metadata == {"os": "linux"}
openstack("volume unset --image-property os --property g one")
openstack("volume unset --image-property os one", refused="cannot be found")
openstack("volume set --size 2 one")
becomes("volume", "one", "available")
assert shown("volume show one")["size"] == 2
openstack("volume set --size 1 one", refused="must be greater")
openstack("volume set --state error one")
openstack("volume set --state available one")
openstack("volume set --attached one", refused="does not have any attachments")
openstack("volume set --detached one")
openstack("volume type create --description shiny gold")
openstack("volume set --type gold --migration-policy never one")
assert shown("volume show one")["type"] == "gold"
openstack("volume set --type no-such one", refused="no-such")
openstack("volume set --name uno one")
openstack("volume show one", refused="one")
openstack("volume create --type no-such --size 1 x", refused="no-such")
openstack("volume create --availability-zone atlantis --size 1 x", refused="atlantis")
openstack("volume create --size 0 x", refused="400")
openstack("volume create x", refused="size")

openstack("volume create --source uno --availability-zone nova clone")
becomes("volume", "clone", "available")
for line, names in [
    ("", {"uno", "clone"}),
    (" --name uno", {"uno"}),
    (" --status available --long", {"uno", "clone"}),
    (" --status error", set()),
    (" --property e=f --name uno", {"uno"}),
    (" --all-projects", {"uno", "clone"}),
    (" --project admin", {"uno", "clone"}),
    (" --user admin", {"uno", "clone"}),
    (" --limit 1", {"uno", "clone"}),
    (f" --marker {storage.find_volume('clone').id}", {"uno"}),
]:
    assert {row["name"] for row in shown("volume list" + line)} == names, line
summary = shown("volume summary")
assert (summary["total count"], summary["total size"]) == (2, 4), summary
shown("volume summary --all-projects")

# Snapshots.
made = shown("volume snapshot create --volume uno --description d --property a=b early")
assert made["status"] == "creating" and made["properties"] == {"a": "b"}, made
becomes("snapshot", "early", "available")
openstack("volume snapshot set --name dawn --description e --no-property --property c=d --property e=f early")
openstack("volume snapshot unset --property c dawn")
found = shown("volume snapshot show dawn")
assert found["properties"] == {"e": "f"} and found["description"] == "e", found
openstack("volume snapshot set --state error dawn")
openstack("volume snapshot set --state available dawn")
openstack("volume snapshot set --state frozen dawn", refused="frozen")
for line in ["", " --long", " --name dawn", " --status available", " --volume uno", " --all-projects", " --project admin", " --limit 1"]:
    assert [row["name"] for row in shown("volume snapshot list" + line)] == ["dawn"], line
assert shown("volume snapshot list --status error") == []
openstack("volume snapshot create no-such", refused="no-such")
openstack("volume snapshot show early", refused="early")
openstack("volume delete uno", refused="uno")
openstack("volume create --snapshot dawn --size 3 grown")
assert becomes("volume", "grown", "available").size == 3
openstack("volume revert dawn")
becomes("volume", "uno", "available")

# Attachments.
server = "11111111-1111-4111-8111-111111111111"
with compute_service():
    made = shown(f"volume attachment create --server {server} --mode rw uno")
    connected = shown(f"volume attachment create --connect --host h --ip 192.0.2.1 --mode ro --server {server} clone")
    openstack(f"volume attachment create --server {server} --initiator i uno", refused="--connect")
assert connected["status"] == "attaching", connected
openstack(f"volume attachment delete {connected['id']}")
becomes("volume", "clone", "available")
attachment = made["id"]
openstack(f"volume attachment complete {attachment}", refused="attach")
openstack(
    f"volume attachment set --initiator iqn.2026-11.invalid:h --ip 192.0.2.1 --host h --platform x86_64"
    f" --os-type linux --no-multipath --mountpoint /dev/vdb {attachment}"
)
openstack(f"volume attachment complete {attachment}")
found = shown(f"volume attachment show {attachment}")
assert (found["status"], found["instance id"]) == ("attached", server), found
assert becomes("volume", "uno", "in-use").attachments
for line in ["", " --all-projects", " --project admin", f" --volume-id {one.id}", f" --server-id {server}", " --status attached", " --limit 1"]:
    assert [row["id"] for row in shown("volume attachment list" + line)] == [attachment], line
assert shown("volume attachment list --status reserved") == []
openstack("volume delete uno", refused="uno")
openstack("volume snapshot create --force --volume uno late")
becomes("snapshot", "late", "available")
openstack("volume set --size 4 uno")
until("it is grown", lambda: storage.get_volume(one.id).size == 4)
openstack(f"volume attachment delete {attachment}")
becomes("volume", "uno", "available")
openstack(f"volume attachment show {attachment}", refused=attachment)

# Types.
made = shown(
    "volume type create --description less --private --property thin_provisioning_support='<is> True' --project admin"
    " --availability-zone nova --encryption-provider luks --encryption-cipher aes-xts-plain64 --encryption-key-size 256"
    " --encryption-control-location front-end silver"
)
assert made["is_public"] is False and made["encryption"], made
openstack("volume type set --name bronze --description more --property a=b --encryption-provider luks2 silver")
found = shown("volume type show --encryption-type bronze")
assert found["properties"]["a"] == "b" and found["access_project_ids"], found
openstack("volume type unset --property a --project admin --encryption-type bronze")
openstack("volume type set --project admin bronze")
assert [row["name"] for row in shown("volume type list --private --long --encryption-type")] == ["bronze"]
assert {row["name"] for row in shown("volume type list --availability-zone nova")} >= {"bronze"}
assert [row["name"] for row in shown("volume type list --default")] == ["default"]
assert {row["name"] for row in shown("volume type list --public")} >= {"default", "gold"}
openstack("volume type set --property a=b gold", refused="in use")
openstack("volume type delete gold", refused="in use")
openstack("volume type create gold", refused="already exists")
openstack("volume type set --multiattach --cacheable bronze", refused="Cacheable cannot")
openstack("volume type set --public bronze")

limits = shown("volume qos create --consumer both --property total_iops_sec=500 slow")
assert limits["consumer"] == "both", limits
openstack("volume qos set --property a=b slow")
openstack("volume qos unset --property a slow")
openstack("volume qos associate slow bronze")
found = shown("volume qos show slow")
assert found["associations"] == ["bronze"] and found["properties"] == {"total_iops_sec": "500"}, found
assert [row["name"] for row in shown("volume qos list")] == ["slow"]
openstack("volume qos delete slow", refused="in use")
openstack("volume qos disassociate --volume-type bronze slow")
openstack("volume qos associate slow bronze")
openstack("volume qos disassociate --all slow")
openstack("volume qos set --no-property slow")
openstack("volume qos delete --force slow")
openstack("volume type delete bronze")

# Quotas and limits.
openstack(
    "quota set --volumes 9 --gigabytes 50 --snapshots 8 --per-volume-gigabytes 40 --backups 1 --backup-gigabytes 2"
    " --groups 3 admin"
)
openstack("quota set --volumes 8 --volume-type gold admin")
found = {row["resource"]: row for row in shown("quota show --volume --usage admin")}
assert (found["volumes"]["limit"], found["volumes"]["in use"], found["volumes_gold"]["limit"]) == (9, 3, 8), found
shown("quota show --volume --default")
openstack("quota list --volume")
openstack("volume create --size 41 x", refused="41")
openstack("quota set --volumes 1 admin", refused="volumes")
openstack("quota delete --volume admin")
openstack("quota set --class --volumes 10001 default")
limits = {row["name"]: row["value"] for row in shown("limits show --absolute")}
assert limits["max_total_volumes"] == 10001, limits
openstack("limits show --rate")
openstack("limits show --absolute --project admin")

# Transfers.
offer = shown("volume transfer request create --name present --no-snapshots clone")
assert [row["name"] for row in shown("volume transfer request list")] == ["present"]
shown("volume transfer request list --all-projects")
assert shown(f"volume transfer request show {offer['id']}")["name"] == "present"
openstack(f"volume transfer request accept --auth-key wrong {offer['id']}", refused="auth")
openstack(f"volume transfer request accept --auth-key {offer['auth_key']} {offer['id']}")
offer = shown("volume transfer request create --name again --snapshots clone")
openstack("volume transfer request create clone", refused="available")
openstack(f"volume transfer request delete {offer['id']}")
becomes("volume", "clone", "available")

# Adoption.
host = storage.get_volume(one.id).host
listed = shown(f"block storage volume manageable list --long --sort size:asc {host}")
assert one.id in str(listed), listed
shown(f"block storage snapshot manageable list --long {host}")
clone = storage.find_volume("clone")
openstack("volume delete --remote clone")
gone("volume", "clone")
openstack(f"volume create --host {host} --remote-source source-name=vol-{clone.id} --non-bootable --property a=b back")
becomes("volume", "back", "available")
openstack("volume snapshot delete --force late")
gone("snapshot", "late")
openstack("volume snapshot create --volume uno late")
dawn = becomes("snapshot", "late", "available")
openstack("volume snapshot delete --remote late")
gone("snapshot", "late")
openstack(f"volume snapshot create --remote-source source-name=snap-{dawn.id} --volume uno late")
becomes("snapshot", "late", "available")
openstack("block storage volume manageable list no-such", refused="no-such")

# Groups; what is left of this one waits for the end.
kind = shown("volume group type create --description d --private pairs")["id"]
openstack(f"volume group type set --name couples --description e --public --property a=b {kind}")
openstack(f"volume group type set --no-property --property consistent_group_snapshot_enabled='<is> True' {kind}")
found = shown("volume group type show couples")
assert found["properties"] == {"consistent_group_snapshot_enabled": "<is> True"}, found
assert [row["name"] for row in shown("volume group type list")] == ["couples"]
openstack("volume group type list --default", refused="efault")
openstack("volume group type create couples", refused="already exists")
openstack("volume group create --volume-group-type no-such --volume-type gold", refused="no-such")
made = shown("volume group create --volume-group-type couples --volume-type gold --name duo --description d --availability-zone nova")
assert (made["status"], made["description"]) == ("available", "d"), made
for name in ["left", "right"]:
    openstack(f"volume create --size 1 --type gold {name}")
    becomes("volume", name, "available")
openstack("volume group add volume duo left right")
openstack("volume group add volume duo back", refused="Cannot add volume")
openstack("volume group remove volume duo right")
assert shown("volume group show --volumes duo")["volumes"] == [storage.find_volume("left").id]
openstack("volume group add volume duo right")
openstack("volume group set --name pair --description e duo")
# It sends null where Cinder, too, wants an object.
openstack("volume group set --enable-replication pair", refused="enable_replication")
assert [row["name"] for row in shown("volume group list")] == ["pair"]
assert [row["name"] for row in shown("volume group list --all-projects")] == ["pair"]
openstack("volume delete right", refused="must not belong to a group")
openstack("volume group snapshot create --name both --description d pair")
becomes("group_snapshot", "both", "available")
assert shown("volume group snapshot show both")["description"] == "d"
assert [row["name"] for row in shown("volume group snapshot list")] == ["both"]
assert [row["name"] for row in shown("volume group snapshot list --all-projects")] == ["both"]
member = next(storage.snapshots(volume_id=storage.find_volume("left").id)).id
openstack(f"volume snapshot delete {member}", refused="group snapshot")
openstack("volume group create --group-snapshot both --name copy --description d")
becomes("group", "copy", "available")
openstack("volume group create --source-group pair --name twin")
becomes("group", "twin", "available")
openstack("volume group delete --force pair", refused="existing snapshots")
openstack("volume group snapshot delete both")
gone("group_snapshot", "both")
openstack("volume group delete copy", refused="delete-volumes")
for name in ["copy", "twin"]:
    openstack(f"volume group delete --force {name}")
    gone("group", name)
openstack("volume group show copy", refused="copy")
openstack("volume group type delete couples", refused="in use")

# Groups as older clients know them.
openstack("consistency group create --volume-type gold --description d --availability-zone nova trio")
openstack("volume create --size 1 --type gold third")
becomes("volume", "third", "available")
openstack("consistency group add volume trio third")
openstack("consistency group remove volume trio third")
openstack("consistency group add volume trio third")
openstack("consistency group set --name three --description e trio")
assert shown("consistency group show three")["description"] == "e"
for line in ["", " --long", " --all-projects"]:
    assert {row["name"] for row in shown("consistency group list" + line)} == {"three", "pair"}, line
openstack("consistency group snapshot create --consistency-group three --description d threefold")
becomes("consistency_group_snapshot", "threefold", "available")
assert shown("consistency group snapshot show threefold")["description"] == "d"
# What is not asked for it compares with nothing, itself, so that it shows nothing without these two.
asked = "consistency group snapshot list --status available --consistency-group three"
for line in ["", " --long", " --all-projects"]:
    assert [row["name"] for row in shown(asked + line)] == ["threefold"], line
openstack("consistency group create --snapshot threefold four")
becomes("consistency_group", "four", "available")
openstack("consistency group create --source three five")
becomes("consistency_group", "five", "available")
openstack("consistency group snapshot delete threefold")
gone("consistency_group_snapshot", "threefold")
# What it sends with its force is not what Cinder reads.
openstack("consistency group delete --force four", refused="1 of 1")
cinder("consisgroup-delete --force four five")
for name in ["four", "five"]:
    gone("consistency_group", name)
openstack("consistency group remove volume three third")
openstack("consistency group delete three")
gone("consistency_group", "three")
openstack("volume delete third")
gone("volume", "third")

# Services, pools, hosts.
assert {row["binary"] for row in shown("volume service list --long")} == {"cinder-volume", "cinder-scheduler"}
zone = "xensm@nova"
assert len(shown(f"volume service list --host {zone} --service cinder-volume")) == 1
openstack(f"volume service set --disable --disable-reason rest {zone} cinder-volume")
assert shown("volume service list --long --service cinder-volume")[0]["disabled reason"] == "rest"
openstack(f"volume service set --enable {zone} cinder-volume")
openstack(f"volume service set --disable {zone} cinder-cook", refused="cook")
openstack(f"volume host set --disable {zone}")
openstack(f"volume host set --enable {zone}")
assert shown("volume backend pool list --long")[0]["name"] == host
openstack(f"volume backend capability show {zone}")
openstack("volume backend capability show nowhere", refused="nowhere")
# It asks for all three.
openstack(f"block storage cleanup --host {zone} --binary cinder-volume --cluster c --up --enabled --resource-type Volume")
shown("block storage resource filter list")
assert "name" in str(shown("block storage resource filter show volume"))
shown("block storage cluster list --long")
openstack("availability zone list --volume --long")
openstack("extension list --volume --long")
openstack("versions show --service block-storage")
openstack("configuration show")

# Log levels.
levels = {row["prefix"]: row["level"] for row in shown(f"block storage log level list --host {zone} --service cinder-volume")}
openstack("block storage log level set debug --log-prefix volume_service::scheduler")
line = "block storage log level list --log-prefix volume_service::scheduler"
assert {(row["host"], row["level"]) for row in shown(line)} >= {(zone, "DEBUG")}, levels
openstack("block storage log level set error --log-prefix a,b=c", refused="a prefix is")

# Messages.
openstack(f"volume create --size 1 --type gold x --hint same_host={NOWHERE}")
openstack("quota set --gigabytes 20 admin")
openstack("volume create --size 9 full", refused="gigabytes")
openstack("quota delete --volume admin")
messages = until("a message says so", lambda: shown("volume message list"))
message = messages[0]["id"]
assert messages[0]["message level"] == "ERROR"
openstack(f"volume message show {message}")
shown("volume message list --limit 1")
openstack(f"volume message delete {message}")
openstack(f"volume message show {message}", refused=message)

# What must wait, and how it is refused until then.
BACKUP = "no backup service is built yet"
IMAGE = "volumes and images are not copied into each other yet"
MOVE = "volumes are not moved between backends yet"
CLUSTER = "workers are symmetric: there are no clusters of services"
REPLICATION = "there is no replication yet"
LATER = {
    "volume backup create": ("volume backup create uno", "503", BACKUP),
    "volume backup delete": (f"volume backup delete {NOWHERE}", "backup", BACKUP),
    "volume backup record export": (f"volume backup record export {NOWHERE}", "No Backup", BACKUP),
    "volume backup record import": ("volume backup record import s m", "export_record", BACKUP),
    "volume backup restore": (f"volume backup restore {NOWHERE} uno", "No Backup", BACKUP),
    "volume backup set": (f"volume backup set --name n {NOWHERE}", "No Backup", BACKUP),
    "volume backup show": (f"volume backup show {NOWHERE}", "No Backup", BACKUP),
    "volume backup unset": (f"volume backup unset --property p {NOWHERE}", "No Backup", BACKUP),
    "volume migrate": (f"volume migrate --host xensm@nova#x uno", "xensm@nova#x", MOVE),
    "volume group failover": ("volume group failover pair", "no such action", REPLICATION),
    "volume host failover": (f"volume host failover --volume-backend b {zone}", "Host status", REPLICATION),
    "block storage cluster set": ("block storage cluster set --enable c", "404", CLUSTER),
    "block storage cluster show": ("block storage cluster show c", "No Cluster found", CLUSTER),
    "extension show": ("extension show x", "network", "the command knows network extensions only"),
}
for command, (line, words, _) in LATER.items():
    openstack(line, refused=words)
assert shown("volume backup list --long") == []

# The end of everything, in one command.
openstack("volume group delete --force pair")
gone("group", "pair")
openstack("volume group type delete couples")
openstack("volume snapshot delete late")
gone("snapshot", "late")
openstack("volume delete --force grown")
gone("volume", "grown")
assert "uno" in openstack("project cleanup --dry-run --auth-project")
openstack("volume delete --cascade uno")
gone("volume", "uno")
openstack("project cleanup --auto-approve --auth-project")
until("every volume is gone", lambda: not list(storage.volumes()))

# That one is about files of the client.
COMMON = openstack_commands("openstack.common") - {"cloud cache delete"}
check_inventory("openstack", openstack_commands("openstack.volume.v3") | COMMON, LATER)
print("ok")
