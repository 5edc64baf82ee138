//! Arbitrary bytes as a label and a text, a sound text with arbitrary changes, and any places in a metadata area. What is
//! read as a group is written, and read again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lvm::area::{Header, TextLocation};
use lvm::label::{Label, Location};
use lvm::metadata::{VolumeGroup, Writer};

/// A text with something of everything.
const SOUND: &str = r#"vg {
id = "0zd3UT-wbYT-lDHq-lMPs-EjoE-0o18-wL28X4"
seqno = 3
format = "lvm2"
status = ["RESIZEABLE", "READ", "WRITE"]
flags = []
tags = ["a"]
extent_size = 8192
max_lv = 0
physical_volumes {
pv0 {
id = "ZBW5qW-dXF2-0bGw-ZCad-2RlV-phwu-1c1RFt"
device = "/dev/sda" # Hint only
status = ["ALLOCATABLE"]
dev_size = 200000
pe_start = 2048
pe_count = 24
}
pv1 {
id = "ZHEZJW-MR64-D3QM-Rv7V-Hxsa-zU24-wztY19"
status = ["ALLOCATABLE"]
pe_start = 2048
pe_count = 24
}
}
logical_volumes {
a {
id = "rXGw36-3PYm-1y0M-Yv6t-7v6d-4Zt1-wSyyv2"
status = ["READ", "WRITE", "VISIBLE"]
creation_time = 1
creation_host = "x"
segment_count = 2
segment1 {
start_extent = 0
extent_count = 4
type = "striped"
stripe_count = 1
stripes = ["pv0", 3]
}
segment2 {
start_extent = 4
extent_count = 6
type = "striped"
stripe_count = 2
stripe_size = 128
stripes = ["pv0", 10, "pv1", 0]
}
}
}
}
contents = "Text Format Volume Group"
version = 1
"#;

fuzz_target!(|data: &[u8]| {
    structures(data);
    group(data);
    let mut text = SOUND.as_bytes().to_vec();
    for change in data.chunks_exact(5) {
        let place = usize::from(u16::from_le_bytes([change[0], change[1]])) % text.len();
        let end = (place + usize::from(change[2] & 7)).min(text.len());
        text.splice(place..end, change[3..].iter().copied());
    }
    group(&text);
});

fn structures(data: &[u8]) {
    let Some(sector) = data.first_chunk::<512>() else {
        return;
    };
    if let Ok(Some(label)) = Label::parse(sector, 1) {
        assert_eq!(Label::parse(&label.to_bytes(), 1), Ok(Some(label)));
    }
    let number = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&sector[at * 8..][..8]);
        u64::from_le_bytes(bytes) >> (sector[at + 400] & 63)
    };
    let header = Header {
        committed: Some(TextLocation {
            offset: number(0),
            size: number(1),
            checksum: 0,
            flags: 0,
        }),
        ..Header::new(Location {
            offset: number(2),
            size: number(3),
        })
    };
    let size = number(4);
    if let Some(offset) = header.next(size) {
        let pieces = header.pieces(offset, size);
        assert!(pieces.is_some(), "a text that has a place lies in the ring");
    }
    let _ = Header::parse(&header.to_bytes(), header.area, 0);
}

fn group(text: &[u8]) {
    let Ok(group) = VolumeGroup::parse(text, "input") else {
        return;
    };
    let _ = (group.size(), group.used(), group.free_extents());
    if let Some(volume) = group.logical_volumes.first() {
        let _ = group.map(&volume.name).map(|map| map.locate(1 << 30));
    }
    if group.changeable().is_err() {
        return;
    }
    let writer = Writer {
        host: "here".to_owned(),
        time: 1,
    };
    let again = VolumeGroup::parse(&group.to_text(&writer), "output");
    assert_eq!(again.ok().as_ref(), Some(&group));
    let mut edited = group;
    if edited.create_lv("fuzz", 1 << 26, &["tag"]).is_ok() {
        edited.check().expect("a new volume keeps the group sound");
    }
}
