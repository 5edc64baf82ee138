//! An export through which nothing can be written.

use std::io;
use std::sync::Arc;

use nbd::{Export, Extent};

/// Lets reads through to another export.
pub struct ReadOnly {
    inner: Arc<dyn Export>,
}

impl ReadOnly {
    /// Restricts an export that somebody else closes, or that closes itself when it is dropped.
    pub fn new(inner: Arc<dyn Export>) -> Self {
        ReadOnly { inner }
    }
}

fn refused() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "the export is read-only")
}

impl Export for ReadOnly {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn is_read_only(&self) -> bool {
        true
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_at(buffer, offset)
    }

    fn write_at(&self, _data: &[u8], _offset: u64) -> io::Result<()> {
        Err(refused())
    }

    fn write_zeroes_at(&self, _offset: u64, _length: u64) -> io::Result<()> {
        Err(refused())
    }

    fn trim_at(&self, _offset: u64, _length: u64) -> io::Result<()> {
        Err(refused())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn block_status(&self, offset: u64, length: u64, limit: usize) -> io::Result<Vec<Extent>> {
        self.inner.block_status(offset, length, limit)
    }

    fn close(&self) -> io::Result<()> {
        Ok(())
    }
}
