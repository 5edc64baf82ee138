//! Merging a child into its parent: offline and while it is written, against the golden merge and a model.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use uuid::Uuid;
use vhd::check::{CheckOptions, Depth, PrimaryFooter, check};
use vhd::image::{self, NewImage, NewParent};
use vhd::merge::{Control, End, LiveMerge, Target, merge};
use vhd::{Access, Chain, ErrorKind, MemoryStorage, NoParents, ParentLink, ParentStorage, Storage};

const BLOCK: u64 = 2 << 20;
const SIZE: u64 = 6 * BLOCK;

/// A generator that needs no seed from outside.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    /// Of a part of a sector, some sectors, or some chunks.
    fn length(&mut self) -> u64 {
        let limit = [300, 9000, 400_000][self.below(3) as usize];
        1 + self.below(limit)
    }
}

fn root() -> Arc<MemoryStorage> {
    let storage = Arc::new(MemoryStorage::new());
    image::create_dynamic(&*storage, &NewImage::new(SIZE, Uuid::from_u128(1))).unwrap();
    storage
}

fn child_of(parent: u128, uuid: u128) -> Arc<MemoryStorage> {
    let storage = Arc::new(MemoryStorage::new());
    let parent = NewParent {
        uuid: Uuid::from_u128(parent),
        timestamp: 0,
        path: format!("{parent}.vhd"),
    };
    let new = NewImage::new(SIZE, Uuid::from_u128(uuid));
    image::create_differencing(&*storage, &new, &parent).unwrap();
    storage
}

fn open(images: &[&Arc<MemoryStorage>], access: Access) -> Chain {
    let parents: Vec<Arc<MemoryStorage>> = images.iter().map(|image| (*image).clone()).collect();
    let resolver = move |link: &ParentLink| -> vhd::Result<ParentStorage> {
        let index = parents
            .iter()
            .position(|image| image::inspect(&**image).unwrap().uuid == link.uuid);
        Ok(ParentStorage::Vhd(parents[index.unwrap()].clone()))
    };
    Chain::open(images[0].clone(), &resolver, access).unwrap()
}

fn content(chain: &Chain) -> Vec<u8> {
    let mut bytes = vec![0; chain.size() as usize];
    chain.read_at(&mut bytes, 0).unwrap();
    bytes
}

fn scribble(chain: &Chain, random: &mut Random, writes: usize) {
    for _ in 0..writes {
        let length = random.length();
        let offset = random.below(SIZE - length);
        let byte = random.below(255) as u8;
        chain
            .write_at(&vec![byte; length as usize], offset)
            .unwrap();
    }
}

fn assert_sound(image: &dyn Storage) {
    let options = CheckOptions {
        now: None,
        primary_footer: PrimaryFooter::Required,
        depth: Depth::Bitmaps,
    };
    assert_eq!(check(image, &options).unwrap(), []);
}

#[test]
fn the_golden_merge_has_the_same_blocks_and_content() {
    let Some(dir) = support::golden_dir() else {
        return;
    };
    let child = support::memory(support::golden(&dir, "coalesce-child.vhd"));
    let parent = support::memory(support::golden(&dir, "coalesce-parent-before.vhd"));
    let expected = support::memory(support::golden(&dir, "coalesce-parent-after.vhd"));
    let target = Target::vhd(parent.clone()).unwrap();
    let control = Control::default();
    assert_eq!(merge(child, &target, &control).unwrap(), End::Complete);
    drop(target);
    let options = CheckOptions {
        depth: Depth::Bitmaps,
        ..CheckOptions::default()
    };
    assert_eq!(check(&*parent, &options).unwrap(), []);
    let open = |image: Arc<dyn Storage>| {
        Chain::open(image, &NoParents, Access::ReadOnly).map(|chain| {
            (
                content(&chain),
                chain.block_status(0, chain.size(), 1 << 20).unwrap(),
            )
        })
    };
    assert_eq!(
        open(parent.clone()).unwrap(),
        open(expected.clone()).unwrap(),
        "content and allocated sectors"
    );
    assert_eq!(parent.len().unwrap(), expected.len().unwrap());
    let progress = control.progress();
    assert!(progress.copied > 0 && progress.done == progress.total);
}

#[test]
fn a_merge_of_an_inner_image_changes_no_content_at_any_point() {
    for seed in 0..4 {
        let mut random = Random(seed);
        let (bottom, parent, child, leaf) =
            (root(), child_of(1, 2), child_of(2, 3), child_of(3, 4));
        for images in [
            &[&bottom][..],
            &[&parent, &bottom],
            &[&child, &parent, &bottom],
            &[&leaf, &child, &parent, &bottom],
        ] {
            let chain = open(images, Access::ReadWrite);
            scribble(&chain, &mut random, 12);
            chain.close().unwrap();
        }
        // Opened before the merge, and not told of it.
        let reader = open(&[&leaf, &child, &parent, &bottom], Access::ReadOnly);
        let expected = content(&reader);
        let child_content = content(&open(&[&child, &parent, &bottom], Access::ReadOnly));
        let target = Target::vhd(parent.clone()).unwrap();
        assert_eq!(
            merge(child.clone(), &target, &Control::default()).unwrap(),
            End::Complete
        );
        drop(target);
        assert_eq!(content(&reader), expected);
        assert_sound(&*parent);
        assert_eq!(
            content(&open(&[&parent, &bottom], Access::ReadOnly)),
            child_content
        );
    }
}

#[test]
fn fixed_and_raw_parents_get_the_sectors_in_place() {
    let fixed = Arc::new(MemoryStorage::new());
    image::create_fixed(&*fixed, &NewImage::new(SIZE, Uuid::from_u128(1))).unwrap();
    let raw = Arc::new(MemoryStorage::from(vec![7; SIZE as usize]));
    for (target, expected) in [
        (Target::vhd(fixed.clone()).unwrap(), 0),
        (Target::raw(raw.clone()).unwrap(), 7),
    ] {
        let child = child_of(1, 2);
        let chain = open(&[&child, &fixed], Access::ReadWrite);
        chain.write_at(&[9; 1024], BLOCK - 512).unwrap();
        chain.close().unwrap();
        assert_eq!(
            merge(child, &target, &Control::default()).unwrap(),
            End::Complete
        );
        drop(target);
        let bytes = if expected == 7 {
            raw.to_vec()
        } else {
            fixed.to_vec()
        };
        let at = (BLOCK - 512) as usize;
        assert_eq!(bytes[at - 1], expected);
        assert_eq!(bytes[at..at + 1024], [9; 1024]);
        assert_eq!(bytes[at + 1024], expected);
    }
    assert_sound(&*fixed);
}

#[test]
fn a_parent_that_is_too_small_is_refused_and_a_cancelled_merge_can_be_begun_again() {
    let small = Arc::new(MemoryStorage::new());
    image::create_dynamic(&*small, &NewImage::new(BLOCK, Uuid::from_u128(1))).unwrap();
    let child = child_of(1, 2);
    let target = Target::vhd(small).unwrap();
    let refused = merge(child, &target, &Control::default()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::OutOfRange);

    let (parent, child) = (root(), child_of(1, 2));
    let chain = open(&[&child, &parent], Access::ReadWrite);
    chain.write_at(&vec![3; SIZE as usize], 0).unwrap();
    chain.close().unwrap();
    let control = Control::default();
    control.cancel();
    let target = Target::vhd(parent.clone()).unwrap();
    assert_eq!(
        merge(child.clone(), &target, &control).unwrap(),
        End::Cancelled
    );
    assert!(control.progress().copied > 0 && control.progress().copied < SIZE);
    drop(target);
    assert_sound(&*parent);
    let target = Target::vhd(parent.clone()).unwrap();
    merge(child, &target, &Control::default()).unwrap();
    drop(target);
    let chain = open(&[&parent], Access::ReadOnly);
    assert!(content(&chain).iter().all(|byte| *byte == 3));
}

#[test]
fn a_live_merge_leaves_what_the_consumers_wrote() {
    for seed in 0..3 {
        let mut random = Random(seed);
        let (parent, child) = (root(), child_of(1, 2));
        let chain = open(&[&parent], Access::ReadWrite);
        scribble(&chain, &mut random, 10);
        chain.close().unwrap();
        let mut chain = open(&[&child, &parent], Access::ReadWrite);
        scribble(&chain, &mut random, 20);
        let target = Target::vhd(parent.clone()).unwrap();
        let mut live = LiveMerge::start(&mut chain, target).unwrap();

        // Each consumer owns a range, so that what it must hold is known.
        const CONSUMERS: u64 = 3;
        let finished = AtomicBool::new(false);
        let written = AtomicU64::new(0);
        let models: Vec<Vec<u8>> = std::thread::scope(|scope| {
            let consume = |number: u64| {
                let share = SIZE / CONSUMERS;
                let start = number * share + number * 100;
                let mut model = vec![0; (share - 300) as usize];
                chain.read_at(&mut model, start).unwrap();
                let mut random = Random(seed * 100 + number);
                let mut rounds = 0;
                while rounds < 60 || !finished.load(Ordering::Relaxed) {
                    rounds += 1;
                    let length = random.length();
                    let at = random.below(model.len() as u64 - length);
                    let part = &mut model[at as usize..(at + length) as usize];
                    match random.below(8) {
                        0 => {
                            part.fill(0);
                            chain.write_zeroes(start + at, length).unwrap();
                        }
                        1 => chain.flush().unwrap(),
                        2 => chain.discard(start + at, length).unwrap(),
                        _ => {
                            part.fill(random.below(255) as u8);
                            chain.write_at(part, start + at).unwrap();
                        }
                    }
                    written.fetch_add(1, Ordering::Relaxed);
                }
                model
            };
            let consumers: Vec<_> = (0..CONSUMERS)
                .map(|number| scope.spawn(move || consume(number)))
                .collect();
            loop {
                let before = written.load(Ordering::Relaxed);
                let step = live.step(&chain).unwrap();
                if step.finished {
                    break;
                }
                // The walk is slowed to the consumers, so that they meet.
                while written.load(Ordering::Relaxed) == before {
                    std::thread::yield_now();
                }
            }
            live.equal(&chain).unwrap();
            finished.store(true, Ordering::Relaxed);
            consumers.into_iter().map(|c| c.join().unwrap()).collect()
        });
        live.begin_commit(&chain).unwrap();
        let before = content(&chain);
        let (merged, _) = live.into_chain(chain).map_err(|failed| failed.1).unwrap();
        assert_eq!(content(&merged), before, "the parent is the image");
        merged.close().unwrap();
        assert_sound(&*parent);
        let reopened = content(&open(&[&parent], Access::ReadOnly));
        for (number, model) in models.iter().enumerate() {
            let start = number * (SIZE / CONSUMERS) as usize + number * 100;
            assert!(
                reopened[start..start + model.len()] == **model,
                "consumer {number}"
            );
        }
    }
}

#[test]
fn a_live_merge_that_is_stopped_leaves_the_child_as_the_image() {
    let (parent, child) = (root(), child_of(1, 2));
    let mut chain = open(&[&child, &parent], Access::ReadWrite);
    chain.write_at(&vec![1; SIZE as usize], 0).unwrap();
    let mut live = LiveMerge::start(&mut chain, Target::vhd(parent.clone()).unwrap()).unwrap();
    live.step(&chain).unwrap();
    chain.write_at(&[2; 4096], 0).unwrap();
    live.stop(&mut chain);
    chain.write_at(&[3; 4096], 4096).unwrap();
    let expected = content(&chain);
    chain.close().unwrap();
    assert_eq!(
        content(&open(&[&child, &parent], Access::ReadOnly)),
        expected
    );
}

#[test]
fn a_live_merge_into_raw_bytes_makes_them_the_image() {
    let raw = Arc::new(MemoryStorage::from(vec![9; SIZE as usize]));
    let child = Arc::new(MemoryStorage::new());
    let named = NewParent {
        uuid: Uuid::nil(),
        timestamp: 0,
        path: "./LV-1".to_string(),
    };
    image::create_differencing(&*child, &NewImage::new(SIZE, Uuid::from_u128(2)), &named).unwrap();
    let find = |_: &ParentLink| Ok(ParentStorage::Raw(raw.clone()));
    let mut chain = Chain::open(child, &find, Access::ReadWrite).unwrap();
    assert_eq!(chain.depth(), 2);
    scribble(&chain, &mut Random(3), 20);
    let mut live = LiveMerge::start(&mut chain, Target::raw(raw.clone()).unwrap()).unwrap();
    while !live.step(&chain).unwrap().finished {
        chain.write_at(&[1; 700], 5000).unwrap();
        chain.write_at(&[2; 700], SIZE - 5000).unwrap();
    }
    live.equal(&chain).unwrap();
    live.begin_commit(&chain).unwrap();
    chain.write_at(&[3; 4096], 100).unwrap();
    let expected = content(&chain);
    let (storage, old) = live.into_raw(chain).map_err(|failed| failed.1).unwrap();
    assert!(raw.to_vec() == expected);
    old.write_at(&[4; 512], 0).unwrap();
    assert!(raw.to_vec() == expected, "the old image mirrors no more");
    let mut bytes = vec![0; SIZE as usize];
    storage.read_at(&mut bytes, 0).unwrap();
    assert!(bytes == expected);
}

/// A storage whose flush can be made to fail.
struct Failing {
    inner: Arc<MemoryStorage>,
    fails: AtomicBool,
}

impl Storage for Failing {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.inner.read_at(buffer, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> std::io::Result<()> {
        self.inner.write_at(data, offset)
    }

    fn len(&self) -> std::io::Result<u64> {
        self.inner.len()
    }

    fn set_len(&self, length: u64) -> std::io::Result<()> {
        self.inner.set_len(length)
    }

    fn flush(&self) -> std::io::Result<()> {
        match self.fails.load(Ordering::Relaxed) {
            true => Err(std::io::Error::from_raw_os_error(5)),
            false => self.inner.flush(),
        }
    }
}

/// What of a poisoned image is true nobody knows, so it must not come out of a merge as a sound one.
#[test]
fn an_image_that_is_poisoned_is_merged_no_further() {
    for poisoned_after in 0..3 {
        let (parent, child) = (root(), child_of(1, 2));
        let failing = Arc::new(Failing {
            inner: child.clone(),
            fails: AtomicBool::new(false),
        });
        let parents = parent.clone();
        let resolver = move |_: &ParentLink| Ok(ParentStorage::Vhd(parents.clone()));
        let mut chain = Chain::open(failing.clone(), &resolver, Access::ReadWrite).unwrap();
        chain.write_at(&vec![1; SIZE as usize], 0).unwrap();
        let target = Target::vhd(parent.clone()).unwrap();
        let mut live = LiveMerge::start(&mut chain, target).unwrap();
        let poison = |chain: &Chain| {
            chain.write_at(&[3; 512], 0).unwrap();
            failing.fails.store(true, Ordering::Relaxed);
            assert_eq!(chain.flush().unwrap_err().kind(), ErrorKind::Io);
            failing.fails.store(false, Ordering::Relaxed);
        };
        live.step(&chain).unwrap();
        if poisoned_after == 0 {
            poison(&chain);
            assert_eq!(live.step(&chain).unwrap_err().kind(), ErrorKind::Poisoned);
        }
        while poisoned_after > 0 && !live.step(&chain).unwrap().finished {}
        if poisoned_after == 1 {
            poison(&chain);
        }
        if poisoned_after < 2 {
            assert_eq!(live.equal(&chain).unwrap_err().kind(), ErrorKind::Poisoned);
        } else {
            live.equal(&chain).unwrap();
            poison(&chain);
        }
        let begun = live.begin_commit(&chain);
        assert_eq!(begun.unwrap_err().kind(), ErrorKind::Poisoned);
    }
}

/// A parent that grows between two reads of whoever opens it.
struct Growing {
    inner: Arc<MemoryStorage>,
    grow: std::sync::Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Storage for Growing {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        // Behind the header: the table.
        if (1536..SIZE / 8).contains(&offset) {
            let grow = self.grow.lock().unwrap().take();
            grow.into_iter().for_each(|grow| grow());
        }
        self.inner.read_at(buffer, offset)
    }

    fn write_at(&self, _: &[u8], _: u64) -> std::io::Result<()> {
        Err(std::io::ErrorKind::PermissionDenied.into())
    }

    fn len(&self) -> std::io::Result<u64> {
        self.inner.len()
    }

    fn set_len(&self, _: u64) -> std::io::Result<()> {
        Err(std::io::ErrorKind::PermissionDenied.into())
    }

    fn flush(&self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_chain_can_be_opened_while_its_parent_is_merged_into() {
    let (parent, middle) = (root(), child_of(1, 2));
    let leaf = child_of(2, 3);
    open(&[&parent], Access::ReadWrite).close().unwrap();
    let chain = open(&[&middle, &parent], Access::ReadWrite);
    chain.write_at(&vec![5; SIZE as usize], 0).unwrap();
    chain.close().unwrap();
    let before = content(&open(&[&leaf, &middle, &parent], Access::ReadOnly));
    let (child, target) = (middle.clone(), parent.clone());
    let grow = move || {
        let target = Target::vhd(target).unwrap();
        let merged = merge(child, &target, &Control::default()).unwrap();
        assert_eq!(merged, End::Complete);
    };
    let growing = Arc::new(Growing {
        inner: parent,
        grow: std::sync::Mutex::new(Some(Box::new(grow))),
    });
    let resolver = |link: &ParentLink| -> vhd::Result<ParentStorage> {
        Ok(ParentStorage::Vhd(match link.uuid.as_u128() {
            2 => middle.clone(),
            _ => growing.clone(),
        }))
    };
    let chain = Chain::open(leaf.clone(), &resolver, Access::ReadOnly).unwrap();
    assert!(growing.grow.lock().unwrap().is_none(), "it has grown");
    assert!(content(&chain) == before);
}
