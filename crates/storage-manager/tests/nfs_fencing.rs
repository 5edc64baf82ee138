//! Two storage managers on one NFS SR: one is stopped in the middle of its writes, the other takes over, the first goes on.
//!
//! The first is a child process (this test binary again).
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use storage_manager::medium::files::{Access, Files};
use storage_manager::medium::nfs::{NfsFiles, NfsOptions, NfsServer};
use storage_manager::medium::owner::{FileOwnerStore, OWNER_NAME, OwnedFiles, Ownership, Timing};
use testkit::nfs_server::NfsServer as Server;
use testkit::{process, wait};

/// Set for the child: version, options and path of the server.
const CHILD: &str = "XENSM_TEST_NFS_FENCING";

/// Longest wait for what should come soon.
const PATIENCE: Duration = Duration::from_secs(180);

/// Bytes that the child writes at once: more than the kernel takes at once.
const LENGTH: usize = 8 << 20;

/// Between the end of what an owner may write and the take-over, the server must have done with what reached it: production has
/// ten seconds for it.
fn timing() -> Timing {
    Timing {
        expiry: Duration::from_secs(6),
        renew_every: Duration::from_millis(100),
        valid_for: Duration::from_secs(2),
        settle: Duration::from_millis(400),
        write_limit: Duration::from_millis(150),
        look_every: Duration::from_millis(50),
    }
}

fn open(version: &str, options: &str, path: &str) -> NfsFiles {
    let options = NfsOptions::parse(version, options, "").unwrap();
    let server = NfsServer::resolve("127.0.0.1", options).unwrap();
    server.open(path, &[]).unwrap()
}

fn take(version: &str, options: &str, path: &str, holder: &str) -> Arc<Ownership> {
    let record = open(version, options, path);
    let store = FileOwnerStore::new(Arc::new(record));
    Ownership::take_with(Arc::new(store), holder, timing()).unwrap()
}

fn is_taken_over(error: &std::io::Error) -> bool {
    error
        .to_string()
        .contains("the SR was taken over by the second")
}

/// The child: owns the SR and writes until it may not. Does nothing when it is run as a test, because the parent's variable is
/// not set.
#[test]
fn writes_as_a_child() {
    let Some(server) = std::env::var_os(CHILD) else {
        return;
    };
    let server = server.into_string().unwrap();
    let [version, options, path]: [&str; 3] =
        server.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let owner = take(version, options, path, "the first");
    let files = open(version, options, path);
    let gate = owner.clone();
    files.ask_before_changes(Arc::new(move || gate.check()));
    let owned = OwnedFiles::new(Arc::new(files.clone()), owner.clone());
    std::thread::scope(|scope| {
        for name in ["a", "b"] {
            let file = owned.create_file(name).unwrap();
            scope.spawn(move || {
                let data = vec![b'1'; LENGTH];
                let refused = loop {
                    if let Err(error) = file.write_at(&data, 0) {
                        break error;
                    }
                };
                assert!(is_taken_over(&refused), "{refused:?}");
                // What was not committed is not written again when it is closed.
                drop(file);
            });
        }
    });
    // Even where nobody asks the owner first.
    let refused = files.remove("a").unwrap_err();
    assert!(is_taken_over(&refused), "{refused:?}");
    owner.release().unwrap();
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Everything but the record, which its owner renews.
fn contents(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap());
    entries
        .filter(|entry| entry.file_name() != OWNER_NAME)
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect()
}

#[test]
fn a_manager_that_was_stopped_writes_nothing_after_another_took_over() {
    for version in ["3", "4.1"] {
        let directory = tempfile::tempdir().unwrap();
        let Some(server) = Server::start(directory.path()) else {
            return;
        };
        let options = server.options();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writes_as_a_child", "--nocapture"])
            .env(CHILD, format!("{version} {options} {}", server.path))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut child = Killed(child);
        let is_whole = |name: &str| {
            let file = std::fs::metadata(directory.path().join(name));
            file.is_ok_and(|file| file.len() == LENGTH as u64)
        };
        wait::until("the first one writes", PATIENCE, || {
            (is_whole("a") && is_whole("b")).then_some(())
        });
        process::freeze(child.0.id());
        let owner = take(version, &options, &server.path, "the second");
        let files = open(version, &options, &server.path);
        for name in ["a", "b"] {
            let file = files.open_file(name, Access::ReadWrite).unwrap();
            file.write_at(&vec![b'2'; LENGTH], 0).unwrap();
            file.flush().unwrap();
        }
        let before = contents(directory.path());
        assert!(before.values().flatten().all(|byte| *byte == b'2'));
        process::signal(child.0.id(), "CONT");
        let ended = wait::until("the first one gives up", PATIENCE, || {
            child.0.try_wait().unwrap()
        });
        assert!(ended.success(), "version {version}: {ended}");
        assert!(contents(directory.path()) == before, "version {version}");
        owner.check().unwrap();
        owner.release().unwrap();
    }
}
