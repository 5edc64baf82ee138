//! Snapshots, clones and reverts: what they leave on the medium, and what consumers see.

use super::*;
use crate::layout::vhd_files::{MAX_CHAIN, SNAPSHOT_DEPTH};

fn uuid(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

/// A VDI 1 with data.
fn with_data(dir: &Path) -> VhdDirectory {
    let images = open(dir);
    create(&images, 1);
    write(&images, uuid(1), b"before", 3 * MIB);
    images
}

fn bytes_at(images: &VhdDirectory, n: u128, offset: usize, length: usize) -> Vec<u8> {
    content(images, uuid(n))[offset..offset + length].to_vec()
}

#[test]
fn a_snapshot_leaves_what_xenserver_leaves() {
    let dir = testkit::scratch::directory();
    let images = with_data(dir.path());
    let old = vhd::image::inspect(&storage(dir.path(), ImageName::vhd(uuid(1)))).unwrap();
    let Branched { source, new, base } = snapshot(&images, uuid(1), uuid(2)).unwrap();
    let (new, base) = (new.unwrap(), base.unwrap());
    assert_eq!((source.uuid, new.uuid), (uuid(1), uuid(2)));
    assert_eq!((base.managed, base.read_only), (false, true));
    for vdi in [&source, &new] {
        assert_eq!((vdi.managed, vdi.read_only), (true, false));
        assert_eq!(vdi.sm_config["vhd-parent"], base.uuid.to_string());
        // 3584 of an image without parent, and a sector for each of three locators.
        assert_eq!(
            (vdi.virtual_size, vdi.physical_utilisation),
            (10 * MIB, 5120)
        );
        assert_eq!(&images.stat(vdi.uuid).unwrap(), vdi);
    }
    assert_eq!(images.stat(base.uuid).unwrap(), base);
    let inspect = |uuid| vhd::image::inspect(&storage(dir.path(), ImageName::vhd(uuid))).unwrap();
    let (leaf, second, parent) = (inspect(uuid(1)), inspect(uuid(2)), inspect(base.uuid));
    assert!(parent.hidden && !leaf.hidden && !second.hidden);
    assert_eq!(
        parent.uuid, old.uuid,
        "the file is the same, under another name"
    );
    assert!(leaf.uuid != second.uuid && leaf.uuid != old.uuid);
    for child in [leaf, second] {
        let link = child.parent.unwrap();
        assert_eq!(link.uuid, old.uuid);
        assert_eq!(link.name, format!("{}.vhd", base.uuid));
        assert_eq!(link.paths, vec![format!("./{}.vhd", base.uuid); 3]);
        assert!(link.timestamp > 0);
    }
    write(&images, uuid(1), b"after!", 3 * MIB);
    assert_eq!(bytes_at(&images, 1, 3 << 20, 6), b"after!");
    assert_eq!(bytes_at(&images, 2, 3 << 20, 6), b"before");
    check_directory(dir.path(), &images);
}

/// The first snapshot of a VDI that was never written makes a base, since there is no parent to share; later ones of
/// images without data share it. Source: the records of a real pool, `05-vdi-snapshot-clone-copy`.
#[test]
fn images_without_data_share_a_parent() {
    let dir = testkit::scratch::directory();
    let images = open(dir.path());
    create(&images, 1);
    let base = snapshot(&images, uuid(1), uuid(2)).unwrap().base.unwrap();
    for (source, new) in [(1, 3), (2, 4), (4, 5)] {
        let branched = snapshot(&images, uuid(source), uuid(new)).unwrap();
        assert_eq!(branched.base, None);
        let new = branched.new.unwrap();
        assert_eq!(new.sm_config["vhd-parent"], base.uuid.to_string());
        assert_eq!(branched.source, images.stat(uuid(source)).unwrap());
    }
    assert_eq!(names(dir.path()).len(), 6);
    assert_eq!(images.push_leaf(uuid(1)).unwrap().base, None);
    check_directory(dir.path(), &images);
}

#[test]
fn a_consumer_stays_connected_and_what_it_wrote_before_is_in_the_snapshot() {
    let dir = testkit::scratch::directory();
    let images = with_data(dir.path());
    let consumer = images.open(uuid(1), OpenMode::ReadWrite).unwrap();
    for n in 2..6u128 {
        consumer.write_at(&[n as u8; 4096], 5 * MIB).unwrap();
        let base = snapshot(&images, uuid(1), uuid(n)).unwrap().base.unwrap();
        assert!(images.open_images().is_held(ImageName::vhd(base.uuid)));
        consumer.write_at(&[0xee; 512], 5 * MIB).unwrap();
    }
    let mut found = [0; 4096];
    consumer.read_at(&mut found, 5 * MIB).unwrap();
    assert_eq!((found[511], found[512]), (0xee, 5));
    assert!(matches!(
        images.open(uuid(1), OpenMode::ReadOnly),
        Err(Error::InUse { .. })
    ));
    for n in 2..6u128 {
        let snapshot = bytes_at(&images, n, 5 << 20, 4096);
        assert!(
            snapshot.iter().all(|byte| u128::from(*byte) == n),
            "snapshot {n}"
        );
        assert_eq!(bytes_at(&images, n, 3 << 20, 6), b"before");
    }
    consumer.close().unwrap();
    assert_eq!(bytes_at(&images, 1, (5 << 20) + 511, 2), [0xee, 5]);
    check_directory(dir.path(), &images);
}

#[test]
fn readers_stay_and_read_what_they_had() {
    let dir = testkit::scratch::directory();
    let images = with_data(dir.path());
    let readers = [(); 2].map(|()| images.open(uuid(1), OpenMode::ReadOnly).unwrap());
    let base = snapshot(&images, uuid(1), uuid(2)).unwrap().base.unwrap();
    write(&images, uuid(2), b"other!", 3 * MIB);
    for reader in readers {
        let mut found = [0; 6];
        reader.read_at(&mut found, 3 * MIB).unwrap();
        assert_eq!(&found, b"before");
        assert!(
            images.open(uuid(1), OpenMode::ReadWrite).is_err(),
            "it is still read"
        );
        assert!(images.open_images().is_held(ImageName::vhd(base.uuid)));
    }
    assert!(!images.open_images().is_held(ImageName::vhd(base.uuid)));
    write(&images, uuid(1), b"after!", 3 * MIB);
    assert_eq!(bytes_at(&images, 1, 3 << 20, 6), b"after!");
}

#[test]
fn without_hard_links_the_source_is_renamed() {
    let perm = rustix::io::Errno::PERM.raw_os_error();
    for attached in [false, true] {
        let dir = testkit::scratch::directory();
        let images = with_data(dir.path());
        let open_if = |uuid| attached.then(|| images.open(uuid, OpenMode::ReadWrite).unwrap());
        let first = open_if(uuid(1));
        let points = fault::count(|| drop(snapshot(&images, uuid(1), uuid(2)).unwrap()));
        let link = points.iter().position(|point| *point == "directory: link");
        write(&images, uuid(2), b"second", 3 * MIB);
        let second = open_if(uuid(2));
        let branched = fault::fail_at(link.unwrap(), perm, || snapshot(&images, uuid(2), uuid(3)));
        assert!(branched.unwrap().base.is_some());
        drop((first, second));
        for (n, expected) in [(1, b"before"), (2, b"second"), (3, b"second")] {
            assert_eq!(bytes_at(&images, n, 3 << 20, 6), expected, "{n}");
        }
        check_directory(dir.path(), &images);
    }
}

#[test]
fn what_cannot_be_snapshotted() {
    let dir = testkit::scratch::directory();
    let images = with_data(dir.path());
    images.create(&new_image(9, ImageFormat::Raw)).unwrap();
    let base = snapshot(&images, uuid(1), uuid(2)).unwrap().base.unwrap();
    let before = names(dir.path());
    let refused = |source, new| snapshot(&images, source, new).unwrap_err();
    assert!(matches!(refused(uuid(9), uuid(3)), Error::Raw { .. }));
    assert!(matches!(refused(base.uuid, uuid(3)), Error::Hidden { .. }));
    assert!(matches!(refused(uuid(1), uuid(2)), Error::Exists { .. }));
    assert!(matches!(refused(uuid(1), uuid(9)), Error::Exists { .. }));
    assert!(matches!(refused(uuid(7), uuid(3)), Error::Missing { .. }));
    assert_eq!(names(dir.path()), before);
    let consumer = images.open(uuid(1), OpenMode::ReadWrite).unwrap();
    assert!(matches!(
        images.revert(uuid(1), uuid(2)),
        Err(Error::InUse { .. })
    ));
    drop(consumer);
    assert!(matches!(
        images.revert(uuid(9), uuid(2)),
        Err(Error::Raw { .. })
    ));
    assert!(matches!(
        images.revert(uuid(1), uuid(9)),
        Err(Error::Raw { .. })
    ));
    assert!(matches!(
        images.revert(base.uuid, uuid(2)),
        Err(Error::HasChildren { .. })
    ));
    assert!(matches!(
        images.revert(uuid(1), base.uuid),
        Err(Error::Hidden { .. })
    ));
    assert_eq!(names(dir.path()), before);
}

#[test]
fn chains_end_at_the_limit() {
    let dir = testkit::scratch::directory();
    let images = open(dir.path());
    create(&images, 1);
    let consumer = images.open(uuid(1), OpenMode::ReadWrite).unwrap();
    let deepen = |n: u128| {
        consumer.write_at(&[n as u8; 512], n as u64 * 4096).unwrap();
        snapshot(&images, uuid(1), uuid(100 + n))
    };
    (2..=SNAPSHOT_DEPTH as u128).for_each(|n| drop(deepen(n).unwrap()));
    let (depth, limit) = match deepen(40).unwrap_err() {
        Error::ChainFull { depth, limit, .. } => (depth, limit),
        error => panic!("{error}"),
    };
    assert_eq!((depth, limit), (SNAPSHOT_DEPTH, SNAPSHOT_DEPTH));
    for depth in SNAPSHOT_DEPTH + 1..=MAX_CHAIN {
        consumer.write_at(&[depth as u8; 512], 0).unwrap();
        images.push_leaf(uuid(1)).unwrap();
        assert_eq!(
            images
                .with_tree(|tree| tree.depth(ImageName::vhd(uuid(1))))
                .unwrap(),
            depth
        );
    }
    consumer.write_at(&[1; 512], 0).unwrap();
    assert!(matches!(
        images.push_leaf(uuid(1)),
        Err(Error::ChainFull { .. })
    ));
    let mut found = [0; 512];
    consumer.read_at(&mut found, 20 * 4096).unwrap();
    assert_eq!(found, [20; 512]);
    consumer.close().unwrap();
    assert_eq!(bytes_at(&images, 1, 20 * 4096, 512), [20; 512]);
    check_directory(dir.path(), &images);
}

#[test]
fn a_revert_gives_the_vdi_the_content_of_the_snapshot() {
    let dir = testkit::scratch::directory();
    let images = with_data(dir.path());
    let base = snapshot(&images, uuid(1), uuid(2)).unwrap().base.unwrap();
    write(&images, uuid(1), b"after!", 3 * MIB);
    let before = names(dir.path());
    // The snapshot has nothing of its own: the VDI becomes another child of its parent.
    let reverted = images.revert(uuid(1), uuid(2)).unwrap();
    assert_eq!(reverted.base, None);
    assert_eq!(reverted.new.unwrap(), images.stat(uuid(1)).unwrap());
    assert_eq!(names(dir.path()), before);
    assert_eq!(bytes_at(&images, 1, 3 << 20, 6), b"before");
    assert_eq!(
        images.stat(uuid(1)).unwrap().sm_config["vhd-parent"],
        base.uuid.to_string()
    );
    // A clone that was written gets a base of its own.
    write(&images, uuid(2), b"clone!", 3 * MIB);
    write(&images, uuid(1), b"again!", 4 * MIB);
    let reverted = images.revert(uuid(1), uuid(2)).unwrap();
    assert!(reverted.base.is_some());
    assert_eq!(content(&images, uuid(1)), content(&images, uuid(2)));
    assert_eq!(bytes_at(&images, 1, 3 << 20, 6), b"clone!");
    check_directory(dir.path(), &images);
    // Another size, another tree; what only the old content needed goes.
    create(&images, 5);
    write(&images, uuid(5), b"alone", 0);
    images.revert(uuid(1), uuid(5)).unwrap();
    images.revert(uuid(2), uuid(5)).unwrap();
    assert_eq!(names(dir.path()).len(), 4);
    assert_eq!(images.revert(uuid(2), uuid(2)).unwrap().base, None);
    check_directory(dir.path(), &images);
}

#[test]
fn removing_snapshots_removes_what_only_they_needed() {
    let dir = testkit::scratch::directory();
    let images = with_data(dir.path());
    snapshot(&images, uuid(1), uuid(2)).unwrap();
    write(&images, uuid(1), b"after!", 3 * MIB);
    snapshot(&images, uuid(1), uuid(3)).unwrap();
    images.remove(uuid(2)).unwrap();
    images.remove(uuid(1)).unwrap();
    assert_eq!(bytes_at(&images, 3, 3 << 20, 6), b"after!");
    check_directory(dir.path(), &images);
    images.remove(uuid(3)).unwrap();
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn threads_snapshot_write_remove_and_scan_side_by_side() {
    let dir = testkit::scratch::directory();
    let images = open(dir.path());
    std::thread::scope(|scope| {
        for thread in 1..=4u128 {
            let images = &images;
            scope.spawn(move || {
                let own = |n: u128| uuid(thread * 1000 + n);
                create(images, thread * 1000);
                let consumer = images.open(own(0), OpenMode::ReadWrite).unwrap();
                for n in 1..=8u128 {
                    consumer.write_at(&[n as u8; 4096], 0).unwrap();
                    snapshot(images, own(0), own(n)).unwrap();
                    snapshot(images, own(n), own(100 + n)).unwrap();
                    images.remove(own(100 + n)).unwrap();
                    if n > 2 {
                        images.remove(own(n - 2)).unwrap();
                    }
                }
                consumer.close().unwrap();
            });
        }
        let images = &images;
        scope.spawn(move || {
            for _ in 0..10 {
                let survey = images.survey().unwrap();
                assert!(survey.damaged.is_empty(), "{:?}", survey.damaged);
                for vdi in survey.vdis().iter().filter(|vdi| vdi.managed) {
                    assert!(
                        vdi.uuid.as_u128() < 10_000,
                        "a half made snapshot was shown"
                    );
                }
            }
        });
    });
    for thread in 1..=4u128 {
        for n in [7, 8] {
            assert_eq!(
                bytes_at(&images, thread * 1000 + n, 0, 4096),
                [n as u8; 4096]
            );
        }
    }
    check_directory(dir.path(), &images);
}

/// What a snapshot writes into a file that was prepared for it is what it writes into a new one.
#[test]
fn files_that_were_made_ahead_become_the_same_images() {
    let dir = testkit::scratch::directory();
    let images = with_data(dir.path());
    let made = snapshot(&images, uuid(1), uuid(2)).unwrap();
    write(&images, uuid(1), b"second", 3 * MIB);
    images.spares.fill(10 * MIB);
    let count = || images.spares.count(10 * MIB);
    assert_eq!(
        (count(), names(dir.path()).len()),
        (4, 3),
        "they have no names"
    );
    let from_spares = snapshot(&images, uuid(1), uuid(3)).unwrap();
    assert_eq!(count(), 2);
    let utilisation = |branched: &Branched| {
        let new = branched.new.as_ref().unwrap();
        (
            new.physical_utilisation,
            branched.source.physical_utilisation,
        )
    };
    assert_eq!(utilisation(&made), utilisation(&from_spares));
    assert_eq!(bytes_at(&images, 2, 3 << 20, 6), b"before");
    assert_eq!(bytes_at(&images, 3, 3 << 20, 6), b"second");
    // A sibling of an image without data needs one; another size none of these.
    snapshot(&images, uuid(3), uuid(4)).unwrap();
    assert_eq!(count(), 1);
    // One is not enough: the other file is made at once.
    write(&images, uuid(1), b"third!", 3 * MIB);
    snapshot(&images, uuid(1), uuid(5)).unwrap();
    assert_eq!(count(), 0);
    assert_eq!(bytes_at(&images, 5, 3 << 20, 6), b"third!");
    check_directory(dir.path(), &images);
    images.stop_spares();
    snapshot(&images, uuid(1), uuid(6)).unwrap();
    check_directory(dir.path(), &images);
}

/// The thread makes files for large images that are open for writing or were branched, and no more of them than it may.
#[test]
fn files_for_snapshots_of_large_images_are_made_ahead() {
    let dir = testkit::scratch::directory();
    let images = open(dir.path());
    let size = 128 << 30;
    let name = ImageName::vhd(uuid(1));
    let new = NewImage {
        name,
        virtual_size: size,
    };
    images.create(&new).unwrap();
    create(&images, 2);
    let wait_for_spares = || {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while images.spares.count(size) < 4 {
            assert!(std::time::Instant::now() < deadline, "no files were made");
            std::thread::yield_now();
        }
    };
    images.open(uuid(1), OpenMode::ReadOnly).unwrap();
    assert_eq!(images.spares.count(size), 0);
    let consumer = images.open(uuid(1), OpenMode::ReadWrite).unwrap();
    wait_for_spares();
    consumer.write_at(b"before", 3 * MIB).unwrap();
    snapshot(&images, uuid(1), uuid(3)).unwrap();
    wait_for_spares();
    images.open(uuid(2), OpenMode::ReadWrite).unwrap();
    assert_eq!(images.spares.count(10 * MIB), 0);
    consumer.write_at(b"after!", 3 * MIB).unwrap();
    consumer.close().unwrap();
    check_directory(dir.path(), &images);
    images.stop_spares();
    assert_eq!(images.spares.count(size), 0);
}
