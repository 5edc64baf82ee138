//! Logical volumes and the files that the layout of VHD files knows them as.
//!
//! Source: XenServer's LVHD: `VHD-<vdi>`, `LV-<vdi>` for raw VDIs, `OLD_` before the name of a leaf that was merged,
//! `jvhd_<vdi>` for the undo journal of a resize, `<vdi>.cbtlog`. What only this storage manager makes has a prefix that
//! XenServer passes over. Journals of coalescing keep their value in their names: [`super::journal`].

use uuid::Uuid;

use crate::layout::vhd_files::names::{
    EntryKind, ImageFormat, ImageName, cbt_log_of, classify, new_base, new_leaf, resize_journal,
};

/// What every volume group of an SR is called, before the SR's uuid.
pub const VG_PREFIX: &str = "VG_XenStorage-";

/// The volume that keeps names, flags and snapshot links.
pub const MGT: &str = "MGT";

/// The volume that says which storage manager has the SR; there while it is attached.
pub const OWNER: &str = "xensm-owner";

/// Tag of journals.
pub const TAG_JOURNALER: &str = "journaler";

/// Tag of raw volumes that are only parents.
pub const TAG_HIDDEN: &str = "hidden";

const TAG_RESIZE_JOURNAL: &str = "jvhd";
const TAG_CBT_LOG: &str = "cbtlog";

const VHD: &str = "VHD-";
const RAW: &str = "LV-";
const OLD: &str = "OLD_";
const RESIZE_JOURNAL: &str = "jvhd_";
const NEW: &str = "xensm-new-";
const LEAF: &str = "xensm-leaf-";
const BASE: &str = "xensm-base-";
const GROWTH: &str = "xensm-grow-";

/// Longest name that device-mapper takes.
///
/// Source: XenServer's journaler, which counts the volume group's name with its hyphens doubled, a hyphen, and the volume's
/// name as it is.
const MAX_MAPPED_NAME: usize = 127;

/// The name of an SR's volume group.
pub fn vg_name(sr: Uuid) -> String {
    format!("{VG_PREFIX}{sr}")
}

/// The SR whose volume group this is.
pub fn sr_of_vg(name: &str) -> Option<Uuid> {
    parse_uuid(name.strip_prefix(VG_PREFIX)?)
}

/// True when device-mapper has room for this volume of this group, as XenServer counts.
pub fn is_mappable(vg: &str, lv: &str) -> bool {
    let doubled = vg.bytes().filter(|byte| *byte == b'-').count();
    vg.len() + doubled + 1 + lv.len() <= MAX_MAPPED_NAME
}

/// The volume of a file; none for a name that no file of an SR has, and for journals of coalescing.
pub fn lv_name(file_name: &str) -> Option<String> {
    if let Some(image) = image_lv(file_name) {
        return Some(image);
    }
    if let Some(old) = file_name.strip_prefix(OLD) {
        return Some(format!("{OLD}{}", image_lv(old)?));
    }
    if cbt_log_of(file_name).is_some() {
        return Some(file_name.to_owned());
    }
    if parse_uuid(file_name).is_some() {
        return Some(format!("{GROWTH}{file_name}"));
    }
    match classify(file_name) {
        EntryKind::NewLeaf(image) => Some(format!("{LEAF}{VHD}{}", image.uuid)),
        EntryKind::NewBase(base) => Some(format!("{BASE}{base}")),
        EntryKind::ResizeJournal(vdi) => Some(format!("{RESIZE_JOURNAL}{vdi}")),
        EntryKind::Temporary => {
            let (of, number) = temporary_parts(file_name)?;
            let of = image_lv(of).or_else(|| cbt_log_of(of).map(|_| of.to_owned()))?;
            Some(format!("{NEW}{number}-{of}"))
        }
        _ => None,
    }
}

/// The file that a volume is; none for what is no file: `MGT`, journals, volumes of others.
pub fn file_name(lv_name: &str) -> Option<String> {
    if let Some(image) = image_file(lv_name) {
        return Some(image);
    }
    if let Some(old) = lv_name.strip_prefix(OLD) {
        return Some(format!("{OLD}{}", image_file(old)?));
    }
    if cbt_log_of(lv_name).is_some() {
        return Some(lv_name.to_owned());
    }
    if let Some(vdi) = lv_name.strip_prefix(RESIZE_JOURNAL) {
        return parse_uuid(vdi).map(resize_journal);
    }
    if let Some(vdi) = lv_name.strip_prefix(GROWTH) {
        return parse_uuid(vdi).map(|vdi| vdi.to_string());
    }
    if let Some(base) = lv_name.strip_prefix(BASE) {
        return parse_uuid(base).map(new_base);
    }
    if let Some(leaf) = lv_name.strip_prefix(LEAF) {
        let vdi = parse_uuid(leaf.strip_prefix(VHD)?)?;
        return Some(new_leaf(ImageName::vhd(vdi)));
    }
    let (number, of) = lv_name.strip_prefix(NEW)?.split_once('-')?;
    let of = image_file(of).or_else(|| cbt_log_of(of).map(|_| of.to_owned()))?;
    let name = format!(".{of}.{number}{TEMPORARY}");
    temporary_parts(&name)?;
    Some(name)
}

/// Ending of the names of files that are being made.
const TEMPORARY: &str = ".xensm-new";

/// The file that is being made, and its number.
fn temporary_parts(file_name: &str) -> Option<(&str, u64)> {
    let inner = file_name.strip_prefix('.')?.strip_suffix(TEMPORARY)?;
    let (of, text) = inner.rsplit_once('.')?;
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some((of, number))
}

fn image_lv(file_name: &str) -> Option<String> {
    ImageName::parse(file_name).map(image_volume)
}

/// The volume of an image.
pub fn image_volume(image: ImageName) -> String {
    match image.format {
        ImageFormat::Vhd => format!("{VHD}{}", image.uuid),
        ImageFormat::Raw => format!("{RAW}{}", image.uuid),
    }
}

/// The image that a volume is, by its name.
pub fn volume_image(lv_name: &str) -> Option<ImageName> {
    if let Some(vdi) = lv_name.strip_prefix(VHD) {
        return parse_uuid(vdi).map(ImageName::vhd);
    }
    parse_uuid(lv_name.strip_prefix(RAW)?).map(ImageName::raw)
}

/// As the layout of VHD files names it; one with a name that is no uuid ends like an image too, so that a scan tells of it.
fn image_file(lv_name: &str) -> Option<String> {
    if let Some(stem) = lv_name.strip_prefix(VHD) {
        return Some(format!("{stem}.vhd"));
    }
    lv_name.strip_prefix(RAW).map(|stem| format!("{stem}.raw"))
}

/// The tags that a volume of this name is made with.
pub fn tags(lv_name: &str) -> Vec<String> {
    let tag = if lv_name.starts_with(RESIZE_JOURNAL) {
        TAG_RESIZE_JOURNAL
    } else if cbt_log_of(lv_name).is_some() {
        TAG_CBT_LOG
    } else {
        return Vec::new();
    };
    vec![tag.to_owned()]
}

/// True for a volume that holds a VHD, or is to.
pub fn is_vhd(lv_name: &str) -> bool {
    lv_name.contains(VHD)
}

pub(super) fn parse_uuid(text: &str) -> Option<Uuid> {
    let uuid = Uuid::try_parse(text).ok()?;
    (uuid.to_string() == text).then_some(uuid)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::layout::vhd_files::names::{cbt_log_name, temporary_name};

    const VDI: &str = "3af6ddc1-61e2-46bb-8049-a0e89f35a6b4";

    #[test]
    fn names_are_xenservers() {
        for (file, lv) in [
            (format!("{VDI}.vhd"), format!("VHD-{VDI}")),
            (format!("{VDI}.raw"), format!("LV-{VDI}")),
            (format!("OLD_{VDI}.vhd"), format!("OLD_VHD-{VDI}")),
            (format!("{VDI}.cbtlog"), format!("{VDI}.cbtlog")),
            (format!(".journal-{VDI}"), format!("jvhd_{VDI}")),
            (format!("{VDI}.vhd.new"), format!("xensm-leaf-VHD-{VDI}")),
            (format!(".{VDI}.xensm-base"), format!("xensm-base-{VDI}")),
            (
                format!(".{VDI}.vhd.17.xensm-new"),
                format!("xensm-new-17-VHD-{VDI}"),
            ),
        ] {
            assert_eq!(lv_name(&file), Some(lv.clone()), "{file}");
            assert_eq!(file_name(&lv), Some(file), "{lv}");
        }
        for other in [
            "MGT",
            "xensm-owner",
            "root",
            "",
            "VHD",
            "leaf_x_1",
            ".x.1.xensm-new",
        ] {
            assert_eq!(lv_name(other), None, "{other}");
            assert_eq!(file_name(other), None, "{other}");
        }
        // Told of as damaged, and never made.
        assert_eq!(file_name("VHD-x").as_deref(), Some("x.vhd"));
        assert_eq!(lv_name("x.vhd"), None);
        assert_eq!(tags(&format!("jvhd_{VDI}")), ["jvhd"]);
        assert_eq!(tags(&format!("{VDI}.cbtlog")), ["cbtlog"]);
        assert_eq!(tags(&format!("VHD-{VDI}")), [""; 0]);
    }

    #[test]
    fn groups_are_those_of_srs() {
        let sr = Uuid::from_u128(0xabc);
        assert_eq!(sr_of_vg(&vg_name(sr)), Some(sr));
        for other in ["VG_XenStorage-x", "XSLocalEXT-1", "vg0"] {
            assert_eq!(sr_of_vg(other), None, "{other}");
        }
        let vg = vg_name(sr);
        assert!(is_mappable(&vg, &format!("coalesce_{VDI}_1")));
        assert!(!is_mappable(&vg, &format!("leaf_{VDI}_{VDI}")));
        // 14 and 36 characters, five hyphens, one between: 56.
        assert!(is_mappable(&vg, &"x".repeat(71)));
        assert!(!is_mappable(&vg, &"x".repeat(72)));
    }

    proptest! {
        #[test]
        fn every_file_of_an_sr_comes_back(bits in any::<u128>(), kind in 0..8usize) {
            let vdi = Uuid::from_u128(bits);
            let image = ImageName::vhd(vdi);
            let files = [
                image.file_name(),
                ImageName::raw(vdi).file_name(),
                cbt_log_name(vdi),
                image.temporary(),
                temporary_name(&cbt_log_name(vdi)),
                new_leaf(image),
                new_base(vdi),
                resize_journal(vdi),
            ];
            let lv = lv_name(&files[kind]).unwrap();
            prop_assert_eq!(file_name(&lv), Some(files[kind].clone()));
            prop_assert!(is_mappable(&vg_name(vdi), &lv));
        }

        #[test]
        fn any_name_is_taken_or_refused(name in ".{0,60}") {
            if let Some(file) = file_name(&name)
                && let Some(lv) = lv_name(&file)
            {
                prop_assert_eq!(&lv, &name);
            }
            let _ = lv_name(&name);
        }
    }
}
