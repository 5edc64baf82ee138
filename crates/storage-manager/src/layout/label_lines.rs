//! Names and snapshot links as lines of text, each a JSON object, for media that keep them so.
//!
//! ```text
//! {"sr":{"name_label":"gold","name_description":""}}
//! {"vdi":"3af6ddc1-...","name_label":"root","name_description":"","type":"user","snapshot_of":null,...}
//! ```

use serde_json::{Value, json};
use uuid::Uuid;

use crate::sr::{SrLabels, VdiLabels};

/// Bytes that are kept of a name and of a description; the rest is cut.
pub const TEXT_MAX: usize = 4096;

/// Bytes of the longest line: every byte of two texts may take six in JSON.
pub const LINE_MAX: usize = 2 * 6 * TEXT_MAX + 1024;

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// The names of the SR.
    Sr(SrLabels),
    /// Those of a VDI.
    Vdi(VdiLabels),
}

impl Line {
    /// Reads a line; none for what is no such line.
    pub fn parse(line: &[u8]) -> Option<Line> {
        if line.len() > LINE_MAX {
            return None;
        }
        let value: Value = serde_json::from_slice(line).ok()?;
        match value.get("sr") {
            Some(sr) => Some(Line::Sr(SrLabels {
                name_label: text(sr, "name_label"),
                name_description: text(sr, "name_description"),
            })),
            None => vdi_of(&value).map(Line::Vdi),
        }
    }
}

/// The line of an SR, without its end.
pub fn sr_line(labels: &SrLabels) -> String {
    json!({"sr": {
        "name_label": cut(&labels.name_label),
        "name_description": cut(&labels.name_description),
    }})
    .to_string()
}

/// The line of a VDI, without its end.
pub fn vdi_line(labels: &VdiLabels) -> String {
    json!({
        "vdi": labels.uuid.to_string(),
        "name_label": cut(&labels.name_label),
        "name_description": cut(&labels.name_description),
        "type": labels.vdi_type,
        "is_a_snapshot": labels.is_a_snapshot,
        "snapshot_of": labels.snapshot_of.map(|origin| origin.to_string()),
        "snapshot_time": labels.snapshot_time,
        "read_only": labels.read_only,
        "managed": labels.managed,
    })
    .to_string()
}

fn vdi_of(value: &Value) -> Option<VdiLabels> {
    let uuid = |key| Uuid::try_parse(value.get(key)?.as_str()?).ok();
    let flag = |key| value.get(key).and_then(Value::as_bool);
    Some(VdiLabels {
        uuid: uuid("vdi")?,
        name_label: text(value, "name_label"),
        name_description: text(value, "name_description"),
        vdi_type: text(value, "type"),
        is_a_snapshot: flag("is_a_snapshot").unwrap_or_default(),
        snapshot_of: uuid("snapshot_of"),
        snapshot_time: value
            .get("snapshot_time")
            .and_then(Value::as_i64)
            .unwrap_or_default(),
        read_only: flag("read_only").unwrap_or_default(),
        managed: flag("managed").unwrap_or(true),
    })
}

fn text(value: &Value, key: &str) -> String {
    let found = value.get(key).and_then(Value::as_str);
    cut(found.unwrap_or_default()).to_owned()
}

/// The start of a text that is kept.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(TEXT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
