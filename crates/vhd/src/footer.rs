//! The footer: 512 bytes at the end of every image, copied to offset 0 of dynamic and differencing ones.
//!
//! Source: VHD specification, "Hard Disk Footer Format"; byte 85 is blktap's hidden flag. Layout: `docs/formats/vhd.md`.

use uuid::Uuid;

use crate::big_endian::{array, checksum_without, is_zero, put, u16_at, u32_at, u64_at};
use crate::error::{Defect, Part, Rule};
use crate::size::{Geometry, MAX_VIRTUAL_SIZE};
use crate::{SECTOR_SIZE, header};

/// Bytes in a footer.
pub const FOOTER_SIZE: usize = 512;
/// First bytes of a footer.
pub const COOKIE: &[u8; 8] = b"conectix";
/// First bytes of both footers while a resize moves what lies between them; only the resize's journal helps then.
pub const RESIZING_COOKIE: &[u8; 8] = b"v_poison";
/// The feature bit that is always set.
pub const FEATURE_RESERVED: u32 = 2;
/// The feature bit of an image that may be deleted at shutdown.
pub const FEATURE_TEMPORARY: u32 = 1;
/// The version of the format.
pub const VERSION: u32 = 0x0001_0000;
/// The creator of XenServer's images, and of ours, whose layout is the same.
pub const CREATOR_TAP: &[u8; 4] = b"tap\0";
/// The newest layout of that creator: batmap with unsigned checksum.
pub const CREATOR_VERSION: u32 = 0x0001_0003;
/// The first version of that creator that always writes a batmap.
pub const CREATOR_VERSION_BATMAP: u32 = 0x0001_0002;
/// Seconds by which a timestamp may be ahead of the clock.
pub const TIMESTAMP_TOLERANCE_S: u32 = 1800;

const FEATURES_AT: usize = 8;
const VERSION_AT: usize = 12;
const DATA_OFFSET_AT: usize = 16;
const TIMESTAMP_AT: usize = 24;
const CREATOR_APP_AT: usize = 28;
const CREATOR_VERSION_AT: usize = 32;
const CREATOR_OS_AT: usize = 36;
const ORIGINAL_SIZE_AT: usize = 40;
const CURRENT_SIZE_AT: usize = 48;
const GEOMETRY_AT: usize = 56;
const TYPE_AT: usize = 60;
const CHECKSUM_AT: usize = 64;
const UUID_AT: usize = 68;
const SAVED_STATE_AT: usize = 84;
const HIDDEN_AT: usize = 85;
const RESERVED_AT: usize = 86;

/// What kind of image it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ImageType {
    /// The data as they are, and a footer.
    Fixed,
    /// Blocks that are allocated when first written.
    Dynamic,
    /// As dynamic; what is not in it is in its parent.
    Differencing,
}

impl ImageType {
    fn from_code(code: u32) -> Option<Self> {
        match code {
            2 => Some(ImageType::Fixed),
            3 => Some(ImageType::Dynamic),
            4 => Some(ImageType::Differencing),
            _ => None,
        }
    }

    fn code(self) -> u32 {
        match self {
            ImageType::Fixed => 2,
            ImageType::Dynamic => 3,
            ImageType::Differencing => 4,
        }
    }
}

/// A footer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footer {
    /// Feature bits.
    pub features: u32,
    /// Offset of the dynamic header; all ones in a fixed image.
    pub data_offset: u64,
    /// Seconds since 2000 of the creation or the last change.
    pub timestamp: u32,
    /// Who made the image.
    pub creator_app: [u8; 4],
    /// In which version.
    pub creator_version: u32,
    /// On what system.
    pub creator_os: u32,
    /// Virtual size in bytes at creation.
    pub original_size: u64,
    /// Virtual size in bytes.
    pub current_size: u64,
    /// Geometry for old guests.
    pub geometry: Geometry,
    /// Kind of image.
    pub image_type: ImageType,
    /// The image's uuid.
    pub uuid: Uuid,
    /// 1 when the image belongs to a suspended machine.
    pub saved_state: u8,
    /// 1 when the image is kept only as a parent of others.
    pub hidden: u8,
    /// Kept as found.
    pub reserved: [u8; FOOTER_SIZE - RESERVED_AT],
}

impl Footer {
    /// The footer of a new image as XenServer's tools would write it.
    pub fn new(image_type: ImageType, virtual_size: u64, uuid: Uuid, timestamp: u32) -> Self {
        Self {
            features: FEATURE_RESERVED,
            data_offset: match image_type {
                ImageType::Fixed => u64::MAX,
                ImageType::Dynamic | ImageType::Differencing => header::HEADER_OFFSET,
            },
            timestamp,
            creator_app: *CREATOR_TAP,
            creator_version: CREATOR_VERSION,
            creator_os: 0,
            original_size: virtual_size,
            current_size: virtual_size,
            geometry: Geometry::of_size(virtual_size),
            image_type,
            uuid,
            saved_state: 0,
            hidden: 0,
            reserved: [0; FOOTER_SIZE - RESERVED_AT],
        }
    }

    /// Reads a footer.
    ///
    /// # Errors
    /// The first rule that keeps the bytes from being a footer at all: cookie, checksum, version or type.
    pub fn parse(bytes: &[u8; FOOTER_SIZE], part: Part) -> Result<Self, Defect> {
        let broken = |rule, found, expected| {
            Err(Defect {
                part,
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
        let Some(image_type) = ImageType::from_code(u32_at(bytes, TYPE_AT)) else {
            return broken(
                Rule::ImageType,
                u32_at(bytes, TYPE_AT).into(),
                ImageType::Dynamic.code().into(),
            );
        };
        Ok(Self {
            features: u32_at(bytes, FEATURES_AT),
            data_offset: u64_at(bytes, DATA_OFFSET_AT),
            timestamp: u32_at(bytes, TIMESTAMP_AT),
            creator_app: array(bytes, CREATOR_APP_AT),
            creator_version: u32_at(bytes, CREATOR_VERSION_AT),
            creator_os: u32_at(bytes, CREATOR_OS_AT),
            original_size: u64_at(bytes, ORIGINAL_SIZE_AT),
            current_size: u64_at(bytes, CURRENT_SIZE_AT),
            geometry: Geometry {
                cylinders: u16_at(bytes, GEOMETRY_AT),
                heads: bytes[GEOMETRY_AT + 2],
                sectors_per_track: bytes[GEOMETRY_AT + 3],
            },
            image_type,
            uuid: Uuid::from_bytes(array(bytes, UUID_AT)),
            saved_state: bytes[SAVED_STATE_AT],
            hidden: bytes[HIDDEN_AT],
            reserved: array(bytes, RESERVED_AT),
        })
    }

    /// The bytes of the footer, with its checksum.
    pub fn to_bytes(&self) -> [u8; FOOTER_SIZE] {
        let mut bytes = [0; FOOTER_SIZE];
        put(&mut bytes, 0, COOKIE);
        put(&mut bytes, FEATURES_AT, &self.features.to_be_bytes());
        put(&mut bytes, VERSION_AT, &VERSION.to_be_bytes());
        put(&mut bytes, DATA_OFFSET_AT, &self.data_offset.to_be_bytes());
        put(&mut bytes, TIMESTAMP_AT, &self.timestamp.to_be_bytes());
        put(&mut bytes, CREATOR_APP_AT, &self.creator_app);
        put(
            &mut bytes,
            CREATOR_VERSION_AT,
            &self.creator_version.to_be_bytes(),
        );
        put(&mut bytes, CREATOR_OS_AT, &self.creator_os.to_be_bytes());
        put(
            &mut bytes,
            ORIGINAL_SIZE_AT,
            &self.original_size.to_be_bytes(),
        );
        put(
            &mut bytes,
            CURRENT_SIZE_AT,
            &self.current_size.to_be_bytes(),
        );
        put(
            &mut bytes,
            GEOMETRY_AT,
            &self.geometry.cylinders.to_be_bytes(),
        );
        put(
            &mut bytes,
            GEOMETRY_AT + 2,
            &[self.geometry.heads, self.geometry.sectors_per_track],
        );
        put(&mut bytes, TYPE_AT, &self.image_type.code().to_be_bytes());
        put(&mut bytes, UUID_AT, self.uuid.as_bytes());
        put(&mut bytes, SAVED_STATE_AT, &[self.saved_state, self.hidden]);
        put(&mut bytes, RESERVED_AT, &self.reserved);
        let checksum = checksum_without(&bytes, CHECKSUM_AT);
        put(&mut bytes, CHECKSUM_AT, &checksum.to_be_bytes());
        bytes
    }

    /// The bytes of the footer with [`RESIZING_COOKIE`], which no reader takes for a footer.
    pub fn to_resizing_bytes(&self) -> [u8; FOOTER_SIZE] {
        let mut bytes = self.to_bytes();
        put(&mut bytes, 0, RESIZING_COOKIE);
        let checksum = checksum_without(&bytes, CHECKSUM_AT);
        put(&mut bytes, CHECKSUM_AT, &checksum.to_be_bytes());
        bytes
    }

    /// Every rule that the footer breaks beyond those that [`Footer::parse`] refuses; `now` is the time in seconds
    /// since 2000, `None` to leave the timestamp alone.
    pub fn validate(&self, part: Part, now: Option<u32>) -> Vec<Defect> {
        let mut defects = Vec::new();
        let mut broken = |rule, found, expected| {
            defects.push(Defect {
                part,
                rule,
                found,
                expected,
            })
        };
        if self.features & !FEATURE_TEMPORARY != FEATURE_RESERVED {
            broken(
                Rule::Features,
                self.features.into(),
                FEATURE_RESERVED.into(),
            );
        }
        let data_offset = match self.image_type {
            ImageType::Fixed => u64::MAX,
            ImageType::Dynamic | ImageType::Differencing => header::HEADER_OFFSET,
        };
        if self.data_offset != data_offset {
            broken(Rule::DataOffset, self.data_offset, data_offset);
        }
        if let Some(now) = now.map(|now| now.saturating_add(TIMESTAMP_TOLERANCE_S))
            && self.timestamp > now
        {
            broken(Rule::Timestamp, self.timestamp.into(), now.into());
        }
        if &self.creator_app == CREATOR_TAP && self.creator_version > CREATOR_VERSION {
            broken(
                Rule::CreatorVersion,
                self.creator_version.into(),
                CREATOR_VERSION.into(),
            );
        }
        if self.geometry.capacity_bytes() > self.current_size {
            broken(
                Rule::Geometry,
                self.geometry.capacity_bytes(),
                self.current_size,
            );
        }
        if self.current_size > MAX_VIRTUAL_SIZE || !self.current_size.is_multiple_of(SECTOR_SIZE) {
            broken(Rule::VirtualSize, self.current_size, MAX_VIRTUAL_SIZE);
        }
        if self.saved_state > 1 {
            broken(Rule::SavedState, self.saved_state.into(), 1);
        }
        if self.hidden > 1 {
            broken(Rule::Hidden, self.hidden.into(), 1);
        }
        if !is_zero(&self.reserved) {
            broken(Rule::Reserved, 1, 0);
        }
        if self.uuid.is_nil() {
            broken(Rule::NilUuid, 0, 1);
        }
        defects
    }

    /// True when the creator's layout includes a batmap.
    pub fn expects_batmap(&self) -> bool {
        &self.creator_app == CREATOR_TAP && self.creator_version >= CREATOR_VERSION_BATMAP
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn footer() -> Footer {
        Footer::new(ImageType::Dynamic, 100 << 20, Uuid::from_u128(0x0102), 77)
    }

    #[test]
    fn bytes_and_footer_are_the_same() {
        let footer = footer();
        assert_eq!(
            Footer::parse(&footer.to_bytes(), Part::PrimaryFooter),
            Ok(footer.clone())
        );
        assert_eq!(footer.validate(Part::PrimaryFooter, Some(77)), []);
    }

    #[test]
    fn any_changed_byte_is_refused() {
        let good = footer().to_bytes();
        for at in 0..FOOTER_SIZE {
            let mut bytes = good;
            bytes[at] ^= 0x40;
            let defect = Footer::parse(&bytes, Part::BackupFooter).unwrap_err();
            let rule = if at < 8 { Rule::Cookie } else { Rule::Checksum };
            assert_eq!(
                (defect.rule, defect.part),
                (rule, Part::BackupFooter),
                "byte {at}"
            );
        }
    }

    #[test]
    fn rules_are_told_one_by_one() {
        let mut footer = footer();
        footer.features = 0;
        footer.data_offset = 1024;
        footer.timestamp = 77 + TIMESTAMP_TOLERANCE_S + 1;
        footer.creator_version = CREATOR_VERSION + 1;
        footer.geometry = Geometry {
            cylinders: 65_535,
            heads: 16,
            sectors_per_track: 255,
        };
        footer.saved_state = 2;
        footer.hidden = 2;
        footer.reserved[3] = 1;
        footer.uuid = Uuid::nil();
        let rules: Vec<Rule> = footer
            .validate(Part::PrimaryFooter, Some(77))
            .iter()
            .map(|d| d.rule)
            .collect();
        assert_eq!(
            rules,
            [
                Rule::Features,
                Rule::DataOffset,
                Rule::Timestamp,
                Rule::CreatorVersion,
                Rule::Geometry,
                Rule::SavedState,
                Rule::Hidden,
                Rule::Reserved,
                Rule::NilUuid
            ]
        );
    }
}
