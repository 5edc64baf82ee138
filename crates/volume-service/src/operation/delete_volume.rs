//! Removes a volume: the snapshots that go with it, its VDI, and last its row. Snapshots that do not go with it stay.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::create_volume::volume_id;
use super::definition::{Begin, Definition, Finish, Reason, StepTransaction};
use super::job::{Job, SrName};
use super::{detach_volume, leftovers, notice};
use crate::db::{attachments, groups, snapshots, volumes};
use crate::driver::Unplug;
use crate::error::Result;
use crate::model::backend::Backend;
use crate::model::id::{AttachmentId, GroupId};
use crate::model::snapshot::SnapshotStatus;
use crate::model::volume::{Volume, VolumeStatus};

/// The operation.
pub(super) struct DeleteVolume;

/// Its step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    /// Ends attachments, destroys the VDIs of the snapshots that go with it, then its own.
    DestroyVdi,
}

/// What is to be removed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Outputs {
    vdi_uuid: Option<Uuid>,
    sr: SrName,
    attachments: Vec<AttachmentId>,
    #[serde(default)]
    snapshot_vdis: Vec<Uuid>,
    /// The group that it is a member of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<GroupId>,
}

/// What is to be removed of a volume without attachments, snapshots and group.
pub(super) fn alone(volume: &Volume, backend: Option<&Backend>) -> Outputs {
    Outputs {
        vdi_uuid: volume.vdi_uuid,
        sr: backend.map_or_else(SrName::default, SrName::of),
        ..Outputs::default()
    }
}

impl Definition for DeleteVolume {
    type Step = Step;
    type Outputs = Outputs;

    const STEPS: &'static [Step] = &[Step::DestroyVdi];

    fn attempts_max(_: Step) -> u32 {
        6
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
        if volume.status != VolumeStatus::Deleting {
            let status = volume.status.as_str();
            return Ok(Begin::Undo(Reason::new(format!(
                "the volume is {status}, not deleting"
            ))));
        }
        outputs.group = volume.traits.group_id.map(GroupId);
        // No backend was recorded, so nothing was ever begun in a pool.
        let Some(backend) = volume.backend_id else {
            return Ok(Begin::Next);
        };
        outputs.vdi_uuid = volume.vdi_uuid;
        let seen = at.around.seen(at.transaction)?;
        outputs.sr = seen
            .backend(at.transaction, backend)?
            .map_or_else(SrName::default, |backend| SrName::of(&backend));
        let mut all = snapshots::of_volume(at.transaction, id)?;
        all.retain(|row| row.status == SnapshotStatus::Deleting);
        outputs.snapshot_vdis = all.iter().filter_map(|row| row.vdi_uuid).collect();
        outputs.attachments = attachments::of_volume(at.transaction, id)?
            .into_iter()
            .map(|attachment| attachment.id)
            .collect();
        Ok(Begin::Act)
    }

    async fn run(job: &Job, _step: Step, outputs: &mut Outputs, _look: bool) -> Result<()> {
        for vdi in &outputs.snapshot_vdis {
            let destroyed = job.pool()?.destroy_vdi(*vdi).await;
            destroyed.map_err(|error| outputs.sr.error(error))?;
        }
        let Some(vdi) = outputs.vdi_uuid else {
            return leftovers::destroy(job, volume_id(&job.target)?).await;
        };
        for attachment in &outputs.attachments {
            detach_volume::disconnect(job, *attachment, vdi, Unplug::Ask).await?;
        }
        // Nothing but the volume's own VDI: a copy that an operator made in the pool carries the same label and marks. What
        // an earlier try of the creation left is the reconciler's, which knows the leases it was made under.
        let destroyed = job.pool()?.destroy_vdi(vdi).await;
        destroyed.map_err(|error| outputs.sr.error(error))
    }

    fn has_undo(_: Step) -> bool {
        false
    }

    async fn undo(_: &Job, _: Step, _: &mut Outputs) -> Result<()> {
        Ok(())
    }

    fn succeed(at: &mut StepTransaction<'_, '_>, outputs: &Outputs) -> Result<Finish> {
        let id = volume_id(&at.operation.target)?;
        if let Some(group) = outputs.group {
            // Before the volume and what it has, as everybody does who changes a group.
            groups::lock(at.transaction, group)?;
        }
        attachments::remove_of(at.transaction, id)?;
        snapshots::remove_deleting_of(at.transaction, id)?;
        volumes::send_removal(at.transaction, id)?;
        if let Some(group) = outputs.group {
            groups::settle(at.transaction, group, at.context.now_us())?;
        }
        Ok(Finish::Succeeded)
    }

    fn fail(at: &mut StepTransaction<'_, '_>, outputs: &Outputs, reason: &Reason) -> Result<()> {
        let (id, now_us) = (volume_id(&at.operation.target)?, at.context.now_us());
        if let Some(group) = outputs.group {
            groups::lock(at.transaction, group)?;
        }
        let (from, to) = (VolumeStatus::Deleting, VolumeStatus::ErrorDeleting);
        if volumes::change_status(at.transaction, id, &[from], to, now_us)? {
            volumes::set_failure(at.transaction, id, &reason.public)?;
            notice::volume_failed(at, id, notice::NOT_REMOVED, &reason.public)?;
        }
        for snapshot in snapshots::of_volume(at.transaction, id)? {
            let (from, to) = (SnapshotStatus::Deleting, SnapshotStatus::ErrorDeleting);
            if snapshots::change_status(at.transaction, snapshot.id, &[from], to, now_us)? {
                snapshots::set_failure(at.transaction, snapshot.id, &reason.public)?;
            }
        }
        if let Some(group) = outputs.group {
            groups::settle(at.transaction, group, now_us)?;
        }
        Ok(())
    }
}
