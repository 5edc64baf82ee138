//! What the ways to issue file I/O reach on this machine, measured by fio without any code of ours: the figures behind the
//! choice of the executor.

use std::path::Path;

use super::fio::{self, Target};
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
    load(&file, WAYS[1], "write", "1m", 4, &[])?;
    println!(
        "\n| load on a file | threads, cached | io_uring, cached | threads, O_DIRECT | io_uring, O_DIRECT |\n|---|---|---|---|---|"
    );
    for (name, rw, block, in_flight) in LOADS {
        let mut rounds: [Vec<f64>; 4] = Default::default();
        for _ in 0..ROUNDS {
            for (way, figures) in WAYS.into_iter().zip(&mut rounds) {
                figures.push(load(
                    &file,
                    way,
                    rw,
                    block,
                    in_flight,
                    &fio::for_seconds(seconds),
                )?);
            }
        }
        let [a, b, c, d] = rounds.map(median);
        println!("| {name} | {a:.0}/s | {b:.0}/s | {c:.0}/s | {d:.0}/s |");
    }
    std::fs::remove_file(&file)?;
    Ok(())
}

/// Operations per second.
fn load(
    file: &Path,
    way: Way,
    rw: &str,
    block: &str,
    in_flight: u32,
    time: &[String],
) -> anyhow::Result<f64> {
    // A thread has one operation in flight, a ring has as many as its depth.
    let (engine, direct, threads, depth) = match way {
        Way::Threads { direct } => ("psync", direct, in_flight.min(THREADS), 1),
        Way::IoUring { direct } => ("io_uring", direct, 1, in_flight),
    };
    let target = Target::File {
        path: file.to_owned(),
        engine,
        direct,
    };
    let mut more = vec![
        "--group_reporting".to_owned(),
        "--thread".to_owned(),
        format!("--numjobs={threads}"),
        format!("--size={SIZE}"),
    ];
    more.extend_from_slice(time);
    fio::run(&target, rw, block, depth, &more)
}
