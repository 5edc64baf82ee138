//! Making the bytes of a new thick volume zeros: a group gives pages as their last owner left them.
//!
//! Source: reference 2.1. Pages of thin volumes read as zeros until they are written.

use std::io;
use std::time::{Duration, Instant};

use crate::medium::block_device::BlockDevice;

/// Bytes that are made zeros with one call.
const PIECE: u64 = 64 << 20;

/// Longest time for all of them. A VDI is not there before, and clients of `VDI.create` wait no longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes a range zeros: by UNMAP where the device promises that it reads as zeros then, else by writing them.
///
/// # Errors
/// `TimedOut` when it takes too long.
///
/// # Durability
/// On return the zeros are on stable storage.
pub fn write(device: &dyn BlockDevice, from: u64, to: u64) -> io::Result<()> {
    let begun = Instant::now();
    let mut at = from;
    while at < to {
        if begun.elapsed() >= PATIENCE {
            let text = format!(
                "{} of {} bytes of {} are zeros after {PATIENCE:?}",
                at - from,
                to - from,
                device.name()
            );
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        let length = PIECE.min(to - at);
        if !device.unmap(at, length).unwrap_or(false) {
            device.write_zeroes_at(at, length)?;
        }
        at += length;
    }
    device.flush()
}
