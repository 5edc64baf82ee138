//! The volume as a whole.
//!
//! Layout, in sectors of 512 bytes that are padded with spaces: 0 the header `XSSM:<bytes in use>:1:2`; 1 the SR's uuid and
//! allocation; 2 its name; 3 its description; from 4 on two sectors for each VDI. There is no checksum and no second copy.
//! An older header is binary: `XSSM`, the bytes in use (u32, little endian), and two u16; one XML document follows it.

use uuid::Uuid;

use super::record::VdiRecord;
use super::text::{element, element_at, escape_within, push_element, push_escaped_element};

/// Bytes of a sector, which is written as a whole.
pub const SECTOR: usize = 512;
/// Bytes of the volume.
pub const MGT_LENGTH: usize = 4 << 20;
/// Bytes before the first VDI.
const SR_LENGTH: usize = 4 * SECTOR;
/// Bytes of one VDI.
const RECORD_LENGTH: usize = 2 * SECTOR;
/// Most VDIs that the volume has room for.
pub const MAX_RECORDS: usize = (MGT_LENGTH - SR_LENGTH) / RECORD_LENGTH;

const MAGIC: &[u8] = b"XSSM";
const XML_HEADER: &str = "<?xml version=\"1.0\" ?>";
const BINARY_HEADER_LENGTH: usize = 12;
/// A header of a later format would mean something else.
const MAJOR: u32 = 1;

/// How much of its size a new volume takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Allocation {
    /// All of it.
    #[default]
    Thick,
    /// What it holds, and all of it while it is attached for writing.
    Thin,
}

impl Allocation {
    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "thick" => Some(Allocation::Thick),
            "thin" => Some(Allocation::Thin),
            _ => None,
        }
    }

    /// The word.
    pub fn text(self) -> &'static str {
        match self {
            Allocation::Thick => "thick",
            Allocation::Thin => "thin",
        }
    }
}

/// What the volume says of the SR.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SrRecord {
    /// The SR.
    pub uuid: Uuid,
    /// Thick or thin.
    pub allocation: Allocation,
    /// Its name.
    pub name_label: String,
    /// Its description.
    pub name_description: String,
}

/// What the volume holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Management {
    /// The SR.
    pub sr: SrRecord,
    slots: Vec<Slot>,
}

/// A place for a VDI.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Slot {
    /// When it was deleted, what was said of it, so that deleting changes one sector.
    record: VdiRecord,
    is_deleted: bool,
}

impl Slot {
    fn used(record: VdiRecord) -> Self {
        let is_deleted = false;
        Slot { record, is_deleted }
    }

    fn is_of(&self, vdi: Uuid) -> bool {
        !self.is_deleted && self.record.uuid == vdi
    }

    /// A record that cannot be read gives its place up.
    fn parse(xml: &str) -> Self {
        let found = VdiRecord::parse(xml);
        let (record, is_deleted) = found.unwrap_or_else(|| (VdiRecord::unreadable(), true));
        Slot { record, is_deleted }
    }
}

/// Why the volume cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// It does not begin as it must.
    #[error("the volume MGT begins with {found:?} instead of XSSM")]
    Magic {
        /// What it begins with.
        found: String,
    },
    /// A later format.
    #[error("the volume MGT has format {found}; this program knows {MAJOR}")]
    Version {
        /// The number.
        found: String,
    },
    /// The number of bytes in use is not possible.
    #[error("the volume MGT says that {found:?} bytes of it are in use; it has {available}")]
    Length {
        /// What it says.
        found: String,
        /// Bytes that it has.
        available: usize,
    },
    /// There is no room for another VDI.
    #[error(
        "the volume MGT has {MAX_RECORDS} VDIs and no room for more; delete VDIs that nobody needs"
    )]
    Full,
}

impl Management {
    /// A volume without VDIs.
    pub fn new(sr: SrRecord) -> Self {
        let slots = Vec::new();
        Management { sr, slots }
    }

    /// Reads the volume, or as much of it as is in use. A record that cannot be read is left out.
    pub fn parse(bytes: &[u8]) -> Result<Self, Defect> {
        if !bytes.starts_with(MAGIC) {
            let head = &bytes[..bytes.len().min(MAGIC.len())];
            let found = String::from_utf8_lossy(head).into_owned();
            return Err(Defect::Magic { found });
        }
        if bytes.get(MAGIC.len()) != Some(&b':') {
            return Self::parse_binary(bytes);
        }
        let header = sector_text(&bytes[..bytes.len().min(SECTOR)]);
        let mut fields = header.trim().split(':').skip(1).map(str::trim);
        let length = fields.next().unwrap_or_default();
        let major = fields.next().unwrap_or_default();
        if major.parse() != Ok(MAJOR) {
            let found = major.to_owned();
            return Err(Defect::Version { found });
        }
        let used = length.parse().unwrap_or(0);
        let body = used_part(bytes, SECTOR, used, length)?;
        let of_sr = sector_text(&body[..body.len().min(SR_LENGTH - SECTOR)]);
        let records = body.get(SR_LENGTH - SECTOR..).unwrap_or_default();
        let slots = records.chunks(RECORD_LENGTH);
        let slots = slots.map(|record| Slot::parse(&sector_text(record)));
        Ok(Management {
            sr: parse_sr(&of_sr),
            slots: slots.collect(),
        })
    }

    fn parse_binary(bytes: &[u8]) -> Result<Self, Defect> {
        let field = |at: usize, length: usize| -> u32 {
            let bytes = bytes.get(at..at + length).unwrap_or_default();
            bytes
                .iter()
                .rev()
                .fold(0, |value, byte| value << 8 | u32::from(*byte))
        };
        let (length, major) = (field(4, 4), field(8, 2));
        if major != MAJOR {
            let found = major.to_string();
            return Err(Defect::Version { found });
        }
        let used = usize::try_from(length).unwrap_or(0);
        let body = used_part(bytes, BINARY_HEADER_LENGTH, used, &length.to_string())?;
        let xml = sector_text(body);
        let mut slots = Vec::new();
        let mut rest = xml.as_str();
        while let Some((record, after)) = element_at(rest, "vdi") {
            if slots.len() == MAX_RECORDS {
                return Err(Defect::Full);
            }
            slots.push(Slot::parse(record));
            rest = after;
        }
        // What is said of the SR stands before the first VDI.
        let of_sr = xml.split("<vdi>").next().unwrap_or_default();
        let sr = parse_sr(of_sr);
        Ok(Management { sr, slots })
    }

    /// The bytes in use, with the newer header.
    pub fn to_bytes(&self) -> Vec<u8> {
        let used = SR_LENGTH + self.slots.len() * RECORD_LENGTH;
        let mut bytes = Vec::with_capacity(used);
        push_sector(&mut bytes, &format!("XSSM:{used:<10}:{MAJOR}:2"));
        let mut of_sr = String::from(XML_HEADER);
        push_element(&mut of_sr, "uuid", &self.sr.uuid.to_string());
        push_element(&mut of_sr, "allocation", self.sr.allocation.text());
        push_sector(&mut bytes, &of_sr);
        for (tag, text) in [
            ("name_label", &self.sr.name_label),
            ("name_description", &self.sr.name_description),
        ] {
            let mut sector = String::new();
            let limit = SECTOR - 2 * tag.len() - 5;
            push_escaped_element(&mut sector, tag, &escape_within(text, limit));
            push_sector(&mut bytes, &sector);
        }
        for slot in &self.slots {
            let (first, second) = slot.record.to_text(slot.is_deleted);
            push_sector(&mut bytes, &first);
            push_sector(&mut bytes, &second);
        }
        bytes
    }

    /// The VDIs, in the order of their places.
    pub fn vdis(&self) -> impl Iterator<Item = &VdiRecord> {
        let used = self.slots.iter().filter(|slot| !slot.is_deleted);
        used.map(|slot| &slot.record)
    }

    /// What is said of one VDI.
    pub fn get(&self, vdi: Uuid) -> Option<&VdiRecord> {
        self.vdis().find(|record| record.uuid == vdi)
    }

    /// Adds a VDI, in the last place that was given up or behind all others, or changes what is said of it.
    ///
    /// # Errors
    /// `Full`, and nothing is changed.
    pub fn put(&mut self, record: VdiRecord) -> Result<(), Defect> {
        let place = self.slots.iter().position(|slot| slot.is_of(record.uuid));
        let place = place.or_else(|| self.slots.iter().rposition(|slot| slot.is_deleted));
        match place {
            Some(place) => self.slots[place] = Slot::used(record),
            None if self.slots.len() < MAX_RECORDS => self.slots.push(Slot::used(record)),
            None => return Err(Defect::Full),
        }
        Ok(())
    }

    /// Removes a VDI; false when it was not there. The places at the end that are free go with it.
    pub fn delete(&mut self, vdi: Uuid) -> bool {
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.is_of(vdi)) else {
            return false;
        };
        slot.is_deleted = true;
        while self.slots.last().is_some_and(|slot| slot.is_deleted) {
            self.slots.pop();
        }
        true
    }

    /// The sectors that differ between two states of the volume, as offsets and bytes, in the order in which they are to be
    /// written: the header comes last and says how many bytes count, so that what is added before is not looked at yet.
    pub fn changed_sectors<'a>(old: &[u8], new: &'a [u8]) -> Vec<(usize, &'a [u8])> {
        let changed = |at: &usize| old.get(*at..*at + SECTOR) != new.get(*at..*at + SECTOR);
        let offsets = (0..new.len()).step_by(SECTOR).filter(changed);
        let mut writes: Vec<_> = offsets.map(|at| (at, &new[at..at + SECTOR])).collect();
        if writes.first().is_some_and(|(at, _)| *at == 0) {
            writes.rotate_left(1);
        }
        writes
    }
}

impl VdiRecord {
    /// What stands in a place whose record could not be read.
    fn unreadable() -> Self {
        VdiRecord {
            uuid: Uuid::nil(),
            name_label: String::new(),
            name_description: String::new(),
            snapshot_of: None,
            snapshot_time: String::new(),
            kind: "user".to_owned(),
            vdi_type: "vhd".to_owned(),
            read_only: false,
            managed: false,
            metadata_of_pool: String::new(),
        }
    }
}

fn parse_sr(xml: &str) -> SrRecord {
    let text = |tag| element(xml, tag).unwrap_or_default();
    SrRecord {
        uuid: Uuid::try_parse(&text("uuid")).unwrap_or_default(),
        allocation: Allocation::parse(&text("allocation")).unwrap_or_default(),
        name_label: text("name_label"),
        name_description: text("name_description"),
    }
}

/// What is in use behind the header.
fn used_part<'a>(
    bytes: &'a [u8],
    header: usize,
    used: usize,
    found: &str,
) -> Result<&'a [u8], Defect> {
    let part = bytes.get(header..used).filter(|_| used <= MGT_LENGTH);
    part.ok_or_else(|| Defect::Length {
        found: found.to_owned(),
        available: bytes.len(),
    })
}

/// Sectors as text, without the zero bytes that some writers pad with.
fn sector_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "")
}

fn push_sector(bytes: &mut Vec<u8>, text: &str) {
    debug_assert!(text.len() <= SECTOR, "every field is bounded");
    let mut sector = [b' '; SECTOR];
    let length = text.len().min(SECTOR);
    sector[..length].copy_from_slice(&text.as_bytes()[..length]);
    bytes.extend_from_slice(&sector);
}

#[cfg(test)]
mod tests;
