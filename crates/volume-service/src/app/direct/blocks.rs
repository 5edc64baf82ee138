//! How a snapshot is cut into blocks.

use crate::driver::{Disk, PoolError, RangeMap};

/// Bytes of a block. Source: the model of EBS's API, `BlockSize`.
pub const BLOCK_BYTES: u64 = 512 * 1024;
/// Size of a GiB in bytes.
const GIB: u64 = 1 << 30;
/// Bytes that one question about a disk's content is about.
const QUESTION_BYTES: u64 = GIB;

/// How many blocks a volume of this size has.
pub const fn blocks_of_gib(size_gib: u64) -> u64 {
    size_gib.saturating_mul(GIB / BLOCK_BYTES)
}

/// The blocks of a disk that may hold something else than zeros.
pub(super) fn held_blocks(disk: &mut dyn Disk) -> Result<RangeMap, PoolError> {
    let mut map = RangeMap {
        unit_bytes: BLOCK_BYTES,
        bits: Vec::new(),
    };
    let (mut at, end) = (0, disk.size_bytes());
    while at < end {
        // Each question is answered by one run at least, so that this ends.
        for run in disk.runs(at, QUESTION_BYTES.min(end - at))? {
            let length = run.length.min(end - at);
            if !run.is_zero && length > 0 {
                for block in at / BLOCK_BYTES..=(at + length - 1) / BLOCK_BYTES {
                    map.set(block);
                }
            }
            at += length.max(1);
        }
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::super::open_disks::tests::MemoryDisk;
    use super::*;

    #[test]
    fn a_block_is_held_when_any_byte_of_it_may_be_something() {
        let mut bytes = vec![0; 8 * BLOCK_BYTES as usize];
        for at in [BLOCK_BYTES - 1, 3 * BLOCK_BYTES, 7 * BLOCK_BYTES + 512] {
            bytes[at as usize] = 1;
        }
        let mut disk = MemoryDisk::of(bytes);
        let map = held_blocks(&mut disk).unwrap();
        let held: Vec<u64> = (0..9).filter(|block| map.has(*block)).collect();
        assert_eq!(held, [0, 3, 7]);
        assert_eq!(blocks_of_gib(2), 4096);
    }
}
