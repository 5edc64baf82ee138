//! SR type `netapp` on a filer on which others are at work too: administrators, and other storage managers.

#![allow(clippy::unwrap_used)] // helpers of tests fail the test

use std::collections::BTreeMap;
use std::sync::Barrier;

use storage_manager::sr::{NetappSr, NewVdi, OpenMode, SrParams, SrType};
use testkit::ontap::{OntapEmulator, Options};
use uuid::Uuid;

const MIB: u64 = 1 << 20;

fn vdi(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn params(array: &OntapEmulator, initiator: &str, svm: &str) -> SrParams {
    let port = array.http_port().to_string();
    let all = [
        ("target", array.address()),
        ("username", "admin"),
        ("password", "secret-password"),
        ("usehttps", "false"),
        ("port", port.as_str()),
        ("localIQN", initiator),
        ("svm", svm),
        ("aggregate", "aggr1"),
        ("FlexVols", "2"),
        ("allocation", "thin"),
    ];
    SrParams {
        sr_uuid: vdi(0x5_1),
        device_config: all
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        sm_config: BTreeMap::new(),
    }
}

fn new_vdi(number: u128) -> NewVdi {
    NewVdi {
        uuid: vdi(number),
        virtual_size: 8 * MIB,
        sm_config: BTreeMap::new(),
    }
}

const HERE: &str = "iqn.2026-11.org.example:here";
const THERE: &str = "iqn.2026-11.org.example:there";

/// A copy of a FlexVol under a name like ours is left alone; two LUNs of one VDI are neither used nor deleted.
#[test]
fn copies_of_luns_are_not_taken_for_vdis() {
    let Some(array) = OntapEmulator::start(Options::default()) else {
        return;
    };
    let driver = NetappSr::default();
    let params = params(&array, HERE, "svm1");
    driver.create(&params).unwrap();
    let sr = driver.attach(&params).unwrap();
    sr.create_vdi(&new_vdi(1)).unwrap();
    let copy = Uuid::new_v4();
    array.with(|cluster| {
        let mut lun = cluster.luns[0].clone();
        let mut volume = cluster.volume(lun.volume).unwrap().clone();
        volume.uuid = copy;
        volume.name.push_str("_copy");
        cluster.volumes.push(volume);
        lun.uuid = Uuid::new_v4();
        lun.volume = copy;
        lun.serial = "copy-of-lun0".to_owned();
        cluster.luns.push(lun);
    });
    assert_eq!(sr.scan().unwrap().vdis.len(), 1);
    let export = sr.open_vdi(vdi(1), OpenMode::ReadWrite).unwrap();
    let mapped = array.with(|cluster| cluster.maps[0].lun);
    assert_eq!(mapped, array.with(|cluster| cluster.luns[0].uuid));
    export.close().unwrap();
    // By this name it is one of the SR.
    array.with(|cluster| {
        let volumes = cluster.volumes.iter_mut();
        for volume in volumes.filter(|volume| volume.uuid == copy) {
            volume.name = volume.name.replace("_FV0_copy", "_FV7");
            volume.name = volume.name.replace("_FV1_copy", "_FV7");
        }
    });
    let report = sr.scan().unwrap();
    assert_eq!((report.vdis.len(), report.damaged.len()), (0, 1));
    assert!(report.damaged[0].reason.contains("rename"));
    let refused = sr.open_vdi(vdi(1), OpenMode::ReadOnly).err().unwrap();
    assert!(refused.to_string().contains("_FV7/"), "{refused}");
    sr.delete_vdi(vdi(1)).unwrap_err();
    assert_eq!(array.with(|cluster| cluster.luns.len()), 2);
    // Its copy is where a VDI of the same hint would go, and has no number that the SR knows.
    array.with(|cluster| {
        cluster.luns.remove(0);
        cluster.luns[0].comment = String::from("xensm=1&hint=0cc175b9c0f1");
    });
    let mut hinted = new_vdi(2);
    hinted.sm_config.insert("vmhint".to_owned(), "a".to_owned());
    sr.create_vdi(&hinted).unwrap();
    sr.detach().unwrap();
}

/// LUNs of a FlexVol that is offline are not to be seen, and not gone.
#[test]
fn what_is_offline_is_not_deleted() {
    let Some(array) = OntapEmulator::start(Options::default()) else {
        return;
    };
    let driver = NetappSr::default();
    let params = params(&array, HERE, "svm1");
    driver.create(&params).unwrap();
    // A second one with this uuid would be the first one.
    driver.create(&params).unwrap_err();
    let sr = driver.attach(&params).unwrap();
    sr.create_vdi(&new_vdi(1)).unwrap();
    let volumes = || array.with(|cluster| cluster.volumes.len());
    let before = volumes();
    let hidden = array.with(|cluster| {
        let luns = std::mem::take(&mut cluster.luns);
        let of_lun = luns[0].volume;
        for volume in &mut cluster.volumes {
            volume.online = volume.uuid != of_lun;
        }
        luns
    });
    let refused = sr.delete_vdi(vdi(1)).unwrap_err();
    assert!(refused.to_string().contains("offline"), "{refused}");
    sr.detach().unwrap();
    let refused = driver.delete(&params).unwrap_err();
    assert!(refused.to_string().contains("offline"), "{refused}");
    assert_eq!(volumes(), before);
    array.with(|cluster| {
        cluster.luns = hidden;
        for volume in &mut cluster.volumes {
            volume.online = true;
        }
    });
    let sr = driver.attach(&params).unwrap();
    sr.delete_vdi(vdi(1)).unwrap();
    sr.delete_vdi(vdi(1)).unwrap();
    sr.detach().unwrap();
    driver.delete(&params).unwrap();
}

/// Two storage managers that open a VDI at the same time never both write to it.
#[test]
fn of_two_that_open_at_once_one_writes_at_most() {
    let Some(array) = OntapEmulator::start(Options::default()) else {
        return;
    };
    let (one, other) = (NetappSr::default(), NetappSr::default());
    let here = params(&array, HERE, "svm1");
    one.create(&here).unwrap();
    let srs = [
        one.attach(&here).unwrap(),
        other.attach(&params(&array, THERE, "svm1")).unwrap(),
    ];
    srs[0].create_vdi(&new_vdi(1)).unwrap();
    for _ in 0..6 {
        let barrier = Barrier::new(2);
        let opened = std::thread::scope(|scope| {
            let barrier = &barrier;
            let threads = srs.each_ref().map(|sr| {
                scope.spawn(move || {
                    barrier.wait();
                    let opened = sr.open_vdi(vdi(1), OpenMode::ReadWrite);
                    barrier.wait();
                    opened.is_ok_and(|export| export.close().is_ok())
                })
            });
            threads.map(|thread| thread.join().unwrap())
        });
        assert_ne!(opened, [true, true]);
        assert_eq!(array.with(|cluster| cluster.maps.len()), 0);
    }
}

/// The name of an SVM is no pattern.
#[test]
fn the_svm_is_the_one_that_is_named() {
    let Some(array) = OntapEmulator::start(Options::default()) else {
        return;
    };
    for pattern in ["*", "svm*", "svm1|svm2", "!svm9", "\"svm1\""] {
        let failed = NetappSr::default().probe(&params(&array, HERE, pattern));
        assert_eq!(failed.unwrap_err().backend_number(), Some(1), "{pattern}");
    }
    NetappSr::default()
        .probe(&params(&array, HERE, "svm1"))
        .unwrap();
}
