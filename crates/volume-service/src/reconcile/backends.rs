//! Keeps backends connected and their room known. Each is looked at by its own task with a deadline, so that one that hangs
//! delays no other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use uuid::Uuid;

use super::Report;
use crate::db::backends::{self, Space};
use crate::db::operations::{self, NewOperation};
use crate::driver::{PoolError, SrSpace, Trouble};
use crate::error::Result;
use crate::model::backend::{Backend, BackendState};
use crate::model::id::{BackendId, OperationId};
use crate::model::operation::OperationKind;
use crate::operation::Engine;

/// How long one backend may take to answer.
const DEADLINE: Duration = Duration::from_secs(30);
/// How often the medium itself is scanned, in microseconds; in between only the SR's record is read.
const SCAN_EVERY_US: i64 = 300_000_000;
/// First wait before a backend that could not be connected is tried again, in microseconds; doubled each time.
const BACKOFF_FIRST_US: i64 = 5_000_000;
/// Longest such wait.
const BACKOFF_MAX_US: i64 = 60_000_000;

/// The reconciler of backends.
pub struct Backends {
    engine: Arc<Engine>,
    memory: Arc<Memory>,
}

/// What is remembered of backends between passes.
#[derive(Default)]
struct Memory(Mutex<HashMap<BackendId, Remembered>>);

#[derive(Clone, Copy, Default)]
struct Remembered {
    /// Tries to connect since it was last seen connected.
    tries: u32,
    /// When the next may begin.
    next_try_us: i64,
    /// When it was last scanned.
    scanned_us: Option<i64>,
}

impl Backends {
    /// Makes the reconciler.
    pub fn new(engine: Arc<Engine>) -> Self {
        Backends {
            engine,
            memory: Arc::default(),
        }
    }

    /// Looks at every backend of the zone once.
    pub async fn pass(&self) -> Result<Report> {
        let (vault, zone) = (self.engine.vault().clone(), self.engine.zone().to_owned());
        let database = self.engine.database();
        let rows = database.read(move |tx| backends::of_zone(tx, &vault, &zone));
        let rows = rows.await?;
        let mut report = Report {
            looked: rows.len() as u64,
            ..Report::default()
        };
        self.memory.keep_only(&rows);
        let mut looking: JoinSet<Result<bool>> = JoinSet::new();
        for row in rows {
            let (engine, memory) = (Arc::clone(&self.engine), Arc::clone(&self.memory));
            looking.spawn(async move {
                match row.state {
                    BackendState::Connected => check(&engine, &memory, &row).await,
                    BackendState::New | BackendState::Unreachable => {
                        connect(&engine, &memory, row.id).await
                    }
                }
            });
        }
        while let Some(looked) = looking.join_next().await {
            match looked {
                Ok(Ok(has_changed)) => report.repaired += u64::from(has_changed),
                Ok(Err(error)) => {
                    report.failed += 1;
                    tracing::warn!("reconcile a backend: {error}");
                }
                Err(error) => {
                    report.failed += 1;
                    tracing::error!("reconcile a backend: its task ended: {error}");
                }
            }
        }
        Ok(report)
    }
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, HashMap<BackendId, Remembered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep_only(&self, rows: &[Backend]) {
        self.lock()
            .retain(|known, _| rows.iter().any(|row| row.id == *known));
    }

    /// Records that a backend is connected; true when its medium is to be scanned.
    fn is_scan_due(&self, id: BackendId, now_us: i64) -> bool {
        let mut memory = self.lock();
        let known = memory.entry(id).or_default();
        // Connecting has scanned it: the first scan from here is one period later.
        let scanned_us = known.scanned_us.unwrap_or(now_us);
        let is_due = now_us.saturating_sub(scanned_us) >= SCAN_EVERY_US;
        *known = Remembered {
            scanned_us: Some(if is_due { now_us } else { scanned_us }),
            ..Remembered::default()
        };
        is_due
    }

    fn may_try(&self, id: BackendId, now_us: i64) -> bool {
        self.lock().entry(id).or_default().next_try_us <= now_us
    }

    fn tried(&self, id: BackendId, now_us: i64) {
        let mut memory = self.lock();
        let known = memory.entry(id).or_default();
        let wait_us = (BACKOFF_FIRST_US << known.tries.min(10)).min(BACKOFF_MAX_US);
        known.tries = known.tries.saturating_add(1);
        known.next_try_us = now_us.saturating_add(wait_us);
    }
}

/// Reads a connected backend's room; one that does not answer becomes unreachable. Returns whether it did.
async fn check(engine: &Engine, memory: &Memory, row: &Backend) -> Result<bool> {
    let Some(sr_uuid) = row.sr_uuid else {
        return Ok(false);
    };
    let now_us = engine.context().now_us();
    let is_scan_due = memory.is_scan_due(row.id, now_us);
    let failure = match timeout(DEADLINE, look(engine, sr_uuid, is_scan_due)).await {
        Ok(Ok(space)) if space.is_plugged => {
            set_space(engine, row.id, space, now_us).await?;
            return Ok(false);
        }
        Ok(Ok(_)) => "the SR is not plugged on the pool's master".to_owned(),
        Ok(Err(error)) if error.trouble == Trouble::Busy => return Ok(false),
        Ok(Err(error)) => error
            .on_backend(&row.id.to_string(), row.sr_uuid, &row.sr_type)
            .to_string(),
        Err(_) => format!("no answer within {} s", DEADLINE.as_secs()),
    };
    tracing::warn!(sr.uuid = %sr_uuid, "backend {} is not reachable: {failure}", row.id);
    let id = row.id;
    let lost = engine
        .database()
        .write(move |tx| backends::set_state(tx, id, BackendState::Unreachable, &failure, now_us));
    lost.await?;
    connect(engine, memory, row.id).await?;
    Ok(true)
}

async fn look(
    engine: &Engine,
    sr_uuid: Uuid,
    is_scan_due: bool,
) -> std::result::Result<SrSpace, PoolError> {
    if is_scan_due {
        engine.pool().scan_sr(sr_uuid).await?;
    }
    let space = engine.pool().sr_space(sr_uuid).await?;
    // The record alone does not tell whether an SR that ails still serves.
    if space.is_ailing && !is_scan_due {
        engine.pool().scan_sr(sr_uuid).await?;
    }
    Ok(space)
}

async fn set_space(engine: &Engine, id: BackendId, space: SrSpace, now_us: i64) -> Result<()> {
    let (Some(physical_size), Some(physical_utilisation), Some(virtual_allocation)) = (
        space.physical_size,
        space.physical_utilisation,
        space.virtual_allocation,
    ) else {
        return Ok(());
    };
    let space = Space {
        physical_size,
        physical_utilisation,
        virtual_allocation,
    };
    let database = engine.database();
    let set = database.write(move |tx| backends::set_space(tx, id, space, now_us));
    set.await.map(|_| ())
}

/// Asks for a backend to be connected, unless that is under way or was tried a moment ago. Returns whether it asked.
async fn connect(engine: &Engine, memory: &Memory, id: BackendId) -> Result<bool> {
    let now_us = engine.context().now_us();
    if !memory.may_try(id, now_us) {
        return Ok(false);
    }
    let new = NewOperation {
        id: OperationId(engine.context().new_uuid()),
        kind: OperationKind::ConnectBackend,
        target: id.to_string(),
        zone: engine.zone().to_owned(),
        request_id: super::operations::REQUEST_ID.to_owned(),
        not_before_us: now_us,
    };
    let database = engine.database();
    let added = database.write(move |tx| {
        if operations::find_unfinished(tx, &new.target)?.is_some() {
            return Ok(false);
        }
        operations::insert(tx, &new, now_us)
    });
    let is_added = added.await?;
    if is_added {
        memory.tried(id, now_us);
    }
    Ok(is_added)
}
