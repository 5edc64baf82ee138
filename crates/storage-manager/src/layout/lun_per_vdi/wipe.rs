//! Making a whole LUN zeros once its VDI is destroyed, so that the next VDI on it shows nothing of the last.
//!
//! ```text
//! mark over the first bytes -> zeros behind it, the place reached noted in the mark -> zeros over the mark
//! ```
//!
//! The mark is on the LUN itself: it outlives a restart of this program, a loss of the records and a move of the LUN to another
//! machine. As long as it is there the LUN is not blank, and nobody takes it.

use std::io;

use crate::medium::block_device::BlockDevice;

/// What a LUN begins with that is not yet all zeros. The version ends it; what is in the next version is not touched.
const MAGIC: &[u8; 16] = b"XENSM-WIPE-00001";

/// Bytes of a mark: the magic, the first byte that may not be zero as a big-endian number of 8 bytes, zeros.
const MARK_BYTES: u64 = 4096;

/// Bytes that are made zeros with one call.
const PIECE: u64 = 64 << 20;

/// Bytes after which the place reached is noted.
const NOTE_BYTES: u64 = 1 << 30;

/// Marks a device as one to be made zeros.
///
/// # Durability
/// On return the mark is on stable storage. A crash before leaves the device as it was, or marked.
pub fn begin(device: &dyn BlockDevice) -> io::Result<()> {
    if device.size()? > MARK_BYTES {
        put_mark(device, MARK_BYTES)?;
    } else {
        device.write_zeroes_at(0, device.size()?)?;
    }
    device.flush()
}

/// The first byte that may not be zero, on a device that is marked.
pub fn reached(device: &dyn BlockDevice) -> io::Result<Option<u64>> {
    let size = device.size()?;
    if size <= MARK_BYTES {
        return Ok(None);
    }
    let mut mark = [0; MARK_BYTES as usize];
    device.read_at(&mut mark, 0)?;
    let (magic, rest) = mark.split_at(MAGIC.len());
    if magic != MAGIC {
        return Ok(None);
    }
    let noted = rest.first_chunk().map_or(0, |at| u64::from_be_bytes(*at));
    // A device that has shrunk since, or a mark that is none of ours: from the beginning.
    let is_inside = (MARK_BYTES..=size).contains(&noted);
    Ok(Some(if is_inside { noted } else { MARK_BYTES }))
}

/// Makes a device zeros that is marked, until that is done (true) or `is_enough`.
///
/// # Durability
/// The mark goes last, once the zeros are on stable storage. A crash before leaves it, and another call goes on from the place
/// noted last.
pub fn go_on(device: &dyn BlockDevice, is_enough: &dyn Fn() -> bool) -> io::Result<bool> {
    let Some(mut at) = reached(device)? else {
        return Ok(true);
    };
    let (size, mut noted) = (device.size()?, at);
    while at < size {
        let is_late = is_enough();
        if at - noted >= NOTE_BYTES || (is_late && at > noted) {
            device.flush()?;
            put_mark(device, at)?;
            noted = at;
        }
        if is_late {
            return Ok(false);
        }
        let length = PIECE.min(size - at);
        if !device.unmap(at, length).unwrap_or(false) {
            device.write_zeroes_at(at, length)?;
        }
        at += length;
    }
    device.flush()?;
    device.write_zeroes_at(0, MARK_BYTES)?;
    device.flush()?;
    Ok(true)
}

fn put_mark(device: &dyn BlockDevice, at: u64) -> io::Result<()> {
    let mut mark = [0; MARK_BYTES as usize];
    mark[..MAGIC.len()].copy_from_slice(MAGIC);
    mark[MAGIC.len()..][..8].copy_from_slice(&at.to_be_bytes());
    device.write_at(&mark, 0)
}
