//! The engine against exports in memory.

#![allow(clippy::unwrap_used)] // helpers of tests fail the test

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use nbd::{BlockStatus, Export, Extent};

use super::{Copy, Error, Progress, TargetContent};

const GRAIN: usize = 64 << 10;

/// An export in memory, whose grains of zeros are told as holes.
#[derive(Default)]
struct Memory {
    content: Mutex<Vec<u8>>,
    /// Bytes that were written, zeroes included.
    touched: AtomicU64,
    read: AtomicU64,
    fails_at: Option<u64>,
}

impl Memory {
    fn new(content: Vec<u8>) -> Arc<Memory> {
        Arc::new(Memory {
            content: Mutex::new(content),
            ..Memory::default()
        })
    }

    fn content(&self) -> Vec<u8> {
        self.content.lock().unwrap().clone()
    }
}

impl Export for Memory {
    fn size(&self) -> u64 {
        self.content.lock().unwrap().len() as u64
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        let start = usize::try_from(offset).unwrap();
        buffer.copy_from_slice(&self.content.lock().unwrap()[start..start + buffer.len()]);
        Ok(())
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        if self
            .fails_at
            .is_some_and(|at| offset + data.len() as u64 > at)
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.touched.fetch_add(data.len() as u64, Ordering::Relaxed);
        let start = usize::try_from(offset).unwrap();
        self.content.lock().unwrap()[start..start + data.len()].copy_from_slice(data);
        Ok(())
    }

    fn write_zeroes_at(&self, offset: u64, length: u64) -> io::Result<()> {
        self.write_at(&vec![0; usize::try_from(length).unwrap()], offset)
    }

    fn trim_at(&self, _offset: u64, _length: u64) -> io::Result<()> {
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn block_status(&self, offset: u64, length: u64, limit: usize) -> io::Result<Vec<Extent>> {
        let content = self.content.lock().unwrap();
        let (start, end) = (
            usize::try_from(offset).unwrap(),
            usize::try_from(offset + length).unwrap(),
        );
        let extents = content[start..end].chunks(GRAIN).map(|grain| Extent {
            length: grain.len() as u64,
            status: if grain.iter().all(|byte| *byte == 0) {
                BlockStatus::Hole
            } else {
                BlockStatus::Data
            },
        });
        Ok(extents.take(limit).collect())
    }

    fn close(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Content with grains of data where `is_data` says so; each differs from all others of another seed.
fn content(grains: usize, seed: u8, is_data: impl Fn(usize) -> bool) -> Vec<u8> {
    (0..grains)
        .flat_map(|grain| {
            let byte = if is_data(grain) {
                seed.wrapping_add(u8::try_from(grain % 97).unwrap()) | 1
            } else {
                0
            };
            std::iter::repeat_n(byte, GRAIN)
        })
        .collect()
}

fn copy(
    source: &Arc<Memory>,
    target: &Arc<Memory>,
    content: TargetContent,
) -> (Result<(), Error>, Progress) {
    let copy = Copy {
        source: source.clone(),
        target: target.clone(),
        content,
    };
    let progress = Progress::default();
    (copy.run(&progress), progress)
}

#[test]
fn only_data_is_read_and_written_to_a_blank_target() {
    let source = Memory::new(content(100, 3, |grain| grain % 7 == 2));
    let target = Memory::new(vec![0; 101 * GRAIN]);
    let (result, progress) = copy(&source, &target, TargetContent::Blank);
    result.unwrap();
    assert_eq!(target.content()[..100 * GRAIN], source.content());
    let data = 14 * GRAIN as u64;
    assert_eq!(target.touched.load(Ordering::Relaxed), data);
    assert_eq!(source.read.load(Ordering::Relaxed), data);
    assert_eq!((progress.written_bytes(), progress.fraction()), (data, 1.0));
}

#[test]
fn data_that_is_zero_is_not_written_to_a_blank_target() {
    // One extent of data, most of which is zero.
    let mut bytes = vec![0; 3 * (1 << 20) + 777];
    bytes[5 * GRAIN] = 1;
    *bytes.last_mut().unwrap() = 2;
    let (source, target) = (
        Memory::new(bytes.clone()),
        Memory::new(vec![0; bytes.len()]),
    );
    copy(&source, &target, TargetContent::Blank).0.unwrap();
    assert_eq!(target.content(), bytes);
    assert_eq!(target.touched.load(Ordering::Relaxed), GRAIN as u64 + 777);
}

#[test]
fn what_an_unknown_target_held_is_gone_up_to_the_end_of_the_source() {
    let source = Memory::new(content(60, 3, |grain| grain % 3 == 0));
    let target = Memory::new(vec![9; 61 * GRAIN]);
    copy(&source, &target, TargetContent::Unknown).0.unwrap();
    let copied = target.content();
    assert_eq!(copied[..60 * GRAIN], source.content());
    assert!(copied[60 * GRAIN..].iter().all(|byte| *byte == 9));
}

#[test]
fn only_what_differs_from_the_base_is_written() {
    // Same, changed, zeroed, new, and beyond the end of the base.
    let base = Memory::new(content(64, 3, |grain| grain % 4 != 3));
    let mut bytes = base.content();
    bytes[5 * GRAIN + 17] ^= 0xFF;
    bytes[20 * GRAIN..21 * GRAIN].fill(0);
    bytes[23 * GRAIN..24 * GRAIN].fill(7);
    bytes.resize(66 * GRAIN, 0);
    bytes[65 * GRAIN] = 1;
    let source = Memory::new(bytes.clone());
    let mut held = base.content();
    held.resize(66 * GRAIN, 8);
    let target = Memory::new(held);
    copy(&source, &target, TargetContent::Base(base)).0.unwrap();
    assert_eq!(target.content(), bytes);
    assert_eq!(target.touched.load(Ordering::Relaxed), 5 * GRAIN as u64);
}

#[test]
fn a_cancelled_copy_stops() {
    let source = Memory::new(content(200, 3, |_| true));
    let target = Memory::new(vec![0; 200 * GRAIN]);
    let copy = Copy {
        source,
        target: target.clone(),
        content: TargetContent::Blank,
    };
    let progress = Progress::default();
    progress.cancel();
    assert!(matches!(
        copy.run(&progress),
        Err(Error::Cancelled { done_bytes: 0 })
    ));
    assert_eq!(target.touched.load(Ordering::Relaxed), 0);
}

#[test]
fn a_target_that_fails_ends_the_copy_and_says_where() {
    let source = Memory::new(content(200, 3, |_| true));
    let target = Arc::new(Memory {
        content: Mutex::new(vec![0; 200 * GRAIN]),
        fails_at: Some(50 * GRAIN as u64),
        ..Memory::default()
    });
    let error = copy(&source, &target, TargetContent::Blank).0.unwrap_err();
    assert!(error.is_full(), "{error}");
    assert!(
        error.chain_text().starts_with("write the target at byte 3"),
        "{error}"
    );
    let small = Memory::new(vec![0; GRAIN]);
    let refused = copy(&source, &small, TargetContent::Blank).0.unwrap_err();
    assert!(matches!(refused, Error::TooSmall { .. }));
}
