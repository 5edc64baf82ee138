//! What an `ext` SR is refused for; the whole of it needs a kernel of its own: `tests/ext_guest.rs`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;

fn params(device: Option<&str>) -> SrParams {
    let device = device.map(|device| ("device".to_owned(), device.to_owned()));
    SrParams {
        sr_uuid: Uuid::from_u128(5),
        device_config: device.into_iter().collect(),
        sm_config: BTreeMap::new(),
    }
}

/// A system with these programs, each of which fails, and a kernel with these drivers.
fn system(dir: &Path, programs: &[&str], drivers: &str) -> System {
    use std::os::unix::fs::PermissionsExt;
    for program in programs {
        let path = dir.join(program);
        std::fs::write(&path, "#!/bin/sh\necho \"it was run\" >&2\nexit 5\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    std::fs::write(dir.join("drivers"), drivers).unwrap();
    System {
        programs: Some(dir.to_owned()),
        drivers: dir.join("drivers"),
        mounts: PathBuf::from("/proc/self/mounts"),
        mount_root: dir.join("mounts"),
    }
}

const PROGRAMS: [&str; 5] = ["lvm", "mkfs.ext4", "e2fsck", "mount", "umount"];

#[test]
fn devices_are_paths_below_dev() {
    let dir = tempfile::tempdir().unwrap();
    let driver = ExtSr::on(system(dir.path(), &PROGRAMS, ""));
    let number = |device| driver.create(&params(device)).unwrap_err().backend_number();
    assert_eq!(number(None), Some(90));
    assert_eq!(number(Some("")), Some(90));
    for bad in [
        "sdb",
        "/etc/passwd",
        "/dev/../etc",
        "/dev/a|r",
        "/dev/sda,,",
        "/dev/a,/dev/a",
    ] {
        assert_eq!(number(Some(bad)), Some(91), "{bad}");
    }
}

#[test]
fn a_system_that_cannot_have_one_says_what_it_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let without = ExtSr::on(system(dir.path(), &PROGRAMS, " 60 other\n"));
    let is_root = rustix::process::geteuid().is_root();
    let wanted = if is_root {
        "no device-mapper"
    } else {
        "needs root"
    };
    let device = params(Some("/dev/null"));
    for failure in [
        without.create(&device).unwrap_err(),
        without.attach(&device).err().unwrap(),
        without.probe(&device).unwrap_err(),
        without.delete(&device).unwrap_err(),
    ] {
        assert!(failure.to_string().contains(wanted), "{failure}");
    }
    if is_root {
        let with = ExtSr::on(system(dir.path(), &PROGRAMS, "236 device-mapper\n"));
        let failure = with.create(&device).unwrap_err();
        assert_eq!(failure.backend_number(), Some(91), "{failure}");
        let failure = with.create(&params(Some("/dev/not-there"))).unwrap_err();
        assert!(failure.to_string().contains("no device"), "{failure}");
        let failure = with.attach(&device).err().unwrap();
        assert_eq!(failure.backend_number(), Some(52), "{failure}");
        assert!(failure.to_string().contains("it was run"), "{failure}");
    }
}
