//! SR types of host bus adapters on real SCSI adapters: in a virtual machine, whose kernel has its own drivers for them.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it does"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nbd::Export;
use storage_manager::medium::hba::{LunPath, Sysfs, adapters, by_lun, devlist, lun_paths};
use storage_manager::sr::{
    AttachedSr, FoundVdi, HbaSr, IntroducedVdi, LvmOHbaSr, NewVdi, OpenMode, SrParams, SrType,
};
use testkit::guest::Guest;
use testkit::tool;
use uuid::Uuid;

/// How long the virtual machine may take, on a machine that is busy with other tests.
const LIMIT: Duration = Duration::from_secs(600);
/// Longest wait for anything inside.
const PATIENCE: Duration = Duration::from_secs(180);
const MIB: u64 = 1 << 20;

/// The LUNs: name, bytes, its world wide name as qemu takes it, and its id as `scsi_id` prints it.
const SHARED: (&str, u64, &str, &str) = (
    "shared",
    48 * MIB,
    "0x5000c50000000a01",
    "35000c50000000a01",
);
const SMALL: (&str, u64, &str, &str) =
    ("small", 16 * MIB, "0x5000c50000000a02", "35000c50000000a02");
const FOREIGN: (&str, u64, &str, &str) = (
    "foreign",
    20 * MIB,
    "0x5000c50000000a03",
    "35000c50000000a03",
);
const OTHER: (&str, u64, &str, &str) =
    ("other", 64 * MIB, "0x5000c50000000a04", "35000c50000000a04");

/// Boots a machine with three adapters of two kinds: to one LUN lead two paths, one holds somebody's file system.
#[test]
fn luns_behind_real_adapters() {
    let Some(guest) = Guest::new() else { return };
    let Some(mkfs) = tool::program("mkfs.ext4") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let mut arguments: Vec<String> = [
        "virtio-scsi-pci,id=one",
        "virtio-scsi-pci,id=two",
        "pvscsi,id=three",
    ]
    .iter()
    .flat_map(|adapter| ["-device".to_owned(), (*adapter).to_owned()])
    .collect();
    for (name, size, ..) in [SHARED, SMALL, FOREIGN, OTHER] {
        let path = dir.path().join(name);
        File::create(&path).unwrap().set_len(size).unwrap();
        arguments.extend([
            "-blockdev".to_owned(),
            format!(
                "driver=file,filename={},node-name={name},discard=unmap",
                path.display()
            ),
        ]);
    }
    tool::run(Command::new(mkfs).arg("-q").arg(dir.path().join(FOREIGN.0)));
    for (adapter, lun, (name, _, wwn, _)) in [
        ("one", 0, SHARED),
        ("two", 0, SHARED),
        ("one", 1, SMALL),
        ("one", 2, FOREIGN),
        ("three", 0, OTHER),
    ] {
        // The adapters of the second kind have one LUN for each target.
        let place = if adapter == "three" {
            "scsi-id=3".to_owned()
        } else {
            format!("scsi-id=0,lun={lun}")
        };
        arguments.extend([
            "-device".to_owned(),
            format!(
                "scsi-hd,bus={adapter}.0,{place},drive={name},share-rw=on,wwn={wwn},serial={name}"
            ),
        ]);
    }
    let output = guest
        .module("virtio_scsi")
        .module("vmw_pvscsi")
        .module("sd_mod")
        .module("crc32c_generic")
        .module("ext4")
        .this_test_program()
        .arguments(arguments)
        .run(
            "tests --ignored --exact in_the_guest --nocapture",
            LIMIT,
            |_| {},
        );
    println!("{}", output.text);
    assert_eq!(output.status, Some(0));
    assert!(output.text.contains("test result: ok. 1 passed"));
    // What the guest wrote through whichever path is in the file.
    let small = fs::read(dir.path().join(SMALL.0)).unwrap();
    assert_eq!(&small[5 * MIB as usize..][..7], b"through");
}

fn params(sr: u128, device_config: &[(&str, &str)]) -> SrParams {
    SrParams {
        sr_uuid: Uuid::from_u128(sr),
        device_config: device_config
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        sm_config: BTreeMap::new(),
    }
}

fn paths_to(scsi_id: &str) -> Vec<LunPath> {
    let paths = lun_paths(&Sysfs::default(), "any").unwrap();
    let luns = by_lun(paths).into_iter();
    luns.filter(|paths| paths[0].identity.scsi_id == scsi_id)
        .flatten()
        .collect()
}

fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for: {what}");
        std::thread::yield_now();
    }
}

fn wish(size: u64) -> NewVdi {
    NewVdi {
        uuid: Uuid::nil(),
        virtual_size: size,
        sm_config: BTreeMap::new(),
    }
}

fn found<'a>(vdis: &'a [FoundVdi], scsi_id: &str) -> &'a FoundVdi {
    let of_id = |vdi: &&FoundVdi| vdi.sm_config["SCSIid"] == scsi_id;
    vdis.iter().find(of_id).unwrap()
}

#[test]
#[ignore = "runs in the guest of luns_behind_real_adapters"]
fn in_the_guest() {
    shows_adapters_and_luns();
    let driver = HbaSr::hba(Sysfs::default());
    driver.create(&params(1, &[])).unwrap();
    let sr = driver.attach(&params(1, &[])).unwrap();
    let vdis = sr.scan().unwrap().vdis;
    assert_eq!(vdis.len(), 4, "{vdis:?}");
    for (_, size, _, scsi_id) in [SHARED, SMALL, FOREIGN, OTHER] {
        assert_eq!(found(&vdis, scsi_id).virtual_size, size, "{scsi_id}");
    }
    takes_the_smallest_blank_one(&*sr, &vdis);
    keeps_out_of_what_is_mounted(&*sr, &vdis);
    fails_over(&*sr, found(&vdis, SHARED.3).uuid);
    notices_what_comes_and_goes(&*sr);
    sr.detach().unwrap();
    lays_vhds_on_a_lun();
}

/// SR type `lvmohba`, on a LUN to which two paths lead.
fn lays_vhds_on_a_lun() {
    let driver = LvmOHbaSr::new(Sysfs::default());
    let failure = driver.create(&params(2, &[])).unwrap_err();
    assert_eq!(failure.backend_number(), Some(107), "{failure}");
    let document = failure.params.last().unwrap();
    assert!(document.contains(SHARED.3), "{document}");
    let foreign = driver.create(&params(2, &[("SCSIid", FOREIGN.3)]));
    assert_eq!(foreign.unwrap_err().backend_number(), Some(16));

    let on_lun = params(2, &[("SCSIid", SHARED.3)]);
    driver.create(&on_lun).unwrap();
    let document = driver.probe(&on_lun).unwrap();
    assert!(document.contains(&on_lun.sr_uuid.to_string()), "{document}");
    let sr = driver.attach(&on_lun).unwrap();
    let mut new = wish(4 * MIB);
    new.uuid = Uuid::from_u128(9);
    sr.create_vdi(&new).unwrap();
    let export = sr.open_vdi(new.uuid, OpenMode::ReadWrite).unwrap();
    export.write_at(b"in a volume", MIB).unwrap();
    remove(&paths_to(SHARED.3)[0]);
    export.write_at(b"on one path", 2 * MIB).unwrap();
    export.flush().unwrap();
    export.close().unwrap();
    drop(export);
    sr.detach().unwrap();
    drop(sr);
    let sr = driver.attach(&on_lun).unwrap();
    assert_eq!(sr.scan().unwrap().vdis.len(), 1);
    let export = sr.open_vdi(new.uuid, OpenMode::ReadOnly).unwrap();
    for (text, at) in [(b"in a volume", MIB), (b"on one path", 2 * MIB)] {
        let mut read = [0; 11];
        export.read_at(&mut read, at).unwrap();
        assert_eq!(&read, text);
    }
    export.close().unwrap();
    drop(export);
    sr.detach().unwrap();
}

/// Prints what `src/medium/hba/testdata/guest.tree` holds, so that it can be recorded again.
fn print_tree(sysfs: &Sysfs) {
    let hosts = sysfs.names("class/scsi_host").unwrap();
    for host in hosts {
        let file = format!("class/scsi_host/{host}/proc_name");
        println!("tree: {file} = {}", sysfs.text(&file));
    }
    for device in sysfs.names("bus/scsi/devices").unwrap() {
        let directory = format!("bus/scsi/devices/{device}");
        for name in ["type", "vendor", "model", "state"] {
            let file = format!("{directory}/{name}");
            if sysfs.has(&file) {
                println!("tree: {file} = {}", sysfs.text(&file));
            }
        }
        for name in ["inquiry", "vpd_pg80", "vpd_pg83"] {
            let file = format!("{directory}/{name}");
            let bytes = sysfs.bytes(&file);
            if !bytes.is_empty() {
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                println!("tree: {file} : {hex}");
            }
        }
        for node in sysfs.names(&format!("{directory}/block")).unwrap() {
            for name in ["dev", "size", "queue/logical_block_size"] {
                let file = format!("{directory}/block/{node}/{name}");
                println!("tree: {file} = {}", sysfs.text(&file));
            }
        }
    }
}

fn shows_adapters_and_luns() {
    let sysfs = Sysfs::default();
    print_tree(&sysfs);
    let found = adapters(&sysfs, "any").unwrap();
    let drivers: Vec<&str> = found
        .iter()
        .map(|adapter| adapter.driver.as_str())
        .collect();
    assert_eq!(
        drivers.iter().collect::<BTreeSet<_>>(),
        BTreeSet::from([&"virtio_scsi", &"vmw_pvscsi"])
    );
    assert_eq!(drivers.len(), 3, "{drivers:?}");
    assert_eq!(adapters(&sysfs, "vmw").unwrap().len(), 1);
    assert!(adapters(&sysfs, "fc").unwrap().is_empty());
    assert_eq!(paths_to(SHARED.3).len(), 2);
    let document = devlist(&by_lun(lun_paths(&sysfs, "any").unwrap()), &found);
    assert!(document.contains("<numpaths>2</numpaths>"), "{document}");
    assert!(document.contains("<serial>other</serial>"), "{document}");
    let failure = HbaSr::hba(sysfs)
        .create(&params(1, &[("type", "qla2xxx")]))
        .unwrap_err();
    assert_eq!(failure.backend_number(), Some(19), "{failure}");
}

fn takes_the_smallest_blank_one(sr: &dyn AttachedSr, vdis: &[FoundVdi]) {
    let taken = sr.take_vdi(&wish(10 * MIB), &BTreeSet::new()).unwrap();
    assert_eq!(taken.uuid, found(vdis, SMALL.3).uuid);
    // Behind it comes the one with a file system, which is left out.
    let used = BTreeSet::from([taken.uuid]);
    let next = sr.take_vdi(&wish(10 * MIB), &used).unwrap();
    assert_eq!(next.uuid, found(vdis, SHARED.3).uuid);
    let all = BTreeSet::from([SMALL.3, SHARED.3, OTHER.3].map(|id| found(vdis, id).uuid));
    let failure = sr.take_vdi(&wish(10 * MIB), &all).unwrap_err();
    assert_eq!(failure.backend_number(), Some(44));
    assert!(
        failure.to_string().contains("ext2, ext3 or ext4"),
        "{failure}"
    );

    let export = sr.open_vdi(taken.uuid, OpenMode::ReadWrite).unwrap();
    assert_eq!(export.size(), SMALL.1);
    // Neither offset nor length nor memory fit the device's blocks.
    export.write_at(b"through", 5 * MIB).unwrap();
    export.write_at(&[7; 5000], 6 * MIB + 13).unwrap();
    export.write_zeroes_at(6 * MIB + 100, 3000).unwrap();
    export.trim_at(8 * MIB, 4 * MIB).unwrap();
    export.flush().unwrap();
    let mut read = vec![1; 5000];
    export.read_at(&mut read, 6 * MIB + 13).unwrap();
    for (at, byte) in read.iter().enumerate() {
        let is_zero = (87..3087).contains(&at);
        assert_eq!(*byte, if is_zero { 0 } else { 7 }, "{at}");
    }
    let past = export.write_at(&[1; 512], SMALL.1).unwrap_err();
    assert_eq!(past.kind(), std::io::ErrorKind::StorageFull);
    export.close().unwrap();
}

fn keeps_out_of_what_is_mounted(sr: &dyn AttachedSr, vdis: &[FoundVdi]) {
    let foreign = found(vdis, FOREIGN.3).uuid;
    let node = format!("/dev/{}", paths_to(FOREIGN.3)[0].node);
    let mounted = Command::new("mount")
        .args(["-t", "ext4", &node, "/mnt"])
        .status();
    assert!(mounted.unwrap().success());
    let mut forced = wish(17 * MIB);
    forced
        .sm_config
        .insert("force".to_owned(), "true".to_owned());
    let used = BTreeSet::from([found(vdis, SHARED.3).uuid, found(vdis, OTHER.3).uuid]);
    let failure = sr.take_vdi(&forced, &used).unwrap_err();
    assert!(
        failure.to_string().contains("is in use: mounted"),
        "{failure}"
    );
    let unmounted = Command::new("umount").arg("/mnt").status();
    assert!(unmounted.unwrap().success());
    assert_eq!(sr.take_vdi(&forced, &used).unwrap().uuid, foreign);
    // Introduced, it is what it was.
    let introduced = sr.introduce_vdi(&IntroducedVdi {
        uuid: None,
        location: String::new(),
        sm_config: BTreeMap::from([("LUNid".to_owned(), "2".to_owned())]),
    });
    assert_eq!(introduced.unwrap().uuid, foreign);
    let export = sr.open_vdi(foreign, OpenMode::ReadOnly).unwrap();
    let mut magic = [0; 2];
    export.read_at(&mut magic, 1080).unwrap();
    assert_eq!(magic, [0x53, 0xef]);
}

/// Writes and reads without a pause while the path that is used is taken away, and while it comes back.
fn fails_over(sr: &dyn AttachedSr, vdi: Uuid) {
    let export = sr.open_vdi(vdi, OpenMode::ReadWrite).unwrap();
    let (stop, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let (writer, stop, rounds) = (&export, &stop, &rounds);
        let work = scope.spawn(move || write_and_read(&**writer, stop, rounds));
        let more = |what: &str| {
            let before = rounds.load(Ordering::SeqCst);
            wait_for(what, || rounds.load(Ordering::SeqCst) > before + 20);
        };
        more("the first writes");
        let paths = paths_to(SHARED.3);
        println!("removing {}", paths[0].node);
        remove(&paths[0]);
        more("writes over the second path");
        assert_eq!(paths_to(SHARED.3).len(), 1);
        let health = sr.health().unwrap();
        assert!(health.contains("1 of 2 paths to LUN"), "{health}");
        sr.scan().unwrap();
        assert_eq!(paths_to(SHARED.3).len(), 2, "the scan finds it again");
        wait_for("both paths", || {
            sr.has_changed().unwrap();
            sr.health().is_none()
        });
        println!("removing {}", paths[1].node);
        remove(&paths[1]);
        more("writes over the first path again");
        sr.scan().unwrap();
        stop.store(true, Ordering::SeqCst);
        work.join().unwrap();
    });
    export.close().unwrap();
    drop(export);
    sr.delete_vdi(vdi).unwrap();
}

fn write_and_read(export: &dyn Export, stop: &AtomicBool, rounds: &AtomicU64) {
    let mut round = 0;
    while !stop.load(Ordering::SeqCst) {
        round += 1;
        let data = vec![round as u8; 64 << 10];
        let at = round % 500 * (64 << 10);
        export.write_at(&data, at).unwrap();
        export.flush().unwrap();
        let mut read = vec![0; data.len()];
        export.read_at(&mut read, at).unwrap();
        assert!(read == data, "round {round}");
        rounds.store(round, Ordering::SeqCst);
    }
}

fn remove(path: &LunPath) {
    fs::write(
        format!("/sys/bus/scsi/devices/{}/delete", path.address),
        "1\n",
    )
    .unwrap();
}

fn notices_what_comes_and_goes(sr: &dyn AttachedSr) {
    sr.scan().unwrap();
    assert!(!sr.has_changed().unwrap());
    remove(&paths_to(OTHER.3)[0]);
    assert!(sr.has_changed().unwrap());
    // A scan asks the adapters, which show it again.
    assert_eq!(sr.scan().unwrap().vdis.len(), 4);
    assert!(!sr.has_changed().unwrap());
}
