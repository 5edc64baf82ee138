//! Devices of a fixed number of bytes: a disk of this machine, a LUN behind iSCSI, a LUN behind several paths.

use std::fmt::Debug;
use std::io;

/// What a SCSI device says of itself; empty where it does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceIdentity {
    /// The id as `scsi_id -g` prints it, from vital product data page 0x83: `3600...`.
    pub scsi_id: String,
    /// Vendor from the standard inquiry.
    pub vendor: String,
    /// Product from the standard inquiry.
    pub product: String,
    /// Serial number from page 0x80.
    pub serial: String,
}

/// Bytes at offsets on a device.
///
/// Every call may run on several threads at once; it transfers everything or fails. Offsets and lengths need no alignment: an
/// implementation whose medium needs one reads, changes and writes sectors, atomically to other callers.
pub trait BlockDevice: Send + Sync + Debug {
    /// What it is called, for messages: a path, a target and a LUN.
    fn name(&self) -> String;

    /// Bytes now; a device may grow.
    fn size(&self) -> io::Result<u64>;

    /// Bytes of a logical block: what the medium writes as a whole.
    fn block_size(&self) -> u32;

    /// What it says of itself.
    fn identity(&self) -> DeviceIdentity;

    /// Fills `buffer` from `offset`; past the end it fails with `UnexpectedEof`.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `data` at `offset`; past the end it fails with `StorageFull` and writes nothing.
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()>;

    /// Puts everything that was written on stable storage.
    fn flush(&self) -> io::Result<()>;

    /// How often the device may have forgotten writes that had returned and were not flushed: its server was restarted, or
    /// was away long enough for that. [`super::unflushed::Unflushed`] makes good what was lost.
    fn resets(&self) -> u64 {
        0
    }

    /// False when what [`BlockDevice::write_at`] has written is on stable storage without a flush.
    fn has_write_cache(&self) -> bool {
        true
    }

    /// Makes a range read as zeros.
    fn write_zeroes_at(&self, offset: u64, length: u64) -> io::Result<()>;

    /// Gives the space of a range back, which then reads as zeros; false when the device cannot promise that, and nothing
    /// happened.
    fn unmap(&self, offset: u64, length: u64) -> io::Result<bool> {
        let _ = (offset, length);
        Ok(false)
    }
}
