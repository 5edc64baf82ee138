//! Operations on a chain against a flat vector of bytes, with a storage that fails after a number of changes.
#![no_main]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use libfuzzer_sys::fuzz_target;
use uuid::Uuid;
use vhd::image::{self, NewImage, NewParent};
use vhd::{Access, Chain, MemoryStorage, ParentLink, ParentStorage, Storage};

const SIZE: u64 = 6 << 20;

#[derive(arbitrary::Arbitrary, Debug)]
enum Operation {
    Write { at: u32, length: u16, byte: u8 },
    WriteBlock { block: u8, byte: u8 },
    Zero { at: u32, length: u32 },
    Read { at: u32, length: u16 },
    Flush,
    Reopen,
    Child,
}

#[derive(arbitrary::Arbitrary, Debug)]
struct Input {
    /// Changes of the storage before every further one fails; none for a storage that never fails.
    countdown: Option<u16>,
    operations: Vec<Operation>,
}

struct Failing {
    bytes: MemoryStorage,
    left: Arc<AtomicU32>,
}

impl Failing {
    fn spend(&self) -> io::Result<()> {
        let spent = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            });
        spent.map(|_| ()).map_err(|_| io::Error::other("countdown"))
    }
}

impl Storage for Failing {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.bytes.read_at(buffer, offset)
    }
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.spend()?;
        self.bytes.write_at(data, offset)
    }
    fn len(&self) -> io::Result<u64> {
        self.bytes.len()
    }
    fn set_len(&self, length: u64) -> io::Result<()> {
        self.spend()?;
        self.bytes.set_len(length)
    }
    fn flush(&self) -> io::Result<()> {
        self.spend()
    }
}

fn range(at: u32, length: u64) -> (u64, u64) {
    let at = u64::from(at) % SIZE;
    (at, length.min(SIZE - at))
}

struct World {
    images: Vec<Arc<Failing>>,
    left: Arc<AtomicU32>,
}

impl World {
    fn open(&self) -> vhd::Result<Chain> {
        let find = |link: &ParentLink| {
            Ok(ParentStorage::Vhd(
                self.images[link.uuid.as_u128() as usize - 1].clone() as Arc<dyn Storage>,
            ))
        };
        Chain::open(
            self.images.last().expect("a root").clone(),
            &find,
            Access::ReadWrite,
        )
    }

    fn add(&mut self) -> vhd::Result<()> {
        let storage = Arc::new(Failing {
            bytes: MemoryStorage::new(),
            left: self.left.clone(),
        });
        let new = NewImage::new(SIZE, Uuid::from_u128(self.images.len() as u128 + 1));
        let parent = NewParent {
            uuid: Uuid::from_u128(self.images.len() as u128),
            timestamp: 0,
            path: "p.vhd".into(),
        };
        match self.images.is_empty() {
            true => image::create_dynamic(&*storage, &new)?,
            false => image::create_differencing(&*storage, &new, &parent)?,
        };
        self.images.push(storage);
        Ok(())
    }
}

fn play(input: &Input, world: &mut World, model: &mut [u8]) -> vhd::Result<()> {
    world.add()?;
    let mut chain = world.open()?;
    for operation in &input.operations {
        match operation {
            Operation::Write { at, length, byte } => {
                let (at, length) = range(*at, u64::from(*length));
                chain.write_at(&vec![*byte; length as usize], at)?;
                model[at as usize..(at + length) as usize].fill(*byte);
            }
            Operation::WriteBlock { block, byte } => {
                let at = u64::from(*block) % 3 * (2 << 20);
                chain.write_at(&vec![*byte; 2 << 20], at)?;
                model[at as usize..at as usize + (2 << 20)].fill(*byte);
            }
            Operation::Zero { at, length } => {
                let (at, length) = range(*at, u64::from(*length));
                chain.write_zeroes(at, length)?;
                model[at as usize..(at + length) as usize].fill(0);
            }
            Operation::Read { at, length } => {
                let (at, length) = range(*at, u64::from(*length));
                let mut found = vec![0xee; length as usize];
                chain.read_at(&mut found, at)?;
                assert_eq!(found, model[at as usize..(at + length) as usize]);
            }
            Operation::Flush => chain.flush()?,
            Operation::Reopen => {
                chain.close()?;
                chain = world.open()?;
            }
            Operation::Child if world.images.len() < 8 => {
                chain.close()?;
                world.add()?;
                chain = world.open()?;
            }
            Operation::Child => {}
        }
    }
    let mut found = vec![0; SIZE as usize];
    chain.read_at(&mut found, 0)?;
    assert!(found == model);
    chain.close()
}

fuzz_target!(|input: Input| {
    let left = Arc::new(AtomicU32::new(input.countdown.map_or(u32::MAX, u32::from)));
    let mut world = World {
        images: Vec::new(),
        left: left.clone(),
    };
    let mut model = vec![0; SIZE as usize];
    let played = play(&input, &mut world, &mut model);
    assert!(played.is_ok() || input.countdown.is_some());
    // After a failure the images still open, once the storage works again.
    left.store(u32::MAX, Ordering::Relaxed);
    if played.is_err() && !world.images.is_empty() {
        let chain = world.open().expect("a failed write leaves a sound image");
        let mut byte = [0];
        chain
            .read_at(&mut byte, 0)
            .expect("a sound image can be read");
    }
});
