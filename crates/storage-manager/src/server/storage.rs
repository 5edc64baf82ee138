//! The attached SRs, their threads and their health.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use uuid::Uuid;
use xenapi::Failure;

use super::Server;
use super::sr_threads::{NoAnswer, SrThreads};
use crate::sr::{AttachedSr, SrParams};

/// Key in `SR.other_config` that says why an SR does not answer; absent while it does.
pub const HEALTH: &str = "xensm:health";

/// The code of the failure of a call whose driver gave no answer.
pub const UNHEALTHY: &str = "SR_UNHEALTHY";

/// Most copies that read from one SR at once; each has two threads and seven buffers of 1 MiB.
pub const COPIES_PER_SR: usize = 2;

/// Most copies from one SR that wait for their turn.
pub const COPIES_WAITING: usize = 64;

/// What is kept of an SR while the process runs.
pub struct SrState {
    threads: SrThreads,
    copy_threads: SrThreads,
    attached: Mutex<Option<Arc<dyn AttachedSr>>>,
    unhealthy: AtomicBool,
    /// Uuids for images to be made, whose intents are on stable storage.
    reserved: Mutex<VecDeque<Uuid>>,
    /// Uuids that were taken from there, whose images are not recorded yet or must go: a scan leaves them out.
    unrecorded: Mutex<HashSet<Uuid>>,
    is_refilling: AtomicBool,
    /// True when records may differ from the medium, so that a scan shall come.
    is_stale: AtomicBool,
}

impl Default for SrState {
    fn default() -> Self {
        SrState {
            threads: SrThreads::default(),
            copy_threads: SrThreads::new(COPIES_PER_SR, COPIES_WAITING),
            attached: Mutex::default(),
            unhealthy: AtomicBool::default(),
            reserved: Mutex::default(),
            unrecorded: Mutex::default(),
            is_refilling: AtomicBool::default(),
            is_stale: AtomicBool::default(),
        }
    }
}

/// The SRs by reference.
#[derive(Default)]
pub struct Storage {
    srs: Mutex<HashMap<String, Arc<SrState>>>,
}

impl Storage {
    fn srs(&self) -> MutexGuard<'_, HashMap<String, Arc<SrState>>> {
        self.srs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds or makes the state of an SR.
    pub fn state(&self, sr: &str) -> Arc<SrState> {
        self.srs().entry(sr.to_owned()).or_default().clone()
    }

    /// Forgets an SR; its threads end when they are idle.
    pub fn forget(&self, sr: &str) {
        self.srs().remove(sr);
    }

    /// References of the SRs that are attached.
    pub fn attached(&self) -> Vec<String> {
        self.srs()
            .iter()
            .filter(|(_, state)| state.sr().is_some())
            .map(|(sr, _)| sr.clone())
            .collect()
    }
}

impl SrState {
    /// The threads of the SR.
    pub fn threads(&self) -> &SrThreads {
        &self.threads
    }

    /// The threads of copies that read from the SR: they take long, and must not be in the way of the driver's calls.
    pub fn copy_threads(&self) -> &SrThreads {
        &self.copy_threads
    }

    fn reserved(&self) -> MutexGuard<'_, VecDeque<Uuid>> {
        self.reserved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a uuid from the reserve, for an image that is [`SrState::unrecorded`] from now on; says how many are left.
    pub fn take_reserved(&self) -> (Option<Uuid>, usize) {
        let (taken, left) = {
            let mut reserved = self.reserved();
            (reserved.pop_front(), reserved.len())
        };
        if let Some(uuid) = taken {
            self.note_unrecorded(uuid);
        }
        (taken, left)
    }

    /// Puts a uuid in reserve, behind all others. Its intent is on stable storage and there is no image of that name.
    pub fn give_back(&self, uuid: Uuid) {
        self.settle(uuid);
        self.reserved().push_back(uuid);
    }

    fn unrecorded_set(&self) -> MutexGuard<'_, HashSet<Uuid>> {
        self.unrecorded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that an image of that uuid may be on the medium and has no record.
    pub fn note_unrecorded(&self, uuid: Uuid) {
        self.unrecorded_set().insert(uuid);
    }

    /// Notes that the image has its record, or is gone.
    pub fn settle(&self, uuid: Uuid) {
        self.unrecorded_set().remove(&uuid);
    }

    /// The uuids of images that are no VDIs, though a scan may find them: they are being made, or wait to be deleted.
    pub fn unrecorded(&self) -> HashSet<Uuid> {
        self.unrecorded_set().clone()
    }

    /// Empties the reserve, for the SR to go.
    pub fn drain_reserved(&self) -> Vec<Uuid> {
        std::mem::take(&mut *self.reserved()).into()
    }

    /// True for the one caller that shall refill the reserve.
    pub fn begin_refill(&self) -> bool {
        !self.is_refilling.swap(true, Ordering::AcqRel)
    }

    /// Lets the next caller refill.
    pub fn end_refill(&self) {
        self.is_refilling.store(false, Ordering::Release);
    }

    /// Takes the note that a scan shall come.
    pub fn take_stale(&self) -> bool {
        self.is_stale.swap(false, Ordering::AcqRel)
    }

    /// The driver, when the SR is attached.
    pub fn sr(&self) -> Option<Arc<dyn AttachedSr>> {
        self.attached
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Takes the driver in, or out.
    pub fn set_sr(&self, sr: Option<Arc<dyn AttachedSr>>) {
        *self.attached.lock().unwrap_or_else(PoisonError::into_inner) = sr;
    }
}

/// Asks for a scan of an SR soon: its records may differ from its medium.
pub fn want_scan(server: &Server, sr: &str) {
    server
        .storage
        .state(sr)
        .is_stale
        .store(true, Ordering::Release);
    server.scan_wanted.notify_one();
}

/// Runs work on the threads of an SR and waits at most the configured deadline.
///
/// # Errors
/// What the work fails with, or `SR_UNHEALTHY [sr, health, fix]`. Work whose deadline passed runs on; its result is lost.
pub async fn on_threads<T: Send + 'static>(
    server: &Arc<Server>,
    sr: &str,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let state = server.storage.state(sr);
    let answer = state.threads.run(server.driver_deadline, work).await;
    settle(server, sr, &state, answer).await
}

/// Runs work with the driver of an attached SR.
///
/// # Errors
/// `SR_HAS_NO_PBDS [sr]` when it is not attached; else as [`on_threads`].
pub async fn on_sr<T: Send + 'static>(
    server: &Arc<Server>,
    sr: &str,
    work: impl FnOnce(&dyn AttachedSr) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let driver = attached(server, sr)?;
    on_threads(server, sr, move || work(&*driver)).await
}

/// Waits at most the configured deadline for what runs on an SR's threads. The outer error means that no answer came.
///
/// # Errors
/// `SR_UNHEALTHY [sr, health, fix]`.
pub async fn wait<T>(
    server: &Arc<Server>,
    sr: &str,
    mut answer: oneshot::Receiver<Result<Result<T, Failure>, NoAnswer>>,
) -> Result<Result<T, Failure>, Failure> {
    let answered = match tokio::time::timeout(server.driver_deadline, &mut answer).await {
        Ok(received) => received.unwrap_or(Err(NoAnswer::Panicked)),
        Err(_) => {
            // Closed first and looked at then, so that an answer is either taken here or refused to its sender.
            answer.close();
            answer.try_recv().unwrap_or(Err(NoAnswer::DeadlinePassed))
        }
    };
    let state = server.storage.state(sr);
    match answered {
        Ok(result) => Ok(settle(server, sr, &state, Ok(result)).await),
        Err(none) => Err(settle::<T>(server, sr, &state, Err(none))
            .await
            .err()
            .unwrap_or_else(|| Failure::internal_error("no answer"))),
    }
}

/// The driver of an attached SR.
///
/// # Errors
/// `SR_HAS_NO_PBDS [sr]`.
pub fn attached(server: &Server, sr: &str) -> Result<Arc<dyn AttachedSr>, Failure> {
    server
        .storage
        .state(sr)
        .sr()
        .ok_or_else(|| Failure::new("SR_HAS_NO_PBDS", [sr]))
}

async fn settle<T>(
    server: &Arc<Server>,
    sr: &str,
    state: &SrState,
    answer: Result<Result<T, Failure>, NoAnswer>,
) -> Result<T, Failure> {
    let health = match answer {
        Ok(result) => {
            if state.unhealthy.swap(false, Ordering::Relaxed) {
                tracing::info!(sr.reference = sr, "the SR answers again");
                write_health(server, sr, None).await;
            }
            return result;
        }
        Err(NoAnswer::Panicked) => {
            return Err(Failure::internal_error("the driver failed; see the log"));
        }
        Err(NoAnswer::NoThread) => "no thread could be started for it",
        Err(NoAnswer::QueueFull) => "too many calls wait for it",
        Err(NoAnswer::DeadlinePassed) => "it did not answer in time",
    };
    if !state.unhealthy.swap(true, Ordering::Relaxed) {
        tracing::warn!(sr.reference = sr, health, "the SR does not answer");
        write_health(server, sr, Some(health)).await;
    }
    Err(Failure::new(
        UNHEALTHY,
        [
            sr,
            health,
            "Check the medium that the SR lies on, then try again.",
        ],
    ))
}

async fn write_health(server: &Arc<Server>, sr: &str, health: Option<&str>) {
    let written = server.database.write(|transaction| {
        if transaction.find("SR", sr).is_none() {
            return Ok(());
        }
        transaction.set_entry("SR", sr, "other_config", HEALTH, health)
    });
    if let Err(failure) = written.await {
        tracing::error!(%failure, sr.reference = sr, "the health of an SR could not be noted");
    }
}

/// What a driver is told of an SR and one of its PBDs.
///
/// # Errors
/// `UUID_INVALID ["secret", uuid]` when a password's secret is gone.
pub fn params(
    server: &Server,
    sr: &str,
    device_config: &std::collections::BTreeMap<String, String>,
) -> Result<SrParams, Failure> {
    let objects = server.database.read();
    let record = objects.get("SR", sr)?;
    let sr_uuid = Uuid::parse_str(record.uuid())
        .map_err(|_| Failure::new("UUID_INVALID", ["SR", record.uuid()]))?;
    let device_config = super::classes::pbd::with_clear_passwords(&objects, device_config)?;
    Ok(SrParams {
        sr_uuid,
        device_config,
        sm_config: record.texts("sm_config"),
    })
}
