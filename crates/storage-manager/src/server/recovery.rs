//! What a start does with what the last run left: attach, finish or undo, export again.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use uuid::Uuid;
use xenapi::Failure;

use super::Server;
use super::call::Call;
use super::classes::vdi;
use super::dispatch::Origin;
use super::operations::{self, Sharing};
use super::{attachments, images, storage};
use crate::database::{IntendedWork, Intent};

/// Longest time for which the start waits for media. An SR that takes longer goes on behind; calls on it wait.
const PATIENCE: Duration = Duration::from_secs(5);

/// Attaches every SR whose PBD was plugged, resolves its intents and exports its plugged VDIs again.
pub async fn run(server: &Arc<Server>, intents: Vec<Intent>) {
    let plugged: Vec<(String, String)> = {
        let objects = server.database.read();
        let plugged = objects
            .all("PBD")
            .filter(|pbd| pbd.flag("currently_attached"));
        plugged
            .map(|pbd| (pbd.reference.to_string(), pbd.text("SR").to_owned()))
            .collect()
    };
    let mut recoveries = JoinSet::new();
    for (pbd, sr) in plugged {
        let (server, intents) = (server.clone(), intents.clone());
        let recovery = server.clone().running.track_future(async move {
            if let Err(failure) = recover_sr(&server, &pbd, &sr, &intents).await {
                tracing::error!(%failure, sr.reference = sr, "an SR that was attached could not be attached again");
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

async fn recover_sr(
    server: &Arc<Server>,
    pbd: &str,
    sr: &str,
    intents: &[Intent],
) -> Result<(), Failure> {
    let call = Call {
        server: server.clone(),
        session: String::new(),
        origin: Origin::UnixSocket,
        task: format!("DummyRef:|{}|recovery", Uuid::new_v4()),
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
    let sr_uuid = server.database.read().get("SR", sr)?.uuid().to_owned();
    for intent in intents.iter().filter(|intent| intent.sr_uuid == sr_uuid) {
        resolve(server, sr, intent).await;
    }
    attachments::republish(server, sr).await;
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
    let attached = storage::on_threads(server, sr, move || sr_type.attach(&params)).await?;
    server.storage.state(sr).set_sr(Some(attached));
    Ok(())
}

/// Brings record and medium in agreement for one intent.
///
/// A VDI that was being made has no record, because record and intent change in one transaction: its image goes. A VDI
/// that was being destroyed goes, image first.
async fn resolve(server: &Arc<Server>, sr: &str, intent: &Intent) {
    let uuid = intent.uuid;
    if let Err(failure) = storage::on_sr(server, sr, move |driver| driver.delete_vdi(uuid)).await {
        tracing::error!(%failure, vdi.uuid = %uuid, "an image that an earlier run left could not be deleted; the next start tries again");
        return;
    }
    tracing::info!(vdi.uuid = %uuid, "removed what an earlier run left of a VDI");
    if intent.work == IntendedWork::Destroy {
        let removed = server.database.write(|transaction| {
            let record = transaction
                .find_by_uuid("VDI", &uuid.to_string())
                .map(|vdi| vdi.reference.to_string());
            if let Some(record) = record {
                vdi::remove_record(transaction, &record);
            }
            transaction.drop_intent(uuid);
            Ok(())
        });
        if let Err(failure) = removed.await {
            tracing::error!(%failure, vdi.uuid = %uuid, "the record of a destroyed VDI could not be removed");
        }
    } else {
        images::drop_intent(server, uuid).await;
    }
}
