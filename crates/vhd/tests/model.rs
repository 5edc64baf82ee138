//! Property: a chain under random operations equals a flat vector of bytes, across reopening, at any depth, with
//! parents that are smaller or larger, and read-only views agree.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;
use uuid::Uuid;
use vhd::check::{CheckOptions, Depth, check};
use vhd::image::{self, NewImage, NewParent};
use vhd::{
    Access, Chain, ExtentStatus, MemoryStorage, NoParents, ParentLink, ParentStack, ParentStorage,
    Storage,
};

const BLOCK: u64 = 2 << 20;

/// The root of a chain.
#[derive(Clone, Copy, Debug)]
enum Root {
    Dynamic,
    Fixed,
    Raw,
}

#[derive(Clone, Debug)]
enum Operation {
    Write {
        at: u64,
        length: u64,
        seed: u8,
    },
    Zero {
        at: u64,
        length: u64,
    },
    Discard {
        at: u64,
        length: u64,
    },
    Flush,
    Reopen,
    /// A child on top, of this many blocks, opened anew.
    Child {
        blocks: u64,
    },
    /// The same while the chain stays open.
    Snapshot {
        blocks: u64,
    },
    /// All parents become one, while the chain stays open.
    Flatten,
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    // Near the edges of blocks and sectors more often than elsewhere.
    let at = prop_oneof![
        0..6 * BLOCK,
        (0..7u64, -1200i64..1200).prop_map(|(b, d)| (b * BLOCK).saturating_add_signed(d))
    ];
    let length = prop_oneof![4 => 1u64..3000, 2 => (1u64..16).prop_map(|n| n * 512), 1 => 1..BLOCK + 5000, 1 => Just(BLOCK)];
    let aligned = (0..6u64, 0..4u64).prop_map(|(at, length)| (at * BLOCK, (length + 1) * BLOCK));
    let operation = prop_oneof![
        8 => (at.clone(), length.clone(), any::<u8>()).prop_map(|(at, length, seed)| Operation::Write { at, length, seed }),
        1 => (aligned.clone(), any::<u8>()).prop_map(|((at, length), seed)| Operation::Write { at, length, seed }),
        3 => (at.clone(), length.clone()).prop_map(|(at, length)| Operation::Zero { at, length }),
        1 => aligned.prop_map(|(at, length)| Operation::Zero { at, length }),
        1 => (at, length).prop_map(|(at, length)| Operation::Discard { at, length }),
        1 => Just(Operation::Flush),
        2 => Just(Operation::Reopen),
        1 => (1..6u64).prop_map(|blocks| Operation::Child { blocks }),
        2 => (1..6u64).prop_map(|blocks| Operation::Snapshot { blocks }),
        1 => Just(Operation::Flatten),
    ];
    prop::collection::vec(operation, 1..24)
}

/// Images by the number in their uuid; 0 is a raw root.
struct Images {
    storages: HashMap<u128, Arc<MemoryStorage>>,
    leaf: u128,
    flattened: u128,
}

/// Numbers of merged images are above this.
const FLATTENED: u128 = 1 << 64;

impl Images {
    fn new(root: Root, blocks: u64) -> Self {
        let storage = Arc::new(MemoryStorage::new());
        let new = NewImage::new(blocks * BLOCK, Uuid::from_u128(1));
        let mut images = Self {
            storages: HashMap::new(),
            leaf: 1,
            flattened: 0,
        };
        match root {
            Root::Dynamic => drop(image::create_dynamic(&*storage, &new).unwrap()),
            Root::Fixed => drop(image::create_fixed(&*storage, &new).unwrap()),
            Root::Raw => {
                // Not a whole number of blocks, and not zeros.
                let raw: Vec<u8> = (0..blocks * BLOCK - 1536)
                    .map(|i| (i / 700) as u8)
                    .collect();
                images
                    .storages
                    .insert(0, Arc::new(MemoryStorage::from(raw)));
                let parent = NewParent {
                    uuid: Uuid::nil(),
                    timestamp: 0,
                    path: "0.raw".into(),
                };
                image::create_differencing(&*storage, &new, &parent).unwrap();
            }
        }
        images.storages.insert(1, storage);
        images
    }

    fn add_child(&mut self, blocks: u64) {
        let uuid = self.leaf + 1;
        let storage = Arc::new(MemoryStorage::new());
        let path = format!("{}.vhd", self.leaf);
        let parent = NewParent {
            uuid: Uuid::from_u128(self.leaf),
            timestamp: 0,
            path,
        };
        image::create_differencing(
            &*storage,
            &NewImage::new(blocks * BLOCK, Uuid::from_u128(uuid)),
            &parent,
        )
        .unwrap();
        self.storages.insert(uuid, storage);
        self.leaf = uuid;
    }

    fn find(&self, link: &ParentLink) -> ParentStorage {
        let storage = self.storages[&link.uuid.as_u128()].clone() as Arc<dyn Storage>;
        match link.is_raw() {
            true => ParentStorage::Raw(storage),
            false => ParentStorage::Vhd(storage),
        }
    }

    fn open(&self, access: Access) -> Chain {
        let find = |link: &ParentLink| Ok(self.find(link));
        Chain::open(self.storages[&self.leaf].clone(), &find, access).unwrap()
    }

    /// Copies what the leaf's parents show into one image, and puts this below the leaf.
    fn flatten(&mut self, chain: Chain) -> Chain {
        let leaf = self.storages[&self.leaf].clone();
        let Some(link) = image::parent_link(&*leaf).unwrap() else {
            return chain;
        };
        let find = |link: &ParentLink| Ok(self.find(link));
        let bytes = match self.find(&link) {
            ParentStorage::Raw(raw) => {
                let mut bytes = vec![0; raw.len().unwrap() as usize];
                raw.read_at(&mut bytes, 0).unwrap();
                bytes
            }
            ParentStorage::Vhd(parent) => {
                let parents = Chain::open(parent, &find, Access::ReadOnly).unwrap();
                let mut bytes = vec![0; parents.size() as usize];
                parents.read_at(&mut bytes, 0).unwrap();
                bytes
            }
        };
        self.flattened += 1;
        let uuid = FLATTENED + self.flattened;
        let merged = Arc::new(MemoryStorage::new());
        let new = NewImage::new(bytes.len() as u64, Uuid::from_u128(uuid));
        image::create_dynamic(&*merged, &new).unwrap();
        let target = Chain::open(merged.clone(), &NoParents, Access::ReadWrite).unwrap();
        target.write_at(&bytes, 0).unwrap();
        target.close().unwrap();
        self.storages.insert(uuid, merged);
        let parent = NewParent {
            uuid: Uuid::from_u128(uuid),
            timestamp: 0,
            path: "f".into(),
        };
        image::reparent(&*leaf, &parent).unwrap();
        let find = |link: &ParentLink| Ok(self.find(link));
        let stack = ParentStack::open(&image::inspect(&*leaf).unwrap(), &find).unwrap();
        assert_eq!(stack.depth(), 1);
        let chain = chain
            .replace_parents(stack)
            .map_err(|(_, error)| error)
            .unwrap();
        assert_eq!(chain.depth(), 2);
        assert_eq!(chain.info().parent.as_ref().unwrap().uuid, parent.uuid);
        chain
    }
}

fn pattern(seed: u8, length: u64) -> Vec<u8> {
    (0..length).map(|i| (i / 97) as u8 ^ seed).collect()
}

fn compare(chain: &Chain, model: &[u8]) {
    let mut found = vec![0xee; model.len()];
    chain.read_at(&mut found, 0).unwrap();
    if let Some(at) = (0..model.len()).find(|at| found[*at] != model[*at]) {
        panic!("byte {at} is {:#x}, not {:#x}", found[at], model[at]);
    }
    let extents = chain.block_status(0, chain.size(), usize::MAX).unwrap();
    let mut at = 0;
    for extent in extents {
        let range = at as usize..(at + extent.length) as usize;
        assert!(extent.status == ExtentStatus::Data || model[range].iter().all(|byte| *byte == 0));
        at += extent.length;
    }
    assert_eq!(at, chain.size());
}

fn run(root: Root, blocks: u64, operations: Vec<Operation>) {
    let mut images = Images::new(root, blocks);
    let mut chain = images.open(Access::ReadWrite);
    let mut model = vec![0; chain.size() as usize];
    chain.read_at(&mut model, 0).unwrap();
    let clip = |at: u64, length: u64, size: u64| (at.min(size), length.min(size - at.min(size)));
    for operation in operations {
        match operation {
            Operation::Write { at, length, seed } => {
                let (at, length) = clip(at, length, chain.size());
                let data = pattern(seed, length);
                chain.write_at(&data, at).unwrap();
                model[at as usize..(at + length) as usize].copy_from_slice(&data);
            }
            Operation::Zero { at, length } => {
                let (at, length) = clip(at, length, chain.size());
                chain.write_zeroes(at, length).unwrap();
                model[at as usize..(at + length) as usize].fill(0);
            }
            // Memory cannot punch holes, so nothing may change.
            Operation::Discard { at, length } => {
                let (at, length) = clip(at, length, chain.size());
                chain.discard(at, length).unwrap();
            }
            Operation::Flush => chain.flush().unwrap(),
            Operation::Reopen => {
                chain.close().unwrap();
                chain = images.open(Access::ReadWrite);
            }
            Operation::Child { blocks } => {
                chain.close().unwrap();
                images.add_child(blocks);
                chain = images.open(Access::ReadWrite);
                model.resize(chain.size() as usize, 0);
            }
            Operation::Snapshot { blocks } => {
                let depth = chain.depth();
                images.add_child(blocks);
                let leaf = images.storages[&images.leaf].clone();
                chain = chain.push_leaf(leaf).map_err(|(_, error)| error).unwrap();
                assert_eq!(chain.depth(), depth + 1);
                model.resize(chain.size() as usize, 0);
            }
            Operation::Flatten => chain = images.flatten(chain),
        }
    }
    compare(&chain, &model);
    chain.close().unwrap();
    compare(&images.open(Access::ReadOnly), &model);
    compare(&images.open(Access::ReadWrite), &model);
    let options = CheckOptions {
        depth: Depth::Bitmaps,
        ..CheckOptions::default()
    };
    for (uuid, storage) in images.storages.iter().filter(|(uuid, _)| **uuid != 0) {
        assert_eq!(check(&**storage, &options).unwrap(), [], "image {uuid}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_chain_equals_a_flat_vector(
        root in prop_oneof![3 => Just(Root::Dynamic), 1 => Just(Root::Fixed), 1 => Just(Root::Raw)],
        blocks in 1u64..6,
        operations in operations(),
    ) {
        run(root, blocks, operations);
    }
}

#[test]
fn the_deepest_chain_reads_every_layer() {
    let mut images = Images::new(Root::Dynamic, 2);
    let mut model = vec![0; 2 * BLOCK as usize];
    for depth in 0..30u64 {
        let chain = images.open(Access::ReadWrite);
        assert_eq!(chain.depth() as u64, depth + 1);
        let data = pattern(depth as u8 + 1, 3000);
        let at = depth * 2500 + if depth % 2 == 0 { 0 } else { BLOCK };
        chain.write_at(&data, at).unwrap();
        model[at as usize..at as usize + 3000].copy_from_slice(&data);
        compare(&chain, &model);
        chain.close().unwrap();
        images.add_child(2);
    }
    let find = |link: &ParentLink| {
        Ok(ParentStorage::Vhd(
            images.storages[&link.uuid.as_u128()].clone() as Arc<dyn Storage>,
        ))
    };
    let refused = Chain::open(images.storages[&31].clone(), &find, Access::ReadOnly)
        .err()
        .unwrap();
    assert_eq!(refused.kind(), vhd::ErrorKind::OutOfRange, "{refused}");
}

/// Threads write their own sectors of shared blocks, some of them halves of shared sectors, and flush in between.
#[test]
fn threads_share_blocks_and_sectors() {
    let mut images = Images::new(Root::Dynamic, 4);
    let chain = images.open(Access::ReadWrite);
    chain.write_at(&vec![0x55; 4 * BLOCK as usize], 0).unwrap();
    chain.close().unwrap();
    images.add_child(4);
    let chain = images.open(Access::ReadWrite);
    // Thread t owns the bytes whose 100-byte cell is t modulo 4: neighbours share sectors.
    let cells = 4 * BLOCK / 100;
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let chain = &chain;
            scope.spawn(move || {
                for step in 0..3000u64 {
                    let cell = (step * 7919 * 4 + thread) % cells / 4 * 4 + thread;
                    let cell = if cell < cells { cell } else { thread };
                    chain
                        .write_at(&[thread as u8 + 1; 100], cell * 100)
                        .unwrap();
                    let mut found = [0; 100];
                    chain.read_at(&mut found, cell * 100).unwrap();
                    assert_eq!(found, [thread as u8 + 1; 100]);
                    if step % 500 == 0 {
                        chain.flush().unwrap();
                    }
                }
            });
        }
    });
    chain.close().unwrap();
    let chain = images.open(Access::ReadOnly);
    let mut bytes = vec![0; 4 * BLOCK as usize];
    chain.read_at(&mut bytes, 0).unwrap();
    for (cell, bytes) in bytes.chunks(100).enumerate() {
        let own = (cell % 4) as u8 + 1;
        assert!(
            bytes.iter().all(|byte| *byte == own) || bytes.iter().all(|byte| *byte == 0x55),
            "cell {cell}"
        );
    }
}
