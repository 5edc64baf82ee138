//! A device of an SR that is owned by a record: nothing is written to it when the record is another's.

use std::io;
use std::sync::Arc;

use super::ownership::Ownership;
use crate::medium::block_device::{BlockDevice, DeviceIdentity};

/// A device that asks whether the SR is still owned before each write: of metadata, of names, of data.
#[derive(Debug)]
pub struct OwnedDevice {
    device: Arc<dyn BlockDevice>,
    ownership: Arc<Ownership>,
}

impl OwnedDevice {
    /// The same device, which only the owner writes.
    pub fn new(device: Arc<dyn BlockDevice>, ownership: Arc<Ownership>) -> Self {
        OwnedDevice { device, ownership }
    }
}

impl BlockDevice for OwnedDevice {
    fn name(&self) -> String {
        self.device.name()
    }

    fn size(&self) -> io::Result<u64> {
        self.device.size()
    }

    fn block_size(&self) -> u32 {
        self.device.block_size()
    }

    fn identity(&self) -> DeviceIdentity {
        self.device.identity()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.device.read_at(buffer, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.ownership.check()?;
        self.device.write_at(data, offset)
    }

    fn flush(&self) -> io::Result<()> {
        self.ownership.check()?;
        self.device.flush()
    }

    fn resets(&self) -> u64 {
        self.device.resets()
    }

    fn has_write_cache(&self) -> bool {
        self.device.has_write_cache()
    }

    fn write_zeroes_at(&self, offset: u64, length: u64) -> io::Result<()> {
        self.ownership.check()?;
        self.device.write_zeroes_at(offset, length)
    }

    fn unmap(&self, offset: u64, length: u64) -> io::Result<bool> {
        self.ownership.check()?;
        self.device.unmap(offset, length)
    }
}
