//! Removes a snapshot.

use super::create_snapshot::snapshot_id;
use super::definition::{Begin, Definition, Finish, Reason, StepTransaction};
use super::job::Job;
use super::notice;
use crate::db::snapshots;
use crate::error::Result;
use crate::model::snapshot::SnapshotStatus;

/// The operation.
pub(super) struct DeleteSnapshot;

/// Its step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    /// Refuses.
    Refuse,
}

impl Definition for DeleteSnapshot {
    type Step = Step;
    type Outputs = ();

    const STEPS: &'static [Step] = &[Step::Refuse];

    fn attempts_max(_: Step) -> u32 {
        6
    }

    fn begin(_: &mut StepTransaction<'_, '_>, _: Step, _: &mut ()) -> Result<Begin> {
        Ok(Begin::Undo(Reason::new("this is not supported yet")))
    }

    async fn run(_: &Job, _: Step, _: &mut (), _: bool) -> Result<()> {
        Ok(())
    }

    fn has_undo(_: Step) -> bool {
        false
    }

    async fn undo(_: &Job, _: Step, _: &mut ()) -> Result<()> {
        Ok(())
    }

    fn succeed(_: &mut StepTransaction<'_, '_>, _: &()) -> Result<Finish> {
        Ok(Finish::Succeeded)
    }

    fn fail(at: &mut StepTransaction<'_, '_>, _: &(), reason: &Reason) -> Result<()> {
        let (id, now_us) = (snapshot_id(&at.operation.target)?, at.context.now_us());
        let (from, to) = (SnapshotStatus::Deleting, SnapshotStatus::ErrorDeleting);
        if snapshots::change_status(at.transaction, id, &[from], to, now_us)? {
            snapshots::set_failure(at.transaction, id, &reason.public)?;
            notice::snapshot_failed(at, id, notice::NOT_DELETED, &reason.public)?;
        }
        Ok(())
    }
}
