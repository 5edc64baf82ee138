//! Chains, change tracking and SRs of before there were VHDs, on logical volumes; the LVM2 tools judge each state.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it skips"
)]

mod lvm_disk;
mod tools;

use std::collections::BTreeMap;
use std::sync::Arc;

use lvm_disk::{Disk, byte, driver, vg, write};
use storage_manager::gc::{Outcome, SrPolicy, Work, plan};
use storage_manager::sr::{AttachedSr, OpenMode, SnapshotKind, SrParams};
use tools::{MIB, new_raw_vdi, new_vdi};
use uuid::Uuid;
use vhd::merge::Control;

const SIZE: u64 = 20 * MIB;

fn vdi(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// The steps of coalescing that there are, one after the other.
fn coalesce(sr: &dyn AttachedSr) -> Vec<Work> {
    let chains = sr.chains().unwrap();
    let mut done = Vec::new();
    while let Some(work) = next(sr) {
        let outcome = chains.run(&work, &Arc::new(Control::default())).unwrap();
        assert_eq!(outcome, Outcome::Done, "{work}");
        done.push(work);
        assert!(done.len() < 20, "{done:?}");
    }
    done
}

fn next(sr: &dyn AttachedSr) -> Option<Work> {
    let images = sr.chains().unwrap().images().unwrap();
    let plan = plan(&images, SrPolicy::default(), &Default::default());
    plan.work.first().copied()
}

fn snapshot(sr: &dyn AttachedSr, number: u128) {
    let kind = SnapshotKind::Snapshot;
    sr.snapshot_vdi(vdi(1), vdi(number), kind).unwrap();
}

/// Every MiB of a VDI by the first byte that it has.
fn bytes(sr: &dyn AttachedSr, vdi: Uuid) -> Vec<u8> {
    let open = sr.open_vdi(vdi, OpenMode::ReadOnly).unwrap();
    let mut all = vec![0; open.size() as usize];
    open.read_at(&mut all, 0).unwrap();
    open.close().unwrap();
    all.chunks(1 << 20).map(|mib| mib[0]).collect()
}

fn coalesces(allocation: &str) {
    let disk = Disk::new(512 << 20);
    let driver = driver();
    let params = disk.params(&[("allocation", allocation)]);
    driver.create(&params).unwrap();
    let sr = driver.attach(&params).unwrap();
    sr.create_vdi(&new_vdi(1, SIZE)).unwrap();
    let mut model = vec![0; 20];
    // Each write is above another parent, and the last one where the first was.
    for (number, at) in [(0, 0), (2, 3), (3, 7), (4, 12), (5, 0)] {
        if number > 0 {
            snapshot(&*sr, number);
        }
        let fill = number as u8 + 1;
        write(&*sr, vdi(1), fill, at * MIB, MIB as usize);
        model[at as usize] = fill;
    }
    let of_last = bytes(&*sr, vdi(5));
    disk.judge("five images deep");
    for gone in [2, 3] {
        sr.delete_vdi(vdi(gone)).unwrap();
    }
    // Two parents go while a consumer has the VDI open.
    let open = sr.open_vdi(vdi(1), OpenMode::ReadWrite).unwrap();
    let done = coalesce(&*sr);
    assert!(
        done.iter().all(|work| matches!(work, Work::Inner { .. })),
        "{done:?}"
    );
    assert_eq!(done.len(), 2);
    disk.judge("inner images merged");
    open.write_at(&[0x77; 4096], 19 * MIB).unwrap();
    model[19] = 0x77;
    // Then all snapshots go, and the VDI's image is merged under the consumer.
    for gone in [4, 5] {
        sr.delete_vdi(vdi(gone)).unwrap();
    }
    let done = coalesce(&*sr);
    assert!(matches!(done.last(), Some(Work::Leaf { .. })), "{done:?}");
    disk.judge("a leaf merged under its consumer");
    open.write_at(&[0x78; 4096], 18 * MIB).unwrap();
    model[18] = 0x78;
    open.close().unwrap();
    drop(open);
    assert_eq!(bytes(&*sr, vdi(1)), model);
    assert_eq!(of_last[..13], [1, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 0, 5]);
    let size = sr.stat_vdi(vdi(1)).unwrap().physical_utilisation;
    let full = vhd::volume::full_size(SIZE);
    match allocation {
        "thick" => assert_eq!(size, full),
        _ => assert!(size < full, "{size}"),
    }
    if let Some(volumes) = disk.volumes() {
        let image = format!("VHD-{}", vdi(1));
        assert_eq!(volumes.keys().collect::<Vec<_>>(), ["MGT", &image]);
        assert!(volumes[&image].1.starts_with("-w"), "{volumes:?}");
    }
    // At rest too.
    snapshot(&*sr, 6);
    write(&*sr, vdi(1), 9, 5 * MIB, MIB as usize);
    model[5] = 9;
    sr.delete_vdi(vdi(6)).unwrap();
    let done = coalesce(&*sr);
    assert!(matches!(done[..], [Work::Leaf { .. }]), "{done:?}");
    disk.judge("a leaf merged at rest");
    let found = sr.scan().unwrap();
    assert!(found.damaged.is_empty() && found.vdis.len() == 1);
    sr.detach().unwrap();
    drop(sr);
    let sr = lvm_disk::driver().attach(&params).unwrap();
    assert_eq!(bytes(&*sr, vdi(1)), model);
    assert_eq!(sr.scan().unwrap().vdis, found.vdis);
    disk.judge("attached again");
}

#[test]
fn chains_on_thick_volumes_get_shorter() {
    coalesces("thick");
}

#[test]
fn chains_on_thin_volumes_get_shorter() {
    coalesces("thin");
}

/// What a merge needs it has before it begins, so that a group that gets full meanwhile does it no harm.
#[test]
fn a_group_that_is_nearly_full_refuses_and_loses_nothing() {
    let disk = Disk::new(256 << 20);
    let driver = driver();
    let params = disk.params(&[("allocation", "thin")]);
    driver.create(&params).unwrap();
    let sr = driver.attach(&params).unwrap();
    sr.create_vdi(&new_vdi(1, SIZE)).unwrap();
    write(&*sr, vdi(1), 1, 0, 4 << 20);
    snapshot(&*sr, 2);
    write(&*sr, vdi(1), 2, 4 * MIB, 8 << 20);
    let before = bytes(&*sr, vdi(1));
    sr.delete_vdi(vdi(2)).unwrap();
    let space = sr.space().unwrap();
    let free = space.physical_size - space.physical_utilisation;
    sr.create_vdi(&new_raw_vdi(3, free - 4 * MIB)).unwrap();
    let work = next(&*sr).unwrap();
    let chains = sr.chains().unwrap();
    let failed = chains.run(&work, &Arc::new(Control::default()));
    let failed = failed.unwrap_err();
    assert!(failed.is_no_space(), "{failed:?}");
    disk.judge("refused");
    assert_eq!(bytes(&*sr, vdi(1)), before);
    sr.delete_vdi(vdi(3)).unwrap();

    // Filled while it merges.
    let control = Arc::new(Control::default());
    control.pause();
    let outcome = std::thread::scope(|scope| {
        let step = scope.spawn(|| chains.run(&work, &control));
        while control.progress().done == 0 && !step.is_finished() {
            std::thread::yield_now();
        }
        let space = sr.space().unwrap();
        let free = space.physical_size - space.physical_utilisation;
        sr.create_vdi(&new_raw_vdi(3, free)).unwrap();
        control.resume();
        step.join().unwrap()
    });
    match outcome {
        Err(error) => assert!(error.is_no_space(), "{error:?}"),
        Ok(outcome) => assert_eq!(outcome, Outcome::Done),
    }
    disk.judge("filled meanwhile");
    assert_eq!(bytes(&*sr, vdi(1)), before);
    sr.delete_vdi(vdi(3)).unwrap();
    coalesce(&*sr);
    assert_eq!(bytes(&*sr, vdi(1)), before);
    disk.judge("merged");
    assert_eq!(sr.scan().unwrap().vdis.len(), 1);
}

#[test]
fn change_tracking_logs_are_volumes() {
    let disk = Disk::new(512 << 20);
    let driver = driver();
    let params = disk.params(&[]);
    driver.create(&params).unwrap();
    let sr = driver.attach(&params).unwrap();
    sr.create_vdi(&new_vdi(1, SIZE)).unwrap();
    assert!(sr.enable_cbt(vdi(1)).unwrap().cbt_enabled);
    write(&*sr, vdi(1), 1, 0, 4096);
    snapshot(&*sr, 2);
    write(&*sr, vdi(1), 2, 10 * MIB, 4096);
    let open = sr.open_vdi(vdi(1), OpenMode::ReadWrite).unwrap();
    open.write_at(&[3; 512], 15 * MIB).unwrap();
    snapshot(&*sr, 3);
    open.write_at(&[4; 512], 16 * MIB).unwrap();
    open.close().unwrap();
    drop(open);
    disk.judge("tracked");
    if let Some(volumes) = disk.volumes() {
        for number in 1..4 {
            let (size, attributes, tags) = &volumes[&format!("{}.cbtlog", vdi(number))];
            assert_eq!((*size, tags.as_str()), (4, "cbtlog"), "{attributes}");
        }
    }
    // One bit for 64 KiB, the first one the highest.
    let changed = |sr: &dyn AttachedSr, from: u128| {
        let map = sr.changed_blocks(vdi(from), vdi(3)).unwrap();
        let bits = (0..map.len() * 8).filter(|bit| map[bit / 8] & (0x80 >> (bit % 8)) != 0);
        bits.collect::<Vec<_>>()
    };
    assert_eq!(changed(&*sr, 2), [160, 240]);
    assert!(sr.destroy_vdi_data(vdi(2)).unwrap().is_cbt_metadata);
    disk.judge("only the log of a snapshot is left");
    if let Some(volumes) = disk.volumes() {
        assert!(!volumes.contains_key(&format!("VHD-{}", vdi(2))));
    }
    sr.detach().unwrap();
    drop(sr);
    let sr = lvm_disk::driver().attach(&params).unwrap();
    assert_eq!(changed(&*sr, 2), [160, 240]);
    let found = sr.scan().unwrap();
    let metadata = found.vdis.iter().filter(|vdi| vdi.is_cbt_metadata);
    assert_eq!(metadata.map(|vdi| vdi.uuid).collect::<Vec<_>>(), [vdi(2)]);
    for gone in [2, 3, 1] {
        sr.delete_vdi(vdi(gone)).unwrap();
    }
    coalesce(&*sr);
    disk.judge("nothing is left");
    if let Some(volumes) = disk.volumes() {
        assert_eq!(volumes.keys().collect::<Vec<_>>(), ["MGT"]);
    }
}

/// XenServer made such SRs before there were VHDs: raw volumes, no `MGT`, no `use_vhd`.
#[test]
fn an_sr_of_before_there_were_vhds_stays_raw() {
    let disk = Disk::new(256 << 20);
    let Some(tools) = &disk.tools else { return };
    let device = disk.device.to_str().unwrap();
    tools.run("pvcreate", &["-ff", "-y", "--metadatasize", "10M", device]);
    tools.run("vgcreate", &["--metadatasize", "10M", &vg(), device]);
    let name = format!("LV-{}", vdi(1));
    let flags = ["-an", "-Zn", "-Wn", "-y", "-n", &name, "-L", "12m", &vg()];
    tools.run("lvcreate", &flags);
    let params = SrParams {
        sm_config: BTreeMap::new(),
        ..disk.params(&[])
    };
    let sr = driver().attach(&params).unwrap();
    let found = sr.scan().unwrap();
    assert!(found.damaged.is_empty(), "{:?}", found.damaged);
    let [old] = &found.vdis[..] else {
        panic!("{:?}", found.vdis)
    };
    assert_eq!((old.uuid, old.virtual_size), (vdi(1), 12 * MIB));
    assert_eq!(old.sm_config["type"], "raw");
    assert!(!sr.keeps_labels());
    let made = sr.create_vdi(&new_vdi(2, 10 * MIB)).unwrap();
    assert_eq!(made.sm_config["type"], "raw");
    for (number, fill) in [(1, 5), (2, 6)] {
        write(&*sr, vdi(number), fill, 11 * MIB, 4096);
    }
    for kind in [SnapshotKind::Snapshot, SnapshotKind::Clone] {
        let refused = sr.snapshot_vdi(vdi(1), vdi(3), kind).unwrap_err();
        // What clients are shown for the driver's 38.
        assert_eq!(refused.code, "SR_OPERATION_NOT_SUPPORTED");
    }
    let use_vhd = sr.config_changes().sm_config.get("use_vhd").cloned();
    assert_ne!(use_vhd.flatten().as_deref(), Some("true"));
    sr.detach().unwrap();
    drop(sr);
    let sr = driver().attach(&params).unwrap();
    assert_eq!(byte(&*sr, vdi(1), 11 * MIB), 5);
    assert_eq!(byte(&*sr, vdi(2), 11 * MIB), 6);
    disk.judge("used");
    let volumes = disk.volumes().unwrap();
    let names = [1, 2].map(|number| format!("LV-{}", vdi(number)));
    assert_eq!(volumes.into_keys().collect::<Vec<_>>(), names);
}
