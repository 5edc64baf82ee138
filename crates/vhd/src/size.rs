//! Virtual sizes, geometry and timestamps.

use crate::SECTOR_SIZE;
use crate::error::{Error, Result};

/// Bytes in a block of every image that is made here.
pub const BLOCK_SIZE: u64 = 2 << 20;
/// The smallest virtual size, in bytes.
pub const MIN_VIRTUAL_SIZE: u64 = BLOCK_SIZE;
/// The largest virtual size, in bytes: 2040 GiB, as the pool's storage manager allows.
pub const MAX_VIRTUAL_SIZE: u64 = 2040 << 30;
/// Seconds from the Unix epoch to 2000-01-01, where the format's time starts.
const VHD_EPOCH_S: u64 = 946_684_800;

/// Rounds a size up to what an image can have: whole blocks of 2 MiB, one at least.
///
/// # Errors
/// `OutOfRange` above 2040 GiB.
pub fn round_virtual_size(asked_bytes: u64) -> Result<u64> {
    if asked_bytes > MAX_VIRTUAL_SIZE {
        return Err(Error::Limit {
            what: "virtual size in bytes",
            found: asked_bytes,
            minimum: MIN_VIRTUAL_SIZE,
            maximum: MAX_VIRTUAL_SIZE,
        });
    }
    Ok(asked_bytes
        .next_multiple_of(BLOCK_SIZE)
        .max(MIN_VIRTUAL_SIZE))
}

/// Turns seconds since the Unix epoch into the format's seconds since 2000.
pub fn timestamp_from_unix(unix_s: u64) -> u32 {
    u32::try_from(unix_s.saturating_sub(VHD_EPOCH_S)).unwrap_or(u32::MAX)
}

/// Cylinders, heads and sectors per track: what old guests are told. The size never comes from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Cylinders.
    pub cylinders: u16,
    /// Heads.
    pub heads: u8,
    /// Sectors per track.
    pub sectors_per_track: u8,
}

impl Geometry {
    /// The geometry of an image of this many bytes.
    ///
    /// Source: VHD specification, appendix "CHS calculation".
    pub fn of_size(size_bytes: u64) -> Self {
        let sectors = (size_bytes / SECTOR_SIZE).min(65_535 * 16 * 255);
        let (sectors_per_track, heads) = if sectors >= 65_535 * 16 * 63 {
            (255, 16)
        } else {
            let tracks = sectors / 17;
            let heads = tracks.div_ceil(1024).max(4);
            if tracks < heads * 1024 && heads <= 16 {
                (17, heads)
            } else if sectors / 31 < 16 * 1024 {
                (31, 16)
            } else {
                (63, 16)
            }
        };
        let cylinders = sectors / sectors_per_track / heads;
        Self {
            cylinders: u16::try_from(cylinders).unwrap_or(u16::MAX),
            heads: heads as u8,
            sectors_per_track: sectors_per_track as u8,
        }
    }

    /// Bytes that the geometry addresses.
    pub fn capacity_bytes(&self) -> u64 {
        u64::from(self.cylinders)
            * u64::from(self.heads)
            * u64::from(self.sectors_per_track)
            * SECTOR_SIZE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_round_up_to_whole_blocks() {
        for (asked, got) in [
            (0, 2 << 20),
            (1, 2 << 20),
            (2 << 20, 2 << 20),
            ((2 << 20) + 1, 4 << 20),
        ] {
            assert_eq!(round_virtual_size(asked).unwrap(), got);
        }
        assert_eq!(
            round_virtual_size(MAX_VIRTUAL_SIZE).unwrap(),
            MAX_VIRTUAL_SIZE
        );
        let error = round_virtual_size(MAX_VIRTUAL_SIZE + 1).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::OutOfRange);
    }

    #[test]
    fn geometries_are_those_that_vhd_util_wrote() {
        // From the golden images of 2, 4, 8, 50, 100 MiB and 2040 GiB.
        for (size, cylinders, heads, sectors_per_track) in [
            (2 << 20, 60, 4, 17),
            (4 << 20, 120, 4, 17),
            (8 << 20, 240, 4, 17),
            (50 << 20, 1003, 6, 17),
            (100 << 20, 1003, 12, 17),
            (MAX_VIRTUAL_SIZE, 65_535, 16, 255),
        ] {
            assert_eq!(
                Geometry::of_size(size),
                Geometry {
                    cylinders,
                    heads,
                    sectors_per_track
                },
                "{size}"
            );
        }
    }
}
