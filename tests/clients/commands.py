"""Runs commands of the stock OpenStack clients in this process, as a shell would, and remembers which of them ended well.

Importing a client takes a second, so a script runs many commands; and what a client has that no script runs is found."""

import contextlib
import gc
import importlib.metadata
import io
import json
import logging
import os
import shlex
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cinderclient import shell as cinder_shell
from cinderclient.v3 import shell as cinder_functions
from openstackclient import shell as openstack_shell
from osc_lib import clientmanager

# How long a volume may take to become what a command made of it, on a machine that is busy with other tests.
PATIENCE_S = 300
# Between two looks.
PAUSE_S = 0.1

# `openstack` sends what it logs to the root logger, and that is more than anybody wants to read.
logging.disable(logging.INFO)

# The commands that ended well at least once, by client.
done = {"openstack": set(), "cinder": set()}


class Shell(openstack_shell.OpenStackShell):
    def clean_up(self, cmd, result, err):
        super().clean_up(cmd, result, err)
        if err is None and result == 0:
            done["openstack"].add(cmd.cmd_name)


class Tee(io.StringIO):
    """Output that is kept, whatever a client does with its encoding."""

    encoding = "utf-8"


def openstack(line, refused=None):
    """Runs `openstack`; returns what it printed, or what it complained of when it was to be refused with these words."""
    said, complaint = Tee(), Tee()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complaint):
        try:
            code = Shell().run(shlex.split(line))
        except SystemExit as ended:
            code = ended.code
    return judge("openstack " + line, code or 0, said.getvalue(), complaint.getvalue(), refused)


def shown(line):
    """What a command says as JSON; some commands write `ID` and some `id`."""
    return lower(json.loads(openstack(line + " -f json")))


def lower(value):
    if isinstance(value, list):
        return [lower(item) for item in value]
    if isinstance(value, dict):
        return {key.lower(): item for key, item in value.items()}
    return value


def cinder(line, refused=None):
    """As `openstack`, for `cinder`."""
    said, complaint = Tee(), Tee()
    words = shlex.split(line)
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complaint):
        try:
            code = cinder_shell.OpenStackCinderShell().main(words) or 0
        except SystemExit as ended:
            code = ended.code or 0
        except Exception as cause:  # what its `main` prints, and ends with 1
            print(f"ERROR: {cause}", file=complaint)
            code = 1
    # Some commands print what was refused, and end with 0.
    code = code or int("(HTTP 4" in said.getvalue() or "(HTTP 5" in said.getvalue())
    # It keeps these for as long as its process lives.
    cinder_functions.AppendFilters.filters.clear()
    if code == 0:
        done["cinder"].update(set(words) & cinder_commands())
    return judge("cinder " + line, code, said.getvalue(), complaint.getvalue(), refused)


def judge(line, code, said, complaint, refused):
    if refused is None:
        assert code == 0, f"{line}: {code}\n{said}\n{complaint}"
        return said
    assert code != 0, f"{line} was not refused\n{said}"
    assert refused in complaint + said, f"{line}: not {refused!r} but\n{said}\n{complaint}"
    return complaint


def log_in(**variables):
    """Has the following commands run as somebody else: `openstack` keeps its clients as long as its process lives."""
    for kept in gc.get_objects():
        if isinstance(kept, clientmanager.ClientCache):
            kept._handle = None
    os.environ.update(variables)


class Compute(BaseHTTPRequestHandler):
    """As much of a compute service as `openstack` wants to see before it speaks of a server: that there is one."""

    def do_GET(self):
        body = json.dumps({"server": {"id": self.path.rsplit("/", 1)[1], "name": "server"}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def compute_service():
    with ThreadingHTTPServer(("127.0.0.1", 0), Compute) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        log_in(OS_COMPUTE_ENDPOINT_OVERRIDE=f"http://127.0.0.1:{server.server_port}/v2.1")
        yield
        del os.environ["OS_COMPUTE_ENDPOINT_OVERRIDE"]
        log_in()
        server.shutdown()


def until(what, look):
    """Waits until a look finds something, and returns that."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what}: not in {PATIENCE_S} s"
        time.sleep(PAUSE_S)


def openstack_commands(*groups):
    points = importlib.metadata.entry_points()
    return {point.name.replace("_", " ") for group in groups for point in points.select(group=group)}


def cinder_commands():
    names = [name for name in dir(cinder_functions) if name.startswith("do_")]
    return {name[len("do_") :].replace("_", "-") for name in names}


def check_inventory(client, existing, later):
    """Fails for what exists and neither ended well nor is to come later, and for what is to come later and is there."""
    missing = sorted(existing - done[client] - set(later))
    assert not missing, f"commands of {client} that nothing runs: {missing}"
    gone = sorted(set(later) - existing)
    assert not gone, f"{client} has no such commands any more: {gone}"
    built = sorted(set(later) & done[client])
    assert not built, f"commands of {client} that work now: {built}"
