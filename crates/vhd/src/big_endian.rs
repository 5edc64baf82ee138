//! Big-endian fields at fixed offsets of a buffer.

/// The `N` bytes at `at`; the callers' offsets are constants of a structure whose length they know.
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N]
        .try_into()
        .expect("the range is N bytes long")
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(array(bytes, at))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(array(bytes, at))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(array(bytes, at))
}

pub(crate) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// Complement of the sum of all bytes, the checksum of every structure of the format.
pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    !bytes
        .iter()
        .fold(0u32, |sum, byte| sum.wrapping_add(u32::from(*byte)))
}

/// The checksum of `bytes` with the four bytes at `field` taken as zero.
pub(crate) fn checksum_without(bytes: &[u8], field: usize) -> u32 {
    let own = bytes[field..field + 4]
        .iter()
        .fold(0u32, |sum, byte| sum + u32::from(*byte));
    checksum(bytes).wrapping_add(own)
}

pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}
