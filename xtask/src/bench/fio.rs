//! fio on an NBD export or on a plain file.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::Value;

/// What the load is put on.
pub enum Target {
    /// An export.
    Nbd(String),
    /// A file through io_uring with `O_DIRECT`: what the machine can do.
    DirectFile(PathBuf),
}

/// A load: fio's `rw`, block size, queue depth, and what else fio is told.
pub struct Load<'a> {
    pub rw: &'a str,
    pub block: &'a str,
    pub depth: u32,
    pub more: &'a [String],
}

/// Operations per second.
pub fn run(target: &Target, load: &Load<'_>) -> anyhow::Result<f64> {
    let mut command = Command::new("fio");
    command.args([
        "--name=x",
        "--output-format=json",
        "--invalidate=0",
        "--randrepeat=0",
    ]);
    match target {
        Target::Nbd(uri) => command.arg("--ioengine=nbd").arg(format!("--uri={uri}")),
        Target::DirectFile(path) => command
            .args(["--ioengine=io_uring", "--direct=1"])
            .arg(format!("--filename={}", path.display())),
    };
    command
        .arg(format!("--rw={}", load.rw))
        .arg(format!("--bs={}", load.block))
        .arg(format!("--iodepth={}", load.depth))
        .args(load.more);
    let output = command.output().context("start fio")?;
    ensure!(
        output.status.success(),
        "fio: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout)?;
    let json = &text[text.find('{').context("fio prints JSON")?..];
    let report: Value = serde_json::from_str(json)?;
    let side = if load.rw.ends_with("read") {
        "read"
    } else {
        "write"
    };
    report["jobs"][0][side]["iops"]
        .as_f64()
        .context("fio tells iops")
}
