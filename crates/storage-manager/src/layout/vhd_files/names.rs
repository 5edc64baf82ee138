//! The names of images in an SR directory.
//!
//! Source: XenServer's file SRs: `<vdi uuid>.vhd`, `<vdi uuid>.raw`, the uuid in its lower-case form with hyphens.

use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

/// Ending of files that are being made; what a crash leaves of them is swept when the SR is attached.
///
/// XenServer's scan looks for `*.vhd`, `*.raw` and `*.cbtlog`, and never sees these.
const TEMPORARY_SUFFIX: &str = ".xensm-new";

/// Ending of the image that replaces another when a snapshot is taken.
///
/// Source: XenServer's file SRs, `<vdi uuid>.vhd.new`.
const NEW_LEAF_SUFFIX: &str = ".new";

/// Ending of the empty file that names the parent which a snapshot is making; XenServer never sees it.
const NEW_BASE_SUFFIX: &str = ".xensm-base";

/// Start of the name of a resize journal.
///
/// Source: XenServer's file SRs, `.journal-<vdi uuid>`.
const RESIZE_JOURNAL_PREFIX: &str = ".journal-";

/// The file of the process that serves the directory; harmless to XenServer, which ignores it.
pub const LOCK_NAME: &str = ".xensm-lock";

/// The file with the names of the VDIs; XenServer never sees it.
pub const LABELS_NAME: &str = ".xensm-labels";

/// Ending of change-tracking logs.
const CBT_LOG_EXTENSION: &str = "cbtlog";

/// The format of an image, which its name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ImageFormat {
    /// A VHD.
    Vhd,
    /// Bytes as they are.
    Raw,
}

/// The name of an image file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageName {
    /// The VDI's uuid.
    pub uuid: Uuid,
    /// Its format.
    pub format: ImageFormat,
}

/// What an entry of an SR directory is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// An image.
    Image(ImageName),
    /// Ends like an image but is not named by a uuid.
    Misnamed,
    /// A file that was being made.
    Temporary,
    /// The image that is to replace this one: a snapshot was being taken, here or by XenServer.
    NewLeaf(ImageName),
    /// Says that the image with this uuid is becoming the hidden parent of a snapshot.
    NewBase(Uuid),
    /// The undo journal of a resize, ours or XenServer's.
    ResizeJournal(Uuid),
    /// The lock file.
    Lock,
    /// What else XenServer's storage manager keeps in an SR directory: change-tracking logs, caches, journals.
    SrFile,
    /// Somebody else's file.
    Other,
}

impl ImageFormat {
    /// The ending of the file name.
    pub fn extension(self) -> &'static str {
        match self {
            ImageFormat::Vhd => "vhd",
            ImageFormat::Raw => "raw",
        }
    }
}

impl ImageName {
    /// The name of a VDI's VHD.
    pub fn vhd(uuid: Uuid) -> Self {
        ImageName {
            uuid,
            format: ImageFormat::Vhd,
        }
    }

    /// The name of a VDI's raw file.
    pub fn raw(uuid: Uuid) -> Self {
        ImageName {
            uuid,
            format: ImageFormat::Raw,
        }
    }

    /// The file's name in the SR directory.
    pub fn file_name(&self) -> String {
        format!("{}.{}", self.uuid, self.format.extension())
    }

    /// Reads a file name, strictly: only the exact form that [`ImageName::file_name`] writes.
    pub fn parse(file_name: &str) -> Option<Self> {
        let (stem, extension) = file_name.rsplit_once('.')?;
        let format = match extension {
            "vhd" => ImageFormat::Vhd,
            "raw" => ImageFormat::Raw,
            _ => return None,
        };
        let uuid = Uuid::try_parse(stem).ok()?;
        let name = ImageName { uuid, format };
        (name.file_name() == file_name).then_some(name)
    }

    /// A new name for the file while it is being made, different at each call of this process.
    ///
    /// Only the holder of the SR's lock makes files in the directory, so no other process can choose the same.
    pub fn temporary(&self) -> String {
        temporary_name(&self.file_name())
    }
}

/// As [`ImageName::temporary`], for any file of the SR.
pub fn temporary_name(file_name: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!(
        ".{file_name}.{}{TEMPORARY_SUFFIX}",
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// The name of a VDI's change-tracking log.
pub fn cbt_log_name(vdi: Uuid) -> String {
    format!("{vdi}.{CBT_LOG_EXTENSION}")
}

/// The VDI whose change-tracking log has this name.
pub fn cbt_log_of(file_name: &str) -> Option<Uuid> {
    let (stem, extension) = file_name.rsplit_once('.')?;
    let vdi = Uuid::try_parse(stem).ok()?;
    (extension == CBT_LOG_EXTENSION && cbt_log_name(vdi) == file_name).then_some(vdi)
}

/// The name of the image that is to replace this one when a snapshot is taken.
pub fn new_leaf(name: ImageName) -> String {
    format!("{}{NEW_LEAF_SUFFIX}", name.file_name())
}

/// The name of the file that says which parent a snapshot is making.
pub fn new_base(uuid: Uuid) -> String {
    format!(".{uuid}{NEW_BASE_SUFFIX}")
}

/// The name of the undo journal of a VDI's resize.
pub fn resize_journal(uuid: Uuid) -> String {
    format!("{RESIZE_JOURNAL_PREFIX}{uuid}")
}

/// Tells what an entry is.
pub fn classify(file_name: &str) -> EntryKind {
    if let Some(name) = ImageName::parse(file_name) {
        return EntryKind::Image(name);
    }
    if let Some(unfinished) = classify_unfinished(file_name) {
        return unfinished;
    }
    if file_name == LOCK_NAME {
        EntryKind::Lock
    } else if is_sr_file(file_name) {
        EntryKind::SrFile
    } else if file_name.starts_with('.') {
        if file_name.ends_with(TEMPORARY_SUFFIX) {
            EntryKind::Temporary
        } else {
            EntryKind::Other
        }
    } else if file_name.ends_with(".vhd") || file_name.ends_with(".raw") {
        EntryKind::Misnamed
    } else {
        EntryKind::Other
    }
}

/// The files of a change of several steps.
fn classify_unfinished(file_name: &str) -> Option<EntryKind> {
    let image = file_name.strip_suffix(NEW_LEAF_SUFFIX);
    if let Some(name) = image.and_then(ImageName::parse) {
        return (name.format == ImageFormat::Vhd).then_some(EntryKind::NewLeaf(name));
    }
    let base = file_name.strip_prefix('.');
    if let Some(base) = base.and_then(|name| name.strip_suffix(NEW_BASE_SUFFIX)) {
        return parse_uuid(base).map(EntryKind::NewBase);
    }
    let vdi = file_name.strip_prefix(RESIZE_JOURNAL_PREFIX)?;
    parse_uuid(vdi).map(EntryKind::ResizeJournal)
}

/// Source: the content of XenServer's file SRs besides images, and our names.
fn is_sr_file(file_name: &str) -> bool {
    const FIXED: [&str; 3] = ["filelog.txt", "sm-hardlink.conf", LABELS_NAME];
    const PREFIXES: [&str; 3] = ["coalesce_", "relink_", "leaf_"];
    const SUFFIXES: [&str; 2] = [".cbtlog", ".vhdcache"];
    FIXED.contains(&file_name)
        || PREFIXES
            .iter()
            .any(|prefix| file_name.strip_prefix(prefix).is_some_and(is_uuid))
        || SUFFIXES
            .iter()
            .any(|suffix| file_name.strip_suffix(suffix).is_some_and(is_uuid))
}

fn is_uuid(text: &str) -> bool {
    parse_uuid(text).is_some()
}

fn parse_uuid(text: &str) -> Option<Uuid> {
    let uuid = Uuid::try_parse(text).ok()?;
    (uuid.to_string() == text).then_some(uuid)
}

/// The image that a parent's name, as an image tells it, means within the SR.
///
/// Everything before the last separator is ignored: a parent is looked for in the SR's own directory and nowhere else,
/// whatever path the image gives.
pub fn parent_image(named: &str) -> Option<ImageName> {
    let base = named.rsplit(['/', '\\']).next()?;
    ImageName::parse(base).or_else(|| crate::layout::lvhd::names::volume_image(base))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEM: &str = "3af6ddc1-61e2-46bb-8049-a0e89f35a6b4";

    #[test]
    fn image_names() {
        let name = ImageName::parse(&format!("{STEM}.vhd")).unwrap();
        assert_eq!(name.format, ImageFormat::Vhd);
        assert_eq!(name.file_name(), format!("{STEM}.vhd"));
        assert_eq!(
            ImageName::parse(&format!("{STEM}.raw")).unwrap().format,
            ImageFormat::Raw
        );
        let upper = STEM.to_uppercase();
        let plain = STEM.replace('-', "");
        for bad in [
            upper.as_str(),
            &plain,
            &format!("{{{STEM}}}"),
            "x",
            "",
            &format!("urn:uuid:{STEM}"),
        ] {
            assert_eq!(ImageName::parse(&format!("{bad}.vhd")), None, "{bad}");
            assert_eq!(
                classify(&format!("{bad}.vhd")),
                if bad.is_empty() {
                    EntryKind::Other
                } else {
                    EntryKind::Misnamed
                }
            );
        }
        assert_eq!(ImageName::parse(&format!("{STEM}.VHD")), None);
    }

    #[test]
    fn other_entries() {
        let name = ImageName::vhd(Uuid::try_parse(STEM).unwrap());
        assert_eq!(classify(&name.temporary()), EntryKind::Temporary);
        assert_ne!(name.temporary(), name.temporary());
        assert_eq!(classify(LOCK_NAME), EntryKind::Lock);
        for ours in [
            &format!("{STEM}.cbtlog"),
            "filelog.txt",
            LABELS_NAME,
            &format!("relink_{STEM}"),
        ] {
            assert_eq!(classify(ours), EntryKind::SrFile, "{ours}");
        }
        for (ours, kind) in [
            (new_leaf(name), EntryKind::NewLeaf(name)),
            (new_base(name.uuid), EntryKind::NewBase(name.uuid)),
            (
                resize_journal(name.uuid),
                EntryKind::ResizeJournal(name.uuid),
            ),
            (format!("{STEM}.raw.new"), EntryKind::Other),
            (format!(".journal-{STEM}x"), EntryKind::Other),
        ] {
            assert_eq!(classify(&ours), kind, "{ours}");
        }
        for other in ["x.vhd~", "notes.txt", "x.cbtlog", ".bashrc", "vhd"] {
            assert_eq!(classify(other), EntryKind::Other, "{other}");
        }
        // What leaf coalescing of XenServer leaves behind is no image of ours either, but it must be seen.
        assert_eq!(classify(&format!("OLD_{STEM}.vhd")), EntryKind::Misnamed);
    }

    #[test]
    fn parents_are_looked_for_in_the_sr_only() {
        let expected = ImageName::vhd(Uuid::try_parse(STEM).unwrap());
        for named in ["./", "", "/", "../../etc/", "file:///x/", ".\\", "C:\\x\\"] {
            assert_eq!(
                parent_image(&format!("{named}{STEM}.vhd")),
                Some(expected),
                "{named}"
            );
        }
        assert_eq!(parent_image("/etc/passwd"), None);
        assert_eq!(parent_image(""), None);
        assert_eq!(parent_image(&format!("{STEM}.vhd/..")), None);
    }
}
