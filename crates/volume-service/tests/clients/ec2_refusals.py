"""Provokes every refusal of `tests/clients/ec2_refusals.tsv` by raw signed requests; prints how many it ran and `done`.

Arguments: our table of actions (JSON), the table of refusals, the service's SQLite database. No worker runs: what is to be in a
state is put into it by SQL.

A request of the table is `Name=value&...` with the action of its row, or begins with another `Action?`. `201xName.#=v#` stands for
201 parameters, `{volume}` for a thing of `SETTING`. What stands before ` ; ` is sent first and must succeed. Words with `!` in front:
`!key`, `!signature`, `!late` and `!incomplete` spoil the signature, `!reader` asks as somebody who may only read, `!poor` as somebody
with a quota of 10 GiB, `!names` has names that nobody knows. `GET /path`, `PUT /path` and `POST /path` (with a body behind it) are
requests of the direct APIs.

A row sleeps while its action, a parameter of its request or a thing that it names is not built; sleeping rows are printed. A row whose
remark is `unproven` is printed, and no failure, while it differs. A refused request must leave nothing behind, whatever it says."""

import base64
import collections
import datetime
import functools
import hashlib
import json
import os
import re
import sqlite3
import sys
import time
import urllib.error
import urllib.request
import uuid
from xml.etree import ElementTree

import botocore.auth
import botocore.awsrequest
import botocore.credentials

URL = os.environ["AWS_ENDPOINT_URL_EC2"]
REGION = os.environ["AWS_DEFAULT_REGION"]
OWN = botocore.credentials.Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
PATIENCE_S = 120
BLOCK_BYTES = 524288
# How far off the clock of `!late` is.
LATE = datetime.timedelta(minutes=16)
# What newer actions leave behind, where their tables are there.
LATER_TABLES = ["snapshot_shares", "snapshot_locks", "snapshot_local_tags", "instance_tags", "instance_attachments"]

Row = collections.namedtuple("Row", "action when request code status message remark")

with open(sys.argv[1], encoding="utf-8") as source:
    ACTIONS = json.load(source)["actions"]
database = sqlite3.connect(sys.argv[3], timeout=PATIENCE_S, isolation_level=None)


class Asleep(Exception):
    """What a row needs is not built."""


# ----- Requests -----


def sign(request, service, spoiled, credentials):
    if "key" in spoiled:
        credentials = botocore.credentials.Credentials("AKIAOFNOBODY00000000", credentials.secret_key)
    if "signature" in spoiled:
        credentials = botocore.credentials.Credentials(credentials.access_key, "of-somebody-else")
    now = botocore.auth.get_current_datetime
    if "late" in spoiled:
        botocore.auth.get_current_datetime = lambda: now() - LATE
    try:
        botocore.auth.SigV4Auth(credentials, service, REGION).add_auth(request)
    finally:
        botocore.auth.get_current_datetime = now
    if "incomplete" in spoiled:
        header = request.headers["Authorization"]
        del request.headers["Authorization"]
        request.headers["Authorization"] = header.split(", SignedHeaders=")[0]


def fetch(method, path, data, service="ec2", spoiled=(), credentials=OWN, headers=None):
    """The status, the headers and the bytes of an answer."""
    request = botocore.awsrequest.AWSRequest(method=method, url=URL + path, data=data, headers=headers)
    sign(request, service, spoiled, credentials)
    prepared = request.prepare()
    body = prepared.body.encode() if isinstance(prepared.body, str) else prepared.body
    plain = urllib.request.Request(prepared.url, data=body, headers=dict(prepared.headers), method=method)
    try:
        with urllib.request.urlopen(plain, timeout=PATIENCE_S) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.headers, refused.read()


def query(parameters, **how):
    """The status, code and message of an action's refusal; of an answer its status and text."""
    status, _, body = fetch("POST", "/", {"Version": "2016-11-15", **parameters}, **how)
    if status == 200:
        return status, None, body.decode()
    error = ElementTree.fromstring(body).find("Errors/Error")
    return status, error.findtext("Code"), error.findtext("Message")


def direct(method, path, body):
    """The same of a request to the direct APIs, whose code has a reason behind it. What is put is a block of zeros."""
    headers, data = {}, body.encode() or None
    if method == "PUT":
        data = bytes(BLOCK_BYTES)
        headers = {
            "x-amz-Data-Length": str(BLOCK_BYTES),
            "x-amz-Checksum": base64.b64encode(hashlib.sha256(data).digest()).decode(),
            "x-amz-Checksum-Algorithm": "SHA256",
        }
    if "/completion/" in path:
        headers = {"x-amz-ChangedBlocksCount": "0"}
    status, headers, said = fetch(method, path, data, service="ebs", headers=headers)
    if "x-amzn-ErrorType" not in headers:
        return status, None, said.decode(errors="replace")
    told = json.loads(said or b"{}")
    code = " ".join(filter(None, [headers["x-amzn-ErrorType"], told.get("Reason")]))
    return status, code, told.get("Message") or ""


@functools.cache
def has_direct():
    return direct("GET", "/snapshots/snap-00000000000000000/blocks", "")[1] is not None


def call(action, credentials=OWN, **parameters):
    """An action that must succeed: the text of its answer."""
    status, code, text = query({"Action": action, **parameters}, credentials=credentials)
    assert status == 200, f"{action} {parameters}: {status} {code}: {text}"
    return text


def of_element(answer, name):
    return re.search(f"<{name}>([^<]*)</{name}>", answer).group(1)


# ----- Other people -----


def identity(method, path, body=None, token=None):
    headers = {"Content-Type": "application/json", **({"X-Auth-Token": token} if token else {})}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(os.environ["OS_AUTH_URL"] + path, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return json.loads(answer.read() or b"null"), answer.headers


def log_in(name, password, project):
    domain = {"name": "Default"}
    body = {
        "auth": {
            "identity": {
                "methods": ["password"],
                "password": {"user": {"name": name, "domain": domain, "password": password}},
            },
            "scope": {"project": {"name": project, "domain": domain}},
        }
    }
    answer, headers = identity("POST", "/auth/tokens", body)
    return headers["X-Subject-Token"], answer["token"]


def openstack(path, body):
    token, told = log_in(os.environ["OS_USERNAME"], os.environ["OS_PASSWORD"], os.environ["OS_PROJECT_NAME"])
    headers = {"Content-Type": "application/json", "X-Auth-Token": token}
    url = f"{os.environ['XENSM_VOLUME_URL']}/v3/{told['project']['id']}{path}"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return json.loads(answer.read())


@functools.cache
def person(name, project, role):
    """The EC2 key of a new user with a role in a project, which is made if it is not there."""
    token, _ = log_in(os.environ["OS_USERNAME"], os.environ["OS_PASSWORD"], os.environ["OS_PROJECT_NAME"])
    projects, _ = identity("GET", "/projects", token=token)
    known = {item["name"]: item["id"] for item in projects["projects"]}
    if project not in known:
        made, _ = identity("POST", "/projects", {"project": {"name": project}}, token)
        known[project] = made["project"]["id"]
    user, _ = identity("POST", "/users", {"user": {"name": name, "password": "first-secret"}}, token)
    roles, _ = identity("GET", "/roles", token=token)
    role = next(item["id"] for item in roles["roles"] if item["name"] == role)
    identity("PUT", f"/projects/{known[project]}/users/{user['user']['id']}/roles/{role}", token=token)
    own, told = log_in(name, "first-secret", project)
    path = f"/users/{told['user']['id']}/credentials/OS-EC2"
    key, _ = identity("POST", path, {"tenant_id": known[project]}, own)
    return botocore.credentials.Credentials(key["credential"]["access"], key["credential"]["secret"])


# ----- The setting -----


def table_exists(name):
    return database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", [name]).fetchone() is not None


def finish():
    """Ends everything that is being made, as a worker would have."""
    database.execute("UPDATE operations SET state = 'succeeded'")
    database.execute("UPDATE volumes SET status = 'available', vdi_uuid = id WHERE status = 'creating'")
    database.execute("UPDATE snapshots SET status = 'available', vdi_uuid = id WHERE status = 'creating'")


def unfinished_volume(credentials=OWN, **wanted):
    wanted = {"AvailabilityZone": "nova", "Size": "1", **wanted}
    return of_element(call("CreateVolume", credentials, **wanted), "volumeId")


def volume(credentials=OWN, **wanted):
    made = unfinished_volume(credentials, **wanted)
    finish()
    return made


def snapshot(credentials=OWN):
    made = of_element(call("CreateSnapshot", credentials, VolumeId=volume(credentials)), "snapshotId")
    finish()
    return made


def in_state(made, status):
    database.execute("UPDATE volumes SET status = ? WHERE ec2_id = ?", [status, made])
    return made


def pending_snapshot():
    return of_element(call("CreateSnapshot", VolumeId=volume()), "snapshotId")


def forgotten_volume():
    """A volume with a client token that is deleted."""
    made = volume(ClientToken="of-a-volume-that-is-gone")
    call("DeleteVolume", VolumeId=made)
    database.execute("UPDATE operations SET state = 'succeeded'")
    for column in ("volumes.id", "volume_traits.volume_id", "volume_metadata.volume_id", "volume_sources.volume_id"):
        table, name = column.split(".")
        if table != "volumes":
            wanted = "(SELECT id FROM volumes WHERE ec2_id = ?)"
            database.execute(f"DELETE FROM {table} WHERE {name} = {wanted}", [made])
    database.execute("DELETE FROM volumes WHERE ec2_id = ?", [made])
    return made


def modifying_volume():
    made = volume()
    call("ModifyVolume", VolumeId=made, Size="2")
    return made


def stranger():
    return person("stranger", "another", "member")


def poor():
    """Somebody with a quota of 10 GiB."""
    key = person("pauper", "poor", "member")
    query = "INSERT INTO quota_limits SELECT id, 'gigabytes', 10 FROM projects WHERE name = 'poor' ON CONFLICT DO NOTHING"
    database.execute(query)
    return key


def own():
    return OWN


def reader():
    return person("reader", os.environ["OS_PROJECT_NAME"], "reader")


def flavor(name, **limits):
    """A volume type with the limits that AWS's type of this name has."""
    if "Iops" not in built("CreateVolume"):
        raise Asleep("CreateVolume Iops")
    specs = {f"ec2:{limit}": text for limit, text in limits.items()}
    openstack("/types", {"volume_type": {"name": name, "extra_specs": specs}})
    return name


def locked_snapshot():
    made = snapshot()
    needs("LockSnapshot")
    call("LockSnapshot", SnapshotId=made, LockMode="governance", LockDuration="1")
    return made


def instance(zone="nova", project="*", gone_at_us=None):
    """An instance, as a worker would have found it in a pool."""
    if not table_exists("instances"):
        raise Asleep("instances")
    name = str(uuid.uuid4())
    ec2_id = "i-" + name.replace("-", "")[:17]
    found = {
        "id": name,
        "ec2_id": ec2_id,
        "zone": zone,
        "name": "of the tests",
        "power_state": "Running",
        "is_control_domain": 0,
        "instance_type": "xen.1x1",
        "vcpus": 1,
        "memory_mib": 1024,
        "started_at_us": 1,
        "devices": "[]",
        "created_at_us": 1,
        "gone_at_us": gone_at_us,
    }
    places = ", ".join("?" * len(found))
    database.execute(f"INSERT INTO instances ({', '.join(found)}) VALUES ({places})", list(found.values()))
    if project is not None:
        database.execute("INSERT INTO instance_projects VALUES (?, ?)", [name, project])
    return ec2_id


def attached_volume():
    needs("AttachVolume")
    made = volume()
    call("AttachVolume", VolumeId=made, InstanceId=value("instance"), Device="/dev/sdh")
    database.execute("UPDATE operations SET state = 'succeeded'")
    database.execute("UPDATE attachments SET status = 'attached', attached_at_us = 1")
    return in_state(made, "in-use")


def built(action):
    """The parameters of an action that are built."""
    return {item["name"] for item in ACTIONS[action]["parameters"] if item["built"]} | {"DryRun"}


def needs(action):
    if action not in ACTIONS:
        raise Asleep(action)


SETTING = {
    "region": lambda: REGION,
    "volume": volume,
    "large": lambda: volume(Size="2"),
    "creating": unfinished_volume,
    "deleting": lambda: in_state(volume(), "deleting"),
    "modifying": modifying_volume,
    "absent": lambda: "vol-00000000000000000",
    "foreign": lambda: volume(stranger()),
    "token": lambda: volume(ClientToken="once") and "once",
    "gone": forgotten_volume,
    "gone_token": lambda: value("gone") and "of-a-volume-that-is-gone",
    "snapshot": snapshot,
    "other_snapshot": snapshot,
    "pending_snapshot": pending_snapshot,
    "locked_snapshot": locked_snapshot,
    "absent_snapshot": lambda: "snap-00000000000000000",
    "foreign_snapshot": lambda: snapshot(stranger()),
    "poor_volume": lambda: volume(poor()),
    "gp2": lambda: flavor("gp2", iops_baseline="3:100..16000", size="1..16384"),
    "gp3": lambda: flavor(
        "gp3",
        iops="3000..80000",
        iops_default="3000",
        iops_per_gib="500",
        throughput="125..2000",
        throughput_default="125",
        size="1..65536",
    ),
    "io1": lambda: flavor(
        "io1", iops="100..64000", iops_per_gib="50", iops_required="true", size="4..16384"
    ),
    "io2": lambda: flavor(
        "io2", iops="100..256000", iops_per_gib="1000", iops_required="true", size="4..65536"
    ),
    "attached": attached_volume,
    "instance": instance,
    "other_instance": instance,
    "foreign_instance": lambda: instance(project=None),
    "terminated_instance": lambda: instance(gone_at_us=time.time_ns() // 1000),
    "other_zone_instance": lambda: instance(zone="mars"),
    "absent_instance": lambda: "i-00000000000000000",
}


@functools.cache
def value(name):
    if name not in SETTING:
        raise Asleep("{" + name + "}")
    return SETTING[name]()


def fill(text):
    return re.sub(r"\{([a-z0-9_]+)\}", lambda found: value(found.group(1)), text)


# ----- The table -----


def spread(part):
    """`51xKey.#=k#` is 51 parameters."""
    times = re.match(r"(\d+)x(?=[A-Z])", part)
    if times is None:
        return [part]
    return [part[times.end() :].replace("#", str(number)) for number in range(1, int(times.group(1)) + 1)]


def read(action, text, has_odd_names):
    """The parameters of a request, with everything filled in; Asleep when we have not all of it."""
    named = re.match(r"([A-Za-z]*)\?", text)
    if named is not None:
        action, text = named.group(1), text[named.end() :]
    pairs = [pair for part in text.split("&") if part for pair in spread(part)]
    parameters = dict(pair.split("=", 1) for pair in pairs)
    if not has_odd_names:
        needs(action)
        names = {re.sub(r"\.\d+(?=\.|$)", ".N", name) for name in parameters}
        if names - built(action):
            raise Asleep(f"{action} {', '.join(sorted(names - built(action)))}")
    sent = {"Action": action} if action else {}
    sent.update((name, fill(text)) for name, text in parameters.items())
    return sent


def prepare(action, request):
    """Everything that a row's request needs: what sends it, and gives what came back as `query` has it."""
    if action.startswith("ebs:"):
        if not has_direct():
            raise Asleep(action)
        method, path, body = (fill(request) + "  ").split(" ", 2)
        return lambda: direct(method, path, body.strip())
    *before, last = request.split(" ; ")
    for earlier in before:
        parameters = read(action, earlier, False)
        call(parameters.pop("Action"), **parameters)
    words = re.match(r"(?:![a-z]+ ?)*", last)
    flags = re.findall("[a-z]+", words.group())
    parameters = read(action, last[words.end() :], "names" in flags)
    people = {"reader": reader, "poor": poor}
    credentials = next((people[flag] for flag in flags if flag in people), own)()
    return lambda: query(parameters, spoiled=flags, credentials=credentials)


def effects():
    """How much there is of everything that a request can leave behind."""
    tables = ["volumes", "snapshots", "volume_metadata", "snapshot_metadata", "attachments", "operations", "client_tokens"]
    tables += [name for name in LATER_TABLES if table_exists(name)]
    return {name: database.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}


def difference(row, send):
    """What is wrong with the answer to a row's request; None when nothing is."""
    before = effects()
    status, code, message = send()
    wanted = fill(row.message)
    if (status, code) != (row.status, row.code) or (wanted and message.strip() != wanted):
        return f"   wanted {row.status} {row.code}: {wanted}\n   found  {status} {code}: {message}"
    after = effects()
    if after != before:
        return f"   it left something behind: {before}, then {after}"
    return None


def rows():
    with open(sys.argv[2], encoding="utf-8") as source:
        lines = [line.rstrip("\n") for line in source if not line.startswith("#")]
    for line in lines:
        action, when, request, code, status, message, _, remark, *_ = line.split("\t") + ["", ""]
        names = [action]
        if action == "Describe*":
            names = [name for name, known in sorted(ACTIONS.items()) if known["filters"]]
        for name in names:
            yield Row(name, when, request, code, int(status), message, remark)


def main():
    ran, sleeping, left_out, wrong = 0, 0, 0, []
    for row in rows():
        title = f"{row.action}, {row.when}"
        if row.request == "-":
            left_out += 1
            continue
        try:
            send = prepare(row.action, row.request)
            found = difference(row, send)
        except Asleep as lacking:
            sleeping += 1
            print(f"asleep: {title}: {lacking}")
            continue
        ran += 1
        if row.remark == "unproven":
            print(f"{'differs' if found else 'is proven'}: {title}\n{found or ''}".rstrip())
        elif found:
            wrong.append(f"{title} ({row.request})\n{found}")
    print(f"{ran} refusals ran, {sleeping} sleep, {left_out} are not copied")
    assert not wrong, f"{len(wrong)} refusals differ\n" + "\n".join(wrong)
    assert ran >= 60, "the table is read"
    print("done")


main()
