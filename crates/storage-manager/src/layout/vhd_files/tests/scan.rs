//! Damaged and foreign images in a directory.

use super::super::scan::Listing;
use super::*;

/// A scan that read them in the middle of a merge: an image that is being made larger, and one whose name is being exchanged.
#[test]
fn what_was_read_in_the_middle_of_a_change_is_read_again() {
    let dir = testkit::scratch::directory();
    let images = open(dir.path());
    create(&images, 1);
    create(&images, 2);
    let file = |n: u128| {
        dir.path()
            .join(ImageName::vhd(Uuid::from_u128(n)).file_name())
    };
    let old = dir.path().join("OLD_x.vhd");
    let whole = std::fs::read(file(1)).unwrap();
    std::fs::write(file(1), b"half").unwrap();
    std::fs::write(&old, b"x").unwrap();
    let mut listing = Listing::read(&*images.files).unwrap();
    std::fs::write(file(1), whole).unwrap();
    std::fs::remove_file(old).unwrap();
    listing.read_doubtful_again(&*images.files);
    let survey = listing.survey();
    assert!(survey.damaged.is_empty(), "{:?}", survey.damaged);
    assert!(!survey.tree.is_incomplete());
    assert_eq!(survey.images.len(), 2);
}

#[test]
fn one_damaged_image_hides_no_other() {
    let dir = testkit::scratch::directory();
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
fn a_parent_outside_the_directory_is_not_opened() {
    let (outside, dir) = (testkit::scratch::directory(), tempfile::tempdir().unwrap());
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
