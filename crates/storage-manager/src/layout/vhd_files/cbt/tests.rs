//! Logs in a directory with images: what is written is listed, and after a crash anywhere nothing is missing.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use nbd::Export;
use tempfile::TempDir;
use uuid::Uuid;

use crate::io::fault;
use crate::layout::cbt_log::{BLOCK_SIZE, ChainError, ChangeLog};
use crate::layout::vhd_files::names::{ImageName, cbt_log_name};
use crate::layout::vhd_files::{Error, NewImage, VhdDirectory};
use crate::medium::directory::Directory;
use crate::sr::{OpenMode, SnapshotKind};

const MIB: u64 = 1 << 20;
/// 128 blocks of a log in 4 blocks of a VHD.
const SIZE: u64 = 8 * MIB;

fn vdi(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn attach(path: &Path) -> VhdDirectory {
    VhdDirectory::new(Arc::new(Directory::open(path).unwrap())).unwrap()
}

/// A directory with these VDIs.
fn directory(vdis: &[u128]) -> (TempDir, VhdDirectory) {
    let dir = testkit::scratch::directory();
    let images = attach(dir.path());
    for number in vdis {
        make(&images, *number);
    }
    (dir, images)
}

fn make(images: &VhdDirectory, number: u128) {
    let new = NewImage {
        name: ImageName::vhd(vdi(number)),
        virtual_size: SIZE,
    };
    images.create(&new).unwrap();
}

fn write(images: &VhdDirectory, number: u128, blocks: &[u64]) {
    let image = images.open(vdi(number), OpenMode::ReadWrite).unwrap();
    for block in blocks {
        image.write_at(&[1; 512], block * BLOCK_SIZE + 512).unwrap();
    }
    image.close().unwrap();
}

fn changed(
    images: &VhdDirectory,
    from: u128,
    to: u128,
) -> Result<BTreeSet<u64>, ChainError<Error>> {
    let bits = images.changed_blocks(vdi(from), vdi(to))?;
    let set = |block: &u64| bits[(block / 8) as usize] & (0x80 >> (block % 8)) != 0;
    Ok((0..bits.len() as u64 * 8).filter(set).collect())
}

fn log(dir: &Path, number: u128) -> ChangeLog {
    let bytes = std::fs::read(dir.join(cbt_log_name(vdi(number)))).unwrap();
    ChangeLog::parse(&bytes).unwrap()
}

/// What the process leaves that is killed now: everything that it has given to the kernel.
fn killed(dir: &Path) -> TempDir {
    let copy = testkit::scratch::directory();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

/// VDI 1 was tracked and written, snapshot 2 took its log, then it was written again, snapshot 3 likewise: the chain of logs
/// is 2, 3, 1 with the blocks 5; 6 and 7; 8.
fn chain_of_three() -> (TempDir, VhdDirectory) {
    let (dir, images) = directory(&[1, 2, 3]);
    images.enable_cbt(vdi(1)).unwrap();
    write(&images, 1, &[5]);
    assert!(images.logs.hand_over(vdi(1), vdi(2)));
    write(&images, 1, &[6, 7]);
    assert!(images.logs.hand_over(vdi(1), vdi(3)));
    write(&images, 1, &[8]);
    (dir, images)
}

fn assert_links_agree(dir: &Path, numbers: &[u128]) {
    for number in numbers {
        if !dir.join(cbt_log_name(vdi(*number))).exists() {
            continue;
        }
        let header = log(dir, *number).header;
        assert!(header.consistent, "{number}");
        for other in numbers {
            let child_of = header.child == Some(vdi(*other));
            let exists = dir.join(cbt_log_name(vdi(*other))).exists();
            let claims = exists && log(dir, *other).header.parent == Some(vdi(*number));
            assert_eq!(child_of, claims, "{number} and its child {other}");
        }
        assert_ne!(header.child, Some(vdi(*number)));
    }
    let names = std::fs::read_dir(dir).unwrap();
    for entry in names {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.contains("xensm-new"), "{name} was not swept");
    }
}

#[test]
fn what_is_written_between_snapshots_is_listed() {
    let (dir, images) = chain_of_three();
    assert_links_agree(dir.path(), &[1, 2, 3]);
    assert_eq!(changed(&images, 2, 3).unwrap(), [6, 7].into());
    assert_eq!(changed(&images, 2, 1).unwrap(), [6, 7, 8].into());
    assert_eq!(changed(&images, 3, 1).unwrap(), [8].into());
    assert!(matches!(changed(&images, 1, 2), Err(ChainError::Unrelated)));
    assert!(matches!(changed(&images, 1, 1), Err(ChainError::Same)));
    let image = images.open(vdi(1), OpenMode::ReadWrite).unwrap();
    image.write_zeroes_at(20 * BLOCK_SIZE, BLOCK_SIZE).unwrap();
    image.trim_at(22 * BLOCK_SIZE, 1).unwrap();
    assert_eq!(
        changed(&images, 3, 1).unwrap(),
        [8, 20, 22].into(),
        "also while it is open"
    );
}

#[test]
fn a_flush_puts_the_bits_on_the_medium_before_the_data() {
    let (dir, images) = directory(&[1]);
    images.enable_cbt(vdi(1)).unwrap();
    let steps = fault::count(|| {
        let image = images.open(vdi(1), OpenMode::ReadWrite).unwrap();
        assert!(!log(dir.path(), 1).header.consistent);
        image.write_at(&[1; 512], 0).unwrap();
        image.flush().unwrap();
        assert!(log(dir.path(), 1).blocks.is_set(0));
    });
    let bits = steps
        .iter()
        .position(|step| *step == "change log: write bits");
    assert_eq!(steps[..2], ["change log: write header", "file: sync"]);
    assert!(bits.is_some(), "{steps:?}");
    assert!(log(dir.path(), 1).header.consistent, "dropping closes it");
}

#[test]
fn a_killed_process_loses_no_change() {
    let (dir, images) = chain_of_three();
    let image = images.open(vdi(1), OpenMode::ReadWrite).unwrap();
    image.write_at(&[1; 512], 40 * BLOCK_SIZE).unwrap();
    image.flush().unwrap();
    image.write_at(&[1; 512], 100 * BLOCK_SIZE).unwrap();
    // The leaf is older than the log here, as after its merging with its parent, and has this sector already: what is
    // written shows at once.
    image.write_at(&[9; 512], 5 * BLOCK_SIZE + 512).unwrap();
    let left = killed(dir.path());
    assert!(!log(left.path(), 1).blocks.is_set(5));
    assert!(!log(left.path(), 1).blocks.is_set(100));
    let after = attach(left.path());
    let listed = changed(&after, 3, 1).unwrap();
    assert!(listed.is_superset(&[5, 8, 40].into()), "{listed:?}");
    let visible = {
        let image = after.open(vdi(1), OpenMode::ReadOnly).unwrap();
        let mut sector = [0; 512];
        image.read_at(&mut sector, 100 * BLOCK_SIZE).unwrap();
        sector[0] == 1
    };
    assert!(!visible || listed.contains(&100), "{listed:?}");
    assert_links_agree(left.path(), &[1, 2, 3]);
}

#[test]
fn a_flush_that_fails_leaves_a_log_that_the_next_opener_completes() {
    let (dir, images) = directory(&[1, 2]);
    images.enable_cbt(vdi(1)).unwrap();
    assert!(images.logs.hand_over(vdi(1), vdi(2)));
    let image = images.open(vdi(1), OpenMode::ReadWrite).unwrap();
    image.write_at(&[1; 512], 3 * BLOCK_SIZE).unwrap();
    // The first points are the log's own.
    fault::fail_at(0, 5, || image.flush()).unwrap();
    image.close().unwrap();
    drop(image);
    assert!(!log(dir.path(), 1).header.consistent);
    assert!(matches!(
        changed(&images, 2, 1),
        Err(ChainError::Log(Error::LogInconsistent { .. }))
    ));
    write(&images, 1, &[]);
    assert!(changed(&images, 2, 1).unwrap().contains(&3));
    assert!(log(dir.path(), 1).header.consistent);
}

/// Runs `act` up to each of its steps and attaches what that leaves.
fn crash_everywhere(
    prepare: impl Fn() -> (TempDir, VhdDirectory),
    act: impl Fn(&VhdDirectory),
    check: impl Fn(usize, &Path, &VhdDirectory),
) {
    let (_dir, images) = prepare();
    let steps = fault::count(|| act(&images)).len();
    assert!(steps > 3, "{steps} steps are too few to be true");
    for step in 0..steps {
        let (dir, images) = prepare();
        fault::crash_at(step, || act(&images));
        let left = killed(dir.path());
        let after = attach(left.path());
        assert_links_agree(left.path(), &[1, 2, 3, 4]);
        check(step, left.path(), &after);
        drop(after);
        let again = attach(left.path());
        check(step, left.path(), &again);
    }
}

#[test]
fn a_crash_in_a_hand_over_loses_no_change() {
    crash_everywhere(
        || {
            let (dir, images) = chain_of_three();
            make(&images, 4);
            (dir, images)
        },
        |images| assert!(images.logs.hand_over(vdi(1), vdi(4))),
        |step, _, after| {
            assert_eq!(changed(after, 3, 1).unwrap(), [8].into(), "step {step}");
            assert_eq!(changed(after, 2, 1).unwrap(), [6, 7, 8].into());
            if let Ok(blocks) = changed(after, 3, 4) {
                assert_eq!(blocks, [8].into());
                assert_eq!(changed(after, 4, 1).unwrap(), [].into());
            }
        },
    );
}

#[test]
fn a_crash_while_a_snapshot_is_destroyed_loses_no_change() {
    for number in [2, 3] {
        crash_everywhere(
            chain_of_three,
            |images| images.remove(vdi(number)).unwrap(),
            |step, _, after| {
                after.remove(vdi(number)).unwrap();
                let (from, expected) = if number == 2 {
                    (3, [8].into())
                } else {
                    (2, [6, 7, 8].into())
                };
                assert_eq!(changed(after, from, 1).unwrap(), expected, "step {step}");
            },
        );
    }
}

#[test]
fn a_crash_while_tracking_ends_leaves_a_whole_chain_or_a_cut_one() {
    crash_everywhere(
        chain_of_three,
        |images| images.logs.disable(vdi(3)).unwrap(),
        |step, _, after| {
            if let Ok(blocks) = changed(after, 2, 1) {
                assert_eq!(blocks, [6, 7, 8].into(), "step {step}");
            }
            if let Ok(blocks) = changed(after, 3, 1) {
                assert_eq!(blocks, [8].into(), "step {step}");
            }
        },
    );
}

#[test]
fn a_crash_while_a_log_grows_loses_no_change() {
    crash_everywhere(
        chain_of_three,
        |images| images.logs.resized(vdi(1), 2 * SIZE).unwrap(),
        |step, path, after| {
            assert_eq!(changed(after, 3, 1).unwrap(), [8].into(), "step {step}");
            assert_eq!(
                log(path, 1).header.size,
                SIZE,
                "the attach fits the log to the image, which has not grown"
            );
        },
    );
}

#[test]
fn a_hand_over_that_fails_leaves_the_vdi_tracked() {
    let (_dir, images) = directory(&[1]);
    images.enable_cbt(vdi(1)).unwrap();
    let steps = fault::count(|| assert!(images.logs.hand_over(vdi(1), vdi(2)))).len();
    for step in 0..steps {
        let (dir, images) = chain_of_three();
        let image = images.open(vdi(1), OpenMode::ReadWrite).unwrap();
        fault::fail_at(step, 28, || images.logs.hand_over(vdi(1), vdi(4)));
        image.write_at(&[1; 512], 60 * BLOCK_SIZE).unwrap();
        image.close().unwrap();
        assert_eq!(changed(&images, 2, 3).unwrap(), [6, 7].into());
        if let Ok(blocks) = changed(&images, 3, 1) {
            assert_eq!(blocks, [8, 60].into(), "step {step}");
        }
        drop((image, images));
        let after = attach(dir.path());
        if let Ok(blocks) = changed(&after, 3, 1) {
            assert!(
                blocks.is_superset(&[8, 60].into()),
                "step {step}: {blocks:?}"
            );
        }
    }
}

#[test]
fn tracking_begins_and_ends_while_the_vdi_is_open() {
    let (dir, images) = directory(&[1, 2]);
    let image = images.open(vdi(1), OpenMode::ReadWrite).unwrap();
    image.write_at(&[1; 512], 0).unwrap();
    assert!(images.enable_cbt(vdi(1)).unwrap().cbt_enabled);
    assert!(images.enable_cbt(vdi(1)).unwrap().cbt_enabled, "idempotent");
    assert!(image.contexts().is_empty(), "there is no predecessor");
    image
        .with_paused(|_| Ok(images.logs.hand_over(vdi(1), vdi(2))))
        .unwrap();
    image.write_at(&[1; 512], 9 * BLOCK_SIZE).unwrap();
    assert_eq!(changed(&images, 2, 1).unwrap(), [9].into());
    assert_eq!(image.contexts(), ["qemu:dirty-bitmap:cbt"]);
    let status = image.context_status(
        "qemu:dirty-bitmap:cbt",
        8 * BLOCK_SIZE,
        SIZE - 8 * BLOCK_SIZE,
        9,
    );
    let runs: Vec<_> = status
        .unwrap()
        .iter()
        .map(|one| (one.length / BLOCK_SIZE, one.flags))
        .collect();
    assert_eq!(runs, [(1, 0), (1, 1), (118, 0)]);
    image
        .with_paused(|_| images.logs.resized(vdi(1), 2 * SIZE))
        .unwrap();
    assert_eq!(changed(&images, 2, 1).unwrap(), [9].into());
    assert!(!images.disable_cbt(vdi(1)).unwrap().cbt_enabled);
    assert!(
        !images.disable_cbt(vdi(1)).unwrap().cbt_enabled,
        "idempotent"
    );
    image.write_at(&[1; 512], 0).unwrap();
    image.close().unwrap();
    assert!(!dir.path().join(cbt_log_name(vdi(1))).exists());
    assert_eq!(log(dir.path(), 2).header.child, None);
}

#[test]
fn a_vdi_that_grows_under_its_consumer_stays_tracked() {
    let (dir, images) = directory(&[1]);
    images.enable_cbt(vdi(1)).unwrap();
    let image = images.open(vdi(1), OpenMode::ReadWrite).unwrap();
    image.write_at(&[1; 512], 0).unwrap();
    images
        .snapshot(vdi(1), vdi(2), SnapshotKind::Snapshot)
        .unwrap();
    image.write_at(&[1; 512], 3 * BLOCK_SIZE).unwrap();
    assert!(images.resize(vdi(1), 2 * SIZE).unwrap().cbt_enabled);
    image.write_at(&[1; 512], SIZE).unwrap();
    assert_eq!(
        changed(&images, 2, 1).unwrap(),
        [3, SIZE / BLOCK_SIZE].into()
    );
    image.close().unwrap();
    assert_links_agree(dir.path(), &[1, 2]);
    assert_eq!(
        changed(&images, 2, 1).unwrap(),
        [3, SIZE / BLOCK_SIZE].into()
    );
}

#[test]
fn a_destroyed_snapshot_leaves_its_changes_to_an_open_vdi() {
    let (dir, images) = chain_of_three();
    let image = images.open(vdi(1), OpenMode::ReadWrite).unwrap();
    image.write_at(&[1; 512], 9 * BLOCK_SIZE).unwrap();
    images.remove(vdi(3)).unwrap();
    assert_eq!(changed(&images, 2, 1).unwrap(), [6, 7, 8, 9].into());
    image.close().unwrap();
    assert_links_agree(dir.path(), &[1, 2, 3]);
    assert_eq!(
        changed(&attach(dir.path()), 2, 1).unwrap(),
        [6, 7, 8, 9].into()
    );
}

#[test]
fn data_can_be_destroyed_and_the_log_stays() {
    let (dir, images) = chain_of_three();
    let shown = images.destroy_data(vdi(3)).unwrap();
    assert!(shown.is_cbt_metadata && shown.cbt_enabled);
    assert_eq!((shown.virtual_size, shown.physical_utilisation), (SIZE, 64));
    assert_eq!(images.destroy_data(vdi(3)).unwrap(), shown, "idempotent");
    assert_eq!(changed(&images, 2, 3).unwrap(), [6, 7].into());
    let vdis = images.survey().unwrap().vdis();
    let metadata: Vec<_> = vdis.iter().filter(|vdi| vdi.is_cbt_metadata).collect();
    assert_eq!(metadata, [&shown]);
    assert_eq!(vdis.iter().filter(|vdi| vdi.cbt_enabled).count(), 3);
    assert!(matches!(
        images.open(vdi(3), OpenMode::ReadOnly),
        Err(Error::Missing { .. })
    ));
    make(&images, 4);
    assert!(matches!(
        images.destroy_data(vdi(4)),
        Err(Error::NotTracked { .. })
    ));
    images.remove(vdi(3)).unwrap();
    assert!(images.stat(vdi(3)).is_err());
    assert_eq!(changed(&images, 2, 1).unwrap(), [6, 7, 8].into());
    assert_links_agree(dir.path(), &[1, 2, 3]);
}

#[test]
fn damaged_and_foreign_logs_do_no_harm() {
    let (dir, images) = chain_of_three();
    let path = dir.path().join(cbt_log_name(vdi(3)));
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..50]).unwrap();
    drop(images);
    let images = attach(dir.path());
    assert!(matches!(changed(&images, 2, 1), Err(ChainError::Unrelated)));
    assert!(!images.stat(vdi(3)).unwrap().cbt_enabled);
    let image = images.open(vdi(3), OpenMode::ReadWrite).unwrap();
    image.write_at(&[1; 512], 0).unwrap();
    image.close().unwrap();
    drop(image);
    assert!(images.enable_cbt(vdi(3)).unwrap().cbt_enabled);
    images.remove(vdi(3)).unwrap();
    assert!(!path.exists());
    // A log that this storage manager left open is completed, whatever else is in the way.
    let mut open = log(dir.path(), 1);
    open.set_open(true);
    std::fs::write(dir.path().join(cbt_log_name(vdi(1))), open.to_bytes()).unwrap();
    drop(images);
    std::fs::create_dir(dir.path().join(cbt_log_name(vdi(7)))).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join(cbt_log_name(vdi(8)))).unwrap();
    open.header.parent = None;
    std::fs::write(dir.path().join(cbt_log_name(vdi(9))), open.to_bytes()).unwrap();
    let images = attach(dir.path());
    let completed = log(dir.path(), 1);
    assert!(completed.header.consistent);
    assert_eq!(
        completed.blocks.count(),
        32,
        "the block of the VHD that it has"
    );
    assert!(images.stat(vdi(1)).unwrap().cbt_enabled);
    assert!(!log(dir.path(), 9).header.consistent, "it has no image");
    assert_eq!(images.survey().unwrap().logs.len(), 3);
    // XenServer's storage manager does not seal a log before it gives the VDI another leaf.
    let mut foreign = log(dir.path(), 1);
    foreign.header.consistent = false;
    std::fs::write(dir.path().join(cbt_log_name(vdi(1))), foreign.to_bytes()).unwrap();
    drop(images);
    let images = attach(dir.path());
    assert!(!images.stat(vdi(1)).unwrap().cbt_enabled);
}

#[test]
fn raw_images_are_not_tracked() {
    let (_dir, images) = directory(&[]);
    let name = ImageName::raw(vdi(1));
    images
        .create(&NewImage {
            name,
            virtual_size: SIZE,
        })
        .unwrap();
    assert!(matches!(
        images.enable_cbt(vdi(1)),
        Err(Error::RawTracking { .. })
    ));
    assert!(matches!(
        images.enable_cbt(vdi(9)),
        Err(Error::Missing { .. })
    ));
    assert!(
        images
            .open(vdi(1), OpenMode::ReadWrite)
            .unwrap()
            .contexts()
            .is_empty()
    );
}
