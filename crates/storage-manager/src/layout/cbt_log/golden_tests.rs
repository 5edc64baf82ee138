//! The logs of a real pool, and what it answered from them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;

use serde_json::Value;
use uuid::Uuid;

use super::{ChangeLog, changed_between};

/// The directory of the recorded logs; none, said plainly, where there is no golden data.
#[allow(clippy::print_stderr, reason = "a skipped test is said plainly")]
fn recorded() -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/golden");
    let golden = std::env::var_os("XENSM_GOLDEN").map_or_else(|| default.into(), PathBuf::from);
    let directory = golden.join("vhd/cbt");
    if directory.is_dir() {
        return Some(directory);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "no golden data in {}; set XENSM_GOLDEN",
        golden.display()
    );
    eprintln!(
        "SKIPPED: no golden data in {}; set XENSM_GOLDEN",
        golden.display()
    );
    None
}

fn field<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap()
}

#[test]
fn logs_of_a_real_pool_are_read_written_and_combined_the_same() {
    let Some(directory) = recorded() else { return };
    let text = std::fs::read_to_string(directory.join("cbtlogs.json")).unwrap();
    let about: Value = serde_json::from_str(&text).unwrap();
    let mut logs = BTreeMap::new();
    let mut uuids = BTreeMap::new();
    for one in about["logs"].as_array().unwrap() {
        let bytes = std::fs::read(directory.join(field(one, "file"))).unwrap();
        let log = ChangeLog::parse(&bytes).unwrap();
        assert_eq!(log.to_bytes(), bytes);
        let link = |uuid: Option<Uuid>| uuid.unwrap_or_default().to_string();
        assert_eq!(link(log.header.parent), field(one, "parent"));
        assert_eq!(link(log.header.child), field(one, "child"));
        assert_eq!(log.header.consistent, field(one, "consistent") == "1");
        assert_eq!(log.header.size.to_string(), field(one, "size"));
        let uuid = Uuid::try_parse(field(one, "vdi_uuid")).unwrap();
        uuids.insert(field(one, "vdi").to_owned(), uuid);
        logs.insert(uuid, log);
    }
    let answers = about["list_changed_blocks"].as_object().unwrap();
    assert!(!answers.is_empty());
    for (question, answer) in answers {
        let (from, to) = question.split_once(" -> ").unwrap();
        let log_of = |vdi| Ok::<_, Infallible>(logs.get(&vdi).cloned());
        let ours = changed_between(uuids[from], uuids[to], log_of).unwrap();
        let ours = base64(&ours.to_api_bytes());
        assert_eq!(&ours, answer.as_str().unwrap(), "{question}");
    }
}

/// Base64 with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let mut group = [0; 4];
        group[1..1 + chunk.len()].copy_from_slice(chunk);
        let group = u32::from_be_bytes(group);
        for place in 0..4 {
            let digit = ALPHABET[(group >> (18 - 6 * place)) as usize & 63];
            out.push(if place <= chunk.len() {
                digit.into()
            } else {
                '='
            });
        }
    }
    out
}
