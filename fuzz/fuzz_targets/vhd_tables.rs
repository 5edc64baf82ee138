//! Any BAT, batmap header and sector bitmap.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vhd::bat::{self, Limits};
use vhd::batmap::{self, BatmapHeader};
use vhd::bitmap::SectorBitmap;

fuzz_target!(|input: (Vec<u32>, u64, u64, Vec<u8>, u16, u16)| {
    let (entries, metadata_end, file_length, bytes, start, end) = input;
    let limits = Limits {
        metadata_end,
        data_end: file_length,
        file_length,
        block_size: 2 << 20,
    };
    let _ = bat::validate(&entries, &limits);
    assert_eq!(
        bat::parse(&bat::to_bytes(&entries)).collect::<Vec<_>>(),
        entries
    );

    let mut sector = [0; batmap::HEADER_SIZE];
    let length = bytes.len().min(sector.len());
    sector[..length].copy_from_slice(&bytes[..length]);
    let bitmap = SectorBitmap::parse(&sector);
    assert_eq!(bitmap.to_bytes(), sector);
    let (start, end) = (u32::from(start) % 4096, u32::from(end) % 4097);
    if start < end {
        let (set, run) = bitmap.run(start, end);
        assert!((start..start + run).all(|sector| bitmap.is_set(sector) == set));
    }
    sector[..8].copy_from_slice(batmap::COOKIE);
    if let Ok(header) = BatmapHeader::parse(&sector) {
        assert_eq!(header.to_bytes(), sector);
        let _ = header.validate(entries.len() as u64, metadata_end, file_length);
        let _ = header.checksum_fits(&bytes);
    }
});
