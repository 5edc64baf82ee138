//! Long runs: a storage manager is killed again and again while a disk is written, snapshotted, grown and coalesced, and
//! every byte that was flushed is looked for after each start.
//!
//! ```text
//! round:  start -> every disk and snapshot holds what it must -> every chain is sound
//!         -> writes, snapshots, deletions, growth by turns, merging behind -> kill -9 (or the file system stops) at a random moment
//! ```

mod disk;
mod ext4;
mod process;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::ci::checked;
use disk::{Disk, Random};
use ext4::Ext4;
use process::Manager;

/// What to run, and for how long.
#[derive(clap::Args)]
pub struct Options {
    /// Minutes after which no further round begins.
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Where the random numbers begin; printed, so that a run can be repeated.
    #[arg(long)]
    seed: Option<u64>,
    /// Lays everything on an ext4 file system of its own, on a loop device, and stops that instead of only the process:
    /// what was not synced is lost. Needs root.
    #[arg(long)]
    ext4: bool,
    /// Stories of the engine of images that are played first, each of 150 operations with a loss of power at every
    /// tenth or so.
    #[arg(long, default_value_t = ENGINE_SEEDS)]
    engine_seeds: u64,
    /// The binary; built with the release profile when it is not named.
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// Stories of the engine in a run; the tests play 8.
const ENGINE_SEEDS: u64 = 200;

/// The most snapshots that are kept at a time.
const SNAPSHOTS: usize = 6;

/// Longest life of a storage manager in a round.
const LONGEST_LIFE_MS: u64 = 4000;

/// Runs until the time is over or something is lost.
pub fn run(root: &Path, options: &Options) -> anyhow::Result<()> {
    if options.engine_seeds > 0 {
        let mut engine = Command::new("cargo");
        engine.args(["test", "--release", "--package", "vhd", "--test", "engine"]);
        engine.env("XENSM_ENGINE_SEEDS", options.engine_seeds.to_string());
        checked(engine.current_dir(root))?;
    }
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => {
            let mut build = Command::new("cargo");
            build.args(["build", "--release", "--package", "xensm", "--bins"]);
            checked(build.current_dir(root))?;
            root.join("target/release/xensm")
        }
    };
    let seed = options
        .seed
        .unwrap_or_else(|| u64::from(std::process::id()));
    println!("seed {seed}");
    let work = root.join("target/soak").join(seed.to_string());
    std::fs::create_dir_all(&work)?;
    let ext4 = options.ext4.then(|| Ext4::make(&work)).transpose()?;
    let place = ext4
        .as_ref()
        .map_or(work.clone(), |ext4| ext4.mount_point().to_owned());
    let until = Instant::now() + Duration::from_secs(options.minutes * 60);
    let mut random = Random::new(seed);
    let mut disk = Disk::default();
    let mut round = 0;
    while Instant::now() < until {
        round += 1;
        run_round(&binary, &place, ext4.as_ref(), &mut disk, &mut random).with_context(|| {
            format!(
                "round {round} with seed {seed}, files in {}",
                place.display()
            )
        })?;
        println!(
            "round {round}: {} batches, {} snapshots, {} MiB, {} steps merged",
            disk.batches,
            disk.snapshots.len(),
            disk.size() >> 20,
            disk.merged
        );
    }
    ensure!(
        round > 0,
        "no round fitted into {} minutes",
        options.minutes
    );
    drop(ext4);
    std::fs::remove_dir_all(&work)?;
    Ok(())
}

fn run_round(
    binary: &Path,
    place: &Path,
    ext4: Option<&Ext4>,
    disk: &mut Disk,
    random: &mut Random,
) -> anyhow::Result<()> {
    let mut manager = Manager::start(binary, place)?;
    disk.find_or_make(&manager, place)?;
    disk.verify(&manager, place)?;
    let life = Duration::from_millis(200 + random.below(LONGEST_LIFE_MS));
    let killer = manager.kill_after(life, ext4.map(Ext4::stopper));
    // Every call after the kill fails; which one was under way then is what the disk remembers.
    let failure = loop {
        if let Err(error) = disk.one_operation(&manager, random, SNAPSHOTS) {
            break error;
        }
    };
    let was_doomed = manager.is_doomed();
    killer
        .join()
        .map_err(|_| anyhow::anyhow!("the killing thread failed"))??;
    manager.reap()?;
    if !was_doomed {
        return Err(failure.context("an operation failed before the kill"));
    }
    if let Some(ext4) = ext4 {
        ext4.remount()?;
    }
    Ok(())
}
