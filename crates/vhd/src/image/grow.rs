//! Making an image larger.

use crate::SECTOR_SIZE;
use crate::bat::{self, ENTRY_SIZE, MAX_BLOCKS, UNALLOCATED, table_bytes};
use crate::batmap::{self, BatmapHeader, map_sectors};
use crate::error::{Defect, Error, Part, Result, Rule};
use crate::footer::{FOOTER_SIZE, Footer};
use crate::header::{HEADER_OFFSET, HEADER_SIZE, Header};
use crate::image::found::{Batmap, Headers, Tables};
use crate::image::hidden::write_footers;
use crate::image::journal::{self, Kind, Saved};
use crate::image::writable::{repair, write_batmap};
use crate::layout::{BITMAP_SIZE, place_block, place_block_on_volume};
use crate::size::{Geometry, MAX_VIRTUAL_SIZE, round_virtual_size};
use crate::storage::{self, Storage};
use crate::volume;

/// Makes an image larger and returns its new virtual size, rounded up as [`round_virtual_size`] does. What is added reads
/// as what the parents have there, else as zeros. The old size is no error, and nothing is done.
///
/// The image must not be open for writing. Where the tables have to grow, blocks in their way move to the end of the file,
/// so it must not be open in any chain either; [`grows_in_place`] tells beforehand. The caller gives the journal a name
/// by which it finds it after a crash, and then calls [`crate::image::revert`] before anything else. After success the
/// journal is of no use; after an error as well as after a crash it decides.
///
/// # Errors
/// `OutOfRange` for a smaller or an impossible size, `Unsupported` when the journal is that of an earlier resize that was
/// interrupted; as [`crate::image::FoundImage::check`]. `Io`: [`crate::image::revert`] gives the old image.
///
/// # Durability
/// The new size is on stable storage at return. First the image is repaired as by
/// [`crate::image::CheckedImage::into_writable`]. Where the new entries fit the BAT's sectors, the journal is not used, and
/// in this order, each followed by a flush:
///
/// 1. Entries and batmap bits behind the last block are cleared, if any was set. Crash: they mean nothing yet.
/// 2. The header's first sector with the number of entries, if it changes. Crash: the image has a reserve.
/// 3. The copy of the footer, then the footer. Crash: the footer at the end counts.
///
/// Else:
///
/// 1. The journal gets all that will be overwritten, is flushed, and then counts. Crash: the image is the old one.
/// 2. Both footers are marked as being resized, and flushed. Crash: the image opens as the old one or not at all, and
///    [`crate::image::revert`] gives the old one; so from here on until 5.
/// 3. The file grows; blocks move to its end in the order of their places, and zeros are put where they were; locators,
///    BAT, batmap and header are written; all is flushed.
/// 4. The new footers are written and flushed. Crash: the image opens as the new one, or is reverted to the old.
/// 5. The journal's header says that it has no entries, and is flushed. Crash: as after 4, or the new image stays.
///
/// A fixed image has the same steps with its one footer and no tables. `tests/crash_grow.rs` cuts all three everywhere.
///
/// On a volume the footer stays in the last sector. Images that were made on volumes have tables that always suffice;
/// where those of another one have to grow, the volume needs room for the blocks that move, and is grown before step 1 if
/// it has none.
pub fn grow(storage: &dyn Storage, journal: &dyn Storage, virtual_size: u64) -> Result<u64> {
    journal::require_unused(journal)?;
    let headers = Headers::read(storage)?;
    let old_size = headers.footer.current_size;
    let size = match virtual_size == old_size {
        true => old_size,
        false => round_virtual_size(virtual_size)?,
    };
    if size < old_size {
        return Err(Error::Limit {
            what: "new virtual size in bytes",
            found: virtual_size,
            minimum: old_size,
            maximum: MAX_VIRTUAL_SIZE,
        });
    }
    if size == old_size {
        return Ok(size);
    }
    let mut tables = Tables::read(storage, &headers)?;
    let end = repair(storage, &headers, &mut tables)?;
    let mut footer = headers.footer.clone();
    footer.current_size = size;
    footer.geometry = Geometry::of_size(size);
    let Some(header) = headers.header.clone() else {
        grow_fixed(storage, journal, &headers, &footer)?;
        return Ok(size);
    };
    if u64::from(header.entry_count) > MAX_BLOCKS {
        return Err(Error::Unsupported {
            what: "number of entries in the BAT",
            found: header.entry_count.into(),
        });
    }
    let growth = Growth {
        header,
        old_footer: headers.footer.clone(),
        footer,
        tables,
        end,
        is_volume: headers.is_volume,
    };
    if growth.fits_tables() {
        growth.edit_tables(storage)?;
        // The repair may have changed which footers there are.
        write_footers(storage, &Headers::read(storage)?, &growth.footer)?;
    } else {
        growth.move_tables(storage, journal)?;
    }
    Ok(size)
}

/// Tells whether [`grow`] to a size would leave every block in its place, and the journal unused.
///
/// # Errors
/// As [`crate::image::FoundImage::check`].
pub fn grows_in_place(storage: &dyn Storage, virtual_size: u64) -> Result<bool> {
    let headers = Headers::read(storage)?;
    let Some(header) = &headers.header else {
        return Ok(virtual_size <= headers.footer.current_size);
    };
    let tables = Tables::read(storage, &headers)?;
    let block_count = virtual_size.div_ceil(header.block_size.into());
    Ok(fits(header, &headers.footer, &tables, block_count))
}

fn fits(header: &Header, footer: &Footer, tables: &Tables, block_count: u64) -> bool {
    let room = table_bytes(header.entry_count) / ENTRY_SIZE;
    let map_fits = match &tables.batmap {
        None => !footer.expects_batmap(),
        Some(batmap) => map_sectors(block_count) <= batmap.header.map_sectors.into(),
    };
    block_count <= room && map_fits
}

fn grow_fixed(
    storage: &dyn Storage,
    journal: &dyn Storage,
    headers: &Headers,
    footer: &Footer,
) -> Result<()> {
    let (end, new_end) = (headers.footer.current_size, footer.current_size);
    let placed = headers.primary.as_ref().map(|primary| primary.offset);
    if placed != Ok(end) {
        return Err(Error::Corrupt(Defect {
            part: Part::PrimaryFooter,
            rule: Rule::FileSize,
            found: headers.length,
            expected: end + FOOTER_SIZE as u64,
        }));
    }
    let saved = [Saved {
        kind: Kind::PrimaryFooter,
        offset: end,
        length: FOOTER_SIZE as u64,
    }];
    if headers.length < end + FOOTER_SIZE as u64 {
        // An old Virtual PC's footer is a byte short.
        storage::set_length(storage, end + FOOTER_SIZE as u64)?;
    }
    journal::write(journal, storage, footer.uuid, end, &saved)?;
    storage::set_length(storage, new_end + FOOTER_SIZE as u64)?;
    storage::write_zeroes(storage, end, FOOTER_SIZE as u64)?;
    storage::flush(storage)?;
    storage::write(storage, &footer.to_bytes(), new_end)?;
    storage::flush(storage)?;
    journal::finish(journal, footer.uuid, end)
}

/// A larger size for an image of which everything that is kept lies before `end`.
struct Growth {
    header: Header,
    old_footer: Footer,
    footer: Footer,
    tables: Tables,
    end: u64,
    is_volume: bool,
}

/// Where everything goes when the tables do not fit their place.
struct NewPlaces {
    header: Header,
    entries: Vec<u32>,
    batmap: Option<Batmap>,
    /// Old and new offset of each locator's data that moves.
    locators: Vec<(u64, u64, u64)>,
    /// Old and new offset of each block that moves.
    blocks: Vec<(u64, u64)>,
    metadata_end: u64,
    end: u64,
}

impl Growth {
    fn block_count(&self) -> u64 {
        self.footer
            .current_size
            .div_ceil(self.header.block_size.into())
    }

    /// Entries of the BAT as it is to be: those that were kept in reserve stay.
    fn entry_count(&self) -> u32 {
        self.header.entry_count.max(self.block_count() as u32)
    }

    fn fits_tables(&self) -> bool {
        let (header, footer) = (&self.header, &self.footer);
        fits(header, footer, &self.tables, self.block_count())
    }

    /// Makes the tables fit the new size where they are.
    fn edit_tables(&self, storage: &dyn Storage) -> Result<()> {
        let used = self.tables.entries.len() as u64 * ENTRY_SIZE;
        let all = u64::from(self.entry_count()) * ENTRY_SIZE;
        let mut found = vec![0; (all - used) as usize];
        let mut changed = false;
        storage::read(storage, &mut found, self.header.table_offset + used)?;
        if bat::parse(&found).any(|entry| entry != UNALLOCATED) {
            found.fill(0xff);
            storage::write(storage, &found, self.header.table_offset + used)?;
            changed = true;
        }
        if let Some(batmap) = &self.tables.batmap {
            let mut batmap = batmap.clone();
            let mut bits = vec![0; (map_sectors(self.block_count()) * SECTOR_SIZE) as usize];
            storage::read(storage, &mut bits, batmap.header.map_offset)?;
            batmap.bits = self.clear_bits(batmap.bits, bits.len());
            if batmap.bits != bits {
                write_batmap(storage, &mut batmap)?;
                changed = true;
            }
        }
        if changed {
            storage::flush(storage)?;
        }
        if self.entry_count() != self.header.entry_count {
            let mut header = self.header.clone();
            header.entry_count = self.entry_count();
            let first_sector = &header.to_bytes()[..SECTOR_SIZE as usize];
            storage::write(storage, first_sector, HEADER_OFFSET)?;
            storage::flush(storage)?;
        }
        Ok(())
    }

    /// The bits of the old blocks, and clear ones up to `length` bytes.
    fn clear_bits(&self, mut bits: Vec<u8>, length: usize) -> Vec<u8> {
        let old_count = self.tables.entries.len();
        bits.truncate(old_count.div_ceil(8));
        if let Some(last) = bits.last_mut().filter(|_| !old_count.is_multiple_of(8)) {
            *last &= 0xffu8 << (8 - old_count % 8);
        }
        bits.resize(length, 0);
        bits
    }

    /// Moves what is in the way of larger tables, under the protection of the journal.
    fn move_tables(&self, storage: &dyn Storage, journal: &dyn Storage) -> Result<()> {
        let mut new = self.new_places()?;
        let (footer_offset, new_footer_offset) = self.footer_offsets(storage, &new)?;
        // 1.
        let uuid = self.footer.uuid;
        let saved = self.saved(&new, footer_offset);
        journal::write(journal, storage, uuid, footer_offset, &saved)?;
        // 2.
        let resizing = self.old_footer.to_resizing_bytes();
        storage::write(storage, &resizing, 0)?;
        storage::write(storage, &resizing, footer_offset)?;
        storage::flush(storage)?;
        // 3.
        if !self.is_volume {
            storage::set_length(storage, new.end + FOOTER_SIZE as u64)?;
        }
        self.move_blocks(storage, &new)?;
        let locators: Result<Vec<_>> = new
            .locators
            .iter()
            .map(|(from, to, length)| {
                let mut data = vec![0; *length as usize];
                storage::read(storage, &mut data, *from)?;
                Ok((*to, data))
            })
            .collect();
        for (to, data) in locators? {
            storage::write(storage, &data, to)?;
        }
        let mut table = bat::to_bytes(&new.entries);
        table.resize(table_bytes(new.header.entry_count) as usize, 0);
        storage::write(storage, &table, new.header.table_offset)?;
        if let Some(batmap) = &mut new.batmap {
            write_batmap(storage, batmap)?;
        }
        storage::write(storage, &new.header.to_bytes(), HEADER_OFFSET)?;
        storage::flush(storage)?;
        // 4.
        storage::write(storage, &self.footer.to_bytes(), new_footer_offset)?;
        storage::write(storage, &self.footer.to_bytes(), 0)?;
        storage::flush(storage)?;
        // 5.
        journal::finish(journal, uuid, footer_offset)
    }

    /// Where the footer lies, and where it is to lie; a volume is grown first if there is no room, with its footer.
    fn footer_offsets(&self, storage: &dyn Storage, new: &NewPlaces) -> Result<(u64, u64)> {
        if !self.is_volume {
            return Ok((self.end, new.end));
        }
        let old_length = storage::length(storage)?;
        let length = storage::fit_length(storage, new.end + FOOTER_SIZE as u64)?;
        let offset = volume::footer_offset(length);
        if length != old_length {
            storage::write(storage, &self.old_footer.to_bytes(), offset)?;
            storage::flush(storage)?;
        }
        Ok((offset, offset))
    }

    fn place_block(&self, end: u64) -> u64 {
        match self.is_volume {
            true => place_block_on_volume(end),
            false => place_block(end),
        }
    }

    fn new_places(&self) -> Result<NewPlaces> {
        let mut header = self.header.clone();
        header.entry_count = self.entry_count();
        let table_end = header.table_offset + table_bytes(header.entry_count);
        let batmap = self.new_batmap(table_end);
        let mut metadata_end = batmap
            .as_ref()
            .map_or(table_end, |batmap| batmap.header.end());
        let mut locators = Vec::new();
        for locator in header.locators.iter_mut().filter(|one| !one.is_empty()) {
            // What lies behind the blocks is not in the way, and what lies nowhere is left alone.
            let in_way = locator.data_offset < metadata_end && locator.end() <= self.end;
            if in_way {
                let (from, length) = (locator.data_offset, locator.space_bytes());
                locators.push((from, metadata_end, length));
                locator.data_offset = metadata_end;
                metadata_end += length.next_multiple_of(SECTOR_SIZE);
            }
        }
        let mut entries = self.tables.entries.clone();
        entries.resize(header.entry_count as usize, UNALLOCATED);
        let mut order: Vec<usize> = (0..self.tables.entries.len())
            .filter(|block| u64::from(entries[*block]) * SECTOR_SIZE < metadata_end)
            .collect();
        order.sort_unstable_by_key(|block| entries[*block]);
        let mut end = self.end.max(metadata_end);
        let mut blocks = Vec::with_capacity(order.len());
        for block in order {
            let (from, to) = (
                u64::from(entries[block]) * SECTOR_SIZE,
                self.place_block(end),
            );
            end = to + BITMAP_SIZE + u64::from(header.block_size);
            entries[block] = u32::try_from(to / SECTOR_SIZE).map_err(|_| Error::Limit {
                what: "end of the image file",
                found: end,
                minimum: 0,
                maximum: u64::from(u32::MAX) * SECTOR_SIZE,
            })?;
            blocks.push((from, to));
        }
        Ok(NewPlaces {
            header,
            entries,
            batmap,
            locators,
            blocks,
            metadata_end,
            end,
        })
    }

    fn new_batmap(&self, header_offset: u64) -> Option<Batmap> {
        let sectors = map_sectors(self.entry_count().into());
        let map_offset = header_offset + batmap::HEADER_SIZE as u64;
        let (mut header, bits) = match &self.tables.batmap {
            Some(batmap) => (batmap.header.clone(), batmap.bits.clone()),
            None if self.footer.expects_batmap() => (BatmapHeader::new(map_offset, 0), Vec::new()),
            None => return None,
        };
        header.map_offset = map_offset;
        header.map_sectors = sectors as u32;
        let bits = self.clear_bits(bits, (sectors * SECTOR_SIZE) as usize);
        Some(Batmap {
            header,
            header_offset,
            bits,
            damaged: false,
        })
    }

    /// All that will be overwritten, in the order of XenServer's journals.
    fn saved(&self, new: &NewPlaces, footer_offset: u64) -> Vec<Saved> {
        let one = |kind, offset, length| Saved {
            kind,
            offset,
            length,
        };
        let old = &self.header;
        let mut saved = vec![
            one(Kind::PrimaryFooter, footer_offset, FOOTER_SIZE as u64),
            one(Kind::BackupFooter, 0, FOOTER_SIZE as u64),
            one(Kind::Header, HEADER_OFFSET, HEADER_SIZE as u64),
        ];
        let locators = old.locators.iter().filter(|locator| !locator.is_empty());
        for locator in locators.filter(|locator| locator.end() <= self.end) {
            let length = locator.space_bytes().next_multiple_of(SECTOR_SIZE);
            saved.push(one(Kind::Locator, locator.data_offset, length));
        }
        let table = table_bytes(old.entry_count);
        saved.push(one(Kind::Bat, old.table_offset, table));
        if let Some(batmap) = &self.tables.batmap {
            let header_size = batmap::HEADER_SIZE as u64;
            saved.push(one(Kind::BatmapHeader, batmap.header_offset, header_size));
            let length = u64::from(batmap.header.map_sectors) * SECTOR_SIZE;
            saved.push(one(Kind::Batmap, batmap.header.map_offset, length));
        }
        let block_size = u64::from(old.block_size);
        let mut blocks = Vec::new();
        for (from, _) in &new.blocks {
            blocks.push(one(Kind::Block, *from, BITMAP_SIZE));
            blocks.push(one(Kind::Block, from + BITMAP_SIZE, block_size));
        }
        // Padding means nothing, but is given back as it was.
        let mut known: Vec<_> = saved
            .iter()
            .chain(&blocks)
            .map(|saved| (saved.offset, saved.offset + saved.length))
            .collect();
        known.sort_unstable();
        let mut at = old.table_offset;
        let overwritten = new.metadata_end.min(self.end);
        for (start, end) in known {
            if start.min(overwritten) > at {
                blocks.push(one(Kind::Block, at, start.min(overwritten) - at));
            }
            at = at.max(end);
        }
        saved.extend(blocks);
        saved
    }

    fn move_blocks(&self, storage: &dyn Storage, new: &NewPlaces) -> Result<()> {
        let span = BITMAP_SIZE + u64::from(self.header.block_size);
        let mut buffer = vec![0; span as usize];
        for (from, to) in &new.blocks {
            storage::read(storage, &mut buffer, *from)?;
            storage::write(storage, &buffer, *to)?;
        }
        // What no block has on a volume may hold anything.
        if self.is_volume {
            return Ok(());
        }
        for (from, _) in &new.blocks {
            let start = (*from).max(new.metadata_end);
            let length = (from + span).saturating_sub(start);
            if length > 0 {
                storage::clear(storage, start, length)?;
            }
        }
        // The sector of the old footer is padding now, unless the tables cover it.
        if new.end != self.end && self.end >= new.metadata_end {
            storage::write_zeroes(storage, self.end, FOOTER_SIZE as u64)?;
        }
        Ok(())
    }
}
