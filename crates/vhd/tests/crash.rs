//! Crashes: a storage that logs writes, length changes and flushes is cut at every point, with any subset of what was
//! not yet flushed; the image that is left must open, check and hold every flushed byte.
//!
//! What may be lost: a write that no flush has covered may be there or not, sector by sector. Length changes are kept in
//! order, as a journalling file system does, and a write past the length that survived is lost with it.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use support::recorder::{Event, Recorder, after_crash};
use support::volume::Medium;
use uuid::Uuid;
use vhd::check::{CheckOptions, Depth, PrimaryFooter, check};
use vhd::image::{self, NewImage, NewParent};
use vhd::{Access, Chain, ErrorKind, MemoryStorage, NoParents, ParentLink, ParentStorage, Storage};

const BLOCK: u64 = 2 << 20;

/// A script of writes and flushes on a child of a parent full of 0xaa, and what every sector may hold.
struct Story {
    medium: Medium,
    start: Vec<u8>,
    parent: Arc<MemoryStorage>,
    recorder: Arc<Recorder>,
    /// (events when the write began, offset, length, byte)
    writes: Vec<(usize, u64, u64, u8)>,
    /// (events when the flush returned, number of writes that it covers)
    flushes: Vec<(usize, usize)>,
}

const PARENT_BYTE: u8 = 0xaa;
const BLOCKS: u64 = 6;
/// A sector of the block that the story writes and never publishes.
const REUSED: u64 = 5 * BLOCK + 2 * 4096;

impl Story {
    fn new(medium: Medium) -> Self {
        let parent = Arc::new(MemoryStorage::new());
        image::create_dynamic(&*parent, &NewImage::new(BLOCKS * BLOCK, Uuid::from_u128(1)))
            .unwrap();
        let chain = Chain::open(parent.clone(), &NoParents, Access::ReadWrite).unwrap();
        chain
            .write_at(&vec![PARENT_BYTE; (BLOCKS * BLOCK) as usize], 0)
            .unwrap();
        chain.close().unwrap();

        let child = MemoryStorage::new();
        let link = NewParent {
            uuid: Uuid::from_u128(1),
            timestamp: 0,
            path: "parent.vhd".into(),
        };
        image::create_differencing(
            &child,
            &NewImage::new(BLOCKS * BLOCK, Uuid::from_u128(2)),
            &link,
        )
        .unwrap();
        let start = medium.bytes(child.to_vec());
        let recorder = Recorder::new(start.clone(), usize::MAX);
        let mut story = Self {
            medium,
            start,
            parent,
            recorder,
            writes: Vec::new(),
            flushes: Vec::new(),
        };
        story.play();
        story
    }

    fn open<S: Storage + 'static>(&self, bytes: Arc<S>, access: Access) -> vhd::Result<Chain> {
        let storage = self.medium.place(bytes);
        let find = |_: &ParentLink| Ok(ParentStorage::Vhd(self.parent.clone() as Arc<dyn Storage>));
        Chain::open(storage, &find, access)
    }

    fn play(&mut self) {
        let chain = self.open(self.recorder.clone(), Access::ReadWrite).unwrap();
        let script: [&[(u64, u64)]; 5] = [
            &[(0, 4096), (BLOCK + 512, 512)],
            &[(512, 1024), (3 * BLOCK, BLOCK), (BLOCK, 512)],
            // Only data of published sectors: the flush writes no metadata.
            &[(3 * BLOCK + 4096, 8192)],
            &[
                (4 * BLOCK - 1024, 2048),
                (2 * BLOCK, 512),
                (2 * BLOCK + 300, 900),
            ],
            &[(4 * BLOCK, 1024), (5 * BLOCK + 512, 512)],
        ];
        let mut byte = 1;
        for (index, writes) in script.iter().enumerate() {
            for (offset, length) in *writes {
                self.writes
                    .push((self.recorder.events(), *offset, *length, byte));
                chain
                    .write_at(&vec![byte; *length as usize], *offset)
                    .unwrap();
                byte += 1;
            }
            // The last writes are never flushed.
            if index + 1 < script.len() {
                chain.flush().unwrap();
                self.flushes
                    .push((self.recorder.events(), self.writes.len()));
            }
        }
    }

    /// Opens what a crash behind `kept` events left, and checks it byte by byte.
    fn verify(&self, bytes: Vec<u8>, kept: usize) {
        let bytes = Arc::new(MemoryStorage::from(bytes));
        let storage = self.medium.place(bytes.clone());
        let lenient = CheckOptions {
            primary_footer: PrimaryFooter::MayBeMissing,
            depth: Depth::Bitmaps,
            now: None,
        };
        let before = check(&*storage, &lenient).unwrap();
        // The last sector of a volume that has grown may hold anything.
        let harmless = |defect: &&vhd::Defect| {
            let is_old = self.medium == Medium::Volume && defect.part == vhd::Part::BackupFooter;
            defect.part != vhd::Part::Batmap && !is_old
        };
        assert_eq!(
            before.iter().filter(harmless).collect::<Vec<_>>(),
            [] as [&vhd::Defect; 0]
        );
        self.verify_content(&self.open(bytes.clone(), Access::ReadOnly).unwrap(), kept);

        let chain = self.open(bytes.clone(), Access::ReadWrite).unwrap();
        self.verify_content(&chain, kept);
        let strict = CheckOptions {
            depth: Depth::Bitmaps,
            ..CheckOptions::default()
        };
        assert_eq!(check(&*storage, &strict).unwrap(), [], "after the repair");
        // The space of unpublished blocks is used again, and holds nothing of them: other readers trust the data.
        chain.write_at(&[0xbb; 512], REUSED).unwrap();
        chain.close().unwrap();
        assert_eq!(check(&*storage, &strict).unwrap(), [], "after more writes");
        if self.medium == Medium::File {
            let bytes = bytes.to_vec();
            let sector = u32::from_be_bytes(bytes[1536 + 5 * 4..][..4].try_into().unwrap());
            let data = &bytes[sector as usize * 512 + 512..][..BLOCK as usize];
            let mut expected = vec![0; BLOCK as usize];
            expected[2 * 4096..][..512].fill(0xbb);
            assert!(data == expected, "a new block holds old bytes");
        }
        let chain = self.open(bytes, Access::ReadOnly).unwrap();
        let mut sector = [0; 512];
        chain.read_at(&mut sector, REUSED).unwrap();
        assert_eq!(sector, [0xbb; 512]);
        chain.write_at(&sector, 0).unwrap_err();
        self.verify_content_except(&chain, kept, REUSED);
    }

    fn verify_content(&self, chain: &Chain, kept: usize) {
        self.verify_content_except(chain, kept, u64::MAX);
    }

    fn verify_content_except(&self, chain: &Chain, kept: usize, except: u64) {
        let covered = self
            .flushes
            .iter()
            .filter(|(at, _)| *at <= kept)
            .map(|(_, writes)| *writes)
            .max()
            .unwrap_or(0);
        let size = (BLOCKS * BLOCK) as usize;
        let mut durable = vec![PARENT_BYTE; size];
        for (_, offset, length, byte) in &self.writes[..covered] {
            durable[*offset as usize..(offset + length) as usize].fill(*byte);
        }
        let mut found = vec![0; size];
        chain.read_at(&mut found, 0).unwrap();
        let later: Vec<_> = self.writes[covered..]
            .iter()
            .filter(|(began, ..)| *began <= kept)
            .collect();
        // Most of it is equal; large pieces are compared at once.
        let pieces = found
            .chunks(1 << 16)
            .zip(durable.chunks(1 << 16))
            .enumerate();
        let unequal = pieces.filter(|(_, (found, durable))| found != durable);
        let sectors = unequal.flat_map(|(piece, (found, durable))| {
            (piece << 7..).zip(found.chunks(512).zip(durable.chunks(512)))
        });
        for (index, (found, durable)) in sectors {
            if found == durable || index as u64 * 512 == except {
                continue;
            }
            // The sector after any of the later writes to it.
            let start = index as u64 * 512;
            let mut state = durable.to_vec();
            let allowed = later.iter().any(|(_, offset, length, byte)| {
                let (from, to) = ((*offset).max(start), (offset + length).min(start + 512));
                if from < to {
                    state[(from - start) as usize..(to - start) as usize].fill(*byte);
                }
                from < to && state == found
            });
            assert!(
                allowed,
                "sector {index} holds {:#x}... after {kept} events, not {:#x}",
                found[0], durable[0]
            );
        }
    }
}

#[test]
fn every_crash_leaves_what_was_flushed() {
    every_crash_leaves(Medium::File, &[2, 8]);
}

#[test]
fn every_crash_on_a_volume_leaves_what_was_flushed() {
    every_crash_leaves(Medium::Volume, &[2]);
}

fn every_crash_leaves(medium: Medium, chances: &[u64]) {
    let story = Story::new(medium);
    let log = story.recorder.log.lock().unwrap().clone();
    assert!(
        story.flushes.len() == 4 && log.len() > 30,
        "{} events",
        log.len()
    );
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    for kept in 0..=log.len() {
        // Everything, nothing, and random subsets of what was not flushed.
        story.verify(after_crash(&story.start, &log, kept, || true), kept);
        story.verify(after_crash(&story.start, &log, kept, || false), kept);
        for chance in chances {
            let survives = || {
                // xorshift64: the same subsets every time.
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                !(random >> 32).is_multiple_of(*chance)
            };
            story.verify(after_crash(&story.start, &log, kept, survives), kept);
        }
    }
}

/// Of what no flush has covered, a disk may put the last write on its medium first.
#[test]
fn a_crash_that_keeps_only_the_last_write_loses_nothing() {
    for medium in [Medium::File, Medium::Volume] {
        only_the_last_write(&Story::new(medium));
    }
}

fn only_the_last_write(story: &Story) {
    let log = story.recorder.log.lock().unwrap().clone();
    for kept in 1..=log.len() {
        let last = kept - 1;
        if matches!(log[last], Event::Flush) {
            continue;
        }
        let flushed = log[..last]
            .iter()
            .rposition(|event| matches!(event, Event::Flush))
            .map_or(0, |at| at + 1);
        let mut left = log[..flushed].to_vec();
        left.push(log[last].clone());
        let all = left.len();
        story.verify(after_crash(&story.start, &left, all, || true), kept);
    }
}

/// The repair at opening is itself cut at every point.
#[test]
fn a_crash_while_opening_loses_nothing() {
    for medium in [Medium::File, Medium::Volume] {
        while_opening(&Story::new(medium));
    }
}

fn while_opening(story: &Story) {
    let log = story.recorder.log.lock().unwrap().clone();
    let mut left = after_crash(&story.start, &log, log.len(), || true);
    if story.medium == Medium::Volume {
        // As a tapdisk leaves it while it has the image open.
        let end = left.len() - 512;
        left[end..].fill(0xc7);
    }
    let recorder = Recorder::new(left.clone(), usize::MAX);
    drop(story.open(recorder.clone(), Access::ReadWrite).unwrap());
    let repair = recorder.log.lock().unwrap().clone();
    assert!(repair.len() >= if story.medium == Medium::File { 3 } else { 2 });
    for kept in 0..=repair.len() {
        story.verify(after_crash(&left, &repair, kept, || true), log.len());
        story.verify(after_crash(&left, &repair, kept, || false), log.len());
    }
}

/// Every single mutation fails once: the call says so; when it was a flush, the image is poisoned; nothing that was
/// flushed is lost.
#[test]
fn every_failing_write_is_told_and_poisons_when_it_must() {
    for medium in [Medium::File, Medium::Volume] {
        every_failing_write(&Story::new(medium));
    }
}

fn every_failing_write(story: &Story) {
    let events = story.recorder.events();
    for budget in 0..events {
        let recorder = Recorder::new(story.start.clone(), budget);
        let chain = story.open(recorder.clone(), Access::ReadWrite).unwrap();
        let mut flushed = Vec::new();
        let mut pending = Vec::new();
        let mut failed = false;
        for (index, (_, offset, length, byte)) in story.writes.iter().enumerate() {
            let flush_before = story.flushes.iter().any(|(_, writes)| *writes == index);
            if flush_before {
                match chain.flush() {
                    Ok(()) => flushed.append(&mut pending),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Io);
                        assert_eq!(chain.flush().unwrap_err().kind(), ErrorKind::Poisoned);
                        assert_eq!(
                            chain.read_at(&mut [0], 0).unwrap_err().kind(),
                            ErrorKind::Poisoned
                        );
                        assert_eq!(
                            chain.write_at(&[0], 0).unwrap_err().kind(),
                            ErrorKind::Poisoned
                        );
                        failed = true;
                        break;
                    }
                }
            }
            match chain.write_at(&vec![*byte; *length as usize], *offset) {
                Ok(()) => pending.push((*offset, *length, *byte)),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Io);
                    chain.read_at(&mut [0], 0).unwrap();
                    failed = true;
                    break;
                }
            }
        }
        assert!(failed, "budget {budget} of {events}");
        let storage = Arc::new(MemoryStorage::from(recorder.now.to_vec()));
        let chain = story.open(storage, Access::ReadWrite).unwrap();
        for (offset, length, byte) in flushed {
            let mut found = vec![0; length as usize];
            chain.read_at(&mut found, offset).unwrap();
            let later = story
                .writes
                .iter()
                .filter(|(_, at, len, _)| *at < offset + length && offset < at + len);
            let bytes: Vec<u8> = later.map(|(.., byte)| *byte).collect();
            assert!(
                found
                    .iter()
                    .all(|found| *found == byte || bytes.contains(found)),
                "{offset}"
            );
        }
    }
}
