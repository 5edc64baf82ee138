//! Devices that are not as they should be: missing, doubled, foreign, stale, damaged, full, grown.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use lvm::area::{Header, TextLocation};
use lvm::device::Device;
use lvm::group::inspect;
use lvm::label::{Label, Location, probe, wipe};
use lvm::{Error, ErrorKind, Group, NewGroup, Overwrite};
use proptest::prelude::*;
use support::{Recorder, devices, memory};

fn small() -> NewGroup {
    NewGroup {
        extent_size: 64 << 10,
        metadata_size: 64 << 10,
        ..NewGroup::default()
    }
}

fn group(name: &str, mib: &[u64]) -> (Vec<Arc<dyn Device>>, Vec<Arc<Recorder>>) {
    let (recorders, _) = Recorder::new(memory(mib));
    let group = Group::create(devices(&recorders), name, &small()).unwrap();
    let size = group.volume_group().size() / 2;
    group
        .commit(|vg| vg.create_lv("volume", size, &[]))
        .unwrap();
    (devices(&recorders), recorders)
}

fn copy(of: &Arc<Recorder>) -> Arc<dyn Device> {
    let (recorders, _) = Recorder::new(vec![of.bytes()]);
    devices(&recorders).remove(0)
}

fn refused(devices: Vec<Arc<dyn Device>>) -> Error {
    match Group::open(devices) {
        Ok(_) => panic!("such devices are not a group"),
        Err(error) => error,
    }
}

/// Flips a bit of a device.
fn damage(device: &Arc<dyn Device>, offset: u64) {
    let mut byte = [0];
    device.read_at(&mut byte, offset).unwrap();
    device.write_at(&[byte[0] ^ 4], offset).unwrap();
}

#[test]
fn every_physical_volume_has_to_be_there_once() {
    let (mut devices, recorders) = group("vg", &[4, 4]);
    assert!(
        matches!(refused(devices[..1].to_vec()), Error::MissingPhysicalVolumes { missing, .. } if missing.len() == 1)
    );
    let twice = vec![devices[0].clone(), devices[1].clone(), copy(&recorders[0])];
    assert!(matches!(
        refused(twice),
        Error::DuplicatePhysicalVolume { .. }
    ));
    let (empty, _) = Recorder::new(memory(&[4]));
    let with_empty = [devices.clone(), support::devices(&empty)].concat();
    assert_eq!(refused(with_empty).kind(), ErrorKind::NotLvm);
    assert_eq!(refused(Vec::new()).kind(), ErrorKind::NotLvm);
    devices.reverse();
    let turned = Group::open(devices.clone()).unwrap();
    assert_eq!(turned.devices()[0].name(), "device 0");
}

#[test]
fn one_name_twice_is_two_groups() {
    let (first, _) = group("vg", &[4, 4]);
    let (second, _) = group("vg", &[4, 4]);
    let error = refused([first, second].concat());
    assert!(matches!(error, Error::SeveralGroups { first, second, .. } if first != second));
}

#[test]
fn a_device_that_was_taken_out_is_not_in_the_group() {
    let (devices, recorders) = group("vg", &[4, 4]);
    let (single, _) = group("vg", &[4]);
    // The metadata of a group of one device, with a second device beside it that has its own label only.
    let label = probe(&*single[0]).unwrap().unwrap();
    let stranger = copy(&recorders[1]);
    let header = lvm::area::Header::new(label.metadata_areas[0]);
    stranger.write_at(&header.to_bytes(), 4096).unwrap();
    let error = refused(vec![single[0].clone(), stranger]);
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(matches!(error, Error::NotMember { .. }));
    Group::open(devices).unwrap();
}

#[test]
fn a_stale_copy_is_recognised_and_repaired() {
    let (devices, recorders) = group("vg", &[4, 4]);
    let stale = copy(&recorders[1]);
    let group = Group::open(devices.clone()).unwrap();
    group
        .commit(|vg| vg.rename_lv("volume", "renamed"))
        .unwrap();
    let group = Group::open(vec![devices[0].clone(), stale.clone()]).unwrap();
    assert!(group.volume_group().find("renamed").is_some());
    let outdated = group.outdated();
    assert_eq!(outdated.len(), 1);
    assert_eq!(outdated[0].sequence, Some(2));
    group.repair().unwrap();
    assert_eq!(group.outdated(), []);
    assert_eq!(
        inspect(&*stale).unwrap().unwrap().group.unwrap().sequence,
        4
    );
}

#[test]
fn a_damaged_area_is_read_from_the_other_and_repaired() {
    // The header, and the text.
    for offset in [4096 + 50, 4096 + 1024 + 30, 4096 + 512 + 1400] {
        let (devices, _) = group("vg", &[4, 4]);
        let text = inspect(&*devices[0]).unwrap().unwrap().group.unwrap();
        damage(&devices[0], offset);
        let group = Group::open(devices.clone()).unwrap();
        assert_eq!(*group.volume_group(), *text);
        if !group.outdated().is_empty() {
            assert_eq!(group.outdated()[0].sequence, None);
            group.commit(|vg| vg.create_lv("next", 1, &[])).unwrap();
            assert_eq!(group.outdated(), []);
        }
        let alone = inspect(&*devices[0]).unwrap().unwrap();
        assert!(alone.group.is_some());
    }
}

#[test]
fn damage_without_a_sound_copy_is_told() {
    let (devices, _) = group("vg", &[4]);
    damage(&devices[0], 4096 + 50);
    assert_eq!(refused(devices.clone()).kind(), ErrorKind::Corrupt);
    assert_eq!(
        inspect(&*devices[0]).unwrap_err().kind(),
        ErrorKind::Corrupt
    );
    damage(&devices[0], 512 + 40);
    assert_eq!(refused(devices.clone()).kind(), ErrorKind::Corrupt);
    assert_eq!(probe(&*devices[0]).unwrap_err().kind(), ErrorKind::Corrupt);
    wipe(&*devices[0]).unwrap();
    assert!(probe(&*devices[0]).unwrap().is_none());
    assert_eq!(refused(devices).kind(), ErrorKind::NotLvm);
}

#[test]
fn two_writers_are_noticed() {
    let (devices, recorders) = group("vg", &[4, 4]);
    let ours = Group::open(devices.clone()).unwrap();
    let theirs = Group::open(devices.clone()).unwrap();
    theirs.commit(|vg| vg.create_lv("theirs", 1, &[])).unwrap();
    let before: Vec<Vec<u8>> = recorders.iter().map(|one| one.bytes()).collect();
    let error = ours.commit(|vg| vg.create_lv("ours", 1, &[])).unwrap_err();
    assert!(matches!(error, Error::Changed { .. }));
    assert!(
        recorders.iter().map(|one| one.bytes()).eq(before),
        "nothing was written"
    );
    ours.reload().unwrap();
    ours.commit(|vg| vg.create_lv("ours", 1, &[])).unwrap();
    // Both wrote the same number, each on another device.
    let copies = [copy(&recorders[0]), copy(&recorders[1])];
    let split = |one: &Arc<dyn Device>, other: &Arc<dyn Device>| {
        Group::open(vec![one.clone(), other.clone()]).unwrap()
    };
    let first = split(&devices[0], &copies[1]);
    let second = split(&copies[0], &devices[1]);
    first.commit(|vg| vg.create_lv("first", 1, &[])).unwrap();
    second.commit(|vg| vg.create_lv("second", 1, &[])).unwrap();
    assert!(matches!(refused(devices), Error::AreasDisagree { .. }));
}

#[test]
fn a_full_area_changes_nothing() {
    let (recorders, _) = Recorder::new(memory(&[200]));
    let new = NewGroup {
        extent_size: 4 << 10,
        ..small()
    };
    let group = Group::create(devices(&recorders), "vg", &new).unwrap();
    let fill = |number: u32| {
        group.commit(|vg| {
            (0..500).try_for_each(|one| vg.create_lv(&format!("lv{number}-{one}"), 1, &["a-tag"]))
        })
    };
    let full = (0..10).find_map(|number| fill(number).err()).unwrap();
    assert!(matches!(full, Error::MetadataFull { needed, room, .. } if needed > room));
    assert_eq!(full.kind(), ErrorKind::NoSpace);
    let had = group.volume_group();
    let again = Group::open(devices(&recorders)).unwrap();
    assert_eq!(*again.volume_group(), *had);
    // Removing works in a full area.
    group.commit(|vg| vg.remove_lv("lv0-0")).unwrap();
}

#[test]
fn the_ring_goes_round() {
    let (recorders, _) = Recorder::new(memory(&[40]));
    let group = Group::create(devices(&recorders), "vg", &small()).unwrap();
    for number in 0..300 {
        let text = group.commit(|vg| vg.create_lv(&format!("lv{number}"), 1, &["tag"]));
        text.unwrap();
        let again = Group::open(devices(&recorders)).unwrap();
        assert_eq!(*again.volume_group(), *group.volume_group());
    }
    // 300 texts of up to 90 KB in 1 MB have wrapped many times.
    assert_eq!(group.volume_group().sequence, 301);
}

#[test]
fn takes_over_what_a_device_has_grown_by() {
    let (recorders, _) = Recorder::new(memory(&[4, 4]));
    Group::create(devices(&recorders), "vg", &small()).unwrap();
    let mut contents: Vec<Vec<u8>> = recorders.iter().map(|one| one.bytes()).collect();
    contents[1].resize((7 << 20) + 100, 0);
    let (recorders, _) = Recorder::new(contents);
    let group = Group::open(devices(&recorders)).unwrap();
    assert_eq!(group.growth().unwrap(), 3 << 20);
    group.grow().unwrap();
    assert_eq!(group.growth().unwrap(), 0);
    group.commit(|vg| vg.create_lv("a", 9 << 20, &[])).unwrap();
    let again = Group::open(devices(&recorders)).unwrap();
    assert_eq!(again.volume_group().size(), 9 << 20);
    let label = probe(&*again.devices()[1]).unwrap().unwrap();
    assert_eq!(label.device_size, (7 << 20) + 100 - 100);
    // A device that shrank below what is used is refused.
    let mut contents: Vec<Vec<u8>> = recorders.iter().map(|one| one.bytes()).collect();
    contents[1].truncate(5 << 20);
    let (recorders, _) = Recorder::new(contents);
    assert!(matches!(
        refused(devices(&recorders)),
        Error::DeviceTooSmall { .. }
    ));
}

#[test]
fn labels_and_groups_of_others_are_not_overwritten() {
    let (devices, _) = group("vg", &[4]);
    let Err(error) = Group::create(devices.clone(), "other", &small()) else {
        panic!("the device is in use");
    };
    assert!(matches!(error, Error::IsPhysicalVolume { .. }));
    Group::open(devices.clone()).unwrap();
    let forced = NewGroup {
        overwrite: Overwrite::Force,
        ..small()
    };
    Group::create(devices.clone(), "other", &forced).unwrap();
    assert_eq!(Group::open(devices).unwrap().volume_group().name, "other");
}

#[test]
fn impossible_groups_are_refused() {
    let (recorders, _) = Recorder::new(memory(&[1]));
    let create = |name: &str, new: NewGroup| {
        let made = Group::create(devices(&recorders), name, &new);
        made.err().unwrap().kind()
    };
    assert_eq!(create("a b", small()), ErrorKind::Invalid);
    assert_eq!(create("vg", small()), ErrorKind::Invalid);
    let uneven = NewGroup {
        extent_size: 5000,
        ..small()
    };
    assert_eq!(create("vg", uneven), ErrorKind::Invalid);
    assert!(Group::create(Vec::new(), "vg", &small()).is_err());
}

#[test]
fn a_label_may_lie_in_any_of_four_sectors() {
    let (devices, _) = group("vg", &[4]);
    let label = probe(&*devices[0]).unwrap().unwrap();
    for sector in 0..4 {
        wipe(&*devices[0]).unwrap();
        let moved = Label {
            sector,
            ..label.clone()
        };
        devices[0]
            .write_at(&moved.to_bytes(), sector * 512)
            .unwrap();
        assert_eq!(probe(&*devices[0]).unwrap(), Some(moved));
        Group::open(devices.clone()).unwrap();
    }
}

/// Numbers that arithmetic stumbles over, and some that are nearly right.
fn numbers() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        (0_u64..64).prop_map(|shift| u64::MAX >> shift),
        0_u64..10_000,
        (0_u64..20_000).prop_map(|sector| sector * 512),
        Just(4096),
        Just((1 << 20) - 4096),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Labels and headers whose checksums are right and whose fields are anything.
    #[test]
    fn hostile_structures_are_refused_or_harmless(
        areas in prop::collection::vec((numbers(), numbers()), 0..3),
        data in numbers(),
        size in numbers(),
        text in (numbers(), numbers()),
        keeps_areas: bool,
    ) {
        let (devices, recorders) = group("vg", &[2]);
        let mut label = probe(&*devices[0]).unwrap().unwrap();
        let place = label.metadata_areas[0];
        if !keeps_areas {
            let areas = areas.into_iter().map(|(offset, size)| Location { offset, size });
            label.metadata_areas = areas.filter(|area| area.offset > 0).collect();
        }
        label.device_size = size;
        label.data_areas[0].offset = data.max(1);
        devices[0].write_at(&label.to_bytes(), 512).unwrap();
        if text.0 % 3 > 0 {
            let committed = TextLocation { offset: text.0, size: text.1, checksum: 0, flags: 0 };
            let header = Header { committed: Some(committed), ..Header::new(place) };
            devices[0].write_at(&header.to_bytes(), place.offset).unwrap();
        }
        let _ = inspect(&*devices[0]);
        if let Ok(group) = Group::open(devices.clone()) {
            let before = recorders[0].bytes();
            let data_start = group.volume_group().physical_volumes[0].data_start as usize * 512;
            if group.commit(|vg| vg.create_lv("new", 1, &[])).is_ok() {
                prop_assert_eq!(&recorders[0].bytes()[data_start..], &before[data_start..]);
                prop_assert!(Group::open(devices).unwrap().volume_group().find("new").is_some());
            }
        }
    }
}
