//! An open LUN as an NBD export.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nbd::{BlockStatus, Export, Extent};

use super::open_luns::OpenLun;
use crate::medium::block_device::BlockDevice;

/// A LUN that is open. It is free for others when it is closed or dropped.
#[derive(Debug)]
pub struct LunExport {
    device: Arc<dyn BlockDevice>,
    is_read_only: bool,
    /// What the device said last; it may grow.
    size: AtomicU64,
    is_closed: AtomicBool,
    /// True once a flush failed: what was written before may be lost, and no later flush would tell.
    is_poisoned: AtomicBool,
    open: Mutex<Option<OpenLun>>,
}

impl LunExport {
    /// Serves a device.
    ///
    /// # Errors
    /// When it does not tell its size.
    pub fn new(
        device: Arc<dyn BlockDevice>,
        is_read_only: bool,
        open: OpenLun,
    ) -> io::Result<LunExport> {
        let size = AtomicU64::new(device.size()?);
        Ok(LunExport {
            device,
            is_read_only,
            size,
            is_closed: AtomicBool::new(false),
            is_poisoned: AtomicBool::new(false),
            open: Mutex::new(Some(open)),
        })
    }

    fn check(&self) -> io::Result<()> {
        if self.is_closed.load(Ordering::Acquire) {
            return Err(io::Error::other("the VDI is closed"));
        }
        if self.is_poisoned.load(Ordering::Acquire) {
            let text = format!(
                "a flush of {} failed, and what was written before may be lost; detach the VDI and attach it again",
                self.device.name()
            );
            return Err(io::Error::other(text));
        }
        Ok(())
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.is_read_only {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.check()
    }

    fn flush_device(&self) -> io::Result<()> {
        self.device.flush().inspect_err(|error| {
            if !self.is_poisoned.swap(true, Ordering::AcqRel) {
                tracing::error!(%error, device = self.device.name(), "a LUN could not be flushed; it refuses I/O until it is opened again");
            }
        })
    }
}

impl Export for LunExport {
    fn size(&self) -> u64 {
        if let Ok(size) = self.device.size() {
            self.size.store(size, Ordering::Release);
        }
        self.size.load(Ordering::Acquire)
    }

    fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.check()?;
        self.device.read_at(buffer, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.check_writable()?;
        self.device.write_at(data, offset)
    }

    fn write_zeroes_at(&self, offset: u64, length: u64) -> io::Result<()> {
        self.check_writable()?;
        self.device.write_zeroes_at(offset, length)
    }

    /// A device that cannot promise zeros keeps what it has, which is allowed.
    fn trim_at(&self, offset: u64, length: u64) -> io::Result<()> {
        self.check_writable()?;
        self.device.unmap(offset, length).map(|_| ())
    }

    fn flush(&self) -> io::Result<()> {
        self.check()?;
        if self.is_read_only {
            return Ok(());
        }
        self.flush_device()
    }

    fn block_status(&self, _offset: u64, length: u64, _limit: usize) -> io::Result<Vec<Extent>> {
        self.check()?;
        Ok(vec![Extent {
            length,
            status: BlockStatus::Data,
        }])
    }

    fn close(&self) -> io::Result<()> {
        if self.is_closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let flushed = match self.is_read_only || self.is_poisoned.load(Ordering::Acquire) {
            true => Ok(()),
            false => self.flush_device(),
        };
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = None;
        flushed
    }
}

impl Drop for LunExport {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::warn!(%error, device = self.device.name(), "what was written last to a LUN may be lost");
        }
    }
}
