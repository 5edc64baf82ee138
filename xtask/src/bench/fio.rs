//! fio on an NBD export or on a plain file.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::Value;

/// What the load is put on.
pub enum Target {
    /// An export.
    Nbd(String),
    /// A plain file.
    File {
        /// The file.
        path: PathBuf,
        /// fio's engine: `io_uring` or `psync`.
        engine: &'static str,
        /// Past the page cache, with `O_DIRECT`.
        direct: bool,
    },
}

/// What ends a load after this time, whatever its size.
pub fn for_seconds(seconds: u32) -> [String; 2] {
    ["--time_based".to_owned(), format!("--runtime={seconds}")]
}

/// Operations per second of a load: fio's `rw`, block size, queue depth, and what else fio is told.
pub fn run(
    target: &Target,
    rw: &str,
    block: &str,
    depth: u32,
    more: &[String],
) -> anyhow::Result<f64> {
    let mut command = Command::new("fio");
    command.args([
        "--name=x",
        "--output-format=json",
        "--invalidate=0",
        "--randrepeat=0",
    ]);
    match target {
        Target::Nbd(uri) => command.arg("--ioengine=nbd").arg(format!("--uri={uri}")),
        Target::File {
            path,
            engine,
            direct,
        } => command
            .arg(format!("--ioengine={engine}"))
            .arg(format!("--direct={}", u8::from(*direct)))
            .arg(format!("--filename={}", path.display())),
    };
    command
        .arg(format!("--rw={}", rw))
        .arg(format!("--bs={}", block))
        .arg(format!("--iodepth={}", depth))
        .args(more);
    let output = command.output().context("start fio")?;
    ensure!(
        output.status.success(),
        "fio: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout)?;
    let json = &text[text.find('{').context("fio prints JSON")?..];
    let report: Value = serde_json::from_str(json)?;
    let side = if rw.ends_with("read") {
        "read"
    } else {
        "write"
    };
    report["jobs"][0][side]["iops"]
        .as_f64()
        .context("fio tells iops")
}
