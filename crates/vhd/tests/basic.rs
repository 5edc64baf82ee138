//! The way from an empty storage to bytes and back.

#![allow(clippy::unwrap_used)]

use std::io;
use std::sync::{Arc, Mutex};

use uuid::Uuid;
use vhd::image::{self, NewImage, NewParent};
use vhd::{
    Access, Chain, ErrorKind, ExtentStatus, MemoryStorage, NoParents, ParentLink, ParentStorage,
    Storage,
};

fn dynamic(size: u64, uuid: u128) -> Arc<MemoryStorage> {
    let storage = Arc::new(MemoryStorage::new());
    image::create_dynamic(&*storage, &NewImage::new(size, Uuid::from_u128(uuid))).unwrap();
    storage
}

#[test]
fn a_dynamic_image_keeps_what_was_flushed() {
    let storage = dynamic(10 << 20, 1);
    let chain = Chain::open(storage.clone(), &NoParents, Access::ReadWrite).unwrap();
    let data: Vec<u8> = (0..100_000u32).map(|i| i as u8 | 1).collect();
    chain.write_at(&data, (2 << 20) - 777).unwrap();
    let mut found = vec![0; data.len()];
    chain.read_at(&mut found, (2 << 20) - 777).unwrap();
    assert_eq!(found, data);
    chain.close().unwrap();
    assert_eq!(chain.flush().unwrap_err().kind(), ErrorKind::Poisoned);

    let chain = Chain::open(storage, &NoParents, Access::ReadOnly).unwrap();
    chain.read_at(&mut found, (2 << 20) - 777).unwrap();
    assert_eq!(found, data);
    let extents = chain.block_status(0, chain.size(), 100).unwrap();
    assert_eq!(extents.len(), 3);
    assert_eq!(extents[1].status, ExtentStatus::Data);
    assert_eq!(
        extents.iter().map(|extent| extent.length).sum::<u64>(),
        10 << 20
    );
    assert_eq!(
        chain.write_at(&[1], 0).unwrap_err().kind(),
        ErrorKind::Unsupported
    );
}

#[test]
fn a_child_shows_its_parent_and_keeps_it_unchanged() {
    let parent = dynamic(4 << 20, 1);
    let chain = Chain::open(parent.clone(), &NoParents, Access::ReadWrite).unwrap();
    chain.write_at(&[0x11; 4096], 0).unwrap();
    chain.close().unwrap();
    let before = parent.to_vec();

    let child = Arc::new(MemoryStorage::new());
    let link = NewParent {
        uuid: Uuid::from_u128(1),
        timestamp: 7,
        path: "parent.vhd".into(),
    };
    image::create_differencing(&*child, &NewImage::new(6 << 20, Uuid::from_u128(2)), &link)
        .unwrap();
    let resolver = |link: &ParentLink| {
        assert_eq!(
            (link.uuid, link.base_name()),
            (Uuid::from_u128(1), "parent.vhd")
        );
        assert_eq!(link.paths, ["./parent.vhd"; 3]);
        Ok(ParentStorage::Vhd(parent.clone() as Arc<dyn Storage>))
    };
    let chain = Chain::open(child.clone(), &resolver, Access::ReadWrite).unwrap();
    chain.write_at(&[0x22; 100], 1000).unwrap();
    let mut expected = [0x11; 4096];
    expected[1000..1100].fill(0x22);
    let mut found = [0; 4096];
    chain.read_at(&mut found, 0).unwrap();
    assert_eq!(found, expected);
    chain.write_zeroes(512, 1024).unwrap();
    expected[512..1536].fill(0);
    chain.close().unwrap();

    let chain = Chain::open(child.clone(), &resolver, Access::ReadOnly).unwrap();
    chain.read_at(&mut found, 0).unwrap();
    assert_eq!(found, expected);
    assert_eq!(parent.to_vec(), before);
    let refused = Chain::open(child, &NoParents, Access::ReadOnly)
        .err()
        .unwrap();
    assert_eq!(refused.kind(), ErrorKind::ParentMissing);
}

#[test]
fn an_image_on_a_prepared_storage_is_the_same_byte_for_byte() {
    let link = |name: &str| NewParent {
        uuid: Uuid::from_u128(1),
        timestamp: 7,
        path: name.to_owned(),
    };
    for size in [1, 2 << 20, (130 << 30) + 1, vhd::size::MAX_VIRTUAL_SIZE] {
        let new = NewImage {
            timestamp: 9,
            ..NewImage::new(size, Uuid::from_u128(2))
        };
        for path in ["parent.vhd", &format!("./{}", "x".repeat(250))] {
            let (at_once, prepared) = (MemoryStorage::new(), MemoryStorage::new());
            let made = image::create_differencing(&at_once, &new, &link(path)).unwrap();
            image::prepare_differencing(&prepared, size).unwrap();
            let error = image::inspect(&prepared).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotVhd);
            assert_eq!(
                image::create_prepared(&prepared, &new, &link(path)).unwrap(),
                made
            );
            assert!(at_once.to_vec() == prepared.to_vec(), "{size} {path}");
            assert!(!image::has_blocks(&prepared).unwrap());
        }
    }
}

#[test]
fn only_a_storage_that_was_prepared_for_the_size_is_taken() {
    let link = NewParent {
        uuid: Uuid::from_u128(1),
        timestamp: 7,
        path: "parent.vhd".into(),
    };
    let new = NewImage::new(600 << 20, Uuid::from_u128(2));
    let kind = |storage: &MemoryStorage| {
        let before = storage.to_vec();
        let error = image::create_prepared(storage, &new, &link).unwrap_err();
        assert!(storage.to_vec() == before);
        error.kind()
    };
    let prepared = |size| {
        let storage = MemoryStorage::new();
        image::prepare_differencing(&storage, size).unwrap();
        storage
    };
    assert_eq!(kind(&MemoryStorage::new()), ErrorKind::OutOfRange);
    assert_eq!(kind(&prepared(10 << 20)), ErrorKind::OutOfRange);
    let length = prepared(new.virtual_size).to_vec().len();
    // As long, and without a table.
    assert_eq!(
        kind(&MemoryStorage::from(vec![0; length])),
        ErrorKind::Corrupt
    );
    let used = prepared(new.virtual_size);
    image::create_prepared(&used, &new, &link).unwrap();
    assert_eq!(kind(&used), ErrorKind::OutOfRange);
    used.set_len(length as u64).unwrap();
    assert_eq!(kind(&used), ErrorKind::Corrupt);
}

#[test]
fn a_fixed_image_is_its_bytes_and_a_footer() {
    let storage = Arc::new(MemoryStorage::new());
    image::create_fixed(&*storage, &NewImage::new(3 << 20, Uuid::from_u128(3))).unwrap();
    let chain = Chain::open(storage.clone(), &NoParents, Access::ReadWrite).unwrap();
    assert_eq!(chain.size(), 4 << 20);
    chain.write_at(b"abc", (2 << 20) - 1).unwrap();
    chain.close().unwrap();
    let bytes = storage.to_vec();
    assert_eq!(bytes.len(), (4 << 20) + 512);
    assert_eq!(&bytes[(2 << 20) - 1..][..3], b"abc");
    assert_eq!(&bytes[4 << 20..][..8], b"conectix");
}

/// The last sector of a crashed file and the first of a fixed image may be a tenant's bytes: they must not turn the
/// image into another kind.
#[test]
fn forged_footers_do_not_count() {
    let forged = |image_type, size| {
        vhd::footer::Footer::new(image_type, size, Uuid::from_u128(0xbad), 0).to_bytes()
    };
    // A dynamic image whose tail says fixed.
    let mut bytes = dynamic(4 << 20, 1).to_vec();
    bytes.resize(8 << 20, 0x41);
    bytes.extend_from_slice(&forged(vhd::footer::ImageType::Fixed, 4 << 20));
    let storage = MemoryStorage::from(bytes);
    let info = image::inspect(&storage).unwrap();
    assert_eq!(
        (info.image_type, info.uuid),
        (vhd::footer::ImageType::Dynamic, Uuid::from_u128(1))
    );

    // A fixed image whose first sectors say dynamic.
    let fixed = Arc::new(MemoryStorage::new());
    image::create_fixed(&*fixed, &NewImage::new(4 << 20, Uuid::from_u128(3))).unwrap();
    let chain = Chain::open(fixed.clone(), &NoParents, Access::ReadWrite).unwrap();
    chain.write_at(&dynamic(4 << 20, 4).to_vec(), 0).unwrap();
    chain.close().unwrap();
    assert_eq!(image::inspect(&*fixed).unwrap().uuid, Uuid::from_u128(3));

    // No footer at the end, and a copy that says fixed.
    let storage =
        MemoryStorage::from([&forged(vhd::footer::ImageType::Fixed, 512)[..], &[0; 512]].concat());
    assert_eq!(
        image::inspect(&storage).unwrap_err().kind(),
        ErrorKind::NotVhd
    );
    assert_eq!(
        image::inspect(&MemoryStorage::new()).unwrap_err().kind(),
        ErrorKind::NotVhd
    );
}

#[test]
fn parents_that_do_not_fit_are_refused() {
    let child = |uuid: u128, parent: u128| {
        let storage = Arc::new(MemoryStorage::new());
        let link = NewParent {
            uuid: Uuid::from_u128(parent),
            timestamp: 0,
            path: "p.vhd".into(),
        };
        image::create_differencing(
            &*storage,
            &NewImage::new(2 << 20, Uuid::from_u128(uuid)),
            &link,
        )
        .unwrap();
        storage
    };
    let open = |leaf: Arc<MemoryStorage>, parent: ParentStorage| {
        let find = |_: &ParentLink| Ok(parent.clone());
        Chain::open(leaf, &find, Access::ReadOnly)
            .err()
            .unwrap()
            .kind()
    };
    let other = dynamic(2 << 20, 9);
    assert_eq!(
        open(child(2, 1), ParentStorage::Vhd(other.clone())),
        ErrorKind::ParentChanged
    );
    // A VHD is not taken for raw bytes, nor the other way round.
    assert_eq!(
        open(child(2, 9), ParentStorage::Raw(other.clone())),
        ErrorKind::ParentMissing
    );
    assert_eq!(
        open(child(2, 0), ParentStorage::Vhd(other)),
        ErrorKind::ParentMissing
    );
    // An image that is its own parent.
    let own = child(2, 2);
    assert_eq!(
        open(own.clone(), ParentStorage::Vhd(own)),
        ErrorKind::Corrupt
    );
}

/// More blocks than may wait are written: the chain flushes by itself, and what it published is right.
#[test]
fn many_unpublished_bitmaps_flush_by_themselves() {
    let blocks = vhd::chain::DIRTY_BITMAP_LIMIT as u64 + 200;
    let file = tempfile::tempfile().unwrap();
    let storage: Arc<dyn Storage> = Arc::new(vhd::FileStorage::new(file));
    image::create_dynamic(
        &*storage,
        &NewImage::new(blocks * (2 << 20), Uuid::from_u128(1)),
    )
    .unwrap();
    let chain = Chain::open(storage.clone(), &NoParents, Access::ReadWrite).unwrap();
    for block in 0..blocks {
        chain
            .write_at(
                &(block as u32).to_le_bytes(),
                block * (2 << 20) + 512 * (block % 4000),
            )
            .unwrap();
    }
    // Not closed: as after a crash of the process.
    drop(chain);
    let chain = Chain::open(storage, &NoParents, Access::ReadOnly).unwrap();
    let mut found = [0; 4];
    let published = (0..blocks).filter(|block| {
        chain
            .read_at(&mut found, block * (2 << 20) + 512 * (block % 4000))
            .unwrap();
        u32::from_le_bytes(found) == *block as u32 && *block > 0
    });
    assert_eq!(published.count(), vhd::chain::DIRTY_BITMAP_LIMIT);
}

/// Offset and length of a read, and what runs after it and before its caller goes on.
type Interruption = (u64, usize, Box<dyn FnOnce() + Send>);

/// Memory that runs something else in the middle of one read.
struct Interrupted {
    memory: MemoryStorage,
    interruption: Mutex<Option<Interruption>>,
}

impl Storage for Interrupted {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.memory.read_at(buffer, offset)?;
        let due = self
            .interruption
            .lock()
            .unwrap()
            .take_if(|(at, length, _)| *at == offset && *length == buffer.len());
        if let Some((.., run)) = due {
            run();
        }
        Ok(())
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.memory.write_at(data, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.memory.len()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.memory.set_len(length)
    }

    fn flush(&self) -> io::Result<()> {
        self.memory.flush()
    }
}

#[test]
fn two_writes_to_different_bytes_of_a_sector_both_last() {
    let storage = dynamic(4 << 20, 1);
    let chain = Chain::open(storage.clone(), &NoParents, Access::ReadWrite).unwrap();
    chain.write_at(&vec![0x11; 2 << 20], 0).unwrap();
    chain.close().unwrap();
    // With a damaged batmap nobody knows that the block is complete before its bitmap is read.
    let mut bytes = storage.to_vec();
    bytes[2560] ^= 1;
    let storage = Arc::new(Interrupted {
        memory: MemoryStorage::from(bytes),
        interruption: Mutex::default(),
    });
    let chain = Chain::open(storage.clone(), &NoParents, Access::ReadWrite).unwrap();
    let chain = Arc::new(chain);
    let other = Arc::downgrade(&chain);
    let write_other = move || {
        let chain = other.upgrade().unwrap();
        let writer = std::thread::spawn(move || chain.write_at(&[0x33; 10], 100));
        writer.join().unwrap().unwrap();
    };
    *storage.interruption.lock().unwrap() = Some((4096, 512, Box::new(write_other)));
    chain.write_at(&[0x22; 10], 0).unwrap();
    let left = storage.interruption.lock().unwrap().take();
    if let Some((.., write_other)) = left {
        write_other();
    }
    let mut found = [0; 512];
    chain.read_at(&mut found, 0).unwrap();
    let mut expected = [0x11; 512];
    expected[..10].fill(0x22);
    expected[100..110].fill(0x33);
    assert!(found == expected, "bytes of one of the writes are lost");
}
