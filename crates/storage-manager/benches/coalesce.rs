//! Coalescing beside `cp` of the same bytes, and what a consumer feels of it: the rows of docs/benchmarks.md.
//!
//! `cargo bench --package storage-manager --bench coalesce`; the files lie below the target directory.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark prints and stops at the first failure"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nbd::Export;
use storage_manager::gc::{ImageStore, Outcome, Work};
use storage_manager::layout::vhd_files::names::ImageName;
use storage_manager::layout::vhd_files::{FileChains, VhdDirectory};
use storage_manager::medium::directory::Directory;
use storage_manager::sr::OpenMode;
use uuid::Uuid;
use vhd::image::{self, NewImage, NewParent};
use vhd::merge::{Control, RateLimit, Speed};

const MIB: u64 = 1 << 20;
const SIZE: u64 = 1024 * MIB;
/// What the merged image has.
const DATA: u64 = 512 * MIB;
const ROUNDS: usize = 3;
/// How long a consumer is watched without a merge.
const QUIET: Duration = Duration::from_secs(3);
const IO: u64 = 4096;

fn main() {
    let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("coalesce");
    let _ = std::fs::remove_dir_all(&root);
    std::fs::create_dir_all(&root).unwrap();
    throughput(&root);
    consumer(&root);
    std::fs::remove_dir_all(&root).unwrap();
}

fn uuid(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn path(dir: &Path, n: u128) -> PathBuf {
    dir.join(ImageName::vhd(uuid(n)).file_name())
}

fn storage(dir: &Path, n: u128) -> vhd::FileStorage {
    let mut options = std::fs::OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false);
    vhd::FileStorage::new(options.open(path(dir, n)).unwrap())
}

/// Makes an image with `data` bytes of its own from the start of the disk.
fn make(dir: &Path, n: u128, parent: Option<u128>, hidden: bool, data: u64) {
    let file = storage(dir, n);
    let new = NewImage::new(SIZE, uuid(n + 1000));
    match parent {
        None => image::create_dynamic(&file, &new).unwrap(),
        Some(parent) => {
            let named = NewParent {
                uuid: uuid(parent + 1000),
                timestamp: 0,
                path: ImageName::vhd(uuid(parent)).file_name(),
            };
            image::create_differencing(&file, &new, &named).unwrap()
        }
    };
    let here = dir.to_owned();
    let resolver = move |link: &vhd::ParentLink| {
        let name = ImageName::parse(link.base_name()).unwrap();
        let file = storage(&here, name.uuid.as_u128());
        Ok(vhd::ParentStorage::Vhd(Arc::new(file)))
    };
    let chain = vhd::Chain::open(Arc::new(file), &resolver, vhd::Access::ReadWrite).unwrap();
    let mut bytes = vec![0; MIB as usize];
    for at in (0..data).step_by(MIB as usize) {
        // Neither zeros nor alike, so that nothing below can make it cheaper.
        let mut value = at ^ (n as u64) << 40;
        for word in bytes.as_chunks_mut::<8>().0 {
            value = value
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            *word = value.to_le_bytes();
        }
        chain.write_at(&bytes, at).unwrap();
    }
    chain.close().unwrap();
    image::set_hidden(&storage(dir, n), hidden).unwrap();
}

/// 1 <- 2 <- 3 with 1 and 2 hidden; 2 has the data.
fn inner_scene(dir: &Path, parent_data: u64) -> Arc<FileChains> {
    std::fs::create_dir_all(dir).unwrap();
    make(dir, 1, None, true, parent_data);
    make(dir, 2, Some(1), true, DATA);
    make(dir, 3, Some(2), false, 0);
    attach(dir)
}

fn attach(dir: &Path) -> Arc<FileChains> {
    let directory = Directory::open(dir).unwrap();
    FileChains::new(Arc::new(VhdDirectory::new(Arc::new(directory)).unwrap()))
}

const INNER: Work = Work::Inner {
    vdi: Uuid::from_u128(2),
    parent: Uuid::from_u128(1),
};
const LEAF: Work = Work::Leaf {
    vdi: Uuid::from_u128(3),
    parent: Uuid::from_u128(1),
};

fn run(chains: &FileChains, work: &Work, control: &Arc<Control>) -> Duration {
    let begun = Instant::now();
    assert_eq!(chains.run(work, control).unwrap(), Outcome::Done);
    begun.elapsed()
}

fn sync() {
    assert!(Command::new("sync").status().unwrap().success());
}

fn throughput(root: &Path) {
    println!(
        "\n| merge of {} MiB, flushed | coalesce | cp and sync of the same file | ratio |",
        DATA / MIB
    );
    println!("|---|---|---|---|");
    for (name, parent_data) in [("into new blocks", 0), ("over blocks that are there", DATA)] {
        let (mut merges, mut copies) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let dir = root.join(format!("merge-{round}"));
            let chains = inner_scene(&dir, parent_data);
            let copy = root.join("copy");
            if parent_data > 0 {
                std::fs::copy(path(&dir, 1), &copy).unwrap();
            }
            sync();
            let begun = Instant::now();
            let mut cp = Command::new("cp");
            cp.args(["--reflink=never", "--sparse=never"])
                .arg(path(&dir, 2))
                .arg(&copy);
            assert!(cp.status().unwrap().success());
            std::fs::File::open(&copy).unwrap().sync_data().unwrap();
            copies.push(begun.elapsed());
            std::fs::remove_file(&copy).unwrap();
            sync();
            merges.push(run(&chains, &INNER, &Arc::default()));
            drop(chains);
            std::fs::remove_dir_all(&dir).unwrap();
        }
        let rate = |times: &mut Vec<Duration>| {
            times.sort_unstable();
            (DATA / MIB) as f64 / times[times.len() / 2].as_secs_f64()
        };
        let (merge, copy) = (rate(&mut merges), rate(&mut copies));
        println!(
            "| {name} | {merge:.0} MiB/s | {copy:.0} MiB/s | {:.2} |",
            merge / copy
        );
    }
}

/// Latencies of one consumer: 4 KiB reads and writes by turns, a flush after every 64.
#[derive(Default)]
struct Latencies {
    io: Vec<Duration>,
    flushes: Vec<Duration>,
}

fn watch(image: &dyn Export, stop: &AtomicBool) -> Latencies {
    let mut latencies = Latencies::default();
    let mut buffer = vec![7; IO as usize];
    let mut random = 1_u64;
    let mut count = 0;
    while !stop.load(Ordering::Acquire) {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let offset = (random >> 33) % (DATA / IO) * IO;
        let begun = Instant::now();
        if count % 2 == 0 {
            image.write_at(&buffer, offset).unwrap();
        } else {
            image.read_at(&mut buffer, offset).unwrap();
        }
        latencies.io.push(begun.elapsed());
        count += 1;
        if count % 64 == 0 {
            let begun = Instant::now();
            image.flush().unwrap();
            latencies.flushes.push(begun.elapsed());
        }
    }
    latencies
}

fn beside(image: &Arc<impl Export + 'static>, work: impl FnOnce()) -> Latencies {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let consumer = scope.spawn(|| watch(&**image, &stop));
        work();
        stop.store(true, Ordering::Release);
        consumer.join().unwrap()
    })
}

fn p99_us(samples: &mut [Duration]) -> f64 {
    samples.sort_unstable();
    let index = samples.len() * 99 / 100;
    samples
        .get(index)
        .map_or(0.0, |sample| sample.as_secs_f64() * 1e6)
}

fn consumer(root: &Path) {
    println!(
        "\n| consumer beside a merge | p99 of 4 KiB, quiet | beside | ratio | p99 of a flush, quiet | beside | ratio | longest pause |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    // The collector's own limit beside consumers is 64 MiB/s.
    for (limit_name, limit) in [(", 64 MiB/s", 64 * MIB), (", no limit", 0)] {
        for (name, work) in [("inner", INNER), ("leaf, live", LEAF)] {
            let dir = root.join("consumer");
            std::fs::create_dir_all(&dir).unwrap();
            make(&dir, 1, None, true, DATA / 2);
            if work == INNER {
                make(&dir, 2, Some(1), true, DATA);
                make(&dir, 3, Some(2), false, DATA);
            } else {
                make(&dir, 3, Some(1), false, DATA);
            }
            sync();
            let chains = attach(&dir);
            let image = chains.images().open(uuid(3), OpenMode::ReadWrite).unwrap();
            let mut quiet = beside(&image, || std::thread::sleep(QUIET));
            let activity = ImageStore::activity(&*chains);
            let speed = Speed {
                at_most: 0,
                beside_consumers: limit,
            };
            let control = Arc::new(Control::new(Arc::new(RateLimit::new(speed, activity))));
            let mut busy = beside(&image, || {
                run(&chains, &work, &control);
            });
            let pause = ImageStore::pauses(&*chains).longest_us;
            let io = (p99_us(&mut quiet.io), p99_us(&mut busy.io));
            let flush = (p99_us(&mut quiet.flushes), p99_us(&mut busy.flushes));
            println!(
                "| {name}{limit_name} | {:.0} us | {:.0} us | {:.2} | {:.0} us | {:.0} us | {:.2} | {:.2} ms |",
                io.0,
                io.1,
                io.1 / io.0,
                flush.0,
                flush.1,
                flush.1 / flush.0,
                pause as f64 / 1000.0
            );
            image.close().unwrap();
            drop((image, chains));
            std::fs::remove_dir_all(&dir).unwrap();
        }
    }
}
