//! SR type `ext` on real disks: in a virtual machine, whose kernel has device-mapper and ext4, with the system's own tools.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it does"
)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use storage_manager::layout::lvhd::volumes::Volumes;
use storage_manager::medium::local_device::LocalDevice;
use storage_manager::sr::{AttachedSr, ExtSr, NewVdi, OpenMode, SnapshotKind, SrParams, SrType};
use testkit::guest::Guest;
use testkit::tool;
use uuid::Uuid;

/// How long the virtual machine may take, on a machine that is busy with other tests.
const LIMIT: Duration = Duration::from_secs(600);
const MIB: u64 = 1 << 20;
/// Bytes of each disk.
const DISK: u64 = 192 * MIB;
const TEXT: &[u8] = b"what a consumer wrote";

/// Boots a machine with two blank disks, one that holds somebody's file system, and one with an SR of type `lvm`, whose volumes
/// the system's own tools are to find.
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
    let lvhd = dir.path().join("d");
    let sum = makes_volumes(&lvhd);
    let drive = format!("file={},if=none,id=d,format=raw", lvhd.display());
    guest = guest.arguments(["-drive", &drive, "-device", "virtio-blk-pci,drive=d"]);
    let output = guest.this_test_program().run(
        "tests --ignored --exact in_the_guest --nocapture",
        LIMIT,
        |_| {},
    );
    println!("{}", output.text);
    assert_eq!(output.status, Some(0));
    assert!(output.text.contains("test result: ok. 1 passed"));
    for volume in sum {
        assert!(output.text.contains(&volume), "{volume}");
    }
}

/// Makes an SR of type `lvm` with a VHD on a parent and a raw VDI; answers names and sums of their volumes, as the machine is to say them.
fn makes_volumes(path: &Path) -> Vec<String> {
    File::create(path).unwrap().set_len(DISK).unwrap();
    let mut drivers = storage_manager::sr::types().into_iter();
    let driver = drivers.find(|one| one.info().sr_type == "lvm").unwrap();
    let one = params(9, path.to_str().unwrap(), &[]);
    driver.create(&one).unwrap();
    let sr = driver.attach(&one).unwrap();
    for (number, kind) in [(1, None), (2, Some("raw"))] {
        let kind = kind.map(|kind| ("type".to_owned(), kind.to_owned()));
        let new = NewVdi {
            uuid: vdi(number),
            virtual_size: 12 * MIB,
            sm_config: kind.into_iter().collect(),
        };
        sr.create_vdi(&new).unwrap();
        let image = sr.open_vdi(vdi(number), OpenMode::ReadWrite).unwrap();
        image.write_at(TEXT, MIB).unwrap();
        if number == 1 {
            sr.snapshot_vdi(vdi(1), vdi(3), SnapshotKind::Snapshot)
                .unwrap();
            image.write_at(TEXT, 7 * MIB).unwrap();
        }
        image.close().unwrap();
    }
    sr.detach().unwrap();
    drop(sr);
    let device = Arc::new(LocalDevice::open(path).unwrap());
    let volumes = Volumes::open(&[device]).unwrap();
    let group = volumes.index().group.clone();
    let names = group.logical_volumes.iter().map(|volume| &volume.name);
    let sums = names.map(|name| {
        let volume = volumes.volume(name).unwrap();
        let mut bytes = vec![0; volume.length().unwrap() as usize];
        volume.read_at(&mut bytes, 0).unwrap();
        sum_line(name, &bytes)
    });
    let sums: Vec<String> = sums.collect();
    // MGT, the VDI, its snapshot, their parent, and the raw one.
    assert_eq!(sums.len(), 5, "{sums:?}");
    sums
}

fn sum_line(name: &str, bytes: &[u8]) -> String {
    let sum = ring::digest::digest(&ring::digest::SHA256, bytes);
    format!("{name}: {} bytes, {sum:?}", bytes.len())
}

/// Has the system's LVM2 and kernel activate the SR's volumes, and says what they read there.
fn finds_our_volumes() {
    let group = format!("VG_XenStorage-{}", vdi(9));
    let config = "devices{filter=[\"a|^/dev/vdd$|\",\"r|.*|\"] use_devicesfile=0 obtain_device_list_from_udev=0} activation{udev_sync=0 udev_rules=0}";
    let lvm = |arguments: &[&str]| {
        let mut command = Command::new("lvm");
        tool::run(
            command
                .args(&arguments[..1])
                .args(["--config", config])
                .args(&arguments[1..]),
        )
    };
    lvm(&["vgck", &group]);
    lvm(&["vgchange", "-ay", &group]);
    let names = lvm(&["lvs", "--noheadings", "-o", "lv_name", &group]);
    for name in names.split_whitespace() {
        let bytes = fs::read(format!("/dev/{group}/{name}")).unwrap();
        println!("{}", sum_line(name, &bytes));
    }
    lvm(&["vgchange", "-an", &group]);
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
    finds_our_volumes();
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
