//! Claims operations and drives them step by step.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use uuid::Uuid;

use super::connect_backend::ConnectBackend;
use super::definition::Definition;
use super::job::Job;
use super::kinds::{abandon_any, drive_any, settle_any};
use super::lease::{LEASE_US, Lease};
use super::progress::{self, Failure, Next, Surroundings};
use crate::api::metrics;
use crate::app::Service;
use crate::audit::{AuditLog, Event};
use crate::auth::vault::Vault;
use crate::context::Context;
use crate::db::operations::{self, NewOperation, is_lease_lost};
use crate::db::{Database, Transaction, settings};
use crate::driver::{Deployment, Pool};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::id::{BackendId, OperationId};
use crate::model::operation::{Operation, OperationKind, OperationState};

/// Writes in a row that may fail before an operation is left to the next claim.
const WRITE_FAILURES_MAX: u32 = 5;
/// Wait after a failed write.
const WRITE_RETRY_WAIT: Duration = Duration::from_millis(50);
/// Tries to give a lease back that nobody works under; with the waits between them as long as it lasts.
const GIVE_BACK_TRIES: u32 = 30;
/// Wait between those.
const GIVE_BACK_WAIT: Duration = Duration::from_secs(1);
/// How long others keep away from an operation whose task was stopped in the middle of a call, in microseconds: time for the
/// call to arrive.
const HANDOVER_WAIT_US: i64 = 2_000_000;

/// The setting that holds the deployment's id: made once, so that objects in a pool are known to be of this database.
const DEPLOYMENT_SETTING: &str = "deployment";

/// Carries out the operations of one zone in one pool.
pub struct Engine {
    around: Surroundings,
    database: Database,
    zone: String,
    pool: Arc<dyn Pool>,
    deployment: Deployment,
    owner: String,
    held: Mutex<HashMap<OperationId, Arc<Lease>>>,
    /// One lock for each VDI that something is being made from by this process.
    sources: Mutex<HashMap<Uuid, Arc<AsyncMutex<()>>>>,
    checkpoint: Option<Arc<dyn Checkpoint>>,
    audit: Option<Arc<AuditLog>>,
}

/// Where a test may stop or fail a worker. Production has none.
pub trait Checkpoint: Send + Sync {
    /// Called around each write to the database.
    fn pass(&self, place: Place) -> Pin<Box<dyn Future<Output = Result<()>> + Send + '_>>;
}

/// A place in a worker's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Before a write: nothing is stored.
    BeforeWrite(&'static str),
    /// After a write, before the worker knows.
    AfterWrite(&'static str),
}

/// An operation that this worker holds, and what it does next.
pub struct Claimed {
    pub(super) operation: Operation,
    pub(super) next: Next,
    held: Held,
}

/// How a worker's part in an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The operation is finished.
    Finished(OperationState),
    /// It is tried again from this time on; microseconds since 1970.
    Parked {
        /// Microseconds since 1970.
        until_us: i64,
    },
    /// Another worker has it, or will when the lease ends.
    Lost,
}

impl Engine {
    /// Makes the engine of a zone. Each has its own name as lease owner.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn open(service: &Service, zone: &str, pool: Arc<dyn Pool>) -> Result<Self> {
        let context = service.context.clone();
        let fresh = context.new_uuid();
        let deployment = service
            .database
            .write(move |tx| {
                settings::insert(tx, DEPLOYMENT_SETTING, fresh.as_bytes())?;
                let stored = settings::find(tx, DEPLOYMENT_SETTING)?;
                let stored = stored.and_then(|bytes| Uuid::from_slice(&bytes).ok());
                stored.ok_or_else(damaged_deployment)
            })
            .await?;
        let owner = format!("{zone}/{}", context.new_uuid());
        Ok(Engine {
            around: Surroundings {
                vault: Vault::new(context.clone(), &service.config.master_key),
                context,
                known: Arc::clone(&service.known),
                seen: Arc::default(),
                limits: service.config.limits.clone(),
            },
            database: service.database.clone(),
            zone: zone.to_owned(),
            pool,
            deployment: Deployment(deployment),
            owner,
            held: Mutex::default(),
            sources: Mutex::default(),
            checkpoint: None,
            audit: service.audit.clone(),
        })
    }

    /// Adds a checkpoint.
    #[must_use]
    pub fn with_checkpoint(mut self, checkpoint: Arc<dyn Checkpoint>) -> Self {
        self.checkpoint = Some(checkpoint);
        self
    }

    /// Claims up to `limit` due operations and begins their next steps, in one transaction.
    ///
    /// # Cancel safety
    /// Not safe: what was claimed stays claimed until the lease ends.
    pub async fn claim(self: &Arc<Self>, limit: usize) -> Result<Vec<Claimed>> {
        match self.claim_and_settle(limit).await {
            Ok(claimed) => Ok(claimed),
            Err(error) if error.is_retriable() => Err(error),
            // One operation whose row or target is damaged must not keep the others waiting.
            Err(error) => {
                tracing::warn!(
                    zone = self.zone,
                    "claim {limit} operations: {error}; claiming one alone"
                );
                self.claim_one_alone().await
            }
        }
    }

    /// Drives a claimed operation until it is finished, parked or lost.
    ///
    /// # Cancel safety
    /// A dropped run leaves the lease to its end (or to [`Engine::release_all`]); the next runner looks for what it left.
    pub async fn run(self: &Arc<Self>, claimed: Claimed) -> Ended {
        drive_any(self, claimed).await
    }

    /// Makes every held lease last again; those that are lost are given up at once.
    pub async fn renew(&self) -> Result<()> {
        let leases: Vec<Arc<Lease>> = self
            .held()
            .values()
            .filter(|lease| !lease.is_ended())
            .cloned()
            .collect();
        if leases.is_empty() {
            return Ok(());
        }
        let expires_at_us = self.context().now_us() + LEASE_US;
        let names: Vec<operations::Lease> = leases.iter().map(|lease| lease.name()).collect();
        let renewed = self
            .database
            .write(move |tx| {
                names
                    .iter()
                    .map(|lease| match operations::renew(tx, *lease, expires_at_us) {
                        Ok(()) => Ok(true),
                        Err(error) if is_lease_lost(&error) => Ok(false),
                        Err(error) => Err(error),
                    })
                    .collect::<Result<Vec<bool>>>()
            })
            .await?;
        for (lease, is_renewed) in leases.iter().zip(renewed) {
            if is_renewed {
                lease.extend(expires_at_us);
            } else {
                lease.end();
            }
        }
        Ok(())
    }

    /// Gives back every lease that is still held, so that others go on soon. Call it when no run is left.
    pub async fn release_all(&self) -> Result<()> {
        let leases: Vec<Arc<Lease>> = self.held().drain().map(|(_, lease)| lease).collect();
        let now_us = self.context().now_us();
        for lease in leases {
            lease.end();
            let name = lease.name();
            let released = self
                .database
                .write(move |tx| operations::release(tx, name, now_us + HANDOVER_WAIT_US, now_us))
                .await;
            match released {
                Err(error) if !is_lease_lost(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Gives back the lease of an operation that nobody has begun to work on, if it was stored at all.
    pub(super) async fn give_back(&self, lease: operations::Lease) {
        for _ in 0..GIVE_BACK_TRIES {
            let now_us = self.context().now_us();
            let released = self
                .database
                .write(move |tx| operations::release(tx, lease, now_us, now_us))
                .await;
            match released {
                Ok(()) => return,
                Err(error) if is_lease_lost(&error) => return,
                Err(error) => {
                    tracing::warn!(zone = self.zone, "give back a lease: {error}");
                    tokio::time::sleep(GIVE_BACK_WAIT).await;
                }
            }
        }
    }

    /// Time, chance, ids.
    pub fn context(&self) -> &Context {
        &self.around.context
    }

    /// The rows.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// The zone.
    pub fn zone(&self) -> &str {
        &self.zone
    }

    /// Whose objects in the pool are ours.
    pub fn deployment(&self) -> Deployment {
        self.deployment
    }

    /// The pool, for reconcilers. Operations reach it through their job, which checks the lease.
    pub(crate) fn pool(&self) -> &dyn Pool {
        &*self.pool
    }

    /// Its name as the holder of leases.
    pub(super) fn owner(&self) -> &str {
        &self.owner
    }

    /// Opens the stored secrets of backends.
    pub(crate) fn vault(&self) -> &Vault {
        &self.around.vault
    }

    /// Waits until no other operation of this process makes something from a VDI. There is no deadline here: it is as long as the
    /// calls of those take who are ahead, at most [`crate::config::Limits::worker_concurrency`], and some make hundreds of calls.
    /// Whoever makes something from VDIs, which holds a place at the worker, sets a deadline of its own and is tried again.
    pub(super) async fn alone_with(&self, vdi: Uuid) -> OwnedMutexGuard<()> {
        let lock = {
            let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
            // Only the map holds those that nobody waits for.
            sources.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(sources.entry(vdi).or_default())
        };
        lock.lock_owned().await
    }

    /// Connects a backend now, under its own operation: the one that waits, or a new one.
    ///
    /// # Errors
    /// `Busy` when another worker is at it, or it waits to be tried again.
    pub(super) async fn connect_now(
        self: &Arc<Self>,
        backend: BackendId,
        request_id: &str,
    ) -> Result<()> {
        let new = NewOperation {
            id: OperationId(self.context().new_uuid()),
            kind: OperationKind::ConnectBackend,
            target: backend.to_string(),
            zone: self.zone.clone(),
            request_id: request_id.to_owned(),
            not_before_us: self.context().now_us(),
        };
        let (around, owner) = (self.around.clone(), self.owner.clone());
        let claimed = self
            .write("claim_connect", move |tx| {
                let around = around.fresh();
                let now_us = around.context.now_us();
                operations::insert(tx, &new, now_us)?;
                let found = operations::claim_target(tx, &new.target, &owner, now_us, LEASE_US)?;
                found
                    .map(|operation| begin(tx, &around, operation))
                    .transpose()
            })
            .await?;
        let busy = || {
            let text = "the storage is being connected";
            Error::new(ErrorKind::Busy, Subject::Backend, text).on(backend.to_string())
        };
        let (operation, next) = claimed.ok_or_else(busy)?;
        let claimed = self.hold(operation, next);
        match Box::pin(drive::<ConnectBackend>(self, claimed)).await {
            Ended::Finished(_) => Ok(()),
            Ended::Parked { .. } | Ended::Lost => Err(busy()),
        }
    }

    async fn claim_and_settle(self: &Arc<Self>, limit: usize) -> Result<Vec<Claimed>> {
        let (around, zone, owner) = (self.around.clone(), self.zone.clone(), self.owner.clone());
        let claimed = self
            .write("claim", move |tx| {
                let around = around.fresh();
                let now_us = around.context.now_us();
                operations::claim(tx, &zone, &owner, now_us, LEASE_US, limit)?
                    .into_iter()
                    .map(|operation| begin(tx, &around, operation))
                    .collect::<Result<Vec<_>>>()
            })
            .await?;
        Ok(claimed
            .into_iter()
            .map(|(operation, next)| self.hold(operation, next))
            .collect())
    }

    async fn claim_one_alone(self: &Arc<Self>) -> Result<Vec<Claimed>> {
        let (around, zone, owner) = (self.around.clone(), self.zone.clone(), self.owner.clone());
        let found = self
            .write("claim_one", move |tx| {
                operations::claim(tx, &zone, &owner, around.context.now_us(), LEASE_US, 1)
            })
            .await?;
        let Some(operation) = found.into_iter().next() else {
            return Ok(Vec::new());
        };
        let (around, before) = (self.around.clone(), operation.clone());
        let settled = self
            .write("settle", move |tx| {
                // The closure may run more than once, each time from the same state.
                begin(tx, &around.fresh(), operation.clone())
            })
            .await;
        let moved = match settled {
            Err(error) if !error.is_retriable() => self.abandon(before, &error).await,
            settled => settled,
        };
        // When this fails too the lease runs out, and the operation comes last in the queue until then.
        let (operation, next) = moved?;
        Ok(vec![self.hold(operation, next)])
    }

    /// Turns an operation to its undo because its rows cannot be moved on.
    async fn abandon(&self, operation: Operation, error: &Error) -> Result<(Operation, Next)> {
        tracing::error!(
            operation.id = %operation.id,
            "{} of {}: its rows cannot be moved on: {error}",
            operation.kind.as_str(),
            operation.target
        );
        let (around, failure, id) = (self.around.clone(), Failure::from(error), operation.id);
        self.write("abandon", move |tx| {
            let around = around.fresh();
            operations::check_lease(tx, operation.lease())?;
            let found = operations::find(tx, id)?;
            let mut row = found.ok_or_else(|| Error::not_found(Subject::Operation, id))?;
            let next = abandon_any(tx, &around, &mut row, &failure)?;
            Ok((row, next))
        })
        .await
    }

    pub(super) fn hold(self: &Arc<Self>, operation: Operation, next: Next) -> Claimed {
        let lease = Arc::new(Lease::new(
            operation.id,
            operation.lease_generation,
            operation.lease_expires_at_us.unwrap_or_default(),
        ));
        self.held().insert(operation.id, Arc::clone(&lease));
        Claimed {
            operation,
            next,
            held: Held {
                engine: Arc::clone(self),
                lease,
                is_done: false,
            },
        }
    }

    async fn write<T, F>(&self, label: &'static str, body: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Transaction<'_>) -> Result<T> + Send + 'static,
    {
        if let Some(checkpoint) = &self.checkpoint {
            checkpoint.pass(Place::BeforeWrite(label)).await?;
        }
        let result = self.database.write(body).await?;
        if let Some(checkpoint) = &self.checkpoint {
            checkpoint.pass(Place::AfterWrite(label)).await?;
        }
        Ok(result)
    }

    fn held(&self) -> MutexGuard<'_, HashMap<OperationId, Arc<Lease>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lease in the engine's list of those to renew. A run that was dropped in the middle stays in the list only until the
/// engine gives all back; it is renewed no more.
struct Held {
    engine: Arc<Engine>,
    lease: Arc<Lease>,
    is_done: bool,
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.is_done {
            let mut held = self.engine.held();
            if held
                .get(&self.lease.operation)
                .is_some_and(|known| known.generation == self.lease.generation)
            {
                held.remove(&self.lease.operation);
            }
        } else {
            self.lease.end();
        }
    }
}

fn begin(
    transaction: &mut Transaction<'_>,
    around: &Surroundings,
    mut operation: Operation,
) -> Result<(Operation, Next)> {
    let next = settle_any(transaction, around, &mut operation)?;
    Ok((operation, next))
}

/// Drives an operation of a known kind until it is finished, parked or lost.
pub(super) async fn drive<D: Definition>(engine: &Arc<Engine>, claimed: Claimed) -> Ended {
    let Claimed {
        mut operation,
        mut next,
        mut held,
    } = claimed;
    let job = Job::new(Arc::clone(engine), Arc::clone(&held.lease), &operation);
    let mut write_failures = 0;
    let ended = loop {
        let moved = match next {
            Next::Finished => break Ended::Finished(operation.state),
            Next::Parked { until_us } => break Ended::Parked { until_us },
            Next::Act { look } => act::<D>(&job, &operation, look).await,
            Next::Undo => undo::<D>(&job, &operation).await,
        };
        let moved = match moved {
            Ok(moved) => {
                write_failures = 0;
                Ok(moved)
            }
            Err(error) if is_lease_lost(&error) || !is_held(&job) => break Ended::Lost,
            Err(error) => {
                write_failures += 1;
                tracing::warn!(operation.id = %operation.id, "store the progress of an operation: {error}");
                if write_failures > WRITE_FAILURES_MAX {
                    break Ended::Lost;
                }
                if error.is_retriable() {
                    tokio::time::sleep(WRITE_RETRY_WAIT).await;
                    resume::<D>(&job, &operation).await
                } else {
                    engine.abandon(operation.clone(), &error).await
                }
            }
        };
        match moved {
            Ok(moved) => (operation, next) = moved,
            Err(error) if is_lease_lost(&error) => break Ended::Lost,
            // The row could not be read either: the next round tries the step again, looking first.
            Err(_) => next = with_look(next),
        }
    };
    held.is_done = true;
    if let Ended::Finished(state) = ended {
        metrics::global().count_operation(operation.kind.as_str(), state.as_str());
        if let Some(audit) = &engine.audit {
            audit.note(Event::Operation {
                id: operation.id.to_string(),
                kind: operation.kind.as_str().to_owned(),
                target: operation.target.clone(),
                outcome: state.as_str().to_owned(),
            });
        }
    }
    log_end(&operation, ended);
    ended
}

/// Runs the present step in the pool and stores what came of it.
async fn act<D: Definition>(
    job: &Job,
    operation: &Operation,
    look: bool,
) -> Result<(Operation, Next)> {
    let mut outputs: D::Outputs = progress::parse_outputs(operation)?;
    let step = progress::step_of::<D>(operation)?;
    let result = D::run(job, step, &mut outputs, look).await;
    if let Err(error) = &result {
        if is_lease_lost(error) {
            return Err(job.lease.lost());
        }
        tracing::warn!(
            operation.id = %operation.id, generation = job.generation(), target = operation.target,
            "{} of {}: step {step:?}: {error}", operation.kind.as_str(), operation.target,
        );
    }
    let failure = result.err().as_ref().map(Failure::from);
    let (around, before) = (job.engine.around.clone(), operation.clone());
    job.engine
        .write("step", move |tx| {
            let around = around.fresh();
            operations::check_lease(tx, before.lease())?;
            let (mut operation, mut outputs) = (before.clone(), outputs.clone());
            let next = match &failure {
                None => progress::done::<D>(tx, &around, &mut operation, &outputs)?,
                Some(failure) => {
                    progress::failed::<D>(tx, &around, &mut operation, &mut outputs, failure)?
                }
            };
            Ok((operation, next))
        })
        .await
}

/// Undoes the present step in the pool and stores that.
async fn undo<D: Definition>(job: &Job, operation: &Operation) -> Result<(Operation, Next)> {
    let mut outputs: D::Outputs = progress::parse_outputs(operation)?;
    let step = progress::step_of::<D>(operation)?;
    let result = D::undo(job, step, &mut outputs).await;
    if let Err(error) = &result {
        if is_lease_lost(error) {
            return Err(job.lease.lost());
        }
        tracing::warn!(
            operation.id = %operation.id, generation = job.generation(), target = operation.target,
            "{} of {}: undo of step {step:?}: {error}", operation.kind.as_str(), operation.target,
        );
    }
    let failure = result.err().as_ref().map(Failure::from);
    let (around, before) = (job.engine.around.clone(), operation.clone());
    job.engine
        .write("undo", move |tx| {
            let around = around.fresh();
            operations::check_lease(tx, before.lease())?;
            let (mut operation, mut outputs) = (before.clone(), outputs.clone());
            let failure = failure.as_ref();
            let next = progress::undone::<D>(tx, &around, &mut operation, &mut outputs, failure)?;
            Ok((operation, next))
        })
        .await
}

/// Goes on from what the database says, after a write whose outcome is not known.
async fn resume<D: Definition>(job: &Job, operation: &Operation) -> Result<(Operation, Next)> {
    let (around, held, id) = (job.engine.around.clone(), operation.lease(), operation.id);
    job.engine
        .write("resume", move |tx| {
            let around = around.fresh();
            let found = operations::find(tx, id)?;
            let Some(mut operation) = found.filter(|row| row.lease_generation == held.generation)
            else {
                return Err(Error::not_found(Subject::Operation, id));
            };
            if operation.state.is_finished() {
                return Ok((operation, Next::Finished));
            }
            if operation.lease_owner.is_none() {
                let until_us = operation.not_before_us;
                return Ok((operation, Next::Parked { until_us }));
            }
            operations::check_lease(tx, held)?;
            let next = progress::settle::<D>(tx, &around, &mut operation)?;
            Ok((operation, next))
        })
        .await
}

fn damaged_deployment() -> Error {
    let text = "An unexpected error has occurred.";
    Error::new(ErrorKind::Internal, Subject::Database, text)
        .detail("setting deployment is damaged: expected 16 bytes")
}

fn with_look(next: Next) -> Next {
    match next {
        Next::Act { .. } => Next::Act { look: true },
        other => other,
    }
}

fn is_held(job: &Job) -> bool {
    job.lease.is_held(job.engine.context().now_us())
}

fn log_end(operation: &Operation, ended: Ended) {
    let kind = operation.kind.as_str();
    match ended {
        Ended::Finished(OperationState::Succeeded) => tracing::info!(
            operation.id = %operation.id, request.id = operation.request_id, target = operation.target,
            "{kind} of {}: done", operation.target,
        ),
        Ended::Finished(_) => tracing::warn!(
            operation.id = %operation.id, request.id = operation.request_id, target = operation.target,
            "{kind} of {}: undone: {}", operation.target, operation.failure,
        ),
        Ended::Parked { .. } => tracing::debug!(
            operation.id = %operation.id, "{kind} of {}: to be tried again", operation.target,
        ),
        Ended::Lost => tracing::warn!(
            operation.id = %operation.id, "{kind} of {}: left to another worker", operation.target,
        ),
    }
}
