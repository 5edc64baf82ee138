//! The dynamic header: 1024 bytes behind the footer's copy, in dynamic and differencing images.
//!
//! Source: VHD specification, "Dynamic Disk Header Format". Layout: `docs/formats/vhd.md`.

use uuid::Uuid;

use crate::big_endian::{array, checksum_without, is_zero, put, u32_at, u64_at};
use crate::error::{Defect, Part, Rule};
use crate::footer::{ImageType, TIMESTAMP_TOLERANCE_S};
use crate::locator::{LOCATOR_COUNT, LOCATOR_SIZE, Locator, decode_utf16_be, encode_utf16_be};
use crate::size::BLOCK_SIZE;

/// Bytes in a header.
pub const HEADER_SIZE: usize = 1024;
/// Where the header lies; other places are allowed by the specification and used by nobody.
pub const HEADER_OFFSET: u64 = 512;
/// First bytes of a header.
pub const COOKIE: &[u8; 8] = b"cxsparse";
/// The version of the header.
pub const VERSION: u32 = 0x0001_0000;
/// Bytes of the parent's name.
pub const PARENT_NAME_SIZE: usize = 512;
/// The smallest block size that is opened, in bytes.
pub const MIN_BLOCK_SIZE: u32 = 4096;

const DATA_OFFSET_AT: usize = 8;
const TABLE_OFFSET_AT: usize = 16;
const VERSION_AT: usize = 24;
const ENTRIES_AT: usize = 28;
const BLOCK_SIZE_AT: usize = 32;
const CHECKSUM_AT: usize = 36;
const PARENT_UUID_AT: usize = 40;
const PARENT_TIMESTAMP_AT: usize = 56;
const RESERVED_1_AT: usize = 60;
const PARENT_NAME_AT: usize = 64;
const LOCATORS_AT: usize = 576;
const RESERVED_2_AT: usize = 768;

/// A dynamic header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// All ones.
    pub data_offset: u64,
    /// Byte offset of the BAT.
    pub table_offset: u64,
    /// Entries in the BAT; may be more than the virtual size needs.
    pub entry_count: u32,
    /// Bytes in a block.
    pub block_size: u32,
    /// The parent's uuid; nil when the parent is raw or there is none.
    pub parent_uuid: Uuid,
    /// The parent's modification time in seconds since 2000.
    pub parent_timestamp: u32,
    /// The parent's base name, UTF-16BE.
    pub parent_name: [u8; PARENT_NAME_SIZE],
    /// Where the parent may be found.
    pub locators: [Locator; LOCATOR_COUNT],
    /// True when the reserved bytes were zero.
    pub reserved_is_zero: bool,
}

impl Header {
    /// The header of a new image.
    pub fn new(table_offset: u64, entry_count: u32) -> Self {
        Self {
            data_offset: u64::MAX,
            table_offset,
            entry_count,
            block_size: BLOCK_SIZE as u32,
            parent_uuid: Uuid::nil(),
            parent_timestamp: 0,
            parent_name: [0; PARENT_NAME_SIZE],
            locators: [Locator::default(); LOCATOR_COUNT],
            reserved_is_zero: true,
        }
    }

    /// Reads a header.
    ///
    /// # Errors
    /// The first rule that keeps the bytes from being a header at all: cookie, checksum or version.
    pub fn parse(bytes: &[u8; HEADER_SIZE]) -> Result<Self, Defect> {
        let broken = |rule, found, expected| {
            Err(Defect {
                part: Part::Header,
                rule,
                found,
                expected,
            })
        };
        if &bytes[..8] != COOKIE {
            return broken(Rule::Cookie, u64_at(bytes, 0), u64::from_be_bytes(*COOKIE));
        }
        let (found, expected) = (
            u32_at(bytes, CHECKSUM_AT),
            checksum_without(bytes, CHECKSUM_AT),
        );
        if found != expected {
            return broken(Rule::Checksum, found.into(), expected.into());
        }
        if u32_at(bytes, VERSION_AT) != VERSION {
            return broken(
                Rule::Version,
                u32_at(bytes, VERSION_AT).into(),
                VERSION.into(),
            );
        }
        let mut locators = [Locator::default(); LOCATOR_COUNT];
        for (slot, locator) in locators.iter_mut().enumerate() {
            *locator = Locator::parse(&array(bytes, LOCATORS_AT + slot * LOCATOR_SIZE));
        }
        Ok(Self {
            data_offset: u64_at(bytes, DATA_OFFSET_AT),
            table_offset: u64_at(bytes, TABLE_OFFSET_AT),
            entry_count: u32_at(bytes, ENTRIES_AT),
            block_size: u32_at(bytes, BLOCK_SIZE_AT),
            parent_uuid: Uuid::from_bytes(array(bytes, PARENT_UUID_AT)),
            parent_timestamp: u32_at(bytes, PARENT_TIMESTAMP_AT),
            parent_name: array(bytes, PARENT_NAME_AT),
            locators,
            reserved_is_zero: is_zero(&bytes[RESERVED_1_AT..PARENT_NAME_AT])
                && is_zero(&bytes[RESERVED_2_AT..]),
        })
    }

    /// The bytes of the header, with its checksum; reserved bytes are written as zero.
    pub fn to_bytes(&self) -> [u8; HEADER_SIZE] {
        let mut bytes = [0; HEADER_SIZE];
        put(&mut bytes, 0, COOKIE);
        put(&mut bytes, DATA_OFFSET_AT, &self.data_offset.to_be_bytes());
        put(
            &mut bytes,
            TABLE_OFFSET_AT,
            &self.table_offset.to_be_bytes(),
        );
        put(&mut bytes, VERSION_AT, &VERSION.to_be_bytes());
        put(&mut bytes, ENTRIES_AT, &self.entry_count.to_be_bytes());
        put(&mut bytes, BLOCK_SIZE_AT, &self.block_size.to_be_bytes());
        put(&mut bytes, PARENT_UUID_AT, self.parent_uuid.as_bytes());
        put(
            &mut bytes,
            PARENT_TIMESTAMP_AT,
            &self.parent_timestamp.to_be_bytes(),
        );
        put(&mut bytes, PARENT_NAME_AT, &self.parent_name);
        for (slot, locator) in self.locators.iter().enumerate() {
            put(
                &mut bytes,
                LOCATORS_AT + slot * LOCATOR_SIZE,
                &locator.to_bytes(),
            );
        }
        let checksum = checksum_without(&bytes, CHECKSUM_AT);
        put(&mut bytes, CHECKSUM_AT, &checksum.to_be_bytes());
        bytes
    }

    /// Every rule that the header breaks beyond those that [`Header::parse`] refuses, and that bytes alone can tell;
    /// `now` as in [`crate::footer::Footer::validate`].
    pub fn validate(&self, image_type: ImageType, now: Option<u32>) -> Vec<Defect> {
        let mut defects = Vec::new();
        let mut broken = |rule, found, expected| {
            defects.push(Defect {
                part: Part::Header,
                rule,
                found,
                expected,
            })
        };
        if self.data_offset != u64::MAX {
            broken(Rule::DataOffset, self.data_offset, u64::MAX);
        }
        if !self.table_offset.is_multiple_of(512)
            || self.table_offset < HEADER_OFFSET + HEADER_SIZE as u64
        {
            broken(
                Rule::TableOffset,
                self.table_offset,
                HEADER_OFFSET + HEADER_SIZE as u64,
            );
        }
        let sizes = MIN_BLOCK_SIZE..=BLOCK_SIZE as u32;
        if !self.block_size.is_power_of_two() || !sizes.contains(&self.block_size) {
            broken(Rule::BlockSize, self.block_size.into(), BLOCK_SIZE);
        }
        if !self.reserved_is_zero {
            broken(Rule::Reserved, 1, 0);
        }
        if image_type == ImageType::Differencing {
            if let Some(now) = now.map(|now| now.saturating_add(TIMESTAMP_TOLERANCE_S))
                && self.parent_timestamp > now
            {
                broken(
                    Rule::ParentTimestamp,
                    self.parent_timestamp.into(),
                    now.into(),
                );
            }
            if self.parent_name().is_none() {
                broken(Rule::ParentName, 0, 1);
            }
        } else if !self.names_no_parent() {
            broken(Rule::UnexpectedParent, 1, 0);
        }
        defects
    }

    /// The parent's base name, `None` when it is not UTF-16.
    pub fn parent_name(&self) -> Option<String> {
        let units = self
            .parent_name
            .chunks_exact(2)
            .position(|unit| unit == [0, 0]);
        decode_utf16_be(&self.parent_name[..units.map_or(PARENT_NAME_SIZE, |units| units * 2)])
    }

    /// Sets the parent's base name; `false` when it does not fit.
    #[must_use]
    pub fn set_parent_name(&mut self, name: &str) -> bool {
        let encoded = encode_utf16_be(name);
        if encoded.len() > PARENT_NAME_SIZE {
            return false;
        }
        self.parent_name = [0; PARENT_NAME_SIZE];
        self.parent_name[..encoded.len()].copy_from_slice(&encoded);
        true
    }

    fn names_no_parent(&self) -> bool {
        self.parent_uuid.is_nil()
            && self.parent_timestamp == 0
            && is_zero(&self.parent_name)
            && self
                .locators
                .iter()
                .all(|locator| *locator == Locator::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_header_are_the_same() {
        let mut header = Header::new(1536, 50);
        assert!(header.set_parent_name("b\u{e4}se-\u{1f4be}.vhd"));
        header.parent_uuid = Uuid::from_u128(9);
        header.parent_timestamp = 5;
        header.locators[7] = Locator {
            code: 1,
            data_space: 2,
            data_length: 3,
            reserved: 4,
            data_offset: 5,
        };
        let read = Header::parse(&header.to_bytes()).unwrap();
        assert_eq!(read, header);
        assert_eq!(read.parent_name().unwrap(), "b\u{e4}se-\u{1f4be}.vhd");
        assert_eq!(read.validate(ImageType::Differencing, Some(5)), []);
        assert_eq!(
            read.validate(ImageType::Dynamic, None)[0].rule,
            Rule::UnexpectedParent
        );
    }

    #[test]
    fn names_that_do_not_fit_and_bad_utf16_are_refused() {
        let mut header = Header::new(1536, 1);
        assert!(header.set_parent_name(&"x".repeat(256)));
        assert_eq!(header.parent_name().unwrap().len(), 256);
        assert!(!header.set_parent_name(&"x".repeat(257)));
        header.parent_name[..2].copy_from_slice(&[0xdc, 0x00]);
        assert_eq!(header.parent_name(), None);
        assert_eq!(
            header.validate(ImageType::Differencing, None)[0].rule,
            Rule::ParentName
        );
    }

    #[test]
    fn odd_tables_and_blocks_are_told() {
        let mut header = Header::new(1000, 1);
        header.block_size = 3 << 20;
        header.data_offset = 0;
        let rules: Vec<Rule> = header
            .validate(ImageType::Dynamic, None)
            .iter()
            .map(|d| d.rule)
            .collect();
        assert_eq!(
            rules,
            [Rule::DataOffset, Rule::TableOffset, Rule::BlockSize]
        );
    }
}
