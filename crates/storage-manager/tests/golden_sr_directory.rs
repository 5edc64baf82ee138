//! An SR directory that XenServer's own storage manager left, scanned and read here.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it skips"
)]

mod tools;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use nbd::{BlockStatus, Export};
use serde_json::Value;
use storage_manager::sr::{FileSr, OpenMode, SrType};
use tools::{params, skip, succeed};
use uuid::Uuid;

fn golden() -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/golden");
    let path = PathBuf::from(std::env::var_os("XENSM_GOLDEN").unwrap_or_else(|| default.into()))
        .join("vhd");
    if path.is_dir() {
        return Some(path);
    }
    skip("the golden data is not here; set XENSM_GOLDEN");
    None
}

fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("{key} is text"))
}

fn read_all(export: &dyn Export) -> Vec<u8> {
    let mut bytes = vec![0; export.size() as usize];
    // Odd pieces, to cross blocks and sectors.
    for (index, piece) in bytes.chunks_mut(777_777).enumerate() {
        export.read_at(piece, index as u64 * 777_777).unwrap();
    }
    bytes
}

#[test]
fn scan_and_contents_agree_with_the_pool() {
    let Some(golden) = golden() else { return };
    let dir = tempfile::tempdir().unwrap();
    let archive = golden.join("sr-directory.tar.zst");
    let unpacked = succeed(
        "tar",
        &[
            "--zstd",
            "-xf",
            archive.to_str().unwrap(),
            "-C",
            dir.path().to_str().unwrap(),
        ],
    );
    if unpacked.is_none() {
        return;
    }
    let document: Value =
        serde_json::from_slice(&std::fs::read(golden.join("sr-directory.json")).unwrap()).unwrap();
    let location = dir.path().join(text(&document["SR"], "uuid"));
    let before: BTreeSet<_> = std::fs::read_dir(&location)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();

    let driver = FileSr::default();
    let sr = driver.attach(&params(1, &location)).unwrap();
    let report = sr.scan().unwrap();
    assert!(report.damaged.is_empty(), "{:#?}", report.damaged);
    let found: BTreeMap<String, _> = report
        .vdis
        .iter()
        .map(|vdi| (vdi.uuid.to_string(), vdi))
        .collect();
    let recorded: Vec<&Value> = document["VDI"].as_object().unwrap().values().collect();
    assert_eq!(found.len(), recorded.len());
    // Of a VDI whose data was destroyed the log is left; its sizes are those of the log on the pool.
    let (logs, recorded): (Vec<&Value>, Vec<&Value>) = recorded
        .into_iter()
        .partition(|vdi| text(vdi, "type") == "cbt_metadata");
    assert!(!logs.is_empty());
    for record in logs {
        let vdi = found[text(record, "uuid")];
        assert!(vdi.is_cbt_metadata && vdi.cbt_enabled, "{vdi:?}");
    }
    for record in recorded {
        let uuid = text(record, "uuid");
        let vdi = found[uuid];
        assert_eq!(vdi.location, text(record, "location"));
        assert_eq!(
            vdi.virtual_size.to_string(),
            text(record, "virtual_size"),
            "{uuid}"
        );
        assert_eq!(
            vdi.physical_utilisation.to_string(),
            text(record, "physical_utilisation"),
            "{uuid}"
        );
        assert_eq!(Value::from(vdi.managed), record["managed"], "{uuid}");
        assert_eq!(Value::from(vdi.read_only), record["read_only"], "{uuid}");
        let mut sm_config = record["sm_config"].clone();
        // The pool's garbage collector keeps a cache of allocated blocks there.
        sm_config.as_object_mut().unwrap().remove("vhd-blocks");
        assert_eq!(
            serde_json::to_value(&vdi.sm_config).unwrap(),
            sm_config,
            "{uuid}"
        );
        assert_eq!(sr.stat_vdi(vdi.uuid).unwrap(), *vdi);
    }

    for (uuid, content) in document["contents"].as_object().unwrap() {
        let uuid: Uuid = uuid.parse().unwrap();
        for mode in [OpenMode::ReadOnly, OpenMode::ReadWrite] {
            let export = sr.open_vdi(uuid, mode).unwrap();
            assert_eq!(Value::from(export.size()), content["logical_size"]);
            let bytes = read_all(&*export);
            assert_eq!(sha256(&bytes), text(content, "logical_sha256"), "{uuid}");
            check_status(&*export, &bytes);
            export.close().unwrap();
        }
    }
    sr.detach().unwrap();
    let after: BTreeSet<_> = std::fs::read_dir(&location)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    let added: Vec<_> = after.difference(&before).collect();
    assert_eq!(
        added,
        [".xensm-lock"],
        "nothing but the lock file is added to a pool's SR"
    );
    assert!(before.is_subset(&after));
}

/// What is called a hole must read as zeros, and the extents must cover everything.
fn check_status(export: &dyn Export, bytes: &[u8]) {
    let mut offset = 0;
    while offset < export.size() {
        let extents = export
            .block_status(offset, export.size() - offset, 3)
            .unwrap();
        assert!(!extents.is_empty() && extents.len() <= 3);
        for extent in extents {
            let range = &bytes[offset as usize..(offset + extent.length) as usize];
            if extent.status != BlockStatus::Data {
                assert!(
                    range.iter().all(|&byte| byte == 0),
                    "{} bytes at {offset} are no hole",
                    extent.length
                );
            }
            offset += extent.length;
        }
    }
}

#[test]
fn deleting_the_leaves_prunes_the_hidden_parents() {
    let Some(golden) = golden() else { return };
    let dir = tempfile::tempdir().unwrap();
    let archive = golden.join("sr-directory.tar.zst");
    let unpacked = succeed(
        "tar",
        &[
            "--zstd",
            "-xf",
            archive.to_str().unwrap(),
            "-C",
            dir.path().to_str().unwrap(),
        ],
    );
    if unpacked.is_none() {
        return;
    }
    let location = std::fs::read_dir(dir.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let driver = FileSr::default();
    let sr = driver.attach(&params(1, &location)).unwrap();
    loop {
        let vdis = sr.scan().unwrap().vdis;
        let Some(leaf) = vdis.iter().find(|vdi| !vdi.read_only) else {
            assert_eq!(vdis, [], "hidden parents without children are gone");
            break;
        };
        sr.delete_vdi(leaf.uuid).unwrap();
    }
    sr.detach().unwrap();
    driver.delete(&params(1, &location)).unwrap();
    assert_eq!(
        std::fs::read_dir(&location).unwrap().count(),
        0,
        "logs of the pool's storage manager go with the SR"
    );
}
