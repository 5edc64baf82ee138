//! Giving a differencing image another parent.

use crate::SECTOR_SIZE;
use crate::bat::UNALLOCATED;
use crate::error::{Defect, Error, Part, Result, Rule};
use crate::footer::{FOOTER_SIZE, ImageType};
use crate::header::{HEADER_OFFSET, HEADER_SIZE, Header};
use crate::image::create::{NewParent, parent_path};
use crate::image::found::{Headers, Tables, metadata_end, read_batmap_header, read_table};
use crate::layout::BITMAP_SIZE;
use crate::locator::{LOCATOR_COUNT, Locator, MAX_DATA_LENGTH};
use crate::storage::{self, Storage};
use crate::volume;

/// Bytes of the header in its first sector, where the parent's uuid, timestamp and short name lie.
const FIRST_SECTOR: usize = SECTOR_SIZE as usize;
/// UTF-16 units of a parent's name that lie in the header's first sector, the closing zero included.
const MAX_NAME_UNITS: usize = 224;
/// Places that are tried for the data of a locator that needs more space, a sector apart.
const PLACES_TRIED: u64 = 256;

/// A locator's entry and data as they are to be.
struct NewLocator {
    slot: usize,
    entry: Locator,
    data: Vec<u8>,
}

/// Makes `parent` the parent of a differencing image; a nil uuid makes it a raw one.
///
/// Every locator of a known platform is given the new path; others are left as found, and none is added. The caller
/// sees to it that the new parent holds what the old one showed. Chains that have the image open go on with the parents
/// that they have. While one has it open for writing, the new path must not be longer than the old one, since a longer one
/// may have to be put where the chain puts its next block.
///
/// # Errors
/// `Unsupported` for an image without a parent; `OutOfRange` for a name of 224 or more UTF-16 units or a path that is
/// too long, which is one of more than 4096 bytes as UTF-16, or one that the locator has no space for in an image so long that
/// no place behind its end keeps the sum of bytes; `Corrupt` when a locator's data lie over other structures; as [`crate::image::FoundImage::read`]. After `Io` the image is as a crash would leave it.
///
/// # Durability
/// On stable storage at return. A header is two sectors, which a crash may tear apart, and its checksum is the sum of its
/// bytes. So the second sector, which has the locator table, is written only when a path does not fit the length that
/// its locator has, and then with entries whose bytes have the old sum: a shorter path is followed by zeros, a longer
/// one gets a length with the same sum of bytes. In this order, each followed by a flush:
///
/// 1. The locators' data, in place where the space suffices, else behind the end of the image, which then gets a footer
///    behind them (a volume: in its last sector, if it had to grow). Crash: [`crate::image::ParentLink`] has the old uuid and name, and each path in `paths` may be the
///    old or the new one. [`crate::Chain::open`] refuses such an image (`ParentChanged`) when its resolver goes by
///    path; doing the same call again mends it, and who looks for children of either parent finds them by
///    [`crate::image::ParentLink::names`].
/// 2. The header's second sector, if a locator's entry changed. Crash: as after 1; both headers are valid.
/// 3. The header's first sector: uuid, timestamp, name, checksum. Crash: old or new.
///
/// `tests/crash_edit.rs` cuts it everywhere.
pub fn reparent(storage: &dyn Storage, parent: &NewParent) -> Result<()> {
    let headers = Headers::read(storage)?;
    let header = headers
        .header
        .as_ref()
        .filter(|_| headers.footer.image_type == ImageType::Differencing);
    let Some(old) = header else {
        return Err(Error::Unsupported {
            what: "giving a parent to an image that was made without one",
            found: headers.footer.data_offset,
        });
    };
    let mut new = old.clone();
    let path = parent_path(parent)?;
    set_short_name(&mut new, parent)?;
    new.parent_uuid = parent.uuid;
    new.parent_timestamp = parent.timestamp;
    require_free_places(storage, &headers, old)?;
    let free = match headers.is_volume {
        true => Tables::read(storage, &headers)?.data_end(&headers),
        false => headers.length.next_multiple_of(SECTOR_SIZE),
    };
    let locators = new_locators(&headers, old, &path, free)?;
    for locator in &locators {
        new.locators[locator.slot] = locator.entry;
    }

    // 1.
    let end = locators.iter().map(|locator| locator.entry.end()).max();
    let end = end.filter(|end| *end > headers.content_limit());
    if let Some(end) = end {
        storage::fit_length(storage, end + FOOTER_SIZE as u64)?;
    }
    let mut written = false;
    for NewLocator { entry, data, .. } in &locators {
        written |= write_if_changed(storage, data, entry.data_offset)?;
    }
    if let Some(end) = end {
        let offset = match headers.is_volume {
            true => volume::footer_offset(storage::length(storage)?),
            false => end,
        };
        storage::write(storage, &headers.footer.to_bytes(), offset)?;
        written = true;
    }
    if written {
        storage::flush(storage)?;
    }
    // 2. and 3.
    let (old, new) = (old.to_bytes(), new.to_bytes());
    if old[FIRST_SECTOR..] != new[FIRST_SECTOR..] {
        let offset = HEADER_OFFSET + SECTOR_SIZE;
        storage::write(storage, &new[FIRST_SECTOR..HEADER_SIZE], offset)?;
        storage::flush(storage)?;
    }
    if old[..FIRST_SECTOR] != new[..FIRST_SECTOR] {
        storage::write(storage, &new[..FIRST_SECTOR], HEADER_OFFSET)?;
        storage::flush(storage)?;
    }
    Ok(())
}

/// Sets the parent's name, and leaves the part of the field alone that lies in the second sector.
fn set_short_name(header: &mut Header, parent: &NewParent) -> Result<()> {
    let old = header.parent_name;
    let name = parent.path.rsplit('/').next().unwrap_or_default();
    let units = name.encode_utf16().count();
    if units == 0 || units >= MAX_NAME_UNITS || !header.set_parent_name(name) {
        return Err(Error::Limit {
            what: "length of the parent's name",
            found: units as u64,
            minimum: 1,
            maximum: MAX_NAME_UNITS as u64 - 1,
        });
    }
    header.parent_name[MAX_NAME_UNITS * 2..].copy_from_slice(&old[MAX_NAME_UNITS * 2..]);
    Ok(())
}

/// Refuses an image in which writing a locator's data would hit something else.
fn require_free_places(storage: &dyn Storage, headers: &Headers, old: &Header) -> Result<()> {
    let block_count = headers.footer.current_size.div_ceil(old.block_size.into());
    let entries = read_table(storage, old, block_count, headers.length)?;
    let batmap = read_batmap_header(storage, &headers.footer, old, headers.length)?;
    let batmap = batmap.and_then(|found| found.ok().map(|(batmap, _)| batmap));
    let tables = [(0, metadata_end(old, batmap.as_ref()))];
    let span = BITMAP_SIZE + u64::from(old.block_size);
    let blocks = entries
        .iter()
        .filter(|sector| **sector != UNALLOCATED)
        .map(|sector| u64::from(*sector) * SECTOR_SIZE)
        .map(|start| (start, start + span));
    let locators = || {
        (0u8..)
            .zip(&old.locators)
            .filter(|(_, locator)| locator.platform().is_some())
    };
    for (start, end) in tables.into_iter().chain(blocks) {
        let hit =
            locators().find(|(_, locator)| locator.data_offset < end && start < locator.end());
        if let Some((slot, locator)) = hit {
            return Err(Error::Corrupt(Defect {
                part: Part::Locator(slot),
                rule: Rule::LocatorOffset,
                found: locator.data_offset,
                expected: end,
            }));
        }
    }
    Ok(())
}

/// The locators that name the parent by a path that can be read, with the new path; what needs another place goes to `free`.
fn new_locators(
    headers: &Headers,
    old: &Header,
    path: &str,
    mut free: u64,
) -> Result<Vec<NewLocator>> {
    let mut locators = Vec::with_capacity(LOCATOR_COUNT);
    for (slot, locator) in old.locators.iter().enumerate() {
        let Some(platform) = locator.platform() else {
            continue;
        };
        let mut data = platform.encode(path);
        let in_file = locator.end() <= headers.content_limit();
        let in_place = in_file.then(|| with_length(locator, data.len())).flatten();
        let entry = match in_place {
            Some(entry) => entry,
            None => {
                let entry = moved(locator, data.len(), free)?;
                free = entry.end();
                entry
            }
        };
        data.resize(entry.data_length as usize, 0);
        locators.push(NewLocator { slot, entry, data });
    }
    Ok(locators)
}

/// The entry in its place with room for `needed` bytes and the same sum of bytes; `None` when it does not fit.
fn with_length(locator: &Locator, needed: usize) -> Option<Locator> {
    let longest = locator.space_bytes().min(MAX_DATA_LENGTH.into()) as u32;
    let wanted = byte_sum(&locator.data_length.to_be_bytes());
    let data_length = std::iter::once(locator.data_length)
        .chain(needed as u32..=longest)
        .find(|length| {
            *length >= needed as u32
                && *length <= longest
                && byte_sum(&length.to_be_bytes()) == wanted
        })?;
    Some(Locator {
        data_length,
        ..*locator
    })
}

/// The entry with its data at or behind `free`, and the same sum of bytes.
fn moved(locator: &Locator, needed: usize, free: u64) -> Result<Locator> {
    let wanted = byte_sum(&locator.to_bytes());
    let space = MAX_DATA_LENGTH;
    let places = (0..PLACES_TRIED).map(|step| free + step * SECTOR_SIZE);
    let entries = places.flat_map(|data_offset| {
        (needed as u32..=space).map(move |data_length| Locator {
            data_space: space,
            data_length,
            data_offset,
            ..*locator
        })
    });
    let mut fitting = entries.filter(|entry| byte_sum(&entry.to_bytes()) == wanted);
    fitting.next().ok_or(Error::Limit {
        what: "length of the parent's path in bytes",
        found: needed as u64,
        minimum: 1,
        maximum: locator.space_bytes(),
    })
}

fn byte_sum(bytes: &[u8]) -> u32 {
    bytes.iter().map(|byte| u32::from(*byte)).sum()
}

fn write_if_changed(storage: &dyn Storage, data: &[u8], offset: u64) -> Result<bool> {
    let mut found = vec![0; data.len()];
    if storage::read(storage, &mut found, offset).is_ok() && found == data {
        return Ok(false);
    }
    storage::write(storage, data, offset)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::locator::Platform;

    fn locator() -> Locator {
        Locator {
            code: Platform::MacX.code(),
            data_space: 512,
            data_length: 49,
            reserved: 0,
            data_offset: 3072,
        }
    }

    #[test]
    fn a_longer_path_gets_a_length_of_the_same_sum() {
        assert_eq!(with_length(&locator(), 30), Some(locator()));
        assert_eq!(with_length(&locator(), 49), Some(locator()));
        let longer = with_length(&locator(), 50).unwrap();
        assert_eq!(longer.data_length, 49 + 255);
        assert_eq!(with_length(&locator(), 305), None);
    }

    #[test]
    fn a_path_without_room_moves_and_keeps_the_sum() {
        for needed in [305, 900, 4096] {
            let entry = moved(&locator(), needed, 0x10_1e00).unwrap();
            assert_eq!(
                byte_sum(&entry.to_bytes()),
                byte_sum(&locator().to_bytes()),
                "{needed}"
            );
            assert!(entry.data_length as usize >= needed && entry.data_offset >= 0x10_1e00);
        }
    }
}
