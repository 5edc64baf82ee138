//! The undo journal of a resize, as `vhd-util resize -j` writes it and `vhd-util revert -j` reads it.
//!
//! Layout: `docs/formats/vhd.md`. A journal counts from the moment in which its header, one sector, says how many
//! entries it has; it does not count any more when the header says none.

use uuid::Uuid;

use crate::SECTOR_SIZE;
use crate::big_endian::{array, put, u32_at, u64_at};
use crate::error::{Defect, Error, Part, Result, Rule};
use crate::footer::{FOOTER_SIZE, ImageType};
use crate::image::found::Headers;
use crate::storage::{self, Storage};

const HEADER_SIZE: usize = 512;
const COOKIE: &[u8; 8] = b"vjournal";
const UUID_AT: usize = 8;
const FOOTER_OFFSET_AT: usize = 24;
const DATA_COUNT_AT: usize = 32;
const METADATA_COUNT_AT: usize = 36;
const DATA_OFFSET_AT: usize = 40;
const METADATA_OFFSET_AT: usize = 48;
/// The only field that is little-endian: `vhd-util` does not convert it.
const END_AT: usize = 56;

const ENTRY_SIZE: usize = 32;
const ENTRY_COOKIE: u64 = 0xaaaa_1234_4321_aaaa;
const TYPE_AT: usize = 8;
const SIZE_AT: usize = 12;
const OFFSET_AT: usize = 16;
const CHECKSUM_AT: usize = 24;

/// The most bytes of one entry: a BAT of the largest image takes 16 MiB.
const MAX_ENTRY_BYTES: u32 = 32 << 20;
/// The most entries of one journal; `vhd-util` writes two for each block that it moves.
const MAX_ENTRIES: u32 = 1 << 16;

/// What an entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    PrimaryFooter = 1,
    BackupFooter = 2,
    Header = 3,
    Locator = 4,
    Bat = 5,
    BatmapHeader = 6,
    Batmap = 7,
    Block = 8,
}

/// A range of the image as it was; the journal has its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Saved {
    pub kind: Kind,
    pub offset: u64,
    pub length: u64,
}

/// The journal's header.
struct JournalHeader {
    uuid: Uuid,
    footer_offset: u64,
    data_count: u32,
    metadata_count: u32,
    metadata_offset: u64,
    data_offset: u64,
    end: u64,
}

impl JournalHeader {
    fn to_bytes(&self) -> [u8; HEADER_SIZE] {
        let mut bytes = [0; HEADER_SIZE];
        put(&mut bytes, 0, COOKIE);
        put(&mut bytes, UUID_AT, self.uuid.as_bytes());
        put(
            &mut bytes,
            FOOTER_OFFSET_AT,
            &self.footer_offset.to_be_bytes(),
        );
        put(&mut bytes, DATA_COUNT_AT, &self.data_count.to_be_bytes());
        put(
            &mut bytes,
            METADATA_COUNT_AT,
            &self.metadata_count.to_be_bytes(),
        );
        put(&mut bytes, DATA_OFFSET_AT, &self.data_offset.to_be_bytes());
        put(
            &mut bytes,
            METADATA_OFFSET_AT,
            &self.metadata_offset.to_be_bytes(),
        );
        put(&mut bytes, END_AT, &self.end.to_le_bytes());
        bytes
    }

    /// `None` when there is no journal, or one that does not count.
    fn read(journal: &dyn Storage) -> Result<Option<Self>> {
        if storage::length(journal)? < HEADER_SIZE as u64 {
            return Ok(None);
        }
        let mut bytes = [0; HEADER_SIZE];
        storage::read(journal, &mut bytes, 0)?;
        if &bytes[..8] != COOKIE {
            return Ok(None);
        }
        let header = Self {
            uuid: Uuid::from_bytes(array(&bytes, UUID_AT)),
            footer_offset: u64_at(&bytes, FOOTER_OFFSET_AT),
            data_count: u32_at(&bytes, DATA_COUNT_AT),
            metadata_count: u32_at(&bytes, METADATA_COUNT_AT),
            metadata_offset: u64_at(&bytes, METADATA_OFFSET_AT),
            data_offset: u64_at(&bytes, DATA_OFFSET_AT),
            end: u64::from_le_bytes(array(&bytes, END_AT)),
        };
        if header.data_count == 0 && header.metadata_count == 0 {
            return Ok(None);
        }
        for (found, limit) in [
            (header.data_count.into(), MAX_ENTRIES.into()),
            (header.metadata_count.into(), MAX_ENTRIES.into()),
            (header.footer_offset, u64::MAX >> 1),
        ] {
            if found > limit {
                return Err(broken(Rule::FileSize, found, limit));
            }
        }
        Ok(Some(header))
    }
}

fn broken(rule: Rule, found: u64, expected: u64) -> Error {
    Error::Corrupt(Defect {
        part: Part::Journal,
        rule,
        found,
        expected,
    })
}

/// Sum of all bytes, complemented; `header` has zeros for its checksum.
fn entry_checksum(header: &[u8; ENTRY_SIZE], payload: &[u8]) -> u32 {
    let sum = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0u32, |sum, byte| sum.wrapping_add(u32::from(*byte)))
    };
    !sum(header).wrapping_add(sum(payload))
}

/// Puts the bytes of `saved` and the way back to them on stable storage; metadata come before blocks. The journal is one
/// that [`require_unused`] has let pass.
///
/// # Durability
/// 1. The entries are written and flushed. Crash: there is no journal.
/// 2. The header is written and flushed. Crash: there is one, or none.
pub(crate) fn write(
    journal: &dyn Storage,
    image: &dyn Storage,
    uuid: Uuid,
    footer_offset: u64,
    saved: &[Saved],
) -> Result<()> {
    if let Some(long) = saved
        .iter()
        .find(|saved| saved.length > MAX_ENTRY_BYTES.into())
    {
        return Err(Error::Unsupported {
            what: "length of a table or locator that has to be journaled",
            found: long.length,
        });
    }
    let entries = saved.iter().map(|saved| ENTRY_SIZE as u64 + saved.length);
    let length = HEADER_SIZE as u64 + entries.sum::<u64>();
    if !journal.is_volume() {
        storage::set_length(journal, 0)?;
    }
    storage::fit_length(journal, length)?;
    let mut at = HEADER_SIZE as u64;
    let mut header = JournalHeader {
        uuid,
        footer_offset,
        data_count: 0,
        metadata_count: 0,
        metadata_offset: at,
        data_offset: 0,
        end: 0,
    };
    debug_assert!(saved.is_sorted_by_key(|saved| saved.kind == Kind::Block));
    for Saved {
        kind,
        offset,
        length,
    } in saved
    {
        let mut bytes = vec![0; ENTRY_SIZE + *length as usize];
        storage::read(image, &mut bytes[ENTRY_SIZE..], *offset)?;
        let mut entry = [0; ENTRY_SIZE];
        put(&mut entry, 0, &ENTRY_COOKIE.to_be_bytes());
        put(&mut entry, TYPE_AT, &(*kind as u32).to_be_bytes());
        put(&mut entry, SIZE_AT, &(*length as u32).to_be_bytes());
        put(&mut entry, OFFSET_AT, &offset.to_be_bytes());
        let checksum = entry_checksum(&entry, &bytes[ENTRY_SIZE..]);
        put(&mut entry, CHECKSUM_AT, &checksum.to_be_bytes());
        bytes[..ENTRY_SIZE].copy_from_slice(&entry);
        storage::write(journal, &bytes, at)?;
        if *kind == Kind::Block {
            header.data_count += 1;
        } else {
            header.metadata_count += 1;
        }
        at += bytes.len() as u64;
        if *kind != Kind::Block {
            header.data_offset = at;
        }
    }
    header.end = at;
    storage::flush(journal)?;
    storage::write(journal, &header.to_bytes(), 0)?;
    storage::flush(journal)
}

/// Makes the journal one that does not count: the resize is finished, or undone.
///
/// # Durability
/// The header, one sector, is written and flushed; then the rest of a file is cut off.
pub(crate) fn finish(journal: &dyn Storage, uuid: Uuid, footer_offset: u64) -> Result<()> {
    let header = JournalHeader {
        uuid,
        footer_offset,
        data_count: 0,
        metadata_count: 0,
        metadata_offset: 0,
        data_offset: 0,
        end: HEADER_SIZE as u64,
    };
    storage::write(journal, &header.to_bytes(), 0)?;
    storage::flush(journal)?;
    if journal.is_volume() {
        return Ok(());
    }
    storage::set_length(journal, HEADER_SIZE as u64)
}

/// Tells whether a file is a journal, or one that was not yet written to the end: its header is written last.
///
/// # Errors
/// `Io`.
pub fn is_journal(journal: &dyn Storage) -> Result<bool> {
    let length = storage::length(journal)?.min(HEADER_SIZE as u64);
    let mut bytes = vec![0; length as usize];
    storage::read(journal, &mut bytes, 0)?;
    Ok(bytes.starts_with(COOKIE) || bytes.iter().all(|byte| *byte == 0))
}

/// Refuses a journal that still has to be used.
pub(crate) fn require_unused(journal: &dyn Storage) -> Result<()> {
    let Some(header) = JournalHeader::read(journal)? else {
        return Ok(());
    };
    Err(Error::Unsupported {
        what: "a resize whose journal holds an earlier one that was interrupted: revert it first; entries",
        found: u64::from(header.data_count) + u64::from(header.metadata_count),
    })
}

/// Undoes a resize that was interrupted; tells whether there was one. The journal is empty afterwards.
///
/// Journals of `vhd-util` are read as well as our own. Nothing else may have the image open. A journal that is a volume has
/// been cleared (its first sector) before the resize began, or what it held before may look like one.
///
/// # Errors
/// `Corrupt` when the journal is damaged or does not fit the image; nothing is written then. `Io`: call it again.
///
/// # Durability
/// In this order:
///
/// 1. The whole journal is read and its checksums are compared.
/// 2. The file gets its old length (a volume has it, or is longer and keeps its length); blocks, tables, locators and header are written, and flushed. Crash: the footers are
///    still marked as being resized, or the file is as before; the journal counts, so the next call does it all again.
/// 3. The footers are written and flushed. Crash: as after 2, which writes the same bytes once more.
/// 4. The journal's header is written to say that it has no entries, and flushed, so that a later call cannot undo writes
///    that came after. Crash: as after 3.
///
/// `tests/crash_grow.rs` cuts it everywhere.
pub fn revert(storage: &dyn Storage, journal: &dyn Storage) -> Result<bool> {
    let Some(header) = JournalHeader::read(journal)? else {
        return Ok(false);
    };
    // 1.
    let limit = header.footer_offset + FOOTER_SIZE as u64;
    let metadata = read_entries(journal, HEADER_SIZE as u64, header.metadata_count, limit)?;
    let blocks = read_entries(journal, header.data_offset, header.data_count, limit)?;
    require_same_image(storage, &header)?;
    // 2.
    storage::fit_length(storage, limit)?;
    let is_footer = |kind: u32| kind <= Kind::BackupFooter as u32;
    let (footers, tables): (Vec<_>, Vec<_>) = metadata
        .into_iter()
        .partition(|entry| is_footer(entry.kind));
    for entry in blocks.iter().chain(&tables) {
        entry.restore(journal, storage)?;
    }
    storage::flush(storage)?;
    // 3.
    for entry in &footers {
        entry.restore(journal, storage)?;
    }
    storage::flush(storage)?;
    // 4.
    finish(journal, header.uuid, header.footer_offset)?;
    Ok(true)
}

/// An entry that was checked.
struct FoundEntry {
    kind: u32,
    /// Where it goes in the image.
    offset: u64,
    /// Where its bytes are in the journal.
    at: u64,
    length: u64,
}

impl FoundEntry {
    fn restore(&self, journal: &dyn Storage, image: &dyn Storage) -> Result<()> {
        let mut bytes = vec![0; self.length as usize];
        storage::read(journal, &mut bytes, self.at)?;
        storage::write(image, &bytes, self.offset)
    }
}

/// Reads `count` entries from `at` on, whose bytes must lie before `limit` in the image.
fn read_entries(
    journal: &dyn Storage,
    mut at: u64,
    count: u32,
    limit: u64,
) -> Result<Vec<FoundEntry>> {
    let mut entries = Vec::new();
    for _ in 0..count {
        let mut entry = [0; ENTRY_SIZE];
        storage::read(journal, &mut entry, at)?;
        let (cookie, size) = (u64_at(&entry, 0), u32_at(&entry, SIZE_AT));
        if cookie != ENTRY_COOKIE {
            return Err(broken(Rule::Cookie, cookie, ENTRY_COOKIE));
        }
        if size == 0 || size > MAX_ENTRY_BYTES || !size.is_multiple_of(SECTOR_SIZE as u32) {
            return Err(broken(Rule::FileSize, size.into(), MAX_ENTRY_BYTES.into()));
        }
        let offset = u64_at(&entry, OFFSET_AT);
        let end = offset.checked_add(size.into());
        if end.is_none_or(|end| end > limit) {
            return Err(broken(Rule::DataOffset, offset, limit));
        }
        let mut payload = vec![0; size as usize];
        storage::read(journal, &mut payload, at + ENTRY_SIZE as u64)?;
        let found = u32_at(&entry, CHECKSUM_AT);
        put(&mut entry, CHECKSUM_AT, &[0; 4]);
        let expected = entry_checksum(&entry, &payload);
        if found != expected {
            return Err(broken(Rule::Checksum, found.into(), expected.into()));
        }
        entries.push(FoundEntry {
            kind: u32_at(&entry, TYPE_AT),
            offset,
            at: at + ENTRY_SIZE as u64,
            length: size.into(),
        });
        at += ENTRY_SIZE as u64 + u64::from(size);
    }
    Ok(entries)
}

/// Refuses the journal of another image. The copy of the footer has the uuid also while it is marked as being resized; a
/// fixed image, which has none, may have lost its footer.
fn require_same_image(storage: &dyn Storage, header: &JournalHeader) -> Result<()> {
    const UUID_IN_FOOTER: usize = 68;
    let other = |found: Uuid| {
        let (found, expected) = (found.as_u64_pair().0, header.uuid.as_u64_pair().0);
        Err(broken(Rule::JournalUuid, found, expected))
    };
    let mut bytes = [0; FOOTER_SIZE];
    storage::read(storage, &mut bytes, 0)?;
    if [crate::footer::COOKIE, crate::footer::RESIZING_COOKIE].contains(&&array(&bytes, 0)) {
        let found = Uuid::from_bytes(array(&bytes, UUID_IN_FOOTER));
        // At the start of a fixed image are a tenant's bytes.
        let is_fixed = Headers::read(storage)
            .is_ok_and(|headers| headers.footer.image_type == ImageType::Fixed);
        if found != header.uuid && !is_fixed {
            return other(found);
        }
        return Ok(());
    }
    match Headers::read(storage) {
        Ok(headers) if headers.footer.uuid != header.uuid => other(headers.footer.uuid),
        _ => Ok(()),
    }
}
