//! SR type `ext` on real disks: in a virtual machine, whose kernel has device-mapper and ext4, with the system's own tools.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it does"
)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::process::Command;
use std::time::Duration;

use storage_manager::sr::{AttachedSr, ExtSr, NewVdi, OpenMode, SnapshotKind, SrParams, SrType};
use testkit::guest::Guest;
use testkit::tool;
use uuid::Uuid;

/// How long the virtual machine may take, on a machine that is busy with other tests.
const LIMIT: Duration = Duration::from_secs(300);
const MIB: u64 = 1 << 20;
/// Bytes of each disk.
const DISK: u64 = 192 * MIB;
const TEXT: &[u8] = b"what a consumer wrote";

/// Boots a machine with two blank disks and one that holds somebody's file system.
#[test]
fn a_file_system_of_its_own() {
    let Some(guest) = Guest::new() else { return };
    let programs = ["lvm", "mkfs.ext4", "e2fsck"];
    if programs.iter().any(|name| tool::program(name).is_none()) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut guest = programs
        .iter()
        .fold(guest, |guest, name| guest.program(name));
    for module in ["virtio_blk", "dm-mod", "crc32c_generic", "ext4"] {
        guest = guest.module(module);
    }
    for name in ["a", "b", "c"] {
        let path = dir.path().join(name);
        File::create(&path).unwrap().set_len(DISK).unwrap();
        let drive = format!("file={},if=none,id={name},format=raw", path.display());
        let device = format!("virtio-blk-pci,drive={name}");
        guest = guest.arguments(["-drive", &drive, "-device", &device]);
    }
    tool::run(
        Command::new("mkfs.ext4")
            .arg("-q")
            .arg(dir.path().join("c")),
    );
    let output = guest.this_test_program().run(
        "tests --ignored --exact in_the_guest --nocapture",
        LIMIT,
        |_| {},
    );
    println!("{}", output.text);
    assert_eq!(output.status, Some(0));
    assert!(output.text.contains("test result: ok. 1 passed"));
}

fn params(sr: u128, device: &str, more: &[(&str, &str)]) -> SrParams {
    let mut device_config = BTreeMap::from([("device".to_owned(), device.to_owned())]);
    let more = more.iter();
    device_config.extend(more.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    SrParams {
        sr_uuid: Uuid::from_u128(sr),
        device_config,
        sm_config: BTreeMap::new(),
    }
}

fn vdi(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn content(sr: &dyn AttachedSr, uuid: Uuid) -> Vec<u8> {
    let image = sr.open_vdi(uuid, OpenMode::ReadOnly).unwrap();
    let mut found = vec![0; TEXT.len()];
    image.read_at(&mut found, MIB).unwrap();
    image.close().unwrap();
    found
}

fn mounts() -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    mounts
        .lines()
        .filter(|line| line.contains("/run/sr-mount/"))
        .collect()
}

#[test]
#[ignore = "runs in the guest of a_file_system_of_its_own"]
fn in_the_guest() {
    lives_on_a_disk();
    println!("it has lived on a disk");
    refuses_what_is_not_blank();
    println!("it has refused what is not blank");
    lies_in_stripes();
}

fn lives_on_a_disk() {
    let (driver, one) = (ExtSr::default(), params(1, "/dev/vda", &[]));
    assert!(driver.attach(&one).is_err(), "there is none");
    assert!(!driver.probe(&one).unwrap().contains("<UUID>"));
    driver.create(&one).unwrap();
    assert_eq!(mounts(), "");
    let found = driver.probe(&one).unwrap();
    assert!(found.contains(&one.sr_uuid.to_string()), "{found}");
    let again = driver.create(&params(2, "/dev/vda", &[])).unwrap_err();
    assert_eq!(again.backend_number(), Some(16), "{again}");
    assert!(again.to_string().contains("LVM2"), "{again}");
    let sr = driver.attach(&one).unwrap();
    assert!(mounts().contains(" ext4 "), "{}", mounts());
    let new = NewVdi {
        uuid: vdi(7),
        virtual_size: 64 * MIB,
        sm_config: BTreeMap::new(),
    };
    sr.create_vdi(&new).unwrap();
    let image = sr.open_vdi(vdi(7), OpenMode::ReadWrite).unwrap();
    image.write_at(TEXT, MIB).unwrap();
    sr.snapshot_vdi(vdi(7), vdi(8), SnapshotKind::Snapshot)
        .unwrap();
    image.write_at(&[0; 64], MIB).unwrap();
    image.close().unwrap();
    drop(image);
    // Another storage manager of this machine.
    let other = ExtSr::default().attach(&one).err().unwrap();
    assert_eq!(other.backend_number(), Some(16), "{other}");
    assert!(other.to_string().contains("process"), "{other}");
    assert!(sr.space().unwrap().physical_size > DISK / 2);
    // Somebody keeps the file system busy.
    let point = format!("/run/sr-mount/{}", one.sr_uuid);
    let busy = File::open(format!("{point}/lost+found")).unwrap();
    let failure = sr.detach().unwrap_err();
    assert_eq!(failure.backend_number(), Some(16), "{failure}");
    drop(busy);
    sr.detach().unwrap();
    assert_eq!(mounts(), "");
    // Introduced again from nothing but its disk.
    let driver = ExtSr::default();
    let sr = driver.attach(&one).unwrap();
    assert_eq!(sr.scan().unwrap().vdis.len(), 3, "with the hidden parent");
    assert_eq!(content(&*sr, vdi(8)), TEXT);
    assert_eq!(content(&*sr, vdi(7)), [0; TEXT.len()]);
    sr.detach().unwrap();
    let failure = driver.delete(&one).unwrap_err();
    assert_eq!(failure.code, "SR_NOT_EMPTY", "{failure}");
    assert_eq!(mounts(), "");
    let sr = driver.attach(&one).unwrap();
    sr.delete_vdi(vdi(7)).unwrap();
    sr.delete_vdi(vdi(8)).unwrap();
    sr.detach().unwrap();
    driver.delete(&one).unwrap();
    assert!(!driver.probe(&one).unwrap().contains("<UUID>"));
}

fn refuses_what_is_not_blank() {
    let driver = ExtSr::default();
    let failure = driver.create(&params(3, "/dev/vdc", &[])).unwrap_err();
    assert_eq!(failure.backend_number(), Some(16), "{failure}");
    assert!(failure.to_string().contains("a file system"), "{failure}");
    let forced = params(3, "/dev/vdc", &[("force", "true")]);
    driver.create(&forced).unwrap();
    // With the file system mounted no force helps.
    let sr = driver.attach(&forced).unwrap();
    let failure = driver
        .create(&params(4, "/dev/vdc", &[("force", "true")]))
        .unwrap_err();
    assert_eq!(failure.backend_number(), Some(16), "{failure}");
    assert!(failure.to_string().contains("in use"), "{failure}");
    sr.detach().unwrap();
    driver.delete(&forced).unwrap();
}

fn lies_in_stripes() {
    let (driver, two) = (ExtSr::default(), params(5, "/dev/vda,/dev/vdb", &[]));
    driver.create(&two).unwrap();
    let sr = driver.attach(&two).unwrap();
    assert!(sr.space().unwrap().physical_size > DISK);
    sr.detach().unwrap();
    driver.delete(&two).unwrap();
}
