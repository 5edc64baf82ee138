//! Journals as XenServer's LVHD keeps them: a volume `<type>_<id>_<value>` with the tag `journaler`.
//!
//! A value that device-mapper has no room for stands at the start of the volume, as `<length> <value>`, and the volume is
//! named as if the value were `1`. That is so for every `clone` and `leaf`, and XenServer reads the value of these two
//! from the volume without looking at the length of the name.

use uuid::Uuid;

use super::names::{is_mappable, parse_uuid};

/// Bytes at the start of a journal that hold its value.
pub const SECTOR: usize = 512;

/// Longest value; what is longer was not written by a storage manager.
const MAX_VALUE: usize = 200;

/// What a journal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JournalKind {
    /// A snapshot: the value is `<base>_<new image>`, without the second where there is none.
    Clone,
    /// A volume is being made larger: the value is its size in bytes before.
    Inflate,
    /// A raw parent was made larger: the value is the offset from which it is to be zeroed.
    Zero,
    /// An image is being copied into its parent.
    Coalesce,
    /// The children of an image are being given its parent.
    Relink,
    /// A parent is getting the name of its only child: the value is the parent.
    Leaf,
}

impl JournalKind {
    const ALL: [JournalKind; 6] = [
        JournalKind::Clone,
        JournalKind::Inflate,
        JournalKind::Zero,
        JournalKind::Coalesce,
        JournalKind::Relink,
        JournalKind::Leaf,
    ];

    fn text(self) -> &'static str {
        match self {
            JournalKind::Clone => "clone",
            JournalKind::Inflate => "inflate",
            JournalKind::Zero => "zero",
            JournalKind::Coalesce => "coalesce",
            JournalKind::Relink => "relink",
            JournalKind::Leaf => "leaf",
        }
    }

    /// True when the value is always in the volume.
    fn is_long(self) -> bool {
        matches!(self, JournalKind::Clone | JournalKind::Leaf)
    }
}

/// What a journal is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JournalId {
    /// What it is about.
    pub kind: JournalKind,
    /// The image.
    pub vdi: Uuid,
}

/// A journal to write: the volume's name, and its first sector if the value is kept there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJournal {
    /// The volume.
    pub lv_name: String,
    /// What its first sector is to hold.
    pub content: Option<[u8; SECTOR]>,
}

impl JournalId {
    /// The journal that the layout of VHD files knows by this file name: `<type>_<vdi>`.
    pub fn of_file(file_name: &str) -> Option<Self> {
        let (kind, vdi) = file_name.split_once('_')?;
        JournalId::new(kind, vdi)
    }

    /// The name of its file.
    pub fn file_name(self) -> String {
        format!("{}_{}", self.kind.text(), self.vdi)
    }

    /// Reads the name of a volume; the value as the name tells it.
    pub fn of_volume(lv_name: &str) -> Option<(Self, &str)> {
        let mut parts = lv_name.splitn(3, '_');
        let (kind, vdi, value) = (parts.next()?, parts.next()?, parts.next()?);
        Some((JournalId::new(kind, vdi)?, value))
    }

    fn new(kind: &str, vdi: &str) -> Option<Self> {
        let kind = JournalKind::ALL
            .into_iter()
            .find(|known| known.text() == kind)?;
        Some(JournalId {
            kind,
            vdi: parse_uuid(vdi)?,
        })
    }

    /// The volume of a journal with this value; none for a value that no journal has.
    pub fn volume(self, vg: &str, value: &str) -> Option<NewJournal> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        if value.is_empty() || value.len() > MAX_VALUE || !value.bytes().all(is_plain) {
            return None;
        }
        let named = |value: &str| format!("{}_{}_{value}", self.kind.text(), self.vdi);
        let lv_name = named(value);
        if !self.kind.is_long() && is_mappable(vg, &lv_name) {
            return Some(NewJournal {
                lv_name,
                content: None,
            });
        }
        let text = format!("{} {value}", value.len());
        let mut content = [b' '; SECTOR];
        content[..text.len()].copy_from_slice(text.as_bytes());
        Some(NewJournal {
            lv_name: named("1"),
            content: Some(content),
        })
    }

    /// True when the value must be read from the volume, whose name tells `named`.
    pub fn is_in_volume(self, named: &str) -> bool {
        self.kind.is_long() && named == "1"
    }
}

/// The value that the first sector of a journal holds; none when it was not written to the end.
pub fn content_value(sector: &[u8]) -> Option<String> {
    let head = &sector[..sector.len().min(SECTOR)];
    let space = head.iter().position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(&head[..space]).ok()?.parse().ok()?;
    if length == 0 || length > MAX_VALUE {
        return None;
    }
    let value = head.get(space + 1..space + 1 + length)?;
    let value = std::str::from_utf8(value).ok()?;
    value
        .bytes()
        .all(|byte| byte.is_ascii_graphic())
        .then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::names::vg_name;
    use super::*;

    fn id(kind: JournalKind) -> JournalId {
        let vdi = Uuid::from_u128(7);
        JournalId { kind, vdi }
    }

    #[test]
    fn journals_are_xenservers() {
        let vg = vg_name(Uuid::from_u128(1));
        let vdi = Uuid::from_u128(7);
        let short = id(JournalKind::Inflate).volume(&vg, "8388608").unwrap();
        assert_eq!(short.lv_name, format!("inflate_{vdi}_8388608"));
        assert_eq!(short.content, None);
        let (base, new) = (Uuid::from_u128(8), Uuid::from_u128(9));
        let value = format!("{base}_{new}");
        let long = id(JournalKind::Clone).volume(&vg, &value).unwrap();
        assert_eq!(long.lv_name, format!("clone_{vdi}_1"));
        let content = long.content.unwrap();
        assert!(content.starts_with(format!("73 {value} ").as_bytes()));
        assert_eq!(content_value(&content), Some(value));
        // A snapshot with one new image.
        let single = id(JournalKind::Clone).volume(&vg, &format!("{base}_"));
        let single = single.unwrap().content.unwrap();
        assert_eq!(content_value(&single), Some(format!("{base}_")));
        assert_eq!(
            JournalId::of_file(&format!("leaf_{vdi}")),
            Some(id(JournalKind::Leaf))
        );
        assert_eq!(id(JournalKind::Leaf).file_name(), format!("leaf_{vdi}"));
        for refused in ["", "a b", "a/b", &"x".repeat(201)] {
            assert_eq!(id(JournalKind::Leaf).volume(&vg, refused), None);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in "[a-z0-9_-]{1,120}", kind in 0..6usize) {
            let id = id(JournalKind::ALL[kind]);
            let volume = id.volume(&vg_name(Uuid::from_u128(1)), &value).unwrap();
            let (read, named) = JournalId::of_volume(&volume.lv_name).unwrap();
            prop_assert_eq!(read, id);
            let read = match volume.content {
                Some(content) => content_value(&content),
                None => Some(named.to_owned()),
            };
            prop_assert_eq!(read, Some(value));
        }

        #[test]
        fn any_sector_is_taken_or_refused(sector in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = content_value(&sector);
        }
    }
}
