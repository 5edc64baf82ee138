//! A device in memory for tests, which can fail, forget and count.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::block_device::{BlockDevice, DeviceIdentity};

/// The bytes that several paths show, with a cache that a restart loses.
#[derive(Debug)]
pub(crate) struct Medium {
    /// What reads see.
    pub live: Mutex<Vec<u8>>,
    /// What a restart leaves.
    pub stable: Mutex<Vec<u8>>,
    pub resets: AtomicU64,
}

impl Medium {
    pub fn new(size: usize) -> Arc<Self> {
        Arc::new(Medium {
            live: Mutex::new(vec![0; size]),
            stable: Mutex::new(vec![0; size]),
            resets: AtomicU64::new(0),
        })
    }

    /// Forgets what was not flushed.
    pub fn restart(&self) {
        let stable = self.stable.lock().unwrap().clone();
        *self.live.lock().unwrap() = stable;
        self.resets.fetch_add(1, Ordering::SeqCst);
    }
}

/// One path to a medium.
#[derive(Debug)]
pub(crate) struct MemoryPath {
    pub medium: Arc<Medium>,
    pub id: String,
    pub is_broken: AtomicBool,
    pub used: AtomicUsize,
}

impl MemoryPath {
    pub fn new(medium: &Arc<Medium>, id: &str) -> Arc<Self> {
        Arc::new(MemoryPath {
            medium: medium.clone(),
            id: id.to_owned(),
            is_broken: AtomicBool::new(false),
            used: AtomicUsize::new(0),
        })
    }

    fn check(&self) -> io::Result<()> {
        self.used.fetch_add(1, Ordering::SeqCst);
        if self.is_broken.load(Ordering::SeqCst) {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the path is broken",
            ));
        }
        Ok(())
    }
}

impl BlockDevice for MemoryPath {
    fn name(&self) -> String {
        "memory".to_owned()
    }

    fn size(&self) -> io::Result<u64> {
        self.check()?;
        Ok(self.medium.live.lock().unwrap().len() as u64)
    }

    fn block_size(&self) -> u32 {
        512
    }

    fn identity(&self) -> DeviceIdentity {
        DeviceIdentity {
            scsi_id: self.id.clone(),
            ..DeviceIdentity::default()
        }
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.check()?;
        let live = self.medium.live.lock().unwrap();
        let start = offset as usize;
        let range = live.get(start..start + buffer.len());
        buffer.copy_from_slice(range.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.check()?;
        let mut live = self.medium.live.lock().unwrap();
        let start = offset as usize;
        let range = live.get_mut(start..start + data.len());
        range
            .ok_or(io::ErrorKind::StorageFull)?
            .copy_from_slice(data);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.check()?;
        let live = self.medium.live.lock().unwrap().clone();
        *self.medium.stable.lock().unwrap() = live;
        Ok(())
    }

    fn write_zeroes_at(&self, offset: u64, length: u64) -> io::Result<()> {
        self.write_at(&vec![0; length as usize], offset)
    }

    fn resets(&self) -> u64 {
        self.medium.resets.load(Ordering::SeqCst)
    }
}
