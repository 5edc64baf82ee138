//! Volumes: storages whose length is their own, full of what somebody else had there.

#![allow(clippy::unwrap_used)]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vhd::{MemoryStorage, Storage};

/// What lies on a volume before anything is written: it makes every bitmap say that all sectors are there.
pub const JUNK: u8 = 0xff;

/// Any storage as a volume, which grows as far as its group has room.
pub struct Volume<S> {
    pub bytes: S,
    /// Bytes up to which it can grow.
    pub room: AtomicU64,
    /// It grows by whole multiples of this.
    pub extent: u64,
}

impl Volume<MemoryStorage> {
    /// A volume of this length without room to grow.
    pub fn new(length: u64) -> Arc<Self> {
        Self::of(MemoryStorage::from(vec![JUNK; length as usize]))
    }
}

impl<S> Volume<S> {
    /// What lies on `bytes` as a volume without room to grow.
    pub fn of(bytes: S) -> Arc<Self> {
        Arc::new(Self {
            bytes,
            room: AtomicU64::new(0),
            extent: 64 << 10,
        })
    }
}

impl<S: Storage> Storage for Volume<S> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.bytes.read_at(buffer, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        if offset + data.len() as u64 > self.bytes.len()? {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.write_at(data, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.bytes.len()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let old = self.bytes.len()?;
        assert!(length > old, "a volume is asked to grow only");
        let length = length.next_multiple_of(self.extent);
        if length > self.room.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.set_len(length)?;
        self.bytes
            .write_at(&vec![JUNK; (length - old) as usize], old)
    }

    fn is_volume(&self) -> bool {
        true
    }

    fn flush(&self) -> io::Result<()> {
        self.bytes.flush()
    }
}

/// What an image of a test lies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// A file.
    File,
    /// A volume that can grow.
    Volume,
}

impl Medium {
    /// The bytes that an image file has there; a volume gets some room behind it.
    pub fn bytes(self, file: Vec<u8>) -> Vec<u8> {
        match self {
            Medium::File => file,
            Medium::Volume => on_volume(&file, (file.len() as u64).next_multiple_of(1 << 20)),
        }
    }

    /// What lies on `bytes` as this medium.
    pub fn place<S: Storage + 'static>(self, bytes: Arc<S>) -> Arc<dyn Storage> {
        match self {
            Medium::File => bytes,
            Medium::Volume => {
                let volume = Volume::of(bytes);
                volume.room.store(u64::MAX, Ordering::Relaxed);
                volume
            }
        }
    }
}

/// The bytes of a volume that got the content of an image file, with the footer at its end.
pub fn on_volume(file: &[u8], length: u64) -> Vec<u8> {
    let (content, footer) = file.split_at(file.len() - 512);
    let mut bytes = content.to_vec();
    assert!(file.len() as u64 <= length);
    bytes.resize(length as usize - 512, JUNK);
    bytes.extend_from_slice(footer);
    bytes
}
