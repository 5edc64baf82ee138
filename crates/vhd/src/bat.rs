//! The block allocation table: for each block the sector of its bitmap.
//!
//! Source: VHD specification, "Block Allocation Table and Data Blocks". Layout: `docs/formats/vhd.md`.

use crate::SECTOR_SIZE;
use crate::big_endian::u32_at;
use crate::error::{Defect, Part, Rule};
use crate::layout::BITMAP_SIZE;

/// Entry of a block that is not allocated.
pub const UNALLOCATED: u32 = u32::MAX;
/// Bytes in an entry.
pub const ENTRY_SIZE: u64 = 4;
/// Entries in a sector of the table.
pub const ENTRIES_PER_SECTOR: u32 = 128;
/// The most blocks of an image that is opened: 2040 GiB in blocks of 512 KiB.
pub const MAX_BLOCKS: u64 = 4_177_920;

/// Bytes that a table of `entries` takes, whole sectors.
pub fn table_bytes(entries: u32) -> u64 {
    (u64::from(entries) * ENTRY_SIZE).next_multiple_of(SECTOR_SIZE)
}

/// Reads entries from bytes, as many as are whole.
pub fn parse(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.chunks_exact(4).map(|entry| u32_at(entry, 0))
}

/// The bytes of entries.
pub fn to_bytes(entries: &[u32]) -> Vec<u8> {
    entries
        .iter()
        .flat_map(|entry| entry.to_be_bytes())
        .collect()
}

/// What a table is checked against.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// First byte behind all metadata.
    pub metadata_end: u64,
    /// Where blocks must end: the footer, or the end of the file when its footer is missing.
    pub data_end: u64,
    /// Length of the file.
    pub file_length: u64,
    /// Bytes in a block.
    pub block_size: u32,
}

/// Every rule that a table breaks; `entries` are those that the virtual size needs.
pub fn validate(entries: &[u32], limits: &Limits) -> Vec<Defect> {
    if is_sound(entries, limits) {
        return Vec::new();
    }
    every_defect(entries, limits)
}

/// Tells in one pass over the table, and one over the file in steps of a block, whether anything is wrong.
fn is_sound(entries: &[u32], limits: &Limits) -> bool {
    let span = (BITMAP_SIZE + u64::from(limits.block_size)) / SECTOR_SIZE;
    let end = limits.data_end.min(limits.file_length) / SECTOR_SIZE;
    let starts = limits.metadata_end.div_ceil(SECTOR_SIZE)..=end.saturating_sub(span);
    // A file with far more room than blocks is not worth a slot for each place.
    let slot_count = end / span + 1;
    if end < span || slot_count > 2 * MAX_BLOCKS || limits.metadata_end == 0 {
        return entries.iter().all(|entry| *entry == UNALLOCATED);
    }
    let mut slots = vec![0u32; slot_count as usize];
    for entry in entries.iter().filter(|entry| **entry != UNALLOCATED) {
        let slot = *entry / span as u32;
        if !starts.contains(&u64::from(*entry)) || slots[slot as usize] != 0 {
            return false;
        }
        slots[slot as usize] = *entry;
    }
    // Two blocks in slots that are no neighbours cannot overlap.
    slots
        .windows(2)
        .all(|pair| pair[0] == 0 || pair[1] == 0 || u64::from(pair[1] - pair[0]) >= span)
}

fn every_defect(entries: &[u32], limits: &Limits) -> Vec<Defect> {
    let mut defects = Vec::new();
    let mut broken = |rule, found, expected| {
        defects.push(Defect {
            part: Part::Bat,
            rule,
            found,
            expected,
        })
    };
    let span = BITMAP_SIZE + u64::from(limits.block_size);
    let mut used: Vec<u32> = entries
        .iter()
        .copied()
        .filter(|entry| *entry != UNALLOCATED)
        .collect();
    used.sort_unstable();
    for entry in &used {
        let start = u64::from(*entry) * SECTOR_SIZE;
        if start < limits.metadata_end {
            broken(Rule::BlockInMetadata, start, limits.metadata_end);
        }
        if start + span > limits.file_length {
            broken(Rule::BlockPastEnd, start + span, limits.file_length);
        } else if start + span > limits.data_end {
            broken(Rule::BlockInFooter, start + span, limits.data_end);
        }
    }
    for pair in used.windows(2) {
        let (first, second) = (
            u64::from(pair[0]) * SECTOR_SIZE,
            u64::from(pair[1]) * SECTOR_SIZE,
        );
        if second - first < span {
            broken(Rule::BlockOverlap, second, first + span);
        }
    }
    defects
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits {
        metadata_end: 3072,
        data_end: 3584 + 2 * (2 << 20) + 8192,
        file_length: 5 << 20,
        block_size: 2 << 20,
    };

    fn rules(entries: &[u32]) -> Vec<Rule> {
        validate(entries, &LIMITS)
            .iter()
            .map(|defect| defect.rule)
            .collect()
    }

    #[test]
    fn entries_are_big_endian() {
        let bytes = to_bytes(&[7, UNALLOCATED]);
        assert_eq!(bytes, [0, 0, 0, 7, 255, 255, 255, 255]);
        assert_eq!(parse(&bytes).collect::<Vec<_>>(), [7, UNALLOCATED]);
        assert_eq!(table_bytes(1), 512);
        assert_eq!(table_bytes(129), 1024);
    }

    #[test]
    fn misplaced_blocks_are_told() {
        assert_eq!(rules(&[7, UNALLOCATED, 7 + 4104]), []);
        assert_eq!(rules(&[5]), [Rule::BlockInMetadata]);
        assert_eq!(rules(&[UNALLOCATED - 1]), [Rule::BlockPastEnd]);
        assert_eq!(rules(&[7 + 4104, 7 + 8]), [Rule::BlockOverlap]);
        assert_eq!(rules(&[7, 7]), [Rule::BlockOverlap]);
        assert_eq!(rules(&[7 + 4104 + 100]), [Rule::BlockInFooter]);
    }

    proptest! {
        #[test]
        fn a_table_is_sound_when_it_has_no_defect(
            entries in prop::collection::vec(prop_oneof![
                3 => (0u32..12, 0u32..3).prop_map(|(place, shift)| 7 + place * 4097 + shift * 8),
                1 => (0u32..12).prop_map(|place| 7 + place * 4104),
                2 => Just(UNALLOCATED),
                1 => 0u32..60_000,
            ], 0..6),
            data_end in 3000u64..(14 * (2 << 20)),
            footer in 0u64..1024,
        ) {
            let limits = Limits { data_end, file_length: data_end + footer, ..LIMITS };
            let defects = every_defect(&entries, &limits);
            prop_assert!(defects.is_empty() || !is_sound(&entries, &limits));
            prop_assert_eq!(validate(&entries, &limits), defects);
        }
    }
}
