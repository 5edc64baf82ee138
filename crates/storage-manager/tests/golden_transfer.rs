//! Replays the imports and exports that were recorded of a real pool and compares the answers.
//!
//! Compared are: the whole status line, every header with its value, the text of a refusal's page where it has no text of the
//! server's own, the length of a body, its bytes where they were met before (what was imported is what is exported), and of
//! the task status, progress, code and number of its failure's parameters, and result.
//!
//! Bodies are known by length and hash only, so others of that length stand for them.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;
#[path = "transfer/wire.rs"]
mod wire;

use std::collections::HashMap;
use std::path::PathBuf;

use serde_json::Value as Json;
use support::{Address, Client, Running, config, make_sr, vbd_record, vdi_record};
use wire::{Answer, Exchange};
use xenapi::Value;

const MIB: usize = 1 << 20;

/// Requests that are answered otherwise here: the recording, the number of the line, and why.
const DIFFERENT: &[(&str, usize, &str)] = &[
    ("import", 9, "qcow2 is an unknown format here"),
    (
        "import",
        18,
        "the task says UUID_INVALID itself, and not that reading the VDI for a permission failed with it",
    ),
    (
        "import",
        19,
        "an unknown task is told, and the connection not just closed",
    ),
    (
        "import",
        21,
        "what fails before the first byte has a status of its own",
    ),
    (
        "import",
        34,
        "a VDI that is plugged for writing is refused; the recording says not to trust it",
    ),
    ("export", 4, "tar is an unknown format here"),
    ("export", 6, "qcow2 is an unknown format here"),
    ("export", 14, "as import 18"),
    (
        "export",
        16,
        "what fails before the first byte has a status of its own",
    ),
    (
        "export",
        25,
        "what fails before the first byte has a status of its own",
    ),
    (
        "export",
        31,
        "what fails before the first byte has a status of its own",
    ),
    (
        "export",
        32,
        "a VDI that is plugged for writing is refused; the recording says not to trust it",
    ),
];

struct Replay {
    client: Client,
    running: Running,
    /// From names of the recording to ours.
    names: Vec<(String, String)>,
    /// Bodies by the hash that they have in the recording.
    bodies: HashMap<String, Vec<u8>>,
    problems: Vec<String>,
    agreed: usize,
}

fn golden() -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/golden");
    let path =
        std::env::var_os("XENSM_GOLDEN").map_or_else(|| PathBuf::from(default), PathBuf::from);
    if path.is_dir() {
        return Some(path.join("xenapi/http"));
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "the golden data is missing at {}",
        path.display()
    );
    println!(
        "SKIPPED: no golden data at {}; set XENSM_GOLDEN",
        path.display()
    );
    None
}

fn lines(dir: &std::path::Path, name: &str) -> Vec<Json> {
    let text = std::fs::read_to_string(dir.join(format!("{name}.jsonl"))).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Bytes of which no block is zero, another run of them for each seed.
fn noise(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut bytes = Vec::with_capacity(length + 4);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[test]
fn imports_and_exports_are_answered_as_a_real_pool_does() {
    let Some(dir) = golden() else { return };
    let (imports, exports) = (lines(&dir, "import"), lines(&dir, "export"));
    let others = lines(&dir, "other");
    let temporary = tempfile::tempdir().unwrap();
    let running = Running::start(config(temporary.path()), None);
    let mut client = Client::login(Address::Tcp(running.addresses.http.unwrap()));
    let sr = make_sr(&mut client, &temporary.path().join("sr"), "file");
    let mut replay = Replay {
        client,
        running,
        names: Vec::new(),
        bodies: HashMap::new(),
        problems: Vec::new(),
        agreed: 0,
    };
    let session = replay.client.session.clone();
    replay.know("OpaqueRef:d618737b-1004-a695-e449-1812929cc023", &session);
    for (name, size) in [
        ("OpaqueRef:4a02f8ba-2c1d-a40a-5558-4796a4246589", 8 * MIB),
        ("OpaqueRef:0e4866a3-836e-45ec-5d22-1a52e8136c24", 8 * MIB),
        ("OpaqueRef:15968824-7e6b-4092-c410-9e71da45e7e9", 10_000_001),
        ("OpaqueRef:517a13a7-fb79-269b-b9bb-a0dd0479840a", 8 * MIB),
        ("OpaqueRef:1d899643-0ca1-e0e0-5534-476916c058d5", 4 * MIB),
        ("OpaqueRef:88a18231-9c93-cffe-5d5f-db9256227fcb", 4 * MIB),
        ("OpaqueRef:06c3e585-e12e-d415-dc02-24d2651345b8", 8 * MIB),
    ] {
        let record = vdi_record(&sr, "a VDI", size as i64);
        let made = replay.client.call("VDI.create", [record]).unwrap();
        replay.know(name, made.as_str().unwrap());
    }
    let main = replay.ours("OpaqueRef:4a02f8ba-2c1d-a40a-5558-4796a4246589");
    replay.know_uuid("55de8bb8-4262-48a9-aeec-000f1d135185", &main);
    for (name, golden) in [
        (
            "a8661e49-1899-40ad-801c-1bd28b620007",
            "OpaqueRef:0e4866a3-836e-45ec-5d22-1a52e8136c24",
        ),
        (
            "063b0071-2695-4ca8-b31b-0961eaddb34c",
            "OpaqueRef:15968824-7e6b-4092-c410-9e71da45e7e9",
        ),
        (
            "7db06e8e-f205-47b7-b860-26e513d11825",
            "OpaqueRef:06c3e585-e12e-d415-dc02-24d2651345b8",
        ),
    ] {
        let vdi = replay.ours(golden);
        replay.know_uuid(name, &vdi);
    }

    replay.run("import", &imports, 0..2);
    replay.snapshot(
        &main,
        "OpaqueRef:7c18fd81-a60c-f7b2-309c-ef37f488b83e",
        "c9b54e0c-bfd8-44f5-ad80-fde03271def3",
    );
    let base_copy = replay.base_copy();
    replay.know("OpaqueRef:d0cffb2d-e892-7508-b755-fe8cc5e02571", &base_copy);
    replay.run("import", &imports, 2..25);
    replay.run("export", &exports, 0..18);
    // What was written before the second snapshot was not recorded, but what was read of it then was.
    let second = noise(8 * MIB, 7);
    let read = exports
        .iter()
        .find(|line| line["what"] == "raw of the second snapshot")
        .unwrap();
    let hash = read["response_body"]["sha256"].as_str().unwrap().to_owned();
    replay.bodies.insert(hash, second.clone());
    replay.put(&main, &second);
    replay.snapshot(
        &main,
        "OpaqueRef:2a47c13c-b783-8eaa-d25e-2c83b345a3c6",
        "bab6fab3-04be-4a3d-bf12-c67f1e98226a",
    );
    replay.run("export", &exports, 18..32);
    replay.run("import", &imports, 25..34);
    replay.plug("OpaqueRef:06c3e585-e12e-d415-dc02-24d2651345b8");
    replay.run("export", &exports, 32..33);
    replay.run("import", &imports, 34..35);
    replay.run("other", &others, 0..others.len());
    println!("{} requests agree", replay.agreed);
    assert!(replay.problems.is_empty(), "{}", replay.problems.join("\n"));
    assert_eq!(
        replay.agreed + DIFFERENT.len(),
        imports.len() + exports.len() + others.len()
    );
}

impl Replay {
    fn know(&mut self, golden: &str, ours: &str) {
        self.names.push((golden.to_owned(), ours.to_owned()));
    }

    fn know_uuid(&mut self, golden: &str, vdi: &str) {
        let uuid = self.client.call("VDI.get_uuid", [vdi.into()]).unwrap();
        self.know(golden, uuid.as_str().unwrap());
    }

    fn ours(&self, golden: &str) -> String {
        self.mapped(golden)
    }

    fn mapped(&self, text: &str) -> String {
        let replace = |text: String, (golden, ours): &(String, String)| text.replace(golden, ours);
        self.names.iter().fold(text.to_owned(), replace)
    }

    fn snapshot(&mut self, vdi: &str, golden: &str, golden_uuid: &str) {
        let made = self
            .client
            .call("VDI.snapshot", [vdi.into(), support::texts(&[])])
            .unwrap();
        let made = made.as_str().unwrap().to_owned();
        self.know(golden, &made);
        self.know_uuid(golden_uuid, &made);
    }

    fn base_copy(&mut self) -> String {
        let records = self.client.call("VDI.get_all_records", []).unwrap();
        let is_base =
            |record: &Value| record.as_struct().unwrap()["managed"].as_bool() == Some(false);
        let found = records
            .as_struct()
            .unwrap()
            .iter()
            .find(|(_, record)| is_base(record));
        found.expect("a snapshot leaves a base copy").0.clone()
    }

    fn put(&mut self, vdi: &str, content: &[u8]) {
        let line = format!(
            "PUT /import_raw_vdi?session_id={}&vdi={vdi}",
            self.client.session
        );
        let answer = wire::exchange(self.running.addresses.http.unwrap(), &line, &[], content);
        let task = answer.header("task-id").unwrap();
        let status = self.client.call("task.get_status", [task.into()]).unwrap();
        assert_eq!(status.as_str(), Some("success"));
    }

    fn plug(&mut self, golden: &str) {
        let vms = self.client.call("VM.get_all", []).unwrap();
        let vm = vms.as_array().unwrap()[0].as_str().unwrap().to_owned();
        let record = vbd_record(&vm, &self.ours(golden), "RW");
        let vbd = self.client.call("VBD.create", [record]).unwrap();
        self.client.call("VBD.plug", [vbd]).unwrap();
    }

    fn run(&mut self, recording: &str, all: &[Json], range: std::ops::Range<usize>) {
        for number in range {
            let line = &all[number];
            let outcome = self.compare(line);
            let listed = DIFFERENT
                .iter()
                .any(|(name, index, _)| (*name, *index) == (recording, number));
            let what = line["what"].as_str().unwrap();
            match (outcome, listed) {
                (Ok(()), false) => self.agreed += 1,
                (Err(_), true) => {}
                (Ok(()), true) => self.problems.push(format!(
                    "{recording} {number} ({what}) agrees now, but is listed"
                )),
                (Err(why), false) => self
                    .problems
                    .push(format!("{recording} {number} ({what}): {why}")),
            }
        }
    }

    fn compare(&mut self, line: &Json) -> Result<(), String> {
        let head = line["request_head"].as_str().unwrap();
        let afterwards = &line["afterwards"]["task"];
        let task = self.task_of(head, afterwards);
        let body = self.request_body(&line["request_body"]);
        let address = self.running.addresses.http.unwrap();
        let ours = Exchange::raw(address, self.mapped(head).as_bytes(), body).answer();
        let golden = line["response_head"].as_str().unwrap();
        let head = compare_heads(&self.mapped(golden), &ours);
        let body = self.compare_body(&line["response_body"], &ours);
        let ended = match task {
            Some(task) if !afterwards.is_null() => self.compare_task(&task, afterwards),
            _ => self.made_a_task(&ours),
        };
        head.and(body).and(ended)
    }

    /// Makes the task that a request names.
    fn task_of(&mut self, head: &str, afterwards: &Json) -> Option<String> {
        let (_, rest) = head.split_once("task_id=")?;
        let golden = rest.split(['&', ' ']).next().unwrap();
        if golden == "OpaqueRef:bogus" {
            return None;
        }
        let label = afterwards["name_label"].as_str().unwrap_or_default();
        let made = self
            .client
            .call("task.create", [label.into(), "".into()])
            .unwrap();
        let task = made.as_str().unwrap().to_owned();
        if label == "done" {
            let status = [task.as_str().into(), "success".into()];
            self.client.call("task.set_status", status).unwrap();
            let progress = [task.as_str().into(), Value::Float(1.0)];
            self.client.call("task.set_progress", progress).unwrap();
        }
        self.know(golden, &task);
        Some(task)
    }

    fn request_body(&mut self, about: &Json) -> Vec<u8> {
        let length = about["length"].as_u64().unwrap() as usize;
        let Some(hash) = about["sha256"].as_str() else {
            return Vec::new();
        };
        let seed = self.bodies.len() as u32 + 100;
        let made = || noise(length, seed);
        self.bodies
            .entry(hash.to_owned())
            .or_insert_with(made)
            .clone()
    }

    fn compare_body(&mut self, about: &Json, ours: &Answer) -> Result<(), String> {
        let text = about["text"].as_str();
        if text.is_some_and(|text| {
            text.starts_with("HTTP/") || text.contains("Additional information")
        }) {
            // The text of an accident inside of that server.
            return Ok(());
        }
        if let Some(text) = text {
            let told = String::from_utf8_lossy(&ours.body);
            // The library sends no body with an answer to HEAD.
            return match told == text || (told.is_empty() && text.contains("HEAD")) {
                true => Ok(()),
                false => Err(format!("body {told} instead of {text}")),
            };
        }
        let length = about["length"].as_u64().unwrap();
        if ours.body.len() as u64 != length {
            return Err(format!("{} bytes instead of {length}", ours.body.len()));
        }
        let hash = about["sha256"].as_str().unwrap().to_owned();
        match self.bodies.get(&hash) {
            Some(known) if *known != ours.body => Err("other bytes than before".to_owned()),
            Some(_) => Ok(()),
            None => {
                self.bodies.insert(hash, ours.body.clone());
                Ok(())
            }
        }
    }

    fn compare_task(&mut self, task: &str, golden: &Json) -> Result<(), String> {
        let record = self.client.call("task.get_record", [task.into()]).unwrap();
        let record = record.as_struct().unwrap();
        let text = |field: &str| record[field].as_str().unwrap().to_owned();
        let failure = record["error_info"].as_array().unwrap();
        let failure: Vec<&str> = failure.iter().filter_map(Value::as_str).collect();
        let wanted: Vec<&str> = golden["error_info"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Json::as_str)
            .collect();
        let ours = (
            text("status"),
            text("result"),
            record["progress"].as_float(),
            failure.len(),
            failure.first(),
        );
        let result = self.mapped(golden["result"].as_str().unwrap());
        let status = golden["status"].as_str().unwrap().to_owned();
        let theirs = (
            status,
            result,
            golden["progress"].as_f64(),
            wanted.len(),
            wanted.first(),
        );
        if ours == theirs {
            Ok(())
        } else {
            Err(format!("task {ours:?} instead of {theirs:?}"))
        }
    }

    /// A task that the server made is there, and has ended.
    fn made_a_task(&mut self, ours: &Answer) -> Result<(), String> {
        let Some(task) = ours.header("task-id") else {
            return Ok(());
        };
        let status = self.client.call("task.get_status", [task.into()]);
        match status.map(|status| status.as_str().map(str::to_owned)) {
            Ok(Some(status)) if status != "pending" => Ok(()),
            other => Err(format!("the task that was made is {other:?}")),
        }
    }
}

fn compare_heads(golden: &str, ours: &Answer) -> Result<(), String> {
    let mut lines = golden.trim_end().split("\r\n");
    let status = format!("{} {} {}", ours.version, ours.status, ours.reason);
    let wanted = lines.next().unwrap_or_default();
    if status != wanted {
        return Err(format!("{status:?} instead of {wanted:?}"));
    }
    let mut theirs: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut found = ours.headers.clone();
    // The library dates its answers.
    found.retain(|(name, _)| name != "date");
    for all in [&mut theirs, &mut found] {
        for (name, value) in all.iter_mut() {
            // Of a task that the server makes only that it is there; of a page of the server's own text not its length.
            let is_own = (name == "task-id" && value.starts_with("OpaqueRef:"))
                || (name == "content-length" && ours.status == 500);
            if is_own {
                value.clear();
            }
        }
        all.sort();
    }
    if theirs != found {
        return Err(format!("headers {found:?} instead of {theirs:?}"));
    }
    Ok(())
}
