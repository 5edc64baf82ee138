"""Commands of the stock `openstack`, in one process because importing it takes a second, against our Identity API."""

import contextlib
import gc
import importlib.metadata
import io
import json
import os
import sys

from openstackclient import shell
from osc_lib import clientmanager


# The commands that ended well.
done = set()


class Shell(shell.OpenStackShell):
    def clean_up(self, cmd, result, err):
        super().clean_up(cmd, result, err)
        if err is None and result == 0:
            done.add(cmd.cmd_name)


def run(line, code=0, json_format=False):
    arguments = line.split(" ")
    if json_format:
        arguments += ["-f", "json"]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            ended = Shell().run(arguments)
        except SystemExit as exit:
            ended = exit.code
    said = out.getvalue() + err.getvalue()
    if (ended == 0) != (code == 0):
        sys.exit(f"openstack {line}: {ended}\n{said}")
    return same_case(json.loads(out.getvalue())) if json_format and code == 0 else said


def same_case(value):
    """Some commands write `ID` and some `id`."""
    if isinstance(value, list):
        return [same_case(item) for item in value]
    if isinstance(value, dict):
        return {key.lower(): item for key, item in value.items()}
    return value


def get(line):
    return run(line, json_format=True)


def refused(line):
    return run(line, code=1)


def as_user(name, password, project):
    # The command keeps its clients, and who they are logged in as, for as long as its process lives.
    for kept in gc.get_objects():
        if isinstance(kept, clientmanager.ClientCache):
            kept._handle = None
    os.environ.update(OS_USERNAME=name, OS_PASSWORD=password, OS_PROJECT_NAME=project)


PASSWORD = os.environ["OS_PASSWORD"]

# Projects.
lab = get("project create --description Third --tag red lab")
assert lab["tags"] == ["red"], lab
run("project set --description Fourth --tag blue lab")
assert get("project show lab")["description"] == "Fourth"
assert {p["name"] for p in get("project list")} == {"admin", "lab"}
assert [p["name"] for p in get("project list --tags blue")] == ["lab"]
assert [p["name"] for p in get("project list --my-projects")] == ["admin"]
assert "lab" in refused("project create lab")

# Users and roles.
alice = get("user create --project lab --password first-secret --email a@example.org --description A alice")
assert alice["default_project_id"] == lab["id"], alice
run("role add --user alice --project lab member")
assert [r["name"] for r in get("role list")] == ["admin", "member", "reader", "service"]
named = get("role assignment list --user alice --names")
assert (named[0]["role"], named[0]["project"]) == ("member", "lab@Default"), named
assert len(get("role assignment list --project lab --effective --names")) == 2
assert get("user list --project lab")[0]["name"] == "alice"
assert get("user show alice")["email"] == "a@example.org"
assert len(get("user list")) == 2
run("role show member")
run("implied role list")
assert "403" in refused("role create king")
assert "409" in refused("user delete admin")
assert "409" in refused("user set --disable admin")

# What alice does by herself.
as_user("alice", "first-secret", "lab")
token = get("token issue")
assert token["project_id"] == lab["id"]
run("catalog list")
run("catalog show block-storage")
assert "403" in refused("user list")
# This command says nothing when it is refused; who has what is looked at below.
run("role add --user %s --project %s admin" % (alice["id"], lab["id"]))
made = get("application credential create --role reader --secret own-secret --description D ci")
assert made["secret"] == "own-secret", made
assert [c["name"] for c in get("application credential list")] == ["ci"]
assert get("application credential show ci")["id"] == made["id"]
key = get("ec2 credentials create")
assert get("ec2 credentials list")[0]["access"] == key["access"]
shown = get("ec2 credentials show " + key["access"])
assert shown["secret"] == key["secret"], (shown, key)
assert get("credential list")[0]["type"] == "ec2"
run("ec2 credentials delete " + key["access"])
assert get("ec2 credentials list") == []
run("application credential delete ci")
run("user password set --original-password first-secret --password second-secret")
refused("token issue")
as_user("alice", "second-secret", "lab")
run("token revoke " + get("token issue")["id"])

# Disabled and removed.
as_user("admin", PASSWORD, "admin")
assert [a["role"] for a in get("role assignment list --user alice --names")] == ["member"]
run("user set --disable alice")
as_user("alice", "second-secret", "lab")
assert "401" in refused("token issue")
as_user("admin", PASSWORD, "admin")
run("user set --enable alice")
run("role remove --user alice --project lab member")
assert get("role assignment list --user alice") == []
run("user delete alice")
run("project delete lab")
assert "lab" in refused("project show lab")

# What there is to read.
assert len(get("service list")) == 4
assert len(get("endpoint list --service identity")) == 3
assert get("region list")[0]["region"] == "RegionOne"
assert get("domain list")[0]["id"] == "default"
assert get("group list") == []
get("service show identity")
get("endpoint show " + get("endpoint list --service identity")[0]["id"])
get("region show RegionOne")
get("domain show default")

# What no command above does, by the beginning of its name, and why.
FIXED = "it is made of the configuration"
ABSENT = {
    "access rule": "application credentials have no access rules",
    "access token": "no OAuth",
    "consumer": "no OAuth",
    "request token": "no OAuth",
    "credential create": "EC2 keys are the only credentials, and have commands of their own",
    "credential delete": "EC2 keys are the only credentials, and have commands of their own",
    "credential set": "EC2 keys are the only credentials, and have commands of their own",
    "credential show": "EC2 keys are the only credentials, and have commands of their own",
    "domain create": "there is one domain",
    "domain delete": "there is one domain",
    "domain set": "there is one domain",
    "endpoint add": FIXED,
    "endpoint create": FIXED,
    "endpoint delete": FIXED,
    "endpoint group": FIXED,
    "endpoint remove": FIXED,
    "endpoint set": FIXED,
    "federation": "no federation",
    "group add": "no groups",
    "group contains": "no groups",
    "group create": "no groups",
    "group delete": "no groups",
    "group remove": "no groups",
    "group set": "no groups",
    "group show": "no groups",
    "identity provider": "no federation",
    "implied role create": "the roles are fixed",
    "implied role delete": "the roles are fixed",
    "limit": "limits are those of block storage",
    "mapping": "no federation",
    "policy": "policies are a file",
    "region create": FIXED,
    "region delete": FIXED,
    "region set": FIXED,
    "registered limit": "limits are those of block storage",
    "role create": "the roles are fixed",
    "role delete": "the roles are fixed",
    "role set": "the roles are fixed",
    "service create": FIXED,
    "service delete": FIXED,
    "service provider": "no federation",
    "service set": FIXED,
    "trust": "no trusts",
}
points = importlib.metadata.entry_points().select(group="openstack.identity.v3")
names = {point.name.replace("_", " ") for point in points}
absent = {name for name in names if any((name + " ").startswith(begin + " ") for begin in ABSENT)}
missing = sorted(names - absent - done)
assert not missing, f"commands that nothing runs: {missing}"
assert not absent & done, f"commands that work now: {sorted(absent & done)}"
print("done")
