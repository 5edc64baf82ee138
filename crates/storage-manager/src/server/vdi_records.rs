//! What is recorded of a VDI when it is made, derived of another one, found, changed and gone.
//!
//! Source: reference 2.6 and 3.5.1; golden 04 to 08, record by record.

use std::collections::BTreeMap;

use uuid::Uuid;
use xenapi::{Failure, NULL_REF, Value};

use super::allowed::CBT_METADATA;
use super::call::Record;
use super::context::now;
use crate::database::{Object, Transaction, text_map};
use crate::sr::{FoundVdi, SnapshotKind, SnapshotReport};

/// Key in `VDI.other_config`: two VDIs with one value have one content.
pub const CONTENT_ID: &str = "content_id";

/// The content id of a VDI of which only the change-tracking log is left.
pub const NO_CONTENT: &str = "/No content: this is a cbt_metadata VDI/";

/// The name of hidden parents.
const BASE_COPY: &str = "base copy";

/// Keys of `VDI.sm_config` that a scan leaves as they are.
fn is_kept(key: &str) -> bool {
    key.starts_with("host_")
        || matches!(
            key,
            "paused" | "vhd-blocks" | "relinking" | "activating" | "key_hash"
        )
}

/// Records a VDI that was made with the record of a caller.
pub fn insert_created(
    transaction: &mut Transaction<'_>,
    sr: &str,
    mut record: Record,
    found: &FoundVdi,
) -> String {
    let copied = [
        "name_label",
        "name_description",
        "type",
        "sharable",
        "read_only",
        "other_config",
        "xenstore_data",
        "tags",
    ];
    let mut fields: Vec<(&'static str, Value)> = copied
        .into_iter()
        .map(|field| (field, record.take(field)))
        .collect();
    // As on a real pool, a VDI that was made has the empty text here and one that was found the null reference.
    fields.push(("metadata_of_pool", "".into()));
    insert(transaction, sr, found, fields)
}

/// Records what a snapshot or a clone left on the medium: the new VDI, the source, and their parent. Returns the new one.
///
/// # Errors
/// `HANDLE_INVALID` when the source is gone.
pub fn insert_snapshot(
    transaction: &mut Transaction<'_>,
    source: &str,
    report: &SnapshotReport,
    kind: SnapshotKind,
) -> Result<String, Failure> {
    let before = transaction.get("VDI", source)?.clone();
    let sr = before.text("SR").to_owned();
    let mut fields = copied_fields(
        &before,
        &[
            "name_label",
            "name_description",
            "type",
            "sharable",
            "other_config",
            "xenstore_data",
            "on_boot",
            "allow_caching",
            "tags",
        ],
    );
    // A clone has a time too, as on a real pool.
    fields.push(("snapshot_time", Value::DateTime(now())));
    fields.push(("metadata_of_pool", NULL_REF.into()));
    if kind == SnapshotKind::Snapshot {
        fields.push(("is_a_snapshot", true.into()));
        fields.push(("snapshot_of", source.into()));
    }
    let new = insert(transaction, &sr, &report.new, fields);
    refresh(transaction, source, &report.source)?;
    if let Some(base) = &report.base {
        put(transaction, &sr, base)?;
    }
    Ok(new)
}

/// Records a full copy: what the source says of itself, with an id for its content.
pub fn insert_copy(
    transaction: &mut Transaction<'_>,
    sr: &str,
    source: &Object,
    found: &FoundVdi,
    content_id: &str,
) -> String {
    let mut fields = copied_fields(
        source,
        &[
            "name_label",
            "name_description",
            "type",
            "sharable",
            "read_only",
            "xenstore_data",
            "tags",
        ],
    );
    let mut other_config = source.texts("other_config");
    other_config.insert(CONTENT_ID.to_owned(), content_id.to_owned());
    fields.push(("other_config", text_map(other_config)));
    fields.push(("metadata_of_pool", "".into()));
    insert(transaction, sr, found, fields)
}

/// Records what the medium says of one VDI: of a known one the fields that changed, of an unknown one everything.
///
/// # Errors
/// None but what a transaction fails with.
pub fn put(transaction: &mut Transaction<'_>, sr: &str, found: &FoundVdi) -> Result<(), Failure> {
    let known = transaction.find_by_uuid("VDI", &found.uuid.to_string());
    match known.filter(|vdi| vdi.text("SR") == sr) {
        Some(vdi) => {
            let vdi = vdi.reference.to_string();
            refresh(transaction, &vdi, found)
        }
        None => {
            insert_found(transaction, sr, found);
            Ok(())
        }
    }
}

/// Records a VDI that nobody made here.
pub fn insert_found(transaction: &mut Transaction<'_>, sr: &str, found: &FoundVdi) {
    // A uuid that a VDI of another SR has already is a copied image; it stays unknown until one of the two is gone.
    if transaction
        .find_by_uuid("VDI", &found.uuid.to_string())
        .is_some()
    {
        tracing::warn!(vdi.uuid = %found.uuid, "an image has the uuid of a VDI in another SR and is left out");
        return;
    }
    // What nobody may write to is a parent; what is not in use and could be written to is a LUN that nobody took.
    let is_parent = !found.managed && found.read_only;
    let name = if is_parent { BASE_COPY } else { "" };
    let mut fields = vec![
        ("name_label", name.into()),
        ("type", "user".into()),
        ("read_only", found.read_only.into()),
        ("metadata_of_pool", NULL_REF.into()),
    ];
    if found.is_cbt_metadata {
        fields.push(("is_a_snapshot", true.into()));
        fields.push(("other_config", text_map([(CONTENT_ID, NO_CONTENT)])));
    }
    insert(transaction, sr, found, fields);
}

fn copied_fields(source: &Object, names: &[&'static str]) -> Vec<(&'static str, Value)> {
    names
        .iter()
        .map(|name| (*name, source.value(name).clone()))
        .collect()
}

fn insert(
    transaction: &mut Transaction<'_>,
    sr: &str,
    found: &FoundVdi,
    mut fields: Vec<(&'static str, Value)>,
) -> String {
    fields.extend([
        ("uuid", found.uuid.to_string().into()),
        ("SR", sr.into()),
        ("location", found.location.as_str().into()),
        ("virtual_size", size(found.virtual_size)),
        ("physical_utilisation", size(found.physical_utilisation)),
        ("managed", found.managed.into()),
        ("sm_config", text_map(recorded_sm_config(found))),
        ("cbt_enabled", is_tracked(found).into()),
    ]);
    if found.is_cbt_metadata {
        fields.push(("type", CBT_METADATA.into()));
    }
    let vdi = transaction.insert("VDI", fields);
    let bytes = visible_size(found.managed, found.virtual_size);
    add_to_allocation(transaction, sr, bytes);
    vdi
}

fn is_tracked(found: &FoundVdi) -> bool {
    found.cbt_enabled || found.is_cbt_metadata
}

/// Brings the record of a VDI in line with its medium.
///
/// # Errors
/// `HANDLE_INVALID` when there is none.
pub fn refresh(
    transaction: &mut Transaction<'_>,
    vdi: &str,
    found: &FoundVdi,
) -> Result<(), Failure> {
    let record = transaction.get("VDI", vdi)?;
    let sr = record.text("SR").to_owned();
    let before = visible_bytes(record);
    transaction.update("VDI", vdi, |vdi| {
        let kept = vdi
            .texts("sm_config")
            .into_iter()
            .filter(|(key, _)| is_kept(key));
        let sm_config: BTreeMap<String, String> = kept.chain(recorded_sm_config(found)).collect();
        vdi.put("sm_config", text_map(sm_config));
        vdi.put("virtual_size", size(found.virtual_size));
        vdi.put("physical_utilisation", size(found.physical_utilisation));
        vdi.put("managed", found.managed.into());
        vdi.put("cbt_enabled", is_tracked(found).into());
        if found.is_cbt_metadata {
            vdi.put("type", CBT_METADATA.into());
        }
        // A VDI that was made read-only stays so although its image could be written.
        if found.read_only {
            vdi.put("read_only", true.into());
        }
    })?;
    let after = visible_bytes(transaction.get("VDI", vdi)?);
    add_to_allocation(transaction, &sr, after - before);
    Ok(())
}

/// Removes the record of a VDI and those of its VBDs. Snapshots go on naming it until the next scan.
pub fn remove(transaction: &mut Transaction<'_>, vdi: &str) {
    let Some(record) = transaction.find("VDI", vdi) else {
        return;
    };
    let (sr, bytes) = (record.text("SR").to_owned(), visible_bytes(record));
    let vbds: Vec<String> = transaction
        .pointing_at("VBD", "VDI", vdi)
        .map(|vbd| vbd.reference.to_string())
        .collect();
    vbds.iter().for_each(|vbd| transaction.remove("VBD", vbd));
    transaction.remove("VDI", vdi);
    add_to_allocation(transaction, &sr, -bytes);
}

/// What of the driver's `sm_config` is recorded: a plain image has none on a real pool.
fn recorded_sm_config(found: &FoundVdi) -> impl Iterator<Item = (String, String)> {
    found
        .sm_config
        .iter()
        .filter(|(key, _)| *key != "vdi_type")
        .map(|(key, value)| (key.clone(), value.clone()))
}

/// A size as XenAPI counts it.
pub fn size(bytes: u64) -> Value {
    Value::Int(i64::try_from(bytes).unwrap_or(i64::MAX))
}

/// What a VDI counts in `SR.virtual_allocation`: hidden parents count nothing.
pub fn visible_bytes(vdi: &Object) -> i64 {
    if vdi.flag("managed") {
        vdi.int("virtual_size")
    } else {
        0
    }
}

fn visible_size(managed: bool, bytes: u64) -> i64 {
    if managed {
        i64::try_from(bytes).unwrap_or(i64::MAX)
    } else {
        0
    }
}

/// Adds to what the SR has promised.
pub fn add_to_allocation(transaction: &mut Transaction<'_>, sr: &str, bytes: i64) {
    if bytes == 0 {
        return;
    }
    // An SR that is gone counts nothing.
    let _ = transaction.update("SR", sr, |record| {
        let allocation = record
            .int("virtual_allocation")
            .saturating_add(bytes)
            .max(0);
        record.put("virtual_allocation", Value::Int(allocation));
    });
}

/// A fresh id for a content that no other VDI has.
pub fn fresh_content_id() -> String {
    Uuid::new_v4().to_string()
}
