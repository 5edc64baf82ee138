//! Kill, corrupt, fill up, disconnect: nothing is lost, nothing is stuck, the others go on.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use testkit::installation::Installation;
use testkit::{postgres, tool, wait};

const XENSM: &str = env!("CARGO_BIN_EXE_xensm");
const PATIENCE: Duration = Duration::from_secs(240);

/// The Python interpreter with requests-like tools of the standard library, and a script.
fn python(installation: &Installation, script: &str, arguments: &[&str]) -> Option<Command> {
    let python = tool::python_client("python")?;
    let mut command = installation.client(&python, "openrc.sh");
    command
        .arg("-c")
        .arg(format!("{API}\n{script}"))
        .args(arguments);
    Some(command)
}

/// As much of a client as these tests need, without the start-up time of a stock one.
const API: &str = r#"
import json, os, sys, time, urllib.error, urllib.request
def send(method, url, body=None, token=None):
    request = urllib.request.Request(url, method=method, data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "OpenStack-API-Version": "volume 3.44", **({"X-Auth-Token": token} if token else {})})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as refused:
        return refused.code, refused.headers, json.loads(refused.read() or b"null")
env = os.environ
domain = {"name": "Default"}
status, headers, body = send("POST", env["OS_AUTH_URL"] + "/auth/tokens", {"auth": {
    "identity": {"methods": ["password"], "password": {"user": {"name": env["OS_USERNAME"], "password": env["OS_PASSWORD"], "domain": domain}}},
    "scope": {"project": {"name": env["OS_PROJECT_NAME"], "domain": domain}}}})
assert status == 201, (status, body)
token = headers["X-Subject-Token"]
volume_url = [e["url"] for s in body["token"]["catalog"] if s["type"] in ("block-storage", "volumev3") for e in s["endpoints"] if e["interface"] == "public"][0]
def call(method, path, body=None):
    status, _, answer = send(method, volume_url + path, body, token)
    return status, answer
def create(name, **more):
    status, answer = call("POST", "/volumes", {"volume": {"name": name, "size": 1, **more}})
    assert status == 202, (status, answer)
    return answer["volume"]["id"]
def listed():
    return call("GET", "/volumes/detail")[1]["volumes"]
def until(what, condition, seconds=240):
    deadline = time.time() + seconds
    while True:
        value = condition()
        if value: return value
        assert time.time() < deadline, what
        time.sleep(0.05)
"#;

fn run(installation: &Installation, script: &str, arguments: &[&str]) -> String {
    let mut command = python(installation, script, arguments).expect("checked by the caller");
    tool::run(&mut command)
}

fn images(directory: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return 0;
    };
    entries
        .flatten()
        .filter(|entry| {
            entry
                .path()
                .extension()
                .is_some_and(|ending| ending == "vhd")
        })
        .count()
}

#[test]
fn killed_again_and_again_every_accepted_volume_gets_there_and_nothing_leaks() {
    if tool::python_client("python").is_none() {
        return;
    }
    let mut installation = Installation::start(XENSM);
    let mut accepted = 0;
    for round in 0..4 {
        run(
            &installation,
            "for i in range(20): create(f'k{sys.argv[1]}-{i}')",
            &[&round.to_string()],
        );
        accepted += 20;
        // In the middle of the work that was just accepted.
        installation.kill();
        installation.restart();
    }
    run(
        &installation,
        "until('all are available', lambda: [v['status'] for v in listed()] == ['available'] * int(sys.argv[1]))",
        &[&accepted.to_string()],
    );
    let backend = installation.data_dir.join("backends/default");
    // What a call had made whose answer was lost is cleared away behind.
    wait::until("each has one image", PATIENCE, || {
        (images(&backend) == accepted).then_some(())
    });
    run(
        &installation,
        "for v in listed(): assert call('DELETE', '/volumes/' + v['id'])[0] == 202",
        &[],
    );
    installation.kill();
    installation.restart();
    run(
        &installation,
        "until('all are gone', lambda: not listed())",
        &[],
    );
    wait::until("no image is left", PATIENCE, || {
        (images(&backend) == 0).then_some(())
    });
}

#[test]
fn a_backend_that_is_down_or_full_is_passed_over_and_the_reason_is_readable() {
    if tool::python_client("python").is_none() {
        return;
    }
    let installation = Installation::start(XENSM);
    tool::run(&mut installation.nova_manage(&[
        "sm",
        "flavor_create",
        "gold",
        "two backends, the first one is no good",
    ]));
    // A file where the directory should be: the SR cannot be made there.
    let blocked = installation.root.join("blocked");
    std::fs::write(&blocked, "in the way").unwrap();
    for location in [&blocked, &installation.root.join("good")] {
        let location = format!("location={}", location.display());
        tool::run(&mut installation.nova_manage(&[
            "sm",
            "backend_add",
            "gold",
            "file",
            &location,
            "--yes",
        ]));
    }
    run(
        &installation,
        "v = create('g', volume_type='gold')\nuntil('available', lambda: call('GET', '/volumes/' + v)[1]['volume']['status'] == 'available')",
        &[],
    );
    assert_eq!(images(&installation.root.join("good")), 1);

    // Only the bad one left: the volume ends in error, and the user can read why.
    tool::run(&mut installation.nova_manage(&["sm", "backend_disable", "3"]));
    let said = run(
        &installation,
        r#"
v = create('h', volume_type='gold')
until('error', lambda: call('GET', '/volumes/' + v)[1]['volume']['status'] == 'error')
messages = call('GET', '/messages?resource_uuid=' + v)[1]['messages']
print(json.dumps(messages))
assert call('DELETE', '/volumes/' + v)[0] == 202
until('gone', lambda: call('GET', '/volumes/' + v)[0] == 404)
"#,
        &[],
    );
    assert!(
        said.contains("backend 2") && said.contains("backend 3"),
        "{said}"
    );
    // The way is cleared: the backend is connected without a restart.
    std::fs::remove_file(&blocked).unwrap();
    wait::until("backend 2 is connected", PATIENCE, || {
        let listed = tool::run(&mut installation.nova_manage(&[
            "sm",
            "backend_list",
            "2",
            "--format",
            "json",
        ]));
        listed.contains("\"connected\"").then_some(())
    });
}

#[test]
fn one_damaged_image_never_hides_the_others() {
    if tool::python_client("python").is_none() {
        return;
    }
    let mut installation = Installation::start(XENSM);
    run(
        &installation,
        "for i in range(3): create(f'd{i}')\nuntil('available', lambda: [v['status'] for v in listed()] == ['available'] * 3)",
        &[],
    );
    let backend = installation.data_dir.join("backends/default");
    let mut paths: Vec<_> = std::fs::read_dir(&backend)
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "vhd"))
        .collect();
    paths.sort();
    std::fs::write(&paths[0], vec![0x5a; 4096]).unwrap();
    std::fs::write(
        backend.join("5e0d1f4e-0000-4000-8000-00000000dead.vhd"),
        "no image at all",
    )
    .unwrap();
    installation.kill();
    installation.restart();
    // Attach each: exactly the damaged one refuses, with a reason.
    let mut attached = 0;
    for name in ["d0", "d1", "d2"] {
        let output = tool::output(&mut installation.xensm(&["attach", name]));
        if output.status.success() {
            attached += 1;
            tool::run(&mut installation.xensm(&["detach", name]));
        } else {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(said.starts_with("error: "), "{said}");
        }
    }
    assert_eq!(attached, 2);
    run(
        &installation,
        "assert len(listed()) == 3\nv = create('after')\nuntil('available', lambda: call('GET', '/volumes/' + v)[1]['volume']['status'] == 'available')",
        &[],
    );
}

#[test]
fn strangers_see_nothing_and_bad_input_changes_nothing() {
    if tool::python_client("python").is_none() {
        return;
    }
    let installation = Installation::start(XENSM);
    let said = run(
        &installation,
        r#"
v = create('mine')
for size in (-1, 0, 1.5, "x", 10**30, None, True, [], {}):
    status, answer = call("POST", "/volumes", {"volume": {"size": size}})
    assert status == 400, (size, status, answer)
for body in ({}, [], None, {"volume": None}, {"volume": {"size": 1, "name": "x" * 300}}, {"volume": {"size": 1, "metadata": {"k": "v" * 300}}},
             {"volume": {"size": 1, "volume_type": "nothing"}}, {"volume": {"size": 1, "availability_zone": "moon"}}):
    status, answer = call("POST", "/volumes", body)
    assert status in (400, 404), (body, status, answer)
    assert list(answer.values())[0]["message"], answer
deep = "[" * 100000 + "]" * 100000
request = urllib.request.Request(volume_url + "/volumes", data=deep.encode(), headers={"X-Auth-Token": token, "Content-Type": "application/json"})
try:
    urllib.request.urlopen(request); sys.exit("accepted")
except urllib.error.HTTPError as refused:
    assert refused.code in (400, 413), refused.code
status, answer = call("POST", "/volumes", {"volume": {"size": 1, "name": "x" * 200000}})
assert status == 413, (status, answer)
for bad in ("", "x", "gAAAA", token[:-2], token + "x"):
    status, _, answer = send("GET", volume_url + "/volumes", None, bad)
    assert status == 401, (bad, status)
assert call("GET", "/volumes/not-a-uuid")[0] == 404
assert call("GET", "/volumes?limit=-1")[0] == 400
assert call("GET", "/volumes?marker=00000000-0000-4000-8000-000000000000")[0] in (400, 404)
until('available', lambda: call('GET', '/volumes/' + v)[1]['volume']['status'] == 'available')
assert len(listed()) == 1
print("ok")
"#,
        &[],
    );
    assert!(said.ends_with("ok\n"), "{said}");
    assert!(
        !installation.log().contains("panicked"),
        "{}",
        installation.log()
    );
}

#[test]
fn the_rooms_run_as_separate_processes_over_postgresql_and_survive_each_other() {
    let Some(cluster) = postgres::cluster() else {
        return;
    };
    if tool::python_client("python").is_none() {
        return;
    }
    let url = cluster.create_database().unwrap();
    let mut manager = Installation::start_with(XENSM, "storage-manager", &[]);
    let data_dir = manager.data_dir.display().to_string();
    let start = |subcommand: &[&str]| {
        let mut arguments = subcommand[1..].to_vec();
        arguments.extend([
            "--data-dir",
            data_dir.as_str(),
            "--database-url",
            url.as_str(),
        ]);
        Installation::start_with(XENSM, subcommand[0], &arguments)
    };
    let mut api = start(&["api"]);
    let mut worker = start(&["worker", "--zone", "nova"]);
    let mut second = start(&["worker", "--zone", "nova"]);
    let sm = |arguments: &[&str]| {
        let mut command = manager.nova_manage(arguments);
        command.args(["--database-url", &url]);
        tool::run(&mut command)
    };
    sm(&["sm", "flavor_create", "gold", "shared"]);
    let location = format!("location={}", manager.root.join("gold").display());
    let added = sm(&[
        "sm",
        "backend_add",
        "gold",
        "file",
        &location,
        "--yes",
        "--format",
        "json",
    ]);
    let backend: serde_json::Value = serde_json::from_str(&added).unwrap();
    let backend = backend["id"].to_string();
    wait::until("the backend is connected", PATIENCE, || {
        let listed = sm(&["sm", "backend_list", &backend, "--format", "json"]);
        listed.contains("\"connected\"").then_some(())
    });
    run(
        &manager,
        "for i in range(20): create(f's{i}', volume_type='gold')",
        &[],
    );
    worker.kill();
    manager.kill();
    manager.restart();
    api.stop();
    api.restart();
    run(
        &manager,
        "until('all are available', lambda: [v['status'] for v in listed()] == ['available'] * 20)",
        &[],
    );
    assert_eq!(images(&manager.root.join("gold")), 20);
    second.stop();
    worker.restart();
    run(
        &manager,
        "for v in listed(): assert call('DELETE', '/volumes/' + v['id'])[0] == 202\nuntil('all are gone', lambda: not listed())",
        &[],
    );
    wait::until("no image is left", PATIENCE, || {
        (images(&manager.root.join("gold")) == 0).then_some(())
    });
}
