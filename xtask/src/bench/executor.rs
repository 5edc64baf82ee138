//! What the ways to issue file I/O reach on this machine, measured by fio without any code of ours: the figures behind the
//! choice of the executor.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::statistics::median;

/// Loads: name, fio's `rw`, block size, operations in flight.
const LOADS: [(&str, &str, &str, u32); 6] = [
    ("random read 4 KiB, 1 in flight", "randread", "4k", 1),
    ("random read 4 KiB, 32 in flight", "randread", "4k", 32),
    ("random write 4 KiB, 1 in flight", "randwrite", "4k", 1),
    ("random write 4 KiB, 32 in flight", "randwrite", "4k", 32),
    ("sequential read 1 MiB, 4 in flight", "read", "1m", 4),
    ("sequential write 1 MiB, 4 in flight", "write", "1m", 4),
];
/// Rounds of which the median is told.
const ROUNDS: usize = 3;
/// Size of the file; it fits into memory.
const SIZE: &str = "512m";
/// Threads that stand for many operations in flight, as the NBD server has workers for a connection.
const THREADS: u32 = 16;

/// A way to issue I/O.
#[derive(Clone, Copy)]
enum Way {
    Threads { direct: bool },
    IoUring { direct: bool },
}

const WAYS: [Way; 4] = [
    Way::Threads { direct: false },
    Way::IoUring { direct: false },
    Way::Threads { direct: true },
    Way::IoUring { direct: true },
];

/// Measures and prints a table of operations per second.
pub fn run(directory: &Path, seconds: u32) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory)?;
    let file = directory.join("executor.raw");
    let _ = std::fs::remove_file(&file);
    fio(
        &file,
        Way::IoUring { direct: false },
        "write",
        "1m",
        4,
        None,
    )?;
    println!(
        "\n| load on a file | threads, cached | io_uring, cached | threads, O_DIRECT | io_uring, O_DIRECT |\n|---|---|---|---|---|"
    );
    for (name, rw, block, in_flight) in LOADS {
        let mut rounds: [Vec<f64>; 4] = Default::default();
        for _ in 0..ROUNDS {
            for (way, figures) in WAYS.into_iter().zip(&mut rounds) {
                figures.push(fio(&file, way, rw, block, in_flight, Some(seconds))?);
            }
        }
        let [a, b, c, d] = rounds.map(median);
        println!("| {name} | {a:.0}/s | {b:.0}/s | {c:.0}/s | {d:.0}/s |");
    }
    std::fs::remove_file(&file)?;
    Ok(())
}

/// Operations per second.
fn fio(
    file: &Path,
    way: Way,
    rw: &str,
    block: &str,
    in_flight: u32,
    seconds: Option<u32>,
) -> anyhow::Result<f64> {
    let mut command = Command::new("fio");
    command.args(["--name=x", "--output-format=json", "--invalidate=0"]);
    command.args(["--randrepeat=0", "--group_reporting", "--thread"]);
    command.arg(format!("--filename={}", file.display()));
    command.args([format!("--rw={rw}"), format!("--bs={block}")]);
    command.arg(format!("--size={SIZE}"));
    let direct = match way {
        Way::Threads { direct } => {
            let threads = in_flight.min(THREADS);
            command.args([
                "--ioengine=psync".to_owned(),
                format!("--numjobs={threads}"),
            ]);
            direct
        }
        Way::IoUring { direct } => {
            command.args([
                "--ioengine=io_uring".to_owned(),
                format!("--iodepth={in_flight}"),
            ]);
            direct
        }
    };
    command.arg(format!("--direct={}", u8::from(direct)));
    if let Some(seconds) = seconds {
        command.args(["--time_based".to_owned(), format!("--runtime={seconds}")]);
    }
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
