//! Figures, not a test: `cargo test --release -p storage-manager --test throughput -- --ignored --nocapture`.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // it prints figures

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use storage_manager::sr::{AttachedSr, FileSr, NewVdi, OpenMode, SnapshotKind, SrParams, SrType};
use support::{Running, config, make_sr, vdi_record};
use uuid::Uuid;
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

/// An attached SR of type `file` without a server before it.
fn file_sr(location: &std::path::Path) -> Arc<dyn AttachedSr> {
    let params = SrParams {
        sr_uuid: Uuid::from_u128(1),
        device_config: [("location".to_owned(), location.to_str().unwrap().to_owned())].into(),
        sm_config: BTreeMap::new(),
    };
    let driver = FileSr::default();
    driver.create(&params).unwrap();
    driver.attach(&params).unwrap()
}

fn create(sr: &dyn AttachedSr, uuid: u128, virtual_size: u64) {
    let new = NewVdi {
        uuid: Uuid::from_u128(uuid),
        virtual_size,
        sm_config: BTreeMap::new(),
    };
    sr.create_vdi(&new).unwrap();
}

/// Times snapshots of a VDI that was written before each; its chain grows. Between two of them is `rest`.
fn snapshots(
    sr: &dyn AttachedSr,
    vdi: u128,
    count: u128,
    attached: bool,
    rest: Duration,
) -> Vec<Duration> {
    let (vdi, mut times) = (Uuid::from_u128(vdi), Vec::new());
    let open = || sr.open_vdi(vdi, OpenMode::ReadWrite).unwrap();
    let mut consumer = attached.then(open);
    for n in 0..count {
        let writer = consumer.take().unwrap_or_else(open);
        writer.write_at(&[n as u8; 4096], n as u64 * 4096).unwrap();
        if attached {
            consumer = Some(writer);
        } else {
            writer.close().unwrap();
        }
        std::thread::sleep(rest);
        let new = Uuid::from_u128(vdi.as_u128() << 64 | n);
        let start = Instant::now();
        sr.snapshot_vdi(vdi, new, SnapshotKind::Snapshot).unwrap();
        times.push(start.elapsed());
    }
    times
}

#[test]
#[ignore = "prints figures"]
fn snapshots_of_a_file_sr() {
    let dir = tempfile::tempdir().unwrap();
    let sr = file_sr(&dir.path().join("sr"));
    // In a row, and with time in which the files for the next snapshot of a large image are made.
    let cases = [(1 << 30, 0), (2040 << 30, 0), (2040 << 30, 200)];
    for (index, (size, rest_ms)) in cases.into_iter().enumerate() {
        let rest = Duration::from_millis(rest_ms);
        for attached in [false, true] {
            let (mut first, mut deep) = (Vec::new(), Vec::new());
            for n in 0..3 {
                let vdi = (index as u128 * 2 + u128::from(attached)) * 100 + n + 1;
                create(&*sr, vdi, size);
                let times = snapshots(&*sr, vdi, 27, attached, rest);
                first.push(times[0]);
                deep.extend(&times[24..]);
            }
            println!(
                "snapshot of {} GiB, consumer {attached}, every {rest:?}: depth 1 p50 {:?}, depth 25 to 27 p50 {:?} p99 {:?}",
                size >> 30,
                percentile(&mut first, 50),
                percentile(&mut deep, 50),
                percentile(&mut deep, 99),
            );
        }
    }
}

#[test]
#[ignore = "prints figures"]
fn a_file_sr_of_many_vdis() {
    let dir = tempfile::tempdir().unwrap();
    let sr = file_sr(&dir.path().join("sr"));
    let mut made = 0;
    for many in [1, 10_000] {
        while made < many {
            made += 1;
            create(&*sr, made, 1 << 30);
        }
        let start = Instant::now();
        let found = sr.scan().unwrap().vdis.len();
        println!("SR.scan of {found} VDIs: {:?}", start.elapsed());
        let mut times: Vec<Duration> = (0..100)
            .map(|n| {
                let start = Instant::now();
                create(&*sr, 1 << 100 | many << 20 | n, 1 << 30);
                start.elapsed()
            })
            .collect();
        println!(
            "create beside {many} VDIs: p50 {:?}",
            percentile(&mut times, 50)
        );
        let mut times = snapshots(&*sr, 1, 13, true, Duration::ZERO);
        println!(
            "snapshot beside {many} VDIs: p50 {:?}",
            percentile(&mut times, 50)
        );
        (0..13).for_each(|n| sr.delete_vdi(Uuid::from_u128(1 << 64 | n)).unwrap());
    }
}

/// Reads an answer to its end; says how many bytes came.
fn drained(mut stream: std::net::TcpStream) -> usize {
    use std::io::Read;
    let (mut buffer, mut bytes) = (vec![0; 1 << 20], 0);
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        bytes += count;
    }
    bytes
}

#[test]
#[ignore = "prints figures"]
fn import_and_export_beside_a_copy_of_a_file() {
    use std::io::Write;
    const SIZE: usize = 1 << 30;
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(config(dir.path()), None);
    let mut client = running.unix();
    let sr = make_sr(&mut client, &dir.path().join("sr"), "file");
    let vdi = client
        .call("VDI.create", [vdi_record(&sr, "v", SIZE as i64)])
        .unwrap();
    let vdi = vdi.as_str().unwrap();
    let address = running.addresses.http.unwrap();
    let content: Vec<u8> = (0..SIZE)
        .map(|at| (at as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0] | 1)
        .collect();
    let source = dir.path().join("source");
    std::fs::write(&source, &content).unwrap();
    let rate = |what: &str, start: Instant, bytes: usize| {
        let rate = bytes as f64 / start.elapsed().as_secs_f64() / f64::from(1 << 20);
        println!("{what}: {rate:.0} MiB/s");
    };
    let session = client.session.clone();
    let send = |head: String| {
        let stream = std::net::TcpStream::connect(address).unwrap();
        (&stream).write_all(head.as_bytes()).unwrap();
        stream
    };
    for _ in 0..2 {
        let start = Instant::now();
        std::fs::copy(&source, dir.path().join("copy")).unwrap();
        let copy = std::fs::File::open(dir.path().join("copy")).unwrap();
        copy.sync_all().unwrap();
        rate("cp and sync", start, SIZE);
        let start = Instant::now();
        let stream = send(format!(
            "PUT /import_raw_vdi?session_id={session}&vdi={vdi} HTTP/1.1\r\nHost: x\r\nContent-Length: {SIZE}\r\n\r\n"
        ));
        (&stream).write_all(&content).unwrap();
        drained(stream);
        rate("import raw, flushed", start, SIZE);
        for format in ["raw", "vhd"] {
            let start = Instant::now();
            let stream = send(format!(
                "GET /export_raw_vdi?session_id={session}&vdi={vdi}&format={format} HTTP/1.1\r\nHost: x\r\n\r\n"
            ));
            let bytes = drained(stream);
            assert!(bytes > SIZE, "{bytes} bytes came");
            rate(&format!("export {format}"), start, bytes);
        }
    }
}
