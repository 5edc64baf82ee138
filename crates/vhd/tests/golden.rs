//! Images made by XenServer's own tools: we read what they read, say of them what they say, and make the same bytes.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use support::{golden, golden_dir, memory, refuse, sha256};
use uuid::Uuid;
use vhd::check::{CheckOptions, Depth, PrimaryFooter, check, check_chain};
use vhd::image::{self, ImageInfo, NewImage, NewParent};
use vhd::{
    Access, Chain, ErrorKind, ExtentStatus, MemoryStorage, NoParents, ParentLink, ParentStorage,
    Part, Rule, Storage,
};

/// Finds parents among the golden files by their base name.
fn resolver(dir: &Path) -> impl Fn(&ParentLink) -> vhd::Result<ParentStorage> {
    move |link| {
        let name = match link.base_name() {
            "coalesce-parent.vhd" => "coalesce-parent-before.vhd",
            name => name,
        };
        if !dir.join(name).exists() && !dir.join(format!("{name}.zst")).exists() {
            return refuse(link);
        }
        let storage = memory(golden(dir, name));
        Ok(if link.is_raw() {
            ParentStorage::Raw(storage)
        } else {
            ParentStorage::Vhd(storage)
        })
    }
}

fn side_cars(dir: &Path) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if let Some(image) = name
            .strip_suffix(".json")
            .filter(|image| image.ends_with(".vhd"))
        {
            let text = std::fs::read_to_string(dir.join(&name)).unwrap();
            found.push((image.to_string(), serde_json::from_str(&text).unwrap()));
        }
    }
    assert!(found.len() >= 20, "only {} golden images", found.len());
    found
}

fn content(chain: &Chain) -> Vec<u8> {
    let mut bytes = vec![0; chain.size() as usize];
    chain.read_at(&mut bytes, 0).unwrap();
    bytes
}

/// The image and its chain, with the exported delta's parent uuid put right: xapi gives exports a new uuid each time.
fn open(dir: &Path, name: &str) -> Chain {
    let bytes = golden(dir, name);
    if name != "export-delta-snapshot1-to-2.vhd" {
        return Chain::open(memory(bytes), &resolver(dir), Access::ReadOnly).unwrap();
    }
    let parent = golden(dir, "export-full-snapshot1.vhd");
    let given = |_: &ParentLink| Ok(ParentStorage::Vhd(memory(parent.clone())));
    let error = Chain::open(memory(bytes.clone()), &given, Access::ReadOnly)
        .err()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::ParentChanged);
    let mut header = vhd::header::Header::parse(bytes[512..1536].try_into().unwrap()).unwrap();
    header.parent_uuid = image::inspect(&MemoryStorage::from(parent.clone()))
        .unwrap()
        .uuid;
    let mut bytes = bytes;
    bytes[512..1536].copy_from_slice(&header.to_bytes());
    Chain::open(memory(bytes), &given, Access::ReadOnly).unwrap()
}

#[test]
fn every_image_holds_what_its_side_car_says() {
    let Some(dir) = golden_dir() else { return };
    for (name, expected) in side_cars(&dir) {
        let bytes = golden(&dir, &name);
        assert_eq!(sha256(&bytes), expected["file_sha256"], "{name}");
        let chain = open(&dir, &name);
        assert_eq!(chain.size(), expected["logical_size"], "{name}");
        if expected["logical_sha256"].is_null() {
            let extents = chain.block_status(0, chain.size(), 2).unwrap();
            assert!(
                extents
                    .iter()
                    .all(|extent| extent.status == ExtentStatus::Hole),
                "{name}"
            );
        } else {
            assert_eq!(
                sha256(&content(&chain)),
                expected["logical_sha256"],
                "{name}"
            );
        }
        assert_eq!(chain.depth() > 1, expected["parent"].is_string(), "{name}");
    }
}

#[test]
fn a_whole_sr_directory_holds_what_was_exported_of_it() {
    let Some(dir) = golden_dir() else { return };
    let files = untar(&golden(&dir, "sr-directory.tar"));
    let story: Value =
        serde_json::from_str(&std::fs::read_to_string(dir.join("sr-directory.json")).unwrap())
            .unwrap();
    let find = |link: &ParentLink| match files.get(link.base_name()) {
        Some(bytes) => Ok(ParentStorage::Vhd(memory(bytes.clone()))),
        None => refuse(link),
    };
    let contents = story["contents"].as_object().unwrap();
    assert!(!contents.is_empty());
    for (uuid, expected) in contents {
        let Some(leaf) = files.get(&format!("{uuid}.vhd")) else {
            continue;
        };
        let chain = Chain::open(memory(leaf.clone()), &find, Access::ReadOnly).unwrap();
        assert_eq!(
            sha256(&content(&chain)),
            expected["logical_sha256"],
            "{uuid}"
        );
        let findings = check_chain(
            &MemoryStorage::from(leaf.clone()),
            &find,
            &CheckOptions::default(),
        )
        .unwrap();
        assert_eq!(findings.concat(), [], "{uuid}");
    }
}

/// The `.vhd` files in a tar archive, by base name.
fn untar(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut at = 0;
    while at + 512 <= archive.len() && archive[at] != 0 {
        let text = |start: usize, length: usize| {
            String::from_utf8_lossy(&archive[at + start..at + start + length])
                .trim_matches(['\0', ' '])
                .to_string()
        };
        let size = usize::from_str_radix(&text(124, 12), 8).unwrap();
        let name = text(0, 100).rsplit('/').next().unwrap().to_string();
        at += 512;
        if name.ends_with(".vhd") {
            files.insert(name, archive[at..at + size].to_vec());
        }
        at += size.next_multiple_of(512);
    }
    assert!(files.len() >= 7);
    files
}

/// The output of `vhd-util <command>` in an image's text file.
fn answer(text: &str, command: &str) -> Vec<String> {
    let start = text
        .find(&format!("$ vhd-util {command}\n"))
        .unwrap_or_else(|| panic!("no {command}"));
    text[start..]
        .lines()
        .skip(1)
        .take_while(|line| !line.starts_with("[exit"))
        .map(str::to_string)
        .collect()
}

#[test]
fn we_say_of_images_what_vhd_util_says() {
    let Some(dir) = golden_dir() else { return };
    let mut compared = 0;
    for (file, _) in side_cars(&dir) {
        let Ok(text) = std::fs::read_to_string(dir.join(format!("{file}.txt"))) else {
            continue;
        };
        let name = file.replace("coalesce-parent-after", "coalesce-parent");
        let storage = MemoryStorage::from(golden(&dir, &file));
        compare_query(
            &file,
            &image::inspect(&storage).unwrap(),
            &answer(&text, &format!("query -n {name} -v -s -p -f -m -d -S -a")),
        );
        compare_check(&file, &storage, &answer(&text, &format!("check -n {name}")));
        compared += 1;
    }
    assert!(compared >= 18, "only {compared}");
}

fn compare_query(name: &str, info: &ImageInfo, theirs: &[String]) {
    assert_eq!(theirs[0], (info.virtual_size >> 20).to_string(), "{name}");
    assert_eq!(theirs[1], info.physical_size.to_string(), "{name}");
    match &info.parent {
        None => assert_eq!(
            theirs[2],
            format!("{name} has no parent").replace("-after", "")
        ),
        // They cannot read the locator of an export; the header's name serves.
        Some(parent) if theirs[2] == "query failed" => {
            assert!(parent.base_name().ends_with(".vhd"), "{name}")
        }
        Some(parent) => assert_eq!(
            theirs[2].rsplit('/').next().unwrap(),
            parent.base_name(),
            "{name}"
        ),
    }
    assert_eq!(
        theirs[3],
        format!("hidden: {}", u8::from(info.hidden)),
        "{name}"
    );
    if let Some(capacity) = theirs
        .get(7)
        .filter(|_| info.image_type != vhd::footer::ImageType::Fixed)
    {
        assert_eq!(*capacity, (info.capacity >> 20).to_string(), "{name}");
    }
}

fn compare_check(name: &str, storage: &dyn Storage, theirs: &[String]) {
    let ours = check(
        storage,
        &CheckOptions {
            depth: Depth::Bitmaps,
            ..CheckOptions::default()
        },
    )
    .unwrap();
    let ours: Vec<String> = ours.iter().map(ToString::to_string).collect();
    match theirs.first().map_or("", |line| line) {
        // They print nothing for a fixed image.
        line if line.ends_with("is valid") || line.is_empty() => {
            assert!(ours.is_empty(), "{name}: {ours:?}")
        }
        "error reading parent locator 0: -22" => {
            assert!(ours[0].starts_with("parent locator 0 invalid"), "{ours:?}")
        }
        line => assert!(ours[0].starts_with(line), "{name}: {line} and {ours:?}"),
    }
}

#[test]
fn a_broken_footer_is_found_and_repaired() {
    let Some(dir) = golden_dir() else { return };
    let mut bytes = golden(&dir, "hidden-parent.vhd");
    let good = bytes.clone();
    let end = bytes.len() - 512;
    bytes[end..].fill(0);
    let storage = Arc::new(MemoryStorage::from(bytes));

    let ours = check(&*storage, &CheckOptions::default()).unwrap();
    let theirs = answer(
        &std::fs::read_to_string(dir.join("broken-footer.txt")).unwrap(),
        "check -n broken-footer.vhd",
    );
    assert!(ours[0].to_string().starts_with(&theirs[0]), "{ours:?}");
    let lenient = CheckOptions {
        primary_footer: PrimaryFooter::MayBeMissing,
        ..CheckOptions::default()
    };
    assert_eq!(check(&*storage, &lenient).unwrap(), []);
    let info = image::inspect(&*storage).unwrap();
    assert!(info.hidden && !info.has_primary_footer && info.virtual_size == 4 << 20);

    Chain::open(storage.clone(), &NoParents, Access::ReadWrite)
        .unwrap()
        .close()
        .unwrap();
    assert_eq!(check(&*storage, &CheckOptions::default()).unwrap(), []);
    assert_eq!(storage.to_vec(), good);
}

#[test]
fn new_images_equal_those_of_vhd_util() {
    let Some(dir) = golden_dir() else { return };
    let mib = |mib: u64| mib << 20;
    for (name, size, capacity) in [
        ("empty-2MiB.vhd", mib(2), 0),
        ("empty-100MiB.vhd", mib(100), 0),
        ("empty-2MiB-prealloc-100MiB.vhd", mib(2), mib(100)),
        ("empty-2040GiB.vhd", mib(2_088_960), 0),
    ] {
        let theirs = golden(&dir, name);
        let info = image::inspect(&MemoryStorage::from(theirs.clone())).unwrap();
        let new = NewImage {
            virtual_size: size,
            uuid: info.uuid,
            timestamp: info.timestamp,
            capacity,
        };
        let ours = MemoryStorage::new();
        image::create_dynamic(&ours, &new).unwrap();
        assert!(ours.to_vec() == theirs, "{name}");
    }
    let theirs = golden(&dir, "fixed-2MiB.vhd");
    let info = image::inspect(&MemoryStorage::from(theirs.clone())).unwrap();
    let new = NewImage {
        virtual_size: mib(2),
        uuid: info.uuid,
        timestamp: info.timestamp,
        capacity: 0,
    };
    let ours = MemoryStorage::new();
    image::create_fixed(&ours, &new).unwrap();
    assert!(
        ours.to_vec()[mib(2) as usize..] == theirs[mib(2) as usize..],
        "fixed-2MiB.vhd"
    );
}

/// A child of the same parameters, written as the golden one was, becomes the same file, blocks and all.
#[test]
fn written_children_equal_those_of_tapdisk() {
    let Some(dir) = golden_dir() else { return };
    for name in [
        "chain-1.vhd",
        "chain-2.vhd",
        "raw-child.vhd",
        "hidden-child.vhd",
    ] {
        let theirs = golden(&dir, name);
        let info = image::inspect(&MemoryStorage::from(theirs.clone())).unwrap();
        let link = info.parent.unwrap();
        let new = NewImage {
            virtual_size: info.virtual_size,
            uuid: info.uuid,
            timestamp: info.timestamp,
            capacity: 0,
        };
        let parent = NewParent {
            uuid: link.uuid,
            timestamp: link.timestamp,
            path: link.name.clone(),
        };
        let ours = Arc::new(MemoryStorage::new());
        image::create_differencing(&*ours, &new, &parent).unwrap();

        let layer = LayerData::of(&theirs);
        let chain = Chain::open(ours.clone(), &resolver(&dir), Access::ReadWrite).unwrap();
        for (offset, data) in layer.runs_by_place {
            chain.write_at(&data, offset).unwrap();
        }
        chain.close().unwrap();
        assert!(ours.to_vec() == theirs, "{name}");
    }
}

/// What one image holds by itself, in the order of its blocks in the file.
struct LayerData {
    runs_by_place: Vec<(u64, Vec<u8>)>,
}

impl LayerData {
    fn of(image: &[u8]) -> Self {
        let header = vhd::header::Header::parse(image[512..1536].try_into().unwrap()).unwrap();
        let table = &image[header.table_offset as usize..][..header.entry_count as usize * 4];
        let mut blocks: Vec<(u32, u64)> = vhd::bat::parse(table)
            .zip(0u64..)
            .filter(|(sector, _)| *sector != vhd::bat::UNALLOCATED)
            .collect();
        blocks.sort_unstable();
        let mut runs_by_place = Vec::new();
        for (sector, block) in blocks {
            let at = sector as usize * 512;
            let bitmap = vhd::bitmap::SectorBitmap::parse(image[at..at + 512].try_into().unwrap());
            for index in (0..4096u32).filter(|index| bitmap.is_set(*index)) {
                let data = &image[at + 512 + index as usize * 512..][..512];
                runs_by_place.push((block * (2 << 20) + u64::from(index) * 512, data.to_vec()));
            }
        }
        Self { runs_by_place }
    }
}

#[test]
fn damage_is_told_by_its_rule() {
    let storage = MemoryStorage::new();
    let link = NewParent {
        uuid: Uuid::from_u128(1),
        timestamp: 7,
        path: "parent.vhd".into(),
    };
    image::create_differencing(&storage, &NewImage::new(6 << 20, Uuid::from_u128(2)), &link)
        .unwrap();
    let good = storage.to_vec();
    let last = good.len() - 512;
    for (at, byte, part, rule) in [
        (0, 0, Part::BackupFooter, Rule::Cookie),
        (50, 1, Part::BackupFooter, Rule::Checksum),
        (last + 50, 1, Part::PrimaryFooter, Rule::Checksum),
        (512, 0, Part::Header, Rule::Cookie),
        (600, 1, Part::Header, Rule::Checksum),
        (1536, 0, Part::Bat, Rule::BlockPastEnd),
        (2048, 0, Part::Batmap, Rule::Cookie),
        (2560, 1, Part::Batmap, Rule::Checksum),
        (3072, 0, Part::Locator(0), Rule::LocatorText),
        (3584 + 8, b'x', Part::Header, Rule::LocatorsDiffer),
    ] {
        let mut bytes = good.clone();
        bytes[at] = byte;
        let found = check(&MemoryStorage::from(bytes), &CheckOptions::default()).unwrap();
        assert_eq!(
            found.iter().map(|d| (d.part, d.rule)).collect::<Vec<_>>(),
            [(part, rule)],
            "byte {at}"
        );
    }
    assert_eq!(
        check(&MemoryStorage::from(good), &CheckOptions::default()).unwrap(),
        []
    );
}
