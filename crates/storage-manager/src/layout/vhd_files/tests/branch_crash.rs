//! Snapshots, reverts and removals that fail or die at every step, with and without a consumer.

use std::sync::Arc;

use super::*;
use crate::layout::vhd_files::OpenImage;

/// What is cut off.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Operation {
    /// Of a VDI with data.
    Snapshot,
    /// Of a VDI that has a parent and nothing of its own.
    SnapshotOfEmpty,
    PushLeaf,
    /// To a snapshot that has nothing of its own.
    Revert,
    /// To a VDI that has.
    RevertToData,
    Remove,
}

const ALL: [Operation; 6] = [
    Operation::Snapshot,
    Operation::SnapshotOfEmpty,
    Operation::PushLeaf,
    Operation::Revert,
    Operation::RevertToData,
    Operation::Remove,
];

const SOURCE: Uuid = Uuid::from_u128(1);
const OTHER: Uuid = Uuid::from_u128(2);
const NEW: Uuid = Uuid::from_u128(3);
const SIBLING: Uuid = Uuid::from_u128(4);
const AT: u64 = 3 * MIB;

impl Operation {
    fn run(self, images: &VhdDirectory) -> Result<(), Error> {
        match self {
            Operation::Snapshot => snapshot(images, SOURCE, NEW).map(drop),
            Operation::SnapshotOfEmpty => snapshot(images, SIBLING, NEW).map(drop),
            Operation::PushLeaf => images.push_leaf(SOURCE).map(drop),
            Operation::Revert => images.revert(OTHER, SIBLING).map(drop),
            Operation::RevertToData => images.revert(OTHER, SOURCE).map(drop),
            Operation::Remove => images.remove(OTHER),
        }
    }

    /// The VDI that a consumer has open meanwhile.
    fn consumed(self) -> Uuid {
        match self {
            Operation::SnapshotOfEmpty | Operation::Revert => SIBLING,
            _ => SOURCE,
        }
    }
}

/// With and without a consumer, and with the files of the new images made ahead or not.
const CASES: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];

/// SOURCE holds "source", OTHER "other!", SIBLING "common" through the parent that it shares with SOURCE and OTHER.
fn prepare(path: &Path, spares: bool) -> VhdDirectory {
    let images = open(path);
    create(&images, 1);
    write(&images, SOURCE, b"common", AT);
    snapshot(&images, SOURCE, OTHER).unwrap();
    snapshot(&images, SOURCE, SIBLING).unwrap();
    write(&images, SOURCE, b"source", AT);
    write(&images, OTHER, b"other!", AT);
    if spares {
        images.spares.fill(10 * MIB);
    }
    images
}

fn consumer(images: &VhdDirectory, operation: Operation, attached: bool) -> Option<Arc<OpenImage>> {
    attached.then(|| {
        let image = images
            .open(operation.consumed(), OpenMode::ReadWrite)
            .unwrap();
        image.write_at(b"flushed", 5 * MIB).unwrap();
        image.flush().unwrap();
        if operation.consumed() == SOURCE {
            image.write_at(b"not flushed", 7 * MIB).unwrap();
        }
        image
    })
}

fn text(images: &VhdDirectory, uuid: Uuid, offset: u64, length: usize) -> Option<Vec<u8>> {
    match images.stat(uuid) {
        Ok(_) => {
            let image = images.open(uuid, OpenMode::ReadOnly).unwrap();
            let mut bytes = vec![0; length];
            image.read_at(&mut bytes, offset).unwrap();
            Some(bytes)
        }
        Err(Error::Missing { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

/// Every VDI has its content, before or after the operation; `done` when it has returned.
fn verify(path: &Path, operation: Operation, attached: bool, done: bool, context: &str) {
    let images = open(path);
    if attached {
        // What the consumer left open is repaired when it is opened again; everything else is sound now.
        check_while(path, &images, PrimaryFooter::MayBeMissing);
        images
            .open(operation.consumed(), OpenMode::ReadWrite)
            .unwrap();
    }
    check_directory(path, &images);
    let managed = images
        .survey()
        .unwrap()
        .vdis()
        .into_iter()
        .filter(|vdi| vdi.managed);
    let mut allowed = vec![SOURCE, OTHER, NEW, SIBLING];
    for vdi in managed {
        assert!(
            allowed.contains(&vdi.uuid),
            "{context}: {} is new",
            vdi.uuid
        );
        allowed.retain(|uuid| *uuid != vdi.uuid);
    }
    let at = |uuid| text(&images, uuid, AT, 6);
    assert_eq!(at(SOURCE).unwrap(), b"source", "{context}");
    assert_eq!(at(SIBLING).unwrap(), b"common", "{context}");
    let (new_content, reverted): (&[u8], &[u8]) = match operation {
        Operation::SnapshotOfEmpty => (b"common", b"other!"),
        Operation::Revert => (b"source", b"common"),
        _ => (b"source", b"source"),
    };
    let is_snapshot = matches!(operation, Operation::Snapshot | Operation::SnapshotOfEmpty);
    match at(NEW) {
        Some(found) => assert!(is_snapshot && found == new_content, "{context}"),
        None => assert!(!is_snapshot || !done, "{context}"),
    }
    match at(OTHER) {
        Some(found) if found == b"other!" => {
            let stays = is_snapshot || operation == Operation::PushLeaf;
            assert!(stays || !done, "{context}");
        }
        Some(found) => assert_eq!(found, reverted, "{context}"),
        None => assert_eq!(operation, Operation::Remove, "{context}"),
    }
    if attached {
        let found = text(&images, operation.consumed(), 5 * MIB, 7).unwrap();
        assert_eq!(found, b"flushed", "{context}");
        if operation.consumed() == SOURCE {
            let done = done && operation != Operation::Remove;
            let found = text(&images, SOURCE, 7 * MIB, 11).unwrap();
            let whole = found == b"not flushed" || (!done && found == [0; 11]);
            assert!(whole, "{context}: {found:?}");
        }
    }
    // And it can be done now.
    if images.stat(OTHER).is_ok() && images.stat(NEW).is_err() {
        operation.run(&images).unwrap();
        check_directory(path, &images);
    }
}

/// Runs the operation in a fresh directory up to the point with this index; what is then on the medium.
fn cut(
    operation: Operation,
    (attached, spares): (bool, bool),
    step: Option<usize>,
) -> (tempfile::TempDir, usize) {
    let dir = testkit::scratch::directory();
    let images = prepare(dir.path(), spares);
    let image = consumer(&images, operation, attached);
    let mut points = 0;
    match step {
        Some(step) => fault::crash_at(step, || operation.run(&images)),
        None => points = fault::count(|| operation.run(&images).unwrap()).len(),
    }
    let left = copy_directory(dir.path());
    drop(image);
    (left, points)
}

#[test]
fn a_death_at_any_step_loses_nothing_and_leaves_nothing() {
    for operation in ALL {
        for (attached, spares) in CASES {
            let case = (attached, spares);
            let (left, steps) = cut(operation, case, None);
            verify(
                left.path(),
                operation,
                attached,
                true,
                &format!("{operation:?}"),
            );
            for step in 0..steps {
                let context =
                    format!("{operation:?}, consumer {attached}, spares {spares}, step {step}");
                let (left, _) = cut(operation, case, Some(step));
                verify(left.path(), operation, attached, false, &context);
            }
        }
    }
}

#[test]
fn a_recovery_that_dies_is_done_by_the_next() {
    // The others leave no more than a file to be removed.
    for operation in [Operation::Snapshot, Operation::RevertToData] {
        let (_, steps) = cut(operation, (true, true), None);
        for step in 0..steps {
            let (left, _) = cut(operation, (true, true), Some(step));
            let recovery = copy_directory(left.path());
            let recovery = fault::count(|| drop(open(recovery.path()))).len();
            for death in 0..recovery {
                let again = copy_directory(left.path());
                fault::crash_at(death, || open(again.path()));
                let context = format!("{operation:?}, step {step}, then {death} of the recovery");
                verify(again.path(), operation, true, false, &context);
            }
        }
    }
}

#[test]
fn an_error_at_any_step_leaves_the_source_as_it_was() {
    let full = rustix::io::Errno::NOSPC.raw_os_error();
    for operation in ALL {
        for (attached, spares) in CASES {
            let case = (attached, spares);
            let (_, steps) = cut(operation, case, None);
            for step in 0..steps {
                let context =
                    format!("{operation:?}, consumer {attached}, spares {spares}, step {step}");
                let dir = testkit::scratch::directory();
                let images = prepare(dir.path(), spares);
                let image = consumer(&images, operation, attached);
                let failed = fault::fail_at(step, full, || operation.run(&images));
                // Only the last step, tidying up, may fail unnoticed.
                assert!(failed.is_err() || step + 1 == steps, "{context}");
                if failed.is_err() {
                    check_while(dir.path(), &images, PrimaryFooter::MayBeMissing);
                    assert!(images.stat(NEW).is_err(), "{context}");
                }
                if let Some(image) = &image {
                    let mut found = [0; 7];
                    // A flush that failed poisons the image, whoever asked for it.
                    let usable = image.read_at(&mut found, 5 * MIB);
                    assert!(usable.is_err() || &found == b"flushed", "{context}");
                    if usable.is_ok() {
                        image.write_at(b"after", 9 * MIB).unwrap();
                    }
                    let closed = image.close();
                    assert_eq!(closed.is_ok(), usable.is_ok(), "{context}");
                }
                drop((image, images));
                verify(dir.path(), operation, attached, failed.is_ok(), &context);
            }
        }
    }
}
