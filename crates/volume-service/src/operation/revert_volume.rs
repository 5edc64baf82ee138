//! Brings a volume back to its latest snapshot: a clone of the snapshot takes the place of the volume's VDI.
//!
//! Not by `VDI.revert`: a call of a worker that was stopped before it and goes on when the operation has long ended would throw away
//! what was written since, and no pool can refuse it. A clone that comes too late is only a VDI too many. Both take constant time.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::calls::Calls;
use super::create_volume::{delete_if_asked, volume_id};
use super::definition::{AfterFailure, Begin, Definition, Finish, Reason, StepTransaction};
use super::job::{Job, SrName};
use super::notice;
use super::offspring::{self, Birth, How};
use crate::db::{backends, retired_vdis, snapshots, volumes};
use crate::driver::{Resize, VdiOwner};
use crate::error::{Error, Result};
use crate::model::id::SnapshotId;
use crate::model::snapshot::SnapshotStatus;
use crate::model::volume::VolumeStatus;

/// The operation.
pub(super) struct RevertVolume;

/// Its steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    /// Clones the snapshot, and makes the clone as large as the volume.
    Clone,
    /// Puts the clone in the place of the volume's VDI, and destroys that.
    Swap,
}

/// What they produced.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Outputs {
    sr: SrName,
    snapshot: Option<SnapshotId>,
    snapshot_vdi: Uuid,
    old_vdi: Uuid,
    new_vdi: Option<Uuid>,
    size_bytes: u64,
    /// True when the volume was extended since the snapshot was taken.
    is_larger: bool,
    /// True once the clone is the volume's VDI: there is no way back from there.
    is_swapped: bool,
    is_old_gone: bool,
    /// Whether a call may still run.
    #[serde(default, skip_serializing_if = "Calls::is_none")]
    calls: Calls,
}

impl Definition for RevertVolume {
    type Step = Step;
    type Outputs = Outputs;

    const STEPS: &'static [Step] = &[Step::Clone, Step::Swap];

    fn attempts_max(_: Step) -> u32 {
        // Half a minute: a VDI that is being plugged or unplugged is busy that long.
        12
    }

    fn begin(at: &mut StepTransaction<'_, '_>, step: Step, outputs: &mut Outputs) -> Result<Begin> {
        match step {
            Step::Clone => read(at, outputs),
            Step::Swap => swap(at, outputs),
        }
    }

    async fn run(job: &Job, step: Step, outputs: &mut Outputs, look: bool) -> Result<()> {
        match step {
            Step::Clone => {
                let birth = birth(job, outputs)?;
                let clone = offspring::make(job, &birth, &mut outputs.calls, look).await;
                outputs.calls.end();
                let clone = clone?;
                if outputs.is_larger {
                    let size = outputs.size_bytes;
                    let resized = job.pool()?.resize_vdi(clone, size, Resize::Offline).await;
                    resized.map_err(|error| outputs.sr.error(error))?;
                }
                outputs.new_vdi = Some(clone);
                Ok(())
            }
            Step::Swap => destroy_old(job, outputs).await,
        }
    }

    fn failed(step: Step, _outputs: &mut Outputs, _error: &Error) -> AfterFailure<Step> {
        match step {
            Step::Clone => AfterFailure::Undo,
            // The volume is reverted; the old VDI is retired, and a reconciler goes on trying.
            Step::Swap => AfterFailure::Next,
        }
    }

    fn has_undo(step: Step) -> bool {
        step == Step::Clone
    }

    async fn undo(job: &Job, _step: Step, outputs: &mut Outputs) -> Result<()> {
        if outputs.is_swapped {
            return Ok(());
        }
        outputs.new_vdi = None;
        offspring::unmake(job, &birth(job, outputs)?, outputs.calls).await
    }

    fn succeed(at: &mut StepTransaction<'_, '_>, outputs: &Outputs) -> Result<Finish> {
        settle(at, outputs)?;
        Ok(Finish::Succeeded)
    }

    fn fail(at: &mut StepTransaction<'_, '_>, outputs: &Outputs, reason: &Reason) -> Result<()> {
        if settle(at, outputs)? && !outputs.is_swapped {
            let id = volume_id(&at.operation.target)?;
            volumes::set_failure(at.transaction, id, &reason.public)?;
            notice::volume_failed(at, id, notice::NOT_REVERTED, &reason.public)?;
        }
        Ok(())
    }

    fn ended(at: &mut StepTransaction<'_, '_>) -> Result<()> {
        delete_if_asked(at, at.operation)
    }
}

fn read(at: &mut StepTransaction<'_, '_>, outputs: &mut Outputs) -> Result<Begin> {
    let id = volume_id(&at.operation.target)?;
    let found = volumes::find(at.transaction, id)?;
    let Some(volume) = found.filter(|row| row.status == VolumeStatus::Reverting) else {
        return Ok(Begin::Undo(Reason::new("the volume is not being reverted")));
    };
    let restoring = snapshots::find_in(at.transaction, id, SnapshotStatus::Restoring)?;
    let Some(snapshot) = restoring else {
        return Ok(Begin::Undo(Reason::new("the snapshot is gone")));
    };
    outputs.snapshot = Some(snapshot.id);
    let (Some(backend), Some(old_vdi)) = (volume.backend_id, volume.vdi_uuid) else {
        return Ok(Begin::Undo(Reason::new("the volume has no VDI")));
    };
    let Some(snapshot_vdi) = snapshot.vdi_uuid else {
        return Ok(Begin::Undo(Reason::new("the snapshot has no VDI")));
    };
    if snapshot.backend_id != Some(backend) {
        let text = "the snapshot is not on the volume's storage";
        return Ok(Begin::Undo(Reason::new(text)));
    }
    let backend = backends::get(at.transaction, at.vault, backend)?;
    outputs.sr = SrName::of(&backend);
    outputs.old_vdi = old_vdi;
    outputs.snapshot_vdi = snapshot_vdi;
    outputs.size_bytes = volume.size_gib.saturating_mul(1 << 30);
    outputs.is_larger = volume.size_gib > snapshot.size_gib;
    Ok(Begin::Act)
}

/// The swap is a write to the database, in the transaction that records that the clone is made.
fn swap(at: &mut StepTransaction<'_, '_>, outputs: &mut Outputs) -> Result<Begin> {
    if outputs.is_swapped {
        return Ok(Begin::Act);
    }
    let id = volume_id(&at.operation.target)?;
    let (status, old) = (VolumeStatus::Reverting, outputs.old_vdi);
    let swapped = match outputs.new_vdi {
        Some(new) => volumes::swap_vdi(at.transaction, id, status, old, new)?,
        None => false,
    };
    if !swapped {
        let text = "the volume was deleted while it was being reverted";
        return Ok(Begin::Undo(Reason::new(text)));
    }
    let zone = &at.operation.zone;
    retired_vdis::insert(at.transaction, old, zone, at.context.now_us())?;
    outputs.is_swapped = true;
    Ok(Begin::Act)
}

async fn destroy_old(job: &Job, outputs: &mut Outputs) -> Result<()> {
    let destroyed = job.pool()?.destroy_vdi(outputs.old_vdi).await;
    destroyed.map_err(|error| outputs.sr.error(error))?;
    outputs.is_old_gone = true;
    Ok(())
}

/// Gives volume and snapshot the states that they had; false when the volume is in another one.
fn settle(at: &mut StepTransaction<'_, '_>, outputs: &Outputs) -> Result<bool> {
    let (id, now_us) = (volume_id(&at.operation.target)?, at.context.now_us());
    if outputs.is_old_gone {
        retired_vdis::remove(at.transaction, outputs.old_vdi)?;
    }
    if let Some(snapshot) = outputs.snapshot {
        let (from, to) = (SnapshotStatus::Restoring, SnapshotStatus::Available);
        snapshots::change_status(at.transaction, snapshot, &[from], to, now_us)?;
    }
    volumes::leave(at.transaction, id, VolumeStatus::Reverting, now_us)
}

fn birth(job: &Job, outputs: &Outputs) -> Result<Birth> {
    Ok(Birth {
        source: outputs.snapshot_vdi,
        sr: outputs.sr.clone(),
        owner: VdiOwner::Volume(volume_id(&job.target)?),
        how: How::Clone,
        part: 0,
    })
}
