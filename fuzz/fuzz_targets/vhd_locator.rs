//! Any locator and any data of one; a path that was decoded is encoded and decoded the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vhd::locator::{LOCATOR_SIZE, Locator, Platform};

fuzz_target!(|input: ([u8; LOCATOR_SIZE], &[u8])| {
    let (entry, data) = input;
    let locator = Locator::parse(&entry);
    assert_eq!(locator.to_bytes(), entry);
    let _ = (locator.validate(0, 1536, 1 << 20), locator.end());
    for platform in Platform::ALL {
        if let Some(path) = platform.decode(data) {
            let encoded = platform.encode(&path);
            if encoded.len() <= 4096 {
                assert_eq!(platform.decode(&encoded).as_ref(), Some(&path));
            }
        }
    }
});
