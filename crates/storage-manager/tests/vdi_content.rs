//! Snapshots, clones, copies, resizing and changed block tracking through the server's sockets, on an SR type of the tests.

#![allow(clippy::unwrap_used)] // helpers of tests fail the test

#[path = "support/fake.rs"]
mod fake;
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use support::{Client, HASTE, Running, config, make_sr, vbd_record, vdi_record, wait_for};
use xenapi::{Failure, NULL_REF, Value};

const SIZE: usize = 1 << 20;

/// A server with one SR of the fake type.
struct Site {
    dir: tempfile::TempDir,
    running: Option<Running>,
    switches: Arc<fake::Switches>,
    client: Client,
    sr: String,
}

impl Site {
    fn new() -> Site {
        let dir = tempfile::tempdir().unwrap();
        let (running, switches) = start(dir.path(), Duration::from_secs(60));
        let mut client = running.unix();
        let sr = make_sr(&mut client, &dir.path().join("sr"), "fake");
        Site {
            dir,
            running: Some(running),
            switches,
            client,
            sr,
        }
    }

    /// Starts the server anew with another deadline for driver calls.
    fn restart(&mut self, deadline: Duration) {
        self.running.take().unwrap().stop();
        let (running, switches) = start(self.dir.path(), deadline);
        self.client = running.unix();
        (self.running, self.switches) = (Some(running), switches);
    }

    fn call(&mut self, method: &str, params: &[&str]) -> Result<Value, Failure> {
        self.client
            .call(method, params.iter().map(|text| Value::from(*text)))
    }

    /// A call that answers a reference or another text.
    fn text(&mut self, method: &str, params: &[&str]) -> String {
        self.call(method, params)
            .unwrap()
            .as_str()
            .unwrap()
            .to_owned()
    }

    fn create(&mut self, label: &str) -> String {
        let record = vdi_record(&self.sr, label, i64::try_from(SIZE).unwrap());
        let vdi = self.client.call("VDI.create", [record]).unwrap();
        vdi.as_str().unwrap().to_owned()
    }

    fn record(&mut self, vdi: &str) -> BTreeMap<String, Value> {
        self.call("VDI.get_record", &[vdi])
            .unwrap()
            .as_struct()
            .unwrap()
            .clone()
    }

    fn field(&mut self, vdi: &str, field: &str) -> Value {
        self.record(vdi)[field].clone()
    }

    fn image(&mut self, vdi: &str) -> PathBuf {
        let uuid = self.text("VDI.get_uuid", &[vdi]);
        self.dir.path().join("sr").join(format!("{uuid}.img"))
    }

    fn fill(&mut self, vdi: &str, byte: u8) {
        let image = self.image(vdi);
        std::fs::write(image, vec![byte; SIZE]).unwrap();
    }

    fn content(&mut self, vdi: &str) -> Vec<u8> {
        let image = self.image(vdi);
        std::fs::read(image).unwrap()
    }

    fn all(&mut self) -> BTreeMap<String, Value> {
        let all = self.client.call("VDI.get_all_records", []).unwrap();
        all.as_struct().unwrap().clone()
    }

    fn plug(&mut self, vdi: &str, mode: &str) -> String {
        let vms = self.client.call("VM.get_all", []).unwrap();
        let vm = vms.as_array().unwrap()[0].as_str().unwrap().to_owned();
        let vbd = self.client.call("VBD.create", [vbd_record(&vm, vdi, mode)]);
        let vbd = vbd.unwrap().as_str().unwrap().to_owned();
        self.call("VBD.plug", &[&vbd]).unwrap();
        vbd
    }

    fn scan(&mut self) {
        let sr = self.sr.clone();
        self.call("SR.scan", &[&sr]).unwrap();
    }

    fn images(&self) -> usize {
        let entries = std::fs::read_dir(self.dir.path().join("sr")).unwrap();
        let is_image = |name: &Path| name.extension().is_some_and(|suffix| suffix == "img");
        entries
            .filter(|entry| is_image(&entry.as_ref().unwrap().path()))
            .count()
    }

    fn resize(&mut self, method: &str, vdi: &str, size: i64) -> Result<Value, Failure> {
        self.client.call(method, [vdi.into(), Value::Int(size)])
    }
}

fn start(dir: &Path, deadline: Duration) -> (Running, Arc<fake::Switches>) {
    let fake = fake::FakeSr::default();
    let switches = fake.switches.clone();
    let mut config = config(dir);
    config.driver_deadline = deadline;
    (Running::start(config, Some(vec![Arc::new(fake)])), switches)
}

fn refused(result: Result<Value, Failure>) -> (String, Vec<String>) {
    let failure = result.unwrap_err();
    (failure.code, failure.params)
}

#[test]
fn a_snapshot_is_recorded_with_its_source_and_their_parent() {
    let mut site = Site::new();
    let vdi = site.create("leaf");
    site.call("VDI.add_tags", &[&vdi, "t1"]).unwrap();
    site.fill(&vdi, 7);
    let snapshot = site.text("VDI.snapshot", &[&vdi]);
    site.fill(&vdi, 8);
    assert!(site.content(&snapshot).iter().all(|byte| *byte == 7));

    let record = site.record(&snapshot);
    for (field, value) in [
        ("name_label", "leaf".into()),
        ("is_a_snapshot", true.into()),
        ("snapshot_of", vdi.as_str().into()),
        ("managed", true.into()),
        ("metadata_of_pool", NULL_REF.into()),
        ("tags", Value::Array(vec!["t1".into()])),
        ("other_config", Value::from([("k", "v")])),
        ("cbt_enabled", false.into()),
    ] {
        assert_eq!(record[field], value, "{field}");
    }
    assert_ne!(record["snapshot_time"], Value::DateTime(0));
    assert_eq!(
        site.field(&vdi, "snapshots"),
        Value::Array(vec![snapshot.as_str().into()])
    );
    // Both name one parent, which is recorded and counts nothing.
    let parent = site.record(&vdi)["sm_config"].clone();
    assert_eq!(record["sm_config"], parent);
    let parent = parent.as_struct().unwrap()["vhd-parent"].clone();
    let base = site.text("VDI.get_by_uuid", &[parent.as_str().unwrap()]);
    let base_record = site.record(&base);
    for (field, value) in [
        ("name_label", "base copy".into()),
        ("managed", false.into()),
        ("read_only", true.into()),
        ("is_a_snapshot", false.into()),
    ] {
        assert_eq!(base_record[field], value, "{field}");
    }
    let sr = site.sr.clone();
    let allocation = site.call("SR.get_virtual_allocation", &[&sr]).unwrap();
    assert_eq!(allocation, Value::Int(2 * i64::try_from(SIZE).unwrap()));
    assert_eq!(
        refused(site.call("VDI.destroy", &[&base])).0,
        "VDI_NOT_MANAGED"
    );
    assert_eq!(
        refused(site.call("VDI.snapshot", &[&base])),
        ("VDI_NOT_MANAGED".to_owned(), vec![base])
    );

    // A scan keeps what only the record knows, and takes the origin away when it is gone.
    let before = site.record(&snapshot);
    site.scan();
    assert_eq!(site.record(&snapshot), before);
    site.call("VDI.destroy", &[&vdi]).unwrap();
    assert_eq!(site.field(&snapshot, "snapshot_of"), vdi.as_str().into());
    site.scan();
    assert_eq!(site.field(&snapshot, "snapshot_of"), NULL_REF.into());
    assert_eq!(site.field(&snapshot, "is_a_snapshot"), true.into());
}

#[test]
fn a_clone_is_no_snapshot_and_has_no_tracking() {
    let mut site = Site::new();
    let vdi = site.create("leaf");
    site.call("VDI.enable_cbt", &[&vdi]).unwrap();
    let snapshot = site.text("VDI.snapshot", &[&vdi]);
    assert_eq!(site.field(&snapshot, "cbt_enabled"), true.into());
    let clone = site.text("VDI.clone", &[&snapshot]);
    let record = site.record(&clone);
    assert_eq!(
        (
            &record["is_a_snapshot"],
            &record["snapshot_of"],
            &record["cbt_enabled"]
        ),
        (&false.into(), &NULL_REF.into(), &false.into())
    );
    assert_eq!(
        site.field(&snapshot, "snapshot_of"),
        vdi.as_str().into(),
        "the cloned snapshot stays one"
    );
}

#[test]
fn what_is_plugged_can_be_snapshotted_and_grown_but_not_resized_reverted_or_copied() {
    let mut site = Site::new();
    let vdi = site.create("leaf");
    let vbd = site.plug(&vdi, "RW");
    let snapshot = site.text("VDI.snapshot", &[&vdi]);
    site.text("VDI.clone", &[&vdi]);
    let larger = 2 * i64::try_from(SIZE).unwrap();
    let in_use = |operation: &str| {
        (
            "VDI_IN_USE".to_owned(),
            vec![vdi.clone(), operation.to_owned()],
        )
    };
    assert_eq!(
        refused(site.resize("VDI.resize", &vdi, larger)),
        in_use("resize")
    );
    site.resize("VDI.resize_online", &vdi, larger).unwrap();
    assert_eq!(site.field(&vdi, "virtual_size"), Value::Int(larger));
    assert_eq!(
        refused(site.call("VDI.revert", &[&snapshot])),
        in_use("revert")
    );
    let sr = site.sr.clone();
    assert_eq!(refused(site.call("VDI.copy", &[&vdi, &sr])), in_use("copy"));
    site.call("VBD.unplug", &[&vbd]).unwrap();
    assert_eq!(
        refused(site.resize("VDI.resize", &vdi, 1)).0,
        "SR_BACKEND_FAILURE_79"
    );
    site.fill(&snapshot, 3);
    site.call("VDI.revert", &[&snapshot]).unwrap();
    assert!(site.content(&vdi).iter().all(|byte| *byte == 3));
    assert_eq!(
        site.field(&vdi, "virtual_size"),
        Value::Int(i64::try_from(SIZE).unwrap())
    );
    assert_eq!(
        refused(site.call("VDI.revert", &[&vdi])).0,
        "OPERATION_NOT_ALLOWED"
    );
}

#[test]
fn tracking_follows_its_rules() {
    let mut site = Site::new();
    let (vdi, plain) = (site.create("tracked"), site.create("plain"));
    site.call("VDI.disable_cbt", &[&vdi]).unwrap();
    site.call("VDI.enable_cbt", &[&vdi]).unwrap();
    site.call("VDI.enable_cbt", &[&vdi]).unwrap();
    let snapshot = site.text("VDI.snapshot", &[&vdi]);
    assert_eq!(
        site.text("VDI.list_changed_blocks", &[&snapshot, &vdi]),
        "gAE="
    );
    for method in ["VDI.enable_cbt", "VDI.disable_cbt"] {
        assert_eq!(
            refused(site.call(method, &[&snapshot])),
            (
                "OPERATION_NOT_ALLOWED".to_owned(),
                vec![format!("VDI is a snapshot: {snapshot}")]
            )
        );
    }
    assert_eq!(
        refused(site.call("VDI.data_destroy", &[&vdi])).0,
        "OPERATION_NOT_ALLOWED"
    );
    let untracked = site.text("VDI.snapshot", &[&plain]);
    assert_eq!(
        refused(site.call("VDI.data_destroy", &[&untracked])),
        ("VDI_NO_CBT_METADATA".to_owned(), vec![untracked])
    );
    site.call("VDI.data_destroy", &[&snapshot]).unwrap();
    site.call("VDI.data_destroy", &[&snapshot]).unwrap();
    let record = site.record(&snapshot);
    assert_eq!(record["type"], "cbt_metadata".into());
    assert_eq!(record["cbt_enabled"], true.into());
    assert_eq!(
        record["allowed_operations"],
        Value::Array(vec!["forget".into(), "destroy".into()])
    );
    let sr = site.sr.clone();
    for (method, params) in [
        ("VDI.clone", vec![snapshot.as_str()]),
        ("VDI.snapshot", vec![&snapshot]),
        ("VDI.get_nbd_info", vec![&snapshot]),
        ("VDI.copy", vec![&snapshot, &sr]),
    ] {
        assert_eq!(
            refused(site.call(method, &params)),
            (
                "VDI_INCOMPATIBLE_TYPE".to_owned(),
                vec![snapshot.clone(), "CBT metadata".to_owned()]
            ),
            "{method}"
        );
    }
    // One that a scan finds has its type too.
    let uuid = site.text("VDI.get_uuid", &[&snapshot]);
    site.call("VDI.forget", &[&snapshot]).unwrap();
    site.scan();
    let found = site.text("VDI.get_by_uuid", &[&uuid]);
    assert_eq!(site.field(&found, "type"), "cbt_metadata".into());
    site.call("VDI.destroy", &[&found]).unwrap();
}

#[test]
fn a_copy_is_complete_before_it_is_seen_and_says_how_far_it_is() {
    let mut site = Site::new();
    let vdi = site.create("source");
    site.call("VDI.add_tags", &[&vdi, "t1"]).unwrap();
    site.fill(&vdi, 9);
    site.switches.reads.close();
    let sr = site.sr.clone();
    let task = site.text("Async.VDI.copy", &[&vdi, &sr]);
    let mut watcher = site.running.as_ref().unwrap().unix();
    wait_for("the copy is under way", || {
        let operations = watcher
            .call("VDI.get_current_operations", [vdi.as_str().into()])
            .unwrap();
        operations.as_struct().unwrap().get(&task) == Some(&"copy".into())
    });
    wait_for("the image of the copy is there", || site.images() == 2);
    // Meanwhile the source can be snapshotted, and scanned around, but not destroyed; and the half copy is not seen.
    site.text("VDI.snapshot", &[&vdi]);
    site.scan();
    assert_eq!(refused(site.call("VDI.destroy", &[&vdi])).0, "VDI_IN_USE");
    assert_eq!(site.all().len(), 3);
    assert_eq!(site.text("task.get_status", &[&task]), "pending");
    site.switches.reads.open();
    wait_for("the copy ends", || {
        watcher
            .call("task.get_status", [task.as_str().into()])
            .unwrap()
            == "success".into()
    });
    assert_eq!(
        site.call("task.get_progress", &[&task]).unwrap(),
        Value::Float(1.0)
    );
    let result = site.text("task.get_result", &[&task]);
    let copy = result
        .trim_start_matches("<value>")
        .trim_end_matches("</value>")
        .to_owned();
    assert!(site.content(&copy).iter().all(|byte| *byte == 9));
    let record = site.record(&copy);
    assert_eq!(record["tags"], Value::Array(vec!["t1".into()]));
    assert_eq!(record["is_a_snapshot"], false.into());
    assert!(
        record["other_config"]
            .as_struct()
            .unwrap()
            .contains_key("content_id")
    );
}

#[test]
fn a_cancelled_copy_ends_as_on_a_real_pool_and_leaves_nothing() {
    let mut site = Site::new();
    let vdi = site.create("source");
    site.switches.reads.close();
    let sr = site.sr.clone();
    let task = site.text("Async.VDI.copy", &[&vdi, &sr]);
    wait_for("the image of the copy is there", || site.images() == 2);
    site.call("task.cancel", &[&task]).unwrap();
    site.switches.reads.open();
    let mut watcher = site.running.as_ref().unwrap().unix();
    wait_for("the copy ends", || {
        watcher
            .call("task.get_status", [task.as_str().into()])
            .unwrap()
            == "failure".into()
    });
    let why = site.call("task.get_error_info", &[&task]).unwrap();
    let cancelled = format!("Server_error(TASK_CANCELLED, [ {task} ])");
    assert_eq!(
        why,
        Value::Array(vec!["VDI_COPY_FAILED".into(), cancelled.as_str().into()])
    );
    assert_eq!((site.images(), site.all().len()), (1, 1));
    // The task is done with, and the source is free.
    site.call("task.cancel", &[&task]).unwrap();
    site.call("VDI.destroy", &[&vdi]).unwrap();
}

#[test]
fn a_copy_that_fails_leaves_nothing() {
    let mut site = Site::new();
    let vdi = site.create("source");
    site.fill(&vdi, 9);
    site.switches.fail_writes.store(true, Ordering::SeqCst);
    let sr = site.sr.clone();
    assert_eq!(
        refused(site.call("VDI.copy", &[&vdi, &sr])).0,
        "SR_BACKEND_FAILURE_44"
    );
    assert_eq!((site.images(), site.all().len()), (1, 1));
    assert_eq!(
        refused(site.call("VDI.copy", &[&vdi, NULL_REF])),
        (
            "HANDLE_INVALID".to_owned(),
            vec!["SR".to_owned(), NULL_REF.to_owned()]
        )
    );
}

#[test]
fn a_copy_into_another_sr_and_into_a_vdi() {
    let mut site = Site::new();
    let vdi = site.create("source");
    site.fill(&vdi, 5);
    let other_sr = make_sr(&mut site.client, &site.dir.path().join("other"), "fake");
    let copy = site.text("VDI.copy", &[&vdi, &other_sr]);
    let uuid = site.text("VDI.get_uuid", &[&copy]);
    let image = site.dir.path().join("other").join(format!("{uuid}.img"));
    assert!(std::fs::read(image).unwrap().iter().all(|byte| *byte == 5));
    assert_eq!(site.field(&copy, "SR"), other_sr.as_str().into());

    // Only what differs from the base is written: the rest keeps what a caller has put there.
    let base = site.text("VDI.snapshot", &[&vdi]);
    let mut changed = site.content(&vdi);
    changed[100] = 6;
    let image = site.image(&vdi);
    std::fs::write(image, &changed).unwrap();
    let target = site.create("target");
    site.fill(&target, 4);
    let answer = site.text("VDI.copy", &[&vdi, NULL_REF, &base, &target]);
    assert_eq!(answer, target);
    let written = site.content(&target);
    assert_eq!(written[..1 << 16], changed[..1 << 16]);
    assert!(written[1 << 16..].iter().all(|byte| *byte == 4));
    let answer = site.text("VDI.copy", &[&vdi, &other_sr, NULL_REF, &target]);
    assert_eq!((answer, site.content(&target)), (target.clone(), changed));

    site.resize("VDI.resize", &vdi, 2 * i64::try_from(SIZE).unwrap())
        .unwrap();
    assert_eq!(
        refused(site.call("VDI.copy", &[&vdi, NULL_REF, NULL_REF, &target])),
        (
            "VDI_TOO_SMALL".to_owned(),
            vec![target.clone(), (2 * SIZE).to_string()]
        )
    );
    site.plug(&target, "RW");
    assert_eq!(
        refused(site.call("VDI.copy", &[&copy, NULL_REF, NULL_REF, &target])).0,
        "VDI_IN_USE"
    );
}

#[test]
fn a_snapshot_that_nobody_was_told_of_goes_and_the_records_learn_of_the_rest() {
    let mut site = Site::new();
    let vdi = site.create("leaf");
    site.restart(HASTE);
    site.switches.hang(true);
    assert_eq!(
        refused(site.call("VDI.snapshot", &[&vdi])).0,
        "SR_UNHEALTHY"
    );
    site.switches.hang(false);
    // The driver made it after all; its parent stays, hidden, and is recorded by a scan that nobody called for.
    let mut watcher = site.running.as_ref().unwrap().unix();
    wait_for("the records agree with the medium", || {
        let all = watcher.call("VDI.get_all_records", []).unwrap();
        let all = all.as_struct().unwrap();
        let names = |record: &Value, field: &str| record.as_struct().unwrap()[field].clone();
        all.len() == 2
            && names(&all[&vdi], "sm_config") != Value::Struct(BTreeMap::new())
            && all
                .values()
                .any(|record| names(record, "managed") == false.into())
    });
    assert_eq!(site.images(), 2);
}

#[test]
fn a_resize_that_was_not_waited_for_is_recorded_all_the_same() {
    let mut site = Site::new();
    let vdi = site.create("leaf");
    site.restart(HASTE);
    site.switches.hang(true);
    let larger = 2 * i64::try_from(SIZE).unwrap();
    assert_eq!(
        refused(site.resize("VDI.resize", &vdi, larger)).0,
        "SR_UNHEALTHY"
    );
    site.switches.hang(false);
    let mut watcher = site.running.as_ref().unwrap().unix();
    wait_for("the record has the new size", || {
        let size = watcher.call("VDI.get_virtual_size", [vdi.as_str().into()]);
        size.unwrap() == Value::Int(larger)
    });
}

#[test]
fn a_medium_that_shows_nothing_forgets_nothing() {
    let mut site = Site::new();
    let (one, two) = (site.create("one"), site.create("two"));
    site.switches.is_gone.store(true, Ordering::SeqCst);
    let sr = site.sr.clone();
    let (code, params) = refused(site.call("SR.scan", &[&sr]));
    assert_eq!(code, "SR_BACKEND_FAILURE_40");
    assert!(params[1].contains("2 VDIs are recorded"), "{params:?}");
    assert_eq!(site.all().len(), 2);
    // One that is gone while others are there is forgotten; and what shall go can be forgotten by hand.
    site.switches.is_gone.store(false, Ordering::SeqCst);
    let image = site.image(&one);
    std::fs::remove_file(image).unwrap();
    site.scan();
    assert_eq!(site.all().len(), 1);
    site.switches.is_gone.store(true, Ordering::SeqCst);
    site.call("VDI.forget", &[&two]).unwrap();
    site.scan();
}

#[test]
fn an_sr_is_scanned_by_itself_when_it_asks_for_it() {
    let mut site = Site::new();
    site.create("one");
    let hosts = site.client.call("host.get_all", []).unwrap();
    let host = hosts.as_array().unwrap()[0].as_str().unwrap().to_owned();
    site.call(
        "host.add_to_other_config",
        &[&host, "auto-scan-interval", "1"],
    )
    .unwrap();
    let sr = site.sr.clone();
    site.call("SR.add_to_other_config", &[&sr, "auto-scan", "true"])
        .unwrap();
    let uuid = "11111111-2222-4333-8444-555555555555";
    std::fs::write(site.dir.path().join("sr").join(format!("{uuid}.img")), "x").unwrap();
    // The present interval was begun before it was made shorter; a restart begins another.
    site.restart(Duration::from_secs(60));
    let mut watcher = site.running.as_ref().unwrap().unix();
    wait_for("the image is found", || {
        watcher.call("VDI.get_by_uuid", [uuid.into()]).is_ok()
    });
}

#[test]
fn a_call_that_waits_for_its_turn_can_be_cancelled() {
    let mut site = Site::new();
    let vdi = site.create("leaf");
    site.switches.hang(true);
    let first = site.text("Async.VDI.snapshot", &[&vdi]);
    let mut watcher = site.running.as_ref().unwrap().unix();
    wait_for("the first snapshot is under way", || {
        let operations = watcher.call("VDI.get_current_operations", [vdi.as_str().into()]);
        !operations.unwrap().as_struct().unwrap().is_empty()
    });
    let second = site.text("Async.VDI.snapshot", &[&vdi]);
    site.call("task.cancel", &[&second]).unwrap();
    let mut ended = |task: &str, status: &str| {
        wait_for("the task ends", || {
            watcher.call("task.get_status", [task.into()]).unwrap() == status.into()
        });
    };
    ended(&second, "cancelled");
    site.switches.hang(false);
    ended(&first, "success");
}
