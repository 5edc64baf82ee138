//! Tools that somebody else wrote. A missing one fails the test in CI and is said plainly elsewhere.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A program of the PATH (or of the administrator's directories), or `None` after a printed line when it is not there.
///
/// # Panics
/// When it is missing and `CI` is set.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = directories
        .map(|directory| directory.join(name))
        .find(|program| program.is_file());
    found.or_else(|| missing(name, "cargo xtask setup"))
}

/// A program of the Python environment that `cargo xtask setup` fills.
///
/// # Panics
/// As [`program`].
pub fn python_client(name: &str) -> Option<PathBuf> {
    let venv =
        std::env::var_os("XENSM_TEST_VENV").map_or_else(|| tools().join("venv"), PathBuf::from);
    let found = Some(venv.join("bin").join(name)).filter(|program| program.is_file());
    found.or_else(|| missing(name, "cargo xtask setup"))
}

/// The interpreter of that Python environment, if it has a package.
///
/// # Panics
/// As [`program`].
pub fn python_package(name: &str) -> Option<PathBuf> {
    let python = python_client("python")?;
    let mut look = Command::new(&python);
    look.args(["-c", &format!("import {name}")]);
    let found = Some(python).filter(|_| output(&mut look).status.success());
    found.or_else(|| missing(name, "cargo xtask setup"))
}

/// The interpreter of the Python environment that has Keystone.
///
/// # Panics
/// As [`program`].
pub fn keystone_python() -> Option<PathBuf> {
    let venv = std::env::var_os("XENSM_TEST_KEYSTONE")
        .map_or_else(|| tools().join("keystone"), PathBuf::from);
    let found = Some(venv.join("bin/python")).filter(|program| program.is_file());
    found.or_else(|| missing("Keystone", "cargo xtask setup"))
}

/// The directory with the programs of the Python environment that has Tempest.
///
/// # Panics
/// As [`program`].
pub fn tempest_programs() -> Option<PathBuf> {
    let venv = std::env::var_os("XENSM_TEST_TEMPEST")
        .map_or_else(|| tools().join("tempest"), PathBuf::from);
    let found = Some(venv.join("bin")).filter(|bin| bin.join("tempest").is_file());
    found.or_else(|| missing("Tempest", "cargo xtask setup"))
}

/// The directory in which the Node client was installed.
///
/// # Panics
/// As [`program`].
pub fn node_directory() -> Option<PathBuf> {
    let node =
        std::env::var_os("XENSM_TEST_NODE").map_or_else(|| tools().join("node"), PathBuf::from);
    let found = Some(node).filter(|directory| directory.join("node_modules").is_dir());
    found.or_else(|| missing("the Node clients", "cargo xtask setup"))
}

/// A directory that a Debian package brings.
///
/// # Panics
/// As [`program`].
pub fn directory(path: &Path) -> Option<PathBuf> {
    let found = Some(path.to_owned()).filter(|path| path.is_dir());
    found.or_else(|| missing(&path.display().to_string(), "cargo xtask setup"))
}

/// The directory in which the packages of [`crate::guest`] were unpacked.
///
/// # Panics
/// As [`program`].
pub fn guest_packages() -> Option<PathBuf> {
    let packages = std::env::var_os("XENSM_TEST_GUEST")
        .map_or_else(|| tools().join("guest/root"), PathBuf::from);
    let found = Some(packages).filter(|directory| directory.join("boot").is_dir());
    found.or_else(|| missing("the guest's kernel", "cargo xtask setup"))
}

/// The right to give files away, or `None` after a printed line when the tests do not run as root.
///
/// # Panics
/// As [`program`].
pub fn root() -> Option<()> {
    let user = output(Command::new("id").arg("-u")).stdout;
    let found = Some(()).filter(|()| user == b"0\n");
    found.or_else(|| missing("the right to give files away", "the tests as root"))
}

/// Runs a command to its end.
///
/// # Panics
/// When it cannot be started or fails; the message holds all that it said.
pub fn run(command: &mut Command) -> String {
    let output = output(command);
    assert!(
        output.status.success(),
        "{command:?} ended with {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a command to its end, whatever that is.
///
/// # Panics
/// When it cannot be started.
pub fn output(command: &mut Command) -> Output {
    command
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap_or_else(|cause| panic!("start {command:?}: {cause}"))
}

fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-tools")
}

#[allow(clippy::print_stderr, reason = "a skipped test is said plainly")]
pub(crate) fn missing<T>(name: &str, remedy: &str) -> Option<T> {
    assert!(
        std::env::var_os("CI").is_none(),
        "{name} is missing; run: {remedy}"
    );
    eprintln!("SKIPPED: {name} is missing; run: {remedy}");
    None
}
