//! VDIs that were not made here: lists of them, and volumes and snapshots that are made of them; and the way back, on which a volume
//! or snapshot goes and its VDI stays.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::delete_volume::{DELETABLE, refused};
use super::volume_flags::check_maintenance;
use super::volumes::visible;
use super::{Service, limits, policy, quota, snapshots as snapshots_app};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::adoptions::{self, Adoption};
use crate::db::operations::NewOperation;
use crate::db::{
    Transaction, attachments, backends, flavors, operations, retired_vdis, settings, snapshots,
    volumes,
};
use crate::driver::{Deployment, ForeignVdi, Pool, XenApiPool};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::adoption::Reference;
use crate::model::backend::{Backend, BackendState, BackendUse};
use crate::model::id::{BackendId, OperationId, SnapshotId, VolumeId};
use crate::model::operation::OperationKind;
use crate::model::snapshot::{Snapshot, SnapshotStatus, SnapshotTraits};
use crate::model::volume::{Volume, VolumeStatus, VolumeTraits};
use crate::scheduler;

/// The setting that holds the deployment's id, which an engine makes at its start.
const DEPLOYMENT_SETTING: &str = "deployment";
/// What a volume that is being adopted counts with until its VDI is found.
pub(crate) const SIZE_UNKNOWN_GIB: u64 = 1;

/// A volume that is to be made of a VDI.
#[derive(Clone, Debug)]
pub struct ManageVolume {
    /// The backend, as pools name it: `xensm@<zone>#backend-<number>`.
    pub host: String,
    /// The VDI; none where the request names it in no way that is known.
    pub reference: Option<Reference>,
    /// Name for people; at most 255 characters.
    pub name: String,
    /// Sentence for people; at most 255 characters.
    pub description: String,
    /// Flavor by id or label; none takes the default flavor.
    pub flavor: Option<String>,
    /// Zone; none takes the backend's, and another one is refused.
    pub zone: Option<String>,
    /// The user's keys.
    pub metadata: BTreeMap<String, String>,
    /// Whether an instance may boot from it.
    pub bootable: bool,
}

/// A snapshot that is to be made of a VDI.
#[derive(Clone, Debug)]
pub struct ManageSnapshot {
    /// The volume that it is a snapshot of.
    pub volume_id: VolumeId,
    /// The VDI; none where the request names it in no way that is known.
    pub reference: Option<Reference>,
    /// Name for people; at most 255 characters.
    pub name: String,
    /// Sentence for people; at most 255 characters.
    pub description: String,
    /// The user's keys.
    pub metadata: BTreeMap<String, String>,
}

/// What may be said of a VDI that somebody wants to adopt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// It may be.
    Safe,
    /// It may not.
    Unsafe {
        /// Why.
        why: String,
        /// The volume or snapshot that has it.
        owner: Option<String>,
    },
}

/// A VDI in a list of what could be adopted.
#[derive(Clone, Debug)]
pub struct Manageable {
    /// Its `name_label`.
    pub name_label: String,
    /// Its uuid.
    pub vdi_uuid: Uuid,
    /// Its size, rounded up.
    pub size_gib: u64,
    /// Whether it may be.
    pub judged: Judged,
    /// For a snapshot: name and uuid of the VDI that it was taken of.
    pub source: Option<(String, Uuid)>,
}

/// Which VDIs are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Those that could become volumes.
    Volumes,
    /// Those that could become snapshots.
    Snapshots,
}

/// Says whether a VDI may be adopted, by what the database knows of it.
pub fn judge(
    tx: &mut Transaction<'_>,
    vdi: &ForeignVdi,
    deployment: Deployment,
    backend: Option<BackendId>,
) -> Result<Judged> {
    let not = |why: &str, owner: Option<String>| {
        let why = why.to_owned();
        Ok(Judged::Unsafe { why, owner })
    };
    let marks = &vdi.marks;
    if let Some(owner) = adoptions::owner(tx, marks.uuid, backend)? {
        return not("already managed", Some(owner));
    }
    let is_marked = marks.volume.is_some() || marks.snapshot.is_some() || marks.is_temporary;
    if is_marked && marks.deployment != Some(deployment.0) {
        return not("managed by another service", None);
    }
    if marks.making.is_some() {
        return not("something is being made from it", None);
    }
    // A reconciler may have decided already, by the marks that an adoption would replace.
    let is_left = match marks.operation {
        Some(id) => retired_vdis::was_left(tx, id, marks.generation)?,
        None => false,
    };
    if marks.is_temporary || is_left || retired_vdis::contain(tx, marks.uuid)? {
        return not("it is about to be removed", None);
    }
    let (target, is_known) = match (marks.volume, marks.snapshot) {
        (Some(id), _) => (id.to_string(), volumes::find(tx, id)?.is_some()),
        (None, Some(id)) => (id.to_string(), snapshots::find(tx, id)?.is_some()),
        (None, None) if vdi.is_in_use => return not("volume in use", None),
        (None, None) => return Ok(Judged::Safe),
    };
    if !is_known {
        let why = format!("it carries the mark of {target}, which this service does not know");
        return not(&why, None);
    }
    if operations::find_unfinished(tx, &target)?.is_some() {
        let why = format!("an operation is at work on {target}, whose mark it carries");
        return not(&why, None);
    }
    if vdi.is_in_use {
        return not("volume in use", None);
    }
    // A copy that somebody made in the pool: the marks are the original's.
    Ok(Judged::Safe)
}

/// The VDIs of a backend and what may be adopted among them; administrators only.
///
/// # Errors
/// `NotFound` about `Backend` for a host that is not one, `Unavailable` while its pool does not answer.
pub async fn list(
    service: &Service,
    request: &RequestContext,
    host: &str,
    kind: Kind,
) -> Result<Vec<Manageable>> {
    policy::check_routed(request, Rule::VolumeListManageable)?;
    let backend = backend(service, host).await?;
    let zones = service.config.zones.iter();
    let zone = zones.into_iter().find(|known| known.name == backend.zone);
    let pool = zone.and_then(|zone| zone.pools.first());
    let pool = pool.ok_or_else(unavailable)?;
    list_in(service, &XenApiPool::new(pool)?, &backend, kind).await
}

/// The same, of a backend in a pool that is at hand.
pub async fn list_in(
    service: &Service,
    pool: &dyn Pool,
    backend: &Backend,
    kind: Kind,
) -> Result<Vec<Manageable>> {
    let sr_uuid = backend.sr_uuid.ok_or_else(unavailable)?;
    let all = pool.vdis_all(sr_uuid).await;
    let all = all.map_err(|error| {
        error.on_backend(&backend.id.to_string(), Some(sr_uuid), &backend.sr_type)
    })?;
    let id = backend.id;
    let judged = service.database.read(move |tx| {
        let deployment = deployment(tx)?;
        let wanted = |vdi: &&ForeignVdi| vdi.marks.is_a_snapshot == (kind == Kind::Snapshots);
        all.iter()
            .filter(wanted)
            .map(|vdi| {
                let of = vdi.snapshot_of;
                let source = all.iter().find(|other| Some(other.marks.uuid) == of);
                Ok(Manageable {
                    name_label: vdi.name_label.clone(),
                    vdi_uuid: vdi.marks.uuid,
                    size_gib: vdi.marks.size_bytes.div_ceil(1 << 30).max(1),
                    judged: judge(tx, vdi, deployment, Some(id))?,
                    source: source.map(|other| (other.name_label.clone(), other.marks.uuid)),
                })
            })
            .collect::<Result<Vec<Manageable>>>()
    });
    judged.await
}

fn deployment(tx: &mut Transaction<'_>) -> Result<Deployment> {
    let stored = settings::find(tx, DEPLOYMENT_SETTING)?;
    let stored = stored.and_then(|bytes| Uuid::from_slice(&bytes).ok());
    stored.map(Deployment).ok_or_else(unavailable)
}

fn unavailable() -> Error {
    let text = "Service is unavailable at this time.";
    Error::new(ErrorKind::Invalid, Subject::Backend, text)
}

/// The backend that a host names, whatever its state.
async fn backend(service: &Service, host: &str) -> Result<Backend> {
    let (vault, host) = (service.vault.clone(), host.to_owned());
    let found = service
        .database
        .read(move |tx| find_backend(tx, &vault, &host));
    found.await
}

fn find_backend(
    tx: &mut Transaction<'_>,
    vault: &crate::auth::vault::Vault,
    host: &str,
) -> Result<Backend> {
    let missing = || Error::not_found(Subject::Backend, host);
    let (service_host, pool) = host.split_once('#').unwrap_or((host, ""));
    let zone = service_host.strip_prefix("xensm@").ok_or_else(missing)?;
    let mut all = backends::of_zone(tx, vault, zone)?;
    if pool.is_empty() {
        // Without a pool it is meant only where there is no choice.
        return match (all.pop(), all.is_empty()) {
            (Some(only), true) => Ok(only),
            _ => Err(missing()),
        };
    }
    let number = pool.strip_prefix("backend-").and_then(|id| id.parse().ok());
    let named = all
        .into_iter()
        .find(|backend| Some(backend.id) == number.map(BackendId));
    named.ok_or_else(missing)
}

/// Takes a request to make a volume of a VDI: the volume is `managing` until an operation has found that and marked it.
/// Administrators only.
///
/// # Errors
/// `NotFound` about `Backend` for a host that is not one, `Conflict` for a VDI that is a volume's, `Invalid` for a flavor that does
/// not go with the backend, `QuotaExceeded` where not even the smallest volume may be had.
pub async fn manage_volume(
    service: &Service,
    request: &RequestContext,
    wanted: ManageVolume,
) -> Result<Volume> {
    policy::check(request, Rule::VolumeManage)?;
    let reference = wanted.reference.clone().ok_or_else(unknown_reference)?;
    limits::check_text("name", &wanted.name)?;
    limits::check_text("description", &wanted.description)?;
    limits::check_metadata(&wanted.metadata)?;
    let (context, vault) = (service.context.clone(), service.vault.clone());
    let id = VolumeId(context.new_uuid());
    let operation_id = OperationId(context.new_uuid());
    let now_us = context.now_us();
    let configured = service.config.limits.clone();
    let request = request.clone();
    service
        .database
        .write(move |tx| {
            let backend = find_backend(tx, &vault, &wanted.host)?;
            if backend.usage == BackendUse::Disabled || backend.state != BackendState::Connected {
                return Err(unavailable());
            }
            if wanted
                .zone
                .as_ref()
                .is_some_and(|zone| *zone != backend.zone)
            {
                let zone = wanted.zone.clone().unwrap_or_default();
                let text = format!("Availability zone '{zone}' is invalid.");
                return Err(Error::new(ErrorKind::Invalid, Subject::Zone, text).on(zone));
            }
            refuse_managed(tx, &reference)?;
            let label = wanted.flavor.as_deref();
            let label = label.unwrap_or(super::flavors::DEFAULT_LABEL);
            let flavor = flavors::find(tx, label)?.ok_or_else(|| {
                Error::invalid(format!(
                    "Invalid volume type: Cannot find requested '{label}' volume type"
                ))
            })?;
            if flavor.encryption.is_some() {
                let text =
                    "Invalid volume type: Managing to an encrypted volume type is not supported.";
                return Err(Error::invalid(text));
            }
            let facts = flavors::facts(tx, flavor.id)?;
            scheduler::may_hold(&facts, &backend).map_err(|reason| {
                Error::invalid(format!(
                    "Invalid volume type: type {label} does not go with {}: {reason}.",
                    wanted.host
                ))
            })?;
            let volume = Volume {
                id,
                ec2_id: id.ec2_id(),
                project_id: request.project_id.clone(),
                user_id: request.user_id.clone(),
                name: wanted.name.clone(),
                description: wanted.description.clone(),
                size_gib: SIZE_UNKNOWN_GIB,
                extending_to_gib: None,
                status: VolumeStatus::Managing,
                flavor_id: flavor.id,
                flavor_label: flavor.label,
                zone: backend.zone.clone(),
                backend_id: None,
                vdi_uuid: None,
                source_snapshot_id: None,
                source_volume_id: None,
                bootable: wanted.bootable,
                metadata: wanted.metadata.clone(),
                traits: VolumeTraits::default(),
                failure: String::new(),
                created_at_us: now_us,
                updated_at_us: None,
            };
            volumes::insert(tx, &volume)?;
            // With the least that it can have; with its size when its VDI is found.
            quota::check_volume(tx, &volume, &configured)?;
            let adoption = Adoption {
                reference: reference.clone(),
                backend_id: backend.id,
            };
            adoptions::insert(tx, &id.to_string(), &adoption)?;
            let operation = NewOperation {
                id: operation_id,
                kind: OperationKind::ManageVolume,
                target: id.to_string(),
                zone: backend.zone,
                request_id: request.request_id.clone(),
                not_before_us: now_us,
            };
            operations::insert(tx, &operation, now_us)?;
            Ok(volume)
        })
        .await
}

/// Refuses at once what the name says is a volume's.
fn unknown_reference() -> Error {
    Error::invalid(
        "Manage existing volume failed due to invalid backend reference: it must have source-name, the name_label of a VDI, or \
         source-id, its uuid.",
    )
}

fn refuse_managed(tx: &mut Transaction<'_>, reference: &Reference) -> Result<()> {
    let Reference::Name(name) = reference else {
        return Ok(());
    };
    let id = name.strip_prefix("vol-").and_then(|id| id.parse().ok());
    let Some(id) = id else { return Ok(()) };
    if volumes::find(tx, id)?.is_none() {
        return Ok(());
    }
    let why = "Unable to manage existing volume. The volume is already managed";
    Err(refused(id, why))
}

/// Takes a request to make a snapshot of a volume of a VDI; administrators only.
///
/// # Errors
/// `NotFound` about the volume; `Invalid` while its backend does not answer; `QuotaExceeded` for snapshots and GiB.
pub async fn manage_snapshot(
    service: &Service,
    request: &RequestContext,
    wanted: ManageSnapshot,
) -> Result<Snapshot> {
    limits::check_text("name", &wanted.name)?;
    limits::check_text("description", &wanted.description)?;
    limits::check_metadata(&wanted.metadata)?;
    let (context, vault) = (service.context.clone(), service.vault.clone());
    let id = SnapshotId(context.new_uuid());
    let operation_id = OperationId(context.new_uuid());
    let now_us = context.now_us();
    let configured = service.config.limits.clone();
    let request = request.clone();
    service
        .database
        .write(move |tx| {
            // Locked, so that the volume is not deleted between here and the commit.
            volumes::lock(tx, wanted.volume_id)?;
            let volume = visible(
                tx,
                &policy::tenancy_of(&request, Rule::SnapshotManage),
                wanted.volume_id,
            )?;
            let reference = wanted.reference.clone().ok_or_else(unknown_reference)?;
            check_maintenance(&volume, "manage a snapshot of the volume")?;
            let settled = [VolumeStatus::Available, VolumeStatus::InUse];
            let place = volume
                .backend_id
                .filter(|_| settled.contains(&volume.status));
            let Some(backend_id) = place else {
                let why = "a snapshot is managed of a volume that is available or in-use";
                return Err(refused(volume.id, why));
            };
            let backend = backends::get(tx, &vault, backend_id)?;
            if backend.state != BackendState::Connected {
                return Err(unavailable());
            }
            let snapshot = Snapshot {
                id,
                ec2_id: id.ec2_id(),
                project_id: volume.project_id.clone(),
                user_id: request.user_id.clone(),
                volume_id: volume.id,
                name: wanted.name.clone(),
                description: wanted.description.clone(),
                size_gib: volume.size_gib,
                status: SnapshotStatus::Managing,
                zone: volume.zone.clone(),
                backend_id: None,
                vdi_uuid: None,
                metadata: wanted.metadata.clone(),
                traits: SnapshotTraits::default(),
                failure: String::new(),
                created_at_us: now_us,
                updated_at_us: None,
            };
            snapshots::insert(tx, &snapshot)?;
            quota::check_snapshot(tx, &snapshot, volume.flavor_id, &configured)?;
            let adoption = Adoption {
                reference: reference.clone(),
                backend_id,
            };
            adoptions::insert(tx, &id.to_string(), &adoption)?;
            let operation = NewOperation {
                id: operation_id,
                kind: OperationKind::ManageSnapshot,
                target: id.to_string(),
                zone: volume.zone,
                request_id: request.request_id.clone(),
                not_before_us: now_us,
            };
            operations::insert(tx, &operation, now_us)?;
            Ok(snapshot)
        })
        .await
}

/// Takes a request to let go of a volume, whose VDI stays; administrators only.
///
/// # Errors
/// `Conflict` when its state, an attachment, a snapshot or a group does not allow it.
pub async fn unmanage_volume(
    service: &Service,
    request: &RequestContext,
    id: VolumeId,
) -> Result<()> {
    let operation_id = OperationId(service.context.new_uuid());
    let now_us = service.context.now_us();
    let request = request.clone();
    service
        .database
        .write(move |tx| {
            volumes::lock(tx, id)?;
            let volume = visible(tx, &policy::tenancy_of(&request, Rule::VolumeUnmanage), id)?;
            if volume.traits.encryption_key_id.is_some() {
                let text = "Unmanaging encrypted volumes is not supported.";
                return Err(Error::invalid(text));
            }
            let is_free = attachments::of_volume(tx, id)?.is_empty()
                && !snapshots::exist(tx, id)?
                && volume.traits.group_id.is_none()
                && !volumes::is_being_cloned(tx, id)?;
            let (from, to) = (&DELETABLE, VolumeStatus::Unmanaging);
            if !is_free || !volumes::change_status(tx, id, from, to, now_us)? {
                let why = format!(
                    "Volume status must be available or error and must not be migrating, attached, belong to a group, have \
                     snapshots, awaiting a transfer, or be disassociated from snapshots after volume transfer, but is {}",
                    volume.status.as_str()
                );
                return Err(refused(id, &why));
            }
            let operation = NewOperation {
                id: operation_id,
                kind: OperationKind::UnmanageVolume,
                target: id.to_string(),
                zone: volume.zone,
                request_id: request.request_id.clone(),
                not_before_us: now_us,
            };
            if !operations::insert(tx, &operation, now_us)? {
                return Err(refused(id, "an operation is at work on it"));
            }
            Ok(())
        })
        .await
}

/// Takes a request to let go of a snapshot, whose VDI stays; administrators only.
///
/// # Errors
/// `Conflict` when its state or a group does not allow it.
pub async fn unmanage_snapshot(
    service: &Service,
    request: &RequestContext,
    id: SnapshotId,
) -> Result<()> {
    let operation_id = OperationId(service.context.new_uuid());
    let now_us = service.context.now_us();
    let request = request.clone();
    service
        .database
        .write(move |tx| {
            snapshots::lock(tx, id)?;
            let snapshot = snapshots_app::visible(
                tx,
                &policy::tenancy_of(&request, Rule::SnapshotUnmanage),
                id,
            )?;
            snapshots_app::check_removable(tx, &snapshot, now_us)?;
            let conflict = |why: &str| {
                let text = format!("Invalid snapshot: {why}");
                Error::new(ErrorKind::Conflict, Subject::Snapshot, text).on(id.to_string())
            };
            let is_free = snapshot.traits.group_snapshot_id.is_none();
            let (from, to) = (&SnapshotStatus::DELETABLE, SnapshotStatus::Unmanaging);
            if !is_free || !snapshots::change_status(tx, id, from, to, now_us)? {
                let why =
                    "Snapshot status must be available or error and must not be part of a group.";
                return Err(conflict(why));
            }
            let operation = NewOperation {
                id: operation_id,
                kind: OperationKind::UnmanageSnapshot,
                target: id.to_string(),
                zone: snapshot.zone,
                request_id: request.request_id.clone(),
                not_before_us: now_us,
            };
            if !operations::insert(tx, &operation, now_us)? {
                return Err(conflict("an operation is at work on it."));
            }
            Ok(())
        })
        .await
}
