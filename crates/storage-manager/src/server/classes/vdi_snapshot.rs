//! `VDI.snapshot`, `VDI.clone` and `VDI.revert`. Source: reference 2.6 and 5.9; golden 05, 06 and 08.

use std::collections::BTreeMap;

use uuid::Uuid;
use xenapi::{Failure, Value};

use super::vdi::{begun, for_clients, uuid_of};
use crate::server::barrier::{self, Ticket};
use crate::server::call::Call;
use crate::server::operations::{self, Sharing};
use crate::server::vdi_records::{self, CONTENT_ID};
use crate::server::{allowed, attachments, images, labels};
use crate::sr::{SnapshotHints, SnapshotKind, SnapshotReport};

/// Key in `driver_params`: see [`SnapshotHints::epochhint`].
const EPOCH_HINT: &str = "epochhint";

/// Makes a VDI with the content that another has now. The source goes on being used.
///
/// Medium before record: a crash in between leaves an image whose intent is stored, and the next start deletes it. The base
/// copy that the driver made is introduced with the new VDI in one transaction.
///
/// Of `driver_params` the drivers are told `epochhint`. With [`barrier::KEY`] snapshots of several VDIs are taken at one moment.
/// Other keys mean nothing here.
pub async fn make(
    call: &Call,
    vdi: &str,
    kind: SnapshotKind,
    driver_params: &BTreeMap<String, String>,
) -> Result<Value, Failure> {
    let server = &call.server;
    let (operation, on_sr) = match kind {
        SnapshotKind::Snapshot => ("snapshot", "vdi_snapshot"),
        SnapshotKind::Clone => ("clone", "vdi_clone"),
    };
    // Joined before anything else: what fails from here on fails for the others at once.
    let member = barrier_of(driver_params, kind)?
        .map(|ticket| server.barriers.join(&ticket))
        .transpose()?;
    let (sr, source) = begun(&server.database.read(), vdi, operation)?;
    let _operations = match &member {
        Some(member) => {
            member.gather(call, vdi, &sr).await?;
            None
        }
        None => {
            let on_sr = operations::begin(call, "SR", &sr, on_sr, Sharing::Shared).await?;
            let on_vdi = operations::begin(call, "VDI", vdi, operation, Sharing::Exclusive).await?;
            Some((on_vdi, on_sr))
        }
    };
    allowed::check_vdi(&server.database.read(), vdi, operation)?;
    let hold = match &member {
        Some(member) => Some(member.hold_back(server, &sr, source).await?),
        None => None,
    };
    let hints = SnapshotHints {
        epochhint: driver_params
            .get(EPOCH_HINT)
            .filter(|hint| !hint.is_empty())
            .cloned(),
    };
    let made = images::make(server, &sr, move |driver, new| {
        driver.snapshot_vdi_hinted(source, new, kind, &hints)
    });
    let made = made
        .await
        .map_err(|failure| for_clients(failure, &sr, vdi, source))?;
    if let Some((member, hold)) = member.as_ref().zip(hold)
        && let Err(failure) = member.settle(hold).await
    {
        made.discard().await;
        return Err(failure);
    }
    let family = family(&made.answer);
    let recorded = made
        .record(|transaction, report| vdi_records::insert_snapshot(transaction, vdi, report, kind));
    let new = recorded.await?;
    labels::push_family(server, &sr, &family).await;
    tracing::info!(vdi.uuid = %source, operation, "a VDI was snapshotted or cloned");
    Ok(new.into())
}

/// The barrier that a call belongs to.
fn barrier_of(
    driver_params: &BTreeMap<String, String>,
    kind: SnapshotKind,
) -> Result<Option<Ticket>, Failure> {
    match driver_params.get(barrier::KEY) {
        Some(value) if kind == SnapshotKind::Snapshot => Ticket::parse(value).map(Some),
        Some(value) => Err(barrier::invalid(
            value,
            "only snapshots are taken at one moment",
        )),
        None => Ok(None),
    }
}

/// Gives the VDI of a snapshot the content of the snapshot; its uuid and reference stay.
///
/// Medium before record: a crash in between leaves a record that the scan after the next start brings in line.
///
/// # Errors
/// `OPERATION_NOT_ALLOWED` for what is no snapshot, `HANDLE_INVALID` when its VDI is gone, and those of any operation.
pub async fn revert(call: &Call, snapshot: &str) -> Result<Value, Failure> {
    let server = &call.server;
    let (vdi, sr, uuid, snapshot_uuid) = {
        let objects = server.database.read();
        let (sr, snapshot_uuid) = begun(&objects, snapshot, "revert_from")?;
        let record = objects.get("VDI", snapshot)?;
        if !record.flag("is_a_snapshot") {
            let reason = format!("VDI is not a snapshot: {snapshot}");
            return Err(Failure::new("OPERATION_NOT_ALLOWED", [reason]));
        }
        let origin = record.text("snapshot_of").to_owned();
        let origin_record = objects.get("VDI", &origin)?;
        if origin_record.text("SR") != sr {
            return Err(Failure::new("SR_OPERATION_NOT_SUPPORTED", [sr]));
        }
        let uuid = uuid_of(origin_record)?;
        (origin, sr, uuid, snapshot_uuid)
    };
    let _on_sr = operations::begin(call, "SR", &sr, "vdi_revert", Sharing::Shared).await?;
    // In the order of the references, so that no two calls wait for each other.
    let mut both = [(vdi.as_str(), "revert_to"), (snapshot, "revert_from")];
    both.sort_unstable();
    let _first = operations::begin(call, "VDI", both[0].0, both[0].1, Sharing::Exclusive).await?;
    let _second = operations::begin(call, "VDI", both[1].0, both[1].1, Sharing::Exclusive).await?;
    allowed::check_vdi(&server.database.read(), &vdi, "revert")?;
    attachments::withdraw_unplugged(server, &sr, vec![uuid.to_string()]).await?;
    let reverted = images::change(server, &sr, move |driver| {
        driver.revert_vdi(uuid, snapshot_uuid)
    });
    let report = reverted
        .await
        .map_err(|failure| for_clients(failure, &sr, &vdi, uuid))?;
    let written = server.database.write(|transaction| {
        for found in [
            Some(&report.new),
            Some(&report.source),
            report.base.as_ref(),
        ] {
            found.map_or(Ok(()), |found| vdi_records::put(transaction, &sr, found))?;
        }
        // Both have one content now, and whoever knew the VDI's old content by its id must not take it for the new one.
        let content = transaction.get("VDI", snapshot)?;
        let content = content.entry("other_config", CONTENT_ID).map(str::to_owned);
        transaction.set_entry("VDI", &vdi, "other_config", CONTENT_ID, content.as_deref())
    });
    written.await?;
    labels::push_family(server, &sr, &family(&report)).await;
    tracing::info!(vdi.uuid = %uuid, snapshot.uuid = %snapshot_uuid, "a VDI was reverted to a snapshot");
    Ok(Value::Nil)
}

/// The VDIs that a report tells of.
fn family(report: &SnapshotReport) -> Vec<Uuid> {
    let base = report.base.as_ref().map(|base| base.uuid);
    [Some(report.new.uuid), Some(report.source.uuid), base]
        .into_iter()
        .flatten()
        .collect()
}
