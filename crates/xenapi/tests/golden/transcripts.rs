//! Reads the transcripts of a real pool.

use serde_json::Value as Json;
use std::path::PathBuf;

/// One call and its answer, as they went over the wire.
pub struct Transcript {
    pub place: String,
    pub protocol: String,
    pub method: String,
    pub request: String,
    pub response: String,
    pub status: u64,
}

/// Reads all transcripts; nothing, said plainly, when they are not on this machine and this is not CI.
pub fn transcripts() -> Option<Vec<Transcript>> {
    let root = std::env::var_os("XENSM_GOLDEN").map_or_else(
        || {
            PathBuf::from(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../../shared/golden"
            ))
        },
        PathBuf::from,
    );
    let directory = root.join("xenapi");
    if !directory.is_dir() {
        assert!(
            std::env::var_os("CI").is_none(),
            "golden data is missing: set XENSM_GOLDEN"
        );
        eprintln!("SKIPPED: no golden data at XENSM_GOLDEN");
        return None;
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "jsonl")
        })
        .collect();
    files.sort();
    let mut transcripts = Vec::new();
    for file in files {
        for (number, line) in std::fs::read_to_string(&file).unwrap().lines().enumerate() {
            let line: Json = serde_json::from_str(line).unwrap();
            let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            transcripts.push(Transcript {
                place: format!(
                    "{}:{} {}",
                    file.file_name().unwrap().to_string_lossy(),
                    number + 1,
                    text("what")
                ),
                protocol: text("protocol"),
                method: text("method"),
                request: text("request"),
                response: text("response"),
                status: line["status"].as_u64().unwrap(),
            });
        }
    }
    assert!(
        transcripts.len() > 1000,
        "golden data is incomplete: {} transcripts",
        transcripts.len()
    );
    Some(transcripts)
}
