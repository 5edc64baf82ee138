//! SR type `netapp` against an emulated ONTAP array with real LUNs.

#![allow(clippy::unwrap_used)] // helpers of tests fail the test

mod support;
#[path = "netapp/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use storage_manager::sr::{
    AttachedSr, NetappSr, OpenMode, SnapshotKind, SrLabels, SrType, VdiLabels,
};
use support::{Running, config, texts, vdi_record};
use testkit::ontap::fault::{Fault, Trouble};
use testkit::ontap::{OntapEmulator, Options};
use uuid::Uuid;
use world::{
    GIB, MIB, THIN, add_strangers, hinted, new_vdi, number, params, read, scanned, strangers, vdi,
    write,
};
use xenapi::{Failure, Value};

/// Tests that hold by each of the filer's interfaces.
macro_rules! by_each_interface {
    ($($test:ident,)*) => {
        mod by_rest {
            $(#[test]
            fn $test() {
                if let Some(array) = super::OntapEmulator::start(super::Options::default()) {
                    super::$test(array);
                }
            })*
        }
        mod by_zapi {
            $(#[test]
            fn $test() {
                if let Some(array) = super::OntapEmulator::start(super::world::old()) {
                    super::$test(array);
                }
            })*
        }
    };
}

by_each_interface! {
    snapshots_are_the_filers,
    an_sr_comes_from_the_filer_alone,
    chap_accounts_are_made_for_the_initiator,
    an_administrator_is_respected,
    a_crash_leaves_before_or_after,
}

#[test]
fn discovery_tells_what_is_missing() {
    let Some(array) = OntapEmulator::start(Options::default()) else {
        return;
    };
    let driver = NetappSr::default();
    // Three keys: the probe lists SRs, the create aggregates.
    let empty = driver.probe(&params(&array, &[])).unwrap();
    assert_eq!(empty, "<?xml version=\"1.0\" ?>\n<SRlist/>\n");
    for wrong in ["", "aggr9"] {
        let failure = driver.create(&params(&array, &[("aggregate", wrong)]));
        let failure = failure.unwrap_err();
        assert_eq!(failure.backend_number(), Some(123), "{failure}");
        let expected = "<?xml version=\"1.0\" ?>\n<Aggrlist>\n\t<Aggr>\n\t\t<Name>aggr1</Name>\n\t\t<Size>1099511627776</Size>\n\t\t<Disks>12</Disks>\n\t\t<RAIDType>raid_dp</RAIDType>\n\t\t<asis_dedup>True</asis_dedup>\n\t</Aggr>\n</Aggrlist>\n";
        assert_eq!(failure.params[2], expected);
    }
    driver.create(&params(&array, THIN)).unwrap();
    let listed = driver.probe(&params(&array, &[])).unwrap();
    let uuid = format!("<UUID>{}</UUID>", vdi(0x5_1));
    assert!(
        listed.contains(&uuid) && listed.contains("<Aggregate>aggr1</Aggregate>"),
        "{listed}"
    );
    for (more, expected) in [
        (&[("password", "another secret")][..], 125),
        (&[("port", "1")], 124),
        (&[("target", "no-such-filer.invalid")], 140),
        (&[("svm", "svm9")], 1),
    ] {
        let failed = driver.probe(&params(&array, more));
        assert_eq!(number(failed), Some(expected), "{more:?}");
    }
    array.with(|cluster| cluster.version = [9, 10, 1]);
    let rest = params(&array, &[("api", "rest")]);
    let old = driver.attach(&rest).err().unwrap();
    assert_eq!(old.backend_number(), Some(130), "{old}");
    assert!(old.to_string().contains("9.11.1"), "{old}");
    array.with(|cluster| {
        cluster.version = [9, 14, 1];
        cluster.svms[0].iscsi.as_mut().unwrap().enabled = false;
    });
    assert_eq!(number(driver.attach(&params(&array, &[]))), Some(132));
    array.with(|cluster| {
        let service = cluster.svms[0].iscsi.as_mut().unwrap();
        service.enabled = true;
        service.target = String::new();
    });
    assert_eq!(number(driver.attach(&params(&array, &[]))), Some(131));
    let refusal = Trouble::Refused(403, 6, "not authorized for that command".to_owned());
    array.inject(Fault::new(refusal).on("GET", "/storage/volumes"));
    assert_eq!(number(driver.probe(&params(&array, &[]))), Some(126));
}

/// An account of one SVM sees nothing else, and needs nothing else.
#[test]
fn an_account_of_the_svm_is_enough() {
    let mut logins = Options::default().logins;
    logins.push(testkit::ontap::Login {
        user: "vsadmin".to_owned(),
        password: "secret of svm2".to_owned(),
        svm: Some("svm2".to_owned()),
    });
    let options = Options {
        svms: vec![("svm1".to_owned(), 1), ("svm2".to_owned(), 1)],
        logins,
        ..Options::default()
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
    let named: Vec<_> = THIN.iter().copied().chain([("svm", "svm2")]).collect();
    let listed = driver.probe(&params(&array, &named)).unwrap();
    assert!(listed.contains("<UUID>"), "{listed}");
    let other = driver.probe(&params(&array, &[("svm", "svm1")])).unwrap();
    assert!(!other.contains("<UUID>"), "{other}");
    array.with(|cluster| cluster.limits.volumes = cluster.volumes.len());
    let mut second = params(&array, &all);
    second.sr_uuid = vdi(0x5_2);
    assert_eq!(number(driver.create(&second)), Some(127));
}

/// What a client says reaches the filer: `epochhint`, names, and no password comes back.
#[test]
fn the_server_passes_hints_on() {
    let Some(array) = OntapEmulator::start(Options::default()) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(
        config(dir.path()),
        Some(vec![Arc::new(NetappSr::default())]),
    );
    let mut client = running.unix();
    let host = client.call("host.get_all", []).unwrap().as_array().unwrap()[0].clone();
    let mut device_config = params(&array, THIN).device_config;
    device_config.remove("localIQN");
    let device_config: Vec<(&str, &str)> = device_config
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    let sr = client
        .call(
            "SR.create",
            [
                host,
                texts(&device_config),
                Value::Int(0),
                "filer".into(),
                "".into(),
                "netapp".into(),
                "".into(),
                true.into(),
                texts(&[]),
            ],
        )
        .unwrap();
    let (mut sources, mut snapshots) = (Vec::new(), Vec::new());
    for name in ["one", "two"] {
        let mut record = vdi_record(sr.as_str().unwrap(), name, 8 << 20);
        if let Value::Struct(fields) = &mut record {
            fields.insert("sm_config".to_owned(), texts(&[("vmhint", "a machine")]));
        }
        let made = client.call("VDI.create", [record]).unwrap();
        let hints = texts(&[("epochhint", "cookie")]);
        snapshots.push(client.call("VDI.snapshot", [made.clone(), hints]).unwrap());
        sources.push(made);
    }
    let (names, luns) = array.with(|cluster| {
        let names = cluster.snapshots.iter().map(|it| it.name.clone());
        let comments = cluster.luns.iter().map(|it| it.comment.clone());
        (names.collect::<Vec<_>>(), comments.collect::<Vec<_>>())
    });
    assert_eq!(names, ["xensm-cookie"]);
    assert_eq!(luns.len(), 4);
    assert!(
        luns.iter().any(|comment| comment.contains("name=two")),
        "{luns:?}"
    );
    let of = client
        .call("VDI.get_snapshot_of", [snapshots[1].clone()])
        .unwrap();
    assert!(of.as_str().unwrap().starts_with("OpaqueRef:"));
    client.call("SR.scan", [sr.clone()]).unwrap();
    let pbds = client.call("SR.get_PBDs", [sr]).unwrap();
    let pbd = pbds.as_array().unwrap()[0].clone();
    let shown = client.call("PBD.get_device_config", [pbd]).unwrap();
    let shown = format!("{shown:?}");
    assert!(
        shown.contains("multihomelist") && !shown.contains("secret-password"),
        "{shown}"
    );
    drop(client);
    snapshot_at_one_moment(&running, &sources);
    running.stop();
}

/// Takes snapshots of VDIs at one moment; again while this machine is too slow for it. All are made, or none.
fn snapshot_at_one_moment(running: &Running, vdis: &[Value]) {
    for number in 0..20 {
        let ticket = format!("{number}/{}", vdis.len());
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let calls: Vec<_> = vdis
                .iter()
                .map(|vdi| {
                    let mut client = running.unix();
                    let params = [vdi.clone(), texts(&[("xensm:barrier", &ticket)])];
                    scope.spawn(move || client.call("VDI.snapshot", params))
                })
                .collect();
            calls.into_iter().map(|call| call.join().unwrap()).collect()
        });
        if outcomes.iter().all(Result::is_ok) {
            return;
        }
        let is_late = |outcome: &Result<Value, Failure>| {
            let failure = outcome.as_ref().err();
            failure.is_some_and(|failure| failure.code == "SR_BACKEND_FAILURE_470")
        };
        assert!(outcomes.iter().all(is_late), "{outcomes:?}");
    }
    panic!("never at one moment");
}

/// What `openssl x509 -fingerprint -sha256` prints of the certificate that the array shows.
fn fingerprint(array: &OntapEmulator, authority: &Path) -> String {
    let trust = xenapi::client::Trust::CaFile(authority.to_owned());
    let name = array.address().to_owned().try_into().unwrap();
    let config = trust.client_config().unwrap();
    let mut tls = rustls::ClientConnection::new(config, name).unwrap();
    let mut stream = TcpStream::connect((array.address(), array.https_port())).unwrap();
    while tls.is_handshaking() {
        tls.complete_io(&mut stream).unwrap();
    }
    let shown = &tls.peer_certificates().unwrap()[0];
    let digest = ring::digest::digest(&ring::digest::SHA256, shown);
    let pairs = digest.as_ref().iter().map(|byte| format!("{byte:02X}"));
    pairs.collect::<Vec<_>>().join(":")
}

/// The certificate of an authority that nobody knows: it is known by its fingerprint, by that authority, or not at all.
#[test]
fn the_certificate_of_the_filer_is_checked() {
    let Some(array) = OntapEmulator::start(Options::default()) else {
        return;
    };
    let driver = NetappSr::default();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("filer.pem");
    std::fs::write(&file, array.certificate()).unwrap();
    let port = array.https_port().to_string();
    let probe = |more: &[(&str, &str)]| {
        let tls = [("usehttps", "true"), ("port", port.as_str())];
        let all: Vec<_> = tls.iter().chain(more).copied().collect();
        driver.probe(&params(&array, &all))
    };
    assert_eq!(number(probe(&[])), Some(124));
    let wrong = "00".repeat(32);
    assert_eq!(number(probe(&[("tls_fingerprint", &wrong)])), Some(124));
    assert_eq!(number(probe(&[("tls_fingerprint", "no")])), Some(1));
    let fingerprint = fingerprint(&array, &file);
    probe(&[("tls_fingerprint", &fingerprint)]).unwrap();
    probe(&[("ca_certificate", file.to_str().unwrap())]).unwrap();
    probe(&[("tls_verify", "false")]).unwrap();
    assert!(array.faults().calls().len() >= 2);
}

/// What the test suite of XenServer asserts (reference arrays 1.6), with data over iSCSI.
fn snapshots_are_the_filers(array: OntapEmulator) {
    let driver = NetappSr::default();
    driver.create(&params(&array, THIN)).unwrap();
    add_strangers(&array);
    let sr = driver.attach(&params(&array, &[])).unwrap();
    let (a, b, other) = (vdi(0xa), vdi(0xb), vdi(0xc));
    for (number, hint) in [(0xa, "machine"), (0xb, "machine"), (0xc, "")] {
        let made = sr.create_vdi(&new_vdi(number, 16 * MIB - 1, hint)).unwrap();
        assert_eq!(made.virtual_size, 16 * MIB);
        // SRs that would be made on the LUN know by that whose it is.
        let id = made.sm_config["SCSIid"].strip_prefix("3600a0980").unwrap();
        let name = format!("xensm-{}", vdi(number));
        let serial = array.with(|cluster| {
            let mut luns = cluster.luns.iter();
            luns.find(|lun| lun.name == name).unwrap().serial.clone()
        });
        let hex: String = serial.bytes().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(id, hex);
    }
    let flexvols = |array: &OntapEmulator| {
        array.with(|cluster| {
            let luns = cluster.luns.iter();
            let of = luns.filter_map(|lun| {
                let uuid = lun.name.strip_prefix("xensm-")?.parse::<Uuid>().ok()?;
                Some((uuid, cluster.volume(lun.volume)?.name.clone()))
            });
            of.collect::<BTreeMap<_, _>>()
        })
    };
    let placed = flexvols(&array);
    assert_eq!(placed[&a], placed[&b]);
    assert_ne!(placed[&a], placed[&other]);
    write(&*sr, a, b"a-1111");
    write(&*sr, b, b"b-1111");
    // One cookie is one time, also for what is snapshotted later.
    let writer = sr.open_vdi(b, OpenMode::ReadWrite).unwrap();
    let kind = SnapshotKind::Snapshot;
    sr.snapshot_vdi_hinted(a, vdi(0xa1), kind, &hinted("cookie"))
        .unwrap();
    writer.write_at(b"b-2222", 3 * MIB + 5).unwrap();
    sr.snapshot_vdi_hinted(b, vdi(0xb1), kind, &hinted("cookie"))
        .unwrap();
    sr.snapshot_vdi_hinted(b, vdi(0xb2), kind, &hinted("other cookie"))
        .unwrap();
    assert_eq!(read(&*sr, vdi(0xb1)), "b-1111");
    assert_eq!(read(&*sr, vdi(0xb2)), "b-2222");
    // Beside the writer, and written before any flush.
    writer.write_at(b"b-3333", 3 * MIB + 5).unwrap();
    sr.snapshot_vdi(b, vdi(0xb3), kind).unwrap();
    let reader = sr.open_vdi(vdi(0xb3), OpenMode::ReadOnly).unwrap();
    writer.write_at(b"b-4444", 3 * MIB + 5).unwrap();
    let mut bytes = [0; 6];
    reader.read_at(&mut bytes, 3 * MIB + 5).unwrap();
    assert_eq!(&bytes, b"b-3333");
    assert_eq!(flexvols(&array)[&vdi(0xb3)], placed[&b]);
    // It grows under its consumer.
    let grown = sr.resize_vdi(b, 40 * MIB).unwrap();
    assert_eq!((grown.virtual_size, writer.size()), (40 * MIB, 40 * MIB));
    writer.write_at(b"end", 40 * MIB - 3).unwrap();
    writer.close().unwrap();
    assert_eq!(number(sr.resize_vdi(b, MIB)), Some(79));
    // Back to a snapshot, with its size.
    let reverted = sr.revert_vdi(b, vdi(0xb1)).unwrap();
    assert_eq!(reverted.new.virtual_size, 16 * MIB);
    assert_eq!(read(&*sr, b), "b-1111");
    // Clones are written to, and sources go before their snapshots.
    sr.snapshot_vdi(vdi(0xb2), vdi(0xb4), SnapshotKind::Clone)
        .unwrap();
    write(&*sr, vdi(0xb4), b"cloned");
    sr.delete_vdi(b).unwrap();
    sr.delete_vdi(vdi(0xb2)).unwrap();
    sr.delete_vdi(vdi(0xb2)).unwrap();
    assert_eq!(read(&*sr, vdi(0xb4)), "cloned");
    assert_eq!(read(&*sr, vdi(0xb1)), "b-1111");
    reader.close().unwrap();
    assert_eq!(array.with(|cluster| cluster.maps.len()), 0);
    assert_eq!(scanned(&*sr).len(), 6);
    assert_eq!(strangers(&array), 2);
    sr.detach().unwrap();
}

/// All that there is to know of an SR is on the filer.
fn an_sr_comes_from_the_filer_alone(array: OntapEmulator) {
    let driver = NetappSr::default();
    driver.create(&params(&array, THIN)).unwrap();
    let sr = driver.attach(&params(&array, &[])).unwrap();
    let names = SrLabels {
        name_label: "filer & gold".to_owned(),
        name_description: "all of it".to_owned(),
    };
    sr.write_sr_labels(&names).unwrap();
    sr.create_vdi(&new_vdi(1, GIB, "machine")).unwrap();
    sr.snapshot_vdi(vdi(1), vdi(2), SnapshotKind::Snapshot)
        .unwrap();
    let labels = VdiLabels {
        uuid: vdi(2),
        name_label: "a snapshot".to_owned(),
        vdi_type: "user".to_owned(),
        is_a_snapshot: true,
        snapshot_of: Some(vdi(1)),
        snapshot_time: 1_700_000_000,
        managed: true,
        ..VdiLabels::default()
    };
    sr.write_vdi_labels(std::slice::from_ref(&labels)).unwrap();
    let changes = sr.config_changes();
    assert_eq!(changes.sm_config["allocation"].as_deref(), Some("thin"));
    let portals = changes.device_config["multihomelist"].clone().unwrap();
    assert_eq!(portals.split(',').count(), 2, "{portals}");
    // A consumer whose storage manager dies leaves its LUN mapped.
    let lost = sr.open_vdi(vdi(1), OpenMode::ReadWrite).unwrap();
    assert_eq!(array.with(|cluster| cluster.maps.len()), 1);
    std::mem::forget(lost);

    let another = NetappSr::default();
    let found = another.probe(&params(&array, &[])).unwrap();
    assert!(
        found.contains("<name_label>filer &amp; gold</name_label>"),
        "{found}"
    );
    let sr = another.attach(&params(&array, &[])).unwrap();
    assert_eq!(array.with(|cluster| cluster.maps.len()), 0);
    assert_eq!(scanned(&*sr).len(), 2);
    let kept = sr.labels().unwrap();
    assert_eq!(kept.sr, Some(names));
    assert_eq!(kept.vdis, [labels]);
    // With what keeps it together, too.
    sr.create_vdi(&new_vdi(3, GIB, "machine")).unwrap();
    let volumes = array.with(|cluster| {
        let luns = cluster.luns.iter();
        luns.map(|lun| lun.volume)
            .collect::<std::collections::BTreeSet<_>>()
    });
    assert_eq!(volumes.len(), 1);
    // One that others see is neither deleted nor written to.
    let other = NetappSr::default();
    let theirs = params(&array, &[("localIQN", "iqn.2026-11.org.example:others")]);
    let theirs = other.attach(&theirs).unwrap();
    let open = theirs.open_vdi(vdi(1), OpenMode::ReadWrite).unwrap();
    assert_eq!(number(sr.open_vdi(vdi(1), OpenMode::ReadWrite)), Some(135));
    assert_eq!(sr.delete_vdi(vdi(1)).unwrap_err().code, "VDI_IN_USE");
    let rename = |from: &str, to: &str| {
        array.with(|cluster| {
            let mut groups = cluster.igroups.iter_mut();
            let group = groups.find(|group| group.name == from).unwrap();
            group.name = to.to_owned();
        });
    };
    let name = array.with(|cluster| {
        let seeing = cluster.maps[0].igroup;
        let mut groups = cluster.igroups.iter();
        groups
            .find(|group| group.uuid == seeing)
            .unwrap()
            .name
            .clone()
    });
    rename(&name, "backup-hosts");
    assert_eq!(number(sr.open_vdi(vdi(1), OpenMode::ReadWrite)), Some(135));
    rename("backup-hosts", &name);
    open.close().unwrap();
    drop(sr.open_vdi(vdi(1), OpenMode::ReadWrite).unwrap());
    assert_eq!(
        another.delete(&params(&array, &[])).unwrap_err().code,
        "SR_NOT_EMPTY"
    );
    for number in 1..=3 {
        sr.delete_vdi(vdi(number)).unwrap();
    }
    sr.detach().unwrap();
    add_strangers(&array);
    assert_eq!(number(another.delete(&params(&array, &[]))), Some(63));
    assert_eq!(strangers(&array), 2);
    array.with(|cluster| {
        let strangers: Vec<Uuid> = cluster.luns.iter().map(|lun| lun.uuid).collect();
        for lun in strangers {
            cluster.delete_lun(lun, false).unwrap();
        }
    });
    another.delete(&params(&array, &[])).unwrap();
    another.delete(&params(&array, &[])).unwrap();
    let left = array.with(|cluster| {
        let volumes = cluster.volumes.iter();
        volumes
            .filter(|it| it.name.starts_with("XenStorage_"))
            .count()
    });
    assert_eq!(left, 0);
}

fn chap_accounts_are_made_for_the_initiator(array: OntapEmulator) {
    let driver = NetappSr::default();
    driver.create(&params(&array, THIN)).unwrap();
    let chap = [("chapuser", "somebody"), ("chappassword", "a secret of 12")];
    let sr = driver.attach(&params(&array, &chap)).unwrap();
    sr.create_vdi(&new_vdi(1, 8 * MIB, "")).unwrap();
    write(&*sr, vdi(1), b"proved");
    assert_eq!(read(&*sr, vdi(1)), "proved");
    sr.detach().unwrap();
    // Another account for the same initiator would lock the first SR out.
    let other = [("chapuser", "other"), ("chappassword", "a secret of 12")];
    assert_eq!(number(driver.attach(&params(&array, &other))), Some(68));
    // Without an account nobody is let in.
    let sr = driver.attach(&params(&array, &[])).unwrap();
    assert_eq!(number(sr.open_vdi(vdi(1), OpenMode::ReadOnly)), Some(68));
    assert_eq!(array.with(|cluster| cluster.maps.len()), 0);
}

/// Room is kept for thick VDIs, given back with them, and told.
#[test]
fn space_is_counted_and_its_lack_is_told() {
    let options = Options {
        aggregates: vec![("aggr1".to_owned(), 30 * GIB)],
        ..Options::default()
    };
    let Some(array) = OntapEmulator::start(options) else {
        return;
    };
    let driver = NetappSr::default();
    let thick = [("aggregate", "aggr1"), ("FlexVols", "2")];
    driver.create(&params(&array, &thick)).unwrap();
    let sr = driver.attach(&params(&array, &[])).unwrap();
    let empty = sr.space().unwrap();
    assert!(empty.physical_size > 29 * GIB, "{empty:?}");
    sr.create_vdi(&new_vdi(1, 4 * GIB, "")).unwrap();
    let used = sr.space().unwrap().physical_utilisation;
    assert!((9 * GIB..11 * GIB).contains(&used), "{used}");
    // The room of the multiplier is for snapshots.
    sr.snapshot_vdi(vdi(1), vdi(2), SnapshotKind::Snapshot)
        .unwrap();
    assert_eq!(sr.space().unwrap().physical_utilisation, used);
    let before = array.faults().calls().len();
    assert_eq!(number(sr.create_vdi(&new_vdi(3, 20 * GIB, ""))), Some(44));
    assert_eq!(scanned(&*sr).len(), 2);
    assert!(array.faults().calls().len() > before);
    assert_eq!(number(sr.resize_vdi(vdi(1), 20 * GIB)), Some(44));
    sr.delete_vdi(vdi(1)).unwrap();
    sr.delete_vdi(vdi(2)).unwrap();
    assert_eq!(sr.space().unwrap(), empty);
    assert_eq!(number(sr.create_vdi(&new_vdi(4, u64::MAX, ""))), Some(79));
    array.with(|cluster| cluster.limits.snapshots_per_volume = 1);
    sr.create_vdi(&new_vdi(5, MIB, "0")).unwrap();
    let kind = SnapshotKind::Snapshot;
    sr.snapshot_vdi_hinted(vdi(5), vdi(6), kind, &hinted("one"))
        .unwrap();
    let limit = sr.snapshot_vdi_hinted(vdi(5), vdi(7), kind, &hinted("two"));
    assert_eq!(number(limit), Some(128));
    assert_eq!(scanned(&*sr).len(), 2);
    // One that nobody comes for any more makes room.
    array.with(|cluster| cluster.snapshots[0].comment = "xensm=1&at=1".to_owned());
    sr.snapshot_vdi_hinted(vdi(5), vdi(7), kind, &hinted("two"))
        .unwrap();
    array.with(|cluster| cluster.licences.asis = false);
    let mut dedup = params(&array, THIN);
    dedup.sr_uuid = vdi(0x5_2);
    dedup
        .device_config
        .insert("asis".to_owned(), "true".to_owned());
    assert_eq!(number(driver.create(&dedup)), Some(133));
    let volumes = array.with(|cluster| cluster.volumes.len());
    assert_eq!(volumes, 3);
    // An SR of which something is missing is not scanned: its VDIs would lose their records.
    array.with(|cluster| cluster.volumes[1].online = false);
    assert_eq!(number(sr.scan()), Some(40));
    assert!(sr.health().unwrap().contains("offline"));
    array.with(|cluster| cluster.volumes[1].online = true);
    sr.scan().unwrap();
    assert_eq!(sr.health(), None);
}

/// What an administrator does to FlexVols stays, unless the SR says otherwise; snapshots that nobody needs go, others' stay.
fn an_administrator_is_respected(array: OntapEmulator) {
    let driver = NetappSr::default();
    let one = [("aggregate", "aggr1"), ("FlexVols", "1")];
    driver.create(&params(&array, &one)).unwrap();
    let sr = driver.attach(&params(&array, &[])).unwrap();
    sr.create_vdi(&new_vdi(1, GIB, "")).unwrap();
    let size = |array: &OntapEmulator| {
        array.with(|cluster| cluster.volumes.iter().map(|it| it.size).max().unwrap())
    };
    let needed = size(&array);
    assert!((2 * GIB..3 * GIB).contains(&needed), "{needed}");
    array.with(|cluster| {
        let own = cluster.volumes.iter_mut().find(|it| !it.is_root).unwrap();
        own.size = 20 * GIB;
    });
    sr.create_vdi(&new_vdi(2, GIB, "")).unwrap();
    sr.delete_vdi(vdi(2)).unwrap();
    sr.scan().unwrap();
    assert_eq!(size(&array), 20 * GIB);
    let kind = SnapshotKind::Snapshot;
    for cookie in ["old", "new"] {
        let new = if cookie == "old" { 3 } else { 4 };
        sr.snapshot_vdi_hinted(vdi(1), vdi(new), kind, &hinted(cookie))
            .unwrap();
    }
    array.with(|cluster| {
        let mut other = cluster.snapshots[0].clone();
        other.name = "nightly".to_owned();
        other.uuid = Uuid::new_v4();
        cluster.snapshots.push(other);
        cluster.snapshots[0].comment = "xensm=1&at=1".to_owned();
    });
    sr.detach().unwrap();
    let sr = driver
        .attach(&params(&array, &[("enforce_allocation", "true")]))
        .unwrap();
    assert_eq!(scanned(&*sr).len(), 3);
    let names = array.with(|cluster| {
        let names = cluster.snapshots.iter().map(|it| it.name.clone());
        names.collect::<Vec<_>>()
    });
    assert_eq!(names, ["xensm-new", "nightly"]);
    assert!(size(&array) < 4 * GIB, "{}", size(&array));
    assert_eq!(read(&*sr, vdi(3)), "......");
}

/// One interface of the filer fails under a consumer: the other one serves it, and the health tells.
#[test]
fn an_interface_that_fails_is_replaced() {
    let Some(array) = OntapEmulator::start(Options::default()) else {
        return;
    };
    let driver = NetappSr::default();
    driver.create(&params(&array, THIN)).unwrap();
    let sr = driver.attach(&params(&array, &[])).unwrap();
    sr.create_vdi(&new_vdi(1, 8 * MIB, "")).unwrap();
    let export = sr.open_vdi(vdi(1), OpenMode::ReadWrite).unwrap();
    export.write_at(b"before", 3 * MIB + 5).unwrap();
    assert_eq!(sr.health(), None);
    array.set_interface("svm1_iscsi_1", false);
    export.write_at(b"during", 3 * MIB + 5).unwrap();
    export.flush().unwrap();
    support::wait_for("the health to tell of the interface", || {
        sr.health().is_some()
    });
    array.set_interface("svm1_iscsi_1", true);
    support::wait_for("the interface to be used again", || sr.health().is_none());
    export.close().unwrap();
    assert_eq!(read(&*sr, vdi(1)), "during");
}

/// A change whose answer is lost, or that the filer puts off, is found or tried again; nothing is done twice.
#[test]
fn lost_answers_are_looked_for() {
    let Some(array) = OntapEmulator::start(Options::default()) else {
        return;
    };
    let driver = NetappSr::default();
    driver.create(&params(&array, THIN)).unwrap();
    let sr = driver.attach(&params(&array, &[])).unwrap();
    sr.create_vdi(&new_vdi(1, 8 * MIB, "")).unwrap();
    let mut next = 2;
    for is_async in [false, true] {
        array.with(|cluster| cluster.behaviour.lun_create_is_async = is_async);
        for trouble in [
            Trouble::CutBefore,
            Trouble::CutAfter,
            Trouble::Busy,
            Trouble::LostJob,
            Trouble::SlowJob(3),
        ] {
            for on in ["/storage/luns", "/snapshots"] {
                array.inject(Fault::new(trouble.clone()).on("POST", on));
            }
            let kind = SnapshotKind::Clone;
            let hint = hinted(&format!("{trouble:?}-{is_async}"));
            sr.snapshot_vdi_hinted(vdi(1), vdi(next), kind, &hint)
                .unwrap();
            next += 1;
            assert!(array.faults().all_met(), "{trouble:?}");
            array.inject(Fault::new(trouble.clone()).on("POST", "/storage/luns"));
            sr.create_vdi(&new_vdi(next, 8 * MIB, "")).unwrap();
            next += 1;
            assert!(array.faults().all_met(), "{trouble:?}");
            array.inject(Fault::new(trouble.clone()).on("POST", "/lun-maps"));
            write(&*sr, vdi(next - 1), b"hallo!");
            assert!(array.faults().all_met(), "{trouble:?}");
            array.inject(Fault::new(trouble.clone()).on("DELETE", "/storage/luns"));
            sr.delete_vdi(vdi(next - 1)).unwrap();
            assert!(array.faults().all_met(), "{trouble:?}");
        }
    }
    assert_eq!(scanned(&*sr).len(), 11);
    array.inject(Fault::new(Trouble::Unauthorized).times(100));
    assert_eq!(number(sr.scan()), Some(125));
    array.faults().clear();
    array.with(|cluster| cluster.licences.flexclone = false);
    let refused = sr.snapshot_vdi(vdi(1), vdi(next), SnapshotKind::Snapshot);
    assert_eq!(number(refused), Some(82));
}

/// A step whose process dies in between.
type Step = fn(&dyn AttachedSr) -> Result<(), Failure>;

/// The filer is cut off before and after each change of each operation, for good; whoever comes then finds the state before
/// or the one after, and can go on.
fn a_crash_leaves_before_or_after(array: OntapEmulator) {
    let first = NetappSr::default();
    first.create(&params(&array, THIN)).unwrap();
    add_strangers(&array);
    let sr = first.attach(&params(&array, &[])).unwrap();
    sr.create_vdi(&new_vdi(1, 8 * MIB, "")).unwrap();
    write(&*sr, vdi(1), b"before");
    sr.snapshot_vdi(vdi(1), vdi(2), SnapshotKind::Snapshot)
        .unwrap();
    write(&*sr, vdi(1), b"after.");
    sr.detach().unwrap();
    let steps: [(&str, Step); 6] = [
        ("create", |sr| {
            sr.create_vdi(&new_vdi(3, 8 * MIB, "")).map(drop)
        }),
        ("snapshot", |sr| {
            let kind = SnapshotKind::Snapshot;
            sr.snapshot_vdi_hinted(vdi(1), vdi(3), kind, &hinted("crash"))
                .map(drop)
        }),
        ("clone", |sr| {
            sr.snapshot_vdi(vdi(2), vdi(3), SnapshotKind::Clone)
                .map(drop)
        }),
        ("open", |sr| {
            sr.open_vdi(vdi(1), OpenMode::ReadWrite).map(drop)
        }),
        ("delete", |sr| sr.delete_vdi(vdi(3))),
        ("revert", |sr| sr.revert_vdi(vdi(1), vdi(2)).map(drop)),
    ];
    let attach =
        || -> Arc<dyn AttachedSr> { NetappSr::default().attach(&params(&array, &[])).unwrap() };
    let reset = |name: &str| {
        let sr = attach();
        sr.delete_vdi(vdi(3)).unwrap();
        if name == "delete" {
            sr.create_vdi(&new_vdi(3, 8 * MIB, "")).unwrap();
        }
        if name == "revert" {
            write(&*sr, vdi(1), b"after.");
        }
        // What an epochhint stands for is to be made again.
        array.with(|cluster| {
            let all: Vec<Uuid> = cluster.snapshots.iter().map(|it| it.uuid).collect();
            for snapshot in all {
                cluster.delete_snapshot(snapshot).unwrap();
            }
        });
        sr.detach().unwrap();
    };
    for (name, step) in steps {
        // Once without trouble, to see what it calls.
        reset(name);
        let sr = attach();
        array.faults().forget_calls();
        step(&*sr).unwrap();
        let calls = array.faults().calls();
        let changes = calls.iter().enumerate();
        let changes: Vec<usize> = changes
            .filter(|(_, call)| !call.starts_with("GET "))
            .map(|(index, _)| index)
            .collect();
        assert!(!changes.is_empty(), "{name}: {calls:?}");
        for index in changes {
            for cut in [index + 1, index + 2] {
                reset(name);
                let sr = attach();
                array.inject(Fault::cut_before().nth(cut).times(10_000));
                let ended = step(&*sr);
                array.faults().clear();
                drop(sr);
                let sr = attach();
                let found = scanned(&*sr);
                assert!(found.contains_key(&vdi(1)) && found.contains_key(&vdi(2)));
                assert_eq!(array.with(|cluster| cluster.maps.len()), 0, "{name} {cut}");
                assert_eq!(strangers(&array), 2);
                let content = read(&*sr, vdi(1));
                match name {
                    "revert" => assert!(["before", "after."].contains(&content.as_str())),
                    _ => assert_eq!(content, "after."),
                }
                assert_eq!(read(&*sr, vdi(2)), "before");
                if let Some(third) = found.get(&vdi(3)) {
                    assert_eq!(third.virtual_size, 8 * MIB);
                    let expected = match name {
                        "snapshot" => "after.",
                        "clone" => "before",
                        _ => "......",
                    };
                    assert_eq!(read(&*sr, vdi(3)), expected, "{name} {cut}");
                } else {
                    assert!(ended.is_err() || matches!(name, "open" | "delete" | "revert"));
                }
                sr.detach().unwrap();
            }
        }
    }
}

/// An SR that was not made to the end is none, and goes with the next one that is made.
#[test]
fn an_sr_half_made_goes() {
    let Some(array) = OntapEmulator::start(Options::default()) else {
        return;
    };
    let driver = NetappSr::default();
    let own = |array: &OntapEmulator| {
        array.with(|cluster| {
            let volumes = cluster.volumes.iter();
            volumes
                .filter(|it| it.name.starts_with("XenStorage_"))
                .count()
        })
    };
    // The second FlexVol is refused: nothing is left.
    let refusal = Trouble::Refused(500, 8, "no".to_owned());
    array.inject(Fault::new(refusal).on("POST", "/storage/volumes").nth(2));
    assert_eq!(number(driver.create(&params(&array, THIN))), Some(61));
    assert_eq!(own(&array), 0);
    // The filer is gone before the second.
    array.inject(
        Fault::cut_before()
            .on("POST", "/storage/volumes")
            .nth(2)
            .times(1000),
    );
    array.inject(
        Fault::cut_before()
            .on("DELETE", "/storage/volumes")
            .times(1000),
    );
    assert_eq!(number(driver.create(&params(&array, THIN))), Some(124));
    array.faults().clear();
    assert_eq!(own(&array), 1);
    assert!(!driver.probe(&params(&array, &[])).unwrap().contains("UUID"));
    let mut second = params(&array, THIN);
    second.sr_uuid = vdi(0x5_2);
    driver.create(&second).unwrap();
    // Somebody may still be making it.
    assert_eq!(own(&array), 3);
    array.with(|cluster| {
        for volume in &mut cluster.volumes {
            let begun = volume.comment.find("begun=");
            if let Some(begun) = begun {
                volume.comment.replace_range(begun + 6..begun + 8, "00");
            }
        }
    });
    let mut third = params(&array, THIN);
    third.sr_uuid = vdi(0x5_3);
    driver.create(&third).unwrap();
    assert_eq!(own(&array), 4);
}
