//! Import and export of VDIs through the server, with the SR type `file`.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;
#[path = "transfer/wire.rs"]
mod wire;

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use support::{Address, Client, Running, config, make_sr, vbd_record, vdi_record, wait_for};
use wire::{Answer, Exchange, exchange};
use xenapi::Value;

const MIB: usize = 1 << 20;

struct Pool {
    running: Running,
    client: Client,
    sr: String,
    dir: tempfile::TempDir,
}

impl Pool {
    fn start() -> Pool {
        Pool::start_with(|_| {})
    }

    fn start_with(change: impl FnOnce(&mut storage_manager::Config)) -> Pool {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        change(&mut config);
        let running = Running::start(config, None);
        let mut client = Client::login(Address::Tcp(running.addresses.http.unwrap()));
        let sr = make_sr(&mut client, &dir.path().join("sr"), "file");
        Pool {
            running,
            client,
            sr,
            dir,
        }
    }

    fn address(&self) -> SocketAddr {
        self.running.addresses.http.unwrap()
    }

    fn vdi(&mut self, size: usize) -> String {
        let record = vdi_record(&self.sr, "a VDI", size as i64);
        let made = self.client.call("VDI.create", [record]).unwrap();
        made.as_str().unwrap().to_owned()
    }

    fn uuid(&mut self, vdi: &str) -> String {
        let uuid = self.client.call("VDI.get_uuid", [vdi.into()]).unwrap();
        uuid.as_str().unwrap().to_owned()
    }

    fn import_line(&self, vdi: &str, more: &str) -> String {
        let session = &self.client.session;
        format!("PUT /import_raw_vdi?session_id={session}&vdi={vdi}{more}")
    }

    fn import(&self, vdi: &str, more: &str, body: &[u8]) -> Answer {
        exchange(self.address(), &self.import_line(vdi, more), &[], body)
    }

    fn export_line(&self, vdi: &str, more: &str) -> String {
        let session = &self.client.session;
        format!("GET /export_raw_vdi?session_id={session}&vdi={vdi}{more}")
    }

    fn export(&self, vdi: &str, more: &str) -> Answer {
        exchange(self.address(), &self.export_line(vdi, more), &[], &[])
    }

    /// Exports and sees to it that all went well.
    fn content(&mut self, vdi: &str, more: &str) -> Vec<u8> {
        let answer = self.export(vdi, more);
        assert_eq!(
            answer.status,
            200,
            "{}",
            String::from_utf8_lossy(&answer.body)
        );
        self.succeeded(&answer);
        answer.body
    }

    /// What became of the task that an answer names: status, and code or result.
    fn outcome(&mut self, task: &str) -> (String, String) {
        let record = self.client.call("task.get_record", [task.into()]).unwrap();
        let record = record.as_struct().unwrap();
        let status = record["status"].as_str().unwrap().to_owned();
        let text = match record["error_info"].as_array().unwrap().first() {
            Some(code) => code.as_str().unwrap().to_owned(),
            None => record["result"].as_str().unwrap().to_owned(),
        };
        (status, text)
    }

    /// Waits for the end of the task that an answer names.
    fn ended(&mut self, answer: &Answer) -> (String, String) {
        let task = answer.header("task-id").unwrap().to_owned();
        wait_for("the task ends", || self.outcome(&task).0 != "pending");
        self.outcome(&task)
    }

    fn succeeded(&mut self, answer: &Answer) {
        assert_eq!(answer.status, 200);
        let (status, text) = self.ended(answer);
        assert_eq!(status, "success", "{text}");
    }

    fn failed(&mut self, answer: &Answer, code: &str) {
        assert_eq!(self.ended(answer), ("failure".to_owned(), code.to_owned()));
    }

    fn task(&mut self, label: &str) -> String {
        let task = self.client.call("task.create", [label.into(), "".into()]);
        task.unwrap().as_str().unwrap().to_owned()
    }

    fn image(&mut self, vdi: &str) -> PathBuf {
        let uuid = self.uuid(vdi);
        self.dir.path().join("sr").join(format!("{uuid}.vhd"))
    }
}

/// Bytes that repeat nowhere, with two empty blocks and an odd end.
fn sample(size: usize) -> Vec<u8> {
    let mut seed = 0x9e37_79b9_u32;
    let mut bytes: Vec<u8> = Vec::with_capacity(size);
    while bytes.len() < size {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        bytes.extend_from_slice(&seed.to_le_bytes());
    }
    bytes.truncate(size);
    for block in [1, 4] {
        let from = (block * 2 * MIB).min(size);
        bytes[from..(from + 2 * MIB).min(size)].fill(0);
    }
    bytes
}

#[test]
fn what_was_imported_is_exported_raw_and_as_a_vhd() {
    let mut pool = Pool::start();
    let content = sample(12 * MIB);
    let (first, second, third) = (pool.vdi(12 * MIB), pool.vdi(12 * MIB), pool.vdi(12 * MIB));
    let answer = pool.import(&first, "", &content);
    pool.succeeded(&answer);
    assert_eq!(pool.ended(&answer).1, format!("<value>{first}</value>"));
    assert!(pool.content(&first, "") == content);
    let vhd = pool.content(&first, "&format=VHD");
    // Two of six blocks are zeros and take no place.
    assert_eq!(vhd.len(), 2048 + 512 + 4 * (512 + 2 * MIB) + 512);
    assert!(
        pool.content(&first, "&format=vhd") == vhd,
        "an export is always the same"
    );
    let second_uuid = pool.uuid(&second);
    let answer = pool.import(&second_uuid, "&format=vhd", &vhd);
    pool.succeeded(&answer);
    assert!(pool.content(&second, "&format=raw") == content);
    let answer = pool.import(&third, "&format=raw", &pool.export(&second_uuid, "").body);
    pool.succeeded(&answer);
    assert!(pool.content(&third, "") == content);
    let length = std::fs::metadata(pool.image(&third)).unwrap().len();
    let used = pool
        .client
        .call("VDI.get_physical_utilisation", [third.as_str().into()]);
    assert_eq!(
        used.unwrap().as_int(),
        Some(length as i64),
        "the record is up to date at once"
    );
    assert!(length < 9 * MIB as u64, "zeros took {length} bytes");
    // What is there goes, also where the new content is zeros.
    let answer = pool.import(&third, "", &vec![0; 12 * MIB]);
    pool.succeeded(&answer);
    assert!(pool.content(&third, "") == vec![0; 12 * MIB]);
}

#[test]
fn qemu_img_agrees_in_both_directions() {
    if Command::new("qemu-img").arg("--version").output().is_err() {
        assert!(
            std::env::var_os("CI").is_none(),
            "qemu-img is not installed"
        );
        println!("SKIPPED: qemu-img is not installed");
        return;
    }
    let qemu = |arguments: &[&str]| {
        let output = Command::new("qemu-img").args(arguments).output().unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    let mut pool = Pool::start();
    let content = sample(10 * MIB);
    let raw = pool.dir.path().join("content.raw");
    std::fs::write(&raw, &content).unwrap();
    let raw = raw.to_str().unwrap().to_owned();
    for kind in ["dynamic", "fixed"] {
        let theirs = pool.dir.path().join(format!("{kind}.vhd"));
        let options = format!("subformat={kind},force_size=on");
        let theirs_text = theirs.to_str().unwrap();
        qemu(&[
            "convert",
            "-f",
            "raw",
            "-O",
            "vpc",
            "-o",
            &options,
            &raw,
            theirs_text,
        ]);
        let vdi = pool.vdi(10 * MIB);
        let answer = pool.import(&vdi, "&format=vhd", &std::fs::read(&theirs).unwrap());
        pool.succeeded(&answer);
        assert!(pool.content(&vdi, "") == content, "{kind}");
        let ours = pool.dir.path().join("ours.vhd");
        std::fs::write(&ours, pool.content(&vdi, "&format=vhd")).unwrap();
        qemu(&[
            "compare",
            "-f",
            "raw",
            "-F",
            "vpc",
            &raw,
            ours.to_str().unwrap(),
        ]);
    }
}

#[test]
fn exports_of_xenserver_are_restored_and_a_delta_on_top() {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/golden");
    let golden = std::env::var_os("XENSM_GOLDEN").map_or_else(|| default.into(), PathBuf::from);
    if !golden.is_dir() {
        assert!(
            std::env::var_os("CI").is_none(),
            "the golden data is missing"
        );
        println!(
            "SKIPPED: no golden data at {}; set XENSM_GOLDEN",
            golden.display()
        );
        return;
    }
    let unpacked = |name: &str| {
        let packed = std::fs::read(golden.join("vhd").join(format!("{name}.vhd.zst"))).unwrap();
        let mut bytes = Vec::new();
        let mut decoder = ruzstd::decoding::StreamingDecoder::new(&packed[..]).unwrap();
        decoder.read_to_end(&mut bytes).unwrap();
        bytes
    };
    let hash_of = |name: &str| {
        let text = std::fs::read(golden.join("vhd").join(format!("{name}.vhd.json"))).unwrap();
        let about: serde_json::Value = serde_json::from_slice(&text).unwrap();
        about["logical_sha256"].as_str().unwrap().to_owned()
    };
    let mut pool = Pool::start();
    let vdi = pool.vdi(8 * MIB);
    let answer = pool.import(&vdi, "&format=vhd", &unpacked("export-full-snapshot1"));
    pool.succeeded(&answer);
    assert_eq!(
        sha256(&pool.content(&vdi, "")),
        hash_of("export-full-snapshot1")
    );
    let answer = pool.import(
        &vdi,
        "&format=vhd",
        &unpacked("export-delta-snapshot1-to-2"),
    );
    pool.succeeded(&answer);
    assert_eq!(
        sha256(&pool.content(&vdi, "")),
        hash_of("export-full-snapshot2")
    );
}

fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[test]
fn chunks_go_where_they_say_and_leave_the_rest_alone() {
    let mut pool = Pool::start();
    let vdi = pool.vdi(4 * MIB);
    let mut expected = vec![7; 4 * MIB];
    let answer = pool.import(&vdi, "", &expected);
    pool.succeeded(&answer);
    let chunk = |offset: u64, data: &[u8]| {
        let mut bytes = offset.to_le_bytes().to_vec();
        bytes.extend_from_slice(&(data.len() as u32).to_le_bytes());
        bytes.extend_from_slice(data);
        bytes
    };
    let end = chunk(0, &[]);
    let wide = vec![3; 3 * MIB];
    let mut body = chunk(3 * MIB as u64 + 512, &[1; 512]);
    body.extend(chunk(100, &[2; 1000]));
    body.extend(chunk(4096, &wide));
    body.extend(chunk(9000, &[]));
    body.extend(&end);
    expected[3 * MIB + 512..3 * MIB + 1024].fill(1);
    expected[100..1100].fill(2);
    expected[4096..4096 + 3 * MIB].fill(3);
    let answer = pool.import(&vdi, "&chunked", &body);
    pool.succeeded(&answer);
    assert!(pool.content(&vdi, "") == expected);
    // Without its end it is cut off; past the end it does not fit.
    let answer = pool.import(&vdi, "&chunked=true", &chunk(512, &[9; 512]));
    pool.failed(&answer, "IMPORT_ERROR_PREMATURE_EOF");
    for offset in [4 * MIB as u64 - 511, u64::MAX - 3] {
        let answer = pool.import(
            &vdi,
            "&chunked",
            &[chunk(offset, &[9; 512]), end.clone()].concat(),
        );
        pool.failed(&answer, "VDI_IO_ERROR");
    }
}

#[test]
fn an_upload_that_breaks_off_fails_its_task_and_leaves_the_vdi_usable() {
    let mut pool = Pool::start();
    let vdi = pool.vdi(6 * MIB);
    let content = sample(6 * MIB);
    let task = pool.task("an import");
    let line = pool.import_line(&vdi, &format!("&task_id={task}"));
    let length = format!("Content-Length: {}", content.len());
    let mut broken = Exchange::begin(pool.address(), &line, &[&length]);
    let head = broken.head();
    assert_eq!((head.status, head.header("task-id")), (200, Some(&*task)));
    assert!(broken.send(&content[..3 * MIB]));
    drop(broken);
    pool.failed(&head, "IMPORT_ERROR_PREMATURE_EOF");
    // A VHD that is cut off likewise, whether its length was said or not.
    let whole = pool.vdi(6 * MIB);
    let answer = pool.import(&whole, "", &content);
    pool.succeeded(&answer);
    let vhd = pool.content(&whole, "&format=vhd");
    for length in [vhd.len(), 1 << 50] {
        let length = format!("Content-Length: {length}");
        let line = pool.import_line(&vdi, "&format=vhd");
        let mut broken = Exchange::begin(pool.address(), &line, &[&length]);
        let head = broken.head();
        assert!(broken.send(&vhd[..vhd.len() - 512]));
        drop(broken);
        pool.failed(&head, "IMPORT_ERROR_PREMATURE_EOF");
    }
    let answer = pool.import(&vdi, "&format=vhd", &vhd);
    pool.succeeded(&answer);
    assert!(pool.content(&vdi, "") == content);
}

#[test]
fn a_client_that_does_not_know_the_length_closes_when_it_is_done() {
    let mut pool = Pool::start();
    let (source, vdi) = (pool.vdi(6 * MIB), pool.vdi(6 * MIB));
    let content = sample(6 * MIB);
    let answer = pool.import(&source, "", &content);
    pool.succeeded(&answer);
    let vhd = pool.content(&source, "&format=vhd");
    let huge = format!("Content-Length: {}", 1u64 << 50);
    // As Xen Orchestra does: first an empty request, then the stream; the end of a VHD is known without the close.
    let probe = pool.import(&vdi, "&format=vhd", &[]);
    assert_eq!(probe.status, 200);
    pool.failed(&probe, "VDI_IO_ERROR");
    let line = pool.import_line(&vdi, "&format=vhd");
    let mut upload = Exchange::begin(pool.address(), &line, &[&huge]);
    assert!(upload.send(&vhd));
    let head = upload.answer();
    pool.succeeded(&head);
    assert!(pool.content(&vdi, "") == content);
    // Of raw bytes only the size of the VDI tells whether they are all there.
    for (length, code) in [
        (6 * MIB, None),
        (5 * MIB, Some("IMPORT_ERROR_PREMATURE_EOF")),
    ] {
        let line = pool.import_line(&vdi, "");
        let mut upload = Exchange::begin(pool.address(), &line, &[&huge]);
        assert!(upload.send(&content[..length]));
        let head = upload.head();
        drop(upload);
        match code {
            None => pool.succeeded(&head),
            Some(code) => pool.failed(&head, code),
        }
    }
}

#[test]
fn cancelling_the_task_stops_the_stream() {
    let mut pool = Pool::start();
    let vdi = pool.vdi(64 * MIB);
    let cancelled = ("cancelled".to_owned(), "TASK_CANCELLED".to_owned());
    let length = format!("Content-Length: {}", 64 * MIB);
    let line = pool.import_line(&vdi, "");
    let mut upload = Exchange::begin(pool.address(), &line, &[&length]);
    let head = upload.head();
    assert!(upload.send(&[1; 4096]));
    let task = head.header("task-id").unwrap();
    pool.client.call("task.cancel", [task.into()]).unwrap();
    upload.rest();
    assert_eq!(pool.ended(&head), cancelled);
    let answer = pool.import(&vdi, "", &[1; 64 * MIB]);
    pool.succeeded(&answer);

    let line = pool.export_line(&vdi, "");
    let mut download = Exchange::begin(pool.address(), &line, &[]);
    let head = download.head();
    download.read(4096);
    let task = head.header("task-id").unwrap();
    pool.client.call("task.cancel", [task.into()]).unwrap();
    assert!(download.rest().len() < 64 * MIB - 4096);
    assert_eq!(pool.ended(&head), cancelled);
    // And the VDI is free at once.
    pool.client
        .call("VDI.destroy", [vdi.as_str().into()])
        .unwrap();
}

#[test]
fn a_silent_peer_is_cut_off() {
    let mut pool = Pool::start_with(|config| config.transfer_patience = Duration::from_millis(300));
    let vdi = pool.vdi(64 * MIB);
    let length = format!("Content-Length: {}", 64 * MIB);
    let line = pool.import_line(&vdi, "");
    let mut upload = Exchange::begin(pool.address(), &line, &[&length]);
    let head = upload.head();
    assert!(upload.send(&[1; 4096]));
    upload.rest();
    pool.failed(&head, "VDI_IO_ERROR");
    let line = pool.export_line(&vdi, "");
    let mut download = Exchange::begin(pool.address(), &line, &[]);
    let head = download.head();
    pool.failed(&head, "VDI_IO_ERROR");
    assert!(download.rest().len() < 64 * MIB);
    pool.client
        .call("VDI.destroy", [vdi.as_str().into()])
        .unwrap();
}

#[test]
fn a_raw_body_makes_a_vdi_where_only_the_sr_is_named() {
    let mut pool = Pool::start();
    let content = sample(4 * MIB);
    let sr_uuid = pool
        .client
        .call("SR.get_uuid", [pool.sr.as_str().into()])
        .unwrap();
    let (session, sr) = (pool.client.session.clone(), pool.sr.clone());
    for named in [
        format!("sr_id={sr}"),
        format!("sr_uuid={}", sr_uuid.as_str().unwrap()),
    ] {
        let line = format!("PUT /import_raw_vdi?session_id={session}&{named}");
        let answer = exchange(pool.address(), &line, &[], &content);
        let (status, result) = pool.ended(&answer);
        assert_eq!(status, "success");
        let vdi = result
            .trim_start_matches("<value>")
            .trim_end_matches("</value>")
            .to_owned();
        let label = pool
            .client
            .call("VDI.get_name_label", [vdi.as_str().into()])
            .unwrap();
        assert_eq!(label.as_str(), Some("Imported VDI"));
        assert!(pool.content(&vdi, "") == content);
    }
    let all = pool
        .client
        .call("VDI.get_all", [])
        .unwrap()
        .as_array()
        .unwrap()
        .len();
    let length = format!("Content-Length: {}", content.len());
    let line = format!("PUT /import_raw_vdi?session_id={session}&sr_id={sr}");
    let mut broken = Exchange::begin(pool.address(), &line, &[&length]);
    let head = broken.head();
    drop(broken);
    pool.failed(&head, "IMPORT_ERROR_PREMATURE_EOF");
    let left = pool
        .client
        .call("VDI.get_all", [])
        .unwrap()
        .as_array()
        .unwrap()
        .len();
    assert_eq!(left, all, "a VDI that nobody knows of stayed");
    for line in [
        format!("PUT /import_raw_vdi?session_id={session}&sr_id={sr}&format=vhd"),
        format!("PUT /import_raw_vdi?session_id={session}"),
    ] {
        assert_eq!(exchange(pool.address(), &line, &[], &content).status, 400);
    }
}

#[test]
fn who_uses_a_vdi_keeps_others_off() {
    let mut pool = Pool::start();
    let vdi = pool.vdi(16 * MIB);
    let vms = pool.client.call("VM.get_all", []).unwrap();
    let vm = vms.as_array().unwrap()[0].as_str().unwrap().to_owned();
    let refused = |pool: &mut Pool, line: &str| {
        let task = pool.task("refused");
        let answer = exchange(
            pool.address(),
            &format!("{line}&task_id={task}"),
            &[],
            &[1; 512],
        );
        assert_eq!(answer.status, 500);
        assert_eq!(pool.outcome(&task).1, "VDI_IN_USE");
    };
    let (import, export) = (pool.import_line(&vdi, ""), pool.export_line(&vdi, ""));
    for (mode, exported) in [("RW", false), ("RO", true)] {
        let vbd = pool
            .client
            .call("VBD.create", [vbd_record(&vm, &vdi, mode)])
            .unwrap();
        pool.client.call("VBD.plug", [vbd.clone()]).unwrap();
        refused(&mut pool, &import);
        if exported {
            assert_eq!(pool.content(&vdi, "").len(), 16 * MIB);
        } else {
            refused(&mut pool, &export);
        }
        pool.client.call("VBD.unplug", [vbd.clone()]).unwrap();
        pool.client.call("VBD.destroy", [vbd]).unwrap();
    }
    // While an export runs nobody writes or deletes; another reader is welcome.
    let mut download = Exchange::begin(pool.address(), &export, &[]);
    let head = download.head();
    download.read(512);
    assert_eq!(pool.content(&vdi, "&format=vhd").len(), 3072);
    let snapshot = [vdi.as_str().into(), support::texts(&[])];
    pool.client.call("VDI.snapshot", snapshot).unwrap();
    let task = pool.task("refused");
    let answer = exchange(
        pool.address(),
        &format!("{import}&task_id={task}"),
        &[],
        &[1; 512],
    );
    assert_eq!(answer.status, 500);
    assert_eq!(pool.outcome(&task).1, "VDI_IN_USE");
    pool.client
        .call("VDI.destroy", [vdi.as_str().into()])
        .unwrap_err();
    assert_eq!(download.rest().len(), 16 * MIB - 512);
    pool.succeeded(&head);
    let answer = pool.import(&vdi, "", &[1; 512]);
    pool.succeeded(&answer);
}

#[test]
fn a_delta_against_any_base_holds_every_difference() {
    let mut pool = Pool::start();
    let (base, vdi) = (pool.vdi(8 * MIB), pool.vdi(8 * MIB));
    let mut old = vec![0; 8 * MIB];
    old[5 * MIB..5 * MIB + 512].fill(1);
    let mut new = vec![0; 8 * MIB];
    new[100] = 2;
    for (vdi, content) in [(&base, &old), (&vdi, &new)] {
        let answer = pool.import(vdi, "", content);
        pool.succeeded(&answer);
    }
    let base_uuid = pool.uuid(&base);
    let delta = pool.content(&vdi, &format!("&format=vhd&base={base_uuid}"));
    let reader = vhd::stream::StreamReader::open(&delta[..], None).unwrap();
    assert_eq!(reader.info().parent.unwrap().to_string(), base_uuid);
    assert_eq!(delta.len(), 2048 + 512 + 2 * (512 + 2 * MIB) + 512);
    let answer = pool.import(&base, "&format=vhd", &delta);
    pool.succeeded(&answer);
    assert!(pool.content(&base, "") == new);
    // Against itself nothing differs.
    let nothing = pool.content(&vdi, &format!("&format=vhd&base={vdi}"));
    assert_eq!(nothing.len(), 3072);
    let task = pool.task("no base");
    let answer = pool.export(
        &vdi,
        &format!("&format=vhd&base=OpaqueRef:bogus&task_id={task}"),
    );
    assert_eq!(
        (answer.status, pool.outcome(&task).1),
        (500, "UUID_INVALID".to_owned())
    );
}

#[test]
fn a_delta_against_a_snapshot_has_the_blocks_that_changed_since() {
    let mut pool = Pool::start();
    let vdi = pool.vdi(16 * MIB);
    let old = sample(16 * MIB);
    let answer = pool.import(&vdi, "", &old);
    pool.succeeded(&answer);
    let one_block = 2048 + 512 + 512 + 2 * MIB + 512;
    let mut base = String::new();
    let mut new = old.clone();
    // First by the images that only one of both has, then by what was tracked.
    for (round, tracked) in [(0, false), (1, true)] {
        if tracked {
            pool.client
                .call("VDI.enable_cbt", [vdi.as_str().into()])
                .unwrap();
        }
        let before = new.clone();
        let made = pool
            .client
            .call("VDI.snapshot", [vdi.as_str().into(), support::texts(&[])])
            .unwrap();
        base = made.as_str().unwrap().to_owned();
        new[(6 + 4 * round) * MIB + 700] ^= 0xff;
        let at = (6 + 4 * round) * MIB;
        let mut chunk = (at as u64).to_le_bytes().to_vec();
        chunk.extend_from_slice(&4096u32.to_le_bytes());
        chunk.extend_from_slice(&new[at..at + 4096]);
        chunk.extend_from_slice(&[0; 12]);
        let answer = pool.import(&vdi, "&chunked", &chunk);
        pool.succeeded(&answer);
        let delta = pool.content(&vdi, &format!("&format=vhd&base={base}"));
        assert_eq!(delta.len(), one_block, "tracked: {tracked}");
        let copy = pool.vdi(16 * MIB);
        for (more, body) in [("", &before), ("&format=vhd", &delta)] {
            let answer = pool.import(&copy, more, body);
            pool.succeeded(&answer);
        }
        assert!(pool.content(&copy, "") == new, "tracked: {tracked}");
    }
    assert!(pool.content(&vdi, "") == new);
    assert!(pool.content(&base, "") != new);
}

#[test]
fn bodies_that_do_not_fit_are_refused() {
    let mut pool = Pool::start();
    let (small, large) = (pool.vdi(2 * MIB), pool.vdi(4 * MIB));
    let vhd = pool.content(&large, "&format=vhd");
    let answer = pool.import(&small, "&format=vhd", &vhd);
    pool.failed(&answer, "VDI_IO_ERROR");
    let answer = pool.import(&small, "", &vec![1; 2 * MIB + 1]);
    pool.failed(&answer, "VDI_IO_ERROR");
    assert!(
        pool.content(&small, "") == vec![0; 2 * MIB],
        "what is too large by its head is not begun"
    );
    let answer = pool.import(&small, "&format=vhd", &[0x5a; 8192]);
    pool.failed(&answer, "VDI_IO_ERROR");
    let answer = pool.import(&small, "", &[1; 1000]);
    pool.succeeded(&answer);
    for format in ["tar", "qcow2", "nosuch"] {
        let task = pool.task(format);
        let more = format!("&format={format}&task_id={task}");
        assert_eq!(pool.export(&small, &more).status, 404);
        assert_eq!(pool.outcome(&task).1, "INTERNAL_ERROR");
    }
}

#[test]
fn a_large_empty_vdi_is_exported_at_once() {
    let mut pool = Pool::start();
    let vdi = pool.vdi(2040 << 30);
    let vhd = pool.content(&vdi, "&format=vhd");
    assert_eq!(vhd.len(), 2048 + 4 * 1020 * 1024 + 512);
    let copy = pool.vdi(2040 << 30);
    let answer = pool.import(&copy, "&format=vhd", &vhd);
    pool.succeeded(&answer);
}

#[test]
fn the_unix_socket_serves_transfers_too() {
    let mut pool = Pool::start();
    let vdi = pool.vdi(2 * MIB);
    let line = format!(
        "/export_raw_vdi?session_id={}&vdi={vdi}&format=vhd",
        pool.client.session
    );
    let socket: &Path = &pool.running.addresses.unix_socket;
    let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    std::io::Write::write_all(
        &mut stream,
        format!("GET {line} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes(),
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(
        answer.starts_with(b"HTTP/1.1 200 OK\r\n"),
        "{}",
        String::from_utf8_lossy(&answer[..64])
    );
    assert!(!String::from_utf8_lossy(&answer).contains("transfer-encoding"));
    assert!(answer.windows(8).any(|window| window == b"conectix"));
    let unknown = Value::from("OpaqueRef:bogus");
    pool.client.call("task.cancel", [unknown]).unwrap_err();
}
