//! The tools of others as clients: libnbd (nbdinfo, nbdcopy, nbdsh), qemu and fio.
//!
//! A tool that is not installed fails the test when `CI` is set, else the test says so in one line.

use std::fs;
use std::process::Command;
use std::sync::atomic::Ordering;

use nbd::server::{Limits, ListenerOptions};
use testkit::tool::{output, program, run};

use crate::fixture::{CHANGES, Fixture, SIZE, pattern};
use crate::tls::Identity;

/// Seconds that a tool may take; its own start is slow on a busy machine.
const TOOL_LIMIT_S: &str = "300";

fn is_missing(tool: &str) -> bool {
    program(tool).is_none()
}

/// A tool that is ended when it takes too long.
fn bounded(tool: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["-k", "5", TOOL_LIMIT_S, tool]);
    command
}

#[test]
fn nbdinfo_sees_what_is_offered() {
    if is_missing("nbdinfo") {
        return;
    }
    let fixture = Fixture::new();
    fixture
        .client("disk")
        .write(&pattern(1, 65_536), 65_536)
        .unwrap();
    let text = run(bounded("nbdinfo").args(["--json", &fixture.uri("disk")]));
    let squeezed: String = text.chars().filter(|char| !char.is_whitespace()).collect();
    for expected in [
        "\"structured\":true",
        &format!("\"export-size\":{SIZE}"),
        "\"base:allocation\"",
        "\"can_df\":true",
        "\"can_flush\":true",
        "\"can_fua\":true",
        "\"can_multi_conn\":true",
        "\"can_trim\":true",
        "\"can_zero\":true",
        "\"can_cache\":true",
        "\"can_fast_zero\":false",
        "\"is_read_only\":false",
        "\"block_size_maximum\":33554432",
    ] {
        assert!(squeezed.contains(expected), "{expected} is not in {text}");
    }
    let map = run(bounded("nbdinfo").args(["--map", &fixture.uri("disk")]));
    let rows: Vec<Vec<&str>> = map
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let size = (SIZE - 131_072).to_string();
    assert_eq!(rows[0][..3], ["0", "65536", "3"]);
    assert_eq!(rows[1][..3], ["65536", "65536", "0"]);
    assert_eq!(rows[2][..3], ["131072", &size, "3"]);
    let list = output(bounded("nbdinfo").args(["--list", &fixture.uri("disk")]));
    assert!(!list.status.success(), "listing is refused: {list:?}");
}

#[test]
fn nbdcopy_copies_both_ways() {
    if is_missing("nbdcopy") {
        return;
    }
    let fixture = Fixture::new();
    let source = fixture.directory.path().join("source");
    let target = fixture.directory.path().join("target");
    let mut content = pattern(5, SIZE as usize);
    content[1 << 20..3 << 20].fill(0);
    fs::write(&source, &content).unwrap();
    run(bounded("nbdcopy")
        .arg("--flush")
        .arg(&source)
        .arg(fixture.uri("disk")));
    run(bounded("nbdcopy").arg(fixture.uri("disk")).arg(&target));
    assert!(fs::read(&target).unwrap() == content);
}

#[test]
fn nbdsh_runs_every_command() {
    if is_missing("nbdsh") {
        return;
    }
    let fixture = Fixture::new();
    let script = "\
h.pwrite(b'x' * 4096, 8192, nbd.CMD_FLAG_FUA)
chunks = []
keep = lambda data, offset, status, error: chunks.append((bytes(data), offset, status))
assert h.pread_structured(4096, 8192, keep, nbd.CMD_FLAG_DF) == bytearray(b'x' * 4096)
assert chunks == [(b'x' * 4096, 8192, nbd.READ_DATA)]
h.zero(4096, 8192)
assert h.pread(4096, 8192) == bytearray(4096)
h.zero(65536, 0, nbd.CMD_FLAG_NO_HOLE)
h.trim(65536, 0, nbd.CMD_FLAG_FUA)
h.flush()
h.cache(1 << 22, 0)
seen = []
h.block_status(1 << 20, 0, lambda context, offset, extents, error: seen.append((context, extents)), nbd.CMD_FLAG_REQ_ONE)
assert seen[0][0] == 'base:allocation' and len(seen[0][1]) == 2, seen
h.set_strict_mode(0)
for bad in (lambda: h.pread(512, h.get_size()), lambda: h.cache(512, h.get_size()), lambda: h.zero(512, 0, nbd.CMD_FLAG_FAST_ZERO)):
    try:
        bad()
        raise AssertionError('accepted')
    except nbd.Error as error:
        assert error.errnum == 22, error
try:
    h.pwrite(b'x' * 512, h.get_size())
    raise AssertionError('accepted')
except nbd.Error as error:
    assert error.errnum == 28, error
cookies = [h.aio_pread(nbd.Buffer(65536), n * 65536) for n in range(64)]
for cookie in cookies:
    while not h.aio_command_completed(cookie):
        h.poll(-1)
h.shutdown()
";
    let mut command = bounded("nbdsh");
    // The module belongs to the distribution's Python, whichever comes first for the developer.
    command.env("PATH", "/usr/bin:/bin");
    command.args([
        "--base-allocation",
        "-u",
        &fixture.uri("disk"),
        "-c",
        script,
    ]);
    run(&mut command);
}

#[test]
fn tools_see_the_changes_beside_the_allocation() {
    if is_missing("nbdinfo") || is_missing("qemu-img") {
        return;
    }
    let fixture = Fixture::new();
    fixture.disk.has_changes.store(true, Ordering::SeqCst);
    fixture
        .client("disk")
        .write(&pattern(1, 65_536), 131_072)
        .unwrap();
    let text = run(bounded("nbdinfo").args(["--json", &fixture.uri("disk")]));
    assert!(
        text.contains("base:allocation") && text.contains(CHANGES),
        "{text}"
    );
    for (context, changed) in [
        ("base:allocation", ["3", "0", "3"]),
        (CHANGES, ["0", "1", "0"]),
    ] {
        let map = run(bounded("nbdinfo")
            .arg(format!("--map={context}"))
            .arg(fixture.uri("disk")));
        let rows: Vec<Vec<&str>> = map
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        let left = (SIZE - 196_608).to_string();
        assert_eq!(rows[0][..3], ["0", "131072", changed[0]], "{context}");
        assert_eq!(rows[1][..3], ["131072", "65536", changed[1]], "{context}");
        assert_eq!(rows[2][..3], ["196608", &left, changed[2]], "{context}");
    }
    // qemu shows what is dirty in the bitmap as what has no data.
    let image = format!(
        "driver=nbd,server.type=unix,server.path={},export=disk,x-dirty-bitmap={CHANGES}",
        fixture.socket().display()
    );
    let map = run(bounded("qemu-img").args(["map", "--output=json", "--image-opts", &image]));
    let squeezed: String = map.chars().filter(|char| !char.is_whitespace()).collect();
    assert!(
        squeezed.contains("\"start\":131072,\"length\":65536,\"depth\":0,\"present\":false,\"zero\":false,\"data\":false"),
        "{map}"
    );
    if is_missing("nbdsh") {
        return;
    }
    let script = format!(
        "\
h.add_meta_context('base:allocation')
h.add_meta_context('{CHANGES}')
h.add_meta_context('qemu:dirty-bitmap:other')
h.connect_uri('{}')
assert h.can_meta_context('base:allocation') and h.can_meta_context('{CHANGES}')
assert not h.can_meta_context('qemu:dirty-bitmap:other')
seen = {{}}
h.block_status(1 << 20, 65536, lambda context, offset, extents, error: seen.__setitem__(context, extents))
assert seen == {{'base:allocation': [65536, 3, 65536, 0, 917504, 3], '{CHANGES}': [65536, 0, 65536, 1, 917504, 0]}}, seen
",
        fixture.uri("disk")
    );
    let mut command = bounded("nbdsh");
    command.env("PATH", "/usr/bin:/bin");
    run(command.args(["-c", &script]));
}

#[test]
fn nbdkit_serves_what_it_reads_from_here() {
    if is_missing("nbdkit") || is_missing("nbdcopy") {
        return;
    }
    let fixture = Fixture::new();
    let content = pattern(3, SIZE as usize);
    let source = fixture.directory.path().join("source");
    let target = fixture.directory.path().join("target");
    fs::write(&source, &content).unwrap();
    // The plugin is a client with several connections; the tool talks to the plugin.
    let mut command = bounded("nbdkit");
    command.args(["-U", "-", "nbd"]);
    command.arg(format!("socket={}", fixture.socket().display()));
    command.args(["export=disk", "shared=true", "--run"]);
    command.arg(format!(
        "nbdcopy --flush {} \"$uri\" && nbdcopy \"$uri\" {}",
        source.display(),
        target.display()
    ));
    run(&mut command);
    assert!(fs::read(&target).unwrap() == content);
}

#[test]
fn many_clients_at_once_read_what_each_wrote() {
    if is_missing("fio") {
        return;
    }
    let fixture = Fixture::new();
    std::thread::scope(|scope| {
        for number in 0..4 {
            let fixture = &fixture;
            scope.spawn(move || {
                let mut command = bounded("fio");
                command.current_dir(fixture.directory.path());
                command.args([
                    "--ioengine=nbd",
                    "--rw=randwrite",
                    "--bs=16k",
                    "--iodepth=16",
                ]);
                command.arg(format!("--name=client{number}"));
                command.arg(format!("--offset={}", number * 2 * 1024 * 1024));
                command.args(["--size=2M", "--verify=crc32c", "--do_verify=1"]);
                run(command.arg(format!("--uri={}", fixture.uri("disk"))));
            });
        }
    });
}

#[test]
fn qemu_io_reads_and_writes() {
    if is_missing("qemu-io") || is_missing("qemu-img") {
        return;
    }
    let fixture = Fixture::new();
    let commands = [
        "write -P 0x5a 1M 3M",
        "write -f -P 0x5b 0 512",
        "write -z 2M 64k",
        "write -z -u 3M 64k",
        "discard 0 64k",
        "flush",
        "read -P 0 2M 64k",
        "read -P 0 3M 64k",
        "read -P 0x5a 1M 1M",
    ];
    let mut command = bounded("qemu-io");
    command.args(["-f", "raw", "-d", "unmap", &fixture.uri("disk")]);
    for one in commands {
        command.args(["-c", one]);
    }
    let text = run(&mut command);
    assert!(!text.contains("failed"), "{text}");
    let map =
        run(bounded("qemu-img").args(["map", "-f", "raw", "--output=json", &fixture.uri("disk")]));
    assert!(
        map.contains("\"data\": true") && map.contains("\"data\": false"),
        "{map}"
    );
    let text = run(bounded("qemu-img").args(["info", "-f", "raw", &fixture.uri("frozen")]));
    assert!(text.contains("8 MiB"), "{text}");
}

#[test]
fn fio_verifies_what_it_wrote() {
    if is_missing("fio") {
        return;
    }
    let fixture = Fixture::new();
    let mut command = bounded("fio");
    command.current_dir(fixture.directory.path());
    command.args([
        "--name=verify",
        "--ioengine=nbd",
        "--rw=randwrite",
        "--bs=4k",
        "--iodepth=32",
    ]);
    command.args(["--size=4M", "--verify=crc32c", "--do_verify=1"]);
    command.arg(format!("--uri={}", fixture.uri("disk")));
    run(&mut command);
}

#[test]
fn tools_speak_tls() {
    if is_missing("nbdinfo") || is_missing("qemu-img") {
        return;
    }
    let fixture = Fixture::silent(Limits::default());
    let identity = Identity::new();
    let any = "127.0.0.1:0".parse().unwrap();
    let options = ListenerOptions::tls(identity.server.clone());
    let (_, address) = fixture.server.listen_tcp(any, options).unwrap();
    let directory = fixture.directory.path().join("pki");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("ca-cert.pem"), &identity.authority_pem).unwrap();
    let port = address.port();
    let uri = format!(
        "nbds://localhost:{port}/disk?tls-certificates={}",
        directory.display()
    );
    let text = run(bounded("nbdinfo").arg(&uri));
    assert!(text.contains("with TLS"), "{text}");
    if !is_missing("nbdcopy") {
        let source = fixture.directory.path().join("source");
        let target = fixture.directory.path().join("target");
        let content = pattern(8, SIZE as usize);
        fs::write(&source, &content).unwrap();
        run(bounded("nbdcopy").arg(&source).arg(&uri));
        run(bounded("nbdcopy").arg(&uri).arg(&target));
        assert!(fs::read(&target).unwrap() == content);
    }
    let credentials = format!(
        "tls-creds-x509,id=tls0,endpoint=client,dir={}",
        directory.display()
    );
    let image = format!("driver=nbd,host=localhost,port={port},export=disk,tls-creds=tls0");
    let mut command = bounded("qemu-img");
    let text = run(command.args(["info", "--object", &credentials, "--image-opts", &image]));
    assert!(text.contains("8 MiB"), "{text}");
    let plain = output(bounded("nbdinfo").arg(format!("nbd://localhost:{port}/disk")));
    assert!(
        !plain.status.success(),
        "a plain client is refused: {plain:?}"
    );
}
