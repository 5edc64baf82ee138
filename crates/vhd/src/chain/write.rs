//! Writing, and allocating blocks.

use std::sync::atomic::Ordering;
use std::sync::{PoisonError, RwLock};

use crate::SECTOR_SIZE;
use crate::chain::access::Chain;
use crate::chain::flush::{DIRTY_BITMAP_LIMIT, Writer};
use crate::chain::map::Entry;
use crate::chain::partial::Partial;
use crate::error::{Error, Result};
use crate::footer::FOOTER_SIZE;
use crate::layout::{BITMAP_SIZE, place_block, place_block_on_volume};
use crate::storage::{self, ZEROS};

const SECTOR: usize = SECTOR_SIZE as usize;
/// Zeros in place of data give space back from this many bytes on; fewer are written, since a hole costs the file system
/// more than it saves.
const PUNCH_BYTES: u64 = 64 << 10;

/// What is written.
#[derive(Clone, Copy)]
pub(crate) enum Payload<'a> {
    Bytes(&'a [u8]),
    Zeros(u64),
}

impl Payload<'_> {
    pub fn len(&self) -> u64 {
        match self {
            Payload::Bytes(bytes) => bytes.len() as u64,
            Payload::Zeros(length) => *length,
        }
    }

    pub fn part(&self, start: u64, length: u64) -> Self {
        match self {
            Payload::Bytes(bytes) => {
                Payload::Bytes(&bytes[start as usize..(start + length) as usize])
            }
            Payload::Zeros(_) => Payload::Zeros(length),
        }
    }

    fn copy_to(&self, target: &mut [u8]) {
        match self {
            Payload::Bytes(bytes) => target.copy_from_slice(bytes),
            Payload::Zeros(_) => target.copy_from_slice(&ZEROS[..target.len()]),
        }
    }
}

/// Locks that keep a read-modify-write of a sector alone among the writes to its block.
pub(crate) struct BlockLocks([RwLock<()>; 64]);

impl BlockLocks {
    pub fn new() -> Self {
        Self(std::array::from_fn(|_| RwLock::new(())))
    }

    fn of(&self, block: u32) -> &RwLock<()> {
        &self.0[block as usize % self.0.len()]
    }
}

impl Chain {
    /// Writes `data` at `offset`.
    ///
    /// # Errors
    /// `Unsupported` when open read-only, `OutOfRange`, `Io` (a full medium: part of the range may be written),
    /// `Poisoned`.
    ///
    /// # Durability
    /// Nothing before [`Chain::flush`]. Reads see the data at once. When more than [`DIRTY_BITMAP_LIMIT`] bitmaps wait
    /// to be written, the call flushes.
    pub fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        self.write_payload(Payload::Bytes(data), offset)
    }

    pub(crate) fn write_payload(&self, payload: Payload<'_>, offset: u64) -> Result<()> {
        let writer = self.require_writer("write")?;
        self.require_range(offset, payload.len())?;
        let written = match &self.mirror {
            None => self.write_blocks(writer, payload, offset),
            Some(mirror) => mirror.write(self, payload, offset, |payload, offset| {
                self.write_blocks(writer, payload, offset)
            }),
        };
        // Also after an error, for part of it may have been written.
        writer.writes.fetch_add(1, Ordering::Release);
        written?;
        if self.partials.dirty_count() > DIRTY_BITMAP_LIMIT {
            self.flush()?;
        }
        Ok(())
    }

    fn write_blocks(&self, writer: &Writer, payload: Payload<'_>, offset: u64) -> Result<()> {
        let mut done = 0;
        while done < payload.len() {
            let left = payload.len() - done;
            let (block, within) = self.locate(offset + done);
            let entry = self.map.get(block);
            if entry.is_complete() && entry.is_in_leaf() {
                let step = self.contiguous_length(block, within, entry, left);
                self.put(payload.part(done, step), entry.data_offset() + within)?;
                done += step;
            } else {
                let step = left.min(self.block_size - within);
                self.write_partial(writer, block, within, payload.part(done, step))?;
                done += step;
            }
        }
        Ok(())
    }

    /// Writes inside a block that is not complete in the leaf.
    fn write_partial(
        &self,
        writer: &Writer,
        block: u32,
        within: u64,
        payload: Payload<'_>,
    ) -> Result<()> {
        let end = within + payload.len();
        let lock = writer.locks.of(block);
        if within.is_multiple_of(SECTOR_SIZE) && end.is_multiple_of(SECTOR_SIZE) {
            let _shared = lock.read().unwrap_or_else(PoisonError::into_inner);
            return self.write_sectors(writer, block, within, payload);
        }
        let _alone = lock.write().unwrap_or_else(PoisonError::into_inner);
        let mut at = within;
        while at < end {
            let sector_start = at - at % SECTOR_SIZE;
            let whole_end = end - end % SECTOR_SIZE;
            if at == sector_start && whole_end > at {
                self.write_sectors(writer, block, at, payload.part(at - within, whole_end - at))?;
                at = whole_end;
            } else {
                let stop = (sector_start + SECTOR_SIZE).min(end);
                let part = payload.part(at - within, stop - at);
                if let Some(data) = self.data_of_sector(block, sector_start)? {
                    self.put(part, data + at - sector_start)?;
                    at = stop;
                    continue;
                }
                let mut sector = [0; SECTOR];
                self.read_at(
                    &mut sector,
                    u64::from(block) * self.block_size + sector_start,
                )?;
                let range = (at - sector_start) as usize..(stop - sector_start) as usize;
                part.copy_to(&mut sector[range]);
                self.write_sectors(writer, block, sector_start, Payload::Bytes(&sector))?;
                at = stop;
            }
        }
        Ok(())
    }

    /// Where the leaf has a sector, if it has it; `within` is the sector's offset in the block.
    ///
    /// Such a sector is never read and written back: as soon as the block is complete, other writes take no lock and may
    /// change the sector's other bytes meanwhile. A sector that the leaf lacks keeps the block incomplete for as long as
    /// the caller holds the block's lock.
    fn data_of_sector(&self, block: u32, within: u64) -> Result<Option<u64>> {
        let entry = self.map.get(block);
        if !entry.is_in_leaf() {
            return Ok(None);
        }
        let sector = (within / SECTOR_SIZE) as u32;
        let load = || self.load_partial(block);
        let is_set = self
            .partials
            .look(block, load, |partial| partial.bitmap.is_set(sector))?;
        Ok(is_set.then(|| entry.data_offset() + within))
    }

    /// Writes whole sectors inside a block that may not be allocated: the data first, then their bits.
    fn write_sectors(
        &self,
        writer: &Writer,
        block: u32,
        within: u64,
        payload: Payload<'_>,
    ) -> Result<()> {
        let (entry, is_zeroed) = self.allocate(writer, block)?;
        if !(is_zeroed && matches!(payload, Payload::Zeros(_))) {
            self.put(payload, entry.data_offset() + within)?;
        }
        let first = (within / SECTOR_SIZE) as u32;
        let end = first + (payload.len() / SECTOR_SIZE) as u32;
        let load = || self.load_partial(block);
        if self
            .partials
            .look(block, load, |partial| partial.bitmap.all_set(first, end))?
        {
            return Ok(());
        }
        self.partials.change(block, load, |partial| {
            partial.bitmap.set_range(first, end);
            if partial.bitmap.all_set(0, self.sectors_per_block()) {
                self.map.set(block, entry.completed());
                partial.below = Box::new([]);
            }
        })
    }

    fn put(&self, payload: Payload<'_>, offset: u64) -> Result<()> {
        match payload {
            Payload::Bytes(bytes) => storage::write(self.leaf(), bytes, offset),
            Payload::Zeros(length) if length < PUNCH_BYTES => {
                storage::write_zeroes(self.leaf(), offset, length)
            }
            Payload::Zeros(length) => storage::clear(self.leaf(), offset, length),
        }
    }

    /// The leaf's entry of a block, which is allocated if need be, and whether its data are known to be zeros.
    ///
    /// The block's place is known in memory only; [`Chain::flush`] publishes it. In this order:
    ///
    /// 1. The file is grown by the block and a sector for the footer. Crash: the file is longer than its blocks need
    ///    and ends with zeros; the footer's copy serves, and the next writable open cuts the file.
    ///    The whole block lies in what was added, for opening the image cut it behind its last block: so the bitmap is
    ///    zeros, and need not be written.
    ///    On a volume the bitmap is written, all clear: the space may hold what somebody else had there. The data stay as
    ///    found, and are hidden by the bitmap. A volume that is full is asked to grow, and its footer follows. Crash: the copy
    ///    of the footer counts.
    /// 2. The block becomes visible to this chain's readers, with an empty bitmap, so that it still reads as before.
    fn allocate(&self, writer: &Writer, block: u32) -> Result<(Entry, bool)> {
        let entry = self.map.get(block);
        if entry.is_in_leaf() {
            return Ok((entry, false));
        }
        let mut tail = writer.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = self.map.get(block);
        if entry.is_in_leaf() {
            return Ok((entry, false));
        }
        let is_volume = tail.volume_footer.is_some();
        let bitmap_offset = match is_volume {
            true => place_block_on_volume(tail.end),
            false => place_block(tail.end),
        };
        let end = bitmap_offset + BITMAP_SIZE + self.block_size;
        let sector = u32::try_from(bitmap_offset / SECTOR_SIZE)
            .ok()
            .filter(|sector| *sector < u32::MAX - 1);
        let Some(sector) = sector else {
            let maximum = u64::from(u32::MAX) * SECTOR_SIZE;
            return Err(Error::Limit {
                what: "end of the image file",
                found: end,
                minimum: 0,
                maximum,
            });
        };
        let length = storage::fit_length(self.leaf(), end + FOOTER_SIZE as u64)?;
        if let Some(footer) = &mut tail.volume_footer {
            footer.follow(self.leaf(), length)?;
            storage::write_zeroes(self.leaf(), bitmap_offset, BITMAP_SIZE)?;
        }
        self.partials
            .change(block, || self.load_partial(block), |_: &mut Partial| ())?;
        let entry = entry.with_leaf(sector + 1, false);
        self.map.set(block, entry);
        tail.end = end;
        tail.unpublished.push((block, sector));
        Ok((entry, !is_volume))
    }
}
