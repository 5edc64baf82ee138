//! Command blocks.
//!
//! # Source
//! SPC-4 (INQUIRY, REPORT LUNS, MODE SENSE, TEST UNIT READY) and SBC-3 (the others); the section is named at each.

/// A command block; all fields are big-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cdb {
    bytes: [u8; 16],
    length: usize,
}

/// The service action of READ CAPACITY (16).
const READ_CAPACITY_16: u8 = 0x10;
/// The caching mode page (SBC-3, 6.5.4).
const CACHING_PAGE: u8 = 0x08;
/// Operation codes of the commands that move blocks.
const READ_16: u8 = 0x88;
const WRITE_16: u8 = 0x8a;
const WRITE_SAME_16: u8 = 0x93;
/// UNMAP of WRITE SAME (16), byte 1.
const WRITE_SAME_UNMAP: u8 = 0x08;

impl Cdb {
    fn new<const N: usize>(bytes: [u8; N]) -> Self {
        let mut all = [0; 16];
        all[..N].copy_from_slice(&bytes);
        Cdb {
            bytes: all,
            length: N,
        }
    }

    /// The bytes that go over the wire.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// True for what reads or writes blocks of a LUN.
    pub fn moves_blocks(&self) -> bool {
        matches!(self.bytes[0], READ_16 | WRITE_16 | WRITE_SAME_16)
    }

    /// Is the device ready? SPC-4, 6.47.
    pub fn test_unit_ready() -> Self {
        Cdb::new([0; 6])
    }

    /// Who is it? SPC-4, 6.4.1. Without a page the standard data is asked for.
    pub fn inquiry(page: Option<u8>, length: u16) -> Self {
        let [high, low] = length.to_be_bytes();
        Cdb::new([
            0x12,
            u8::from(page.is_some()),
            page.unwrap_or(0),
            high,
            low,
            0,
        ])
    }

    /// Which LUNs are there? SPC-4, 6.33.
    pub fn report_luns(length: u32) -> Self {
        Cdb::wide_12(0xa0, length)
    }

    fn wide_12(operation: u8, length: u32) -> Self {
        let mut bytes = [0; 12];
        bytes[0] = operation;
        bytes[6..10].copy_from_slice(&length.to_be_bytes());
        Cdb::new(bytes)
    }

    /// SBC-3, 5.15.
    pub fn read_capacity_10() -> Self {
        let mut bytes = [0; 10];
        bytes[0] = 0x25;
        Cdb::new(bytes)
    }

    /// SBC-3, 5.16.
    pub fn read_capacity_16(length: u32) -> Self {
        let mut cdb = Cdb::wide(0x9e, 0, length);
        cdb.bytes[1] = READ_CAPACITY_16;
        cdb
    }

    /// The caching page. SPC-4, 6.13.
    pub fn mode_sense_caching(length: u8) -> Self {
        // Block descriptors are not wanted (DBD).
        Cdb::new([0x1a, 0x08, CACHING_PAGE, 0, length, 0])
    }

    /// SBC-3, 5.13.
    pub fn read_16(block: u64, count: u32) -> Self {
        Cdb::wide(READ_16, block, count)
    }

    /// SBC-3, 5.34.
    pub fn write_16(block: u64, count: u32) -> Self {
        Cdb::wide(WRITE_16, block, count)
    }

    /// Everything to the last block. SBC-3, 5.24.
    pub fn synchronize_cache_10() -> Self {
        let mut bytes = [0; 10];
        bytes[0] = 0x35;
        Cdb::new(bytes)
    }

    /// With one block of zeros. SBC-3, 5.41.
    pub fn write_same_16(block: u64, count: u32, unmap: bool) -> Self {
        let mut cdb = Cdb::wide(WRITE_SAME_16, block, count);
        cdb.bytes[1] = if unmap { WRITE_SAME_UNMAP } else { 0 };
        cdb
    }

    fn wide(operation: u8, block: u64, count: u32) -> Self {
        let mut bytes = [0; 16];
        bytes[0] = operation;
        bytes[2..10].copy_from_slice(&block.to_be_bytes());
        bytes[10..14].copy_from_slice(&count.to_be_bytes());
        Cdb::new(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_as_the_standards_draw_them() {
        let hex = |cdb: Cdb| {
            let digits = cdb.bytes().iter().map(|byte| format!("{byte:02x}"));
            digits.collect::<String>()
        };
        let cases = [
            (Cdb::test_unit_ready(), "000000000000"),
            (Cdb::inquiry(None, 255), "12000000ff00"),
            (Cdb::inquiry(Some(0x83), 0x1fe), "12018301fe00"),
            (Cdb::report_luns(0x1000), "a00000000000000010000000"),
            (Cdb::read_capacity_10(), "25000000000000000000"),
            (
                Cdb::read_capacity_16(32),
                "9e100000000000000000000000200000",
            ),
            (Cdb::mode_sense_caching(64), "1a0808004000"),
            (Cdb::read_16(0x0102, 8), "88000000000000000102000000080000"),
            (Cdb::write_16(1, 2), "8a000000000000000001000000020000"),
            (Cdb::synchronize_cache_10(), "35000000000000000000"),
            (
                Cdb::write_same_16(1, 2, true),
                "93080000000000000001000000020000",
            ),
        ];
        for (cdb, expected) in cases {
            assert_eq!(hex(cdb), expected);
        }
    }
}
