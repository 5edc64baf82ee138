//! A storage that logs writes, length changes and flushes, so that it can be cut at every point.

#![allow(clippy::unwrap_used)]

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use vhd::{MemoryStorage, Storage};

/// A change of the storage.
#[derive(Clone, Debug)]
pub enum Event {
    Write(u64, Vec<u8>),
    Length(u64),
    Flush,
}

/// Bytes in memory and the log of how they came there.
pub struct Recorder {
    pub now: MemoryStorage,
    pub log: Mutex<Vec<Event>>,
    /// Mutations left before every further one fails.
    budget: AtomicUsize,
    /// Counts the events of several recorders.
    clock: Arc<AtomicUsize>,
    times: Mutex<Vec<usize>>,
}

impl Recorder {
    pub fn new(bytes: Vec<u8>, budget: usize) -> Arc<Self> {
        Self::with_clock(bytes, budget, Arc::default())
    }

    /// One of several recorders whose events have a common order.
    pub fn with_clock(bytes: Vec<u8>, budget: usize, clock: Arc<AtomicUsize>) -> Arc<Self> {
        Arc::new(Self {
            now: MemoryStorage::from(bytes),
            log: Mutex::new(Vec::new()),
            budget: AtomicUsize::new(budget),
            clock,
            times: Mutex::new(Vec::new()),
        })
    }

    /// Events before a time of the common clock.
    pub fn events_before(&self, time: usize) -> usize {
        self.times.lock().unwrap().partition_point(|at| *at < time)
    }

    fn record(&self, event: Event) -> io::Result<()> {
        let spent = self
            .budget
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            });
        spent.map_err(|_| io::Error::other("injected failure"))?;
        self.log.lock().unwrap().push(event);
        let time = self.clock.fetch_add(1, Ordering::SeqCst);
        self.times.lock().unwrap().push(time);
        Ok(())
    }

    pub fn events(&self) -> usize {
        self.log.lock().unwrap().len()
    }
}

impl Storage for Recorder {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.now.read_at(buffer, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.record(Event::Write(offset, data.to_vec()))?;
        self.now.write_at(data, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.now.len()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.record(Event::Length(length))?;
        self.now.set_len(length)
    }

    fn flush(&self) -> io::Result<()> {
        self.record(Event::Flush)
    }
}

/// The bytes after a crash behind the first `kept` events: all that a flush covered, and of the rest what `survives`
/// picks.
pub fn after_crash(
    start: &[u8],
    log: &[Event],
    kept: usize,
    mut survives: impl FnMut() -> bool,
) -> Vec<u8> {
    let flushed = log[..kept]
        .iter()
        .rposition(|event| matches!(event, Event::Flush))
        .map_or(0, |at| at + 1);
    let mut bytes = start.to_vec();
    let mut length_lost = false;
    for (at, event) in log[..kept].iter().enumerate() {
        let durable = at < flushed;
        match event {
            Event::Flush => {}
            Event::Length(length) => {
                length_lost |= !durable && !survives();
                if !length_lost {
                    bytes.resize(*length as usize, 0);
                }
            }
            Event::Write(offset, data) => {
                // Sectors are the unit that is written whole or not at all.
                for (index, sector) in data.chunks(512).enumerate() {
                    let at = *offset as usize + index * 512;
                    if (durable || survives()) && at + sector.len() <= bytes.len() {
                        bytes[at..at + sector.len()].copy_from_slice(sector);
                    }
                }
            }
        }
    }
    bytes
}

/// Subsets that are the same every time: xorshift64.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 16
    }

    /// False once in `chance` times.
    pub fn survives(&mut self, chance: u64) -> bool {
        !self.next().is_multiple_of(chance)
    }
}

/// Calls `verify` with what each crash may leave: behind every event everything, nothing and two random subsets of what
/// was not flushed, and the last write without the others.
pub fn every_crash(start: &[u8], log: &[Event], mut verify: impl FnMut(Vec<u8>, usize)) {
    let mut dice = Dice::new(1);
    for kept in 0..=log.len() {
        verify(after_crash(start, log, kept, || true), kept);
        verify(after_crash(start, log, kept, || false), kept);
        for chance in [2, 8] {
            verify(
                after_crash(start, log, kept, || dice.survives(chance)),
                kept,
            );
        }
        let Some(last) = kept
            .checked_sub(1)
            .filter(|at| !matches!(log[*at], Event::Flush))
        else {
            continue;
        };
        let flushed = log[..last]
            .iter()
            .rposition(|event| matches!(event, Event::Flush))
            .map_or(0, |at| at + 1);
        let mut left = log[..flushed].to_vec();
        left.push(log[last].clone());
        verify(after_crash(start, &left, left.len(), || true), kept);
    }
}

/// As [`every_crash`] for two storages with one clock, which lose different things.
pub fn every_crash_of_two(
    first: (&[u8], &Recorder),
    second: (&[u8], &Recorder),
    mut verify: impl FnMut(Vec<u8>, Vec<u8>, usize),
) {
    let mut dice = Dice::new(2);
    let logs = [first.1, second.1].map(|recorder| recorder.log.lock().unwrap().clone());
    let end = logs[0].len() + logs[1].len();
    for time in 0..=end {
        let kept = [first.1, second.1].map(|recorder| recorder.events_before(time));
        let mut left = |chances: [u64; 2]| {
            let mut one = |start: &[u8], at: usize| {
                after_crash(start, &logs[at], kept[at], || match chances[at] {
                    0 => true,
                    1 => false,
                    chance => dice.survives(chance),
                })
            };
            verify(one(first.0, 0), one(second.0, 1), time);
        };
        for chances in [[0, 0], [1, 1], [0, 1], [1, 0], [2, 2], [8, 8]] {
            left(chances);
        }
    }
}
