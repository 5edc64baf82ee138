//! NBD on a dynamic VHD, beside qemu-nbd on an image with the same content, nbdkit on a raw file, and a raw file without
//! any server, in turns in one run.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::fio::{self, Target};
use super::server::{Endpoint, Server};
use super::statistics::median;
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
/// Loads on images of which no block is allocated yet.
const FIRST_TOUCH: [(&str, &str, &str, u32); 3] = [
    ("random write 4 KiB, queue 1", "randwrite", "4k", 1),
    ("random write 4 KiB, queue 32", "randwrite", "4k", 32),
    ("sequential write 1 MiB, queue 4", "write", "1m", 4),
];
/// Rounds of which the median is told; all take turns in each.
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
    create(&endpoint, "bench")?;
    let ours = attach(binary, &server.data_dir, "bench")?;

    let raw = directory.join("peer.raw");
    std::fs::File::create(&raw)?.set_len(1 << 30)?;
    let plain = directory.join("plain.raw");
    std::fs::File::create(&plain)?.set_len(1 << 30)?;
    let vhd = directory.join("peer.vhd");
    make_vhd(&vhd)?;
    let sockets = [directory.join("qemu.sock"), directory.join("nbdkit.sock")];
    let _qemu = serve_vhd(&vhd, &sockets[0])?;
    let _nbdkit = start(
        Command::new("nbdkit")
            .args(["-f", "-U"])
            .arg(&sockets[1])
            .arg("file")
            .arg(&raw),
        &sockets[1],
    )?;
    let targets = [
        Target::Nbd(ours),
        Target::Nbd(uri(&sockets[0])),
        Target::Nbd(uri(&sockets[1])),
        Target::File {
            path: plain,
            engine: "io_uring",
            direct: true,
        },
    ];
    for target in &targets {
        load(target, "write", "1m", 8, None)?;
    }
    println!(
        "\n| load | xensm, dynamic VHD | qemu-nbd, dynamic VHD | nbdkit, raw file | raw file, io_uring and O_DIRECT | against qemu-nbd | against nbdkit | against the file |\n|---|---|---|---|---|---|---|---|"
    );
    let mut allocated = Vec::new();
    for (name, rw, block, depth) in LOADS {
        let mut rounds: [Vec<f64>; 4] = Default::default();
        for _ in 0..ROUNDS {
            for (target, figures) in targets.iter().zip(&mut rounds) {
                figures.push(load(target, rw, block, depth, Some(seconds))?);
            }
        }
        let [ours, qemu, nbdkit, file] = rounds.map(median);
        allocated.push((name, ours));
        println!(
            "| {name} | {ours:.0}/s | {qemu:.0}/s | {nbdkit:.0}/s | {file:.0}/s | {:.2} | {:.2} | {:.2} |",
            ours / qemu,
            ours / nbdkit,
            ours / file
        );
    }
    first_touch(binary, &server, &endpoint, &directory, &allocated, seconds)?;
    server.stop()
}

/// Measures writes to images of which no block is allocated: each round writes a fresh one, once over the whole region or
/// its worth at random places.
fn first_touch(
    binary: &Path,
    server: &Server,
    endpoint: &Endpoint,
    directory: &Path,
    allocated: &[(&str, f64)],
    seconds: u32,
) -> anyhow::Result<()> {
    println!(
        "\n| load, first touch | xensm | qemu-nbd | against qemu-nbd | against allocated | space, xensm | space, qemu |\n|---|---|---|---|---|---|---|"
    );
    for (index, (name, rw, block, depth)) in FIRST_TOUCH.into_iter().enumerate() {
        // Random writes end by the clock: qemu-nbd would need minutes for the whole region.
        let time = (rw == "randwrite").then_some(seconds);
        let mut rounds: [Vec<f64>; 2] = Default::default();
        let mut space = [0, 0];
        for round in 0..ROUNDS {
            let volume = format!("touch-{index}-{round}");
            create(endpoint, &volume)?;
            let before = images_space(&server.data_dir)?;
            let ours = Target::Nbd(attach(binary, &server.data_dir, &volume)?);
            rounds[0].push(load(&ours, rw, block, depth, time)?);
            space[0] = images_space(&server.data_dir)? - before;

            let vhd = directory.join(format!("{volume}.vhd"));
            make_vhd(&vhd)?;
            let socket = directory.join("touch.sock");
            let before = std::fs::metadata(&vhd)?.blocks();
            let peer = serve_vhd(&vhd, &socket)?;
            rounds[1].push(load(&Target::Nbd(uri(&socket)), rw, block, depth, time)?);
            drop(peer);
            space[1] = (std::fs::metadata(&vhd)?.blocks() - before) * 512;
            std::fs::remove_file(&vhd)?;
            let _ = std::fs::remove_file(&socket);
        }
        let [ours, qemu] = rounds.map(median);
        let full = allocated
            .iter()
            .find(|(load, _)| *load == name)
            .map_or(f64::NAN, |(_, figure)| *figure);
        println!(
            "| {name} | {ours:.0}/s | {qemu:.0}/s | {:.2} | {:.2} | {} MiB | {} MiB |",
            ours / qemu,
            ours / full,
            space[0] >> 20,
            space[1] >> 20
        );
    }
    Ok(())
}

/// Makes a volume of 1 GiB; answers its id.
pub fn create(endpoint: &Endpoint, name: &str) -> anyhow::Result<String> {
    let answer = endpoint.connect()?.expect(
        "POST",
        &format!("{}/volumes", endpoint.path),
        &serde_json::json!({"volume": {"name": name, "size": 1}}).to_string(),
    )?;
    let body: serde_json::Value = serde_json::from_str(&answer.body)?;
    let id = body["volume"]["id"].as_str().context("a volume's id")?;
    Ok(id.to_owned())
}

/// Bytes that the images below the data directory take on the medium.
fn images_space(directory: &Path) -> anyhow::Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let (path, metadata) = (entry.path(), entry.metadata()?);
        if metadata.is_dir() {
            sum += images_space(&path)?;
        } else if path.extension().is_some_and(|extension| extension == "vhd") {
            sum += metadata.blocks() * 512;
        }
    }
    Ok(sum)
}

fn make_vhd(path: &Path) -> anyhow::Result<()> {
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
            .arg(path)
            .arg("1G"),
    )
}

fn serve_vhd(path: &Path, socket: &Path) -> anyhow::Result<Peer> {
    start(
        Command::new("qemu-nbd")
            .args(["-t", "-e", "16", "-f", "vpc", "--cache=writeback", "-k"])
            .arg(socket)
            .arg(path),
        socket,
    )
}

/// Attaches a volume as soon as it is there; answers its NBD URI.
pub fn attach(binary: &Path, data_dir: &Path, volume: &str) -> anyhow::Result<String> {
    let started = Instant::now();
    loop {
        let output = Command::new(binary)
            .args(["attach", volume, "--data-dir"])
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

/// Operations per second on the region.
fn load(
    target: &Target,
    rw: &str,
    block: &str,
    depth: u32,
    seconds: Option<u32>,
) -> anyhow::Result<f64> {
    let mut more = vec![format!("--size={REGION}")];
    more.extend(seconds.into_iter().flat_map(fio::for_seconds));
    fio::run(target, rw, block, depth, &more)
}
