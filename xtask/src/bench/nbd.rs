//! NBD on a dynamic VHD, beside qemu-nbd on an image with the same content and nbdkit on a raw file, in turns in one run.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::server::Server;
use crate::ci::checked;

/// Loads: name, fio's `rw`, block size, queue depth.
const LOADS: [(&str, &str, &str, u32); 6] = [
    ("random read 4 KiB, queue 1", "randread", "4k", 1),
    ("random read 4 KiB, queue 32", "randread", "4k", 32),
    ("random write 4 KiB, queue 1", "randwrite", "4k", 1),
    ("random write 4 KiB, queue 32", "randwrite", "4k", 32),
    ("sequential read 1 MiB, queue 4", "read", "1m", 4),
    ("sequential write 1 MiB, queue 4", "write", "1m", 4),
];
/// Rounds of which the median is told; the three servers take turns in each.
const ROUNDS: usize = 3;
/// Size of the region that is written before and read and written by the loads.
const REGION: &str = "512m";
/// How long a server may take to listen.
const READY: Duration = Duration::from_secs(20);

/// A peer that listens on a unix socket until it is dropped.
struct Peer {
    process: Child,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Measures and prints a table of operations per second and ratios.
pub fn run(binary: &Path, seconds: u32) -> anyhow::Result<()> {
    let directory = std::env::current_dir()?.join("target/bench/nbd");
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory)?;
    let server = Server::start(binary, &directory.join("data"))?;
    let endpoint = server.login()?;
    let mut connection = endpoint.connect()?;
    connection.expect(
        "POST",
        &format!("{}/volumes", endpoint.path),
        r#"{"volume": {"name": "bench", "size": 1}}"#,
    )?;
    let ours = attach(binary, &server.data_dir)?;

    let raw = directory.join("peer.raw");
    std::fs::File::create(&raw)?.set_len(1 << 30)?;
    let vhd = directory.join("peer.vhd");
    checked(
        Command::new("qemu-img")
            .args([
                "create",
                "-q",
                "-f",
                "vpc",
                "-o",
                "subformat=dynamic,force_size=on",
            ])
            .arg(&vhd)
            .arg("1G"),
    )?;
    let sockets = [directory.join("qemu.sock"), directory.join("nbdkit.sock")];
    let _qemu = start(
        Command::new("qemu-nbd")
            .args(["-t", "-e", "16", "-f", "vpc", "--cache=writeback", "-k"])
            .arg(&sockets[0])
            .arg(&vhd),
        &sockets[0],
    )?;
    let _nbdkit = start(
        Command::new("nbdkit")
            .args(["-f", "-U"])
            .arg(&sockets[1])
            .arg("file")
            .arg(&raw),
        &sockets[1],
    )?;
    let peers = [ours, uri(&sockets[0]), uri(&sockets[1])];
    for uri in &peers {
        fio(uri, "write", "1m", 8, None)?;
    }
    println!(
        "\n| load | xensm, dynamic VHD | qemu-nbd, dynamic VHD | nbdkit, raw file | against qemu-nbd | against nbdkit |\n|---|---|---|---|---|---|"
    );
    for (name, rw, block, depth) in LOADS {
        let mut rounds: [Vec<f64>; 3] = Default::default();
        for _ in 0..ROUNDS {
            for (uri, figures) in peers.iter().zip(&mut rounds) {
                figures.push(fio(uri, rw, block, depth, Some(seconds))?);
            }
        }
        let [ours, qemu, nbdkit] = rounds.map(median);
        println!(
            "| {name} | {ours:.0}/s | {qemu:.0}/s | {nbdkit:.0}/s | {:.2} | {:.2} |",
            ours / qemu,
            ours / nbdkit
        );
    }
    server.stop()
}

fn attach(binary: &Path, data_dir: &Path) -> anyhow::Result<String> {
    let started = Instant::now();
    loop {
        let output = Command::new(binary)
            .args(["attach", "bench", "--data-dir"])
            .arg(data_dir)
            .output()?;
        if output.status.success() {
            return Ok(String::from_utf8(output.stdout)?.trim().to_owned());
        }
        ensure!(
            started.elapsed() < READY,
            "attach: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn uri(socket: &Path) -> String {
    format!("nbd+unix:///?socket={}", socket.display())
}

fn start(command: &mut Command, socket: &Path) -> anyhow::Result<Peer> {
    let process = command
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("start {command:?}"))?;
    let peer = Peer { process };
    let started = Instant::now();
    while !socket.exists() {
        ensure!(started.elapsed() < READY, "{command:?} does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(peer)
}

/// Operations per second.
fn fio(uri: &str, rw: &str, block: &str, depth: u32, seconds: Option<u32>) -> anyhow::Result<f64> {
    let mut command = Command::new("fio");
    command.args([
        "--name=x",
        "--ioengine=nbd",
        "--output-format=json",
        "--invalidate=0",
        "--randrepeat=0",
    ]);
    command
        .arg(format!("--uri={uri}"))
        .arg(format!("--rw={rw}"))
        .arg(format!("--bs={block}"));
    command
        .arg(format!("--iodepth={depth}"))
        .arg(format!("--size={REGION}"));
    if let Some(seconds) = seconds {
        command
            .arg("--time_based")
            .arg(format!("--runtime={seconds}"));
    }
    let output = command.output().context("start fio")?;
    ensure!(
        output.status.success(),
        "fio: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout)?;
    let json = &text[text.find('{').context("fio prints JSON")?..];
    let report: Value = serde_json::from_str(json)?;
    let side = if rw.ends_with("read") {
        "read"
    } else {
        "write"
    };
    report["jobs"][0][side]["iops"]
        .as_f64()
        .context("fio tells iops")
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
