//! Brings a volume back to its latest snapshot.

use super::create_volume::volume_id;
use super::definition::{Begin, Definition, Finish, Reason, StepTransaction};
use super::job::Job;
use super::notice;
use crate::db::{snapshots, volumes};
use crate::error::Result;
use crate::model::snapshot::SnapshotStatus;
use crate::model::volume::VolumeStatus;

/// The operation.
pub(super) struct RevertVolume;

/// Its step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    /// Refuses.
    Refuse,
}

impl Definition for RevertVolume {
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
        let (id, now_us) = (volume_id(&at.operation.target)?, at.context.now_us());
        for snapshot in snapshots::of_volume(at.transaction, id)? {
            let (from, to) = (SnapshotStatus::Restoring, SnapshotStatus::Available);
            snapshots::change_status(at.transaction, snapshot.id, &[from], to, now_us)?;
        }
        if volumes::leave(at.transaction, id, VolumeStatus::Reverting, now_us)? {
            volumes::set_failure(at.transaction, id, &reason.public)?;
            notice::volume_failed(at, id, notice::NOT_REVERTED, &reason.public)?;
        }
        Ok(())
    }
}
