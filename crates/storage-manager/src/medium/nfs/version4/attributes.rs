//! Attributes of files: a bit map that says which there are, and their values in the order of their numbers.
//!
//! Source: RFC 8881, section 5 (meanings and numbers), 3.3.7 (`fattr4`).

use super::super::protocol::{Attributes, FileKind, time};
use super::super::xdr::{Malformed, Reader, Writer};
use crate::medium::files::FileId;
use crate::sr::SrSpace;

const TYPE: u32 = 1;
const SIZE: u32 = 4;
const FSID: u32 = 8;
const FILEID: u32 = 20;
const MAXREAD: u32 = 30;
const MAXWRITE: u32 = 31;
const MODE: u32 = 33;
const NUMLINKS: u32 = 35;
const SPACE_FREE: u32 = 43;
const SPACE_TOTAL: u32 = 44;
const TIME_MODIFY: u32 = 53;

/// Words of a bit map that are understood.
const WORDS: usize = 2;

/// Most words of a bit map that are taken from a server.
const MAX_WORDS: usize = 8;

/// Most bytes of attributes that are taken from a server.
const MAX_VALUES: usize = 64 * 1024;

/// A choice of attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Choice([u32; WORDS]);

/// What was asked for and came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Values {
    kind: Option<u32>,
    size: Option<u64>,
    file_system: Option<(u64, u64)>,
    number: Option<u64>,
    links: Option<u32>,
    /// Most bytes of a read.
    pub max_read: Option<u64>,
    /// Most bytes of a write.
    pub max_write: Option<u64>,
    free: Option<u64>,
    total: Option<u64>,
    modified: Option<(u64, u32)>,
}

impl Choice {
    /// What [`Values::attributes`] needs.
    pub fn of_file() -> Self {
        Choice::of(&[TYPE, SIZE, FSID, FILEID, NUMLINKS, TIME_MODIFY])
    }

    /// What [`Values::space`] needs.
    pub fn of_space() -> Self {
        Choice::of(&[SPACE_FREE, SPACE_TOTAL])
    }

    /// The sizes of transfers.
    pub fn of_transfers() -> Self {
        Choice::of(&[MAXREAD, MAXWRITE])
    }

    /// Only whether it is a directory.
    pub fn of_kind() -> Self {
        Choice::of(&[TYPE])
    }

    /// Nothing.
    pub fn nothing() -> Self {
        Choice::default()
    }

    fn of(numbers: &[u32]) -> Self {
        let mut words = [0; WORDS];
        for number in numbers {
            words[*number as usize / 32] |= 1 << (number % 32);
        }
        Choice(words)
    }

    fn has(self, number: u32) -> bool {
        self.0[number as usize / 32] & 1 << (number % 32) != 0
    }

    /// `bitmap4`.
    pub fn write(self, writer: &mut Writer) {
        writer.u32(WORDS as u32);
        for word in self.0 {
            writer.u32(word);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let count = reader.u32()? as usize;
        if count > MAX_WORDS {
            return Err(Malformed("a bit map is too long"));
        }
        let mut words = [0; WORDS];
        for index in 0..count {
            let word = reader.u32()?;
            match words.get_mut(index) {
                Some(place) => *place = word,
                None if word == 0 => {}
                None => return Err(Malformed("there are attributes that were not asked for")),
            }
        }
        Ok(Choice(words))
    }
}

/// `fattr4` with a length.
pub fn write_size(writer: &mut Writer, size: u64) {
    Choice::of(&[SIZE]).write(writer);
    writer.u32(8).u64(size);
}

/// `fattr4` with permissions.
pub fn write_mode(writer: &mut Writer, mode: u32) {
    Choice::of(&[MODE]).write(writer);
    writer.u32(4).u32(mode);
}

/// Skips a bit map.
pub fn skip_choice(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    let count = reader.u32()? as usize;
    if count > MAX_WORDS {
        return Err(Malformed("a bit map is too long"));
    }
    reader.take(count * 4).map(|_| ())
}

impl Values {
    /// Reads `fattr4`.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let there = Choice::read(reader)?;
        let mut values = Values::default();
        let reader = &mut Reader::new(reader.opaque(MAX_VALUES)?);
        let known = [
            TYPE,
            SIZE,
            FSID,
            FILEID,
            MAXREAD,
            MAXWRITE,
            NUMLINKS,
            SPACE_FREE,
            SPACE_TOTAL,
            TIME_MODIFY,
        ];
        for number in (0..WORDS as u32 * 32).filter(|number| there.has(*number)) {
            if !known.contains(&number) {
                return Err(Malformed("there are attributes that were not asked for"));
            }
            match number {
                TYPE => values.kind = Some(reader.u32()?),
                SIZE => values.size = Some(reader.u64()?),
                FSID => values.file_system = Some((reader.u64()?, reader.u64()?)),
                FILEID => values.number = Some(reader.u64()?),
                MAXREAD => values.max_read = Some(reader.u64()?),
                MAXWRITE => values.max_write = Some(reader.u64()?),
                NUMLINKS => values.links = Some(reader.u32()?),
                SPACE_FREE => values.free = Some(reader.u64()?),
                SPACE_TOTAL => values.total = Some(reader.u64()?),
                _ => values.modified = Some((reader.u64()?, reader.u32()?)),
            }
        }
        Ok(values)
    }

    /// True for a directory.
    pub fn is_directory(&self) -> bool {
        self.kind == Some(2)
    }

    /// What is known of a file.
    pub fn attributes(&self) -> Result<Attributes, Malformed> {
        const INCOMPLETE: Malformed = Malformed("it lacks attributes that were asked for");
        let kind = match self.kind.ok_or(INCOMPLETE)? {
            1 => FileKind::Regular,
            2 => FileKind::Directory,
            _ => FileKind::Other,
        };
        let (major, minor) = self.file_system.ok_or(INCOMPLETE)?;
        let file_system = major ^ minor.rotate_left(32);
        let number = self.number.ok_or(INCOMPLETE)?;
        let (seconds, nanoseconds) = self.modified.ok_or(INCOMPLETE)?;
        Ok(Attributes {
            kind,
            size: self.size.ok_or(INCOMPLETE)?,
            links: self.links.unwrap_or(1),
            id: FileId(u128::from(file_system) << 64 | u128::from(number)),
            modified: time(seconds.cast_signed(), nanoseconds),
        })
    }

    /// Size and use of the file system.
    pub fn space(&self) -> SrSpace {
        let total = self.total.unwrap_or(0);
        SrSpace {
            physical_size: total,
            physical_utilisation: total.saturating_sub(self.free.unwrap_or(0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_in_the_order_of_their_numbers() {
        let mut inner = Writer::default();
        inner
            .u32(1)
            .u64(4096)
            .u64(7)
            .u64(8)
            .u64(99)
            .u32(2)
            .u64(5)
            .u32(6);
        let mut writer = Writer::default();
        Choice::of_file().write(&mut writer);
        writer.opaque(&inner.into_bytes());
        let bytes = writer.into_bytes();
        let attributes = Values::read(&mut Reader::new(&bytes)).unwrap();
        let attributes = attributes.attributes().unwrap();
        assert_eq!(attributes.kind, FileKind::Regular);
        assert_eq!((attributes.size, attributes.links), (4096, 2));
        for length in 0..bytes.len() {
            assert!(Values::read(&mut Reader::new(&bytes[..length])).is_err());
        }
    }

    #[test]
    fn refuses_what_was_not_asked_for() {
        let mut writer = Writer::default();
        writer.u32(1).u32(1 << 6).opaque(&[0; 4]);
        assert!(Values::read(&mut Reader::new(&writer.into_bytes())).is_err());
        assert!(Values::default().attributes().is_err());
    }
}
