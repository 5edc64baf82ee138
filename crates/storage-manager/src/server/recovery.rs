//! What a start does with what the last run left: attach, finish or undo, export again.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use uuid::Uuid;
use xenapi::Failure;

use super::Server;
use super::call::Call;
use super::dispatch::Origin;
use super::operations::{self, Sharing};
use super::{attachments, coalesce, config_changes, health, storage, vdi_records};
use crate::database::{IntendedWork, Intent};

/// Longest time for which the start waits for media. An SR that takes longer goes on behind; calls on it wait.
const PATIENCE: Duration = Duration::from_secs(5);

/// Attaches every SR whose PBD was plugged, resolves its intents and exports its plugged VDIs again.
pub async fn run(server: &Arc<Server>) {
    let plugged: Vec<(String, String)> = {
        let objects = server.database.read();
        let plugged = objects
            .all("PBD")
            .filter(|pbd| pbd.flag("currently_attached"));
        plugged
            .map(|pbd| (pbd.reference.to_string(), pbd.text("SR").to_owned()))
            .collect()
    };
    drop_orphans(server).await;
    let mut recoveries = JoinSet::new();
    for (pbd, sr) in plugged {
        let server = server.clone();
        let recovery = server.clone().running.track_future(async move {
            if let Err(failure) = recover_sr(&server, &pbd, &sr).await {
                tracing::error!(%failure, sr.reference = sr, "an SR that was attached could not be attached again; plug its PBD when the cause is gone, and its VDIs are exported again");
            }
        });
        recoveries.spawn(recovery);
    }
    let all = async { while recoveries.join_next().await.is_some() {} };
    if tokio::time::timeout(PATIENCE, all).await.is_err() {
        tracing::warn!("some SRs are still being attached; calls on them wait");
    }
    recoveries.detach_all();
}

async fn recover_sr(server: &Arc<Server>, pbd: &str, sr: &str) -> Result<(), Failure> {
    let call = Call {
        server: server.clone(),
        session: String::new(),
        origin: Origin::UnixSocket,
        task: format!("DummyRef:|{}|recovery", Uuid::new_v4()),
        cancel: Default::default(),
    };
    let _operation = operations::begin(&call, "SR", sr, "plug", Sharing::Exclusive).await?;
    if let Err(failure) = attach(server, pbd, sr).await {
        let noted = server.database.write(|transaction| {
            transaction.set("PBD", pbd, "currently_attached", false)?;
            transaction.touch("SR", sr);
            Ok(())
        });
        noted.await?;
        return Err(failure);
    }
    resolve_intents(server, sr).await;
    attachments::republish(server, sr).await;
    coalesce::start(server, sr);
    // A snapshot that was cut off changed its source, and the driver may have finished or undone what it found half done.
    storage::want_scan(server, sr);
    Ok(())
}

async fn attach(server: &Arc<Server>, pbd: &str, sr: &str) -> Result<(), Failure> {
    let (device_config, sr_type) = {
        let objects = server.database.read();
        let record = objects.get("SR", sr)?;
        let sr_type = server.sr_type(record.text("type")).cloned();
        let sr_type =
            sr_type.ok_or_else(|| Failure::new("SR_UNKNOWN_DRIVER", [record.text("type")]))?;
        (objects.get("PBD", pbd)?.texts("device_config"), sr_type)
    };
    let params = storage::params(server, sr, &device_config)?;
    let attached = storage::attach(server, sr, &sr_type, params).await?;
    let written = server.database.write(|transaction| {
        // What the last run noted of its health may not hold any more.
        transaction.set_entry("SR", sr, "other_config", health::HEALTH, None)?;
        config_changes::record(transaction, sr, &attached.config_changes())
    });
    written.await
}

/// Drops the intents of SRs that are gone: their reserve was refilled while they went.
async fn drop_orphans(server: &Arc<Server>) {
    let orphans: Vec<Uuid> = {
        let objects = server.database.read();
        let gone = |intent: &Intent| objects.find_by_uuid("SR", &intent.sr_uuid).is_none();
        server
            .take_unresolved(gone)
            .into_iter()
            .map(|intent| intent.uuid)
            .collect()
    };
    let dropped = server.database.write(|transaction| {
        orphans
            .iter()
            .for_each(|uuid| transaction.drop_intent(*uuid));
        Ok(())
    });
    if let Err(failure) = dropped.await {
        tracing::warn!(%failure, "intents of SRs that are gone could not be dropped");
    }
}

/// Brings records and medium in agreement for what an earlier run left of an SR that is attached now. It comes before the
/// first scan, which would take a half-made image for a VDI.
pub async fn resolve_intents(server: &Arc<Server>, sr: &str) {
    let sr_uuid = server
        .database
        .read()
        .find("SR", sr)
        .map(|record| record.uuid().to_owned());
    let own = server.take_unresolved(|intent| Some(&intent.sr_uuid) == sr_uuid.as_ref());
    if own.is_empty() {
        return;
    }
    undo_creates(server, sr, &own).await;
    for intent in own
        .iter()
        .filter(|intent| intent.work == IntendedWork::Destroy)
    {
        finish_destroy(server, sr, intent.uuid).await;
    }
}

/// Deletes the images of creates that were not finished. Such a VDI has no record, because record and intent change in one
/// transaction. The uuids go back to the reserve: their intents are stored and nothing has their name.
async fn undo_creates(server: &Arc<Server>, sr: &str, intents: &[Intent]) {
    let creates = intents
        .iter()
        .filter(|intent| intent.work == IntendedWork::Create);
    let uuids: Vec<Uuid> = creates.map(|intent| intent.uuid).collect();
    let state = server.storage.state(sr);
    // Until it is deleted, a scan must not take such an image for a VDI.
    uuids.iter().for_each(|uuid| state.note_unrecorded(*uuid));
    let undone = storage::on_sr(server, sr, move |driver| {
        let mut kept = Vec::new();
        for uuid in uuids {
            match driver.delete_vdi(uuid) {
                Ok(()) => kept.push(uuid),
                Err(failure) => {
                    tracing::error!(%failure, vdi.uuid = %uuid, "an image that an earlier run left could not be deleted; the next start tries again");
                }
            }
        }
        Ok(kept)
    });
    match undone.await {
        Ok(kept) => kept.into_iter().for_each(|uuid| state.give_back(uuid)),
        Err(failure) => {
            tracing::error!(%failure, sr.reference = sr, "images that an earlier run left could not be deleted")
        }
    }
}

/// Finishes the deletion of a VDI, image first.
async fn finish_destroy(server: &Arc<Server>, sr: &str, uuid: Uuid) {
    if let Err(failure) = storage::on_sr(server, sr, move |driver| driver.delete_vdi(uuid)).await {
        tracing::error!(%failure, vdi.uuid = %uuid, "a VDI that was being destroyed could not be; the next start tries again");
        return;
    }
    let removed = server.database.write(|transaction| {
        let record = transaction
            .find_by_uuid("VDI", &uuid.to_string())
            .map(|vdi| vdi.reference.to_string());
        if let Some(record) = record {
            vdi_records::remove(transaction, &record);
        }
        transaction.drop_intent(uuid);
        Ok(())
    });
    match removed.await {
        Ok(()) => {
            tracing::info!(vdi.uuid = %uuid, "finished the destruction of a VDI that an earlier run began")
        }
        Err(failure) => {
            tracing::error!(%failure, vdi.uuid = %uuid, "the record of a destroyed VDI could not be removed")
        }
    }
}
