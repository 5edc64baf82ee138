//! Any 512 bytes: a footer or a refusal; what parses is written back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vhd::Part;
use vhd::footer::{FOOTER_SIZE, Footer};

fuzz_target!(|data: &[u8]| {
    let mut bytes = [0; FOOTER_SIZE];
    let length = data.len().min(FOOTER_SIZE);
    bytes[..length].copy_from_slice(&data[..length]);
    // The cookie and the checksum are out of a fuzzer's reach, so they are put right.
    bytes[..8].copy_from_slice(b"conectix");
    bytes[64..68].fill(0);
    let checksum = !bytes.iter().fold(0u32, |sum, byte| sum + u32::from(*byte));
    bytes[64..68].copy_from_slice(&checksum.to_be_bytes());
    if let Ok(footer) = Footer::parse(&bytes, Part::PrimaryFooter) {
        let _ = footer.validate(Part::PrimaryFooter, Some(0));
        assert_eq!(footer.to_bytes(), bytes);
    }
});
