use proptest::prelude::*;

use super::{Header, Location, TextLocation};

fn header(size: u64, committed: Option<(u64, u64)>) -> Header {
    let area = Location { offset: 4096, size };
    let committed = committed.map(|(offset, size)| TextLocation {
        offset,
        size,
        checksum: 7,
        flags: 0,
    });
    Header {
        committed,
        ..Header::new(area)
    }
}

#[test]
fn is_read_as_it_is_written() {
    let mut header = header(1 << 20, Some((512, 900)));
    header.precommitted = header.committed.map(|text| TextLocation {
        offset: 1536,
        ..text
    });
    let bytes = header.to_bytes();
    assert_eq!(Header::parse(&bytes, header.area, 0), Ok(header.clone()));
    for position in 0..bytes.len() {
        let mut damaged = bytes;
        damaged[position] ^= 0x10;
        assert!(
            Header::parse(&damaged, header.area, 0).is_err(),
            "byte {position}"
        );
    }
}

#[test]
fn puts_texts_behind_each_other() {
    let size = 10 * 512;
    assert_eq!(header(size, None).next(1000), Some(512));
    assert_eq!(header(size, Some((512, 1000))).next(1000), Some(1536));
    // The last one ends where the area ends.
    assert_eq!(header(size, Some((4096, 1024))).next(1000), Some(512));
    // The new one wraps.
    let wrapping = header(size, Some((3584, 1000)));
    assert_eq!(wrapping.next(1536), Some(4608));
    assert_eq!(
        wrapping.pieces(4608, 1536),
        Some([(4608, 512), (512, 1024)])
    );
    // Two do not fit.
    assert_eq!(header(size, None).next(2000), None);
}

proptest! {
    #[test]
    fn a_new_text_never_touches_the_old(
        sectors in 3_u64..40,
        old in 0_u64..20_000,
        old_size in 1_u64..20_000,
        size in 1_u64..20_000,
    ) {
        let area_size = sectors * 512;
        let empty = header(area_size, None);
        let old_offset = 512 + old % (area_size - 512);
        let old_size = 1 + old_size % (area_size - 512);
        let header = header(area_size, Some((old_offset, old_size)));
        let size = size.min(empty.room()).max(1);
        let mut used = vec![false; area_size as usize];
        for (offset, length) in header.pieces(old_offset, old_size).unwrap() {
            used[offset as usize..(offset + length) as usize].fill(true);
        }
        match header.next(size) {
            Some(offset) => {
                prop_assert_eq!(offset % 512, 0);
                for (offset, length) in header.pieces(offset, size.next_multiple_of(512)).unwrap() {
                    prop_assert!(!used[offset as usize..(offset + length) as usize].contains(&true));
                }
            }
            // Whatever LVM2 can have written leaves room for the next.
            None => prop_assert!(size > empty.room() || old_size > empty.room() || old_offset % 512 != 0),
        }
    }

    #[test]
    fn any_header_is_refused_or_harmless(offset: u64, size: u64, text: u64, length: u64) {
        let mut header = header(size, Some((text, length)));
        header.area.offset = offset;
        let _ = header.pieces(text, length);
        let _ = header.next(1000);
    }
}
