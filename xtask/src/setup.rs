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
    (
        "golang-github-gophercloud-gophercloud-dev",
        "/usr/share/gocode/src/github.com/gophercloud/gophercloud",
    ),
    ("golang-go", "/usr/bin/go"),
    ("istgt", "/usr/sbin/istgt"),
    ("libiscsi-bin", "/usr/bin/iscsi-perf"),
    ("libiscsi-dev", "/usr/include/iscsi/iscsi.h"),
    ("libnbd-bin", "/usr/bin/nbdinfo"),
    ("libnfs-utils", "/usr/bin/nfs-ls"),
    ("lvm2", "/usr/sbin/lvm"),
    ("nbdkit", "/usr/bin/nbdkit"),
    ("nfs-ganesha", "/usr/bin/ganesha.nfsd"),
    (
        "nfs-ganesha-vfs",
        "/usr/lib/x86_64-linux-gnu/ganesha/libfsalvfs.so",
    ),
    ("openssh-client", "/usr/bin/ssh"),
    ("python3-libnbd", "/usr/lib/python3/dist-packages/nbd.py"),
    ("python3-venv", "/usr/lib/python3.11/ensurepip/__init__.py"),
    ("postgresql", "/usr/lib/postgresql"),
    ("qemu-utils", "/usr/bin/qemu-img"),
    ("rpcbind", "/usr/sbin/rpcbind"),
    ("tgt", "/usr/sbin/tgtd"),
    ("zstd", "/usr/bin/zstd"),
];

/// Where the Python clients live, below the workspace's root.
const VENV: &str = "target/test-tools/venv";
/// Where Keystone lives, apart from its clients, whose libraries it wants in other versions.
const KEYSTONE: &str = "target/test-tools/keystone";
/// Where Tempest lives, apart from the clients: it brings its own.
const TEMPEST: &str = "target/test-tools/tempest";
/// Where the Node client lives, below the workspace's root.
const NODE: &str = "target/test-tools/node";
/// Where the packages of the guest are unpacked, below the workspace's root.
const GUEST: &str = "target/test-tools/guest/root";

/// Debian packages that are newer than the release, from its backports: older qemu has bugs that newer ones do not, and its
/// packages must all have one version.
const BACKPORTS: &[(&str, &str)] = &[
    ("qemu-system-x86", "/usr/bin/qemu-system-x86_64"),
    (
        "qemu-block-extra",
        "/usr/lib/x86_64-linux-gnu/qemu/block-nfs.so",
    ),
];
/// Where packages newer than the release come from.
const BACKPORTS_SOURCE: &str = "/etc/apt/sources.list.d/xensm-backports.sources";

/// Debian packages that are unpacked for the virtual machine of `testkit::guest`, and not installed. The first is a package
/// that depends on the kernel of the day.
const GUEST_PACKAGES: &[&str] = &[
    "linux-image-cloud-amd64",
    "busybox-static",
    "libnl-3-200",
    "libnl-genl-3-200",
    "nbd-client",
];

/// Installs what is missing.
pub fn run(root: &Path) -> anyhow::Result<()> {
    debian()?;
    python(root, VENV, "tests/clients/requirements.txt")?;
    python(root, KEYSTONE, "tests/clients/keystone.txt")?;
    python(root, TEMPEST, "tests/clients/tempest.txt")?;
    node(root)?;
    guest(root)
}

/// What the tests read to find the tools.
pub fn environment(root: &Path) -> anyhow::Result<Vec<(&'static str, OsString)>> {
    let mut variables = vec![
        ("XENSM_TEST_VENV", root.join(VENV).into_os_string()),
        ("XENSM_TEST_KEYSTONE", root.join(KEYSTONE).into_os_string()),
        ("XENSM_TEST_TEMPEST", root.join(TEMPEST).into_os_string()),
        ("XENSM_TEST_NODE", root.join(NODE).into_os_string()),
        ("XENSM_TEST_GUEST", root.join(GUEST).into_os_string()),
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
    install(&missing, None)?;
    let newer = BACKPORTS
        .iter()
        .filter(|(_, proof)| !Path::new(proof).exists());
    let newer: Vec<&str> = newer.map(|(package, _)| *package).collect();
    if newer.is_empty() {
        return Ok(());
    }
    // Releases after bookworm have versions that are new enough.
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let suite = release
        .contains("VERSION_CODENAME=bookworm")
        .then_some("bookworm-backports");
    install(&newer, suite)
}

/// Installs packages, from a suite of backports if one is named, and changes no package that is there.
fn install(packages: &[&str], backports: Option<&str>) -> anyhow::Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let suite = backports.map_or_else(Vec::new, |suite| vec!["-t", suite]);
    println!("installing Debian packages: {}", packages.join(" "));
    if !rustix::process::geteuid().is_root() {
        bail!(
            "these Debian packages are missing: {0}\n  run: sudo apt-get install --no-install-recommends {1} {0}",
            packages.join(" "),
            suite.join(" ")
        );
    }
    keep_services_from_starting()?;
    if let Some(suite) = backports
        && !Path::new(BACKPORTS_SOURCE).exists()
    {
        let source = format!(
            "Types: deb\nURIs: http://deb.debian.org/debian\nSuites: {suite}\nComponents: main\n\
             Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
        );
        fs::write(BACKPORTS_SOURCE, source).context("write the source of backports")?;
    }
    checked(
        Command::new("apt-get")
            .args(["update", "-q"])
            .stdout(Stdio::null()),
    )?;
    checked(
        Command::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args([
                "install",
                "-y",
                "-q",
                "--no-install-recommends",
                "--no-upgrade",
            ])
            .args(suite)
            .args(packages)
            .stdout(Stdio::null()),
    )
}

/// Downloads and unpacks the guest's packages; needs no rights.
fn guest(root: &Path) -> anyhow::Result<()> {
    let target = root.join(GUEST);
    let wanted = GUEST_PACKAGES.join("\n");
    if fs::read_to_string(stamp(&target)).is_ok_and(|had| had == wanted) {
        return Ok(());
    }
    println!(
        "downloading the guest's packages: {}",
        GUEST_PACKAGES.join(" ")
    );
    if target.exists() {
        fs::remove_dir_all(&target).context("remove the guest's old packages")?;
    }
    let downloads = target.with_file_name("debs");
    for directory in [&target, &downloads] {
        fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    }
    let (kernel, others) = GUEST_PACKAGES
        .split_first()
        .context("the list has a kernel")?;
    let kernel = kernel_of_the_day(kernel)?;
    checked(
        Command::new("apt-get")
            .args(["download", "-q", &kernel])
            .args(others)
            .current_dir(&downloads)
            .stdout(Stdio::null())
            // apt says there that it could not change its user for a directory like this.
            .stderr(Stdio::null()),
    )?;
    for entry in fs::read_dir(&downloads).context("list the downloads")? {
        let package = entry.context("list the downloads")?.path();
        checked(Command::new("dpkg").arg("-x").arg(&package).arg(&target))?;
    }
    fs::remove_dir_all(&downloads).context("remove the downloads")?;
    fs::write(stamp(&target), wanted).context("mark the guest's packages as complete")
}

/// The package of the kernel on which another package depends.
fn kernel_of_the_day(package: &str) -> anyhow::Result<String> {
    let output = Command::new("apt-cache")
        .args(["depends", package])
        .output()
        .context("run apt-cache")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut names = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "));
    let kernel = names.find(|name| name.starts_with("linux-image-"));
    let kernel =
        kernel.with_context(|| format!("{package} depends on no kernel; run apt-get update"))?;
    Ok(kernel.to_owned())
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

fn python(root: &Path, venv: &str, list: &str) -> anyhow::Result<()> {
    let requirements = root.join(list);
    let venv = root.join(venv);
    if is_current(&venv, &requirements)? {
        return Ok(());
    }
    println!("installing Python packages ({list})");
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
