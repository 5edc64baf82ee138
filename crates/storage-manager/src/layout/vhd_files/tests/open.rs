//! Consumers: who may open what, pauses, flushes.

use super::*;

#[test]
fn one_writer_or_many_readers() {
    let dir = testkit::scratch::directory();
    let images = open(dir.path());
    for (n, format) in [(1, ImageFormat::Vhd), (2, ImageFormat::Raw)] {
        images.create(&new_image(n, format)).unwrap();
        let uuid = Uuid::from_u128(n);
        let writer = images.open(uuid, OpenMode::ReadWrite).unwrap();
        for mode in [OpenMode::ReadOnly, OpenMode::ReadWrite] {
            assert!(matches!(images.open(uuid, mode), Err(Error::InUse { .. })));
        }
        assert!(matches!(images.remove(uuid), Err(Error::InUse { .. })));
        assert_eq!(images.open_images().of(uuid).len(), 1);
        writer.write_at(b"bytes", 3 * MIB).unwrap();
        writer.close().unwrap();
        writer.close().unwrap();
        assert!(writer.read_at(&mut [0; 5], 0).is_err(), "closed");
        let readers = [
            images.open(uuid, OpenMode::ReadOnly).unwrap(),
            images.open(uuid, OpenMode::ReadOnly).unwrap(),
        ];
        let mut found = [0; 5];
        readers[1].read_at(&mut found, 3 * MIB).unwrap();
        assert_eq!(&found, b"bytes");
        assert!(matches!(
            images.open(uuid, OpenMode::ReadWrite),
            Err(Error::InUse { .. })
        ));
        drop(readers);
        images.remove(uuid).unwrap();
        assert!(matches!(
            images.open(uuid, OpenMode::ReadOnly),
            Err(Error::Missing { .. })
        ));
    }
}

#[test]
fn parents_are_neither_written_nor_removed() {
    let dir = testkit::scratch::directory();
    let images = open(dir.path());
    create(&images, 1);
    create_child(dir.path(), 2, 1, false);
    let (parent, child) = (Uuid::from_u128(1), Uuid::from_u128(2));
    images.survey().unwrap();
    assert!(matches!(
        images.open(parent, OpenMode::ReadWrite),
        Err(Error::HasChildren { .. })
    ));
    assert!(matches!(
        images.remove(parent),
        Err(Error::HasChildren { .. })
    ));
    assert!(images.stat(parent).unwrap().read_only);
    let open = images.open(child, OpenMode::ReadWrite).unwrap();
    open.write_at(&[1; 512], 0).unwrap();
    open.close().unwrap();
    let found = images.stat(child).unwrap();
    assert_eq!(found.sm_config["vhd-parent"], parent.to_string());
    images.remove(child).unwrap();
    assert!(
        images.stat(parent).is_ok(),
        "a parent that is not hidden is a VDI of its own"
    );
}

#[test]
fn what_is_not_flushed_by_the_consumer_is_flushed_in_the_background() {
    let dir = testkit::scratch::directory();
    let images = open(dir.path());
    let name = new_image(1, ImageFormat::Vhd).name;
    create(&images, 1);
    let image = images.open(name.uuid, OpenMode::ReadWrite).unwrap();
    let flusher = crate::layout::vhd_files::flusher::Flusher::new(
        std::time::Duration::from_millis(1),
        images.open_images().clone(),
    );
    flusher.start();
    image.write_at(b"not flushed", 3 * MIB).unwrap();
    // What a crash of the process would leave is what another reader of the file finds now.
    let found = || {
        let copy = testkit::scratch::directory();
        std::fs::copy(
            dir.path().join(name.file_name()),
            copy.path().join(name.file_name()),
        )
        .unwrap();
        let mut found = [0; 11];
        open(copy.path())
            .open(name.uuid, OpenMode::ReadOnly)
            .unwrap()
            .read_at(&mut found, 3 * MIB)
            .unwrap();
        found
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while &found() != b"not flushed" {
        assert!(
            std::time::Instant::now() < deadline,
            "the flusher never came"
        );
        std::thread::yield_now();
    }
    image.close().unwrap();
    assert!(images.open_images().all().is_empty());
}

#[test]
fn a_flush_that_failed_in_the_background_is_told_to_the_consumer() {
    for format in [ImageFormat::Vhd, ImageFormat::Raw] {
        let dir = testkit::scratch::directory();
        let images = open(dir.path());
        let new = new_image(1, format);
        images.create(&new).unwrap();
        let image = images.open(new.name.uuid, OpenMode::ReadWrite).unwrap();
        image.write_at(b"lost", 0).unwrap();
        let io = rustix::io::Errno::IO.raw_os_error();
        fault::fail_at(0, io, || image.flush_in_background());
        let error = image.flush().unwrap_err();
        assert!(
            error.to_string().contains("earlier flush"),
            "{format:?}: {error}"
        );
        image.write_at(b"more", 0).unwrap_err();
        image.read_at(&mut [0; 4], 0).unwrap_err();
        image.close().unwrap_err();
        let image = images.open(new.name.uuid, OpenMode::ReadWrite).unwrap();
        image.write_at(b"more", 0).unwrap();
        image.flush().unwrap();
    }
}

#[test]
fn a_pause_begins_with_everything_flushed_and_a_failed_swap_keeps_the_chain() {
    let dir = testkit::scratch::directory();
    let images = open(dir.path());
    let name = new_image(1, ImageFormat::Vhd).name;
    create(&images, 1);
    let image = images.open(name.uuid, OpenMode::ReadWrite).unwrap();
    image.write_at(b"bytes", MIB).unwrap();
    let syncs = fault::count(|| {
        let swapped = image.with_paused(|paused| {
            // Flushed already: nothing is left to sync here.
            paused.chain().unwrap().flush().unwrap();
            paused.replace_chain("swap", |chain| Err(Box::new((chain, vhd::Error::Poisoned))))
        });
        assert!(matches!(swapped, Err(Error::Image { action: "swap", .. })));
    });
    assert_eq!(syncs, ["file: sync"; 2], "data, then the mapping, once");
    let mut found = [0; 5];
    image.read_at(&mut found, MIB).unwrap();
    assert_eq!(&found, b"bytes");
    assert!(images.open_images().is_held(name));
    image.close().unwrap();
    assert!(matches!(
        image.with_paused(|_| Ok(())),
        Err(Error::Closed { .. })
    ));
    assert!(!images.open_images().is_held(name));
}

#[test]
fn the_parents_of_an_open_image_are_held() {
    let dir = testkit::scratch::directory();
    let images = open(dir.path());
    create(&images, 1);
    create_child(dir.path(), 2, 1, true);
    create_child(dir.path(), 3, 2, true);
    let name = |n| ImageName::vhd(Uuid::from_u128(n));
    let image = images
        .open(Uuid::from_u128(3), OpenMode::ReadWrite)
        .unwrap();
    let held = images.open_images();
    assert!([1, 2, 3].into_iter().all(|n| held.is_held(name(n))));
    assert!(
        held.hold(name(1), crate::layout::vhd_files::Use::Exclusive)
            .is_none()
    );
    let merge = held
        .hold(name(1), crate::layout::vhd_files::Use::Merge)
        .unwrap();
    assert!(images.open(Uuid::from_u128(1), OpenMode::ReadOnly).is_err());
    drop((merge, image));
    assert!((1..=3).all(|n| !held.is_held(name(n))));
}
