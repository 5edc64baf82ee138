//! A parent that is smaller than what is merged into it.

use super::faults::at_every_point_until;
use super::*;

/// Its table fits the sector that the parent's has, so nothing moves.
const FITS: u64 = 2 * SIZE;

/// Its table needs a second sector, into which the parent's batmap and first block are in the way.
const MOVES: u64 = 260 * MIB;

/// The points behind the growth are those of every step.
const INNER_HAS_GROWN: &str = "LVHDRT_coalescing_VHD_data";
const LEAF_HAS_GROWN: &str = "LVHDRT_coaleaf_before_coalesce";

/// 1 <- 2 <- 3 <- 4 and 5, of which 1 and 2 are small.
fn inner_scene(dir: &Path, size: u64) {
    make(dir, 1, None, true, SIZE);
    make(dir, 2, Some(1), true, SIZE);
    make(dir, 3, Some(2), true, size);
    make(dir, 4, Some(3), false, size);
    make(dir, 5, Some(3), false, size);
}

/// 1 <- 2 <- 4 and 1 <- 9, of which 4 alone has grown.
fn leaf_scene(dir: &Path, size: u64) {
    make(dir, 1, None, true, SIZE);
    make(dir, 2, Some(1), true, SIZE);
    make(dir, 9, Some(1), false, SIZE);
    make(dir, 4, Some(2), false, size);
}

#[test]
fn the_sizes_are_those_that_fit_and_that_do_not() {
    let dir = testkit::scratch::directory();
    inner_scene(dir.path(), FITS);
    let parent = storage(dir.path(), &file_name(2));
    assert!(image::grows_in_place(&parent, FITS).unwrap());
    assert!(!image::grows_in_place(&parent, MOVES).unwrap());
}

#[test]
fn a_parent_grows_under_the_consumers_of_its_children() {
    for size in [FITS, MOVES] {
        let dir = testkit::scratch::directory();
        inner_scene(dir.path(), size);
        let chains = attach(dir.path());
        let before = [4, 5].map(|n| read(&chains, n));
        let consumer = Consumer::new(&chains, 4);
        let reader = chains.images().open(uuid(5), OpenMode::ReadOnly).unwrap();
        let outcome = consumer.beside(|| run(&chains, &INNER));
        assert_eq!(outcome.unwrap(), Outcome::Done);
        assert_eq!(names(dir.path()), [1, 2, 4, 5].map(file_name));
        assert_eq!(info(dir.path(), 2).virtual_size, size);
        consumer.assert_kept(&content(&consumer.image), &before[0], "while it is open");
        assert!(content(&reader) == before[1]);
        // One pause each for the exchange of parents, and one each for the growth when blocks move.
        let pauses = if size == MOVES { 4 } else { 2 };
        assert_eq!(ImageStore::pauses(&*chains).count, pauses);
        for image in [&consumer.image, &reader] {
            image.close().unwrap();
        }
        assert_sound(&chains);
        consumer.assert_kept(&read(&chains, 4), &before[0], "when it is opened again");
        assert!(read(&chains, 5) == before[1]);
        coalesce_all(&chains);
        assert_eq!(info(dir.path(), 1).virtual_size, size);
        assert!(read(&chains, 5) == before[1]);
    }
}

#[test]
fn a_parent_grows_under_the_consumer_whose_leaf_is_merged() {
    for size in [FITS, MOVES] {
        let dir = testkit::scratch::directory();
        leaf_scene(dir.path(), size);
        let chains = attach(dir.path());
        let before = [4, 9].map(|n| read(&chains, n));
        let consumer = Consumer::new(&chains, 4);
        let outcome = consumer.beside(|| run(&chains, &LEAF));
        assert_eq!(outcome.unwrap(), Outcome::Done);
        assert_eq!(names(dir.path()), [1, 4, 9].map(file_name));
        assert_eq!(consumer.image.size(), size);
        consumer.assert_kept(&content(&consumer.image), &before[0], "while it is open");
        consumer.image.close().unwrap();
        assert!(read(&chains, 9) == before[1]);
        assert_sound(&chains);
    }
}

/// Who opens an image while the tables below it change would go on with the old ones.
#[test]
fn an_image_that_is_opened_meanwhile_reads_the_same() {
    let dir = testkit::scratch::directory();
    inner_scene(dir.path(), MOVES);
    let chains = attach(dir.path());
    let before = [4, 5].map(|n| read(&chains, n));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let opener = scope.spawn(|| {
            let mut kept = Vec::new();
            while !done.load(Ordering::Acquire) {
                let image = chains.images().open(uuid(5), OpenMode::ReadOnly).unwrap();
                assert!(content(&image) == before[1]);
                // What was opened before or while the parent grew is looked at again afterwards.
                kept.truncate(20);
                kept.insert(0, image);
            }
            kept
        });
        let outcome = run(&chains, &INNER);
        done.store(true, Ordering::Release);
        for image in opener.join().unwrap() {
            assert!(content(&image) == before[1]);
        }
        assert_eq!(outcome.unwrap(), Outcome::Done);
    });
    assert!(read(&chains, 4) == before[0]);
}

#[test]
fn a_parent_that_grows_in_place_and_fails_or_dies_anywhere_loses_nothing() {
    at_every_point_until(INNER_HAS_GROWN, |dir| inner_scene(dir, FITS), INNER, false);
}

#[test]
fn a_parent_whose_table_moves_and_that_fails_or_dies_anywhere_loses_nothing() {
    let points = at_every_point_until(INNER_HAS_GROWN, |dir| inner_scene(dir, MOVES), INNER, true);
    assert!(points.contains(&"LVHDRT_resizing_while_vdis_are_paused"));
}

#[test]
fn a_leaf_whose_parent_grows_and_that_fails_or_dies_anywhere_loses_nothing() {
    at_every_point_until(LEAF_HAS_GROWN, |dir| leaf_scene(dir, MOVES), LEAF, true);
}
