//! The collectors of the attached SRs: what the records say to them, and what they say in records, tasks and messages.
//!
//! Keys: `SR.other_config:gc`, `coalesce`, `leaf-coalesce` and `VDI.other_config:leaf-coalesce` as XenServer has them,
//! [`RATE`] besides; [`STATE`], [`BACKLOG_IMAGES`], [`BACKLOG_BYTES`] and [`LAST_ERROR`] say what goes on, and are absent
//! while nothing does.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use uuid::Uuid;
use vhd::merge::{Progress, Speed};
use xenapi::{Failure, Value};

use super::Server;
use super::storage;
use super::tasks::{self, Cancellable};
use crate::database::{Objects, Transaction};
use crate::gc::{
    Collector, LeafPolicy, Outcome, Owners, SrPolicy, SrWishes, Status, StepError, Work,
};

/// Key in `SR.other_config`: bytes per second that coalescing may copy; absent or 0 for no limit.
pub const RATE: &str = "xensm:coalesce-rate";
/// Key in `SR.other_config`: the same while a VDI of the SR is read or written; absent for [`GENTLE_RATE`], 0 for no limit.
pub const BUSY_RATE: &str = "xensm:coalesce-busy-rate";
/// Bytes per second that leave a consumer most of a disk: its p99 latency then stays below three times what it is without
/// (`docs/benchmarks.md`).
const GENTLE_RATE: u64 = 64 << 20;
/// Key in `SR.other_config`: `running`, `paused` or `waiting`.
pub const STATE: &str = "xensm:coalesce-state";
/// Key in `SR.other_config`: how many images are to go.
pub const BACKLOG_IMAGES: &str = "xensm:coalesce-backlog-images";
/// Key in `SR.other_config`: how many bytes they have.
pub const BACKLOG_BYTES: &str = "xensm:coalesce-backlog-bytes";
/// Key in `SR.other_config`: why a step failed.
pub const LAST_ERROR: &str = "xensm:coalesce-error";

/// Key in `SR.sm_config` while a step waits for room, and the message that tells of it. Source: reference 5.9.3.
const NO_SPACE: &str = "gc_no_space";
const NO_SPACE_MESSAGE: &str = "SM_GC_NO_SPACE";

/// The collectors by SR reference.
#[derive(Default)]
pub struct Coalescing {
    collectors: Mutex<HashMap<String, Arc<Collector>>>,
}

impl Coalescing {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Collector>>> {
        self.collectors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The collector of an SR, if it is attached and has chains.
    pub fn of(&self, sr: &str) -> Option<Arc<Collector>> {
        self.lock().get(sr).cloned()
    }

    /// All collectors with the references of their SRs.
    pub fn all(&self) -> Vec<(String, Arc<Collector>)> {
        let collectors = self.lock();
        collectors
            .iter()
            .map(|(sr, c)| (sr.clone(), c.clone()))
            .collect()
    }
}

/// Starts the collector of an SR that was attached.
pub fn start(server: &Arc<Server>, sr: &str) {
    let Some(store) = server
        .storage
        .state(sr)
        .sr()
        .and_then(|driver| driver.chains())
    else {
        return;
    };
    let owners = Arc::new(SrOwners {
        server: Arc::downgrade(server),
        sr: sr.to_owned(),
        runtime: tokio::runtime::Handle::current(),
        cancellable: Mutex::default(),
        said_no_space: Mutex::new(false),
    });
    match Collector::start(store, owners) {
        Ok(collector) => {
            let before = server
                .coalescing
                .lock()
                .insert(sr.to_owned(), Arc::new(collector));
            // An SR that is attached again without having been detached.
            if let Some(before) = before {
                before.stop();
            }
        }
        Err(error) => {
            tracing::error!(%error, sr.reference = sr, "no thread could be started to coalesce an SR");
        }
    }
}

/// Stops the collector of an SR that is to be detached. Its steps end at their next chunk; detaching waits for that.
pub fn stop(server: &Server, sr: &str) {
    if let Some(collector) = server.coalescing.lock().remove(sr) {
        collector.stop();
        // Dropping it waits for its steps.
        std::thread::spawn(move || drop(collector));
    }
}

struct SrOwners {
    server: Weak<Server>,
    sr: String,
    runtime: tokio::runtime::Handle,
    cancellable: Mutex<HashMap<String, Cancellable>>,
    said_no_space: Mutex<bool>,
}

impl SrOwners {
    fn write(
        &self,
        server: &Arc<Server>,
        change: impl FnOnce(&mut Transaction<'_>) -> Result<(), Failure> + Send + 'static,
    ) {
        let server = server.clone();
        let sr = self.sr.clone();
        self.runtime.spawn(async move {
            let written = server.database.write(change);
            if let Err(failure) = written.await {
                tracing::warn!(%failure, sr.reference = sr, "what coalescing does could not be recorded");
            }
        });
    }
}

impl Owners for SrOwners {
    fn wishes(&self) -> SrWishes {
        let Some(server) = self.server.upgrade() else {
            return SrWishes::default();
        };
        wishes(&server.database.read(), &self.sr)
    }

    fn began(&self, work: &Work) -> String {
        let Some(server) = self.server.upgrade() else {
            return String::new();
        };
        match tasks::create(&server, "SR.coalesce", &work.to_string()) {
            Ok(task) => {
                let cancellable = tasks::cancellable(&server, &task);
                let mut all = self
                    .cancellable
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                all.insert(task.clone(), cancellable);
                task
            }
            // The step is not kept back by too many tasks.
            Err(_) => String::new(),
        }
    }

    fn progressed(&self, task: &str, progress: Progress) -> bool {
        if let Some(server) = self.server.upgrade() {
            let fraction = progress.done as f64 / progress.total.max(1) as f64;
            tasks::progress(&server, task, fraction.clamp(0.0, 1.0));
        }
        let all = self
            .cancellable
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        !all.get(task)
            .is_some_and(|cancellable| cancellable.token().is_cancelled())
    }

    fn ended(&self, task: &str, _work: &Work, result: &Result<Outcome, StepError>) {
        let mut all = self
            .cancellable
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.remove(task);
        drop(all);
        let Some(server) = self.server.upgrade() else {
            return;
        };
        let told = match result {
            Ok(Outcome::Done) => Ok(Value::Nil),
            Ok(Outcome::Cancelled | Outcome::Overtaken) => {
                Err(Failure::new("TASK_CANCELLED", [task]))
            }
            Err(error) => Err(Failure::new("SR_BACKEND_FAILURE", ["", &error.to_string()])),
        };
        tasks::finish(&server, task, &told);
        if matches!(result, Ok(Outcome::Done)) {
            // The records of the images that went, and of those that have another parent, are brought in line.
            storage::want_scan(&server, &self.sr);
        }
    }

    fn changed(&self, status: &Status) {
        let Some(server) = self.server.upgrade() else {
            return;
        };
        let (sr, keys, no_space) = (self.sr.clone(), keys(status), status.no_space);
        let mut said = self
            .said_no_space
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let newly_full = no_space && !*said;
        *said = no_space;
        let body = status.last_error.clone().unwrap_or_default();
        self.write(&server, move |transaction| {
            let Some(record) = transaction.find("SR", &sr) else {
                return Ok(());
            };
            let uuid = record.uuid().to_owned();
            for (key, value) in keys {
                transaction.set_entry("SR", &sr, "other_config", key, value.as_deref())?;
            }
            let full = no_space.then_some("true");
            transaction.set_entry("SR", &sr, "sm_config", NO_SPACE, full)?;
            if newly_full {
                super::classes::message::note(transaction, NO_SPACE_MESSAGE, 3, "SR", &uuid, &body);
            }
            Ok(())
        });
    }
}

/// What the records of an SR and its VDIs say.
fn wishes(objects: &Objects, sr: &str) -> SrWishes {
    let Some(record) = objects.find("SR", sr) else {
        return SrWishes::default();
    };
    let allows = |key| record.entry("other_config", key) != Some("false");
    let leaves_allowed = allows("leaf-coalesce");
    let mut leaves = BTreeMap::new();
    for vdi in objects.pointing_at("VDI", "SR", sr) {
        let policy = if vdi.text("on_boot") == "reset" {
            LeafPolicy::OnBootReset
        } else if vdi.flag("allow_caching") {
            LeafPolicy::AllowCaching
        } else if !leaves_allowed || vdi.entry("other_config", "leaf-coalesce") == Some("false") {
            LeafPolicy::TurnedOff
        } else {
            continue;
        };
        if let Ok(uuid) = Uuid::try_parse(vdi.uuid()) {
            leaves.insert(uuid, policy);
        }
    }
    let rate = |key| {
        let text = record.entry("other_config", key);
        text.and_then(|rate| rate.trim().parse().ok())
    };
    SrWishes {
        policy: SrPolicy {
            collect: allows("gc"),
            coalesce: allows("coalesce"),
        },
        speed: Speed {
            at_most: rate(RATE).unwrap_or(0),
            beside_consumers: rate(BUSY_RATE).unwrap_or(GENTLE_RATE),
        },
        leaves,
    }
}

/// The keys of `SR.other_config` and what they say; none for those that go.
fn keys(status: &Status) -> [(&'static str, Option<String>); 4] {
    let (images, bytes) = (status.backlog.len(), status.backlog.values().sum::<u64>());
    let state = if status.paused {
        Some("paused")
    } else if !status.running.is_empty() {
        Some("running")
    } else if images > 0 {
        Some("waiting")
    } else {
        None
    };
    [
        (STATE, state.map(str::to_owned)),
        (BACKLOG_IMAGES, (images > 0).then(|| images.to_string())),
        (BACKLOG_BYTES, (images > 0).then(|| bytes.to_string())),
        (LAST_ERROR, status.last_error.clone()),
    ]
}
