//! The steps of CI, in order; the first that fails ends the run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail};

use crate::{fuzz, setup, tests, tidy};

/// Seconds that CI gives to each fuzz target; longer runs are by hand.
const FUZZ_SECONDS: u32 = 5;

/// The root of the workspace, wherever the command was typed.
pub fn workspace_root() -> anyhow::Result<PathBuf> {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").context("run this as `cargo xtask`")?;
    let root = Path::new(&manifest)
        .parent()
        .context("xtask lies below the workspace's root")?;
    Ok(root.to_owned())
}

/// Runs everything that must hold before a change lands.
pub fn run(root: &Path) -> anyhow::Result<()> {
    step("format", || cargo(root, &["fmt", "--all", "--check"]))?;
    step("tidy", || tidy::run(root))?;
    // What the tests need is downloaded and unpacked while the compiler works.
    std::thread::scope(|scope| {
        let setup = scope.spawn(|| step("setup", || setup::run(root)));
        let lints = step("lints", || lint(root));
        let setup = setup.join();
        setup.unwrap_or_else(|_| bail!("the step setup panicked"))?;
        lints
    })?;
    step("tests", || test(root, true, &[]))?;
    step("fuzz", || fuzz::run(root, FUZZ_SECONDS, None))?;
    step("documentation", || {
        let mut command = Command::new("cargo");
        command
            .env("RUSTDOCFLAGS", "-D warnings")
            .args(["doc", "--workspace", "--no-deps"]);
        checked(command.current_dir(root))
    })
}

fn lint(root: &Path) -> anyhow::Result<()> {
    let lints = ["--workspace", "--all-targets", "--", "-D", "warnings"];
    cargo(root, &[&["clippy"], &lints[..]].concat())
}

/// Runs the tests, after installing what they need.
pub fn test(root: &Path, no_setup: bool, arguments: &[String]) -> anyhow::Result<()> {
    if !no_setup {
        step("setup", || setup::run(root))?;
    }
    let variables = setup::environment(root)?;
    if arguments.is_empty() {
        return tests::run(root, &variables);
    }
    // The tests start these binaries, so they are built before. As the workspace: for one package alone cargo would choose other
    // features, and compile nearly everything once more.
    cargo(root, &["build", "--workspace", "--bins"])?;
    let mut command = Command::new("cargo");
    command.args(["test", "--workspace"]).args(arguments);
    checked(command.envs(variables).current_dir(root))
}

/// Runs Tempest whole, after installing it.
pub fn tempest(root: &Path) -> anyhow::Result<()> {
    step("setup", || setup::run(root))?;
    cargo(root, &["build", "--workspace", "--bins"])?;
    let mut command = Command::new("cargo");
    command
        .args([
            "test",
            "--workspace",
            "--test",
            "tempest",
            "--",
            "--nocapture",
        ])
        .env("XENSM_TEMPEST_WHOLE", "1")
        .envs(setup::environment(root)?);
    checked(command.current_dir(root))
}

fn step(name: &str, body: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    println!("=== {name}");
    let started = Instant::now();
    body().with_context(|| format!("step {name}"))?;
    println!(
        "=== {name}: done in {:.0} s",
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

fn cargo(root: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    checked(Command::new("cargo").args(arguments).current_dir(root))
}

/// Runs a command and fails, naming it, when it does.
pub fn checked(command: &mut Command) -> anyhow::Result<()> {
    let status = command
        .status()
        .with_context(|| format!("start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}
