//! Crashes in the edits of a single image's headers: hidden flag and parent. What is left must be the old image or the
//! new one, whichever sectors reached the disk.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use support::recorder::{Recorder, every_crash};
use support::volume::Medium;
use uuid::Uuid;
use vhd::check::{CheckOptions, PrimaryFooter, check};
use vhd::image::{self, NewImage, NewParent};
use vhd::{Access, Chain, ErrorKind, MemoryStorage, NoParents, Part, Rule, Storage};

const BLOCK: u64 = 2 << 20;
const LENIENT: CheckOptions = CheckOptions {
    now: None,
    primary_footer: PrimaryFooter::MayBeMissing,
    depth: vhd::check::Depth::Bitmaps,
};

fn dynamic() -> Vec<u8> {
    let storage = Arc::new(MemoryStorage::new());
    image::create_dynamic(&*storage, &NewImage::new(4 * BLOCK, Uuid::from_u128(1))).unwrap();
    let chain = Chain::open(storage.clone(), &NoParents, Access::ReadWrite).unwrap();
    chain.write_at(&[7; 5000], BLOCK).unwrap();
    chain.close().unwrap();
    storage.to_vec()
}

fn parent(uuid: u128, path: &str) -> NewParent {
    NewParent {
        uuid: Uuid::from_u128(uuid),
        timestamp: uuid as u32,
        path: path.to_string(),
    }
}

fn child(path: &str) -> Vec<u8> {
    let storage = MemoryStorage::new();
    let new = NewImage::new(4 * BLOCK, Uuid::from_u128(9));
    image::create_differencing(&storage, &new, &parent(1, path)).unwrap();
    storage.to_vec()
}

fn fixed() -> Vec<u8> {
    let storage = MemoryStorage::new();
    image::create_fixed(&storage, &NewImage::new(BLOCK, Uuid::from_u128(1))).unwrap();
    storage.to_vec()
}

#[test]
fn hidden_is_old_or_new_after_every_crash() {
    let mut without_end = dynamic();
    let end = without_end.len() - 512;
    without_end[end..].fill(0);
    for (start, medium) in [
        (dynamic(), Medium::File),
        (fixed(), Medium::File),
        (without_end, Medium::File),
        (Medium::Volume.bytes(dynamic()), Medium::Volume),
    ] {
        let recorder = Recorder::new(start.clone(), usize::MAX);
        let image = medium.place(recorder.clone());
        image::set_hidden(&*image, true).unwrap();
        let set = recorder.events();
        assert!((2..=4).contains(&set), "{set} events");
        image::set_hidden(&*image, true).unwrap();
        assert_eq!(recorder.events(), set, "nothing to do");
        image::set_hidden(&*image, false).unwrap();
        assert_eq!(recorder.now.to_vec(), start);

        let log = recorder.log.lock().unwrap().clone();
        every_crash(&start, &log, |bytes, kept| {
            let storage = medium.place(Arc::new(MemoryStorage::from(bytes)));
            let info = image::inspect(&*storage).unwrap();
            if kept == set {
                assert!(info.hidden);
            }
            if kept == log.len() {
                assert!(!info.hidden);
            }
            let defects = check(&*storage, &LENIENT).unwrap();
            let harmless = defects
                .iter()
                .all(|defect| defect.rule == Rule::FootersDiffer);
            assert!(harmless, "{defects:?}");
            drop(Chain::open(storage.clone(), &NoParents, Access::ReadWrite).unwrap());
            assert_eq!(check(&*storage, &CheckOptions::default()).unwrap(), []);
            assert_eq!(image::inspect(&*storage).unwrap().hidden, info.hidden);
        });
    }
}

const OLD: &str = "4c1fbe83-7a35-4a5f-8f5c-2f1b6d3f9f10.vhd";
const NEW: &str = "0d3a6e8e-98ab-4a0f-9d9c-aa27b3b0d3c1.vhd";

#[test]
fn a_parent_is_old_or_new_after_every_crash() {
    let deep = format!("../{}/{NEW}", "a".repeat(300));
    let absolute = format!("/srv/{}/{NEW}", "b".repeat(90));
    for (old, new, uuid, medium) in [
        (OLD, NEW, 2, Medium::File),
        (OLD, "LV-0.raw", 0, Medium::File),
        (OLD, &*absolute, 2, Medium::File),
        (OLD, &*deep, 2, Medium::File),
        ("x", NEW, 2, Medium::File),
        (OLD, NEW, 2, Medium::Volume),
        (OLD, &*deep, 2, Medium::Volume),
    ] {
        let start = medium.bytes(child(old));
        let recorder = Recorder::new(start.clone(), usize::MAX);
        let image = medium.place(recorder.clone());
        image::reparent(&*image, &parent(uuid, new)).unwrap();
        let log = recorder.log.lock().unwrap().clone();
        let base = |path: &str| path.rsplit('/').next().unwrap().to_string();
        every_crash(&start, &log, |bytes, kept| {
            let storage = &*medium.place(Arc::new(MemoryStorage::from(bytes)));
            let link = image::parent_link(storage).unwrap().unwrap();
            // The header is never torn, and says one or the other.
            let (is_old, is_new) = (link.name == base(old), link.name == base(new));
            assert!(is_old || is_new, "{link:?}");
            let uuid = if is_old { 1 } else { uuid };
            assert_eq!(link.uuid, Uuid::from_u128(uuid));
            // A path that a torn write left is decoded to no more than garbage; all others are old or new.
            if is_new || kept == log.len() {
                assert_eq!(link.paths.len(), 3);
                assert!(link.names().all(|name| name == base(new)), "{link:?}");
            }
            if kept == log.len() {
                assert_eq!(link.base_name(), base(new));
            } else if old.len() == new.len() {
                assert!(link.names().all(|name| name == old || name == new));
            }
            let defects = check(storage, &LENIENT).unwrap();
            let in_locators = |defect: &vhd::Defect| {
                matches!(defect.part, Part::Locator(_)) || defect.rule == Rule::LocatorsDiffer
            };
            assert!(defects.iter().all(in_locators), "{defects:?}");

            // Doing it again mends it.
            image::reparent(storage, &parent(2, new)).unwrap();
            assert_eq!(check(storage, &LENIENT).unwrap(), []);
            let link = image::parent_link(storage).unwrap().unwrap();
            assert!(link.names().all(|name| name == base(new)));
            assert_eq!(link.uuid, Uuid::from_u128(2));
        });
        assert_eq!(check(&*image, &CheckOptions::default()).unwrap(), []);
    }
}

#[test]
fn a_parent_like_the_one_before_needs_one_sector_of_the_header() {
    let recorder = Recorder::new(child(OLD), usize::MAX);
    image::reparent(&*recorder, &parent(2, NEW)).unwrap();
    assert_eq!(recorder.now.to_vec()[1024..1536], child(OLD)[1024..1536]);
    // As the child would have been made on it.
    let made = MemoryStorage::new();
    let new = NewImage::new(4 * BLOCK, Uuid::from_u128(9));
    image::create_differencing(&made, &new, &parent(2, NEW)).unwrap();
    assert_eq!(recorder.now.to_vec(), made.to_vec());
    let events = recorder.events();
    image::reparent(&*recorder, &parent(2, NEW)).unwrap();
    assert_eq!(recorder.events(), events, "nothing to do");
}

#[test]
fn impossible_edits_are_refused_and_write_nothing() {
    let recorder = Recorder::new(dynamic(), usize::MAX);
    let error = image::reparent(&*recorder, &parent(2, NEW)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let mut over_table = child(OLD);
    over_table[512 + 576 + 16..][..8].copy_from_slice(&1536u64.to_be_bytes());
    let header: &[u8; 1024] = over_table[512..1536].try_into().unwrap();
    let sum: u32 = (0..1024)
        .filter(|at| !(36..40).contains(at))
        .map(|at| u32::from(header[at]))
        .sum();
    over_table[512 + 36..][..4].copy_from_slice(&(!sum).to_be_bytes());
    let recorder = Recorder::new(over_table, usize::MAX);
    let error = image::reparent(&*recorder, &parent(2, NEW)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    let recorder = Recorder::new(child(OLD), usize::MAX);
    let long = "n".repeat(224);
    let error = image::reparent(&*recorder, &parent(2, &long)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfRange);
    let error = image::reparent(&*recorder, &parent(2, &format!("{}/x", "n".repeat(4096))));
    assert_eq!(error.unwrap_err().kind(), ErrorKind::OutOfRange);
    assert_eq!(recorder.events(), 0);
    assert_eq!(
        image::set_hidden(&MemoryStorage::from(vec![0; 4096]), true)
            .unwrap_err()
            .kind(),
        ErrorKind::NotVhd
    );
}

#[test]
fn allocated_blocks_are_those_of_the_table() {
    assert_eq!(
        image::allocated_blocks(&MemoryStorage::from(dynamic())).unwrap(),
        [0x40]
    );
    assert_eq!(
        image::allocated_blocks(&MemoryStorage::from(child(OLD))).unwrap(),
        [0]
    );
    assert_eq!(
        image::allocated_blocks(&MemoryStorage::from(fixed())).unwrap(),
        [0x80]
    );
    let big = MemoryStorage::new();
    image::create_dynamic(&big, &NewImage::new(20 * BLOCK, Uuid::from_u128(1))).unwrap();
    let mut bytes = big.to_vec();
    bytes[1536 + 19 * 4..][..4].copy_from_slice(&7u32.to_be_bytes());
    let storage = MemoryStorage::from(bytes);
    assert!(storage.len().unwrap() < BLOCK);
    assert_eq!(image::allocated_blocks(&storage).unwrap(), [0, 0, 0x10]);
}
