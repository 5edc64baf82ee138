//! A file as a [`Storage`].

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::storage::Storage;

/// A file, read and written at offsets through the page cache.
#[derive(Debug)]
pub struct FileStorage {
    file: File,
}

impl FileStorage {
    /// Takes an open file.
    pub fn new(file: File) -> Self {
        Self { file }
    }
}

impl Storage for FileStorage {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}
