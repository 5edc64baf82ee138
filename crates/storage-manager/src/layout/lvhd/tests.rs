//! What a crash at each change of the metadata, and at each flush, leaves of a group.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nbd::Export;
use uuid::Uuid;

use super::mgt::Allocation;
use super::recovery::recover;
use super::volume_files::VolumeFiles;
use super::volumes::Volumes;
use crate::io::fault;
use crate::layout::vhd_files::names::ImageName;
use crate::layout::vhd_files::{NewImage, VhdDirectory};
use crate::medium::block_device::BlockDevice;
use crate::medium::local_device::LocalDevice;
use crate::sr::{OpenMode, SnapshotKind};

const MIB: u64 = 1 << 20;
const SIZE: u64 = 128 * MIB;

/// Every so many writes of data one is a point to die at.
const WRITES_BETWEEN: usize = 37;

mod coalesce;

struct Place {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

fn vdi(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn device(path: &Path) -> Arc<dyn BlockDevice> {
    Arc::new(LocalDevice::open(path).unwrap())
}

/// The images of the group on the device, after what was cut off was ended.
fn attach(path: &Path, allocation: Allocation) -> (Arc<VolumeFiles>, VhdDirectory) {
    let volumes = Volumes::open(&[device(path)]).unwrap();
    let files = Arc::new(VolumeFiles::new(volumes, allocation));
    recover(&files);
    let images = VhdDirectory::new(files.clone()).unwrap();
    (files, images)
}

/// A group with one VDI of 6 MiB that holds sevens in its second block.
fn place(allocation: Allocation) -> Place {
    // In memory where there is such a place: what counts is what is written, and in which order.
    let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let directory = directory.unwrap();
    let path = directory.path().join("disk");
    std::fs::File::create(&path).unwrap().set_len(SIZE).unwrap();
    let physical: Arc<dyn lvm::device::Device> =
        Arc::new(super::device::PhysicalDevice(device(&path)));
    let name = super::names::vg_name(vdi(0xf));
    drop(lvm::Group::create(vec![physical], &name, &lvm::NewGroup::default()).unwrap());
    let (_, images) = attach(&path, allocation);
    let new = NewImage {
        name: ImageName::vhd(vdi(1)),
        virtual_size: 6 * MIB,
    };
    images.create(&new).unwrap();
    let open = images.open(vdi(1), OpenMode::ReadWrite).unwrap();
    open.write_at(&[7; 4096], 2 * MIB).unwrap();
    open.close().unwrap();
    Place {
        _directory: directory,
        path,
    }
}

fn holds(images: &VhdDirectory, uuid: Uuid, fill: u8) {
    let open = images.open(uuid, OpenMode::ReadOnly).unwrap();
    let mut found = [0; 4096];
    open.read_at(&mut found, 2 * MIB).unwrap();
    assert_eq!(found, [fill; 4096], "{uuid}");
}

/// Runs an operation, dies at every point that matters, and checks what the next attach finds.
fn at_every_point(
    allocation: Allocation,
    prepare: &dyn Fn(&VhdDirectory),
    operation: &dyn Fn(&VhdDirectory),
    check: &dyn Fn(&VhdDirectory),
) {
    let prepared = || {
        let place = place(allocation);
        let (_, images) = attach(&place.path, allocation);
        prepare(&images);
        place
    };
    let place = prepared();
    let (_files, images) = attach(&place.path, allocation);
    let passed = fault::count(|| operation(&images));
    check(&images);
    drop(images);
    let is_commit = |name: &str| name != "device: write";
    let points: Vec<usize> = (0..passed.len())
        .filter(|at| is_commit(passed[*at]) || at % WRITES_BETWEEN == 0)
        .collect();
    assert!(points.len() > 3, "{passed:?}");
    for at in points {
        let place = prepared();
        let (files, images) = attach(&place.path, allocation);
        fault::crash_at(at, || operation(&images));
        drop((files, images));
        let (files, images) = attach(&place.path, allocation);
        let survey = images.survey().unwrap();
        assert_eq!(survey.damaged, [], "at {at} {}", passed[at]);
        holds(&images, vdi(1), 7);
        check(&images);
        let index = files.volumes().index();
        let left = index.group.logical_volumes.iter();
        let left: Vec<&str> = left
            .map(|volume| volume.name.as_str())
            .filter(|name| name.starts_with("xensm-") || name.contains("_"))
            .collect();
        assert_eq!(left, [""; 0], "at {at} {}", passed[at]);
        // Written and merged as ever.
        let open = images.open(vdi(1), OpenMode::ReadWrite).unwrap();
        open.write_at(&[9; 512], 0).unwrap();
        open.close().unwrap();
    }
}

#[test]
fn a_creation_is_whole_or_nothing() {
    let new = NewImage {
        name: ImageName::vhd(vdi(2)),
        virtual_size: 6 * MIB,
    };
    at_every_point(
        Allocation::Thick,
        &|_| {},
        &|images| drop(images.create(&new).unwrap()),
        &|images| {
            if images.stat(vdi(2)).is_ok() {
                holds(images, vdi(2), 0);
            }
        },
    );
}

#[test]
fn a_snapshot_is_whole_or_nothing() {
    at_every_point(
        Allocation::Thick,
        &|_| {},
        &|images| {
            let kind = SnapshotKind::Snapshot;
            images.snapshot(vdi(1), vdi(2), kind).unwrap();
        },
        &|images| {
            if images.stat(vdi(2)).is_ok() {
                holds(images, vdi(2), 7);
            }
            let visible = images.survey().unwrap().vdis();
            assert!(
                visible
                    .iter()
                    .all(|found| !found.managed || found.uuid.as_u128() < 3)
            );
        },
    );
}

#[test]
fn a_removal_is_whole_or_nothing() {
    at_every_point(
        Allocation::Thin,
        &|images| {
            let kind = SnapshotKind::Snapshot;
            images.snapshot(vdi(1), vdi(2), kind).unwrap();
        },
        &|images| images.remove(vdi(2)).unwrap(),
        &|images| {
            if images.stat(vdi(2)).is_ok() {
                holds(images, vdi(2), 7);
            }
        },
    );
}

#[test]
fn a_growth_leaves_one_size_or_the_other() {
    at_every_point(
        Allocation::Thick,
        &|_| {},
        &|images| drop(images.resize(vdi(1), 20 * MIB).unwrap()),
        &|images| {
            let size = images.stat(vdi(1)).unwrap().virtual_size;
            assert!([6 * MIB, 20 * MIB].contains(&size), "{size}");
        },
    );
}

#[test]
fn a_thin_volume_grows_and_shrinks_around_its_data() {
    at_every_point(
        Allocation::Thin,
        &|_| {},
        &|images| {
            let open = images.open(vdi(1), OpenMode::ReadWrite).unwrap();
            open.close().unwrap();
        },
        &|_| {},
    );
}

/// A raw VDI gets extents in which another has left its bytes.
#[test]
fn a_raw_volume_that_grows_shows_nothing_of_others() {
    let raw = |number, size| NewImage {
        name: ImageName::raw(vdi(number)),
        virtual_size: size,
    };
    at_every_point(
        Allocation::Thin,
        &|images| {
            images.create(&raw(2, 4 * MIB)).unwrap();
            images.create(&raw(3, 16 * MIB)).unwrap();
            let other = images.open(vdi(3), OpenMode::ReadWrite).unwrap();
            other.write_at(&[0xee; 16 << 20], 0).unwrap();
            other.close().unwrap();
            images.remove(vdi(3)).unwrap();
        },
        &|images| drop(images.resize(vdi(2), 12 * MIB).unwrap()),
        &|images| {
            let open = images.open(vdi(2), OpenMode::ReadOnly).unwrap();
            assert!([4 * MIB, 12 * MIB].contains(&open.size()));
            let mut found = vec![1; open.size() as usize];
            open.read_at(&mut found, 0).unwrap();
            assert!(found.iter().all(|byte| *byte == 0));
        },
    );
}

/// A device that fails anywhere in a growth, or twice: a later try, with another size or the same, shows nothing of others, and the
/// group can be changed again.
#[test]
fn a_raw_volume_that_failed_to_grow_shows_nothing_of_others() {
    let raw = |number, size| NewImage {
        name: ImageName::raw(vdi(number)),
        virtual_size: size,
    };
    let prepared = || {
        let place = place(Allocation::Thin);
        let (files, images) = attach(&place.path, Allocation::Thin);
        images.create(&raw(2, 4 * MIB)).unwrap();
        images.create(&raw(3, 16 * MIB)).unwrap();
        let other = images.open(vdi(3), OpenMode::ReadWrite).unwrap();
        other.write_at(&[0xee; 16 << 20], 0).unwrap();
        other.close().unwrap();
        images.remove(vdi(3)).unwrap();
        (place, files, images)
    };
    let (_place, _files, images) = prepared();
    let passed = fault::count(|| drop(images.resize(vdi(2), 12 * MIB).unwrap()));
    let is_telling = |at: &usize| passed[*at] != "device: write" || at.is_multiple_of(11);
    for at in (0..passed.len()).filter(is_telling) {
        let sizes = [8 * MIB, 12 * MIB, 16 * MIB];
        let chosen = match passed[at] {
            "volume: zero what was added" => &sizes[..],
            _ => &sizes[at % 3..=at % 3],
        };
        for again in chosen.iter().copied() {
            let (_place, files, images) = prepared();
            let failed = fault::fail_at(at, 5, || images.resize(vdi(2), 12 * MIB));
            let at = format!("at {at} {}, again {again}", passed[at]);
            let shown = || {
                let open = images.open(vdi(2), OpenMode::ReadOnly).unwrap();
                let mut found = vec![1; open.size() as usize];
                open.read_at(&mut found, 0).unwrap();
                assert!(found.iter().all(|byte| *byte == 0), "{at}");
                open.size()
            };
            let size = shown();
            assert!(failed.is_err() || size == 12 * MIB, "{at}");
            if again > size {
                images.resize(vdi(2), again).unwrap();
                assert_eq!(shown(), again, "{at}");
            }
            let left = &files.volumes().index().group.logical_volumes;
            assert!(!left.iter().any(|one| one.name.contains('_')), "{at}");
            images.create(&raw(4, 4 * MIB)).unwrap();
        }
    }
}

/// XenServer made the volumes of the new images and wrote nothing yet: they hold what others had there, which is an image.
#[test]
fn a_snapshot_whose_images_are_somebody_elses_is_undone() {
    let place = place(Allocation::Thick);
    let (files, images) = attach(&place.path, Allocation::Thick);
    let foreign = NewImage {
        name: ImageName::vhd(vdi(5)),
        virtual_size: 6 * MIB,
    };
    images.create(&foreign).unwrap();
    let volumes = files.volumes();
    let (original, base, new) = (
        ImageName::vhd(vdi(1)),
        ImageName::vhd(vdi(9)),
        ImageName::vhd(vdi(2)),
    );
    super::branch_journal::begin(volumes, original, base, Some(new)).unwrap();
    let name = super::names::image_volume;
    volumes
        .commit(&|group| group.rename_lv(&name(original), &name(base)))
        .unwrap();
    let from = volumes.volume(&name(foreign.name)).unwrap();
    let mut bytes = vec![0; from.length().unwrap() as usize];
    from.read_at(&mut bytes, 0).unwrap();
    for image in [original, new] {
        let to = volumes
            .create(&name(image), bytes.len() as u64, &[])
            .unwrap();
        to.write_at(&bytes, 0).unwrap();
    }
    drop((from, files, images));
    let (_files, images) = attach(&place.path, Allocation::Thick);
    holds(&images, vdi(1), 7);
    assert!(images.stat(vdi(2)).is_err() && images.stat(vdi(9)).is_err());
    assert_eq!(images.survey().unwrap().damaged, []);
}
