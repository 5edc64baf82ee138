"""Three clients of the EC2 API behind one set of names: boto3, the stock `aws` command and boto 2 with signature version 2, which is
what clients of the time of euca2ools send. Each waits with its own waiters."""

import contextlib
import io
import json
import os
import time
import urllib.parse

import boto3
import boto.ec2.connection
import boto.ec2.regioninfo
import boto.exception
import botocore.exceptions

# How long anything may take, on a machine that is busy with other tests.
PATIENCE_S = 300
PAUSE_S = 0.2
QUICK = {"Delay": PAUSE_S, "MaxAttempts": int(PATIENCE_S / PAUSE_S)}


def until(what, look):
    """What `look` returns, once that is something."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(PAUSE_S)


class Refused(Exception):
    """A refusal; its text is the code."""


def plain(tags):
    return {tag["Key"]: tag["Value"] for tag in tags}


def listed(tags):
    return [{"Key": key, "Value": value} for key, value in tags.items()]


class Modern:
    """What boto3 and the command have in common: the names of the service's model. `call` sends, `wait` waits."""

    def zones(self):
        return [zone["ZoneName"] for zone in self.call("describe_availability_zones")["AvailabilityZones"]]

    def dry_run_of_zones(self):
        self.call("describe_availability_zones", DryRun=True)

    def create_volume(self, zone, size=None, volume_type=None, snapshot=None, tags=None):
        wanted = {"AvailabilityZone": zone, "VolumeType": volume_type, "SnapshotId": snapshot, "Size": size}
        if tags:
            wanted["TagSpecifications"] = [{"ResourceType": "volume", "Tags": listed(tags)}]
        return self.call("create_volume", **{name: value for name, value in wanted.items() if value})["VolumeId"]

    def volume(self, volume):
        shown = self.call("describe_volumes", VolumeIds=[volume])["Volumes"][0]
        attachments = [
            {"instance": item["InstanceId"], "device": item["Device"], "state": item["State"]}
            for item in shown["Attachments"]
        ]
        return {
            "state": shown["State"],
            "size": shown["Size"],
            "type": shown["VolumeType"],
            "snapshot": shown.get("SnapshotId", ""),
            "tags": plain(shown.get("Tags", [])),
            "attachments": attachments,
        }

    def export(self, volume):
        """Where the bytes of an attached volume are."""
        return self.call("describe_volumes", VolumeIds=[volume])["Volumes"][0]["Attachments"][0]["AssociatedResource"]

    def volumes_with_tag(self, key, value):
        filters = [{"Name": f"tag:{key}", "Values": [value]}]
        return [item["VolumeId"] for item in self.call("describe_volumes", Filters=filters)["Volumes"]]

    def wait_available(self, volume):
        self.wait("volume_available", VolumeIds=[volume])

    def wait_in_use(self, volume):
        self.wait("volume_in_use", VolumeIds=[volume])

    def wait_deleted(self, volume):
        self.wait("volume_deleted", VolumeIds=[volume])

    def wait_completed(self, snapshot):
        self.wait("snapshot_completed", SnapshotIds=[snapshot])

    def add_tags(self, resource, tags):
        self.call("create_tags", Resources=[resource], Tags=listed(tags))

    def remove_tag(self, resource, key):
        self.call("delete_tags", Resources=[resource], Tags=[{"Key": key}])

    def tags(self, resource):
        filters = [{"Name": "resource-id", "Values": [resource]}]
        return plain(self.call("describe_tags", Filters=filters)["Tags"])

    def instances(self):
        told = self.call("describe_instances")["Reservations"]
        return {item["InstanceId"]: item["State"]["Name"] for each in told for item in each["Instances"]}

    def attach(self, volume, instance, device):
        return self.call("attach_volume", VolumeId=volume, InstanceId=instance, Device=device)["State"]

    def detach(self, volume):
        return self.call("detach_volume", VolumeId=volume)["State"]

    def create_snapshot(self, volume, description):
        return self.call("create_snapshot", VolumeId=volume, Description=description)["SnapshotId"]

    def snapshot(self, snapshot):
        shown = self.call("describe_snapshots", SnapshotIds=[snapshot])["Snapshots"][0]
        return {
            "state": shown["State"],
            "size": shown["VolumeSize"],
            "volume": shown["VolumeId"],
            "description": shown["Description"],
        }

    def copy_snapshot(self, snapshot, description):
        wanted = {"SourceRegion": os.environ["AWS_DEFAULT_REGION"], "SourceSnapshotId": snapshot}
        return self.call("copy_snapshot", **wanted, Description=description)["SnapshotId"]

    def modify(self, volume, size):
        return self.call("modify_volume", VolumeId=volume, Size=size)["VolumeModification"]["ModificationState"]

    def modification(self, volume):
        told = self.call("describe_volumes_modifications", VolumeIds=[volume])["VolumesModifications"]
        return told[0]["ModificationState"], told[0]["TargetSize"]

    def delete_volume(self, volume):
        self.call("delete_volume", VolumeId=volume)

    def delete_snapshot(self, snapshot):
        self.call("delete_snapshot", SnapshotId=snapshot)


class Boto3(Modern):
    name = "boto3"

    def __init__(self):
        self.ec2 = boto3.client("ec2")

    def call(self, name, **arguments):
        try:
            return getattr(self.ec2, name)(**arguments)
        except botocore.exceptions.ClientError as error:
            raise Refused(error.response["Error"]["Code"]) from error

    def wait(self, name, **arguments):
        self.ec2.get_waiter(name).wait(**arguments, WaiterConfig=QUICK)


class Aws(Modern):
    """The stock command, in one process because importing it takes a second. Its waiters look every 15 seconds, so the story looks
    first."""

    name = "aws"

    def __init__(self):
        # It puts a botocore of its own in the place of the one that boto3 needs.
        import awscli.clidriver

        self.driver = awscli.clidriver

    def run(self, *arguments):
        said, complaint = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complaint):
            ended = self.driver.create_clidriver().main(["ec2", *arguments, "--output", "json"])
        if ended == 0:
            return said.getvalue()
        told = complaint.getvalue()
        assert "An error occurred (" in told, f"aws {arguments}: {told}"
        raise Refused(told.split("An error occurred (")[1].split(")")[0])

    def call(self, name, **arguments):
        words = [name.replace("_", "-"), "--cli-input-json", json.dumps(arguments)]
        return json.loads(self.run(*words) or "null")

    def wait(self, name, **arguments):
        ids = [item for value in arguments.values() for item in value]
        option = "--volume-ids" if "VolumeIds" in arguments else "--snapshot-ids"
        until(f"{name} of {ids}", lambda: self.is_there(name, ids[0]))
        self.run("wait", name.replace("_", "-"), option, *ids)

    def is_there(self, name, thing):
        wanted = {"volume_available": "available", "volume_in_use": "in-use", "snapshot_completed": "completed"}
        try:
            shown = self.snapshot(thing) if thing.startswith("snap-") else self.volume(thing)
        except Refused as refusal:
            return name == "volume_deleted" and str(refusal) == "InvalidVolume.NotFound"
        assert shown["state"] != "error", shown
        return shown["state"] == wanted.get(name)


class OldConnection(boto.ec2.connection.EC2Connection):
    """boto 2 signs with version 4 unless it is told that the endpoint is an old one."""

    def _required_auth_capability(self):
        return ["ec2"]


class Boto2:
    name = "boto 2, signature version 2"

    def __init__(self):
        url = urllib.parse.urlsplit(os.environ["AWS_ENDPOINT_URL_EC2"])
        self.ec2 = OldConnection(
            os.environ["AWS_ACCESS_KEY_ID"],
            os.environ["AWS_SECRET_ACCESS_KEY"],
            is_secure=url.scheme == "https",
            port=url.port,
            region=boto.ec2.regioninfo.RegionInfo(name="old", endpoint=url.hostname),
            path="/services/Cloud",
        )
        self.ec2.num_retries = 0

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if not callable(found) or name.startswith("_"):
            return found

        def call(*arguments, **named):
            try:
                return found(*arguments, **named)
            except boto.exception.EC2ResponseError as error:
                raise Refused(error.error_code) from error

        return call

    def zones(self):
        return [zone.name for zone in self.ec2.get_all_zones()]

    def dry_run_of_zones(self):
        self.ec2.get_all_zones(dry_run=True)

    def create_volume(self, zone, size=None, volume_type=None, snapshot=None, tags=None):
        # This client knows no tags of what is being made.
        made = self.ec2.create_volume(size, zone, snapshot=snapshot, volume_type=volume_type).id
        if tags:
            self.ec2.create_tags([made], tags)
        return made

    def volume(self, volume):
        shown = self.ec2.get_all_volumes([volume])[0]
        attachment = shown.attach_data
        attachments = [{"instance": attachment.instance_id, "device": attachment.device, "state": attachment.status}]
        return {
            "state": shown.status,
            "size": shown.size,
            "type": shown.type,
            "snapshot": shown.snapshot_id or "",
            "tags": dict(shown.tags),
            "attachments": attachments if attachment.instance_id else [],
        }

    def export(self, volume):
        """It has no word for it."""
        return None

    def volumes_with_tag(self, key, value):
        return [volume.id for volume in self.ec2.get_all_volumes(filters={f"tag:{key}": value})]

    def _wait(self, thing, wanted):
        def look():
            shown = self.snapshot(thing) if thing.startswith("snap-") else self.volume(thing)
            assert shown["state"] != "error", shown
            return shown["state"] == wanted

        until(f"{thing} is {wanted}", look)

    def wait_available(self, volume):
        self._wait(volume, "available")

    def wait_in_use(self, volume):
        self._wait(volume, "in-use")

    def wait_completed(self, snapshot):
        self._wait(snapshot, "completed")

    def wait_deleted(self, volume):
        def is_gone():
            try:
                self.volume(volume)
            except Refused as refusal:
                assert str(refusal) == "InvalidVolume.NotFound", refusal
                return True
            return False

        until(f"{volume} is gone", is_gone)

    def add_tags(self, resource, tags):
        assert self.ec2.create_tags([resource], tags) is True

    def remove_tag(self, resource, key):
        assert self.ec2.delete_tags([resource], [key]) is True

    def tags(self, resource):
        return {tag.name: tag.value for tag in self.ec2.get_all_tags(filters={"resource-id": resource})}

    def instances(self):
        return {item.id: item.state for item in self.ec2.get_only_instances()}

    def attach(self, volume, instance, device):
        # What it returns is a boolean that it makes of the state, wrongly.
        self.ec2.attach_volume(volume, instance, device)
        return "attaching"

    def detach(self, volume):
        self.ec2.detach_volume(volume)
        return "detaching"

    def create_snapshot(self, volume, description):
        return self.ec2.create_snapshot(volume, description).id

    def snapshot(self, snapshot):
        shown = self.ec2.get_all_snapshots([snapshot])[0]
        return {
            "state": shown.status,
            "size": int(shown.volume_size),
            "volume": shown.volume_id,
            "description": shown.description,
        }

    def copy_snapshot(self, snapshot, description):
        return self.ec2.copy_snapshot(os.environ["AWS_DEFAULT_REGION"], snapshot, description)

    def modify(self, volume, size):
        # Newer than this client; it sends what it is told.
        found = self.ec2.get_object("ModifyVolume", {"VolumeId": volume, "Size": size}, _Texts, verb="POST")
        return found.texts["modificationState"]

    def modification(self, volume):
        found = self.ec2.get_object("DescribeVolumesModifications", {"VolumeId.1": volume}, _Texts, verb="POST")
        return found.texts["modificationState"], int(found.texts["targetSize"])

    def delete_volume(self, volume):
        assert self.ec2.delete_volume(volume) is True

    def delete_snapshot(self, snapshot):
        assert self.ec2.delete_snapshot(snapshot) is True


class _Texts:
    """Every element of an answer that this client has no class for."""

    def __init__(self, connection=None):
        self.texts = {}

    def startElement(self, name, attrs, connection):
        return None

    def endElement(self, name, value, connection):
        self.texts[name] = value


CLIENTS = [Boto3, Aws, Boto2]


def refused(code, call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Refused as refusal:
        assert str(refusal) == code, f"{refusal} instead of {code}"
        return
    raise AssertionError(f"{code} was expected")
