//! Making images: sizes, names, crashes and errors.

use super::*;

#[test]
fn a_crash_at_any_step_of_create_leaves_a_whole_image_or_none() {
    for format in [ImageFormat::Vhd, ImageFormat::Raw] {
        let dir = testkit::scratch::directory();
        let new = new_image(1, format);
        let images = open(dir.path());
        let steps = fault::count(|| {
            images.create(&new).unwrap();
        });
        assert_eq!(
            steps,
            [
                "directory: create file",
                "file: sync",
                "image: written and synced",
                "directory: publish",
                "directory: sync"
            ],
            "the write order that docs/internals/durability.md describes"
        );
        images.remove(new.name.uuid).unwrap();
        for step in 0..steps.len() {
            fault::crash_at(step, || open(dir.path()).create(&new));
            let images = open(dir.path());
            assert_eq!(
                temporaries(dir.path()),
                0,
                "the sweep left something after step {step}"
            );
            match images.stat(new.name.uuid) {
                Ok(found) => assert_eq!((found.virtual_size, step), (10 * MIB, 4)),
                Err(Error::Missing { .. }) => assert!(step < 4),
                Err(error) => panic!("step {step}: {error}"),
            }
            assert!(images.survey().unwrap().damaged.is_empty());
            images.remove(new.name.uuid).unwrap();
            images.create(&new).unwrap();
            images.remove(new.name.uuid).unwrap();
            assert_eq!(names(dir.path()), [""; 0]);
        }
    }
}

#[test]
fn an_error_at_any_step_of_create_leaves_nothing() {
    let dir = testkit::scratch::directory();
    let images = open(dir.path());
    let new = new_image(1, ImageFormat::Vhd);
    for (errno, kind) in [
        (rustix::io::Errno::NOSPC, io::ErrorKind::StorageFull),
        (rustix::io::Errno::ROFS, io::ErrorKind::ReadOnlyFilesystem),
        (
            rustix::io::Errno::IO,
            io::Error::from(rustix::io::Errno::IO).kind(),
        ),
    ] {
        for step in 0..5 {
            let error =
                fault::fail_at(step, errno.raw_os_error(), || images.create(&new)).unwrap_err();
            assert_eq!(error.io_error().map(io::Error::kind), Some(kind), "{error}");
            assert_eq!(names(dir.path()), [""; 0], "step {step}");
        }
    }
    images.create(&new).unwrap();
}

#[test]
fn sizes() {
    let dir = testkit::scratch::directory();
    let images = open(dir.path());
    for (n, asked, rounded, file_size) in [
        (1, 0, 2 * MIB, 3584),
        (2, 1, 2 * MIB, 3584),
        (3, 10_000_001, 10_485_760, 3584),
        (4, 2 << 30, 2 << 30, 7168),
        (5, 2040 << 30, 2040 << 30, 4_311_040),
    ] {
        let name = ImageName::vhd(Uuid::from_u128(n));
        let found = images
            .create(&NewImage {
                name,
                virtual_size: asked,
            })
            .unwrap();
        assert_eq!(
            (found.virtual_size, found.physical_utilisation),
            (rounded, file_size),
            "as a real pool records them"
        );
        assert_eq!(images.stat(name.uuid).unwrap(), found);
    }
    for asked in [(2040 << 30) + 1, u64::MAX] {
        let name = ImageName::vhd(Uuid::from_u128(6));
        let error = images
            .create(&NewImage {
                name,
                virtual_size: asked,
            })
            .unwrap_err();
        assert!(matches!(error, Error::Size { .. }), "{error}");
    }
    assert_eq!(names(dir.path()).len(), 5);
}

#[test]
fn a_uuid_is_used_once_whatever_the_format() {
    let dir = testkit::scratch::directory();
    let images = open(dir.path());
    images.create(&new_image(1, ImageFormat::Raw)).unwrap();
    for format in [ImageFormat::Raw, ImageFormat::Vhd] {
        assert!(matches!(
            images.create(&new_image(1, format)),
            Err(Error::Exists { .. })
        ));
    }
    assert_eq!(names(dir.path()).len(), 1);
}

#[test]
fn threads_create_and_remove_side_by_side() {
    let dir = testkit::scratch::directory();
    let images = open(dir.path());
    std::thread::scope(|scope| {
        for thread in 0..8u128 {
            let images = &images;
            scope.spawn(move || {
                for n in 0..10 {
                    create(images, thread * 100 + n);
                    if n % 2 == 0 {
                        images.remove(Uuid::from_u128(thread * 100 + n)).unwrap();
                    }
                }
            });
        }
        for _ in 0..5 {
            assert!(images.survey().unwrap().damaged.is_empty());
        }
    });
    assert_eq!(images.survey().unwrap().vdis().len(), 40);
    assert_eq!(names(dir.path()).len(), 40);
}
