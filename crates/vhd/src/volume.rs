//! Images on volumes: devices and logical volumes, which have a length of their own.
//!
//! ```text
//! 0 ... data end                    what a file holds before its footer
//! data end ... length - 512         anything: nobody has written it, or a former owner of the space has
//! length - 512                      footer
//! ```
//!
//! A volume is made as large as its image may become (*full*), or as small as its content allows (*deflated*), and changes
//! between the two by moving the footer: [`move_footer`]. The sizes are XenServer's, so that its own software finds room
//! where it expects it. The copy of the footer at offset 0 counts before the one at the end, since the last sector of a
//! volume whose length has just changed may hold anything.

use crate::error::{Error, Part, Result};
use crate::footer::{FOOTER_SIZE, Footer, ImageType, RESIZING_COOKIE};
use crate::image::{Headers, Tables, read_footers};
use crate::size::BLOCK_SIZE;
use crate::storage::{self, Storage};

/// Entries of the BAT of an image that is made on a volume: enough for 2 TiB, so that every growth leaves the tables where
/// they are.
///
/// Source: `lvhdutil.MSIZE_MB` of XenServer's storage manager, which it passes to `vhd-util create -S`.
pub const TABLE_ENTRIES: u32 = 1 << 20;
/// Bytes that everything but the blocks takes in such an image, with three locators and the footer.
pub const METADATA_BYTES: u64 = 4_329_472;
/// Volumes are whole multiples of this, in bytes: the extent size of XenServer's volume groups.
pub const EXTENT_SIZE: u64 = 4 << 20;
/// Bytes that a block takes beside its data: its bitmap, and what aligns the data.
const BLOCK_OVERHEAD: u64 = 4096;

/// Where the footer of a volume of this length lies.
pub(crate) fn footer_offset(length: u64) -> u64 {
    length.saturating_sub(FOOTER_SIZE as u64)
}

/// Length in bytes of a volume on which every block of an image of this virtual size finds room.
pub fn full_size(virtual_size: u64) -> u64 {
    let blocks = virtual_size.div_ceil(BLOCK_SIZE);
    let used = virtual_size + METADATA_BYTES + blocks * BLOCK_OVERHEAD;
    used.next_multiple_of(EXTENT_SIZE)
}

/// Length in bytes of the smallest volume for an image of which everything that is kept ends at `data_end`.
pub fn deflated_size(data_end: u64) -> u64 {
    (data_end + FOOTER_SIZE as u64).next_multiple_of(EXTENT_SIZE)
}

/// Length in bytes of a volume for an image without blocks.
pub fn empty_size() -> u64 {
    METADATA_BYTES.next_multiple_of(EXTENT_SIZE)
}

/// Bytes that an image of this virtual size takes in a file before it has a block.
///
/// Source: `vhdutil.calcOverheadEmpty`.
pub fn empty_overhead(virtual_size: u64) -> u64 {
    const FIXED: u64 = 512 + 1024 + 512 + 1024;
    let blocks = (virtual_size >> 20) / 2;
    let tables = (FIXED + 4 * blocks).next_multiple_of(512);
    (tables + blocks / 8).next_multiple_of(4096)
}

/// Bytes that the bitmaps of `data_bytes` of blocks take.
///
/// Source: `vhdutil.calcOverheadBitmap`.
pub fn bitmap_overhead(data_bytes: u64) -> u64 {
    data_bytes.div_ceil(BLOCK_SIZE) * BLOCK_OVERHEAD
}

/// First byte behind everything that an image keeps, by its BAT: where its footer may lie at the earliest.
///
/// # Errors
/// As [`crate::image::FoundImage::check`]; `Unsupported` for a fixed image.
pub fn data_end(storage: &dyn Storage) -> Result<u64> {
    let headers = Headers::read(storage)?;
    if headers.header.is_none() {
        return Err(Error::Unsupported {
            what: "the end of the data of a fixed image",
            found: headers.length,
        });
    }
    Ok(Tables::read(storage, &headers)?.data_end(&headers))
}

/// Puts the footer where it belongs on a volume of `new_length` bytes that had, or still has, `old_length`.
///
/// To inflate: the volume is made longer, then this is called. To deflate: this is called, then the volume is cut. The
/// image is not open for writing. It may be called again for what a crash interrupted, with the lengths in either order.
///
/// # Errors
/// `OutOfRange` when the image keeps something behind the new end, or the volume is shorter than `new_length`; as
/// [`crate::image::FoundImage::check`].
///
/// # Durability
/// On stable storage at return. In this order, each followed by a flush:
///
/// 1. The copy at offset 0, if it is not sound: from the footer at the old end. Crash: as before.
/// 2. The footer at the new end; what was there meant nothing, for it lies behind the data. Crash: the copy counts, whatever
///    the last sector of the volume holds, so the volume may have either length.
///
/// `tests/volume.rs` cuts it everywhere, with the volume longer and shorter.
pub fn move_footer(storage: &dyn Storage, old_length: u64, new_length: u64) -> Result<()> {
    let length = storage::length(storage)?;
    let minimum = FOOTER_SIZE as u64;
    if new_length < minimum || new_length > length {
        return Err(Error::Limit {
            what: "new end of the volume's content in bytes",
            found: new_length,
            minimum,
            maximum: length,
        });
    }
    restore_copy(storage, length, old_length)?;
    let end = data_end(storage)?;
    if end > footer_offset(new_length) {
        return Err(Error::Limit {
            what: "new end of the volume's content in bytes",
            found: new_length,
            minimum: end + FOOTER_SIZE as u64,
            maximum: length,
        });
    }
    let footer = Headers::read(storage)?.footer.to_bytes();
    let mut found = [0; FOOTER_SIZE];
    storage::read(storage, &mut found, footer_offset(new_length))?;
    if found != footer {
        storage::write(storage, &footer, footer_offset(new_length))?;
        storage::flush(storage)?;
    }
    Ok(())
}

/// Writes the copy of the footer from the footer at the old end, when there is no sound one.
fn restore_copy(storage: &dyn Storage, length: u64, old_length: u64) -> Result<()> {
    let (_, copy) = read_footers(storage, length)?;
    let is_sound_or_marked = match copy {
        Ok(_) => true,
        Err(defect) => defect.found == u64::from_be_bytes(*RESIZING_COOKIE),
    };
    if is_sound_or_marked || old_length > length || old_length < FOOTER_SIZE as u64 {
        return Ok(());
    }
    let mut bytes = [0; FOOTER_SIZE];
    storage::read(storage, &mut bytes, footer_offset(old_length))?;
    match Footer::parse(&bytes, Part::PrimaryFooter) {
        Ok(footer) if footer.image_type != ImageType::Fixed => {
            storage::write(storage, &bytes, 0)?;
            storage::flush(storage)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    /// Reference: the table of full sizes that XenServer's storage manager makes.
    #[test]
    fn sizes_are_those_of_the_pool() {
        for (virtual_size, full) in [
            (GIB, 1_082_130_432),
            (10 * GIB, 10_766_778_368),
            (100 * GIB, 107_592_286_208),
            (2040 * GIB, 2_194_719_899_648),
        ] {
            assert_eq!(full_size(virtual_size), full);
        }
        assert_eq!(empty_size(), 8 << 20);
        assert_eq!(deflated_size(METADATA_BYTES - 512), empty_size());
        assert_eq!(deflated_size((8 << 20) - 511), 12 << 20);
        assert_eq!(empty_overhead(2048 * GIB), METADATA_BYTES);
        assert_eq!(bitmap_overhead(BLOCK_SIZE + 1), 8192);
    }

    /// 958 MiB has 479 blocks: metadata, blocks and footer fill the volume to the last sector.
    #[test]
    fn every_block_of_every_size_fits_a_full_volume() {
        let metadata_end = METADATA_BYTES - FOOTER_SIZE as u64;
        for blocks in (1..2000).chain([479, 479 + 1024, 1_044_480]) {
            let mut end = metadata_end;
            let bitmap = crate::layout::place_block_on_volume(end);
            end = bitmap + 512 + BLOCK_SIZE;
            // The blocks after the first take the same space each.
            end += (blocks - 1) * (BLOCK_SIZE + BLOCK_OVERHEAD);
            assert!(
                end <= footer_offset(full_size(blocks * BLOCK_SIZE)),
                "{blocks} blocks"
            );
        }
    }
}
