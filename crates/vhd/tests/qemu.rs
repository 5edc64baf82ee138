//! Both directions against qemu-img: it reads what we write, we read what it writes.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::Arc;

use support::{has_tool, run};
use uuid::Uuid;
use vhd::check::{CheckOptions, check};
use vhd::image::{self, NewImage};
use vhd::{Access, Chain, FileStorage, NoParents, Rule, Storage};

const MIB: u64 = 1 << 20;

fn open_file(path: &Path) -> Arc<dyn Storage> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .unwrap();
    Arc::new(FileStorage::new(file))
}

/// Single sectors, a write across a block's edge, part of the last block and one whole block.
fn patches(size: u64) -> Vec<(u64, Vec<u8>)> {
    let bytes = |seed: u8, length: usize| {
        (0..length)
            .map(|i| (i as u8).wrapping_mul(31) ^ seed | 1)
            .collect()
    };
    vec![
        (0, bytes(1, 512)),
        (4096, bytes(2, 8192)),
        (2 * MIB - 700, bytes(3, 5000)),
        (6 * MIB, bytes(4, 2 << 20)),
        (size - 512, bytes(5, 512)),
    ]
}

fn expected(size: u64) -> Vec<u8> {
    let mut bytes = vec![0; size as usize];
    for (offset, data) in patches(size) {
        bytes[offset as usize..offset as usize + data.len()].copy_from_slice(&data);
    }
    bytes
}

fn qemu_reads(image: &Path, raw: &Path, size: u64) {
    let options = format!(
        "driver=vpc,force_size_calc=current_size,file.filename={}",
        image.display()
    );
    run(
        "qemu-img",
        &[
            "convert",
            "--image-opts",
            "-O",
            "raw",
            &options,
            raw.to_str().unwrap(),
        ],
    );
    assert!(
        std::fs::read(raw).unwrap() == expected(size),
        "qemu-img reads something else"
    );
    let info = run(
        "qemu-img",
        &["info", "--output=json", "--image-opts", &options],
    );
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    assert_eq!(
        (&info["format"], &info["virtual-size"]),
        (&"vpc".into(), &size.into())
    );
}

#[test]
fn qemu_img_reads_our_images() {
    if !has_tool("qemu-img") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let size = 24 * MIB;
    for name in ["dynamic", "fixed"] {
        let (path, raw) = (
            dir.path().join(format!("{name}.vhd")),
            dir.path().join(format!("{name}.raw")),
        );
        let storage = open_file(&path);
        let new = NewImage::new(size, Uuid::from_u128(0x1234));
        match name {
            "dynamic" => image::create_dynamic(&*storage, &new).unwrap(),
            _ => image::create_fixed(&*storage, &new).unwrap(),
        };
        let chain = Chain::open(storage, &NoParents, Access::ReadWrite).unwrap();
        for (offset, data) in patches(size) {
            chain.write_at(&data, offset).unwrap();
        }
        chain
            .write_at(&[9; 3 * MIB as usize], 11 * MIB - 100)
            .unwrap();
        chain.write_zeroes(11 * MIB - 100, 3 * MIB).unwrap();
        chain.close().unwrap();
        qemu_reads(&path, &raw, size);
    }
}

#[test]
fn we_read_images_of_qemu_img_and_write_to_them() {
    if !has_tool("qemu-img") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let size = 24 * MIB;
    let source = dir.path().join("source.raw");
    std::fs::write(&source, expected(size)).unwrap();
    for kind in ["dynamic", "fixed"] {
        let path = dir.path().join(format!("{kind}.vhd"));
        let options = format!("subformat={kind},force_size=on");
        let (from, to) = (source.to_str().unwrap(), path.to_str().unwrap());
        run(
            "qemu-img",
            &[
                "convert", "-f", "raw", "-O", "vpc", "-o", &options, from, to,
            ],
        );

        let chain = Chain::open(open_file(&path), &NoParents, Access::ReadWrite).unwrap();
        assert_eq!(chain.size(), size);
        let mut found = vec![0; size as usize];
        chain.read_at(&mut found, 0).unwrap();
        assert!(found == expected(size), "{kind}");
        // Blocks that qemu did not allocate, and sectors in blocks that it did.
        chain.write_at(&[0x77; 5000], 16 * MIB - 1000).unwrap();
        chain.write_at(&[0x78; 513], 4 * MIB + 3).unwrap();
        chain.close().unwrap();
        let findings = check(&*open_file(&path), &CheckOptions::default()).unwrap();
        let beyond_geometry: Vec<_> = findings
            .iter()
            .filter(|defect| defect.rule != Rule::Geometry)
            .collect();
        assert_eq!(beyond_geometry, [] as [&vhd::Defect; 0], "{kind}");

        let mut bytes = expected(size);
        bytes[(16 * MIB - 1000) as usize..][..5000].fill(0x77);
        bytes[(4 * MIB + 3) as usize..][..513].fill(0x78);
        std::fs::write(&source, &bytes).unwrap();
        let options = format!("driver=vpc,force_size_calc=current_size,file.filename={to}");
        run(
            "qemu-img",
            &[
                "compare",
                "--image-opts",
                &options,
                &format!("driver=raw,file.filename={from}"),
            ],
        );
        std::fs::write(&source, expected(size)).unwrap();
    }
}

#[test]
fn qemu_io_writes_where_we_read() {
    if !has_tool("qemu-io") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shared.vhd");
    let storage = open_file(&path);
    image::create_dynamic(&*storage, &NewImage::new(10 * MIB, Uuid::from_u128(5))).unwrap();
    let chain = Chain::open(storage.clone(), &NoParents, Access::ReadWrite).unwrap();
    chain.write_at(&[0x41; 4096], 4 * MIB).unwrap();
    chain.close().unwrap();

    let options = format!(
        "driver=vpc,force_size_calc=current_size,file.filename={}",
        path.display()
    );
    run(
        "qemu-io",
        &[
            "--image-opts",
            &options,
            "-c",
            "write -P 0x42 4198400 4096",
            "-c",
            "write -P 0x43 8388608 512",
        ],
    );
    let chain = Chain::open(storage, &NoParents, Access::ReadOnly).unwrap();
    for (offset, byte, length) in [
        (4 * MIB, 0x41, 4096),
        (4_198_400, 0x42, 4096),
        (8 * MIB, 0x43, 512),
        (8 * MIB + 512, 0, 512),
    ] {
        let mut found = vec![1; length];
        chain.read_at(&mut found, offset).unwrap();
        assert!(found.iter().all(|found| *found == byte), "{offset}");
    }
}
