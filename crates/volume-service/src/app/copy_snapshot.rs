//! Copies of snapshots: snapshots of the requester's own that nothing binds to the first one any more.
//!
//! As in EC2 a copy of what is not there, or not there yet, is made all the same, and says what it lacks.

use std::collections::BTreeMap;

use super::policy::Tenancy;
use super::snapshot_sharing;
use super::{Service, limits, policy, quota, services, snapshots as snapshots_app};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::operations::NewOperation;
use crate::db::{Transaction, operations, snapshot_ebs, snapshots, volumes};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::id::{FlavorId, OperationId, SnapshotId, VolumeId};
use crate::model::operation::OperationKind;
use crate::model::snapshot::{
    SOURCE_IS_GONE, Snapshot, SnapshotEbs, SnapshotStatus, SnapshotTraits,
};

/// Copies that a project has in hand at most; EC2's limit for a region.
pub const COPIES_MAX: usize = 20;

/// What EC2 says of a copy of what is being taken.
const SOURCE_IS_PENDING: &str = "Source snapshot is not complete";

/// What is asked for.
#[derive(Clone, Debug)]
pub struct CopySnapshot {
    /// The EC2 name of what is to be copied; none for what is known not to be here.
    pub source_ec2_id: Option<String>,
    /// Sentence for people; at most 255 characters.
    pub description: String,
    /// The user's keys.
    pub metadata: BTreeMap<String, String>,
    /// In how many minutes it is to be complete; a copy takes the same short time whatever is said.
    pub completion_minutes: Option<i64>,
}

/// Takes a request for a copy: writes it (`creating`) and its operation; `error` when there is nothing to copy.
///
/// # Errors
/// `QuotaExceeded` for the quotas of snapshots and GiB (subject `Snapshot`), and beyond [`COPIES_MAX`] (subject `Request`).
pub async fn copy(
    service: &Service,
    request: &RequestContext,
    wanted: CopySnapshot,
) -> Result<Snapshot> {
    policy::check(request, Rule::VolumeCreateSnapshot)?;
    limits::check_text("description", &wanted.description)?;
    limits::check_metadata(&wanted.metadata)?;
    if request.project_id.is_empty() {
        return Err(Error::invalid(
            "A snapshot belongs to a project, and the request is in none.",
        ));
    }
    let tenancy = policy::tenancy_of(request, Rule::VolumeCreateSnapshot);
    let id = SnapshotId(service.context.new_uuid());
    let operation_id = OperationId(service.context.new_uuid());
    let now_us = service.context.now_us();
    let default_zone = service.config.default_zone.clone();
    let configured = service.config.limits.clone();
    let asker = request.clone();
    service
        .database
        .write(move |tx| {
            let source = match &wanted.source_ec2_id {
                Some(ec2_id) => find_source(tx, &tenancy, ec2_id)?,
                None => None,
            };
            let (copy, flavor_id) = match &source {
                Some(source) => copy_of(tx, id, source)?,
                None => (copy_of_nothing(id, &default_zone), None),
            };
            services::check_not_frozen(tx, &copy.zone)?;
            let mut copy = Snapshot {
                project_id: asker.project_id.clone(),
                user_id: asker.user_id.clone(),
                description: wanted.description.clone(),
                metadata: wanted.metadata.clone(),
                created_at_us: now_us,
                ..copy
            };
            copy.traits.ebs.completion_minutes = wanted.completion_minutes;
            if !snapshots::insert(tx, &copy)? {
                return Err(snapshots_app::doubled());
            }
            // A flavor that there is not has no limits of its own.
            let flavor_id = flavor_id.unwrap_or(FlavorId(uuid::Uuid::nil()));
            quota::check_snapshot(tx, &copy, flavor_id, &configured)?;
            if copy.status != SnapshotStatus::Creating {
                return Ok(copy);
            }
            check_count(tx, &asker.project_id)?;
            let operation = NewOperation {
                id: operation_id,
                kind: OperationKind::CreateSnapshot,
                target: id.to_string(),
                zone: copy.zone.clone(),
                request_id: asker.request_id.clone(),
                not_before_us: now_us,
            };
            operations::insert(tx, &operation, now_us)?;
            Ok(copy)
        })
        .await
}

/// What is to be copied, locked, so that it is not deleted between here and the commit.
fn find_source(
    tx: &mut Transaction<'_>,
    tenancy: &Tenancy,
    ec2_id: &str,
) -> Result<Option<Snapshot>> {
    let name = ec2_id.to_owned();
    let whole = snapshots::find_by_ec2_ids(tx, None, std::slice::from_ref(&name))?;
    let found = match whole.into_values().next() {
        Some(found) => Some(found),
        None => snapshots::find_by_short_ec2_id(tx, tenancy.project(), ec2_id)?,
    };
    let Some(found) = found else { return Ok(None) };
    match snapshot_sharing::locked(tx, tenancy, found.id) {
        Ok((source, _)) => Ok(Some(source)),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The row of a copy, but for what the requester says of it, with the flavor that it counts for.
fn copy_of(
    tx: &mut Transaction<'_>,
    id: SnapshotId,
    source: &Snapshot,
) -> Result<(Snapshot, Option<FlavorId>)> {
    let of_source = &source.traits.ebs;
    let (flavor_id, bootable) = match volumes::find(tx, source.volume_id)? {
        Some(volume) => (Some(volume.flavor_id), volume.bootable),
        None => match snapshots::origin(tx, source.id)? {
            Some((flavor_id, bootable)) => (Some(flavor_id), bootable),
            None => (of_source.flavor_id, of_source.bootable),
        },
    };
    let (status, failure) = match source.status {
        SnapshotStatus::Available | SnapshotStatus::Restoring => (SnapshotStatus::Creating, ""),
        SnapshotStatus::Deleting | SnapshotStatus::Deleted => {
            (SnapshotStatus::Error, SOURCE_IS_GONE)
        }
        _ => (SnapshotStatus::Error, SOURCE_IS_PENDING),
    };
    let lineage = match of_source.lineage {
        Some(lineage) => Some(lineage),
        None => Some(source.volume_id).filter(|volume| *volume != VolumeId::NONE),
    };
    let copy = Snapshot {
        size_gib: source.size_gib,
        status,
        failure: failure.to_owned(),
        backend_id: None,
        traits: SnapshotTraits {
            ebs: SnapshotEbs {
                is_copy: true,
                copied_from: Some(source.id),
                flavor_id,
                bootable,
                encryption_key_id: of_source.encryption_key_id,
                lineage,
                ..SnapshotEbs::default()
            },
            ..SnapshotTraits::default()
        },
        ..copy_of_nothing(id, &source.zone)
    };
    Ok((copy, flavor_id))
}

/// The row of a copy of what is not there.
fn copy_of_nothing(id: SnapshotId, zone: &str) -> Snapshot {
    Snapshot {
        id,
        ec2_id: id.ec2_id(),
        project_id: String::new(),
        user_id: String::new(),
        volume_id: VolumeId::NONE,
        name: String::new(),
        description: String::new(),
        size_gib: 1,
        status: SnapshotStatus::Error,
        zone: zone.to_owned(),
        backend_id: None,
        vdi_uuid: None,
        metadata: BTreeMap::new(),
        traits: SnapshotTraits {
            ebs: SnapshotEbs {
                is_copy: true,
                ..SnapshotEbs::default()
            },
            ..SnapshotTraits::default()
        },
        failure: SOURCE_IS_GONE.to_owned(),
        created_at_us: 0,
        updated_at_us: None,
    }
}

/// Refuses one copy in hand too many; the new one is written.
fn check_count(tx: &mut Transaction<'_>, project_id: &str) -> Result<()> {
    if snapshot_ebs::count_copying(tx, project_id, COPIES_MAX + 1)? <= COPIES_MAX {
        return Ok(());
    }
    let text = format!("At most {COPIES_MAX} snapshots of an account are copied at a time.");
    Err(Error::new(ErrorKind::QuotaExceeded, Subject::Request, text))
}
