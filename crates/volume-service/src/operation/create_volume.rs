//! Makes a volume: picks a backend, makes sure that it is connected, makes the VDI, which may have content from the start.
//!
//! What is made from a snapshot or volume is a clone where the backend is the source's, which costs the same at any size, and a copy
//! elsewhere. A volume may be written while it is copied, so that what is copied is a snapshot of it.
//!
//! First fit: the flavor's backends in their order; one that fails is cleared and recorded with its reason, and the next is tried.
//! A backend is recorded before anything is made on it, so that a crash never leaves a VDI that nobody looks for.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::calls::Calls;
use super::definition::{AfterFailure, Begin, Definition, Finish, Reason, StepTransaction};
use super::job::{Job, SrName};
use super::offspring::{self, Birth, How};
use super::volume_content::{self, Content, Copied};
use super::{leftovers, none_left};
use crate::app::known::{Age, Places};
use crate::db::operations::NewOperation;
use crate::db::service_states::ServiceState;
use crate::db::{backends, groups, operations, volumes};
use crate::driver::{PoolError, Resize, Trouble, VdiOwner, VdiSpec};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::backend::{Backend, BackendState};
use crate::model::id::{BackendId, GroupId, OperationId, VolumeId};
use crate::model::operation::{Operation, OperationKind, OperationState};
use crate::model::volume::{Volume, VolumeStatus};
use crate::scheduler::{self, Policy, Request};

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
    /// True when the volume had its VDI before: nothing is made, and nothing of it is ever undone.
    #[serde(default)]
    is_there: bool,
    /// True when something may be left in the pool.
    may_have_left: bool,
    /// Whether a call may still run that makes something from its source.
    #[serde(default, skip_serializing_if = "Calls::is_none")]
    calls: Calls,
    /// The group that it is a member of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<GroupId>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Placed {
    backend: BackendId,
    sr: SrName,
    is_connected: bool,
    /// True once it turned out that the SR is not plugged although the backend is said to be connected.
    was_lost: bool,
    size_bytes: u64,
    /// Whether several instances may write it at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_sharable: bool,
    /// What it is made from there.
    #[serde(default)]
    content: Content,
}

/// A backend that failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Refused {
    /// The backend.
    pub(super) backend: BackendId,
    /// Why.
    pub(super) reason: Reason,
}

/// The index of the step that makes the VDI.
pub(super) const MAKE_VDI: u32 = 3;

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
            Step::Connect | Step::MakeVdi if outputs.is_there => Ok(Begin::Next),
            Step::Connect => connect_if_needed(at, outputs),
            Step::MakeVdi => {
                let content = outputs.placed.as_ref().map(|placed| &placed.content);
                if !matches!(content, None | Some(Content::Blank)) {
                    outputs.calls.begin();
                }
                Ok(Begin::Act)
            }
        }
    }

    async fn run(job: &Job, step: Step, outputs: &mut Outputs, look: bool) -> Result<()> {
        match step {
            Step::Clear => clear(job, outputs).await,
            Step::Place => Ok(()),
            Step::Connect => connect(job, placed(outputs)?).await,
            Step::MakeVdi => {
                let mut calls = outputs.calls;
                let made = make_vdi(job, placed(outputs)?, &mut calls, look).await;
                calls.end();
                outputs.calls = calls;
                outputs.vdi_uuid = Some(made?);
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
        clear(job, outputs).await
    }

    fn undo_failed(_step: Step, outputs: &mut Outputs) {
        outputs.may_have_left = true;
    }

    fn succeed(at: &mut StepTransaction<'_, '_>, outputs: &Outputs) -> Result<Finish> {
        let (id, now_us) = (volume_id(&at.operation.target)?, at.context.now_us());
        let from = VolumeStatus::Creating;
        if outputs.is_there {
            volumes::leave(at.transaction, id, from, now_us)?;
            return Ok(Finish::Succeeded);
        }
        if let Some(group) = outputs.group {
            // Before the volume, as everybody does who changes a group.
            groups::lock(at.transaction, group)?;
        } else if at.transaction.assume() {
            volumes::post_available(at.transaction, id, outputs.vdi_uuid, now_us)?;
            return Ok(Finish::Succeeded);
        }
        if !volumes::become_available(at.transaction, id, outputs.vdi_uuid, now_us)? {
            return Ok(Finish::Undo(Reason::new(NO_LONGER_WANTED)));
        }
        if let Some(group) = outputs.group {
            groups::settle(at.transaction, group, now_us)?;
        }
        Ok(Finish::Succeeded)
    }

    fn fail(at: &mut StepTransaction<'_, '_>, outputs: &Outputs, reason: &Reason) -> Result<()> {
        let (id, now_us) = (volume_id(&at.operation.target)?, at.context.now_us());
        if let Some(group) = outputs.group {
            groups::lock(at.transaction, group)?;
        }
        // A recorded backend says that something may lie there: deleting the volume looks for it.
        if !outputs.may_have_left && !outputs.is_there {
            volumes::forget_backend(at.transaction, id)?;
        }
        let (from, to) = (VolumeStatus::Creating, VolumeStatus::Error);
        if volumes::change_status(at.transaction, id, &[from], to, now_us)? {
            volumes::set_failure(at.transaction, id, &reason.public)?;
            super::notice::volume_failed(at, id, super::notice::NO_BACKEND, &reason.public)?;
        }
        if let Some(group) = outputs.group {
            groups::settle(at.transaction, group, now_us)?;
        }
        Ok(())
    }

    fn ended(at: &mut StepTransaction<'_, '_>) -> Result<()> {
        // One that this very transaction made available is not being deleted.
        let outputs: Outputs = super::progress::parse_outputs(at.operation)?;
        if at.operation.state == OperationState::Succeeded && !outputs.is_there {
            return Ok(());
        }
        delete_if_asked(at, at.operation)
    }
}

/// With the waits between them these last longer than a lease: a backend that a worker was connecting when it died is connected
/// by another meanwhile.
const CONNECT_ATTEMPTS_MAX: u32 = 14;
const NO_LONGER_WANTED: &str = "the volume was deleted while it was being made";

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

/// Nothing new is placed where an administrator stopped the service.
fn none_placed(zone: &str, state: &ServiceState) -> Reason {
    let what = if state.is_disabled {
        "disabled"
    } else {
        "frozen"
    };
    let mut text = format!("no backend could be used: the volume service of zone {zone} is {what}");
    if !state.reason.is_empty() {
        text.push_str(&format!(" ({})", state.reason));
    }
    Reason::new(text)
}

fn place(at: &mut StepTransaction<'_, '_>, outputs: &mut Outputs) -> Result<Begin> {
    let id = volume_id(&at.operation.target)?;
    let found = volumes::find(at.transaction, id)?;
    let Some(volume) = found.filter(|volume| volume.status == VolumeStatus::Creating) else {
        return Ok(Begin::Undo(Reason::new(NO_LONGER_WANTED)));
    };
    outputs.group = volume.traits.group_id.map(GroupId);
    if volume.vdi_uuid.is_some() {
        // Its state was set by hand: a second VDI would take the place of the first, which nobody would find again.
        outputs.is_there = true;
        return Ok(Begin::Next);
    }
    let source = match volume_content::source(at, &volume)? {
        Ok(source) => source,
        Err(reason) => return Ok(Begin::Undo(reason)),
    };
    let seen = at.around.seen(at.transaction)?;
    let places = seen.places(at.transaction, volume.flavor_id, &volume.zone, Age::Now)?;
    if let Some(state) = &places.stopped {
        return Ok(Begin::Undo(none_placed(&volume.zone, state)));
    }
    let all = &places.backends;
    let request = Request {
        flavor: &places.flavor,
        zone: volume.zone.clone(),
        size_bytes: volume.size_gib.saturating_mul(1 << 30),
        source: source.as_ref().map(|source| source.backend),
    };
    let placement = scheduler::place(Policy::FirstFit, &request, all);
    let untried = |backend: &&BackendId| {
        let mut tried = outputs.refused.iter().map(|refused| refused.backend);
        tried.all(|tried| tried != **backend)
    };
    let chosen = placement.candidates.iter().find(untried);
    let Some(backend) = chosen.and_then(|id| all.iter().find(|backend| backend.id == *id)) else {
        let reason = none_left::reason(&volume, &placement, &outputs.refused);
        return Ok(Begin::Undo(reason));
    };
    volumes::place_on(at.transaction, id, backend.id)?;
    outputs.placed = Some(Placed {
        backend: backend.id,
        sr: SrName::of(backend),
        is_connected: is_connected(backend),
        was_lost: false,
        size_bytes: request.size_bytes,
        is_sharable: volume.traits.multiattach,
        content: source.map_or(Content::Blank, |source| source.on(backend.id)),
    });
    Ok(Begin::Next)
}

/// Where a new volume is made that has no source and no group, and what the steps before its VDI would have produced; none when they
/// have to run.
pub(super) fn placed_at_birth(places: &Places, volume: &Volume) -> Option<(BackendId, Outputs)> {
    if places.stopped.is_some()
        || volume.source_snapshot_id.is_some()
        || volume.source_volume_id.is_some()
        || volume.traits.group_id.is_some()
    {
        return None;
    }
    let request = Request {
        flavor: &places.flavor,
        zone: volume.zone.clone(),
        size_bytes: volume.size_gib.saturating_mul(1 << 30),
        source: None,
    };
    let placement = scheduler::place(Policy::FirstFit, &request, &places.backends);
    let first = placement.candidates.first()?;
    let backend = places.backends.iter().find(|one| one.id == *first)?;
    if !is_connected(backend) {
        return None;
    }
    let placed = Placed {
        backend: backend.id,
        sr: SrName::of(backend),
        is_connected: true,
        was_lost: false,
        size_bytes: request.size_bytes,
        is_sharable: volume.traits.multiattach,
        content: Content::Blank,
    };
    let outputs = Outputs {
        placed: Some(placed),
        ..Outputs::default()
    };
    Some((backend.id, outputs))
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

async fn make_vdi(job: &Job, placed: &mut Placed, calls: &mut Calls, look: bool) -> Result<Uuid> {
    match placed.content.clone() {
        Content::Blank => make_blank(job, placed, look).await,
        Content::Clone { source, is_larger } => {
            let birth = clone_of(job, placed, source)?;
            let made = offspring::make(job, &birth, calls, look).await;
            let made = match made {
                Ok(vdi) if is_larger => enlarge(job, placed, vdi).await,
                made => made,
            };
            made.map_err(|error| note_unplugged(placed, error))
        }
        Content::Copy(copied) => make_copy(job, placed, &copied, calls, look).await,
    }
}

fn clone_of(job: &Job, placed: &Placed, source: Uuid) -> Result<Birth> {
    Ok(Birth {
        source,
        sr: placed.sr.clone(),
        owner: VdiOwner::Volume(volume_id(&job.target)?),
        how: How::Clone,
        part: 0,
    })
}

async fn enlarge(job: &Job, placed: &Placed, vdi: Uuid) -> Result<Uuid> {
    let size = placed.size_bytes;
    let resized = job.pool()?.resize_vdi(vdi, size, Resize::Offline).await;
    resized.map_err(|error| placed.sr.error(error))?;
    Ok(vdi)
}

/// A target of an earlier try is never filled further: nobody knows how much of it is written, or whether the pool still writes.
async fn make_copy(
    job: &Job,
    placed: &mut Placed,
    copied: &Copied,
    calls: &mut Calls,
    look: bool,
) -> Result<Uuid> {
    let volume = volume_id(&job.target)?;
    if look {
        leftovers::destroy(job, volume).await?;
    }
    let vdi = match create(job, volume, placed).await? {
        Ok(vdi) => vdi,
        Err(error) => {
            if error.outcome_unknown {
                leftovers::destroy(job, volume).await?;
            }
            let error = placed.sr.error(error);
            return Err(note_unplugged(placed, error));
        }
    };
    let frozen = match frozen_source(copied) {
        Some(birth) => Some(offspring::make(job, &birth, calls, look).await?),
        None => None,
    };
    let source = frozen.unwrap_or(copied.source);
    let is_copied = job.pool()?.copy_vdi(source, vdi).await;
    is_copied.map_err(|error| placed.sr.error(error))?;
    if let Some(frozen) = frozen
        && let Err(error) = job.pool()?.destroy_vdi(frozen).await
    {
        // Not worth another copy: a reconciler destroys it when this operation has ended.
        tracing::warn!(vdi.uuid = %frozen, "destroy the snapshot of a volume that was copied: {error}");
    }
    Ok(vdi)
}

/// The snapshot that is taken of a volume to be copied.
fn frozen_source(copied: &Copied) -> Option<Birth> {
    copied.is_volume.then(|| Birth {
        source: copied.source,
        sr: copied.sr.clone(),
        owner: VdiOwner::Operation,
        how: How::Snapshot,
        part: 0,
    })
}

/// Destroys what the try on the recorded backend may have left there, and where its source is.
async fn clear(job: &Job, outputs: &mut Outputs) -> Result<()> {
    if outputs.is_there {
        return Ok(());
    }
    if let Some(placed) = &outputs.placed {
        let birth = match &placed.content {
            Content::Blank => None,
            Content::Clone { source, .. } => Some(clone_of(job, placed, *source)?),
            Content::Copy(copied) => frozen_source(copied),
        };
        if let Some(birth) = birth {
            offspring::unmake(job, &birth, outputs.calls).await?;
        }
    }
    leftovers::destroy(job, volume_id(&job.target)?).await?;
    outputs.placed = None;
    outputs.vdi_uuid = None;
    Ok(())
}

async fn make_blank(job: &Job, placed: &mut Placed, look: bool) -> Result<Uuid> {
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
    let error = placed.sr.error(error);
    Err(note_unplugged(placed, error))
}

/// Records that the SR is not plugged, once.
fn note_unplugged(placed: &mut Placed, error: Error) -> Error {
    let is_unplugged =
        PoolError::behind(&error).is_some_and(|error| error.trouble == Trouble::NotPlugged);
    if is_unplugged && !placed.was_lost {
        placed.is_connected = false;
        placed.was_lost = true;
    }
    error
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
        is_sharable: placed.is_sharable,
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
