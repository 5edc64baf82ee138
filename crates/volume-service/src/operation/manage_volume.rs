//! Makes a volume of a VDI that is there already: finds it, claims it, and writes our marks on it.
//!
//! The row gets its backend and VDI only when all is done, so that what an adoption that failed is deleted with is never the VDI. It
//! gets its size before the marks are written, when the quota is asked.

use super::adoption::{Outputs, Wanted};
use super::create_volume::volume_id;
use super::definition::{Begin, Definition, Finish, Reason, StepTransaction};
use super::job::Job;
use super::notice;
use crate::app::adoption::SIZE_UNKNOWN_GIB;
use crate::app::quota;
use crate::db::{adoptions, volumes};
use crate::driver::VdiOwner;
use crate::error::{ErrorKind, Result};
use crate::model::volume::VolumeStatus;

/// The operation.
pub(super) struct ManageVolume;

/// Its steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    /// Finds the VDI and refuses one that is somebody's.
    Find,
    /// Claims it, and writes our marks on it.
    Mark,
}

impl Definition for ManageVolume {
    type Step = Step;
    type Outputs = Outputs;

    const STEPS: &'static [Step] = &[Step::Find, Step::Mark];

    fn attempts_max(_: Step) -> u32 {
        6
    }

    fn begin(at: &mut StepTransaction<'_, '_>, step: Step, outputs: &mut Outputs) -> Result<Begin> {
        if step == Step::Mark {
            return match outputs.claim(at)? {
                Begin::Act => count(at, outputs),
                other => Ok(other),
            };
        }
        let id = volume_id(&at.operation.target)?;
        let found = volumes::find(at.transaction, id)?;
        if found.is_none_or(|row| row.status != VolumeStatus::Managing) {
            return Ok(Begin::Undo(Reason::new(NO_LONGER_WANTED)));
        }
        let Some(adoption) = adoptions::find(at.transaction, &at.operation.target)? else {
            return Ok(Begin::Undo(Reason::new("nothing says which VDI is meant")));
        };
        outputs.read(at, adoption, None)
    }

    async fn run(job: &Job, step: Step, outputs: &mut Outputs, _look: bool) -> Result<()> {
        match step {
            Step::Find => outputs.find(job, Wanted::Volume).await,
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
        let (id, now_us) = (volume_id(&at.operation.target)?, at.context.now_us());
        let (from, to) = (VolumeStatus::Managing, VolumeStatus::Available);
        let adopted = outputs.found().zip(outputs.backend());
        let Some((found, backend)) = adopted else {
            return Ok(Finish::Undo(Reason::new("no VDI was found")));
        };
        if !volumes::change_status(at.transaction, id, &[from], to, now_us)? {
            return Ok(Finish::Undo(Reason::new(NO_LONGER_WANTED)));
        }
        volumes::set_size(at.transaction, id, found.size_gib)?;
        volumes::set_backend(at.transaction, id, Some(backend))?;
        volumes::set_vdi(at.transaction, id, Some(found.vdi_uuid))?;
        adoptions::remove(at.transaction, &at.operation.target)?;
        Ok(Finish::Succeeded)
    }

    fn fail(at: &mut StepTransaction<'_, '_>, outputs: &Outputs, reason: &Reason) -> Result<()> {
        let (id, now_us) = (volume_id(&at.operation.target)?, at.context.now_us());
        adoptions::remove(at.transaction, &at.operation.target)?;
        let (from, to) = (VolumeStatus::Managing, VolumeStatus::ErrorManaging);
        if volumes::change_status(at.transaction, id, &[from], to, now_us)? {
            let mut text = reason.public.clone();
            if outputs.may_have_left {
                text.push_str("; the VDI may carry marks of this service");
            }
            volumes::set_size(at.transaction, id, SIZE_UNKNOWN_GIB)?;
            volumes::set_failure(at.transaction, id, &text)?;
            notice::volume_failed(at, id, notice::NOT_MANAGED, &text)?;
        }
        Ok(())
    }

    fn ended(at: &mut StepTransaction<'_, '_>) -> Result<()> {
        super::create_volume::delete_if_asked(at, at.operation)
    }
}

const NO_LONGER_WANTED: &str = "the volume was deleted while its VDI was being adopted";

/// Has the volume count with the size of its VDI from here on; the reason where the project may not have so much.
fn count(at: &mut StepTransaction<'_, '_>, outputs: &mut Outputs) -> Result<Begin> {
    let id = volume_id(&at.operation.target)?;
    let found = volumes::find(at.transaction, id)?.zip(outputs.found());
    let Some((mut volume, found)) = found else {
        return Ok(Begin::Undo(Reason::new(NO_LONGER_WANTED)));
    };
    let was_begun = at.operation.step_begun;
    if was_begun && volume.size_gib == found.size_gib {
        // An earlier try counted it. One of a version that did not is told by the row.
        return Ok(Begin::Act);
    }
    volume.size_gib = found.size_gib;
    volumes::set_size(at.transaction, id, volume.size_gib)?;
    match quota::check_volume(at.transaction, &volume, at.limits) {
        Err(refused) if refused.kind == ErrorKind::QuotaExceeded => {
            // It counts with what it was taken with, also while the rest is undone.
            volumes::set_size(at.transaction, id, SIZE_UNKNOWN_GIB)?;
            if !was_begun {
                // Nothing was written on the VDI yet.
                outputs.forget();
            }
            Ok(Begin::Undo(Reason::new(refused.public)))
        }
        judged => judged.map(|()| Begin::Act),
    }
}

fn owner(job: &Job) -> Result<VdiOwner> {
    Ok(VdiOwner::Volume(volume_id(&job.target)?))
}
