//! Detaches a volume: unplugs and destroys the attachment's VBD, and removes the attachment.

use super::definition::{Begin, Definition, Finish, Reason, StepTransaction};
use super::job::Job;
use super::notice;
use crate::db::{attachments, volumes};
use crate::error::{Error, Result, Subject};
use crate::model::attachment::AttachmentStatus;
use crate::model::id::{AttachmentId, VolumeId};

/// The operation.
pub(super) struct DetachVolume;

/// Its step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    /// Unplugs and destroys the VBD, if there is one.
    Disconnect,
}

impl Definition for DetachVolume {
    type Step = Step;
    type Outputs = ();

    const STEPS: &'static [Step] = &[Step::Disconnect];

    fn attempts_max(_: Step) -> u32 {
        6
    }

    fn begin(at: &mut StepTransaction<'_, '_>, _step: Step, _: &mut ()) -> Result<Begin> {
        let id = attachment_id(&at.operation.target)?;
        match attachments::find(at.transaction, id)? {
            None => Ok(Begin::Next),
            Some(attachment) if attachment.status == AttachmentStatus::Detaching => Ok(Begin::Act),
            Some(attachment) => Ok(Begin::Undo(Reason::new(format!(
                "the attachment is {}, not detaching",
                attachment.status.as_str()
            )))),
        }
    }

    async fn run(job: &Job, _step: Step, _: &mut (), _look: bool) -> Result<()> {
        disconnect(job, attachment_id(&job.target)?).await
    }

    fn has_undo(_: Step) -> bool {
        false
    }

    async fn undo(_: &Job, _: Step, _: &mut ()) -> Result<()> {
        Ok(())
    }

    fn succeed(at: &mut StepTransaction<'_, '_>, _: &()) -> Result<Finish> {
        let id = attachment_id(&at.operation.target)?;
        if let Some(attachment) = attachments::find(at.transaction, id)? {
            attachments::remove(at.transaction, id)?;
            settle_volume(at, attachment.volume_id)?;
        }
        Ok(Finish::Succeeded)
    }

    fn fail(at: &mut StepTransaction<'_, '_>, _: &(), reason: &Reason) -> Result<()> {
        let id = attachment_id(&at.operation.target)?;
        let (from, to) = (
            AttachmentStatus::Detaching,
            AttachmentStatus::ErrorDetaching,
        );
        if attachments::change_status(at.transaction, id, &[from], to)? {
            attachments::set_failure(at.transaction, id, &reason.public)?;
            let attachment = attachments::get(at.transaction, id)?;
            settle_volume(at, attachment.volume_id)?;
            let volume = attachment.volume_id;
            notice::volume_failed(at, volume, notice::NOT_DETACHED, &reason.public)?;
        }
        Ok(())
    }
}

/// Unplugs and destroys every VBD of an attachment that this deployment made; none is fine.
pub(super) async fn disconnect(job: &Job, id: AttachmentId) -> Result<()> {
    let found = job.pool()?.vbds(Some(id)).await;
    let found = found.map_err(|error| job.zone_error(error))?;
    let deployment = Some(job.deployment().0);
    for vbd in found {
        if vbd.attachment != Some(id) || vbd.deployment != deployment {
            continue;
        }
        if vbd.is_plugged {
            let unplugged = job.pool()?.unplug_vbd(vbd.uuid).await;
            unplugged.map_err(|error| job.zone_error(error))?;
        }
        let destroyed = job.pool()?.destroy_vbd(vbd.uuid).await;
        destroyed.map_err(|error| job.zone_error(error))?;
    }
    Ok(())
}

/// Gives a volume the state that its attachments imply; two transactions on one volume judge one after the
/// other, so that of two attachments that end together the second sees that the first is gone.
pub(super) fn settle_volume(at: &mut StepTransaction<'_, '_>, id: VolumeId) -> Result<()> {
    if volumes::lock(at.transaction, id)? {
        volumes::settle(at.transaction, id, at.context.now_us())?;
    }
    Ok(())
}

/// The attachment that an operation is about.
pub(super) fn attachment_id(target: &str) -> Result<AttachmentId> {
    target
        .parse()
        .map_err(|error| Error::not_found(Subject::Attachment, target).caused_by(error))
}
