//! SR types through the whole product: stock clients, two backends of different types in one flavor, a server that dies.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

mod scene;

use std::path::Path;

use scene::{PATIENCE, Scene, images, nfs_parameters, texts};
use testkit::iscsi_target::Tgt;
use testkit::nfs_server::NfsServer;
use testkit::{tool, wait};

#[test]
fn volumes_live_their_life_on_an_nfs_server_and_come_back_from_it() {
    let exported = tempfile::tempdir().unwrap();
    let Some(server) = NfsServer::start(exported.path()) else {
        return;
    };
    let tools = [tool::program("qemu-io"), tool::program("nbdinfo")];
    if tools.iter().any(Option::is_none) {
        return;
    }
    let scene = Scene::new();
    let parameters = nfs_parameters(&server, "");
    let backend = scene.add("nfs", &texts(&parameters));
    scene.story("snapshot_bytes.py", "openrc.sh");
    scene.story("ec2_snapshots.py", "ec2rc.sh");

    // The SR is seen on the export, is forgotten with its backend, and is taken over by its uuid.
    let uuid = backend["sr_uuid"].as_str().unwrap().to_owned();
    let probe = [&["backend_probe", "nfs"], &texts(&parameters)[1..]].concat();
    assert!(scene.sm(&probe).contains(&uuid));
    scene.sm(&["backend_remove", &backend["id"].to_string(), "--yes"]);
    let of_sr = format!("sr_uuid={uuid}");
    let again = scene.add("nfs", &[texts(&parameters), vec![&of_sr]].concat());
    assert_eq!(again["sr_uuid"], uuid.as_str());
    // Another one is made beside it.
    let beside = scene.add("nfs", &texts(&parameters));
    assert_ne!(beside["sr_uuid"], uuid.as_str());
}

#[test]
fn when_a_server_dies_the_other_backend_takes_over_and_its_volumes_come_back() {
    let (exported, local) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let clients = (tool::python_client("openstack"), tool::program("qemu-io"));
    let ((Some(openstack), Some(_)), Some(mut server)) =
        (clients, NfsServer::start(exported.path()))
    else {
        return;
    };
    let scene = Scene::new();
    // It is given up after eight seconds.
    let parameters = nfs_parameters(&server, ",timeo=40,retrans=1");
    let first = scene.add("nfs", &texts(&parameters));
    let location = format!("location={}", local.path().join("second").display());
    scene.add("file", &[&location]);
    scene.volume(&openstack, "one");
    scene.io("one", "write -P 0xa1 0 64k");
    assert_eq!((images(exported.path()), images(local.path())), (1, 0));

    server.kill();
    scene.volume(&openstack, "two");
    scene.io("two", "write -P 0xb2 0 64k");
    assert_eq!((images(exported.path()), images(local.path())), (1, 1));

    // Nothing is started again but the server.
    server.restart();
    wait::until("the first backend is back", PATIENCE, || {
        let backend = scene.backend(&first["id"].to_string());
        (backend["state"] == "connected").then_some(())
    });
    scene.io("one", "read -P 0xa1 0 64k");
    scene.io("two", "read -P 0xb2 0 64k");
    wait::until("new volumes are made on it again", PATIENCE, || {
        scene.volume(&openstack, "three");
        let there = images(exported.path()) == 2;
        if !there {
            tool::run(&mut scene.openstack(&openstack, "volume delete three"));
            wait::until("the volume is gone", PATIENCE, || {
                let listed = tool::run(&mut scene.openstack(&openstack, "volume list"));
                (!listed.contains(" three ")).then_some(())
            });
        }
        there.then_some(())
    });
}

/// A plain file that stands for a device, with so many bytes and no data.
fn device(directory: &Path, name: &str, bytes: u64) -> String {
    let path = directory.join(name);
    std::fs::File::create(&path)
        .unwrap()
        .set_len(bytes)
        .unwrap();
    format!("device={}", path.display())
}

#[test]
fn volumes_live_their_life_in_a_volume_group_that_is_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let tools = [tool::program("qemu-io"), tool::program("nbdinfo")];
    if tools.iter().any(Option::is_none) {
        return;
    }
    let scene = Scene::new();
    let device = device(directory.path(), "device", 64 << 30);
    let backend = scene.add("lvm", &["name_label=local", &device]);
    scene.story("snapshot_bytes.py", "openrc.sh");
    scene.story("ec2_snapshots.py", "ec2rc.sh");

    // A medium that holds an SR is not formatted, whoever asks for a backend on it.
    let uuid = backend["sr_uuid"].as_str().unwrap().to_owned();
    assert!(scene.sm(&["backend_probe", "lvm", &device]).contains(&uuid));
    scene.sm(&["backend_remove", &backend["id"].to_string(), "--yes"]);
    let again = scene.add("lvm", &[&device]);
    assert_eq!(again["sr_uuid"], uuid.as_str());
}

#[test]
fn when_the_first_backend_is_full_the_second_takes_the_volume() {
    let directory = tempfile::tempdir().unwrap();
    let Some(openstack) = tool::python_client("openstack") else {
        return;
    };
    let scene = Scene::new();
    // Room for one volume of 1 GiB, which is allocated as a whole.
    let device = device(directory.path(), "device", 1800 << 20);
    scene.add("lvm", &[&device]);
    let second = directory.path().join("second");
    scene.add("file", &[&format!("location={}", second.display())]);
    scene.volume(&openstack, "one");
    assert_eq!(images(&second), 0);
    scene.volume(&openstack, "two");
    assert_eq!(images(&second), 1);
    scene.io("one", "write -P 0xa1 1000M 1M");
    scene.io("two", "write -P 0xb2 1000M 1M");
    scene.io("one", "read -P 0xa1 1000M 1M");
}

#[test]
fn volumes_live_their_life_on_luns_of_a_target() {
    const LVHD: &str = "iqn.2026-11.org.example:lvhd";
    const LUNS: &str = "iqn.2026-11.org.example:luns";
    let Some(mut tgt) = Tgt::start() else { return };
    let tools = [tool::program("qemu-io"), tool::program("nbdinfo")];
    if tools.iter().any(Option::is_none) {
        return;
    }
    tgt.add_target(1, LVHD);
    tgt.add_lun(1, 1, 16 << 30);
    tgt.add_target(2, LUNS);
    tgt.add_lun(2, 1, 2 << 30);
    tgt.add_lun(2, 2, 1 << 30);
    let scene = Scene::new();
    scene.sm(&["flavor_create", "silver", "a LUN for each volume"]);

    // The target, then the LUN, then the backend.
    let port = format!("port={}", tgt.port());
    let mut known = vec!["target=127.0.0.1", &port];
    let targets = scene.sm(&[&["backend_probe", "lvmoiscsi"], &known[..]].concat());
    assert!(
        targets.contains(LVHD) && targets.contains(LUNS),
        "{targets}"
    );
    let iqn = format!("targetIQN={LVHD}");
    known.push(&iqn);
    let json = ["--format", "json"];
    let luns = scene.sm(&[&["backend_probe", "lvmoiscsi"], &known[..], &json].concat());
    let luns: serde_json::Value = serde_json::from_str(&luns).unwrap();
    let facts = luns["found"][0]["facts"].as_array().unwrap();
    let scsi_id = facts.iter().find(|fact| fact["name"] == "SCSIid").unwrap();
    let scsi_id = format!("SCSIid={}", scsi_id["value"].as_str().unwrap());
    known.push(&scsi_id);
    let backend = scene.add("lvmoiscsi", &known);
    let iqn = format!("targetIQN={LUNS}");
    scene.add_to("silver", "iscsi", &["target=127.0.0.1", &port, &iqn]);
    scene.story_of("iscsi_volumes.py", "ec2rc.sh", &["gold", "silver"]);

    // The LUN tells which SR lies on it.
    let uuid = backend["sr_uuid"].as_str().unwrap();
    assert!(
        scene
            .sm(&[&["backend_probe", "lvmoiscsi"], &known[..]].concat())
            .contains(uuid)
    );
}
