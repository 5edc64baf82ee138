//! Making and deleting the image of a VDI so that a crash at any point leaves record and medium in agreement.
//!
//! ```text
//! create:   intent ─▶ image ─▶ record, intent dropped (one transaction) ─▶ answer
//! destroy:  intent ─▶ image gone ─▶ record and intent dropped (one transaction) ─▶ answer
//! ```
//!
//! A crash after the intent of a create: the next start deletes the image, if there is one, and nobody was answered.
//! A crash after the intent of a destroy: the next start finishes the deletion. See `recovery`.

use std::sync::Arc;

use tokio::sync::oneshot;
use uuid::Uuid;
use xenapi::Failure;

use super::Server;
use super::sr_threads::NoAnswer;
use super::storage;
use crate::database::{IntendedWork, Intent, Transaction};
use crate::sr::{FoundVdi, NewVdi};

/// What a driver call without an answer is waited for in the background: until it ends.
const UNTIL_IT_ENDS: std::time::Duration = std::time::Duration::from_secs(u32::MAX as u64);

/// Makes an image and then its record, with `record`.
///
/// # Errors
/// `SR_HAS_NO_PBDS`, what the driver fails with, and `SR_UNHEALTHY` when it does not answer: then the image goes as soon as
/// the driver has made it after all.
pub async fn create<T: Send + 'static>(
    server: &Arc<Server>,
    sr: &str,
    new: NewVdi,
    record: impl FnOnce(&mut Transaction<'_>, &FoundVdi) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let uuid = new.uuid;
    let driver = storage::attached(server, sr)?;
    put_intent(server, sr, uuid, IntendedWork::Create).await?;
    let threads = server.storage.state(sr).threads().clone();
    let (send, made) = oneshot::channel();
    let (background, sr_name) = (server.clone(), sr.to_owned());
    server.running.spawn(async move {
        let maker = driver.clone();
        let result = threads.run(UNTIL_IT_ENDS, move || maker.create_vdi(&new)).await;
        if matches!(result, Err(NoAnswer::QueueFull | NoAnswer::NoThread)) {
            // Nothing was begun.
            drop_intent(&background, uuid).await;
        }
        let Err(unheard) = send.send(result) else { return };
        // Nobody waits any more, so nobody will ever know of the image.
        if matches!(unheard, Ok(Ok(_)) | Err(NoAnswer::Panicked)) {
            let deleted = threads.run(UNTIL_IT_ENDS, move || driver.delete_vdi(uuid)).await;
            if !matches!(deleted, Ok(Ok(()))) {
                tracing::warn!(vdi.uuid = %uuid, sr.reference = sr_name, "an image that came too late could not be deleted; the next start tries again");
                return;
            }
        }
        drop_intent(&background, uuid).await;
    });
    let found = match storage::wait(server, sr, made).await {
        Ok(Ok(found)) => found,
        Ok(Err(failure)) => {
            drop_intent(server, uuid).await;
            return Err(failure);
        }
        Err(failure) => return Err(failure),
    };
    let written = server.database.write(|transaction| {
        let result = record(transaction, &found)?;
        transaction.drop_intent(uuid);
        Ok(result)
    });
    written.await
}

/// Deletes an image and then its record, with `record`.
///
/// # Errors
/// As [`create`]. When the driver does not answer, the intent stays and the next start finishes the deletion.
pub async fn destroy(
    server: &Arc<Server>,
    sr: &str,
    uuid: Uuid,
    record: impl FnOnce(&mut Transaction<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    storage::attached(server, sr)?;
    put_intent(server, sr, uuid, IntendedWork::Destroy).await?;
    match storage::on_sr(server, sr, move |driver| driver.delete_vdi(uuid)).await {
        Ok(()) => {}
        Err(failure) => {
            if failure.code != storage::UNHEALTHY {
                drop_intent(server, uuid).await;
            }
            return Err(failure);
        }
    }
    let written = server.database.write(|transaction| {
        record(transaction)?;
        transaction.drop_intent(uuid);
        Ok(())
    });
    written.await
}

async fn put_intent(
    server: &Server,
    sr: &str,
    uuid: Uuid,
    work: IntendedWork,
) -> Result<(), Failure> {
    let written = server.database.write(|transaction| {
        let sr_uuid = transaction.get("SR", sr)?.uuid().to_owned();
        transaction.put_intent(Intent {
            uuid,
            sr_uuid,
            work,
        });
        Ok(())
    });
    written.await
}

/// Drops an intent whose work came to nothing. Should that fail, the next start finds that there is nothing to do.
pub async fn drop_intent(server: &Server, uuid: Uuid) {
    let written = server.database.write(|transaction| {
        transaction.drop_intent(uuid);
        Ok(())
    });
    if let Err(failure) = written.await {
        tracing::warn!(%failure, vdi.uuid = %uuid, "an intent could not be dropped");
    }
}
