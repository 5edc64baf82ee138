"""Replays what a tool sends, and holds the answers to what it reads of them; prints `ok` at the end.

A recording is a list of steps. `send` is a request: its answer has the `status`, equals `needs` at paths into it, has something at the
paths of `holds`, and is the source of the values to `keep`, which stand in braces later on. `wait` asks again and again, as the
tool's own loop does, which knows the `pending` states (`*`: any) and takes every other one but a `target` for a failure. A state is a
value at the path `of`, or the status of a refusal."""

import json
import os
import sys
import time
import urllib.error
import urllib.request

# How long a loop may take, on a machine that is busy with other tests; the tools wait for minutes too.
PATIENCE_S = 300

kept = {}


def fill(value):
    if isinstance(value, str):
        for name, text in kept.items():
            value = value.replace("{" + name + "}", text)
    elif isinstance(value, list):
        value = [fill(item) for item in value]
    elif isinstance(value, dict):
        value = {key: fill(item) for key, item in value.items()}
    return value


def fetch(url, method="GET", body=None, headers=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **(headers or {})}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status, json.loads(answer.read() or b"null"), answer.headers
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.loads(refusal.read() or b"null"), refusal.headers


def log_in():
    user = {
        "name": os.environ["OS_USERNAME"],
        "domain": {"name": os.environ["OS_USER_DOMAIN_NAME"]},
        "password": os.environ["OS_PASSWORD"],
    }
    project = {"name": os.environ["OS_PROJECT_NAME"], "domain": {"name": os.environ["OS_PROJECT_DOMAIN_NAME"]}}
    methods = {"methods": ["password"], "password": {"user": user}}
    body = {"auth": {"identity": methods, "scope": {"project": project}}}
    status, answer, headers = fetch(os.environ["OS_AUTH_URL"] + "/auth/tokens", "POST", body)
    assert status == 201, answer
    kept["project"] = answer["token"]["project"]["id"]
    services = [service for service in answer["token"]["catalog"] if service["type"] == "block-storage"]
    urls = [endpoint["url"] for endpoint in services[0]["endpoints"] if endpoint["interface"] == "public"]
    return urls[0].rstrip("/"), headers["X-Subject-Token"]


def at(answer, path):
    """The value at a path, or nothing where the path ends early."""
    for name in path.split("."):
        if isinstance(answer, list):
            answer = answer[int(name)] if int(name) < len(answer) else None
        else:
            answer = answer.get(name) if isinstance(answer, dict) else None
    return answer


def ask(base, token, step, request):
    method, path = fill(request).split(" ")
    headers = {"X-Auth-Token": token}
    if "microversion" in step:
        headers["OpenStack-API-Version"] = "volume " + step["microversion"]
    status, answer, _ = fetch(base + path, method, fill(step.get("body")), headers)
    return status, answer


def send(base, token, step):
    status, answer = ask(base, token, step, step["send"])
    told = f"{fill(step)}: {status} {answer}"
    assert status == step["status"], told
    for path, value in step.get("needs", {}).items():
        assert at(answer, path) == fill(value), f"{path} of {told}"
    for path in step.get("holds", []):
        assert at(answer, path), f"{path} of {told}"
    for name, path in step.get("keep", {}).items():
        kept[name] = at(answer, path)
        assert kept[name], f"{path} of {told}"


def wait(base, token, step, pause_s):
    deadline = time.monotonic() + PATIENCE_S
    while True:
        status, answer = ask(base, token, step, step["wait"])
        state = at(answer, step["of"]) if status == 200 else status
        if state in step["target"]:
            return
        told = f"{fill(step)}: {state} {answer}"
        assert state not in step.get("never", []), told
        assert state in step["pending"] or "*" in step["pending"], told
        assert time.monotonic() < deadline, told
        time.sleep(pause_s)


def main():
    for name in sys.argv[1:]:
        base, token = log_in()
        with open(name) as file:
            recording = json.load(file)
        for step in recording["steps"]:
            if "send" in step:
                send(base, token, step)
            else:
                wait(base, token, step, recording["pause_s"])
    print("ok")


main()
