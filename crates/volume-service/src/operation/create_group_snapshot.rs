//! Takes the snapshots of all members of a group at one moment: all of them, or none.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::calls::Calls;
use super::definition::{Begin, Definition, Finish, Reason, StepTransaction};
use super::job::{Job, SrName};
use super::notice;
use super::offspring::{Birth, How};
use super::offspring_together::{self, Moment};
use crate::db::{backends, group_snapshots, group_types, snapshot_ebs, snapshots, volumes};
use crate::driver::VdiOwner;
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::group::{GroupSnapshot, GroupStatus};
use crate::model::id::{GroupSnapshotId, SnapshotId};
use crate::model::snapshot::SnapshotStatus;

/// The operation.
pub(super) struct CreateGroupSnapshot;

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
    /// True when the group's type promises one moment.
    is_promised: bool,
    /// True when something may be left in the pool.
    may_have_left: bool,
    /// Whether a call may still run.
    #[serde(default, skip_serializing_if = "Calls::is_none")]
    calls: Calls,
}

/// A member's snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Member {
    snapshot: SnapshotId,
    /// The volume's VDI.
    source: Uuid,
    sr: SrName,
    vdi_uuid: Option<Uuid>,
}

impl Definition for CreateGroupSnapshot {
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
        let Some(taken) = wanted(at)? else {
            return Ok(Begin::Undo(Reason::new(NO_LONGER_WANTED)));
        };
        let group_type = group_types::find(at.transaction, taken.type_id)?;
        outputs.is_promised = group_type.is_some_and(|group_type| group_type.is_consistent());
        // The undo needs those of an earlier try, unless this one begins.
        let mut members = Vec::new();
        for snapshot in group_snapshots::members(at.transaction, taken.id)? {
            if snapshot.status != SnapshotStatus::Creating {
                return Ok(Begin::Undo(Reason::new(NO_LONGER_WANTED)));
            }
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
        outputs.members = members;
        outputs.calls.begin();
        Ok(Begin::Act)
    }

    async fn run(job: &Job, _step: Step, outputs: &mut Outputs, look: bool) -> Result<()> {
        let moment = match outputs.is_promised {
            true => Moment::Promised,
            false => Moment::WherePossible,
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
        let Some(taken) = wanted(at)? else {
            return Ok(Finish::Undo(Reason::new(NO_LONGER_WANTED)));
        };
        // All are judged before the first is changed: what this transaction writes stays.
        for member in &outputs.members {
            let found = snapshots::find(at.transaction, member.snapshot)?;
            if found.is_none_or(|row| row.status != SnapshotStatus::Creating) {
                return Ok(Finish::Undo(Reason::new(NO_LONGER_WANTED)));
            }
        }
        for member in &outputs.members {
            let (from, to) = (SnapshotStatus::Creating, SnapshotStatus::Available);
            snapshots::change_status(at.transaction, member.snapshot, &[from], to, now_us)?;
            snapshots::set_vdi(at.transaction, member.snapshot, member.vdi_uuid)?;
            snapshot_ebs::complete(at.transaction, member.snapshot, now_us)?;
        }
        let to = GroupStatus::Available;
        group_snapshots::set_status(at.transaction, taken.id, to, "", false, now_us)?;
        Ok(Finish::Succeeded)
    }

    fn fail(at: &mut StepTransaction<'_, '_>, outputs: &Outputs, reason: &Reason) -> Result<()> {
        let (id, now_us) = (
            group_snapshot_id(&at.operation.target)?,
            at.context.now_us(),
        );
        let is_wanted = wanted(at)?.is_some();
        for snapshot in group_snapshots::members(at.transaction, id)? {
            if !outputs.may_have_left {
                snapshots::set_backend(at.transaction, snapshot.id, None)?;
            }
            let (from, to) = (SnapshotStatus::Creating, SnapshotStatus::Error);
            if snapshots::change_status(at.transaction, snapshot.id, &[from], to, now_us)? {
                snapshots::set_failure(at.transaction, snapshot.id, &reason.public)?;
                notice::snapshot_failed(at, snapshot.id, notice::NOT_TAKEN, &reason.public)?;
            }
        }
        if is_wanted {
            let (to, why) = (GroupStatus::Error, &reason.public);
            group_snapshots::set_status(at.transaction, id, to, why, false, now_us)?;
        }
        Ok(())
    }
}

const NO_LONGER_WANTED: &str = "the group snapshot was changed while it was being taken";

/// The group snapshot, while it is to be taken; locked, before its snapshots are.
fn wanted(at: &mut StepTransaction<'_, '_>) -> Result<Option<GroupSnapshot>> {
    let id = group_snapshot_id(&at.operation.target)?;
    group_snapshots::lock(at.transaction, id)?;
    let found = group_snapshots::find(at.transaction, id)?;
    Ok(found.filter(|taken| taken.status == GroupStatus::Creating))
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

/// The group snapshot that an operation is about.
fn group_snapshot_id(target: &str) -> Result<GroupSnapshotId> {
    target.parse().map_err(|error| {
        let text = format!("GroupSnapshot {target} could not be found.");
        Error::new(ErrorKind::NotFound, Subject::Request, text)
            .on(target)
            .caused_by(error)
    })
}
