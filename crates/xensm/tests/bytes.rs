//! A volume's bytes through NBD: what was written is what is read, by other people's tools, and what lies in the VHD file.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use testkit::installation::Installation;
use testkit::{tool, wait};

const XENSM: &str = env!("CARGO_BIN_EXE_xensm");
const PATIENCE: Duration = Duration::from_secs(180);
const MIB: usize = 1024 * 1024;

/// Makes a volume of 1 GiB through the API and waits until it is available.
fn volume(installation: &Installation, name: &str) {
    let openstack = tool::python_client("openstack");
    let Some(openstack) = openstack else {
        panic!("checked by the caller")
    };
    let run = |arguments: &[&str]| {
        tool::run(installation.client(&openstack, "openrc.sh").args(arguments))
    };
    run(&["volume", "create", "--size", "1", name]);
    wait::until("the volume is available", PATIENCE, || {
        run(&["volume", "show", name, "-f", "value", "-c", "status"])
            .contains("available")
            .then_some(())
    });
}

fn attach(installation: &Installation, name: &str) -> String {
    tool::run(&mut installation.xensm(&["attach", name]))
        .trim()
        .to_owned()
}

fn detach(installation: &Installation, name: &str) {
    tool::run(&mut installation.xensm(&["detach", name]));
}

/// A file of 1 GiB with random bytes here and there.
fn sparse_image(directory: &Path) -> PathBuf {
    use std::os::unix::fs::FileExt;
    let path = directory.join("image.raw");
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(1024 * MIB as u64).unwrap();
    let mut noise = vec![0; 3 * MIB];
    std::io::Read::read_exact(
        &mut std::fs::File::open("/dev/urandom").unwrap(),
        &mut noise,
    )
    .unwrap();
    for offset in [0, 5 * MIB - 512, 100 * MIB + 4096, 1021 * MIB] {
        file.write_all_at(&noise, offset as u64).unwrap();
    }
    path
}

fn vhd(installation: &Installation) -> PathBuf {
    let entries = std::fs::read_dir(installation.data_dir.join("backends/default"))
        .unwrap()
        .flatten();
    let mut images = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "vhd"));
    images.next().expect("there is an image")
}

#[test]
fn what_is_written_through_nbd_is_in_the_vhd_and_survives_detach_restart_and_kill() {
    let tools = [
        tool::program("nbdcopy"),
        tool::program("qemu-img"),
        tool::program("nbdinfo"),
        tool::python_client("openstack"),
    ];
    let [Some(nbdcopy), Some(qemu_img), Some(nbdinfo), Some(_)] = tools else {
        return;
    };
    let mut installation = Installation::start(XENSM);
    volume(&installation, "data");
    let image = sparse_image(&installation.root);
    let uri = attach(&installation, "data");
    assert!(uri.starts_with("nbd+unix:///"), "{uri}");
    assert!(tool::run(Command::new(&nbdinfo).arg(&uri)).contains("1073741824"));
    tool::run(Command::new(&nbdcopy).arg("--flush").arg(&image).arg(&uri));
    // Killed with everything flushed: the export comes back under the same name, with the same bytes.
    installation.kill();
    installation.restart();
    let copy = installation.root.join("copy.raw");
    wait::until("the export is back", PATIENCE, || {
        tool::output(Command::new(&nbdinfo).arg(&uri))
            .status
            .success()
            .then_some(())
    });
    tool::run(Command::new(&nbdcopy).arg(&uri).arg(&copy));
    let compare = |other: &Path, format: &str| {
        tool::run(
            Command::new(&qemu_img)
                .args(["compare", "-f", "raw", "-F", format])
                .arg(&image)
                .arg(other),
        );
    };
    compare(&copy, "raw");
    detach(&installation, "data");
    compare(&vhd(&installation), "vpc");
    // Detached means detached.
    assert!(
        !tool::output(Command::new(&nbdinfo).arg(&uri))
            .status
            .success()
    );
    let output = tool::output(&mut installation.xensm(&["detach", "data"]));
    assert_eq!(output.status.code(), Some(3));

    installation.stop();
    installation.restart();
    let uri = attach(&installation, "data");
    std::fs::remove_file(&copy).unwrap();
    tool::run(Command::new(&nbdcopy).arg(&uri).arg(&copy));
    compare(&copy, "raw");
    // In use: neither deleted nor attached a second time.
    let openstack = tool::python_client("openstack").unwrap();
    let output = tool::output(
        installation
            .client(&openstack, "openrc.sh")
            .args(["volume", "delete", "data"]),
    );
    assert!(!output.status.success());
    assert!(
        !tool::output(&mut installation.xensm(&["attach", "data"]))
            .status
            .success()
    );
    detach(&installation, "data");
}

#[test]
fn other_peoples_writers_agree_with_other_peoples_readers() {
    let tools = [
        tool::program("qemu-io"),
        tool::program("fio"),
        tool::python_client("openstack"),
    ];
    let [Some(qemu_io), Some(fio), Some(_)] = tools else {
        return;
    };
    let installation = Installation::start(XENSM);
    volume(&installation, "io");
    let uri = attach(&installation, "io");
    let said = tool::run(Command::new(&qemu_io).args(["-f", "raw", &uri]).args([
        "-c",
        "write -P 0xa5 1M 64k",
        "-c",
        "write -z 1049088 1k",
        "-c",
        "flush",
        "-c",
        "read -P 0xa5 1M 512",
        "-c",
        "read -P 0 1049088 1k",
        "-c",
        "read -P 0xa5 1050112 1k",
        "-c",
        "read -P 0 512M 1M",
    ]));
    assert!(!said.contains("failed"), "{said}");
    tool::run(Command::new(&fio).current_dir(&installation.root).args([
        "--name=verify",
        "--ioengine=nbd",
        "--rw=randwrite",
        "--bs=4k",
        "--iodepth=16",
        "--size=32m",
        "--verify=crc32c",
        "--do_verify=1",
        "--verify_fatal=1",
        "--invalidate=0",
        "--randrepeat=0",
        &format!("--uri={uri}"),
    ]));
    detach(&installation, "io");
}
