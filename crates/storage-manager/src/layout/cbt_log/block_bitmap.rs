//! One bit for each 64 KiB of a VDI.

/// Bytes of the VDI that one bit stands for.
///
/// Source: blktap's change-tracking log.
pub const BLOCK_SIZE: u64 = 64 * 1024;

/// Bits of the blocks of a VDI, in the order of the file: the lowest bit of a byte is its first block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockBitmap {
    bytes: Vec<u8>,
    blocks: u64,
}

/// A run of bytes of a VDI whose blocks have the same bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Length in bytes, not zero.
    pub length: u64,
    /// The bit.
    pub changed: bool,
}

/// Number of bytes that hold a bit for each block of a VDI of `size` bytes.
pub(super) fn byte_count(size: u64) -> u64 {
    size.div_ceil(BLOCK_SIZE).div_ceil(8)
}

impl BlockBitmap {
    /// No block of a VDI of `size` bytes has changed.
    pub fn new(size: u64) -> Self {
        BlockBitmap {
            bytes: vec![0; byte_count(size) as usize],
            blocks: size.div_ceil(BLOCK_SIZE),
        }
    }

    /// Takes the bits of a VDI of `size` bytes as a log holds them; bits behind the last block are dropped.
    ///
    /// # Panics
    /// When there are not as many bytes as the size needs.
    pub fn from_file_bytes(bytes: Vec<u8>, size: u64) -> Self {
        assert_eq!(
            bytes.len() as u64,
            byte_count(size),
            "callers cut the bytes"
        );
        let mut bitmap = BlockBitmap {
            bytes,
            blocks: size.div_ceil(BLOCK_SIZE),
        };
        bitmap.clear_tail();
        bitmap
    }

    /// The bits as a log holds them.
    pub fn file_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bits as `VDI.list_changed_blocks` answers them: the highest bit of a byte is its first block.
    pub fn to_api_bytes(&self) -> Vec<u8> {
        self.bytes.iter().map(|byte| byte.reverse_bits()).collect()
    }

    /// Number of blocks.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// True when the block has changed; a block behind the end has not.
    pub fn is_set(&self, block: u64) -> bool {
        block < self.blocks && self.bytes[(block / 8) as usize] & (1 << (block % 8)) != 0
    }

    /// Notes every block that a range of bytes touches; what lies behind the end is left out.
    pub fn set_range(&mut self, offset: u64, length: u64) {
        if length == 0 {
            return;
        }
        let last = (offset.saturating_add(length) - 1) / BLOCK_SIZE;
        for block in offset / BLOCK_SIZE..self.blocks.min(last.saturating_add(1)) {
            self.bytes[(block / 8) as usize] |= 1 << (block % 8);
        }
    }

    /// Adds the blocks of another bitmap; those behind the end of this one are left out.
    pub fn union(&mut self, other: &BlockBitmap) {
        for (byte, other) in self.bytes.iter_mut().zip(&other.bytes) {
            *byte |= other;
        }
        self.clear_tail();
    }

    /// Fits the bitmap to a VDI of `size` bytes; blocks that are added have not changed.
    pub fn resize(&mut self, size: u64) {
        self.bytes.resize(byte_count(size) as usize, 0);
        self.blocks = size.div_ceil(BLOCK_SIZE);
        self.clear_tail();
    }

    /// Number of blocks that have changed.
    pub fn count(&self) -> u64 {
        self.bytes
            .iter()
            .map(|byte| u64::from(byte.count_ones()))
            .sum()
    }

    /// Describes `length` bytes from `offset` as at most `limit` runs.
    pub fn runs(&self, offset: u64, length: u64, limit: usize) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        let end = offset.saturating_add(length);
        let mut at = offset;
        while at < end {
            let block = at / BLOCK_SIZE;
            let next = (block + 1).saturating_mul(BLOCK_SIZE).min(end);
            let changed = self.is_set(block);
            let full = runs.len() == limit;
            match runs.last_mut() {
                Some(run) if run.changed == changed => run.length += next - at,
                _ if full => break,
                _ => runs.push(Run {
                    length: next - at,
                    changed,
                }),
            }
            at = next;
        }
        runs
    }

    fn clear_tail(&mut self) {
        if let (Some(last), used @ 1..) = (self.bytes.last_mut(), self.blocks % 8) {
            *last &= (1 << used) - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_file_begins_a_byte_at_its_lowest_bit_and_the_api_at_its_highest() {
        let mut bitmap = BlockBitmap::new(10 * BLOCK_SIZE);
        bitmap.set_range(0, 1);
        bitmap.set_range(9 * BLOCK_SIZE + 5, 1);
        assert_eq!(bitmap.file_bytes(), [0b0000_0001, 0b0000_0010]);
        assert_eq!(bitmap.to_api_bytes(), [0b1000_0000, 0b0100_0000]);
        assert_eq!(bitmap.count(), 2);
    }

    #[test]
    fn ranges_touch_every_block_that_they_overlap() {
        let mut bitmap = BlockBitmap::new(8 * BLOCK_SIZE);
        bitmap.set_range(2 * BLOCK_SIZE - 1, 2);
        bitmap.set_range(5 * BLOCK_SIZE, 0);
        bitmap.set_range(7 * BLOCK_SIZE, u64::MAX);
        let set: Vec<u64> = (0..8).filter(|block| bitmap.is_set(*block)).collect();
        assert_eq!(set, [1, 2, 7]);
    }

    #[test]
    fn bits_behind_the_end_are_dropped() {
        let mut bitmap = BlockBitmap::from_file_bytes(vec![0xff], 3 * BLOCK_SIZE);
        assert_eq!(bitmap.count(), 3);
        bitmap.resize(20 * BLOCK_SIZE);
        assert_eq!(bitmap.count(), 3);
        bitmap.union(&BlockBitmap::from_file_bytes(
            vec![0xff; 4],
            32 * BLOCK_SIZE,
        ));
        assert_eq!(bitmap.count(), 20);
    }

    proptest! {
        #[test]
        fn runs_say_what_the_bits_say(
            ranges in prop::collection::vec((0u64..64, 0u64..9), 0..8),
            offset in 0u64..64 * BLOCK_SIZE,
            length in 1u64..64 * BLOCK_SIZE,
            limit in 1usize..9,
        ) {
            let mut bitmap = BlockBitmap::new(64 * BLOCK_SIZE);
            for (block, count) in ranges {
                bitmap.set_range(block * BLOCK_SIZE, count * BLOCK_SIZE);
            }
            let length = length.min(64 * BLOCK_SIZE - offset);
            prop_assume!(length > 0);
            let runs = bitmap.runs(offset, length, limit);
            prop_assert!(runs.len() <= limit && !runs.is_empty());
            let mut at = offset;
            for run in &runs {
                for block in at / BLOCK_SIZE..=(at + run.length - 1) / BLOCK_SIZE {
                    prop_assert_eq!(bitmap.is_set(block), run.changed);
                }
                at += run.length;
            }
            prop_assert!(at == offset + length || runs.len() == limit);
        }
    }
}
