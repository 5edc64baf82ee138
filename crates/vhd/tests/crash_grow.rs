//! Growing: the bytes of XenServer's own tools, and crashes over image and journal at once. What is left must be the
//! finished image, or the old one as soon as it is reverted, with every byte in both.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use support::recorder::{Recorder, every_crash_of_two};
use support::volume::Medium;
use support::{golden, golden_dir};
use uuid::Uuid;
use vhd::check::{CheckOptions, Depth, check};
use vhd::image::{self, NewImage, NewParent};
use vhd::{
    Access, Chain, Error, ErrorKind, MemoryStorage, NoParents, ParentLink, ParentStorage, Storage,
};

const BLOCK: u64 = 2 << 20;
const STRICT: CheckOptions = CheckOptions {
    now: None,
    primary_footer: vhd::check::PrimaryFooter::Required,
    depth: Depth::Bitmaps,
};

#[test]
fn growing_within_the_table_makes_the_bytes_of_vhd_util() {
    let Some(dir) = golden_dir() else { return };
    let storage = MemoryStorage::from(golden(&dir, "resized-before-4MiB.vhd"));
    let journal = MemoryStorage::new();
    assert!(image::grows_in_place(&storage, 100 << 20).unwrap());
    assert_eq!(
        image::grow(&storage, &journal, 100 << 20).unwrap(),
        100 << 20
    );
    assert!(storage.to_vec() == golden(&dir, "resized-4-to-100MiB.vhd"));

    // The image before the fast resize is not among the golden ones, but for its size it is this one.
    let after = golden(&dir, "resized-fast-2-to-50MiB.vhd");
    let info = image::inspect(&MemoryStorage::from(after.clone())).unwrap();
    let storage = Arc::new(MemoryStorage::new());
    let new = NewImage {
        virtual_size: 2 << 20,
        uuid: info.uuid,
        timestamp: info.timestamp,
        capacity: 100 << 20,
    };
    image::create_dynamic(&*storage, &new).unwrap();
    let chain = Chain::open(storage.clone(), &NoParents, Access::ReadWrite).unwrap();
    chain.write_at(&after[4096..4608], 0).unwrap();
    chain.close().unwrap();
    image::grow(&*storage, &journal, 50 << 20).unwrap();
    assert!(storage.to_vec() == after);
    assert!(journal.is_empty().unwrap());
}

/// Kinds of images, with a write in every block that is named.
fn image(kind: &str, size: u64, blocks: &[u64]) -> Vec<u8> {
    let storage = Arc::new(MemoryStorage::new());
    let new = NewImage::new(size, Uuid::from_u128(2));
    let parent = NewParent {
        uuid: Uuid::from_u128(1),
        timestamp: 0,
        path: "parent.vhd".into(),
    };
    match kind {
        "fixed" => image::create_fixed(&*storage, &new).unwrap(),
        "dynamic" => image::create_dynamic(&*storage, &new).unwrap(),
        _ => image::create_differencing(&*storage, &new, &parent).unwrap(),
    };
    let chain = open(storage.clone(), Access::ReadWrite).unwrap();
    for block in blocks {
        chain
            .write_at(&[*block as u8 + 1; 3000], block * BLOCK + 1000)
            .unwrap();
    }
    if let Some(full) = blocks.first() {
        chain
            .write_at(&vec![0x77; BLOCK as usize], full * BLOCK)
            .unwrap();
    }
    chain.close().unwrap();
    storage.to_vec()
}

fn open(storage: Arc<dyn Storage>, access: Access) -> vhd::Result<Chain> {
    let parent = Arc::new(MemoryStorage::new());
    image::create_dynamic(&*parent, &NewImage::new(4 * BLOCK, Uuid::from_u128(1))).unwrap();
    let find = |_: &ParentLink| Ok(ParentStorage::Vhd(parent.clone() as Arc<dyn Storage>));
    Chain::open(storage, &find, access)
}

/// The content by extents, holes left out.
fn content(storage: Arc<dyn Storage>) -> Vec<(u64, Vec<u8>)> {
    let chain = open(storage, Access::ReadOnly).unwrap();
    let mut at = 0;
    let mut found = Vec::new();
    for extent in chain.block_status(0, chain.size(), usize::MAX).unwrap() {
        if extent.status == vhd::ExtentStatus::Data {
            let mut bytes = vec![0; extent.length as usize];
            chain.read_at(&mut bytes, at).unwrap();
            let used = bytes
                .iter()
                .rposition(|byte| *byte != 0)
                .map_or(0, |at| at + 1);
            bytes.truncate(used);
            found.push((at, bytes));
        }
        at += extent.length;
    }
    found
}

fn cut_everywhere(kind: &str, size: u64, blocks: &[u64], new_size: u64, in_place: bool) {
    cut_everywhere_on(Medium::File, kind, size, blocks, new_size, in_place);
}

fn cut_everywhere_on(
    medium: Medium,
    kind: &str,
    size: u64,
    blocks: &[u64],
    new_size: u64,
    in_place: bool,
) {
    let start = medium.bytes(image(kind, size, blocks));
    let place = |bytes: Vec<u8>| medium.place(Arc::new(MemoryStorage::from(bytes)));
    let clock = Arc::default();
    let storage = Recorder::with_clock(start.clone(), usize::MAX, Arc::clone(&clock));
    let journal = Recorder::with_clock(Vec::new(), usize::MAX, clock);
    let (image, undo) = (medium.place(storage.clone()), medium.place(journal.clone()));
    assert_eq!(image::grows_in_place(&*image, new_size).unwrap(), in_place);
    image::grow(&*image, &*undo, new_size).unwrap();
    let end = storage.events() + journal.events();
    assert_eq!(in_place, journal.events() == 0);
    let finished = storage.now.to_vec();
    assert_eq!(check(&*image, &STRICT).unwrap(), [], "{kind}");
    let old = content(place(start.clone()));
    let same = |bytes: Vec<u8>| {
        // A fixed image is one extent.
        let new = content(place(bytes));
        kind == "fixed" || new == old
    };
    assert!(same(finished.clone()), "{kind}: the content has changed");
    // The journal is used up.
    assert!(!image::revert(&*image, &*undo).unwrap());
    assert!(storage.now.to_vec() == finished);

    let (mut reverted, mut kept) = (0, 0);
    every_crash_of_two((&start, &storage), (&[], &journal), |bytes, log, time| {
        // Before the revert the image is the old one, the new one, or none at all.
        let before = image::inspect(&*place(bytes.clone()));
        match before {
            Ok(info) => assert!([size, new_size].contains(&info.virtual_size)),
            Err(Error::Resizing | Error::NotVhd { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        let opened = Arc::new(MemoryStorage::from(bytes));
        let image = medium.place(opened.clone());
        let was_reverted = image::revert(&*image, &*place(log)).unwrap();
        drop(open(image.clone(), Access::ReadWrite).unwrap());
        assert_eq!(
            check(&*image, &STRICT).unwrap(),
            [],
            "{kind} at {time} of {end}"
        );
        let found = image::inspect(&*image).unwrap().virtual_size;
        if was_reverted {
            assert_eq!(found, size);
            // Space that was nobody's on a volume is not given back as it was.
            let bytes = opened.to_vec();
            let is_old = match medium {
                Medium::File => bytes == start,
                Medium::Volume => same(bytes),
            };
            assert!(is_old, "{kind} at {time} of {end}");
            reverted += 1;
        } else {
            assert!(same(opened.to_vec()), "{kind} at {time} of {end}");
            kept += usize::from(found == new_size);
        }
        if time == end {
            assert_eq!(found, new_size);
        }
    });
    assert!(
        kept > 0 && (in_place || reverted > 0),
        "{kind}: {kept} {reverted}"
    );
}

#[test]
fn a_crash_while_the_table_grows_where_it_is_leaves_one_of_both() {
    cut_everywhere("dynamic", 4 * BLOCK, &[1, 3], 100 * BLOCK, true);
    cut_everywhere("differencing", 3 * BLOCK, &[2], 128 * BLOCK, true);
}

#[test]
fn a_crash_while_blocks_move_leaves_the_new_image_or_the_old_one_after_a_revert() {
    cut_everywhere("dynamic", 4 * BLOCK, &[3, 1], 300 * BLOCK, false);
    cut_everywhere("differencing", 4 * BLOCK, &[2], 2000 * BLOCK, false);
}

#[test]
fn a_crash_while_tables_grow_without_blocks_or_an_image_is_fixed_leaves_one_of_both() {
    cut_everywhere("dynamic", 4 * BLOCK, &[], 300 * BLOCK, false);
    cut_everywhere("differencing", 4 * BLOCK, &[], 40_000 * BLOCK, false);
    cut_everywhere("fixed", BLOCK, &[], 3 * BLOCK, false);
}

#[test]
fn a_crash_while_an_image_grows_on_a_volume_leaves_one_of_both() {
    let grow = |kind, blocks: &[u64], new_blocks, in_place| {
        let new_size = new_blocks * BLOCK;
        cut_everywhere_on(Medium::Volume, kind, 4 * BLOCK, blocks, new_size, in_place);
    };
    grow("dynamic", &[1, 3], 100, true);
    grow("dynamic", &[3], 300, false);
    grow("differencing", &[], 2000, false);
}

/// The revert is itself cut at every point, and done again.
#[test]
fn a_crash_while_reverting_loses_nothing() {
    for (kind, new_size) in [("dynamic", 300), ("differencing", 2000), ("fixed", 5)] {
        let size = 4 * BLOCK;
        let start = image(kind, size, &[1]);
        let storage = Recorder::new(start.clone(), usize::MAX);
        let journal = Recorder::new(Vec::new(), usize::MAX);
        image::grow(&*storage, &*journal, new_size * BLOCK).unwrap();
        // The journal as it was before the resize was finished.
        let log = journal.log.lock().unwrap().clone();
        let counting = log.len() - 3;
        let journal_start = support::recorder::after_crash(&[], &log, counting, || true);
        let image_start = storage.now.to_vec();
        let clock = Arc::default();
        let storage = Recorder::with_clock(image_start.clone(), usize::MAX, Arc::clone(&clock));
        let journal = Recorder::with_clock(journal_start.clone(), usize::MAX, clock);
        assert!(image::revert(&*storage, &*journal).unwrap());
        assert!(storage.now.to_vec() == start);
        every_crash_of_two(
            (&image_start, &storage),
            (&journal_start, &journal),
            |bytes, log, _| {
                let image = MemoryStorage::from(bytes);
                image::revert(&image, &MemoryStorage::from(log)).unwrap();
                assert!(image.to_vec() == start, "{kind}");
            },
        );
    }
}

/// Each write and flush of both storages fails once.
#[test]
fn a_failed_resize_can_be_reverted() {
    let start = image("differencing", 4 * BLOCK, &[2]);
    for budget in 0.. {
        let storage = Recorder::new(start.clone(), budget);
        let journal = MemoryStorage::new();
        let grown = image::grow(&*storage, &journal, 2000 * BLOCK);
        if grown.is_ok() {
            assert!(budget > 10);
            break;
        }
        assert_eq!(grown.unwrap_err().kind(), ErrorKind::Io);
        let again = image::grow(&storage.now, &journal, 2000 * BLOCK);
        assert!(
            matches!(again, Err(Error::Unsupported { .. } | Error::Resizing)),
            "{again:?}"
        );
        assert!(image::revert(&storage.now, &journal).unwrap());
        assert!(storage.now.to_vec() == start);
        image::grow(&storage.now, &journal, 2000 * BLOCK).unwrap();
    }
}

#[test]
fn impossible_sizes_and_foreign_journals_are_refused() {
    let start = image("dynamic", 4 * BLOCK, &[1]);
    let storage = MemoryStorage::from(start.clone());
    let journal = MemoryStorage::new();
    let kind = |size| image::grow(&storage, &journal, size).unwrap_err().kind();
    assert_eq!(kind(3 * BLOCK), ErrorKind::OutOfRange);
    assert_eq!(kind((2040 << 30) + 1), ErrorKind::OutOfRange);
    assert_eq!(
        image::grow(&storage, &journal, 4 * BLOCK - 1).unwrap(),
        4 * BLOCK
    );
    assert!(storage.to_vec() == start);

    let storage = Recorder::new(start, usize::MAX);
    let journal = Recorder::new(Vec::new(), usize::MAX);
    image::grow(&*storage, &*journal, 300 * BLOCK).unwrap();
    let log = journal.log.lock().unwrap().clone();
    let mut valid = support::recorder::after_crash(&[], &log, log.len() - 3, || true);
    let stranger = MemoryStorage::new();
    image::create_dynamic(&stranger, &NewImage::new(9 * BLOCK, Uuid::from_u128(77))).unwrap();
    let before = stranger.to_vec();
    let error = image::revert(&stranger, &MemoryStorage::from(valid.clone())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(stranger.to_vec() == before);
    let at = valid.len() - 100;
    valid[at] ^= 1;
    let error = image::revert(&storage.now, &MemoryStorage::from(valid)).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("resize journal invalid: invalid checksum"),
        "{error}"
    );
}

/// A resize of vhd-util that was interrupted: the fields where it puts them, one of them little-endian.
#[test]
fn a_journal_has_its_fields_where_vhd_util_has_them() {
    let start = image("differencing", 4 * BLOCK, &[2]);
    let storage = Recorder::new(start.clone(), usize::MAX);
    let journal = Recorder::new(Vec::new(), usize::MAX);
    image::grow(&*storage, &*journal, 300 * BLOCK).unwrap();
    let log = journal.log.lock().unwrap().clone();
    let bytes = support::recorder::after_crash(&[], &log, log.len() - 3, || true);
    let u32_at = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    let u64_at = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
    assert_eq!(&bytes[..8], b"vjournal");
    assert_eq!(bytes[8..24], *Uuid::from_u128(2).as_bytes());
    assert_eq!(u64_at(24), start.len() as u64 - 512);
    // Two footers, header, three locators, BAT, batmap header and bits; no block is in the way, but padding.
    assert_eq!((u32_at(32), u32_at(36)), (1, 9));
    assert_eq!(
        u64::from_le_bytes(bytes[56..64].try_into().unwrap()),
        bytes.len() as u64
    );
    assert_eq!(u64_at(40), bytes.len() as u64 - 32 - 1024);
    assert_eq!(u64_at(48), 512);
    let mut at = 512;
    let mut kinds = Vec::new();
    while at < bytes.len() {
        assert_eq!(u64_at(at), 0xaaaa_1234_4321_aaaa);
        kinds.push(u32_at(at + 8));
        let (size, offset) = (u32_at(at + 12) as usize, u64_at(at + 16) as usize);
        assert_eq!(bytes[at + 32..at + 32 + size], start[offset..offset + size]);
        at += 32 + size;
    }
    assert_eq!(kinds, [1, 2, 3, 4, 4, 4, 5, 6, 7, 8]);
}
