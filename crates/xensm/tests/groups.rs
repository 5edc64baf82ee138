//! Group snapshots, taken by the stock client of two volumes that somebody writes to: what they hold is of one moment.
//!
//! A writer counts in two volumes through NBD: it writes a number to the one, flushes, writes it to the other, flushes. So at any
//! moment both hold the same number, or the first one's is one ahead.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nbd::Client;
use nbd::client::ClientOptions;
use testkit::installation::Installation;
use testkit::{tool, wait};

const XENSM: &str = env!("CARGO_BIN_EXE_xensm");
/// Longest wait for the writer, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(180);
/// Where the writer counts, and how much it writes.
const PLACE: u64 = 1 << 20;
const BLOCK: usize = 4096;

/// Attaches a volume and opens it.
fn open(installation: &Installation, volume: &str) -> Client {
    let uri = tool::run(&mut installation.xensm(&["attach", volume]));
    let (export, socket) = uri
        .trim()
        .strip_prefix("nbd+unix:///")
        .and_then(|rest| rest.split_once("?socket="))
        .unwrap_or_else(|| panic!("an NBD URI of a socket: {uri}"));
    Client::connect_unix(Path::new(socket), export, &ClientOptions::default()).unwrap()
}

/// The number in a volume; none of it is of another write.
fn number_in(client: &mut Client) -> u64 {
    let mut block = vec![0; BLOCK];
    client.read(&mut block, PLACE).unwrap();
    let numbers: Vec<&[u8]> = block.chunks_exact(8).collect();
    assert!(numbers.iter().all(|one| *one == numbers[0]), "half a write");
    u64::from_be_bytes(numbers[0].try_into().unwrap())
}

/// Counts in both until it is told to stop.
struct Writer {
    count: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<[Client; 2]>,
}

impl Writer {
    fn start(mut volumes: [Client; 2]) -> Writer {
        let count = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let (counted, stopped) = (count.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            for number in 1_u64.. {
                let block = number.to_be_bytes().repeat(BLOCK / 8);
                for volume in &mut volumes {
                    volume.write(&block, PLACE).unwrap();
                    volume.flush().unwrap();
                }
                counted.store(number, Ordering::SeqCst);
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
            }
            volumes
        });
        Writer {
            count,
            stop,
            thread,
        }
    }

    /// Waits until it has counted on, and says how far.
    fn await_progress(&self) -> u64 {
        let count = || self.count.load(Ordering::SeqCst);
        let before = count();
        wait::until("the writer counts on", PATIENCE, || {
            assert!(!self.thread.is_finished(), "the writer failed");
            (count() > before + 2).then(count)
        })
    }

    /// Stops it, and says where it ended.
    fn stop(self) -> (u64, [Client; 2]) {
        self.stop.store(true, Ordering::SeqCst);
        let volumes = self.thread.join().unwrap();
        (self.count.load(Ordering::SeqCst), volumes)
    }
}

/// The stock client's part.
struct Script<'a> {
    installation: &'a Installation,
    python: PathBuf,
}

impl Script<'_> {
    fn run(&self, arguments: &[&str]) -> String {
        let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients");
        let mut command = self.installation.client(&self.python, "openrc.sh");
        command
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .current_dir(clients)
            .arg("group_moments.py")
            .args(arguments);
        tool::run(&mut command)
    }

    /// What the copies of both volumes hold that were made from a new group snapshot.
    fn take(&self, name: &str) -> [u64; 2] {
        let said = self.run(&["take", name]);
        let copies: serde_json::Value = serde_json::from_str(&said).unwrap();
        ["a", "b"].map(|of| {
            let copy = copies[of].as_str().unwrap();
            let number = number_in(&mut open(self.installation, copy));
            tool::run(&mut self.installation.xensm(&["detach", copy]));
            number
        })
    }
}

#[test]
fn a_group_snapshot_of_volumes_in_use_is_of_one_moment() {
    let Some(python) = tool::python_client("python") else {
        return;
    };
    let installation = Installation::start(XENSM);
    let script = Script {
        installation: &installation,
        python,
    };
    assert_eq!(script.run(&["prepare"]), "ok\n");
    let writer = Writer::start(["a", "b"].map(|volume| open(&installation, volume)));
    let mut earlier = writer.await_progress();
    for name in ["first", "second"] {
        let [first, second] = script.take(name);
        assert!(
            second == first || second + 1 == first,
            "{name}: {first} and {second} never stood there together"
        );
        // What was flushed before it is in it, and the writer went on behind it.
        assert!(
            second >= earlier,
            "{name}: {second}, but {earlier} were there"
        );
        earlier = writer.await_progress();
        assert!(earlier > first, "{name}: {first} is more than was written");
    }
    let (last, mut volumes) = writer.stop();
    assert_eq!(volumes.each_mut().map(number_in), [last, last]);
    drop(volumes);
    for volume in ["a", "b"] {
        tool::run(&mut installation.xensm(&["detach", volume]));
    }
}
