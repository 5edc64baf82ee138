//! Detaches a volume: unplugs and destroys the attachment's VBD, and removes the attachment.

use uuid::Uuid;

use super::definition::{Begin, Definition, Finish, Reason, StepTransaction};
use super::job::Job;
use super::notice;
use crate::db::operations::NewOperation;
use crate::db::{
    Transaction, attachments, instance_attachments, instances, operations, service_states,
    snapshots, volumes,
};
use crate::driver::Unplug;
use crate::error::{Error, Result, Subject};
use crate::model::attachment::AttachmentStatus;
use crate::model::id::{AttachmentId, OperationId, VolumeId};
use crate::model::operation::OperationKind;
use crate::model::snapshot::SnapshotStatus;
use crate::model::volume::VolumeStatus;

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
        let id = attachment_id(&job.target)?;
        let found = job.engine.database().read(move |tx| whereabouts(tx, id));
        match found.await? {
            Some((vdi, how)) => disconnect(job, id, vdi, how).await,
            None => Ok(()),
        }
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
            let known = instance_attachments::find(at.transaction, id)?;
            attachments::remove(at.transaction, id)?;
            settle_volume(at, attachment.volume_id)?;
            let known = known.filter(|known| known.is_terminated && known.delete_on_termination);
            if let Some(known) = known {
                // It may have come back meanwhile.
                let instance = instances::of_id(at.transaction, known.instance_id)?;
                if instance.is_none_or(|instance| instance.gone_at_us.is_some()) {
                    delete_with_instance(at, attachment.volume_id)?;
                }
            }
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
            let attachment = attachments::get(at.transaction, id)?;
            attachments::set_failure(at.transaction, id, &reason.public)?;
            settle_volume(at, attachment.volume_id)?;
            // A reconciler tries again what a guest does not let go of, and is not told each time.
            if attachment.failure.is_empty() {
                let volume = attachment.volume_id;
                notice::volume_failed(at, volume, notice::NOT_DETACHED, &reason.public)?;
            }
        }
        Ok(())
    }
}

/// The VDI that an attachment's VBD is of, and how that is unplugged; none when there is no VDI, and so no VBD.
pub(super) fn whereabouts(
    tx: &mut Transaction<'_>,
    id: AttachmentId,
) -> Result<Option<(Uuid, Unplug)>> {
    let Some(attachment) = attachments::find(tx, id)? else {
        return Ok(None);
    };
    let is_forced = instance_attachments::find(tx, id)?.is_some_and(|known| known.is_forced);
    let how = match is_forced {
        true => Unplug::Force,
        false => Unplug::Ask,
    };
    let volume = volumes::get(tx, attachment.volume_id)?;
    Ok(volume.vdi_uuid.map(|vdi| (vdi, how)))
}

/// Unplugs and destroys every VBD of an attachment that this deployment made; none is fine.
pub(super) async fn disconnect(job: &Job, id: AttachmentId, vdi: Uuid, how: Unplug) -> Result<()> {
    let found = job.pool()?.vbds(Some(vdi)).await;
    let found = found.map_err(|error| job.zone_error(error))?;
    let deployment = Some(job.deployment().0);
    for vbd in found {
        if vbd.attachment != Some(id) || vbd.deployment != deployment {
            continue;
        }
        if vbd.is_plugged {
            let unplugged = job.pool()?.unplug_vbd(vbd.uuid, how).await;
            unplugged.map_err(|error| job.zone_error(error))?;
        }
        let destroyed = job.pool()?.destroy_vbd(vbd.uuid).await;
        destroyed.map_err(|error| job.zone_error(error))?;
    }
    Ok(())
}

/// Begins the end of a volume whose instance is gone, as its owner wanted. What cannot be deleted now stays, as a user's request to
/// delete it would be refused.
fn delete_with_instance(at: &mut StepTransaction<'_, '_>, id: VolumeId) -> Result<()> {
    let now_us = at.context.now_us();
    let Some(volume) = volumes::find(at.transaction, id)? else {
        return Ok(());
    };
    let restriction = service_states::restriction(at.transaction, &volume.zone)?;
    let is_kept = restriction.is_some_and(|service| service.is_frozen)
        || volume.status != VolumeStatus::Available
        || volume.traits.group_id.is_some()
        || volumes::is_being_cloned(at.transaction, id)?
        || snapshots::exist_in(at.transaction, id, SnapshotStatus::Creating)?
        || operations::find_unfinished(at.transaction, &id.to_string())?.is_some();
    let (from, to) = ([VolumeStatus::Available], VolumeStatus::Deleting);
    if is_kept || !volumes::change_status(at.transaction, id, &from, to, now_us)? {
        return Ok(());
    }
    let operation = NewOperation {
        id: OperationId(at.context.new_uuid()),
        kind: OperationKind::DeleteVolume,
        target: id.to_string(),
        zone: volume.zone,
        request_id: at.operation.request_id.clone(),
        not_before_us: now_us,
    };
    operations::insert(at.transaction, &operation, now_us).map(drop)
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
