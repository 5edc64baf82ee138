//! Makes a snapshot of a VDI that is there already: finds it, claims it, and writes our marks on it.
//!
//! The row gets its backend, VDI and size only when all is done, so that what an adoption that failed is deleted with is never the VDI.

use super::adoption::{Outputs, Wanted};
use super::create_snapshot::snapshot_id;
use super::definition::{Begin, Definition, Finish, Reason, StepTransaction};
use super::job::Job;
use super::notice;
use crate::db::{adoptions, snapshot_ebs, snapshots};
use crate::driver::VdiOwner;
use crate::error::Result;
use crate::model::snapshot::SnapshotStatus;

/// The operation.
pub(super) struct ManageSnapshot;

/// Its steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    /// Finds the VDI and refuses one that is somebody's.
    Find,
    /// Claims it, and writes our marks on it.
    Mark,
}

impl Definition for ManageSnapshot {
    type Step = Step;
    type Outputs = Outputs;

    const STEPS: &'static [Step] = &[Step::Find, Step::Mark];

    fn attempts_max(_: Step) -> u32 {
        6
    }

    fn begin(at: &mut StepTransaction<'_, '_>, step: Step, outputs: &mut Outputs) -> Result<Begin> {
        if step == Step::Mark {
            return outputs.claim(at);
        }
        let id = snapshot_id(&at.operation.target)?;
        let found = snapshots::find(at.transaction, id)?;
        let Some(snapshot) = found.filter(|row| row.status == SnapshotStatus::Managing) else {
            return Ok(Begin::Undo(Reason::new(NO_LONGER_WANTED)));
        };
        let Some(adoption) = adoptions::find(at.transaction, &at.operation.target)? else {
            return Ok(Begin::Undo(Reason::new("nothing says which VDI is meant")));
        };
        let volume = crate::db::volumes::find(at.transaction, snapshot.volume_id)?;
        outputs.size_gib = Some(snapshot.size_gib);
        outputs.read(at, adoption, volume.and_then(|volume| volume.vdi_uuid))
    }

    async fn run(job: &Job, step: Step, outputs: &mut Outputs, _look: bool) -> Result<()> {
        match step {
            Step::Find => outputs.find(job, Wanted::Snapshot).await,
            Step::Mark => outputs.mark(job, owner(job)?).await,
        }
    }

    fn has_undo(step: Step) -> bool {
        step == Step::Mark
    }

    async fn undo(job: &Job, _step: Step, outputs: &mut Outputs) -> Result<()> {
        outputs.unmark(job).await
    }

    fn undo_failed(_step: Step, outputs: &mut Outputs) {
        outputs.may_have_left = true;
    }

    fn succeed(at: &mut StepTransaction<'_, '_>, outputs: &Outputs) -> Result<Finish> {
        let (id, now_us) = (snapshot_id(&at.operation.target)?, at.context.now_us());
        let (from, to) = (SnapshotStatus::Managing, SnapshotStatus::Available);
        let adopted = outputs.found().zip(outputs.backend());
        let Some((found, backend)) = adopted else {
            return Ok(Finish::Undo(Reason::new("no VDI was found")));
        };
        if !snapshots::change_status(at.transaction, id, &[from], to, now_us)? {
            return Ok(Finish::Undo(Reason::new(NO_LONGER_WANTED)));
        }
        snapshots::set_backend(at.transaction, id, Some(backend))?;
        snapshots::set_vdi(at.transaction, id, Some(found.vdi_uuid))?;
        snapshot_ebs::complete(at.transaction, id, now_us)?;
        adoptions::remove(at.transaction, &at.operation.target)?;
        Ok(Finish::Succeeded)
    }

    fn fail(at: &mut StepTransaction<'_, '_>, outputs: &Outputs, reason: &Reason) -> Result<()> {
        let (id, now_us) = (snapshot_id(&at.operation.target)?, at.context.now_us());
        adoptions::remove(at.transaction, &at.operation.target)?;
        let (from, to) = (SnapshotStatus::Managing, SnapshotStatus::Error);
        if snapshots::change_status(at.transaction, id, &[from], to, now_us)? {
            let mut text = reason.public.clone();
            if outputs.may_have_left {
                text.push_str("; the VDI may carry marks of this service");
            }
            snapshots::set_failure(at.transaction, id, &text)?;
            notice::snapshot_failed(at, id, notice::NOT_MANAGED, &text)?;
        }
        Ok(())
    }

    fn ended(at: &mut StepTransaction<'_, '_>) -> Result<()> {
        super::create_snapshot::delete_if_asked(at)
    }
}

const NO_LONGER_WANTED: &str = "the snapshot was deleted while its VDI was being adopted";

fn owner(job: &Job) -> Result<VdiOwner> {
    Ok(VdiOwner::Snapshot(snapshot_id(&job.target)?))
}
