//! This service and Cinder on the same PostgreSQL, one after the other, under the same load.
//!
//! `peers/cinder-up.sh` sets Cinder up with a driver that does no I/O and `peers/volume_bench.py` puts the load on either; this
//! service makes real VDIs meanwhile. The load generator runs on the same machine: its share of a processor is told, and a
//! figure with a share near 1 is a bound of the generator and no result.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::server::{Endpoint, Server};
use crate::ci::checked;

/// Where the scripts make Cinder and its PostgreSQL listen.
const CINDER: &str = "http://127.0.0.1:18776/v3";
const POSTGRESQL: &str = "postgresql://cinder@127.0.0.1:15432/xensm";
/// The project that Cinder's volumes are in.
const PROJECT: &str = "11111111111111111111111111111111";
/// Volumes in flight of the burst.
const BURST: usize = 100;
/// Requests of each list, by clients.
const LISTS: usize = 400;
/// Seconds that one step may take.
const STEP_MAX_S: u32 = 900;

/// Tries to empty Cinder's tables.
const PURGES_MAX: u32 = 5;

/// How large the pair is.
#[derive(Clone, Debug, clap::Args)]
pub struct PairOptions {
    /// Directory that `cinder-up.sh install` and `init` have prepared (its WORKDIR).
    #[arg(long)]
    peer_dir: Option<PathBuf>,
    /// Directory of `cinder-up.sh` and `volume_bench.py`.
    #[arg(long, default_value = "../shared/peers")]
    peer_scripts: PathBuf,
    /// Volumes that Cinder creates per number of clients; this service creates ten times as many.
    #[arg(long, default_value_t = 200)]
    pair_creates: usize,
    /// The sizes of the tables that lists are measured on. Cinder's grows to 100,000 at most.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 100_000, 1_000_000])]
    pair_rows: Vec<usize>,
    /// The server to measure, when it was built before; built otherwise.
    #[arg(long)]
    pub binary: Option<PathBuf>,
    /// Rounds, in turns.
    #[arg(long, default_value_t = 1)]
    pub rounds: usize,
}

/// Cinder's tables grow to this at most: a row costs its scripts and lists too much beyond.
const CINDER_ROWS_MAX: usize = 100_000;

/// Who is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Cinder,
    Ours,
}

struct Pair {
    root: PathBuf,
    peer: PathBuf,
    options: PairOptions,
}

/// What one round of one side brought: each line of the table.
struct Round(Vec<(String, f64)>);

/// Measures and prints the table of each round.
pub fn run(root: &Path, binary: &Path, options: &PairOptions) -> anyhow::Result<()> {
    let peer = options.peer_dir.clone().context(
        "--peer-dir names the directory that peers/cinder-up.sh has installed Cinder in",
    )?;
    ensure!(
        peer.join("venv-cinder/bin/python").exists(),
        "{} holds no Cinder: run WORKDIR={0} {}/cinder-up.sh install, then init",
        peer.display(),
        options.peer_scripts.display()
    );
    let pair = Pair {
        root: root.to_owned(),
        peer,
        options: options.clone(),
    };
    for round in 1..=options.rounds {
        let cinder = pair.cinder().context("measure Cinder")?;
        let ours = pair.ours(binary).context("measure this service")?;
        print(round, &cinder, &ours);
    }
    Ok(())
}

fn print(round: usize, cinder: &Round, ours: &Round) {
    println!("\nround {round}\n\n| what | Cinder | xensm | ratio |\n|---|---|---|---|");
    for (name, figure) in &ours.0 {
        let theirs = cinder.0.iter().find(|(known, _)| known == name);
        let (theirs, ratio) = match theirs {
            Some((_, theirs)) if *figure > 0.0 && *theirs > 0.0 && !name.contains("share") => {
                let ratio = (theirs / figure).max(figure / theirs);
                (format!("{theirs:.2}"), format!("{ratio:.0}"))
            }
            Some((_, theirs)) => (format!("{theirs:.2}"), String::new()),
            None => (String::new(), String::new()),
        };
        println!("| {name} | {theirs} | {figure:.2} | {ratio} |");
    }
}

impl Pair {
    fn cinder(&self) -> anyhow::Result<Round> {
        self.script("start")?;
        let measured = self.measure_cinder();
        let stopped = self.script("stop_cinder");
        let round = measured?;
        stopped?;
        Ok(round)
    }

    fn measure_cinder(&self) -> anyhow::Result<Round> {
        let started = fs::read_to_string(self.peer.join("cinder/coldstart.json"))?;
        let started: Value = serde_json::from_str(&started)?;
        self.purge()?;
        let load = Load {
            pair: self,
            side: Side::Cinder,
            base: CINDER.to_owned(),
            project: PROJECT.to_owned(),
            headers: vec![format!("X-Auth-Token: admin:{PROJECT}")],
            processes: self.cinder_processes()?,
        };
        let cold = started["cold_start_first_available_s"].as_f64();
        load.round(cold.unwrap_or_default() * 1e3)
    }

    /// Empties Cinder's tables. What `start` made is still being deleted, which may deadlock with it: PostgreSQL ends one of the two.
    fn purge(&self) -> anyhow::Result<()> {
        for _ in 1..PURGES_MAX {
            if self.script("purge").is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_secs(1));
        }
        self.script("purge")
    }

    fn ours(&self, binary: &Path) -> anyhow::Result<Round> {
        let directory = self.root.join("target/bench/pair");
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory)?;
        self.sql("postgres", "DROP DATABASE IF EXISTS xensm WITH (FORCE)")?;
        self.sql("postgres", "CREATE DATABASE xensm")?;
        let config = directory.join("xensm.toml");
        fs::write(
            &config,
            format!(
                "[database]\nurl = '{POSTGRESQL}'\n[limits]\nvolumes_per_project = -1\ngigabytes_per_project = -1\n\
                 [identity]\ntoken_lifetime_s = 86400\n"
            ),
        )?;
        let data = directory.join("data");
        // Cinder's tables were made before its start is timed, by `init`.
        Server::start_with(binary, &data, Some(&config))?.stop()?;
        let started = Instant::now();
        let server = Server::start_with(binary, &data, Some(&config))?;
        let measured = self.measure_ours(&server, started);
        server.stop()?;
        measured
    }

    fn measure_ours(&self, server: &Server, started: Instant) -> anyhow::Result<Round> {
        let endpoint = server.login()?;
        super::control_plane::burst(&endpoint, 1)?;
        let cold_ms = started.elapsed().as_secs_f64() * 1e3;
        let Endpoint {
            base,
            path,
            headers,
        } = endpoint;
        let project = path.trim_start_matches("/v3").trim_matches('/').to_owned();
        let load = Load {
            pair: self,
            side: Side::Ours,
            base: format!("{base}/v3"),
            project,
            // The microversion is as little asked for as of Cinder.
            headers: headers
                .lines()
                .filter(|line| line.starts_with("X-Auth-Token"))
                .map(str::to_owned)
                .collect(),
            processes: format!(
                "xensm={},postgres={}",
                server.pid(),
                self.postgresql_process()?
            ),
        };
        load.round(cold_ms)
    }

    /// Runs a function of the script.
    fn script(&self, function: &str) -> anyhow::Result<()> {
        self.script_with(function, &[])
    }

    fn script_with(&self, function: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let script = self.options.peer_scripts.join("cinder-up.sh");
        // What it starts outlives it and must not hold our output open.
        let log = self.peer.join(format!("pair-{function}.log"));
        let log = fs::File::create(log)?;
        checked(
            Command::new("bash")
                .arg(script)
                .arg(function)
                .args(arguments)
                .env("WORKDIR", &self.peer)
                .env("PYTHON", "python3.11")
                .current_dir(&self.root)
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log),
        )
        .with_context(|| format!("cinder-up.sh {function}; see {}", self.peer.display()))
    }

    fn sql(&self, database: &str, statement: &str) -> anyhow::Result<()> {
        let mut newest: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")?
            .filter_map(|entry| Some(entry.ok()?.path().join("bin/psql")))
            .filter(|psql| psql.exists())
            .collect();
        newest.sort();
        let psql = newest.last().context("psql of PostgreSQL")?;
        checked(
            Command::new(psql)
                .args([
                    "-h",
                    "127.0.0.1",
                    "-p",
                    "15432",
                    "-U",
                    "cinder",
                    "-d",
                    database,
                ])
                .args(["-v", "ON_ERROR_STOP=1", "-q", "-c", statement]),
        )
    }

    fn cinder_processes(&self) -> anyhow::Result<String> {
        let mut named = String::new();
        for (name, file) in [
            ("api", "cinder/api.pid"),
            ("scheduler", "cinder/sched.pid"),
            ("volume", "cinder/vol.pid"),
            ("rabbit", "rabbit/pid"),
        ] {
            let pid = fs::read_to_string(self.peer.join(file)).context(file)?;
            write!(named, "{name}={},", pid.trim())?;
        }
        write!(named, "postgres={}", self.postgresql_process()?)?;
        Ok(named)
    }

    fn postgresql_process(&self) -> anyhow::Result<String> {
        let text = fs::read_to_string(self.peer.join("pgdata/postmaster.pid"))?;
        Ok(text
            .lines()
            .next()
            .context("a process id")?
            .trim()
            .to_owned())
    }
}

/// The load on one side.
struct Load<'a> {
    pair: &'a Pair,
    side: Side,
    base: String,
    project: String,
    headers: Vec<String>,
    /// `name=pid,...`
    processes: String,
}

impl Load<'_> {
    fn round(&self, cold_start_ms: f64) -> anyhow::Result<Round> {
        let mut figures = vec![(
            "cold start to the first available, ms".to_owned(),
            cold_start_ms,
        )];
        let idle = self.bench("rss", &[])?;
        figures.push(("memory idle, MiB".to_owned(), memory(&idle["rss"])));
        let creates = match self.side {
            Side::Cinder => self.pair.options.pair_creates,
            Side::Ours => self.pair.options.pair_creates * 10,
        };
        let count = creates.to_string();
        let made = self.bench(
            "create",
            &["--concurrency", "1,8,32", "--cleanup", "--count", &count],
        )?;
        for row in made.as_array().context("rows of create")? {
            created(&mut figures, row)?;
        }
        let burst = BURST.to_string();
        let burst = self.bench(
            "burst",
            &["--count", &burst, "--concurrency", &burst, "--cleanup"],
        )?;
        for quantile in ["p50", "p99"] {
            let time = &burst["to_available_by_updated_at"][format!("{quantile}_ms")];
            figures.push((
                format!("{BURST} in flight: available after, {quantile}, ms"),
                time.as_f64().unwrap_or_default(),
            ));
        }
        figures.push((
            "memory after the burst, MiB".to_owned(),
            memory(&burst["rss"]),
        ));
        for rows in &self.pair.options.pair_rows {
            if self.side == Side::Cinder && *rows > CINDER_ROWS_MAX {
                continue;
            }
            self.fill(*rows)?;
            let count = match self.side {
                Side::Cinder => LISTS / 10,
                Side::Ours => LISTS,
            };
            let lists = self.bench(
                "list",
                &[
                    "--limit",
                    "100",
                    "--concurrency",
                    "1,8",
                    "--count",
                    &count.to_string(),
                ],
            )?;
            for row in lists.as_array().context("rows of list")? {
                listed(&mut figures, *rows, row);
            }
        }
        Ok(Round(figures))
    }

    fn bench(&self, command: &str, arguments: &[&str]) -> anyhow::Result<Value> {
        let pair = self.pair;
        let mut bench = Command::new(pair.peer.join("venv-cinder/bin/python"));
        bench
            .arg(pair.options.peer_scripts.join("volume_bench.py"))
            .args(["--base", &self.base, "--project", &self.project])
            .args(["--pids", &self.processes])
            .args(["--max-seconds", &STEP_MAX_S.to_string()])
            .current_dir(&pair.root);
        for header in &self.headers {
            bench.args(["--header", header]);
        }
        let output = bench.arg(command).args(arguments).output()?;
        ensure!(
            output.status.success(),
            "volume_bench.py {command}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let name = match self.side {
            Side::Cinder => "cinder",
            Side::Ours => "xensm",
        };
        eprintln!(
            "{name} {command}: {}",
            String::from_utf8_lossy(&output.stdout)
        );
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Makes the table hold so many volumes.
    fn fill(&self, rows: usize) -> anyhow::Result<()> {
        match self.side {
            Side::Cinder => self.pair.script_with("fill", &[&rows.to_string()]),
            Side::Ours => {
                let project = &self.project;
                self.pair.sql(
                    "xensm",
                    &format!(
                        // Without the triggers, whose count would grow by a row version for each of them.
                        "SET session_replication_role = replica; \
                         INSERT INTO volumes (id, ec2_id, project_id, user_id, name, description, size_gib, status, flavor_id, \
                         zone, bootable, failure, created_at_us, updated_at_us) \
                         SELECT id, 'vol-' || left(replace(id, '-', ''), 17), '{project}', 'fill', 'fill-' || number, '', 1, \
                         'available', (SELECT id FROM flavors WHERE label = 'default'), 'nova', 0, '', \
                         (extract(epoch FROM now()) * 1000000)::bigint - number, 0 \
                         FROM (SELECT gen_random_uuid()::text AS id, number FROM generate_series((SELECT count(*) FROM volumes) + 1, \
                         {rows}) AS number) AS fresh"
                    ),
                )?;
                self.pair.sql("xensm", "ANALYZE volumes")
            }
        }
    }
}

fn created(figures: &mut Vec<(String, f64)>, row: &Value) -> anyhow::Result<()> {
    let clients = row["concurrency"].as_u64().context("concurrency")?;
    for (operation, key) in [("create", "post"), ("delete", "delete_api")] {
        let figure = &row[key];
        let name = format!("{operation}, {clients} clients");
        for (what, field) in [
            ("/s", "per_s"),
            ("p50 ms", "p50_ms"),
            ("server CPU ms", "server_cpu_ms_per_op"),
            ("client's share of a processor", "client_cpu_share"),
        ] {
            figures.push((
                format!("{name}: {what}"),
                figure[field].as_f64().unwrap_or_default(),
            ));
        }
        ensure!(
            figure["errors"]
                .as_object()
                .is_none_or(serde_json::Map::is_empty),
            "{name}: {}",
            figure["errors"]
        );
    }
    figures.push((
        format!("made available, {clients} clients: /s"),
        row["available_per_s"].as_f64().unwrap_or_default(),
    ));
    Ok(())
}

fn listed(figures: &mut Vec<(String, f64)>, rows: usize, row: &Value) {
    let Some(operation) = row["op"].as_str().filter(|operation| *operation != "rss") else {
        return;
    };
    let name = format!(
        "{} of {rows}, {} clients",
        operation.replace('_', " "),
        row["concurrency"]
    );
    for (what, field) in [
        ("/s", "per_s"),
        ("p50 ms", "p50_ms"),
        ("client's share of a processor", "client_cpu_share"),
    ] {
        figures.push((
            format!("{name}: {what}"),
            row["get"][field].as_f64().unwrap_or_default(),
        ));
    }
}

/// The memory of everything but PostgreSQL, in MiB (PSS).
fn memory(processes: &Value) -> f64 {
    let of = |name: &str| processes[name]["pss_mib"].as_f64().unwrap_or_default();
    of("total") - of("postgres")
}
