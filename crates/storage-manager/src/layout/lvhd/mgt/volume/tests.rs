use proptest::prelude::*;

use super::*;

fn sr() -> SrRecord {
    SrRecord {
        uuid: Uuid::from_u128(1),
        allocation: Allocation::Thin,
        name_label: "a <b> & c".to_owned(),
        name_description: "d".to_owned(),
    }
}

fn vdi(number: u128, label: &str) -> VdiRecord {
    VdiRecord {
        uuid: Uuid::from_u128(number),
        name_label: label.to_owned(),
        managed: true,
        ..VdiRecord::unreadable()
    }
}

fn sector(text: &str, pad: u8) -> Vec<u8> {
    let mut sector = vec![pad; SECTOR];
    sector[..text.len()].copy_from_slice(text.as_bytes());
    sector
}

/// The text is what XenServer's storage manager writes, with fields that it adds when it rewrites a record.
#[test]
fn reads_what_xenserver_writes() {
    let (sr, of) = (Uuid::from_u128(0xa), Uuid::from_u128(0xb));
    let mut bytes = Vec::new();
    for text in [
        "XSSM:4096      :1:2".to_owned(),
        format!("<?xml version=\"1.0\" ?><uuid>{sr}</uuid><allocation>thick</allocation>"),
        "<name_label>Local storage &amp; more</name_label>".to_owned(),
        "<name_description></name_description>".to_owned(),
        "<vdi><name_label>disk 1</name_label><name_description>of a &lt;VM&gt;</name_description>"
            .to_owned(),
        format!(
            "<uuid>{of}</uuid><is_a_snapshot>0</is_a_snapshot><snapshot_of></snapshot_of><snapshot_time></snapshot_time>\
             <type>user</type><vdi_type>vhd</vdi_type><read_only>0</read_only><metadata_of_pool></metadata_of_pool>\
             <managed>1</managed><deleted>0</deleted><offset>2048</offset></vdi>"
        ),
        "<vdi><name_label>gone</name_label><name_description></name_description>".to_owned(),
        "<uuid>00000000-0000-0000-0000-00000000000c</uuid><deleted>1</deleted></vdi>".to_owned(),
    ] {
        bytes.extend(sector(&text, b' '));
    }
    // Readers of XenServer take zero bytes for padding too.
    bytes[SECTOR + 200..2 * SECTOR].fill(0);
    bytes.extend(vec![0xff; 8 * SECTOR]);
    let found = Management::parse(&bytes).unwrap();
    assert_eq!(found.sr.uuid, sr);
    assert_eq!(found.sr.allocation, Allocation::Thick);
    assert_eq!(found.sr.name_label, "Local storage & more");
    let vdis: Vec<_> = found.vdis().collect();
    assert_eq!(vdis.len(), 1);
    assert_eq!(vdis[0].name_description, "of a <VM>");
    assert_eq!(vdis[0].kind, "user");
    assert!(vdis[0].managed && !vdis[0].read_only);
    // The place that was given up is used again, and the volume does not grow.
    let mut grown = found.clone();
    grown.put(vdi(0xd, "new")).unwrap();
    assert_eq!(grown.to_bytes().len(), 4096);
}

#[test]
fn reads_the_binary_header() {
    let xml = format!(
        "<?xml version=\"1.0\" ?>\n<SRMetadata>\n\t<uuid>{}</uuid>\n\t<allocation>thin</allocation>\n\t<vdi><uuid>{}</uuid>\
         <name_label>\n\t\tx\n\t</name_label></vdi>\n</SRMetadata>",
        Uuid::from_u128(1),
        Uuid::from_u128(2)
    );
    let mut bytes = b"XSSM".to_vec();
    bytes.extend((12 + xml.len() as u32).to_le_bytes());
    bytes.extend([1, 0, 2, 0]);
    bytes.extend(xml.as_bytes());
    let found = Management::parse(&bytes).unwrap();
    assert_eq!(found.sr.allocation, Allocation::Thin);
    assert_eq!(found.get(Uuid::from_u128(2)).unwrap().name_label, "x");
}

#[test]
fn refuses_what_it_does_not_know() {
    assert!(matches!(
        Management::parse(&[0; 4096]),
        Err(Defect::Magic { .. })
    ));
    assert!(matches!(Management::parse(b""), Err(Defect::Magic { .. })));
    for (header, defect) in [
        ("XSSM:2048      :2:0", "format 2"),
        ("XSSM:99999     :1:2", "99999"),
        ("XSSM:-1        :1:2", "-1"),
        ("XSSM:x:1:2", "\"x\""),
        ("XSSM:", "format "),
    ] {
        let error = Management::parse(&sector(header, b' ')).unwrap_err();
        assert!(error.to_string().contains(defect), "{header}: {error}");
    }
}

#[test]
fn is_full_at_its_end() {
    let mut management = Management::new(sr());
    for number in 0..MAX_RECORDS as u128 {
        management.slots.push(Slot::used(vdi(number + 1, "x")));
    }
    assert_eq!(MAX_RECORDS, 4094);
    assert_eq!(management.to_bytes().len(), MGT_LENGTH);
    assert_eq!(management.put(vdi(9999, "y")), Err(Defect::Full));
    management.put(vdi(1, "another name")).unwrap();
    assert!(management.delete(Uuid::from_u128(77)));
    management.put(vdi(9999, "y")).unwrap();
    assert_eq!(Management::parse(&management.to_bytes()), Ok(management));
}

/// A write that is cut off after any sector leaves a volume that reads as before or as after, or with a new name alone.
#[test]
fn every_cut_of_a_change_can_be_read() {
    let mut before = Management::new(sr());
    for number in 1..6 {
        before.put(vdi(number, "old")).unwrap();
    }
    let mut changes: Vec<Management> = Vec::new();
    let mut added = before.clone();
    added.put(vdi(9, "new")).unwrap();
    let mut removed = before.clone();
    removed.delete(Uuid::from_u128(5));
    let mut renamed = before.clone();
    renamed.put(vdi(3, "new")).unwrap();
    let mut inner = before.clone();
    inner.delete(Uuid::from_u128(2));
    changes.extend([added, removed, renamed, inner]);
    for after in changes {
        let (old, new) = (before.to_bytes(), after.to_bytes());
        let mut medium = old.clone();
        medium.resize(MGT_LENGTH, 0xee);
        for (at, bytes) in Management::changed_sectors(&old, &new) {
            let found = Management::parse(&medium).unwrap();
            for record in found.vdis() {
                let known = [&before, &after].map(|it| it.get(record.uuid));
                assert!(known.contains(&Some(record)), "{record:?}");
            }
            medium[at..at + SECTOR].copy_from_slice(bytes);
        }
        assert_eq!(Management::parse(&medium), Ok(after));
    }
}

proptest! {
    #[test]
    fn what_is_printed_is_parsed(
        labels in proptest::collection::vec(("[^\\p{C}\\s]{0,300}", "[^\\p{C}\\s]{0,300}", any::<bool>()), 0..12),
        name in "\\PC{0,600}",
        deleted in proptest::collection::vec(0..12u128, 0..4),
    ) {
        let mut management = Management::new(SrRecord { name_label: name, ..sr() });
        for (number, (label, description, is_snapshot)) in labels.into_iter().enumerate() {
            management.put(VdiRecord {
                name_description: description,
                snapshot_of: is_snapshot.then(|| Uuid::from_u128(77)),
                ..vdi(number as u128, &label)
            }).unwrap();
        }
        for number in deleted {
            management.delete(Uuid::from_u128(number));
        }
        let bytes = management.to_bytes();
        prop_assert_eq!(bytes.len() % SECTOR, 0);
        let found = Management::parse(&bytes).unwrap();
        prop_assert_eq!(found.slots.len(), management.slots.len());
        for (found, written) in found.slots.iter().zip(&management.slots) {
            prop_assert_eq!(found.is_deleted, written.is_deleted);
            let (found, written) = (&found.record, &written.record);
            prop_assert_eq!(found.uuid, written.uuid);
            prop_assert_eq!(found.snapshot_of, written.snapshot_of);
            prop_assert!(written.name_label.starts_with(&found.name_label));
            prop_assert!(written.name_description.starts_with(&found.name_description));
            if written.name_label.len() + written.name_description.len() < 80 {
                prop_assert_eq!(found, written);
            }
        }
        // Twice is the same.
        prop_assert_eq!(Management::parse(&found.to_bytes()).unwrap(), found);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..6000), header in 0..3usize) {
        let mut bytes = bytes;
        let head = ["", "XSSM:4096      :1:2", "XSSM\0\x10\0\0\x01\0\x02\0"][header];
        if bytes.len() >= head.len() {
            bytes[..head.len()].copy_from_slice(head.as_bytes());
        }
        if let Ok(found) = Management::parse(&bytes) {
            let _ = found.to_bytes();
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "(<vdi>|</vdi>|<uuid>|</uuid>|<uuid/>|&|&amp;|[a-f0-9-]{1,8}){0,40}") {
        let _ = VdiRecord::parse(&text);
    }
}
