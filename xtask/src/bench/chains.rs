//! Random reads from a chain of images, beside the same reads from one image, over NBD in one run.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use super::fio::{self, Target};
use super::nbd::{attach, create};
use super::server::{Endpoint, Server};
use super::statistics::median;

/// Images of a chain: as many as a snapshot may leave.
const DEPTH: u32 = 28;
/// Rounds of which the median is told; the three volumes take turns in each.
const ROUNDS: usize = 5;
/// The region that is read; it is written before.
const REGION: &str = "512m";
/// Blocks of 2 MiB in the region.
const BLOCKS: u32 = 256;
/// How long a snapshot may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What each image above the first one gets.
#[derive(Clone, Copy)]
enum Above {
    /// 4 KiB behind the region, so that it is not empty.
    Nothing,
    /// 16 KiB of every block of the region.
    SomeOfEveryBlock,
}

/// Measures and prints a table of reads per second and ratios.
pub fn run(binary: &Path, seconds: u32) -> anyhow::Result<()> {
    let directory = std::env::current_dir()?.join("target/bench/chains");
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory)?;
    let server = Server::start(binary, &directory.join("data"))?;
    let endpoint = server.login()?;
    let one = volume(binary, &server, &endpoint, "one", None)?;
    let empty = volume(binary, &server, &endpoint, "empty", Some(Above::Nothing))?;
    let above = Some(Above::SomeOfEveryBlock);
    let mixed = volume(binary, &server, &endpoint, "mixed", above)?;
    let targets = [one, empty, mixed];
    println!(
        "\n| load | one image | {DEPTH} images, the upper ones without the blocks | {DEPTH} images, each with 16 KiB of every block | ratio, without | ratio, each |\n|---|---|---|---|---|---|"
    );
    for (name, depth) in [
        ("random read 4 KiB, queue 1", 1),
        ("random read 4 KiB, queue 32", 32),
    ] {
        let mut rounds: [Vec<f64>; 3] = Default::default();
        for _ in 0..ROUNDS {
            for (target, figures) in targets.iter().zip(&mut rounds) {
                let mut more = vec![format!("--size={REGION}")];
                more.extend(fio::for_seconds(seconds));
                figures.push(fio::run(target, "randread", "4k", depth, &more)?);
            }
        }
        let [one, empty, mixed] = rounds.map(median);
        println!(
            "| {name} | {one:.0}/s | {empty:.0}/s | {mixed:.0}/s | {:.2} | {:.2} |",
            empty / one,
            mixed / one
        );
    }
    server.stop()
}

/// Makes a volume whose region is written, with snapshots between what is written above.
fn volume(
    binary: &Path,
    server: &Server,
    endpoint: &Endpoint,
    name: &str,
    above: Option<Above>,
) -> anyhow::Result<Target> {
    let id = create(endpoint, name)?;
    let target = Target::Nbd(attach(binary, &server.data_dir, name)?);
    fio::run(&target, "write", "1m", 8, &[format!("--size={REGION}")])?;
    let Some(above) = above else {
        return Ok(target);
    };
    for level in 1..DEPTH {
        snapshot(endpoint, &id)?;
        match above {
            Above::Nothing => fio::run(
                &target,
                "write",
                "4k",
                1,
                &["--offset=700m".to_owned(), "--size=4k".to_owned()],
            )?,
            Above::SomeOfEveryBlock => fio::run(
                &target,
                "write:2032k",
                "16k",
                4,
                &[
                    format!("--offset={}k", level * 16),
                    format!("--number_ios={BLOCKS}"),
                    format!("--size={REGION}"),
                ],
            )?,
        };
    }
    Ok(target)
}

fn snapshot(endpoint: &Endpoint, volume: &str) -> anyhow::Result<()> {
    let mut connection = endpoint.connect()?;
    let body = serde_json::json!({"snapshot": {"volume_id": volume, "force": true}});
    let path = format!("{}/snapshots", endpoint.path);
    let answer = connection.expect("POST", &path, &body.to_string())?;
    let made: Value = serde_json::from_str(&answer.body)?;
    let id = made["snapshot"]["id"].as_str().context("a snapshot's id")?;
    let started = Instant::now();
    loop {
        let answer = connection.expect("GET", &format!("{path}/{id}"), "")?;
        let found: Value = serde_json::from_str(&answer.body)?;
        match found["snapshot"]["status"].as_str() {
            Some("available") => return Ok(()),
            Some("creating") if started.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(5));
            }
            status => bail!("snapshot {id} of volume {volume} is {status:?}"),
        }
    }
}
