//! What a newcomer meets: the first start, its files, the demo, the configuration.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use testkit::installation::Installation;
use testkit::tool;

const XENSM: &str = env!("CARGO_BIN_EXE_xensm");

#[test]
fn a_first_start_writes_private_credentials_and_says_what_to_try() {
    let mut installation = Installation::start(XENSM);
    for name in [
        "clouds.yaml",
        "openrc.sh",
        "ec2rc.sh",
        "xenapi.sh",
        "secrets.toml",
        "admin.toml",
    ] {
        let metadata = std::fs::metadata(installation.data_dir.join(name))
            .unwrap_or_else(|cause| panic!("{name}: {cause}"));
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{name}");
    }
    assert_eq!(
        std::fs::metadata(&installation.data_dir)
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o700
    );
    let log = installation.log();
    for part in [
        "Block Storage v3",
        "Identity v3",
        "EC2 Query",
        "XenAPI",
        "openstack volume create",
        "aws ec2 create-volume",
        "sm backend_list",
    ] {
        assert!(log.contains(part), "{part} is missing in:\n{log}");
    }
    let ec2 = installation.variables("ec2rc.sh");
    for name in [
        "AWS_ENDPOINT_URL_EC2",
        "EC2_URL",
        "AWS_ACCESS_KEY",
        "AWS_SECRET_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
    ] {
        assert!(ec2.contains_key(name), "{name}");
    }
    // Two installations have nothing in common.
    let other = Installation::start(XENSM);
    assert_ne!(
        ec2["AWS_SECRET_KEY"],
        other.variables("ec2rc.sh")["AWS_SECRET_KEY"]
    );
    assert_ne!(
        installation.variables("openrc.sh")["OS_PASSWORD"],
        other.variables("openrc.sh")["OS_PASSWORD"]
    );
    // The flavor of a first start is there, on a local backend, and stays one after a restart.
    for _ in 0..2 {
        let listed =
            tool::run(&mut installation.nova_manage(&["sm", "backend_list", "--format", "json"]));
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
        assert_eq!(listed[0]["flavor_label"], "default");
        assert_eq!(listed[0]["sr_type"], "file");
        installation.stop();
        installation.restart();
    }
}

#[test]
fn a_first_start_takes_what_it_finds() {
    let cut_off = "Made at the first start, on a local directory";
    // What nova-manage made before the first start, and what a first start made that was cut off.
    for (description, backends) in [("an operator's own", 0), (cut_off, 1)] {
        let mut installation = Installation::start(XENSM);
        installation.stop();
        std::fs::remove_dir_all(&installation.data_dir).unwrap();
        let create = ["sm", "flavor_create", "default", description];
        let made = tool::output(&mut installation.nova_manage(&create));
        let said = String::from_utf8_lossy(&made.stderr).into_owned();
        assert!(made.status.success(), "{said}");
        assert!(said.contains("there was no installation in"), "{said}");
        for _ in 0..2 {
            installation.restart();
            let list = ["sm", "backend_list", "--format", "json"];
            let listed = tool::output(&mut installation.nova_manage(&list));
            let said = String::from_utf8_lossy(&listed.stderr).into_owned();
            assert!(!said.contains("there was no installation"), "{said}");
            let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
            assert_eq!(listed.as_array().unwrap().len(), backends, "{listed}");
            installation.stop();
        }
    }
}

#[test]
fn a_second_process_on_the_same_directory_is_told_who_is_there() {
    let installation = Installation::start(XENSM);
    let output =
        tool::output(&mut installation.xensm(&["serve", "--listen-volume", "127.0.0.1:0"]));
    assert_eq!(output.status.code(), Some(4));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(&installation.pid().to_string()), "{said}");
    assert!(said.contains("hint:"), "{said}");
}

#[test]
fn a_port_that_is_taken_is_named_with_a_way_out() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(XENSM);
    command
        .env("XENSM_DATA_DIR", directory.path())
        .args(["serve", "--listen-volume", &address])
        .args([
            "--listen-identity",
            "127.0.0.1:0",
            "--listen-ec2",
            "127.0.0.1:0",
            "--listen-xenapi",
            "127.0.0.1:0",
        ]);
    let output = tool::output(&mut command);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains(&address) && said.contains("--listen-volume"),
        "{said}"
    );
}

#[test]
fn the_demo_tells_the_whole_story_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let told = tool::run(
        Command::new(XENSM)
            .arg("demo")
            .env("TMPDIR", directory.path()),
    );
    for part in [
        "nova-manage sm flavor_create gold",
        "openstack volume create --type gold",
        "aws ec2 create-volume --volume-type gold",
        "xensm attach first",
        "bytes read and compared",
        "openstack volume snapshot create --volume first",
        "Nothing is left",
    ] {
        assert!(told.contains(part), "{part} is missing in:\n{told}");
    }
    assert_eq!(
        std::fs::read_dir(directory.path()).unwrap().count(),
        0,
        "the temporary directory is gone"
    );
}

#[test]
fn the_example_configuration_is_good_and_a_bad_one_is_judged() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("xensm.toml");
    std::fs::write(
        &file,
        tool::run(Command::new(XENSM).args(["config", "example"])),
    )
    .unwrap();
    assert!(
        tool::run(Command::new(XENSM).args(["config", "check"]).arg(&file)).contains("is good")
    );
    std::fs::write(&file, "[listen]\nvolume = '0.0.0.0:8776'\n").unwrap();
    let output = tool::output(Command::new(XENSM).args(["config", "check"]).arg(&file));
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stdout).contains("clear text"));
}

#[test]
fn health_and_metrics_answer_and_a_request_has_an_id() {
    let installation = Installation::start(XENSM);
    let auth = installation.variables("openrc.sh");
    let identity = auth["OS_AUTH_URL"]
        .trim_end_matches("/v3")
        .trim_start_matches("http://");
    let answer = get(identity, "/healthz");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = get(identity, "/v3");
    assert!(
        answer
            .to_lowercase()
            .contains("x-openstack-request-id: req-"),
        "{answer}"
    );
    let volume = installation
        .log()
        .lines()
        .find(|line| line.contains("Block Storage v3"))
        .unwrap()
        .to_owned();
    let volume = volume
        .rsplit("http://")
        .next()
        .unwrap()
        .trim_end_matches("/v3")
        .to_owned();
    let answer = get(&volume, "/metrics");
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("# TYPE"),
        "{answer}"
    );
}

/// One request in plain HTTP.
fn get(address: &str, path: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
