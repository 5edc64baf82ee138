//! Measures what the format costs: chains of depth 30 against depth 1, first touch against allocated, opening, snapshot
//! and memory at 2040 GiB.
//!
//! `cargo bench -p vhd --bench chain [-- DIRECTORY [depths|first-touch|large]]`. Everything is in the page cache, so that what is measured is the
//! engine; the sides of a ratio take short turns, and of each the best tenth is compared, which other load did not disturb.

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;
use vhd::image::{self, NewImage, NewParent};
use vhd::{Access, Chain, FileStorage, NoParents, ParentLink, ParentStorage, Storage};

const BLOCK: u64 = 2 << 20;
const SIZE: u64 = 256 << 20;
const LARGE: u64 = 2040 << 30;
const IO: u64 = 4096;
const PIECE: u64 = 64 << 10;
const DEPTH: u128 = 30;
const CALLS: usize = 1000;
const ROUNDS: usize = 200;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Images in a directory, named by the number in their uuid.
struct Images(PathBuf);

impl Images {
    fn path(&self, number: u128) -> PathBuf {
        self.0.join(format!("{number}.vhd"))
    }

    fn storage(&self, number: u128) -> std::io::Result<Arc<dyn Storage>> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        Ok(Arc::new(FileStorage::new(options.open(self.path(number))?)))
    }

    fn create(&self, number: u128, parent: Option<u128>, size: u64) -> Outcome<()> {
        let storage = self.storage(number)?;
        let new = NewImage::new(size, Uuid::from_u128(number));
        match parent {
            None => image::create_dynamic(&*storage, &new)?,
            Some(parent) => {
                let parent = NewParent {
                    uuid: Uuid::from_u128(parent),
                    timestamp: 0,
                    path: format!("{parent}.vhd"),
                };
                image::create_differencing(&*storage, &new, &parent)?
            }
        };
        Ok(())
    }

    fn open(&self, number: u128, access: Access) -> Outcome<Chain> {
        let find = |link: &ParentLink| {
            let storage = self.storage(link.uuid.as_u128());
            Ok(ParentStorage::Vhd(storage.map_err(|_| vhd::Error::Closed)?))
        };
        Ok(Chain::open(self.storage(number)?, &find, access)?)
    }
}

struct Dice(u64);

impl Dice {
    fn offset(&mut self, size: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % (size / IO) * IO
    }
}

/// The time that a tenth of the turns does not take: those that other load on the machine did not disturb.
fn undisturbed(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 10]
}

fn turn(dice: &mut Dice, mut call: impl FnMut(u64) -> vhd::Result<()>) -> Outcome<f64> {
    let start = Instant::now();
    for _ in 0..CALLS {
        call(dice.offset(SIZE))?;
    }
    Ok(start.elapsed().as_secs_f64())
}

/// Random reads on `deep` against the same on `flat`.
fn compare_reads(name: &str, deep: &Chain, flat: &Chain) -> Outcome<()> {
    let mut buffer = vec![0; IO as usize];
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS + 2 {
        let deep = turn(&mut dice, |at| deep.read_at(&mut buffer, at))?;
        let flat = turn(&mut dice, |at| flat.read_at(&mut buffer, at))?;
        // The first turns fill the caches.
        if round >= 2 {
            ours.push(deep);
            theirs.push(flat);
        }
    }
    let (ours, theirs) = (undisturbed(&mut ours), undisturbed(&mut theirs));
    println!(
        "depth-{name}: {:.0} calls/s, depth 1: {:.0} calls/s, ratio {:.3}",
        CALLS as f64 / ours,
        CALLS as f64 / theirs,
        theirs / ours
    );
    Ok(())
}

/// Writes everything, in pieces of the size that the images of the deep chain are written in: the page cache answers
/// faster where larger pieces were written.
fn fill(chain: &Chain) -> Outcome<()> {
    let piece = vec![0x5a; PIECE as usize];
    for at in (0..SIZE).step_by(PIECE as usize) {
        chain.write_at(&piece, at)?;
    }
    Ok(chain.close()?)
}

fn depths(base: &Path) -> Outcome<()> {
    let dir = tempfile::tempdir_in(base)?;
    let images = Images(dir.path().to_path_buf());
    images.create(1, None, SIZE)?;
    fill(&images.open(1, Access::ReadWrite)?)?;
    let flat = images.open(1, Access::ReadOnly)?;
    for number in 2..=DEPTH {
        images.create(number, Some(number - 1), SIZE)?;
    }
    let access = [("rw", Access::ReadWrite), ("ro", Access::ReadOnly)];
    for (name, access) in access {
        let deep = images.open(DEPTH, access)?;
        compare_reads(&format!("30, upper images empty, {name}"), &deep, &flat)?;
    }
    // Every image has its own piece of every block, the root what is left.
    let data = vec![0xa5; PIECE as usize];
    for number in 2..=DEPTH {
        let chain = images.open(number, Access::ReadWrite)?;
        for block in 0..SIZE / BLOCK {
            chain.write_at(&data, block * BLOCK + number as u64 * PIECE)?;
        }
        chain.close()?;
    }
    for (name, access) in access {
        let deep = images.open(DEPTH, access)?;
        compare_reads(
            &format!("30, each image in each block, {name}"),
            &deep,
            &flat,
        )?;
    }
    scattered_files(&images, &images.open(DEPTH, Access::ReadOnly)?)
}

/// Reads of the same bytes at their places in the 30 files, without the engine: what so many files cost by themselves.
fn scattered_files(images: &Images, deep: &Chain) -> Outcome<()> {
    let files: Result<Vec<_>, _> = (1..=DEPTH).map(|number| images.storage(number)).collect();
    let files = files?;
    let places = |first: u64| {
        let next = |end: &u64| Some(vhd::layout::place_block(*end) + 512 + BLOCK);
        let ends = std::iter::successors(next(&first), next).take((SIZE / BLOCK) as usize);
        ends.map(|end| end - BLOCK).collect::<Vec<u64>>()
    };
    let metadata_end = vhd::layout::Layout::new((SIZE / BLOCK) as u32).batmap_end;
    let (root, child) = (places(metadata_end), places(metadata_end + 3 * 512));
    let mut buffer = vec![0; IO as usize];
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(turn(&mut dice, |at| deep.read_at(&mut buffer, at))?);
        theirs.push(turn(&mut dice, |at| {
            let (block, within) = ((at / BLOCK) as usize, at % BLOCK);
            let (file, place) = match within / PIECE {
                number @ 2..=30 => (number as usize - 1, child[block]),
                _ => (0, root[block]),
            };
            let read = files[file].read_at(&mut buffer, place + within);
            read.map_err(io_error)
        })?);
    }
    let (ours, theirs) = (undisturbed(&mut ours), undisturbed(&mut theirs));
    println!(
        "depth-30, each image in each block, against the same bytes in their files: ratio {:.3}",
        theirs / ours
    );
    Ok(())
}

fn first_touch(base: &Path) -> Outcome<()> {
    let data = vec![0x5a; IO as usize];
    let mut dice = Dice(0x1234_5678_9abc_def1);
    let (mut fresh, mut allocated, mut raw) = (Vec::new(), Vec::new(), Vec::new());
    let (mut fresh_blocks, mut new_blocks) = (Vec::new(), 0);
    for _ in 0..8 {
        let dir = tempfile::tempdir_in(base)?;
        let images = Images(dir.path().to_path_buf());
        images.create(1, None, SIZE)?;
        let chain = images.open(1, Access::ReadWrite)?;
        fresh.push(turn(&mut dice, |at| chain.write_at(&data, at))?);
        chain.close()?;
        // One write in each block and nothing else.
        images.create(3, None, 64 * SIZE)?;
        let chain = images.open(3, Access::ReadWrite)?;
        let start = Instant::now();
        for block in 0..64 * SIZE / BLOCK {
            chain.write_at(&data, block * BLOCK)?;
            new_blocks += 1;
        }
        fresh_blocks.push(start.elapsed().as_secs_f64() / (64 * SIZE / BLOCK) as f64);
        chain.close()?;
        images.create(2, None, SIZE)?;
        fill(&images.open(2, Access::ReadWrite)?)?;
        let chain = images.open(2, Access::ReadWrite)?;
        allocated.push(turn(&mut dice, |at| chain.write_at(&data, at))?);
        chain.close()?;
        let file = images.storage(9)?;
        file.set_len(SIZE)?;
        raw.push(turn(&mut dice, |at| {
            file.write_at(&data, at).map_err(io_error)
        })?);
    }
    let [fresh, allocated, raw, block] =
        [&mut fresh, &mut allocated, &mut raw, &mut fresh_blocks].map(|times| undisturbed(times));
    println!(
        "first touch: {:.0} calls/s, allocated: {:.0} calls/s, ratio {:.3}; sparse raw file {:.0} calls/s, ratio {:.3}",
        CALLS as f64 / fresh,
        CALLS as f64 / allocated,
        allocated / fresh,
        CALLS as f64 / raw,
        raw / fresh
    );
    println!(
        "new block with one write: {:.1} us each over {new_blocks}",
        block * 1e6
    );
    Ok(())
}

fn io_error(source: std::io::Error) -> vhd::Error {
    vhd::Error::Io {
        action: "write",
        offset: 0,
        length: IO,
        source,
    }
}

/// Anonymous memory of this process in bytes.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// An image of 2040 GiB that has every block, none of it on the medium.
fn claim_every_block(images: &Images, number: u128) -> Outcome<()> {
    let storage = images.storage(number)?;
    let entries = (LARGE / BLOCK) as u32;
    let header = vhd::layout::Layout::new(entries);
    let mut end = storage.len()? - 512;
    let mut footer = vec![0; 512];
    storage.read_at(&mut footer, 0)?;
    let mut table = Vec::with_capacity(entries as usize);
    for _ in 0..entries {
        let place = vhd::layout::place_block(end);
        table.push((place / 512) as u32);
        end = place + 512 + BLOCK;
    }
    storage.write_at(&vhd::bat::to_bytes(&table), header.table_offset)?;
    storage.set_len(end + 512)?;
    storage.write_at(&footer, end)?;
    Ok(storage.flush()?)
}

fn large(base: &Path) -> Outcome<()> {
    let dir = tempfile::tempdir_in(base)?;
    let images = Images(dir.path().to_path_buf());
    let before = memory();
    let start = Instant::now();
    images.create(1, None, LARGE)?;
    println!(
        "create 2040 GiB: {:.1} ms",
        start.elapsed().as_secs_f64() * 1e3
    );
    let time_open = |name: &str, number| -> Outcome<()> {
        let mut times = Vec::new();
        let mut chain = images.open(number, Access::ReadWrite)?;
        for _ in 0..10 {
            drop(chain);
            let start = Instant::now();
            chain = images.open(number, Access::ReadWrite)?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        let opened = memory().saturating_sub(before);
        let mut dice = Dice(77);
        let mut buffer = vec![0; IO as usize];
        for _ in 0..60_000 {
            chain.read_at(&mut buffer, dice.offset(LARGE))?;
        }
        let used = memory().saturating_sub(before);
        println!(
            "open {name}: {:.1} ms, {:.1} MB, after 60000 random reads {:.1} MB",
            undisturbed(&mut times),
            opened as f64 / 1e6,
            used as f64 / 1e6
        );
        Ok(())
    };
    time_open("2040 GiB, empty", 1)?;
    claim_every_block(&images, 1)?;
    time_open("2040 GiB, every block there", 1)?;
    for number in 2..=4 {
        images.create(number, Some(number - 1), LARGE)?;
        claim_every_block(&images, number)?;
    }
    time_open("2040 GiB, four images with every block", 4)?;

    images.create(5, Some(4), LARGE)?;
    let chain = images.open(4, Access::ReadWrite)?;
    chain.flush()?;
    let leaf = images.storage(5)?;
    let start = Instant::now();
    let chain = chain.push_leaf(leaf).map_err(|(_, error)| error)?;
    println!(
        "push a leaf of 2040 GiB: {:.2} ms",
        start.elapsed().as_secs_f64() * 1e3
    );
    let find = |link: &ParentLink| {
        let storage = images.storage(link.uuid.as_u128());
        Ok(ParentStorage::Vhd(storage.map_err(|_| vhd::Error::Closed)?))
    };
    let stack = vhd::ParentStack::open(chain.info(), &find)?;
    let start = Instant::now();
    let chain = chain.replace_parents(stack).map_err(|(_, error)| error)?;
    println!(
        "replace parents at 2040 GiB: {:.2} ms",
        start.elapsed().as_secs_f64() * 1e3
    );
    chain.close()?;
    let small = Images(dir.path().join("small"));
    std::fs::create_dir(&small.0)?;
    small.create(1, None, 1 << 30)?;
    small.create(2, Some(1), 1 << 30)?;
    let chain = Chain::open(small.storage(1)?, &NoParents, Access::ReadWrite)?;
    let start = Instant::now();
    let chain = chain
        .push_leaf(small.storage(2)?)
        .map_err(|(_, error)| error)?;
    println!(
        "push a leaf of 1 GiB: {:.2} ms",
        start.elapsed().as_secs_f64() * 1e3
    );
    Ok(chain.close()?)
}

fn main() -> Outcome<()> {
    // Cargo adds `--bench`.
    let arguments = || {
        std::env::args()
            .skip(1)
            .filter(|text| !text.starts_with('-'))
    };
    let base = arguments()
        .next()
        .map_or_else(std::env::temp_dir, PathBuf::from);
    type Part = fn(&Path) -> Outcome<()>;
    let parts: [(&str, Part); 3] = [
        ("depths", depths),
        ("first-touch", first_touch),
        ("large", large),
    ];
    for (name, part) in parts {
        if arguments().nth(1).is_none_or(|wanted| wanted == name) {
            part(&base)?;
        }
    }
    Ok(())
}
