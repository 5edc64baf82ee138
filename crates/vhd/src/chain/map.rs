//! The map from block to the images that have it, and to the place in the topmost of them.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::SECTOR_SIZE;

/// The most images in a chain. XenServer refuses a snapshot at this depth.
pub const MAX_DEPTH: usize = 30;
/// Index of the image that is written.
pub(crate) const LEAF: u8 = 0;

const COMPLETE: u64 = 1 << 63;
const LAYERS_SHIFT: u32 = 32;
const LAYERS: u64 = ((1 << MAX_DEPTH) - 1) << LAYERS_SHIFT;
const SECTOR: u64 = u32::MAX as u64;

/// Where a block is: a bit for each image that has it, and the sector of its data in the topmost of these.
///
/// The places in the images below are not kept in memory: they are read from their tables when the block is looked at,
/// so that the map takes the same at any depth. A bit may be missing for an image that a complete one hides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry(u64);

impl Entry {
    /// No image has the block: it reads as zeros.
    pub const HOLE: Self = Self(0);

    pub fn new(layer: u8, data_sector: u32, complete: bool) -> Self {
        let complete = if complete { COMPLETE } else { 0 };
        Self(complete | 1 << (LAYERS_SHIFT + u32::from(layer)) | u64::from(data_sector))
    }

    pub fn is_hole(self) -> bool {
        self.0 & LAYERS == 0
    }

    /// Every sector of the block comes from the topmost image that has it.
    pub fn is_complete(self) -> bool {
        self.0 & COMPLETE != 0
    }

    /// The topmost image that has the block; of a hole nothing sensible.
    pub fn layer(self) -> u8 {
        (self.0 >> LAYERS_SHIFT).trailing_zeros() as u8
    }

    pub fn has(self, layer: u8) -> bool {
        self.0 & 1 << (LAYERS_SHIFT + u32::from(layer)) != 0
    }

    pub fn is_in_leaf(self) -> bool {
        self.has(LEAF)
    }

    /// Byte offset of the block's data in the topmost image.
    pub fn data_offset(self) -> u64 {
        (self.0 & SECTOR) * SECTOR_SIZE
    }

    pub fn completed(self) -> Self {
        Self(self.0 | COMPLETE)
    }

    pub fn incomplete(self) -> Self {
        Self(self.0 & !COMPLETE)
    }

    /// The entry with another image that has the block, which lies below all that are known.
    pub fn or_below(self, layer: u8, data_sector: u32, complete: bool) -> Self {
        if self.is_hole() {
            return Self::new(layer, data_sector, complete);
        }
        Self(self.0 | 1 << (LAYERS_SHIFT + u32::from(layer)))
    }

    /// The entry with the leaf on top.
    pub fn with_leaf(self, data_sector: u32, complete: bool) -> Self {
        Self(Self::new(LEAF, data_sector, complete).0 | self.0 & LAYERS)
    }

    /// The entry of `self` in the leaf, with the parents of `parents`.
    pub fn over(self, parents: Self) -> Self {
        if !self.is_in_leaf() {
            return parents;
        }
        Self(self.0 & (COMPLETE | SECTOR | 1 << LAYERS_SHIFT) | parents.0 & LAYERS)
    }

    /// The entry seen from one image higher. The caller keeps the depth.
    pub fn pushed(self) -> Self {
        Self(self.0 & !LAYERS | (self.0 & LAYERS) << 1 & LAYERS)
    }
}

/// One entry per block, read and written by many threads.
///
/// 8 bytes a block: 8 MiB at the largest virtual size.
pub(crate) struct BlockMap {
    entries: Vec<AtomicU64>,
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

    /// Cuts the map, or adds holes.
    pub fn resize(&mut self, block_count: u32) {
        self.entries
            .resize_with(block_count as usize, || AtomicU64::new(Entry::HOLE.0));
    }

    /// Changes every entry, while nobody else has the map.
    pub fn change_all(&mut self, mut change: impl FnMut(u32, Entry) -> Entry) {
        for (block, slot) in (0..).zip(&mut self.entries) {
            let slot = slot.get_mut();
            *slot = change(block, Entry(*slot)).0;
        }
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
    fn the_topmost_image_counts_and_the_others_are_kept() {
        let parents = Entry::HOLE.or_below(3, 8, true).or_below(7, 16, true);
        assert_eq!((parents.layer(), parents.data_offset()), (3, 8 * 512));
        assert!(parents.has(7) && !parents.has(4) && parents.is_complete());
        let entry = parents.with_leaf(99, false);
        assert_eq!((entry.layer(), entry.data_offset()), (LEAF, 99 * 512));
        assert!(entry.has(3) && entry.has(7) && !entry.is_complete());
        let pushed = entry.pushed();
        assert_eq!((pushed.layer(), pushed.data_offset()), (1, 99 * 512));
        assert!(pushed.has(4) && pushed.has(8) && !pushed.has(3));

        let other = Entry::new(2, 5, true);
        let swapped = entry.completed().over(other);
        assert!(swapped.is_complete() && swapped.has(2) && !swapped.has(3));
        assert_eq!(swapped.data_offset(), 99 * 512);
        assert_eq!(parents.over(other), other);
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
