"""openstacksdk and keystoneauth against a service without a worker: every request is understood, every answer too."""

import os

import openstack
from keystoneauth1 import session
from keystoneauth1.identity import v3

cloud = openstack.connect()
storage = cloud.block_storage
assert storage.get_endpoint_data().max_microversion == (3, 71)

made = storage.create_volume(name="sdk", size=1, volume_type="gold", metadata={"k": "v"})
assert made.status == "creating" and made.volume_type == "gold", made
assert storage.get_volume(made.id).metadata == {"k": "v"}
for number in range(6):
    storage.create_volume(name=f"page-{number}", size=1)
assert len(list(storage.volumes())) == 7
assert len(list(storage.volumes(details=False, limit=2))) == 7
assert [volume.name for volume in storage.volumes(name="sdk")] == ["sdk"]
storage.update_volume(made, name="renamed")
storage.set_volume_metadata(made, a="b")
storage.delete_volume_metadata(made, ["a"])
assert storage.find_volume("renamed").id == made.id
assert {kind.name for kind in storage.types()} == {"default", "gold"}
assert storage.find_type("gold").name == "gold"
assert [zone.name for zone in storage.availability_zones()] == ["nova"]
assert storage.get_limits().absolute.total_volumes_used == 7
assert list(storage.snapshots()) == [] and list(storage.backups()) == []
assert storage.get_quota_set(cloud.current_project_id, usage=True).volumes == 10000
try:
    storage.delete_volume(made, ignore_missing=False)
    raise AssertionError("a volume that is being made was deleted")
except openstack.exceptions.BadRequestException as refusal:
    assert "Invalid volume" in str(refusal), refusal
try:
    storage.get_volume("no-such")
    raise AssertionError("found")
except openstack.exceptions.NotFoundException:
    pass

credential = cloud.identity.create_application_credential(cloud.current_user_id, "sdk")
plugin = v3.ApplicationCredential(
    auth_url=os.environ["OS_AUTH_URL"],
    application_credential_id=credential.id,
    application_credential_secret=credential.secret,
)
scoped = session.Session(auth=plugin)
for service_type in ["block-storage", "volumev3", "volume", "block-store"]:
    endpoint = scoped.get_endpoint(service_type=service_type, interface="public")
    assert endpoint and endpoint.startswith(os.environ["XENSM_VOLUME_URL"]), (service_type, endpoint)

# A client that has a token and a URL and no identity service at all.
token = scoped.get_token()
project = cloud.current_project_id
for endpoint in [f"/v3/{project}", "/v3"]:
    bare = openstack.connect(
        load_envvars=False,
        load_yaml_config=False,
        auth_type="admin_token",
        auth={"endpoint": os.environ["XENSM_VOLUME_URL"] + endpoint, "token": token},
    )
    assert len(list(bare.block_storage.volumes())) == 7, endpoint
print("done")
