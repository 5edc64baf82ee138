//! The emulated ONTAP array: its REST API, and its LUNs as initiators see them.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "ontap_support/client.rs"]
mod client;

use std::process::Command;

use client::Client;
use serde_json::json;
use testkit::ontap::fault::{Fault, Trouble};
use testkit::ontap::{OntapEmulator, Options};
use testkit::tool;

const HOST: &str = "iqn.2026-11.test:host-a";
const OTHER: &str = "iqn.2026-11.test:host-b";
const MIB: u64 = 1 << 20;

/// An array with a FlexVol `v`.
fn array() -> Option<(OntapEmulator, Client)> {
    tool::program("iscsi-inq")?;
    tool::program("qemu-io")?;
    let array = OntapEmulator::start(Options::default())?;
    let client = Client::of(&array);
    client.post(
        "/api/storage/volumes?return_timeout=15",
        json!({"svm.name": "svm1", "name": "v", "aggregates": [{"name": "aggr1"}], "size": "10737418240", "guarantee.type": "none",
            "space.snapshot.reserve_percent": 0, "snapshot_policy.name": "none"}),
    );
    Some((array, client))
}

fn url(client: &Client, index: usize, lun: u64, credentials: &str) -> String {
    let services = client.get("/api/protocols/san/iscsi/services?svm.name=svm1&fields=target.name");
    let interfaces = client.get("/api/network/ip/interfaces?services=data_iscsi&fields=ip.address");
    let target = services["records"][0]["target"]["name"].as_str().unwrap();
    let address = interfaces["records"][index]["ip"]["address"]
        .as_str()
        .unwrap();
    format!("iscsi://{credentials}{address}:3260/{target}/{lun}")
}

fn inquire(initiator: &str, page: Option<&str>, url: &str) -> Result<String, String> {
    let mut command = Command::new(tool::program("iscsi-inq").unwrap());
    command.args(["-i", initiator]);
    if let Some(page) = page {
        command.args(["-e", "1", "-c", page]);
    }
    let output = tool::output(command.arg(url));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.success() {
        true => Ok(text),
        false => Err(text + &String::from_utf8_lossy(&output.stderr)),
    }
}

fn qemu_io(initiator: &str, url: &str, command: &str) -> String {
    let mut io = Command::new(tool::program("qemu-io").unwrap());
    let url = url.replace("iscsi://", "");
    let (portal, rest) = url.split_once('/').unwrap();
    let (target, lun) = rest.rsplit_once('/').unwrap();
    let options = format!(
        "driver=raw,file.driver=iscsi,file.transport=tcp,file.portal={portal},file.target={target},file.lun={lun},\
         file.initiator-name={initiator}"
    );
    io.args(["-c", command, "--image-opts"]).arg(options);
    tool::run(&mut io)
}

#[test]
fn an_initiator_sees_what_is_mapped_to_it() {
    let Some((array, client)) = array() else {
        return;
    };
    for (name, initiator) in [("a", HOST), ("b", OTHER)] {
        let body = json!({"svm": {"name": "svm1"}, "name": name, "protocol": "iscsi", "os_type": "linux",
            "initiators": [{"name": initiator}]});
        client.post("/api/protocols/san/igroups", body);
    }
    for name in ["one", "two"] {
        let body = json!({"svm.name": "svm1", "name": format!("/vol/v/{name}"), "os_type": "linux", "space.size": 8 * MIB});
        client.post("/api/storage/luns", body);
    }
    let map = |lun: &str, igroup: &str| {
        let body =
            json!({"svm": {"name": "svm1"}, "lun": {"name": lun}, "igroup": {"name": igroup}});
        let made = client.post("/api/protocols/san/lun-maps?return_records=true", body);
        made["records"][0]["logical_unit_number"].as_u64().unwrap()
    };
    // Each group counts for itself, from 0.
    assert_eq!(map("/vol/v/one", "a"), 0);
    assert_eq!(map("/vol/v/two", "b"), 0);
    let serial = |name: &str| {
        let luns = client.get(&format!(
            "/api/storage/luns?name=/vol/v/{name}&fields=serial_number"
        ));
        luns["records"][0]["serial_number"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    for (name, initiator) in [("one", HOST), ("two", OTHER)] {
        let serial = serial(name);
        let standard = inquire(initiator, None, &url(&client, 0, 0, "")).unwrap();
        assert!(
            standard.contains("Vendor:NETAPP") && standard.contains("Product:LUN C-Mode"),
            "{standard}"
        );
        let unit = inquire(initiator, Some("128"), &url(&client, 1, 0, "")).unwrap();
        assert!(unit.contains(&serial), "{unit} has no {serial}");
        let identification = inquire(initiator, Some("131"), &url(&client, 0, 0, "")).unwrap();
        // 600a0980 and the serial number, in binary.
        let naa = format!("`\n\t\u{fffd}{serial}]");
        assert!(identification.contains(&naa), "{identification}");
    }
    assert!(inquire(HOST, None, &url(&client, 0, 1, "")).is_err());
    // What one writes is in the file of its LUN, and a clone has it.
    qemu_io(HOST, &url(&client, 0, 0, ""), "write -P 0x5a 1M 1M");
    let body = json!({"svm": {"name": "svm1"}, "name": "/vol/v/copy", "clone": {"source": {"name": "/vol/v/one"}}});
    client.post("/api/storage/luns", body);
    qemu_io(HOST, &url(&client, 0, 0, ""), "write -P 0x11 1M 1M");
    assert_eq!(map("/vol/v/copy", "a"), 1);
    let read = qemu_io(HOST, &url(&client, 0, 1, ""), "read -P 0x5a 1M 1M");
    assert!(!read.contains("fail"), "{read}");
    assert_eq!(
        std::fs::read(array.lun_file("svm1", "/vol/v/one")).unwrap()[1 << 20],
        0x11
    );
}

#[test]
fn who_looks_for_targets_is_told_all_portals() {
    let Some((_array, client)) = array() else {
        return;
    };
    let whole = url(&client, 1, 0, "");
    let portal = whole.split('/').nth(2).unwrap();
    let target = whole.split('/').nth(3).unwrap();
    let mut look = Command::new(tool::program("iscsi-ls").unwrap());
    look.args(["-i", HOST]).arg(format!("iscsi://{portal}"));
    let said = tool::run(&mut look);
    for index in 0..2 {
        let whole = url(&client, index, 0, "");
        let portal = whole.split('/').nth(2).unwrap();
        let line = format!("Target:{target} Portal:{portal},{}", 1026 + index);
        assert!(said.contains(&line), "{said} has no {line}");
    }
}

#[test]
fn a_lun_grows_and_goes_back_to_a_snapshot_while_it_is_mapped() {
    let Some((_array, client)) = array() else {
        return;
    };
    let body = json!({"svm.name": "svm1", "name": "g", "protocol": "iscsi", "os_type": "xen", "initiators": [{"name": HOST}]});
    client.post("/api/protocols/san/igroups", body);
    let body =
        json!({"svm.name": "svm1", "name": "/vol/v/l", "os_type": "linux", "space.size": 8 * MIB});
    client.post("/api/storage/luns", body);
    let body = json!({"svm.name": "svm1", "lun.name": "/vol/v/l", "igroup.name": "g", "logical_unit_number": 7});
    client.post("/api/protocols/san/lun-maps", body);
    let lun = url(&client, 0, 7, "");
    qemu_io(HOST, &lun, "write -P 1 0 1M");
    let volume = client.get("/api/storage/volumes?name=v")["records"][0]["uuid"]
        .as_str()
        .unwrap()
        .to_owned();
    client.post(
        &format!("/api/storage/volumes/{volume}/snapshots?return_timeout=15"),
        json!({"name": "s"}),
    );
    qemu_io(HOST, &lun, "write -P 2 0 1M");
    let uuid = client.get("/api/storage/luns?name=/vol/v/l")["records"][0]["uuid"]
        .as_str()
        .unwrap()
        .to_owned();
    client.patch(
        &format!("/api/storage/luns/{uuid}"),
        json!({"space.size": 16 * MIB}),
    );
    let written = qemu_io(HOST, &lun, "write -P 3 15M 1M");
    assert!(written.contains("wrote 1048576"), "{written}");
    let body = json!({"clone": {"source": {"name": "/vol/v/.snapshot/s/l"}}});
    client.patch(&format!("/api/storage/luns/{uuid}"), body);
    let read = qemu_io(HOST, &lun, "read -P 1 0 1M");
    assert!(!read.contains("fail"), "{read}");
    assert_eq!(
        client.get(&format!("/api/storage/luns/{uuid}"))["space"]["size"],
        8 * MIB
    );
}

#[test]
fn credentials_decide_who_comes_in() {
    let Some((_array, client)) = array() else {
        return;
    };
    let body = json!({"svm.name": "svm1", "name": "g", "protocol": "iscsi", "os_type": "xen", "initiators": [{"name": HOST}]});
    client.post("/api/protocols/san/igroups", body);
    let body =
        json!({"svm.name": "svm1", "name": "/vol/v/l", "os_type": "linux", "space.size": 8 * MIB});
    client.post("/api/storage/luns", body);
    let body = json!({"svm.name": "svm1", "lun.name": "/vol/v/l", "igroup.name": "g"});
    client.post("/api/protocols/san/lun-maps", body);
    let body = json!({"svm.name": "svm1", "initiator": HOST, "authentication_type": "CHAP",
        "chap": {"inbound": {"user": "u", "password": "password12345"}}});
    client.post("/api/protocols/san/iscsi/credentials", body);
    assert!(inquire(HOST, None, &url(&client, 0, 0, "")).is_err());
    assert!(inquire(HOST, None, &url(&client, 0, 0, "u%wrongpassword@")).is_err());
    inquire(HOST, None, &url(&client, 0, 0, "u%password12345@")).unwrap();
    let svm = client.get("/api/svm/svms?name=svm1")["records"][0]["uuid"]
        .as_str()
        .unwrap()
        .to_owned();
    let at = format!("/api/protocols/san/iscsi/credentials/{svm}/{HOST}");
    client.patch(&at, json!({"authentication_type": "deny"}));
    assert!(inquire(HOST, None, &url(&client, 0, 0, "u%password12345@")).is_err());
    client.delete(&at);
    inquire(HOST, None, &url(&client, 0, 0, "")).unwrap();
}

#[test]
fn a_connection_is_cut_before_or_after_the_work() {
    let Some((array, client)) = array() else {
        return;
    };
    let body =
        json!({"svm.name": "svm1", "name": "/vol/v/l", "os_type": "linux", "space.size": 8 * MIB});
    array.inject(Fault::cut_before().on("POST", "/storage/luns"));
    assert_eq!(client.try_call("POST", "/api/storage/luns", &body), None);
    assert_eq!(array.with(|cluster| cluster.luns.len()), 0);
    array.inject(Fault::cut_after().on_changes());
    assert_eq!(client.try_call("POST", "/api/storage/luns", &body), None);
    assert_eq!(array.with(|cluster| cluster.luns.len()), 1);
    assert!(array.faults().all_met());
    let (status, answer) = client.try_call("POST", "/api/storage/luns", &body).unwrap();
    assert_eq!(
        (status, answer["error"]["code"].as_str()),
        (409, Some("5374242"))
    );
}

#[test]
fn a_job_may_be_slow_or_lost() {
    let Some((array, client)) = array() else {
        return;
    };
    let body =
        json!({"svm.name": "svm1", "name": "w", "aggregates.name": ["aggr1"], "size": 100 * MIB});
    array.inject(Fault::new(Trouble::SlowJob(3)));
    let (status, answer) = client
        .try_call("POST", "/api/storage/volumes?return_timeout=15", &body)
        .unwrap();
    assert_eq!(status, 202);
    let job = answer["job"]["_links"]["self"]["href"]
        .as_str()
        .unwrap()
        .to_owned();
    for state in ["running", "running", "success"] {
        assert_eq!(client.get(&job)["state"], state);
    }
    array.inject(Fault::new(Trouble::LostJob));
    let (_, answer) = client
        .try_call("POST", "/api/storage/volumes", &body)
        .unwrap();
    let job = answer["job"]["_links"]["self"]["href"]
        .as_str()
        .unwrap()
        .to_owned();
    let (status, _) = client.try_call("GET", &job, &json!({})).unwrap();
    assert_eq!(status, 404);
}
