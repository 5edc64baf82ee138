//! Making and deleting the image of a VDI so that a crash at any point leaves record and medium in agreement.
//!
//! ```text
//! make:     uuid of a stored intent -> image -> record, intent dropped (one transaction) -> answer
//! destroy:  intent -> image gone -> record and intent dropped (one transaction) -> answer
//! ```
//!
//! A create, a snapshot, a clone and a copy are all *made*. A crash after the image is there: the next start finds the intent
//! without a record and deletes the image; nobody was answered. What a snapshot did to its source stays on the medium, where
//! it changes nothing that can be read; the records learn of it by a scan, which such a start asks for. A crash after the
//! intent of a destroy: the next start finishes the deletion. See `recovery`.
//!
//! Nothing waits for its intent to be stored: each SR keeps uuids with stored intents in reserve, and stores many at once
//! when they run low. An intent that was never used is resolved like any other: there is no image to delete.
//!
//! Between image and record a scan may come along: it leaves out what `SrState::unrecorded` names, else it would make a record
//! for an image that goes.

use std::sync::Arc;

use tokio::sync::oneshot;
use uuid::Uuid;
use xenapi::Failure;

use super::Server;
use super::sr_threads::NoAnswer;
use super::storage;
use crate::database::{IntendedWork, Intent, Transaction};
use crate::sr::AttachedSr;

/// What a driver call without an answer is waited for in the background: until it ends.
const UNTIL_IT_ENDS: std::time::Duration = std::time::Duration::from_secs(u32::MAX as u64);

/// How many uuids one transaction puts in reserve.
const RESERVED: usize = 256;

/// When fewer are left, more are stored behind.
const RESERVE_LOW: usize = 128;

type Answer<R> = Result<Result<R, Failure>, NoAnswer>;

/// An image that is there and has no record yet. Dropped as it is, it stays until the next start deletes it.
#[must_use = "an image without a record is to be recorded or discarded"]
pub struct Made<R> {
    server: Arc<Server>,
    sr: String,
    uuid: Uuid,
    /// What the driver said of it.
    pub answer: R,
}

/// Makes an image with `work`, which gets the uuid for it.
///
/// # Errors
/// `SR_HAS_NO_PBDS`, what the driver fails with, and `SR_UNHEALTHY` when it does not answer: then the image goes as soon as
/// the driver has made it after all.
pub async fn make<R: Send + 'static>(
    server: &Arc<Server>,
    sr: &str,
    work: impl FnOnce(&dyn AttachedSr, Uuid) -> Result<R, Failure> + Send + 'static,
) -> Result<Made<R>, Failure> {
    let driver = storage::attached(server, sr)?;
    let uuid = reserved(server, sr).await?;
    let threads = server.storage.state(sr).threads().clone();
    let (send, answered) = oneshot::channel();
    let (background, sr_name) = (server.clone(), sr.to_owned());
    server.running.spawn(async move {
        let maker = driver.clone();
        let result: Answer<R> = threads
            .run(UNTIL_IT_ENDS, move || work(&*maker, uuid))
            .await;
        if matches!(result, Err(NoAnswer::QueueFull | NoAnswer::NoThread)) {
            // Nothing was begun, and the intent stays with the uuid.
            background.storage.state(&sr_name).give_back(uuid);
            let _ = send.send(result);
            return;
        }
        let Err(unheard) = send.send(result) else {
            return;
        };
        // Nobody waits any more, so nobody will ever know of the image.
        if matches!(unheard, Ok(Ok(_)) | Err(NoAnswer::Panicked)) {
            delete_unrecorded(&background, &sr_name, driver, uuid).await;
        } else {
            background.storage.state(&sr_name).settle(uuid);
            drop_intent(&background, uuid).await;
        }
        // A snapshot changed its source too.
        storage::want_scan(&background, &sr_name);
    });
    match storage::wait(server, sr, answered).await? {
        Ok(answer) => Ok(Made {
            server: server.clone(),
            sr: sr.to_owned(),
            uuid,
            answer,
        }),
        Err(failure) => {
            // The driver left nothing, so the uuid is as good as new.
            server.storage.state(sr).give_back(uuid);
            Err(failure)
        }
    }
}

impl<R> Made<R> {
    /// The uuid of the image.
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// Writes the record, with `record`. When that refuses, the image goes.
    ///
    /// # Errors
    /// Those of `record`, and that the database is closed: then the next start deletes the image.
    pub async fn record<T>(
        self,
        record: impl FnOnce(&mut Transaction<'_>, &R) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let written = self.server.database.write(|transaction| {
            let result = record(transaction, &self.answer)?;
            transaction.drop_intent(self.uuid);
            Ok(result)
        });
        match written.await {
            Ok(recorded) => {
                self.server.storage.state(&self.sr).settle(self.uuid);
                Ok(recorded)
            }
            Err(failure) => {
                self.discard().await;
                Err(failure)
            }
        }
    }

    /// Deletes the image.
    pub async fn discard(self) {
        if self.server.database.is_closed() {
            return;
        }
        if let Ok(driver) = storage::attached(&self.server, &self.sr) {
            delete_unrecorded(&self.server, &self.sr, driver, self.uuid).await;
        }
    }
}

/// Deletes an image of which there is no record; its intent goes after it.
async fn delete_unrecorded(
    server: &Arc<Server>,
    sr: &str,
    driver: Arc<dyn AttachedSr>,
    uuid: Uuid,
) {
    let state = server.storage.state(sr);
    let deleted = state
        .threads()
        .run(UNTIL_IT_ENDS, move || driver.delete_vdi(uuid))
        .await;
    if !matches!(deleted, Ok(Ok(()))) {
        tracing::warn!(vdi.uuid = %uuid, sr.reference = sr, "an image that nobody knows of could not be deleted; the next start tries again");
        return;
    }
    state.settle(uuid);
    drop_intent(server, uuid).await;
}

/// Changes what is on the medium with `work`, whose outcome the caller records. When the driver answers after the caller
/// has given up waiting, the SR is scanned, so that records and medium agree all the same.
///
/// # Errors
/// As [`make`].
pub async fn change<R: Send + 'static>(
    server: &Arc<Server>,
    sr: &str,
    work: impl FnOnce(&dyn AttachedSr) -> Result<R, Failure> + Send + 'static,
) -> Result<R, Failure> {
    let driver = storage::attached(server, sr)?;
    let threads = server.storage.state(sr).threads().clone();
    let (send, answered) = oneshot::channel();
    let (background, sr_name) = (server.clone(), sr.to_owned());
    server.running.spawn(async move {
        let result: Answer<R> = threads.run(UNTIL_IT_ENDS, move || work(&*driver)).await;
        let was_begun = !matches!(result, Err(NoAnswer::QueueFull | NoAnswer::NoThread));
        if send.send(result).is_err() && was_begun {
            storage::want_scan(&background, &sr_name);
        }
    });
    storage::wait(server, sr, answered).await?
}

/// Deletes an image and then its record, with `record`.
///
/// # Errors
/// As [`make`]. When the driver does not answer, the intent stays and the next start finishes the deletion, unless the VDI
/// is attached before.
pub async fn destroy(
    server: &Arc<Server>,
    sr: &str,
    uuid: Uuid,
    record: impl FnOnce(&mut Transaction<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    storage::attached(server, sr)?;
    put_intent(server, sr, uuid, IntendedWork::Destroy).await?;
    match change(server, sr, move |driver| driver.delete_vdi(uuid)).await {
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

/// Takes a uuid whose intent is on stable storage.
async fn reserved(server: &Arc<Server>, sr: &str) -> Result<Uuid, Failure> {
    let state = server.storage.state(sr);
    let (taken, left) = state.take_reserved();
    if taken.is_some() && left >= RESERVE_LOW {
        return taken.ok_or_else(|| Failure::internal_error("no uuid is in reserve"));
    }
    let Some(uuid) = taken else {
        let mut fresh = store_reserve(server, sr).await?;
        let uuid = fresh
            .pop()
            .ok_or_else(|| Failure::internal_error("no uuid is in reserve"))?;
        state.note_unrecorded(uuid);
        fresh.into_iter().for_each(|uuid| state.give_back(uuid));
        return Ok(uuid);
    };
    if state.begin_refill() {
        let (server, sr) = (server.clone(), sr.to_owned());
        server.clone().running.spawn(async move {
            match store_reserve(&server, &sr).await {
                Ok(fresh) => fresh.into_iter().for_each(|uuid| state.give_back(uuid)),
                Err(failure) => {
                    tracing::warn!(%failure, sr.reference = sr, "no uuids could be put in reserve")
                }
            }
            state.end_refill();
        });
    }
    Ok(uuid)
}

async fn store_reserve(server: &Server, sr: &str) -> Result<Vec<Uuid>, Failure> {
    let fresh: Vec<Uuid> = (0..RESERVED).map(|_| Uuid::new_v4()).collect();
    let written = server.database.write(|transaction| {
        let sr_uuid = transaction.get("SR", sr)?.uuid().to_owned();
        for uuid in &fresh {
            transaction.put_intent(Intent {
                uuid: *uuid,
                sr_uuid: sr_uuid.clone(),
                work: IntendedWork::Create,
            });
        }
        Ok(())
    });
    written.await?;
    Ok(fresh)
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
