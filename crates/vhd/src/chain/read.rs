//! Reading, and finding out where bytes come from.

use crate::SECTOR_SIZE;
use crate::bitmap::SectorBitmap;
use crate::chain::access::Chain;
use crate::chain::map::{Entry, LEAF};
use crate::chain::partial::{BelowRun, Partial};
use crate::error::Result;
use crate::layout::BITMAP_SIZE;
use crate::storage;

/// Where a run of bytes comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// No image has them.
    Zeros,
    /// They lie at `offset` in the image with this index.
    Image { layer: u8, offset: u64 },
}

/// A run of bytes of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub source: Source,
    pub length: u64,
}

/// How long a run of holes is followed, in blocks, before it is reported: 2 GiB.
const HOLE_BLOCKS_LIMIT: u32 = 1024;

impl Chain {
    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// `OutOfRange` past the end, `Io`, `Poisoned`. The buffer's content is then undefined.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.usable()?;
        self.require_range(offset, buffer.len() as u64)?;
        let mut rest = buffer;
        let mut at = offset;
        while !rest.is_empty() {
            let run = self.run_at(at, rest.len() as u64)?;
            let (part, tail) = rest.split_at_mut(run.length as usize);
            match run.source {
                Source::Zeros => part.fill(0),
                Source::Image { layer, offset } => {
                    storage::read(&*self.layers[usize::from(layer)].storage, part, offset)?;
                }
            }
            at += run.length;
            rest = tail;
        }
        Ok(())
    }

    /// The source of the byte at `offset`, and how many bytes from there, up to `limit`, lie side by side in it.
    pub(crate) fn run_at(&self, offset: u64, limit: u64) -> Result<Run> {
        let (block, within) = self.locate(offset);
        let entry = self.map.get(block);
        if entry.is_complete() {
            let source = Source::Image {
                layer: entry.layer(),
                offset: entry.data_offset() + within,
            };
            return Ok(Run {
                source,
                length: self.contiguous_length(block, within, entry, limit),
            });
        }
        if entry.is_hole() {
            return Ok(Run {
                source: Source::Zeros,
                length: self.hole_length(block, within, limit),
            });
        }
        self.partial_run(block, within, limit)
    }

    /// Length of the run that starts in a complete block and goes on in the next ones, if these follow it in the image
    /// (as they do in raw and fixed ones).
    pub(crate) fn contiguous_length(
        &self,
        block: u32,
        within: u64,
        entry: Entry,
        limit: u64,
    ) -> u64 {
        let mut length = self.block_size - within;
        let mut last = entry;
        let mut next = block + 1;
        while length < limit && next < self.map.len() {
            let entry = self.map.get(next);
            let follows = entry.is_complete()
                && entry.layer() == last.layer()
                && entry.data_offset() == last.data_offset() + self.block_size;
            if !follows {
                break;
            }
            length += self.block_size;
            last = entry;
            next += 1;
        }
        length.min(limit)
    }

    fn hole_length(&self, block: u32, within: u64, limit: u64) -> u64 {
        let mut length = self.block_size - within;
        let mut next = block + 1;
        while length < limit
            && next < self.map.len()
            && next - block < HOLE_BLOCKS_LIMIT
            && self.map.get(next).is_hole()
        {
            length += self.block_size;
            next += 1;
        }
        length.min(limit)
    }

    /// The run inside a block whose sectors come from several images.
    fn partial_run(&self, block: u32, within: u64, limit: u64) -> Result<Run> {
        let first = (within / SECTOR_SIZE) as u32;
        let wanted_end = (within + limit)
            .div_ceil(SECTOR_SIZE)
            .min(u64::from(self.sectors_per_block())) as u32;
        let (source, sectors) = self.partials.look(
            block,
            || self.load_partial(block),
            |partial| {
                // The entry is read again under the lock: the leaf may have got the block in the meantime.
                let entry = self.map.get(block);
                let (set, sectors) = partial.bitmap.run(first, wanted_end);
                if set {
                    debug_assert!(entry.is_in_leaf());
                    return (
                        Source::Image {
                            layer: LEAF,
                            offset: entry.data_offset() + within,
                        },
                        sectors,
                    );
                }
                below_run(&partial.below, first, first + sectors, within)
            },
        )?;
        let length = (u64::from(sectors) * SECTOR_SIZE - within % SECTOR_SIZE).min(limit);
        Ok(Run { source, length })
    }

    /// Reads what the cache is to know of a block.
    pub(crate) fn load_partial(&self, block: u32) -> Result<Partial> {
        let entry = self.map.get(block);
        let sectors = self.sectors_per_block();
        let bitmap = if entry.is_in_leaf() {
            self.read_bitmap(LEAF, entry.data_offset())?
        } else {
            SectorBitmap::EMPTY
        };
        if bitmap.all_set(0, sectors) {
            self.map.complete(block, entry);
            return Ok(Partial::new(bitmap, Box::new([])));
        }
        let below = self.below_runs(block, entry)?;
        if let [
            BelowRun {
                layer: Some(layer), ..
            },
        ] = *below
            && !entry.is_in_leaf()
            && layer == entry.layer()
        {
            self.map.complete(block, entry);
        }
        Ok(Partial::new(bitmap, below))
    }

    pub(crate) fn read_bitmap(&self, layer: u8, data_offset: u64) -> Result<SectorBitmap> {
        let mut bytes = [0; BITMAP_SIZE as usize];
        storage::read(
            &*self.layers[usize::from(layer)].storage,
            &mut bytes,
            data_offset - BITMAP_SIZE,
        )?;
        Ok(SectorBitmap::parse(&bytes))
    }

    /// Which parent each sector of a block comes from.
    fn below_runs(&self, block: u32, entry: Entry) -> Result<Box<[BelowRun]>> {
        let sectors = self.sectors_per_block();
        let first_sector = u64::from(block) * u64::from(sectors);
        // The sectors that no image looked at so far has.
        let mut left = SectorBitmap::FULL;
        left.clear_from(sectors);
        let mut found = Vec::new();
        for (index, layer) in self.layers.iter().enumerate().skip(1) {
            if !entry.has(index as u8) {
                continue;
            }
            // Behind the end of an image neither it nor what lies below it has anything.
            let limit = layer.limit_sectors.saturating_sub(first_sector);
            left.clear_from(limit.min(u64::from(sectors)) as u32);
            if left.is_empty() {
                break;
            }
            let data_sector = match index == usize::from(entry.layer()) {
                true => (entry.data_offset() / SECTOR_SIZE) as u32,
                false => layer.data_sector(block, sectors)?,
            };
            let bitmap = if layer.is_linear() {
                SectorBitmap::FULL
            } else {
                self.read_bitmap(index as u8, u64::from(data_sector) * SECTOR_SIZE)?
            };
            let own = left.take(&bitmap);
            found.extend(own.runs().map(|run| (run, index as u8, data_sector)));
        }
        found.sort_unstable_by_key(|((start, _), ..)| *start);
        let zeros = |start: u32| BelowRun {
            start: start as u16,
            layer: None,
            data_sector: 0,
        };
        let mut runs = Vec::with_capacity(found.len() + 1);
        let mut at = 0;
        for ((start, end), layer, data_sector) in found {
            if start > at {
                runs.push(zeros(at));
            }
            runs.push(BelowRun {
                start: start as u16,
                layer: Some(layer),
                data_sector,
            });
            at = end;
        }
        if 0 < at && at < sectors {
            runs.push(zeros(at));
        }
        Ok(runs.into_boxed_slice())
    }
}

/// Where an unset sector of the leaf comes from, and how many from `first` to `end` come from the same image.
fn below_run(below: &[BelowRun], first: u32, end: u32, within: u64) -> (Source, u32) {
    let next = below.partition_point(|run| u32::from(run.start) <= first);
    let end = below.get(next).map_or(end, |run| end.min(run.start.into()));
    let source = match next.checked_sub(1).map(|index| below[index]) {
        Some(BelowRun {
            layer: Some(layer),
            data_sector,
            ..
        }) => Source::Image {
            layer,
            offset: u64::from(data_sector) * SECTOR_SIZE + within,
        },
        _ => Source::Zeros,
    };
    (source, end - first)
}
