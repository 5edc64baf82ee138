//! Any bytes: a change-tracking log or a refusal; what parses says the same after it was written.
#![no_main]

use libfuzzer_sys::fuzz_target;

// The module stands alone, so that its fuzzing needs no build of the whole crate.
#[allow(dead_code)]
#[path = "../../crates/storage-manager/src/layout/cbt_log/block_bitmap.rs"]
mod block_bitmap;
#[allow(dead_code)]
#[path = "../../crates/storage-manager/src/layout/cbt_log/log.rs"]
mod log;

fuzz_target!(|data: &[u8]| {
    if let Ok(parsed) = log::ChangeLog::parse(data) {
        let bytes = parsed.to_bytes();
        assert_eq!(bytes.len() as u64, log::log_length(parsed.header.size));
        assert_eq!(log::ChangeLog::parse(&bytes), Ok(parsed.clone()));
        assert!(parsed.blocks.count() <= parsed.blocks.blocks());
        let mut larger = parsed.clone();
        larger.resize(parsed.header.size + (1 << 20));
        assert_eq!(larger.blocks.count(), parsed.blocks.count());
        let total: u64 = parsed
            .blocks
            .runs(0, parsed.header.size, usize::MAX)
            .iter()
            .map(|run| run.length)
            .sum();
        assert_eq!(total, parsed.header.size);
    }
});
