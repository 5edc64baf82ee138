//! One VDI in the volume: two sectors, of which the first has the names and the second everything else.

use uuid::Uuid;

use super::text::{element, escape, escape_within, push_element, push_escaped_element};
use super::volume::SECTOR;

/// Most bytes that the escaped name and description have together; when both are longer, each is cut to half of it.
///
/// Source: XenServer: a sector without its tags and twelve bytes.
const MAX_NAMES: usize =
    SECTOR - 2 * "name_label".len() - 2 * "name_description".len() - "vdi".len() - 12;

/// Longest text of a field that is neither a name nor a uuid.
const MAX_FIELD: usize = 48;

/// What the volume says of a VDI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VdiRecord {
    /// The VDI.
    pub uuid: Uuid,
    /// Its name.
    pub name_label: String,
    /// Its description.
    pub name_description: String,
    /// The VDI that it is a snapshot of; nil for a snapshot whose VDI is not known, none for what is no snapshot.
    pub snapshot_of: Option<Uuid>,
    /// When it was taken, as XenAPI writes times: `20261122T05:55:47Z`; empty where not known.
    pub snapshot_time: String,
    /// `VDI.type`: `user`, `system` ...
    pub kind: String,
    /// `vhd`, or `aio` for raw.
    pub vdi_type: String,
    /// True for a parent.
    pub read_only: bool,
    /// False for what is only a parent.
    pub managed: bool,
    /// The pool whose metadata it holds; empty for other VDIs.
    pub metadata_of_pool: String,
}

impl VdiRecord {
    /// Reads the two sectors; none when they are no record. The flag says that the VDI was deleted.
    pub fn parse(xml: &str) -> Option<(Self, bool)> {
        let text = |tag| element(xml, tag).unwrap_or_default();
        let flag = |tag| text(tag) == "1";
        let uuid = Uuid::try_parse(&element(xml, "uuid")?).ok()?;
        let of = Uuid::try_parse(&text("snapshot_of")).unwrap_or_default();
        let record = VdiRecord {
            uuid,
            name_label: text("name_label"),
            name_description: text("name_description"),
            snapshot_of: flag("is_a_snapshot").then_some(of),
            snapshot_time: text("snapshot_time"),
            kind: text("type"),
            vdi_type: text("vdi_type"),
            read_only: flag("read_only"),
            managed: flag("managed"),
            metadata_of_pool: text("metadata_of_pool"),
        };
        Some((record, flag("deleted")))
    }

    /// The two sectors, padded by the caller.
    pub fn to_text(&self, deleted: bool) -> (String, String) {
        let (label, description) = self.names();
        let mut first = String::from("<vdi>");
        push_escaped_element(&mut first, "name_label", &label);
        push_escaped_element(&mut first, "name_description", &description);
        let flag = |is_set| if is_set { "1" } else { "0" };
        let of = self.snapshot_of.filter(|of| !of.is_nil());
        let mut second = String::new();
        push_element(&mut second, "uuid", &self.uuid.to_string());
        push_element(
            &mut second,
            "is_a_snapshot",
            flag(self.snapshot_of.is_some()),
        );
        push_element(
            &mut second,
            "snapshot_of",
            &of.map(|of| of.to_string()).unwrap_or_default(),
        );
        for (tag, text) in [
            ("snapshot_time", &self.snapshot_time),
            ("type", &self.kind),
            ("vdi_type", &self.vdi_type),
        ] {
            push_escaped_element(&mut second, tag, &escape_within(text, MAX_FIELD));
        }
        push_element(&mut second, "read_only", flag(self.read_only));
        push_element(&mut second, "managed", flag(self.managed));
        let pool = escape_within(&self.metadata_of_pool, MAX_FIELD);
        push_escaped_element(&mut second, "metadata_of_pool", &pool);
        push_element(&mut second, "deleted", flag(deleted));
        second.push_str("</vdi>");
        (first, second)
    }

    /// The names as they fit.
    fn names(&self) -> (String, String) {
        let names = [&self.name_label, &self.name_description].map(|name| escape(name));
        if names[0].len() + names[1].len() <= MAX_NAMES {
            let [label, description] = names;
            return (label, description);
        }
        let half = MAX_NAMES / 2;
        let label = escape_within(&self.name_label, half);
        let description = escape_within(&self.name_description, half);
        (label, description)
    }
}
