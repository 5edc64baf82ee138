//! A regular file as bytes at offsets, shared by threads without a cursor.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use rustix::fs::{FallocateFlags, SeekFrom};
use rustix::io::Errno;

use super::fault;

/// How many bytes of zeros are written at a time where the file system cannot zero a range by itself.
const ZERO_CHUNK: usize = 128 * 1024;

/// A file opened for positional reads and writes. A lock that it took is released before it is closed.
#[derive(Debug)]
pub struct PositionalFile {
    file: File,
    is_locked: AtomicBool,
}

/// What a range of a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// Bytes that the file system keeps.
    Data,
    /// A hole, which reads as zeros.
    Hole,
}

impl PositionalFile {
    /// Takes over an open file.
    pub fn new(file: File) -> Self {
        PositionalFile {
            file,
            is_locked: AtomicBool::new(false),
        }
    }

    /// The file itself, for calls on its descriptor.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Takes the file's lock, or changes the one that it has; false when another holder excludes it.
    pub fn try_lock(&self, mode: super::lock::LockMode) -> io::Result<bool> {
        let taken = super::lock::try_lock(&self.file, mode)?;
        if taken {
            self.is_locked.store(true, Ordering::Release);
        }
        Ok(taken)
    }

    /// Releases its lock before it is closed.
    pub fn unlock(&self) {
        super::lock::unlock(&self.file);
        self.is_locked.store(false, Ordering::Release);
    }

    /// Its device and its number there.
    pub fn identity(&self) -> io::Result<(u64, u64)> {
        let metadata = self.file.metadata()?;
        Ok((metadata.dev(), metadata.ino()))
    }

    /// When its bytes were last changed.
    pub fn modified(&self) -> io::Result<SystemTime> {
        self.file.metadata()?.modified()
    }

    /// Length of the file in bytes.
    pub fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Fills `buffer` from `offset`; `UnexpectedEof` when the file ends before.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    /// Writes all of `data` at `offset`.
    pub fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }

    /// Makes the file `length` bytes long.
    pub fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    /// Makes a range read as zeros and frees its space where the file system can; the length stays.
    pub fn punch_hole(&self, offset: u64, length: u64) -> io::Result<()> {
        if length == 0 {
            return Ok(());
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.file, flags, offset, length) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                self.write_zeroes(offset, length)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn write_zeroes(&self, offset: u64, length: u64) -> io::Result<()> {
        let zeros = vec![0u8; ZERO_CHUNK.min(usize::try_from(length).unwrap_or(ZERO_CHUNK))];
        let mut done = 0;
        while done < length {
            let chunk = (zeros.len() as u64).min(length - done);
            self.file
                .write_all_at(&zeros[..chunk as usize], offset + done)?;
            done += chunk;
        }
        Ok(())
    }

    /// Puts the data, and the metadata that is needed to read it, on stable storage.
    pub fn sync_data(&self) -> io::Result<()> {
        fault::point("file: sync")?;
        self.file.sync_data()
    }

    /// Tells what lies at `offset` and how many bytes from there are alike, at most `length`.
    ///
    /// A file system that does not know answers that all is data.
    pub fn allocation(&self, offset: u64, length: u64) -> io::Result<(Allocation, u64)> {
        match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(data) if data > offset => Ok((Allocation::Hole, (data - offset).min(length))),
            Ok(_) => {
                let hole = rustix::fs::seek(&self.file, SeekFrom::Hole(offset))
                    .map_err(io::Error::from)?;
                Ok((
                    Allocation::Data,
                    hole.saturating_sub(offset).clamp(1, length),
                ))
            }
            // No data from here to the end of the file.
            Err(Errno::NXIO) => Ok((Allocation::Hole, length)),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok((Allocation::Data, length)),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for PositionalFile {
    fn drop(&mut self) {
        if self.is_locked.load(Ordering::Acquire) {
            self.unlock();
        }
    }
}
