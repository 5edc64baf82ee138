//! Reads of a LUN beside `iscsi-perf` on the same LUN, in turns. Run by `cargo xtask bench --only storage`.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // prints a table; helpers of tests fail the test

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use storage_manager::medium::block_device::BlockDevice;
use storage_manager::medium::iscsi::{IscsiDevice, Login, Portal, Session};
use testkit::iscsi_target::Tgt;

const TARGET: &str = "iqn.2026-11.org.example:perf";
const SIZE: u64 = 256 << 20;
const SECONDS: u64 = 3;
/// Name, bytes of a read, readers at once, at random places.
const LOADS: [(&str, usize, usize, bool); 4] = [
    ("random 4 KiB, queue 1", 4096, 1, true),
    ("random 4 KiB, queue 16", 4096, 16, true),
    ("sequential 1 MiB, queue 1", 1 << 20, 1, false),
    ("sequential 1 MiB, queue 4", 1 << 20, 4, false),
];

#[test]
#[ignore = "measures"]
fn reads_beside_iscsi_perf() {
    let (Some(mut tgt), Some(perf)) = (Tgt::start(), testkit::tool::program("iscsi-perf")) else {
        return;
    };
    tgt.add_target(1, TARGET);
    tgt.add_lun(1, 1, SIZE);
    let session = Session::login(Login {
        portal: Portal::parse(&tgt.portal()).unwrap(),
        target: TARGET.to_owned(),
        initiator: "iqn.2026-11.org.example:tests".to_owned(),
        credentials: None,
        target_credentials: None,
        isid: (1, 0),
        digests: false,
        patience: Duration::from_secs(10),
        deadline: Duration::from_secs(60),
    });
    let device = IscsiDevice::open(&session.unwrap(), 1).unwrap();
    device.write_at(&vec![1; SIZE as usize / 4], 0).unwrap();
    let url = format!("iscsi://{}/{TARGET}/1", tgt.portal());
    println!("| load | ours | iscsi-perf | ratio |\n|---|---|---|---|");
    for (name, bytes, queue, is_random) in LOADS {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            ours.push(read(&device, bytes, queue, is_random));
            let mut command = Command::new(&perf);
            command.args(["-m", &queue.to_string(), "-b", &(bytes / 512).to_string()]);
            command.args(["-t", &SECONDS.to_string()]);
            if is_random {
                command.arg("-r");
            }
            let output = testkit::tool::output(command.arg(&url));
            theirs.push(average(&String::from_utf8_lossy(&output.stdout)));
        }
        let (ours, theirs) = (median(ours), median(theirs));
        println!(
            "| {name} | {ours:.0}/s | {theirs:.0}/s | {:.2} |",
            ours / theirs
        );
    }
}

fn read(device: &IscsiDevice, bytes: usize, queue: usize, is_random: bool) -> f64 {
    let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..queue {
            scope.spawn(|| {
                let mut buffer = vec![0; bytes];
                while started.elapsed() < Duration::from_secs(SECONDS) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let spread = if is_random { 0x9e37_79b9_7f4a_7c15 } else { 1 };
                    let place = number.wrapping_mul(spread) % (SIZE / bytes as u64);
                    device.read_at(&mut buffer, place * bytes as u64).unwrap();
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    done.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64()
}

/// The last average that the tool tells.
fn average(text: &str) -> f64 {
    let figures = text.rsplit("iops average ").next().unwrap_or_default();
    let digits: String = figures.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(f64::NAN)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
