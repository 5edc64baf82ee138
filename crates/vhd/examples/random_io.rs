//! Measures random 4 KiB reads and writes on an allocated dynamic image against the same on a raw file, in turns.
//!
//! `cargo run --release -p vhd --example random_io [DIRECTORY]`

#![allow(clippy::print_stdout)]

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;
use vhd::image::{self, NewImage, NewParent};
use vhd::{Access, Chain, FileStorage, NoParents, ParentLink, ParentStorage, Storage};

const SIZE: u64 = 512 << 20;
const IO: usize = 4096;
const CALLS: u64 = 1000;
const ROUNDS: usize = 100;

fn open_file(path: &Path) -> std::io::Result<Arc<dyn Storage>> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    Ok(Arc::new(FileStorage::new(file)))
}

/// Seconds that `call` takes at random aligned offsets.
fn measure(random: &mut u64, mut call: impl FnMut(u64)) -> f64 {
    let start = Instant::now();
    for _ in 0..CALLS {
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        call((*random >> 16) % (SIZE / IO as u64) * IO as u64);
    }
    start.elapsed().as_secs_f64()
}

/// Short turns of ours and theirs, so that other load on the machine meets both; the median and the best turn of each.
fn report(name: &str, chain: &Chain, raw: &dyn Storage) {
    let mut buffer = vec![0x5a; IO];
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut turns = [const { Vec::new() }; 4];
    for _ in 0..ROUNDS {
        turns[0].push(measure(&mut random, |at| {
            chain.read_at(&mut buffer, at).expect("read the image")
        }));
        turns[1].push(measure(&mut random, |at| {
            raw.read_at(&mut buffer, at).expect("read the raw file")
        }));
        if !chain.is_read_only() {
            turns[2].push(measure(&mut random, |at| {
                chain.write_at(&buffer, at).expect("write the image")
            }));
            turns[3].push(measure(&mut random, |at| {
                raw.write_at(&buffer, at).expect("write the raw file")
            }));
        }
    }
    turns
        .iter_mut()
        .for_each(|times| times.sort_by(f64::total_cmp));
    for (what, pair) in [("read", &turns[..2]), ("write", &turns[2..])] {
        let [ours, theirs] = pair else {
            unreachable!("two of four")
        };
        if ours.is_empty() {
            continue;
        }
        let median = ROUNDS / 2;
        println!(
            "{name:26} {what:5} median {:>8.0} calls/s = {:.3} of raw, best {:>8.0} = {:.3} of raw",
            CALLS as f64 / ours[median],
            theirs[median] / ours[median],
            CALLS as f64 / ours[0],
            theirs[0] / ours[0],
        );
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let base = std::env::args()
        .nth(1)
        .unwrap_or_else(|| std::env::temp_dir().display().to_string());
    let dir = tempfile::tempdir_in(base)?;
    let raw = open_file(&dir.path().join("raw"))?;
    let path = dir.path().join("full.vhd");
    image::create_dynamic(
        &*open_file(&path)?,
        &NewImage::new(SIZE, Uuid::from_u128(1)),
    )?;
    let chain = Chain::open(open_file(&path)?, &NoParents, Access::ReadWrite)?;
    let megabyte = vec![0x5a; 1 << 20];
    for at in (0..SIZE).step_by(1 << 20) {
        raw.write_at(&megabyte, at)?;
        chain.write_at(&megabyte, at)?;
    }
    chain.flush()?;
    raw.flush()?;
    report("dynamic, full", &chain, &*raw);
    chain.close()?;

    // A snapshot's leaf of which every other sector pair is written: the bitmaps decide on each call.
    let child = dir.path().join("child.vhd");
    let parent = NewParent {
        uuid: Uuid::from_u128(1),
        timestamp: 0,
        path: "full.vhd".into(),
    };
    image::create_differencing(
        &*open_file(&child)?,
        &NewImage::new(SIZE, Uuid::from_u128(2)),
        &parent,
    )?;
    let find = |_: &ParentLink| {
        Ok(ParentStorage::Vhd(
            open_file(&path).expect("parent") as Arc<dyn Storage>
        ))
    };
    let chain = Chain::open(open_file(&child)?, &find, Access::ReadWrite)?;
    for at in (0..SIZE).step_by(2 * IO) {
        chain.write_at(&megabyte[..IO], at)?;
    }
    chain.close()?;
    let chain = Chain::open(open_file(&child)?, &find, Access::ReadOnly)?;
    report("child, half of each block", &chain, &*raw);
    drop(chain);
    let chain = Chain::open(open_file(&child)?, &find, Access::ReadWrite)?;
    report("child, being filled", &chain, &*raw);
    chain.close()?;
    Ok(())
}
