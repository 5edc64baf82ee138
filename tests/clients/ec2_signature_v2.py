"""CreateVolume, DescribeVolumes and DeleteVolume as a client of the euca2ools era signs them: signature version 2."""
import base64
import hashlib
import hmac
import os
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

URL = os.environ["EC2_URL"]
HOST = urllib.parse.urlsplit(URL).netloc


def call(method, digest, action, **parameters):
    query = {
        "Action": action, "Version": "2009-11-30", "AWSAccessKeyId": os.environ["EC2_ACCESS_KEY"], "SignatureVersion": "2",
        "SignatureMethod": {"sha256": "HmacSHA256", "sha1": "HmacSHA1"}[digest],
        "Timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **parameters}
    encoded = "&".join(
        f"{urllib.parse.quote(key, safe='-_.~')}={urllib.parse.quote(value, safe='-_.~')}"
        for key, value in sorted(query.items()))
    text = f"{method}\n{HOST.lower()}\n/\n{encoded}"
    signed = hmac.new(os.environ["EC2_SECRET_KEY"].encode(), text.encode(), getattr(hashlib, digest)).digest()
    encoded += "&Signature=" + urllib.parse.quote(base64.b64encode(signed).decode(), safe="")
    if method == "GET":
        request = urllib.request.Request(f"{URL}/?{encoded}")
    else:
        request = urllib.request.Request(f"{URL}/", data=encoded.encode())
    with urllib.request.urlopen(request) as answer:
        return answer.read().decode()


answer = call("POST", "sha256", "CreateVolume", AvailabilityZone="nova", Size="1", VolumeType="default")
assert 'xmlns="http://ec2.amazonaws.com/doc/2009-11-30/"' in answer, answer
volume = re.search("<volumeId>(vol-[0-9a-f]+)</volumeId>", answer).group(1)
deadline = time.time() + 180
while "<status>available</status>" not in call("GET", "sha1", "DescribeVolumes", **{"VolumeId.1": volume}):
    assert time.time() < deadline, "the volume is not available"
    time.sleep(0.1)
assert "<return>true</return>" in call("GET", "sha256", "DeleteVolume", VolumeId=volume)
os.environ["EC2_SECRET_KEY"] += "x"
try:
    call("GET", "sha256", "DescribeVolumes")
    sys.exit("a wrong signature was accepted")
except urllib.error.HTTPError as refused:
    body = refused.read().decode()
    assert refused.code in (401, 403) and ("SignatureDoesNotMatch" in body or "AuthFailure" in body), body
print("ok")
