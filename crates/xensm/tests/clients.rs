//! Stock clients, unmodified, against the real binary.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use testkit::installation::Installation;
use testkit::{tool, wait};

const XENSM: &str = env!("CARGO_BIN_EXE_xensm");
const PATIENCE: Duration = Duration::from_secs(180);

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/clients")
        .join(name)
}

fn json(command: &mut Command) -> serde_json::Value {
    let said = tool::run(command);
    serde_json::from_str(&said).unwrap_or_else(|cause| panic!("{command:?}: {cause}: {said}"))
}

/// Waits until every backend is connected; the command that adds one waits only a while.
fn wait_for_backends(installation: &Installation) {
    wait::until("every backend is connected", PATIENCE, || {
        let list = ["sm", "backend_list", "--format", "json"];
        let listed = json(&mut installation.nova_manage(&list));
        let mut backends = listed.as_array().unwrap().iter();
        backends
            .all(|backend| backend["state"] == "connected")
            .then_some(())
    });
}

/// No image is left in an installation's first backend.
fn assert_no_images(installation: &Installation) {
    let directory = installation.data_dir.join("backends/default");
    wait::until("every image is gone", PATIENCE, || {
        let entries = std::fs::read_dir(&directory).unwrap().flatten();
        let left = entries.filter(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            name.ends_with(".vhd") || name.ends_with(".raw")
        });
        (left.count() == 0).then_some(())
    });
}

#[test]
fn the_openstack_command_makes_shows_changes_and_deletes_a_volume() {
    let Some(openstack) = tool::python_client("openstack") else {
        return;
    };
    let installation = Installation::start(XENSM);
    let run = |arguments: &[&str]| {
        let mut command = installation.client(&openstack, "openrc.sh");
        command.args(arguments);
        command
    };
    tool::run(&mut installation.nova_manage(&[
        "sm",
        "flavor_create",
        "gold",
        "Not all that glitters",
    ]));
    for name in ["gold-1", "gold-2"] {
        let location = format!("location={}", installation.root.join(name).display());
        tool::run(&mut installation.nova_manage(&[
            "sm",
            "backend_add",
            "gold",
            "file",
            &location,
            "--yes",
        ]));
    }
    wait_for_backends(&installation);
    let types = json(&mut run(&["volume", "type", "list", "-f", "json"]));
    let names: Vec<_> = types
        .as_array()
        .unwrap()
        .iter()
        .map(|kind| kind["Name"].as_str().unwrap())
        .collect();
    assert!(
        names.contains(&"gold") && names.contains(&"default"),
        "{names:?}"
    );

    let made = json(&mut run(&[
        "volume", "create", "--type", "gold", "--size", "1", "v", "-f", "json",
    ]));
    assert_eq!(made["type"], "gold");
    let shown = wait::until("the volume is available", PATIENCE, || {
        let shown = json(&mut run(&["volume", "show", "v", "-f", "json"]));
        assert_ne!(shown["status"], "error", "{shown}");
        (shown["status"] == "available").then_some(shown)
    });
    assert_eq!(shown["id"], made["id"]);
    // First fit: the first backend holds it, the second holds nothing.
    let images = |name: &str| {
        let entries = std::fs::read_dir(installation.root.join(name))
            .unwrap()
            .flatten();
        entries
            .filter(|entry| {
                entry
                    .path()
                    .extension()
                    .is_some_and(|ending| ending == "vhd")
            })
            .count()
    };
    assert_eq!((images("gold-1"), images("gold-2")), (1, 0));

    tool::run(&mut run(&[
        "volume",
        "set",
        "--name",
        "w",
        "--property",
        "a=b",
        "v",
    ]));
    let listed = json(&mut run(&["volume", "list", "--long", "-f", "json"]));
    assert_eq!(listed[0]["Name"], "w");
    assert_eq!(listed[0]["Properties"], serde_json::json!({"a": "b"}));
    tool::run(&mut run(&["volume", "delete", "w"]));
    wait::until("the volume is gone", PATIENCE, || {
        (json(&mut run(&["volume", "list", "-f", "json"])) == serde_json::json!([])).then_some(())
    });
    assert_eq!((images("gold-1"), images("gold-2")), (0, 0));
    let zones = json(&mut run(&[
        "availability",
        "zone",
        "list",
        "--volume",
        "-f",
        "json",
    ]));
    assert_eq!(zones[0]["Zone Name"], "nova");
    let output = tool::output(&mut run(&["volume", "show", "no-such-volume"]));
    assert!(!output.status.success());
}

#[test]
fn the_openstack_sdk_lives_through_the_life_of_a_volume() {
    let Some(python) = tool::python_client("python") else {
        return;
    };
    let installation = Installation::start(XENSM);
    let mut command = Command::new(python);
    command
        .env(
            "OS_CLIENT_CONFIG_FILE",
            installation.data_dir.join("clouds.yaml"),
        )
        .env("HOME", &installation.root);
    let said = tool::run(command.arg(script("openstack_sdk.py")));
    assert!(said.ends_with("ok\n"), "{said}");
    assert_no_images(&installation);
}

#[test]
fn the_cinder_command_lists_and_creates() {
    let Some(cinder) = tool::python_client("cinder") else {
        return;
    };
    let installation = Installation::start(XENSM);
    let run =
        |arguments: &[&str]| tool::run(installation.client(&cinder, "openrc.sh").args(arguments));
    assert!(run(&["type-list"]).contains("default"));
    // It shows what it finds when it looks again, which may be a volume that is there already.
    let made = run(&["create", "--name", "c", "1"]);
    assert!(
        made.contains("creating") || made.contains("available"),
        "{made}"
    );
    wait::until("the volume is available", PATIENCE, || {
        run(&["list"]).contains("available").then_some(())
    });
    run(&["delete", "c"]);
    assert_no_images(&installation);
}

#[test]
fn the_aws_command_makes_shows_and_deletes_a_volume() {
    let Some(aws) = tool::python_client("aws") else {
        return;
    };
    let installation = Installation::start(XENSM);
    tool::run(&mut installation.nova_manage(&[
        "sm",
        "flavor_create",
        "gold",
        "Not all that glitters",
    ]));
    let location = format!("location={}", installation.root.join("gold").display());
    tool::run(&mut installation.nova_manage(&[
        "sm",
        "backend_add",
        "gold",
        "file",
        &location,
        "--yes",
    ]));
    let run = |arguments: &[&str]| {
        let mut command = installation.client(&aws, "ec2rc.sh");
        command.arg("ec2").args(arguments);
        command
    };
    let made = json(&mut run(&[
        "create-volume",
        "--volume-type",
        "gold",
        "--size",
        "2",
        "--availability-zone",
        "nova",
    ]));
    let id = made["VolumeId"].as_str().unwrap().to_owned();
    assert_eq!(made["VolumeType"], "gold");
    wait::until("the volume is available", PATIENCE, || {
        let shown = json(&mut run(&["describe-volumes", "--volume-ids", &id]));
        (shown["Volumes"][0]["State"] == "available").then_some(())
    });
    tool::run(&mut run(&["delete-volume", "--volume-id", &id]));
    wait::until("the volume is gone", PATIENCE, || {
        (json(&mut run(&["describe-volumes"]))["Volumes"] == serde_json::json!([])).then_some(())
    });
    let output = tool::output(&mut run(&["delete-volume", "--volume-id", &id]));
    assert!(String::from_utf8_lossy(&output.stderr).contains("InvalidVolume.NotFound"));
}

#[test]
fn boto3_and_signature_version_2_clients_live_through_the_life_of_a_volume() {
    let Some(python) = tool::python_client("python") else {
        return;
    };
    let installation = Installation::start(XENSM);
    let names = [
        "ec2_boto3.py",
        "ec2_instances.py",
        "ec2_signature_v2.py",
        "ec2_boto2.py",
    ];
    for name in names {
        let mut client = installation.client(&python, "ec2rc.sh");
        client.env("PYTHONDONTWRITEBYTECODE", "1");
        let said = tool::run(client.arg(script(name)));
        assert!(said.ends_with("ok\n"), "{said}");
    }
    assert_no_images(&installation);
}

#[test]
fn the_xenapi_package_makes_and_destroys_an_sr_and_a_vdi() {
    let Some(python) = tool::python_client("python") else {
        return;
    };
    let installation = Installation::start(XENSM);
    let location = installation.root.join("sr");
    let said = tool::run(
        installation
            .client(&python, "xenapi.sh")
            .arg(script("xenapi_sdk.py"))
            .arg(&location),
    );
    assert!(said.ends_with("ok\n"), "{said}");
}

#[test]
fn the_client_of_xen_orchestra_connects_and_watches() {
    let (Some(directory), Some(node)) = (tool::node_directory(), tool::program("node")) else {
        return;
    };
    let installation = Installation::start(XENSM);
    let mut command = installation.client(&node, "xenapi.sh");
    command
        .current_dir(directory)
        .arg(script("xen_orchestra.mjs"))
        .arg(installation.root.join("sr"));
    let said = tool::run(&mut command);
    assert!(said.ends_with("ok\n"), "{said}");
}
