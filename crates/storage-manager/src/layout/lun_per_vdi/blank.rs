//! Whether a LUN holds something, and making one look as if it held nothing.

use std::io;

use crate::medium::block_device::BlockDevice;
use crate::medium::signature;

/// Bytes that are looked at from the start of a device: the farthest mark that a file system leaves is that of VMFS, at 1 MiB.
pub const HEAD_BYTES: u64 = (1 << 20) + (64 << 10);

/// Bytes that are looked at before the end of a device: the farthest mark there is that of a RAID of the oldest kind, between
/// 64 and 128 KiB from the end.
pub const TAIL_BYTES: u64 = 128 << 10;

/// What a device holds, in words that complete "it holds"; none when it is all zeros where marks of file systems, volume
/// managers and partition tables lie. Bytes that are no known mark are somebody's data too.
pub fn find(device: &dyn BlockDevice) -> io::Result<Option<String>> {
    if let Some(signature) = signature::find(device)? {
        return Ok(Some(signature.to_owned()));
    }
    for (offset, length) in edges(device.size()?) {
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        device.read_at(&mut bytes, offset)?;
        if let Some(at) = bytes.iter().position(|byte| *byte != 0) {
            let at = offset + at as u64;
            return Ok(Some(format!("data of an unknown kind at byte {at}")));
        }
    }
    Ok(None)
}

/// Makes a device blank where marks lie.
///
/// # Durability
/// On return that is on stable storage. A crash before leaves some of the marks; the call can be repeated.
pub fn wipe(device: &dyn BlockDevice) -> io::Result<()> {
    for (offset, length) in edges(device.size()?) {
        device.write_zeroes_at(offset, length)?;
    }
    device.flush()
}

/// The ranges where marks lie, as offset and length.
fn edges(size: u64) -> [(u64, u64); 2] {
    let tail = size.saturating_sub(TAIL_BYTES);
    [(0, HEAD_BYTES.min(size)), (tail, size - tail)]
}
