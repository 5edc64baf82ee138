//! What a scan found against what is recorded.
//!
//! Source: reference 3.5.1. The key is `location`: found and not recorded is introduced, recorded and not found is
//! forgotten, differing fields are set. A damaged image hides no other: it keeps its record if it has one, is listed in
//! `SR.other_config` under [`DAMAGED`] and is told in a message once.
//!
//! The caller holds the SR alone, so nothing is made or deleted on it between the look at the medium and the change here.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use xenapi::{Failure, NULL_REF, Value};

use super::Server;
use super::storage;
use crate::database::{Transaction, text_map};
use crate::sr::{FoundVdi, ScanReport, SrSpace};

/// Key in `SR.other_config`: the locations of damaged images, joined by commas. Absent when there are none.
pub const DAMAGED: &str = "xensm:damaged";

/// Most locations that the key names; the log names all.
const DAMAGED_LISTED: usize = 32;

/// Keys of `VDI.sm_config` that a scan leaves as they are.
fn is_kept(key: &str) -> bool {
    key.starts_with("host_")
        || matches!(
            key,
            "paused" | "vhd-blocks" | "relinking" | "activating" | "key_hash"
        )
}

/// Scans an attached SR and brings the records in line.
///
/// # Errors
/// `SR_HAS_NO_PBDS [sr]` and what the driver fails with; then no record has changed.
pub async fn scan(server: &Arc<Server>, sr: &str) -> Result<(), Failure> {
    // Asked before the medium is: an image that its maker deletes meanwhile is still named here.
    let unrecorded = server.storage.state(sr).unrecorded();
    let mut report = storage::on_sr(server, sr, |driver| driver.scan()).await?;
    report.vdis.retain(|vdi| !unrecorded.contains(&vdi.uuid));
    for image in &report.damaged {
        tracing::warn!(
            sr.reference = sr,
            location = image.location,
            reason = image.reason,
            "an image of an SR is damaged"
        );
    }
    server
        .database
        .write(|transaction| apply(transaction, sr, &report))
        .await
}

/// Reads the space of an attached SR again.
pub async fn refresh_space(server: &Arc<Server>, sr: &str) -> Result<(), Failure> {
    let space = storage::on_sr(server, sr, |driver| driver.space()).await?;
    server
        .database
        .write(|transaction| set_space(transaction, sr, space))
        .await
}

fn apply(transaction: &mut Transaction<'_>, sr: &str, report: &ScanReport) -> Result<(), Failure> {
    let recorded: HashMap<String, String> = transaction
        .pointing_at("VDI", "SR", sr)
        .map(|vdi| (vdi.text("location").to_owned(), vdi.reference.to_string()))
        .collect();
    for found in &report.vdis {
        match recorded.get(&found.location) {
            Some(reference) => refresh(transaction, reference, found)?,
            None => introduce(transaction, sr, found),
        }
    }
    let found: HashMap<&str, ()> = report
        .vdis
        .iter()
        .map(|vdi| (vdi.location.as_str(), ()))
        .collect();
    let damaged: Vec<&str> = report
        .damaged
        .iter()
        .map(|image| image.location.as_str())
        .collect();
    for (location, reference) in &recorded {
        let is_damaged = damaged
            .iter()
            .any(|file| *file == location || file.split('.').next() == Some(location));
        if !found.contains_key(location.as_str()) && !is_damaged {
            super::classes::vdi::remove_record(transaction, reference);
        }
    }
    note_damaged(transaction, sr, report)?;
    transaction.set_entry("SR", sr, "other_config", "dirty", None)?;
    set_space(transaction, sr, report.space)
}

fn refresh(
    transaction: &mut Transaction<'_>,
    reference: &str,
    found: &FoundVdi,
) -> Result<(), Failure> {
    transaction.update("VDI", reference, |vdi| {
        let kept = vdi
            .texts("sm_config")
            .into_iter()
            .filter(|(key, _)| is_kept(key));
        let sm_config: BTreeMap<String, String> = kept.chain(recorded_sm_config(found)).collect();
        vdi.put("sm_config", text_map(sm_config));
        vdi.put("virtual_size", size(found.virtual_size));
        vdi.put("physical_utilisation", size(found.physical_utilisation));
        vdi.put("managed", found.managed.into());
        // A VDI that was made read-only stays so although its image could be written.
        if found.read_only {
            vdi.put("read_only", true.into());
        }
    })
}

fn introduce(transaction: &mut Transaction<'_>, sr: &str, found: &FoundVdi) {
    // A uuid that a VDI of another SR has already is a copied image; it stays unknown until one of the two is gone.
    if transaction
        .find_by_uuid("VDI", &found.uuid.to_string())
        .is_some()
    {
        tracing::warn!(vdi.uuid = %found.uuid, "an image has the uuid of a VDI in another SR and is left out");
        return;
    }
    transaction.insert(
        "VDI",
        [
            ("uuid", found.uuid.to_string().into()),
            ("SR", sr.into()),
            ("location", found.location.as_str().into()),
            ("virtual_size", size(found.virtual_size)),
            ("physical_utilisation", size(found.physical_utilisation)),
            ("type", "user".into()),
            ("managed", found.managed.into()),
            ("read_only", found.read_only.into()),
            ("sm_config", text_map(recorded_sm_config(found))),
            ("metadata_of_pool", NULL_REF.into()),
        ],
    );
}

/// What of the driver's `sm_config` is recorded: a plain image has none on a real pool.
pub fn recorded_sm_config(found: &FoundVdi) -> impl Iterator<Item = (String, String)> {
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

fn note_damaged(
    transaction: &mut Transaction<'_>,
    sr: &str,
    report: &ScanReport,
) -> Result<(), Failure> {
    let record = transaction.get("SR", sr)?;
    let (uuid, before) = (
        record.uuid().to_owned(),
        record.entry("other_config", DAMAGED).map(str::to_owned),
    );
    let listed: Vec<&str> = report
        .damaged
        .iter()
        .take(DAMAGED_LISTED)
        .map(|image| image.location.as_str())
        .collect();
    let now = (!listed.is_empty()).then(|| listed.join(","));
    if now == before {
        return Ok(());
    }
    if let Some(listed) = &now {
        let body = format!("{} images cannot be read: {listed}", report.damaged.len());
        super::classes::message::note(transaction, "DISK_IMAGES_IGNORED", 4, "SR", &uuid, &body);
    }
    transaction.set_entry("SR", sr, "other_config", DAMAGED, now.as_deref())
}

fn set_space(transaction: &mut Transaction<'_>, sr: &str, space: SrSpace) -> Result<(), Failure> {
    let managed = transaction
        .pointing_at("VDI", "SR", sr)
        .filter(|vdi| vdi.flag("managed"));
    let allocation = managed.fold(0_i64, |sum, vdi| {
        sum.saturating_add(vdi.int("virtual_size"))
    });
    transaction.update("SR", sr, |record| {
        record.put("physical_size", size(space.physical_size));
        record.put("physical_utilisation", size(space.physical_utilisation));
        record.put("virtual_allocation", Value::Int(allocation));
    })
}
