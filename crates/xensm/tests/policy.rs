//! `[policy] file` as an operator uses it, and `xensm openapi`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use testkit::installation::Installation;
use testkit::tool;

const XENSM: &str = env!("CARGO_BIN_EXE_xensm");
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A request to a URL; the status and the body.
fn ask(method: &str, url: &str, token: &str, body: &str) -> (u16, Value) {
    let (host, path) = url
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "{method} /{path} HTTP/1.0\r\nHost: {host}\r\nX-Auth-Token: {token}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    (status, serde_json::from_str(body).unwrap_or_default())
}

#[test]
fn a_policy_file_holds_for_every_request() {
    let directory = tempfile::tempdir().unwrap();
    let (policy, config) = (
        directory.path().join("policy.yaml"),
        directory.path().join("xensm.toml"),
    );
    let rules = "# nobody makes volumes, and everybody sees the services\n\
                 \"volume:create\": \"!\"\n\"volume_extension:services:index\": \"role:reader\"\n";
    std::fs::write(&policy, rules).unwrap();
    std::fs::write(&config, format!("[policy]\nfile = {policy:?}\n")).unwrap();
    let file = config.to_str().unwrap();
    let installation = Installation::start_with(XENSM, "serve", &["--config", file]);

    let issued = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let said = tool::run(&mut installation.xensm(&words));
        let token: Value = serde_json::from_str(&said).unwrap();
        token["token"].as_str().unwrap().to_owned()
    };
    tool::run(&mut installation.xensm(&["identity", "project", "create", "lab"]));
    let mut create = installation.xensm(&["identity", "user", "create", "alice"]);
    create.args(["--project", "lab", "--role", "reader", "--password-file"]);
    let password = directory.path().join("password");
    std::fs::write(&password, "a-secret-of-hers\n").unwrap();
    create.arg(&password);
    tool::run(&mut create);
    let admin = issued("identity token issue --user admin --project admin --format json");
    let reader = issued("identity token issue --user alice --project lab --format json");

    let log = installation.log();
    let line = log.lines().find(|line| line.contains("Block Storage v3"));
    let volume = line.and_then(|line| line.split_whitespace().last());
    let volume = volume.unwrap().strip_suffix("/v3").unwrap();

    let body = r#"{"volume": {"size": 1}}"#;
    let (status, refused) = ask("POST", &format!("{volume}/v3/volumes"), &admin, body);
    let message = "Policy doesn't allow volume:create to be performed.";
    assert_eq!(status, 403, "{refused}");
    assert_eq!(refused["forbidden"]["message"], message);
    let (status, listed) = ask("GET", &format!("{volume}/v3/volumes"), &admin, "");
    assert_eq!(
        (status, listed["volumes"].as_array().unwrap().len()),
        (200, 0)
    );
    let (status, services) = ask("GET", &format!("{volume}/v3/os-services"), &reader, "");
    assert_eq!(status, 200, "{services}");

    let (status, served) = ask("GET", &format!("{volume}/v3/openapi.json"), "", "");
    assert_eq!(status, 200);
    let printed = tool::run(Command::new(XENSM).arg("openapi"));
    let printed: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(served, printed);
}

#[test]
fn a_policy_file_that_is_not_understood_is_an_error_at_start() {
    let directory = tempfile::tempdir().unwrap();
    let (policy, config) = (
        directory.path().join("policy.yaml"),
        directory.path().join("xensm.toml"),
    );
    std::fs::write(&policy, "\"volume:get\": \"@\"\n\"volume:fly\": \"@\"\n").unwrap();
    std::fs::write(&config, format!("[policy]\nfile = {policy:?}\n")).unwrap();
    let mut serve = Command::new(XENSM);
    serve
        .arg("serve")
        .arg("--config")
        .arg(&config)
        .arg("--data-dir")
        .arg(directory.path().join("data"));
    for listener in ["VOLUME", "IDENTITY", "EC2", "XENAPI"] {
        serve.env(format!("XENSM_LISTEN_{listener}"), "127.0.0.1:0");
    }
    let output = tool::output(&mut serve);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("volume:fly at line 2"), "{said}");

    let odd = tool::output(Command::new(XENSM).args(["openapi", "--microversion", "3.72"]));
    assert_eq!(odd.status.code(), Some(2));
}
