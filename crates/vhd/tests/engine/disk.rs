//! Disks that lose power: what was not flushed is there or not, sector by sector.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use vhd::Storage;

pub type Sector = [u8; 512];
const SECTOR: u64 = 512;

/// Where choices come from: a generator, or the bytes of a fuzzer.
pub trait Choices {
    /// The next number, `None` at the end.
    fn next(&mut self) -> Option<u64>;

    /// A number below `limit`; 0 at the end.
    fn below(&mut self, limit: u64) -> u64 {
        self.next().unwrap_or(0) % limit
    }
}

/// Changes of all disks together until the power fails, which then stays off.
#[derive(Default)]
pub struct Power {
    left: AtomicU64,
}

impl Power {
    pub fn set(&self, changes: u64) {
        self.left.store(changes, Ordering::Relaxed);
    }

    pub fn is_off(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    fn spend(&self) -> io::Result<()> {
        let spent = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            });
        match spent {
            Ok(2..) => Ok(()),
            _ => Err(io::Error::other("the power is off")),
        }
    }
}

#[derive(Clone, Default)]
struct Bytes {
    length: u64,
    /// Sectors that are not all zeros, or were written.
    sectors: BTreeMap<u64, Sector>,
}

impl Bytes {
    fn cut(&mut self, length: u64) {
        let kept = self.sectors.split_off(&length.div_ceil(SECTOR));
        drop(kept);
        if let Some(last) = self.sectors.get_mut(&(length / SECTOR)) {
            last[(length % SECTOR) as usize..].fill(0);
        }
        self.length = length;
    }

    fn zero(&mut self, start: u64, end: u64) {
        let mut tail = self.sectors.split_off(&start);
        self.sectors.append(&mut tail.split_off(&end));
    }
}

enum Change {
    Write(u64, Box<Sector>),
    Zero(u64, u64),
    Length(u64),
}

#[derive(Default)]
struct State {
    now: Bytes,
    durable: Bytes,
    pending: Vec<Change>,
}

/// One disk: a file, or a volume with room to grow whose unwritten sectors are full of ones.
pub struct Disk {
    state: Mutex<State>,
    power: Arc<Power>,
    is_volume: bool,
}

/// A volume grows by whole multiples of this.
const EXTENT: u64 = 64 << 10;

impl Disk {
    pub fn new(power: &Arc<Power>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            power: power.clone(),
            is_volume: false,
        })
    }

    /// A volume with the content of a file, and its last sector at its own end.
    pub fn volume(power: &Arc<Power>, file: &[u8]) -> io::Result<Arc<Self>> {
        let disk = Self {
            state: Mutex::default(),
            power: power.clone(),
            is_volume: true,
        };
        disk.set_len(file.len() as u64)?;
        let (content, last) = file.split_at(file.len() - 512);
        disk.write_at(content, 0)?;
        disk.write_at(last, disk.len()? - 512)?;
        disk.flush()?;
        Ok(Arc::new(disk))
    }

    /// What lies where nobody has written.
    fn unwritten(&self) -> Sector {
        [if self.is_volume { 0xff } else { 0 }; 512]
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics with the lock")
    }

    /// Loses what was not flushed, but for what `choices` lets survive.
    pub fn crash(&self, choices: &mut dyn Choices) {
        let mut state = self.state();
        let chance = [1, 2, 8, u64::MAX][choices.below(4) as usize];
        // The fuzzer's bytes would not last for every sector.
        let mut dice = choices.below(u64::MAX) | 1;
        let mut survives = || {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            !(dice >> 16).is_multiple_of(chance)
        };
        let mut length_lost = false;
        let State {
            now,
            durable,
            pending,
        } = &mut *state;
        for change in pending.drain(..) {
            match change {
                Change::Length(length) => {
                    length_lost |= !survives();
                    if !length_lost {
                        durable.cut(length);
                    }
                }
                Change::Write(at, sector) if survives() && (at + 1) * SECTOR <= durable.length => {
                    durable.sectors.insert(at, *sector);
                }
                Change::Zero(start, end) if survives() => durable.zero(start, end),
                Change::Write(..) | Change::Zero(..) => {}
            }
        }
        *now = durable.clone();
    }
}

impl Storage for Disk {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.state();
        if offset + buffer.len() as u64 > state.now.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut at = 0;
        while at < buffer.len() {
            let place = offset + at as u64;
            let within = (place % SECTOR) as usize;
            let step = (512 - within).min(buffer.len() - at);
            match state.now.sectors.get(&(place / SECTOR)) {
                Some(sector) => buffer[at..at + step].copy_from_slice(&sector[within..][..step]),
                None => buffer[at..at + step].fill(self.unwritten()[0]),
            }
            at += step;
        }
        Ok(())
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.power.spend()?;
        let mut state = self.state();
        let end = offset + data.len() as u64;
        if end > state.now.length && self.is_volume {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if end > state.now.length {
            state.now.length = end;
            state.pending.push(Change::Length(end));
        }
        let mut at = 0;
        while at < data.len() {
            let place = offset + at as u64;
            let within = (place % SECTOR) as usize;
            let step = (512 - within).min(data.len() - at);
            let sectors = &mut state.now.sectors;
            let sector = sectors.entry(place / SECTOR).or_insert(self.unwritten());
            sector[within..within + step].copy_from_slice(&data[at..at + step]);
            let sector = Box::new(*sector);
            state.pending.push(Change::Write(place / SECTOR, sector));
            at += step;
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.state().now.length)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.power.spend()?;
        let mut state = self.state();
        let mut length = length;
        if self.is_volume {
            assert!(length > state.now.length, "a volume is asked to grow only");
            length = length.next_multiple_of(EXTENT);
        }
        state.now.cut(length);
        state.pending.push(Change::Length(length));
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.power.spend()?;
        let mut state = self.state();
        state.durable = state.now.clone();
        state.pending.clear();
        Ok(())
    }

    fn is_volume(&self) -> bool {
        self.is_volume
    }

    /// Frees whole sectors of a file and writes zeros to the rest.
    fn punch_hole(&self, offset: u64, length: u64) -> io::Result<bool> {
        if self.is_volume {
            return Ok(false);
        }
        let (start, end) = (offset.div_ceil(SECTOR), (offset + length) / SECTOR);
        if start >= end {
            self.write_at(&vec![0; length as usize], offset)?;
            return Ok(true);
        }
        self.write_at(&vec![0; (start * SECTOR - offset) as usize], offset)?;
        self.write_at(
            &vec![0; (offset + length - end * SECTOR) as usize],
            end * SECTOR,
        )?;
        self.power.spend()?;
        let mut state = self.state();
        state.now.zero(start, end);
        state.pending.push(Change::Zero(start, end));
        Ok(true)
    }
}
