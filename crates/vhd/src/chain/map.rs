//! The map from block to image and place, and the parents' own maps below it.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::SECTOR_SIZE;

/// The most images in a chain. XenServer refuses a snapshot at this depth.
pub const MAX_DEPTH: usize = 30;
/// Index of the image that is written.
pub(crate) const LEAF: u8 = 0;

const PRESENT: u64 = 1 << 63;
const COMPLETE: u64 = 1 << 62;
const LAYER_SHIFT: u32 = 32;

/// Where a block is: in the topmost image of the chain that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry(u64);

impl Entry {
    /// No image has the block: it reads as zeros.
    pub const HOLE: Self = Self(0);

    pub fn new(layer: u8, data_sector: u32, complete: bool) -> Self {
        let complete = if complete { COMPLETE } else { 0 };
        Self(PRESENT | complete | u64::from(layer) << LAYER_SHIFT | u64::from(data_sector))
    }

    pub fn is_hole(self) -> bool {
        self.0 & PRESENT == 0
    }

    /// Every sector of the block comes from this image.
    pub fn is_complete(self) -> bool {
        self.0 & COMPLETE != 0
    }

    pub fn layer(self) -> u8 {
        (self.0 >> LAYER_SHIFT) as u8
    }

    pub fn is_in_leaf(self) -> bool {
        !self.is_hole() && self.layer() == LEAF
    }

    /// Byte offset of the block's data in its image.
    pub fn data_offset(self) -> u64 {
        (self.0 & u64::from(u32::MAX)) * SECTOR_SIZE
    }

    pub fn completed(self) -> Self {
        Self(self.0 | COMPLETE)
    }
}

/// One entry per block, read and written by many threads.
///
/// 8 bytes a block: 8 MiB at the largest virtual size.
pub(crate) struct BlockMap {
    entries: Box<[AtomicU64]>,
}

impl BlockMap {
    pub fn new(entries: Vec<Entry>) -> Self {
        Self {
            entries: entries
                .into_iter()
                .map(|entry| AtomicU64::new(entry.0))
                .collect(),
        }
    }

    pub fn len(&self) -> u32 {
        self.entries.len() as u32
    }

    pub fn get(&self, block: u32) -> Entry {
        // Pairs with the release in `set`: whoever sees an entry sees the bitmap and the data that came before it.
        Entry(self.entries[block as usize].load(Ordering::Acquire))
    }

    pub fn set(&self, block: u32, entry: Entry) {
        self.entries[block as usize].store(entry.0, Ordering::Release);
    }

    /// Marks a block as complete unless its entry has changed since `seen`.
    pub fn complete(&self, block: u32, seen: Entry) {
        let slot = &self.entries[block as usize];
        // Failing is fine: another thread has changed the entry, and the mark is only a shortcut.
        let _ = slot.compare_exchange(
            seen.0,
            seen.completed().0,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
    }
}

/// Where a parent has which block, for blocks of which an image above it has only some sectors, or may come to.
pub(crate) enum ParentMap {
    /// Raw or fixed: block after block.
    Linear {
        sectors_per_block: u32,
        block_count: u32,
    },
    /// Sorted by block.
    Sparse(Box<[(u32, u32)]>),
    /// Indexed by block; 0 is none.
    Dense(Box<[u32]>),
}

impl ParentMap {
    /// Takes (block, data sector) pairs sorted by block, in the form that needs less memory.
    pub fn new(pairs: Vec<(u32, u32)>, block_count: u32) -> Self {
        if pairs.len() <= block_count as usize / 2 {
            return ParentMap::Sparse(pairs.into_boxed_slice());
        }
        let mut dense = vec![0; block_count as usize];
        for (block, sector) in pairs {
            dense[block as usize] = sector;
        }
        ParentMap::Dense(dense.into_boxed_slice())
    }

    /// First data sector of a block.
    pub fn data_sector(&self, block: u32) -> Option<u32> {
        match self {
            ParentMap::Linear {
                sectors_per_block,
                block_count,
            } => (block < *block_count).then(|| block * sectors_per_block),
            ParentMap::Sparse(pairs) => pairs
                .binary_search_by_key(&block, |pair| pair.0)
                .ok()
                .map(|index| pairs[index].1),
            ParentMap::Dense(sectors) => sectors
                .get(block as usize)
                .copied()
                .filter(|sector| *sector != 0),
        }
    }

    pub fn is_linear(&self) -> bool {
        matches!(self, ParentMap::Linear { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_keep_their_fields() {
        let entry = Entry::new(29, u32::MAX, false);
        assert_eq!(
            (entry.layer(), entry.data_offset()),
            (29, u64::from(u32::MAX) * 512)
        );
        assert!(!entry.is_hole() && !entry.is_complete() && entry.completed().is_complete());
        assert!(Entry::new(LEAF, 0, true).is_in_leaf() && !Entry::HOLE.is_in_leaf());
    }

    #[test]
    fn parent_maps_agree_in_both_forms() {
        let pairs = vec![(1, 8), (5, 16)];
        for map in [
            ParentMap::new(pairs.clone(), 100),
            ParentMap::new(pairs, 3 + 3),
        ] {
            assert_eq!(
                [0, 1, 5, 7].map(|block| map.data_sector(block)),
                [None, Some(8), Some(16), None]
            );
        }
    }

    #[test]
    fn completing_a_changed_entry_does_nothing() {
        let map = BlockMap::new(vec![Entry::new(1, 8, false)]);
        let seen = map.get(0);
        map.set(0, Entry::new(LEAF, 99, false));
        map.complete(0, seen);
        assert_eq!(map.get(0), Entry::new(LEAF, 99, false));
    }
}
