//! Snapshots of several VDIs, taken at one moment: all of them, or none.
//!
//! 1. Each source gets the mark [`Making`](crate::driver::Making), with its number among them; as for one VDI, see `offspring`.
//! 2. One call takes all snapshots. Whatever it leaves when it does not take all carries these marks. It is destroyed before the
//!    call is made again: what an earlier try made is of another moment.
//! 3. Each new VDI gets its name and marks of its own, and its source loses the mark. A crash leaves some that are known by the one
//!    and some by the other kind of marks; all are destroyed by the next try, or by the undo.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use tokio::time::Instant;
use uuid::Uuid;

use super::calls::Calls;
use super::job::Job;
use super::offspring::{
    ALONE_DEADLINE, Birth, alone, end_making, finish, mark_source, unmake_among,
};
use crate::driver::{FoundVdi, PoolError, Trouble, all_made};
use crate::error::Result;

/// What is promised of the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// All are of one, or none is taken.
    Promised,
    /// A pool that cannot keep one takes them one after the other.
    WherePossible,
}

/// Makes them, in the order of the births. `look` says that an earlier try may have left something.
///
/// # Errors
/// Those of the pool; nothing is left then, unless the outcome is unknown or the pool cannot be reached. One with the trouble `Marked`
/// while another operation makes something from one of the sources, with `Queued` while one of this process does.
pub(super) async fn make_all(
    job: &Job,
    births: &[Birth],
    moment: Moment,
    calls: &mut Calls,
    look: bool,
) -> Result<Vec<Uuid>> {
    // In one order, so that no two operations wait for each other.
    let mut in_order: Vec<&Birth> = births.iter().collect();
    in_order.sort_by_key(|birth| birth.source);
    in_order.dedup_by_key(|birth| birth.source);
    let mut held = Vec::with_capacity(in_order.len());
    let deadline = Instant::now() + ALONE_DEADLINE;
    for birth in in_order {
        held.push(alone(job, birth, deadline).await?);
    }
    if look {
        // A call of the earlier try may still run: its marks stay until they are replaced below.
        destroy_all(job, births, Marks::Stay).await?;
    }
    for (index, birth) in births.iter().enumerate() {
        if let Err(error) = mark_source(job, birth).await {
            let marked = match calls.may_still_run() {
                true => &[],
                false => &births[..index],
            };
            for marked in marked {
                // What stays is taken off by the next try, the undo or a reconciler.
                let _removed = end_making(job, marked).await;
            }
            return Err(error);
        }
    }
    let born = match take(job, births, moment).await {
        Ok(born) => born,
        Err((index, error)) => {
            // A call that still runs gives what it makes the marks that its source has then: without them nobody would know it. When
            // they stay, the next try replaces them with its own, and a reconciler takes them off in the end.
            if error.outcome_unknown {
                calls.unanswered();
            }
            let _cleaned = destroy_all(job, births, Marks::beside(*calls)).await;
            return Err(births[index].sr.error(error));
        }
    };
    for (birth, born) in births.iter().zip(&born) {
        finish(job, birth, *calls, *born).await?;
    }
    Ok(born)
}

/// Destroys what this operation made from the sources under this lease or an earlier one, and takes its marks off them, unless a call
/// may still run.
pub(super) async fn unmake_all(job: &Job, births: &[Birth], calls: Calls) -> Result<()> {
    let marks = match calls.may_run_on() {
        true => Marks::Stay,
        false => Marks::End,
    };
    destroy_all(job, births, marks).await
}

/// What becomes of the marks of the sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Marks {
    /// They are taken off.
    End,
    /// They stay: what a call makes that still runs is known by them.
    Stay,
}

impl Marks {
    /// What becomes of them within a try.
    fn beside(calls: Calls) -> Self {
        match calls.may_still_run() {
            true => Marks::Stay,
            false => Marks::End,
        }
    }
}

async fn destroy_all(job: &Job, births: &[Birth], marks: Marks) -> Result<()> {
    let mut by_sr: BTreeMap<Uuid, Vec<FoundVdi>> = BTreeMap::new();
    for birth in births {
        let Some(sr_uuid) = birth.sr.sr_uuid else {
            continue;
        };
        let all = match by_sr.entry(sr_uuid) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let all = job.pool()?.vdis_of_sr(sr_uuid).await;
                let mut all = all.map_err(|error| birth.sr.error(error))?;
                if marks == Marks::Stay {
                    // A source that is not seen keeps its mark.
                    all.retain(|vdi| births.iter().all(|birth| birth.source != vdi.uuid));
                }
                unknown.insert(all)
            }
        };
        unmake_among(job, birth, all).await?;
    }
    Ok(())
}

/// Takes all snapshots, or tells which birth failed, as far as that is known, and why.
async fn take(
    job: &Job,
    births: &[Birth],
    moment: Moment,
) -> std::result::Result<Vec<Uuid>, (usize, PoolError)> {
    let lost = || {
        let text = "the lease of the operation is lost";
        (0, PoolError::new("VDI.snapshot", Trouble::Busy, text))
    };
    let sources: Vec<Uuid> = births.iter().map(|birth| birth.source).collect();
    let name = job.operation().to_string();
    let pool = job.pool().map_err(|_| lost())?;
    let mut outcomes = match pool.snapshot_vdis(&sources, &name).await {
        Ok(outcomes) => outcomes,
        Err(error) if error.trouble == Trouble::Unsupported && moment == Moment::WherePossible => {
            let mut one_by_one = Vec::with_capacity(sources.len());
            for source in &sources {
                let pool = job.pool().map_err(|_| lost())?;
                one_by_one.push(pool.snapshot_vdi(*source).await);
                if one_by_one.last().is_some_and(|outcome| outcome.is_err()) {
                    break;
                }
            }
            one_by_one
        }
        Err(error) => return Err((0, error)),
    };
    if let Some(pool) = job.pool_when_late() {
        // Only this answer tells of them: whoever has the lease now takes nothing over that an earlier one made.
        for born in outcomes.drain(..).flatten() {
            let _gone = pool.destroy_vdi(born).await;
        }
        return Err(lost());
    }
    let failed = outcomes.iter().position(std::result::Result::is_err);
    all_made(outcomes).map_err(|error| (failed.unwrap_or(0), error))
}
