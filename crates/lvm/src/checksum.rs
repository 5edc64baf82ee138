//! The checksum of labels, headers and texts.

/// What the checksum begins with.
///
/// # Source
/// LVM2, `lib/misc/crc.h`, `INITIAL_CRC`.
pub const INITIAL: u32 = 0xf597_a6cf;
/// The polynomial of CRC-32 (IEEE 802.3), reflected.
const POLYNOMIAL: u32 = 0xedb8_8320;
/// Bytes that one round of the fast loop takes.
const ROUND: usize = 8;

/// Table `k` holds what a byte becomes when `k` zero bytes follow it.
const TABLES: [[u32; 256]; ROUND] = tables();

const fn tables() -> [[u32; 256]; ROUND] {
    let mut tables = [[0; 256]; ROUND];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = match value & 1 {
                1 => (value >> 1) ^ POLYNOMIAL,
                _ => value >> 1,
            };
            bit += 1;
        }
        tables[0][byte] = value;
        byte += 1;
    }
    let mut table = 1;
    while table < ROUND {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[table - 1][byte];
            tables[table][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

/// The CRC-32 of `bytes` that goes on from `initial`, neither inverted before nor after.
pub fn crc(initial: u32, bytes: &[u8]) -> u32 {
    let mut rounds = bytes.chunks_exact(ROUND);
    let mut value = initial;
    for round in &mut rounds {
        let first = u32::from_le_bytes([round[0], round[1], round[2], round[3]]) ^ value;
        value = TABLES[7][(first & 0xff) as usize]
            ^ TABLES[6][(first >> 8 & 0xff) as usize]
            ^ TABLES[5][(first >> 16 & 0xff) as usize]
            ^ TABLES[4][(first >> 24) as usize]
            ^ TABLES[3][usize::from(round[4])]
            ^ TABLES[2][usize::from(round[5])]
            ^ TABLES[1][usize::from(round[6])]
            ^ TABLES[0][usize::from(round[7])];
    }
    for byte in rounds.remainder() {
        value = (value >> 8) ^ TABLES[0][((value ^ u32::from(*byte)) & 0xff) as usize];
    }
    value
}

#[cfg(test)]
mod tests {
    use super::crc;

    #[test]
    fn is_the_crc_of_the_standard() {
        // The check value of CRC-32/ISO-HDLC, which inverts before and after.
        assert_eq!(!crc(!0, b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn goes_on_where_it_stopped() {
        let bytes: Vec<u8> = (0..100).collect();
        for split in 0..bytes.len() {
            let (first, second) = bytes.split_at(split);
            assert_eq!(crc(crc(1, first), second), crc(1, &bytes));
        }
    }
}
