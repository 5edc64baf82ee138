//! What operators do to volumes by hand, with stock clients and the real binary: states, flags, types, and VDIs that are adopted and
//! let go of.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

use std::path::Path;
use std::time::Duration;

use testkit::installation::Installation;
use testkit::{tool, wait};

const XENSM: &str = env!("CARGO_BIN_EXE_xensm");
const PATIENCE: Duration = Duration::from_secs(180);

fn run(installation: &Installation, program: &Path, line: &str) -> String {
    let mut command = installation.client(program, "openrc.sh");
    tool::run(command.args(line.split(' ')))
}

#[test]
fn operators_set_states_by_hand_and_adopt_vdis() {
    let programs = [
        tool::python_client("openstack"),
        tool::python_client("cinder"),
    ];
    let [Some(openstack), Some(cinder)] = programs else {
        return;
    };
    let installation = Installation::start(XENSM);
    let openstack = |line: &str| run(&installation, &openstack, line);
    let cinder = |line: &str| run(&installation, &cinder, line);
    let shown = |line: &str| -> serde_json::Value {
        let said = openstack(&format!("{line} -f json"));
        serde_json::from_str(&said).unwrap_or_else(|cause| panic!("{line}: {cause}: {said}"))
    };
    let until = |line: &str, status: &str| {
        wait::until(&format!("{line} says {status}"), PATIENCE, || {
            let shown = shown(line);
            (shown["status"] == status).then_some(shown)
        })
    };
    openstack("volume create --size 1 one");
    let made = until("volume show one", "available");
    let id = made["id"].as_str().unwrap();
    let host = made["os-vol-host-attr:host"].as_str().unwrap();

    openstack("volume set --state error one");
    assert_eq!(shown("volume show one")["status"], "error");
    openstack("volume set --state available --bootable --read-only --image-property os=linux one");
    openstack("volume type create silver");
    openstack("volume set --type silver one");
    let set = shown("volume show one");
    assert_eq!(
        (&set["status"], &set["bootable"]),
        (&"available".into(), &true.into())
    );
    assert_eq!(set["type"], "silver");
    assert_eq!(set["properties"]["readonly"], "True");
    assert_eq!(set["volume_image_metadata"]["os"], "linux");
    openstack("volume unset --image-property os one");
    openstack("volume set --read-write --non-bootable one");

    openstack("volume snapshot create --volume one early");
    let snapshot = until("volume snapshot show early", "available");
    let snapshot = snapshot["id"].as_str().unwrap();
    openstack("volume snapshot set --state error early");
    openstack("volume snapshot set --state available early");
    cinder("snapshot-unmanage early");
    let gone = |line: &str, name: &str| {
        wait::until(&format!("{name} is gone"), PATIENCE, || {
            (!openstack(line).contains(name)).then_some(())
        });
    };
    gone("volume snapshot list", "early");
    let v38 = "--os-volume-api-version 3.8";
    let name = format!("snap-{snapshot}");
    let listed = cinder(&format!("{v38} snapshot-manageable-list {host}"));
    assert!(listed.contains(&name), "{listed}");
    let listed = openstack(&format!(
        "{v38} block storage snapshot manageable list {host}"
    ));
    assert!(listed.contains(&name), "{listed}");
    cinder(&format!("snapshot-manage --name again one {name}"));
    until("volume snapshot show again", "available");
    openstack("volume snapshot delete again");
    gone("volume snapshot list", "again");

    cinder("unmanage one");
    gone("volume list", "one");
    let name = format!("vol-{id}");
    let listed = cinder(&format!("{v38} manageable-list {host}"));
    assert!(listed.contains(&name), "{listed}");
    let listed = openstack(&format!(
        "{v38} block storage volume manageable list --long {host}"
    ));
    assert!(listed.contains(&name), "{listed}");
    cinder(&format!(
        "manage --name back --volume-type silver {host} {name}"
    ));
    let back = until("volume show back", "available");
    assert_eq!(back["size"], 1);
    assert_eq!(back["os-vol-host-attr:host"], host);
    openstack("volume delete back");
    gone("volume list", "back");
}
