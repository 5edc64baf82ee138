//! A whole image, damaged at will: it is inspected, checked, opened, read and written without a panic.
//!
//! The input is a list of patches to a small good image; checksums of footers and header are put right afterwards when
//! the input says so, since a fuzzer cannot guess them.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use uuid::Uuid;
use vhd::check::{CheckOptions, Depth, check};
use vhd::image::{self, NewImage, NewParent};
use vhd::{Access, Chain, MemoryStorage, ParentLink, ParentStorage, Storage};

#[derive(arbitrary::Arbitrary, Debug)]
struct Input {
    differencing: bool,
    mend: bool,
    length: Option<u32>,
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
    let storage = MemoryStorage::new();
    let new = NewImage::new(4 << 20, Uuid::from_u128(1));
    let parent = NewParent {
        uuid: Uuid::from_u128(2),
        timestamp: 0,
        path: "p.vhd".into(),
    };
    let made = match input.differencing {
        true => image::create_differencing(&storage, &new, &parent),
        false => image::create_dynamic(&storage, &new),
    };
    made.expect("a good image");
    let mut bytes = storage.to_vec();
    for (at, patch) in &input.patches {
        let at = usize::from(*at) % bytes.len();
        let length = patch.len().min(bytes.len() - at);
        bytes[at..at + length].copy_from_slice(&patch[..length]);
    }
    if let Some(length) = input.length {
        bytes.resize(length as usize % (8 << 20), 0);
    }
    if input.mend {
        let end = bytes.len().saturating_sub(512);
        mend(&mut bytes, 0, 512, 64);
        mend(&mut bytes, 512, 1024, 36);
        mend(&mut bytes, end, 512, 64);
    }
    let root = Arc::new(MemoryStorage::new());
    image::create_dynamic(&*root, &NewImage::new(2 << 20, Uuid::from_u128(2)))
        .expect("a good image");
    let find = |_: &ParentLink| Ok(ParentStorage::Vhd(root.clone() as Arc<dyn Storage>));

    let storage = Arc::new(MemoryStorage::from(bytes));
    let _ = image::inspect(&*storage);
    let _ = check(
        &*storage,
        &CheckOptions {
            depth: Depth::Bitmaps,
            ..CheckOptions::default()
        },
    );
    for access in [Access::ReadOnly, Access::ReadWrite] {
        let Ok(chain) = Chain::open(storage.clone(), &find, access) else {
            continue;
        };
        let mut buffer = vec![0; 8192];
        for at in [0, chain.size() / 2, chain.size().saturating_sub(8192)] {
            let _ = chain.read_at(&mut buffer, at);
        }
        let _ = chain.block_status(0, chain.size(), 1000);
        if access == Access::ReadWrite && chain.size() <= 64 << 20 {
            let _ = chain.write_at(&buffer[..700], chain.size() / 2);
            let _ = chain.write_zeroes(0, 4096);
            if chain.close().is_ok() {
                let again = Chain::open(storage.clone(), &find, Access::ReadOnly)
                    .expect("it was open before");
                assert_eq!(again.size(), chain.size());
            }
        }
    }
});
