//! Steps of coalescing: what they leave, with consumers and without, with an error and a death at each point of theirs.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use nbd::Export;
use uuid::Uuid;
use vhd::image::{self, NewImage, NewParent};
use vhd::merge::Control;

use super::super::names::ImageName;
use super::super::open_image::OpenImage;
use super::super::{FileChains, VhdDirectory};
use crate::gc::{ImageStore, Outcome, SrPolicy, Work, plan};
use crate::io::fault;
use crate::medium::directory::Directory;
use crate::medium::files::Files;
use crate::sr::OpenMode;

const MIB: u64 = 1 << 20;
const SIZE: u64 = 8 * MIB;
/// Where a consumer of a test writes; the rest of the disk stays as it was.
const CONSUMED: std::ops::Range<u64> = 4 * MIB..6 * MIB;

fn uuid(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn file_name(n: u128) -> String {
    ImageName::vhd(uuid(n)).file_name()
}

fn storage(dir: &Path, name: &str) -> vhd::FileStorage {
    let mut options = std::fs::OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false);
    vhd::FileStorage::new(options.open(dir.join(name)).unwrap())
}

fn info(dir: &Path, n: u128) -> vhd::ImageInfo {
    image::inspect(&storage(dir, &file_name(n))).unwrap()
}

/// Makes an image on a parent, with some bytes of its own; images inside have other uuids than the files, as real ones.
fn make(dir: &Path, n: u128, parent: Option<u128>, hidden: bool, size: u64) {
    let file = storage(dir, &file_name(n));
    let new = NewImage::new(size, uuid(n + 1000));
    match parent {
        None => image::create_dynamic(&file, &new).unwrap(),
        Some(parent) => {
            let parent = NewParent {
                uuid: info(dir, parent).uuid,
                timestamp: 0,
                path: file_name(parent),
            };
            image::create_differencing(&file, &new, &parent).unwrap()
        }
    };
    let resolver = |link: &vhd::ParentLink| {
        let file = Arc::new(storage(dir, link.base_name()));
        Ok(vhd::ParentStorage::Vhd(file))
    };
    let chain = vhd::Chain::open(Arc::new(file), &resolver, vhd::Access::ReadWrite).unwrap();
    for part in 0..6 {
        let offset = (n as u64 * 37 + part * 333) * 4096 % (CONSUMED.start - MIB);
        chain.write_at(&[n as u8; 10_000], offset).unwrap();
    }
    chain
        .write_at(&[n as u8; 5000], 6 * MIB + n as u64 * 1000)
        .unwrap();
    if size > SIZE {
        chain
            .write_at(&[n as u8; 5000], size - MIB + n as u64 * 1000)
            .unwrap();
    }
    chain.close().unwrap();
    image::set_hidden(&storage(dir, &file_name(n)), hidden).unwrap();
}

/// 1 <- 2 <- 3 <- 4 with 1 to 3 hidden, 4 a VDI, and its snapshot 5 on 3 as well unless it is for a leaf.
fn inner_scene(dir: &Path) {
    make(dir, 1, None, true, SIZE);
    make(dir, 2, Some(1), true, SIZE);
    make(dir, 3, Some(2), true, SIZE);
    make(dir, 4, Some(3), false, SIZE);
    make(dir, 5, Some(3), false, SIZE);
}

fn leaf_scene(dir: &Path) {
    make(dir, 1, None, true, SIZE);
    make(dir, 2, Some(1), true, SIZE);
    make(dir, 9, Some(1), false, SIZE);
    make(dir, 4, Some(2), false, SIZE);
}

const INNER: Work = Work::Inner {
    vdi: Uuid::from_u128(3),
    parent: Uuid::from_u128(2),
};
const LEAF: Work = Work::Leaf {
    vdi: Uuid::from_u128(4),
    parent: Uuid::from_u128(2),
};

fn attach(dir: &Path) -> Arc<FileChains> {
    FileChains::new(Arc::new(
        VhdDirectory::new(Arc::new(Directory::open(dir).unwrap())).unwrap(),
    ))
}

/// What an image holds; of a large one the first [`SIZE`] bytes and its end, where the tests write.
fn content(image: &OpenImage) -> Vec<u8> {
    let end = match image.size() {
        size if size <= 2 * SIZE => 0..size,
        size => size - MIB..size,
    };
    let begin = 0..SIZE.min(end.start);
    let mut bytes = Vec::new();
    for range in [begin, end] {
        // Not by `resize`, which sets byte for byte in a build for tests.
        let mut part = vec![0; (range.end - range.start) as usize];
        image.read_at(&mut part, range.start).unwrap();
        bytes.append(&mut part);
    }
    bytes
}

fn read(chains: &FileChains, n: u128) -> Vec<u8> {
    content(&chains.images().open(uuid(n), OpenMode::ReadOnly).unwrap())
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn copy(from: &Path, to: &Path) {
    for name in names(from) {
        std::fs::copy(from.join(&name), to.join(&name)).unwrap();
    }
}

/// Every image of the directory is sound, and every chain is.
fn assert_sound(chains: &FileChains) {
    let survey = chains.images().survey().unwrap();
    assert_eq!(survey.damaged, []);
    for name in survey.images.keys() {
        for checked in ImageStore::check(chains, name.uuid).unwrap() {
            assert_eq!(checked.defects, [] as [String; 0], "{}", checked.name);
        }
    }
}

/// Runs every step that there is.
fn coalesce_all(chains: &FileChains) {
    for _ in 0..20 {
        let images = ImageStore::images(chains).unwrap();
        let plan = plan(&images, SrPolicy::default(), &Default::default());
        let Some(work) = plan.work.first() else {
            return;
        };
        let outcome = chains.run(work, &Arc::new(Control::default())).unwrap();
        assert_eq!(outcome, Outcome::Done, "{work}");
    }
    panic!("it does not come to an end");
}

fn run(chains: &FileChains, work: &Work) -> Result<Outcome, crate::gc::StepError> {
    chains.run(work, &Arc::new(Control::default()))
}

#[test]
fn an_inner_image_goes_and_its_children_read_as_before() {
    let dir = testkit::scratch::directory();
    inner_scene(dir.path());
    let chains = attach(dir.path());
    let before = [4, 5].map(|n| read(&chains, n));
    let consumer = chains.images().open(uuid(4), OpenMode::ReadWrite).unwrap();
    let reader = chains.images().open(uuid(5), OpenMode::ReadOnly).unwrap();
    assert_eq!(run(&chains, &INNER).unwrap(), Outcome::Done);
    assert_eq!(names(dir.path()), [1, 2, 4, 5].map(file_name));
    assert!([content(&consumer), content(&reader)] == before);
    consumer.write_at(&[99; 4096], CONSUMED.start).unwrap();
    for image in [consumer, reader] {
        image.close().unwrap();
    }
    assert_eq!(
        info(dir.path(), 4).parent.unwrap().base_name(),
        file_name(2)
    );
    assert!(ImageStore::pauses(&*chains).count >= 2);
    assert_sound(&chains);
    let again = attach(dir.path());
    assert!(read(&again, 5) == before[1]);
    assert_eq!(read(&again, 4)[CONSUMED.start as usize], 99);
    coalesce_all(&again);
    assert_eq!(names(dir.path()), [1, 4, 5].map(file_name));
    assert!(read(&again, 5) == before[1]);
}

#[test]
fn a_leaf_at_rest_takes_its_parents_place() {
    let dir = testkit::scratch::directory();
    leaf_scene(dir.path());
    let chains = attach(dir.path());
    let before = [4, 9].map(|n| read(&chains, n));
    assert_eq!(run(&chains, &LEAF).unwrap(), Outcome::Done);
    assert_eq!(names(dir.path()), [1, 4, 9].map(file_name));
    assert!([4, 9].map(|n| read(&chains, n)) == before);
    assert!(!info(dir.path(), 4).hidden);
    assert_eq!(
        info(dir.path(), 4).uuid,
        uuid(1002),
        "it is the parent's image"
    );
    assert_sound(&chains);
    assert!(matches!(run(&chains, &LEAF), Ok(Outcome::Overtaken)));
}

/// True after a flush of the image has failed: a step flushes its consumers too, so the error of a test may meet one.
fn is_poisoned(outcome: &std::io::Result<()>) -> bool {
    let error = outcome.as_ref().err().and_then(std::io::Error::get_ref);
    matches!(
        error.and_then(|error| error.downcast_ref()),
        Some(vhd::Error::Poisoned)
    )
}

/// A consumer that writes and flushes until it is told to stop.
struct Consumer {
    image: Arc<OpenImage>,
    stop: AtomicBool,
    /// What every byte of the range had, at least, at the last flush.
    flushed: AtomicU8,
    begun: AtomicBool,
}

impl Consumer {
    fn new(chains: &FileChains, n: u128) -> Self {
        let image = chains.images().open(uuid(n), OpenMode::ReadWrite).unwrap();
        Consumer {
            image,
            stop: AtomicBool::new(false),
            flushed: AtomicU8::new(0),
            begun: AtomicBool::new(false),
        }
    }

    fn write(&self) {
        for value in 1..=u8::MAX {
            for offset in CONSUMED.step_by(16 << 10) {
                // Not on sectors, so that writes are read, changed and written.
                let write = self.image.write_at(&[value; 16 << 10], offset);
                // An image of which it is not known which file is it was closed.
                if self.stop.load(Ordering::Acquire) || !self.image.is_open() {
                    return;
                }
                if is_poisoned(&write) {
                    return;
                }
                write.unwrap();
                self.begun.store(true, Ordering::Release);
            }
            let flushed = self.image.flush();
            if !self.image.is_open() || is_poisoned(&flushed) {
                return;
            }
            flushed.unwrap();
            self.flushed.store(value, Ordering::Release);
        }
    }

    /// Runs `step` while the consumer writes; the image stays open.
    fn beside<T>(&self, step: impl FnOnce() -> T) -> T {
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| self.write());
            while !self.begun.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            let result = step();
            self.stop.store(true, Ordering::Release);
            writer.join().unwrap();
            result
        })
    }

    /// Asserts that the range holds what was flushed or something later, and the rest what it held before.
    fn assert_kept(&self, found: &[u8], before: &[u8], context: &str) {
        let range = CONSUMED.start as usize..CONSUMED.end as usize;
        let flushed = self.flushed.load(Ordering::Acquire);
        let (at, oldest) = (found[range.clone()].iter().enumerate())
            .min_by_key(|(_, value)| **value)
            .unwrap();
        assert!(
            *oldest >= flushed,
            "{context}: {oldest} < {flushed} at byte {at}"
        );
        assert!(found[..range.start] == before[..range.start], "{context}");
        assert!(found[range.end..] == before[range.end..], "{context}");
    }
}

#[test]
fn a_leaf_is_merged_under_its_consumer() {
    let dir = testkit::scratch::directory();
    leaf_scene(dir.path());
    let chains = attach(dir.path());
    let before = [4, 9].map(|n| read(&chains, n));
    let consumer = Consumer::new(&chains, 4);
    let outcome = consumer.beside(|| run(&chains, &LEAF));
    assert_eq!(outcome.unwrap(), Outcome::Done);
    assert_eq!(names(dir.path()), [1, 4, 9].map(file_name));
    let now = content(&consumer.image);
    consumer.assert_kept(&now, &before[0], "while it is open");
    // It goes on with the parent alone, which nobody else may have.
    consumer.image.write_at(&[77; 512], 7 * MIB).unwrap();
    assert!(chains.images().open(uuid(4), OpenMode::ReadOnly).is_err());
    consumer.image.close().unwrap();
    let mut expected = now;
    expected[7 << 20..(7 << 20) + 512].fill(77);
    assert!(read(&chains, 4) == expected);
    assert!(read(&chains, 9) == before[1]);
    assert_sound(&chains);
}

#[test]
fn a_call_on_the_vdi_cancels_a_merge_of_its_leaf() {
    let dir = testkit::scratch::directory();
    leaf_scene(dir.path());
    let chains = attach(dir.path());
    let before = read(&chains, 4);
    let control = Arc::new(Control::default());
    control.pause();
    let opened = std::thread::scope(|scope| {
        let step = scope.spawn(|| chains.run(&LEAF, &control));
        while control.progress().done == 0 {
            std::thread::yield_now();
        }
        let opened = chains.images().open(uuid(4), OpenMode::ReadWrite).unwrap();
        assert_eq!(step.join().unwrap().unwrap(), Outcome::Cancelled);
        opened
    });
    assert!(content(&opened) == before);
    opened.close().unwrap();
    assert!(chains.close());
    assert_eq!(run(&chains, &LEAF).unwrap(), Outcome::Overtaken);
    chains.reopen();
    coalesce_all(&chains);
    assert!(read(&chains, 4) == before);
}

/// The states in which XenServer's garbage collector can leave the two images, and ours.
#[test]
fn a_leaf_journal_is_undone_while_there_is_what_to_undo() {
    for state in 0..5 {
        let dir = testkit::scratch::directory();
        leaf_scene(dir.path());
        let before = read(&attach(dir.path()), 4);
        let path = |name: &str| dir.path().join(name);
        let journal = format!("leaf_{}", uuid(4));
        let old = format!("OLD_{}", file_name(4));
        std::fs::write(path(&journal), uuid(2).to_string()).unwrap();
        let chains = attach_without_recovery(dir.path());
        if state > 0 {
            // Merged and unhidden.
            let control = Control::default();
            let child = Arc::new(storage(dir.path(), &file_name(4)));
            let parent = Arc::new(storage(dir.path(), &file_name(2)));
            let target = vhd::merge::Target::vhd(parent.clone()).unwrap();
            vhd::merge::merge(child, &target, &control).unwrap();
            drop(target);
            image::set_hidden(&*parent, false).unwrap();
        }
        if state > 1 {
            chains.publish(&file_name(4), &old).unwrap();
        }
        if state > 2 {
            chains.publish(&file_name(2), &file_name(4)).unwrap();
        }
        if state > 3 {
            std::fs::remove_file(path(&old)).unwrap();
        }
        // The recovery itself may be cut off anywhere.
        let points = fault::count(|| {
            let copied = testkit::scratch::directory();
            copy(dir.path(), copied.path());
            drop(attach(copied.path()));
        });
        for index in 0..points.len() {
            let copied = testkit::scratch::directory();
            copy(dir.path(), copied.path());
            fault::crash_at(index, || attach(copied.path()));
            let again = attach(copied.path());
            assert!(read(&again, 4) == before, "state {state} cut at {index}");
            assert_sound(&again);
        }
        let again = attach(dir.path());
        assert!(read(&again, 4) == before, "state {state}");
        let expected: &[u128] = if state > 3 { &[1, 4, 9] } else { &[1, 2, 4, 9] };
        let expected: Vec<String> = expected.iter().copied().map(file_name).collect();
        assert_eq!(names(dir.path()), expected, "state {state}");
        assert!(state > 3 || info(dir.path(), 2).hidden);
    }
}

fn attach_without_recovery(dir: &Path) -> Directory {
    Directory::open(dir).unwrap()
}

#[test]
fn a_relink_journal_is_finished_also_when_a_header_was_torn() {
    let dir = testkit::scratch::directory();
    inner_scene(dir.path());
    let before = [4, 5].map(|n| read(&attach(dir.path()), n));
    let child = Arc::new(storage(dir.path(), &file_name(3)));
    let parent = Arc::new(storage(dir.path(), &file_name(2)));
    let target = vhd::merge::Target::vhd(parent).unwrap();
    vhd::merge::merge(child, &target, &Control::default()).unwrap();
    drop(target);
    std::fs::write(dir.path().join(format!("relink_{}", uuid(3))), "1").unwrap();
    // One child's locators name the new parent, its header names the old one still.
    let torn = storage(dir.path(), &file_name(4));
    let old_uuid = info(dir.path(), 3).uuid;
    let new = NewParent {
        uuid: old_uuid,
        timestamp: 0,
        path: file_name(2),
    };
    image::reparent(&torn, &new).unwrap();
    let chains = attach(dir.path());
    assert!([4, 5].map(|n| read(&chains, n)) == before);
    for n in [4, 5] {
        let link = info(dir.path(), n).parent.unwrap();
        assert_eq!(link.base_name(), file_name(2));
        assert_eq!(link.uuid, uuid(1002));
    }
    coalesce_all(&chains);
    assert!([4, 5].map(|n| read(&chains, n)) == before);
    assert_eq!(names(dir.path()), [1, 4, 5].map(file_name));
}

#[test]
fn stale_journals_and_old_images_are_swept() {
    let dir = testkit::scratch::directory();
    leaf_scene(dir.path());
    for name in [
        format!("coalesce_{}", uuid(2)),
        format!("relink_{}", uuid(77)),
        format!("leaf_{}", uuid(4)),
        format!("OLD_{}", file_name(4)),
    ] {
        std::fs::write(dir.path().join(name), "").unwrap();
    }
    // Whose VDI has no image is kept: it may be all that is left.
    let orphan = format!("OLD_{}", file_name(55));
    std::fs::write(dir.path().join(&orphan), "x").unwrap();
    drop(attach(dir.path()));
    let mut expected: Vec<String> = [1, 2, 4, 9].map(file_name).into();
    expected.push(orphan);
    assert_eq!(names(dir.path()), expected);
}

#[path = "tests/faults.rs"]
mod faults;
#[path = "tests/grow.rs"]
mod grow;
#[path = "tests/races.rs"]
mod races;
#[path = "tests/space.rs"]
mod space;
