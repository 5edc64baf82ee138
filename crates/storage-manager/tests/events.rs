//! `event.from`, `event.next` and tasks with several clients.

#![allow(clippy::unwrap_used)] // helpers of tests fail the test

#[path = "support/fake.rs"]
mod fake;
mod support;

use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use support::{Running, config, make_sr, vdi_record, wait_for};
use xenapi::Value;

fn start(dir: &std::path::Path) -> (Running, Arc<fake::Switches>) {
    let fake = fake::FakeSr::default();
    let switches = fake.switches.clone();
    (
        Running::start(config(dir), Some(vec![Arc::new(fake)])),
        switches,
    )
}

fn from(
    client: &mut support::Client,
    classes: &[&str],
    token: &str,
    timeout: f64,
) -> (Vec<(String, String, String)>, String) {
    let classes = Value::Array(classes.iter().map(|class| (*class).into()).collect());
    let answer = client
        .call("event.from", [classes, token.into(), Value::Float(timeout)])
        .unwrap();
    let answer = answer.as_struct().unwrap();
    let text = |event: &Value, field: &str| {
        event.as_struct().unwrap()[field]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let events = answer["events"].as_array().unwrap();
    let events = events.iter().map(|event| {
        (
            text(event, "class"),
            text(event, "operation"),
            text(event, "ref"),
        )
    });
    (
        events.collect(),
        answer["token"].as_str().unwrap().to_owned(),
    )
}

#[test]
fn a_waiting_client_is_woken_by_the_change_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let (running, _) = start(dir.path());
    let mut client = running.unix();
    let sr = make_sr(&mut client, &dir.path().join("sr"), "fake");
    let (_, token) = from(&mut client, &["vdi"], "", 1.0);
    let mut waiting = running.unix();
    let (tell, told) = sync_channel(1);
    let waiter = std::thread::spawn(move || {
        tell.send(()).unwrap();
        from(&mut waiting, &["VDI"], &token, 30.0)
    });
    told.recv().unwrap();
    let vdi = client
        .call("VDI.create", [vdi_record(&sr, "one", 4096)])
        .unwrap()
        .as_str()
        .unwrap()
        .to_owned();
    let (events, token) = waiter.join().unwrap();
    assert_eq!(events, [("vdi".to_owned(), "add".to_owned(), vdi.clone())]);
    // The same value again is no change.
    let label = || [Value::from(vdi.as_str()), "one".into()];
    client.call("VDI.set_name_label", label()).unwrap();
    assert_eq!(from(&mut client, &["vdi"], &token, 0.1).0, []);
    client
        .call("VDI.add_tags", [vdi.as_str().into(), "x".into()])
        .unwrap();
    let (events, token) = from(&mut client, &["vdi"], &token, 30.0);
    assert_eq!(events, [("vdi".to_owned(), "mod".to_owned(), vdi.clone())]);
    // Made and gone since the token: not told. Gone: told without a snapshot.
    let brief = client
        .call("VDI.create", [vdi_record(&sr, "brief", 4096)])
        .unwrap();
    client.call("VDI.destroy", [brief]).unwrap();
    client.call("VDI.destroy", [vdi.as_str().into()]).unwrap();
    assert_eq!(
        from(&mut client, &["vdi"], &token, 30.0).0,
        [("vdi".to_owned(), "del".to_owned(), vdi)]
    );
}

#[test]
fn the_token_of_inject_stands_before_the_object() {
    let dir = tempfile::tempdir().unwrap();
    let (running, _) = start(dir.path());
    let mut client = running.unix();
    let pool = client.call("pool.get_all", []).unwrap().as_array().unwrap()[0]
        .as_str()
        .unwrap()
        .to_owned();
    let token = client
        .call("event.inject", ["pool".into(), pool.as_str().into()])
        .unwrap();
    let (events, _) = from(&mut client, &["pool"], token.as_str().unwrap(), 30.0);
    assert_eq!(events, [("pool".to_owned(), "mod".to_owned(), pool)]);
}

#[test]
fn secrets_and_sessions_are_in_no_event() {
    let dir = tempfile::tempdir().unwrap();
    let (running, _) = start(dir.path());
    let mut client = running.unix();
    client
        .call("secret.create", [support::texts(&[("value", "hunter2")])])
        .unwrap();
    let (events, _) = from(&mut client, &["*", "secret", "session"], "", 1.0);
    assert!(events.len() > 4);
    assert!(
        events
            .iter()
            .all(|(class, ..)| class != "secret" && class != "session")
    );
}

#[test]
fn logging_out_ends_the_wait_of_the_session() {
    let dir = tempfile::tempdir().unwrap();
    let (running, _) = start(dir.path());
    let mut waiting = running.unix();
    let (_, token) = from(&mut waiting, &["vdi"], "", 1.0);
    let session = waiting.session.clone();
    let waiter = std::thread::spawn(move || {
        waiting.call(
            "event.from",
            [
                Value::Array(vec!["vdi".into()]),
                token.into(),
                Value::Float(30.0),
            ],
        )
    });
    let mut other = running.unix();
    other.session = session;
    other.call("session.logout", []).unwrap();
    assert_eq!(waiter.join().unwrap().unwrap_err().code, "SESSION_INVALID");
}

#[test]
fn old_events_tell_what_changed_since_they_were_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let (running, _) = start(dir.path());
    let mut client = running.unix();
    assert_eq!(
        client.call("event.next", []).unwrap_err().code,
        "SESSION_NOT_REGISTERED"
    );
    client
        .call("event.register", [Value::Array(vec!["pool".into()])])
        .unwrap();
    let pool = client.call("pool.get_all", []).unwrap().as_array().unwrap()[0].clone();
    client
        .call("pool.set_name_label", [pool.clone(), "named".into()])
        .unwrap();
    let events = client.call("event.next", []).unwrap();
    assert_eq!(
        events.as_array().unwrap()[0].as_struct().unwrap()["ref"],
        pool
    );
    client
        .call("event.unregister", [Value::Array(vec!["pool".into()])])
        .unwrap();
    assert_eq!(
        client.call("event.next", []).unwrap_err().code,
        "SESSION_NOT_REGISTERED"
    );
}

#[test]
fn a_task_is_pending_until_its_call_ends_and_may_be_destroyed_before() {
    let dir = tempfile::tempdir().unwrap();
    let (running, switches) = start(dir.path());
    let mut client = running.unix();
    let sr = make_sr(&mut client, &dir.path().join("sr"), "fake");
    switches.hang(true);
    let kept = client
        .call("Async.VDI.create", [vdi_record(&sr, "one", 4096)])
        .unwrap();
    let dropped = client
        .call("Async.VDI.create", [vdi_record(&sr, "two", 4096)])
        .unwrap();
    let record = client.call("task.get_record", [kept.clone()]).unwrap();
    assert_eq!(record.as_struct().unwrap()["status"], "pending".into());
    assert_eq!(
        record.as_struct().unwrap()["allowed_operations"],
        Value::Array(vec!["cancel".into()])
    );
    wait_for("both operations are seen", || {
        let operations = client
            .call("SR.get_current_operations", [sr.as_str().into()])
            .unwrap();
        operations.as_struct().unwrap().len() == 2
    });
    client.call("task.destroy", [dropped.clone()]).unwrap();
    switches.hang(false);
    wait_for("the task ends", || {
        client.call("task.get_status", [kept.clone()]).unwrap() == "success".into()
    });
    let result = client.call("task.get_result", [kept.clone()]).unwrap();
    let vdi = result
        .as_str()
        .unwrap()
        .strip_prefix("<value>")
        .unwrap()
        .strip_suffix("</value>")
        .unwrap()
        .to_owned();
    assert_eq!(
        client.call("VDI.get_name_label", [vdi.into()]).unwrap(),
        "one".into()
    );
    wait_for("the destroyed task goes", || {
        client.call("task.get_status", [dropped.clone()]).is_err()
    });
    client.call("task.destroy", [kept]).unwrap();
    assert_eq!(
        client.call("task.get_all", []).unwrap(),
        Value::Array(vec![])
    );
}

#[test]
fn a_scan_waits_for_what_is_being_made() {
    let dir = tempfile::tempdir().unwrap();
    let (running, _) = start(dir.path());
    let mut client = running.unix();
    let sr = make_sr(&mut client, &dir.path().join("sr"), "fake");
    let makers: Vec<_> = (0..4)
        .map(|maker| {
            let (mut client, sr) = (running.unix(), sr.clone());
            std::thread::spawn(move || {
                for number in 0..20 {
                    let label = format!("{maker}-{number}");
                    let vdi = client
                        .call("VDI.create", [vdi_record(&sr, &label, 4096)])
                        .unwrap();
                    assert_eq!(
                        client.call("VDI.get_name_label", [vdi.clone()]).unwrap(),
                        label.as_str().into()
                    );
                    if number % 2 == 0 {
                        client.call("VDI.destroy", [vdi]).unwrap();
                    }
                }
            })
        })
        .collect();
    for _ in 0..20 {
        client.call("SR.scan", [sr.as_str().into()]).unwrap();
    }
    makers.into_iter().for_each(|maker| maker.join().unwrap());
    client.call("SR.scan", [sr.as_str().into()]).unwrap();
    let records = client.call("VDI.get_all_records", []).unwrap();
    let records = records.as_struct().unwrap();
    assert_eq!(records.len(), 40);
    assert!(
        records
            .values()
            .all(|record| record.as_struct().unwrap()["name_label"] != "".into())
    );
    assert_eq!(
        client
            .call("SR.get_virtual_allocation", [sr.into()])
            .unwrap(),
        Value::Int(40 * 4096)
    );
}
