//! The files of an NFS server that others wrote, by each version: the contract of `Files`, restarts, silence, full disks.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it skips"
)]

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use storage_manager::io::lock::LockMode;
use storage_manager::medium::files::{Access, Files, MediumFile};
use storage_manager::medium::nfs::{NfsFiles, NfsOptions, NfsServer};
use testkit::nfs_server::{ExportAccess, NfsServer as Server};
use testkit::wait;

/// Versions that are tested.
const VERSIONS: [&str; 3] = ["3", "4.1", "4.2"];

/// Longest wait for what should come at once.
const PATIENCE: Duration = Duration::from_secs(180);

fn client(server: &Server, version: &str) -> NfsServer {
    let options = NfsOptions::parse(version, &server.options(), "").unwrap();
    NfsServer::resolve("127.0.0.1", options).unwrap()
}

fn open(server: &Server, version: &str) -> NfsFiles {
    client(server, version).open(&server.path, &[]).unwrap()
}

/// A server for a temporary directory, and the directory.
fn start() -> Option<(tempfile::TempDir, Server)> {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path())?;
    Some((directory, server))
}

fn pattern(seed: u8, length: usize) -> Vec<u8> {
    (0..length)
        .map(|index| (index as u8).wrapping_mul(31).wrapping_add(seed) ^ (index >> 8) as u8)
        .collect()
}

fn read(file: &Arc<dyn MediumFile>, offset: u64, length: usize) -> Vec<u8> {
    let mut buffer = vec![0xee; length];
    file.read_at(&mut buffer, offset).unwrap();
    buffer
}

#[test]
fn names_are_those_of_the_server() {
    let Some((directory, server)) = start() else {
        return;
    };
    for version in VERSIONS {
        let files = open(&server, version);
        assert!(files.entries().unwrap().is_empty(), "version {version}");
        let file = files.create_file("a").unwrap();
        file.write_at(b"first", 0).unwrap();
        file.flush().unwrap();
        let again = files.create_file("a").unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(files.id_of("a").unwrap(), Some(file.id().unwrap()));
        assert_eq!(files.id_of("b").unwrap(), None);

        files.publish("a", "b").unwrap();
        files.create_file("a").unwrap();
        let taken = files.publish("a", "b").unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        assert!(files.link("b", "c").unwrap());
        let taken = files.link("b", "c").unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(files.id_of("c").unwrap(), files.id_of("b").unwrap());
        files.replace("a", "c").unwrap();
        let mut names = files.entries().unwrap();
        names.sort();
        assert_eq!(names, ["b", "c"]);
        assert_eq!(read(&file, 0, 5), b"first");

        std::fs::create_dir(directory.path().join("d")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", directory.path().join("l")).unwrap();
        assert!(files.is_directory("d").unwrap());
        assert!(!files.is_directory("b").unwrap());
        for name in ["d", "l"] {
            let refused = files.open_file(name, Access::Read).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{name}");
        }
        let missing = files.open_file("x", Access::Read).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        files.sync().unwrap();
        let space = files.space().unwrap();
        assert!(space.physical_size > space.physical_utilisation);

        std::fs::remove_dir(directory.path().join("d")).unwrap();
        for name in ["b", "c", "l"] {
            assert!(files.remove(name).unwrap());
        }
        assert!(!files.remove("b").unwrap());
        drop(file);
        assert!(files.entries().unwrap().is_empty());
    }
}

#[test]
fn lists_more_names_than_one_answer_holds() {
    let Some((directory, server)) = start() else {
        return;
    };
    let mut expected: Vec<String> = (0..3000)
        .map(|number| format!("a-name-that-is-rather-long-{number:04}"))
        .collect();
    for name in &expected {
        std::fs::write(directory.path().join(name), "").unwrap();
    }
    expected.sort();
    for version in VERSIONS {
        let mut names = open(&server, version).entries().unwrap();
        names.sort();
        assert_eq!(names, expected, "version {version}");
    }
}

#[test]
fn bytes_are_those_of_the_server() {
    let Some((directory, server)) = start() else {
        return;
    };
    for version in VERSIONS {
        let files = open(&server, version);
        let file = files.create_file("f").unwrap();
        let data = pattern(7, 3_000_001);
        file.write_at(&data, 12_345).unwrap();
        assert_eq!(file.len().unwrap(), 12_345 + data.len() as u64);
        assert_eq!(read(&file, 12_345, data.len()), data);
        file.flush().unwrap();
        let stored = std::fs::read(directory.path().join("f")).unwrap();
        assert_eq!(&stored[12_345..], data, "version {version}");
        assert_eq!(read(&file, 12_345, data.len()), data);
        let end = 12_345 + data.len() as u64;
        let beyond = file.read_at(&mut [0; 10], end - 5).unwrap_err();
        assert_eq!(beyond.kind(), io::ErrorKind::UnexpectedEof);

        file.write_zeroes_at(20_000, 1_500_000).unwrap();
        assert_eq!(read(&file, 20_000, 1_500_000), vec![0; 1_500_000]);
        let punched = file.punch_hole(1_600_000, 400_000).unwrap();
        assert_eq!(punched, version == "4.2", "version {version}");
        if punched {
            assert_eq!(read(&file, 1_600_000, 400_000), vec![0; 400_000]);
        }
        file.set_len(100).unwrap();
        assert_eq!(file.len().unwrap(), 100);
        file.set_len(1000).unwrap();
        assert_eq!(read(&file, 0, 1000), vec![0; 1000]);
        file.flush().unwrap();

        let reader = files.open_file("f", Access::Read).unwrap();
        let refused = reader.write_at(b"x", 0).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        assert!(files.remove("f").unwrap());
    }
}

#[test]
fn what_is_open_stays_readable_when_it_loses_its_name() {
    let Some((_directory, server)) = start() else {
        return;
    };
    for version in VERSIONS {
        let files = open(&server, version);
        let old = files.create_file("old").unwrap();
        old.write_at(b"old bytes", 0).unwrap();
        let new = files.create_file("new").unwrap();
        new.write_at(b"new bytes", 0).unwrap();
        new.flush().unwrap();
        files.replace("new", "old").unwrap();
        assert_eq!(read(&old, 0, 9), b"old bytes", "version {version}");
        let named = files.open_file("old", Access::Read).unwrap();
        assert_eq!(read(&named, 0, 9), b"new bytes");
        old.flush().unwrap();
        assert_eq!(read(&old, 0, 9), b"old bytes");
        assert!(files.remove("old").unwrap());
        drop(old);
        assert_eq!(read(&new, 0, 9), b"new bytes");
        drop((new, named));
        assert!(files.entries().unwrap().is_empty(), "version {version}");
    }
}

#[test]
fn locks_exclude_handles_of_one_file() {
    let Some((_directory, server)) = start() else {
        return;
    };
    let files = open(&server, "3");
    let one = files.create_file("f").unwrap();
    let two = files.open_file("f", Access::Read).unwrap();
    assert!(one.try_lock(LockMode::Shared).unwrap());
    assert!(two.try_lock(LockMode::Shared).unwrap());
    assert!(!two.try_lock(LockMode::Exclusive).unwrap());
    drop(one);
    assert!(two.try_lock(LockMode::Exclusive).unwrap());
    let three = files.open_file("f", Access::Read).unwrap();
    assert!(!three.try_lock(LockMode::Shared).unwrap());
    two.unlock();
    assert!(three.try_lock(LockMode::Exclusive).unwrap());
}

/// The server is killed and loses what it had not committed, as a machine does whose power fails: the test takes the bytes
/// out of the file while no server runs.
#[test]
fn what_a_server_lost_is_written_again() {
    let Some((directory, mut server)) = start() else {
        return;
    };
    for version in VERSIONS {
        let files = open(&server, version);
        let file = files.create_file("f").unwrap();
        let flushed = pattern(1, 100_000);
        file.write_at(&flushed, 0).unwrap();
        file.flush().unwrap();
        let unflushed = pattern(2, 300_000);
        file.write_at(&unflushed, 50_000).unwrap();
        server.kill();
        let stored = std::fs::OpenOptions::new()
            .write(true)
            .open(directory.path().join("f"))
            .unwrap();
        stored.set_len(100_000).unwrap();
        stored.write_all_at(&flushed, 0).unwrap();
        server.restart();

        // The server shows the past, this file does not.
        assert_eq!(file.len().unwrap(), 350_000);
        assert_eq!(read(&file, 50_000, 300_000), unflushed, "version {version}");
        assert_eq!(read(&file, 0, 50_000), flushed[..50_000]);
        let newer = pattern(3, 1000);
        file.write_at(&newer, 60_000).unwrap();
        file.flush().unwrap();
        let mut expected = flushed[..50_000].to_vec();
        expected.extend_from_slice(&unflushed);
        expected[60_000..61_000].copy_from_slice(&newer);
        let stored = std::fs::read(directory.path().join("f")).unwrap();
        assert!(stored == expected, "version {version}: bytes were lost");
        assert!(files.remove("f").unwrap());
    }
}

/// Writers go on while the server is killed again and again; at the end every byte is the last one written.
#[test]
fn writers_do_not_notice_restarts() {
    const BLOCK: usize = 4096;
    const BLOCKS: usize = 64;
    const RESTARTS: usize = 3;
    let Some((directory, mut server)) = start() else {
        return;
    };
    for version in ["3", "4.1"] {
        let files = open(&server, version);
        let stop = AtomicBool::new(false);
        let seeds: Vec<u8> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..4)
                .map(|writer: usize| {
                    let (files, stop) = (&files, &stop);
                    scope.spawn(move || {
                        let file = files.create_file(&format!("f{writer}")).unwrap();
                        let mut seed = 0u8;
                        while !stop.load(Ordering::Relaxed) {
                            seed = seed.wrapping_add(1);
                            for block in 0..BLOCKS {
                                let data = pattern(seed.wrapping_add(block as u8), BLOCK);
                                file.write_at(&data, (block * BLOCK) as u64).unwrap();
                            }
                            let block = usize::from(seed) % BLOCKS;
                            let expected = pattern(seed.wrapping_add(block as u8), BLOCK);
                            assert!(read(&file, (block * BLOCK) as u64, BLOCK) == expected);
                            file.flush().unwrap();
                        }
                        seed
                    })
                })
                .collect();
            for _ in 0..RESTARTS {
                server.kill();
                server.restart();
            }
            stop.store(true, Ordering::Relaxed);
            writers
                .into_iter()
                .map(|writer| writer.join().unwrap())
                .collect()
        });
        for (writer, seed) in seeds.iter().enumerate() {
            let name = format!("f{writer}");
            let stored = std::fs::read(directory.path().join(&name)).unwrap();
            for (block, data) in stored.chunks(BLOCK).enumerate() {
                assert!(data == pattern(seed.wrapping_add(block as u8), BLOCK));
            }
            assert!(files.remove(&name).unwrap());
        }
    }
}

/// Names are changed while the server is killed again and again: no change fails that succeeded.
#[test]
fn changes_of_names_do_not_notice_restarts() {
    const RESTARTS: usize = 3;
    let Some((_directory, mut server)) = start() else {
        return;
    };
    for version in ["3", "4.1"] {
        let files = open(&server, version);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let (files, stop) = (&files, &stop);
                scope.spawn(move || {
                    let name = |what: &str| format!("{what}-{worker}");
                    while !stop.load(Ordering::Relaxed) {
                        drop(files.create_file(&name("new")).unwrap());
                        files.publish(&name("new"), &name("named")).unwrap();
                        assert!(files.link(&name("named"), &name("link")).unwrap());
                        drop(files.create_file(&name("new")).unwrap());
                        files.replace(&name("new"), &name("named")).unwrap();
                        assert!(files.remove(&name("named")).unwrap());
                        assert!(files.remove(&name("link")).unwrap());
                    }
                });
            }
            for _ in 0..RESTARTS {
                server.kill();
                server.restart();
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert!(files.entries().unwrap().is_empty(), "version {version}");
    }
}

#[test]
fn a_server_that_is_silent_is_waited_for_until_the_deadline() {
    let Some((_directory, server)) = start() else {
        return;
    };
    for version in ["3", "4.1"] {
        let options = format!("{},timeo=50,retrans=0", server.options());
        let options = NfsOptions::parse(version, &options, "").unwrap();
        let client = NfsServer::resolve("127.0.0.1", options).unwrap();
        let files = client.open(&server.path, &[]).unwrap();
        let file = files.create_file("f").unwrap();
        file.write_at(b"before", 0).unwrap();
        file.flush().unwrap();
        assert!(files.silence().is_none());

        server.freeze();
        let begun = Instant::now();
        let error = std::thread::scope(|scope| {
            let reader = scope.spawn(|| file.read_at(&mut [0; 6], 0).unwrap_err());
            wait::until("the silence is noticed", PATIENCE, || files.silence());
            reader.join().unwrap()
        });
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
        assert!(begun.elapsed() < PATIENCE);

        server.resume();
        assert_eq!(read(&file, 0, 6), b"before", "version {version}");
        file.write_at(b"after!", 0).unwrap();
        file.flush().unwrap();
        assert!(files.remove("f").unwrap());
    }
}

#[test]
fn says_why_an_export_is_of_no_use() {
    let directory = tempfile::tempdir().unwrap();
    let Some(mut server) = Server::start_with(directory.path(), ExportAccess::ReadOnly) else {
        return;
    };
    std::fs::create_dir(directory.path().join("sub")).unwrap();
    for version in VERSIONS {
        let client = client(&server, version);
        let files = client.open(&server.path, &["sub"]).unwrap();
        let refused = files.create_file("f").unwrap_err();
        assert_eq!(
            refused.kind(),
            io::ErrorKind::ReadOnlyFilesystem,
            "{refused}"
        );
        let wrong = client.open("/wrong", &[]).unwrap_err();
        assert!(
            matches!(
                wrong.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
            ),
            "version {version}: {wrong}"
        );
        let missing = client.open(&server.path, &["missing"]).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        assert_eq!(client.versions().unwrap(), [3, 4]);
        let exports = client.exports().unwrap();
        assert!(
            exports.iter().any(|export| export.path == server.path),
            "{exports:?}"
        );
    }

    // A directory that is taken away and put back is found again.
    server.kill();
    server.set_access(ExportAccess::ReadWrite);
    server.restart();
    let files = client(&server, "3").open(&server.path, &["sub"]).unwrap();
    // By another client: the server would not notice at once what happens behind its back.
    let base = client(&server, "3").open(&server.path, &[]).unwrap();
    assert!(base.remove_directory("sub").unwrap());
    assert!(files.entries().is_err());
    assert!(base.make_directory("sub").unwrap());
    drop(files.create_file("f").unwrap());
    assert_eq!(files.entries().unwrap(), ["f"]);

    server.kill();
    let options = format!("{},timeo=2,retrans=1", server.options());
    let options = NfsOptions::parse("3", &options, "").unwrap();
    let client = NfsServer::resolve("127.0.0.1", options).unwrap();
    assert!(client.reach().is_err());
    assert!(client.open(&server.path, &[]).is_err());
}

/// A small file system of its own, mounted while this lives.
struct SmallFileSystem {
    mounted: std::path::PathBuf,
}

impl SmallFileSystem {
    /// `None` after a printed line where mounting is not allowed.
    fn mount(directory: &std::path::Path) -> Option<Self> {
        let (image, mounted) = (directory.join("image"), directory.join("mounted"));
        std::fs::File::create(&image)
            .unwrap()
            .set_len(16 << 20)
            .unwrap();
        std::fs::create_dir(&mounted).unwrap();
        let mut format = std::process::Command::new(testkit::tool::program("mkfs.ext4")?);
        testkit::tool::run(format.args(["-q", "-F"]).arg(&image));
        let mut mount = std::process::Command::new("mount");
        mount.args(["-o", "loop"]).arg(&image).arg(&mounted);
        if !testkit::tool::output(&mut mount).status.success() {
            assert!(std::env::var_os("CI").is_none(), "CI must be able to mount");
            println!("SKIPPED: no right to mount a file system");
            return None;
        }
        Some(SmallFileSystem { mounted })
    }
}

impl Drop for SmallFileSystem {
    fn drop(&mut self) {
        let mut unmount = std::process::Command::new("umount");
        testkit::tool::output(unmount.arg("-l").arg(&self.mounted));
    }
}

#[test]
fn a_full_disk_is_told_and_passes() {
    let directory = tempfile::tempdir().unwrap();
    let Some(small) = SmallFileSystem::mount(directory.path()) else {
        return;
    };
    let Some(server) = Server::start(&small.mounted) else {
        return;
    };
    for version in ["3", "4.1"] {
        let files = open(&server, version);
        let file = files.create_file("f").unwrap();
        let kept = pattern(9, 1 << 20);
        file.write_at(&kept, 0).unwrap();
        file.flush().unwrap();
        let filler = files.create_file("filler").unwrap();
        let full = (0..64u64)
            .map(|number| filler.write_at(&kept, number << 20))
            .chain(std::iter::once_with(|| filler.flush()))
            .find_map(Result::err);
        assert_eq!(full.unwrap().kind(), io::ErrorKind::StorageFull);
        assert!(read(&file, 0, kept.len()) == kept);
        assert!(files.remove("filler").unwrap());
        drop(filler);
        file.write_at(&kept, 2 << 20).unwrap();
        file.flush().unwrap();
        assert!(read(&file, 2 << 20, kept.len()) == kept);
        assert!(files.remove("f").unwrap());
    }
}
