"""The official XenAPI package on the embedded Storage Manager: SR and VDI from creation to destruction; prints `ok`."""
import os
import sys

import XenAPI

session = XenAPI.Session(os.environ["XENAPI_URL"], ignore_ssl=True)
try:
    session.xenapi.login_with_password("root", "wrong")
    sys.exit("a wrong password was accepted")
except XenAPI.Failure as refused:
    assert refused.details[0] == "SESSION_AUTHENTICATION_FAILED", refused.details
session.xenapi.login_with_password(os.environ["XENAPI_USERNAME"], os.environ["XENAPI_PASSWORD"], "1.0", "test")
assert session.API_version.startswith("2."), session.API_version
api = session.xenapi

host = api.host.get_all()[0]
location = sys.argv[1]
sr = api.SR.create(host, {"location": location}, "0", "a label", "a description", "file", "user", False, {})
record = api.SR.get_record(sr)
assert record["type"] == "file" and record["name_label"] == "a label" and int(record["physical_size"]) > 0, record
pbd = api.PBD.get_record(record["PBDs"][0])
assert pbd["currently_attached"] is True and pbd["device_config"]["location"] == location, pbd

vdi = api.VDI.create({
    "name_label": "a disk", "name_description": "", "SR": sr, "virtual_size": str(5 * 1024 ** 2 + 1), "type": "user",
    "sharable": False, "read_only": False, "other_config": {"mine": "yes"}, "xenstore_data": {}, "sm_config": {}, "tags": []})
record = api.VDI.get_record(vdi)
assert record["virtual_size"] == str(6 * 1024 ** 2), record
assert record["managed"] and not record["is_a_snapshot"] and record["other_config"] == {"mine": "yes"}, record
assert os.path.exists(os.path.join(location, record["uuid"] + ".vhd"))
assert api.VDI.get_by_uuid(record["uuid"]) == vdi and api.VDI.get_by_name_label("a disk") == [vdi]
assert list(api.VDI.get_all_records_where('field "name__label" = "a disk"')) == [vdi]

domain = api.host.get_control_domain(host)
vbd = api.VBD.create({
    "VM": domain, "VDI": vdi, "userdevice": "autodetect", "bootable": False, "mode": "RW", "type": "Disk", "empty": False,
    "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}})
api.VBD.plug(vbd)
record = api.VBD.get_record(vbd)
assert record["currently_attached"] and os.path.exists(record["other_config"]["xensm:nbd_socket"]), record
try:
    api.VDI.destroy(vdi)
    sys.exit("a VDI in use was destroyed")
except XenAPI.Failure as refused:
    assert refused.details[0] == "VDI_IN_USE", refused.details
api.VBD.unplug(vbd)
api.VBD.destroy(vbd)
try:
    api.SR.create(host, {}, "0", "x", "", "no-such-type", "", False, {})
    sys.exit("an unknown SR type was accepted")
except XenAPI.Failure as refused:
    assert refused.details == ["SR_UNKNOWN_DRIVER", "no-such-type"], refused.details

uuid = api.VDI.get_uuid(vdi)
api.VDI.destroy(vdi)
assert not os.path.exists(os.path.join(location, uuid + ".vhd"))
try:
    api.VDI.get_record(vdi)
    sys.exit("a destroyed VDI has a record")
except XenAPI.Failure as refused:
    assert refused.details == ["HANDLE_INVALID", "VDI", vdi], refused.details
api.PBD.unplug(api.SR.get_PBDs(sr)[0])
api.SR.forget(sr)
session.xenapi.session.logout()
print("ok")
