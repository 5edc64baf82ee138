//! Steps of coalescing beside other calls on the same images.

use std::time::{Duration, Instant};

use super::super::super::Result;
use super::super::super::open_images::Use;
use super::*;
use crate::io::lock::LockMode;
use crate::medium::files::Access;
use crate::sr::SnapshotKind;

/// Longest wait for what must happen.
const DEADLINE: Duration = Duration::from_secs(120);
/// How long a call that ought to wait gets to show that it does not.
const HASTE: Duration = Duration::from_millis(100);

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        std::thread::yield_now();
    }
}

/// Runs a call while the image of VDI 4 has no name, as for a moment when a leaf is merged.
fn between_names<T: Send>(
    call: impl FnOnce(&VhdDirectory) -> Result<T> + Send,
) -> (T, Vec<String>) {
    let dir = testkit::scratch::directory();
    leaf_scene(dir.path());
    let chains = attach(dir.path());
    let images = chains.images();
    images.survey().unwrap();
    let change = images.change(&[ImageName::vhd(uuid(4))]).unwrap();
    let (name, old) = (file_name(4), "OLD_4");
    images.files().publish(&name, old).unwrap();
    let answer = std::thread::scope(|scope| {
        let calling = scope.spawn(|| call(images));
        let until = Instant::now() + HASTE;
        while !calling.is_finished() && Instant::now() < until {
            std::thread::yield_now();
        }
        images.files().publish(old, &name).unwrap();
        drop(change);
        calling.join().unwrap()
    });
    (answer.unwrap(), names(dir.path()))
}

#[test]
fn a_vdi_is_found_while_its_image_changes_names() {
    let ((), left) = between_names(|images| images.remove(uuid(4)));
    assert!(!left.contains(&file_name(4)), "{left:?}");
    let (image, _) = between_names(|images| images.open(uuid(4), OpenMode::ReadWrite));
    assert_eq!(image.size(), SIZE);
    let snapshot =
        |images: &VhdDirectory| images.snapshot(uuid(4), uuid(7), SnapshotKind::Snapshot);
    assert!(between_names(snapshot).1.contains(&file_name(7)));
    let (resized, _) = between_names(|images| images.resize(uuid(4), 2 * SIZE));
    assert_eq!(resized.virtual_size, 2 * SIZE);
    let (reverted, _) = between_names(|images| images.revert(uuid(4), uuid(9)));
    assert!(reverted.new.is_some());
    let (differing, _) = between_names(|images| images.differing_blocks(uuid(9), uuid(4)));
    assert!(differing.iter().any(|bits| *bits != 0));
    let (found, _) = between_names(|images| images.stat(uuid(4)));
    assert_eq!(found.uuid, uuid(4));
}

#[test]
fn a_chain_that_is_opened_while_a_parent_grows_reads_as_before() {
    const LARGE: u64 = 4 << 30;
    let original = testkit::scratch::directory();
    make(original.path(), 1, None, true, SIZE);
    make(original.path(), 2, Some(1), true, LARGE);
    make(original.path(), 3, Some(2), false, LARGE);
    make(original.path(), 5, Some(2), false, LARGE);
    let work = Work::Inner {
        vdi: uuid(2),
        parent: uuid(1),
    };
    let start = |chains: &FileChains, n| {
        let image = chains.images().open(uuid(n), OpenMode::ReadOnly).unwrap();
        let mut bytes = vec![0; MIB as usize];
        image.read_at(&mut bytes, 0).unwrap();
        bytes
    };
    let expected = start(&attach(original.path()), 5);
    for _ in 0..10 {
        let dir = testkit::scratch::directory();
        copy(original.path(), dir.path());
        let chains = attach(dir.path());
        chains.images().survey().unwrap();
        std::thread::scope(|scope| {
            let step = scope.spawn(|| run(&chains, &work));
            while !step.is_finished() {
                assert!(start(&chains, 5) == expected, "a parent that was growing");
            }
            assert_eq!(step.join().unwrap().unwrap(), Outcome::Done);
        });
        assert_eq!(info(dir.path(), 1).virtual_size, LARGE);
        assert!(start(&chains, 5) == expected);
        assert_sound(&chains);
    }
}

#[test]
fn a_step_that_waits_for_the_tree_holds_nothing_of_the_leaf() {
    let dir = testkit::scratch::directory();
    leaf_scene(dir.path());
    let chains = attach(dir.path());
    let images = chains.images();
    let leaf = ImageName::vhd(uuid(4));
    let control = Arc::new(Control::default());
    control.pause();
    std::thread::scope(|scope| {
        let step = scope.spawn(|| ImageStore::run(&*chains, &LEAF, &control));
        wait_until("it copies", || control.progress().done > 0);
        let change = images.change(&[leaf]).unwrap();
        control.resume();
        wait_until("it lets go of the leaf", || {
            images.open_images().hold(leaf, Use::Exclusive).is_some()
        });
        let (_, file) = images.find(leaf.uuid, Access::Read).unwrap();
        assert!(file.try_lock(LockMode::Exclusive).unwrap());
        drop((file, change));
        assert_eq!(step.join().unwrap().unwrap(), Outcome::Done);
    });
}

#[test]
fn nothing_is_removed_once_the_chains_are_closed() {
    let dir = testkit::scratch::directory();
    make(dir.path(), 1, None, true, SIZE);
    let chains = attach(dir.path());
    assert!(chains.close());
    let prune = Work::Prune { vdi: uuid(1) };
    assert_eq!(run(&chains, &prune).unwrap(), Outcome::Overtaken);
    assert_eq!(names(dir.path()), [file_name(1)]);
    chains.reopen();
    assert_eq!(run(&chains, &prune).unwrap(), Outcome::Done);
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn a_file_that_is_no_journal_stays() {
    let dir = testkit::scratch::directory();
    inner_scene(dir.path());
    let foreign = [uuid(1).to_string(), uuid(77).to_string()];
    for name in &foreign {
        std::fs::write(dir.path().join(name), vec![7; 4096]).unwrap();
    }
    // The beginning of a journal whose process died.
    std::fs::write(dir.path().join(uuid(2).to_string()), b"").unwrap();
    drop(attach(dir.path()));
    let left = names(dir.path());
    assert!(foreign.iter().all(|name| left.contains(name)), "{left:?}");
    assert!(!left.contains(&uuid(2).to_string()));
}
