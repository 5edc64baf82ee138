//! Installs what the tests need beside a Rust toolchain: real servers from Debian, stock clients from PyPI and npm.
//!
//! A missing tool is a failure in CI, never a skipped test; so this runs first there. It does nothing when all is there.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::ci::checked;

/// Debian packages, each with a file that shows that it is there.
const DEBIAN: &[(&str, &str)] = &[
    ("fio", "/usr/bin/fio"),
    ("libnbd-bin", "/usr/bin/nbdinfo"),
    ("nbdkit", "/usr/sbin/nbdkit"),
    ("python3-libnbd", "/usr/lib/python3/dist-packages/nbd.py"),
    ("python3-venv", "/usr/lib/python3.11/ensurepip/__init__.py"),
    ("postgresql", "/usr/lib/postgresql"),
    ("qemu-utils", "/usr/bin/qemu-img"),
    ("zstd", "/usr/bin/zstd"),
];

/// Where the Python clients live, below the workspace's root.
const VENV: &str = "target/test-tools/venv";
/// Where the Node client lives, below the workspace's root.
const NODE: &str = "target/test-tools/node";

/// Installs what is missing.
pub fn run(root: &Path) -> anyhow::Result<()> {
    debian()?;
    python(root)?;
    node(root)
}

/// What the tests read to find the tools.
pub fn environment(root: &Path) -> anyhow::Result<Vec<(&'static str, OsString)>> {
    let mut variables = vec![
        ("XENSM_TEST_VENV", root.join(VENV).into_os_string()),
        ("XENSM_TEST_NODE", root.join(NODE).into_os_string()),
    ];
    if std::env::var_os("XENSM_GOLDEN").is_none() {
        let golden = root
            .parent()
            .context("the project lies in a directory")?
            .join("shared/golden");
        if golden.is_dir() {
            variables.push(("XENSM_GOLDEN", golden.into_os_string()));
        }
    }
    Ok(variables)
}

fn debian() -> anyhow::Result<()> {
    let mut missing: Vec<&str> = DEBIAN
        .iter()
        .filter(|(_, proof)| !Path::new(proof).exists())
        .map(|(package, _)| *package)
        .collect();
    // A newer Node than Debian's may be there already.
    for (program, package) in [("node", "nodejs"), ("npm", "npm")] {
        if !is_on_path(program) {
            missing.push(package);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing Debian packages: {}", missing.join(" "));
    if !rustix::process::geteuid().is_root() {
        bail!(
            "these Debian packages are missing: {0}\n  run: sudo apt-get install --no-install-recommends {0}",
            missing.join(" ")
        );
    }
    keep_services_from_starting()?;
    checked(
        Command::new("apt-get")
            .args(["update", "-q"])
            .stdout(Stdio::null()),
    )?;
    checked(
        Command::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["install", "-y", "-q", "--no-install-recommends"])
            .args(&missing)
            .stdout(Stdio::null()),
    )
}

/// Tests start their own servers, on their own ports; a package's service must not start beside them.
fn keep_services_from_starting() -> anyhow::Result<()> {
    let policy = Path::new("/usr/sbin/policy-rc.d");
    if policy.exists() {
        return Ok(());
    }
    fs::write(policy, "#!/bin/sh\nexit 101\n").context("write /usr/sbin/policy-rc.d")?;
    checked(Command::new("chmod").arg("755").arg(policy))
}

fn python(root: &Path) -> anyhow::Result<()> {
    let requirements = root.join("tests/clients/requirements.txt");
    let venv = root.join(VENV);
    if is_current(&venv, &requirements)? {
        return Ok(());
    }
    println!("installing the Python clients (tests/clients/requirements.txt)");
    checked(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&venv),
    )?;
    checked(
        Command::new(venv.join("bin/python"))
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--requirement",
            ])
            .arg(&requirements),
    )?;
    mark_current(&venv, &requirements)
}

fn node(root: &Path) -> anyhow::Result<()> {
    let manifest = root.join("tests/clients/package.json");
    let node = root.join(NODE);
    if is_current(&node, &manifest)? {
        return Ok(());
    }
    println!("installing the Node client (tests/clients/package.json)");
    fs::create_dir_all(&node).with_context(|| format!("create {}", node.display()))?;
    fs::copy(&manifest, node.join("package.json")).context("copy package.json")?;
    checked(
        Command::new("npm")
            .args([
                "install",
                "--silent",
                "--no-audit",
                "--no-fund",
                "--ignore-scripts",
            ])
            .current_dir(&node),
    )?;
    mark_current(&node, &manifest)
}

/// True when the directory was filled from this very list.
fn is_current(directory: &Path, list: &Path) -> anyhow::Result<bool> {
    let wanted = fs::read(list).with_context(|| format!("read {}", list.display()))?;
    Ok(fs::read(stamp(directory)).is_ok_and(|had| had == wanted))
}

fn mark_current(directory: &Path, list: &Path) -> anyhow::Result<()> {
    fs::copy(list, stamp(directory))
        .with_context(|| format!("mark {} as complete", directory.display()))?;
    Ok(())
}

fn stamp(directory: &Path) -> PathBuf {
    directory.join(".filled-from")
}

fn is_on_path(program: &str) -> bool {
    let Some(path) = std::env::var_os("PATH") else {
        return false;
    };
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}
