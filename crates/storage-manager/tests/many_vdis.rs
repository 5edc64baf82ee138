//! Figures, not a test: one SR of ten thousand VDIs through the server's socket.
//! `cargo test --release -p storage-manager --test many_vdis -- --ignored --nocapture`.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // it prints figures

mod support;

use std::time::{Duration, Instant};

use support::{Running, config, make_sr, vdi_record};
use xenapi::Value;

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort();
    times[(times.len() - 1) * percent / 100]
}

/// VDIs of the SR that is measured.
const MANY: usize = 10_000;

/// Calls that are timed one after the other.
const TIMED: usize = 200;

/// Clients that fill the SR.
const FILLERS: usize = 16;

fn create(client: &mut support::Client, sr: &str) -> Value {
    let record = vdi_record(sr, "v", 1 << 30);
    client.call("VDI.create", [record]).unwrap()
}

/// Time that this process, server and clients together, had on all processors.
fn processor_time() -> Duration {
    // Fields 14 and 15, in ticks of 10 ms; the second field is the name in parentheses. Source: proc(5).
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = text.rsplit_once(')').unwrap();
    let ticks = fields.split_whitespace().skip(11).take(2);
    Duration::from_millis(ticks.map(|ticks| ticks.parse::<u64>().unwrap() * 10).sum())
}

fn timed(what: &str, count: usize, mut call: impl FnMut()) {
    let before = processor_time();
    let mut times: Vec<Duration> = (0..count)
        .map(|_| {
            let start = Instant::now();
            call();
            start.elapsed()
        })
        .collect();
    println!(
        "{what}: p50 {:?}, p99 {:?}, worst {:?}, of the processors {:?} each",
        percentile(&mut times, 50),
        percentile(&mut times, 99),
        percentile(&mut times, 100),
        (processor_time() - before) / u32::try_from(count).unwrap(),
    );
}

/// The goals: `VDI.create` under 5 ms at 1 and at 10,000 VDIs, `SR.scan` of 10,000 under 1 s, snapshot and clone under 5 ms.
#[test]
#[ignore = "prints figures"]
fn an_sr_of_ten_thousand_vdis() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(config(dir.path()), None);
    let mut client = running.unix();
    let sr = make_sr(&mut client, &dir.path().join("sr"), "file");
    let first = create(&mut client, &sr);
    let mut made = Vec::new();
    timed("VDI.create in an SR of 1", TIMED, || {
        made.push(create(&mut client, &sr));
    });
    for vdi in made {
        client.call("VDI.destroy", [vdi]).unwrap();
    }
    content_calls(&mut client, &first, "in an SR of 1");
    let start = Instant::now();
    let threads: Vec<_> = (0..FILLERS)
        .map(|_| {
            let (mut client, sr) = (running.unix(), sr.clone());
            std::thread::spawn(move || {
                for _ in 0..MANY / FILLERS {
                    create(&mut client, &sr);
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    println!("{MANY} VDIs were made in {:?}", start.elapsed());
    timed("VDI.create in an SR of 10,000", TIMED, || {
        create(&mut client, &sr);
    });
    content_calls(&mut client, &first, "in an SR of 10,000");
    timed("SR.scan of 10,000", 5, || {
        client.call("SR.scan", [sr.as_str().into()]).unwrap();
    });
    timed("VDI.get_all_records of 10,000", 3, || {
        client.call("VDI.get_all_records", []).unwrap();
    });
    running.stop();
    let start = Instant::now();
    let running = Running::start(config(dir.path()), None);
    let mut client = running.unix();
    println!("start until the first answer: {:?}", start.elapsed());
    timed("SR.scan of 10,000, the first after a start", 1, || {
        client.call("SR.scan", [sr.as_str().into()]).unwrap();
    });
}

/// The calls on content that take constant time; what a driver cannot do is told.
fn content_calls(client: &mut support::Client, vdi: &Value, place: &str) {
    for method in ["VDI.snapshot", "VDI.clone"] {
        if let Err(failure) = client.call(method, [vdi.clone()]) {
            println!("{method}: {failure}");
            continue;
        }
        // Few, because each may make the chain longer.
        timed(&format!("{method} {place}"), 20, || {
            client.call(method, [vdi.clone()]).unwrap();
        });
    }
}
