//! Snapshots of several VDIs at one moment, while consumers write.
//!
//! A writer counts in two VDIs, first in the one and then in the other. Snapshots of one moment show the same number, or the
//! first VDI's is one ahead.

#![allow(clippy::unwrap_used)] // helpers of tests fail the test

#[path = "support/consumer.rs"]
mod consumer;
#[path = "support/fake.rs"]
mod fake;
mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use consumer::Consumer;
use support::{Client, Running, config, make_sr, texts, vdi_record, wait_for};
use testkit::scratch;
use xenapi::{Failure, Value};

const SIZE: i64 = 16 << 20;

/// The code of snapshots that were not taken because not all could be.
const NOT_TOGETHER: &str = "SR_BACKEND_FAILURE_470";

/// How often the snapshots of a scenario are looked at.
const ROUNDS: usize = 8;

/// Counts until it is told to stop.
struct Writer {
    count: Arc<AtomicU64>,
    /// The longest that a write took, in milliseconds.
    longest_ms: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<[Consumer; 2]>,
}

impl Writer {
    fn start(client: &mut Client, vdis: &[String; 2]) -> Writer {
        let mut consumers = [0, 1].map(|index| Consumer::attach(client, &vdis[index], "RW"));
        let count = Arc::new(AtomicU64::new(0));
        let longest_ms = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let (counted, longest, stopped) = (count.clone(), longest_ms.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            for number in 1_u64.. {
                for consumer in &mut consumers {
                    let begun = Instant::now();
                    let block = number.to_be_bytes().repeat(64);
                    consumer.nbd.write(&block, 0).unwrap();
                    let took = u64::try_from(begun.elapsed().as_millis()).unwrap();
                    longest.fetch_max(took, Ordering::SeqCst);
                    if number % 64 == 0 {
                        consumer.nbd.flush().unwrap();
                    }
                }
                counted.store(number, Ordering::SeqCst);
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
            }
            consumers
        });
        Writer {
            count,
            longest_ms,
            stop,
            thread,
        }
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// Waits until it has counted on.
    fn await_progress(&self) {
        let before = self.count();
        wait_for("the writer counts on", || self.count() > before + 2);
    }

    /// Stops it; whatever it wrote has succeeded.
    fn stop(self, client: &mut Client, vdis: &[String; 2]) {
        self.stop.store(true, Ordering::SeqCst);
        let mut consumers = self.thread.join().unwrap();
        let last = self.count.load(Ordering::SeqCst);
        for consumer in &mut consumers {
            assert_eq!(number_in(&consumer.read(0, 512)), last);
        }
        consumers
            .into_iter()
            .for_each(|consumer| consumer.detach(client));
        assert_eq!(counts(client, vdis), [last, last]);
    }
}

fn number_in(block: &[u8]) -> u64 {
    let numbers: Vec<_> = block.chunks_exact(8).collect();
    assert!(
        numbers.iter().all(|number| number == &numbers[0]),
        "half a write"
    );
    u64::from_be_bytes(numbers[0].try_into().unwrap())
}

/// What two VDIs hold that nobody has open.
fn counts(client: &mut Client, vdis: &[String; 2]) -> [u64; 2] {
    [0, 1].map(|index| {
        let mut reader = Consumer::attach(client, &vdis[index], "RO");
        let block = reader.read(0, 512);
        reader.detach(client);
        number_in(&block)
    })
}

fn make_vdi(client: &mut Client, sr: &str) -> String {
    let made = client.call("VDI.create", [vdi_record(sr, "counted", SIZE)]);
    made.unwrap().as_str().unwrap().to_owned()
}

fn destroy(client: &mut Client, vdis: &[String]) {
    for vdi in vdis {
        client.call("VDI.destroy", [vdi.as_str().into()]).unwrap();
    }
}

/// An SR of type `lvm` on a file that stands for a disk.
fn make_lvm_sr(client: &mut Client, disk: &Path) -> String {
    std::fs::File::create(disk)
        .unwrap()
        .set_len(1 << 30)
        .unwrap();
    let host = client.call("host.get_all", []).unwrap().as_array().unwrap()[0].clone();
    let params = [
        host,
        texts(&[("device", disk.to_str().unwrap())]),
        Value::Int(0),
        "an LVHD SR".into(),
        "".into(),
        "lvm".into(),
        "".into(),
        false.into(),
        texts(&[]),
    ];
    let made = client.call("SR.create", params).unwrap();
    made.as_str().unwrap().to_owned()
}

/// Calls `VDI.snapshot`.
fn snapshot(client: &mut Client, vdi: &str, ticket: &str) -> Result<String, Failure> {
    let params = texts(&[("xensm:barrier", ticket)]);
    let made = client.call("VDI.snapshot", [vdi.into(), params])?;
    Ok(made.as_str().unwrap().to_owned())
}

/// Asks for the snapshots of one barrier, each over a connection of its own; `between` comes between the first and the others.
fn try_together(
    running: &Running,
    name: &str,
    vdis: &[String],
    between: impl Fn() + Sync,
) -> Vec<Result<String, Failure>> {
    let ticket = format!("{name}/{}", vdis.len());
    let mut clients: Vec<Client> = vdis.iter().map(|_| running.unix()).collect();
    std::thread::scope(|scope| {
        let mut calls = Vec::new();
        for (index, (client, vdi)) in clients.iter_mut().zip(vdis).enumerate() {
            if index == 1 {
                between();
            }
            let ticket = ticket.as_str();
            calls.push(scope.spawn(move || {
                let made = snapshot(client, vdi, ticket);
                client.call("session.logout", []).unwrap();
                made
            }));
        }
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    })
}

/// As [`try_together`], and again while the storage manager says that it was too slow. All are made, or none.
fn together(
    running: &Running,
    name: &str,
    vdis: &[String],
    between: impl Fn() + Sync,
) -> Vec<String> {
    for number in 0.. {
        let outcomes = try_together(running, &format!("{name}.{number}"), vdis, &between);
        let made = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        if made == vdis.len() {
            return outcomes.into_iter().map(Result::unwrap).collect();
        }
        assert_eq!(made, 0, "all or none: {outcomes:?}");
        let may_pass = |failure: &Failure| {
            failure.code == NOT_TOGETHER || failure.code == "OTHER_OPERATION_IN_PROGRESS"
        };
        assert!(
            outcomes
                .iter()
                .all(|outcome| outcome.as_ref().is_err_and(may_pass)),
            "{outcomes:?}"
        );
        assert!(number < 20, "never at one moment: {outcomes:?}");
    }
    unreachable!()
}

/// The VDIs that a client sees, beside hidden parents.
fn visible(client: &mut Client) -> usize {
    let records = client.call("VDI.get_all_records", []).unwrap();
    let records = records.as_struct().unwrap().values();
    let managed = |record: &&Value| record.as_struct().unwrap()["managed"] == true.into();
    records.filter(managed).count()
}

/// Takes snapshots of two VDIs again and again while the writer counts.
fn count_through_snapshots(running: &Running, client: &mut Client, vdis: &[String; 2]) {
    let writer = Writer::start(client, vdis);
    for round in 0..ROUNDS {
        // The moment is when all have come, not when the first has.
        let between = || {
            if round % 2 == 0 {
                writer.await_progress();
            }
        };
        // In either order.
        let mut sources = vdis.to_vec();
        if round % 4 >= 2 {
            sources.reverse();
        }
        let mut made = together(running, &format!("round-{round}"), &sources, between);
        if round % 4 >= 2 {
            made.reverse();
        }
        let made: [String; 2] = made.try_into().unwrap();
        let [first, second] = counts(client, &made);
        assert!(
            first == second || first == second + 1,
            "round {round}: {first} and {second} are of two moments"
        );
        assert!(first <= writer.count() + 1);
        destroy(client, &made);
        writer.await_progress();
    }
    writer.stop(client, vdis);
    assert_eq!(visible(client), 2);
}

#[test]
fn snapshots_of_one_moment_hold_a_prefix_of_what_was_written() {
    let dir = scratch::directory();
    let running = Running::start(config(dir.path()), None);
    let mut client = running.unix();
    let sr = make_sr(&mut client, &dir.path().join("sr"), "file");
    let vdis = [make_vdi(&mut client, &sr), make_vdi(&mut client, &sr)];
    count_through_snapshots(&running, &mut client, &vdis);
    running.stop();
}

#[test]
fn members_may_be_on_different_srs_and_types() {
    let dir = scratch::directory();
    let running = Running::start(config(dir.path()), None);
    let mut client = running.unix();
    let files = make_sr(&mut client, &dir.path().join("sr"), "file");
    let volumes = make_lvm_sr(&mut client, &dir.path().join("disk"));
    let vdis = [
        make_vdi(&mut client, &files),
        make_vdi(&mut client, &volumes),
    ];
    count_through_snapshots(&running, &mut client, &vdis);
    running.stop();
}

#[test]
fn there_may_be_more_members_than_an_sr_has_threads() {
    const MEMBERS: usize = 20;
    let dir = scratch::directory();
    let running = Running::start(config(dir.path()), None);
    let mut client = running.unix();
    let sr = make_sr(&mut client, &dir.path().join("sr"), "file");
    let vdis: Vec<String> = (0..MEMBERS).map(|_| make_vdi(&mut client, &sr)).collect();
    let made = together(&running, "many", &vdis, || ());
    for (vdi, snapshot) in vdis.iter().zip(&made) {
        let of = client.call("VDI.get_snapshot_of", [snapshot.as_str().into()]);
        assert_eq!(of.unwrap().as_str(), Some(vdi.as_str()));
    }
    assert_eq!(visible(&mut client), 2 * MEMBERS);
    running.stop();
}

#[test]
fn barriers_over_the_same_vdis_do_not_wait_for_each_other_for_ever() {
    let dir = scratch::directory();
    let running = Running::start(config(dir.path()), None);
    let mut client = running.unix();
    let sr = make_sr(&mut client, &dir.path().join("sr"), "file");
    let vdis = [make_vdi(&mut client, &sr), make_vdi(&mut client, &sr)];
    let writer = Writer::start(&mut client, &vdis);
    for round in 0..4 {
        let orders = [vdis.to_vec(), vdis.iter().rev().cloned().collect()];
        let running = &running;
        let made = std::thread::scope(|scope| {
            let barriers = orders.each_ref().map(|sources| {
                let name = format!("{round}-{}", sources[0]);
                scope.spawn(move || together(running, &name, sources, || ()))
            });
            barriers.map(|barrier| barrier.join().unwrap())
        });
        let [one, mut other] = made;
        other.reverse();
        for made in [one, other] {
            let made: [String; 2] = made.try_into().unwrap();
            let [first, second] = counts(&mut client, &made);
            assert!(first == second || first == second + 1);
            destroy(&mut client, &made);
        }
    }
    writer.stop(&mut client, &vdis);
    running.stop();
}

#[test]
fn whoever_does_not_come_or_cannot_lets_the_others_go() {
    let dir = scratch::directory();
    let running = Running::start(config(dir.path()), None);
    let mut client = running.unix();
    let sr = make_sr(&mut client, &dir.path().join("sr"), "file");
    let vdis = [make_vdi(&mut client, &sr), make_vdi(&mut client, &sr)];
    let writer = Writer::start(&mut client, &vdis);
    writer.await_progress();

    // Nobody else comes.
    let failure = snapshot(&mut client, &vdis[0], "alone/2").unwrap_err();
    assert_eq!(failure.code, NOT_TOGETHER);
    assert!(
        failure.params[1].contains("not all calls came"),
        "{failure}"
    );
    assert_eq!(visible(&mut client), 2);
    writer.await_progress();

    // The other cannot be snapshotted: a hidden parent is nobody's.
    let made = together(&running, "whole", &vdis, || ());
    let records = client.call("VDI.get_all_records", []).unwrap();
    let hidden = records.as_struct().unwrap().iter();
    let hidden = hidden
        .filter(|(_, record)| record.as_struct().unwrap()["managed"] == false.into())
        .map(|(vdi, _)| vdi.clone())
        .next()
        .unwrap();
    let outcomes = try_together(&running, "half", &[vdis[0].clone(), hidden], || ());
    let codes: Vec<_> = outcomes
        .iter()
        .map(|outcome| outcome.as_ref().unwrap_err().code.as_str())
        .collect();
    assert_eq!(codes[0], NOT_TOGETHER);
    assert!(
        ["VDI_NOT_MANAGED", "HANDLE_INVALID"].contains(&codes[1]),
        "{codes:?}"
    );
    destroy(&mut client, &made);

    // One VDI twice.
    let twice = [vdis[0].clone(), vdis[0].clone()];
    for outcome in try_together(&running, "twice", &twice, || ()) {
        assert_eq!(outcome.unwrap_err().code, NOT_TOGETHER);
    }

    // What is no barrier.
    for ticket in ["", "a", "a/0", "a/129", "/2"] {
        let failure = snapshot(&mut client, &vdis[0], ticket).unwrap_err();
        assert_eq!(failure.code, "INVALID_VALUE", "{ticket}");
    }
    let params = texts(&[("xensm:barrier", "clones/1")]);
    let cloned = client.call("VDI.clone", [vdis[0].as_str().into(), params]);
    assert_eq!(cloned.unwrap_err().code, "INVALID_VALUE");

    writer.await_progress();
    assert_eq!(visible(&mut client), 2);
    // Nothing holds the VDIs.
    let made = together(&running, "after", &vdis, || ());
    destroy(&mut client, &made);
    writer.stop(&mut client, &vdis);
    running.stop();
}

#[test]
fn the_storage_manager_says_that_it_can() {
    let dir = scratch::directory();
    let running = Running::start(config(dir.path()), None);
    let mut client = running.unix();
    let hosts = client.call("host.get_all_records", []).unwrap();
    let host = hosts.as_struct().unwrap().values().next().unwrap().clone();
    let versions = host.as_struct().unwrap()["software_version"].clone();
    assert_eq!(
        versions.as_struct().unwrap()["xensm:barrier"].as_str(),
        Some("128")
    );
    running.stop();
}

/// Writes are held back for a while and then go on, whatever the medium does; snapshots that are late are none.
#[test]
fn writes_go_on_when_a_snapshot_is_not_taken_in_time() {
    let dir = scratch::directory();
    let fake = fake::FakeSr::default();
    let switches = fake.switches.clone();
    let running = Running::start(config(dir.path()), Some(vec![Arc::new(fake)]));
    let mut client = running.unix();
    let sr = make_sr(&mut client, &dir.path().join("sr"), "fake");
    let vdis = [make_vdi(&mut client, &sr), make_vdi(&mut client, &sr)];
    let writer = Writer::start(&mut client, &vdis);
    let is_late = |outcomes: &[Result<String, Failure>]| {
        let mut failures = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
        failures.any(|failure| failure.params[1].contains("was not taken within"))
    };
    for number in 0.. {
        assert!(number < 10, "no snapshot was late");
        writer.await_progress();
        writer.longest_ms.store(0, Ordering::SeqCst);
        switches.hang(true);
        let outcomes = std::thread::scope(|scope| {
            let name = format!("late-{number}");
            let (running, vdis) = (&running, &vdis);
            let calls = scope.spawn(move || try_together(running, &name, vdis, || ()));
            wait_for("a write was held back", || {
                calls.is_finished() || writer.longest_ms.load(Ordering::SeqCst) > 4500
            });
            if !calls.is_finished() {
                writer.await_progress();
            }
            switches.hang(false);
            calls.join().unwrap()
        });
        if is_late(&outcomes) {
            assert!(
                outcomes
                    .iter()
                    .all(|outcome| outcome.as_ref().is_err_and(|it| it.code == NOT_TOGETHER)),
                "{outcomes:?}"
            );
            break;
        }
        // The machine was slow before anything was held back.
        let made: Vec<String> = outcomes.into_iter().filter_map(Result::ok).collect();
        destroy(&mut client, &made);
    }
    assert_eq!(visible(&mut client), 2);
    writer.stop(&mut client, &vdis);
    running.stop();
}

/// A call whose client is gone goes on, so the others come to their end.
#[test]
fn a_client_that_gave_up_keeps_nobody_waiting() {
    let dir = scratch::directory();
    let running = Running::start(config(dir.path()), None);
    let mut client = running.unix();
    let sr = make_sr(&mut client, &dir.path().join("sr"), "file");
    let vdis = [make_vdi(&mut client, &sr), make_vdi(&mut client, &sr)];
    let params = |vdi: &str| [vdi.into(), texts(&[("xensm:barrier", "given-up/2")])];
    // As a task, whose caller goes away at once.
    let mut leaves = running.unix();
    leaves.call("Async.VDI.snapshot", params(&vdis[0])).unwrap();
    drop(leaves);
    let made = client.call("VDI.snapshot", params(&vdis[1]));
    if let Err(failure) = made {
        // This machine needed longer for a call than the barrier waits.
        assert_eq!(failure.code, NOT_TOGETHER);
    } else {
        wait_for("both are there", || visible(&mut client) == 4);
    }
    running.stop();
}

/// A task that is cancelled while it waits for the others ends at once.
#[test]
fn a_cancelled_task_lets_the_others_go() {
    let dir = scratch::directory();
    let running = Running::start(config(dir.path()), None);
    let mut client = running.unix();
    let sr = make_sr(&mut client, &dir.path().join("sr"), "file");
    let vdi = make_vdi(&mut client, &sr);
    let params = [
        vdi.as_str().into(),
        texts(&[("xensm:barrier", "cancelled/2")]),
    ];
    let task = client.call("Async.VDI.snapshot", params).unwrap();
    client.call("task.cancel", [task.clone()]).unwrap();
    let status = |client: &mut Client| {
        let status = client.call("task.get_status", [task.clone()]).unwrap();
        status.as_str().unwrap().to_owned()
    };
    wait_for("the task has ended", || status(&mut client) != "pending");
    assert!(["cancelled", "failure"].contains(&status(&mut client).as_str()));
    assert_eq!(visible(&mut client), 1);
    running.stop();
}
