"""A Keystone of its own in one process: tables, keys, the first user, then requests until the input ends."""

import os
import sqlite3
import ssl
import sys
import threading
import traceback
import warnings
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

warnings.simplefilter("ignore")
directory, password, certificate, key = sys.argv[1:5]
config = os.path.join(directory, "keystone.conf")
os.environ["OS_KEYSTONE_CONFIG_FILES"] = config

from cryptography.fernet import Fernet  # noqa: E402
from keystone.cmd import cli  # noqa: E402
from keystone.server import wsgi  # noqa: E402

for name in ("fernet", "credential"):
    os.makedirs(os.path.join(directory, name), mode=0o700)
    for index in ("0", "1"):
        with open(os.path.join(directory, name, index), "wb") as file:
            file.write(Fernet.generate_key())


def manage(*arguments):
    """Runs a command of keystone-manage in a process of its own, which has everything imported already."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            sys.argv = ["keystone-manage", "--config-file", config, *arguments]
            cli.main(argv=sys.argv, developer_config_file=config)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    if os.waitpid(child, 0)[1]:
        sys.exit(f"keystone-manage {arguments[0]} failed")


manage("db_sync")
manage("bootstrap", "--bootstrap-password", password, "--bootstrap-region-id", "RegionOne")
# Else a reader, also one that a finished request left open, keeps a commit waiting, and after five seconds it is a 500.
sqlite3.connect(os.path.join(directory, "keystone.db")).execute("PRAGMA journal_mode=WAL")


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Quiet(WSGIRequestHandler):
    def log_message(self, *arguments):
        pass


sys.argv = ["keystone"]
server = Server(("127.0.0.1", 0), Quiet)
server.set_app(wsgi.initialize_public_application())
if certificate != "-":
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
