//! The server through its sockets, on an SR type of the tests.

#![allow(clippy::unwrap_used)] // helpers of tests fail the test

#[path = "support/fake.rs"]
mod fake;
mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use support::{Address, Client, Running, config, make_sr, texts, vbd_record, vdi_record};
use xenapi::Value;

fn start(dir: &std::path::Path) -> (Running, Arc<fake::Switches>) {
    start_with(dir, |_| ())
}

fn start_with(
    dir: &std::path::Path,
    prepare: impl FnOnce(&fake::Switches),
) -> (Running, Arc<fake::Switches>) {
    let fake = fake::FakeSr::default();
    let switches = fake.switches.clone();
    prepare(&switches);
    (
        Running::start(config(dir), Some(vec![Arc::new(fake)])),
        switches,
    )
}

fn code(result: Result<Value, xenapi::Failure>) -> String {
    result.unwrap_err().code
}

#[test]
fn logs_in_makes_an_sr_and_a_vdi_and_destroys_both() {
    let dir = tempfile::tempdir().unwrap();
    let (running, _) = start(dir.path());
    let mut client = running.unix();
    let sr = make_sr(&mut client, &dir.path().join("sr"), "FAKE");
    let vdi = client
        .call("VDI.create", [vdi_record(&sr, "one", 4096)])
        .unwrap();
    let record = client.call("VDI.get_record", [vdi.clone()]).unwrap();
    let record = record.as_struct().unwrap();
    assert_eq!(record["SR"].as_str(), Some(sr.as_str()));
    assert_eq!(record["virtual_size"], Value::Int(4096));
    assert_eq!(
        record["allowed_operations"],
        Value::Array(
            [
                "copy", "clone", "snapshot", "forget", "destroy", "resize", "update"
            ]
            .map(Value::from)
            .to_vec()
        )
    );
    assert_eq!(
        client.call("SR.get_VDIs", [sr.as_str().into()]).unwrap(),
        Value::Array(vec![vdi.clone()])
    );
    assert_eq!(
        client
            .call("SR.get_virtual_allocation", [sr.as_str().into()])
            .unwrap(),
        Value::Int(4096)
    );
    let pbd = client
        .call("SR.get_PBDs", [sr.as_str().into()])
        .unwrap()
        .as_array()
        .unwrap()[0]
        .clone();
    assert_eq!(
        code(client.call("SR.destroy", [sr.as_str().into()])),
        "SR_HAS_PBD"
    );
    client.call("VDI.destroy", [vdi.clone()]).unwrap();
    assert_eq!(code(client.call("VDI.get_record", [vdi])), "HANDLE_INVALID");
    client.call("PBD.unplug", [pbd]).unwrap();
    client.call("SR.destroy", [sr.as_str().into()]).unwrap();
    assert_eq!(client.call("SR.get_all", []).unwrap(), Value::Array(vec![]));
    assert_eq!(
        client.call("PBD.get_all", []).unwrap(),
        Value::Array(vec![])
    );
}

#[test]
fn tcp_needs_the_password_and_the_unix_socket_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let (running, _) = start(dir.path());
    let mut tcp = Client::new(Address::Tcp(running.addresses.http.unwrap()));
    let login = |client: &mut Client, password: &str| {
        client.raw_call(
            "session.login_with_password",
            vec!["root".into(), password.into()],
        )
    };
    assert_eq!(login(&mut tcp, "wrong").unwrap_err().params[0], "root");
    assert!(login(&mut tcp, "xenroot").is_ok());
    let mut unix = Client::new(Address::Unix(running.addresses.unix_socket.clone()));
    assert!(login(&mut unix, "").is_ok());
    let health = unix.send("GET", "/healthz", b"").unwrap();
    assert_eq!(
        (health.status, health.body.as_slice()),
        (200, b"ok\n".as_slice())
    );
}

#[test]
fn what_was_answered_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (running, _) = start(dir.path());
    let mut client = running.unix();
    let sr = make_sr(&mut client, &dir.path().join("sr"), "fake");
    let vdi = client
        .call("VDI.create", [vdi_record(&sr, "kept", 4096)])
        .unwrap();
    let vm = client.call("VM.get_all", []).unwrap().as_array().unwrap()[0]
        .as_str()
        .unwrap()
        .to_owned();
    let vbd = client
        .call("VBD.create", [vbd_record(&vm, vdi.as_str().unwrap(), "RW")])
        .unwrap();
    client.call("VBD.plug", [vbd.clone()]).unwrap();
    let secret = client
        .call("secret.create", [texts(&[("value", "hunter2")])])
        .unwrap();
    let before = records_at_rest(&mut client, &vdi, &sr);
    running.stop();
    let file = std::fs::read(dir.path().join("data/objects.redb")).unwrap();
    assert!(!file.windows(7).any(|window| window == b"hunter2"));
    let (running, _) = start(dir.path());
    let mut client = running.unix();
    assert_eq!(before, records_at_rest(&mut client, &vdi, &sr));
    assert_eq!(
        client.call("secret.get_value", [secret]).unwrap(),
        "hunter2".into()
    );
    let vbd_record = client.call("VBD.get_record", [vbd.clone()]).unwrap();
    assert_eq!(
        vbd_record.as_struct().unwrap()["currently_attached"],
        Value::Bool(true)
    );
    let socket = vbd_record.as_struct().unwrap()["other_config"]
        .as_struct()
        .unwrap()["xensm:nbd_socket"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(std::os::unix::net::UnixStream::connect(socket).is_ok());
    assert_eq!(
        code(client.call("PBD.unplug", [client_pbd(&mut running.unix(), &sr)])),
        "VDI_IN_USE"
    );
    client.call("VBD.unplug", [vbd]).unwrap();
}

/// The records of a VDI and its SR while nothing is at work on either: an SR that asks for it is scanned by itself, also right after a
/// start.
fn records_at_rest(client: &mut Client, vdi: &Value, sr: &str) -> [Value; 2] {
    let at_rest = |record: &Value| {
        record.as_struct().unwrap()["current_operations"]
            .as_struct()
            .unwrap()
            .is_empty()
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let records = [
            ("VDI.get_record", vdi.clone()),
            ("SR.get_record", sr.into()),
        ]
        .map(|(method, reference)| client.call(method, [reference]).unwrap());
        if records.iter().all(at_rest) {
            return records;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "something is still at work after a minute: {records:?}"
        );
        std::thread::yield_now();
    }
}

fn client_pbd(client: &mut Client, sr: &str) -> Value {
    client
        .call("SR.get_PBDs", [sr.into()])
        .unwrap()
        .as_array()
        .unwrap()[0]
        .clone()
}

#[test]
fn a_hung_medium_stops_its_own_sr_only() {
    let dir = tempfile::tempdir().unwrap();
    let fake = fake::FakeSr::default();
    let switches = fake.switches.clone();
    let mut config = config(dir.path());
    config.driver_deadline = support::HASTE;
    let running = Running::start(config, Some(vec![Arc::new(fake)]));
    let mut client = running.unix();
    let sr = make_sr(&mut client, &dir.path().join("sr"), "fake");
    switches.hang(true);
    let failure = client
        .call("VDI.create", [vdi_record(&sr, "late", 4096)])
        .unwrap_err();
    assert_eq!(
        (failure.code.as_str(), failure.params[0].as_str()),
        ("SR_UNHEALTHY", sr.as_str())
    );
    let other_config = client
        .call("SR.get_other_config", [sr.as_str().into()])
        .unwrap();
    assert!(
        other_config
            .as_struct()
            .unwrap()
            .contains_key("xensm:health")
    );
    switches.hang(false);
    client.call("SR.scan", [sr.as_str().into()]).unwrap();
    assert!(
        !client
            .call("SR.get_other_config", [sr.as_str().into()])
            .unwrap()
            .as_struct()
            .unwrap()
            .contains_key("xensm:health")
    );
    // The image that came too late is deleted behind.
    support::wait_for("the late image is gone", || {
        std::fs::read_dir(dir.path().join("sr"))
            .unwrap()
            .next()
            .is_none()
    });
}

#[test]
fn an_image_that_nobody_was_told_of_never_becomes_a_vdi() {
    let dir = tempfile::tempdir().unwrap();
    let fake = fake::FakeSr::default();
    let switches = fake.switches.clone();
    let mut short = config(dir.path());
    short.driver_deadline = support::HASTE;
    let running = Running::start(short, Some(vec![Arc::new(fake)]));
    let mut client = running.unix();
    let sr = make_sr(&mut client, &dir.path().join("sr"), "fake");
    let images = || std::fs::read_dir(dir.path().join("sr")).unwrap().count();
    switches.hang(true);
    let late = client.call("VDI.create", [vdi_record(&sr, "late", 4096)]);
    assert_eq!(code(late), "SR_UNHEALTHY");
    // The image that comes too late cannot be deleted either.
    switches.fail_delete.store(true, Ordering::SeqCst);
    switches.hang(false);
    support::wait_for("the late image", || images() == 1);
    client.call("SR.scan", [sr.as_str().into()]).unwrap();
    let none = Value::Array(Vec::new());
    assert_eq!(client.call("VDI.get_all", []).unwrap(), none);
    running.stop();

    let (running, switches) = start_with(dir.path(), |switches| {
        switches.fail_delete.store(true, Ordering::SeqCst);
    });
    let mut client = running.unix();
    client.call("SR.scan", [sr.as_str().into()]).unwrap();
    assert_eq!(client.call("VDI.get_all", []).unwrap(), none);
    switches.fail_delete.store(false, Ordering::SeqCst);
    running.stop();
    let (running, _) = start(dir.path());
    support::wait_for("the late image is gone", || images() == 0);
    running.stop();
}

#[test]
fn a_vdi_that_is_used_after_its_destruction_failed_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let fake = fake::FakeSr::default();
    let switches = fake.switches.clone();
    let mut short = config(dir.path());
    short.driver_deadline = support::HASTE;
    let running = Running::start(short, Some(vec![Arc::new(fake)]));
    let mut client = running.unix();
    let sr = make_sr(&mut client, &dir.path().join("sr"), "fake");
    let vm = client.call("VM.get_all", []).unwrap().as_array().unwrap()[0].clone();
    let [kept, gone] = ["kept", "gone"].map(|label| {
        let vdi = client
            .call("VDI.create", [vdi_record(&sr, label, 4096)])
            .unwrap();
        let uuid = client.call("VDI.get_uuid", [vdi.clone()]).unwrap();
        let image = format!("sr/{}.img", uuid.as_str().unwrap());
        (vdi, dir.path().join(image))
    });
    switches.fail_delete.store(true, Ordering::SeqCst);
    for (vdi, _) in [&kept, &gone] {
        switches.hang(true);
        let late = client.call("VDI.destroy", [vdi.clone()]);
        assert_eq!(code(late), "SR_UNHEALTHY");
        switches.hang(false);
        client.call("SR.scan", [sr.as_str().into()]).unwrap();
    }
    let record = vbd_record(vm.as_str().unwrap(), kept.0.as_str().unwrap(), "RW");
    let vbd = client.call("VBD.create", [record]).unwrap();
    client.call("VBD.plug", [vbd.clone()]).unwrap();
    client.call("VBD.unplug", [vbd]).unwrap();
    running.stop();
    let (running, _) = start(dir.path());
    support::wait_for("the other destruction is finished", || !gone.1.exists());
    assert!(kept.1.exists());
    let all = running.unix().call("VDI.get_all", []).unwrap();
    assert_eq!(all, Value::Array(vec![kept.0]));
}

#[test]
fn a_plug_that_nobody_waited_for_is_in_nobodys_way() {
    let dir = tempfile::tempdir().unwrap();
    let fake = fake::FakeSr::default();
    let switches = fake.switches.clone();
    let mut short = config(dir.path());
    short.driver_deadline = support::HASTE;
    let running = Running::start(short, Some(vec![Arc::new(fake)]));
    let mut client = running.unix();
    let sr = make_sr(&mut client, &dir.path().join("sr"), "fake");
    let vdi = client
        .call("VDI.create", [vdi_record(&sr, "slow", 4096)])
        .unwrap();
    let vm = client.call("VM.get_all", []).unwrap().as_array().unwrap()[0].clone();
    let record = vbd_record(vm.as_str().unwrap(), vdi.as_str().unwrap(), "RO");
    let vbd = client.call("VBD.create", [record]).unwrap();
    let uuid = client.call("VDI.get_uuid", [vdi.clone()]).unwrap();
    let socket = dir
        .path()
        .join("data/nbd")
        .join(format!("{}.sock", uuid.as_str().unwrap()));
    for round in 0..2 {
        switches.hang(true);
        assert_eq!(code(client.call("VBD.plug", [vbd.clone()])), "SR_UNHEALTHY");
        switches.hang(false);
        support::wait_for("the export that comes too late", || socket.exists());
        if round == 0 {
            client.call("VBD.plug", [vbd.clone()]).unwrap();
            client.call("VBD.unplug", [vbd.clone()]).unwrap();
        } else {
            client.call("VDI.destroy", [vdi.clone()]).unwrap();
        }
        assert!(!socket.exists());
    }
}

#[test]
fn what_was_plugged_is_exported_again_when_its_sr_comes_back_late() {
    let dir = tempfile::tempdir().unwrap();
    let (running, _) = start(dir.path());
    let mut client = running.unix();
    let sr = make_sr(&mut client, &dir.path().join("sr"), "fake");
    let vdi = client
        .call("VDI.create", [vdi_record(&sr, "kept", 4096)])
        .unwrap();
    let vm = client.call("VM.get_all", []).unwrap().as_array().unwrap()[0].clone();
    let record = vbd_record(vm.as_str().unwrap(), vdi.as_str().unwrap(), "RW");
    let vbd = client.call("VBD.create", [record]).unwrap();
    client.call("VBD.plug", [vbd.clone()]).unwrap();
    running.stop();

    let (running, switches) = start_with(dir.path(), |switches| {
        switches.fail_attach.store(true, Ordering::SeqCst);
    });
    let mut client = running.unix();
    let pbd = client_pbd(&mut client, &sr);
    let attached = |client: &mut Client, class: &str, reference: &Value| {
        let method = format!("{class}.get_currently_attached");
        client.call(&method, [reference.clone()]).unwrap() == Value::Bool(true)
    };
    assert!(!attached(&mut client, "PBD", &pbd));
    switches.fail_attach.store(false, Ordering::SeqCst);
    client.call("PBD.plug", [pbd]).unwrap();
    assert!(attached(&mut client, "VBD", &vbd));
    let config = client.call("VBD.get_other_config", [vbd.clone()]).unwrap();
    let socket = config.as_struct().unwrap()["xensm:nbd_socket"].clone();
    let connected = std::os::unix::net::UnixStream::connect(socket.as_str().unwrap());
    assert!(connected.is_ok(), "{connected:?}");
    client.call("VBD.unplug", [vbd]).unwrap();
}

#[test]
fn a_damaged_image_hides_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (running, switches) = start(dir.path());
    let mut client = running.unix();
    let sr = make_sr(&mut client, &dir.path().join("sr"), "fake");
    let vdi = client
        .call("VDI.create", [vdi_record(&sr, "good", 4096)])
        .unwrap();
    std::fs::write(dir.path().join("sr/broken"), b"x").unwrap();
    client.call("SR.scan", [sr.as_str().into()]).unwrap();
    let other_config = client
        .call("SR.get_other_config", [sr.as_str().into()])
        .unwrap();
    assert_eq!(
        other_config.as_struct().unwrap()["xensm:damaged"].as_str(),
        Some("broken")
    );
    assert_eq!(
        client.call("SR.get_VDIs", [sr.as_str().into()]).unwrap(),
        Value::Array(vec![vdi.clone()])
    );
    assert_eq!(
        client
            .call("message.get_all", [])
            .unwrap()
            .as_array()
            .unwrap()
            .len(),
        1
    );
    std::fs::remove_file(dir.path().join("sr/broken")).unwrap();
    switches.fail_scan.store(true, Ordering::SeqCst);
    assert_eq!(
        code(client.call("SR.scan", [sr.as_str().into()])),
        "SR_BACKEND_FAILURE_40"
    );
    switches.fail_scan.store(false, Ordering::SeqCst);
    client.call("SR.scan", [sr.as_str().into()]).unwrap();
    let other_config = client
        .call("SR.get_other_config", [sr.as_str().into()])
        .unwrap();
    assert!(
        !other_config
            .as_struct()
            .unwrap()
            .contains_key("xensm:damaged")
    );
    // Forgotten and found again, as a VDI without a name.
    client.call("VDI.forget", [vdi]).unwrap();
    client.call("SR.scan", [sr.as_str().into()]).unwrap();
    assert_eq!(
        client
            .call("SR.get_VDIs", [sr.as_str().into()])
            .unwrap()
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn passwords_move_to_secrets_that_go_with_their_pbd() {
    let dir = tempfile::tempdir().unwrap();
    let (running, _) = start(dir.path());
    let mut client = running.unix();
    let host = client.call("host.get_all", []).unwrap().as_array().unwrap()[0].clone();
    let location = dir.path().join("sr");
    let config = texts(&[
        ("location", location.to_str().unwrap()),
        ("chappassword", "hunter2"),
    ]);
    let params = [
        host,
        config,
        Value::Int(0),
        "n".into(),
        "".into(),
        "fake".into(),
        "".into(),
        false.into(),
    ];
    let sr = client
        .call("SR.create", params)
        .unwrap()
        .as_str()
        .unwrap()
        .to_owned();
    let pbd = client_pbd(&mut client, &sr);
    let config = client.call("PBD.get_device_config", [pbd.clone()]).unwrap();
    let config = config.as_struct().unwrap();
    assert!(!config.contains_key("chappassword"));
    let secret = client
        .call(
            "secret.get_by_uuid",
            [config["chappassword_secret"].clone()],
        )
        .unwrap();
    assert_eq!(
        client.call("secret.get_value", [secret]).unwrap(),
        "hunter2".into()
    );
    client.call("PBD.unplug", [pbd]).unwrap();
    client.call("SR.forget", [sr.into()]).unwrap();
    assert_eq!(
        client.call("secret.get_all", []).unwrap(),
        Value::Array(vec![])
    );
}

#[test]
fn a_vdi_of_a_file_sr_is_written_and_read_over_nbd() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(config(dir.path()), None);
    let mut client = running.unix();
    let sr = make_sr(&mut client, &dir.path().join("sr"), "file");
    let vdi = client
        .call("VDI.create", [vdi_record(&sr, "one", 1)])
        .unwrap();
    let size = client.call("VDI.get_virtual_size", [vdi.clone()]).unwrap();
    assert_eq!(size, Value::Int(2 << 20));
    let vm = client.call("VM.get_all", []).unwrap().as_array().unwrap()[0].clone();
    let record = vbd_record(vm.as_str().unwrap(), vdi.as_str().unwrap(), "RW");
    let vbd = client.call("VBD.create", [record.clone()]).unwrap();
    let second = client.call("VBD.create", [record]).unwrap();
    client.call("VBD.plug", [vbd.clone()]).unwrap();
    assert_eq!(code(client.call("VBD.plug", [second])), "VDI_IN_USE");
    assert_eq!(
        code(client.call("VDI.destroy", [vdi.clone()])),
        "VDI_IN_USE"
    );
    let config = client.call("VBD.get_other_config", [vbd.clone()]).unwrap();
    let socket = config.as_struct().unwrap()["xensm:nbd_socket"]
        .as_str()
        .unwrap()
        .to_owned();
    let name = config.as_struct().unwrap()["xensm:nbd_export"]
        .as_str()
        .unwrap()
        .to_owned();
    for round in 0..2_u8 {
        let mut nbd = nbd::Client::connect_unix(
            std::path::Path::new(&socket),
            &name,
            &support::patient_consumer(),
        )
        .unwrap();
        if round == 0 {
            nbd.write(&[7; 4096], 8192).unwrap();
            nbd.flush().unwrap();
        }
        let mut bytes = [0; 4096];
        nbd.read(&mut bytes, 8192).unwrap();
        assert_eq!(bytes, [7; 4096]);
    }
    client.call("VBD.unplug", [vbd]).unwrap();
    client.call("VDI.destroy", [vdi]).unwrap();
}

#[test]
fn two_srs_are_made_at_once_and_never_in_one_directory() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(config(dir.path()), None);
    let host = running
        .unix()
        .call("host.get_all", [])
        .unwrap()
        .as_array()
        .unwrap()[0]
        .clone();
    let create = |location: std::path::PathBuf| {
        let (mut client, host) = (running.unix(), host.clone());
        std::thread::spawn(move || {
            let config = texts(&[("location", location.to_str().unwrap())]);
            let params = [
                host,
                config,
                Value::Int(0),
                "n".into(),
                "".into(),
                "file".into(),
                "".into(),
                false.into(),
            ];
            client.call("SR.create", params)
        })
    };
    let apart = [create(dir.path().join("a")), create(dir.path().join("b"))];
    assert!(apart.into_iter().all(|call| call.join().unwrap().is_ok()));
    let together = [create(dir.path().join("c")), create(dir.path().join("c"))];
    let made = together
        .into_iter()
        .filter_map(|call| call.join().unwrap().ok())
        .count();
    let mut client = running.unix();
    let pbds = client.call("PBD.get_all_records", []).unwrap();
    let attached = pbds.as_struct().unwrap().values().filter(|pbd| {
        let record = pbd.as_struct().unwrap();
        let location = record["device_config"].as_struct().unwrap()["location"]
            .as_str()
            .unwrap();
        location.ends_with("/c") && record["currently_attached"] == Value::Bool(true)
    });
    assert_eq!(attached.count(), 1, "{made} SRs were made in one directory");
}

#[test]
fn sessions_are_bounded_and_the_idlest_makes_room() {
    let dir = tempfile::tempdir().unwrap();
    let (running, _) = start(dir.path());
    let mut client = running.unix();
    let mut first = running.unix();
    let mut oldest = running.unix();
    first.call("pool.get_all", []).unwrap();
    for _ in 0..498 {
        client
            .raw_call(
                "session.login_with_password",
                vec!["root".into(), "".into()],
            )
            .unwrap();
        client.call("pool.get_all", []).unwrap();
        first.call("pool.get_all", []).unwrap();
    }
    assert_eq!(code(oldest.call("pool.get_all", [])), "SESSION_INVALID");
    assert!(first.call("pool.get_all", []).is_ok());
}

#[test]
fn bad_bodies_are_refused_and_the_server_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (running, _) = start(dir.path());
    let mut client = running.unix();
    let bomb = "<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY b \"c\">]><methodCall/>";
    for (path, body) in [
        ("/", bomb.as_bytes()),
        ("/", b"\xff\xfe"),
        ("/jsonrpc", b"{"),
        ("/jsonrpc", b"[1]"),
    ] {
        assert_eq!(client.send("POST", path, body).unwrap().status, 500);
    }
    // The server may close while the rest of an oversized body is still being sent.
    if let Ok(response) = client.send("POST", "/", &vec![b' '; 2 << 20]) {
        assert_eq!(response.status, 500);
    }
    let mut client = running.unix();
    let label = Value::from("\u{1}");
    assert_eq!(
        code(client.call(
            "pool.set_name_label",
            [client_pool(&mut running.unix()), label]
        )),
        "INTERNAL_ERROR"
    );
    assert!(client.call("pool.get_all", []).is_ok());
}

fn client_pool(client: &mut Client) -> Value {
    client.call("pool.get_all", []).unwrap().as_array().unwrap()[0].clone()
}
