//! Streams: against XenServer's exports, against qemu-img, against themselves, and against bytes that mean harm.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::Read;

use proptest::prelude::*;
use support::{golden, golden_dir, has_tool, memory, run, sha256};
use uuid::Uuid;
use vhd::footer::{FOOTER_SIZE, Footer, ImageType};
use vhd::stream::{NewStream, StreamInfo, StreamParent, StreamReader, StreamWriter};
use vhd::{Access, Chain, ErrorKind, NoParents, Part};

const MIB: u64 = 1 << 20;
const BLOCK: u64 = 2 * MIB;

/// Lays what a stream has over `content`.
fn lay(stream: &[u8], length: Option<u64>, content: &mut Vec<u8>) -> vhd::Result<()> {
    let mut reader = StreamReader::open(stream, length)?;
    content.resize(reader.info().virtual_size as usize, 0);
    while let Some(piece) = reader.next_piece()? {
        let at = piece.offset as usize;
        content[at..at + piece.data.len()].copy_from_slice(piece.data);
    }
    Ok(())
}

fn stream_of(new: &NewStream, map: &[u8], content: &[u8]) -> Vec<u8> {
    let mut writer = StreamWriter::new(new, map, |buffer: &mut [u8], offset| {
        buffer.copy_from_slice(&content[offset as usize..offset as usize + buffer.len()]);
        Ok(())
    })
    .unwrap();
    let mut bytes = Vec::new();
    writer.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, writer.length());
    assert_eq!(bytes.len() as u64, writer.position());
    bytes
}

/// Which blocks a stream has.
fn map_of(stream: &[u8]) -> (Vec<u8>, StreamInfo) {
    let mut reader = StreamReader::open(stream, None).unwrap();
    let info = reader.info().clone();
    let mut map = vec![0; (info.virtual_size.div_ceil(BLOCK) as usize).div_ceil(8)];
    while let Some(piece) = reader.next_piece().unwrap() {
        let block = (piece.offset / BLOCK) as usize;
        map[block / 8] |= 0x80 >> (block % 8);
    }
    (map, info)
}

/// A footer as ours would be: all but the creator is the same.
fn with_our_creator(mut golden: Vec<u8>) -> Vec<u8> {
    let length = golden.len();
    for at in [0, length - FOOTER_SIZE] {
        let bytes = golden[at..at + FOOTER_SIZE].try_into().unwrap();
        let mut footer = Footer::parse(&bytes, Part::BackupFooter).unwrap();
        assert_eq!(&footer.creator_app, b"caml");
        footer.creator_app = *b"CTXS";
        golden[at..at + FOOTER_SIZE].copy_from_slice(&footer.to_bytes());
    }
    golden
}

#[test]
fn full_exports_are_those_of_xenserver_byte_for_byte() {
    let Some(dir) = golden_dir() else { return };
    for name in ["export-full-snapshot1.vhd", "export-full-snapshot2.vhd"] {
        let golden = golden(&dir, name);
        let mut content = Vec::new();
        lay(&golden, None, &mut content).unwrap();
        let (map, info) = map_of(&golden);
        let new = NewStream {
            virtual_size: info.virtual_size,
            uuid: info.uuid,
            parent: None,
        };
        let ours = stream_of(&new, &map, &content);
        assert!(ours == with_our_creator(golden), "{name} differs");
    }
}

#[test]
fn a_delta_is_that_of_xenserver_but_for_the_way_to_its_parent() {
    let Some(dir) = golden_dir() else { return };
    let golden = golden(&dir, "export-delta-snapshot1-to-2.vhd");
    let mut content = Vec::new();
    lay(&golden, None, &mut content).unwrap();
    let (map, info) = map_of(&golden);
    let new = NewStream {
        virtual_size: info.virtual_size,
        uuid: info.uuid,
        parent: Some(StreamParent {
            uuid: info.parent.unwrap(),
            file_name: "base.vhd".to_owned(),
        }),
    };
    let ours = stream_of(&new, &map, &content);
    let golden = with_our_creator(golden);
    assert_eq!(ours.len(), golden.len());
    // The header and the path behind it name the parent: there by the directory of its SR, here by a file beside this one.
    assert!(ours[..512] == golden[..512] && ours[2048..] == golden[2048..]);
    assert_eq!(ours[512 + 40..512 + 56], golden[512 + 40..512 + 56]);
}

#[test]
fn every_golden_image_is_read_as_a_stream() {
    let Some(dir) = golden_dir() else { return };
    let mut seen = 0;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let Some(image) = name.strip_suffix(".vhd.json") else {
            continue;
        };
        let about: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let Some(expected) = about["logical_sha256"].as_str() else {
            continue;
        };
        let mut content = Vec::new();
        // The ancestors first, eldest first.
        let mut images = vec![format!("{image}.vhd")];
        while let Some(parent) = parent_of(&dir, images.last().unwrap()) {
            images.push(parent);
        }
        let raw_root = images.last().unwrap().ends_with(".raw");
        for name in images.iter().rev() {
            let bytes = golden(&dir, name);
            if raw_root && name.ends_with(".raw") {
                content = bytes;
                continue;
            }
            let length = bytes.len() as u64;
            lay(&bytes, Some(length), &mut content)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        assert_eq!(sha256(&content), expected, "{image}");
        seen += 1;
    }
    assert!(seen >= 15, "only {seen} images were read");
}

fn parent_of(dir: &std::path::Path, name: &str) -> Option<String> {
    let about = std::fs::read(dir.join(format!("{name}.json"))).ok()?;
    let about: serde_json::Value = serde_json::from_slice(&about).unwrap();
    let parent = about["parent"]
        .as_str()?
        .trim_end_matches(".zst")
        .to_owned();
    // The coalesced parent is kept under two names, before and after.
    Some(parent.replace("coalesce-parent.vhd", "coalesce-parent-before.vhd"))
}

#[test]
fn qemu_img_reads_what_we_stream_and_we_what_it_writes() {
    if !has_tool("qemu-img") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // A size whose geometry is smaller, and that does not end with a block.
    let size = 7 * MIB + 512;
    let content: Vec<u8> = (0..size)
        .map(|at| if at / BLOCK == 1 { 0 } else { (at / 511) as u8 })
        .collect();
    let raw = dir.path().join("content.raw");
    std::fs::write(&raw, &content).unwrap();
    let new = NewStream {
        virtual_size: size,
        uuid: Uuid::from_u128(7),
        parent: None,
    };
    let ours = dir.path().join("ours.vhd");
    std::fs::write(&ours, stream_of(&new, &[0b1011_0000], &content)).unwrap();
    // Without being told how to take the size.
    let (raw, ours) = (raw.to_str().unwrap(), ours.to_str().unwrap());
    run(
        "qemu-img",
        &["compare", "-f", "raw", "-F", "vpc", raw, ours],
    );
    for kind in ["dynamic", "fixed"] {
        let theirs = dir.path().join(format!("{kind}.vhd"));
        let options = format!("subformat={kind},force_size=on");
        let path = theirs.to_str().unwrap();
        run(
            "qemu-img",
            &[
                "convert", "-f", "raw", "-O", "vpc", "-o", &options, raw, path,
            ],
        );
        let bytes = std::fs::read(&theirs).unwrap();
        let length = Some(bytes.len() as u64);
        let mut found = Vec::new();
        lay(&bytes, length, &mut found).unwrap();
        assert!(found == content, "{kind}");
        if kind == "dynamic" {
            lay(&bytes, None, &mut found).unwrap();
        }
    }
}

#[test]
fn a_chain_of_files_opens_from_its_streams() {
    let base: Vec<u8> = vec![1; 4 * MIB as usize];
    let uuid = Uuid::from_u128(1);
    let new = NewStream {
        virtual_size: 4 * MIB,
        uuid,
        parent: None,
    };
    let parent = stream_of(&new, &[0xff], &base);
    let mut changed = base.clone();
    changed[3 * MIB as usize] = 9;
    let new = NewStream {
        virtual_size: 4 * MIB,
        uuid: Uuid::from_u128(2),
        parent: Some(StreamParent {
            uuid,
            file_name: format!("{uuid}.vhd"),
        }),
    };
    let child = memory(stream_of(&new, &[0x40], &changed));
    let info = vhd::image::inspect(&*child).unwrap();
    let link = info.parent.unwrap();
    assert_eq!(
        (link.uuid, link.base_name()),
        (uuid, &*format!("{uuid}.vhd"))
    );
    assert_eq!(link.paths, [format!("./{uuid}.vhd")]);
    struct Beside(Vec<u8>);
    impl vhd::ParentResolver for Beside {
        fn resolve(&self, _: &vhd::ParentLink) -> vhd::Result<vhd::ParentStorage> {
            Ok(vhd::ParentStorage::Vhd(memory(self.0.clone())))
        }
    }
    let chain = Chain::open(child, &Beside(parent), Access::ReadOnly).unwrap();
    let mut found = vec![0; 4 * MIB as usize];
    chain.read_at(&mut found, 0).unwrap();
    assert!(found == changed);
}

#[test]
fn a_stream_that_ends_early_is_told_wherever_it_ends() {
    let content = vec![5; 5 * MIB as usize];
    let new = NewStream {
        virtual_size: 5 * MIB,
        uuid: Uuid::from_u128(3),
        parent: None,
    };
    let whole = stream_of(&new, &[0b1010_0000], &content);
    let edges = [
        0, 1, 511, 512, 1535, 1536, 2047, 2048, 2052, 2559, 2560, 3071, 3072,
    ];
    let odd = (0..whole.len()).step_by(99_991);
    for length in edges
        .into_iter()
        .chain(odd)
        .chain([whole.len() - 512, whole.len() - 1])
    {
        let mut found = Vec::new();
        let error = lay(&whole[..length], None, &mut found).unwrap_err();
        assert_eq!(
            error.io_kind(),
            Some(std::io::ErrorKind::UnexpectedEof),
            "{length}: {error}"
        );
    }
}

#[test]
fn what_is_no_image_is_refused() {
    let garbage = vec![0x5a; 8192];
    let kind = |bytes: &[u8], length| lay(bytes, length, &mut Vec::new()).unwrap_err().kind();
    assert_eq!(kind(&garbage, None), ErrorKind::NotVhd);
    assert_eq!(kind(&garbage, Some(1000)), ErrorKind::NotVhd);
    // It could be a fixed image until its last sector is seen.
    assert_eq!(kind(&garbage, Some(8192)), ErrorKind::Corrupt);
    let new = NewStream {
        virtual_size: 5 * MIB,
        uuid: Uuid::from_u128(3),
        parent: None,
    };
    let good = stream_of(&new, &[0b1100_0000], &vec![5; 5 * MIB as usize]);
    let table = |bytes: &mut Vec<u8>, entry: usize, value: u32| {
        bytes[2048 + 4 * entry..][..4].copy_from_slice(&value.to_be_bytes());
    };
    for (entry, value) in [(0, 0), (0, 4), (1, 5), (1, 6), (1, u32::MAX - 1)] {
        let mut bad = good.clone();
        table(&mut bad, entry, value);
        assert_eq!(
            kind(&bad, Some(good.len() as u64)),
            ErrorKind::Corrupt,
            "{entry} {value}"
        );
    }
    // Blocks in another order are as good.
    let mut swapped = good.clone();
    let (first, second) = (
        u32::from_be_bytes(good[2048..2052].try_into().unwrap()),
        u32::from_be_bytes(good[2052..2056].try_into().unwrap()),
    );
    table(&mut swapped, 0, second);
    table(&mut swapped, 1, first);
    lay(&swapped, None, &mut Vec::new()).unwrap();
    let mut other_footer = good.clone();
    let at = good.len() - FOOTER_SIZE;
    let footer = Footer::new(ImageType::Dynamic, 5 * MIB, Uuid::from_u128(4), 0);
    other_footer[at..].copy_from_slice(&footer.to_bytes());
    lay(&other_footer, None, &mut Vec::new()).unwrap_err();
}

#[test]
fn impossible_streams_are_refused() {
    let new = |virtual_size, file_name: &str| NewStream {
        virtual_size,
        uuid: Uuid::from_u128(1),
        parent: Some(StreamParent {
            uuid: Uuid::from_u128(2),
            file_name: file_name.to_owned(),
        }),
    };
    let refused = |new: &NewStream| StreamWriter::new(new, &[], |_: &mut [u8], _| Ok(())).is_err();
    assert!(!refused(&new(512, "a.vhd")));
    assert!(refused(&new(0, "a.vhd")));
    assert!(refused(&new(513, "a.vhd")));
    assert!(refused(&new((2040 << 30) + 512, "a.vhd")));
    assert!(refused(&new(512, "")));
    assert!(refused(&new(512, "../a.vhd")));
    assert!(refused(&new(512, &"a".repeat(257))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn what_is_streamed_is_read_back(sectors in 1u64..20_000, map in any::<[u8; 1]>(), seed in any::<u8>(), step in 1usize..9000) {
        let size = sectors * 512;
        let content: Vec<u8> = (0..size).map(|at| (at / 512) as u8 ^ seed).collect();
        let new = NewStream { virtual_size: size, uuid: Uuid::from_u128(9), parent: None };
        // Read in odd steps.
        let mut writer = StreamWriter::new(&new, &map, |buffer: &mut [u8], offset| {
            buffer.copy_from_slice(&content[offset as usize..offset as usize + buffer.len()]);
            Ok(())
        }).unwrap();
        let (mut bytes, mut part) = (Vec::new(), vec![0; step]);
        loop {
            let count = writer.read(&mut part).unwrap();
            if count == 0 { break; }
            bytes.extend_from_slice(&part[..count]);
        }
        let mut found = Vec::new();
        lay(&bytes, None, &mut found).unwrap();
        let mut expected = content.clone();
        for (block, part) in expected.chunks_mut(BLOCK as usize).enumerate() {
            if map[0] & (0x80 >> block) == 0 { part.fill(0); }
        }
        prop_assert!(found == expected);
        // And it is an image for whoever opens it as a file.
        let defects = vhd::check::check(&*memory(bytes.clone()), &Default::default()).unwrap();
        prop_assert!(defects.is_empty(), "{:?}", defects);
        let chain = Chain::open(memory(bytes), &NoParents, Access::ReadOnly).unwrap();
        let mut read = vec![0; size as usize];
        chain.read_at(&mut read, 0).unwrap();
        prop_assert!(read == expected);
    }

    #[test]
    fn no_bytes_do_harm(at in 0usize..3600, value in any::<[u8; 4]>(), mend in any::<bool>()) {
        let new = NewStream { virtual_size: 3 * MIB, uuid: Uuid::from_u128(3), parent: None };
        let mut bytes = stream_of(&new, &[0b1100_0000], &vec![5; 3 * MIB as usize]);
        bytes[at..at + 4].copy_from_slice(&value);
        if mend {
            mend_checksum(&mut bytes[..512], 64);
            mend_checksum(&mut bytes[512..1536], 36);
        }
        let length = bytes.len() as u64;
        let _ = lay_bounded(&bytes, None);
        let _ = lay_bounded(&bytes, Some(length));
    }
}

/// Reads a stream and throws it away.
fn lay_bounded(bytes: &[u8], length: Option<u64>) -> vhd::Result<()> {
    let mut reader = StreamReader::open(bytes, length)?;
    let size = reader.info().virtual_size;
    while let Some(piece) = reader.next_piece()? {
        assert!(piece.offset + piece.data.len() as u64 <= size);
    }
    Ok(())
}

fn mend_checksum(bytes: &mut [u8], at: usize) {
    bytes[at..at + 4].fill(0);
    let sum = !bytes
        .iter()
        .fold(0u32, |sum, byte| sum.wrapping_add(u32::from(*byte)));
    bytes[at..at + 4].copy_from_slice(&sum.to_be_bytes());
}
