//! LUNs that were VDIs in use when their SR was forgotten.
//!
//! Nothing of ours is on a LUN, so the records alone say which are in use; with them `SR.forget` would take that knowledge away,
//! and the next SR on the same LUNs would give one that looks blank to somebody else. So it is noted in `pool.other_config`, a key
//! for each LUN, and the first scan that finds the LUN makes it a VDI in use again, with its names.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};
use uuid::Uuid;
use xenapi::Failure;

use crate::database::{Objects, Transaction, text_map};
use crate::layout::lun_per_vdi::{SCSI_ID, vdi_uuid};

/// What the keys in `pool.other_config` begin with; the SCSI id follows.
const KEY: &str = "xensm:lun:";

/// Most LUNs that are noted.
const MAX_NOTED: usize = 4096;

/// SR types whose LUNs are taken into use and given back.
const TYPES: [&str; 2] = ["iscsi", "hba"];

/// The LUNs that are noted, as the VDIs that they were: each with the uuid of its SR and the key of its note.
pub fn noted(objects: &Objects) -> Vec<(Uuid, String, String)> {
    let Some(pool) = objects.all("pool").next() else {
        return Vec::new();
    };
    let config = pool.texts("other_config").into_iter();
    let notes = config.filter_map(|(key, note)| {
        let lun = vdi_uuid(key.strip_prefix(KEY)?);
        let note: Json = serde_json::from_str(&note).unwrap_or_default();
        Some((lun, text(&note, "sr"), key))
    });
    notes.collect()
}

/// True for an SR whose records alone say which of its LUNs are in use, when some are.
pub fn has_vdis_in_use(objects: &Objects, sr: &str) -> bool {
    let is_of_type = |record: &str| TYPES.contains(&record);
    objects
        .find("SR", sr)
        .is_some_and(|record| is_of_type(record.text("type")))
        && objects
            .pointing_at("VDI", "SR", sr)
            .any(|vdi| vdi.flag("managed"))
}

/// Notes the LUNs in use of an SR that is about to be forgotten.
///
/// # Errors
/// `OPERATION_NOT_ALLOWED` when they are too many.
pub fn note(transaction: &mut Transaction<'_>, sr: &str) -> Result<(), Failure> {
    if !has_vdis_in_use(transaction, sr) {
        return Ok(());
    }
    let sr_uuid = transaction.get("SR", sr)?.uuid().to_owned();
    let vdis = transaction.pointing_at("VDI", "SR", sr);
    let notes = vdis.filter(|vdi| vdi.flag("managed")).filter_map(|vdi| {
        let key = format!("{KEY}{}", vdi.entry("sm_config", SCSI_ID)?);
        let note = json!({
            "sr": sr_uuid,
            "name_label": vdi.text("name_label"),
            "name_description": vdi.text("name_description"),
            "other_config": vdi.texts("other_config"),
        });
        Some((key, note.to_string()))
    });
    let notes: Vec<(String, String)> = notes.collect();
    if noted(transaction).len() + notes.len() > MAX_NOTED {
        let reason = format!(
            "{MAX_NOTED} LUNs of forgotten SRs can be noted as in use, and these would be more; destroy VDIs first, or remove entries {KEY}* of pool.other_config"
        );
        return Err(Failure::new("OPERATION_NOT_ALLOWED", [reason]));
    }
    let Some(pool) = pool(transaction) else {
        return Ok(());
    };
    for (key, note) in notes {
        transaction.set_entry("pool", &pool, "other_config", &key, Some(&note))?;
    }
    Ok(())
}

/// True when a scan is to make a VDI one in use, because it was when its SR was forgotten.
pub fn was_in_use(notes: &[(Uuid, String, String)], vdi: Uuid) -> bool {
    notes.iter().any(|(lun, ..)| *lun == vdi)
}

/// Gives the VDIs of an SR that are in use again their names, and drops their notes.
///
/// # Errors
/// Those of a transaction.
pub fn settle(transaction: &mut Transaction<'_>, sr: &str) -> Result<(), Failure> {
    let notes = noted(transaction);
    let Some(pool) = pool(transaction).filter(|_| !notes.is_empty()) else {
        return Ok(());
    };
    let kept = transaction.get("pool", &pool)?.texts("other_config");
    for (lun, _, key) in notes {
        let vdi = transaction.find_by_uuid("VDI", &lun.to_string());
        let vdi = vdi.filter(|vdi| vdi.text("SR") == sr && vdi.flag("managed"));
        let Some(vdi) = vdi.map(|vdi| vdi.reference.to_string()) else {
            continue;
        };
        let note: Json = kept
            .get(&key)
            .and_then(|note| serde_json::from_str(note).ok())
            .unwrap_or_default();
        transaction.update("VDI", &vdi, |vdi| {
            // One that somebody has introduced by a name meanwhile keeps that.
            if vdi.text("name_label").is_empty() {
                vdi.put("name_label", text(&note, "name_label").into());
                vdi.put("name_description", text(&note, "name_description").into());
                vdi.put("other_config", text_map(texts(&note["other_config"])));
            }
        })?;
        transaction.set_entry("pool", &pool, "other_config", &key, None)?;
    }
    Ok(())
}

fn pool(objects: &Objects) -> Option<String> {
    let pool = objects.all("pool").next();
    pool.map(|pool| pool.reference.to_string())
}

fn text(note: &Json, key: &str) -> String {
    note[key].as_str().unwrap_or_default().to_owned()
}

fn texts(note: &Json) -> BTreeMap<String, String> {
    let empty = Map::new();
    let entries = note.as_object().unwrap_or(&empty).iter();
    let entries =
        entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    entries.collect()
}
