//! Durable operations: rows, leases and their generations.
//!
//! A claim is a compare-and-swap that makes the lease's generation grow by one; each later write of a worker names the
//! generation that it holds and is refused once somebody else has claimed the row.

use super::volume_metadata::{CHUNK, in_list, padded};
use super::{Param, Row, Transaction};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::id::OperationId;
use crate::model::operation::{Operation, OperationKind, OperationState};

/// An operation to be carried out.
#[derive(Clone, Debug)]
pub struct NewOperation {
    /// Its id.
    pub id: OperationId,
    /// What it does.
    pub kind: OperationKind,
    /// What it is done to: a volume, backend or attachment id as text.
    pub target: String,
    /// The zone whose workers may take it.
    pub zone: String,
    /// The request that asked for it.
    pub request_id: String,
    /// Not to be claimed earlier; microseconds since 1970.
    pub not_before_us: i64,
}

/// A worker's right to write an operation's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The operation.
    pub id: OperationId,
    /// The generation that the claim gave.
    pub generation: i64,
}

/// Where an operation stands between two steps.
#[derive(Clone, Debug)]
pub struct Progress {
    /// `Running` or `Undoing`.
    pub state: OperationState,
    /// The step to run or undo next.
    pub step: u32,
    /// True once that step has been begun.
    pub step_begun: bool,
    /// What the steps produced.
    pub outputs: serde_json::Value,
    /// How many times that step failed in a way that may pass.
    pub attempts: u32,
    /// Why it is being retried or undone.
    pub failure: String,
}

const COLUMNS: &str = "id, kind, target, zone, state, step, step_begun, outputs, attempts, lease_owner, lease_generation, \
                       lease_expires_at_us, not_before_us, failure, request_id, created_at_us, updated_at_us";

const INSERT: &str = "INSERT INTO operations (id, kind, target, zone, state, step, step_begun, outputs, attempts, lease_owner, \
                      lease_generation, lease_expires_at_us, not_before_us, failure, request_id, created_at_us, updated_at_us) \
                      VALUES (?1, ?2, ?3, ?4, 'pending', 0, 0, '{}', 0, NULL, 0, NULL, ?5, '', ?6, ?7, ?7) ON CONFLICT DO NOTHING";

/// Adds an operation and wakes the workers; false, with nothing changed, when its target has an unfinished one.
pub fn insert(tx: &mut Transaction<'_>, new: &NewOperation, now_us: i64) -> Result<bool> {
    let added = tx.execute(INSERT, &new_row(new, now_us))?;
    tx.wake_workers();
    Ok(added == 1)
}

/// Adds an operation for a target that is new, and so has none, and wakes the workers.
pub fn add(tx: &mut Transaction<'_>, new: &NewOperation, now_us: i64) -> Result<()> {
    tx.post(
        INSERT,
        new_row(new, now_us),
        not_new(new.id, new.target.clone()),
    )?;
    tx.wake_workers();
    Ok(())
}

/// The error for a target that is new and has an operation all the same.
pub fn not_new(id: OperationId, target: String) -> impl FnOnce() -> Error + 'static {
    move || {
        Error::new(
            ErrorKind::Internal,
            Subject::Operation,
            "An unexpected error has occurred.",
        )
        .on(id.to_string())
        .detail(format!("{target}, which is new, has an operation already"))
    }
}

/// Adds an operation that its worker holds from the start, and whose steps before the present one left nothing to do; for a target that
/// has none, or else with this error.
pub fn add_held(
    tx: &mut Transaction<'_>,
    held: &Operation,
    missed: impl FnOnce() -> Error + 'static,
) -> Result<()> {
    tx.post(
        "INSERT INTO operations (id, kind, target, zone, state, step, step_begun, outputs, attempts, lease_owner, \
         lease_generation, lease_expires_at_us, not_before_us, failure, request_id, created_at_us, updated_at_us) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, ?9, ?10, ?11, ?12, '', ?13, ?14, ?14) ON CONFLICT DO NOTHING",
        vec![
            held.id.into(),
            held.kind.as_str().into(),
            held.target.as_str().into(),
            held.zone.as_str().into(),
            held.state.as_str().into(),
            i64::from(held.step).into(),
            held.step_begun.into(),
            held.outputs.to_string().into(),
            held.lease_owner.clone().into(),
            held.lease_generation.into(),
            held.lease_expires_at_us.into(),
            held.not_before_us.into(),
            held.request_id.as_str().into(),
            held.created_at_us.into(),
        ],
        missed,
    )
}

fn new_row(new: &NewOperation, now_us: i64) -> Vec<Param> {
    vec![
        new.id.into(),
        new.kind.as_str().into(),
        new.target.as_str().into(),
        new.zone.as_str().into(),
        new.not_before_us.into(),
        new.request_id.as_str().into(),
        now_us.into(),
    ]
}

/// Takes up to `limit` operations of a zone that are due and that nobody holds a good lease on, oldest due first.
///
/// A pending operation becomes running, an undoing one goes on undoing; the lease holds until `now_us + lease_us`.
pub fn claim(
    tx: &mut Transaction<'_>,
    zone: &str,
    owner: &str,
    now_us: i64,
    lease_us: i64,
    limit: usize,
) -> Result<Vec<Operation>> {
    // The outer condition repeats the inner one: on PostgreSQL another claim may commit between the two.
    let mut claimed = tx.query(
        &format!(
            "UPDATE operations SET lease_owner = ?2, lease_generation = lease_generation + 1, lease_expires_at_us = ?4, \
             state = CASE state WHEN 'pending' THEN 'running' ELSE state END, updated_at_us = ?3 \
             WHERE id IN (SELECT id FROM operations WHERE zone = ?1 AND state <> 'succeeded' AND state <> 'failed' \
             AND not_before_us <= ?3 AND (lease_expires_at_us IS NULL OR lease_expires_at_us <= ?3) \
             ORDER BY not_before_us LIMIT ?5 /* skip locked */) \
             AND state <> 'succeeded' AND state <> 'failed' AND (lease_expires_at_us IS NULL OR lease_expires_at_us <= ?3) \
             RETURNING {COLUMNS}"
        ),
        &[
            zone.into(),
            owner.into(),
            now_us.into(),
            now_us.saturating_add(lease_us).into(),
            i64::try_from(limit).unwrap_or(i64::MAX).into(),
        ],
        from_row,
    )?;
    claimed.sort_by_key(|operation| operation.not_before_us);
    Ok(claimed)
}

/// Takes the unfinished operation of one target, if it is due and nobody holds a good lease on it.
pub fn claim_target(
    tx: &mut Transaction<'_>,
    target: &str,
    owner: &str,
    now_us: i64,
    lease_us: i64,
) -> Result<Option<Operation>> {
    tx.query_first(
        &format!(
            "UPDATE operations SET lease_owner = ?2, lease_generation = lease_generation + 1, lease_expires_at_us = ?4, \
             state = CASE state WHEN 'pending' THEN 'running' ELSE state END, updated_at_us = ?3 \
             WHERE target = ?1 AND state <> 'succeeded' AND state <> 'failed' \
             AND not_before_us <= ?3 AND (lease_expires_at_us IS NULL OR lease_expires_at_us <= ?3) \
             RETURNING {COLUMNS}"
        ),
        &[
            target.into(),
            owner.into(),
            now_us.into(),
            now_us.saturating_add(lease_us).into(),
        ],
        from_row,
    )
}

/// Makes a lease hold until `expires_at_us`.
///
/// # Errors
/// `Conflict` about the operation (see [`is_lease_lost`]) when somebody else has claimed it, or it is finished; as for every
/// function here that takes a lease.
pub fn renew(tx: &mut Transaction<'_>, lease: Lease, expires_at_us: i64) -> Result<()> {
    let touched = tx.execute(
        "UPDATE operations SET lease_expires_at_us = ?3 WHERE id = ?1 AND lease_generation = ?2 \
         AND state <> 'succeeded' AND state <> 'failed'",
        &[
            lease.id.into(),
            lease.generation.into(),
            expires_at_us.into(),
        ],
    )?;
    held(lease, touched)
}

/// Refuses when the lease is lost: the first line of a transaction that writes other rows for the operation. The refusal may come
/// with a later statement; nothing is kept then.
///
/// On PostgreSQL the row stays locked until the transaction ends, so that no claim slips in between.
pub fn check_lease(tx: &mut Transaction<'_>, lease: Lease) -> Result<()> {
    tx.post(
        "SELECT lease_generation FROM operations WHERE id = ?1 AND lease_generation = ?2 \
         AND state <> 'succeeded' AND state <> 'failed' /* for update */",
        vec![lease.id.into(), lease.generation.into()],
        move || lost(lease),
    )
}

/// Stores where the operation stands.
pub fn save_step(
    tx: &mut Transaction<'_>,
    lease: Lease,
    progress: &Progress,
    now_us: i64,
) -> Result<()> {
    tx.post(
        "UPDATE operations SET state = ?3, step = ?4, step_begun = ?5, outputs = ?6, attempts = ?7, failure = ?8, \
         updated_at_us = ?9 WHERE id = ?1 AND lease_generation = ?2 AND state <> 'succeeded' AND state <> 'failed'",
        vec![
            lease.id.into(),
            lease.generation.into(),
            progress.state.as_str().into(),
            i64::from(progress.step).into(),
            progress.step_begun.into(),
            progress.outputs.to_string().into(),
            i64::from(progress.attempts).into(),
            progress.failure.as_str().into(),
            now_us.into(),
        ],
        move || lost(lease),
    )
}

/// Gives the lease back so that anybody may claim the operation from `not_before_us` on: after a failure that may pass, or when
/// a worker stops. Save the progress first; an operation that only ran becomes pending again, an undoing one stays so.
pub fn release(
    tx: &mut Transaction<'_>,
    lease: Lease,
    not_before_us: i64,
    now_us: i64,
) -> Result<()> {
    tx.post(
        "UPDATE operations SET lease_owner = NULL, lease_expires_at_us = NULL, not_before_us = ?3, \
         state = CASE state WHEN 'running' THEN 'pending' ELSE state END, updated_at_us = ?4 \
         WHERE id = ?1 AND lease_generation = ?2 AND state <> 'succeeded' AND state <> 'failed'",
        vec![
            lease.id.into(),
            lease.generation.into(),
            not_before_us.into(),
            now_us.into(),
        ],
        move || lost(lease),
    )?;
    tx.wake_workers();
    Ok(())
}

/// Ends the operation: `Succeeded`, or `Failed` with the reason. Wakes those who wait for it.
pub fn finish(
    tx: &mut Transaction<'_>,
    lease: Lease,
    state: OperationState,
    failure: &str,
    now_us: i64,
) -> Result<()> {
    debug_assert!(state.is_finished());
    tx.post(
        "UPDATE operations SET state = ?3, failure = ?4, lease_owner = NULL, lease_expires_at_us = NULL, updated_at_us = ?5 \
         WHERE id = ?1 AND lease_generation = ?2 AND state <> 'succeeded' AND state <> 'failed'",
        vec![
            lease.id.into(),
            lease.generation.into(),
            state.as_str().into(),
            failure.into(),
            now_us.into(),
        ],
        move || lost(lease),
    )?;
    tx.wake_waiters();
    Ok(())
}

/// An operation, if it is (still) known.
pub fn find(tx: &mut Transaction<'_>, id: OperationId) -> Result<Option<Operation>> {
    tx.query_first(
        &format!("SELECT {COLUMNS} FROM operations WHERE id = ?1"),
        &[id.into()],
        from_row,
    )
}

/// The unfinished operation of a target.
pub fn find_unfinished(tx: &mut Transaction<'_>, target: &str) -> Result<Option<Operation>> {
    tx.query_first(
        &format!(
            "SELECT {COLUMNS} FROM operations WHERE target = ?1 AND state <> 'succeeded' AND state <> 'failed'"
        ),
        &[target.into()],
        from_row,
    )
}

/// All operations of a target, oldest first, finished ones too as far as they are kept.
pub fn of_target(tx: &mut Transaction<'_>, target: &str) -> Result<Vec<Operation>> {
    tx.query(
        &format!("SELECT {COLUMNS} FROM operations WHERE target = ?1 ORDER BY created_at_us, id"),
        &[target.into()],
        from_row,
    )
}

/// The operations of one kind of these targets, oldest first, finished ones too as far as they are kept.
pub fn of_targets(
    tx: &mut Transaction<'_>,
    kind: OperationKind,
    targets: &[String],
) -> Result<Vec<Operation>> {
    let head = format!("SELECT {COLUMNS} FROM operations WHERE target IN");
    let sql = format!(
        "{} AND kind = '{}' ORDER BY created_at_us, id",
        in_list(&head, CHUNK),
        // In the text, so that the index of this kind serves it.
        kind.as_str()
    );
    let mut found = Vec::new();
    for chunk in targets.chunks(CHUNK) {
        let targets: Vec<&str> = chunk.iter().map(String::as_str).collect();
        found.extend(tx.query(&sql, &padded(&targets), from_row)?);
    }
    Ok(found)
}

/// Up to `limit` unfinished operations of a zone, those that are due first.
pub fn unfinished(tx: &mut Transaction<'_>, zone: &str, limit: usize) -> Result<Vec<Operation>> {
    tx.query(
        &format!(
            "SELECT {COLUMNS} FROM operations WHERE zone = ?1 AND state <> 'succeeded' AND state <> 'failed' \
             ORDER BY not_before_us LIMIT ?2"
        ),
        &[
            zone.into(),
            i64::try_from(limit).unwrap_or(i64::MAX).into(),
        ],
        from_row,
    )
}

/// Removes up to `limit` operations that finished before `before_us`; returns how many.
pub fn remove_finished(tx: &mut Transaction<'_>, before_us: i64, limit: usize) -> Result<u64> {
    tx.execute(
        "DELETE FROM operations WHERE id IN (SELECT id FROM operations WHERE (state = 'succeeded' OR state = 'failed') \
         AND updated_at_us < ?1 ORDER BY updated_at_us LIMIT ?2)",
        &[
            before_us.into(),
            i64::try_from(limit).unwrap_or(i64::MAX).into(),
        ],
    )
}

/// True for the error of a worker that no longer holds the operation: it must stop and touch nothing more.
pub fn is_lease_lost(error: &Error) -> bool {
    error.kind == ErrorKind::Conflict && error.subject == Subject::Operation
}

fn held(lease: Lease, touched: u64) -> Result<()> {
    if touched == 1 {
        return Ok(());
    }
    Err(lost(lease))
}

fn lost(lease: Lease) -> Error {
    Error::new(
        ErrorKind::Conflict,
        Subject::Operation,
        "The operation was taken over by another worker.",
    )
    .on(lease.id.to_string())
    .detail(format!(
        "operation {} is finished or no longer held under lease generation {}",
        lease.id, lease.generation
    ))
}

fn from_row(row: &Row<'_>) -> Result<Operation> {
    Ok(Operation {
        id: row.parsed(0, |text| text.parse().ok())?,
        kind: row.parsed(1, OperationKind::parse)?,
        target: row.text(2)?,
        zone: row.text(3)?,
        state: row.parsed(4, OperationState::parse)?,
        step: count(row.int(5)?),
        step_begun: row.int(6)? != 0,
        outputs: row.parsed(7, |text| serde_json::from_str(text).ok())?,
        attempts: count(row.int(8)?),
        lease_owner: row.opt_text(9)?,
        lease_generation: row.int(10)?,
        lease_expires_at_us: row.opt_int(11)?,
        not_before_us: row.int(12)?,
        failure: row.text(13)?,
        request_id: row.text(14)?,
        created_at_us: row.int(15)?,
        updated_at_us: row.int(16)?,
    })
}

fn count(stored: i64) -> u32 {
    u32::try_from(stored).unwrap_or(u32::MAX)
}

impl Operation {
    /// The lease that the claim which returned this row gave.
    pub fn lease(&self) -> Lease {
        Lease {
            id: self.id,
            generation: self.lease_generation,
        }
    }
}

impl From<OperationId> for Param {
    fn from(id: OperationId) -> Self {
        Param::Text(id.to_string())
    }
}
