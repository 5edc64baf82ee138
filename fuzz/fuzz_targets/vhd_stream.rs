//! A stream, damaged at will: it is read to its end or refused, whatever comes, and yields nothing past the image's end.
//!
//! The input is a list of patches to a good stream; checksums of its footer and header are put right afterwards when the
//! input says so, since a fuzzer cannot guess them.
#![no_main]

use std::io::Read;

use libfuzzer_sys::fuzz_target;
use uuid::Uuid;
use vhd::stream::{NewStream, StreamParent, StreamReader, StreamWriter};

#[derive(arbitrary::Arbitrary, Debug)]
struct Input {
    differencing: bool,
    mend: bool,
    is_length_known: bool,
    map: u8,
    cut: Option<u32>,
    patches: Vec<(u16, Vec<u8>)>,
}

fn mend(bytes: &mut [u8], start: usize, length: usize, field: usize) {
    let Some(part) = bytes.get_mut(start..start + length) else {
        return;
    };
    part[field..field + 4].fill(0);
    let checksum = !part.iter().fold(0u32, |sum, byte| sum + u32::from(*byte));
    part[field..field + 4].copy_from_slice(&checksum.to_be_bytes());
}

fuzz_target!(|input: Input| {
    let new = NewStream {
        virtual_size: 5 << 20,
        uuid: Uuid::from_u128(1),
        parent: input.differencing.then(|| StreamParent {
            uuid: Uuid::from_u128(2),
            file_name: "p.vhd".to_owned(),
        }),
    };
    let zeros = |_: &mut [u8], _: u64| Ok(());
    let mut writer = StreamWriter::new(&new, &[input.map], zeros).expect("a good stream");
    let mut bytes = Vec::new();
    writer.read_to_end(&mut bytes).expect("reading memory");
    for (at, patch) in &input.patches {
        let at = usize::from(*at) % bytes.len();
        let length = patch.len().min(bytes.len() - at);
        bytes[at..at + length].copy_from_slice(&patch[..length]);
    }
    if input.mend {
        mend(&mut bytes, 0, 512, 64);
        mend(&mut bytes, 512, 1024, 36);
    }
    if let Some(cut) = input.cut {
        bytes.truncate(cut as usize % (bytes.len() + 1));
    }
    let length = input.is_length_known.then_some(bytes.len() as u64);
    let Ok(mut reader) = StreamReader::open(&bytes[..], length) else {
        return;
    };
    let size = reader.info().virtual_size;
    while let Ok(Some(piece)) = reader.next_piece() {
        assert!(!piece.data.is_empty() && piece.offset + piece.data.len() as u64 <= size);
    }
    assert!(reader.position() <= bytes.len() as u64);
});
