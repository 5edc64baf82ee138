//! Images in a directory: what crashes, errors, damage and consumers do to them.

use std::io;
use std::path::Path;

use nbd::Export;
use uuid::Uuid;

use super::names::{EntryKind, ImageFormat, ImageName, classify};
use super::{Error, NewImage, VhdDirectory};
use crate::io::fault;
use crate::medium::directory::Directory;
use crate::sr::{FoundVdi, OpenMode};

const MIB: u64 = 1 << 20;

fn open(path: &Path) -> VhdDirectory {
    VhdDirectory::new(Directory::open(path).unwrap()).unwrap()
}

fn new_image(n: u128, format: ImageFormat) -> NewImage {
    NewImage {
        name: ImageName {
            uuid: Uuid::from_u128(n),
            format,
        },
        virtual_size: 10 * MIB,
    }
}

fn create(images: &VhdDirectory, n: u128) -> FoundVdi {
    images.create(&new_image(n, ImageFormat::Vhd)).unwrap()
}

fn names(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn temporaries(path: &Path) -> usize {
    names(path)
        .iter()
        .filter(|name| classify(name) == EntryKind::Temporary)
        .count()
}

/// Makes a differencing image, as a snapshot would, and hides its parent.
fn create_child(path: &Path, child: u128, parent: u128, hide_parent: bool) {
    let file = |n: u128| path.join(ImageName::vhd(Uuid::from_u128(n)).file_name());
    let storage = |n| {
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(file(n))
            .unwrap();
        vhd::FileStorage::new(file)
    };
    let parent_storage = storage(parent);
    let info = vhd::image::inspect(&parent_storage).unwrap();
    let link = vhd::image::NewParent {
        uuid: info.uuid,
        timestamp: 0,
        path: ImageName::vhd(Uuid::from_u128(parent)).file_name(),
    };
    let new = vhd::image::NewImage::new(info.virtual_size, Uuid::new_v4());
    vhd::image::create_differencing(&storage(child), &new, &link).unwrap();
    if hide_parent {
        hide(&file(parent));
    }
}

/// Sets the hidden byte in both footers and corrects their checksums.
fn hide(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let end = bytes.len() - 512;
    for start in [0, end] {
        let footer = &mut bytes[start..start + 512];
        footer[85] = 1;
        footer[64..68].fill(0);
        let sum: u32 = footer.iter().map(|&byte| u32::from(byte)).sum();
        footer[64..68].copy_from_slice(&(!sum).to_be_bytes());
    }
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_crash_at_any_step_of_create_leaves_a_whole_image_or_none() {
    for format in [ImageFormat::Vhd, ImageFormat::Raw] {
        let dir = tempfile::tempdir().unwrap();
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
    let dir = tempfile::tempdir().unwrap();
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
fn a_crash_at_any_step_of_remove_can_be_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let uuid = Uuid::from_u128(3);
    let prepare = || {
        let images = open(dir.path());
        create(&images, 1);
        create_child(dir.path(), 2, 1, true);
        create_child(dir.path(), 3, 2, true);
        create_child(dir.path(), 4, 1, false);
    };
    prepare();
    let images = open(dir.path());
    let steps = fault::count(|| images.remove(uuid).unwrap());
    assert_eq!(
        steps,
        [
            "directory: remove",
            "directory: sync",
            "directory: remove",
            "directory: sync"
        ]
    );
    let kept = [
        "00000000-0000-0000-0000-000000000001.vhd",
        "00000000-0000-0000-0000-000000000004.vhd",
    ];
    assert_eq!(names(dir.path()), kept);
    drop(images);
    for step in 0..steps.len() {
        kept.iter()
            .for_each(|name| std::fs::remove_file(dir.path().join(name)).unwrap());
        prepare();
        fault::crash_at(step, || open(dir.path()).remove(uuid));
        let images = open(dir.path());
        let survey = images.survey().unwrap();
        assert!(survey.damaged.is_empty(), "{:?}", survey.damaged);
        let shown: Vec<Uuid> = survey.vdis().iter().map(|vdi| vdi.uuid).collect();
        assert!(
            !shown.contains(&uuid) || step == 0,
            "step {step} shows {shown:?}"
        );
        // The next removal takes along what the interrupted one left.
        images.remove(uuid).unwrap();
        images.remove(Uuid::from_u128(4)).unwrap();
        assert_eq!(names(dir.path()), [""; 0], "step {step}");
        create(&images, 1);
        create_child(dir.path(), 4, 1, true);
    }
}

#[test]
fn removing_what_is_gone_makes_sure_that_it_stays_gone() {
    let dir = tempfile::tempdir().unwrap();
    let images = open(dir.path());
    create(&images, 1);
    let uuid = Uuid::from_u128(1);
    let steps = ["directory: remove", "directory: sync"];
    let io = rustix::io::Errno::IO.raw_os_error();
    fault::fail_at(1, io, || images.remove(uuid)).unwrap_err();
    assert_eq!(names(dir.path()), [""; 0], "unlinked and not synced");
    let again = fault::count(|| images.remove(uuid).unwrap());
    assert_eq!(again, steps[1..]);
}

#[test]
fn sizes() {
    let dir = tempfile::tempdir().unwrap();
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
    let dir = tempfile::tempdir().unwrap();
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
fn one_writer_or_many_readers() {
    let dir = tempfile::tempdir().unwrap();
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
    let dir = tempfile::tempdir().unwrap();
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
fn one_damaged_image_hides_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let images = open(dir.path());
    for n in 1..=9 {
        create(&images, n);
    }
    let file = |n: u128| {
        dir.path()
            .join(ImageName::vhd(Uuid::from_u128(n)).file_name())
    };
    let damage = |n, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = std::fs::read(file(n)).unwrap();
        change(&mut bytes);
        std::fs::write(file(n), bytes).unwrap();
    };
    damage(1, &|bytes| bytes.clear());
    damage(2, &|bytes| bytes.truncate(100));
    damage(3, &|bytes| bytes.fill(0));
    damage(4, &|bytes| bytes[512..1536].fill(0xff));
    // The footer's copies disagree with their checksums.
    damage(5, &|bytes| {
        let end = bytes.len() - 512;
        bytes[20] ^= 1;
        bytes[end + 20] ^= 1;
    });
    // An absurd virtual size under a correct checksum.
    damage(6, &|bytes| {
        let end = bytes.len() - 512;
        for start in [0, end] {
            bytes[start + 48..start + 56].fill(0x7f);
            bytes[start + 64..start + 68].fill(0);
            let sum: u32 = bytes[start..start + 512]
                .iter()
                .map(|&byte| u32::from(byte))
                .sum();
            bytes[start + 64..start + 68].copy_from_slice(&(!sum).to_be_bytes());
        }
    });
    create_child(dir.path(), 10, 7, false);
    std::fs::remove_file(file(7)).unwrap();
    std::os::unix::fs::symlink(
        "/etc/passwd",
        dir.path()
            .join(ImageName::raw(Uuid::from_u128(11)).file_name()),
    )
    .unwrap();
    std::fs::create_dir(file(12)).unwrap();
    std::fs::write(dir.path().join("notes.vhd"), b"x").unwrap();
    std::fs::copy(
        file(8),
        dir.path()
            .join(ImageName::raw(Uuid::from_u128(8)).file_name()),
    )
    .unwrap();
    std::fs::write(dir.path().join("filelog.txt"), b"x").unwrap();

    let survey = images.survey().unwrap();
    let healthy: Vec<u128> = survey.vdis().iter().map(|vdi| vdi.uuid.as_u128()).collect();
    assert_eq!(healthy, [8, 9]);
    assert_eq!(survey.damaged.len(), 11, "{:#?}", survey.damaged);
    assert!(survey.damaged.iter().all(|image| !image.reason.is_empty()));
    // Each is refused with an error, not with a panic, and the healthy ones work.
    for n in 1..=12 {
        let opened = images.open(Uuid::from_u128(n), OpenMode::ReadWrite);
        assert_eq!(opened.is_ok(), n == 8 || n == 9, "{n}");
    }
    images.remove(Uuid::from_u128(9)).unwrap();
    create(&images, 13);
}

#[test]
fn nothing_is_pruned_while_an_image_is_unreadable() {
    let dir = tempfile::tempdir().unwrap();
    let images = open(dir.path());
    create(&images, 1);
    create_child(dir.path(), 2, 1, true);
    std::fs::write(
        dir.path()
            .join(ImageName::vhd(Uuid::from_u128(5)).file_name()),
        b"may be a child of 1",
    )
    .unwrap();
    images.remove(Uuid::from_u128(2)).unwrap();
    assert!(
        dir.path()
            .join(ImageName::vhd(Uuid::from_u128(1)).file_name())
            .exists()
    );
}

#[test]
fn a_parent_outside_the_directory_is_not_opened() {
    let (outside, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    create(&open(outside.path()), 1);
    let parent = ImageName::vhd(Uuid::from_u128(1)).file_name();
    let storage = |path: &Path| {
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .unwrap();
        vhd::FileStorage::new(file)
    };
    let info = vhd::image::inspect(&storage(&outside.path().join(&parent))).unwrap();
    let path = outside.path().join(&parent).to_str().unwrap().to_owned();
    let link = vhd::image::NewParent {
        uuid: info.uuid,
        timestamp: 0,
        path,
    };
    let child = ImageName::vhd(Uuid::from_u128(2)).file_name();
    let new = vhd::image::NewImage::new(info.virtual_size, Uuid::new_v4());
    vhd::image::create_differencing(&storage(&dir.path().join(child)), &new, &link).unwrap();
    let images = open(dir.path());
    let error = images
        .open(Uuid::from_u128(2), OpenMode::ReadOnly)
        .unwrap_err();
    assert!(
        error.chain_text().contains("missing"),
        "{}",
        error.chain_text()
    );
    assert_eq!(images.survey().unwrap().damaged.len(), 1);
}

#[test]
fn threads_create_and_remove_side_by_side() {
    let dir = tempfile::tempdir().unwrap();
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

#[test]
fn what_is_not_flushed_by_the_consumer_is_flushed_in_the_background() {
    let dir = tempfile::tempdir().unwrap();
    let images = open(dir.path());
    let name = new_image(1, ImageFormat::Vhd).name;
    create(&images, 1);
    let image = images.open(name.uuid, OpenMode::ReadWrite).unwrap();
    let flusher = super::flusher::Flusher::new(
        std::time::Duration::from_millis(1),
        images.open_images().clone(),
    );
    flusher.start();
    image.write_at(b"not flushed", 3 * MIB).unwrap();
    // What a crash of the process would leave is what another reader of the file finds now.
    let found = || {
        let copy = tempfile::tempdir().unwrap();
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
        let dir = tempfile::tempdir().unwrap();
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
    let dir = tempfile::tempdir().unwrap();
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
    let dir = tempfile::tempdir().unwrap();
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
    assert!(held.hold(name(1), super::Use::Exclusive).is_none());
    let merge = held.hold(name(1), super::Use::Merge).unwrap();
    assert!(images.open(Uuid::from_u128(1), OpenMode::ReadOnly).is_err());
    drop((merge, image));
    assert!((1..=3).all(|n| !held.is_held(name(n))));
}
