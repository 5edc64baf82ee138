//! A file of this machine as a file of a medium.

use std::io;
use std::time::SystemTime;

use super::files::{FileId, MediumFile};
use crate::io::lock::LockMode;
use crate::io::positional::{Allocation, PositionalFile};

impl vhd::Storage for PositionalFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(data, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.size()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        PositionalFile::set_len(self, length)
    }

    fn flush(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn punch_hole(&self, offset: u64, length: u64) -> io::Result<bool> {
        PositionalFile::punch_hole(self, offset, length).map(|()| true)
    }
}

impl MediumFile for PositionalFile {
    fn id(&self) -> io::Result<FileId> {
        let (device, inode) = self.identity()?;
        Ok(local_id(device, inode))
    }

    fn modified(&self) -> io::Result<SystemTime> {
        PositionalFile::modified(self)
    }

    /// A flock: other processes of this machine are excluded too.
    fn try_lock(&self, mode: LockMode) -> io::Result<bool> {
        PositionalFile::try_lock(self, mode)
    }

    fn unlock(&self) {
        PositionalFile::unlock(self);
    }

    fn allocation(&self, offset: u64, length: u64) -> io::Result<(Allocation, u64)> {
        PositionalFile::allocation(self, offset, length)
    }
}

/// The file with this number on this device.
pub(super) fn local_id(device: u64, inode: u64) -> FileId {
    FileId(u128::from(device) << 64 | u128::from(inode))
}
