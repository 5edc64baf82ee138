//! Takes snapshots of several volumes at one moment: all of them, or none.
//!
//! Unlike those of a group snapshot they are nobody's members afterwards, so that each may be deleted alone, also while this is at
//! work: such a one is taken with the others, and its removal is asked for at the end.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::calls::Calls;
use super::create_snapshot;
use super::definition::{Begin, Definition, Finish, Reason, StepTransaction};
use super::job::{Job, SrName};
use super::notice;
use super::offspring::{Birth, How};
use super::offspring_together::{self, Moment};
use crate::db::{backends, snapshot_ebs, snapshots, volumes};
use crate::driver::VdiOwner;
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::id::SnapshotId;
use crate::model::snapshot::{Snapshot, SnapshotStatus};

/// The operation, whose target is what all its snapshots have: their set.
pub(super) struct CreateSnapshots;

/// Its step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    /// Takes them.
    Take,
}

/// What it produced.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Outputs {
    members: Vec<Member>,
    /// True when something may be left in the pool.
    may_have_left: bool,
    /// Whether a call may still run.
    #[serde(default, skip_serializing_if = "Calls::is_none")]
    calls: Calls,
}

/// One of the snapshots.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Member {
    snapshot: SnapshotId,
    /// The volume's VDI.
    source: Uuid,
    sr: SrName,
    vdi_uuid: Option<Uuid>,
}

impl Definition for CreateSnapshots {
    type Step = Step;
    type Outputs = Outputs;

    const STEPS: &'static [Step] = &[Step::Take];

    fn attempts_max(_: Step) -> u32 {
        // Half a minute: a VDI that is being plugged or unplugged is busy that long.
        12
    }

    fn begin(
        at: &mut StepTransaction<'_, '_>,
        _step: Step,
        outputs: &mut Outputs,
    ) -> Result<Begin> {
        let rows = rows(at)?;
        if rows
            .iter()
            .all(|row| row.status != SnapshotStatus::Creating)
        {
            return Ok(Begin::Undo(Reason::new(NO_LONGER_WANTED)));
        }
        let mut members = Vec::with_capacity(rows.len());
        for snapshot in rows {
            let volume = volumes::get(at.transaction, snapshot.volume_id)?;
            let (Some(backend), Some(source)) = (volume.backend_id, volume.vdi_uuid) else {
                let text = format!("volume {} has no VDI", volume.id);
                return Ok(Begin::Undo(Reason::new(text)));
            };
            // Recorded before anything is made, so that nobody forgets to look there.
            snapshots::set_backend(at.transaction, snapshot.id, Some(backend))?;
            let backend = backends::get(at.transaction, at.vault, backend)?;
            members.push(Member {
                snapshot: snapshot.id,
                source,
                sr: SrName::of(&backend),
                vdi_uuid: None,
            });
        }
        // Nobody takes a row away while this is at work: these are those of an earlier try too.
        outputs.members = members;
        outputs.calls.begin();
        Ok(Begin::Act)
    }

    async fn run(job: &Job, _step: Step, outputs: &mut Outputs, look: bool) -> Result<()> {
        // One alone is of one moment in every pool.
        let moment = match outputs.members.len() {
            1 => Moment::WherePossible,
            _ => Moment::Promised,
        };
        let births = births(outputs);
        let calls = &mut outputs.calls;
        let taken = offspring_together::make_all(job, &births, moment, calls, look).await;
        calls.end();
        for (member, vdi) in outputs.members.iter_mut().zip(taken?) {
            member.vdi_uuid = Some(vdi);
        }
        Ok(())
    }

    fn has_undo(_: Step) -> bool {
        true
    }

    async fn undo(job: &Job, _step: Step, outputs: &mut Outputs) -> Result<()> {
        for member in &mut outputs.members {
            member.vdi_uuid = None;
        }
        offspring_together::unmake_all(job, &births(outputs), outputs.calls).await
    }

    fn undo_failed(_step: Step, outputs: &mut Outputs) {
        outputs.may_have_left = true;
    }

    fn succeed(at: &mut StepTransaction<'_, '_>, outputs: &Outputs) -> Result<Finish> {
        let now_us = at.context.now_us();
        // All are judged before the first is changed: what this transaction writes stays.
        for member in &outputs.members {
            snapshots::lock(at.transaction, member.snapshot)?;
            if snapshots::find(at.transaction, member.snapshot)?.is_none() {
                return Ok(Finish::Undo(Reason::new(NO_LONGER_WANTED)));
            }
        }
        for member in &outputs.members {
            let (id, vdi) = (member.snapshot, member.vdi_uuid);
            // One that is no longer wanted has its VDI too, until its removal.
            snapshots::set_vdi(at.transaction, id, vdi)?;
            let (from, to) = (SnapshotStatus::Creating, SnapshotStatus::Available);
            if snapshots::change_status(at.transaction, id, &[from], to, now_us)? {
                snapshot_ebs::complete(at.transaction, id, now_us)?;
            }
        }
        Ok(Finish::Succeeded)
    }

    fn fail(at: &mut StepTransaction<'_, '_>, outputs: &Outputs, reason: &Reason) -> Result<()> {
        let now_us = at.context.now_us();
        for snapshot in rows(at)? {
            let id = snapshot.id;
            if !outputs.may_have_left {
                snapshots::set_backend(at.transaction, id, None)?;
            }
            let (from, to) = (SnapshotStatus::Creating, SnapshotStatus::Error);
            if snapshots::change_status(at.transaction, id, &[from], to, now_us)? {
                snapshots::set_failure(at.transaction, id, &reason.public)?;
                notice::snapshot_failed(at, id, notice::NOT_TAKEN, &reason.public)?;
            }
        }
        Ok(())
    }

    fn ended(at: &mut StepTransaction<'_, '_>) -> Result<()> {
        for snapshot in rows(at)? {
            create_snapshot::delete_if_asked_of(at, snapshot.id)?;
        }
        Ok(())
    }
}

const NO_LONGER_WANTED: &str = "the snapshots were deleted while they were being taken";

/// The snapshots, in the order of their ids.
fn rows(at: &mut StepTransaction<'_, '_>) -> Result<Vec<Snapshot>> {
    let set_id = set_id(&at.operation.target)?;
    let ids = snapshot_ebs::members(at.transaction, set_id)?;
    let mut rows = Vec::with_capacity(ids.len());
    for id in ids {
        rows.extend(snapshots::find(at.transaction, id)?);
    }
    Ok(rows)
}

fn births(outputs: &Outputs) -> Vec<Birth> {
    let members = outputs.members.iter().zip(0..);
    members
        .map(|(member, part)| Birth {
            source: member.source,
            sr: member.sr.clone(),
            owner: VdiOwner::Snapshot(member.snapshot),
            how: How::Snapshot,
            part,
        })
        .collect()
}

fn set_id(target: &str) -> Result<Uuid> {
    target.parse().map_err(|error| {
        let text = format!("The set of snapshots {target} could not be found.");
        Error::new(ErrorKind::NotFound, Subject::Request, text)
            .on(target)
            .caused_by(error)
    })
}
