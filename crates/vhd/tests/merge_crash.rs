//! Crashes while a child is merged into its parent: both storages log writes, length changes and flushes in one order, and
//! are cut at every point with any subset of what was not yet flushed. What is left must open and hold every flushed byte:
//! through the child at any time, and in the parent alone as soon as both are said to be equal.

#![allow(clippy::unwrap_used)]

mod support;

use std::io;
use std::sync::{Arc, Mutex};

use support::volume::Medium;
use uuid::Uuid;
use vhd::check::{CheckOptions, Depth, check};
use vhd::image::{self, NewImage, NewParent};
use vhd::merge::{Control, LiveMerge, Target, merge};
use vhd::{Access, Chain, ErrorKind, MemoryStorage, ParentLink, ParentStorage, Storage};

const BLOCK: u64 = 2 << 20;
const SIZE: u64 = 4 * BLOCK;
const SECTOR: usize = 512;
const CHILD: usize = 0;
const PARENT: usize = 1;

#[derive(Clone)]
enum Event {
    Write(u64, Vec<u8>),
    Length(u64),
    Flush,
}

type Log = Arc<Mutex<Vec<(usize, Event)>>>;

/// One of the two images: bytes in memory and the common log of how they came there.
struct Recorder {
    disk: usize,
    now: MemoryStorage,
    log: Log,
}

impl Storage for Recorder {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.now.read_at(buffer, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let event = Event::Write(offset, data.to_vec());
        self.log.lock().unwrap().push((self.disk, event));
        self.now.write_at(data, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.now.len()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.log
            .lock()
            .unwrap()
            .push((self.disk, Event::Length(length)));
        self.now.set_len(length)
    }

    fn flush(&self) -> io::Result<()> {
        self.log.lock().unwrap().push((self.disk, Event::Flush));
        Ok(())
    }
}

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
}

/// The bytes of one image after a crash behind the first `kept` events.
fn after_crash(
    start: &[u8],
    log: &[(usize, Event)],
    kept: usize,
    disk: usize,
    survives: &mut dyn FnMut() -> bool,
) -> Vec<u8> {
    let mine = || {
        log[..kept]
            .iter()
            .enumerate()
            .filter(|(_, (of, _))| *of == disk)
    };
    let flushed = mine()
        .rfind(|(_, (_, event))| matches!(event, Event::Flush))
        .map(|(at, _)| at);
    let mut bytes = start.to_vec();
    let mut length_lost = false;
    for (at, (_, event)) in mine() {
        let durable = flushed.is_some_and(|flushed| at < flushed);
        match event {
            Event::Flush => {}
            Event::Length(length) => {
                length_lost |= !durable && !survives();
                if !length_lost {
                    bytes.resize(*length as usize, 0);
                }
            }
            Event::Write(offset, data) => {
                for (index, sector) in data.chunks(SECTOR).enumerate() {
                    let at = *offset as usize + index * SECTOR;
                    if (durable || survives()) && at + sector.len() <= bytes.len() {
                        bytes[at..at + sector.len()].copy_from_slice(sector);
                    }
                }
            }
        }
    }
    bytes
}

/// A child with a full block, scattered sectors, and a block of its own, on a parent that has some of these.
struct Scene {
    medium: Medium,
    /// The parent is raw bytes.
    raw: bool,
    images: [Vec<u8>; 2],
    storages: [Arc<dyn Storage>; 2],
    log: Log,
}

impl Scene {
    fn new(medium: Medium) -> Self {
        Self::of(medium, false)
    }

    fn of(medium: Medium, raw: bool) -> Self {
        let parent = Arc::new(MemoryStorage::new());
        image::create_dynamic(&*parent, &NewImage::new(SIZE, Uuid::from_u128(1))).unwrap();
        let child = Arc::new(MemoryStorage::new());
        let named = NewParent {
            uuid: Uuid::from_u128(u128::from(!raw)),
            timestamp: 0,
            path: "parent".to_string(),
        };
        image::create_differencing(&*child, &NewImage::new(SIZE, Uuid::from_u128(2)), &named)
            .unwrap();
        let chain = Chain::open(parent.clone(), &vhd::NoParents, Access::ReadWrite).unwrap();
        chain.write_at(&[1; 100_000], 0).unwrap();
        chain.write_at(&[2; 5000], BLOCK + 7000).unwrap();
        let parent = match raw {
            true => Arc::new(MemoryStorage::from(content(&chain))),
            false => parent,
        };
        chain.close().unwrap();
        let chain = open(child.clone(), parent.clone(), raw, Access::ReadWrite);
        chain.write_at(&vec![3; BLOCK as usize], 0).unwrap();
        for part in 0..20 {
            chain.write_at(&[4; 1000], BLOCK + part * 9000).unwrap();
        }
        chain.write_at(&[5; 30_000], 3 * BLOCK + 600_000).unwrap();
        chain.close().unwrap();
        let parent = match raw {
            true => parent.to_vec(),
            false => medium.bytes(parent.to_vec()),
        };
        let images = [medium.bytes(child.to_vec()), parent];
        let log = Log::default();
        let storages = [CHILD, PARENT].map(|disk| {
            medium.place(Arc::new(Recorder {
                disk,
                now: MemoryStorage::from(images[disk].clone()),
                log: log.clone(),
            }))
        });
        Scene {
            medium,
            raw,
            images,
            storages,
            log,
        }
    }

    fn events(&self) -> usize {
        self.log.lock().unwrap().len()
    }

    /// Both images after a crash behind the first `kept` events, with the unflushed writes that `choice` picks.
    fn cut(&self, kept: usize, choice: u64) -> [Arc<dyn Storage>; 2] {
        let log = self.log.lock().unwrap();
        let mut random = Random(choice * 7919 + kept as u64);
        let mut survives = || match choice {
            0 => false,
            1 => true,
            _ => random.below(2) == 0,
        };
        [CHILD, PARENT].map(|disk| {
            let bytes = after_crash(&self.images[disk], &log, kept, disk, &mut survives);
            self.medium.place(Arc::new(MemoryStorage::from(bytes)))
        })
    }
}

impl Scene {
    fn open(&self, child: Arc<dyn Storage>, parent: Arc<dyn Storage>, access: Access) -> Chain {
        open(child, parent, self.raw, access)
    }

    fn target(&self, parent: Arc<dyn Storage>) -> Target {
        match self.raw {
            true => Target::raw(parent).unwrap(),
            false => Target::vhd(parent).unwrap(),
        }
    }

    /// What the parent holds without the child.
    fn alone(&self, parent: Arc<dyn Storage>) -> Vec<u8> {
        if self.raw {
            let mut bytes = vec![0; SIZE as usize];
            parent.read_at(&mut bytes, 0).unwrap();
            return bytes;
        }
        content(&Chain::open(parent, &vhd::NoParents, Access::ReadOnly).unwrap())
    }

    /// A parent that a crash left is sound after the next merge has opened it.
    fn assert_mends(&self, parent: &Arc<dyn Storage>) {
        drop(self.target(parent.clone()));
        let options = CheckOptions {
            depth: Depth::Bitmaps,
            ..CheckOptions::default()
        };
        if !self.raw {
            assert_eq!(check(&**parent, &options).unwrap(), []);
        }
    }
}

fn open(child: Arc<dyn Storage>, parent: Arc<dyn Storage>, raw: bool, access: Access) -> Chain {
    let resolver = move |_: &ParentLink| {
        Ok(match raw {
            true => ParentStorage::Raw(parent.clone()),
            false => ParentStorage::Vhd(parent.clone()),
        })
    };
    Chain::open(child, &resolver, access).unwrap()
}

fn content(chain: &Chain) -> Vec<u8> {
    let mut bytes = vec![0; chain.size() as usize];
    chain.read_at(&mut bytes, 0).unwrap();
    bytes
}

#[test]
fn every_crash_of_a_merge_leaves_the_content_and_it_can_be_done_again() {
    every_crash_of_a_merge(&Scene::new(Medium::File), 2);
    every_crash_of_a_merge(&Scene::new(Medium::Volume), 5);
    every_crash_of_a_merge(&Scene::of(Medium::Volume, true), 5);
}

fn every_crash_of_a_merge(scene: &Scene, step: usize) {
    let [child, parent] = scene.storages.clone();
    let before = content(&scene.open(child.clone(), parent.clone(), Access::ReadOnly));
    let target = scene.target(parent);
    merge(child, &target, &Control::default()).unwrap();
    drop(target);
    for kept in (0..=scene.events()).step_by(step) {
        for choice in 0..3 {
            let [child, parent] = scene.cut(kept, choice);
            let chain = scene.open(child.clone(), parent.clone(), Access::ReadOnly);
            assert!(content(&chain) == before, "{kept} {choice}");
            drop(chain);
            if kept % 10 == 0 {
                scene.assert_mends(&parent);
                let target = scene.target(parent.clone());
                merge(child, &target, &Control::default()).unwrap();
                drop(target);
                assert!(scene.alone(parent) == before, "again, {kept} {choice}");
            }
        }
    }
}

/// What a consumer wrote, as far as it must have lasted.
#[derive(Default)]
struct Consumer {
    /// (events when it began, first sector, sectors, byte), in order.
    writes: Vec<(usize, u64, u64, u8)>,
    /// (events when a flush returned, writes that it covers).
    flushes: Vec<(usize, usize)>,
}

impl Consumer {
    fn write(&mut self, scene: &Scene, chain: &Chain, random: &mut Random) {
        let sectors = 1 + random.below(40);
        let first = random.below(SIZE / SECTOR as u64 - sectors);
        let byte = 10 + (self.writes.len() % 240) as u8;
        self.writes.push((scene.events(), first, sectors, byte));
        let data = vec![byte; sectors as usize * SECTOR];
        chain.write_at(&data, first * SECTOR as u64).unwrap();
    }

    fn flush(&mut self, scene: &Scene, chain: &Chain) {
        let covered = self.writes.len();
        chain.flush().unwrap();
        self.flushes.push((scene.events(), covered));
    }

    /// Every sector holds what the last flush before `kept` covered, or a later write.
    fn assert_kept(&self, found: &[u8], before: &[u8], kept: usize, context: &str) {
        let covered = self
            .flushes
            .iter()
            .rfind(|(at, _)| *at <= kept)
            .map_or(0, |(_, covered)| *covered);
        let mut flushed = before.to_vec();
        for (_, first, sectors, byte) in &self.writes[..covered] {
            let start = *first as usize * SECTOR;
            flushed[start..start + *sectors as usize * SECTOR].fill(*byte);
        }
        for (sector, (found, flushed)) in
            found.chunks(SECTOR).zip(flushed.chunks(SECTOR)).enumerate()
        {
            let later = || {
                self.writes[covered..]
                    .iter()
                    .any(|(at, first, sectors, byte)| {
                        *at <= kept
                            && (*first..first + sectors).contains(&(sector as u64))
                            && found.iter().all(|found| found == byte)
                    })
            };
            assert!(found == flushed || later(), "{context}: sector {sector}");
        }
    }
}

#[test]
fn every_crash_of_a_live_merge_leaves_what_the_consumer_flushed() {
    every_crash_of_a_live_merge(&Scene::new(Medium::File), 1);
    every_crash_of_a_live_merge(&Scene::new(Medium::Volume), 3);
    every_crash_of_a_live_merge(&Scene::of(Medium::Volume, true), 3);
}

fn every_crash_of_a_live_merge(scene: &Scene, step: usize) {
    let mut random = Random(5);
    let mut consumer = Consumer::default();
    let [child, parent] = scene.storages.clone();
    let mut chain = scene.open(child, parent.clone(), Access::ReadWrite);
    let before = content(&chain);
    let mut live = LiveMerge::start(&mut chain, scene.target(parent)).unwrap();
    let mut steps = 0;
    while !live.step(&chain).unwrap().finished {
        steps += 1;
        consumer.write(scene, &chain, &mut random);
        if steps % 3 == 0 {
            consumer.flush(scene, &chain);
        }
    }
    consumer.write(scene, &chain, &mut random);
    live.equal(&chain).unwrap();
    let equal_from = scene.events();
    for round in 0..6 {
        consumer.write(scene, &chain, &mut random);
        if round % 2 == 0 {
            consumer.flush(scene, &chain);
        }
    }
    live.begin_commit(&chain).unwrap();
    live.set_parent_hidden(false).unwrap();
    consumer.write(scene, &chain, &mut random);
    consumer.flush(scene, &chain);
    let both_until = scene.events();
    if scene.raw {
        let (chain, error) = *LiveMerge::into_chain(live, chain).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        drop(chain);
    } else {
        let (chain, old) = live.into_chain(chain).map_err(|failed| failed.1).unwrap();
        drop(old);
        consumer.write(scene, &chain, &mut random);
        consumer.flush(scene, &chain);
        consumer.write(scene, &chain, &mut random);
    }
    for kept in (0..=scene.events()).step_by(step) {
        // While only the walk writes, one point is like the next.
        if kept < equal_from && kept % 4 != 0 {
            continue;
        }
        for choice in 0..3 {
            let context = format!("{kept} of {}, choice {choice}", scene.events());
            let [child, parent] = scene.cut(kept, choice);
            if kept <= both_until {
                let chain = scene.open(child, parent.clone(), Access::ReadOnly);
                consumer.assert_kept(&content(&chain), &before, kept, &context);
            }
            if kept >= equal_from {
                let found = scene.alone(parent.clone());
                consumer.assert_kept(&found, &before, kept, &format!("alone, {context}"));
            }
            if kept % 7 == 0 {
                scene.assert_mends(&parent);
            }
        }
    }
}
