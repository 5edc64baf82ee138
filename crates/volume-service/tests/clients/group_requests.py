"""The openstack and cinder commands on groups, each as a shell would run it, in one process."""

import contextlib
import io
import json
import shlex
import time

from cinderclient import exceptions
from cinderclient import shell as cinder_shell
from openstackclient import shell as openstack_shell

# Whoever plays the worker is slow on a busy machine.
PATIENCE_S = 300


def openstack(line, refused=False):
    said, complaint = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complaint):
        code = openstack_shell.main(["--os-volume-api-version", "3.71", *shlex.split(line)])
    assert (code != 0) == refused, (line, code, said.getvalue(), complaint.getvalue())
    return complaint.getvalue() if refused else said.getvalue()


def shown(line):
    return json.loads(openstack(line + " -f json"))


def cinder(line):
    said = io.StringIO()
    arguments = ["--os-volume-api-version", "3.71", *shlex.split(line)]
    with contextlib.redirect_stdout(said):
        try:
            cinder_shell.OpenStackCinderShell().main(arguments)
        except (exceptions.ClientException, exceptions.CommandError, SystemExit) as cause:
            raise AssertionError(line, said.getvalue()) from cause
    return said.getvalue()


def cinder_refused(line, why):
    try:
        cinder(line)
    except AssertionError as refusal:
        assert why in str(refusal.__cause__) + str(refusal), (line, refusal.__cause__)
    else:
        raise AssertionError(line)


def until(line, is_so):
    end = time.monotonic() + PATIENCE_S
    while not is_so(found := shown(line)):
        assert time.monotonic() < end, (line, found)
    return found


def is_available(found):
    return found.get("Status", found.get("status")) == "available"


made = shown("volume group type create --description two --private pairs")
assert made["Name"] == "pairs", made
openstack(f"volume group type set --public --property k=v --name pair-type {made['ID']}")
openstack("volume group type set --no-property pair-type")
consistent = "consistent_group_snapshot_enabled='<is> True'"
openstack(f"volume group type set --property {consistent} pair-type")
found = shown("volume group type show pair-type")
assert "<is> True" in str(found["Properties"]), found
assert [one["Name"] for one in shown("volume group type list")] == ["pair-type"]

group = shown("volume group create --volume-group-type pair-type --volume-type gold --name pair")
assert group["Status"] == "available", group
cinder(f"create --name one --volume-type gold --group-id {group['ID']} 1")
openstack("volume create --size 1 --type gold two")
for name in ["one", "two"]:
    until(f"volume show {name}", is_available)
openstack("volume group add volume pair two")
assert len(shown("volume group show --volumes pair")["Volumes"]) == 2
openstack("volume group remove volume pair two")
openstack("volume group add volume pair two")
openstack("volume group set --name couple --description of-two pair")
assert [one["Name"] for one in shown("volume group list --all-projects")] == ["couple"]
# It sends null where Cinder, too, wants an object.
assert "enable_replication" in openstack("volume group set --enable-replication couple", refused=True)
# It sends an action of a name that is no Cinder's.
assert "no such action" in openstack("volume group failover couple", refused=True)
assert "must not belong to a group" in openstack("volume delete two", refused=True)

openstack("volume group snapshot create --name both --description d couple")
until("volume group snapshot show both", is_available)
assert [one["Name"] for one in shown("volume group snapshot list --all-projects")] == ["both"]
snapshots = shown("volume snapshot list")
assert len(snapshots) == 2, snapshots
assert "group snapshot" in openstack(f"volume snapshot delete {snapshots[0]['ID']}", refused=True)
openstack("volume group create --group-snapshot both --name copy")
until("volume group show copy", is_available)
openstack("volume group create --source-group couple --name twin")
until("volume group show twin", is_available)
assert "existing snapshots" in openstack("volume group delete --force couple", refused=True)
openstack("volume group snapshot delete both")
until("volume group snapshot list", lambda rows: not rows)
assert "delete-volumes" in openstack("volume group delete copy", refused=True)
for name in ["copy", "twin", "couple"]:
    openstack(f"volume group delete --force {name}")
until("volume group list", lambda rows: not rows)
openstack("volume group type delete pair-type")

cinder("group-type-create --description d --is-public true trio")
for line in [
    "group-type-list",
    "group-specs-list",
    "group-type-show trio",
    f"group-type-key trio set {consistent}",
    "group-type-key trio unset consistent_group_snapshot_enabled",
]:
    cinder(line)
kind = shown("volume group type show trio")["ID"]
cinder(f"group-type-update --name three --description e --is-public true {kind}")
cinder_refused("group-type-default", "Default group type can not be found")
cinder("group-create --name g --description d --availability-zone nova three gold")
group = shown("volume group show g")["ID"]
cinder(f"create --name m --volume-type gold --group-id {group} 1")
volume = until("volume show m", is_available)["id"]
for line in [
    "group-list --all-tenants 1",
    "group-list --filters name=g",
    "group-show --list-volume True g",
    f"group-update --remove-volumes {volume} g",
    f"group-update --name h --description e --add-volumes {volume} g",
    f"list --filters group_id={group}",
    "reset-state --type group --state error h",
    "reset-state --type group --state available h",
    "group-snapshot-create --name s --description d h",
]:
    cinder(line)
for line in [
    "group-enable-replication h",
    "group-disable-replication h",
    "group-failover-replication h",
    "group-list-replication-targets h",
]:
    cinder_refused(line, "not a replication group")
until("volume group snapshot show s", is_available)
for line in [
    "group-snapshot-list --all-tenants 1",
    f"group-snapshot-list --filters group_id={group}",
    "group-snapshot-show s",
    "reset-state --type group-snapshot --state error s",
    "reset-state --type group-snapshot --state available s",
    "group-create-from-src --group-snapshot s --name copy",
]:
    cinder(line)
until("volume group show copy", is_available)
cinder("group-snapshot-delete s")
until("volume group snapshot list", lambda rows: not rows)
cinder("group-delete --delete-volumes h copy")
until("volume group list", lambda rows: not rows)
cinder("group-type-delete three")

openstack("consistency group create --volume-type gold --description d cg")
openstack("volume create --size 1 --type gold c")
until("volume show c", is_available)
openstack("consistency group add volume cg c")
openstack("consistency group remove volume cg c")
openstack("consistency group add volume cg c")
openstack("consistency group set --name cg2 --description e cg")
assert [one["Name"] for one in shown("consistency group list --long")] == ["cg2"]
shown("consistency group show cg2")
openstack("consistency group snapshot create --consistency-group cg2 --description d cs")
until("consistency group snapshot show cs", is_available)
print(shown("consistency group snapshot list --long"))
openstack("consistency group create --consistency-group-snapshot cs cg3")
until("consistency group show cg3", is_available)
openstack("consistency group snapshot delete cs")
until("consistency group snapshot list", lambda rows: not rows)
# openstackclient says `consistency_group`, which Cinder does not read: without its force a group with volumes stays.
openstack("consistency group delete --force cg3", refused=True)
cinder("consisgroup-delete --force cg2 cg3")
until("consistency group list", lambda rows: not rows)

cinder("consisgroup-create --name k --description d --availability-zone nova gold")
for line in ["consisgroup-list", "consisgroup-show k", "consisgroup-update --name l k"]:
    cinder(line)
group = shown("consistency group show l")["id"]
cinder(f"create --name n --volume-type gold --consisgroup-id {group} 1")
until("volume show n", is_available)
cinder("cgsnapshot-create --name t --description d l")
until("consistency group snapshot show t", is_available)
for line in ["cgsnapshot-list", "cgsnapshot-show t", "consisgroup-create-from-src --cgsnapshot t --name u"]:
    cinder(line)
until("consistency group show u", is_available)
cinder("cgsnapshot-delete t")
until("consistency group snapshot list", lambda rows: not rows)
cinder("consisgroup-delete --force l u")
until("consistency group list", lambda rows: not rows)
print("done")
