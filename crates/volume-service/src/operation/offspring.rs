//! VDIs that are made from a VDI: snapshots and clones.
//!
//! 1. The source gets the mark [`Making`] of this operation and lease. A crash behind this leaves a mark: the next try replaces it,
//!    a reconciler takes it off when the operation has ended.
//! 2. `VDI.snapshot` or `VDI.clone`: what is born carries the source's marks and the mark of 1. A crash leaves a VDI that the next
//!    try knows by that mark; it is destroyed there, for its maker may still be alive.
//! 3. The new VDI gets its name, and then marks of its own in the place of those it was born with. A crash leaves a VDI that is known
//!    by these.
//! 4. The source loses the mark, unless a call of any try may still run ([`Calls`]): what that makes is known by the mark, so it stays
//!    until a reconciler takes it off, some time after the operation has ended.
//!
//! An operator's snapshot of the source that falls between 1 and 4 carries the mark too. So of several VDIs that carry one mark none
//! is destroyed.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::calls::Calls;
use super::job::{Job, SrName};
use crate::db::operations;
use crate::driver::{FoundVdi, Making, Pool, PoolError, PoolFuture, Trouble, VdiMarks, VdiOwner};
use crate::error::Result;
use crate::model::id::OperationId;

/// What is to be made.
#[derive(Clone, Debug)]
pub(super) struct Birth {
    /// The VDI that it is made from.
    pub(super) source: Uuid,
    /// The SR of both.
    pub(super) sr: SrName,
    /// Whom it is for.
    pub(super) owner: VdiOwner,
    /// By which call.
    pub(super) how: How,
    /// Which of the VDIs that the operation makes something from the source is; 0 for the first or only one.
    pub(super) part: u32,
}

/// By which call a VDI is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum How {
    /// `VDI.snapshot`
    Snapshot,
    /// `VDI.clone`
    Clone,
}

impl How {
    fn call(self, pool: &dyn Pool, source: Uuid) -> PoolFuture<'_, Uuid> {
        match self {
            How::Snapshot => pool.snapshot_vdi(source),
            How::Clone => pool.clone_vdi(source),
        }
    }
}

/// How long others of this process that make something from the same VDIs are waited for, all together: whoever waits keeps a place
/// among the few operations that are at work at once, so it rather comes again.
pub(super) const ALONE_DEADLINE: Duration = Duration::from_secs(2);

/// Waits until nobody else of this process makes something from the source.
///
/// # Errors
/// One with the trouble `Queued` when somebody still does then, which is not counted as a try.
pub(super) async fn alone(
    job: &Job,
    birth: &Birth,
    deadline: Instant,
) -> Result<OwnedMutexGuard<()>> {
    let waited = timeout_at(deadline, job.engine.alone_with(birth.source)).await;
    waited.map_err(|_| {
        let text = format!("something else is being made from VDI {}", birth.source);
        let held = PoolError::new("VDI.snapshot", Trouble::Queued, text);
        birth.sr.error(held)
    })
}

/// Makes it, or finishes what an earlier try under this lease began. `look` says that there may be something.
///
/// # Errors
/// Those of the pool; one with the trouble `Marked` while another operation makes something from the same VDI, with `Queued` while one
/// of this process does.
pub(super) async fn make(job: &Job, birth: &Birth, calls: &mut Calls, look: bool) -> Result<Uuid> {
    let _alone = alone(job, birth, Instant::now() + ALONE_DEADLINE).await?;
    if look && let Some(born) = settle(job, birth).await? {
        return finish(job, birth, *calls, born).await;
    }
    mark_source(job, birth).await?;
    let error = match birth.how.call(job.pool()?, birth.source).await {
        Ok(born) => {
            if let Some(pool) = job.pool_when_late() {
                // Only this answer tells of it: whoever has the lease now takes nothing over that an earlier one made.
                let _gone = pool.destroy_vdi(born).await;
            }
            return finish(job, birth, *calls, born).await;
        }
        Err(error) => error,
    };
    if error.outcome_unknown {
        calls.unanswered();
        if let Some(born) = settle(job, birth).await? {
            return finish(job, birth, *calls, born).await;
        }
    } else if !calls.may_still_run() {
        // When this fails too the next try replaces the mark, and the undo takes it off.
        let _removed = job.pool()?.end_making(birth.source).await;
    }
    Err(birth.sr.error(error))
}

/// Destroys what this operation made from the source under this lease or an earlier one, and takes its mark off the source, unless a
/// call may still run.
pub(super) async fn unmake(job: &Job, birth: &Birth, calls: Calls) -> Result<()> {
    let Some(sr_uuid) = birth.sr.sr_uuid else {
        return Ok(());
    };
    let all = job.pool()?.vdis_of_sr(sr_uuid).await;
    let mut all = all.map_err(|error| birth.sr.error(error))?;
    if calls.may_run_on() {
        // A source that is not seen keeps its mark.
        all.retain(|vdi| vdi.uuid != birth.source);
    }
    unmake_among(job, birth, &all).await
}

/// The same, among the VDIs of the SR.
pub(super) async fn unmake_among(job: &Job, birth: &Birth, all: &[FoundVdi]) -> Result<()> {
    for vdi in made(job, birth, all) {
        if vdi.generation() <= job.generation() {
            destroy(job, birth, vdi.uuid()).await?;
        }
    }
    let source = all.iter().find(|vdi| vdi.uuid == birth.source);
    let making = source.and_then(|source| source.making);
    if making.is_some_and(|making| making.operation == job.operation()) {
        end_making(job, birth).await?;
    }
    Ok(())
}

/// Gives what was born its name and marks. The source keeps its own while an earlier call may still run: it has this lease's
/// generation, so what comes late, which may as well be an operator's, is left for a person to judge.
pub(super) async fn finish(job: &Job, birth: &Birth, calls: Calls, born: Uuid) -> Result<Uuid> {
    let marks = VdiMarks {
        owner: birth.owner,
        operation: job.operation(),
        generation: job.generation(),
        deployment: job.deployment(),
    };
    let labelled = job.pool()?.label_vdi(born, &marks).await;
    labelled.map_err(|error| birth.sr.error(error))?;
    if !calls.may_still_run() {
        end_making(job, birth).await?;
    }
    Ok(born)
}

/// Puts the mark on the source. The mark of an operation that has ended, or of an earlier lease of this one, is replaced.
pub(super) async fn mark_source(job: &Job, birth: &Birth) -> Result<()> {
    let making = Making {
        deployment: job.deployment().0,
        operation: job.operation(),
        generation: job.generation(),
        part: birth.part,
    };
    let mut holder = String::new();
    for _ in 0..2 {
        let begun = job.pool()?.begin_making(birth.source, &making).await;
        match begun.map_err(|error| birth.sr.error(error))? {
            None => {
                if job.pool_when_late().is_some() {
                    take_back_mark(job, birth, making).await;
                }
                return Ok(());
            }
            // Of a try before: it stays, for a call of that may still run.
            Some(held_by) if held_by.parse() == Ok(making) => return Ok(()),
            Some(held_by) => holder = held_by,
        }
        let other = holder.parse::<Making>().ok();
        if let Some(other) = other.filter(|other| other.operation != making.operation)
            && is_at_work(job, other.operation).await?
        {
            break;
        }
        end_making(job, birth).await?;
    }
    let text = format!("VDI {} is held by {holder}", birth.source);
    let held = PoolError::new("VDI.add_to_other_config", Trouble::Marked, text);
    Err(birth.sr.error(held))
}

/// Removes a mark that came too late: its operation is another worker's now, and may have ended.
async fn take_back_mark(job: &Job, birth: &Birth, making: Making) {
    let Some(pool) = job.pool_when_late() else {
        return;
    };
    if let Ok(Some(source)) = pool.find_vdi(birth.source).await
        && source.making == Some(making)
    {
        // A reconciler looks for it as well.
        let _removed = pool.end_making(birth.source).await;
    }
}

async fn is_at_work(job: &Job, id: OperationId) -> Result<bool> {
    let database = job.engine.database();
    let found = database.read(move |tx| operations::find(tx, id)).await?;
    Ok(found.is_some_and(|operation| !operation.state.is_finished()))
}

pub(super) async fn end_making(job: &Job, birth: &Birth) -> Result<()> {
    let ended = job.pool()?.end_making(birth.source).await;
    ended.map_err(|error| birth.sr.error(error))
}

async fn destroy(job: &Job, birth: &Birth, vdi: Uuid) -> Result<()> {
    let destroyed = job.pool()?.destroy_vdi(vdi).await;
    destroyed.map_err(|error| birth.sr.error(error))
}

/// Returns the VDI that this lease's own earlier try made, and destroys what earlier leases left.
///
/// One of an earlier generation is not taken over: its maker may still be alive and about to remove it.
async fn settle(job: &Job, birth: &Birth) -> Result<Option<Uuid>> {
    let Some(sr_uuid) = birth.sr.sr_uuid else {
        return Ok(None);
    };
    let all = job.pool()?.vdis_of_sr(sr_uuid).await;
    let all = all.map_err(|error| birth.sr.error(error))?;
    let mut kept = None;
    for vdi in made(job, birth, &all) {
        let generation = vdi.generation();
        if generation == job.generation() && kept.is_none() {
            kept = Some(vdi.uuid());
        } else if generation <= job.generation() {
            destroy(job, birth, vdi.uuid()).await?;
        }
    }
    Ok(kept)
}

/// A VDI that this operation made.
enum Made {
    /// It has marks of its own.
    Labelled(FoundVdi),
    /// It has those that it was born with.
    Newborn(Uuid, Making),
}

impl Made {
    fn uuid(&self) -> Uuid {
        match self {
            Made::Labelled(vdi) => vdi.uuid,
            Made::Newborn(uuid, _) => *uuid,
        }
    }

    fn generation(&self) -> i64 {
        match self {
            Made::Labelled(vdi) => vdi.generation,
            Made::Newborn(_, making) => making.generation,
        }
    }
}

/// What this operation made for the owner, among the VDIs of the SR.
fn made(job: &Job, birth: &Birth, all: &[FoundVdi]) -> Vec<Made> {
    let is_labelled = |vdi: &FoundVdi| {
        let is_for_owner = match birth.owner {
            VdiOwner::Volume(id) => vdi.volume == Some(id),
            VdiOwner::Snapshot(id) => vdi.snapshot == Some(id),
            VdiOwner::Operation => vdi.is_temporary,
        };
        is_for_owner && vdi.making.is_none() && vdi.operation == Some(job.operation())
    };
    let newborn = |vdi: &FoundVdi| {
        let is_of_it =
            |making: &Making| making.operation == job.operation() && making.part == birth.part;
        vdi.making
            .filter(|making| is_of_it(making) && vdi.uuid != birth.source)
    };
    let is_alone = |making: Making| {
        all.iter()
            .filter_map(newborn)
            .filter(|other| *other == making)
            .count()
            == 1
    };
    let ours = all
        .iter()
        .filter(|vdi| vdi.deployment == Some(job.deployment().0));
    let mut found = Vec::new();
    for vdi in ours {
        match newborn(vdi) {
            Some(making) if is_alone(making) => found.push(Made::Newborn(vdi.uuid, making)),
            Some(_) => {}
            None if is_labelled(vdi) => found.push(Made::Labelled(vdi.clone())),
            None => {}
        }
    }
    found
}
