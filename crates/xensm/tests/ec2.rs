//! The EC2 API through the whole product: the life of a volume as three clients live it, with its bytes, and what tools send that
//! cannot be run here.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

use std::path::{Path, PathBuf};

use testkit::installation::Installation;
use testkit::tool;

const XENSM: &str = env!("CARGO_BIN_EXE_xensm");

/// The Python of the clients, when `qemu-io` is there too.
fn python() -> Option<PathBuf> {
    let (python, _) = (tool::python_package("boto")?, tool::program("qemu-io")?);
    Some(python)
}

/// Runs a story of `tests/clients`, which says `ok` at its end, as an EC2 client that may also look through OpenStack's API.
fn live(installation: &Installation, python: &Path, story: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/clients")
        .join(story);
    let mut command = installation.client(python, "ec2rc.sh");
    command
        .envs(installation.variables("openrc.sh"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let said = tool::run(command.arg(path));
    assert!(said.ends_with("ok\n"), "{story}: {said}");
}

#[test]
fn three_clients_live_through_the_life_of_a_volume_with_its_bytes() {
    let Some(python) = python() else { return };
    let installation = Installation::start(XENSM);
    live(&installation, &python, "ec2_life.py");
}

#[test]
fn what_terraform_and_the_ebs_csi_driver_send_is_answered_as_they_need_it() {
    let Some(python) = python() else { return };
    let installation = Installation::start(XENSM);
    for story in ["ec2_terraform.py", "ec2_csi.py"] {
        live(&installation, &python, story);
    }
}
