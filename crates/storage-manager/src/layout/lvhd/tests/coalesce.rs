//! Coalescing on volumes: an error and a death at each commit of a step, and at some of its writes.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use rustix::fs::SeekFrom;
use vhd::merge::Control;

use super::*;
use crate::gc::{ImageStore, Outcome, SrPolicy, StepError, Work, plan};
use crate::layout::vhd_files::FileChains;

/// What a VDI holds.
type Contents = BTreeMap<Uuid, Vec<u8>>;

/// Where a consumer writes; nothing else is there.
const CONSUMED: std::ops::Range<u64> = 4 * MIB..5 * MIB;

/// Every so many writes of data one is a point to fail and to die at: a merge has hundreds that are alike.
const STRIDE: usize = 197;

/// As [`STRIDE`], of all points of a step under a consumer.
const CONSUMED_STRIDE: usize = 5;

fn chains(path: &Path, allocation: Allocation) -> (Arc<VolumeFiles>, Arc<FileChains>) {
    let (files, images) = attach(path, allocation);
    (files, FileChains::new(Arc::new(images)))
}

fn write(images: &VhdDirectory, fill: u8, offset: u64) {
    let open = images.open(vdi(1), OpenMode::ReadWrite).unwrap();
    open.write_at(&vec![fill; 300 << 10], offset).unwrap();
    open.close().unwrap();
}

fn snapshot(images: &VhdDirectory, number: u128) {
    let kind = SnapshotKind::Snapshot;
    images.snapshot(vdi(1), vdi(number), kind).unwrap();
}

/// Two parents of which the upper one has children, and no other the lower one.
fn inner_scene(images: &VhdDirectory) {
    snapshot(images, 2);
    write(images, 8, MIB);
    snapshot(images, 3);
    write(images, 9, 2 * MIB + (100 << 10));
    images.remove(vdi(2)).unwrap();
}

/// A VDI whose hidden parent nobody else needs.
fn leaf_scene(images: &VhdDirectory) {
    snapshot(images, 2);
    write(images, 8, MIB);
    images.remove(vdi(2)).unwrap();
}

/// As [`leaf_scene`], of a VDI that was raw.
fn raw_scene(images: &VhdDirectory) {
    images.remove(vdi(1)).unwrap();
    let new = NewImage {
        name: ImageName::raw(vdi(1)),
        virtual_size: 6 * MIB,
    };
    images.create(&new).unwrap();
    write(images, 7, 2 * MIB);
    leaf_scene(images);
}

fn next(chains: &FileChains) -> Option<Work> {
    let images = ImageStore::images(chains)
        .unwrap_or_else(|error| panic!("{error}: {:?}", chains.images().survey().unwrap().damaged));
    let plan = plan(&images, SrPolicy::default(), &Default::default());
    plan.work.first().copied()
}

fn run(chains: &FileChains, work: &Work) -> Result<Outcome, StepError> {
    chains.run(work, &Arc::new(Control::default()))
}

fn contents(chains: &FileChains) -> Contents {
    let mut found = Contents::new();
    for number in 1..4 {
        let Ok(open) = chains.images().open(vdi(number), OpenMode::ReadOnly) else {
            continue;
        };
        let mut bytes = vec![0; open.size() as usize];
        open.read_at(&mut bytes, 0).unwrap();
        found.insert(vdi(number), bytes);
    }
    found
}

/// Copies a device, without its holes.
fn copy(from: &Path, to: &Path) {
    let from = std::fs::File::open(from).unwrap();
    let length = from.metadata().unwrap().len();
    let to = std::fs::File::create(to).unwrap();
    to.set_len(length).unwrap();
    let mut end = 0;
    while let Ok(start) = rustix::fs::seek(&from, SeekFrom::Data(end)) {
        end = rustix::fs::seek(&from, SeekFrom::Hole(start)).unwrap();
        let mut data = vec![0; (end - start) as usize];
        from.read_exact_at(&mut data, start).unwrap();
        to.write_all_at(&data, start).unwrap();
    }
}

/// Who writes and flushes until he is told to stop.
struct Consumer {
    stop: AtomicBool,
    begun: AtomicBool,
    /// What every byte of the range has, at least, since the last flush.
    flushed: AtomicU8,
}

impl Consumer {
    fn write(&self, image: &dyn Export) {
        for value in 1..=u8::MAX {
            for offset in CONSUMED.step_by(64 << 10) {
                let written = image.write_at(&[value; 64 << 10], offset);
                // An image of which it is not known which volume is it was closed, or has failed to flush.
                if self.stop.load(Ordering::Acquire) || written.is_err() {
                    return self.begun.store(true, Ordering::Release);
                }
                self.begun.store(true, Ordering::Release);
            }
            if image.flush().is_err() {
                return;
            }
            self.flushed.store(value, Ordering::Release);
        }
    }
}

/// Runs a step while a consumer writes the VDI, if one is to.
fn beside<T>(chains: &FileChains, consumed: bool, step: impl FnOnce() -> T) -> (T, Option<u8>) {
    if !consumed {
        return (step(), None);
    }
    let image = chains.images().open(vdi(1), OpenMode::ReadWrite).unwrap();
    let consumer = Consumer {
        stop: AtomicBool::new(false),
        begun: AtomicBool::new(false),
        flushed: AtomicU8::new(0),
    };
    let result = std::thread::scope(|scope| {
        let writer = scope.spawn(|| consumer.write(&*image));
        while !consumer.begun.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        let result = step();
        consumer.stop.store(true, Ordering::Release);
        writer.join().unwrap();
        result
    });
    (result, Some(consumer.flushed.load(Ordering::Acquire)))
}

fn assert_kept(mut found: Contents, before: &Contents, flushed: Option<u8>, context: &str) {
    let range = CONSUMED.start as usize..CONSUMED.end as usize;
    if let Some(flushed) = flushed {
        let live = found.get_mut(&vdi(1)).unwrap();
        let oldest = live[range.clone()].iter().min().unwrap();
        assert!(*oldest >= flushed, "{context}: {oldest} < {flushed}");
        live[range].fill(0);
    }
    assert!(found.keys().eq(before.keys()), "{context}");
    for (vdi, bytes) in before {
        assert!(found[vdi] == *bytes, "{context}: {vdi}");
    }
}

/// Attaches what is there, and sees that it is whole, and that what is to be merged can be.
fn assert_recovers(
    path: &Path,
    allocation: Allocation,
    before: &Contents,
    flushed: Option<u8>,
    context: &str,
) {
    let (files, chains) = chains(path, allocation);
    let damaged = chains.images().survey().unwrap().damaged;
    assert_eq!(damaged, [], "{context}");
    assert_kept(contents(&chains), before, flushed, context);
    for _ in 0..8 {
        let Some(work) = next(&chains) else { break };
        let outcome = run(&chains, &work);
        assert!(
            matches!(outcome, Ok(Outcome::Done)),
            "{context}: {outcome:?}"
        );
    }
    assert_eq!(next(&chains), None, "{context}");
    // Who opens it for writing puts the footer where a consumer that died had left none.
    let open = chains.images().open(vdi(1), OpenMode::ReadWrite).unwrap();
    open.close().unwrap();
    assert_kept(contents(&chains), before, flushed, context);
    let survey = chains.images().survey().unwrap();
    assert_eq!(survey.damaged, [], "{context}");
    for name in survey.images.keys() {
        for checked in ImageStore::check(&*chains, name.uuid).unwrap() {
            assert_eq!(checked.defects, [""; 0], "{context}: {}", checked.name);
        }
    }
    let group = files.volumes().index().group.clone();
    let left = group.logical_volumes.iter().map(|one| one.name.as_str());
    let left: Vec<&str> = left
        .filter(|name| name.starts_with("xensm-") || name.contains('_'))
        .collect();
    assert_eq!(left, [""; 0], "{context}");
}

fn at_every_point(
    allocation: Allocation,
    scene: fn(&VhdDirectory),
    consumed: bool,
    expected: fn(&Work) -> bool,
) {
    let made = place(allocation);
    let (files, images) = attach(&made.path, allocation);
    scene(&images);
    drop((files, images));
    let fresh = |name: &str| {
        let path = made.path.with_file_name(name);
        copy(&made.path, &path);
        path
    };
    let path = fresh("counted");
    let (files, counted) = chains(&path, allocation);
    let before = contents(&counted);
    let work = next(&counted).unwrap();
    assert!(expected(&work), "{work}");
    let (points, _) = beside(&counted, consumed, || {
        fault::count(|| assert_eq!(run(&counted, &work).unwrap(), Outcome::Done))
    });
    counted.close();
    drop((files, counted));
    // A step under a consumer has the same points; some of them show what he adds.
    let every = if consumed { CONSUMED_STRIDE } else { 1 };
    for at in (0..points.len()).step_by(every) {
        for death in [false, true] {
            let tried = match points[at] {
                "device: write" => at % STRIDE == 0,
                // A commit is whole or nothing, and one whose flush has failed is there or not.
                "device: flush" => !death,
                _ => true,
            };
            if !tried {
                continue;
            }
            let context = format!("{work} at {at} {}, death: {death}", points[at]);
            let path = fresh("tried");
            let (files, chains) = chains(&path, allocation);
            let ((), flushed) = beside(&chains, consumed, || match death {
                // Under a consumer a step has now more points, now fewer.
                true => drop(fault::try_crash_at(at, || run(&chains, &work))),
                // An error that has no consequence is no failure of the step.
                false => drop(fault::fail_at(at, 5, || run(&chains, &work))),
            });
            // A process that was killed closes nothing.
            let left = path.with_file_name("left");
            match death {
                true => copy(&path, &left),
                false => drop(chains.close()),
            }
            drop((files, chains));
            let left = if death { left } else { path };
            assert_recovers(&left, allocation, &before, flushed, &context);
        }
    }
}

const fn is_inner(work: &Work) -> bool {
    matches!(work, Work::Inner { .. })
}

const fn is_leaf(work: &Work) -> bool {
    matches!(work, Work::Leaf { .. })
}

#[test]
fn an_inner_step_on_thick_volumes_loses_nothing() {
    at_every_point(Allocation::Thick, inner_scene, false, is_inner);
}

#[test]
fn an_inner_step_under_a_consumer_of_thin_volumes_loses_nothing() {
    at_every_point(Allocation::Thin, inner_scene, true, is_inner);
}

#[test]
fn a_leaf_step_on_thin_volumes_loses_nothing() {
    at_every_point(Allocation::Thin, leaf_scene, false, is_leaf);
}

#[test]
fn a_leaf_step_under_a_consumer_of_thick_volumes_loses_nothing() {
    at_every_point(Allocation::Thick, leaf_scene, true, is_leaf);
}

#[test]
fn a_leaf_step_into_a_raw_volume_loses_nothing() {
    at_every_point(Allocation::Thick, raw_scene, false, is_leaf);
}

/// There is room for the step, or it is refused before it begins.
#[test]
fn a_step_without_room_says_so_and_changes_nothing() {
    for (scene, consumed) in [
        (inner_scene as fn(&VhdDirectory), false),
        (leaf_scene, false),
        (leaf_scene, true),
    ] {
        let made = place(Allocation::Thin);
        let (files, chains) = chains(&made.path, Allocation::Thin);
        scene(chains.images());
        let before = contents(&chains);
        let work = next(&chains).unwrap();
        let open = consumed.then(|| chains.images().open(vdi(1), OpenMode::ReadWrite).unwrap());
        let group = files.volumes().index().group.clone();
        let free = group.free_extents() * group.extent_bytes();
        files.volumes().create("filler", free, &[]).unwrap();
        let sequence = files.volumes().index().group.sequence;
        let failed = run(&chains, &work).unwrap_err();
        assert!(failed.is_no_space(), "{work}: {failed:?}");
        let now = files.volumes().index().group.clone();
        assert!(now.sequence <= sequence + 4, "{work}");
        let found = now.logical_volumes.iter().map(|one| &one.name);
        let found: Vec<&String> = found.filter(|name| name.contains('_')).collect();
        assert_eq!(found, [""; 0], "{work}: no journal stays");
        if let Some(open) = open {
            // What a consumer has, he has all the room for.
            open.write_at(&[5; 4096], CONSUMED.start).unwrap();
            open.write_at(&[0; 4096], CONSUMED.start).unwrap();
            open.close().unwrap();
        }
        files
            .volumes()
            .commit(&|group| group.remove_lv("filler"))
            .unwrap();
        assert_kept(contents(&chains), &before, None, &work.to_string());
        chains.close();
        drop((files, chains));
        assert_recovers(
            &made.path,
            Allocation::Thin,
            &before,
            None,
            &work.to_string(),
        );
    }
}
