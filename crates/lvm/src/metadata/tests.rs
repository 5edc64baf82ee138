//! Edits against a model of which extent is whose, and texts that are damaged.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{PhysicalVolume, Run, SegmentKind, VolumeGroup, Writer};
use crate::{Error, ErrorKind, Id};

const EXTENT: u64 = 4 << 20;

fn writer() -> Writer {
    Writer {
        host: "here".to_owned(),
        time: 1_700_000_000,
    }
}

fn group(extents: &[u64]) -> VolumeGroup {
    let on = |(number, extents): (usize, &u64)| PhysicalVolume {
        name: format!("pv{number}"),
        id: Id::random(),
        device: format!("/dev/sd{number}"),
        status: vec!["ALLOCATABLE".to_owned()],
        flags: Vec::new(),
        device_size: 22_528 + extents * 8192,
        data_start: 22_528,
        extents: *extents,
        others: Vec::new(),
    };
    VolumeGroup {
        name: "vg".to_owned(),
        id: Id::random(),
        sequence: 7,
        extent_size: EXTENT / 512,
        status: ["RESIZEABLE", "READ", "WRITE"].map(str::to_owned).to_vec(),
        flags: Vec::new(),
        tags: Vec::new(),
        physical_volumes: extents.iter().enumerate().map(on).collect(),
        logical_volumes: Vec::new(),
        others: Vec::new(),
        lossy: false,
    }
}

fn read_back(group: &VolumeGroup) -> VolumeGroup {
    VolumeGroup::parse(&group.to_text(&writer()), "test").unwrap()
}

#[test]
fn sizes_are_whole_extents_and_at_least_one() {
    let mut vg = group(&[100]);
    for (name, size, extents) in [
        ("a", 0, 1),
        ("b", 1, 1),
        ("c", EXTENT, 1),
        ("d", EXTENT + 1, 2),
    ] {
        vg.create_lv(name, size, &[]).unwrap();
        assert_eq!(vg.get(name).unwrap().extents(), extents, "{name}");
    }
    assert_eq!(vg.free_extents(), 95);
    assert_eq!(vg.used(), 5 * EXTENT);
    assert_eq!(read_back(&vg), vg);
}

#[test]
fn takes_the_first_run_that_holds_all_then_few_long_ones() {
    let mut vg = group(&[10, 6]);
    for (name, extents) in [("a", 2), ("b", 3), ("c", 1), ("d", 4)] {
        vg.create_lv(name, extents * EXTENT, &[]).unwrap();
    }
    vg.remove_lv("b").unwrap();
    // Free: 3 extents in the middle of the first, 6 on the second.
    vg.create_lv("small", 2 * EXTENT, &[]).unwrap();
    assert_eq!(
        vg.extents("small").unwrap()[0].offset,
        22_528 * 512 + 2 * EXTENT
    );
    vg.create_lv("large", 5 * EXTENT, &[]).unwrap();
    assert_eq!(vg.extents("large").unwrap()[0].pv, 1);
    // What is left is one extent on each.
    vg.resize_lv("large", 7 * EXTENT).unwrap();
    assert_eq!(vg.get("large").unwrap().segments.len(), 2);
    assert_eq!(vg.free_extents(), 0);
    assert!(matches!(
        vg.create_lv("e", 1, &[]),
        Err(Error::NoExtents {
            wanted: 1,
            free: 0,
            ..
        })
    ));
    let names: Vec<&str> = vg
        .logical_volumes
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(names, ["a", "c", "d", "small", "large"]);
}

#[test]
fn a_group_can_have_a_limit_of_its_own() {
    let mut vg = group(&[10]);
    vg.create_lv("a", 1, &[]).unwrap();
    let text = String::from_utf8(vg.to_text(&writer())).unwrap();
    let text = text.replace("extent_size", "max_lv = 2\nextent_size");
    let mut vg = VolumeGroup::parse(text.as_bytes(), "test").unwrap();
    vg.create_lv("b", 1, &[]).unwrap();
    let refused = vg.create_lv("c", 1, &[]).unwrap_err();
    assert!(matches!(refused, Error::Limit { maximum: 2, .. }));
}

#[test]
fn refuses_names_that_the_tools_refuse() {
    let mut vg = group(&[10]);
    let long = "x".repeat(128);
    for name in [
        "",
        "-a",
        ".",
        "..",
        "a b",
        "a/b",
        "pvmove0",
        "snapshot1",
        "a_mlog",
        &long,
        "\u{e4}",
    ] {
        let refused = vg.create_lv(name, 1, &[]).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{name}");
    }
    vg.create_lv("a", 1, &[]).unwrap();
    vg.create_lv("b", 1, &[]).unwrap();
    assert_eq!(
        vg.create_lv("a", 1, &[]).unwrap_err().kind(),
        ErrorKind::Exists
    );
    assert_eq!(
        vg.rename_lv("a", "b").unwrap_err().kind(),
        ErrorKind::Exists
    );
    assert_eq!(
        vg.rename_lv("c", "d").unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert_eq!(
        vg.add_tag("a", "a b").unwrap_err().kind(),
        ErrorKind::Invalid
    );
}

#[test]
fn keeps_what_it_does_not_know() {
    let mut vg = group(&[10]);
    vg.create_lv("a", 1, &[]).unwrap();
    let text = String::from_utf8(vg.to_text(&writer())).unwrap();
    let text = text
        .replace("extent_size", "novel = [\"x\", 1, 1.5]\nextent_size")
        .replace("\npe_count", "\ndevice_id_type = \"sys_wwid\"\npe_count")
        .replace("segment_count", "read_ahead = -1\nsegment_count")
        .replace("# Generated", "# Generated later")
        .replace(
            "logical_volumes {",
            "historical_logical_volumes {\nold {\nid = 1\n}\n}\nlogical_volumes {",
        );
    let vg = VolumeGroup::parse(text.as_bytes(), "test").unwrap();
    vg.changeable().unwrap();
    assert_eq!(read_back(&vg), vg);
    let written = String::from_utf8(vg.to_text(&writer())).unwrap();
    for kept in [
        "novel = [\"x\", 1, 1.5]",
        "device_id_type",
        "read_ahead = -1",
        "old {",
    ] {
        assert!(written.contains(kept), "{kept}");
    }
}

#[test]
fn refuses_to_change_what_it_does_not_understand() {
    let mut vg = group(&[10]);
    vg.create_lv("a", 1, &[]).unwrap();
    let text = String::from_utf8(vg.to_text(&writer())).unwrap();
    for (from, to) in [
        ("type = \"striped\"", "type = \"mirror\""),
        ("type = \"striped\"", "type = \"striped+CACHED\""),
        (
            "type = \"striped\"",
            "type = \"striped\"\nreshape_count = 1",
        ),
        ("\"VISIBLE\"]", "\"VISIBLE\", \"LOCKED\"]"),
        ("\"ALLOCATABLE\"]", "\"ALLOCATABLE\", \"MISSING\"]"),
        ("\"WRITE\"]\nflags", "\"CLUSTERED\", \"WRITE\"]\nflags"),
        ("extent_size", "lock_type = \"sanlock\"\nextent_size"),
        ("extent_size", "system_id = \"other\"\nextent_size"),
        ("\"RESIZEABLE\"", "\"EXPORTED\""),
        ("\"pv0\", 0", "\"other\", 0"),
        ("extent_size", "format = \"lvm1\"\nextent_size"),
    ] {
        let text = text.replacen(from, to, 1);
        let vg = VolumeGroup::parse(text.as_bytes(), "test").unwrap();
        let refused = vg.changeable().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported, "{to}");
    }
}

#[test]
fn refuses_groups_that_do_not_hold_together() {
    let mut vg = group(&[10]);
    vg.create_lv("a", 3 * EXTENT, &[]).unwrap();
    vg.create_lv("b", 3 * EXTENT, &[]).unwrap();
    let text = String::from_utf8(vg.to_text(&writer())).unwrap();
    let id = vg.logical_volumes[0].id.to_string();
    for (from, to) in [
        ("\"pv0\", 3", "\"pv0\", 2"),
        ("\"pv0\", 3", "\"pv0\", 8"),
        ("\"pv0\", 3", "\"pv0\", -1"),
        ("\"pv0\", 3", "\"pv0\", 4294967295"),
        ("start_extent = 0", "start_extent = 1"),
        ("extent_count = 3", "extent_count = 0"),
        ("extent_size = 8192", "extent_size = 0"),
        ("segment_count = 1", "segment_count = 2"),
        ("stripe_count = 1", "stripe_count = 2"),
        ("pe_start = 22528", "pe_start = 18014398509481984"),
        ("seqno = 7", "seqno = 4294967296"),
        ("seqno = 7", ""),
        (id.as_str(), "abc"),
        ("\nb {", "\na {"),
        ("version = 1", "version = 2"),
        ("Text Format", "Binary"),
    ] {
        assert!(text.contains(from), "{from}");
        let text = text.replacen(from, to, 1);
        assert!(
            VolumeGroup::parse(text.as_bytes(), "test").is_err(),
            "{from} -> {to}"
        );
    }
}

#[derive(Clone, Debug)]
enum Edit {
    Create(u8, u64),
    Remove(u8),
    Rename(u8, u8),
    Resize(u8, u64),
    Tag(u8),
    Writable(u8, bool),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = prop_oneof![
        3 => (0_u8..12, 0_u64..12).prop_map(|(name, size)| Edit::Create(name, size)),
        1 => (0_u8..12).prop_map(Edit::Remove),
        1 => (0_u8..12, 0_u8..12).prop_map(|(from, to)| Edit::Rename(from, to)),
        3 => (0_u8..12, 0_u64..20).prop_map(|(name, size)| Edit::Resize(name, size)),
        1 => (0_u8..12).prop_map(Edit::Tag),
        1 => (0_u8..12, any::<bool>()).prop_map(|(name, yes)| Edit::Writable(name, yes)),
    ];
    prop::collection::vec(edit, 0..40)
}

fn apply(vg: &mut VolumeGroup, edit: &Edit) -> crate::Result<()> {
    let name = |number: &u8| format!("lv{number}");
    match edit {
        Edit::Create(one, extents) => vg.create_lv(&name(one), extents * EXTENT, &["new"]),
        Edit::Remove(one) => vg.remove_lv(&name(one)),
        Edit::Rename(from, to) => vg.rename_lv(&name(from), &name(to)),
        Edit::Resize(one, extents) => vg.resize_lv(&name(one), extents * EXTENT),
        Edit::Tag(one) => vg.add_tag(&name(one), "tag"),
        Edit::Writable(one, yes) => vg.set_writable(&name(one), *yes),
    }
}

/// Each extent of each volume by its identity, in order.
fn places(vg: &VolumeGroup) -> BTreeMap<Id, Vec<(usize, u64)>> {
    let place = |volume: &super::LogicalVolume| {
        let stripes = volume.segments.iter().flat_map(|segment| {
            let stripe = segment.single().unwrap();
            (0..segment.extents).map(move |extent| (stripe.physical_volume, stripe.extent + extent))
        });
        (volume.id, stripes.collect())
    };
    vg.logical_volumes
        .iter()
        .map(|volume| place(volume))
        .collect()
}

proptest! {
    #[test]
    fn edits_keep_every_extent_where_it_was(edits in edits()) {
        let mut vg = group(&[20, 5, 17]);
        for edit in &edits {
            let before = vg.clone();
            let old = places(&vg);
            if apply(&mut vg, edit).is_err() {
                prop_assert_eq!(&vg, &before);
                continue;
            }
            vg.check().unwrap();
            vg.changeable().unwrap();
            let new = places(&vg);
            for (id, extents) in &new {
                let had = old.get(id).map(Vec::as_slice).unwrap_or_default();
                let kept = had.len().min(extents.len());
                prop_assert_eq!(&extents[..kept], &had[..kept]);
            }
            let used: u64 = new.values().map(|extents| extents.len() as u64).sum();
            prop_assert_eq!(used, vg.used_extents());
            prop_assert_eq!(used + vg.free_extents(), vg.total_extents());
            for volume in &vg.logical_volumes {
                let extents = vg.extents(&volume.name).unwrap();
                prop_assert_eq!(extents.iter().map(|one| one.length).sum::<u64>(), vg.size_of(volume));
            }
            prop_assert_eq!(read_back(&vg), vg.clone());
        }
    }

    #[test]
    fn damaged_texts_never_panic(cut in 0_usize..2000, position in 0_usize..2000, byte: u8, number: u64) {
        let mut vg = group(&[10, 10]);
        vg.create_lv("a", 12 * EXTENT, &["tag"]).unwrap();
        let text = vg.to_text(&writer());
        let _ = VolumeGroup::parse(&text[..cut.min(text.len())], "test");
        let mut damaged = text.clone();
        let position = position % damaged.len();
        damaged[position] = byte;
        if let Ok(vg) = VolumeGroup::parse(&damaged, "test") {
            let _ = (vg.extents("a"), vg.free_runs(), vg.size(), vg.used());
        }
        // Every number in turn.
        let shown = String::from_utf8(text).unwrap();
        for key in ["extent_size", "pe_start", "pe_count", "start_extent", "extent_count", "dev_size"] {
            let begin = shown.find(key).unwrap() + key.len() + 3;
            let end = begin + shown[begin..].find('\n').unwrap();
            let changed = format!("{}{}{}", &shown[..begin], number >> 1, &shown[end..]);
            if let Ok(vg) = VolumeGroup::parse(changed.as_bytes(), "test") {
                let _ = (vg.extents("a"), vg.free_runs(), vg.size(), vg.used());
            }
        }
    }
}

#[test]
fn stripes_take_turns() {
    let mut vg = group(&[10, 10]);
    vg.create_lv("a", 4 * EXTENT, &[]).unwrap();
    let text = String::from_utf8(vg.to_text(&writer())).unwrap();
    let text = text
        .replace("stripe_count = 1", "stripe_count = 2\nstripe_size = 4096")
        .replace("\"pv0\", 0", "\"pv0\", 5, \"pv1\", 1");
    let vg = VolumeGroup::parse(text.as_bytes(), "test").unwrap();
    let map = vg.map("a").unwrap();
    let data = 22_528 * 512;
    let at = |offset| {
        map.locate(offset)
            .map(|one| (one.pv, one.offset - data, one.length))
    };
    assert_eq!(at(0), Some((0, 5 * EXTENT, 2 << 20)));
    assert_eq!(at((2 << 20) + 5), Some((1, EXTENT + 5, (2 << 20) - 5)));
    assert_eq!(at(4 << 20), Some((0, 5 * EXTENT + (2 << 20), 2 << 20)));
    assert_eq!(at(4 * EXTENT), None);
    assert!(matches!(
        vg.get("a").unwrap().segments[0].kind,
        SegmentKind::Striped {
            stripe_size: 4096,
            ..
        }
    ));
    let free: Vec<Run> = vg.free_runs();
    assert_eq!(free.iter().map(|run| run.extents).sum::<u64>(), 16);
}
