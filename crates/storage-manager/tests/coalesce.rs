//! Coalescing as users see it: snapshots are taken and deleted under a consumer, and the storage manager merges what is
//! left, tells of it, and lets itself be paused.

#![allow(clippy::unwrap_used)] // helpers of tests fail the test

mod support;

use std::path::Path;

use serde_json::Value as Json;
use support::{Client, Running, make_sr, texts, vbd_record, vdi_record, wait_for};
use xenapi::{Failure, Value};

const MIB: u64 = 1 << 20;
const SIZE: i64 = 64 << 20;

/// A storage manager with an SR, a VDI that a consumer has open, and what the VDI must hold.
struct Scene {
    running: Running,
    client: Client,
    sr: String,
    vdi: String,
    nbd: nbd::Client,
    model: Vec<u8>,
    dir: tempfile::TempDir,
}

impl Scene {
    fn new() -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let running = Running::start(support::config(dir.path()), None);
        let mut client = running.unix();
        let sr = make_sr(&mut client, &dir.path().join("sr"), "file");
        let vdi = text(
            client
                .call("VDI.create", [vdi_record(&sr, "disk", SIZE)])
                .unwrap(),
        );
        let vms = client.call("VM.get_all", []).unwrap();
        let vm = vms.as_array().unwrap()[0].as_str().unwrap().to_owned();
        let vbd = client
            .call("VBD.create", [vbd_record(&vm, &vdi, "RW")])
            .unwrap();
        client.call("VBD.plug", [vbd.clone()]).unwrap();
        let nbd = connect(&mut client, &vbd);
        Scene {
            running,
            client,
            sr,
            vdi,
            nbd,
            model: vec![0; SIZE as usize],
            dir,
        }
    }

    fn write(&mut self, byte: u8, offset: u64, length: u64) {
        let data = vec![byte; length as usize];
        self.nbd.write(&data, offset).unwrap();
        self.model[offset as usize..(offset + length) as usize].copy_from_slice(&data);
    }

    fn assert_content(&mut self) {
        let mut found = vec![0; MIB as usize];
        for (index, expected) in self.model.chunks(MIB as usize).enumerate() {
            self.nbd.read(&mut found, index as u64 * MIB).unwrap();
            assert!(found == expected, "MiB {index}");
        }
    }

    fn snapshot(&mut self) -> String {
        let params = [self.vdi.as_str().into(), texts(&[])];
        text(self.client.call("VDI.snapshot", params).unwrap())
    }

    fn plugin(&mut self, function: &str, arguments: &[(&str, &str)]) -> Json {
        let answer = self.ask_plugin(function, arguments).unwrap();
        serde_json::from_str(answer.as_str().unwrap()).unwrap()
    }

    fn ask_plugin(&mut self, function: &str, arguments: &[(&str, &str)]) -> Result<Value, Failure> {
        let hosts = self.client.call("host.get_all", []).unwrap();
        let host = hosts.as_array().unwrap()[0].clone();
        let params = [
            host,
            "xensm-chain".into(),
            function.into(),
            texts(arguments),
        ];
        self.client.call("host.call_plugin", params)
    }

    fn sr_uuid(&mut self) -> String {
        text(
            self.client
                .call("SR.get_uuid", [self.sr.as_str().into()])
                .unwrap(),
        )
    }
}

fn text(value: Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn connect(client: &mut Client, vbd: &Value) -> nbd::Client {
    let config = client.call("VBD.get_other_config", [vbd.clone()]).unwrap();
    let entry = |key: &str| text(config.as_struct().unwrap()[key].clone());
    let (socket, name) = (entry("xensm:nbd_socket"), entry("xensm:nbd_export"));
    let options = support::patient_consumer();
    nbd::Client::connect_unix(Path::new(&socket), &name, &options).unwrap()
}

fn vhds(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir.join("sr")).unwrap();
    entries
        .filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name.to_str().unwrap().ends_with(".vhd")
        })
        .count()
}

#[test]
fn deleted_snapshots_are_merged_under_a_consumer_and_told() {
    let mut scene = Scene::new();
    scene.write(1, 0, 8 * MIB);
    let sr_uuid = scene.sr_uuid();
    // A slip of the pen holds nothing, and says so.
    let nobody = uuid::Uuid::new_v4().to_string();
    let refused = scene.ask_plugin("pause", &[("sr", &sr_uuid), ("vdi", &nobody)]);
    assert_eq!(refused.unwrap_err().code, "UUID_INVALID");
    scene.plugin("pause", &[("sr", &sr_uuid)]);
    let mut snapshots = Vec::new();
    for round in 0..4_u8 {
        snapshots.push(scene.snapshot());
        scene.write(10 + round, u64::from(round) * MIB + 512, 3 * MIB);
    }
    for snapshot in snapshots {
        scene
            .client
            .call("VDI.destroy", [snapshot.as_str().into()])
            .unwrap();
    }
    wait_for("the backlog is told", || {
        let status = scene.plugin("status", &[("sr", &sr_uuid)]);
        status["backlog_images"] == 4 && status["paused"] == true
    });
    let sr = scene.sr.clone();
    let config = |scene: &mut Scene| {
        let config = scene
            .client
            .call("SR.get_other_config", [sr.as_str().into()]);
        config.unwrap().as_struct().unwrap().clone()
    };
    wait_for("it stands in the record", || {
        let config = config(&mut scene);
        config.get("xensm:coalesce-state").and_then(Value::as_str) == Some("paused")
            && config
                .get("xensm:coalesce-backlog-images")
                .and_then(Value::as_str)
                == Some("4")
    });
    let shown = scene.plugin("show", &[("sr", &sr_uuid)]);
    assert_eq!(shown["images"].as_array().unwrap().len(), 5);
    assert_eq!(shown["images"][4]["depth"], 5);
    assert_eq!(shown["images"][4]["consumers"], "writer");
    scene.assert_content();

    scene.plugin("resume", &[("sr", &sr_uuid)]);
    let mut byte = 100;
    let dir = scene.dir.path().to_owned();
    wait_for("one image is left", || {
        byte = byte % 200 + 1;
        scene.write(byte, 20 * MIB + u64::from(byte) * 1000, 5000);
        scene.nbd.flush().unwrap();
        vhds(&dir) == 1
    });
    scene.assert_content();
    wait_for("the records follow", || {
        let vdis = scene.client.call("VDI.get_all", []).unwrap();
        vdis.as_array().unwrap().len() == 1
            && !config(&mut scene).keys().any(|k| k.contains("coalesce"))
    });
    let tasks = scene.client.call("task.get_all_records", []).unwrap();
    let ended = tasks.as_struct().unwrap().values().filter(|task| {
        let task = task.as_struct().unwrap();
        task["name_label"].as_str() == Some("SR.coalesce")
            && task["status"].as_str() == Some("success")
    });
    assert!(ended.count() >= 4);
    let metrics = scene.client.send("GET", "/metrics", b"").unwrap();
    let metrics = String::from_utf8(metrics.body).unwrap();
    assert!(metrics.contains(&format!(
        "xensm_coalesce_backlog_images{{sr=\"{sr_uuid}\"}} 0"
    )));
    assert!(metrics.contains("xensm_consumer_pause_seconds_bucket"));

    let uuid = text(
        scene
            .client
            .call("VDI.get_uuid", [scene.vdi.as_str().into()])
            .unwrap(),
    );
    let checked = scene.plugin("check", &[("sr", &sr_uuid), ("vdi", &uuid)]);
    assert_eq!(checked["sound"], true, "{checked}");
    drop(scene.nbd);
    scene.running.stop();
}

#[test]
fn a_long_chain_makes_room_for_a_snapshot_by_itself() {
    let mut scene = Scene::new();
    let sr_uuid = scene.sr_uuid();
    // With coalescing paused nothing but the snapshots themselves makes room.
    scene.plugin("pause", &[("sr", &sr_uuid)]);
    for round in 0..40_u8 {
        scene.write(round + 1, u64::from(round) * MIB, 2 * MIB);
        let snapshot = scene.snapshot();
        scene
            .client
            .call("VDI.destroy", [snapshot.as_str().into()])
            .unwrap();
    }
    assert!(vhds(scene.dir.path()) <= 30);
    scene.assert_content();
    // Snapshots that stay leave no room.
    let mut refused = None;
    for round in 0..40_u8 {
        scene.write(round + 1, u64::from(round) * MIB + 512, MIB);
        let params = [scene.vdi.as_str().into(), texts(&[])];
        if let Err(failure) = scene.client.call("VDI.snapshot", params) {
            refused = Some(failure);
            break;
        }
    }
    assert_eq!(refused.unwrap().code, "SR_BACKEND_FAILURE_109");
    scene.assert_content();
}
