//! What SM records say of our types beside what a real pool's say, where it has the type.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // a failure fails the test; what is skipped is said

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::Value;

/// What our drivers can do and XenServer's say otherwise: reverting is a cheap operation here, growing works beside a consumer,
/// and change tracking is a part of every VHD type.
const OURS: [&str; 4] = [
    "VDI_REVERT",
    "VDI_RESIZE_ONLINE",
    "VDI_CONFIG_CBT",
    "THIN_PROVISIONING",
];

fn golden() -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/golden");
    let path = std::env::var_os("XENSM_GOLDEN").map_or_else(|| default.into(), PathBuf::from);
    let path = path.join("xenapi/02-fresh-pool.jsonl");
    if path.exists() {
        return Some(path);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "the golden data is missing: {}",
        path.display()
    );
    println!("SKIPPED: no golden data: {}", path.display());
    None
}

/// The records of class SM by type.
fn records(path: &std::path::Path) -> BTreeMap<String, Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let answer = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|step| step["method"] == "SM.get_all_records")
        .find_map(|step| serde_json::from_str::<Value>(step["response"].as_str()?).ok())
        .unwrap();
    let records = answer["result"].as_object().unwrap().values();
    records
        .map(|record| (record["type"].as_str().unwrap().to_owned(), record.clone()))
        .collect()
}

#[test]
fn types_are_called_and_configured_as_on_a_real_pool() {
    let Some(path) = golden() else { return };
    let records = records(&path);
    let mut compared = 0;
    for sr_type in storage_manager::sr::types() {
        let info = sr_type.info();
        let Some(record) = records.get(info.sr_type) else {
            continue;
        };
        compared += 1;
        assert_eq!(record["name_label"], info.name_label, "{}", info.sr_type);
        assert_eq!(
            record["name_description"], info.name_description,
            "{}",
            info.sr_type
        );
        let known: BTreeSet<&str> = info.configuration.iter().map(|(key, _)| *key).collect();
        for key in record["configuration"].as_object().unwrap().keys() {
            assert!(
                known.contains(key.as_str()),
                "{}: {key} is missing",
                info.sr_type
            );
        }
        let theirs: BTreeSet<&str> = record["capabilities"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        for capability in info.capabilities {
            let is_told = theirs.contains(capability) || OURS.contains(capability);
            assert!(is_told, "{}: {capability} is nobody's", info.sr_type);
        }
    }
    assert!(compared > 0, "a real pool has at least our type file");
}
