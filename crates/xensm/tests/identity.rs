//! `xensm identity`, `xensm audit` and `xensm webhook` beside a running service.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;
use testkit::installation::Installation;
use testkit::tool;

const XENSM: &str = env!("CARGO_BIN_EXE_xensm");

/// Runs a command with a line on its stdin; its exit code and all that it said.
fn answered(command: &mut Command, line: &str) -> (Option<i32>, String) {
    let mut process = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(process.stdin.take().unwrap(), "{line}").unwrap();
    let output = process.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
fn an_operator_looks_after_users() {
    let installation = Installation::start(XENSM);
    let command = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        installation.xensm(&words)
    };
    let json = |line: &str| -> Value {
        let said = tool::run(&mut command(&format!("{line} --format json")));
        serde_json::from_str(&said).unwrap()
    };
    let fails = |line: &str| {
        let output = tool::output(&mut command(line));
        assert!(!output.status.success(), "{line}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };

    let lab = json("identity project create lab --description Third");
    assert_eq!(lab["enabled"], true);
    let create = "identity user create alice --project lab --role member --password-file -";
    let (code, said) = answered(&mut command(create), "a-secret-of-hers");
    assert_eq!(code, Some(0), "{said}");
    let shown = json("identity user show alice");
    assert_eq!(shown["roles"][0], "member in lab");
    assert!(tool::run(&mut command("identity user list")).contains("alice"));
    assert_eq!(json("identity project list --user alice")[0]["name"], "lab");

    // A token that the operator issues works, and ends when the password changes.
    let token = json("identity token issue --user alice --project lab");
    let token = token["token"].as_str().unwrap().to_owned();
    let (code, said) = answered(&mut command("identity token show"), &token);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("alice"), "{said}");
    let change = "identity user password alice --password-file -";
    assert_eq!(answered(&mut command(change), "another-secret").0, Some(0));
    assert_ne!(
        answered(&mut command("identity token show"), &token).0,
        Some(0)
    );

    // Keys.
    let made = json(
        "identity application-credential create ci --user alice --project lab --role reader --days 9",
    );
    assert_eq!(made["roles"][0], "reader");
    assert!(made["secret"].is_string());
    let listed = json("identity application-credential list --user alice");
    assert_eq!(listed[0]["name"], "ci");
    let refused =
        fails("identity application-credential create x --user alice --project lab --role admin");
    assert!(refused.contains("not authorized"), "{refused}");
    let key = json("identity ec2 create --user alice --project lab");
    let access = key["access_key"].as_str().unwrap();
    let shown = json(&format!("identity ec2 show {access} --user alice"));
    assert_eq!(shown["secret"], key["secret"]);
    assert!(
        json("identity ec2 list --user alice")[0]
            .get("secret")
            .is_none()
    );

    // The last administrator.
    let admins = json("identity role assignments");
    let admin = admins
        .as_array()
        .unwrap()
        .iter()
        .find(|grant| grant["role"] == "admin")
        .unwrap();
    let name = admin["user"].as_str().unwrap().to_owned();
    let refused = fails(&format!("identity user set {name} --disable"));
    assert!(refused.contains("administrator"), "{refused}");
    tool::run(&mut command(&format!(
        "identity user set {name} --disable --force"
    )));
    tool::run(&mut command(&format!("identity user set {name} --enable")));
    let unknown = fails("identity user show nobody");
    assert!(unknown.contains("Could not find user: nobody"), "{unknown}");
    tool::run(&mut command(
        "identity role revoke member --user alice --project lab",
    ));
    tool::run(&mut command("identity user delete alice --yes"));
    tool::run(&mut command("identity project delete lab --yes"));

    // What the APIs did is written down, and the record is whole.
    if let Some(openstack) = tool::python_client("openstack") {
        let mut create = installation.client(&openstack, "openrc.sh");
        tool::run(create.args(["project", "create", "noted"]));
        testkit::wait::until(
            "the request is in the audit log",
            std::time::Duration::from_secs(60),
            || {
                let lines = json("audit show");
                let is_it = |line: &&Value| line["path"] == "/v3/projects" && line["status"] == 201;
                lines.as_array().unwrap().iter().find(is_it).map(drop)
            },
        );
    }
    let files = json("audit verify");
    assert_eq!(files[0]["faults"], serde_json::json!([]));

    let hook = json("webhook add https://hooks.invalid/x --kinds volume.");
    assert!(hook["secret"].is_string());
    let id = hook["id"].as_str().unwrap();
    fails(&format!("webhook test {id}"));
    assert!(json("webhook list")[0].get("secret").is_none());
    tool::run(&mut command(&format!("webhook remove {id}")));

    // What was typed is written down too, also what failed, and no secret with it.
    let flavor = "sm flavor_create silver second";
    tool::run(&mut command(flavor));
    let lines = json("audit show");
    let typed = |what: &str, target: &str, outcome: &str| {
        let is_it = |line: &&Value| {
            line["kind"] == "command"
                && line["what"] == what
                && line["target"] == target
                && line["outcome"] == outcome
        };
        let found = lines.as_array().unwrap().iter().find(is_it);
        let person = found.unwrap_or_else(|| panic!("{what} {target}: {lines}"))["user"].clone();
        assert!(person.as_str().unwrap().starts_with("uid "), "{person}");
    };
    typed("identity user create", "alice", "begun");
    typed("identity user create", "alice", "succeeded");
    typed("identity user password", "alice", "succeeded");
    typed(
        "identity role revoke",
        "member of alice in lab",
        "succeeded",
    );
    typed("identity user set", &name, "failed");
    typed("webhook add", "volume.* of every project", "succeeded");
    typed("webhook test", id, "failed");
    typed("sm flavor_create", "silver", "succeeded");
    for secret in [
        "another-secret",
        "a-secret-of-hers",
        hook["secret"].as_str().unwrap(),
    ] {
        assert!(!lines.to_string().contains(secret));
    }
    for file in json("audit verify").as_array().unwrap() {
        assert_eq!(file["faults"], serde_json::json!([]), "{file}");
    }
}
