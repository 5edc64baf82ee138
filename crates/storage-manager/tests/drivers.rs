//! What drivers may ask of the server: configuration that they write back, names on the medium, LUNs, their health.

#![allow(clippy::unwrap_used)] // a failure here fails the test

#[path = "support/fake.rs"]
mod fake;
mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use storage_manager::sr::{ConfigChanges, FileSr, KeptLabels};
use support::{
    Address, Client, HASTE, Running, config, make_sr, texts, vbd_record, vdi_record, wait_for,
};
use uuid::Uuid;
use xenapi::Value;

fn start(dir: &Path, switches: &Arc<fake::Switches>, deadline: Duration) -> Running {
    let fake = fake::FakeSr {
        switches: switches.clone(),
    };
    let mut config = config(dir);
    config.driver_deadline = deadline;
    config.shutdown_deadline = Duration::from_secs(1);
    Running::start(
        config,
        Some(vec![Arc::new(fake), Arc::new(FileSr::default())]),
    )
}

const LONG: Duration = Duration::from_secs(60);

fn get(client: &mut Client, call: &str, object: &str) -> Value {
    client.call(call, [object.into()]).unwrap()
}

fn entry(client: &mut Client, call: &str, object: &str, key: &str) -> Option<String> {
    let map = get(client, call, object);
    let value = map.as_struct().unwrap().get(key)?;
    Some(value.as_str().unwrap().to_owned())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn pbd(client: &mut Client, sr: &str) -> String {
    text(&get(client, "SR.get_PBDs", sr).as_array().unwrap()[0])
}

#[test]
fn what_a_driver_writes_back_is_recorded_but_for_passwords() {
    let dir = tempfile::tempdir().unwrap();
    let switches = Arc::new(fake::Switches::default());
    *switches.changes.lock().unwrap() = ConfigChanges::default()
        .device("SCSIid", "36001405")
        .device("password", "clear")
        .without_device("location-hint")
        .sm("devserial", "scsi-36001405,");
    let running = start(dir.path(), &switches, LONG);
    let mut client = running.unix();
    let sr = make_sr(&mut client, &dir.path().join("sr"), "fake");
    let pbd = pbd(&mut client, &sr);
    let device = |client: &mut Client, key: &str| entry(client, "PBD.get_device_config", &pbd, key);
    assert_eq!(device(&mut client, "SCSIid").as_deref(), Some("36001405"));
    assert_eq!(device(&mut client, "password"), None);
    let serial = entry(&mut client, "SR.get_sm_config", &sr, "devserial");
    assert_eq!(serial.as_deref(), Some("scsi-36001405,"));
    // A scan may find that something has changed.
    *switches.changes.lock().unwrap() = ConfigChanges::default()
        .without_device("SCSIid")
        .device("multiSession", "10.0.0.1,3260,iqn|");
    get(&mut client, "SR.scan", &sr);
    assert_eq!(device(&mut client, "SCSIid"), None);
    let sessions = device(&mut client, "multiSession");
    assert_eq!(sessions.as_deref(), Some("10.0.0.1,3260,iqn|"));
    assert!(device(&mut client, "location").is_some());
}

#[test]
fn srs_that_exclude_each_other_are_refused_before_the_medium_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let switches = Arc::new(fake::Switches::default());
    *switches.exclusive_key.lock().unwrap() = Some("location".to_owned());
    let running = start(dir.path(), &switches, LONG);
    let mut client = running.unix();
    make_sr(&mut client, &dir.path().join("one"), "fake");
    make_sr(&mut client, &dir.path().join("two"), "fake");
    let host = client.call("host.get_all", []).unwrap().as_array().unwrap()[0].clone();
    let location = dir.path().join("one");
    let params = [
        host,
        texts(&[("location", location.to_str().unwrap())]),
        Value::Int(0),
        "again".into(),
        "".into(),
        "fake".into(),
        "".into(),
        false.into(),
        texts(&[]),
    ];
    let failure = client.call("SR.create", params).unwrap_err();
    assert_eq!(failure.code, "SR_BACKEND_FAILURE_16");
}

/// Forgets the SR and everything that is recorded of it, and introduces it again with nothing but its uuid.
fn introduce_again(client: &mut Client, sr: &str, location: &Path, sr_type: &str) -> String {
    let uuid = text(&get(client, "SR.get_uuid", sr));
    let pbd = pbd(client, sr);
    get(client, "PBD.unplug", &pbd);
    get(client, "SR.forget", sr);
    let params = [
        uuid.as_str().into(),
        "".into(),
        "".into(),
        sr_type.into(),
        "".into(),
        true.into(),
        texts(&[]),
    ];
    let sr = text(&client.call("SR.introduce", params).unwrap());
    let host = client.call("host.get_all", []).unwrap().as_array().unwrap()[0].clone();
    let record = Value::Struct(
        [
            ("host".to_owned(), host),
            ("SR".to_owned(), sr.as_str().into()),
            (
                "device_config".to_owned(),
                texts(&[("location", location.to_str().unwrap())]),
            ),
            ("other_config".to_owned(), texts(&[])),
        ]
        .into(),
    );
    let pbd = text(&client.call("PBD.create", [record]).unwrap());
    get(client, "PBD.plug", &pbd);
    sr
}

#[test]
fn names_and_snapshots_come_back_from_nothing_but_the_medium() {
    let dir = tempfile::tempdir().unwrap();
    let switches = Arc::new(fake::Switches::default());
    *switches.labels.lock().unwrap() = Some(KeptLabels::default());
    let running = start(dir.path(), &switches, LONG);
    let mut client = running.unix();
    let location = dir.path().join("sr");
    let sr = make_sr(&mut client, &location, "fake");
    let vdi = text(
        &client
            .call("VDI.create", [vdi_record(&sr, "first", 4096)])
            .unwrap(),
    );
    let name = |vdi: &str, name: &str| [vdi.into(), name.into()];
    client
        .call("VDI.set_name_label", name(&vdi, "renamed"))
        .unwrap();
    client
        .call("VDI.set_name_description", name(&vdi, "why it is"))
        .unwrap();
    let params = [vdi.as_str().into(), texts(&[])];
    let snapshot = text(&client.call("VDI.snapshot", params).unwrap());
    // What could not be written is written by the scan that comes by itself.
    switches.fail_labels.store(true, Ordering::SeqCst);
    client
        .call("VDI.set_name_label", name(&snapshot, "of monday"))
        .unwrap();
    switches.fail_labels.store(false, Ordering::SeqCst);
    get(&mut client, "SR.scan", &sr);
    let time = get(&mut client, "VDI.get_snapshot_time", &snapshot);
    let uuids = [&vdi, &snapshot].map(|vdi| text(&get(&mut client, "VDI.get_uuid", vdi)));
    assert_eq!(
        switches.labels.lock().unwrap().as_ref().unwrap().vdis.len(),
        3
    );

    let sr = introduce_again(&mut client, &sr, &location, "fake");
    assert_eq!(text(&get(&mut client, "SR.get_name_label", &sr)), "an SR");
    let [vdi, snapshot] = uuids.map(|uuid| text(&get(&mut client, "VDI.get_by_uuid", &uuid)));
    assert_eq!(
        text(&get(&mut client, "VDI.get_name_label", &vdi)),
        "renamed"
    );
    assert_eq!(
        text(&get(&mut client, "VDI.get_name_description", &vdi)),
        "why it is"
    );
    assert_eq!(
        text(&get(&mut client, "VDI.get_name_label", &snapshot)),
        "of monday"
    );
    assert_eq!(
        get(&mut client, "VDI.get_is_a_snapshot", &snapshot),
        true.into()
    );
    assert_eq!(
        text(&get(&mut client, "VDI.get_snapshot_of", &snapshot)),
        vdi
    );
    assert_eq!(get(&mut client, "VDI.get_snapshot_time", &snapshot), time);
    // The parent of both is what a scan calls it.
    let all = get_all_names(&mut client);
    assert_eq!(all, ["base copy", "of monday", "renamed"]);
    // A rename while the SR was unplugged is on the medium after the next plug.
    let pbd = pbd(&mut client, &sr);
    get(&mut client, "PBD.unplug", &pbd);
    client
        .call("VDI.set_name_label", name(&vdi, "offline"))
        .unwrap();
    get(&mut client, "PBD.plug", &pbd);
    let kept = switches.labels.lock().unwrap().clone().unwrap();
    assert!(kept.vdis.iter().any(|vdi| vdi.name_label == "offline"));
}

fn get_all_names(client: &mut Client) -> Vec<String> {
    let all = client.call("VDI.get_all_records", []).unwrap();
    let records = all.as_struct().unwrap().values();
    let mut names: Vec<String> = records
        .map(|record| text(&record.as_struct().unwrap()["name_label"]))
        .collect();
    names.sort();
    names
}

#[test]
fn luns_are_taken_into_use_and_given_back_with_their_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let location = dir.path().join("sr");
    std::fs::create_dir_all(&location).unwrap();
    let (small, large) = (Uuid::from_u128(1), Uuid::from_u128(2));
    for (lun, size) in [(small, 1 << 20), (large, 4 << 20)] {
        let file = std::fs::File::create(location.join(format!("{lun}.img"))).unwrap();
        file.set_len(size).unwrap();
    }
    let switches = Arc::new(fake::Switches::default());
    switches.takes_vdis.store(true, Ordering::SeqCst);
    let running = start(dir.path(), &switches, LONG);
    let mut client = running.unix();
    let sr = make_sr(&mut client, &location, "fake");
    let managed = |client: &mut Client, lun: Uuid| {
        let vdi = text(
            &client
                .call("VDI.get_by_uuid", [lun.to_string().into()])
                .unwrap(),
        );
        get(client, "VDI.get_managed", &vdi) == true.into()
    };
    assert!(!managed(&mut client, small) && !managed(&mut client, large));
    assert_eq!(get_all_names(&mut client), ["", ""]);
    let take = |client: &mut Client, size| client.call("VDI.create", [vdi_record(&sr, "v", size)]);
    let vdi = text(&take(&mut client, 4096).unwrap());
    assert_eq!(
        text(&get(&mut client, "VDI.get_uuid", &vdi)),
        small.to_string()
    );
    assert_eq!(text(&get(&mut client, "VDI.get_name_label", &vdi)), "v");
    assert_eq!(
        get(&mut client, "SR.get_virtual_allocation", &sr),
        Value::Int(1 << 20)
    );
    // A scan does not give it back, and what is used of the SR is what was taken.
    get(&mut client, "SR.scan", &sr);
    assert!(managed(&mut client, small) && !managed(&mut client, large));
    assert_eq!(
        get(&mut client, "SR.get_physical_utilisation", &sr),
        Value::Int(1 << 20)
    );
    // Two at once never get one LUN.
    let other = running.unix();
    let results: Vec<_> = std::thread::scope(|scope| {
        let calls = [running.unix(), other].map(|mut client| {
            let record = vdi_record(&sr, "both", 4096);
            scope.spawn(move || client.call("VDI.create", [record]))
        });
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    let refused = results.into_iter().find_map(Result::err).unwrap();
    assert_eq!(refused.code, "SR_BACKEND_FAILURE_44");
    // What is taken is so after a restart, and can be given back and introduced again.
    running.stop();
    let running = start(dir.path(), &switches, LONG);
    let mut client = running.unix();
    assert!(managed(&mut client, small) && managed(&mut client, large));
    let vdi = text(
        &client
            .call("VDI.get_by_uuid", [small.to_string().into()])
            .unwrap(),
    );
    get(&mut client, "VDI.destroy", &vdi);
    assert!(!managed(&mut client, small));
    assert!(location.join(format!("{small}.img")).exists());
    let introduce = |client: &mut Client, sm_config: &[(&str, &str)]| {
        let params = [
            "".into(),
            "introduced".into(),
            "".into(),
            sr.as_str().into(),
            "user".into(),
            false.into(),
            false.into(),
            texts(&[]),
            "".into(),
            texts(&[]),
            texts(sm_config),
        ];
        client.call("VDI.introduce", params)
    };
    let lacking = introduce(&mut client, &[]).unwrap_err();
    assert_eq!(lacking.code, "SR_BACKEND_FAILURE_89");
    let lun = small.to_string();
    let vdi = text(&introduce(&mut client, &[("LUNid", &lun)]).unwrap());
    assert_eq!(
        text(&get(&mut client, "VDI.get_name_label", &vdi)),
        "introduced"
    );
    assert!(managed(&mut client, small));
    let again = introduce(&mut client, &[("LUNid", &lun)]).unwrap_err();
    assert_eq!(again.code, "SR_BACKEND_FAILURE_43");
}

#[test]
fn a_hung_medium_keeps_nothing_else_waiting_and_the_server_stops() {
    let dir = tempfile::tempdir().unwrap();
    let switches = Arc::new(fake::Switches::default());
    let running = start(dir.path(), &switches, HASTE);
    let mut client = running.unix();
    let sr = make_sr(&mut client, &dir.path().join("hung"), "fake");
    let other = make_sr(&mut client, &dir.path().join("good"), "file");
    let vm = client.call("VM.get_all", []).unwrap().as_array().unwrap()[0].clone();
    for sr in [&sr, &other] {
        let vdi = text(
            &client
                .call("VDI.create", [vdi_record(sr, "v", 4 << 20)])
                .unwrap(),
        );
        let record = vbd_record(vm.as_str().unwrap(), &vdi, "RW");
        let vbd = client.call("VBD.create", [record]).unwrap();
        client.call("VBD.plug", [vbd]).unwrap();
    }
    // What a driver says of itself is seen without anybody calling it.
    *switches.health.lock().unwrap() = Some("the server does not answer since 12:00".to_owned());
    wait_for("the driver's word", || {
        let health = entry(&mut client, "SR.get_other_config", &sr, "xensm:health");
        health.is_some_and(|health| health.contains("since 12:00"))
    });
    let metrics = |running: &Running| {
        let address = Address::Unix(running.addresses.unix_socket.clone());
        let answer = Client::new(address).send("GET", "/metrics", b"").unwrap();
        String::from_utf8(answer.body).unwrap()
    };
    let uuid = text(&get(&mut client, "SR.get_uuid", &sr));
    let line = |is_healthy: u8| format!("xensm_sr_healthy{{sr=\"{uuid}\"}} {is_healthy}");
    assert!(metrics(&running).contains(&line(0)));
    *switches.health.lock().unwrap() = None;
    wait_for("its end", || metrics(&running).contains(&line(1)));

    switches.hang(true);
    // More calls than the SR has threads, each from a client of its own.
    let results: Vec<String> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..12)
            .map(|_| {
                let (mut client, sr) = (running.unix(), sr.clone());
                scope.spawn(move || {
                    let record = vdi_record(&sr, "late", 4096);
                    client.call("VDI.create", [record]).unwrap_err().code
                })
            })
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    assert!(
        results.iter().all(|code| code == "SR_UNHEALTHY"),
        "{results:?}"
    );
    let scanned = client.call("SR.scan", [sr.as_str().into()]).unwrap_err();
    assert_eq!(scanned.code, "SR_UNHEALTHY");
    assert!(metrics(&running).contains(&line(0)));
    // A probe of what hangs keeps no other from being probed.
    let probe = |client: &mut Client, config: &[(&str, &str)]| {
        let host = client.call("host.get_all", []).unwrap().as_array().unwrap()[0].clone();
        client.call("SR.probe", [host, texts(config), "fake".into(), texts(&[])])
    };
    std::thread::scope(|scope| {
        let late: Vec<_> = (0..10)
            .map(|_| {
                let mut client = running.unix();
                scope.spawn(move || probe(&mut client, &[("server", "dead"), ("hang", "")]))
            })
            .collect();
        for late in late {
            assert_eq!(late.join().unwrap().unwrap_err().code, "SR_UNHEALTHY");
        }
    });
    probe(&mut client, &[("server", "good")]).unwrap();
    // Others make, list, watch and measure as ever.
    client
        .call("VDI.create", [vdi_record(&other, "v", 4 << 20)])
        .unwrap();
    get(&mut client, "SR.scan", &other);
    let events = [Value::Array(vec!["*".into()]), "".into(), Value::Float(0.1)];
    client.call("event.from", events).unwrap();
    // It stops, although nothing can be detached.
    let started = Instant::now();
    let (stopped, wait) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        running.stop();
        let _ = stopped.send(());
    });
    let answer = wait.recv_timeout(support::PATIENCE);
    switches.hang(false);
    answer.unwrap_or_else(|_| panic!("it did not stop within {:?}", started.elapsed()));
    // The next start serves both again.
    let running = start(dir.path(), &switches, LONG);
    let mut client = running.unix();
    for sr in [&sr, &other] {
        get(&mut client, "SR.scan", sr);
        assert_eq!(
            entry(&mut client, "SR.get_other_config", sr, "xensm:health"),
            None
        );
    }
}

/// Clients take that for a reason to try again.
#[test]
fn who_waits_too_long_is_told_what_is_in_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let switches = Arc::new(fake::Switches::default());
    let fake = fake::FakeSr {
        switches: switches.clone(),
    };
    let mut config = config(dir.path());
    config.driver_deadline = LONG;
    config.operation_patience = Duration::from_millis(100);
    let running = Running::start(config, Some(vec![Arc::new(fake)]));
    let mut client = running.unix();
    let sr = make_sr(&mut client, &dir.path().join("sr"), "fake");
    switches.hang(true);
    let scan = client.call("Async.SR.scan", [sr.as_str().into()]).unwrap();
    wait_for("the scan is under way", || {
        let operations = get(&mut client, "SR.get_current_operations", &sr);
        operations.as_struct().unwrap().contains_key(&text(&scan))
    });
    let create = [vdi_record(&sr, "v", 4096)];
    let failure = client.call("VDI.create", create.clone()).unwrap_err();
    let params = ["SR", sr.as_str(), "scan", scan.as_str().unwrap()];
    assert_eq!(failure.code, "OTHER_OPERATION_IN_PROGRESS");
    assert_eq!(failure.params, params);
    switches.hang(false);
    wait_for("the scan ends", || {
        get(&mut client, "task.get_status", scan.as_str().unwrap()) != "pending".into()
    });
    client.call("VDI.create", create).unwrap();
}

#[test]
fn a_directory_of_images_keeps_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(config(dir.path()), None);
    let mut client = running.unix();
    let location = dir.path().join("sr");
    let sr = make_sr(&mut client, &location, "file");
    let create = vdi_record(&sr, "first", 4096);
    let vdi = text(&client.call("VDI.create", [create]).unwrap());
    let params = [vdi.as_str().into(), texts(&[])];
    let snapshot = text(&client.call("VDI.snapshot", params).unwrap());
    let renamed = [snapshot.as_str().into(), "of monday".into()];
    client.call("VDI.set_name_label", renamed).unwrap();
    let uuids = [&vdi, &snapshot].map(|vdi| text(&get(&mut client, "VDI.get_uuid", vdi)));

    let sr = introduce_again(&mut client, &sr, &location, "file");
    assert_eq!(text(&get(&mut client, "SR.get_name_label", &sr)), "an SR");
    assert_eq!(
        get_all_names(&mut client),
        ["base copy", "first", "of monday"]
    );
    let [vdi, snapshot] = uuids.map(|uuid| text(&get(&mut client, "VDI.get_by_uuid", &uuid)));
    let origin = get(&mut client, "VDI.get_snapshot_of", &snapshot);
    assert_eq!(text(&origin), vdi);
    // What keeps the names goes with the SR.
    for vdi in [&snapshot, &vdi] {
        get(&mut client, "VDI.destroy", vdi);
    }
    let pbd = pbd(&mut client, &sr);
    get(&mut client, "PBD.unplug", &pbd);
    get(&mut client, "SR.destroy", &sr);
    assert_eq!(std::fs::read_dir(&location).unwrap().count(), 0);
}
