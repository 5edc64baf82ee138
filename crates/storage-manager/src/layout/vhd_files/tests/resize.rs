//! Growing VDIs, with and without a consumer, cut at every step.

use super::*;

const VDI: Uuid = Uuid::from_u128(1);

/// With a first block in the way of a larger table.
fn prepare(path: &Path) -> VhdDirectory {
    let images = open(path);
    create(&images, 1);
    write(&images, VDI, b"first", 0);
    write(&images, VDI, b"last", 10 * MIB - 4);
    images
}

fn verify(path: &Path, context: &str) -> u64 {
    let images = open(path);
    // What a consumer left open is repaired when it is opened again.
    let image = images.open(VDI, OpenMode::ReadWrite).unwrap();
    let read = |offset: u64, length: usize| {
        let mut bytes = vec![1; length];
        image.read_at(&mut bytes, offset).unwrap();
        bytes
    };
    assert_eq!(read(0, 5), b"first", "{context}");
    assert_eq!(read(10 * MIB - 4, 4), b"last", "{context}");
    let added = image.size() - 10 * MIB;
    for place in [0, added / 2, added.saturating_sub(4096)] {
        let length = 4096.min(added - place) as usize;
        assert_eq!(read(10 * MIB + place, length), vec![0; length], "{context}");
    }
    let size = image.size();
    drop(image);
    check_directory(path, &images);
    size
}

#[test]
fn sizes_that_can_be_had() {
    let dir = testkit::scratch::directory();
    let images = prepare(dir.path());
    for (asked, becomes) in [
        (10 * MIB, 10 * MIB),
        (10 * MIB - 1, 10 * MIB),
        (10 * MIB + 1, 12 * MIB),
        (300 * MIB, 300 * MIB),
        (2 << 30, 2 << 30),
    ] {
        assert_eq!(images.resize(VDI, asked).unwrap().virtual_size, becomes);
        assert_eq!(images.stat(VDI).unwrap().virtual_size, becomes);
    }
    let refused = |uuid: u128, size| images.resize(Uuid::from_u128(uuid), size).unwrap_err();
    assert!(matches!(refused(1, 0), Error::Shrink { .. }));
    assert!(matches!(refused(1, 1 << 30), Error::Shrink { .. }));
    assert!(matches!(refused(1, (2040 << 30) + 1), Error::Size { .. }));
    assert!(matches!(refused(7, MIB), Error::Missing { .. }));
    images.create(&new_image(9, ImageFormat::Raw)).unwrap();
    assert!(matches!(refused(9, 1 << 30), Error::Raw { .. }));
    let reader = images.open(VDI, OpenMode::ReadOnly).unwrap();
    assert!(matches!(refused(1, 3 << 30), Error::InUse { .. }));
    drop(reader);
    let base = snapshot(&images, VDI, Uuid::from_u128(2))
        .unwrap()
        .base
        .unwrap();
    assert!(matches!(
        images.resize(base.uuid, 3 << 30),
        Err(Error::Hidden { .. })
    ));
    // A leaf may be larger than its parent, and a snapshot of it is.
    write(&images, VDI, b"end", (2 << 30) - 3);
    images.resize(VDI, (2 << 30) + 4 * MIB).unwrap();
    let new = snapshot(&images, VDI, Uuid::from_u128(3))
        .unwrap()
        .new
        .unwrap();
    assert_eq!(new.virtual_size, (2 << 30) + 4 * MIB);
    let image = images.open(new.uuid, OpenMode::ReadOnly).unwrap();
    let mut found = [1; 6];
    image.read_at(&mut found, (2 << 30) - 3).unwrap();
    assert_eq!(&found, b"end\0\0\0");
    drop(image);
    check_directory(dir.path(), &images);
}

#[test]
fn a_consumer_sees_the_new_size() {
    let dir = testkit::scratch::directory();
    let images = prepare(dir.path());
    let consumer = images.open(VDI, OpenMode::ReadWrite).unwrap();
    for (n, size) in [12 * MIB, 40 * MIB, 3 << 30].into_iter().enumerate() {
        consumer.write_at(&[n as u8 + 1; 512], 4 * MIB).unwrap();
        assert_eq!(images.resize(VDI, size).unwrap().virtual_size, size);
        assert_eq!(consumer.size(), size);
        let mut found = [9; 512];
        consumer.read_at(&mut found, size - 512).unwrap();
        assert_eq!(found, [0; 512]);
        consumer.write_at(&[7; 512], size - 512).unwrap();
        snapshot(&images, VDI, Uuid::from_u128(10 + n as u128)).unwrap();
        consumer.read_at(&mut found, 4 * MIB).unwrap();
        assert_eq!(found, [n as u8 + 1; 512]);
    }
    assert!(
        images.open(VDI, OpenMode::ReadOnly).is_err(),
        "it is still held"
    );
    consumer.close().unwrap();
    drop(consumer);
    let image = images.open(VDI, OpenMode::ReadOnly).unwrap();
    for end in [12 * MIB, 40 * MIB, 3 << 30] {
        let mut found = [0; 512];
        image.read_at(&mut found, end - 512).unwrap();
        assert_eq!(found, [7; 512]);
    }
    drop(image);
    check_directory(dir.path(), &images);
}

#[test]
fn a_resize_that_dies_leaves_the_old_size_or_the_new() {
    let sizes = [12 * MIB, 400 * MIB];
    for (size, attached) in sizes
        .into_iter()
        .flat_map(|size| [(size, false), (size, true)])
    {
        let cut = |step: Option<usize>| {
            let dir = testkit::scratch::directory();
            let images = prepare(dir.path());
            let consumer = attached.then(|| images.open(VDI, OpenMode::ReadWrite).unwrap());
            let points = match step {
                Some(step) => {
                    fault::crash_at(step, || images.resize(VDI, size));
                    Vec::new()
                }
                None => fault::count(|| drop(images.resize(VDI, size).unwrap())),
            };
            let left = copy_directory(dir.path());
            drop(consumer);
            (left, points.len())
        };
        let (left, steps) = cut(None);
        assert_eq!(verify(left.path(), "done"), size);
        for step in 0..steps {
            let context = format!("to {size}, consumer {attached}, step {step}");
            let (left, _) = cut(Some(step));
            let again = copy_directory(left.path());
            let recovery = fault::count(|| drop(open(again.path()))).len();
            for death in 0..recovery {
                let again = copy_directory(left.path());
                fault::crash_at(death, || open(again.path()));
                verify(
                    again.path(),
                    &format!("{context}, then {death} of the recovery"),
                );
            }
            let found = verify(left.path(), &context);
            assert!(found == 10 * MIB || found == size, "{context}: {found}");
        }
    }
}

#[test]
fn a_resize_that_fails_leaves_the_old_size_and_the_consumer() {
    let full = rustix::io::Errno::NOSPC.raw_os_error();
    for (size, attached) in [(12 * MIB, true), (400 * MIB, false), (400 * MIB, true)] {
        let prepared = || {
            let dir = testkit::scratch::directory();
            let images = prepare(dir.path());
            let consumer = attached.then(|| images.open(VDI, OpenMode::ReadWrite).unwrap());
            (dir, images, consumer)
        };
        let (_dir, images, _consumer) = prepared();
        let steps = fault::count(|| drop(images.resize(VDI, size).unwrap())).len();
        for step in 0..steps {
            let context = format!("to {size}, consumer {attached}, step {step}");
            let (dir, images, consumer) = prepared();
            let outcome = fault::fail_at(step, full, || images.resize(VDI, size));
            // Emptying the journal and removing it are the last steps, and may fail unnoticed.
            assert!(outcome.is_err() || step + 2 >= steps, "{context}");
            if let (Some(consumer), Err(_)) = (&consumer, &outcome) {
                let mut found = [0; 5];
                let usable = consumer.read_at(&mut found, 0);
                assert!(usable.is_err() || &found == b"first", "{context}");
            }
            drop((consumer, images));
            let found = verify(dir.path(), &context);
            let kept = found == 10 * MIB || (found == size && outcome.is_ok());
            assert!(kept || attached, "{context}: {found}");
        }
    }
}
