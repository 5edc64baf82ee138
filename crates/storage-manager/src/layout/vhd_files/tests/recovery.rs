//! What XenServer's storage manager leaves when it dies, and what cannot be repaired.

use super::*;

const VDI: Uuid = Uuid::from_u128(1);
const BASE: Uuid = Uuid::from_u128(8);

fn path_of(dir: &Path, uuid: Uuid, suffix: &str) -> PathBuf {
    dir.join(format!("{}{suffix}", ImageName::vhd(uuid).file_name()))
}

/// A VDI with data, and the image that a snapshot of it was to put in its place, made on its file under the base's name.
fn prepare(dir: &Path) {
    let images = open(dir);
    create(&images, 1);
    write(&images, VDI, b"kept", MIB);
    drop(images);
    new_leaf(dir, VDI, BASE);
}

/// Makes `<vdi>.vhd.new` with `named` as its parent, whose file is that of the VDI.
fn new_leaf(dir: &Path, vdi: Uuid, named: Uuid) {
    let info = vhd::image::inspect(&storage(dir, ImageName::vhd(vdi))).unwrap();
    let link = vhd::image::NewParent {
        uuid: info.uuid,
        timestamp: 0,
        path: ImageName::vhd(named).file_name(),
    };
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path_of(dir, vdi, ".new"))
        .unwrap();
    let new = vhd::image::NewImage::new(info.virtual_size, Uuid::new_v4());
    vhd::image::create_differencing(&vhd::FileStorage::new(file), &new, &link).unwrap();
}

fn link(dir: &Path) {
    std::fs::hard_link(path_of(dir, VDI, ""), path_of(dir, BASE, "")).unwrap();
}

/// The VDI is whole and can be written; `base` tells whether the snapshot was finished.
fn verify(dir: &Path, base: bool, context: &str) {
    for _ in 0..2 {
        let images = open(dir);
        check_directory(dir, &images);
        assert_eq!(images.stat(BASE).is_ok(), base, "{context}");
        let managed = images
            .survey()
            .unwrap()
            .vdis()
            .into_iter()
            .filter(|vdi| vdi.managed);
        assert_eq!(managed.map(|vdi| vdi.uuid).collect::<Vec<_>>(), [VDI]);
        assert_eq!(&content(&images, VDI)[1 << 20..][..4], b"kept");
        write(&images, VDI, b"more", 2 * MIB);
    }
}

#[test]
fn a_snapshot_of_xenserver_is_finished_or_undone() {
    let torn = |dir: &Path| std::fs::write(path_of(dir, VDI, ".new"), b"conectix").unwrap();
    type Leave<'a> = &'a dyn Fn(&Path);
    let cases: [(&str, Leave<'_>, bool); 5] = [
        ("the child alone", &|_| {}, false),
        ("linked", &link, true),
        (
            "linked, the child torn",
            &|dir| {
                link(dir);
                torn(dir);
            },
            false,
        ),
        ("the child torn", &torn, false),
        (
            "renamed, where there are no links",
            &|dir| {
                link(dir);
                std::fs::remove_file(path_of(dir, VDI, "")).unwrap();
            },
            true,
        ),
    ];
    for (what, leave, finished) in cases {
        let dir = testkit::scratch::directory();
        prepare(dir.path());
        leave(dir.path());
        verify(dir.path(), finished, what);
    }
}

/// XenServer's tool makes the child of an image without data a child of that one's parent.
#[test]
fn a_snapshot_of_an_image_without_data_is_undone() {
    let dir = testkit::scratch::directory();
    prepare(dir.path());
    link(dir.path());
    verify(dir.path(), true, "linked");
    let images = open(dir.path());
    snapshot(&images, VDI, Uuid::from_u128(2)).unwrap();
    drop(images);
    let parent = ImageName::vhd(Uuid::from_u128(2));
    std::fs::hard_link(
        path_of(dir.path(), parent.uuid, ""),
        path_of(dir.path(), Uuid::from_u128(9), ""),
    )
    .unwrap();
    std::fs::copy(
        path_of(dir.path(), parent.uuid, ""),
        path_of(dir.path(), parent.uuid, ".new"),
    )
    .unwrap();
    let images = open(dir.path());
    check_directory(dir.path(), &images);
    assert!(images.stat(Uuid::from_u128(9)).is_err());
    write(&images, parent.uuid, b"more", 0);
}

#[test]
fn what_cannot_be_repaired_is_kept_and_not_written() {
    let dir = testkit::scratch::directory();
    prepare(dir.path());
    link(dir.path());
    std::fs::remove_file(path_of(dir.path(), VDI, ".new")).unwrap();
    // Nothing says which of both names is the VDI.
    let images = open(dir.path());
    create(&images, 2);
    for uuid in [VDI, BASE] {
        assert_eq!(&content(&images, uuid)[1 << 20..][..4], b"kept");
        let refused = images.open(uuid, OpenMode::ReadWrite).map(drop);
        assert!(
            matches!(refused, Err(Error::Unfinished { .. })),
            "{refused:?}"
        );
        assert!(snapshot(&images, uuid, Uuid::from_u128(3)).is_err());
        assert!(images.resize(uuid, 1 << 30).is_err());
    }
    write(&images, Uuid::from_u128(2), b"others are not affected", 0);
    images.remove(BASE).unwrap();
    write(&images, VDI, b"more", 0);
    drop(images);
    // A journal that is none, and one of an image that is gone.
    let journal = |n: u128| dir.path().join(format!(".journal-{}", Uuid::from_u128(n)));
    let mut bytes = vec![0x5a; 4096];
    bytes[..8].copy_from_slice(b"vjournal");
    std::fs::write(journal(1), &bytes).unwrap();
    std::fs::write(journal(7), &bytes).unwrap();
    let images = open(dir.path());
    assert!(journal(1).exists() && !journal(7).exists());
    let refused = images.open(VDI, OpenMode::ReadWrite).map(drop);
    assert!(
        matches!(refused, Err(Error::Unfinished { .. })),
        "{refused:?}"
    );
    write(&images, Uuid::from_u128(2), b"others are not affected", 0);
    drop(images);
    std::fs::write(journal(1), b"").unwrap();
    let images = open(dir.path());
    write(&images, VDI, b"more", 0);
    check_directory(dir.path(), &images);
}
