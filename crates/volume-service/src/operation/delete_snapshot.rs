//! Removes a snapshot: its VDI, and last its row. Volumes that were made from it keep what they share with it: the storage manager
//! sees to that.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::create_snapshot::snapshot_id;
use super::definition::{Begin, Definition, Finish, Reason, StepTransaction};
use super::job::{Job, SrName};
use super::notice;
use crate::db::{backends, group_snapshots, snapshots};
use crate::error::Result;
use crate::model::id::GroupSnapshotId;
use crate::model::snapshot::SnapshotStatus;

/// The operation.
pub(super) struct DeleteSnapshot;

/// Its step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    /// Destroys the VDI.
    DestroyVdi,
}

/// What is to be removed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Outputs {
    vdi_uuid: Option<Uuid>,
    sr: SrName,
    /// The group snapshot that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group_snapshot: Option<GroupSnapshotId>,
}

impl Definition for DeleteSnapshot {
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
        let id = snapshot_id(&at.operation.target)?;
        let Some(snapshot) = snapshots::find(at.transaction, id)? else {
            return Ok(Begin::Next);
        };
        if snapshot.status != SnapshotStatus::Deleting {
            let status = snapshot.status.as_str();
            return Ok(Begin::Undo(Reason::new(format!(
                "the snapshot is {status}, not deleting"
            ))));
        }
        outputs.group_snapshot = snapshot.traits.group_snapshot_id.map(GroupSnapshotId);
        // What a failed try to take it may have left is the reconciler's, which knows the leases it was made under.
        let (Some(backend), Some(vdi)) = (snapshot.backend_id, snapshot.vdi_uuid) else {
            return Ok(Begin::Next);
        };
        outputs.vdi_uuid = Some(vdi);
        outputs.sr = backends::find(at.transaction, at.vault, backend)?
            .map_or_else(SrName::default, |backend| SrName::of(&backend));
        Ok(Begin::Act)
    }

    async fn run(job: &Job, _step: Step, outputs: &mut Outputs, _look: bool) -> Result<()> {
        let Some(vdi) = outputs.vdi_uuid else {
            return Ok(());
        };
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
        if let Some(together) = outputs.group_snapshot {
            // Before the snapshot, as everybody does who changes a group snapshot.
            group_snapshots::lock(at.transaction, together)?;
        }
        snapshots::remove(at.transaction, snapshot_id(&at.operation.target)?)?;
        if let Some(together) = outputs.group_snapshot {
            group_snapshots::settle(at.transaction, together, at.context.now_us())?;
        }
        Ok(Finish::Succeeded)
    }

    fn fail(at: &mut StepTransaction<'_, '_>, outputs: &Outputs, reason: &Reason) -> Result<()> {
        let (id, now_us) = (snapshot_id(&at.operation.target)?, at.context.now_us());
        if let Some(together) = outputs.group_snapshot {
            group_snapshots::lock(at.transaction, together)?;
        }
        let (from, to) = (SnapshotStatus::Deleting, SnapshotStatus::ErrorDeleting);
        if snapshots::change_status(at.transaction, id, &[from], to, now_us)? {
            snapshots::set_failure(at.transaction, id, &reason.public)?;
            notice::snapshot_failed(at, id, notice::NOT_DELETED, &reason.public)?;
        }
        if let Some(together) = outputs.group_snapshot {
            group_snapshots::settle(at.transaction, together, now_us)?;
        }
        Ok(())
    }
}
