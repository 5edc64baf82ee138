//! Any 1024 bytes: a header or a refusal; what parses and has no reserved bytes set is written back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vhd::footer::ImageType;
use vhd::header::{HEADER_SIZE, Header};

fuzz_target!(|data: &[u8]| {
    let mut bytes = [0; HEADER_SIZE];
    let length = data.len().min(HEADER_SIZE);
    bytes[..length].copy_from_slice(&data[..length]);
    bytes[..8].copy_from_slice(b"cxsparse");
    bytes[36..40].fill(0);
    let checksum = !bytes.iter().fold(0u32, |sum, byte| sum + u32::from(*byte));
    bytes[36..40].copy_from_slice(&checksum.to_be_bytes());
    if let Ok(header) = Header::parse(&bytes) {
        let _ = (
            header.validate(ImageType::Differencing, Some(0)),
            header.validate(ImageType::Dynamic, None),
        );
        let _ = header.parent_name();
        if header.reserved_is_zero {
            assert_eq!(header.to_bytes(), bytes);
        }
    }
});
