//! Takes a snapshot of a volume: `VDI.snapshot` of its VDI, whether that is attached or not. A copy of a snapshot is a `VDI.clone` of
//! that one's VDI, which costs the same at any size.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::calls::Calls;
use super::definition::{Begin, Definition, Finish, Reason, StepTransaction};
use super::job::{Job, SrName};
use super::notice;
use super::offspring::{self, Birth, How};
use crate::db::operations::NewOperation;
use crate::db::{backends, operations, snapshot_ebs, snapshots, volumes};
use crate::driver::VdiOwner;
use crate::error::{Error, Result, Subject};
use crate::model::id::{BackendId, OperationId, SnapshotId};
use crate::model::operation::OperationKind;
use crate::model::snapshot::{SOURCE_IS_GONE, Snapshot, SnapshotStatus};

/// The operation.
pub(super) struct CreateSnapshot;

/// Its step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    /// Takes it.
    Take,
}

/// What it produced.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Outputs {
    /// The VDI of the volume, or of the snapshot that is copied.
    source: Uuid,
    #[serde(default)]
    is_copy: bool,
    sr: SrName,
    vdi_uuid: Option<Uuid>,
    /// True when something may be left in the pool.
    may_have_left: bool,
    /// Whether a call may still run.
    #[serde(default, skip_serializing_if = "Calls::is_none")]
    calls: Calls,
}

impl Definition for CreateSnapshot {
    type Step = Step;
    type Outputs = Outputs;

    const STEPS: &'static [Step] = &[Step::Take];

    fn attempts_max(_: Step) -> u32 {
        // Half a minute: a VDI that is being plugged or unplugged is busy that long.
        12
    }

    fn begin(
        at: &mut StepTransaction<'_, '_>,
        _step: Step,
        outputs: &mut Outputs,
    ) -> Result<Begin> {
        let id = snapshot_id(&at.operation.target)?;
        let found = snapshots::find(at.transaction, id)?;
        let Some(snapshot) = found.filter(|row| row.status == SnapshotStatus::Creating) else {
            return Ok(Begin::Undo(Reason::new(NO_LONGER_WANTED)));
        };
        outputs.is_copy = snapshot.traits.ebs.is_copy;
        let Some((backend, source)) = source(at, &snapshot)? else {
            let why = match outputs.is_copy {
                true => SOURCE_IS_GONE,
                false => "the volume has no VDI",
            };
            return Ok(Begin::Undo(Reason::new(why)));
        };
        // Recorded before anything is made, so that nobody forgets to look there.
        snapshots::set_backend(at.transaction, id, Some(backend))?;
        let backend = backends::get(at.transaction, at.vault, backend)?;
        outputs.sr = SrName::of(&backend);
        outputs.source = source;
        outputs.calls.begin();
        Ok(Begin::Act)
    }

    async fn run(job: &Job, _step: Step, outputs: &mut Outputs, look: bool) -> Result<()> {
        let birth = birth(job, outputs)?;
        let taken = offspring::make(job, &birth, &mut outputs.calls, look).await;
        outputs.calls.end();
        outputs.vdi_uuid = Some(taken?);
        Ok(())
    }

    fn has_undo(_: Step) -> bool {
        true
    }

    async fn undo(job: &Job, _step: Step, outputs: &mut Outputs) -> Result<()> {
        outputs.vdi_uuid = None;
        offspring::unmake(job, &birth(job, outputs)?, outputs.calls).await
    }

    fn undo_failed(_step: Step, outputs: &mut Outputs) {
        outputs.may_have_left = true;
    }

    fn succeed(at: &mut StepTransaction<'_, '_>, outputs: &Outputs) -> Result<Finish> {
        let (id, now_us) = (snapshot_id(&at.operation.target)?, at.context.now_us());
        let (from, to) = (SnapshotStatus::Creating, SnapshotStatus::Available);
        if !snapshots::change_status(at.transaction, id, &[from], to, now_us)? {
            return Ok(Finish::Undo(Reason::new(NO_LONGER_WANTED)));
        }
        snapshots::set_vdi(at.transaction, id, outputs.vdi_uuid)?;
        snapshot_ebs::complete(at.transaction, id, now_us)?;
        Ok(Finish::Succeeded)
    }

    fn fail(at: &mut StepTransaction<'_, '_>, outputs: &Outputs, reason: &Reason) -> Result<()> {
        let (id, now_us) = (snapshot_id(&at.operation.target)?, at.context.now_us());
        if !outputs.may_have_left {
            snapshots::set_backend(at.transaction, id, None)?;
        }
        let (from, to) = (SnapshotStatus::Creating, SnapshotStatus::Error);
        if snapshots::change_status(at.transaction, id, &[from], to, now_us)? {
            snapshots::set_failure(at.transaction, id, &reason.public)?;
            notice::snapshot_failed(at, id, notice::NOT_TAKEN, &reason.public)?;
        }
        Ok(())
    }

    fn ended(at: &mut StepTransaction<'_, '_>) -> Result<()> {
        delete_if_asked(at)
    }
}

const NO_LONGER_WANTED: &str = "the snapshot was deleted while it was being taken";

/// The VDI that it is made from, and where that is.
fn source(
    at: &mut StepTransaction<'_, '_>,
    snapshot: &Snapshot,
) -> Result<Option<(BackendId, Uuid)>> {
    let ebs = &snapshot.traits.ebs;
    if !ebs.is_copy {
        let volume = volumes::get(at.transaction, snapshot.volume_id)?;
        return Ok(volume.backend_id.zip(volume.vdi_uuid));
    }
    let copied = match ebs.copied_from {
        Some(id) => snapshots::find(at.transaction, id)?,
        None => None,
    };
    Ok(copied.and_then(|copied| copied.backend_id.zip(copied.vdi_uuid)))
}

fn birth(job: &Job, outputs: &Outputs) -> Result<Birth> {
    Ok(Birth {
        source: outputs.source,
        sr: outputs.sr.clone(),
        owner: VdiOwner::Snapshot(snapshot_id(&job.target)?),
        how: match outputs.is_copy {
            true => How::Clone,
            false => How::Snapshot,
        },
        part: 0,
    })
}

/// Asks for the removal of a snapshot that was deleted meanwhile.
pub(super) fn delete_if_asked(at: &mut StepTransaction<'_, '_>) -> Result<()> {
    let id = snapshot_id(&at.operation.target)?;
    delete_if_asked_of(at, id)
}

/// The same for one of several that an operation is about.
pub(super) fn delete_if_asked_of(at: &mut StepTransaction<'_, '_>, id: SnapshotId) -> Result<()> {
    let found = snapshots::find(at.transaction, id)?;
    if found.is_none_or(|snapshot| snapshot.status != SnapshotStatus::Deleting) {
        return Ok(());
    }
    let now_us = at.context.now_us();
    let new = NewOperation {
        id: OperationId(at.context.new_uuid()),
        kind: OperationKind::DeleteSnapshot,
        target: id.to_string(),
        zone: at.operation.zone.clone(),
        request_id: at.operation.request_id.clone(),
        not_before_us: now_us,
    };
    operations::insert(at.transaction, &new, now_us)?;
    Ok(())
}

/// The snapshot that an operation is about.
pub(super) fn snapshot_id(target: &str) -> Result<SnapshotId> {
    target
        .parse()
        .map_err(|error| Error::not_found(Subject::Snapshot, target).caused_by(error))
}
