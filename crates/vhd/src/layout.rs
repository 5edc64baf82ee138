//! Where the parts of a new image lie, and where its next block goes.
//!
//! Both follow blktap, so that images of the same parameters are equal byte for byte.

use crate::SECTOR_SIZE;
use crate::bat::table_bytes;
use crate::batmap::{self, map_sectors};
use crate::footer::FOOTER_SIZE;
use crate::header::{HEADER_OFFSET, HEADER_SIZE};

/// Bytes of a block's bitmap: one sector for every block size up to 2 MiB.
pub const BITMAP_SIZE: u64 = SECTOR_SIZE;
/// Blocks' data are aligned to this, in bytes.
pub const DATA_ALIGNMENT: u64 = 4096;

/// The offsets of a new dynamic or differencing image, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The BAT.
    pub table_offset: u64,
    /// The batmap's header.
    pub batmap_offset: u64,
    /// The batmap's bits.
    pub map_offset: u64,
    /// Sectors of the batmap's bits.
    pub map_sectors: u32,
    /// First byte behind the batmap: parent locators' data, or the footer.
    pub batmap_end: u64,
}

impl Layout {
    /// The layout for a BAT of `entries`.
    pub fn new(entries: u32) -> Self {
        let table_offset = HEADER_OFFSET + HEADER_SIZE as u64;
        let batmap_offset = table_offset + table_bytes(entries);
        let map_offset = batmap_offset + batmap::HEADER_SIZE as u64;
        let map_sectors = map_sectors(u64::from(entries));
        Self {
            table_offset,
            batmap_offset,
            map_offset,
            map_sectors: map_sectors as u32,
            batmap_end: map_offset + map_sectors * SECTOR_SIZE,
        }
    }
}

/// Byte offset of the bitmap of a block that is put behind `end`, the end of the last block or of the metadata.
///
/// The data start on a multiple of 4096 and the bitmap lies in the sector before. The sector at `end` is left out: a
/// footer lies there, and what the tail of a file holds after a crash must never be a block's.
pub fn place_block(end: u64) -> u64 {
    place_block_on_volume(end + FOOTER_SIZE as u64)
}

/// As [`place_block`] on a volume, where no footer lies at `end`: so many blocks fit as XenServer's sizes of logical volumes
/// allow for.
pub fn place_block_on_volume(end: u64) -> u64 {
    (end + BITMAP_SIZE).next_multiple_of(DATA_ALIGNMENT) - BITMAP_SIZE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_lie_where_vhd_util_puts_them() {
        let layout = Layout::new(50);
        assert_eq!(
            (layout.table_offset, layout.batmap_offset, layout.map_offset),
            (1536, 2048, 2560)
        );
        assert_eq!(layout.batmap_end, 3072);
        assert_eq!(Layout::new(1_044_480).batmap_end + 512, 4_311_040);
    }

    #[test]
    fn blocks_lie_where_tapdisk_puts_them() {
        assert_eq!(place_block(3072), 3584);
        assert_eq!(place_block(4608), 7680);
        assert_eq!(place_block(8192 + (2 << 20)), 7680 + 4096 + (2 << 20));
        assert_eq!(place_block_on_volume(3072), 3584);
        assert_eq!(place_block_on_volume(4_328_960), 4_328_960);
        assert_eq!(place_block(4_328_960), 4_328_960 + 4096);
    }
}
