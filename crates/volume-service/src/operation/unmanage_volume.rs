//! Lets go of a volume: takes our marks off its VDI, which stays with its name, and removes the row.

use super::adoption::Released;
use super::create_volume::volume_id;
use super::definition::{Begin, Definition, Finish, Reason, StepTransaction};
use super::job::{Job, SrName};
use super::notice;
use crate::db::{backends, volumes};
use crate::driver::VdiOwner;
use crate::error::Result;
use crate::model::volume::VolumeStatus;

/// The operation.
pub(super) struct UnmanageVolume;

/// Its step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    /// Takes our marks off.
    Release,
}

impl Definition for UnmanageVolume {
    type Step = Step;
    type Outputs = Released;

    const STEPS: &'static [Step] = &[Step::Release];

    fn attempts_max(_: Step) -> u32 {
        6
    }

    fn begin(at: &mut StepTransaction<'_, '_>, _: Step, outputs: &mut Released) -> Result<Begin> {
        let id = volume_id(&at.operation.target)?;
        let Some(volume) = volumes::find(at.transaction, id)? else {
            return Ok(Begin::Next);
        };
        if volume.status != VolumeStatus::Unmanaging {
            let status = volume.status.as_str();
            return Ok(Begin::Undo(Reason::new(format!(
                "the volume is {status}, not unmanaging"
            ))));
        }
        let (Some(backend), Some(vdi)) = (volume.backend_id, volume.vdi_uuid) else {
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
        let owner = VdiOwner::Volume(volume_id(&job.target)?);
        outputs.take_back(job, owner).await
    }

    fn succeed(at: &mut StepTransaction<'_, '_>, _: &Released) -> Result<Finish> {
        volumes::remove(at.transaction, volume_id(&at.operation.target)?)?;
        Ok(Finish::Succeeded)
    }

    fn fail(at: &mut StepTransaction<'_, '_>, _: &Released, reason: &Reason) -> Result<()> {
        let (id, now_us) = (volume_id(&at.operation.target)?, at.context.now_us());
        let (from, to) = (VolumeStatus::Unmanaging, VolumeStatus::Available);
        if volumes::change_status(at.transaction, id, &[from], to, now_us)? {
            volumes::set_failure(at.transaction, id, &reason.public)?;
            notice::volume_failed(at, id, notice::NOT_UNMANAGED, &reason.public)?;
        }
        Ok(())
    }
}
