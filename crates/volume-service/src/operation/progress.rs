//! How an operation's row moves: inside one transaction, under the present lease.

use std::sync::{Arc, OnceLock};

use serde_json::Value;

use super::definition::{AfterFailure, Begin, Definition, Finish, Reason, StepTransaction};
use crate::app::known::{Known, Seen};
use crate::auth::vault::Vault;
use crate::config::Limits;
use crate::context::Context;
use crate::db::operations::Progress;
use crate::db::{Transaction, operations};
use crate::driver::PoolError;
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::operation::{Operation, OperationState};

/// First wait before a step is tried again, in microseconds; doubled each time.
const BACKOFF_FIRST_US: i64 = 100_000;
/// Longest such wait.
const BACKOFF_MAX_US: i64 = 5_000_000;
/// Longest such wait for what takes its time: coalescing, or another operation's work on the same VDI.
const SLOW_BACKOFF_MAX_US: i64 = 30_000_000;
/// Tries of a step that such a thing stands in the way of; with the waits between them nearly half an hour.
const SLOW_ATTEMPTS_MAX: u32 = 60;
/// Longest wait of who waits for others of its process. Such tries are not counted: each of those ahead ends in its time. Only
/// [`CLAIMS_MAX`] ends them, after nearly an hour.
const QUEUED_BACKOFF_MAX_US: i64 = 5_000_000;
/// Claims after which an operation is undone instead of going on: something about it ends its workers.
const CLAIMS_MAX: i64 = 500;
/// Longest failure text kept in a row, in bytes.
const FAILURE_MAX_BYTES: usize = 4000;

/// What a worker does next with an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Runs the present step in the pool.
    Act {
        /// An earlier try may have left something.
        look: bool,
    },
    /// Undoes the present step in the pool.
    Undo,
    /// Nothing before this time; the lease is given back.
    Parked {
        /// Microseconds since 1970.
        until_us: i64,
    },
    /// Nothing, ever.
    Finished,
}

/// Everything that the functions here need beside the transaction.
#[derive(Clone)]
pub(super) struct Surroundings {
    /// Time and ids.
    pub(super) context: Context,
    /// Opens the stored secrets of backends.
    pub(super) vault: Vault,
    /// What is kept of rows that rarely change.
    pub(super) known: Arc<Known>,
    /// What this transaction may take from it, once it asked.
    pub(super) seen: Arc<OnceLock<Arc<Seen>>>,
    /// What projects may have for which nobody set anything.
    pub(super) limits: Limits,
}

impl Surroundings {
    /// The same, for the next transaction.
    pub(super) fn fresh(&self) -> Self {
        Surroundings {
            seen: Arc::default(),
            ..self.clone()
        }
    }

    /// What this transaction may take from what is kept.
    pub(super) fn seen(&self, transaction: &mut Transaction<'_>) -> Result<Arc<Seen>> {
        if let Some(seen) = self.seen.get() {
            // Another operation of the same transaction may have waited for a lock since.
            seen.judge(transaction)?;
            return Ok(Arc::clone(seen));
        }
        let seen = Arc::new(self.known.seen(transaction)?);
        Ok(Arc::clone(self.seen.get_or_init(|| seen)))
    }
}

/// Goes from the present step through all that have no part in the pool, and stores where it arrives.
pub(super) fn settle<D: Definition>(
    transaction: &mut Transaction<'_>,
    around: &Surroundings,
    operation: &mut Operation,
) -> Result<Next> {
    if operation.state == OperationState::Undoing {
        return settle_undo::<D>(transaction, around, operation);
    }
    if operation.lease_generation > CLAIMS_MAX {
        start_undo::<D>(operation, &Reason::new("given up: claimed too often"));
        return settle_undo::<D>(transaction, around, operation);
    }
    let mut outputs: D::Outputs = parse_outputs(operation)?;
    loop {
        let mut at = StepTransaction {
            transaction,
            operation,
            context: &around.context,
            vault: &around.vault,
            around,
            limits: &around.limits,
        };
        let undo = match D::STEPS.get(operation.step as usize) {
            Some(step) => match D::begin(&mut at, *step, &mut outputs)? {
                Begin::Act => {
                    let look = operation.step_begun;
                    operation.step_begun = true;
                    store(transaction, around, operation, &outputs)?;
                    return Ok(Next::Act { look });
                }
                Begin::Next => {
                    go_to(operation, operation.step + 1);
                    continue;
                }
                Begin::Undo(reason) => reason,
            },
            None => match D::succeed(&mut at, &outputs)? {
                Finish::Succeeded => {
                    operation.failure.clear();
                    return finish::<D>(transaction, around, operation, OperationState::Succeeded);
                }
                Finish::Undo(reason) => reason,
            },
        };
        start_undo::<D>(operation, &undo);
        set_outputs(operation, &outputs)?;
        return settle_undo::<D>(transaction, around, operation);
    }
}

/// Records that the present step's part in the pool is done, and settles.
pub(super) fn done<D: Definition>(
    transaction: &mut Transaction<'_>,
    around: &Surroundings,
    operation: &mut Operation,
    outputs: &D::Outputs,
) -> Result<Next> {
    set_outputs(operation, outputs)?;
    go_to(operation, operation.step + 1);
    operation.failure.clear();
    settle::<D>(transaction, around, operation)
}

/// Records that the present step's part in the pool failed: parks it to be tried again, or turns to what follows.
pub(super) fn failed<D: Definition>(
    transaction: &mut Transaction<'_>,
    around: &Surroundings,
    operation: &mut Operation,
    outputs: &mut D::Outputs,
    error: &Failure,
) -> Result<Next> {
    let step = step_of::<D>(operation)?;
    let attempts_max = D::attempts_max(step);
    count_attempt(operation, attempts_max, error);
    if may_try_again(operation, attempts_max, error) {
        return park(transaction, around, operation, outputs, attempts_max, error);
    }
    let error = &error.after(operation.attempts.saturating_sub(attempts_max));
    match D::failed(step, outputs, &error.as_error()) {
        AfterFailure::Next => go_to(operation, operation.step + 1),
        AfterFailure::Back(earlier) => {
            let index = D::STEPS.iter().position(|step| *step == earlier);
            go_to(operation, index.unwrap_or_default() as u32);
        }
        AfterFailure::Undo => start_undo::<D>(operation, &error.reason),
    }
    set_outputs(operation, outputs)?;
    settle::<D>(transaction, around, operation)
}

/// Records the end of the present step's undo and goes on to the step before.
pub(super) fn undone<D: Definition>(
    transaction: &mut Transaction<'_>,
    around: &Surroundings,
    operation: &mut Operation,
    outputs: &mut D::Outputs,
    error: Option<&Failure>,
) -> Result<Next> {
    if let Some(error) = error {
        let step = step_of::<D>(operation)?;
        let attempts_max = D::attempts_max(step);
        count_attempt(operation, attempts_max, error);
        if may_try_again(operation, attempts_max, error) {
            return park(transaction, around, operation, outputs, attempts_max, error);
        }
        D::undo_failed(step, outputs);
        let text = format!("{}; not undone: {}", operation.failure, error.reason.full);
        operation.failure = bounded(text);
    }
    set_outputs(operation, outputs)?;
    go_to(operation, step_before::<D>(operation));
    settle_undo::<D>(transaction, around, operation)
}

/// Turns to undo because the database part of a step failed for good: a bug, or rows that contradict each other.
pub(super) fn abandon<D: Definition>(
    transaction: &mut Transaction<'_>,
    around: &Surroundings,
    operation: &mut Operation,
    failure: &Failure,
) -> Result<Next> {
    if operation.state != OperationState::Undoing {
        start_undo::<D>(operation, &failure.reason);
    }
    settle_undo::<D>(transaction, around, operation)
}

/// A step's failure in a form that a transaction's closure can hold.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// For tenant and operator.
    pub(super) reason: Reason,
    /// The same call may succeed later.
    pub(super) is_retriable: bool,
    /// What stands in its way takes its time.
    is_slow: bool,
    /// Nothing was tried: others of this process are ahead.
    is_queued: bool,
    kind: ErrorKind,
    subject: Subject,
    object: String,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let of_pool = PoolError::behind(error);
        Failure {
            reason: Reason::from(error),
            is_retriable: error.is_retriable(),
            is_slow: of_pool.is_some_and(PoolError::is_slow),
            is_queued: of_pool.is_some_and(PoolError::is_queued),
            kind: error.kind,
            subject: error.subject,
            object: error.object.clone(),
        }
    }
}

impl Failure {
    /// The failure that ends the tries; when something slow was waited for it says how often that was looked at.
    fn after(&self, slow_attempts: u32) -> Failure {
        let mut last = self.clone();
        if self.is_retriable && slow_attempts > 0 {
            for text in [&mut last.reason.public, &mut last.reason.full] {
                text.push_str(&format!("; given up after {slow_attempts} tries"));
            }
        }
        last
    }

    fn as_error(&self) -> Error {
        Error::new(self.kind, self.subject, self.reason.public.clone())
            .on(self.object.clone())
            .detail(self.reason.full.clone())
    }
}

fn settle_undo<D: Definition>(
    transaction: &mut Transaction<'_>,
    around: &Surroundings,
    operation: &mut Operation,
) -> Result<Next> {
    let outputs: D::Outputs = parse_outputs(operation)?;
    while let Some(step) = D::STEPS.get(operation.step as usize) {
        if D::has_undo(*step) {
            operation.step_begun = true;
            store(transaction, around, operation, &outputs)?;
            return Ok(Next::Undo);
        }
        go_to(operation, step_before::<D>(operation));
    }
    let reason = failure_of(operation);
    // With the reason for tenants, which is told after the end.
    store(transaction, around, operation, &outputs)?;
    let mut at = StepTransaction {
        transaction,
        operation,
        context: &around.context,
        vault: &around.vault,
        around,
        limits: &around.limits,
    };
    D::fail(&mut at, &outputs, &reason)?;
    finish::<D>(transaction, around, operation, OperationState::Failed)
}

fn finish<D: Definition>(
    transaction: &mut Transaction<'_>,
    around: &Surroundings,
    operation: &mut Operation,
    state: OperationState,
) -> Result<Next> {
    let now_us = around.context.now_us();
    operations::finish(
        transaction,
        operation.lease(),
        state,
        &operation.failure,
        now_us,
    )?;
    operation.state = state;
    let mut at = StepTransaction {
        transaction,
        operation,
        context: &around.context,
        vault: &around.vault,
        around,
        limits: &around.limits,
    };
    D::ended(&mut at)?;
    Ok(Next::Finished)
}

/// The step to undo after this one; behind the first comes one past the last, where nothing is left to undo.
fn step_before<D: Definition>(operation: &Operation) -> u32 {
    let none = D::STEPS.len() as u32;
    operation.step.checked_sub(1).unwrap_or(none)
}

fn start_undo<D: Definition>(operation: &mut Operation, reason: &Reason) {
    let last = (D::STEPS.len() as u32).saturating_sub(1);
    operation.state = OperationState::Undoing;
    operation.failure = bounded(reason.full.clone());
    let from = operation.step.min(last);
    go_to(operation, from);
    set_reason(operation, reason);
}

/// Counts a try. From the first slow failure on the count is beyond what quick failures are allowed, so that a short trouble does
/// not end a long wait.
fn count_attempt(operation: &mut Operation, attempts_max: u32, error: &Failure) {
    if error.is_queued {
        return;
    }
    operation.attempts = operation.attempts.saturating_add(1);
    if error.is_slow {
        operation.attempts = operation.attempts.max(attempts_max.saturating_add(1));
    }
}

fn may_try_again(operation: &Operation, attempts_max: u32, error: &Failure) -> bool {
    let limit = if operation.attempts > attempts_max {
        attempts_max.saturating_add(SLOW_ATTEMPTS_MAX)
    } else {
        attempts_max
    };
    error.is_queued || (error.is_retriable && operation.attempts < limit)
}

fn park<O: serde::Serialize>(
    transaction: &mut Transaction<'_>,
    around: &Surroundings,
    operation: &mut Operation,
    outputs: &O,
    attempts_max: u32,
    error: &Failure,
) -> Result<Next> {
    let (attempts, longest_us) = match operation.attempts.checked_sub(attempts_max) {
        _ if error.is_queued => {
            // The only count that goes on.
            let claims = u32::try_from(operation.lease_generation);
            (claims.unwrap_or(u32::MAX), QUEUED_BACKOFF_MAX_US)
        }
        Some(slow @ 1..) => (slow, SLOW_BACKOFF_MAX_US),
        _ => (operation.attempts, BACKOFF_MAX_US),
    };
    let doublings = attempts.saturating_sub(1).min(16);
    let wait_us = (BACKOFF_FIRST_US << doublings).min(longest_us);
    let now_us = around.context.now_us();
    let until_us = now_us + wait_us;
    if operation.state == OperationState::Running {
        operation.failure = bounded(error.reason.full.clone());
    }
    store(transaction, around, operation, outputs)?;
    operations::release(transaction, operation.lease(), until_us, now_us)?;
    Ok(Next::Parked { until_us })
}

fn go_to(operation: &mut Operation, step: u32) {
    operation.step = step;
    operation.step_begun = false;
    operation.attempts = 0;
}

/// The present step.
pub(super) fn step_of<D: Definition>(operation: &Operation) -> Result<D::Step> {
    D::STEPS
        .get(operation.step as usize)
        .copied()
        .ok_or_else(|| damaged(operation, "has no such step"))
}

/// Writes the row, refusing when another generation holds the lease.
fn store<O: serde::Serialize>(
    transaction: &mut Transaction<'_>,
    around: &Surroundings,
    operation: &mut Operation,
    outputs: &O,
) -> Result<()> {
    set_outputs(operation, outputs)?;
    let progress = Progress {
        state: operation.state,
        step: operation.step,
        step_begun: operation.step_begun,
        outputs: operation.outputs.clone(),
        attempts: operation.attempts,
        failure: operation.failure.clone(),
    };
    let now_us = around.context.now_us();
    operations::save_step(transaction, operation.lease(), &progress, now_us)
}

/// The document in `operations.outputs`: the kind's own outputs, and the reason of an undo for tenants.
#[derive(serde::Serialize, serde::Deserialize)]
struct Document {
    steps: Value,
    #[serde(default)]
    reason: Option<Reason>,
}

fn document(operation: &Operation) -> Result<Document> {
    if operation
        .outputs
        .as_object()
        .is_none_or(serde_json::Map::is_empty)
    {
        return Ok(Document {
            steps: Value::Null,
            reason: None,
        });
    }
    serde_json::from_value(operation.outputs.clone())
        .map_err(|error| damaged(operation, "holds outputs that cannot be read").caused_by(error))
}

/// The document of an operation whose steps have produced this.
pub(super) fn outputs_of<O: serde::Serialize>(outputs: &O) -> Value {
    let steps = serde_json::to_value(outputs).unwrap_or(Value::Null);
    to_value(&Document {
        steps,
        reason: None,
    })
}

/// Reads the outputs of the steps so far; those of the kind's first step when there are none.
pub(super) fn parse_outputs<O: serde::de::DeserializeOwned + Default>(
    operation: &Operation,
) -> Result<O> {
    let steps = document(operation)?.steps;
    if steps.is_null() {
        return Ok(O::default());
    }
    serde_json::from_value(steps)
        .map_err(|error| damaged(operation, "holds outputs of another shape").caused_by(error))
}

fn set_outputs<O: serde::Serialize>(operation: &mut Operation, outputs: &O) -> Result<()> {
    let mut whole = document(operation)?;
    whole.steps = serde_json::to_value(outputs).map_err(|error| {
        damaged(operation, "has outputs that cannot be written").caused_by(error)
    })?;
    operation.outputs = to_value(&whole);
    Ok(())
}

fn set_reason(operation: &mut Operation, reason: &Reason) {
    let steps = document(operation).map_or(Value::Null, |whole| whole.steps);
    operation.outputs = to_value(&Document {
        steps,
        reason: Some(reason.clone()),
    });
}

fn to_value(whole: &Document) -> Value {
    serde_json::to_value(whole).unwrap_or(Value::Null)
}

/// Why an operation was undone, in words for tenants; none when it was not, or when nobody noted that. `Operation::failure` is for
/// operators: it names SRs, references and calls.
pub fn failure_for_tenants(operation: &Operation) -> Option<String> {
    let reason = document(operation).ok()?.reason?;
    Some(bounded(reason.public))
}

fn failure_of(operation: &Operation) -> Reason {
    let stored = document(operation).ok().and_then(|whole| whole.reason);
    let public = stored.map_or_else(|| operation.failure.clone(), |reason| reason.public);
    Reason {
        public: bounded(public),
        full: operation.failure.clone(),
    }
}

fn bounded(mut text: String) -> String {
    if text.len() > FAILURE_MAX_BYTES {
        let mut end = FAILURE_MAX_BYTES;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}

fn damaged(operation: &Operation, what: &str) -> Error {
    Error::new(
        ErrorKind::Internal,
        Subject::Operation,
        "An unexpected error has occurred.",
    )
    .on(operation.id.to_string())
    .detail(format!(
        "operation {} ({}) at step {} {what}",
        operation.id,
        operation.kind.as_str(),
        operation.step
    ))
}
