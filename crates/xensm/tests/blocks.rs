//! The EBS direct APIs on real storage: blocks are what was written through NBD, and what changed is listed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

mod scene;

use std::path::Path;

use scene::Scene;
use testkit::tool;

/// Runs a script of stock clients on a flavor that lies on files; it says `ok` at its end.
fn tell(story: &str) {
    let (Some(_), Some(python)) = (tool::program("qemu-io"), tool::python_client("python")) else {
        return;
    };
    let scene = Scene::new();
    let location = format!(
        "location={}",
        scene.installation.root.join("gold").display()
    );
    scene.add("file", &["name_label=gold", &location]);
    let story = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/clients")
        .join(story);
    let installation = &scene.installation;
    let mut command = installation.client(&python, "ec2rc.sh");
    command
        .envs(installation.variables("xenapi.sh"))
        .env(
            "OS_CLIENT_CONFIG_FILE",
            installation.data_dir.join("clouds.yaml"),
        )
        .env("XENSM_DATA_DIR", &installation.data_dir)
        .env("XENSM_VOLUME_TYPE", "gold");
    let said = tool::run(command.arg(story).arg(env!("CARGO_BIN_EXE_xensm")));
    assert!(said.ends_with("ok\n"), "{said}");
}

#[test]
fn boto3_reads_the_blocks_of_snapshots_and_what_changed_between_two() {
    tell("ec2_direct_reads.py");
}

#[test]
fn boto3_writes_snapshots_that_volumes_are_made_of() {
    tell("ec2_direct_writes.py");
}
