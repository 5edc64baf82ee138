//! Bytes at offsets: what an image lies on.

use std::io;

use crate::error::{Error, Result};

/// Zeros for writes of zeros and for padding.
pub(crate) static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Bytes at offsets.
///
/// Every call may run on several threads at once. Calls are synchronous, transfer everything or fail, and know no cursor.
pub trait Storage: Send + Sync {
    /// Fills `buffer` from `offset`; past the end it fails with `UnexpectedEof`.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `data` at `offset`, growing the storage if need be.
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()>;

    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// True when there is not one byte.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts or grows the storage; what is added reads as zeros.
    ///
    /// On a volume it is only asked to grow: it makes room for at least `length` bytes, what is added may hold anything,
    /// and it fails with `StorageFull` where there is no room.
    fn set_len(&self, length: u64) -> io::Result<()>;

    /// True for a device or logical volume: its length is its own and not the image's, and what no image has written may
    /// hold anything. See [`crate::volume`].
    fn is_volume(&self) -> bool {
        false
    }

    /// Puts everything that was written, and the length, on stable storage (`fdatasync`).
    fn flush(&self) -> io::Result<()>;

    /// Makes a range inside the storage read as zeros. The default writes them.
    fn write_zeroes_at(&self, offset: u64, length: u64) -> io::Result<()> {
        let mut done = 0;
        while done < length {
            let step = (length - done).min(ZEROS.len() as u64);
            self.write_at(&ZEROS[..step as usize], offset + done)?;
            done += step;
        }
        Ok(())
    }

    /// Frees the space of a range, which then reads as zeros; `false` when this storage cannot, and nothing happened.
    fn punch_hole(&self, offset: u64, length: u64) -> io::Result<bool> {
        let _ = (offset, length);
        Ok(false)
    }
}

impl<S: Storage + ?Sized> Storage for std::sync::Arc<S> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_at(buffer, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        (**self).write_at(data, offset)
    }

    fn len(&self) -> io::Result<u64> {
        (**self).len()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        (**self).set_len(length)
    }

    fn is_volume(&self) -> bool {
        (**self).is_volume()
    }

    fn flush(&self) -> io::Result<()> {
        (**self).flush()
    }

    fn write_zeroes_at(&self, offset: u64, length: u64) -> io::Result<()> {
        (**self).write_zeroes_at(offset, length)
    }

    fn punch_hole(&self, offset: u64, length: u64) -> io::Result<bool> {
        (**self).punch_hole(offset, length)
    }
}

/// The same calls with this crate's errors.
pub(crate) fn read(storage: &dyn Storage, buffer: &mut [u8], offset: u64) -> Result<()> {
    let length = buffer.len() as u64;
    storage.read_at(buffer, offset).map_err(|source| Error::Io {
        action: "read",
        offset,
        length,
        source,
    })
}

pub(crate) fn write(storage: &dyn Storage, data: &[u8], offset: u64) -> Result<()> {
    let length = data.len() as u64;
    storage.write_at(data, offset).map_err(|source| Error::Io {
        action: "write",
        offset,
        length,
        source,
    })
}

pub(crate) fn write_zeroes(storage: &dyn Storage, offset: u64, length: u64) -> Result<()> {
    storage
        .write_zeroes_at(offset, length)
        .map_err(|source| Error::Io {
            action: "write zeros over",
            offset,
            length,
            source,
        })
}

pub(crate) fn punch_hole(storage: &dyn Storage, offset: u64, length: u64) -> Result<()> {
    match storage.punch_hole(offset, length) {
        Ok(_) => Ok(()),
        Err(source) => Err(Error::Io {
            action: "punch a hole of",
            offset,
            length,
            source,
        }),
    }
}

/// Makes a range inside the storage read as zeros, and gives its space back where that is possible.
pub(crate) fn clear(storage: &dyn Storage, offset: u64, length: u64) -> Result<()> {
    let punched = storage.punch_hole(offset, length);
    let punched = punched.map_err(|source| Error::Io {
        action: "punch a hole of",
        offset,
        length,
        source,
    })?;
    if punched {
        return Ok(());
    }
    write_zeroes(storage, offset, length)
}

pub(crate) fn length(storage: &dyn Storage) -> Result<u64> {
    storage.len().map_err(|source| Error::Io {
        action: "get the length, reading",
        offset: 0,
        length: 0,
        source,
    })
}

pub(crate) fn set_length(storage: &dyn Storage, length: u64) -> Result<()> {
    storage.set_len(length).map_err(|source| Error::Io {
        action: "set the length to",
        offset: 0,
        length,
        source,
    })
}

/// Makes a file this long, or sees to it that a volume is no shorter; answers the length.
pub(crate) fn fit_length(storage: &dyn Storage, needed: u64) -> Result<u64> {
    if !storage.is_volume() {
        set_length(storage, needed)?;
        return Ok(needed);
    }
    let mut found = length(storage)?;
    if found < needed {
        set_length(storage, needed)?;
        found = length(storage)?;
    }
    if found < needed {
        return Err(Error::Io {
            action: "make room on a volume for",
            offset: found,
            length: needed - found,
            source: io::ErrorKind::StorageFull.into(),
        });
    }
    Ok(found)
}

pub(crate) fn flush(storage: &dyn Storage) -> Result<()> {
    storage.flush().map_err(|source| Error::Io {
        action: "flush, writing",
        offset: 0,
        length: 0,
        source,
    })
}
