//! Start, memory, creates and lists of the control plane.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::server::{Endpoint, Server};
use super::statistics::percentile_ms;
use crate::ci::checked;

/// Clients at a time.
const CLIENTS: [usize; 3] = [1, 8, 32];
/// Starts of which the median is told.
const STARTS: usize = 9;
/// Requests of each list.
const LISTS: usize = 200;
/// How long all that was accepted may take to be done.
const SETTLE: Duration = Duration::from_secs(300);

/// Measures everything.
pub fn run(binary: &Path, creates: usize, rows: usize) -> anyhow::Result<()> {
    let directory = std::env::current_dir()?.join("target/bench/control-plane");
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory)?;
    println!("| what | figure |\n|---|---|");
    starts(binary, &directory)?;
    let server = Server::start(binary, &directory.join("data"))?;
    let endpoint = server.login()?;
    // The first start connects its backend; a create tells that it is done.
    burst(&endpoint, 1)?;
    println!("| memory, idle (PSS) | {:.1} MiB |", server.memory_mib()?);
    for clients in CLIENTS {
        accepted(&server, &endpoint, clients, creates)?;
    }
    let mut times = burst(&endpoint, 100)?;
    println!(
        "| 100 creates in flight: POST until available | p50 {:.0} ms, p99 {:.0} ms |",
        percentile_ms(&mut times, 50.0),
        percentile_ms(&mut times, 99.0)
    );
    println!(
        "| memory, after the load (PSS) | {:.1} MiB |",
        server.memory_mib()?
    );
    lists(server, rows)
}

fn starts(binary: &Path, directory: &Path) -> anyhow::Result<()> {
    let (mut first, mut later) = (Vec::new(), Vec::new());
    for index in 0..STARTS {
        let server = Server::start(binary, &directory.join(format!("start-{index}")))?;
        first.push(server.start_time);
        let server = server.restart()?;
        later.push(server.start_time);
        server.stop()?;
    }
    println!(
        "| process start until ready, median of {STARTS} | first start {:.0} ms, later {:.0} ms |",
        percentile_ms(&mut first, 50.0),
        percentile_ms(&mut later, 50.0)
    );
    Ok(())
}

/// POSTs `count` volumes with `clients` at a time, then waits until all are available.
fn accepted(
    server: &Server,
    endpoint: &Endpoint,
    clients: usize,
    count: usize,
) -> anyhow::Result<()> {
    let before = total(endpoint)?;
    let cpu = server.cpu_time()?;
    let next = AtomicUsize::new(0);
    let times = Mutex::new(Vec::new());
    let started = Instant::now();
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let work = || -> anyhow::Result<()> {
            let mut connection = endpoint.connect()?;
            let mut own = Vec::new();
            while next.fetch_add(1, Ordering::Relaxed) < count {
                let sent = Instant::now();
                connection.expect(
                    "POST",
                    &format!("{}/volumes", endpoint.path),
                    &wanted("load"),
                )?;
                own.push(sent.elapsed());
            }
            times.lock().expect("no client panics").extend(own);
            Ok(())
        };
        let threads: Vec<_> = (0..clients).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("no client panics"))
    })?;
    let took = started.elapsed();
    wait_until_settled(endpoint, before + count)?;
    let settled = started.elapsed();
    let used = server.cpu_time()?.checked_sub(cpu).unwrap_or_default();
    let mut times = times.into_inner().expect("no client panics");
    println!(
        "| create, {clients} clients, {count} volumes | {:.0} accepted/s (p50 {:.2} ms, p99 {:.2} ms), {:.0} available/s, {:.2} ms of CPU each |",
        count as f64 / took.as_secs_f64(),
        percentile_ms(&mut times, 50.0),
        percentile_ms(&mut times, 99.0),
        count as f64 / settled.as_secs_f64(),
        used.as_secs_f64() * 1000.0 / count as f64
    );
    Ok(())
}

/// Sends `count` creates at once; returns how long each took until it was seen available.
pub(super) fn burst(endpoint: &Endpoint, count: usize) -> anyhow::Result<Vec<Duration>> {
    let started = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|_| {
                scope.spawn(|| -> anyhow::Result<Duration> {
                    let mut connection = endpoint.connect()?;
                    let sent = Instant::now();
                    let answer = connection.expect(
                        "POST",
                        &format!("{}/volumes", endpoint.path),
                        &wanted("burst"),
                    )?;
                    let made: Value = serde_json::from_str(&answer.body)?;
                    let id = made["volume"]["id"].as_str().context("an id")?;
                    loop {
                        let shown = connection.expect(
                            "GET",
                            &format!("{}/volumes/{id}", endpoint.path),
                            "",
                        )?;
                        if shown.body.contains("\"available\"") {
                            return Ok(sent.elapsed());
                        }
                        ensure!(
                            !shown.body.contains("\"error\""),
                            "a create failed: {}",
                            shown.body
                        );
                        ensure!(started.elapsed() < SETTLE, "a create is not done");
                        std::thread::sleep(Duration::from_millis(2));
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no client panics"))
            .collect()
    })
}

fn wanted(name: &str) -> String {
    json!({"volume": {"name": name, "size": 1}}).to_string()
}

/// How many volumes there are, and (with a status) how many of them have it.
fn count(endpoint: &Endpoint, filter: &str) -> anyhow::Result<usize> {
    let mut connection = Endpoint {
        headers: endpoint.headers.replace("3.44", "3.45"),
        ..endpoint.clone()
    }
    .connect()?;
    let answer = connection.expect(
        "GET",
        &format!("{}/volumes?limit=1&with_count=true{filter}", endpoint.path),
        "",
    )?;
    let body: Value = serde_json::from_str(&answer.body)?;
    Ok(usize::try_from(body["count"].as_u64().context("a count")?)?)
}

fn total(endpoint: &Endpoint) -> anyhow::Result<usize> {
    count(endpoint, "")
}

fn wait_until_settled(endpoint: &Endpoint, volumes: usize) -> anyhow::Result<()> {
    let started = Instant::now();
    while count(endpoint, "&status=available")? < volumes {
        ensure!(
            started.elapsed() < SETTLE,
            "not every volume became available"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Lists 100 in detail with ever more rows in the table. Rows beyond those made above are copied by SQL while the server is
/// down: a list reads nothing but the database.
fn lists(mut server: Server, rows: usize) -> anyhow::Result<()> {
    for size in [1_000, 10_000, 100_000, 1_000_000] {
        if size > rows {
            break;
        }
        let database = server.data_dir.join("xensm.db");
        let data_dir = server.data_dir.clone();
        server.stop()?;
        fill(&database, size)?;
        server = Server::start(
            &std::env::current_dir()?.join("target/release/xensm"),
            &data_dir,
        )?;
        let endpoint = server.login()?;
        let mut connection = endpoint.connect()?;
        let path = format!("{}/volumes/detail?limit=100", endpoint.path);
        let mut times = Vec::new();
        for _ in 0..LISTS {
            let sent = Instant::now();
            let answer = connection.expect("GET", &path, "")?;
            times.push(sent.elapsed());
            ensure!(
                answer.body.matches("\"attachments\"").count() == 100,
                "a list of 100 has 100"
            );
        }
        println!(
            "| list 100 in detail of {size} volumes | p50 {:.2} ms, p99 {:.2} ms |",
            percentile_ms(&mut times, 50.0),
            percentile_ms(&mut times, 99.0)
        );
    }
    server.stop()
}

/// Makes the table hold `size` volumes by copying one, or by leaving some out.
fn fill(database: &Path, size: usize) -> anyhow::Result<()> {
    let script = r"
import sqlite3, sys, uuid
database, size = sqlite3.connect(sys.argv[1]), int(sys.argv[2])
have = database.execute('SELECT count(*) FROM volumes').fetchone()[0]
if have > size:
    database.execute('DELETE FROM operations')
    database.execute('DELETE FROM volumes WHERE id IN (SELECT id FROM volumes ORDER BY id LIMIT ?)', (have - size,))
cursor = database.execute('SELECT * FROM volumes WHERE status = ? LIMIT 1', ('available',))
names, row = [column[0] for column in cursor.description], list(cursor.fetchone())
def copies():
    for index in range(size - have):
        fresh, new = uuid.uuid4(), list(row)
        new[names.index('id')] = str(fresh)
        new[names.index('ec2_id')] = 'vol-' + fresh.hex[:17]
        new[names.index('name')] = f'copy-{index}'
        new[names.index('created_at_us')] += index
        yield new
database.executemany('INSERT INTO volumes VALUES (' + ','.join('?' * len(names)) + ')', copies())
database.commit()
";
    checked(
        Command::new("python3")
            .arg("-c")
            .arg(script)
            .arg(database)
            .arg(size.to_string()),
    )
}
