//! What the leaf has of its own, for merging it into its parent.

use crate::SECTOR_SIZE;
use crate::chain::access::Chain;
use crate::error::Result;

impl Chain {
    pub(crate) fn block_size(&self) -> u64 {
        self.block_size
    }

    /// Size of the leaf's blocks, bytes behind the end of the disk left out.
    pub(crate) fn leaf_bytes(&self) -> u64 {
        let blocks = (0..self.map.len()).filter(|block| self.map.get(*block).is_in_leaf());
        blocks
            .map(|block| {
                self.block_size
                    .min(self.size - u64::from(block) * self.block_size)
            })
            .sum()
    }

    /// The first byte from `offset` on that lies in a block of the leaf.
    pub(crate) fn next_leaf_block(&self, offset: u64) -> Option<u64> {
        let (first, _) = self.locate(offset);
        let block = (first..self.map.len()).find(|block| self.map.get(*block).is_in_leaf())?;
        let start = u64::from(block) * self.block_size;
        Some(offset.max(start)).filter(|offset| *offset < self.size)
    }

    /// True when the leaf has a block that overlaps the range.
    pub(crate) fn has_leaf_block(&self, offset: u64, length: u64) -> bool {
        self.next_leaf_block(offset)
            .is_some_and(|next| next < offset + length)
    }

    /// Where the leaf has the sector at `offset`, if it has it, and for how many bytes, up to `limit` and to the end of the
    /// block, that is so. Both are multiples of a sector.
    pub(crate) fn leaf_run(&self, offset: u64, limit: u64) -> Result<(Option<u64>, u64)> {
        let (block, within) = self.locate(offset);
        let limit = limit.min(self.block_size - within);
        let entry = self.map.get(block);
        if !entry.is_in_leaf() {
            return Ok((None, limit));
        }
        let place = entry.data_offset() + within;
        if entry.is_complete() {
            return Ok((Some(place), limit));
        }
        let first = (within / SECTOR_SIZE) as u32;
        let end = first + (limit / SECTOR_SIZE) as u32;
        let load = || self.load_partial(block);
        let (set, sectors) = self
            .partials
            .look(block, load, |partial| partial.bitmap.run(first, end))?;
        Ok((set.then_some(place), u64::from(sectors) * SECTOR_SIZE))
    }
}
