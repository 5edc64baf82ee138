//! Changing a chain under its consumer: what is refused, what a crash leaves, and that parents' tables are not read.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use support::recorder::{Recorder, every_crash};
use support::volume::Medium;
use uuid::Uuid;
use vhd::check::{CheckOptions, Depth, check};
use vhd::image::{self, NewImage, NewParent};
use vhd::{
    Access, Chain, ErrorKind, MemoryStorage, NoParents, ParentLink, ParentStack, ParentStorage,
    Storage,
};

const BLOCK: u64 = 2 << 20;

fn uuid(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn root(size: u64) -> Arc<MemoryStorage> {
    let storage = Arc::new(MemoryStorage::new());
    image::create_dynamic(&*storage, &NewImage::new(size, uuid(1))).unwrap();
    storage
}

fn child(number: u128, parent: u128, size: u64) -> Arc<MemoryStorage> {
    let storage = Arc::new(MemoryStorage::new());
    let parent = NewParent {
        uuid: uuid(parent),
        timestamp: 0,
        path: format!("{parent}.vhd"),
    };
    image::create_differencing(&*storage, &NewImage::new(size, uuid(number)), &parent).unwrap();
    storage
}

/// Counts the bytes that are read.
struct Counting {
    bytes: Arc<MemoryStorage>,
    read: AtomicU64,
}

impl Storage for Counting {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        self.bytes.read_at(buffer, offset)
    }
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.bytes.write_at(data, offset)
    }
    fn len(&self) -> io::Result<u64> {
        self.bytes.len()
    }
    fn set_len(&self, length: u64) -> io::Result<()> {
        self.bytes.set_len(length)
    }
    fn flush(&self) -> io::Result<()> {
        self.bytes.flush()
    }
}

fn read(chain: &Chain, offset: u64) -> u8 {
    let mut byte = [0];
    chain.read_at(&mut byte, offset).unwrap();
    byte[0]
}

#[test]
fn swaps_read_no_table_of_a_parent() {
    let size = 2040 << 30;
    let count = |bytes| {
        Arc::new(Counting {
            bytes,
            read: AtomicU64::new(0),
        })
    };
    let (counting, new) = (count(root(size)), count(child(2, 1, size)));
    let chain = Chain::open(counting.clone(), &NoParents, Access::ReadWrite).unwrap();
    chain.write_at(&[1; 512], 5 * BLOCK).unwrap();
    chain.write_at(&[2; 512], size - 512).unwrap();
    chain.flush().unwrap();
    counting.read.store(0, Ordering::Relaxed);
    let chain = chain
        .push_leaf(new.clone())
        .map_err(|(_, error)| error)
        .unwrap();
    assert_eq!(counting.read.load(Ordering::Relaxed), 0);
    let read_of_new = new.read.load(Ordering::Relaxed);
    assert!(
        read_of_new < 8192,
        "{read_of_new} bytes, of a table without blocks"
    );
    assert_eq!((read(&chain, 5 * BLOCK), read(&chain, size - 512)), (1, 2));
    chain.write_at(&[3; 512], 5 * BLOCK).unwrap();
    chain.flush().unwrap();

    let find = |_: &ParentLink| Ok(ParentStorage::Vhd(counting.clone() as Arc<dyn Storage>));
    let stack = ParentStack::open(&image::inspect(&*new).unwrap(), &find).unwrap();
    counting.read.store(0, Ordering::Relaxed);
    let chain = chain
        .replace_parents(stack)
        .map_err(|(_, error)| error)
        .unwrap();
    assert_eq!(counting.read.load(Ordering::Relaxed), 0);
    assert_eq!((read(&chain, 5 * BLOCK), read(&chain, size - 512)), (3, 2));
}

#[test]
fn a_refused_swap_gives_the_chain_back() {
    let chain = Chain::open(root(4 * BLOCK), &NoParents, Access::ReadWrite).unwrap();
    chain.write_at(&[1; 512], 0).unwrap();
    let stranger = child(3, 7, 4 * BLOCK);
    let fails = |chain: Chain, leaf: Arc<MemoryStorage>, kind| {
        let (chain, error) = chain.push_leaf(leaf).err().unwrap();
        assert_eq!(error.kind(), kind, "{error}");
        chain.write_at(&[1; 512], BLOCK).unwrap();
        chain
    };
    let chain = fails(chain, stranger, ErrorKind::ParentChanged);
    let chain = fails(chain, root(4 * BLOCK), ErrorKind::Unsupported);
    let chain = fails(chain, Arc::new(MemoryStorage::new()), ErrorKind::NotVhd);
    let chain = fails(chain, child(1, 1, 4 * BLOCK), ErrorKind::Corrupt);
    let other = child(2, 1, 8 * BLOCK);
    let find = |_: &ParentLink| Ok(ParentStorage::Vhd(root(4 * BLOCK) as Arc<dyn Storage>));
    let stack = ParentStack::open(&image::inspect(&*other).unwrap(), &find).unwrap();
    let (chain, error) = chain.replace_parents(stack).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!((read(&chain, 0), read(&chain, BLOCK)), (1, 1));
    chain.close().unwrap();
    let (_, error) = chain.push_leaf(child(2, 1, 4 * BLOCK)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Poisoned);
}

#[test]
fn a_chain_can_be_pushed_to_the_deepest_and_no_further() {
    let mut chain = Chain::open(root(4 * BLOCK), &NoParents, Access::ReadWrite).unwrap();
    for number in 1..30u128 {
        chain
            .write_at(&[number as u8; 512], number as u64 * 512)
            .unwrap();
        let leaf = child(number + 1, number, 4 * BLOCK);
        chain = chain.push_leaf(leaf).map_err(|(_, error)| error).unwrap();
    }
    assert_eq!(chain.depth(), 30);
    for number in 1..30u64 {
        assert_eq!(read(&chain, number * 512), number as u8);
    }
    let (chain, error) = chain.push_leaf(child(31, 30, 4 * BLOCK)).err().unwrap();
    assert_eq!((chain.depth(), error.kind()), (30, ErrorKind::OutOfRange));
}

/// A snapshot with writes before and after it: the old leaf and the new one are both sound after every crash, and the
/// old one holds all that was written before the push.
#[test]
fn a_snapshot_loses_nothing_in_any_crash() {
    for medium in [Medium::File, Medium::Volume] {
        snapshot_in_every_crash(medium);
    }
}

fn snapshot_in_every_crash(medium: Medium) {
    let start = medium.bytes(root(4 * BLOCK).to_vec());
    let old = Recorder::new(start.clone(), usize::MAX);
    let chain = Chain::open(medium.place(old.clone()), &NoParents, Access::ReadWrite).unwrap();
    chain.write_at(&vec![1; BLOCK as usize], 0).unwrap();
    chain.write_at(&[1; 700], BLOCK + 100).unwrap();
    chain.flush().unwrap();
    chain.write_at(&[2; 700], 2 * BLOCK).unwrap();
    let leaf_start = medium.bytes(child(2, 1, 6 * BLOCK).to_vec());
    let leaf = Recorder::new(leaf_start.clone(), usize::MAX);
    let chain = chain
        .push_leaf(medium.place(leaf.clone()))
        .map_err(|(_, error)| error)
        .unwrap();
    let pushed = old.events();
    chain.write_at(&[3; 700], BLOCK + 200).unwrap();
    chain.flush().unwrap();
    let flushed = leaf.events();
    chain.write_at(&[4; 700], 5 * BLOCK).unwrap();
    assert_eq!(old.events(), pushed, "the old leaf is written no more");

    let strict = CheckOptions {
        depth: Depth::Bitmaps,
        ..CheckOptions::default()
    };
    let old_log = old.log.lock().unwrap().clone();
    every_crash(&start, &old_log, |bytes, kept| {
        let storage = medium.place(Arc::new(MemoryStorage::from(bytes)));
        if kept == pushed {
            assert_eq!(
                check(&*storage, &strict).unwrap(),
                [],
                "sound without a repair"
            );
        }
        let chain = Chain::open(storage, &NoParents, Access::ReadWrite).unwrap();
        if kept == pushed {
            assert_eq!(read(&chain, 2 * BLOCK + 699), 2);
        }
    });
    let base = medium.place(Arc::new(MemoryStorage::from(old.now.to_vec())));
    let find = |_: &ParentLink| Ok(ParentStorage::Vhd(base.clone()));
    let leaf_log = leaf.log.lock().unwrap().clone();
    every_crash(&leaf_start, &leaf_log, |bytes, kept| {
        let storage = medium.place(Arc::new(MemoryStorage::from(bytes)));
        let chain = Chain::open(storage, &find, Access::ReadWrite).unwrap();
        let seen: HashMap<u64, u8> = [0, BLOCK - 1, BLOCK + 150, 2 * BLOCK]
            .into_iter()
            .map(|at| (at, read(&chain, at)))
            .collect();
        assert_eq!(seen[&0], 1);
        assert_eq!(seen[&(BLOCK - 1)], 1);
        assert_eq!(seen[&(BLOCK + 150)], 1);
        assert_eq!(seen[&(2 * BLOCK)], 2);
        let written = read(&chain, BLOCK + 899);
        assert!(
            written == 3 || (kept < flushed && written == 0),
            "{written}"
        );
    });
}

/// A flush that fails poisons its own chain and no other, also not one that shares a parent.
#[test]
fn a_failed_flush_poisons_one_chain() {
    let base = root(4 * BLOCK);
    let find = |_: &ParentLink| Ok(ParentStorage::Vhd(base.clone() as Arc<dyn Storage>));
    let broken = Recorder::new(child(2, 1, 4 * BLOCK).to_vec(), 3);
    let failing = Chain::open(broken, &find, Access::ReadWrite).unwrap();
    let healthy = Chain::open(child(3, 1, 4 * BLOCK), &find, Access::ReadWrite).unwrap();
    failing.write_at(&[1; 512], 0).unwrap();
    healthy.write_at(&[2; 512], 0).unwrap();
    assert_eq!(failing.flush().unwrap_err().kind(), ErrorKind::Io);
    for _ in 0..2 {
        let error = failing.read_at(&mut [0; 512], 0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Poisoned);
        healthy.flush().unwrap();
        assert_eq!(read(&healthy, 0), 2);
    }
    let (_, error) = failing.push_leaf(child(4, 2, 4 * BLOCK)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Poisoned);
    let healthy = healthy
        .push_leaf(child(4, 3, 4 * BLOCK))
        .map_err(|(_, error)| error)
        .unwrap();
    healthy.write_at(&[5; 512], 512).unwrap();
    healthy.close().unwrap();
}
