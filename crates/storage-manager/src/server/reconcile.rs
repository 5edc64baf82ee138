//! What a scan found against what is recorded.
//!
//! Source: reference 3.5.1. The key is `location`: found and not recorded is introduced, recorded and not found is
//! forgotten, differing fields are set. A damaged image hides no other: it keeps its record if it has one, is listed in
//! `SR.other_config` under [`DAMAGED`] and is told in a message once.
//!
//! A medium that shows nothing at all changes no record.
//!
//! The caller holds the SR alone, so nothing is made or deleted on it between the look at the medium and the change here.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use uuid::Uuid;
use xenapi::{Failure, NULL_REF, Value};

use super::vdi_records::{self, size};
use super::{Server, config_changes, forgotten_luns, labels, storage};
use crate::database::Transaction;
use crate::sr::{DamagedImage, KeptLabels, ScanReport, SrSpace};

/// Key in `SR.other_config`: the locations of damaged images, joined by commas. Absent when there are none.
pub const DAMAGED: &str = "xensm:damaged";

/// Most locations that the key names; the log names all.
const DAMAGED_LISTED: usize = 32;

/// Who wants a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A client, or an SR that asks to be scanned.
    Asked,
    /// Nobody but this server, after work in the background. What clients see at a scan only does not change by it: snapshots keep
    /// the origin that is gone.
    Own,
}

/// Scans an attached SR and brings the records in line.
///
/// # Errors
/// `SR_HAS_NO_PBDS [sr]` and what the driver fails with; then no record has changed.
pub async fn scan(server: &Arc<Server>, sr: &str, wish: Wish) -> Result<(), Failure> {
    // Asked before the medium is: an image that its maker deletes meanwhile is still named here.
    let unrecorded = server.storage.state(sr).unrecorded();
    let driver = storage::attached(server, sr)?;
    let scanner = Arc::clone(&driver);
    let patience = storage::patience_of(server, sr);
    let scanned = storage::on_threads_within(server, sr, patience, move || scanner.scan());
    let mut report = scanned.await?;
    report.vdis.retain(|vdi| !unrecorded.contains(&vdi.uuid));
    for image in &report.damaged {
        tracing::warn!(
            sr.reference = sr,
            location = image.location,
            reason = image.reason,
            "an image of an SR is damaged"
        );
    }
    let found: Vec<Uuid> = report.vdis.iter().map(|vdi| vdi.uuid).collect();
    let kept = labels::for_scan(server, sr, &found).await;
    let written = server.database.write(|transaction| {
        if driver.takes_vdis() {
            keep_managed(transaction, sr, &mut report);
        } else {
            refuse_nothing(transaction, sr, &report)?;
        }
        apply(transaction, sr, &report, &unrecorded, kept.as_ref())?;
        if wish == Wish::Asked {
            forget_origins(transaction, sr)?;
        }
        if driver.takes_vdis() {
            forgotten_luns::settle(transaction, sr)?;
        }
        config_changes::record(transaction, sr, &driver.config_changes())
    });
    written.await?;
    if let Some(kept) = &kept {
        labels::settle(server, sr, kept).await;
    }
    Ok(())
}

/// Where VDIs are taken into use rather than made, the records alone say which are, and those are what is used of the medium.
/// So is one that was in use when its SR was forgotten. One that is in use and not there keeps its record: a LUN that a target does not show comes back, and its VDI's name with it.
fn keep_managed(transaction: &Transaction<'_>, sr: &str, report: &mut ScanReport) {
    report.space.physical_utilisation = 0;
    let forgotten = forgotten_luns::noted(transaction);
    for found in &mut report.vdis {
        let known = transaction.find_by_uuid("VDI", &found.uuid.to_string());
        found.managed = forgotten_luns::was_in_use(&forgotten, found.uuid)
            || known.is_some_and(|vdi| vdi.text("SR") == sr && vdi.flag("managed"));
        if found.managed {
            let used = &mut report.space.physical_utilisation;
            *used = used.saturating_add(found.virtual_size);
        }
    }
    let there: HashSet<&str> = report
        .vdis
        .iter()
        .map(|vdi| vdi.location.as_str())
        .collect();
    let gone: Vec<DamagedImage> = transaction
        .pointing_at("VDI", "SR", sr)
        .filter(|vdi| vdi.flag("managed") && !there.contains(vdi.text("location")))
        .map(|vdi| DamagedImage {
            location: vdi.text("location").to_owned(),
            reason: "the medium does not show it any more".to_owned(),
        })
        .collect();
    report.damaged.extend(gone);
}

/// A medium on which every image vanished at once is more likely one that is not there: a directory whose file system is not
/// mounted looks so. Its records hold what users call their VDIs, so they stay until somebody says that they shall go.
///
/// # Errors
/// 40 with what was found and what can be done.
fn refuse_nothing(
    transaction: &Transaction<'_>,
    sr: &str,
    report: &ScanReport,
) -> Result<(), Failure> {
    let recorded = transaction
        .pointing_at("VDI", "SR", sr)
        .filter(|vdi| vdi.flag("managed"))
        .count();
    if recorded == 0 || !report.vdis.is_empty() || !report.damaged.is_empty() {
        return Ok(());
    }
    let detail = format!(
        "no image is there, and {recorded} VDIs are recorded; see that the medium is mounted, or call VDI.forget for the VDIs that are gone"
    );
    Err(Failure::backend(40, "The SR scan failed", &detail, ""))
}

/// Reads the space of an attached SR again.
pub async fn refresh_space(server: &Arc<Server>, sr: &str) -> Result<(), Failure> {
    let space = storage::on_sr(server, sr, |driver| driver.space()).await?;
    server
        .database
        .write(|transaction| set_space(transaction, sr, space))
        .await
}

/// What was `unrecorded` when the medium was looked at is neither introduced nor forgotten: a copy that was under way then may
/// have been recorded since.
fn apply(
    transaction: &mut Transaction<'_>,
    sr: &str,
    report: &ScanReport,
    unrecorded: &HashSet<Uuid>,
    kept: Option<&KeptLabels>,
) -> Result<(), Failure> {
    let unrecorded: HashSet<String> = unrecorded.iter().map(Uuid::to_string).collect();
    let recorded: HashMap<String, String> = transaction
        .pointing_at("VDI", "SR", sr)
        .filter(|vdi| !unrecorded.contains(vdi.uuid()))
        .map(|vdi| (vdi.text("location").to_owned(), vdi.reference.to_string()))
        .collect();
    let mut new = Vec::new();
    for found in &report.vdis {
        match recorded.get(&found.location) {
            Some(reference) => vdi_records::refresh(transaction, reference, found)?,
            None => {
                vdi_records::insert_found(transaction, sr, found);
                new.push(found.uuid);
            }
        }
    }
    if let Some(kept) = kept {
        labels::take(transaction, sr, kept, &new)?;
    }
    let found: HashSet<&str> = report
        .vdis
        .iter()
        .map(|vdi| vdi.location.as_str())
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
        if !found.contains(location.as_str()) && !is_damaged {
            vdi_records::remove(transaction, reference);
        }
    }
    note_damaged(transaction, sr, report)?;
    transaction.set_entry("SR", sr, "other_config", "dirty", None)?;
    set_space(transaction, sr, report.space)
}

/// Snapshots of a VDI that is gone are snapshots of nothing from now on, as on a real pool (golden 05, scenario destroy).
fn forget_origins(transaction: &mut Transaction<'_>, sr: &str) -> Result<(), Failure> {
    let orphans: Vec<String> = transaction
        .pointing_at("VDI", "SR", sr)
        .filter(|vdi| {
            let origin = vdi.link("snapshot_of");
            origin.is_some_and(|origin| transaction.find("VDI", origin).is_none())
        })
        .map(|vdi| vdi.reference.to_string())
        .collect();
    for orphan in orphans {
        transaction.set("VDI", &orphan, "snapshot_of", NULL_REF)?;
    }
    Ok(())
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
    let vdis = transaction.pointing_at("VDI", "SR", sr);
    let allocation = vdis.fold(0_i64, |sum, vdi| {
        sum.saturating_add(vdi_records::visible_bytes(vdi))
    });
    transaction.update("SR", sr, |record| {
        record.put("physical_size", size(space.physical_size));
        record.put("physical_utilisation", size(space.physical_utilisation));
        record.put("virtual_allocation", Value::Int(allocation));
    })
}
