//! This service and moto under the same load of EC2 requests, one after the other.
//!
//! moto keeps what it is told in memory, checks no signature and makes no volume; this service does all of that, on SQLite and on
//! PostgreSQL. The load generator sends what boto3 sends for `create_volume` and `describe_volumes`, over connections that stay open
//! (moto closes each after its answer); boto3 itself takes 3 ms of processor time for each call and would be what is measured.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::http::Connection;
use super::server::{Server, cpu_time_of};
use super::signer::{FORM, Signer};
use super::statistics::percentile_ms;
use crate::ci::checked;

/// Where moto listens.
const MOTO: &str = "http://127.0.0.1:15799";
/// Volumes of a list.
const PAGE: usize = 1000;
/// The database that is made anew for each round.
const DATABASE: &str = "xensm_moto";
/// How long moto may take to start, and all volumes to be made.
const PATIENCE: Duration = Duration::from_secs(300);
/// Pause between two looks at something that is awaited.
const PAUSE: Duration = Duration::from_millis(20);

/// How large the measurement is.
#[derive(Clone, Debug, clap::Args)]
pub struct MotoOptions {
    /// A virtual environment with moto: `python3.11 -m venv V; V/bin/pip install 'moto[ec2,server]==5.2.5'`
    #[arg(long)]
    moto_venv: Option<PathBuf>,
    /// A PostgreSQL server to measure this service on too, as `postgresql://user@host:port`; it gets a database of its own.
    #[arg(long)]
    moto_postgresql: Option<String>,
    /// Volumes that moto creates by one client; by 32 clients it creates the rest of 1,000. This service makes ten times as many.
    #[arg(long, default_value_t = 200)]
    moto_creates: usize,
    /// Lists of 1,000 volumes that moto answers; this service answers ten times as many.
    #[arg(long, default_value_t = 20)]
    moto_lists: usize,
}

/// What one side brought: each line of the table.
struct Round(Vec<(String, String)>);

/// Measures and prints the table of each round.
pub fn run(root: &Path, binary: &Path, rounds: usize, options: &MotoOptions) -> anyhow::Result<()> {
    let venv = options
        .moto_venv
        .as_deref()
        .context("--moto-venv names a virtual environment with moto")?;
    let directory = root.join("target/bench/moto");
    for round in 1..=rounds {
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory)?;
        let mut sides = vec![(
            "moto",
            moto(venv, &directory, options).context("measure moto")?,
        )];
        let ours = |name: &str, url: Option<&str>| {
            ours(binary, &directory.join(name), url, options)
                .with_context(|| format!("measure this service on {name}"))
        };
        sides.push(("xensm, SQLite", ours("sqlite", None)?));
        if let Some(server) = &options.moto_postgresql {
            sql(
                server,
                &format!("DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)"),
            )?;
            sql(server, &format!("CREATE DATABASE {DATABASE}"))?;
            let url = format!("{server}/{DATABASE}");
            sides.push(("xensm, PostgreSQL", ours("postgresql", Some(&url))?));
        }
        print(round, &sides);
    }
    Ok(())
}

fn print(round: usize, sides: &[(&str, Round)]) {
    let names: Vec<&str> = sides.iter().map(|(name, _)| *name).collect();
    println!("\nround {round}\n\n| what | {} |", names.join(" | "));
    println!("|---|{}", "---|".repeat(names.len()));
    let Some((_, Round(last))) = sides.last() else {
        return;
    };
    for (what, _) in last {
        let figures: Vec<&str> = sides
            .iter()
            .map(|(_, Round(lines))| {
                let line = lines.iter().find(|(name, _)| name == what);
                line.map_or("", |(_, figure)| figure)
            })
            .collect();
        println!("| {what} | {} |", figures.join(" | "));
    }
}

fn sql(server: &str, statement: &str) -> anyhow::Result<()> {
    let psql = "$(ls -d /usr/lib/postgresql/*/bin/psql | sort -V | tail -n 1)";
    checked(
        Command::new("sh")
            .arg("-c")
            .arg(format!(
                "exec {psql} -d \"$1/postgres\" -v ON_ERROR_STOP=1 -q -c \"$2\""
            ))
            .args(["sql", server, statement]),
    )
}

fn moto(venv: &Path, directory: &Path, options: &MotoOptions) -> anyhow::Result<Round> {
    let log = fs::File::create(directory.join("moto.log"))?;
    let (_, port) = MOTO.rsplit_once(':').context("a port")?;
    let process = Command::new(venv.join("bin/moto_server"))
        .args(["-H", "127.0.0.1", "-p", port])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("start moto_server")?;
    let process = Stopped(process);
    let started = Instant::now();
    while Connection::open(MOTO, "").is_err() {
        ensure!(
            started.elapsed() < PATIENCE,
            "moto does not listen on {MOTO}"
        );
        std::thread::sleep(PAUSE);
    }
    let load = Load {
        base: MOTO.to_owned(),
        // moto reads the service out of the signature's scope and checks nothing.
        signer: Signer::new(MOTO, "AKIDEXAMPLE", "secret")?,
        zone: "us-east-1a",
        processes: vec![process.0.id()],
    };
    load.round(
        options.moto_creates,
        PAGE - options.moto_creates.min(PAGE),
        options.moto_lists,
    )
}

/// A process that ends with its owner.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ours(
    binary: &Path,
    directory: &Path,
    url: Option<&str>,
    options: &MotoOptions,
) -> anyhow::Result<Round> {
    fs::create_dir_all(directory)?;
    let config = directory.join("xensm.toml");
    let database = url
        .map(|url| format!("[database]\nurl = '{url}'\n"))
        .unwrap_or_default();
    fs::write(
        &config,
        format!("{database}[limits]\nvolumes_per_project = -1\ngigabytes_per_project = -1\n"),
    )?;
    let server = Server::start_with(binary, &directory.join("data"), Some(&config))?;
    let measured = ours_on(&server, url.is_some(), options);
    server.stop()?;
    measured
}

fn ours_on(server: &Server, has_postgresql: bool, options: &MotoOptions) -> anyhow::Result<Round> {
    let (base, signer) = Signer::of_directory(&server.data_dir)?;
    let mut processes = vec![server.pid()];
    if has_postgresql {
        processes.extend(processes_named("postgres")?);
    }
    let load = Load {
        base,
        signer,
        zone: "nova",
        processes,
    };
    // The first start connects its backend; a volume tells that it is done.
    load.creates(1, 1)?;
    load.wait_until_made()?;
    load.round(
        10 * options.moto_creates,
        10 * (PAGE - options.moto_creates.min(PAGE)),
        10 * options.moto_lists,
    )
}

fn processes_named(name: &str) -> anyhow::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let pid = entry.file_name().to_string_lossy().parse();
        let command = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if let Ok(pid) = pid
            && command.trim() == name
        {
            found.push(pid);
        }
    }
    Ok(found)
}

/// The load on one side.
struct Load {
    base: String,
    signer: Signer,
    zone: &'static str,
    /// Those whose processor time counts.
    processes: Vec<u32>,
}

/// What a step took.
struct Taken {
    count: usize,
    wall: Duration,
    server: Duration,
    client: Duration,
    times: Vec<Duration>,
}

impl Taken {
    fn figure(mut self) -> String {
        let per_second = self.count as f64 / self.wall.as_secs_f64();
        let cpu_ms = self.server.as_secs_f64() * 1e3 / self.count as f64;
        let share = self.client.as_secs_f64() / self.wall.as_secs_f64();
        format!(
            "{per_second:.1}/s, p50 {:.2} ms, p99 {:.2} ms, {cpu_ms:.2} ms of CPU each; generator {share:.2}",
            percentile_ms(&mut self.times, 50.0),
            percentile_ms(&mut self.times, 99.0),
        )
    }
}

impl Load {
    fn round(&self, alone: usize, together: usize, lists: usize) -> anyhow::Result<Round> {
        let mut lines = Vec::new();
        for (clients, count) in [(1, alone), (32, together)] {
            let started = Instant::now();
            let taken = self.creates(clients, count)?;
            self.wait_until_made()?;
            let made = count as f64 / started.elapsed().as_secs_f64();
            lines.push((format!("CreateVolume, {clients} at a time"), taken.figure()));
            lines.push((
                format!("available, {clients} at a time"),
                format!("{made:.1}/s"),
            ));
        }
        for clients in [1, 32] {
            let taken = self.lists(clients, lists)?;
            lines.push((
                format!("DescribeVolumes of 1,000, {clients} at a time"),
                taken.figure(),
            ));
        }
        Ok(Round(lines))
    }

    fn creates(&self, clients: usize, count: usize) -> anyhow::Result<Taken> {
        let zone = self.zone;
        self.step(clients, count, |number| {
            // Each request has a token of its own, as boto3 makes one.
            let (process, moment) = (std::process::id(), self.signer.time());
            format!("Action=CreateVolume&Version=2016-11-15&AvailabilityZone={zone}&Size=1&ClientToken={process}-{moment}-{clients}-{number}")
        }, |body| body.contains("<volumeId>vol-"))
    }

    fn lists(&self, clients: usize, count: usize) -> anyhow::Result<Taken> {
        self.step(
            clients,
            count,
            |_| format!("Action=DescribeVolumes&Version=2016-11-15&MaxResults={PAGE}"),
            |body| body.matches("<createTime>").count() == PAGE,
        )
    }

    /// Waits until no volume is being made.
    fn wait_until_made(&self) -> anyhow::Result<()> {
        let started = Instant::now();
        let mut connection = Connection::open(&self.base, "")?;
        loop {
            let form = "Action=DescribeVolumes&Version=2016-11-15&Filter.1.Name=status&Filter.1.Value.1=creating&MaxResults=5";
            let body = self.ask(&mut connection, form)?;
            if !body.contains("<volumeId>") {
                return Ok(());
            }
            ensure!(started.elapsed() < PATIENCE, "volumes are not made: {body}");
            std::thread::sleep(PAUSE);
        }
    }

    fn ask(&self, connection: &mut Connection, form: &str) -> anyhow::Result<String> {
        let answer = connection.post(FORM, &self.signer.headers(form), form)?;
        ensure!(
            answer.status == 200,
            "{form} answered {}: {}",
            answer.status,
            answer.body
        );
        Ok(answer.body)
    }

    /// Sends `count` requests by so many clients, each over a connection of its own.
    fn step(
        &self,
        clients: usize,
        count: usize,
        form: impl Fn(usize) -> String + Sync,
        is_good: impl Fn(&str) -> bool + Sync,
    ) -> anyhow::Result<Taken> {
        let next = AtomicUsize::new(0);
        let times = Mutex::new(Vec::new());
        let (server, client) = (self.cpu_time()?, cpu_time_of(std::process::id())?);
        let started = Instant::now();
        std::thread::scope(|scope| -> anyhow::Result<()> {
            let work = || -> anyhow::Result<()> {
                let mut connection = Connection::open(&self.base, "")?;
                let mut own = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    let form = form(number);
                    let sent = Instant::now();
                    let body = self.ask(&mut connection, &form)?;
                    own.push(sent.elapsed());
                    ensure!(is_good(&body), "{form} answered {body:.500}");
                }
                times.lock().expect("no client panics").extend(own);
                Ok(())
            };
            let threads: Vec<_> = (0..clients).map(|_| scope.spawn(work)).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().expect("no client panics"))
        })?;
        let wall = started.elapsed();
        Ok(Taken {
            count,
            wall,
            server: self.cpu_time()?.saturating_sub(server),
            client: cpu_time_of(std::process::id())?.saturating_sub(client),
            times: times.into_inner().expect("no client panics"),
        })
    }

    /// Processor time of the side so far. A server process of PostgreSQL that ends meanwhile takes its time along.
    fn cpu_time(&self) -> anyhow::Result<Duration> {
        let times = self.processes.iter().map(|process| cpu_time_of(*process));
        Ok(times.filter_map(Result::ok).sum())
    }
}
