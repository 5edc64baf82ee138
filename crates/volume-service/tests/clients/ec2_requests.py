"""boto3 and botocore against a service without a worker: signatures of every kind, errors, paging."""

import os
import urllib.error
import urllib.request

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.credentials
from botocore.exceptions import ClientError

ec2 = boto3.client("ec2")
made = ec2.create_volume(Size=3, AvailabilityZone="nova", VolumeType="gold", ClientToken="once")
again = ec2.create_volume(Size=3, AvailabilityZone="nova", VolumeType="gold", ClientToken="once")
assert made["VolumeId"] == again["VolumeId"]
assert made["CreateTime"].tzinfo is not None and made["Encrypted"] is False, made
for _ in range(6):
    ec2.create_volume(Size=1, AvailabilityZone="nova")
pages = list(ec2.get_paginator("describe_volumes").paginate(PaginationConfig={"PageSize": 5}))
assert [len(page["Volumes"]) for page in pages] == [3, 3, 1], pages
sizes = ec2.describe_volumes(Filters=[{"Name": "size", "Values": ["3"]}])["Volumes"]
assert [volume["VolumeId"] for volume in sizes] == [made["VolumeId"]]


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error.response
    else:
        raise AssertionError(code)


refused("IdempotentParameterMismatch", ec2.create_volume, Size=4, AvailabilityZone="nova", ClientToken="once")
refused("InvalidVolume.NotFound", ec2.describe_volumes, VolumeIds=["vol-0123456789abcdef0"])
refused("UnsupportedOperation", ec2.create_volume, Size=1, AvailabilityZone="nova", Encrypted=True)
refused("InvalidAction", ec2.describe_vpcs)
assert ec2.describe_instances()["Reservations"] == []
refused("InvalidInstanceID.NotFound", ec2.attach_volume,
        VolumeId=made["VolumeId"], InstanceId="i-0123456789abcdef0", Device="/dev/sdf")
refused("IncorrectState", ec2.detach_volume, VolumeId=made["VolumeId"])
refused("InvalidParameterValue", ec2.describe_volumes, MaxResults=4)
refused("InvalidParameterCombination", ec2.describe_volumes, VolumeIds=[made["VolumeId"]], MaxResults=5)
refused("InvalidParameterValue", ec2.describe_volumes, NextToken="of-another-service")
refused("InvalidParameterValue", ec2.describe_volumes, Filters=[{"Name": "colour", "Values": ["red"]}])
refused("DryRunOperation", ec2.modify_volume, VolumeId="vol-0123456789abcdef0", DryRun=True)
named = ec2.describe_volumes(VolumeIds=[volume["VolumeId"] for page in pages for volume in page["Volumes"]])["Volumes"]
assert len(named) == 7, named
ec2.create_tags(Resources=[made["VolumeId"]], Tags=[{"Key": "Name", "Value": "one"}, {"Key": "Team", "Value": ""}])
tags = list(ec2.get_paginator("describe_tags").paginate(Filters=[{"Name": "resource-type", "Values": ["volume"]}]))
assert [tag["Key"] for page in tags for tag in page["Tags"]] == ["Name", "Team"], tags
ec2.delete_tags(Resources=[made["VolumeId"]], Tags=[{"Key": "Team", "Value": ""}])
assert ec2.describe_volumes(VolumeIds=[made["VolumeId"]])["Volumes"][0]["Tags"] == [{"Key": "Name", "Value": "one"}]
refused("InvalidID", ec2.create_tags, Resources=["sg-01234567"], Tags=[{"Key": "a", "Value": ""}])
assert [region["RegionName"] for region in ec2.describe_regions()["Regions"]] == ["RegionOne"]
assert ec2.describe_account_attributes(AttributeNames=["default-vpc"])["AccountAttributes"][0]["AttributeValues"]
status = list(ec2.get_paginator("describe_volume_status").paginate(PaginationConfig={"PageSize": 5}))
status = [volume for page in status for volume in page["VolumeStatuses"]]
assert len(status) == 7 and {volume["VolumeStatus"]["Status"] for volume in status} == {"ok"}, status
ec2.modify_volume_attribute(VolumeId=made["VolumeId"], AutoEnableIO={"Value": True})
attribute = ec2.describe_volume_attribute(VolumeId=made["VolumeId"], Attribute="autoEnableIO")
assert attribute["AutoEnableIO"] == {"Value": True}, attribute
refused("IncorrectState", ec2.enable_volume_io, VolumeId=made["VolumeId"])
refused("InvalidParameterCombination", ec2.create_volume, Size=1, AvailabilityZone="nova", Iops=3000)
refused("IncorrectState", ec2.modify_volume, VolumeId=made["VolumeId"], Size=4)
refused("IncorrectState", ec2.copy_volumes, SourceVolumeId=made["VolumeId"])
assert made["OwnerId"] in made["VolumeArn"] and made["AvailabilityZoneId"] == "nova", made
assert ec2.describe_volumes_modifications()["VolumesModifications"] == []
assert ec2.get_ebs_encryption_by_default()["EbsEncryptionByDefault"] is False
assert ec2.get_ebs_default_kms_key_id()["KmsKeyId"].endswith("alias/aws/ebs")
sts = boto3.client("sts", endpoint_url=os.environ["AWS_ENDPOINT_URL_EC2"])
caller = sts.get_caller_identity()
assert caller["Arn"] == f"arn:aws:iam::{caller['Account']}:user/{caller['UserId']}", caller

wrong = boto3.client("ec2", aws_secret_access_key="wrong", aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"])
refused("SignatureDoesNotMatch", wrong.describe_volumes)
unknown = boto3.client("ec2", aws_secret_access_key="wrong", aws_access_key_id="nobody")
refused("AuthFailure", unknown.describe_volumes)

url = os.environ["AWS_ENDPOINT_URL_EC2"]
credentials = botocore.credentials.Credentials(
    os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
)


def fetch(request):
    prepared = request.prepare()
    body = prepared.body.encode() if isinstance(prepared.body, str) else prepared.body
    plain = urllib.request.Request(prepared.url, data=body, headers=dict(prepared.headers), method=prepared.method)
    with urllib.request.urlopen(plain, timeout=30) as answer:
        return answer.read().decode()


query = "?Action=DescribeVolumes&Version=2010-08-31"
signed_url = botocore.awsrequest.AWSRequest(method="GET", url=f"{url}/{query}")
botocore.auth.SigV4QueryAuth(credentials, "ec2", "undefined-4711", expires=60).add_auth(signed_url)
assert "http://ec2.amazonaws.com/doc/2010-08-31/" in fetch(signed_url)

old = botocore.awsrequest.AWSRequest(
    method="POST", url=f"{url}/services/Cloud", data={"Action": "DescribeVolumes", "Version": "2010-08-31"}
)
old.params = {}
botocore.auth.SigV2Auth(credentials).add_auth(old)
assert made["VolumeId"] in fetch(old)

unknown_version = botocore.awsrequest.AWSRequest(
    method="POST", url=f"{url}/", data={"Action": "DescribeVolumes", "Version": "2030-01-01"}
)
botocore.auth.SigV4Auth(credentials, "ec2", "us-east-1").add_auth(unknown_version)
try:
    fetch(unknown_version)
except urllib.error.HTTPError as error:
    told = error.read().decode()
    assert error.code == 400 and "<Code>NoSuchVersion</Code>" in told, told
    assert error.headers["x-amzn-RequestId"] in told, told
else:
    raise AssertionError("NoSuchVersion")
print("done")
