"""The openstack and cinder commands on volume types, QoS specs and pools, each as a shell would run it, in one process."""

import contextlib
import io
import json
import shlex

from cinderclient import exceptions
from cinderclient import shell as cinder_shell
from openstackclient import shell as openstack_shell


def openstack(line, refused=False):
    said, complaint = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complaint):
        code = openstack_shell.main(shlex.split(line))
    assert (code != 0) == refused, (line, code, said.getvalue(), complaint.getvalue())
    return complaint.getvalue() if refused else said.getvalue()


def shown(line):
    return json.loads(openstack(line + " -f json"))


def cinder(line):
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        cinder_shell.OpenStackCinderShell().main(shlex.split(line))
    return said.getvalue()


made = shown(
    "volume type create --description less --private --property thin_provisioning_support='<is> True' "
    "--encryption-provider luks --encryption-cipher aes-xts-plain64 --encryption-key-size 256 "
    "--encryption-control-location front-end silver"
)
assert made["is_public"] is False, made
assert made["properties"] == {"thin_provisioning_support": "<is> True"}, made
openstack("volume type set --name bronze --property a=b --project admin silver")
found = shown("volume type show --encryption-type bronze")
assert found["properties"]["a"] == "b" and found["access_project_ids"], found
assert found["encryption"]["provider"] == "luks", found
openstack("volume type set --encryption-provider luks2 bronze")
openstack("volume type unset --property a --project admin --encryption-type bronze")
found = shown("volume type show --encryption-type bronze")
assert "a" not in found["properties"] and not found["encryption"], found
assert [kind["Name"] for kind in shown("volume type list --private")] == ["bronze"]
assert len(shown("volume type list --long")) == 3
assert [kind["Name"] for kind in shown("volume type list --default")] == ["default"]

limits = shown("volume qos create --consumer both --property total_iops_sec=500 slow")
assert limits["consumer"] == "both", limits
openstack("volume qos set --property a=b slow")
openstack("volume qos unset --property a slow")
openstack("volume qos associate slow gold")
found = shown("volume qos show slow")
assert found["associations"] == ["gold"] and found["properties"] == {"total_iops_sec": "500"}, found
assert [one["Name"] for one in shown("volume qos list")] == ["slow"]
assert "in use" in openstack("volume qos delete slow", refused=True)
openstack("volume qos disassociate --volume-type gold slow")
openstack("volume qos associate slow gold")
openstack("volume qos disassociate --all slow")
openstack("volume qos delete slow")

openstack("volume create --size 1 --type gold one")
assert "in use" in openstack("volume type set --property a=b gold", refused=True)
assert "in use" in openstack("volume type delete gold", refused=True)
assert "already exists" in openstack("volume type create gold", refused=True)
assert "default" in openstack("volume type delete default", refused=True)
shown("volume backend pool list --long")
capabilities = shown("volume backend capability show xensm@nova")
assert {"thin_provisioning_support", "storage_protocol"} <= {one["Key"] for one in capabilities}, capabilities

project = shown("project show admin")["id"]
for line in [
    "type-list",
    "extra-specs-list",
    "type-key bronze set multiattach='<is> False'",
    "type-key bronze unset multiattach",
    f"type-access-add --volume-type bronze --project-id {project}",
    "type-access-list --volume-type bronze",
    f"type-access-remove --volume-type bronze --project-id {project}",
    f"type-update --is-public true {made['id']}",
    "type-show bronze",
    "encryption-type-create --cipher c --key-size 128 --control-location back-end bronze p",
    "encryption-type-update --cipher d bronze",
    "encryption-type-show bronze",
    "encryption-type-list",
    "encryption-type-delete bronze",
    f"--os-volume-api-version 3.62 default-type-set bronze {project}",
    f"--os-volume-api-version 3.62 default-type-list --project-id {project}",
    "--os-volume-api-version 3.62 default-type-list",
    "type-default",
    f"--os-volume-api-version 3.62 default-type-unset {project}",
    "qos-create fast consumer=back-end k=v",
    "qos-list",
    "get-capabilities xensm@nova",
    "--os-volume-api-version 3.35 get-pools --filters volume_type=bronze",
    "type-delete bronze",
]:
    try:
        cinder(line)
    except (exceptions.ClientException, exceptions.CommandError, SystemExit) as cause:
        raise AssertionError(line) from cause
print("done")
