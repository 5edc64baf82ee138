"""OpenStack's API, asked without a client library: what it says about volumes that EC2 clients work on."""

import json
import os
import urllib.request


class OpenStack:
    def __init__(self):
        domain = {"name": os.environ["OS_USER_DOMAIN_NAME"]}
        user = {"name": os.environ["OS_USERNAME"], "domain": domain, "password": os.environ["OS_PASSWORD"]}
        project = {"name": os.environ["OS_PROJECT_NAME"], "domain": {"name": os.environ["OS_PROJECT_DOMAIN_NAME"]}}
        methods = {"methods": ["password"], "password": {"user": user}}
        body = {"auth": {"identity": methods, "scope": {"project": project}}}
        request = urllib.request.Request(
            os.environ["OS_AUTH_URL"] + "/auth/tokens",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=300) as answer:
            token = json.loads(answer.read())["token"]
            self.token = answer.headers["X-Subject-Token"]
        volumes = next(service for service in token["catalog"] if service["type"] == "block-storage")
        urls = [endpoint["url"] for endpoint in volumes["endpoints"] if endpoint["interface"] == "public"]
        self.url = urls[0].rstrip("/")

    def get(self, path):
        return self._send("GET", path, None)

    def post(self, path, body):
        return self._send("POST", path, json.dumps(body).encode())

    def _send(self, method, path, data):
        headers = {
            "X-Auth-Token": self.token,
            "OpenStack-API-Version": "volume 3.71",
            "Content-Type": "application/json",
        }
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.loads(answer.read())

    def volume(self, ec2_id):
        """The volume whose id begins with the digits of an id of EC2's; None when there is none."""
        volumes = self.get("/volumes/detail")["volumes"]
        return self._of(volumes, ec2_id)

    def snapshot(self, ec2_id):
        return self._of(self.get("/snapshots/detail")["snapshots"], ec2_id)

    def attachments(self, ec2_id):
        volume = self.volume(ec2_id)["id"]
        found = self.get(f"/attachments?volume_id={volume}")["attachments"]
        return [self.get(f"/attachments/{attachment['id']}")["attachment"] for attachment in found]

    @staticmethod
    def _of(things, ec2_id):
        digits = ec2_id.split("-")[1]
        found = [thing for thing in things if thing["id"].replace("-", "").startswith(digits)]
        return found[0] if found else None
