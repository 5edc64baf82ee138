//! Devices of a medium as the crate `lvm` takes them.

use std::io;
use std::sync::Arc;

use crate::medium::block_device::BlockDevice;

/// A device that holds a physical volume.
#[derive(Clone, Debug)]
pub struct PhysicalDevice(pub Arc<dyn BlockDevice>);

impl lvm::device::Device for PhysicalDevice {
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(data, offset)
    }

    fn flush(&self) -> io::Result<()> {
        self.0.flush()
    }

    fn name(&self) -> String {
        self.0.name()
    }
}
