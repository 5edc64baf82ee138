//! Everything that the stock OpenStack clients can do, with the real binary: each command of `openstack` and `cinder`, each method of
//! openstacksdk, the Go library of Terraform and Kubernetes, and what those two send. What a client has and nothing runs is a failure.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::installation::Installation;
use testkit::tool;

const XENSM: &str = env!("CARGO_BIN_EXE_xensm");
/// Where Debian keeps the sources of Go's packages.
const GO_PATH: &str = "/usr/share/gocode";
/// The package that is there when the library is installed.
const GOPHERCLOUD: &str = "src/github.com/gophercloud/gophercloud/openstack";

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients")
}

/// Runs a script of the clients in an installation of its own; it says `ok` when all went well.
fn run(script: &str, arguments: &[&str]) {
    let Some(python) = tool::python_client("python") else {
        return;
    };
    let installation = Installation::start(XENSM);
    let mut command = installation.client(&python, "openrc.sh");
    command
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(clients())
        .arg(script)
        .args(arguments);
    let said = tool::run(&mut command);
    assert!(said.ends_with("ok\n"), "{said}");
}

#[test]
fn every_command_of_openstack_for_block_storage() {
    run("openstack_commands.py", &[]);
}

#[test]
fn every_command_of_cinder() {
    run("cinder_commands.py", &[]);
}

#[test]
fn every_method_of_the_openstack_sdk() {
    run("sdk_methods.py", &[]);
}

#[test]
fn what_terraform_and_the_csi_driver_send() {
    let recordings = ["recordings/terraform.json", "recordings/cinder_csi.json"];
    run("replay.py", &recordings);
}

#[test]
fn gophercloud() {
    let Some(go) = tool::program("go") else {
        return;
    };
    if tool::directory(&Path::new(GO_PATH).join(GOPHERCLOUD)).is_none() {
        return;
    }
    let installation = Installation::start(XENSM);
    let program = installation.root.join("gophercloud");
    let mut build = Command::new(go);
    build
        .current_dir(clients().join("gophercloud"))
        .args(["build", "-o"])
        .arg(&program)
        .env("GO111MODULE", "off")
        .env("GOPATH", GO_PATH)
        .env("GOFLAGS", "")
        .env("GOCACHE", installation.root.join("go-cache"));
    tool::run(&mut build);
    let said = tool::run(&mut installation.client(&program, "openrc.sh"));
    assert!(said.ends_with("ok\n"), "{said}");
}
