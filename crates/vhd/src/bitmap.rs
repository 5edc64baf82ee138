//! The bitmap in front of each block: one bit per sector, set when the sector is in this image.
//!
//! Source: VHD specification, "Data Block"; most significant bit of each byte first.

use crate::layout::BITMAP_SIZE;

/// Sectors in the largest block.
pub const MAX_SECTORS: u32 = 4096;
const WORDS: usize = MAX_SECTORS as usize / 64;

/// The bitmap of one block. Bits behind the block's last sector are kept as found and never asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectorBitmap {
    words: [u64; WORDS],
}

impl SectorBitmap {
    /// A bitmap without a set bit.
    pub const EMPTY: Self = Self { words: [0; WORDS] };

    /// A bitmap with every bit set.
    pub const FULL: Self = Self {
        words: [u64::MAX; WORDS],
    };

    /// Reads a bitmap; any bytes are one.
    pub fn parse(bytes: &[u8; BITMAP_SIZE as usize]) -> Self {
        let mut words = [0; WORDS];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_be_bytes(*bytes);
        }
        Self { words }
    }

    /// The bytes of the bitmap.
    pub fn to_bytes(&self) -> [u8; BITMAP_SIZE as usize] {
        let mut bytes = [0; BITMAP_SIZE as usize];
        for (chunk, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(&self.words) {
            *chunk = word.to_be_bytes();
        }
        bytes
    }

    /// The bit of a sector.
    pub fn is_set(&self, sector: u32) -> bool {
        self.words[sector as usize / 64] & (1 << (63 - sector % 64)) != 0
    }

    /// The bit of `start` and how many sectors from there, up to `end`, have the same.
    ///
    /// # Panics
    /// When `start >= end` or `end` is past the largest block.
    pub fn run(&self, start: u32, end: u32) -> (bool, u32) {
        assert!(start < end && end <= MAX_SECTORS);
        let set = self.is_set(start);
        let mut at = start;
        while at < end {
            let word = self.words[at as usize / 64];
            let differs = if set { !word } else { word } & (u64::MAX >> (at % 64));
            let word_start = at - at % 64;
            if differs != 0 {
                at = word_start + differs.leading_zeros();
                break;
            }
            at = word_start + 64;
        }
        (set, at.min(end) - start)
    }

    /// True when every bit from `start` to `end` is set.
    pub fn all_set(&self, start: u32, end: u32) -> bool {
        start >= end || self.run(start, end) == (true, end - start)
    }

    /// Sets every bit from `start` to `end`.
    ///
    /// # Panics
    /// When `end` is past the largest block.
    pub fn set_range(&mut self, start: u32, end: u32) {
        assert!(end <= MAX_SECTORS);
        let mut at = start;
        while at < end {
            let stop = (at - at % 64 + 64).min(end);
            let ones = u64::MAX >> (64 - (stop - at));
            self.words[at as usize / 64] |= ones << (63 - (stop - 1) % 64);
            at = stop;
        }
    }

    /// Clears every bit from `start` on.
    pub fn clear_from(&mut self, start: u32) {
        for (word, first) in self.words.iter_mut().zip((0..).step_by(64)) {
            match start.saturating_sub(first) {
                0 => *word = 0,
                kept @ 1..64 => *word &= u64::MAX << (64 - kept),
                _ => {}
            }
        }
    }

    /// The bits that both have; they are cleared in `self`.
    pub fn take(&mut self, other: &Self) -> Self {
        let mut taken = Self::EMPTY;
        let words = self.words.iter_mut().zip(&other.words);
        for (taken, (word, other)) in taken.words.iter_mut().zip(words) {
            *taken = *word & other;
            *word &= !other;
        }
        taken
    }

    /// True when no bit is set.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// The runs of set bits: start and end.
    pub fn runs(&self) -> impl Iterator<Item = (u32, u32)> {
        let mut at = 0;
        std::iter::from_fn(move || {
            while at < MAX_SECTORS {
                let start = at;
                let (set, length) = self.run(start, MAX_SECTORS);
                at += length;
                if set {
                    return Some((start, at));
                }
            }
            None
        })
    }

    /// Number of set bits among the first `sectors`.
    pub fn count(&self, sectors: u32) -> u32 {
        (0..sectors).filter(|sector| self.is_set(*sector)).count() as u32
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn first_sector_is_the_highest_bit() {
        let mut bitmap = SectorBitmap::EMPTY;
        bitmap.set_range(0, 1);
        bitmap.set_range(9, 10);
        assert_eq!(bitmap.to_bytes()[..2], [0x80, 0x40]);
        assert_eq!(SectorBitmap::parse(&bitmap.to_bytes()), bitmap);
        assert_eq!(bitmap.run(0, 4096), (true, 1));
        assert_eq!(bitmap.run(1, 4096), (false, 8));
        assert_eq!(bitmap.run(10, 4096), (false, 4086));
        assert_eq!(bitmap.count(4096), 2);
    }

    proptest! {
        #[test]
        fn ranges_equal_a_vector_of_bools(ranges in prop::collection::vec((0u32..4096, 0u32..300), 0..12), from in 0u32..4096) {
            let mut bitmap = SectorBitmap::EMPTY;
            let mut model = vec![false; 4096];
            for (start, length) in ranges {
                let end = (start + length).min(4096);
                bitmap.set_range(start, end);
                model[start as usize..end as usize].fill(true);
            }
            let bits: Vec<bool> = (0..4096).map(|sector| bitmap.is_set(sector)).collect();
            prop_assert_eq!(&bits, &model);
            let (set, length) = bitmap.run(from, 4096);
            let mut back = SectorBitmap::EMPTY;
            bitmap.runs().for_each(|(start, end)| back.set_range(start, end));
            prop_assert_eq!(back, bitmap);
            let mut cut = bitmap;
            cut.clear_from(from);
            let mut upper = bitmap;
            let lower = upper.take(&cut);
            prop_assert_eq!(lower, cut);
            let kept: Vec<bool> = (0..4096).map(|sector| upper.is_set(sector)).collect();
            let expected: Vec<bool> = model.iter().enumerate().map(|(at, bit)| *bit && at >= from as usize).collect();
            prop_assert_eq!(kept, expected);
            prop_assert_eq!(cut.is_empty(), !model[..from as usize].contains(&true));
            let same = model[from as usize..].iter().take_while(|bit| **bit == model[from as usize]).count();
            prop_assert_eq!((set, length as usize), (model[from as usize], same));
        }
    }
}
