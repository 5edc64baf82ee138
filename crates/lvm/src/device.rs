//! What a physical volume lies on.

use std::io;

/// A device of a fixed number of bytes.
pub trait Device: Send + Sync {
    /// Bytes.
    fn size(&self) -> io::Result<u64>;

    /// Fills `buffer` from `offset`.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `data` at `offset`. Sectors of 512 bytes are written as a whole or not at all.
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()>;

    /// Puts everything that was written on stable storage.
    fn flush(&self) -> io::Result<()>;

    /// What people call the device, for messages and for the hint in the metadata.
    fn name(&self) -> String {
        "[unknown]".to_owned()
    }
}
