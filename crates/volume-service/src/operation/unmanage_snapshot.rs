//! Lets go of a snapshot: takes our marks off its VDI, which stays with its name, and removes the row.

use super::adoption::Released;
use super::create_snapshot::snapshot_id;
use super::definition::{Begin, Definition, Finish, Reason, StepTransaction};
use super::job::{Job, SrName};
use super::notice;
use crate::db::{backends, snapshots};
use crate::driver::VdiOwner;
use crate::error::Result;
use crate::model::snapshot::SnapshotStatus;

/// The operation.
pub(super) struct UnmanageSnapshot;

/// Its step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    /// Takes our marks off.
    Release,
}

impl Definition for UnmanageSnapshot {
    type Step = Step;
    type Outputs = Released;

    const STEPS: &'static [Step] = &[Step::Release];

    fn attempts_max(_: Step) -> u32 {
        6
    }

    fn begin(at: &mut StepTransaction<'_, '_>, _: Step, outputs: &mut Released) -> Result<Begin> {
        let id = snapshot_id(&at.operation.target)?;
        let Some(snapshot) = snapshots::find(at.transaction, id)? else {
            return Ok(Begin::Next);
        };
        if snapshot.status != SnapshotStatus::Unmanaging {
            let status = snapshot.status.as_str();
            return Ok(Begin::Undo(Reason::new(format!(
                "the snapshot is {status}, not unmanaging"
            ))));
        }
        let (Some(backend), Some(vdi)) = (snapshot.backend_id, snapshot.vdi_uuid) else {
            return Ok(Begin::Next);
        };
        outputs.vdi_uuid = Some(vdi);
        outputs.sr = backends::find(at.transaction, at.vault, backend)?
            .map_or_else(SrName::default, |backend| SrName::of(&backend));
        Ok(Begin::Act)
    }

    async fn run(job: &Job, _: Step, outputs: &mut Released, _look: bool) -> Result<()> {
        outputs.release(job).await
    }

    fn has_undo(_: Step) -> bool {
        true
    }

    async fn undo(job: &Job, _: Step, outputs: &mut Released) -> Result<()> {
        let owner = VdiOwner::Snapshot(snapshot_id(&job.target)?);
        outputs.take_back(job, owner).await
    }

    fn succeed(at: &mut StepTransaction<'_, '_>, _: &Released) -> Result<Finish> {
        snapshots::remove(at.transaction, snapshot_id(&at.operation.target)?)?;
        Ok(Finish::Succeeded)
    }

    fn fail(at: &mut StepTransaction<'_, '_>, _: &Released, reason: &Reason) -> Result<()> {
        let (id, now_us) = (snapshot_id(&at.operation.target)?, at.context.now_us());
        let (from, to) = (SnapshotStatus::Unmanaging, SnapshotStatus::Available);
        if snapshots::change_status(at.transaction, id, &[from], to, now_us)? {
            snapshots::set_failure(at.transaction, id, &reason.public)?;
            notice::snapshot_failed(at, id, notice::NOT_UNMANAGED, &reason.public)?;
        }
        Ok(())
    }
}
