//! Parent locators: where a differencing image says its parent may be found. All of it is untrusted.
//!
//! Source: VHD specification, "Parent Locator Entry"; the contents are those that blktap writes, the same relative path
//! three times. Layout: `docs/formats/vhd.md`.

use crate::big_endian::{put, u32_at, u64_at};
use crate::error::{Defect, Part, Rule};

/// Bytes in a locator.
pub const LOCATOR_SIZE: usize = 24;
/// Locators in a header.
pub const LOCATOR_COUNT: usize = 8;
/// The most bytes of a locator's data that are read or written.
pub const MAX_DATA_LENGTH: u32 = 4096;

const URL_PREFIX: &str = "file://";

/// How a locator's data is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Platform {
    /// `MacX`: a `file://` URL in UTF-8.
    MacX,
    /// `W2ku`: an absolute Windows path in UTF-16LE (blktap: a relative one).
    W2ku,
    /// `W2ru`: a relative Windows path in UTF-16LE.
    W2ru,
}

impl Platform {
    /// Those that are written, in the order in which they are written.
    pub const ALL: [Platform; 3] = [Platform::MacX, Platform::W2ku, Platform::W2ru];

    /// The code in the locator.
    pub fn code(self) -> u32 {
        u32::from_be_bytes(match self {
            Platform::MacX => *b"MacX",
            Platform::W2ku => *b"W2ku",
            Platform::W2ru => *b"W2ru",
        })
    }

    fn from_code(code: u32) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|platform| platform.code() == code)
    }

    /// The data of a locator that names `path`, which uses `/` and is relative (`./name`) or absolute.
    pub fn encode(self, path: &str) -> Vec<u8> {
        match self {
            Platform::MacX => format!("{URL_PREFIX}{path}").into_bytes(),
            Platform::W2ku | Platform::W2ru => path
                .replace('/', "\\")
                .encode_utf16()
                .flat_map(u16::to_le_bytes)
                .collect(),
        }
    }

    /// The path in a locator's data, with `/`; `None` when it cannot be decoded.
    pub fn decode(self, data: &[u8]) -> Option<String> {
        let text = match self {
            Platform::MacX => {
                let text = std::str::from_utf8(data).ok()?.trim_end_matches('\0');
                text.strip_prefix(URL_PREFIX)?.to_string()
            }
            Platform::W2ku | Platform::W2ru => {
                let units = data
                    .chunks_exact(2)
                    .map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
                let text: Option<String> = char::decode_utf16(units).map(Result::ok).collect();
                text?.trim_end_matches('\0').replace('\\', "/")
            }
        };
        (!text.is_empty() && !text.contains('\0') && data.len() <= MAX_DATA_LENGTH as usize)
            .then_some(text)
    }
}

/// An entry of the header's locator table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Locator {
    /// Platform code; 0 is an empty slot.
    pub code: u32,
    /// Space for the data: bytes as blktap writes it, sectors as the specification says. See [`Locator::space_bytes`].
    pub data_space: u32,
    /// Bytes of data.
    pub data_length: u32,
    /// Zero.
    pub reserved: u32,
    /// Byte offset of the data.
    pub data_offset: u64,
}

impl Locator {
    /// Reads a locator; any bytes are one.
    pub fn parse(bytes: &[u8; LOCATOR_SIZE]) -> Self {
        Self {
            code: u32_at(bytes, 0),
            data_space: u32_at(bytes, 4),
            data_length: u32_at(bytes, 8),
            reserved: u32_at(bytes, 12),
            data_offset: u64_at(bytes, 16),
        }
    }

    /// The bytes of the locator.
    pub fn to_bytes(&self) -> [u8; LOCATOR_SIZE] {
        let mut bytes = [0; LOCATOR_SIZE];
        put(&mut bytes, 0, &self.code.to_be_bytes());
        put(&mut bytes, 4, &self.data_space.to_be_bytes());
        put(&mut bytes, 8, &self.data_length.to_be_bytes());
        put(&mut bytes, 12, &self.reserved.to_be_bytes());
        put(&mut bytes, 16, &self.data_offset.to_be_bytes());
        bytes
    }

    /// True for a slot without a locator.
    pub fn is_empty(&self) -> bool {
        self.code == 0
    }

    /// The platform, `None` when it is unknown.
    pub fn platform(&self) -> Option<Platform> {
        Platform::from_code(self.code)
    }

    /// Bytes reserved for the data: a value below a sector counts sectors.
    pub fn space_bytes(&self) -> u64 {
        let space = u64::from(self.data_space);
        if space < 512 { space * 512 } else { space }
    }

    /// First byte behind the space of the data.
    pub fn end(&self) -> u64 {
        self.data_offset.saturating_add(self.space_bytes())
    }

    /// Every rule that the entry in `slot` breaks; its data must lie between `metadata_start` and `file_length`.
    pub fn validate(&self, slot: u8, metadata_start: u64, file_length: u64) -> Vec<Defect> {
        let mut defects = Vec::new();
        let mut broken = |rule, found, expected| {
            defects.push(Defect {
                part: Part::Locator(slot),
                rule,
                found,
                expected,
            })
        };
        if self.is_empty() {
            return defects;
        }
        if self.platform().is_none() {
            broken(
                Rule::LocatorCode,
                self.code.into(),
                Platform::MacX.code().into(),
            );
        }
        if u64::from(self.data_length) > self.space_bytes() || self.data_length > MAX_DATA_LENGTH {
            broken(
                Rule::LocatorLength,
                self.data_length.into(),
                self.space_bytes(),
            );
        }
        if self.data_offset < metadata_start || self.end() > file_length {
            broken(Rule::LocatorOffset, self.data_offset, metadata_start);
        }
        defects
    }
}

pub(crate) fn encode_utf16_be(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

pub(crate) fn decode_utf16_be(bytes: &[u8]) -> Option<String> {
    let units = bytes
        .chunks_exact(2)
        .map(|unit| u16::from_be_bytes([unit[0], unit[1]]));
    char::decode_utf16(units).map(Result::ok).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_what_blktap_writes() {
        assert_eq!(
            Platform::MacX.encode("./chain-1.vhd"),
            b"file://./chain-1.vhd"
        );
        assert_eq!(&Platform::W2ru.encode("./c")[..], b".\0\\\0c\0");
        for platform in Platform::ALL {
            assert_eq!(
                platform
                    .decode(&platform.encode("./b\u{e4}/c.vhd"))
                    .unwrap(),
                "./b\u{e4}/c.vhd"
            );
        }
    }

    #[test]
    fn what_cannot_be_decoded_is_none() {
        assert_eq!(Platform::MacX.decode(b"./no-scheme"), None);
        assert_eq!(Platform::MacX.decode(b"file://\xff"), None);
        assert_eq!(Platform::MacX.decode(b"file://"), None);
        assert_eq!(Platform::MacX.decode(b"file://a\0b"), None);
        assert_eq!(Platform::W2ku.decode(&[0x00, 0xd8]), None);
        assert_eq!(Platform::W2ku.decode(&[]), None);
    }

    #[test]
    fn small_spaces_count_sectors() {
        let locator = Locator {
            code: Platform::W2ku.code(),
            data_space: 1,
            data_length: 20,
            reserved: 0,
            data_offset: 3072,
        };
        assert_eq!(locator.space_bytes(), 512);
        assert_eq!(Locator::parse(&locator.to_bytes()), locator);
        assert_eq!(locator.validate(0, 3072, 4096), []);
        assert_eq!(locator.validate(0, 4096, 8192)[0].rule, Rule::LocatorOffset);
        assert_eq!(
            Locator {
                data_length: 513,
                ..locator
            }
            .validate(2, 0, 8192)[0]
                .rule,
            Rule::LocatorLength
        );
    }
}
