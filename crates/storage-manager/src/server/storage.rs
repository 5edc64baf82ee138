//! The attached SRs, their threads and their health.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use uuid::Uuid;
use xenapi::Failure;

use super::Server;
use super::health;
use super::sr_threads::{NoAnswer, SrThreads};
use crate::sr::{AttachedSr, SrParams, SrType};

/// The code of the failure of a call whose driver gave no answer.
pub const UNHEALTHY: &str = "SR_UNHEALTHY";

/// Longest time that a type may ask for: clients of ours wait 120 s for a call that looks at a medium as a whole.
const PATIENCE_LIMIT: Duration = Duration::from_secs(110);

/// Most targets that are probed at once and do not answer; each may hold [`super::sr_threads::THREADS_PER_SR`] threads.
const PROBED_AT_ONCE: usize = 32;

/// What the names of the threads of probes begin with; no reference does.
const PROBE: &str = "probe ";

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
    /// True when the names that the medium keeps may differ from the records.
    has_other_labels: AtomicBool,
    /// What `SR.other_config` says of the health now.
    noted_health: Mutex<Option<String>>,
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
            has_other_labels: AtomicBool::default(),
            noted_health: Mutex::default(),
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

    /// The name of the threads on which a target is probed: a server that hangs while it is probed is no SR of ours, and must
    /// not keep others from being probed. None when too many do not answer already.
    pub fn probe_name(&self, target: &str) -> Option<String> {
        let name = format!("{PROBE}{target}");
        let srs = self.srs();
        let probed = srs.keys().filter(|sr| sr.starts_with(PROBE)).count();
        (srs.contains_key(&name) || probed < PROBED_AT_ONCE).then_some(name)
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

    /// True when the names that the medium keeps may differ from the records.
    pub fn expects_other_labels(&self) -> bool {
        self.has_other_labels.load(Ordering::Acquire)
    }

    /// Notes that they may.
    pub fn expect_other_labels(&self) {
        self.has_other_labels.store(true, Ordering::Release);
    }

    /// Takes that note.
    pub fn take_other_labels(&self) {
        self.has_other_labels.store(false, Ordering::Release);
    }

    /// What is to be noted of the health now, when that differs from what was noted last.
    pub fn take_health_change(&self) -> Option<Option<String>> {
        let said = self.sr().and_then(|driver| driver.health());
        let is_silent = self.unhealthy.load(Ordering::Relaxed);
        let health = said.or_else(|| is_silent.then(|| health::NO_ANSWER.to_owned()));
        let mut noted = self.health();
        if *noted == health {
            return None;
        }
        noted.clone_from(&health);
        Some(health)
    }

    /// What was noted of the health last.
    pub fn noted_health(&self) -> Option<String> {
        self.health().clone()
    }

    fn health(&self) -> MutexGuard<'_, Option<String>> {
        self.noted_health
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the driver in, or out.
    pub fn set_sr(&self, sr: Option<Arc<dyn AttachedSr>>) {
        self.expect_other_labels();
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
    on_threads_within(server, sr, server.driver_deadline, work).await
}

/// As [`on_threads`], with a deadline of its own: for calls that look at a medium as a whole, see [`patience`].
///
/// # Errors
/// As [`on_threads`].
pub async fn on_threads_within<T: Send + 'static>(
    server: &Arc<Server>,
    sr: &str,
    deadline: Duration,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let state = server.storage.state(sr);
    let answer = state.threads.run(deadline, work).await;
    settle(server, sr, &state, answer).await
}

/// How long a call may take that looks at a medium as a whole: twice what others may, or what the type says where that is
/// longer.
pub fn patience(server: &Server, sr_type: &dyn SrType) -> Duration {
    let usual = server.driver_deadline.saturating_mul(2);
    let patience = sr_type.patience().unwrap_or(usual);
    patience.max(usual).min(PATIENCE_LIMIT)
}

/// As [`patience`], of an SR that has a record.
pub fn patience_of(server: &Server, sr: &str) -> Duration {
    let sr_type = {
        let objects = server.database.read();
        let record = objects.find("SR", sr);
        record.and_then(|record| server.sr_type(record.text("type")).cloned())
    };
    sr_type.map_or(server.driver_deadline, |sr_type| {
        patience(server, &*sr_type)
    })
}

/// Attaches an SR and keeps its driver.
///
/// # Errors
/// What the driver fails with, and as [`on_threads`]. An SR whose driver answers too late is let go again.
pub async fn attach(
    server: &Arc<Server>,
    sr: &str,
    sr_type: &Arc<dyn SrType>,
    params: SrParams,
) -> Result<Arc<dyn AttachedSr>, Failure> {
    let patience = patience(server, &**sr_type);
    let sr_type = Arc::clone(sr_type);
    let attached = on_threads_within(server, sr, patience, move || sr_type.attach(&params)).await?;
    server.storage.state(sr).set_sr(Some(Arc::clone(&attached)));
    Ok(attached)
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
    let reason = match answer {
        Ok(result) => {
            if state.unhealthy.swap(false, Ordering::Relaxed) {
                health::note(server, sr).await;
            }
            return result;
        }
        Err(NoAnswer::Panicked) => {
            return Err(Failure::internal_error("the driver failed; see the log"));
        }
        Err(NoAnswer::NoThread) => "no thread could be started for it",
        Err(NoAnswer::QueueFull) => "too many calls wait for it",
        Err(NoAnswer::DeadlinePassed) => health::NO_ANSWER,
    };
    if !state.unhealthy.swap(true, Ordering::Relaxed) {
        health::note(server, sr).await;
    }
    Err(Failure::new(
        UNHEALTHY,
        [
            sr,
            reason,
            "Check the medium that the SR lies on, then try again.",
        ],
    ))
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
    let mut device_config = super::classes::pbd::with_clear_passwords(&objects, device_config)?;
    // Keys of the SR that say how its server is waited for, and how much room VDIs get on a filer.
    let keys = crate::sr::PATIENCE_KEYS.iter();
    for key in keys.chain(&crate::sr::NETAPP_KEYS) {
        if let Some(value) = record.entry("other_config", key) {
            device_config.insert((*key).to_owned(), value.to_owned());
        }
    }
    Ok(SrParams {
        sr_uuid,
        device_config,
        sm_config: record.texts("sm_config"),
    })
}
