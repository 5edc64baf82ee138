//! The benchmarks. Speed lives here and never in timed tests.

use std::path::Path;

/// What to measure.
#[derive(clap::Args)]
pub struct Options {}

/// Measures.
pub fn run(_root: &Path, _options: &Options) -> anyhow::Result<()> {
    anyhow::bail!("not supported yet")
}
