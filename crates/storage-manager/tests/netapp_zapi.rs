//! SR type `netapp` by ZAPI: what is not as by REST. The rest of it is in `netapp_sr`, which is run by both.

#![allow(clippy::unwrap_used)] // helpers of tests fail the test

#[path = "netapp/world.rs"]
mod world;

use storage_manager::sr::{NetappSr, SnapshotKind, SrType};
use testkit::ontap::fault::{Fault, Trouble};
use testkit::ontap::{Login, OntapEmulator, Options};
use world::{
    GIB, MIB, THIN, add_strangers, hinted, new_vdi, number, old, params, read, scanned, strangers,
    vdi, write,
};

#[test]
fn discovery_tells_what_is_missing() {
    let Some(array) = OntapEmulator::start(old()) else {
        return;
    };
    let driver = NetappSr::default();
    let empty = driver.probe(&params(&array, &[])).unwrap();
    assert_eq!(empty, "<?xml version=\"1.0\" ?>\n<SRlist/>\n");
    let failure = driver.create(&params(&array, &[])).unwrap_err();
    assert_eq!(failure.backend_number(), Some(123), "{failure}");
    let expected = "<Name>aggr1</Name>\n\t\t<Size>1099511627776</Size>\n\t\t<Disks>12</Disks>\n\t\t<RAIDType>raid_dp</RAIDType>";
    assert!(failure.params[2].contains(expected), "{failure}");
    driver.create(&params(&array, THIN)).unwrap();
    let listed = driver.probe(&params(&array, &[])).unwrap();
    assert!(listed.contains("<Aggregate>aggr1</Aggregate>"), "{listed}");
    for (more, expected) in [
        (&[("password", "another secret")][..], 125),
        (&[("port", "1")], 124),
        (&[("svm", "svm9")], 1),
        (&[("api", "rest")], 130),
        (&[("api", "zapi"), ("password", "another secret")], 125),
    ] {
        let failed = driver.probe(&params(&array, more));
        assert_eq!(number(failed), Some(expected), "{more:?}");
    }
    // Without any REST, with a ZAPI that is good enough, and with one that is not.
    for (version, expected) in [([9, 5, 0], None), ([9, 1, 0], None), ([9, 0, 0], Some(130))] {
        array.with(|cluster| cluster.version = version);
        let found = number(driver.probe(&params(&array, &[])));
        assert_eq!(found, expected, "{version:?}");
    }
    array.with(|cluster| {
        cluster.version = [9, 8, 0];
        cluster.svms[0].iscsi.as_mut().unwrap().enabled = false;
    });
    assert_eq!(number(driver.attach(&params(&array, &[]))), Some(132));
    array.with(|cluster| {
        let service = cluster.svms[0].iscsi.as_mut().unwrap();
        service.enabled = true;
        service.target = String::new();
    });
    assert_eq!(number(driver.attach(&params(&array, &[]))), Some(131));
    let refusal = Trouble::Refused(200, 13_003, "Insufficient privileges".to_owned());
    array.inject(Fault::new(refusal).on("GET", "/volume-get-iter"));
    assert_eq!(number(driver.probe(&params(&array, &[]))), Some(126));
}

/// An account of one SVM sees nothing else, and needs nothing else.
#[test]
fn an_account_of_the_svm_is_enough() {
    let mut logins = Options::default().logins;
    logins.push(Login {
        user: "vsadmin".to_owned(),
        password: "secret of svm2".to_owned(),
        svm: Some("svm2".to_owned()),
    });
    let options = Options {
        svms: vec![("svm1".to_owned(), 1), ("svm2".to_owned(), 1)],
        logins,
        ..old()
    };
    let Some(array) = OntapEmulator::start(options) else {
        return;
    };
    let driver = NetappSr::default();
    assert_eq!(number(driver.create(&params(&array, THIN))), Some(1));
    let own = [("username", "vsadmin"), ("password", "secret of svm2")];
    let all: Vec<_> = THIN.iter().chain(&own).copied().collect();
    driver.create(&params(&array, &all)).unwrap();
    let sr = driver.attach(&params(&array, &own)).unwrap();
    assert!(sr.space().unwrap().physical_size > 0);
    sr.create_vdi(&new_vdi(1, 8 * MIB, "")).unwrap();
    write(&*sr, vdi(1), b"in its");
    assert_eq!(read(&*sr, vdi(1)), "in its");
}

/// A filer that is upgraded speaks REST from then on, and all is as it was.
#[test]
fn an_upgrade_changes_nothing() {
    let Some(array) = OntapEmulator::start(old()) else {
        return;
    };
    let first = NetappSr::default();
    first.create(&params(&array, THIN)).unwrap();
    add_strangers(&array);
    let kind = SnapshotKind::Snapshot;
    for (round, version, more) in [
        (0, [9, 8, 0], &[][..]),
        (1, [9, 14, 1], &[]),
        (2, [9, 14, 1], &[("api", "zapi")]),
    ] {
        array.with(|cluster| cluster.version = version);
        array.faults().forget_calls();
        let sr = NetappSr::default().attach(&params(&array, more)).unwrap();
        let found = scanned(&*sr);
        assert_eq!(found.len(), 2 * round);
        for earlier in 0..round as u128 {
            let (disk, snapshot) = (vdi(0x10 + earlier), vdi(0x20 + earlier));
            assert_eq!(found[&disk].virtual_size, 8 * MIB);
            assert_eq!(read(&*sr, snapshot), "before");
            assert_eq!(read(&*sr, disk), "after.");
            sr.revert_vdi(disk, snapshot).unwrap();
            assert_eq!(read(&*sr, disk), "before");
            write(&*sr, disk, b"after.");
        }
        let number = round as u128;
        sr.create_vdi(&new_vdi(0x10 + number, 8 * MIB, "")).unwrap();
        write(&*sr, vdi(0x10 + number), b"before");
        let hint = hinted("cookie");
        sr.snapshot_vdi_hinted(vdi(0x10 + number), vdi(0x20 + number), kind, &hint)
            .unwrap();
        write(&*sr, vdi(0x10 + number), b"after.");
        sr.detach().unwrap();
        let calls = array.faults().calls();
        let is_rest = |call: &String| call.contains("/api/storage/luns");
        assert_eq!(calls.iter().any(is_rest), round == 1, "{calls:?}");
        assert_eq!(strangers(&array), 2);
    }
}

/// A change whose answer is lost, or that the filer puts off, is found or tried again; nothing is done twice.
#[test]
fn lost_answers_are_looked_for() {
    let Some(array) = OntapEmulator::start(old()) else {
        return;
    };
    let driver = NetappSr::default();
    driver.create(&params(&array, THIN)).unwrap();
    let sr = driver.attach(&params(&array, &[])).unwrap();
    sr.create_vdi(&new_vdi(1, 8 * MIB, "")).unwrap();
    let mut next = 2;
    for trouble in [Trouble::CutBefore, Trouble::CutAfter, Trouble::Busy] {
        let inject = |call: &str| array.inject(Fault::new(trouble.clone()).on("POST", call));
        inject("/clone-create");
        inject("/snapshot-create");
        let hint = hinted(&format!("{trouble:?}"));
        sr.snapshot_vdi_hinted(vdi(1), vdi(next), SnapshotKind::Clone, &hint)
            .unwrap();
        assert!(array.faults().all_met(), "{trouble:?}");
        next += 1;
        inject("/lun-create-by-size");
        sr.create_vdi(&new_vdi(next, 8 * MIB, "")).unwrap();
        inject("/lun-resize");
        let grown = sr.resize_vdi(vdi(next), 9 * MIB).unwrap();
        assert_eq!(grown.virtual_size, 9 * MIB);
        inject("/lun-map");
        inject("/lun-unmap");
        write(&*sr, vdi(next), b"hallo!");
        assert!(array.faults().all_met(), "{trouble:?}");
        inject("/lun-destroy");
        sr.delete_vdi(vdi(next)).unwrap();
        assert!(array.faults().all_met(), "{trouble:?}");
        next += 1;
    }
    assert_eq!(scanned(&*sr).len(), 4);
    array.inject(Fault::new(Trouble::Unauthorized).times(100));
    assert_eq!(number(sr.scan()), Some(125));
    array.faults().clear();
    array.with(|cluster| cluster.licences.flexclone = false);
    let refused = sr.snapshot_vdi(vdi(1), vdi(next), SnapshotKind::Snapshot);
    assert_eq!(number(refused), Some(82));
}

/// Sizes are exact. Before ONTAP 9.5 a LUN has a largest size, which is told, and room for more is not kept.
#[test]
fn a_lun_grows_as_far_as_its_geometry() {
    let Some(array) = OntapEmulator::start(old()) else {
        return;
    };
    array.with(|cluster| cluster.limits.lun_geometry = 2 * GIB);
    let driver = NetappSr::default();
    let thick = [("aggregate", "aggr1"), ("FlexVols", "1")];
    driver.create(&params(&array, &thick)).unwrap();
    let sr = driver.attach(&params(&array, &[])).unwrap();
    let made = sr.create_vdi(&new_vdi(1, 5 * MIB, "")).unwrap();
    assert_eq!(made.virtual_size, 5 * MIB);
    let sizes = || array.with(|cluster| cluster.volumes.iter().map(|it| it.size).sum::<u64>());
    assert_eq!(sr.resize_vdi(vdi(1), GIB).unwrap().virtual_size, GIB);
    let before = sizes();
    let failure = sr.resize_vdi(vdi(1), 3 * GIB).unwrap_err();
    assert!(failure.to_string().contains("geometry"), "{failure}");
    assert_eq!(sizes(), before);
    assert_eq!(scanned(&*sr)[&vdi(1)].virtual_size, GIB);
    assert_eq!(number(sr.resize_vdi(vdi(1), MIB)), Some(79));
}

/// An SR that is not made to the end is taken back; deduplication is a call of its own.
#[test]
fn an_sr_half_made_goes() {
    let Some(array) = OntapEmulator::start(old()) else {
        return;
    };
    let driver = NetappSr::default();
    let own = || {
        array.with(|cluster| {
            let volumes = cluster.volumes.iter();
            let own = volumes.filter(|it| it.name.starts_with("XenStorage_"));
            own.map(|it| it.dedupe.clone()).collect::<Vec<_>>()
        })
    };
    let all: Vec<_> = THIN.iter().copied().chain([("asis", "true")]).collect();
    array.with(|cluster| cluster.licences.asis = false);
    assert_eq!(number(driver.create(&params(&array, &all))), Some(133));
    assert!(own().is_empty());
    array.with(|cluster| {
        cluster.licences.asis = true;
        cluster.limits.volumes = cluster.volumes.len() + 1;
    });
    assert_eq!(number(driver.create(&params(&array, &all))), Some(127));
    assert!(own().is_empty());
    array.with(|cluster| cluster.limits.volumes = 100);
    for trouble in [Trouble::CutBefore, Trouble::CutAfter] {
        for call in ["/volume-create", "/sis-enable"] {
            array.inject(Fault::new(trouble.clone()).on("POST", call).nth(2));
        }
        driver.create(&params(&array, &all)).unwrap();
        assert_eq!(own(), ["background", "background"]);
        array.inject(Fault::new(trouble.clone()).on("POST", "/volume-destroy"));
        driver.delete(&params(&array, &[])).unwrap();
        assert!(array.faults().all_met() && own().is_empty(), "{trouble:?}");
    }
}
