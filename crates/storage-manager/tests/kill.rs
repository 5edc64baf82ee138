//! `kill -9` at any moment: what was answered is there after the next start, and records and medium agree.
//!
//! A child process (this test binary again) serves; clients make random calls and remember the answers; the child is killed
//! while calls are under way. A call that was not answered may have happened or not, but never by half.

#![allow(clippy::unwrap_used)] // helpers of tests fail the test

#[path = "support/consumer.rs"]
mod consumer;
#[path = "support/fake.rs"]
mod fake;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use consumer::Consumer;
use support::{
    Address, Client, make_sr, patient_consumer, texts, vbd_record, vdi_record, wait_for,
};
use xenapi::Value;

/// Set for the child: the directory of the test.
const CHILD: &str = "XENSM_TEST_KILL_DIR";

/// Set for the child: it has the SR type of the tests, whose reads hang.
const HANGING_READS: &str = "XENSM_TEST_KILL_HANGING_READS";

/// How often the child is killed.
const ROUNDS: u32 = 8;

/// Clients that call at the same time.
const CLIENTS: u64 = 3;

/// The child: serves until it is killed. Does nothing when it is run as a test, because the parent's variable is not set.
#[test]
fn serves_as_a_child() {
    let Some(dir) = std::env::var_os(CHILD) else {
        return;
    };
    let config = support::config(Path::new(&dir));
    let opened = if std::env::var_os(HANGING_READS).is_some() {
        let fake = fake::FakeSr::default();
        fake.switches.reads.close();
        storage_manager::StorageManager::open_with(config, vec![std::sync::Arc::new(fake)])
    } else {
        storage_manager::StorageManager::open(config)
    };
    let manager = opened.unwrap_or_else(|error| panic!("{}", error.detail()));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    // A parent that died leaves nobody to kill the child.
    let end = tokio_util::sync::CancellationToken::new();
    let served = runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(120), manager.serve(end)).await
    });
    assert!(served.is_ok_and(|served| served.is_ok()));
}

/// The child process; it is killed when this is dropped.
struct Server {
    child: Child,
    socket: PathBuf,
}

impl Server {
    fn start(dir: &Path) -> Server {
        Server::start_with(dir, &[])
    }

    fn start_with(dir: &Path, variables: &[(&str, &str)]) -> Server {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "serves_as_a_child", "--nocapture"])
            .env(CHILD, dir)
            .envs(variables.iter().copied())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let socket = dir.join("data/xenapi.sock");
        let server = Server { child, socket };
        wait_for("the child serves", || {
            let mut client = Client::new(Address::Unix(server.socket.clone()));
            client
                .send("GET", "/healthz", b"")
                .is_ok_and(|response| response.status == 200)
        });
        server
    }

    fn login(&self) -> Client {
        Client::login(Address::Unix(self.socket.clone()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A small generator of numbers; the seed is printed with a failure by the name of the round.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// What one client knows: VDIs by reference with their label, and what an unanswered call may have done.
#[derive(Default)]
struct Known {
    vdis: BTreeMap<String, String>,
    /// A label that an unanswered create may have made a VDI with.
    maybe_made: Option<String>,
    /// A VDI that an unanswered destroy may have removed.
    maybe_gone: Option<String>,
    /// A VDI and the label that an unanswered rename may have given it.
    maybe_named: Option<(String, String)>,
}

/// Calls until the connection breaks, and counts the answers.
fn work(
    mut client: Client,
    sr: String,
    name: String,
    mut random: Random,
    mut known: Known,
    answers: &AtomicU32,
) -> Known {
    for number in 0_u32.. {
        let picked = known
            .vdis
            .keys()
            .nth(usize::try_from(random.below(16)).unwrap())
            .cloned();
        let label = format!("{name}-{number}");
        let (method, params) = match (random.below(10), picked) {
            (0 | 1, Some(vdi)) => {
                known.maybe_gone = Some(vdi.clone());
                ("VDI.destroy", vec![vdi.into()])
            }
            (2, Some(vdi)) => {
                known.maybe_named = Some((vdi.clone(), label.clone()));
                (
                    "VDI.set_name_label",
                    vec![vdi.into(), label.as_str().into()],
                )
            }
            // What is made of another VDI has its label.
            (number @ 3..=5, Some(vdi)) => {
                known.maybe_made = known.vdis.get(&vdi).cloned();
                let method =
                    ["VDI.snapshot", "VDI.clone", "VDI.copy"][usize::try_from(number - 3).unwrap()];
                let sr = (method == "VDI.copy").then(|| Value::from(sr.as_str()));
                (method, std::iter::once(vdi.into()).chain(sr).collect())
            }
            (6, Some(vdi)) => ("VDI.resize", vec![vdi.into(), Value::Int(size_of(number))]),
            _ => {
                known.maybe_made = Some(label.clone());
                ("VDI.create", vec![vdi_record(&sr, &label, 1 << 21)])
            }
        };
        let params = std::iter::once(client.session.as_str().into())
            .chain(params)
            .collect();
        let called = client.try_call(method, params);
        answers.fetch_add(u32::from(called.is_ok()), Ordering::SeqCst);
        match called {
            Ok(Ok(result)) => {
                if let Some(vdi) = known.maybe_gone.take() {
                    known.vdis.remove(&vdi);
                } else if let Some((vdi, label)) = known.maybe_named.take() {
                    known.vdis.insert(vdi, label);
                } else if let Some(label) = known.maybe_made.take() {
                    known
                        .vdis
                        .insert(result.as_str().unwrap().to_owned(), label);
                }
            }
            // Sizes only grow, so one that was drawn may be too small.
            Ok(Err(failure)) if failure.code == "SR_BACKEND_FAILURE_79" => {}
            Ok(Err(failure)) => panic!("{method}: {failure}"),
            Err(_) => return known,
        }
    }
    known
}

/// One of a few sizes.
fn size_of(number: u32) -> i64 {
    (i64::from(number % 4) + 1) << 21
}

fn text(record: &Value, field: &str) -> String {
    let fields = record.as_struct().unwrap();
    fields[field].as_str().unwrap().to_owned()
}

/// Waits until the records are those of the images on the medium: hidden parents come and go behind.
fn agree(client: &mut Client, sr: &str, medium: &Path) {
    let mut seen = (BTreeSet::new(), BTreeSet::new());
    let agrees = || {
        client.call("SR.scan", [sr.into()]).unwrap();
        let records = client.call("VDI.get_all_records", []).unwrap();
        let recorded = records.as_struct().unwrap().values();
        let recorded: BTreeSet<String> = recorded.map(|record| text(record, "uuid")).collect();
        let names = std::fs::read_dir(medium)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let images = names
            .filter_map(|name| name.strip_suffix(".vhd").map(str::to_owned))
            .collect();
        seen = (recorded, images);
        seen.0 == seen.1
    };
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait_for("records and medium agree", agrees);
    }));
    assert!(result.is_ok(), "records and images differ: {seen:?}");
}

/// Compares what the server says with what clients know; returns what is settled now.
fn check(client: &mut Client, known: Vec<Known>, sr: &str, medium: &Path) -> Vec<Known> {
    agree(client, sr, medium);
    let records = client.call("VDI.get_all_records", []).unwrap();
    let records = records.as_struct().unwrap();
    // Hidden parents belong to nobody.
    let is_visible = |record: &Value| record.as_struct().unwrap()["managed"] == true.into();
    let mut unclaimed: BTreeSet<&String> = records
        .iter()
        .filter(|(_, record)| is_visible(record))
        .map(|(vdi, _)| vdi)
        .collect();
    let mut settled = Vec::new();
    for client in known {
        let mut now = Known::default();
        for (vdi, label) in &client.vdis {
            let Some(record) = records.get(vdi) else {
                assert_eq!(
                    client.maybe_gone.as_ref(),
                    Some(vdi),
                    "VDI {label} was answered and is gone"
                );
                continue;
            };
            unclaimed.remove(vdi);
            let found = text(record, "name_label");
            let renamed = client
                .maybe_named
                .as_ref()
                .is_some_and(|(other, label)| other == vdi && *label == found);
            assert!(found == *label || renamed, "VDI {label} is called {found}");
            now.vdis.insert(vdi.clone(), found);
        }
        if let Some(label) = &client.maybe_made {
            // Labels are of one client, so what bears one and is not known is what was not answered.
            let mut made = unclaimed.iter().copied();
            let made = made.find(|vdi| text(&records[*vdi], "name_label") == *label);
            if let Some(vdi) = made.cloned() {
                unclaimed.remove(&vdi);
                now.vdis.insert(vdi, label.clone());
            }
        }
        settled.push(now);
    }
    assert!(unclaimed.is_empty(), "VDIs that nobody made: {unclaimed:?}");
    settled
}

#[test]
fn what_was_answered_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let medium = dir.path().join("sr");
    let mut server = Server::start(dir.path());
    let sr = make_sr(&mut server.login(), &medium, "file");
    let mut known: Vec<Known> = (0..CLIENTS).map(|_| Known::default()).collect();
    let mut answered = 0;
    for round in 0..ROUNDS {
        let before: usize = known.iter().map(|client| client.vdis.len()).sum();
        let answers = AtomicU32::new(0);
        known = std::thread::scope(|scope| {
            let clients: Vec<_> = (0_u64..)
                .zip(known)
                .map(|(number, known)| {
                    let (client, sr) = (server.login(), sr.clone());
                    let random = Random(0x9E37_79B9_7F4A_7C15 ^ (u64::from(round) << 8 | number));
                    let name = format!("{round}-{number}");
                    let answers = &answers;
                    scope.spawn(move || work(client, sr, name, random, known, answers))
                })
                .collect();
            // The moment differs from round to round, and the clients are in the middle of their calls.
            let enough = 3 + 7 * (round % 5);
            wait_for("calls are answered, or a client fails", || {
                answers.load(Ordering::SeqCst) >= enough
                    || clients.iter().any(|client| client.is_finished())
            });
            server.child.kill().unwrap();
            server.child.wait().unwrap();
            let known = clients.into_iter().map(|client| client.join().unwrap());
            known.collect()
        });
        server = Server::start(dir.path());
        known = check(&mut server.login(), known, &sr, &medium);
        let after: usize = known.iter().map(|client| client.vdis.len()).sum();
        answered += after.abs_diff(before);
    }
    assert!(answered > 0, "no call was answered in any round");
}

#[test]
fn a_copy_that_was_cut_off_leaves_no_vdi_and_no_image() {
    let dir = tempfile::tempdir().unwrap();
    let medium = dir.path().join("sr");
    let images = || std::fs::read_dir(&medium).unwrap().count();
    let hanging = [(HANGING_READS, "1")];
    let mut server = Server::start_with(dir.path(), &hanging);
    let mut client = server.login();
    let sr = make_sr(&mut client, &medium, "fake");
    let vdi = client.call("VDI.create", [vdi_record(&sr, "source", 1 << 21)]);
    let vdi = vdi.unwrap();
    client
        .call("Async.VDI.copy", [vdi.clone(), sr.as_str().into()])
        .unwrap();
    wait_for("the image of the copy is there", || images() == 2);
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    assert_eq!(images(), 2);
    server = Server::start_with(dir.path(), &hanging);
    let mut client = server.login();
    wait_for("the half copy is deleted", || images() == 1);
    client.call("SR.scan", [sr.as_str().into()]).unwrap();
    assert_eq!(
        client.call("VDI.get_all", []).unwrap(),
        Value::Array(vec![vdi])
    );
}

/// Connects to a VDI that is plugged.
fn connect(client: &mut Client, vbd: &Value) -> nbd::client::Client {
    let config = client.call("VBD.get_other_config", [vbd.clone()]).unwrap();
    let socket = text(&config, "xensm:nbd_socket");
    let export = text(&config, "xensm:nbd_export");
    nbd::client::Client::connect_unix(Path::new(&socket), &export, &patient_consumer()).unwrap()
}

/// Counts in two VDIs, first in the one and then in the other, until the server is gone; returns the last number that
/// both have on stable storage.
fn count_on(mut consumers: [nbd::client::Client; 2], from: u64) -> u64 {
    for number in from + 1.. {
        for consumer in &mut consumers {
            let block = number.to_be_bytes().repeat(64);
            // What was answered and not flushed may be lost.
            if consumer.write(&block, 0).is_err() || consumer.flush().is_err() {
                return number - 1;
            }
        }
    }
    unreachable!()
}

/// The number in a block that was written by [`count_on`].
fn number_in(block: &[u8]) -> u64 {
    let numbers: BTreeSet<_> = block.chunks_exact(8).collect();
    assert_eq!(numbers.len(), 1, "half a write");
    u64::from_be_bytes(block[..8].try_into().unwrap())
}

/// Takes a few snapshots of a VDI, each together with the one that another client takes of another VDI, until the server is
/// gone. What was answered is kept under its number.
fn snapshot_together(
    mut client: Client,
    round: u32,
    vdi: &Value,
    answers: &AtomicU32,
) -> BTreeMap<u32, String> {
    let mut made = BTreeMap::new();
    for number in 0..5 {
        let ticket = format!("{round}-{number}/2");
        let params = vec![
            client.session.as_str().into(),
            vdi.clone(),
            texts(&[("xensm:barrier", &ticket)]),
        ];
        match client.try_call("VDI.snapshot", params) {
            Ok(Ok(snapshot)) => {
                made.insert(number, snapshot.as_str().unwrap().to_owned());
            }
            // This machine was too slow for the moment.
            Ok(Err(failure)) if failure.code == "SR_BACKEND_FAILURE_470" => {}
            Ok(Err(failure)) => panic!("{failure}"),
            Err(_) => break,
        }
        answers.fetch_add(1, Ordering::SeqCst);
    }
    made
}

#[test]
fn snapshots_at_one_moment_are_of_one_moment_after_kill_9_too() {
    let dir = tempfile::tempdir().unwrap();
    let medium = dir.path().join("sr");
    let mut server = Server::start(dir.path());
    let mut client = server.login();
    let sr = make_sr(&mut client, &medium, "file");
    let vm = client.call("VM.get_all", []).unwrap().as_array().unwrap()[0].clone();
    let vdis = ["first", "second"].map(|label| {
        let made = client.call("VDI.create", [vdi_record(&sr, label, 16 << 20)]);
        made.unwrap()
    });
    let vbds = vdis.each_ref().map(|vdi| {
        let record = vbd_record(vm.as_str().unwrap(), vdi.as_str().unwrap(), "RW");
        let vbd = client.call("VBD.create", [record]).unwrap();
        client.call("VBD.plug", [vbd.clone()]).unwrap();
        vbd
    });
    let mut count = 0;
    for round in 0..4 {
        let consumers = vbds.each_ref().map(|vbd| connect(&mut client, vbd));
        let answers = AtomicU32::new(0);
        let (written, made) = std::thread::scope(|scope| {
            let writer = scope.spawn(|| count_on(consumers, count));
            let takers = vdis.each_ref().map(|vdi| {
                let (client, answers) = (server.login(), &answers);
                scope.spawn(move || snapshot_together(client, round, vdi, answers))
            });
            wait_for("snapshots are answered, or a client fails", || {
                answers.load(Ordering::SeqCst) > 2 * (round % 3)
                    || takers.iter().any(|taker| taker.is_finished())
            });
            server.child.kill().unwrap();
            server.child.wait().unwrap();
            let made = takers.map(|taker| taker.join().unwrap());
            (writer.join().unwrap(), made)
        });
        server = Server::start(dir.path());
        client = server.login();
        agree(&mut client, &sr, &medium);
        let now = vbds.each_ref().map(|vbd| {
            let mut block = vec![0; 512];
            connect(&mut client, vbd).read(&mut block, 0).unwrap();
            number_in(&block)
        });
        assert!(
            now[1] >= written && now[0] - now[1] <= 1,
            "{now:?} after {written}"
        );
        for (number, first) in &made[0] {
            let Some(second) = made[1].get(number) else {
                continue;
            };
            let shown = [first, second].map(|snapshot| {
                let mut reader = Consumer::attach(&mut client, snapshot, "RO");
                let block = reader.read(0, 512);
                reader.detach(&mut client);
                number_in(&block)
            });
            assert!(
                shown[0] == shown[1] || shown[0] == shown[1] + 1,
                "round {round}: {shown:?} are of two moments"
            );
        }
        // Also those of which the answer was lost: of each VDI one at most.
        let records = client.call("VDI.get_all_records", []).unwrap();
        let is_snapshot =
            |record: &Value| record.as_struct().unwrap()["is_a_snapshot"] == true.into();
        let found = records.as_struct().unwrap().iter();
        let found: Vec<_> = found.filter(|(_, record)| is_snapshot(record)).collect();
        for (index, vdi) in vdis.iter().enumerate() {
            let of = found
                .iter()
                .filter(|(_, record)| text(record, "snapshot_of") == vdi.as_str().unwrap());
            let unanswered = of.count() - made[index].len();
            assert!(
                unanswered <= 1,
                "round {round}: {unanswered} that nobody was told of"
            );
        }
        for (snapshot, _) in found {
            client
                .call("VDI.destroy", [snapshot.as_str().into()])
                .unwrap();
        }
        // The first may be ahead: it gets the number again that the second has not got.
        count = now[1];
    }
}
