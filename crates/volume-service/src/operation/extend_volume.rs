//! Makes a volume larger. While it is attached the storage manager must be able to resize an open VDI; where it cannot, the volume
//! keeps its size and the request its reason.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::create_volume::{delete_if_asked, volume_id};
use super::definition::{Begin, Definition, Finish, Reason, StepTransaction};
use super::job::{Job, SrName};
use super::notice;
use crate::app::modify_volume;
use crate::db::{attachments, backends, volume_extensions, volume_modifications, volumes};
use crate::driver::Resize;
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::attachment::AttachmentStatus;
use crate::model::modification::ModificationState;
use crate::model::volume::VolumeStatus;

/// The operation.
pub(super) struct ExtendVolume;

/// Its step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    /// Resizes the VDI, unless it is that large.
    Resize,
}

/// What is to be resized.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Outputs {
    vdi_uuid: Uuid,
    sr: SrName,
    size_bytes: u64,
    is_attached: bool,
}

impl Definition for ExtendVolume {
    type Step = Step;
    type Outputs = Outputs;

    const STEPS: &'static [Step] = &[Step::Resize];

    fn attempts_max(_: Step) -> u32 {
        // Half a minute: a VDI that is being plugged or unplugged is busy that long.
        12
    }

    fn begin(
        at: &mut StepTransaction<'_, '_>,
        _step: Step,
        outputs: &mut Outputs,
    ) -> Result<Begin> {
        let id = volume_id(&at.operation.target)?;
        let Some(volume) = volumes::find(at.transaction, id)? else {
            return Ok(Begin::Next);
        };
        let (VolumeStatus::Extending, Some(size_gib)) = (volume.status, volume.extending_to_gib)
        else {
            let status = volume.status.as_str();
            let text = format!("the volume is {status} and not being extended");
            return Ok(Begin::Undo(Reason::new(text)));
        };
        let (Some(backend), Some(vdi_uuid)) = (volume.backend_id, volume.vdi_uuid) else {
            return Ok(Begin::Undo(Reason::new("the volume has no VDI")));
        };
        let backend = backends::get(at.transaction, at.vault, backend)?;
        let is_at_the_vdi = |status| status != AttachmentStatus::Reserved;
        *outputs = Outputs {
            vdi_uuid,
            sr: SrName::of(&backend),
            size_bytes: size_gib.saturating_mul(1 << 30),
            is_attached: attachments::of_volume(at.transaction, id)?
                .iter()
                .any(|attachment| is_at_the_vdi(attachment.status)),
        };
        Ok(Begin::Act)
    }

    async fn run(job: &Job, _step: Step, outputs: &mut Outputs, look: bool) -> Result<()> {
        if look && is_large_enough(job, outputs).await? {
            return Ok(());
        }
        let how = if outputs.is_attached {
            Resize::Online
        } else {
            Resize::Offline
        };
        let resized = job
            .pool()?
            .resize_vdi(outputs.vdi_uuid, outputs.size_bytes, how)
            .await;
        match resized {
            Ok(()) => Ok(()),
            Err(error) if error.outcome_unknown && is_large_enough(job, outputs).await? => Ok(()),
            Err(error) => Err(outputs.sr.error(error)),
        }
    }

    fn has_undo(_: Step) -> bool {
        // No storage manager makes a VDI smaller. One that is larger than its volume does no harm: the next request finds it so.
        false
    }

    async fn undo(_: &Job, _: Step, _: &mut Outputs) -> Result<()> {
        Ok(())
    }

    fn succeed(at: &mut StepTransaction<'_, '_>, _: &Outputs) -> Result<Finish> {
        let (id, now_us) = (volume_id(&at.operation.target)?, at.context.now_us());
        if let Some(volume) = volumes::find(at.transaction, id)? {
            volume_extensions::finish(at.transaction, &volume)?;
            volumes::leave(at.transaction, id, VolumeStatus::Extending, now_us)?;
            let done = ModificationState::Completed;
            volume_modifications::end(at.transaction, id, done, "", now_us)?;
        }
        Ok(Finish::Succeeded)
    }

    fn fail(at: &mut StepTransaction<'_, '_>, _: &Outputs, reason: &Reason) -> Result<()> {
        let (id, now_us) = (volume_id(&at.operation.target)?, at.context.now_us());
        let Some(volume) = volumes::find(at.transaction, id)? else {
            return Ok(());
        };
        volume_extensions::remove(at.transaction, &volume)?;
        let (failed, why) = (ModificationState::Failed, &reason.public);
        if let Some(failed) = volume_modifications::end(at.transaction, id, failed, why, now_us)? {
            modify_volume::undo(at.transaction, &failed, now_us)?;
        }
        if volumes::leave(at.transaction, id, VolumeStatus::Extending, now_us)? {
            volumes::set_failure(at.transaction, id, &reason.public)?;
            notice::volume_failed(at, id, notice::NOT_EXTENDED, &reason.public)?;
        }
        Ok(())
    }

    fn ended(at: &mut StepTransaction<'_, '_>) -> Result<()> {
        delete_if_asked(at, at.operation)
    }
}

async fn is_large_enough(job: &Job, outputs: &Outputs) -> Result<bool> {
    let found = job.pool()?.find_vdi(outputs.vdi_uuid).await;
    let found = found.map_err(|error| outputs.sr.error(error))?;
    let vdi = found.ok_or_else(|| {
        let text = "an object is missing on the storage";
        Error::new(ErrorKind::NotFound, Subject::Volume, text)
            .detail(format!("VDI {} does not exist", outputs.vdi_uuid))
    })?;
    Ok(vdi.size_bytes >= outputs.size_bytes)
}
