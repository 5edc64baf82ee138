//! How an SR lies on a filer: names, and what the comments of FlexVols and LUNs say. Pure.
//!
//! ```text
//! FlexVol   XenStorage_<sr uuid with _>_FV<n>       comment of FV0: how the SR was made, its names
//! LUN       /vol/<FlexVol>/xensm-<vdi uuid>         comment: vmhint, names, snapshot link
//! snapshot  xensm-<epochhint>  (of a FlexVol)       comment: when it was made
//! igroup    xensm-<digest of the initiator>         initiator: this storage manager
//! ```
//!
//! The names are the mark: what bears another name is somebody else's. Comments are copies of what the records say; one that cannot
//! be read says nothing. Both forms are `key=value` pairs as in a URL, so that any text is plain ASCII in it.

use std::collections::HashMap;

use md5::{Digest, Md5};
use uuid::Uuid;

use crate::sr::{SrLabels, VdiLabels};

/// What the name of every FlexVol of ours begins with. Source: reference arrays 1.5.
pub const FLEXVOL_PREFIX: &str = "XenStorage_";

/// What the name of every LUN, snapshot and igroup of ours begins with.
pub const MARK: &str = "xensm-";

/// Most bytes of the comment of a LUN. Source: reference arrays 1.5.
const LUN_COMMENT: usize = 254;

/// Most bytes of the comment of a FlexVol. Source: ONTAP REST, `/storage/volumes`, `comment`.
const FLEXVOL_COMMENT: usize = 1023;

/// Most characters of an `epochhint` that becomes a name as it is.
const MAX_COOKIE: usize = 64;

/// Most FlexVols of an SR. Source: reference arrays 1.2.
pub const MAX_FLEXVOLS: u32 = 32;

/// The version of the comments.
const VERSION: &str = "1";

/// The name of a FlexVol.
pub fn flexvol_name(sr: Uuid, index: u32) -> String {
    format!("{}{index}", flexvol_stem(sr))
}

/// What the names of all FlexVols of an SR begin with; what follows is a number.
pub fn flexvol_stem(sr: Uuid) -> String {
    let uuid = sr.to_string().replace('-', "_");
    format!("{FLEXVOL_PREFIX}{uuid}_FV")
}

/// The SR and the number that a name of a FlexVol tells.
pub fn parse_flexvol(name: &str) -> Option<(Uuid, u32)> {
    let rest = name.strip_prefix(FLEXVOL_PREFIX)?;
    let (uuid, number) = rest.split_once("_FV")?;
    let sr = Uuid::parse_str(&uuid.replace('_', "-")).ok()?;
    let index = number.parse().ok()?;
    // One form only: two names must not tell one FlexVol.
    (flexvol_name(sr, index) == name).then_some((sr, index))
}

/// The base name of a LUN.
pub fn lun_name(vdi: Uuid) -> String {
    format!("{MARK}{vdi}")
}

/// The path of a LUN.
pub fn lun_path(flexvol: &str, vdi: Uuid) -> String {
    format!("/vol/{flexvol}/{}", lun_name(vdi))
}

/// The FlexVol and the VDI that the path of a LUN tells; none for a LUN that is not ours.
pub fn parse_lun(path: &str) -> Option<(&str, Uuid)> {
    let (flexvol, name) = path.strip_prefix("/vol/")?.split_once('/')?;
    let vdi = Uuid::parse_str(name.strip_prefix(MARK)?).ok()?;
    (lun_name(vdi) == name).then_some((flexvol, vdi))
}

/// The name of the snapshot of a FlexVol that an `epochhint` stands for.
pub fn snapshot_name(epochhint: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if epochhint.len() <= MAX_COOKIE && epochhint.chars().all(is_plain) {
        return format!("{MARK}{epochhint}");
    }
    format!("{MARK}{}", digest(epochhint))
}

/// The name of the igroup of an initiator.
pub fn igroup_name(initiator: &str) -> String {
    format!("{MARK}{}", digest(initiator))
}

fn digest(text: &str) -> String {
    let digest = Md5::digest(text.as_bytes());
    Uuid::from_bytes(digest.into()).simple().to_string()
}

/// What the comment of the first FlexVol says of the SR.
#[derive(Clone, Debug, PartialEq)]
pub struct SrMark {
    /// How many FlexVols there are.
    pub flexvols: u32,
    /// Where they are.
    pub aggregate: String,
    /// True when no space is reserved.
    pub is_thin: bool,
    /// True when they are deduplicated.
    pub is_deduplicated: bool,
    /// When it was begun to be made, in seconds since 1970.
    pub begun_s: u64,
    /// The names of the SR; none before they were written.
    pub labels: Option<SrLabels>,
}

impl SrMark {
    /// The comment. Names too long for it are cut.
    pub fn to_comment(&self) -> String {
        let mut comment = Comment::new(FLEXVOL_COMMENT);
        comment.put("count", &self.flexvols.to_string());
        comment.put("aggregate", &self.aggregate);
        comment.put("allocation", if self.is_thin { "thin" } else { "thick" });
        comment.put(
            "asis",
            if self.is_deduplicated {
                "true"
            } else {
                "false"
            },
        );
        comment.put("begun", &self.begun_s.to_string());
        if let Some(labels) = &self.labels {
            comment.put("name", &labels.name_label);
            comment.put("description", &labels.name_description);
        }
        comment.text
    }

    /// Reads a comment; none when it says nothing of how the SR was made.
    pub fn parse(comment: &str) -> Option<SrMark> {
        let pairs = pairs(comment)?;
        let get = |key: &str| pairs.get(key).map(String::as_str);
        Some(SrMark {
            flexvols: get("count")?
                .parse()
                .ok()
                .filter(|count| (1..=MAX_FLEXVOLS).contains(count))?,
            aggregate: get("aggregate").unwrap_or_default().to_owned(),
            is_thin: get("allocation") == Some("thin"),
            is_deduplicated: get("asis") == Some("true"),
            begun_s: get("begun").and_then(|at| at.parse().ok()).unwrap_or(0),
            labels: get("name").map(|name| SrLabels {
                name_label: name.to_owned(),
                name_description: get("description").unwrap_or_default().to_owned(),
            }),
        })
    }
}

/// What the comment of a LUN says of its VDI.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VdiMark {
    /// What keeps VDIs together: a digest of `vmhint`.
    pub hint: Option<String>,
    /// True when it was made as a snapshot, for which no space is reserved.
    pub is_snapshot: bool,
    /// Names and snapshot link; none before they were written.
    pub labels: Option<VdiLabels>,
}

/// The digest of a `vmhint` that comments keep.
pub fn hint_digest(vmhint: &str) -> String {
    let mut digest = digest(vmhint);
    digest.truncate(12);
    digest
}

impl VdiMark {
    /// The comment. Names too long for it are cut: first the description, then the name.
    pub fn to_comment(&self) -> String {
        let mut comment = Comment::new(LUN_COMMENT);
        if let Some(hint) = &self.hint {
            comment.put("hint", hint);
        }
        if self.is_snapshot {
            comment.put("snap", "1");
        }
        if let Some(labels) = &self.labels {
            let flags = [
                (labels.is_a_snapshot, 's'),
                (labels.read_only, 'r'),
                (!labels.managed, 'u'),
            ];
            let flags: String = flags
                .iter()
                .filter(|(on, _)| *on)
                .map(|(_, c)| *c)
                .collect();
            comment.put("f", &flags);
            if let Some(origin) = labels.snapshot_of {
                comment.put("of", &origin.simple().to_string());
            }
            if labels.snapshot_time != 0 {
                comment.put("at", &labels.snapshot_time.to_string());
            }
            if labels.vdi_type != "user" {
                comment.put("type", &labels.vdi_type);
            }
            comment.put("name", &labels.name_label);
            comment.put("desc", &labels.name_description);
        }
        comment.text
    }

    /// Reads a comment.
    pub fn parse(vdi: Uuid, comment: &str) -> VdiMark {
        let Some(pairs) = pairs(comment) else {
            return VdiMark::default();
        };
        let get = |key: &str| pairs.get(key).map(String::as_str);
        let labels = get("f").map(|flags| VdiLabels {
            uuid: vdi,
            name_label: get("name").unwrap_or_default().to_owned(),
            name_description: get("desc").unwrap_or_default().to_owned(),
            vdi_type: get("type").unwrap_or("user").to_owned(),
            is_a_snapshot: flags.contains('s'),
            snapshot_of: get("of").and_then(|of| Uuid::parse_str(of).ok()),
            snapshot_time: get("at").and_then(|at| at.parse().ok()).unwrap_or(0),
            read_only: flags.contains('r'),
            managed: !flags.contains('u'),
        });
        VdiMark {
            hint: get("hint").map(str::to_owned),
            is_snapshot: get("snap") == Some("1"),
            labels,
        }
    }
}

/// The comment of the snapshot of a FlexVol.
pub fn snapshot_comment(now_s: u64) -> String {
    let mut comment = Comment::new(LUN_COMMENT);
    comment.put("at", &now_s.to_string());
    comment.text
}

/// When the snapshot of a FlexVol was made, in seconds since 1970.
pub fn snapshot_time(comment: &str) -> Option<u64> {
    pairs(comment)?.get("at")?.parse().ok()
}

/// A comment that is being written.
struct Comment {
    text: String,
    limit: usize,
}

impl Comment {
    fn new(limit: usize) -> Self {
        Comment {
            text: format!("xensm={VERSION}"),
            limit,
        }
    }

    /// Adds a pair, as much of its value as there is room for.
    fn put(&mut self, key: &str, value: &str) {
        let mut pair = format!("&{key}=");
        for character in value.chars() {
            let mut bytes = [0; 4];
            let encoded = character.encode_utf8(&mut bytes).as_bytes();
            let encoded: String = form_urlencoded::byte_serialize(encoded).collect();
            if self.text.len() + pair.len() + encoded.len() > self.limit {
                break;
            }
            pair.push_str(&encoded);
        }
        if self.text.len() + pair.len() <= self.limit {
            self.text.push_str(&pair);
        }
    }
}

/// The pairs of a comment of ours.
fn pairs(comment: &str) -> Option<HashMap<String, String>> {
    let pairs: HashMap<String, String> = form_urlencoded::parse(comment.as_bytes())
        .into_owned()
        .collect();
    (pairs.get("xensm").map(String::as_str) == Some(VERSION)).then_some(pairs)
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
