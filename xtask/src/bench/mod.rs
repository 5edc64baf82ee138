//! The benchmarks. Speed lives here and never in timed tests.
//!
//! Each prints the rows of a table of docs/benchmarks.md. Compare figures of one run only: machines differ and drift.

mod chains;
mod control_plane;
mod executor;
mod fio;
mod http;
mod moto;
mod nbd;
mod nfs;
mod pair;
mod server;
mod signer;
mod statistics;

use std::path::Path;
use std::process::Command;

use crate::ci::checked;

/// What to measure.
#[derive(clap::Args)]
pub struct Options {
    /// Only this part.
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Volumes created per number of clients.
    #[arg(long, default_value_t = 2000)]
    creates: usize,
    /// The largest table that lists are measured on.
    #[arg(long, default_value_t = 100_000)]
    rows: usize,
    /// Seconds of each NBD load.
    #[arg(long, default_value_t = 3)]
    seconds: u32,
    #[command(flatten)]
    pair: pair::PairOptions,
    #[command(flatten)]
    moto: moto::MotoOptions,
}

/// A part of the benchmarks.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Start, memory, creates, lists.
    ControlPlane,
    /// NBD on a dynamic VHD beside qemu-nbd on the same image and nbdkit on a raw file.
    Nbd,
    /// Reads from chains of images.
    Chains,
    /// Ways to issue file I/O, by fio alone.
    Executor,
    /// SRs on an NFS server beside libnfs.
    Nfs,
    /// Chains, snapshots, coalescing, scans: the benchmarks of the crates.
    Storage,
    /// NBD through an SR of each type beside what lies beneath.
    SrTypes,
    /// This service beside Cinder; only when it is asked for, with --peer-dir.
    Pair,
    /// This service's EC2 API beside moto; only when it is asked for, with --moto-venv.
    Moto,
}

/// Measures and prints.
pub fn run(root: &Path, options: &Options) -> anyhow::Result<()> {
    let binary = root.join("target/release/xensm");
    let wanted = |part| options.only.is_none_or(|only| only == part);
    let beside = match options.only {
        Some(Part::Pair) => Some(Part::Pair),
        Some(Part::Moto) => Some(Part::Moto),
        _ => None,
    };
    let measure_beside = |binary: &Path| match beside {
        Some(Part::Moto) => moto::run(root, binary, options.pair.rounds, &options.moto),
        _ => pair::run(root, binary, &options.pair),
    };
    if beside.is_some()
        && let Some(binary) = &options.pair.binary
    {
        return measure_beside(binary);
    }
    if beside.is_some() || wanted(Part::ControlPlane) || wanted(Part::Nbd) || wanted(Part::Chains) {
        checked(
            Command::new("cargo")
                .args(["build", "--release", "--package", "xensm", "--bins"])
                .current_dir(root),
        )?;
    }
    if beside.is_some() {
        return measure_beside(&binary);
    }
    if wanted(Part::ControlPlane) {
        control_plane::run(&binary, options.creates, options.rows)?;
    }
    if wanted(Part::Nbd) {
        nbd::run(&binary, options.seconds)?;
    }
    if wanted(Part::Chains) {
        chains::run(&binary, options.seconds)?;
    }
    if wanted(Part::Executor) {
        executor::run(&root.join("target/bench/executor"), options.seconds)?;
    }
    if wanted(Part::Nfs) {
        nfs::run(root, options.seconds)?;
    }
    if wanted(Part::Storage) {
        storage(root)?;
    }
    if wanted(Part::SrTypes) {
        checked(
            Command::new("cargo")
                .args([
                    "bench",
                    "--package",
                    "storage-manager",
                    "--bench",
                    "sr_types",
                ])
                .current_dir(root),
        )?;
    }
    Ok(())
}

/// Runs the benchmarks that the crates keep beside their code.
fn storage(root: &Path) -> anyhow::Result<()> {
    for (name, bench) in [("vhd", "chain"), ("storage-manager", "coalesce")] {
        checked(
            Command::new("cargo")
                .args(["bench", "--package", name, "--bench", bench])
                .current_dir(root),
        )?;
    }
    for test in ["throughput", "many_vdis", "iscsi_throughput", "lvm_many"] {
        checked(
            Command::new("cargo")
                .args([
                    "test",
                    "--release",
                    "--package",
                    "storage-manager",
                    "--test",
                    test,
                    "--",
                ])
                .args(["--ignored", "--nocapture", "--test-threads=1"])
                .current_dir(root),
        )?;
    }
    Ok(())
}
