//! Memory as a [`Storage`], for tests and fuzzing.

use std::io;
use std::sync::{PoisonError, RwLock};

use crate::storage::Storage;

/// Length past which a [`MemoryStorage`] refuses to grow.
const LENGTH_LIMIT: u64 = 1 << 32;

/// A storage that lives in memory and is lost with it.
#[derive(Debug, Default)]
pub struct MemoryStorage {
    bytes: RwLock<Vec<u8>>,
}

impl MemoryStorage {
    /// An empty storage.
    pub fn new() -> Self {
        Self::default()
    }

    /// A copy of all bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        self.bytes
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl From<Vec<u8>> for MemoryStorage {
    fn from(bytes: Vec<u8>) -> Self {
        Self {
            bytes: RwLock::new(bytes),
        }
    }
}

impl Storage for MemoryStorage {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = self.bytes.read().unwrap_or_else(PoisonError::into_inner);
        let range = range(offset, buffer.len() as u64)?;
        let found = bytes.get(range).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(found);
        Ok(())
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let mut bytes = self.bytes.write().unwrap_or_else(PoisonError::into_inner);
        let range = range(offset, data.len() as u64)?;
        if bytes.len() < range.end {
            bytes.resize(range.end, 0);
        }
        bytes[range].copy_from_slice(data);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self
            .bytes
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len() as u64)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let length = range(0, length)?.end;
        self.bytes
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .resize(length, 0);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

fn range(offset: u64, length: u64) -> io::Result<std::ops::Range<usize>> {
    let end = offset
        .checked_add(length)
        .filter(|end| *end <= LENGTH_LIMIT)
        .ok_or(io::ErrorKind::StorageFull)?;
    Ok(offset as usize..end as usize)
}
