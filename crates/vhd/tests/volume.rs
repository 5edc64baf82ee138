//! Images on volumes: what lies between the data and the footer is never taken for data, the last sector is no authority,
//! and lengths change without a moment in which the image cannot be opened.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use support::recorder::{Recorder, every_crash};
use support::volume::{JUNK, Volume, on_volume};
use support::{golden, golden_dir, memory, refuse};
use uuid::Uuid;
use vhd::check::{CheckOptions, Depth, PrimaryFooter, check};
use vhd::footer::{Footer, ImageType};
use vhd::image::{self, NewImage, NewParent};
use vhd::{
    Access, Chain, Error, ErrorKind, MemoryStorage, NoParents, ParentLink, ParentStorage, Storage,
    volume,
};

const BLOCK: u64 = 2 << 20;
const EXTENT: u64 = 4 << 20;
const STRICT: CheckOptions = CheckOptions {
    now: None,
    primary_footer: PrimaryFooter::Required,
    depth: Depth::Bitmaps,
};

fn uuid(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn open(storage: Arc<dyn Storage>) -> Chain {
    Chain::open(storage, &NoParents, Access::ReadWrite).unwrap()
}

fn content(chain: &Chain) -> Vec<u8> {
    let mut bytes = vec![0; chain.size() as usize];
    chain.read_at(&mut bytes, 0).unwrap();
    bytes
}

/// A small image as a file; its tables are those of its size, so that volumes in tests can be short.
fn file(blocks: u64, written: &[u64]) -> Vec<u8> {
    let storage = Arc::new(MemoryStorage::new());
    image::create_dynamic(&*storage, &NewImage::new(blocks * BLOCK, uuid(1))).unwrap();
    let chain = open(storage.clone());
    for block in written {
        chain
            .write_at(&[*block as u8 + 1; 3000], block * BLOCK + 1000)
            .unwrap();
    }
    chain.close().unwrap();
    storage.to_vec()
}

#[test]
fn a_new_image_on_a_used_volume_holds_nothing_of_it() {
    let size = 5 * BLOCK;
    let leaf = Volume::new(volume::full_size(size));
    assert_eq!(
        image::create_dynamic(&*leaf, &NewImage::new(size, uuid(1))).unwrap(),
        size
    );
    assert_eq!(check(&*leaf, &STRICT).unwrap(), []);
    let info = image::inspect(&*leaf).unwrap();
    assert_eq!(info.capacity, 2 << 40);
    assert_eq!(info.physical_size, volume::full_size(size));
    // Locators take three sectors more.
    assert_eq!(
        volume::data_end(&*leaf).unwrap(),
        volume::METADATA_BYTES - 4 * 512
    );
    let file = Arc::new(MemoryStorage::new());
    image::create_dynamic(&*file, &NewImage::new(size, uuid(1))).unwrap();
    let (chain, model) = (open(leaf.clone()), open(file));
    assert!(content(&chain) == vec![0; size as usize]);
    for chain in [&chain, &model] {
        chain.write_at(&[7; 700], BLOCK + 300).unwrap();
        chain.write_zeroes(2 * BLOCK, BLOCK).unwrap();
        chain.write_at(&[8; 5000], 2 * BLOCK - 2500).unwrap();
        chain.write_zeroes(2 * BLOCK + 100, 200).unwrap();
        chain.flush().unwrap();
        chain.write_zeroes(2 * BLOCK + 600, 9000).unwrap();
        chain.discard(2 * BLOCK + 4096, 4096).unwrap();
    }
    assert!(content(&chain) == content(&model));
    chain.close().unwrap();
    assert_eq!(check(&*leaf, &STRICT).unwrap(), []);
    let chain = open(leaf.clone());
    assert!(content(&chain) == content(&model));
    // Every block finds room.
    for block in 0..5 {
        let bytes = vec![block as u8 + 1; BLOCK as usize];
        chain.write_at(&bytes, block * BLOCK).unwrap();
        model.write_at(&bytes, block * BLOCK).unwrap();
    }
    chain.close().unwrap();
    assert_eq!(check(&*leaf, &STRICT).unwrap(), []);
    assert!(content(&open(leaf)) == content(&model));
}

#[test]
fn a_prepared_volume_becomes_what_a_new_one_is() {
    let (size, parent) = (
        3 * BLOCK,
        NewParent {
            uuid: uuid(9),
            timestamp: 4,
            path: "./VHD-9".into(),
        },
    );
    let new = NewImage::new(size, uuid(1));
    let (made, prepared) = (Volume::new(3 * EXTENT), Volume::new(3 * EXTENT));
    image::create_differencing(&*made, &new, &parent).unwrap();
    image::prepare_differencing(&*prepared, size).unwrap();
    image::create_prepared(&*prepared, &new, &parent).unwrap();
    assert_eq!(check(&*made, &STRICT).unwrap(), []);
    assert!(made.bytes.to_vec() == prepared.bytes.to_vec());
    assert_eq!(
        volume::data_end(&*made).unwrap() + 512,
        volume::METADATA_BYTES
    );
    // An image is not prepared, and not made over.
    assert!(image::create_prepared(&*prepared, &new, &parent).is_err());
    image::prepare_differencing(&*prepared, size).unwrap();
    let error = image::inspect(&*prepared).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotVhd);

    let error = image::create_fixed(&*made, &new).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let error = image::create_dynamic(&*Volume::new(EXTENT), &new).unwrap_err();
    assert_eq!(error.io_kind(), Some(std::io::ErrorKind::StorageFull));
}

#[test]
fn a_full_volume_refuses_a_block_until_it_can_grow() {
    let file = file(6, &[0]);
    let length = file.len() as u64 + BLOCK + 8192;
    let leaf = Volume::of(MemoryStorage::from(on_volume(&file, length)));
    let chain = open(leaf.clone());
    chain.write_at(&[2; 512], BLOCK).unwrap();
    let error = chain.write_at(&[3; 512], 2 * BLOCK).unwrap_err();
    assert_eq!(error.io_kind(), Some(std::io::ErrorKind::StorageFull));
    // Nothing is lost by it.
    chain.write_at(&[4; 512], BLOCK + 512).unwrap();
    chain.flush().unwrap();
    assert_eq!(check(&*leaf, &STRICT).unwrap(), []);
    leaf.room.store(64 << 20, Ordering::Relaxed);
    for block in 2..6 {
        chain
            .write_at(&[block as u8 + 1; 512], block * BLOCK)
            .unwrap();
        if block % 2 == 0 {
            chain.flush().unwrap();
            assert_eq!(check(&*leaf, &STRICT).unwrap(), []);
        }
    }
    chain.close().unwrap();
    assert_eq!(check(&*leaf, &STRICT).unwrap(), []);
    let chain = open(leaf);
    for block in 1..6 {
        let mut sectors = [1; 2048];
        chain.read_at(&mut sectors, block * BLOCK).unwrap();
        assert_eq!(sectors[0], block as u8 + 1);
        assert_eq!(sectors[1024..], [0; 1024]);
    }
}

/// Golden images as XenServer's logical volumes have them.
#[test]
fn golden_images_on_volumes_are_the_same_images() {
    let Some(dir) = golden_dir() else { return };
    for name in [
        "chain-3.vhd",
        "raw-child.vhd",
        "hidden-parent.vhd",
        "coalesce-parent-after.vhd",
        "dynamic-scattered-16MiB.vhd",
        "empty-2MiB-prealloc-100MiB.vhd",
        "resized-fast-2-to-50MiB.vhd",
    ] {
        let bytes = golden(&dir, name);
        let length = (bytes.len() as u64).next_multiple_of(EXTENT) + EXTENT;
        let leaf = Volume::of(MemoryStorage::from(on_volume(&bytes, length)));
        assert_eq!(check(&*leaf, &STRICT).unwrap(), [], "{name}");
        let mut info = image::inspect(&*leaf).unwrap();
        assert_eq!(info.physical_size, length);
        info.physical_size = bytes.len() as u64;
        assert_eq!(info, image::inspect(&*memory(bytes.clone())).unwrap());
        assert_eq!(
            volume::data_end(&*leaf).unwrap(),
            volume::data_end(&*memory(bytes.clone())).unwrap()
        );
        let open = |storage| Chain::open(storage, &resolver(&dir), Access::ReadWrite).unwrap();
        let (chain, model) = (open(leaf.clone()), open(memory(bytes)));
        assert!(content(&chain) == content(&model), "{name}");
        for chain in [&chain, &model] {
            chain.write_at(&[0x5a; 7000], 1_000_000).unwrap();
            chain.close().unwrap();
        }
        assert_eq!(check(&*leaf, &STRICT).unwrap(), [], "{name}");
        let read = |storage| Chain::open(storage, &resolver(&dir), Access::ReadOnly).unwrap();
        assert!(content(&read(leaf))[1_000_000..][..7000] == [0x5a; 7000]);
    }
}

/// Finds parents among the golden files, on volumes too.
fn resolver(dir: &Path) -> impl Fn(&ParentLink) -> vhd::Result<ParentStorage> {
    move |link| {
        let name = link.base_name();
        if !dir.join(name).exists() && !dir.join(format!("{name}.zst")).exists() {
            return refuse(link);
        }
        let bytes = golden(dir, name);
        Ok(match link.is_raw() {
            true => ParentStorage::Raw(Volume::of(MemoryStorage::from(bytes))),
            false => {
                let length = bytes.len() as u64 + EXTENT;
                let bytes = MemoryStorage::from(on_volume(&bytes, length));
                ParentStorage::Vhd(Volume::of(bytes))
            }
        })
    }
}

/// What the last sector of a volume can hold whose length was just changed, or which a tapdisk has open.
#[test]
fn the_last_sector_of_a_volume_is_no_authority() {
    let file = file(4, &[1]);
    let good = on_volume(&file, 16 << 20);
    let expected = content(&open(memory(file)));
    let footer = Footer::parse(good[..512].try_into().unwrap(), vhd::Part::BackupFooter).unwrap();
    let mut strangers = vec![[0xc7; 512], [0; 512]];
    let mut older = footer.clone();
    (older.current_size, older.hidden) = (BLOCK, 1);
    strangers.push(older.to_bytes());
    strangers.push(Footer::new(ImageType::Dynamic, BLOCK, uuid(7), 0).to_bytes());
    let fixed = Footer::new(ImageType::Fixed, (16 << 20) - 512, uuid(7), 0);
    strangers.push(fixed.to_bytes());
    for stranger in strangers {
        let mut bytes = good.clone();
        let end = bytes.len() - 512;
        bytes[end..].copy_from_slice(&stranger);
        let leaf = Volume::of(MemoryStorage::from(bytes));
        let info = image::inspect(&*leaf).unwrap();
        assert_eq!((info.uuid, info.virtual_size), (uuid(1), 4 * BLOCK));
        assert!(!info.hidden);
        let chain = Chain::open(leaf.clone(), &NoParents, Access::ReadOnly).unwrap();
        assert!(content(&chain) == expected);
        drop(chain);
        let chain = open(leaf.clone());
        assert!(content(&chain) == expected);
        drop(chain);
        assert!(leaf.bytes.to_vec() == good, "the footer is mended");
    }
    // Without a copy it is the last sector that counts, unless it says that everything is raw bytes.
    let mut bytes = good.clone();
    bytes[..512].fill(JUNK);
    let leaf = Volume::of(MemoryStorage::from(bytes.clone()));
    assert!(content(&open(leaf.clone())) == expected);
    assert!(leaf.bytes.to_vec() == good);
    let end = bytes.len() - 512;
    bytes[end..].copy_from_slice(&fixed.to_bytes());
    let error = image::inspect(&*Volume::of(MemoryStorage::from(bytes))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotVhd);
}

#[test]
fn a_block_that_runs_into_the_footer_is_refused() {
    let file = file(4, &[1]);
    let mut bytes = on_volume(&file, file.len() as u64);
    // The same with the footer's sector inside of the block.
    bytes.truncate(bytes.len() - 512);
    let end = bytes.len() - 512;
    bytes[end..].fill(0xc7);
    let leaf = Volume::of(MemoryStorage::from(bytes));
    let error = Chain::open(leaf, &NoParents, Access::ReadOnly);
    assert_eq!(error.err().unwrap().kind(), ErrorKind::Corrupt);
}

/// Inflating and deflating, cut everywhere: with each length of the volume that a crash can leave it opens and is sound.
#[test]
fn a_footer_that_moves_is_never_missed() {
    let file = file(4, &[1, 3]);
    let data_end = file.len() as u64 - 512;
    let (small, large) = (data_end + 512, 12 << 20);
    let expected = content(&open(memory(file.clone())));
    let mut inflating = on_volume(&file, small);
    inflating.resize(large as usize, JUNK);
    let mut stale = inflating.clone();
    // An older footer of the same image, from the time when the volume was large before.
    let older = Footer::new(ImageType::Dynamic, BLOCK, uuid(1), 0);
    stale[large as usize - 512..].copy_from_slice(&older.to_bytes());
    let deflating = on_volume(&file, large);
    let mut without_copy = deflating.clone();
    without_copy[..512].fill(JUNK);
    for (start, from, to) in [
        (inflating, small, large),
        (stale, small, large),
        (deflating, large, small),
        (without_copy, large, small),
    ] {
        let recorder = Recorder::new(start.clone(), usize::MAX);
        let leaf = Volume::of(recorder.clone());
        volume::move_footer(&*leaf, from, to).unwrap();
        let done = recorder.events();
        volume::move_footer(&*leaf, from, to).unwrap();
        assert_eq!(recorder.events(), done, "nothing is left to do");
        let log = recorder.log.lock().unwrap().clone();
        every_crash(&start, &log, |bytes, kept| {
            let mut lengths = vec![large];
            if kept == log.len() {
                lengths.push(to);
            }
            for length in lengths {
                let cut = MemoryStorage::from(bytes[..length as usize].to_vec());
                let leaf = Volume::of(cut);
                assert!(content(&open(leaf.clone())) == expected, "{kept}");
                assert_eq!(check(&*leaf, &STRICT).unwrap(), []);
            }
        });
        if to == small {
            let mut bytes = recorder.now.to_vec();
            bytes.truncate(small as usize);
            let leaf = Volume::of(MemoryStorage::from(bytes));
            assert_eq!(check(&*leaf, &STRICT).unwrap(), []);
        } else {
            assert_eq!(check(&*leaf, &STRICT).unwrap(), []);
        }
    }
}

#[test]
fn a_footer_does_not_move_into_data_or_past_the_end() {
    let file = file(4, &[1, 3]);
    let leaf = Volume::of(MemoryStorage::from(on_volume(&file, 12 << 20)));
    let before = leaf.bytes.to_vec();
    for length in [file.len() as u64 - 512, 4096, 0, 16 << 20] {
        let error = volume::move_footer(&*leaf, 12 << 20, length).unwrap_err();
        assert!(matches!(error, Error::Limit { .. }), "{error}");
    }
    assert!(leaf.bytes.to_vec() == before);
}

/// A longer path goes behind the data, where it has room, and a volume without room grows.
#[test]
fn a_parent_with_a_long_path_finds_room_on_a_volume() {
    let storage = MemoryStorage::new();
    let parent = |path: String| NewParent {
        uuid: uuid(2),
        timestamp: 0,
        path,
    };
    let new = NewImage::new(4 * BLOCK, uuid(1));
    image::create_differencing(&storage, &new, &parent("./LV-2".into())).unwrap();
    let file = storage.to_vec();
    let long = parent(format!("./{}", "n".repeat(200)));
    let same = parent("./VHD-2".into());
    for (length, room) in [(2 << 20, 0), (file.len() as u64, 4 << 20)] {
        let leaf = Volume::of(MemoryStorage::from(on_volume(&file, length)));
        leaf.room.store(room, Ordering::Relaxed);
        for parent in [&same, &long, &same] {
            image::reparent(&*leaf, parent).unwrap();
            assert_eq!(check(&*leaf, &STRICT).unwrap(), []);
            let link = image::parent_link(&*leaf).unwrap().unwrap();
            let name = parent.path.trim_start_matches("./");
            assert!(link.names().all(|found| found == name), "{link:?}");
        }
    }
    let leaf = Volume::of(MemoryStorage::from(on_volume(&file, file.len() as u64)));
    let error = image::reparent(&*leaf, &long).unwrap_err();
    assert_eq!(error.io_kind(), Some(std::io::ErrorKind::StorageFull));
    assert_eq!(check(&*leaf, &STRICT).unwrap(), []);
}
