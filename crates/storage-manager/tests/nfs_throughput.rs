//! What an NFS SR reaches through NBD beside libnfs on a file of the same server, in turns in one run. Measured by
//! `cargo xtask bench --only nfs`; prints the rows of a table.
//!
//! A request goes through two servers here and through one there. So NBD alone is measured too, with nbdkit on memory: what
//! libnfs and NBD would give one after the other, each as fast as here, is the most that one request at a time can reach.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark prints, and fails by panicking"
)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use support::{Client, Running, texts, vbd_record, vdi_record};
use testkit::nfs_server::NfsServer;
use testkit::{tool, wait};
use xenapi::Value;

/// Loads: name, read or write, random or sequential, bytes, operations in flight.
const LOADS: [(&str, &str, &str, u64, u32); 8] = [
    ("random read 4 KiB, queue 1", "read", "random", 4096, 1),
    ("random read 4 KiB, queue 16", "read", "random", 4096, 16),
    ("random write 4 KiB, queue 1", "write", "random", 4096, 1),
    ("random write 4 KiB, queue 16", "write", "random", 4096, 16),
    (
        "sequential read 1 MiB, queue 1",
        "read",
        "sequential",
        1 << 20,
        1,
    ),
    (
        "sequential read 1 MiB, queue 4",
        "read",
        "sequential",
        1 << 20,
        4,
    ),
    (
        "sequential write 1 MiB, queue 1",
        "write",
        "sequential",
        1 << 20,
        1,
    ),
    (
        "sequential write 1 MiB, queue 4",
        "write",
        "sequential",
        1 << 20,
        4,
    ),
];

/// Bytes that loads read and write.
const REGION: u64 = 256 << 20;
/// Rounds of which the median is told; all take turns in each.
const ROUNDS: usize = 3;
/// Versions that are measured.
const VERSIONS: [&str; 2] = ["3", "4.1"];

#[test]
#[ignore = "a benchmark"]
fn nbd_beside_libnfs() {
    let seconds = std::env::var("BENCH_SECONDS").unwrap_or_else(|_| "3".to_owned());
    let directory = tempfile::tempdir().unwrap();
    let exported = directory.path().join("exported");
    std::fs::create_dir(&exported).unwrap();
    let Some(server) = NfsServer::start(&exported) else {
        return;
    };
    let load = build_load(directory.path());
    std::fs::File::create(exported.join("plain"))
        .unwrap()
        .set_len(REGION)
        .unwrap();
    let running = Running::start(support::config(directory.path()), None);
    let mut client = running.unix();
    let uris: Vec<String> = VERSIONS
        .iter()
        .map(|version| export(&mut client, &server, version))
        .collect();
    let direct = |rw: &str, order: &str, bytes: u64, queue: u32, seconds: &str| -> f64 {
        let printed = tool::run(
            Command::new(&load)
                .args([&server.url("plain"), rw, order])
                .args([bytes.to_string(), queue.to_string(), REGION.to_string()])
                .arg(seconds),
        );
        printed.trim().parse().unwrap()
    };
    for uri in &uris {
        fio(uri, "write", "sequential", 1 << 20, 4, None);
    }
    direct("write", "sequential", 1 << 20, 4, "3");

    let nbd_alone = NbdAlone::start(directory.path());
    println!(
        "\n| load | libnfs, version 3 | NBD alone | both in turn | xensm, version 3 | xensm, version 4.1 | 3 against libnfs | 4.1 against libnfs | 3 against both in turn |\n|---|---|---|---|---|---|---|---|---|"
    );
    for (name, rw, order, bytes, queue) in LOADS {
        let mut rounds: [Vec<f64>; 4] = Default::default();
        for _ in 0..ROUNDS {
            rounds[0].push(direct(rw, order, bytes, queue, &seconds));
            let uris = std::iter::once(&nbd_alone.uri).chain(&uris);
            for (uri, figures) in uris.zip(&mut rounds[1..]) {
                figures.push(fio(uri, rw, order, bytes, queue, Some(&seconds)));
            }
        }
        let [libnfs, nbd, three, four] = rounds.map(|mut figures| {
            figures.sort_by(f64::total_cmp);
            figures[figures.len() / 2]
        });
        let in_turn = 1.0 / (1.0 / libnfs + 1.0 / nbd);
        println!(
            "| {name} | {libnfs:.0}/s | {nbd:.0}/s | {in_turn:.0}/s | {three:.0}/s | {four:.0}/s | {:.2} | {:.2} | {:.2} |",
            three / libnfs,
            four / libnfs,
            three / in_turn
        );
    }
    running.stop();
}

/// nbdkit on memory, until this is dropped.
struct NbdAlone {
    child: Child,
    uri: String,
}

impl NbdAlone {
    fn start(directory: &Path) -> Self {
        let socket = directory.join("nbdkit.socket");
        let child = Command::new("nbdkit")
            .args(["--foreground", "--exit-with-parent", "--unix"])
            .arg(&socket)
            .args(["memory", &REGION.to_string()])
            .spawn()
            .unwrap();
        let alone = NbdAlone {
            child,
            uri: format!("nbd+unix:///?socket={}", socket.display()),
        };
        wait::until("nbdkit serves", Duration::from_secs(10), || {
            socket.exists().then_some(())
        });
        alone
    }
}

impl Drop for NbdAlone {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn build_load(directory: &Path) -> PathBuf {
    let program = directory.join("libnfs_load");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/libnfs_load.c");
    tool::run(
        Command::new("cc")
            .args(["-O2", "-o"])
            .arg(&program)
            .arg(source)
            .arg("-l:libnfs.so.13"),
    );
    program
}

/// Makes an SR and a VDI that is plugged; answers its NBD URI.
fn export(client: &mut Client, server: &NfsServer, version: &str) -> String {
    let text = |value: Value| value.as_str().unwrap().to_owned();
    let first = |value: Value| value.as_array().unwrap()[0].clone();
    let host = first(client.call("host.get_all", []).unwrap());
    let options = server.options();
    let config = texts(&[
        ("server", "127.0.0.1"),
        ("serverpath", &server.path),
        ("nfsversion", version),
        ("options", &options),
    ]);
    let params = [
        host,
        config,
        Value::Int(0),
        "an SR".into(),
        "".into(),
        "nfs".into(),
        "".into(),
        true.into(),
        texts(&[]),
    ];
    let sr = text(client.call("SR.create", params).unwrap());
    let record = vdi_record(&sr, "disk", (2 * REGION) as i64);
    let vdi = text(client.call("VDI.create", [record]).unwrap());
    let vm = text(first(client.call("VM.get_all", []).unwrap()));
    let vbd = client
        .call("VBD.create", [vbd_record(&vm, &vdi, "RW")])
        .unwrap();
    client.call("VBD.plug", [vbd.clone()]).unwrap();
    let config = client.call("VBD.get_other_config", [vbd]).unwrap();
    let entry = |key: &str| text(config.as_struct().unwrap()[key].clone());
    format!(
        "nbd+unix:///{}?socket={}",
        entry("xensm:nbd_export"),
        entry("xensm:nbd_socket")
    )
}

/// Operations per second of a load by fio; once over the region without a time.
fn fio(uri: &str, rw: &str, order: &str, bytes: u64, queue: u32, seconds: Option<&str>) -> f64 {
    let pattern = match order {
        "random" => format!("rand{rw}"),
        _ => rw.to_owned(),
    };
    let mut command = Command::new("fio");
    command.args([
        "--name=x",
        "--output-format=json",
        "--invalidate=0",
        "--randrepeat=0",
        "--ioengine=nbd",
    ]);
    command
        .arg(format!("--uri={uri}"))
        .arg(format!("--rw={pattern}"))
        .arg(format!("--bs={bytes}"))
        .arg(format!("--iodepth={queue}"))
        .arg(format!("--size={REGION}"));
    if let Some(seconds) = seconds {
        command
            .arg("--time_based")
            .arg(format!("--runtime={seconds}"));
    }
    let printed = tool::run(&mut command);
    let report: serde_json::Value =
        serde_json::from_str(&printed[printed.find('{').unwrap()..]).unwrap();
    report["jobs"][0][rw]["iops"].as_f64().unwrap()
}
