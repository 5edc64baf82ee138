//! Crashes: devices that log writes and flushes are cut at every point, with any subset of the sectors that were not yet
//! flushed. Our reader and the LVM2 tools find the group as it was before the commit or as it is after it, and the next
//! commit makes all metadata areas equal again.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lvm::metadata::VolumeGroup;
use lvm::{Error, ErrorKind, Group, NewGroup, Overwrite, Result};
use support::{Event, FileDevice, Recorder, devices, memory};
use testkit::lvm_tools::LvmTools;

const GROUP: &str = "VG_XenStorage-crash";
const SECTOR: usize = 512;
/// Where the header of the metadata area lies.
const HEADER: std::ops::Range<usize> = 4096..4608;
/// Sectors of which every subset is tried; of more, some.
const EVERY_SUBSET: usize = 5;
/// Subsets that are tried of many sectors.
const SOME_SUBSETS: u64 = 12;

type Edit = fn(&mut VolumeGroup) -> Result<()>;

/// The commits that are cut.
const COMMITS: [(&str, Edit); 4] = [
    ("create", |vg| {
        vg.create_lv("VHD-new", 512 << 10, &["journaler"])
    }),
    ("rename", |vg| vg.rename_lv("VHD-new", "VHD-renamed")),
    ("resize", |vg| vg.resize_lv("VHD-renamed", 768 << 10)),
    ("remove", |vg| vg.remove_lv("VHD-renamed")),
];

fn small() -> NewGroup {
    NewGroup {
        extent_size: 64 << 10,
        metadata_size: 64 << 10,
        ..NewGroup::default()
    }
}

/// What a crash leaves.
type Disks = Vec<Vec<u8>>;

/// The disks after the first `cut` events: what was flushed, and of the rest the sectors that `survives` names.
fn after(before: &Disks, events: &[Event], survives: impl Fn(usize) -> bool) -> Disks {
    let mut disks = before.clone();
    let mut pending: Vec<(usize, usize, &[u8])> = Vec::new();
    for event in events {
        match event {
            Event::Write(disk, offset, data) => {
                let sectors = data.chunks(SECTOR).enumerate();
                pending.extend(
                    sectors.map(|(number, sector)| {
                        (*disk, *offset as usize + number * SECTOR, sector)
                    }),
                );
            }
            Event::Flush(flushed) => pending.retain(|(disk, offset, sector)| {
                if disk == flushed {
                    disks[*disk][*offset..offset + sector.len()].copy_from_slice(sector);
                }
                disk != flushed
            }),
        }
    }
    for (number, (disk, offset, sector)) in pending.into_iter().enumerate() {
        if survives(number) {
            disks[disk][offset..offset + sector.len()].copy_from_slice(sector);
        }
    }
    disks
}

/// How many sectors were written and not flushed.
fn pending(events: &[Event]) -> usize {
    let mut pending: Vec<(usize, usize)> = Vec::new();
    for event in events {
        match event {
            Event::Write(disk, _, data) => pending.push((*disk, data.len().div_ceil(SECTOR))),
            Event::Flush(flushed) => pending.retain(|(disk, _)| disk != flushed),
        }
    }
    pending.iter().map(|(_, sectors)| sectors).sum()
}

/// All that crashes inside these events can leave, within the bounds above.
fn crashes(before: &Disks, events: &[Event]) -> BTreeSet<Disks> {
    let mut states = BTreeSet::new();
    for cut in 0..=events.len() {
        let events = &events[..cut];
        let count = pending(events);
        if count <= EVERY_SUBSET {
            for subset in 0..1_usize << count {
                states.insert(after(before, events, |sector| subset >> sector & 1 == 1));
            }
            continue;
        }
        states.insert(after(before, events, |_| true));
        for seed in 1..SOME_SUBSETS {
            let bit = |sector: usize| {
                (sector as u64 + 1).wrapping_mul(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)) >> 63
                    == 1
            };
            states.insert(after(before, events, bit));
        }
    }
    states
}

fn open(disks: &Disks) -> Group {
    let (recorders, _) = Recorder::new(disks.clone());
    Group::open(devices(&recorders)).unwrap()
}

/// A commit: its name, the groups before and after it, and what crashes in it leave.
type History = (&'static str, [Arc<VolumeGroup>; 2], BTreeSet<Disks>);

/// The commits to a group with a volume.
fn histories(mib: &[u64]) -> Vec<History> {
    let (recorders, log) = Recorder::new(memory(mib));
    let group = Group::create(devices(&recorders), GROUP, &small()).unwrap();
    group.commit(|vg| vg.create_lv("MGT", 1, &[])).unwrap();
    let histories = COMMITS.iter().map(|(name, edit)| {
        let disks: Disks = recorders.iter().map(|one| one.bytes()).collect();
        log.lock().unwrap().events.clear();
        let before = group.volume_group();
        group.commit(edit).unwrap();
        let states = crashes(&disks, &log.lock().unwrap().events);
        (*name, [before, group.volume_group()], states)
    });
    histories.collect()
}

#[test]
fn every_crash_leaves_the_old_group_or_the_new_one() {
    for mib in [&[2][..], &[2, 2]] {
        for (name, groups, states) in histories(mib) {
            let mut seen = [false; 2];
            for disks in &states {
                let group = open(disks);
                let found = group.volume_group();
                let which = groups.iter().position(|one| **one == *found);
                seen[which.unwrap_or_else(|| panic!("{name}: neither old nor new"))] = true;
                group.commit(|vg| vg.create_lv("next", 1, &[])).unwrap();
                assert_eq!(group.outdated(), [], "{name}");
                group.repair().unwrap();
            }
            assert_eq!(seen, [true; 2], "{name}: crashes show both");
        }
    }
}

#[test]
fn the_tools_find_the_old_group_or_the_new_one() {
    let Some(mut tools) = LvmTools::new() else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let files = ["a", "b"].map(|name| directory.path().join(name));
    for file in &files {
        FileDevice::create(file, 2);
        tools.attach(file);
    }
    for (name, groups, states) in histories(&[2, 2]) {
        // The tools take a while: of states that differ in text alone, which no header names yet, one.
        let headers = |disks: &Disks| -> Disks {
            let headers = disks.iter().map(|disk| disk[HEADER].to_vec());
            headers.collect()
        };
        let states: BTreeMap<Disks, &Disks> =
            states.iter().map(|disks| (headers(disks), disks)).collect();
        for disks in states.values() {
            for (file, bytes) in files.iter().zip(*disks) {
                std::fs::write(file, bytes).unwrap();
            }
            let backup = tools.backup(GROUP);
            let mut found = VolumeGroup::parse(backup.as_bytes(), "backup").unwrap();
            for (their, our) in found
                .physical_volumes
                .iter_mut()
                .zip(&groups[0].physical_volumes)
            {
                their.device.clone_from(&our.device);
            }
            assert!(groups.iter().any(|one| **one == found), "{name}: {backup}");
            let complaints = tools.complaints("vgck", &[GROUP]);
            // Areas of two sequence numbers are what the tools themselves leave and repair.
            let is_known = complaints.is_empty() || complaints.contains("ignoring metadata seqno");
            assert!(
                is_known && !complaints.contains("vgck ended"),
                "{name}: {complaints}"
            );
            for device in tools.devices() {
                let device = device.display().to_string();
                assert_eq!(tools.complaints("pvck", &[&device]), "", "{name}");
            }
        }
    }
}

#[test]
fn a_crash_in_create_leaves_no_group_or_a_whole_one() {
    for mib in [&[2][..], &[2, 2]] {
        let (recorders, log) = Recorder::new(memory(mib));
        let group = Group::create(devices(&recorders), GROUP, &small()).unwrap();
        let made = group.volume_group();
        let mut seen = [false; 2];
        for disks in crashes(&memory(mib), &log.lock().unwrap().events) {
            let (recorders, _) = Recorder::new(disks);
            match Group::open(devices(&recorders)) {
                Ok(group) => {
                    assert_eq!(*group.volume_group(), *made);
                    seen[1] = true;
                }
                Err(Error::NotPhysicalVolume { .. }) => seen[0] = true,
                Err(error) => panic!("{error}"),
            }
            let again = NewGroup {
                overwrite: Overwrite::Force,
                ..small()
            };
            Group::create(devices(&recorders), GROUP, &again).unwrap();
        }
        assert_eq!(seen, [true; 2]);
    }
}

#[test]
fn a_crash_in_remove_leaves_the_group_or_devices_to_wipe() {
    let (recorders, log) = Recorder::new(memory(&[2, 2]));
    let group = Group::create(devices(&recorders), GROUP, &small()).unwrap();
    let disks: Disks = recorders.iter().map(|one| one.bytes()).collect();
    log.lock().unwrap().events.clear();
    group.remove().unwrap();
    for disks in crashes(&disks, &log.lock().unwrap().events) {
        let (recorders, _) = Recorder::new(disks);
        let all = devices(&recorders);
        match Group::open(all.clone()) {
            Ok(group) => group.remove().unwrap(),
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotLvm, "{error}"),
        }
        for device in &all {
            lvm::label::wipe(&**device).unwrap();
            assert!(lvm::group::inspect(&**device).unwrap().is_none());
        }
    }
}

#[test]
fn a_device_that_fails_poisons_the_group_until_it_is_reloaded() {
    let (recorders, log) = Recorder::new(memory(&[2, 2]));
    let group = Group::create(devices(&recorders), GROUP, &small()).unwrap();
    for (number, fails_after) in (0..12).enumerate() {
        let before = group.volume_group();
        let mut events = log.lock().unwrap();
        events.events.clear();
        events.fails_after = Some(fails_after);
        drop(events);
        let done = group.commit(|vg| vg.create_lv(&format!("lv{number}"), 1, &[]));
        log.lock().unwrap().fails_after = None;
        assert_eq!(done.unwrap_err().kind(), ErrorKind::Io);
        let refused = group.commit(|vg| vg.create_lv("x", 1, &[])).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Poisoned);
        assert_eq!(*group.volume_group(), *before, "readers see the old group");
        group.reload().unwrap();
        let after = group.volume_group();
        let is_old = *after == *before;
        assert!(is_old || after.sequence == before.sequence + 1);
        group.repair().unwrap();
        assert_eq!(group.outdated(), []);
    }
    group.commit(|vg| vg.create_lv("x", 1, &[])).unwrap();
}
