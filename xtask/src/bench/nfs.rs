//! SRs of the type `nfs` through NBD, beside libnfs on a file of the same server.

use std::path::Path;
use std::process::Command;

use crate::ci::checked;

/// Measures and prints a table of operations per second and ratios.
pub fn run(root: &Path, seconds: u32) -> anyhow::Result<()> {
    checked(
        Command::new("cargo")
            .args(["test", "--release", "--package", "storage-manager"])
            .args(["--test", "nfs_throughput", "--"])
            .args(["--ignored", "--nocapture"])
            .env("BENCH_SECONDS", seconds.to_string())
            .current_dir(root),
    )
}
