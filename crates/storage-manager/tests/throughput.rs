//! Figures, not a test: `cargo test --release -p storage-manager --test throughput -- --ignored --nocapture`.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // it prints figures

mod support;

use std::time::{Duration, Instant};

use support::{Running, config, make_sr, vdi_record};
use xenapi::Value;

/// Calls of each client.
const CALLS: usize = 40;

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort();
    times[(times.len() - 1) * percent / 100]
}

#[test]
#[ignore = "prints figures"]
fn vdi_create_through_the_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(config(dir.path()), None);
    let sr = make_sr(&mut running.unix(), &dir.path().join("sr"), "file");
    for clients in [1, 8, 64] {
        let start = Instant::now();
        let threads: Vec<_> = (0..clients)
            .map(|_| {
                let (mut client, sr) = (running.unix(), sr.clone());
                std::thread::spawn(move || {
                    let call = |_| {
                        let start = Instant::now();
                        client
                            .call("VDI.create", [vdi_record(&sr, "v", 1 << 30)])
                            .unwrap();
                        start.elapsed()
                    };
                    (0..CALLS).map(call).collect::<Vec<_>>()
                })
            })
            .collect();
        let mut times: Vec<Duration> = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect();
        let rate = times.len() as f64 / start.elapsed().as_secs_f64();
        println!(
            "VDI.create, {clients} clients: {rate:.0}/s, p50 {:?}, p99 {:?}",
            percentile(&mut times, 50),
            percentile(&mut times, 99)
        );
    }
}

#[test]
#[ignore = "prints figures"]
fn records_of_many_objects() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(config(dir.path()), None);
    let many = 100_000;
    let threads: Vec<_> = (0..64)
        .map(|_| {
            let mut client = running.unix();
            std::thread::spawn(move || {
                for _ in 0..many / 64 {
                    client
                        .call(
                            "SR.introduce",
                            [
                                "".into(),
                                "n".into(),
                                "".into(),
                                "file".into(),
                                "".into(),
                                false.into(),
                            ],
                        )
                        .unwrap();
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    running.stop();
    let start = Instant::now();
    let running = Running::start(config(dir.path()), None);
    let mut client = running.unix();
    println!(
        "start with {many} objects until the first answer: {:?}",
        start.elapsed()
    );
    let all = client.call("SR.get_all", []).unwrap();
    let some: Vec<Value> = all
        .as_array()
        .unwrap()
        .iter()
        .step_by(100)
        .cloned()
        .collect();
    let start = Instant::now();
    for sr in &some {
        client.call("SR.get_record", [sr.clone()]).unwrap();
    }
    println!(
        "SR.get_record with its round trip: {:?}",
        start.elapsed() / u32::try_from(some.len()).unwrap()
    );
}
