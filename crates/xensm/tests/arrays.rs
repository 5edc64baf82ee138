//! SR types whose volumes an array makes, through the whole product: stock clients, an operator who is asked for passwords, an array
//! that is full and one that is gone.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

mod scene;

use scene::{PATIENCE, Scene, images, nfs_parameters, texts};
use testkit::equallogic::{self, EqualLogicEmulator};
use testkit::nfs_server::NfsServer;
use testkit::ontap::{self, OntapEmulator};
use testkit::{tool, wait};

/// The password of the administrators of both arrays, as no other text here is.
const PASSWORD: &str = "correct-horse-battery";

/// Room for one thick volume of 1 GiB, and not for two.
const SMALL: u64 = 6 << 30;

/// A filer with so much room.
fn filer(bytes: u64) -> Option<OntapEmulator> {
    let mut options = ontap::Options {
        aggregates: vec![("aggr1".to_owned(), bytes)],
        ..ontap::Options::default()
    };
    options.logins[0].password = PASSWORD.to_owned();
    OntapEmulator::start(options)
}

/// A group with so much room.
fn group(bytes: u64) -> Option<EqualLogicEmulator> {
    EqualLogicEmulator::start_with_data(equallogic::Options {
        capacity: bytes,
        password: PASSWORD.to_owned(),
        ..equallogic::Options::default()
    })
}

/// What an operator says of a filer, without the aggregate.
fn of_filer(scene: &Scene, filer: &OntapEmulator) -> Vec<String> {
    let certificate = scene.installation.root.join("filer.pem");
    std::fs::write(&certificate, filer.certificate()).unwrap();
    vec![
        format!("target={}", filer.address()),
        format!("port={}", filer.https_port()),
        format!("ca_certificate={}", certificate.display()),
        "username=admin".to_owned(),
        password(scene),
    ]
}

/// What an operator says of a group, without the pool.
fn of_group(scene: &Scene, group: &EqualLogicEmulator) -> Vec<String> {
    vec![
        format!("target={}", group.address()),
        format!("controlport={}", group.ssh_port()),
        format!("ssh_host_key={}", group.host_key_fingerprint()),
        "username=grpadmin".to_owned(),
        password(scene),
    ]
}

fn password(scene: &Scene) -> String {
    let file = scene.installation.root.join("password");
    std::fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    format!("password=@{}", file.display())
}

fn tools_are_there() -> bool {
    ["qemu-io", "nbdinfo"]
        .map(tool::program)
        .iter()
        .all(Option::is_some)
}

/// Looks what is on an array, adds it as a backend of a flavor of its own, has users live there until nothing of them is `left`, and
/// takes its SR over again.
fn live(
    scene: &Scene,
    sr_type: &str,
    known: &[String],
    wanted: &str,
    asked_for: &[&str],
    left: impl Fn() -> usize,
) {
    let known = texts(known);
    let probe = [&["backend_probe", sr_type], &known[..]].concat();
    let shown = scene.sm(&probe);
    for text in asked_for {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    let flavor = format!("of-{sr_type}");
    scene.sm(&["flavor_create", &flavor, "made by an array"]);
    let backend = scene.add_to(&flavor, sr_type, &[&known[..], &[wanted]].concat());
    assert_eq!(backend["config_params"]["password"], "***", "{backend}");
    let uuid = backend["sr_uuid"].as_str().unwrap().to_owned();
    assert!(scene.sm(&probe).contains(&uuid));
    scene.story_of("array_volumes.py", "ec2rc.sh", &[&flavor]);
    wait::until("nothing is left of them", PATIENCE, || {
        (left() == 0).then_some(())
    });

    // The array alone says what the SR was made with.
    scene.sm(&["backend_remove", &backend["id"].to_string(), "--yes"]);
    let of_sr = format!("sr_uuid={uuid}");
    let again = scene.add_to(&flavor, sr_type, &[&known[..], &[&of_sr]].concat());
    assert_eq!(again["sr_uuid"], uuid.as_str());
}

/// No file of the installation and nothing that it says has the password.
fn is_secret(scene: &mut Scene) {
    let said = scene.sm(&["backend_list"]) + &scene.installation.log();
    assert!(!said.contains(PASSWORD), "{said}");
    scene.installation.stop();
    let mut directories = vec![scene.installation.data_dir.clone()];
    let mut looked_at = 0;
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                directories.push(entry.path());
            } else if kind.is_file() {
                let content = std::fs::read(entry.path()).unwrap();
                let mut windows = content.windows(PASSWORD.len());
                let found = windows.any(|window| window == PASSWORD.as_bytes());
                assert!(!found, "{}", entry.path().display());
                looked_at += 1;
            }
        }
    }
    assert!(looked_at > 5, "{looked_at}");
}

#[test]
fn volumes_live_their_life_on_a_filer() {
    let Some(filer) = filer(1 << 40) else { return };
    if !tools_are_there() {
        return;
    }
    let mut scene = Scene::new();
    let known = of_filer(&scene, &filer);
    let asked_for = ["Aggr", "aggr1", "1.0 TiB"];
    let luns = || filer.with(|cluster| cluster.luns.len());
    live(
        &scene,
        "netapp",
        &known,
        "aggregate=aggr1",
        &asked_for,
        luns,
    );
    is_secret(&mut scene);
}

#[test]
fn volumes_live_their_life_on_a_group() {
    let Some(group) = group(1 << 40) else { return };
    if !tools_are_there() {
        return;
    }
    let mut scene = Scene::new();
    let known = of_group(&scene, &group);
    let asked_for = ["StoragePool", "default"];
    // All but the one that says that there is an SR.
    let volumes = || group.state().group.volumes.len() - 1;
    live(
        &scene,
        "equal",
        &known,
        "storagepool=default",
        &asked_for,
        volumes,
    );
    is_secret(&mut scene);
}

#[test]
fn volumes_go_elsewhere_when_an_array_is_full_or_gone() {
    let exported = tempfile::tempdir().unwrap();
    let (Some(filer), Some(group)) = (filer(SMALL), group(1 << 40)) else {
        return;
    };
    let Some(server) = NfsServer::start(exported.path()) else {
        return;
    };
    let Some(openstack) = tool::python_client("openstack") else {
        return;
    };
    if !tools_are_there() {
        return;
    }
    let scene = Scene::new();
    let of_group = of_group(&scene, &group);
    let of_group = [&texts(&of_group)[..], &["storagepool=default"]].concat();
    scene.add("equal", &of_group);
    let of_filer = of_filer(&scene, &filer);
    let more = ["aggregate=aggr1", "FlexVols=1"];
    scene.add("netapp", &[&texts(&of_filer)[..], &more].concat());
    scene.add("nfs", &texts(&nfs_parameters(&server, "")));

    scene.volume(&openstack, "on-the-group");
    scene.io("on-the-group", "write -P 0xa1 0 64k");
    drop(group);
    scene.volume(&openstack, "on-the-filer");
    scene.io("on-the-filer", "write -P 0xb2 0 64k");
    assert_eq!(images(exported.path()), 0);
    // The filer gets full by and by.
    let names = (1..10).map(|number| format!("more-{number}"));
    let elsewhere = names.into_iter().find(|name| {
        scene.volume(&openstack, name);
        images(exported.path()) == 1
    });
    let elsewhere = elsewhere.expect("a volume that the filer has no room for");
    scene.io(&elsewhere, "write -P 0xc3 0 64k");
    scene.io("on-the-filer", "read -P 0xb2 0 64k");
}
