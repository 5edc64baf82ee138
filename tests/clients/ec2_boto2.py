"""The life of a volume and a snapshot with boto 2, which clients of the time of euca2ools were made of: signature version 2 at the old
path, and version 4 with the scope that it makes of an address; prints `ok` at the end."""

import os
import urllib.parse

import boto.ec2.connection
import boto.ec2.regioninfo

from ec2_clients import Boto2, Refused, refused, until

old = Boto2()
assert old.zones() == ["nova"]
refused("DryRunOperation", old.dry_run_of_zones)
volume = old.create_volume("nova", size=1, volume_type="default")
old.wait_available(volume)
shown = old.volume(volume)
assert (shown["size"], shown["type"], shown["attachments"]) == (1, "default", []), shown
assert old.volumes_with_tag("Name", "x") == []

snapshot = old.create_snapshot(volume, "caf\u00e9 & <co>")
old.wait_completed(snapshot)
shown = old.snapshot(snapshot)
assert (shown["size"], shown["volume"], shown["description"]) == (1, volume, "caf\u00e9 & <co>"), shown
restored = old.create_volume("nova", size=2, snapshot=snapshot)
old.wait_available(restored)
shown = old.volume(restored)
assert (shown["size"], shown["snapshot"]) == (2, snapshot), shown
old.modify(restored, 3)
until("the volume is grown", lambda: old.modification(restored) == ("completed", 3))
refused("InvalidVolume.NotFound", old.volume, "vol-00000000000000000")
refused("InvalidSnapshot.NotFound", old.delete_snapshot, "snap-00000000000000000")
refused("InvalidParameterValue", old.delete_volume, "vol-x")

# As it signs when nobody tells it that the endpoint is an old one.
url = urllib.parse.urlsplit(os.environ["AWS_ENDPOINT_URL_EC2"])
newer = boto.ec2.connection.EC2Connection(
    os.environ["AWS_ACCESS_KEY_ID"],
    os.environ["AWS_SECRET_ACCESS_KEY"],
    is_secure=url.scheme == "https",
    port=url.port,
    region=boto.ec2.regioninfo.RegionInfo(name="old", endpoint=url.hostname),
    path="/services/Cloud",
)
assert {item.id for item in newer.get_all_volumes()} == {volume, restored}
os.environ["AWS_SECRET_ACCESS_KEY"] += "x"
try:
    Boto2().zones()
except Refused as refusal:
    assert str(refusal) == "SignatureDoesNotMatch", refusal
else:
    raise AssertionError("a wrong signature was accepted")

for made in (volume, restored):
    old.delete_volume(made)
    old.wait_deleted(made)
old.delete_snapshot(snapshot)
print("ok")
