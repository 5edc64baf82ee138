//! A bounded cache of what is known of blocks that are not complete in one image.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

use crate::bitmap::SectorBitmap;
use crate::error::Result;

/// Bytes that the cached bitmaps of a chain may take. Bitmaps that are not yet written are kept beyond it, up to
/// [`crate::chain::DIRTY_BITMAP_LIMIT`] of them.
pub const PARTIAL_CACHE_BYTES: usize = 6 << 20;

const SHARDS: usize = 64;

/// A run of sectors that one parent, or none, holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BelowRun {
    /// First sector in the block; the run ends where the next one starts.
    pub start: u16,
    /// Index of the image, `None` for zeros.
    pub layer: Option<u8>,
    /// First data sector of the block in that image.
    pub data_sector: u32,
}

/// A block whose sectors come from more than one place.
pub(crate) struct Partial {
    /// The leaf's bitmap; empty when the leaf does not have the block.
    pub bitmap: SectorBitmap,
    /// What the parents have, sorted; empty when there is nothing but zeros.
    pub below: Box<[BelowRun]>,
    dirty: bool,
    /// A flush has a copy that it has not yet written.
    writing: bool,
    used: AtomicBool,
}

impl Partial {
    pub fn new(bitmap: SectorBitmap, below: Box<[BelowRun]>) -> Self {
        Self {
            bitmap,
            below,
            dirty: false,
            writing: false,
            used: AtomicBool::new(true),
        }
    }

    fn bytes(&self) -> usize {
        // The entry, its slots in the hash table and the queue, and the allocator's own.
        size_of::<Self>() + size_of_val(&*self.below) + 64
    }
}

/// A bitmap that a flush is to write.
pub(crate) struct DirtyBitmap {
    pub block: u32,
    pub bitmap: SectorBitmap,
}

/// The cache, in shards so that threads seldom meet.
pub(crate) struct Partials {
    shards: Box<[RwLock<Shard>]>,
    dirty_count: AtomicUsize,
}

#[derive(Default)]
struct Shard {
    blocks: HashMap<u32, Box<Partial>, BuildHasherDefault<BlockHasher>>,
    /// Every cached block once, for the second-chance search for a victim.
    queue: VecDeque<u32>,
    dirty: Vec<u32>,
    bytes: usize,
}

impl Partials {
    pub fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            dirty_count: AtomicUsize::new(0),
        }
    }

    fn shard(&self, block: u32) -> &RwLock<Shard> {
        &self.shards[block as usize % SHARDS]
    }

    /// Looks at a block, loading it first if it is not cached.
    ///
    /// Loading happens under the shard's lock, so that a bitmap read from the storage cannot replace a newer one.
    pub fn look<R>(
        &self,
        block: u32,
        load: impl FnOnce() -> Result<Partial>,
        look: impl FnOnce(&Partial) -> R,
    ) -> Result<R> {
        {
            let shard = self
                .shard(block)
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            if let Some(partial) = shard.blocks.get(&block) {
                // A store only when needed keeps the line shared between readers.
                if !partial.used.load(Ordering::Relaxed) {
                    partial.used.store(true, Ordering::Relaxed);
                }
                return Ok(look(partial));
            }
        }
        let mut shard = self
            .shard(block)
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        Ok(look(shard.get_or_load(block, load)?))
    }

    /// Changes a block, loading it first if it is not cached, and marks it as to be written.
    pub fn change<R>(
        &self,
        block: u32,
        load: impl FnOnce() -> Result<Partial>,
        change: impl FnOnce(&mut Partial) -> R,
    ) -> Result<R> {
        let mut shard = self
            .shard(block)
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let partial = shard.get_or_load(block, load)?;
        let was_dirty = std::mem::replace(&mut partial.dirty, true);
        let before = partial.bytes();
        let result = change(partial);
        let after = partial.bytes();
        shard.bytes = shard.bytes + after - before;
        if !was_dirty {
            shard.dirty.push(block);
            self.dirty_count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(result)
    }

    /// Number of bitmaps that are to be written.
    pub fn dirty_count(&self) -> usize {
        self.dirty_count.load(Ordering::Relaxed)
    }

    /// Copies every bitmap that is to be written; they stay cached until [`Partials::written`].
    pub fn take_dirty(&self) -> Vec<DirtyBitmap> {
        let mut copies = Vec::with_capacity(self.dirty_count());
        for shard in &self.shards {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            for block in std::mem::take(&mut shard.dirty) {
                let partial = shard
                    .blocks
                    .get_mut(&block)
                    .expect("a dirty bitmap is never evicted");
                partial.dirty = false;
                partial.writing = true;
                copies.push(DirtyBitmap {
                    block,
                    bitmap: partial.bitmap,
                });
            }
        }
        self.dirty_count.fetch_sub(copies.len(), Ordering::Relaxed);
        copies
    }

    /// Allows bitmaps that were written to be evicted.
    pub fn written(&self, copies: &[DirtyBitmap]) {
        for copy in copies {
            let mut shard = self
                .shard(copy.block)
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            if let Some(partial) = shard.blocks.get_mut(&copy.block) {
                partial.writing = false;
            }
        }
    }
}

impl Shard {
    fn get_or_load(
        &mut self,
        block: u32,
        load: impl FnOnce() -> Result<Partial>,
    ) -> Result<&mut Partial> {
        if !self.blocks.contains_key(&block) {
            let partial = load()?;
            self.make_room(partial.bytes());
            self.bytes += partial.bytes();
            self.queue.push_back(block);
            self.blocks.insert(block, Box::new(partial));
        }
        Ok(self
            .blocks
            .get_mut(&block)
            .expect("just looked up or inserted"))
    }

    /// Drops blocks that were not used since the last search, until `bytes` fit or only unwritten ones are left.
    fn make_room(&mut self, bytes: usize) {
        let mut tries = self.queue.len() * 2;
        while self.bytes + bytes > PARTIAL_CACHE_BYTES / SHARDS && tries > 0 {
            tries -= 1;
            let Some(block) = self.queue.pop_front() else {
                return;
            };
            let partial = &self.blocks[&block];
            if partial.dirty || partial.writing || partial.used.swap(false, Ordering::Relaxed) {
                self.queue.push_back(block);
            } else {
                self.bytes -= partial.bytes();
                self.blocks.remove(&block);
            }
        }
    }
}

/// Block numbers need no strong hash: they are the owner's own.
#[derive(Default)]
pub(crate) struct BlockHasher(u64);

impl Hasher for BlockHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        // Multiplication by the golden ratio spreads neighbours over the table's high bits.
        self.0 = (self.0 ^ u64::from(value)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load() -> Result<Partial> {
        Ok(Partial::new(SectorBitmap::EMPTY, Box::new([])))
    }

    #[test]
    fn clean_blocks_are_evicted_and_unwritten_ones_kept() {
        let partials = Partials::new();
        let capacity = PARTIAL_CACHE_BYTES / load().unwrap().bytes();
        partials
            .change(7, load, |partial| partial.bitmap.set_range(3, 4))
            .unwrap();
        for block in 8..capacity as u32 * 3 {
            partials.look(block, load, |_| ()).unwrap();
        }
        let cached: usize = partials
            .shards
            .iter()
            .map(|shard| shard.read().unwrap().blocks.len())
            .sum();
        assert!(cached <= capacity, "{cached} of {capacity}");
        let loaded = || -> Result<Partial> { panic!("a dirty block was evicted") };
        assert!(
            partials
                .look(7, loaded, |partial| partial.bitmap.is_set(3))
                .unwrap()
        );

        let copies = partials.take_dirty();
        assert_eq!((copies.len(), partials.dirty_count()), (1, 0));
        partials
            .change(7, load, |partial| partial.bitmap.set_range(4, 5))
            .unwrap();
        partials.written(&copies);
        assert_eq!(
            partials.take_dirty().len(),
            1,
            "a change during the flush is not lost"
        );
    }
}
