//! Who a SCSI device is: its id as `scsi_id -g` prints it, from the pages that it answers an INQUIRY with.
//!
//! XenServer takes that line, cuts white space from both ends and makes one `_` of each run of it inside. The ids name volume groups'
//! devices and make the uuids of LUN-per-VDI types, so that they must be the same to the letter.
//!
//! Pure: the bytes come from a session or from sysfs (`device/inquiry`, `device/vpd_pg80`, `device/vpd_pg83`).
//!
//! # Source
//! SPC-4, 6.4.2 (standard data), 7.8.5 (page 0x83), 7.8.15 (page 0x80); order of preference and fallbacks as in systemd's
//! `src/udev/scsi_id/scsi_serial.c`; white space as in `SCSIid_sanitise` of XenServer's `scsiutil`.

use super::block_device::DeviceIdentity;

/// Unit serial number.
pub const PAGE_SERIAL: u8 = 0x80;
/// Device identification.
pub const PAGE_IDENTIFICATION: u8 = 0x83;

/// Bytes of a page that `scsi_id` asks for: descriptors past them it does not see.
const PAGE_LENGTH: usize = 254;

/// Designator types (SPC-4, table 594).
const VENDOR_SPECIFIC: u8 = 0;
const T10_VENDOR: u8 = 1;
const EUI_64: u8 = 2;
const NAA: u8 = 3;

/// Code sets (SPC-4, table 592).
const BINARY: u8 = 1;
const ASCII: u8 = 2;

/// The designators in the order in which one is chosen: type, the first four bits of a NAA designator if they matter, code set.
const PREFERENCE: [(u8, Option<u8>, u8); 12] = [
    (NAA, Some(6), BINARY),
    (NAA, Some(6), ASCII),
    (NAA, Some(5), BINARY),
    (NAA, Some(5), ASCII),
    (NAA, None, BINARY),
    (NAA, None, ASCII),
    (EUI_64, None, BINARY),
    (EUI_64, None, ASCII),
    (T10_VENDOR, None, BINARY),
    (T10_VENDOR, None, ASCII),
    (VENDOR_SPECIFIC, None, BINARY),
    (VENDOR_SPECIFIC, None, ASCII),
];

/// What a device says of itself, from its standard data and its pages 0x80 and 0x83, each empty where it has none.
pub fn identity(standard: &[u8], page_80: &[u8], page_83: &[u8]) -> DeviceIdentity {
    DeviceIdentity {
        scsi_id: scsi_id(standard, page_80, page_83),
        vendor: text(standard.get(8..16).unwrap_or_default()),
        product: text(standard.get(16..32).unwrap_or_default()),
        serial: text(&serial(page_80)),
    }
}

/// The id; empty when the device says nothing that could be one.
pub fn scsi_id(standard: &[u8], page_80: &[u8], page_83: &[u8]) -> String {
    let bytes = of_identification(standard, page_83).or_else(|| of_serial(standard, page_80));
    bytes.map_or_else(String::new, |bytes| one_word(&bytes))
}

fn of_identification(standard: &[u8], page: &[u8]) -> Option<Vec<u8>> {
    let page = &page[..page.len().min(PAGE_LENGTH)];
    if page.get(1) != Some(&PAGE_IDENTIFICATION) {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([*page.get(2)?, *page.get(3)?]));
    let body = page.get(4..)?;
    let body = &body[..body.len().min(length)];
    // Where descriptors have a reserved byte, old arrays have the bytes of a WWN, and no descriptors at all.
    if body.get(2).is_some_and(|byte| *byte != 0) {
        let mut id = vec![digit(NAA)];
        hex(&mut id, body);
        return Some(id);
    }
    PREFERENCE.iter().find_map(|wanted| {
        descriptors(body).find_map(|descriptor| of_descriptor(standard, &descriptor, *wanted))
    })
}

struct Descriptor<'a> {
    code_set: u8,
    association: u8,
    kind: u8,
    value: &'a [u8],
}

fn descriptors(mut body: &[u8]) -> impl Iterator<Item = Descriptor<'_>> {
    std::iter::from_fn(move || {
        let header = body.get(..4)?;
        let end = 4 + usize::from(header[3]);
        let descriptor = Descriptor {
            code_set: header[0] & 0x0f,
            association: header[1] >> 4 & 3,
            kind: header[1] & 0x0f,
            value: body.get(4..end)?,
        };
        body = &body[end..];
        Some(descriptor)
    })
}

fn of_descriptor(
    standard: &[u8],
    descriptor: &Descriptor<'_>,
    (kind, naa, code_set): (u8, Option<u8>, u8),
) -> Option<Vec<u8>> {
    let first_bits = descriptor.value.first().map(|byte| byte >> 4);
    let fits = descriptor.association == 0
        && descriptor.kind == kind
        && descriptor.code_set == code_set
        && naa.is_none_or(|naa| first_bits == Some(naa));
    if !fits {
        return None;
    }
    let mut id = vec![digit(kind)];
    if kind == VENDOR_SPECIFIC {
        id.extend_from_slice(standard.get(8..32)?);
    }
    if code_set == ASCII {
        id.extend_from_slice(descriptor.value);
    } else {
        hex(&mut id, descriptor.value);
    }
    Some(id)
}

/// What is left for devices without page 0x83.
fn of_serial(standard: &[u8], page: &[u8]) -> Option<Vec<u8>> {
    let serial = serial(page);
    if serial.is_empty() {
        return None;
    }
    let mut id = vec![b'S'];
    id.extend_from_slice(standard.get(8..32)?);
    id.extend_from_slice(&serial);
    Some(id)
}

fn serial(page: &[u8]) -> Vec<u8> {
    if page.get(1) != Some(&PAGE_SERIAL) {
        return Vec::new();
    }
    let length = page.get(3).map_or(0, |length| usize::from(*length));
    let body = page.get(4..).unwrap_or_default();
    body[..body.len().min(length)].to_vec()
}

fn hex(id: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        id.extend([digit(byte >> 4), digit(byte & 0x0f)]);
    }
}

fn digit(value: u8) -> u8 {
    b"0123456789abcdef"[usize::from(value & 0x0f)]
}

/// The text up to the first zero, without white space at its ends, with one `_` for each run of it inside.
fn one_word(bytes: &[u8]) -> String {
    let words = text(bytes);
    let words: Vec<&str> = words.split_ascii_whitespace().collect();
    words.join("_")
}

/// The text up to the first zero, without white space at its ends; what no text should hold becomes `?`.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    let bytes = &bytes[..end.unwrap_or(bytes.len())];
    let plain = bytes.iter().map(|byte| match byte {
        b' '..=b'~' => char::from(*byte),
        b'\t' | b'\n' | b'\r' => ' ',
        _ => '?',
    });
    plain.collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standard() -> Vec<u8> {
        let mut data = vec![0; 36];
        data[8..16].copy_from_slice(b"IET     ");
        data[16..32].copy_from_slice(b"VIRTUAL-DISK    ");
        data
    }

    /// Code set, kind with association, value.
    type Shown<'a> = (u8, u8, &'a [u8]);

    fn page_83(descriptors: &[Shown<'_>]) -> Vec<u8> {
        let mut body = Vec::new();
        for (code_set, kind, value) in descriptors {
            body.extend([*code_set, *kind, 0, value.len() as u8]);
            body.extend_from_slice(value);
        }
        let mut page = vec![0, PAGE_IDENTIFICATION];
        page.extend((body.len() as u16).to_be_bytes());
        page.extend(body);
        page
    }

    fn id(page: &[u8]) -> String {
        scsi_id(&standard(), &[0, 0x80, 0, 4, b'A', b'B', b' ', b'1'], page)
    }

    #[test]
    fn prefers_what_scsi_id_prefers() {
        let naa6: &[u8] = &[0x60, 0xa9, 0x80, 0, 0x50, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
        let naa5: &[u8] = &[0x50, 1, 2, 3, 4, 5, 6, 7];
        let naa3: &[u8] = &[0x30, 0, 0, 0, 0, 0, 0, 1];
        let eui: &[u8] = &[0, 0x1b, 0x44, 0x11, 0x3a, 0xb7, 0xdf, 0x0a];
        let t10: &[u8] = b"IET     00010001";
        let cases: [(&[Shown<'_>], &str); 9] = [
            (
                &[(2, 1, t10), (1, 3, naa5), (1, 3, naa6)],
                "360a98000500102030405060708090a0b",
            ),
            (&[(1, 3, naa3), (1, 3, naa5)], "35001020304050607"),
            (&[(1, 2, eui), (1, 3, naa3)], "33000000000000001"),
            (&[(2, 1, t10), (1, 2, eui)], "2001b44113ab7df0a"),
            (&[(2, 0, b"x"), (2, 1, t10)], "1IET_00010001"),
            (&[(2, 0, b"a  b ")], "0IET_VIRTUAL-DISK_a_b"),
            (&[(2, 1, b"IET     \0\0\0\0")], "1IET"),
            // Of a port, not of the device; then the serial number is what is left.
            (&[(1, 0x13, naa6)], "SIET_VIRTUAL-DISK_AB_1"),
            (&[], "SIET_VIRTUAL-DISK_AB_1"),
        ];
        for (descriptors, expected) in cases {
            assert_eq!(id(&page_83(descriptors)), expected);
        }
    }

    #[test]
    fn reads_the_page_of_old_arrays() {
        let mut page = vec![0, PAGE_IDENTIFICATION, 0, 16];
        page.extend([
            0x60, 0x06, 0x04, 0x80, 0, 1, 0x87, 1, 3, 1, 0x53, 0x30, 0x30, 0x38, 0x31, 0x44,
        ]);
        assert_eq!(
            id(&page),
            "36006048000018701030153303038 3144".replace(' ', "")
        );
    }

    #[test]
    fn bytes_from_a_device_never_panic() {
        let whole = page_83(&[(1, 3, &[0x60; 16]), (2, 1, b"IET     x")]);
        for length in 0..=whole.len() {
            for position in 0..length {
                for value in [0, 1, 0x7f, 0xff] {
                    let mut page = whole[..length].to_vec();
                    page[position] = value;
                    identity(&standard()[..length.min(36)], &page, &page);
                }
            }
        }
        assert_eq!(identity(&[], &[], &[]), DeviceIdentity::default());
    }

    #[test]
    fn says_who_it_is() {
        let identity = identity(&standard(), &[0, 0x80, 0, 3, b'b', b'e', b'a'], &[]);
        assert_eq!(identity.vendor, "IET");
        assert_eq!(identity.product, "VIRTUAL-DISK");
        assert_eq!(identity.serial, "bea");
        assert_eq!(identity.scsi_id, "SIET_VIRTUAL-DISK_bea");
    }
}
