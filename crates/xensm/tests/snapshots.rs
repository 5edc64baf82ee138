//! Snapshots, clones, extending and reverting, by stock clients and with the bytes looked at through NBD.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use testkit::installation::Installation;
use testkit::{tool, wait};

const XENSM: &str = env!("CARGO_BIN_EXE_xensm");
const PATIENCE: Duration = Duration::from_secs(180);

/// An installation and a command of somebody else's on it.
struct Scene {
    installation: Installation,
    program: PathBuf,
    credentials: &'static str,
}

impl Scene {
    /// None, said plainly, when the program is missing.
    fn new(program: &str, credentials: &'static str) -> Option<Self> {
        let program = tool::python_client(program)?;
        Some(Scene {
            installation: Installation::start(XENSM),
            program,
            credentials,
        })
    }

    fn command(&self, line: &str) -> Command {
        let mut command = self.installation.client(&self.program, self.credentials);
        command.args(line.split(' '));
        command
    }

    fn run(&self, line: &str) -> String {
        tool::run(&mut self.command(line))
    }

    fn json(&self, line: &str) -> serde_json::Value {
        let said = self.run(line);
        serde_json::from_str(&said).unwrap_or_else(|cause| panic!("{line}: {cause}: {said}"))
    }

    /// The complaint about a command that must not succeed.
    fn refused(&self, line: &str) -> String {
        let output = tool::output(&mut self.command(line));
        assert!(!output.status.success(), "{line} was not refused");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Waits until what a command prints holds a word.
    fn until(&self, line: &str, word: &str) -> String {
        wait::until(&format!("{line} says {word}"), PATIENCE, || {
            Some(self.run(line)).filter(|said| said.contains(word))
        })
    }

    /// Waits until what a command prints holds a word no more.
    fn until_without(&self, line: &str, word: &str) {
        wait::until(&format!("{line} says nothing of {word}"), PATIENCE, || {
            (!self.run(line).contains(word)).then_some(())
        });
    }

    /// Runs a script of this repository, which says `ok` at its end.
    fn script(&self, name: &str, arguments: &[&str]) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/clients")
            .join(name);
        let mut command = self.installation.client(&self.program, self.credentials);
        command
            .env(
                "OS_CLIENT_CONFIG_FILE",
                self.installation.data_dir.join("clouds.yaml"),
            )
            .env("XENSM_DATA_DIR", &self.installation.data_dir);
        let said = tool::run(command.arg(path).args(arguments));
        assert!(said.ends_with("ok\n"), "{said}");
        self.assert_no_images();
    }

    /// No image is left in the first backend.
    fn assert_no_images(&self) {
        let directory = self.installation.data_dir.join("backends/default");
        wait::until("every image is gone", PATIENCE, || {
            let entries = std::fs::read_dir(&directory).unwrap().flatten();
            let left = entries.filter(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                name.ends_with(".vhd") || name.ends_with(".raw")
            });
            (left.count() == 0).then_some(())
        });
    }
}

#[test]
fn snapshots_and_what_is_made_of_them_hold_the_bytes_that_they_should() {
    let tools = [tool::program("qemu-io"), tool::program("nbdinfo")];
    let ([Some(_), Some(_)], Some(scene)) = (tools, Scene::new("python", "openrc.sh")) else {
        return;
    };
    scene.script("snapshot_bytes.py", &[XENSM]);
}

#[test]
fn openstacksdk_lives_through_the_life_of_snapshots() {
    let Some(scene) = Scene::new("python", "openrc.sh") else {
        return;
    };
    scene.script("openstack_snapshots.py", &[]);
}

#[test]
fn boto3_lives_through_the_life_of_snapshots() {
    let Some(scene) = Scene::new("python", "ec2rc.sh") else {
        return;
    };
    scene.script("ec2_snapshots.py", &[]);
}

#[test]
fn the_openstack_command_takes_clones_extends_and_reverts() {
    let Some(scene) = Scene::new("openstack", "openrc.sh") else {
        return;
    };
    scene.run("volume create --size 1 base");
    scene.until("volume show base", "available");
    scene.run("volume snapshot create --volume base --property k=v first");
    scene.until("volume snapshot show first", "available");
    let listed = scene.json("volume snapshot list --long -f json");
    assert_eq!(listed[0]["Name"], "first", "{listed}");
    assert_eq!(listed[0]["Size"], 1, "{listed}");
    scene.run("volume create --snapshot first clone");
    scene.run("volume create --source base --size 2 copy");
    let clone = scene.until("volume show clone -f json", "\"available\"");
    assert!(clone.contains(listed[0]["ID"].as_str().unwrap()), "{clone}");
    let copy = scene.until("volume show copy -f json", "\"available\"");
    assert!(copy.contains("\"size\": 2"), "{copy}");
    scene.run("--os-volume-api-version 3.40 volume revert first");
    scene.until("volume show base", "available");
    scene.run("volume set --size 3 base");
    scene.until("volume list -f json", "\"Size\": 3");
    // While attached: not before 3.42.
    tool::run(&mut scene.installation.xensm(&["attach", "base"]));
    scene.refused("--os-volume-api-version 3.41 volume set --size 4 base");
    scene.run("--os-volume-api-version 3.42 volume set --size 4 base");
    scene.until("volume list -f json", "\"Size\": 4");
    let complaint =
        scene.refused("--os-volume-api-version 3.65 volume snapshot create --volume base second");
    assert!(complaint.contains("in-use"), "{complaint}");
    scene.run("--os-volume-api-version 3.65 volume snapshot create --volume base --force second");
    scene.until("volume snapshot show second", "available");
    tool::run(&mut scene.installation.xensm(&["detach", "base"]));
    let limits = scene.run("limits show --absolute");
    assert!(limits.contains("total_snapshots_used"), "{limits}");
    let complaint = scene.refused("volume delete base");
    assert!(complaint.contains("snapshots"), "{complaint}");
    scene.run("volume snapshot delete first second");
    // One that is being deleted keeps its volume still.
    for name in ["first", "second"] {
        scene.until_without("volume snapshot list", name);
    }
    scene.run("volume delete base clone copy");
    scene.until_without("volume list -f value", "-");
    scene.assert_no_images();
}

#[test]
fn the_cinder_command_takes_clones_extends_and_reverts() {
    let Some(scene) = Scene::new("cinder", "openrc.sh") else {
        return;
    };
    scene.run("create --name base 1");
    scene.until("show base", "available");
    scene.run("snapshot-create --name first --metadata k=v base");
    scene.until("snapshot-show first", "available");
    for line in [
        "snapshot-list --status available --sort name:asc",
        "snapshot-list --all-tenants 1 --metadata k=v",
        "snapshot-list --limit 1 --with-count",
    ] {
        assert!(scene.run(line).contains("first"), "{line}");
    }
    scene.run("snapshot-metadata first set colour=red");
    assert!(scene.run("snapshot-metadata-show first").contains("colour"));
    scene.run("snapshot-rename first renamed");
    let shown = scene.run("snapshot-show renamed");
    let field = |name: &str| {
        let line = shown
            .lines()
            .find(|line| line.contains(&format!("| {name} ")))
            .unwrap();
        line.split('|').nth(2).unwrap().trim().to_owned()
    };
    scene.run(&format!(
        "create --snapshot-id {} --name clone",
        field("id")
    ));
    scene.run(&format!(
        "create --source-volid {} --name copy 2",
        field("volume_id")
    ));
    scene.until("show clone", "available");
    scene.until("show copy", "available");
    scene.run("revert-to-snapshot renamed");
    scene.until("show base", "available");
    scene.run("extend base 3");
    scene.until("list --name base", "| 3 ");
    scene.until("show base", "available");
    scene.run("delete clone copy");
    // With its snapshots.
    scene.run("delete --cascade base");
    for name in ["base", "clone", "copy"] {
        scene.until_without("list", name);
    }
    scene.until_without("snapshot-list", "renamed");
    scene.assert_no_images();
}

#[test]
fn the_aws_command_takes_a_snapshot_and_makes_a_volume_from_it() {
    let Some(scene) = Scene::new("aws", "ec2rc.sh") else {
        return;
    };
    let id = |line: &str, key: &str| scene.json(line)[key].as_str().unwrap().to_owned();
    let volume = id(
        "ec2 create-volume --volume-type default --size 1 --availability-zone nova",
        "VolumeId",
    );
    scene.until("ec2 describe-volumes", "\"available\"");
    let snapshot = id(
        &format!("ec2 create-snapshot --volume-id {volume} --description d"),
        "SnapshotId",
    );
    scene.until("ec2 describe-snapshots --owner-ids self", "\"completed\"");
    let create = "ec2 create-volume --volume-type default --availability-zone nova --snapshot-id";
    let clone = id(&format!("{create} {snapshot}"), "VolumeId");
    // That command looks every 15 s.
    let shown = format!("ec2 describe-volumes --volume-ids {clone}");
    scene.until(&shown, "\"available\"");
    scene.run(&format!("ec2 wait volume-available --volume-ids {clone}"));
    scene.run(&format!("ec2 modify-volume --volume-id {clone} --size 2"));
    let changes = format!("ec2 describe-volumes-modifications --volume-ids {clone}");
    scene.until(&changes, "\"completed\"");
    scene.run(&format!("ec2 delete-snapshot --snapshot-id {snapshot}"));
    scene.until_without("ec2 describe-snapshots", "snap-");
    for volume in [volume, clone] {
        scene.run(&format!("ec2 delete-volume --volume-id {volume}"));
    }
    scene.until_without("ec2 describe-volumes", "vol-");
    scene.assert_no_images();
}
