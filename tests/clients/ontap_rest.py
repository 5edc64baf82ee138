"""An array of `testkit::ontap` as NetApp's own client sees it; prints `ok` at the end.

The client checks each answer against the documented model: fields that are not documented, and types that are not theirs, are
errors. Arguments: address, port, user, password, file with the certificate.
"""
import sys

from netapp_ontap import config, utils
from netapp_ontap.error import NetAppRestError
from netapp_ontap.host_connection import HostConnection
from netapp_ontap.resources import (Aggregate, Cluster, Igroup, IgroupInitiator, IpInterface, IscsiCredentials, IscsiService, Job,
                                    Lun, LunMap, Node, Snapshot, Svm, Volume)

ADDRESS, PORT, USER, PASSWORD, CERTIFICATE = sys.argv[1:]
MIB = 1 << 20
HOST = "iqn.2026-11.test:host-a"
OTHER = "iqn.2026-11.test:host-b"

config.STRICT_FIELD_ACCEPTANCE = True
config.CONNECTION = HostConnection(ADDRESS, USER, PASSWORD, verify=True, port=int(PORT), poll_interval=1, poll_timeout=10)
config.CONNECTION.verify = CERTIFICATE
SVM = {"name": "svm1"}


def refused(code, call, *arguments, **named):
    """The call is refused with this code."""
    try:
        call(*arguments, **named)
    except NetAppRestError as error:
        found = str(error.http_err_response.http_response.json()["error"]["code"]) if error.http_err_response else str(error)
        assert found == str(code), f"{found} instead of {code}: {error}"
        return
    raise AssertionError(f"not refused with {code}")


def all_of(kind, *parents, **query):
    return list(kind.get_collection(*parents, **query))


# The cluster, and what it consists of.
cluster = Cluster()
cluster.get(fields="version,name")
assert cluster.version.generation == 9 and cluster.version.major >= 11, cluster
for kind in (Node, Svm, Aggregate, IpInterface, IscsiService):
    found = all_of(kind, fields="*")
    assert found, kind
svm = all_of(Svm, name="svm1", fields="iscsi,aggregates,state")[0]
assert svm.iscsi.enabled and svm.aggregates[0].name == "aggr1" and svm.state == "running", svm
aggregate = all_of(Aggregate, fields="space,block_storage")[0]
assert aggregate.space.block_storage.size == 1 << 40, aggregate
service = all_of(IscsiService, **{"svm.name": "svm1", "fields": "target"})[0]
assert service.target.name.startswith("iqn.1992-08.com.netapp:sn."), service
assert len(all_of(IpInterface, services="data_iscsi")) == 2

# A FlexVol is made by a job, and found by its name.
volume = Volume(name="v", svm=SVM, aggregates=[{"name": "aggr1"}], size=1024 * MIB, guarantee={"type": "volume"},
                snapshot_policy={"name": "none"}, space={"snapshot": {"reserve_percent": 0}})
volume.post(poll=True)
volume.get(fields="**")
assert volume.state == "online" and volume.space.afs_total == 1024 * MIB, volume
assert volume.guarantee.type == "volume" and volume.style == "flexvol", volume
refused(917536, Volume(name="v", svm=SVM, aggregates=[{"name": "aggr1"}], size=20 * MIB).post, return_timeout=15)
refused(917534, Volume(name="w", svm=SVM, aggregates=[{"name": "aggr1"}], size=2 << 40).post, return_timeout=15)
refused(2621462, Volume(name="w", svm={"name": "none"}, aggregates=[{"name": "aggr1"}]).post, return_timeout=15)
try:
    Volume(name="1w", svm=SVM, aggregates=[{"name": "aggr1"}]).post(poll=True)
    raise AssertionError("a bad name was taken")
except NetAppRestError as error:
    assert "not valid" in str(error), error
volume.size = 2048 * MIB
volume.patch(poll=True)
volume.get(fields="size")
assert volume.size == 2048 * MIB, volume

# LUNs: made, listed by page, filtered, grown.
for index in range(4):
    lun = Lun(name=f"/vol/v/lun{index}", svm=SVM, os_type="linux", space={"size": 8 * MIB}, comment=f"lun {index}")
    lun.post(hydrate=True)
    assert len(lun.serial_number) == 12 and lun.space.size == 8 * MIB, lun
    assert lun.serial_number_hex == lun.serial_number.encode().hex(), lun
    lun.get(fields="**")
assert [lun.name for lun in all_of(Lun, max_records=2)] == [f"/vol/v/lun{index}" for index in range(4)]
assert [lun.name for lun in all_of(Lun, name="*lun3|*lun1", order_by="name desc")] == ["/vol/v/lun3", "/vol/v/lun1"]
assert [lun.comment for lun in all_of(Lun, comment="lun 3", fields="comment")] == ["lun 3"]
assert all_of(Lun, **{"location.volume.name": "v", "space.size": f">{8 * MIB}"}) == []
assert Lun.count_collection(**{"svm.name": "svm1"}) == 4
lun = Lun.find(name="/vol/v/lun0")
lun.space = {"size": 16 * MIB}
lun.patch(hydrate=True)
assert lun.space.size == 16 * MIB, lun
lun.space = {"size": 8 * MIB}
refused(5374892, lun.patch)
lun.get()
refused(5374242, Lun(name="/vol/v/lun0", svm=SVM, os_type="linux", space={"size": 8 * MIB}).post, return_timeout=15)
refused(917927, Lun(name="/vol/none/lun0", svm=SVM, os_type="linux", space={"size": 8 * MIB}).post, return_timeout=15)
refused(5374884, Lun(name="/vol/v/none", svm=SVM, os_type="linux").post, return_timeout=15)
refused(262197, all_of, Lun, fields="nonsense")
refused(262179, all_of, Lun, nonsense="1")
refused(5374875, Lun(uuid="00000000-0000-4000-8000-000000000000").delete)
lun.name = "/vol/v/renamed"
lun.patch()
assert Lun.find(name="/vol/v/renamed").uuid == lun.uuid

# Clones, of a LUN and of a LUN in a snapshot.
clone = Lun(name="/vol/v/clone", svm=SVM, clone={"source": {"name": "/vol/v/lun1"}})
clone.post(hydrate=True)
assert clone.space.size == 8 * MIB and clone.os_type == "linux", clone
refused(5374883, Lun(name="/vol/v/c2", svm=SVM, os_type="linux", clone={"source": {"name": "/vol/v/lun1"}}).post, return_timeout=15)
refused(5374875, Lun(name="/vol/v/c2", svm=SVM, clone={"source": {"name": "/vol/v/none"}}).post, return_timeout=15)
snapshot = Snapshot(volume.uuid, name="s1", comment="first")
snapshot.post(poll=True)
snapshot.get(fields="**")
assert snapshot.comment == "first" and snapshot.volume.name == "v", snapshot
refused(525059, Snapshot(volume.uuid, name="s1").post, return_timeout=15)
Lun.find(name="/vol/v/lun1").delete()
Lun(name="/vol/v/back", svm=SVM, clone={"source": {"name": "/vol/v/.snapshot/s1/lun1"}}).post()
assert [one.name for one in all_of(Snapshot, volume.uuid)] == ["s1"]
snapshot.delete(poll=True)
assert all_of(Snapshot, volume.uuid) == []

# Initiator groups and maps.
group = Igroup(name="g", svm=SVM, protocol="iscsi", os_type="xen", initiators=[{"name": HOST}])
group.post(hydrate=True)
assert [one.name for one in group.initiators] == [HOST], group
refused(5374023, Igroup(name="g", svm=SVM, protocol="iscsi", os_type="xen").post)
refused(5374039, Igroup(name="h", svm=SVM, protocol="iscsi", os_type="xen", initiators=[{"name": "nobody"}]).post)
IgroupInitiator(group.uuid, name=OTHER).post()
assert [one.name for one in all_of(IgroupInitiator, group.uuid)] == [HOST, OTHER]
assert all_of(Igroup, **{"initiators.name": OTHER})[0].name == "g"
mapped = LunMap(svm=SVM, lun={"name": "/vol/v/lun2"}, igroup={"name": "g"})
mapped.post(hydrate=True)
assert mapped.logical_unit_number == 0, mapped
refused(1254207, LunMap(svm=SVM, lun={"name": "/vol/v/lun2"}, igroup={"name": "g"}).post)
refused(5374878, LunMap(svm=SVM, lun={"name": "/vol/v/lun2"}, igroup={"name": "none"}).post)
Igroup(name="h", svm=SVM, protocol="iscsi", os_type="xen", initiators=[{"name": HOST}]).post()
refused(1254193, LunMap(svm=SVM, lun={"name": "/vol/v/lun2"}, igroup={"name": "h"}).post)
refused(1254324, LunMap(svm=SVM, lun={"name": "/vol/v/lun3"}, igroup={"name": "h"}, logical_unit_number=0).post)
refused(1254213, group.delete)
found = Lun.find(name="/vol/v/lun2", fields="lun_maps,status.mapped")
assert found.status.mapped and found.lun_maps[0].igroup.name == "g", found
refused(1254197, found.delete)
mapped.delete()
refused(5374922, mapped.delete)
IgroupInitiator(group.uuid, name=OTHER).delete()
group.delete()

# CHAP: what is secret is never shown.
credentials = IscsiCredentials(svm=SVM, initiator=HOST, authentication_type="CHAP",
                               chap={"inbound": {"user": "u", "password": "password12345"}})
credentials.post()
refused(5374142, IscsiCredentials(svm=SVM, initiator=HOST, authentication_type="none").post)
shown = all_of(IscsiCredentials, fields="*")[0]
assert shown.authentication_type.lower() == "chap" and "password" not in str(shown.to_dict()), shown
shown.delete()

# All goes.
for lun in all_of(Lun):
    lun.delete()
volume.delete(poll=True)
assert all_of(Volume, name="v") == []
assert all(job.state in ("success", "failure") for job in all_of(Job, fields="**"))
print("ok")
