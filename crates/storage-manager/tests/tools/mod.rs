//! Running other programs from tests, and SRs to run them on.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use storage_manager::sr::{AttachedSr, FileSr, NewVdi, SrParams, SrType};
use uuid::Uuid;

pub const MIB: u64 = 1 << 20;

/// Runs a tool, for at most two minutes; `None` after one printed line when it is missing outside of CI.
pub fn run(tool: &str, arguments: &[&str]) -> Option<(bool, String)> {
    let output = Command::new("timeout")
        .arg("120")
        .arg(tool)
        .args(arguments)
        .output()
        .expect("coreutils are there");
    // timeout(1) exits with 127 when the command cannot be found.
    if output.status.code() == Some(127) {
        skip(&format!("{tool} is not installed"));
        return None;
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    Some((output.status.success(), text))
}

/// As [`run`], for a tool that must succeed.
pub fn succeed(tool: &str, arguments: &[&str]) -> Option<String> {
    let (ok, text) = run(tool, arguments)?;
    assert!(ok, "{tool} {arguments:?} failed: {text}");
    Some(text)
}

/// Says that a test was skipped; in CI that is a failure.
pub fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "CI must not skip: {why}");
    println!("skipped: {why}");
}

pub fn params(sr: u128, location: &Path) -> SrParams {
    let location = location.to_str().unwrap().to_owned();
    SrParams {
        sr_uuid: Uuid::from_u128(sr),
        device_config: BTreeMap::from([("location".to_owned(), location)]),
        sm_config: BTreeMap::new(),
    }
}

/// Creates and attaches an SR.
pub fn attach_new(location: &Path) -> Arc<dyn AttachedSr> {
    let driver = FileSr::default();
    driver.create(&params(1, location)).unwrap();
    driver.attach(&params(1, location)).unwrap()
}

pub fn new_vdi(n: u128, virtual_size: u64) -> NewVdi {
    NewVdi {
        uuid: Uuid::from_u128(n),
        virtual_size,
        sm_config: BTreeMap::new(),
    }
}

pub fn new_raw_vdi(n: u128, virtual_size: u64) -> NewVdi {
    let sm_config = BTreeMap::from([("type".to_owned(), "raw".to_owned())]);
    NewVdi {
        sm_config,
        ..new_vdi(n, virtual_size)
    }
}
