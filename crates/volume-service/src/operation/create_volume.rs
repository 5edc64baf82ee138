//! Makes a volume: picks a backend, makes sure that it is connected, makes the VDI.
//!
//! First fit: the flavor's backends in their order; one that fails is cleared and recorded with its reason, and the next is tried.
//! A backend is recorded before anything is made on it, so that a crash never leaves a VDI that nobody looks for.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::definition::{AfterFailure, Begin, Definition, Finish, Reason, StepTransaction};
use super::job::{Job, SrName};
use super::leftovers;
use crate::db::operations::NewOperation;
use crate::db::{backends, operations, volumes};
use crate::driver::{PoolError, Trouble, VdiSpec};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::backend::{Backend, BackendState};
use crate::model::id::{BackendId, OperationId, VolumeId};
use crate::model::operation::{Operation, OperationKind};
use crate::model::volume::{Volume, VolumeStatus};
use crate::scheduler::{self, Placement, Policy, Request, SkipReason};

/// The operation.
pub(super) struct CreateVolume;

/// Its steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    /// Removes what the try on the backend before may have left.
    Clear,
    /// Picks the next backend and records it.
    Place,
    /// Connects the backend if it never was.
    Connect,
    /// Makes the VDI.
    MakeVdi,
}

/// What they produced.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Outputs {
    /// The backend that is being tried.
    placed: Option<Placed>,
    /// The backends that failed, each with its reason.
    refused: Vec<Refused>,
    /// The VDI.
    vdi_uuid: Option<Uuid>,
    /// True when something may be left in the pool.
    may_have_left: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Placed {
    backend: BackendId,
    sr: SrName,
    is_connected: bool,
    /// True once it turned out that the SR is not plugged although the backend is said to be connected.
    was_lost: bool,
    size_bytes: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Refused {
    backend: BackendId,
    reason: Reason,
}

impl Definition for CreateVolume {
    type Step = Step;
    type Outputs = Outputs;

    const STEPS: &'static [Step] = &[Step::Clear, Step::Place, Step::Connect, Step::MakeVdi];

    fn attempts_max(step: Step) -> u32 {
        match step {
            Step::Connect => CONNECT_ATTEMPTS_MAX,
            Step::Clear | Step::Place | Step::MakeVdi => 6,
        }
    }

    fn begin(at: &mut StepTransaction<'_, '_>, step: Step, outputs: &mut Outputs) -> Result<Begin> {
        match step {
            Step::Clear if outputs.placed.is_some() => Ok(Begin::Act),
            Step::Clear => Ok(Begin::Next),
            Step::Place => place(at, outputs),
            Step::Connect => connect_if_needed(at, outputs),
            Step::MakeVdi => Ok(Begin::Act),
        }
    }

    async fn run(job: &Job, step: Step, outputs: &mut Outputs, look: bool) -> Result<()> {
        match step {
            Step::Clear => {
                leftovers::destroy(job, volume_id(&job.target)?).await?;
                outputs.placed = None;
                Ok(())
            }
            Step::Place => Ok(()),
            Step::Connect => connect(job, placed(outputs)?).await,
            Step::MakeVdi => {
                let vdi = make_vdi(job, placed(outputs)?, look).await?;
                outputs.vdi_uuid = Some(vdi);
                Ok(())
            }
        }
    }

    fn failed(step: Step, outputs: &mut Outputs, error: &Error) -> AfterFailure<Step> {
        match step {
            Step::Clear => {
                outputs.placed = None;
                outputs.may_have_left = true;
                AfterFailure::Next
            }
            Step::Place => AfterFailure::Undo,
            // Somebody unplugged it behind our back: connect it again and try once more.
            Step::MakeVdi
                if outputs
                    .placed
                    .as_ref()
                    .is_some_and(|placed| !placed.is_connected) =>
            {
                AfterFailure::Back(Step::Connect)
            }
            Step::Connect | Step::MakeVdi => {
                if let Some(placed) = &outputs.placed {
                    outputs.refused.push(Refused {
                        backend: placed.backend,
                        reason: Reason::from(error),
                    });
                }
                AfterFailure::Back(Step::Clear)
            }
        }
    }

    fn has_undo(step: Step) -> bool {
        step == Step::MakeVdi
    }

    async fn undo(job: &Job, _step: Step, outputs: &mut Outputs) -> Result<()> {
        leftovers::destroy(job, volume_id(&job.target)?).await?;
        outputs.placed = None;
        outputs.vdi_uuid = None;
        Ok(())
    }

    fn undo_failed(_step: Step, outputs: &mut Outputs) {
        outputs.may_have_left = true;
    }

    fn succeed(at: &mut StepTransaction<'_, '_>, outputs: &Outputs) -> Result<Finish> {
        let (id, now_us) = (volume_id(&at.operation.target)?, at.context.now_us());
        let (from, to) = (VolumeStatus::Creating, VolumeStatus::Available);
        if !volumes::change_status(at.transaction, id, &[from], to, now_us)? {
            return Ok(Finish::Undo(Reason::new(NO_LONGER_WANTED)));
        }
        volumes::set_vdi(at.transaction, id, outputs.vdi_uuid)?;
        Ok(Finish::Succeeded)
    }

    fn fail(at: &mut StepTransaction<'_, '_>, outputs: &Outputs, reason: &Reason) -> Result<()> {
        let (id, now_us) = (volume_id(&at.operation.target)?, at.context.now_us());
        // A recorded backend says that something may lie there: deleting the volume looks for it.
        if !outputs.may_have_left {
            volumes::set_backend(at.transaction, id, None)?;
        }
        let (from, to) = (VolumeStatus::Creating, VolumeStatus::Error);
        if volumes::change_status(at.transaction, id, &[from], to, now_us)? {
            volumes::set_failure(at.transaction, id, &reason.public)?;
            super::notice::volume_failed(at, id, super::notice::NO_BACKEND, &reason.public)?;
        }
        Ok(())
    }

    fn ended(at: &mut StepTransaction<'_, '_>) -> Result<()> {
        delete_if_asked(at, at.operation)
    }
}

/// With the waits between them these last longer than a lease: a backend that a worker was connecting when it died is connected
/// by another meanwhile.
const CONNECT_ATTEMPTS_MAX: u32 = 14;
const NO_LONGER_WANTED: &str = "the volume was deleted while it was being made";
const NOT_SUPPORTED: &str = "volumes cannot be made from snapshots or volumes yet";

/// Asks for the removal of a volume that was deleted meanwhile.
pub(super) fn delete_if_asked(
    at: &mut StepTransaction<'_, '_>,
    operation: &Operation,
) -> Result<()> {
    let id = volume_id(&operation.target)?;
    let found = volumes::find(at.transaction, id)?;
    if found.is_none_or(|volume| volume.status != VolumeStatus::Deleting) {
        return Ok(());
    }
    let now_us = at.context.now_us();
    let new = NewOperation {
        id: OperationId(at.context.new_uuid()),
        kind: OperationKind::DeleteVolume,
        target: operation.target.clone(),
        zone: operation.zone.clone(),
        request_id: operation.request_id.clone(),
        not_before_us: now_us,
    };
    operations::insert(at.transaction, &new, now_us)?;
    Ok(())
}

fn place(at: &mut StepTransaction<'_, '_>, outputs: &mut Outputs) -> Result<Begin> {
    let id = volume_id(&at.operation.target)?;
    let found = volumes::find(at.transaction, id)?;
    let Some(volume) = found.filter(|volume| volume.status == VolumeStatus::Creating) else {
        return Ok(Begin::Undo(Reason::new(NO_LONGER_WANTED)));
    };
    if volume.source_snapshot_id.is_some() || volume.source_volume_id.is_some() {
        return Ok(Begin::Undo(Reason::new(NOT_SUPPORTED)));
    }
    let all = backends::of_flavor(at.transaction, at.vault, volume.flavor_id)?;
    let request = Request {
        flavor_id: volume.flavor_id,
        zone: volume.zone.clone(),
        size_bytes: volume.size_gib.saturating_mul(1 << 30),
    };
    let placement = scheduler::place(Policy::FirstFit, &request, &all);
    let untried = |backend: &&BackendId| {
        let mut tried = outputs.refused.iter().map(|refused| refused.backend);
        tried.all(|tried| tried != **backend)
    };
    let chosen = placement.candidates.iter().find(untried);
    let Some(backend) = chosen.and_then(|id| all.iter().find(|backend| backend.id == *id)) else {
        return Ok(Begin::Undo(none_left(&volume, &placement, outputs)));
    };
    volumes::set_backend(at.transaction, id, Some(backend.id))?;
    outputs.placed = Some(Placed {
        backend: backend.id,
        sr: SrName::of(backend),
        is_connected: is_connected(backend),
        was_lost: false,
        size_bytes: request.size_bytes,
    });
    Ok(Begin::Next)
}

/// Words for a volume that no backend took: every backend of the flavor with its reason.
fn none_left(volume: &Volume, placement: &Placement, outputs: &Outputs) -> Reason {
    let skipped = placement.skipped.iter().map(|skipped| {
        let full = skipped.reason.to_string();
        // What connecting failed with names servers and paths.
        let public = match &skipped.reason {
            SkipReason::Unreachable { since_us, .. } => SkipReason::Unreachable {
                since_us: *since_us,
                text: String::new(),
            }
            .to_string(),
            _ => full.clone(),
        };
        (skipped.backend, Reason { public, full })
    });
    let refused = outputs
        .refused
        .iter()
        .map(|refused| (refused.backend, refused.reason.clone()));
    let mut reasons: Vec<(BackendId, Reason)> = refused.collect();
    for (backend, reason) in skipped {
        if reasons.iter().all(|(known, _)| *known != backend) {
            reasons.push((backend, reason));
        }
    }
    let flavor = &volume.flavor_label;
    if reasons.is_empty() {
        return Reason::new(format!("flavor {flavor} has no backend"));
    }
    let worded = |text: fn(&Reason) -> &String| {
        let list: Vec<String> = reasons
            .iter()
            .map(|(backend, reason)| format!("backend {backend}: {}", text(reason)))
            .collect();
        format!(
            "no backend of flavor {flavor} can hold it: {}",
            list.join("; ")
        )
    };
    Reason {
        public: worded(|reason| &reason.public),
        full: worded(|reason| &reason.full),
    }
}

fn connect_if_needed(at: &mut StepTransaction<'_, '_>, outputs: &mut Outputs) -> Result<Begin> {
    let Some(placed) = &mut outputs.placed else {
        return Ok(Begin::Act);
    };
    if !placed.is_connected && !placed.was_lost {
        let found = backends::find(at.transaction, at.vault, placed.backend)?;
        let Some(backend) = found.filter(is_connected) else {
            return Ok(Begin::Act);
        };
        placed.sr = SrName::of(&backend);
        placed.is_connected = true;
    }
    Ok(if placed.is_connected {
        Begin::Next
    } else {
        Begin::Act
    })
}

fn is_connected(backend: &Backend) -> bool {
    backend.state == BackendState::Connected && backend.sr_uuid.is_some()
}

async fn connect(job: &Job, placed: &mut Placed) -> Result<()> {
    let known = job.backend(placed.backend).await?;
    let backend = if is_connected(&known) && !placed.was_lost {
        known
    } else {
        reconnect(job, placed.backend).await?
    };
    placed.sr = SrName::of(&backend);
    placed.is_connected = true;
    Ok(())
}

async fn reconnect(job: &Job, id: BackendId) -> Result<Backend> {
    job.engine.connect_now(id, &job.request_id).await?;
    let backend = job.backend(id).await?;
    if is_connected(&backend) {
        return Ok(backend);
    }
    Err(Error::new(
        ErrorKind::NoCapacity,
        Subject::Backend,
        "the storage could not be connected",
    )
    .on(id.to_string())
    .detail(backend.failure))
}

async fn make_vdi(job: &Job, placed: &mut Placed, look: bool) -> Result<Uuid> {
    let volume = volume_id(&job.target)?;
    if look && let Some(vdi) = settle_leftovers(job, volume).await? {
        return Ok(vdi);
    }
    let error = match create(job, volume, placed).await? {
        Ok(vdi) => return Ok(vdi),
        Err(error) => error,
    };
    if error.outcome_unknown
        && let Some(vdi) = settle_leftovers(job, volume).await?
    {
        return Ok(vdi);
    }
    if error.trouble == Trouble::NotPlugged && !placed.was_lost {
        placed.is_connected = false;
        placed.was_lost = true;
    }
    Err(placed.sr.error(error))
}

async fn create(
    job: &Job,
    volume: VolumeId,
    placed: &Placed,
) -> Result<std::result::Result<Uuid, PoolError>> {
    let sr_uuid = placed.sr.sr_uuid.ok_or_else(|| {
        Error::new(
            ErrorKind::Internal,
            Subject::Backend,
            "the storage is not connected",
        )
        .on(placed.sr.backend.clone())
    })?;
    let spec = VdiSpec {
        sr_uuid,
        volume,
        operation: job.operation(),
        generation: job.generation(),
        deployment: job.deployment(),
        size_bytes: placed.size_bytes,
    };
    Ok(job.pool()?.create_vdi(&spec).await)
}

/// Returns the VDI that this lease's own earlier try made, and destroys what other tries left.
///
/// A VDI of an earlier generation is not taken over: its maker may still be alive and about to remove it.
async fn settle_leftovers(job: &Job, volume: VolumeId) -> Result<Option<Uuid>> {
    let mut kept = None;
    for vdi in leftovers::vdis(job, volume).await? {
        if leftovers::is_mine(job, &vdi) && kept.is_none() {
            kept = Some(vdi.uuid);
            continue;
        }
        job.pool()?
            .destroy_vdi(vdi.uuid)
            .await
            .map_err(|error| job.zone_error(error))?;
    }
    Ok(kept)
}

fn placed(outputs: &mut Outputs) -> Result<&mut Placed> {
    outputs.placed.as_mut().ok_or_else(|| {
        Error::new(
            ErrorKind::Internal,
            Subject::Operation,
            "An unexpected error has occurred.",
        )
        .detail("a volume is to be made without a recorded backend")
    })
}

/// The volume that an operation is about.
pub(super) fn volume_id(target: &str) -> Result<VolumeId> {
    target
        .parse()
        .map_err(|error| Error::not_found(Subject::Volume, target).caused_by(error))
}
