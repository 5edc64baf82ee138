//! Publishing what was written.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::SECTOR_SIZE;
use crate::bat::{ENTRIES_PER_SECTOR, ENTRY_SIZE};
use crate::batmap;
use crate::chain::access::Chain;
use crate::chain::partial::DirtyBitmap;
use crate::chain::write::BlockLocks;
use crate::error::{Part, Result};
use crate::footer::{FOOTER_SIZE, Footer, ImageType};
use crate::image::{Batmap, CheckedImage, write_batmap};
use crate::layout::BITMAP_SIZE;
use crate::storage::{self, Storage};
use crate::volume;

/// Bitmaps of changed or new blocks that may wait for a flush; a write past it flushes. They take about 2.5 MiB.
pub const DIRTY_BITMAP_LIMIT: usize = 4096;

/// What a chain that is open for writing has beyond one that is not.
pub(crate) struct Writer {
    /// Writes that have returned, failed ones included.
    pub writes: AtomicU64,
    pub locks: BlockLocks,
    pub tail: Mutex<Tail>,
    published: Mutex<Published>,
}

/// The end of the file as it is in memory.
pub(crate) struct Tail {
    /// First byte behind the last block.
    pub end: u64,
    /// The footer of a volume; that of a file lies at the published end.
    pub volume_footer: Option<VolumeFooter>,
    /// Blocks that the BAT on the storage does not have yet, with the sectors of their bitmaps.
    pub unpublished: Vec<(u32, u32)>,
}

/// The footer in the last sector of a volume. It moves when the volume grows for a new block, which may then be put over its
/// old place: so it is written with the tail locked, and by no flush.
pub(crate) struct VolumeFooter {
    offset: u64,
    bytes: [u8; FOOTER_SIZE],
}

impl VolumeFooter {
    /// Puts it where it belongs on a volume of this length; nothing where it lies there already.
    pub fn follow(&mut self, leaf: &dyn Storage, length: u64) -> Result<()> {
        let offset = volume::footer_offset(length);
        if offset != self.offset {
            storage::write(leaf, &self.bytes, offset)?;
            self.offset = offset;
        }
        Ok(())
    }
}

/// What is on the storage; one flush at a time changes it.
struct Published {
    /// The value of `Writer::writes` up to which everything is on stable storage.
    writes: u64,
    /// First byte behind the last block that the BAT has, where the footer of a file lies.
    end: u64,
    table_offset: u64,
    footer: [u8; FOOTER_SIZE],
    batmap: Option<Batmap>,
    /// The batmap was written after the last flush of the storage.
    batmap_is_new: bool,
}

/// What one flush publishes: everything whose data were written before it began.
struct Batch {
    bitmaps: Vec<DirtyBitmap>,
    new_blocks: Vec<(u32, u32)>,
    end: u64,
    is_volume: bool,
}

impl Writer {
    /// A writer for an image that is ready for writing; takes its batmap's header and a copy of its bits.
    pub fn new(image: &CheckedImage, end: u64) -> Self {
        let headers = &image.found.headers;
        let volume_footer = headers.is_volume.then(|| VolumeFooter {
            offset: headers.footer_offset(end),
            bytes: headers.footer.to_bytes(),
        });
        Self {
            writes: AtomicU64::new(0),
            locks: BlockLocks::new(),
            tail: Mutex::new(Tail {
                end,
                volume_footer,
                unpublished: Vec::new(),
            }),
            published: Mutex::new(Published {
                writes: 0,
                end,
                table_offset: image.header().map_or(0, |header| header.table_offset),
                footer: image.footer().to_bytes(),
                batmap: image.tables.batmap.clone(),
                batmap_is_new: false,
            }),
        }
    }
}

/// Poisons a chain when a flush is unwound by a panic: what the flush had in hand is lost, and no later flush would write it.
struct PoisonedByPanic<'a>(&'a Chain);

impl Drop for PoisonedByPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.poison();
        }
    }
}

impl Chain {
    /// Puts every write that has returned on stable storage.
    ///
    /// # Errors
    /// `Io`: the image is poisoned, and every later call fails with `Poisoned` until it is opened again, since what
    /// of the writes is on stable storage is not known. `Poisoned`.
    ///
    /// # Durability
    /// What had been written before the call is on stable storage at return. In this order:
    ///
    /// 1. The set of bitmaps and new blocks to publish is fixed: those whose data were written before. Then the storage
    ///    is flushed, which makes their data and the length of the file durable, and with it the zeros in the bitmaps of new blocks.
    ///    Crash: the file is as the last flush left it, with bytes of unpublished blocks behind; the footer at the end
    ///    may be gone, its copy at offset 0 serves, and the next writable open cuts the file and writes the footer.
    ///    Writes to sectors that were published before may or may not be there, as with any storage.
    ///    A volume keeps its footer, and what no published block has may hold anything.
    /// 2. The bitmaps are written, each a sector; then the BAT's changed sectors; then the footer at the new end.
    ///    Crash: any subset of these is on the storage. A bitmap without its BAT entry is behind the end and is cut off.
    ///    A BAT entry without its bitmap names a block whose bitmap is zeros since 1: it reads as before the write. A
    ///    bitmap that belongs to a published block names sectors whose data are durable since 1. The footer: as after 1.
    /// 3. The storage is flushed. Crash: nothing is left to do.
    /// 4. The batmap is written, with one write of header and bits, and not flushed: it is a shortcut that nobody was
    ///    promised. It comes after 3, since whoever finds a block's bit writes to the block without looking at its bitmap,
    ///    which must therefore be complete. Crash: a batmap that is torn has a wrong checksum, is ignored, and the next
    ///    writable open writes it anew, all clear.
    pub fn flush(&self) -> Result<()> {
        self.flush_leaf()?;
        match &self.mirror {
            None => Ok(()),
            Some(mirror) => mirror.flush(),
        }
    }

    fn flush_leaf(&self) -> Result<()> {
        self.usable()?;
        let Some(writer) = &self.writer else {
            return Ok(());
        };
        let wanted = writer.writes.load(Ordering::Acquire);
        let mut published = writer
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.usable()?;
        // Another thread's flush that began after our writes has done it.
        if published.writes >= wanted {
            return Ok(());
        }
        let covered = writer.writes.load(Ordering::Acquire);
        let _unwinding = PoisonedByPanic(self);
        match self.publish(writer, &mut published) {
            Ok(()) => {
                published.writes = covered;
                Ok(())
            }
            Err(error) => {
                self.poison();
                Err(error)
            }
        }
    }

    /// Sets or clears the hidden mark of the leaf while it is open for writing.
    ///
    /// Write order: a flush; the copy of the footer at the start, flushed; the footer at the end, flushed. Crash in
    /// between: the footers differ in the mark, and the one at the end, which is the older, counts until the next writable
    /// open makes them equal. On a volume the copy counts.
    ///
    /// # Errors
    /// As [`Chain::flush`].
    pub(crate) fn set_hidden(&self, hidden: bool) -> Result<()> {
        self.flush()?;
        let writer = self.require_writer("mark")?;
        let mut published = writer
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut footer = Footer::parse(&published.footer, Part::PrimaryFooter)?;
        footer.hidden = hidden.into();
        published.footer = footer.to_bytes();
        let mut tail = writer.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let end = match &mut tail.volume_footer {
            Some(footer) => {
                footer.bytes = published.footer;
                footer.offset
            }
            None => published.end,
        };
        let write = || -> Result<()> {
            if footer.image_type != ImageType::Fixed {
                storage::write(self.leaf(), &published.footer, 0)?;
                storage::flush(self.leaf())?;
            }
            storage::write(self.leaf(), &published.footer, end)?;
            storage::flush(self.leaf())
        };
        write().inspect_err(|_| self.poison())
    }

    fn publish(&self, writer: &Writer, published: &mut Published) -> Result<()> {
        let batch = {
            let mut tail = writer.tail.lock().unwrap_or_else(PoisonError::into_inner);
            let bitmaps = self.partials.take_dirty();
            Batch {
                bitmaps,
                new_blocks: std::mem::take(&mut tail.unpublished),
                end: tail.end,
                is_volume: tail.volume_footer.is_some(),
            }
        };
        // 1.
        storage::flush(self.leaf())?;
        published.batmap_is_new = false;
        if batch.bitmaps.is_empty() && batch.new_blocks.is_empty() {
            return Ok(());
        }
        // 2.
        for DirtyBitmap { block, bitmap } in &batch.bitmaps {
            let offset = self.map.get(*block).data_offset() - BITMAP_SIZE;
            storage::write(self.leaf(), &bitmap.to_bytes(), offset)?;
        }
        self.write_table(published.table_offset, batch.new_blocks)?;
        if batch.end != published.end && !batch.is_volume {
            storage::write(self.leaf(), &published.footer, batch.end)?;
            // The sector of the old footer is padding now, and zeros as tapdisk leaves it.
            storage::write_zeroes(self.leaf(), published.end, FOOTER_SIZE as u64)?;
        }
        // 3.
        storage::flush(self.leaf())?;
        published.end = batch.end;
        self.partials.written(&batch.bitmaps);
        // 4.
        if let Some(batmap) = &mut published.batmap {
            published.batmap_is_new = self.write_full_blocks(batmap, &batch.bitmaps)?;
        }
        Ok(())
    }

    /// Flushes, and leaves the leaf as it is to be found by whoever opens it next: the batmap is on stable storage too.
    pub(crate) fn settle(&self) -> Result<()> {
        self.flush()?;
        let Some(writer) = &self.writer else {
            return Ok(());
        };
        let mut published = writer
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut published.batmap_is_new) {
            storage::flush(self.leaf()).inspect_err(|_| self.poison())?;
        }
        Ok(())
    }

    /// Marks the blocks whose bitmaps have every bit set; tells whether the batmap was written.
    fn write_full_blocks(&self, batmap: &mut Batmap, bitmaps: &[DirtyBitmap]) -> Result<bool> {
        let sectors = self.sectors_per_block();
        let mut changed = false;
        for dirty in bitmaps
            .iter()
            .filter(|dirty| dirty.bitmap.all_set(0, sectors))
        {
            changed |= batmap::set_full(&mut batmap.bits, dirty.block);
        }
        if changed {
            write_batmap(self.leaf(), batmap)?;
        }
        Ok(changed)
    }

    /// Writes the entries of new blocks, sector by sector; the other entries of a sector stay as they are.
    fn write_table(&self, table_offset: u64, mut new_blocks: Vec<(u32, u32)>) -> Result<()> {
        new_blocks.sort_unstable();
        for group in
            new_blocks.chunk_by(|a, b| a.0 / ENTRIES_PER_SECTOR == b.0 / ENTRIES_PER_SECTOR)
        {
            let offset = table_offset + u64::from(group[0].0 / ENTRIES_PER_SECTOR) * SECTOR_SIZE;
            let mut sector = [0; SECTOR_SIZE as usize];
            storage::read(self.leaf(), &mut sector, offset)?;
            for (block, bitmap_sector) in group {
                let at = (block % ENTRIES_PER_SECTOR) as usize * ENTRY_SIZE as usize;
                sector[at..at + ENTRY_SIZE as usize].copy_from_slice(&bitmap_sector.to_be_bytes());
            }
            storage::write(self.leaf(), &sector, offset)?;
        }
        Ok(())
    }
}
