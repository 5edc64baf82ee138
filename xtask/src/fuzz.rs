//! Runs every fuzz target for a bounded time, two at once: each keeps one processor busy.
//!
//! The targets are plain libFuzzer programs (`fuzz/`, a workspace of its own); coverage needs no nightly compiler.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, bail};

use crate::ci::checked;

/// What the compiler adds so that libFuzzer sees which edges an input reaches.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions -Copt-level=1 --cfg fuzzing";
/// More memory than this is a finding.
const MEMORY_MAX_MIB: u32 = 1024;
/// One input that takes longer is a finding.
const INPUT_MAX_S: u32 = 10;
/// Targets that run at once.
const AT_ONCE: usize = 2;

/// Builds all targets and runs each for `seconds`.
pub fn run(root: &Path, seconds: u32, only: Option<&str>) -> anyhow::Result<()> {
    let directory = root.join("fuzz");
    let targets: Vec<String> = targets(&directory)?
        .into_iter()
        .filter(|target| only.is_none_or(|wanted| wanted == target))
        .collect();
    if targets.is_empty() {
        bail!("no fuzz target of that name is in fuzz/Cargo.toml");
    }
    // A target triple keeps the flags off build scripts.
    let triple = host_triple()?;
    checked(
        Command::new("cargo")
            .args(["build", "--bins", "--target", &triple])
            .env("RUSTFLAGS", COVERAGE)
            .current_dir(&directory),
    )?;
    let programs = directory.join("target").join(&triple).join("debug");
    let left = Mutex::new(targets);
    std::thread::scope(|scope| {
        let runners: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                scope.spawn(|| {
                    while let Some(target) = next(&left) {
                        fuzz(&directory, &programs.join(&target), &target, seconds)?;
                    }
                    Ok(())
                })
            })
            .collect();
        runners.into_iter().try_for_each(|runner| {
            let ended = runner.join();
            ended.unwrap_or_else(|_| bail!("a runner of fuzz targets panicked"))
        })
    })
}

fn next(left: &Mutex<Vec<String>>) -> Option<String> {
    left.lock().unwrap_or_else(PoisonError::into_inner).pop()
}

fn fuzz(directory: &Path, program: &Path, target: &str, seconds: u32) -> anyhow::Result<()> {
    let corpus = directory.join("corpus").join(target);
    let artifacts = directory.join("artifacts").join(target);
    for folder in [&corpus, &artifacts] {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    println!("fuzz {target} for {seconds} s");
    let status = Command::new(program)
        .arg(&corpus)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-rss_limit_mb={MEMORY_MAX_MIB}"))
        .arg(format!("-timeout={INPUT_MAX_S}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg("-verbosity=0")
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("start fuzz target {target}"))?;
    if !status.success() {
        bail!(
            "fuzz target {target} found something: see {}",
            artifacts.display()
        );
    }
    Ok(())
}

fn targets(directory: &Path) -> anyhow::Result<Vec<String>> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(directory)
        .output()
        .context("run cargo metadata in fuzz/")?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("parse cargo metadata")?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata lists packages")?;
    let targets = packages
        .iter()
        .flat_map(|package| package["targets"].as_array().into_iter().flatten());
    let bins = targets.filter(|target| target["kind"][0] == "bin");
    Ok(bins
        .filter_map(|target| target["name"].as_str().map(str::to_owned))
        .collect())
}

fn host_triple() -> anyhow::Result<String> {
    let output = Command::new("rustc")
        .arg("-vV")
        .output()
        .context("run rustc")?;
    let text = String::from_utf8(output.stdout)?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("rustc names its host")?;
    Ok(line.to_owned())
}
