//! SR type `file` through the traits that the API server uses.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it skips"
)]

mod tools;

use std::path::Path;

use storage_manager::sr::{FileSr, OpenMode, SrType};
use tools::{MIB, attach_new, new_raw_vdi, new_vdi, params, skip};
use uuid::Uuid;
use xenapi::Failure;

fn names(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn code_and_text(failure: &Failure) -> (&str, &str) {
    (
        &failure.code,
        failure
            .params
            .get(1)
            .map(String::as_str)
            .unwrap_or_default(),
    )
}

#[test]
fn a_whole_life() {
    let dir = tempfile::tempdir().unwrap();
    let location = dir.path().join("a/sr");
    let driver = FileSr::default();
    let params = params(1, &location);
    driver.create(&params).unwrap();
    let sr = driver.attach(&params).unwrap();
    let found = sr.create_vdi(&new_vdi(1, 5 * MIB)).unwrap();
    assert_eq!(found.virtual_size, 6 * MIB);
    assert_eq!(found.location, found.uuid.to_string());
    assert!(found.managed && !found.read_only && found.sm_config.is_empty());
    let raw = sr.create_vdi(&new_raw_vdi(2, MIB)).unwrap();
    assert_eq!(
        (raw.virtual_size, raw.sm_config["type"].as_str()),
        (2 * MIB, "raw")
    );
    let failure = sr.create_vdi(&new_vdi(2, MIB)).unwrap_err();
    assert_eq!(failure.code, "SR_BACKEND_FAILURE_43");
    let report = sr.scan().unwrap();
    assert_eq!(report.vdis, [found.clone(), raw]);
    assert!(report.damaged.is_empty());
    assert!(
        report.space.physical_size >= report.space.physical_utilisation
            && report.space.physical_size > 0
    );
    assert_eq!(sr.stat_vdi(found.uuid).unwrap(), found);

    let failure = sr.stat_vdi(Uuid::from_u128(9)).unwrap_err();
    assert_eq!(
        failure,
        Failure::new(
            "VDI_MISSING",
            [params.sr_uuid.to_string(), Uuid::from_u128(9).to_string()]
        )
    );
    sr.delete_vdi(Uuid::from_u128(9)).unwrap();
    sr.delete_vdi(Uuid::from_u128(2)).unwrap();
    sr.delete_vdi(Uuid::from_u128(2)).unwrap();

    let open = sr.open_vdi(found.uuid, OpenMode::ReadWrite).unwrap();
    let failure = sr.open_vdi(found.uuid, OpenMode::ReadWrite).err().unwrap();
    assert_eq!(
        failure,
        Failure::new("VDI_IN_USE", [found.uuid.to_string(), "attach".to_owned()])
    );
    assert_eq!(sr.delete_vdi(found.uuid).unwrap_err().code, "VDI_IN_USE");
    assert_eq!(sr.detach().unwrap_err().code, "VDI_IN_USE");
    open.close().unwrap();
    sr.detach().unwrap();
    sr.detach().unwrap();
    assert_eq!(sr.scan().unwrap_err().code, "SR_BACKEND_FAILURE_47");

    assert_eq!(
        driver.delete(&params).unwrap_err(),
        Failure::new("SR_NOT_EMPTY", [""; 0])
    );
    let sr = driver.attach(&params).unwrap();
    sr.delete_vdi(found.uuid).unwrap();
    sr.detach().unwrap();
    std::fs::write(location.join("filelog.txt"), b"x").unwrap();
    std::fs::write(location.join("somebody's notes"), b"x").unwrap();
    driver.delete(&params).unwrap();
    assert_eq!(
        names(&location),
        ["somebody's notes"],
        "only what belongs to an SR is removed"
    );
    std::fs::remove_dir_all(&location).unwrap();
    driver.delete(&params).unwrap();
}

#[test]
fn locations() {
    let driver = FileSr::default();
    let mut missing = params(1, Path::new("/x"));
    missing.device_config.clear();
    let expected = Failure::backend(94, "The request is missing the location parameter", "", "");
    assert_eq!(driver.create(&missing).unwrap_err(), expected);
    assert_eq!(driver.attach(&missing).err().unwrap(), expected);
    for (location, reason) in [
        ("relative/path", "not an absolute path"),
        ("/tmp/../etc", ". or .."),
        ("/tmp/./x", ". or .."),
        ("/", "root directory"),
        ("//", "root directory"),
        ("/tmp/a\0b", "zero byte"),
    ] {
        let failure = driver.create(&params(1, Path::new(location))).unwrap_err();
        let (code, text) = code_and_text(&failure);
        assert!(
            code == "SR_BACKEND_FAILURE_61" && text.contains(reason),
            "{location:?}: {failure}"
        );
    }
    let dir = tempfile::tempdir().unwrap();
    let failure = driver
        .attach(&params(1, &dir.path().join("absent")))
        .err()
        .unwrap();
    assert!(code_and_text(&failure).1.contains("absent"), "{failure}");
    std::fs::write(dir.path().join("file"), b"").unwrap();
    for location in ["file", "file/sr"] {
        assert_eq!(
            driver
                .create(&params(1, &dir.path().join(location)))
                .unwrap_err()
                .code,
            "SR_BACKEND_FAILURE_61"
        );
    }
}

#[test]
fn create_takes_an_empty_directory_only() {
    let dir = tempfile::tempdir().unwrap();
    let driver = FileSr::default();
    driver.create(&params(1, dir.path())).unwrap();
    assert_eq!(names(dir.path()), [""; 0]);
    std::fs::write(dir.path().join("thesis.txt"), b"x").unwrap();
    let failure = driver.create(&params(1, dir.path())).unwrap_err();
    let (code, text) = code_and_text(&failure);
    assert_eq!(code, "SR_BACKEND_FAILURE_61");
    assert!(
        text.contains("not empty") && text.contains("thesis.txt"),
        "{text}"
    );
    assert_eq!(names(dir.path()), ["thesis.txt"]);
    // An SR that was attached and forgotten, without a VDI.
    std::fs::remove_file(dir.path().join("thesis.txt")).unwrap();
    driver
        .attach(&params(1, dir.path()))
        .unwrap()
        .detach()
        .unwrap();
    driver.create(&params(2, dir.path())).unwrap();
}

#[test]
fn two_storage_managers_never_serve_one_directory() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, other) = (FileSr::default(), FileSr::default());
    let sr = ours.attach(&params(1, dir.path())).unwrap();
    let again = ours.attach(&params(1, dir.path())).unwrap();
    sr.create_vdi(&new_vdi(1, MIB)).unwrap();
    assert_eq!(
        again.scan().unwrap().vdis.len(),
        1,
        "attaching again gives the same"
    );
    for failure in [
        other.attach(&params(1, dir.path())).err().unwrap(),
        other.attach(&params(2, dir.path())).err().unwrap(),
        ours.attach(&params(2, dir.path())).err().unwrap(),
        other.create(&params(2, dir.path())).unwrap_err(),
        other.delete(&params(1, dir.path())).unwrap_err(),
    ] {
        let (code, text) = code_and_text(&failure);
        assert_eq!(code, "SR_BACKEND_FAILURE_16");
        assert!(
            text.contains(&format!("process {}", std::process::id())),
            "{text}"
        );
    }
    again.detach().unwrap();
    assert!(sr.scan().is_err(), "it was the same");
    other.attach(&params(2, dir.path())).unwrap();
}

#[test]
fn a_directory_with_a_damaged_image_is_not_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(format!("{}.vhd", Uuid::from_u128(1)));
    std::fs::write(&file, b"not a VHD").unwrap();
    let failure = FileSr::default()
        .delete(&params(1, dir.path()))
        .unwrap_err();
    let (code, text) = code_and_text(&failure);
    assert!(
        code == "SR_BACKEND_FAILURE_63" && text.contains(file.to_str().unwrap()),
        "{failure}"
    );
    assert!(file.exists());
}

#[test]
fn sizes_that_no_vhd_has() {
    let dir = tempfile::tempdir().unwrap();
    let sr = attach_new(&dir.path().join("sr"));
    let expected = Failure::backend(
        79,
        "VDI Invalid size",
        "VDI size must be between 1 MB and 2088960 MB",
        "",
    );
    assert_eq!(
        sr.create_vdi(&new_vdi(1, (2040 << 30) + 1)).unwrap_err(),
        expected
    );
    assert!(sr.scan().unwrap().vdis.is_empty());
}

#[test]
fn probe_looks_at_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let driver = FileSr::default();
    assert!(
        driver
            .probe(&params(1, dir.path()))
            .unwrap()
            .contains("<SRlist/>")
    );
    assert_eq!(
        driver
            .probe(&params(1, &dir.path().join("x")))
            .unwrap_err()
            .code,
        "SR_BACKEND_FAILURE_61"
    );
}

/// A small file system in memory, unmounted when dropped.
struct SmallMedium {
    dir: tempfile::TempDir,
}

impl SmallMedium {
    /// `None` after one printed line where this user may not mount; in CI that is a failure.
    fn mount(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        let (ok, text) = tools::run(
            "mount",
            &[
                "-t",
                "tmpfs",
                "-o",
                &format!("size={size}"),
                "xensm-test",
                path,
            ],
        )?;
        if !ok {
            skip(&format!("a small file system cannot be mounted: {text}"));
            return None;
        }
        Some(SmallMedium { dir })
    }

    fn remount_read_only(&self) {
        let path = self.dir.path().to_str().unwrap();
        tools::succeed("mount", &["-o", "remount,ro", path]).unwrap();
    }
}

impl Drop for SmallMedium {
    fn drop(&mut self) {
        let _ = tools::run("umount", &["--lazy", self.dir.path().to_str().unwrap()]);
    }
}

#[test]
fn a_full_medium_is_told_and_left_as_it_was() {
    let Some(medium) = SmallMedium::mount("64k") else {
        return;
    };
    let sr = attach_new(&medium.dir.path().join("sr"));
    let mut made = 0;
    let failure = loop {
        match sr.create_vdi(&new_vdi(made + 1, MIB)) {
            Ok(_) => made += 1,
            Err(failure) => break failure,
        }
        assert!(made < 64, "the medium is never full");
    };
    let (code, text) = code_and_text(&failure);
    assert!(
        code == "SR_BACKEND_FAILURE_44" && text.contains("insufficient space"),
        "{failure}"
    );
    let report = sr.scan().unwrap();
    assert_eq!((report.vdis.len() as u128, report.damaged.len()), (made, 0));
    assert_eq!(
        names(&medium.dir.path().join("sr")).len() as u128,
        made + 1,
        "images and the lock file"
    );
    // What is there works, and space that is freed can be used.
    sr.delete_vdi(Uuid::from_u128(1)).unwrap();
    sr.create_vdi(&new_vdi(1, MIB)).unwrap();
    // A consumer that fills the medium gets ENOSPC and nothing else is hurt.
    let open = sr
        .open_vdi(Uuid::from_u128(1), OpenMode::ReadWrite)
        .unwrap();
    let error = open.write_at(&vec![1; 128 * 1024], 0).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{error}");
    let _ = open.close();
    drop(open);
    assert!(sr.scan().unwrap().damaged.is_empty());
}

#[test]
fn a_read_only_medium_is_told() {
    let Some(medium) = SmallMedium::mount("1m") else {
        return;
    };
    let location = medium.dir.path().join("sr");
    let driver = FileSr::default();
    driver.create(&params(1, &location)).unwrap();
    let sr = driver.attach(&params(1, &location)).unwrap();
    sr.create_vdi(&new_vdi(1, MIB)).unwrap();
    medium.remount_read_only();
    let failures = [
        sr.create_vdi(&new_vdi(2, MIB)).unwrap_err(),
        sr.delete_vdi(Uuid::from_u128(1)).unwrap_err(),
        sr.open_vdi(Uuid::from_u128(1), OpenMode::ReadWrite)
            .err()
            .unwrap(),
    ];
    for failure in &failures {
        let (code, text) = code_and_text(failure);
        assert!(
            code == "SR_BACKEND_FAILURE_461" && text.contains("Read-only file system"),
            "{failure}"
        );
    }
    assert_eq!(sr.scan().unwrap().vdis.len(), 1, "reading goes on");
    let open = sr.open_vdi(Uuid::from_u128(1), OpenMode::ReadOnly).unwrap();
    open.read_at(&mut [0; 512], 0).unwrap();
    open.close().unwrap();
    sr.detach().unwrap();
    let failure = driver
        .create(&params(2, &medium.dir.path().join("other")))
        .unwrap_err();
    assert_eq!(failure.code, "SR_BACKEND_FAILURE_461");
}

#[test]
fn locks_hold_against_other_processes() {
    let dir = tempfile::tempdir().unwrap();
    let driver = FileSr::default();
    let sr = driver.attach(&params(1, dir.path())).unwrap();
    let vdi = sr.create_vdi(&new_vdi(1, MIB)).unwrap().uuid;
    let can_lock = |name: &str, mode: &str| {
        let path = dir.path().join(name);
        tools::run(
            "flock",
            &["--nonblock", mode, path.to_str().unwrap(), "true"],
        )
        .map(|(ok, _)| ok)
    };
    let image = format!("{vdi}.vhd");
    let Some(free) = can_lock(&image, "--exclusive") else {
        return;
    };
    assert!(free && can_lock(".xensm-lock", "--exclusive") == Some(false));
    let writer = sr.open_vdi(vdi, OpenMode::ReadWrite).unwrap();
    assert_eq!(can_lock(&image, "--shared"), Some(false));
    writer.close().unwrap();
    let reader = sr.open_vdi(vdi, OpenMode::ReadOnly).unwrap();
    assert_eq!(
        (
            can_lock(&image, "--shared"),
            can_lock(&image, "--exclusive")
        ),
        (Some(true), Some(false))
    );
    reader.close().unwrap();
    assert_eq!(can_lock(&image, "--exclusive"), Some(true));
    sr.detach().unwrap();
    assert_eq!(can_lock(".xensm-lock", "--exclusive"), Some(true));
}

/// The environment variable that turns [`a_killed_process_leaves_whole_images`] into the process that is killed.
const VICTIM: &str = "XENSM_TEST_VICTIM";

/// Makes, writes and removes VDIs until it is killed; tells on stdout what was finished.
fn run_as_victim(location: &Path) -> ! {
    let driver = FileSr::default();
    let sr = driver.attach(&params(1, location)).unwrap();
    std::thread::scope(|scope| {
        for thread in 1..=4u128 {
            let sr = &sr;
            scope.spawn(move || {
                for n in 0.. {
                    let vdi = sr
                        .create_vdi(&new_vdi(thread << 64 | n, 8 * MIB))
                        .unwrap()
                        .uuid;
                    let open = sr.open_vdi(vdi, OpenMode::ReadWrite).unwrap();
                    open.write_at(&[thread as u8; 4096], MIB).unwrap();
                    open.flush().unwrap();
                    println!("written {vdi}");
                    open.write_at(&[0xee; 4096], 5 * MIB).unwrap();
                    if n % 3 == 0 {
                        open.close().unwrap();
                        println!("removing {vdi}");
                        sr.delete_vdi(vdi).unwrap();
                    }
                }
            });
        }
    });
    unreachable!("the loops do not end");
}

#[test]
fn a_killed_process_leaves_whole_images() {
    use std::io::BufRead;
    if let Some(location) = std::env::var_os(VICTIM) {
        run_as_victim(Path::new(&location));
    }
    let dir = tempfile::tempdir().unwrap();
    for (round, enough) in [(0, 3), (1, 10), (2, 31)] {
        let location = dir.path().join(format!("sr{round}"));
        FileSr::default().create(&params(1, &location)).unwrap();
        let mut victim = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "a_killed_process_leaves_whole_images",
                "--nocapture",
            ])
            .env(VICTIM, &location)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufReader::new(victim.stdout.take().unwrap()).lines();
        let mut told = Vec::new();
        while told.len() < enough {
            told.push(
                lines
                    .next()
                    .expect("the victim lives until it is killed")
                    .unwrap(),
            );
        }
        victim.kill().unwrap();
        victim.wait().unwrap();
        told.extend(lines.map_while(Result::ok));

        let sr = FileSr::default().attach(&params(1, &location)).unwrap();
        let report = sr.scan().unwrap();
        assert!(report.damaged.is_empty(), "{:#?}", report.damaged);
        let files = names(&location).len();
        assert_eq!(
            files,
            report.vdis.len() + 1,
            "images and the lock file, and no leftovers"
        );
        let ends = |word: &str| -> Vec<Uuid> {
            let words = told.iter().filter_map(|line| line.split_once(word));
            words
                .filter_map(|(_, uuid)| Uuid::parse_str(uuid.get(..36)?).ok())
                .collect()
        };
        let (written, removing) = (ends("written "), ends("removing "));
        assert!(!written.is_empty());
        for vdi in written.iter().filter(|vdi| !removing.contains(vdi)) {
            let open = sr.open_vdi(*vdi, OpenMode::ReadWrite).unwrap();
            let mut found = [0; 4096];
            open.read_at(&mut found, MIB).unwrap();
            assert_eq!(
                found,
                [(vdi.as_u128() >> 64) as u8; 4096],
                "what was flushed is there"
            );
            open.close().unwrap();
        }
        sr.detach().unwrap();
    }
}
