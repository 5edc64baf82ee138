//! A metadata area: a header of one sector and a ring of texts.

use crate::checksum::{INITIAL, crc};
use crate::error::{Defect, Part};
use crate::label::Location;
use crate::little_endian::{put_u32, put_u64, u32_at, u64_at};
use crate::text::MAX_TEXT;

/// Bytes of the header; the ring begins behind it.
pub const HEADER_SIZE: u64 = 512;
/// Texts begin at whole sectors.
pub const ALIGNMENT: u64 = 512;
const MAGIC: &[u8; 16] = b" LVM2 x[5A%r0N*>";
const VERSION: u32 = 1;
/// Fields, by their offset in the header.
const CHECKED: usize = 4;
const VERSION_OFFSET: usize = 20;
const START: usize = 24;
const SIZE: usize = 32;
const SLOTS: usize = 40;
/// Bytes of a slot: offset, size, checksum, flags.
const SLOT: usize = 24;
/// The flag of an area that is not written to.
const IGNORED: u32 = 1;

/// Where in the ring a text lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextLocation {
    /// Bytes from the begin of the area.
    pub offset: u64,
    /// Bytes of the text, with the zero byte at its end.
    pub size: u64,
    /// Its checksum.
    pub checksum: u32,
    /// Flags of the slot.
    pub flags: u32,
}

/// The header of an area.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The area on its device.
    pub area: Location,
    /// The text that counts.
    pub committed: Option<TextLocation>,
    /// The text that is about to count.
    pub precommitted: Option<TextLocation>,
    /// Whether the area is not written to.
    pub ignored: bool,
}

/// The two pieces of the ring in which a text lies; the second has length 0 unless the text wraps.
///
/// # Units
/// Offsets and lengths in bytes, from the begin of the area.
pub type Pieces = [(u64, u64); 2];

impl Header {
    /// A header without a text.
    pub fn new(area: Location) -> Self {
        Header {
            area,
            committed: None,
            precommitted: None,
            ignored: false,
        }
    }

    /// Reads the header of the area with this number, which lies at `area`.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn parse(sector: &[u8; 512], area: Location, number: usize) -> Result<Self, Defect> {
        let expect = |field, found: u64, expected: u64| match found == expected {
            true => Ok(()),
            false => Err(Defect {
                part: Part::AreaHeader(number),
                field,
                found,
                expected,
            }),
        };
        let checksum = crc(INITIAL, &sector[CHECKED..]);
        expect("checksum", u32_at(sector, 0).into(), checksum.into())?;
        if &sector[CHECKED..VERSION_OFFSET] != MAGIC {
            expect("magic", u64_at(sector, CHECKED), u64_at(MAGIC, 0))?;
        }
        expect(
            "version",
            u32_at(sector, VERSION_OFFSET).into(),
            VERSION.into(),
        )?;
        expect("start", u64_at(sector, START), area.offset)?;
        expect("size", u64_at(sector, SIZE), area.size)?;
        let slot = |number: usize| {
            let slot = &sector[SLOTS + number * SLOT..];
            TextLocation {
                offset: u64_at(slot, 0),
                size: u64_at(slot, 8),
                checksum: u32_at(slot, 16),
                flags: u32_at(slot, 20),
            }
        };
        let used = |slot: TextLocation| (slot.offset != 0).then_some(slot);
        Ok(Header {
            area,
            committed: used(slot(0)),
            precommitted: used(slot(1)),
            ignored: slot(0).flags & IGNORED != 0,
        })
    }

    /// The sector.
    pub fn to_bytes(&self) -> [u8; 512] {
        let mut sector = [0; 512];
        sector[CHECKED..VERSION_OFFSET].copy_from_slice(MAGIC);
        put_u32(&mut sector, VERSION_OFFSET, VERSION);
        put_u64(&mut sector, START, self.area.offset);
        put_u64(&mut sector, SIZE, self.area.size);
        for (number, slot) in [self.committed, self.precommitted].into_iter().enumerate() {
            let bytes = &mut sector[SLOTS + number * SLOT..];
            if let Some(text) = slot {
                put_u64(bytes, 0, text.offset);
                put_u64(bytes, 8, text.size);
                put_u32(bytes, 16, text.checksum);
                put_u32(bytes, 20, text.flags);
            }
        }
        let checksum = crc(INITIAL, &sector[CHECKED..]);
        put_u32(&mut sector, 0, checksum);
        sector
    }

    /// The longest text that an area of this size takes: two have to fit, each at a whole sector.
    ///
    /// # Source
    /// LVM2 since 2.03.01, `_vg_write_raw`: ring / 2 - 512.
    pub fn room(&self) -> u64 {
        let ring = self.area.size.saturating_sub(HEADER_SIZE);
        (ring / 2).saturating_sub(ALIGNMENT).min(MAX_TEXT)
    }

    /// Where a text of `size` bytes goes: behind the one that counts, which it does not touch. `None` when it does not fit.
    pub fn next(&self, size: u64) -> Option<u64> {
        if size == 0 || size > self.room() || !self.area.size.is_multiple_of(ALIGNMENT) {
            return None;
        }
        let Some(old) = self.committed else {
            return Some(HEADER_SIZE);
        };
        let pieces = self.pieces(old.offset, old.size)?;
        let end = match pieces {
            [(offset, length), (_, 0)] => offset + length,
            [_, (offset, length)] => offset + length,
        };
        let ring = self.area.size - HEADER_SIZE;
        let mut begin = end.next_multiple_of(ALIGNMENT);
        if self.area.size - begin < ALIGNMENT {
            begin = HEADER_SIZE;
        }
        // An old text of another program need not begin at a whole sector; ours takes whole ones.
        let used = (old.offset % ALIGNMENT + old.size).next_multiple_of(ALIGNMENT);
        let free = ring.saturating_sub(used);
        (size.next_multiple_of(ALIGNMENT) <= free).then_some(begin)
    }

    /// The pieces in which a text of `size` bytes lies from `offset`; `None` when it does not lie in the ring.
    pub fn pieces(&self, offset: u64, size: u64) -> Option<Pieces> {
        let ring = self.area.size.checked_sub(HEADER_SIZE)?;
        if !(HEADER_SIZE..self.area.size).contains(&offset) || size > ring {
            return None;
        }
        let first = size.min(self.area.size - offset);
        Some([(offset, first), (HEADER_SIZE, size - first)])
    }
}

#[cfg(test)]
mod tests;
