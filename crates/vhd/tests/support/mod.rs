//! What the tests share: golden images and foreign tools.

#![allow(dead_code, clippy::unwrap_used, clippy::print_stdout)]

pub mod recorder;
pub mod volume;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use vhd::{Error, MemoryStorage, ParentLink, ParentStorage, Storage};

/// The directory of the golden images, `None` (after saying so) when it is not there.
///
/// # Panics
/// When it is not there and `CI` is set.
pub fn golden_dir() -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/golden");
    let root =
        std::env::var_os("XENSM_GOLDEN").map_or_else(|| PathBuf::from(default), PathBuf::from);
    let dir = root.join("vhd");
    if dir.is_dir() {
        return Some(dir);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "no golden images at {}",
        dir.display()
    );
    println!("SKIPPED: no golden images at {}", dir.display());
    None
}

/// A golden file, unpacked.
pub fn golden(dir: &Path, name: &str) -> Vec<u8> {
    let plain = dir.join(name);
    if plain.is_file() {
        return std::fs::read(plain).unwrap();
    }
    let packed = std::fs::read(dir.join(format!("{name}.zst"))).unwrap();
    let mut bytes = Vec::new();
    ruzstd::decoding::StreamingDecoder::new(&packed[..])
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    bytes
}

pub fn memory(bytes: Vec<u8>) -> Arc<dyn Storage> {
    Arc::new(MemoryStorage::from(bytes))
}

pub fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The error of a resolver in a test.
pub fn refuse(link: &ParentLink) -> vhd::Result<ParentStorage> {
    Err(Error::ParentMissing {
        uuid: link.uuid,
        name: link.base_name().to_string(),
        source: None,
    })
}

/// True when a foreign tool is there; says so when it is not.
///
/// # Panics
/// When it is not there and `CI` is set.
pub fn has_tool(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    assert!(
        found || std::env::var_os("CI").is_none(),
        "{tool} is not installed"
    );
    if !found {
        println!("SKIPPED: {tool} is not installed");
    }
    found
}

/// Runs a tool to its end.
///
/// # Panics
/// When it fails.
pub fn run(tool: &str, arguments: &[&str]) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(tool).args(arguments).output().unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr),
    );
    assert!(status.success(), "{tool} {arguments:?}: {stdout}{stderr}");
    stdout.into_owned()
}
