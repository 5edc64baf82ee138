//! `nova-manage sm`, as the specification of 2011 has it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

use std::io::Write;
use std::process::{Command, Stdio};

use testkit::installation::Installation;
use testkit::{tool, wait};

const XENSM: &str = env!("CARGO_BIN_EXE_xensm");
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);

/// Runs a command that asks, and answers.
fn answer(command: &mut Command, answer: &str) -> (Option<i32>, String) {
    let mut process = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    process
        .stdin
        .take()
        .unwrap()
        .write_all(answer.as_bytes())
        .unwrap();
    let output = process.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

fn fails(command: &mut Command, code: i32) -> String {
    let output = tool::output(command);
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

#[test]
fn the_four_examples_of_the_specification_work_as_written() {
    let installation = Installation::start(XENSM);
    tool::run(&mut installation.nova_manage(&[
        "sm",
        "flavor_create",
        "gold",
        "Not all that glitters",
    ]));
    let listed = tool::run(&mut installation.nova_manage(&["sm", "flavor_list"]));
    let header = format!("{:<18}\t{:<20}\t{}", "id", "Label", "Description");
    assert!(listed.starts_with(&header), "{listed}");
    assert!(
        listed.contains("\tgold                \tNot all that glitters"),
        "{listed}"
    );

    let add = [
        "sm",
        "backend_add",
        "gold",
        "nfs",
        "name_label=toybox-renuka",
        "server=myserver",
        "serverpath=/local/scratch/myname",
    ];
    let (code, said) = answer(&mut installation.nova_manage(&add), "n\n");
    assert_ne!(code, Some(0));
    assert!(
        said.contains("WARNING") && said.contains("Proceed? (y/n)"),
        "{said}"
    );
    let (code, said) = answer(&mut installation.nova_manage(&add), "y\n");
    assert_eq!(code, Some(0), "{said}");
    // There is no such server here: the backend says so.
    let number = wait::until(
        "the backend shows why it is not connected",
        PATIENCE,
        || {
            let listed = tool::run(&mut installation.nova_manage(&[
                "sm",
                "backend_list",
                "--format",
                "json",
            ]));
            let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
            let backend = listed
                .as_array()
                .unwrap()
                .iter()
                .find(|backend| backend["sr_type"] == "nfs")?
                .clone();
            assert_eq!(backend["name_label"], "toybox-renuka");
            assert_eq!(backend["config_params"]["server"], "myserver");
            let failure = backend["failure"].as_str()?.to_owned();
            failure
                .contains("myserver")
                .then(|| backend["id"].to_string())
        },
    );
    let listed = tool::run(&mut installation.nova_manage(&["sm", "backend_list"]));
    let header = format!(
        "{:<5}\t{:<10}\t{:<40}\t{:<10}\t{}",
        "id", "Flavor id", "SR UUID", "SR Type", "Config Parameters"
    );
    assert!(listed.starts_with(&header), "{listed}");
    assert!(
        listed.contains("serverpath=/local/scratch/myname"),
        "{listed}"
    );

    // A flavor with backends does not go.
    let said = fails(
        &mut installation.nova_manage(&["sm", "flavor_delete", "gold", "--yes"]),
        4,
    );
    assert!(
        said.contains('1'),
        "it says how many backends there are: {said}"
    );
    let (code, said) = answer(
        &mut installation.nova_manage(&["sm", "backend_remove", &number]),
        "y\n",
    );
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = answer(
        &mut installation.nova_manage(&["sm", "flavor_delete", "gold"]),
        "y\n",
    );
    assert_eq!(code, Some(0), "{said}");
    assert!(!tool::run(&mut installation.nova_manage(&["sm", "flavor_list"])).contains("gold"));
}

/// A type whose SRs are LUNs that are there asked whether all data may be destroyed, though it writes nothing: who knows that says
/// yes, and says it again where it is true.
#[test]
fn only_what_destroys_data_says_so() {
    let installation = Installation::start(XENSM);
    let ask = |arguments: &[&str]| {
        let all = [&["sm", "backend_add", "default"], arguments].concat();
        let (code, said) = answer(&mut installation.nova_manage(&all), "n\n");
        assert_ne!(code, Some(0), "{said}");
        assert!(
            said.contains("WARNING: ") && said.contains("Proceed? (y/n)"),
            "{said}"
        );
        said
    };
    let target = [
        "target=127.0.0.1",
        "port=1",
        "targetIQN=iqn.2011-10.org.example:a",
    ];
    for luns in [&[&["iscsi"], &target[..]].concat()[..], &["hba"]] {
        let said = ask(luns);
        assert!(
            said.contains("writes nothing") && !said.contains("destroy"),
            "{said}"
        );
    }
    let lvhd = [&["lvmoiscsi"], &target[..], &["SCSIid=360a98000"]].concat();
    assert!(ask(&lvhd).contains("will destroy all data"));
}

#[test]
fn what_is_wrong_is_refused_with_what_is_expected() {
    let installation = Installation::start(XENSM);
    let run = |arguments: &[&str]| installation.nova_manage(arguments);
    let said = fails(&mut run(&["sm", "flavor_delete", "nothing", "--yes"]), 2);
    assert!(said.starts_with("error: "), "{said}");
    fails(&mut run(&["sm", "backend_remove", "99", "--yes"]), 2);
    fails(&mut run(&["sm", "backend_delete", "99", "--yes"]), 2);
    fails(
        &mut run(&[
            "sm",
            "backend_add",
            "nothing",
            "file",
            "location=/x",
            "--yes",
        ]),
        2,
    );
    let said = fails(
        &mut run(&["sm", "backend_add", "default", "floppy", "--yes"]),
        2,
    );
    assert!(said.contains("nfs") && said.contains("lvmoiscsi"), "{said}");
    let said = fails(
        &mut run(&["sm", "backend_add", "default", "nfs", "server=x", "--yes"]),
        2,
    );
    assert!(said.contains("serverpath"), "{said}");
    let said = fails(
        &mut run(&["sm", "backend_add", "default", "file", "location", "--yes"]),
        2,
    );
    assert!(said.contains("key=value"), "{said}");
    let said = fails(&mut run(&["sm", "flavor_create", "default", "again"]), 4);
    assert!(said.contains("default"), "{said}");
    // Nobody is there to answer: nothing is destroyed.
    let said = fails(&mut run(&["sm", "backend_remove", "1"]), 2);
    assert!(said.contains("--yes"), "{said}");
}

#[test]
fn passwords_are_masked_everywhere_and_encrypted_at_rest() {
    let mut installation = Installation::start(XENSM);
    let secret = "correct horse=battery staple";
    let password = format!("chappassword={secret}");
    let mut spoken = String::new();
    spoken += &tool::run(&mut installation.nova_manage(&[
        "sm",
        "backend_add",
        "default",
        "lvmoiscsi",
        "target=127.0.0.1",
        "port=1",
        "targetIQN=iqn.2011-10.org.example:a",
        "SCSIid=360a98000",
        "chapuser=somebody",
        &password,
        "name_label=two words = one label",
        "--yes",
    ]));
    for format in ["table", "json"] {
        spoken +=
            &tool::run(&mut installation.nova_manage(&["sm", "backend_list", "--format", format]));
    }
    assert!(spoken.contains("chappassword"), "{spoken}");
    assert!(spoken.contains("two words = one label"), "{spoken}");
    spoken += &installation.log();
    assert!(
        !spoken.contains(secret) && !spoken.contains("battery"),
        "{spoken}"
    );
    installation.stop();
    let mut looked_at = 0;
    let mut directories = vec![installation.data_dir.clone()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                directories.push(entry.path());
            } else if entry.file_type().unwrap().is_file() {
                let content = std::fs::read(entry.path()).unwrap();
                looked_at += 1;
                let found = content
                    .windows(secret.len())
                    .any(|window| window == secret.as_bytes());
                assert!(
                    !found,
                    "{} holds a password in clear text",
                    entry.path().display()
                );
            }
        }
    }
    assert!(looked_at > 5, "{looked_at}");
}

#[test]
fn backends_can_be_ordered_switched_off_and_put_in_a_zone() {
    let installation = Installation::start(XENSM);
    let location = |name: &str| format!("location={}", installation.root.join(name).display());
    let list = || -> Vec<serde_json::Value> {
        let listed =
            tool::run(&mut installation.nova_manage(&["sm", "backend_list", "--format", "json"]));
        serde_json::from_str::<serde_json::Value>(&listed)
            .unwrap()
            .as_array()
            .unwrap()
            .clone()
    };
    tool::run(&mut installation.nova_manage(&[
        "sm",
        "backend_add",
        "default",
        "file",
        &location("a b"),
        "--zone",
        "nova",
        "--yes",
    ]));
    let newest = || {
        let backends = list().into_iter();
        backends.max_by_key(|backend| backend["id"].as_i64())
    };
    // The command waits only a while.
    let added = wait::until("it is connected", PATIENCE, || {
        newest().filter(|added| added["state"] == "connected")
    });
    assert_eq!(added["zone"], "nova");
    assert_eq!(added["name_label"], format!("SR-{}", added["id"]));
    let id = added["id"].to_string();
    tool::run(&mut installation.nova_manage(&["sm", "backend_disable", &id]));
    assert_eq!(
        list()
            .iter()
            .find(|backend| backend["id"] == added["id"])
            .unwrap()["enabled"],
        false
    );
    tool::run(&mut installation.nova_manage(&["sm", "backend_enable", &id]));
    tool::run(&mut installation.nova_manage(&["sm", "backend_move", &id, "0"]));
    assert_eq!(list()[0]["id"], added["id"], "{:?}", list());
    fails(
        &mut installation.nova_manage(&[
            "sm",
            "backend_add",
            "default",
            "file",
            &location("c"),
            "--zone",
            "moon",
            "--yes",
        ]),
        2,
    );
}
