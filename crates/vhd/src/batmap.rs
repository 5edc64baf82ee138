//! The batmap: blktap's extension that marks blocks whose bitmap is completely set, so that it need not be read.
//!
//! It is optional: a reader that ignores it reads the same bytes. Source: blktap's `tdbatmap`; layout in
//! `docs/formats/vhd.md`.

use crate::SECTOR_SIZE;
use crate::big_endian::{checksum, put, u32_at, u64_at};
use crate::error::{Defect, Part, Rule};

/// Bytes in a batmap header.
pub const HEADER_SIZE: usize = 512;
/// First bytes of a batmap header.
pub const COOKIE: &[u8; 8] = b"tdbatmap";
/// The version that is written: checksum over unsigned bytes.
pub const VERSION: u32 = 0x0001_0002;
/// The version whose checksum summed signed bytes.
pub const VERSION_SIGNED: u32 = 0x0001_0001;

const OFFSET_AT: usize = 8;
const SECTORS_AT: usize = 16;
const VERSION_AT: usize = 20;
const CHECKSUM_AT: usize = 24;
const MARKER_AT: usize = 28;
const REST_AT: usize = 29;

/// A batmap header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatmapHeader {
    /// Byte offset of the map.
    pub map_offset: u64,
    /// Sectors of the map.
    pub map_sectors: u32,
    /// Version.
    pub version: u32,
    /// Checksum of the map.
    pub checksum: u32,
    /// The marker of `vhd-util set -f marker`.
    pub marker: u8,
    /// Key hash and reserved bytes, kept as found.
    pub rest: [u8; HEADER_SIZE - REST_AT],
}

impl BatmapHeader {
    /// The header of an empty map.
    pub fn new(map_offset: u64, map_sectors: u32) -> Self {
        Self {
            map_offset,
            map_sectors,
            version: VERSION,
            checksum: checksum(&[]),
            marker: 0,
            rest: [0; HEADER_SIZE - REST_AT],
        }
    }

    /// Reads a header.
    ///
    /// # Errors
    /// The cookie or the version.
    pub fn parse(bytes: &[u8; HEADER_SIZE]) -> Result<Self, Defect> {
        let broken = |rule, found, expected| {
            Err(Defect {
                part: Part::Batmap,
                rule,
                found,
                expected,
            })
        };
        if &bytes[..8] != COOKIE {
            return broken(Rule::Cookie, u64_at(bytes, 0), u64::from_be_bytes(*COOKIE));
        }
        let version = u32_at(bytes, VERSION_AT);
        if !(VERSION_SIGNED..=VERSION).contains(&version) {
            return broken(Rule::Version, version.into(), VERSION.into());
        }
        Ok(Self {
            map_offset: u64_at(bytes, OFFSET_AT),
            map_sectors: u32_at(bytes, SECTORS_AT),
            version,
            checksum: u32_at(bytes, CHECKSUM_AT),
            marker: bytes[MARKER_AT],
            rest: crate::big_endian::array(bytes, REST_AT),
        })
    }

    /// The bytes of the header.
    pub fn to_bytes(&self) -> [u8; HEADER_SIZE] {
        let mut bytes = [0; HEADER_SIZE];
        put(&mut bytes, 0, COOKIE);
        put(&mut bytes, OFFSET_AT, &self.map_offset.to_be_bytes());
        put(&mut bytes, SECTORS_AT, &self.map_sectors.to_be_bytes());
        put(&mut bytes, VERSION_AT, &self.version.to_be_bytes());
        put(&mut bytes, CHECKSUM_AT, &self.checksum.to_be_bytes());
        put(&mut bytes, MARKER_AT, &[self.marker]);
        put(&mut bytes, REST_AT, &self.rest);
        bytes
    }

    /// First byte behind the map.
    pub fn end(&self) -> u64 {
        self.map_offset
            .saturating_add(u64::from(self.map_sectors) * SECTOR_SIZE)
    }

    /// Every rule that the header breaks in a file of `file_length` bytes whose BAT and batmap header end at
    /// `metadata_start`, with a virtual size that needs `block_count` blocks.
    pub fn validate(&self, block_count: u64, metadata_start: u64, file_length: u64) -> Vec<Defect> {
        let mut defects = Vec::new();
        let mut broken = |rule, found, expected| {
            defects.push(Defect {
                part: Part::Batmap,
                rule,
                found,
                expected,
            })
        };
        if self.map_offset < metadata_start
            || !self.map_offset.is_multiple_of(SECTOR_SIZE)
            || self.end() > file_length
        {
            broken(Rule::BatmapOffset, self.map_offset, metadata_start);
        }
        if u64::from(self.map_sectors) < map_sectors(block_count) {
            broken(
                Rule::BatmapSize,
                self.map_sectors.into(),
                map_sectors(block_count),
            );
        }
        defects
    }

    /// Tells whether the checksum fits `map`, the bytes that the virtual size needs in whole sectors.
    pub fn checksum_fits(&self, map: &[u8]) -> bool {
        self.checksum == checksum(map)
            || (self.version == VERSION_SIGNED && self.checksum == signed_checksum(map))
    }

    /// Sets the checksum for `map`.
    pub fn set_checksum(&mut self, map: &[u8]) {
        self.version = VERSION;
        self.checksum = checksum(map);
    }
}

/// Sectors of a map with a bit for each block.
pub fn map_sectors(block_count: u64) -> u64 {
    block_count.div_ceil(8).div_ceil(SECTOR_SIZE)
}

/// The bit of a block in a map, most significant bit first.
pub fn is_full(map: &[u8], block: u32) -> bool {
    map.get(block as usize / 8)
        .is_some_and(|byte| byte & (0x80 >> (block % 8)) != 0)
}

/// Sets the bit of a block; tells whether it was clear.
pub fn set_full(map: &mut [u8], block: u32) -> bool {
    let Some(byte) = map.get_mut(block as usize / 8) else {
        return false;
    };
    let bit = 0x80 >> (block % 8);
    let was_clear = *byte & bit == 0;
    *byte |= bit;
    was_clear
}

fn signed_checksum(map: &[u8]) -> u32 {
    !map.iter().fold(0u32, |sum, byte| {
        sum.wrapping_add_signed(i32::from(byte.cast_signed()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_header_are_the_same() {
        let mut header = BatmapHeader::new(2560, 1);
        header.marker = 3;
        header.rest[0] = 1;
        assert_eq!(BatmapHeader::parse(&header.to_bytes()), Ok(header.clone()));
        assert_eq!(header.validate(50, 2560, 3584), []);
        assert_eq!(header.validate(50, 2560, 2561)[0].rule, Rule::BatmapOffset);
        assert_eq!(header.validate(4097, 2560, 3584)[0].rule, Rule::BatmapSize);
    }

    #[test]
    fn both_checksums_are_accepted_for_the_old_version() {
        let mut map = vec![0; 512];
        assert!(set_full(&mut map, 2));
        assert!(!set_full(&mut map, 2));
        assert!(set_full(&mut map, 8));
        assert!(is_full(&map, 2) && is_full(&map, 8) && !is_full(&map, 3) && !is_full(&map, 4096));
        let mut header = BatmapHeader::new(2560, 1);
        header.set_checksum(&map);
        assert!(header.checksum_fits(&map));
        header.checksum = signed_checksum(&map);
        assert!(!header.checksum_fits(&map));
        header.version = VERSION_SIGNED;
        assert!(header.checksum_fits(&map));
    }
}
