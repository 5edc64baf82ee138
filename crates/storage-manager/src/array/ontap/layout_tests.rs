//! Names and comments, both ways.

use proptest::prelude::*;

use super::*;

fn sr() -> Uuid {
    Uuid::from_u128(0x1122_3344_5566_7788_99aa_bbcc_ddee_ff00)
}

#[test]
fn names_tell_what_they_are() {
    let name = flexvol_name(sr(), 3);
    assert_eq!(name, "XenStorage_11223344_5566_7788_99aa_bbccddeeff00_FV3");
    assert_eq!(parse_flexvol(&name), Some((sr(), 3)));
    let path = lun_path(&name, sr());
    assert_eq!(parse_lun(&path), Some((name.as_str(), sr())));
    for other in [
        "XenStorage_11223344_5566_7788_99aa_bbccddeeff00_FV03",
        "XenStorage_11223344_5566_7788_99aa_bbccddeeff00_FV",
        "XenStorage_11223344_5566_7788_99AA_bbccddeeff00_FV3",
        "XenStorage_FV1",
        "vol0",
    ] {
        assert_eq!(parse_flexvol(other), None, "{other}");
    }
    for other in [
        "/vol/vol1/lun0".to_owned(),
        format!("/vol/{name}/{}", sr()),
        format!("/vol/{name}/qtree/xensm-{}", sr()),
        format!("/vol/{name}/xensm-{}", sr().simple()),
    ] {
        assert_eq!(parse_lun(&other), None, "{other}");
    }
}

#[test]
fn cookies_become_names() {
    assert_eq!(snapshot_name("one-1"), "xensm-one-1");
    for odd in ["../../x", "", "a b", &"x".repeat(65), "\u{e4}"] {
        let name = snapshot_name(odd);
        assert!(name.len() <= 70 && name.starts_with(MARK), "{name}");
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'));
    }
    assert_ne!(snapshot_name("a b"), snapshot_name("a c"));
}

#[test]
fn long_names_are_cut() {
    let labels = VdiLabels {
        uuid: sr(),
        name_label: "\u{e4}&=%".repeat(100),
        name_description: "d".repeat(500),
        vdi_type: "system".to_owned(),
        is_a_snapshot: true,
        snapshot_of: Some(sr()),
        snapshot_time: 1_700_000_000,
        read_only: true,
        managed: true,
    };
    let mark = VdiMark {
        hint: Some(hint_digest("a machine")),
        is_snapshot: true,
        labels: Some(labels.clone()),
    };
    let comment = mark.to_comment();
    assert!(comment.len() <= LUN_COMMENT && comment.is_ascii());
    let read = VdiMark::parse(sr(), &comment);
    assert_eq!(read.hint, mark.hint);
    let read = read.labels.unwrap();
    assert!(labels.name_label.starts_with(&read.name_label) && !read.name_label.is_empty());
    assert_eq!(read.snapshot_of, labels.snapshot_of);
    assert_eq!(read.snapshot_time, labels.snapshot_time);
    assert_eq!(
        VdiMark::parse(sr(), "somebody's own words"),
        VdiMark::default()
    );
}

#[test]
fn an_sr_is_told_by_its_first_flexvol() {
    let mark = SrMark {
        flexvols: 8,
        aggregate: "aggr1_node1".to_owned(),
        is_thin: true,
        is_deduplicated: false,
        begun_s: 1_700_000_000,
        labels: Some(SrLabels {
            name_label: "gold & silver".to_owned(),
            name_description: String::new(),
        }),
    };
    assert_eq!(SrMark::parse(&mark.to_comment()), Some(mark));
    assert_eq!(SrMark::parse("xensm=2&count=8"), None);
    assert_eq!(SrMark::parse("xensm=1&count=0"), None);
    assert_eq!(SrMark::parse(""), None);
}

proptest! {
    #[test]
    fn short_texts_survive(name in "\\PC{0,12}", description in "\\PC{0,8}", time in 0_i64..=i64::MAX) {
        let mark = VdiMark {
            hint: None,
            is_snapshot: false,
            labels: Some(VdiLabels {
                uuid: sr(),
                name_label: name,
                name_description: description,
                vdi_type: "user".to_owned(),
                is_a_snapshot: false,
                snapshot_of: None,
                snapshot_time: time,
                read_only: false,
                managed: true,
            }),
        };
        let comment = mark.to_comment();
        // Twelve characters of four bytes each, thrice as long when they are encoded, and what is about them.
        prop_assert!(comment.len() <= LUN_COMMENT);
        let read = VdiMark::parse(sr(), &comment);
        let (read, written) = (read.labels.unwrap(), mark.labels.unwrap());
        prop_assert!(written.name_label.starts_with(&read.name_label));
        prop_assert_eq!(read.snapshot_time, written.snapshot_time);
    }

    #[test]
    fn no_comment_panics(text in "\\PC{0,300}") {
        let _ = VdiMark::parse(sr(), &text);
        let _ = SrMark::parse(&text);
        let _ = snapshot_time(&text);
        let _ = parse_flexvol(&text);
        let _ = parse_lun(&text);
    }
}

/// What an SR has so many of is counted and listed: a number that makes no sense must not be believed.
#[test]
fn a_mark_with_too_many_flexvols_is_none() {
    for (count, is_known) in [
        ("1", true),
        ("32", true),
        ("0", false),
        ("33", false),
        ("4294967295", false),
    ] {
        let comment = format!("xensm=1&count={count}&aggregate=aggr1&allocation=thin");
        assert_eq!(SrMark::parse(&comment).is_some(), is_known, "{count}");
    }
}
