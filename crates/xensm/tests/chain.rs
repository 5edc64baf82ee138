//! `xensm chain` and the merging that it steers, through the real binary, which is also killed in the middle of it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::installation::Installation;
use testkit::{tool, wait};

const XENSM: &str = env!("CARGO_BIN_EXE_xensm");
const MIB: usize = 1 << 20;
const SIZE: usize = 48 * MIB;

/// Longest wait for a merge of some MiB.
const PATIENCE: Duration = Duration::from_secs(180);

/// A rate at which a merge of some MiB is seen to run, in bytes per second.
const SLOW: &str = "700000";

/// A storage manager with an SR `mysr` and a VDI `disk` that a consumer has open.
struct Scene {
    installation: Installation,
    session: Value,
    sr: Value,
    vdi: Value,
    vbd: Value,
    model: Vec<u8>,
}

impl Scene {
    fn start() -> Scene {
        let installation = Installation::start_with(XENSM, "storage-manager", &[]);
        let mut scene = Scene {
            installation,
            session: Value::Null,
            sr: Value::Null,
            vdi: Value::Null,
            vbd: Value::Null,
            model: vec![0; SIZE],
        };
        scene.login();
        let host = scene.call("host.get_all", &[])[0].clone();
        let location = json!({"location": scene.installation.root.join("sr")});
        let params = [
            host,
            location,
            json!("0"),
            json!("mysr"),
            json!(""),
            json!("file"),
            json!(""),
            json!(false),
            json!({}),
        ];
        scene.sr = scene.call("SR.create", &params);
        let record = json!({
            "name_label": "disk", "name_description": "", "SR": scene.sr, "virtual_size": SIZE.to_string(),
            "type": "user", "sharable": false, "read_only": false, "other_config": {}, "xenstore_data": {},
            "sm_config": {}, "tags": [],
        });
        scene.vdi = scene.call("VDI.create", &[record]);
        let vm = scene.call("VM.get_all", &[])[0].clone();
        let record = json!({
            "VM": vm, "VDI": scene.vdi, "userdevice": "autodetect", "bootable": false, "mode": "RW", "type": "Disk",
            "empty": false, "unpluggable": true, "other_config": {}, "qos_algorithm_type": "",
            "qos_algorithm_params": {},
        });
        scene.vbd = scene.call("VBD.create", &[record]);
        scene.call("VBD.plug", std::slice::from_ref(&scene.vbd));
        scene
    }

    fn login(&mut self) {
        self.session = self.request("session.login_with_password", json!(["root", ""]));
    }

    fn call(&self, method: &str, params: &[Value]) -> Value {
        let mut all = vec![self.session.clone()];
        all.extend_from_slice(params);
        self.request(method, Value::Array(all))
    }

    fn request(&self, method: &str, params: Value) -> Value {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let body = body.to_string();
        let socket = self.installation.data_dir.join("xenapi.sock");
        let mut stream = UnixStream::connect(socket).unwrap();
        let length = body.len();
        write!(
            stream,
            "POST /jsonrpc HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        let answer: Value = serde_json::from_str(body).unwrap();
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    fn uuid(&self, class: &str, reference: &Value) -> String {
        let uuid = self.call(
            &format!("{class}.get_uuid"),
            std::slice::from_ref(reference),
        );
        uuid.as_str().unwrap().to_owned()
    }

    fn set_rate(&self, rate: Option<&str>) {
        let key = json!("xensm:coalesce-rate");
        let params = [self.sr.clone(), key];
        self.call("SR.remove_from_other_config", &params);
        if let Some(rate) = rate {
            let [sr, key] = params;
            self.call("SR.add_to_other_config", &[sr, key, json!(rate)]);
        }
    }

    fn uri(&self) -> String {
        let config = self.call("VBD.get_other_config", std::slice::from_ref(&self.vbd));
        let entry = |key: &str| config[key].as_str().unwrap().to_owned();
        let (name, socket) = (entry("xensm:nbd_export"), entry("xensm:nbd_socket"));
        format!("nbd+unix:///{name}?socket={socket}")
    }

    /// Writes and flushes.
    fn write(&mut self, byte: u8, offset: usize, length: usize) {
        let write = format!("write -P {byte} {offset} {length}");
        let mut command = std::process::Command::new("qemu-io");
        command.args(["-f", "raw", &self.uri(), "-c", &write, "-c", "flush"]);
        tool::run(&mut command);
        self.model[offset..offset + length].fill(byte);
    }

    fn assert_content(&self, when: &str) {
        let copy = self.path("copy");
        let _ = std::fs::remove_file(&copy);
        let mut command = std::process::Command::new("nbdcopy");
        tool::run(command.arg(self.uri()).arg(&copy));
        let found = std::fs::read(&copy).unwrap();
        assert_eq!(found.len(), self.model.len());
        for (index, (found, expected)) in found.chunks(MIB).zip(self.model.chunks(MIB)).enumerate()
        {
            assert!(found == expected, "MiB {index} {when}");
        }
    }

    fn snapshot(&self) -> Value {
        self.call("VDI.snapshot", &[self.vdi.clone(), json!({})])
    }

    fn destroy(&self, vdi: &Value) {
        self.call("VDI.destroy", std::slice::from_ref(vdi));
    }

    fn chain(&self, arguments: &[&str]) -> Output {
        let mut command = self.installation.xensm(&["chain"]);
        tool::output(command.args(arguments))
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.chain(arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {told}");
        String::from_utf8(output.stdout).unwrap() + &told
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.chain(&[arguments, &["--format", "json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.chain(arguments);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
        let has_advice = told.contains("error: ") && told.contains("hint: ");
        assert!(has_advice, "{told}");
        told
    }

    fn path(&self, name: &str) -> PathBuf {
        self.installation.root.join(name)
    }

    /// Two images that are to go, and one snapshot that stays.
    fn make_backlog(&mut self) {
        for round in 0..3_u8 {
            self.write(round + 1, usize::from(round) * 4 * MIB, 12 * MIB);
            let snapshot = self.snapshot();
            if round != 1 {
                self.destroy(&snapshot);
            }
        }
        self.write(9, 30 * MIB, 6 * MIB);
    }

    /// Waits until a step has copied something and has not ended.
    fn wait_for_step(&self, kind: &str) {
        wait::until("a step runs", PATIENCE, || {
            let shown = self.json(&["show", "mysr"]);
            let step = shown["running"][0].clone();
            let is_it = step["work"].as_str().is_some_and(|w| w.starts_with(kind));
            (is_it && step["done_bytes"].as_u64() > Some(0)).then_some(())
        });
    }

    fn wait_for_end(&self) {
        wait::until("all is merged", PATIENCE, || {
            let shown = self.json(&["show", "mysr"]);
            (shown["backlog_images"] == 0 && shown["running"] == json!([])).then_some(())
        });
    }
}

#[test]
fn chains_are_shown_checked_and_steered() {
    let mut scene = Scene::start();
    assert!(scene.ok(&["show"]).contains("idle"));
    assert_eq!(scene.ok(&["pause", "mysr"]), "paused\n");
    scene.make_backlog();
    let disk = scene.uuid("VDI", &scene.vdi);
    wait::until("the backlog is told", PATIENCE, || {
        (scene.json(&["show", "mysr"])["backlog_images"] == 2).then_some(())
    });
    let summary = scene.json(&["show"]);
    assert_eq!(summary[0]["name"], "mysr");
    assert_eq!(summary[0]["paused"], true);
    let shown = scene.ok(&["show", "mysr"]);
    for expected in [
        disk.as_str(),
        "base copy",
        "writer",
        "paused",
        "2 images to go with",
    ] {
        assert!(shown.contains(expected), "{expected} in {shown}");
    }

    let checked = scene.json(&["check", &disk]);
    assert_eq!(checked["sound"], true);
    assert_eq!(checked["images"].as_array().unwrap().len(), 4);
    assert!(scene.ok(&["check", &disk]).contains("sound"));
    // The disk and the snapshot have one name.
    assert!(scene.fails(2, &["check", "disk"]).contains(&disk));
    assert!(scene.fails(3, &["show", "nosuch"]).contains("no SR nosuch"));
    let told = scene.fails(3, &["pause", "mysr", "--vdi", "nosuch"]);
    assert!(told.contains("no image nosuch"), "{told}");
    assert_eq!(scene.ok(&["cancel", "mysr"]), "nothing was being merged\n");

    // Without --vdi the pauses of single images end too.
    scene.ok(&["pause", "mysr", "--vdi", &disk]);
    scene.set_rate(Some(SLOW));
    scene.ok(&["resume", "mysr"]);
    assert_eq!(scene.json(&["show", "mysr"])["paused_vdis"], json!([]));
    scene.wait_for_step("merge ");
    assert!(scene.ok(&["show", "mysr"]).contains("merge "));
    assert_eq!(scene.json(&["cancel", "mysr"])["cancelled"], 1);
    scene.set_rate(None);
    scene.wait_for_end();
    scene.assert_content("after the first merges");

    scene.ok(&["pause", "mysr", "--vdi", &disk]);
    let snapshot = scene.snapshot();
    scene.write(12, 2 * MIB, 8 * MIB);
    scene.destroy(&snapshot);
    wait::until("the leaf waits", PATIENCE, || {
        (scene.json(&["show", "mysr"])["backlog_images"] == 1).then_some(())
    });
    assert!(scene.ok(&["show"]).contains("waits; 1 image paused"));
    scene.assert_content("while it is paused");
    scene.ok(&["coalesce", "mysr"]);
    scene.wait_for_end();
    let shown = scene.ok(&["show", "mysr"]);
    assert!(shown.contains("nothing to merge; idle"), "{shown}");
    assert_eq!(scene.json(&["check", &disk])["sound"], true);
    scene.assert_content("in the end");
    scene.installation.stop();
}

/// The VDI of a damaged image is named, and nothing is merged into or out of it.
#[test]
fn a_damaged_image_is_found_by_a_check() {
    let mut scene = Scene::start();
    scene.ok(&["pause", "mysr"]);
    scene.make_backlog();
    let disk = scene.uuid("VDI", &scene.vdi);
    let shown = scene.json(&["show", "mysr"]);
    let root = shown["images"][0]["vdi"].as_str().unwrap().to_owned();
    let file = scene.path("sr").join(format!("{root}.vhd"));
    let open = std::fs::OpenOptions::new().write(true).open(file).unwrap();
    // The cookie of the header.
    std::os::unix::fs::FileExt::write_all_at(&open, b"damaged!", 512).unwrap();
    let output = scene.chain(&["check", &disk]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        told.contains("is damaged") && told.contains("hint: "),
        "{told}"
    );
    assert!(String::from_utf8_lossy(&output.stdout).contains(&root));
    scene.assert_content("since nothing was read anew");
}

/// `kill -9` in the middle of a merge of an inner image, and of the leaf under its consumer.
#[test]
fn a_kill_in_the_middle_of_a_merge_loses_nothing() {
    let mut scene = Scene::start();
    for kind in ["merge ", "merge VDI "] {
        // Nothing is merged before all that is to be there is.
        scene.ok(&["pause", "mysr"]);
        scene.set_rate(Some(SLOW));
        if kind == "merge " {
            scene.make_backlog();
        } else {
            let snapshot = scene.snapshot();
            scene.write(77, 20 * MIB + 512, 9 * MIB);
            scene.destroy(&snapshot);
        }
        scene.ok(&["resume", "mysr"]);
        scene.wait_for_step(kind);
        // It is mirrored, if it is the leaf.
        scene.write(88, 21 * MIB, MIB);
        scene.installation.kill();
        scene.installation.restart();
        scene.login();
        scene.assert_content("after the kill");
        let disk = scene.uuid("VDI", &scene.vdi);
        assert_eq!(scene.json(&["check", &disk])["sound"], true);
        scene.set_rate(None);
        scene.wait_for_end();
        scene.assert_content("when all is merged");
        assert_eq!(scene.json(&["check", &disk])["sound"], true);
    }
    scene.installation.stop();
}
