"""Requests that Schemathesis makes of the OpenAPI document, good ones and bad ones.

No answer may be a failure of the server, and each must be as the document says. Arguments: who asks (admin or member), the
microversion, how many requests are made of each operation (more find more, and last longer; from 10 on also those of every edge
of every form), and a directory for what is written.
"""

import os
import pathlib
import subprocess
import sys

import openstack

WHO, VERSION, EXAMPLES = sys.argv[1:4]
PHASES = "fuzzing" if int(EXAMPLES) < 10 else "examples,coverage,fuzzing"
DIRECTORY = pathlib.Path(sys.argv[4])
VOLUME = os.environ["XENSM_VOLUME_URL"]
# What is not built answers 501, what has no service 503, as Cinder does.
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def connected(user, project):
    return openstack.connect(
        auth_url=os.environ["OS_AUTH_URL"], username=user, password=os.environ["OS_PASSWORD"], project_name=project,
        user_domain_name="Default", project_domain_name="Default", block_storage_api_version="3",
        block_storage_default_microversion="3.71")


admin, member = connected("admin", "admin"), connected("alice", "lab")


def make(cloud, path, body, key):
    answer = cloud.block_storage.post(path, json=body, microversion="3.71")
    assert answer.status_code < 300, answer.text
    return answer.json()[key]["id"]


def things():
    """Things that paths may name, fresh for each run, so that most requests reach one."""
    volume = make(member, "/volumes", {"volume": {"size": 1, "name": "one"}}, "volume")
    member.block_storage.wait_for_status(
        member.block_storage.get_volume(volume), "available", failures=["error"], interval=0.1, wait=120)
    snapshot = make(member, "/snapshots", {"snapshot": {"volume_id": volume}}, "snapshot")
    name = f"of-{volume}"
    flavor = make(admin, "/types", {"volume_type": {"name": name}}, "volume_type")
    qos = make(admin, "/qos-specs", {"qos_specs": {"name": name}}, "qos_specs")
    project = member.current_project_id
    return {
        "/volumes/": {"id": volume}, "/snapshots/": {"id": snapshot}, "/types/": {"id": flavor}, "/qos-specs/": {"id": qos},
        "/os-quota-sets/": {"id": project}, "/default-types/": {"project": project}, "/os-hosts/": {"id": "xensm@nova"},
        "/capabilities/": {"host": "xensm@nova"}}


def configuration():
    lines = ["[checks.not_a_server_error]", 'expected-statuses = ["2xx", "3xx", "4xx", "501", "503"]']
    for path, names in things().items():
        lines += ["[[operations]]", f'include-path-regex = "^/v3{path}[{{]"', "[operations.parameters]"]
        lines += [f'"path.{name}" = "{value}"' for name, value in names.items()]
    file = DIRECTORY / "schemathesis.toml"
    file.write_text("\n".join(lines) + "\n")
    return file


cloud = admin if WHO == "admin" else member
document = cloud.block_storage.get("/openapi.json", microversion=VERSION)
assert document.json()["info"]["version"] == VERSION, document.text[:200]
(DIRECTORY / "openapi.json").write_text(document.text)
command = [
    pathlib.Path(sys.executable).with_name("schemathesis"), "--config-file", configuration(), "run", DIRECTORY / "openapi.json",
    "--url", VOLUME, "--checks", CHECKS, "--max-examples", EXAMPLES, "--seed", "1", "--generation-deterministic",
    "--phases", PHASES, "--suppress-health-check", "all", "--warnings", "off", "--no-color",
    "--continue-on-failure", "--no-shrink", "--request-timeout", "100", "--header", f"X-Auth-Token: {cloud.auth_token}",
    "--header", f"OpenStack-API-Version: volume {VERSION}"]
sys.exit(subprocess.run([str(word) for word in command], cwd=DIRECTORY).returncode)
