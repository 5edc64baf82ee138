//! Makes a volume larger.

use super::create_volume::volume_id;
use super::definition::{Begin, Definition, Finish, Reason, StepTransaction};
use super::job::Job;
use super::notice;
use crate::db::{volume_extensions, volumes};
use crate::error::Result;
use crate::model::volume::VolumeStatus;

/// The operation.
pub(super) struct ExtendVolume;

/// Its step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    /// Refuses.
    Refuse,
}

impl Definition for ExtendVolume {
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
        let volume = volumes::get(at.transaction, id)?;
        volume_extensions::remove(at.transaction, &volume)?;
        if volumes::leave(at.transaction, id, VolumeStatus::Extending, now_us)? {
            volumes::set_failure(at.transaction, id, &reason.public)?;
            notice::volume_failed(at, id, notice::NOT_EXTENDED, &reason.public)?;
        }
        Ok(())
    }
}
