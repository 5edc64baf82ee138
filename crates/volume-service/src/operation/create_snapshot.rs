//! Takes a snapshot of a volume.

use super::definition::{Begin, Definition, Finish, Reason, StepTransaction};
use super::job::Job;
use super::notice;
use crate::db::snapshots;
use crate::error::{Error, Result, Subject};
use crate::model::id::SnapshotId;
use crate::model::snapshot::SnapshotStatus;

/// The operation.
pub(super) struct CreateSnapshot;

/// Its step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    /// Refuses.
    Refuse,
}

impl Definition for CreateSnapshot {
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
        let (from, to) = (SnapshotStatus::Creating, SnapshotStatus::Error);
        if snapshots::change_status(at.transaction, id, &[from], to, now_us)? {
            snapshots::set_failure(at.transaction, id, &reason.public)?;
            notice::snapshot_failed(at, id, notice::NOT_TAKEN, &reason.public)?;
        }
        Ok(())
    }
}

/// The snapshot that an operation is about.
pub(super) fn snapshot_id(target: &str) -> Result<SnapshotId> {
    target
        .parse()
        .map_err(|error| Error::not_found(Subject::Snapshot, target).caused_by(error))
}
