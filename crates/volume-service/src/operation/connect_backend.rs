//! Connects a backend: finds, introduces or creates its SR, plugs it, scans it.
//!
//! The SR carries the backend row's mark from the moment it is made, so that an SR which a crashed try left is found again and
//! never made twice. The row's own operation is the lock: of two workers that start together one holds its lease.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::definition::{Begin, Definition, Finish, Reason, StepTransaction};
use super::job::{Job, SrName};
use crate::app::sr_types::{self, Creation};
use crate::db::backends;
use crate::driver::{FoundSr, SrSpace, SrSpec, Trouble};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::backend::{Backend, BackendState};
use crate::model::id::BackendId;

/// A key of a backend's configuration that says, when it is there, that an SR shall be made whatever is on the medium.
const SR_UUID: &str = "sr_uuid";

/// The operation.
pub(super) struct ConnectBackend;

/// Its steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    /// Makes sure that the pool knows the SR.
    FindSr,
    /// Makes sure that the master host has it plugged.
    Plug,
    /// Scans it and reads its room.
    Scan,
}

/// What they produced.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Outputs {
    sr_uuid: Option<Uuid>,
    physical_size: Option<u64>,
    physical_utilisation: Option<u64>,
    virtual_allocation: Option<u64>,
}

impl Definition for ConnectBackend {
    type Step = Step;
    type Outputs = Outputs;

    const STEPS: &'static [Step] = &[Step::FindSr, Step::Plug, Step::Scan];

    fn attempts_max(_: Step) -> u32 {
        3
    }

    fn begin(at: &mut StepTransaction<'_, '_>, step: Step, _: &mut Outputs) -> Result<Begin> {
        if step == Step::FindSr && backends::find(at.transaction, at.vault, id_of(at)?)?.is_none() {
            return Ok(Begin::Undo(Reason::new("the backend was removed")));
        }
        Ok(Begin::Act)
    }

    async fn run(job: &Job, step: Step, outputs: &mut Outputs, _look: bool) -> Result<()> {
        let backend = job.backend(backend_id(&job.target)?).await?;
        let spec = spec_of(job, &backend);
        let mut name = SrName::of(&backend);
        if step == Step::FindSr {
            outputs.sr_uuid = Some(find_sr(job, &backend, &spec, &name).await?);
            return Ok(());
        }
        let sr_uuid = outputs.sr_uuid.ok_or_else(|| missing(&backend))?;
        name.sr_uuid = Some(sr_uuid);
        if step == Step::Plug {
            let plugged = job.pool()?.plug_sr(sr_uuid, &spec).await;
            return plugged.map_err(|error| name.error(error));
        }
        let scanned = job.pool()?.scan_sr(sr_uuid).await;
        scanned.map_err(|error| name.error(error))?;
        let space = job.pool()?.sr_space(sr_uuid).await;
        outputs.keep(space.map_err(|error| name.error(error))?);
        Ok(())
    }

    /// An SR that was made stays, marked, for the next try; making it has formatted a medium.
    fn has_undo(_: Step) -> bool {
        false
    }

    async fn undo(_: &Job, _: Step, _: &mut Outputs) -> Result<()> {
        Ok(())
    }

    fn succeed(at: &mut StepTransaction<'_, '_>, outputs: &Outputs) -> Result<Finish> {
        let (id, now_us) = (id_of(at)?, at.context.now_us());
        let Some(backend) = backends::find(at.transaction, at.vault, id)? else {
            return Ok(Finish::Undo(Reason::new("the backend was removed")));
        };
        let sr_uuid = outputs.sr_uuid.ok_or_else(|| missing(&backend))?;
        if !backends::set_sr(at.transaction, id, sr_uuid)? {
            return Ok(Finish::Undo(Reason::new(format!(
                "the backend has another SR than {sr_uuid}"
            ))));
        }
        backends::set_state(at.transaction, id, BackendState::Connected, "", now_us)?;
        if let Some(space) = outputs.space() {
            backends::set_space(at.transaction, id, space, now_us)?;
        }
        Ok(Finish::Succeeded)
    }

    fn fail(at: &mut StepTransaction<'_, '_>, _: &Outputs, reason: &Reason) -> Result<()> {
        let (id, now_us) = (id_of(at)?, at.context.now_us());
        let (state, text) = (BackendState::Unreachable, &reason.full);
        backends::set_state(at.transaction, id, state, text, now_us)?;
        Ok(())
    }
}

impl Outputs {
    fn keep(&mut self, space: SrSpace) {
        self.physical_size = space.physical_size;
        self.physical_utilisation = space.physical_utilisation;
        self.virtual_allocation = space.virtual_allocation;
    }

    fn space(&self) -> Option<backends::Space> {
        Some(backends::Space {
            physical_size: self.physical_size?,
            physical_utilisation: self.physical_utilisation?,
            virtual_allocation: self.virtual_allocation?,
        })
    }
}

async fn find_sr(job: &Job, backend: &Backend, spec: &SrSpec, name: &SrName) -> Result<Uuid> {
    match backend.sr_uuid {
        Some(uuid) => {
            let found = job.pool()?.find_sr(uuid).await;
            match found.map_err(|error| name.error(error))? {
                Some(found) => take(job, spec, name, &found).await?,
                None => {
                    let introduced = job.pool()?.introduce_sr(uuid, spec).await;
                    introduced.map_err(|error| name.error(error))?;
                }
            }
            Ok(uuid)
        }
        None => match find_marked(job, spec, name).await? {
            Some(uuid) => Ok(uuid),
            None => match find_on_medium(job, backend, spec, name).await? {
                Some(uuid) => Ok(uuid),
                None => create_sr(job, spec, name).await,
            },
        },
    }
}

/// Takes over the SR that is on a medium which making an SR would format; none where there is no SR yet.
///
/// Where SRs lie beside each other (on an NFS export) those that are there belong to somebody, and making one more destroys
/// nothing: such a one is taken over by its uuid only.
async fn find_on_medium(
    job: &Job,
    backend: &Backend,
    spec: &SrSpec,
    name: &SrName,
) -> Result<Option<Uuid>> {
    // A type that nobody knows here the pool may know; whether it formats its medium the pool must judge.
    let facts = sr_types::facts(&backend.sr_type);
    let formats = facts.is_ok_and(|facts| facts.creation == Creation::Formats);
    if !formats || backend.config.contains_key(SR_UUID) {
        return Ok(None);
    }
    let probed = job.pool()?.probe_sr(spec).await;
    let probed = match probed {
        Ok(probed) => probed,
        // A storage manager that cannot look refuses to format what is in use by itself.
        Err(error) if matches!(error.trouble, Trouble::Unsupported | Trouble::UnknownType) => {
            return Ok(None);
        }
        Err(error) => return Err(name.error(error)),
    };
    let found = probed.srs();
    let uuid = match found.as_slice() {
        [] => return Ok(None),
        [uuid] => *uuid,
        several => {
            let listed: Vec<String> = several.iter().map(Uuid::to_string).collect();
            return Err(conflict(
                name,
                format!(
                    "the medium holds {} SRs ({}); add the backend with sr_uuid= one of them",
                    several.len(),
                    listed.join(", ")
                ),
            ));
        }
    };
    let known = job.pool()?.find_sr(uuid).await;
    match known.map_err(|error| name.error(error))? {
        // Another backend has it, or one that was removed a moment ago and whose SR is being forgotten.
        Some(known) if known.mark.as_deref().is_some_and(|mark| mark != spec.mark) => {
            return Err(conflict(
                name,
                format!(
                    "the medium holds SR {uuid}, which another backend has (other_config:{} is {}); remove that one first, or try again when its removal is done",
                    crate::driver::BACKEND_KEY,
                    known.mark.unwrap_or_default()
                ),
            ));
        }
        Some(known) => take(job, spec, name, &known).await?,
        None => {
            let introduced = job.pool()?.introduce_sr(uuid, spec).await;
            introduced.map_err(|error| name.error(error))?;
        }
    }
    tracing::info!(sr.uuid = %uuid, "backend {}: took over SR {uuid}, which was on the medium", name.backend);
    Ok(Some(uuid))
}

/// Makes sure that an SR which the pool knows is, or becomes, this backend's.
async fn take(job: &Job, spec: &SrSpec, name: &SrName, found: &FoundSr) -> Result<()> {
    if !found.sr_type.eq_ignore_ascii_case(&spec.sr_type) {
        return Err(conflict(
            name,
            format!("the SR has type {}, not {}", found.sr_type, spec.sr_type),
        ));
    }
    match &found.mark {
        Some(mark) if *mark == spec.mark => Ok(()),
        // A backend that was removed and added again, or a database restored from a copy: still ours.
        Some(mark) if !job.deployment().owns_mark(mark) => Err(conflict(
            name,
            format!(
                "the SR belongs to another deployment (other_config:{} is {mark}); set that key to {} to take it over",
                crate::driver::BACKEND_KEY,
                spec.mark
            ),
        )),
        _ => {
            let marked = job.pool()?.mark_sr(found.uuid, &spec.mark).await;
            marked.map_err(|error| name.error(error))
        }
    }
}

async fn find_marked(job: &Job, spec: &SrSpec, name: &SrName) -> Result<Option<Uuid>> {
    let found = job.pool()?.marked_srs().await;
    let mut ours: Vec<Uuid> = found
        .map_err(|error| name.error(error))?
        .into_iter()
        .filter(|sr| sr.mark.as_deref() == Some(spec.mark.as_str()))
        .map(|sr| sr.uuid)
        .collect();
    ours.sort();
    if ours.len() > 1 {
        tracing::error!(
            "backend {} has {} SRs in the pool ({ours:?}); the first is used, forget the others",
            name.backend,
            ours.len()
        );
    }
    Ok(ours.first().copied())
}

async fn create_sr(job: &Job, spec: &SrSpec, name: &SrName) -> Result<Uuid> {
    let error = match job.pool()?.create_sr(spec).await {
        Ok(uuid) => return Ok(uuid),
        Err(error) => error,
    };
    if error.outcome_unknown
        && let Some(uuid) = find_marked(job, spec, name).await?
    {
        return Ok(uuid);
    }
    Err(name.error(error))
}

fn spec_of(job: &Job, backend: &Backend) -> SrSpec {
    let mut config = backend.config.clone();
    config.remove(SR_UUID);
    SrSpec {
        name_label: backend.name_label.clone(),
        name_description: backend.name_description.clone(),
        sr_type: backend.sr_type.clone(),
        is_shared: sr_types::facts(&backend.sr_type).is_ok_and(|facts| facts.is_shared),
        config,
        secrets: backend.secrets.clone(),
        mark: job.deployment().backend_mark(backend),
    }
}

fn conflict(name: &SrName, what: String) -> Error {
    let sr = match name.sr_uuid {
        Some(uuid) => format!("SR {uuid}"),
        None => format!("a new SR of type {}", name.sr_type),
    };
    Error::new(
        ErrorKind::Conflict,
        Subject::Backend,
        "the storage cannot be used",
    )
    .on(name.backend.clone())
    .detail(format!("backend {}, {sr}: {what}", name.backend))
}

fn missing(backend: &Backend) -> Error {
    Error::new(
        ErrorKind::Internal,
        Subject::Backend,
        "An unexpected error has occurred.",
    )
    .on(backend.id.to_string())
    .detail(format!("backend {}: no SR was recorded", backend.id))
}

fn id_of(at: &StepTransaction<'_, '_>) -> Result<BackendId> {
    backend_id(&at.operation.target)
}

fn backend_id(target: &str) -> Result<BackendId> {
    target
        .parse()
        .map(BackendId)
        .map_err(|error| Error::not_found(Subject::Backend, target).caused_by(error))
}
