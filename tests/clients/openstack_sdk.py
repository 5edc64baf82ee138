"""The life of a volume with openstacksdk; prints `ok` at the end."""
import sys
import time

import openstack
from openstack import exceptions

cloud = openstack.connect(cloud="xensm")
volumes = cloud.block_storage

types = {kind.name for kind in volumes.types()}
assert "default" in types, types
assert [zone.name for zone in volumes.availability_zones()] == ["nova"]

made = volumes.create_volume(name="sdk", size=1, volume_type="default", metadata={"purpose": "test"})
volumes.wait_for_status(made, "available", failures=["error"], interval=0.1, wait=180)
shown = volumes.get_volume(made.id)
assert shown.size == 1 and shown.volume_type == "default" and shown.metadata == {"purpose": "test"}, shown
assert shown.availability_zone == "nova", shown
assert [volume.id for volume in volumes.volumes(name="sdk")] == [made.id]

volumes.update_volume(made, name="renamed", description="a sentence")
assert volumes.find_volume("renamed").id == made.id
volumes.set_volume_metadata(made, colour="red")
assert volumes.get_volume_metadata(made).metadata == {"purpose": "test", "colour": "red"}
volumes.delete_volume_metadata(made, ["purpose"])
assert volumes.get_volume(made.id).metadata == {"colour": "red"}

try:
    volumes.create_volume(name="no", size=1, volume_type="no-such-flavor")
    sys.exit("an unknown flavor was accepted")
except exceptions.HttpException as refused:
    assert refused.status_code in (400, 404), refused
try:
    volumes.get_volume("00000000-0000-4000-8000-000000000000")
    sys.exit("an unknown volume was shown")
except exceptions.NotFoundException:
    pass

# Pages of two, in order, none twice.
more = [volumes.create_volume(name=f"page-{index}", size=1) for index in range(5)]
for volume in more:
    volumes.wait_for_status(volume, "available", failures=["error"], interval=0.1, wait=180)
seen = [volume.id for volume in volumes.volumes(limit=2)]
assert sorted(seen) == sorted([made.id] + [volume.id for volume in more]), seen

for volume in more + [made]:
    volumes.delete_volume(volume)
deadline = time.time() + 180
while list(volumes.volumes()):
    assert time.time() < deadline, "volumes are left"
    time.sleep(0.1)
print("ok")
