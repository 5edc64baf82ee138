"""An array of `testkit::ontap` under Cinder's own NetApp driver, unmodified and without a running Cinder; prints `ok` at the end.

Run by hand, since installing Cinder takes a minute and 330 MB:

    cargo build -p testkit --example ontap
    python3 -m venv /tmp/cinder && /tmp/cinder/bin/pip install cinder==29.0.0
    /tmp/cinder/bin/python tests/clients/ontap_cinder.py target/debug/examples/ontap rest 9.14.1

Arguments: the built example, `rest` or `zapi`, the version of the array.
"""
import json
import logging
import os
import subprocess
import sys
import tempfile
import uuid

for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
    # They would count for more than what the driver is told to trust.
    os.environ.pop(variable, None)
EMULATOR, MODE, VERSION = sys.argv[1:]
array = subprocess.Popen([EMULATOR, VERSION, "pool1", "pool2"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
place = json.loads(array.stdout.readline())
directory = tempfile.TemporaryDirectory()
certificate = os.path.join(directory.name, "certificate.pem")
with open(certificate, "w") as file:
    file.write(place["certificate"])
settings = os.path.join(directory.name, "cinder.conf")
with open(settings, "w") as file:
    file.write(f"""[DEFAULT]
enabled_backends = array
state_path = {directory.name}
ssh_hosts_key_file = {directory.name}/known_hosts
[coordination]
backend_url = file://{directory.name}
[oslo_concurrency]
lock_path = {directory.name}
[array]
volume_backend_name = array
volume_driver = cinder.volume.drivers.netapp.common.NetAppDriver
netapp_storage_family = ontap_cluster
netapp_storage_protocol = iscsi
netapp_use_legacy_client = {MODE == "zapi"}
netapp_server_hostname = {place["address"]}
netapp_server_port = {place["https_port"]}
netapp_transport_type = https
netapp_ssl_cert_path = {certificate}
netapp_login = {place["user"]}
netapp_password = {place["password"]}
netapp_vserver = {place["svm"]}
netapp_pool_name_search_pattern = pool.*
netapp_lun_space_reservation = disabled
""")

from oslo_config import cfg

from cinder import context, coordination, exception, objects

objects.register_all()
from cinder.common import config  # noqa: E402,F401  registers the options
from cinder.volume import configuration as volume_configuration  # noqa: E402
from cinder.volume import manager  # noqa: E402
from cinder.volume.drivers.netapp import common  # noqa: E402

cfg.CONF(["--config-file", settings], project="cinder", version="0")
coordination.COORDINATOR.start()
# The driver logs what is refused on purpose.
logging.disable(logging.CRITICAL)
GIB = 1 << 30


class Record(dict):
    """What the driver reads of a volume or snapshot, by name or by attribute."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name)


def volume(size, pool="pool1", **more):
    identity = str(uuid.uuid4())
    return Record(id=identity, name=f"volume-{identity}", size=size, host=f"host@array#{pool}", volume_type_id=None,
                  display_name="", project_id="p", metadata={}, provider_auth=None, provider_location=None, multiattach=False, **more)


def snapshot_of(source):
    identity = str(uuid.uuid4())
    return Record(id=identity, name=f"snapshot-{identity}", volume_id=source.id, volume_name=source.name, volume=source,
                  volume_size=source.size)


def inquire(initiator, properties, name=None):
    """What the LUN says of itself over iSCSI."""
    data = properties["data"]
    lun = data.get("target_lun", (data.get("target_luns") or [None])[0])
    portal = data.get("target_portal") or data["target_portals"][0]
    target = data.get("target_iqn") or data["target_iqns"][0]
    command = ["iscsi-inq", "-i", initiator, f"iscsi://{portal}/{target}/{lun}"]
    return subprocess.run(command, capture_output=True, text=True)


settings = volume_configuration.Configuration(manager.volume_backend_opts, config_group="array")
driver = common.NetAppDriver(configuration=settings, host="host@array", app_version="1")
driver.do_setup(context.get_admin_context())
driver.check_for_setup_error()
stats = driver.get_volume_stats(refresh=True)
pools = {pool["pool_name"]: pool for pool in stats["pools"]}
assert set(pools) == {"pool1", "pool2"}, pools
assert pools["pool1"]["total_capacity_gb"] == 10 and pools["pool1"]["free_capacity_gb"] == 10, pools
assert pools["pool1"]["netapp_aggregate"] == "aggr1" and pools["pool1"]["netapp_raid_type"] == "raid_dp", pools
print("started:", stats["storage_protocol"], stats["driver_version"])

first = volume(1)
first.update(driver.create_volume(first) or {})
first["provider_location"] = first["provider_location"] or f"svm1:/vol/pool1/{first.name}"
snapshot = snapshot_of(first)
driver.create_snapshot(snapshot)
copy = volume(2)
copy.update(driver.create_volume_from_snapshot(copy, snapshot) or {})
clone = volume(1)
clone.update(driver.create_cloned_volume(clone, first) or {})
driver.extend_volume(clone, 3)
luns = {lun["Path"]: int(lun["Size"]) for lun in driver.library.zapi_client.get_lun_list()}
wanted = {first.name: 1, snapshot.name: 1, copy.name: 2, clone.name: 3}
assert luns == {f"/vol/pool1/{name}": size * GIB for name, size in wanted.items()}, luns
print("made:", len(luns), "LUNs")

for host in ("a", "b"):
    initiator = f"iqn.2026-11.test:host-{host}"
    connector = {"initiator": initiator, "host": f"host-{host}", "ip": "127.0.0.1", "multipath": False}
    properties = driver.initialize_connection(first, connector)
    said = inquire(initiator, properties)
    assert said.returncode == 0 and "LUN C-Mode" in said.stdout, said
    again = driver.initialize_connection(first, connector)
    assert again["data"]["target_lun"] == properties["data"]["target_lun"], again
    print("attached:", properties["data"]["target_iqn"], properties["data"]["target_portal"], properties["data"]["target_lun"])
for host in ("a", "b"):
    initiator = f"iqn.2026-11.test:host-{host}"
    driver.terminate_connection(first, {"initiator": initiator, "host": f"host-{host}"})
    assert inquire(initiator, properties).returncode != 0
print("detached")

reference = {"source-name": f"/vol/pool1/{clone.name}"}
adopted = volume(3)
assert driver.manage_existing_get_size(adopted, reference) == 3
adopted.update(driver.manage_existing(adopted, reference) or {})
driver.unmanage(adopted)
too_large = volume(64 << 10)
try:
    driver.create_volume(too_large)
    raise AssertionError("a LUN of 64 TiB was made")
except exception.VolumeBackendAPIException:
    pass
driver.delete_snapshot(snapshot)
for gone in (first, copy, adopted):
    driver.delete_volume(gone)
driver.delete_volume(first)
# Below 9.5 the driver makes a LUN of 16 TiB and then resizes it; when that fails it leaves it behind.
left = {lun["Path"] for lun in driver.library.zapi_client.get_lun_list()}
assert left <= {f"/vol/pool1/{too_large.name}", f"/vol/pool2/{too_large.name}"}, left
assert not left or MODE == "zapi", left
print("ok")
array.stdin.close()
os._exit(0)
