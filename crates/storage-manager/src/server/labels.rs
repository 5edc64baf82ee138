//! Names and snapshot links on the medium, where a driver keeps them there.
//!
//! The records are the truth while the SR is known here; the medium has a copy, from which an SR gets its names and snapshots
//! back that was introduced from nothing but its medium.
//!
//! ```text
//! change:  record -> medium -> answer
//! scan:    VDIs without a record get what the medium says -> whatever else differs is written to the medium
//! ```
//!
//! A crash between record and medium, and a write that fails, leave an old entry on the medium: the first scan after the SR
//! was attached, and the next one after a failure, compare everything and write what differs.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;
use xenapi::{Failure, NULL_REF, Value};

use super::{Server, storage};
use crate::database::{Object, Objects, Transaction};
use crate::sr::{KeptLabels, SrLabels, VdiLabels};

/// Writes the labels of some VDIs, named by reference, to the medium of their SR. VDIs without a record are left out.
///
/// What was recorded stands whatever the medium says, so nothing fails here: what could not be written is written by the next
/// scan, which is asked for.
pub async fn push(server: &Arc<Server>, sr: &str, vdis: &[&str]) {
    let Some(driver) = server.storage.state(sr).sr() else {
        return;
    };
    if !driver.keeps_labels() {
        return;
    }
    let labels: Vec<VdiLabels> = {
        let objects = server.database.read();
        vdis.iter()
            .filter_map(|vdi| of_vdi(&objects, objects.find("VDI", vdi)?))
            .collect()
    };
    if labels.is_empty() {
        return;
    }
    let written = storage::on_sr(server, sr, move |driver| driver.write_vdi_labels(&labels));
    note_failure(server, sr, written.await);
}

/// Writes the labels of a VDI and of those that it was made from or that were made with it: what a snapshot changed.
pub async fn push_family(server: &Arc<Server>, sr: &str, uuids: &[Uuid]) {
    let vdis: Vec<String> = {
        let objects = server.database.read();
        let found = uuids
            .iter()
            .filter_map(|uuid| objects.find_by_uuid("VDI", &uuid.to_string()));
        found.map(|vdi| vdi.reference.to_string()).collect()
    };
    let vdis: Vec<&str> = vdis.iter().map(String::as_str).collect();
    push(server, sr, &vdis).await;
}

/// Writes the names of an SR to its medium.
pub async fn push_sr(server: &Arc<Server>, sr: &str) {
    let Some(driver) = server.storage.state(sr).sr() else {
        return;
    };
    if !driver.keeps_labels() {
        return;
    }
    let labels = server.database.read().find("SR", sr).map(|sr| of_sr(sr));
    let Some(labels) = labels else { return };
    let written = storage::on_sr(server, sr, move |driver| driver.write_sr_labels(&labels));
    note_failure(server, sr, written.await);
}

fn note_failure(server: &Server, sr: &str, written: Result<(), Failure>) {
    if let Err(failure) = written {
        tracing::warn!(%failure, sr.reference = sr, "names could not be written to the medium of an SR; its next scan tries again");
        server.storage.state(sr).expect_other_labels();
    }
}

/// What the medium keeps, when a scan that found these VDIs needs it: some of them have no record, or what the medium keeps
/// may be old.
pub async fn for_scan(server: &Arc<Server>, sr: &str, found: &[Uuid]) -> Option<KeptLabels> {
    let state = server.storage.state(sr);
    if !state.sr()?.keeps_labels() {
        return None;
    }
    let has_unknown = {
        let objects = server.database.read();
        found
            .iter()
            .any(|uuid| objects.find_by_uuid("VDI", &uuid.to_string()).is_none())
    };
    if !has_unknown && !state.expects_other_labels() {
        return None;
    }
    match storage::on_sr(server, sr, |driver| driver.labels()).await {
        Ok(kept) => Some(kept),
        Err(failure) => {
            tracing::warn!(%failure, sr.reference = sr, "the names on the medium of an SR could not be read; VDIs that were found have none");
            None
        }
    }
}

/// Gives VDIs that a scan has just recorded what the medium says of them, and an SR without a name its name.
///
/// # Errors
/// Those of a transaction.
pub fn take(
    transaction: &mut Transaction<'_>,
    sr: &str,
    kept: &KeptLabels,
    new: &[Uuid],
) -> Result<(), Failure> {
    if let Some(labels) = &kept.sr
        && transaction.get("SR", sr)?.text("name_label").is_empty()
    {
        transaction.set("SR", sr, "name_label", labels.name_label.as_str())?;
        let description = labels.name_description.as_str();
        transaction.set("SR", sr, "name_description", description)?;
    }
    let by_uuid: HashMap<Uuid, &VdiLabels> = kept.vdis.iter().map(|vdi| (vdi.uuid, vdi)).collect();
    let mut links = Vec::new();
    for uuid in new {
        let Some(labels) = by_uuid.get(uuid) else {
            continue;
        };
        let Some(vdi) = reference_in(transaction, sr, *uuid) else {
            continue;
        };
        let origin = labels
            .snapshot_of
            .and_then(|origin| reference_in(transaction, sr, origin));
        links.push((vdi, origin, *labels));
    }
    for (vdi, origin, labels) in links {
        let is_hidden = !transaction.get("VDI", &vdi)?.flag("managed");
        transaction.update("VDI", &vdi, |record| {
            // A hidden parent has the name that a scan gave it.
            if !is_hidden || !labels.name_label.is_empty() {
                record.put("name_label", labels.name_label.as_str().into());
            }
            record.put("name_description", labels.name_description.as_str().into());
            record.put("is_a_snapshot", labels.is_a_snapshot.into());
            record.put("snapshot_of", origin.as_deref().unwrap_or(NULL_REF).into());
            record.put("snapshot_time", Value::DateTime(labels.snapshot_time));
            if labels.read_only {
                record.put("read_only", true.into());
            }
            if is_vdi_type(&labels.vdi_type) && record.text("type") == "user" {
                record.put("type", labels.vdi_type.as_str().into());
            }
        })?;
    }
    Ok(())
}

/// Writes to the medium what a scan saw to differ there.
pub async fn settle(server: &Arc<Server>, sr: &str, kept: &KeptLabels) {
    let by_uuid: HashMap<Uuid, &VdiLabels> = kept.vdis.iter().map(|vdi| (vdi.uuid, vdi)).collect();
    let (other, sr_labels) = {
        let objects = server.database.read();
        let Some(record) = objects.find("SR", sr) else {
            return;
        };
        let other: Vec<VdiLabels> = objects
            .pointing_at("VDI", "SR", sr)
            .filter_map(|vdi| of_vdi(&objects, vdi))
            .filter(|labels| by_uuid.get(&labels.uuid) != Some(&labels))
            .collect();
        let sr_labels = of_sr(record);
        (
            other,
            (kept.sr.as_ref() != Some(&sr_labels)).then_some(sr_labels),
        )
    };
    let state = server.storage.state(sr);
    state.take_other_labels();
    if other.is_empty() && sr_labels.is_none() {
        return;
    }
    let written = storage::on_sr(server, sr, move |driver| {
        if let Some(labels) = &sr_labels {
            driver.write_sr_labels(labels)?;
        }
        if other.is_empty() {
            return Ok(());
        }
        driver.write_vdi_labels(&other)
    });
    note_failure(server, sr, written.await);
}

fn reference_in(objects: &Objects, sr: &str, uuid: Uuid) -> Option<String> {
    let vdi = objects.find_by_uuid("VDI", &uuid.to_string())?;
    (vdi.text("SR") == sr).then(|| vdi.reference.to_string())
}

fn of_vdi(objects: &Objects, vdi: &Object) -> Option<VdiLabels> {
    let origin = vdi
        .link("snapshot_of")
        .and_then(|origin| objects.find("VDI", origin));
    Some(VdiLabels {
        uuid: Uuid::parse_str(vdi.uuid()).ok()?,
        name_label: vdi.text("name_label").to_owned(),
        name_description: vdi.text("name_description").to_owned(),
        vdi_type: vdi.text("type").to_owned(),
        is_a_snapshot: vdi.flag("is_a_snapshot"),
        snapshot_of: origin.and_then(|origin| Uuid::parse_str(origin.uuid()).ok()),
        snapshot_time: match vdi.value("snapshot_time") {
            Value::DateTime(seconds) => *seconds,
            _ => 0,
        },
        read_only: vdi.flag("read_only"),
        managed: vdi.flag("managed"),
    })
}

fn of_sr(sr: &Object) -> SrLabels {
    SrLabels {
        name_label: sr.text("name_label").to_owned(),
        name_description: sr.text("name_description").to_owned(),
    }
}

/// The types that a medium may say a VDI has; whatever else it says is not recorded. Source: reference 2.6.
fn is_vdi_type(text: &str) -> bool {
    matches!(
        text,
        "system"
            | "user"
            | "ephemeral"
            | "suspend"
            | "crashdump"
            | "ha_statefile"
            | "metadata"
            | "redo_log"
            | "rrd"
            | "pvs_cache"
    )
}
