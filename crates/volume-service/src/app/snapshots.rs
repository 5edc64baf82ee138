//! Snapshots: take, read, change, delete.

use std::collections::BTreeMap;

use super::any_of::AnyOf;
use super::policy::Tenancy;
use super::refusal::{self, Asked};
use super::short_names::ShortNames;
use super::volumes::{self as volumes_app, SortDirection};
use super::{Page, Service, limits, policy, quota, services, snapshot_locks};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::operations::NewOperation;
use crate::db::snapshot_list::{self, Decided};
use crate::db::snapshot_shares::Shared;
use crate::db::{Transaction, operations, snapshot_ebs, snapshot_metadata, snapshots, volumes};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::id::{OperationId, SnapshotId, VolumeId};
use crate::model::operation::OperationKind;
use crate::model::snapshot::{Snapshot, SnapshotEbs, SnapshotStatus, SnapshotTraits};
use crate::model::volume::{Volume, VolumeStatus};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct CreateSnapshot {
    /// The volume.
    pub volume_id: VolumeId,
    /// Name for people; at most 255 characters.
    pub name: String,
    /// Sentence for people; at most 255 characters.
    pub description: String,
    /// The user's keys; keys 1 to 255 characters, values at most 255.
    pub metadata: BTreeMap<String, String>,
    /// Whether a volume that is in use may be taken a snapshot of.
    pub in_use: InUse,
}

/// What a request says about a volume that is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum InUse {
    /// It is refused. OpenStack before microversion 3.66 without `force`, and `os-extend` before 3.42.
    #[default]
    Refuse,
    /// It is taken all the same; what the consumer has not flushed is not in the snapshot.
    Allow,
}

/// Which snapshots, in which order, which page.
#[derive(Clone, Debug, Default)]
pub struct SnapshotQuery {
    /// Snapshots of every project; needs the admin role.
    pub all_projects: bool,
    /// One project among them; needs the admin role.
    pub project_id: Option<String>,
    /// Exact name.
    pub name: Option<String>,
    /// Part of the name.
    pub name_part: Option<String>,
    /// Exact description.
    pub description: Option<String>,
    /// Any of these states; empty for all.
    pub statuses: Vec<SnapshotStatus>,
    /// Exact zone.
    pub zone: Option<String>,
    /// Of any of these volumes; empty for all.
    pub volume_ids: Vec<VolumeId>,
    /// Exact size.
    pub size_gib: Option<u64>,
    /// All of these keys with these values.
    pub metadata: BTreeMap<String, String>,
    /// Only these snapshots; empty for all.
    pub ids: Vec<SnapshotId>,
    /// What is filtered by several values.
    pub any_of: AnyOf,
    /// Sort keys, most significant first; empty means created_at descending. `id` is added as the last one.
    pub sort: Vec<(SnapshotSortKey, SortDirection)>,
    /// The last snapshot of the page before; `Invalid` if it does not exist.
    pub marker: Option<SnapshotId>,
    /// Behind which time and id the page begins, when it is sorted by the time of creation, oldest first; both may be gone.
    pub after: Option<(i64, SnapshotId)>,
    /// How many to skip after the marker; bounded.
    pub offset: usize,
    /// How many at most; none and larger numbers mean the configured page size.
    pub limit: Option<usize>,
    /// Count all that match.
    pub with_total: bool,
    /// None that is on its way out.
    pub hides_deleting: bool,
}

/// What a list of snapshots may be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotSortKey {
    /// `created_at`
    CreatedAt,
    /// `updated_at`
    UpdatedAt,
    /// `name`
    Name,
    /// `size`
    Size,
    /// `status`
    Status,
    /// `volume_id`
    Volume,
    /// `id`
    Id,
}

/// What may be changed; `None` leaves it.
#[derive(Clone, Debug, Default)]
pub struct UpdateSnapshot {
    /// The name.
    pub name: Option<String>,
    /// The description.
    pub description: Option<String>,
    /// All of the metadata.
    pub metadata: Option<BTreeMap<String, String>>,
}

/// Whether a snapshot is deleted only from a settled state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteMode {
    /// From `available`, `error` or `error_deleting` only.
    Normal,
    /// Also while it is being taken, as in EC2, where one that is on its way out is not there any more.
    EvenPending,
    /// From any state that no operation is at work on; needs the admin role.
    Force,
}

/// Takes a request for a snapshot: validates, checks quota, writes the snapshot (`creating`) and its operation.
///
/// # Errors
/// `Conflict` when the volume's state does not allow it, `QuotaExceeded` for the quotas of snapshots and GiB.
pub async fn create(
    service: &Service,
    request: &RequestContext,
    wanted: CreateSnapshot,
) -> Result<Snapshot> {
    limits::check_text("name", &wanted.name)?;
    limits::check_text("description", &wanted.description)?;
    limits::check_metadata(&wanted.metadata)?;
    let id = SnapshotId(service.context.new_uuid());
    let operation_id = OperationId(service.context.new_uuid());
    let now_us = service.context.now_us();
    let tenancy = policy::tenancy_of(request, Rule::VolumeCreateSnapshot);
    let limits = service.config.limits.clone();
    let (asker, volume_id) = (request.clone(), wanted.volume_id);
    let created = service
        .database
        .write(move |tx| {
            // Locked, so that the volume is not deleted, extended or reverted between here and the commit.
            let volume = volumes_app::locked(tx, &tenancy, wanted.volume_id)?;
            check_volume(&volume, wanted.in_use)?;
            services::check_not_frozen(tx, &volume.zone)?;
            let snapshot = Snapshot {
                id,
                ec2_id: id.ec2_id(),
                project_id: volume.project_id.clone(),
                user_id: asker.user_id.clone(),
                volume_id: volume.id,
                name: wanted.name.clone(),
                description: wanted.description.clone(),
                size_gib: volume.size_gib,
                status: SnapshotStatus::Creating,
                zone: volume.zone.clone(),
                backend_id: volume.backend_id,
                vdi_uuid: None,
                metadata: wanted.metadata.clone(),
                traits: traits_of(&volume),
                failure: String::new(),
                created_at_us: now_us,
                updated_at_us: None,
            };
            if !snapshots::insert(tx, &snapshot)? {
                return Err(doubled());
            }
            quota::check_snapshot(tx, &snapshot, volume.flavor_id, &limits)?;
            let operation = NewOperation {
                id: operation_id,
                kind: OperationKind::CreateSnapshot,
                target: id.to_string(),
                zone: volume.zone,
                request_id: asker.request_id.clone(),
                not_before_us: now_us,
            };
            operations::insert(tx, &operation, now_us)?;
            Ok(snapshot)
        })
        .await;
    refusal::told(service, request, Asked::snapshot(volume_id), created).await
}

/// What a snapshot has of its volume.
pub(super) fn traits_of(volume: &Volume) -> SnapshotTraits {
    SnapshotTraits {
        ebs: SnapshotEbs {
            encryption_key_id: volume.traits.encryption_key_id,
            ..SnapshotEbs::default()
        },
        ..SnapshotTraits::default()
    }
}

fn check_volume(volume: &Volume, in_use: InUse) -> Result<()> {
    let is_allowed = match volume.status {
        VolumeStatus::Available => true,
        VolumeStatus::InUse => in_use == InUse::Allow,
        _ => false,
    };
    if is_allowed {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Conflict,
        Subject::Volume,
        format!(
            "Invalid volume: Volume {} status must be available, but current status is: {}.",
            volume.id,
            volume.status.as_str()
        ),
    )
    .on(volume.id.to_string()))
}

pub(super) fn doubled() -> Error {
    Error::new(
        ErrorKind::Internal,
        Subject::Snapshot,
        "An unexpected error has occurred.",
    )
    .detail("a fresh snapshot id, or its EC2 name, exists already")
}

/// One snapshot of the project (of any project for an administrator).
pub async fn get(service: &Service, request: &RequestContext, id: SnapshotId) -> Result<Snapshot> {
    let tenancy = policy::tenancy_of(request, Rule::VolumeGetSnapshot);
    service
        .database
        .read(move |tx| visible(tx, &tenancy, id))
        .await
}

/// The snapshot, if the requester may know of it.
pub(super) fn visible(
    tx: &mut Transaction<'_>,
    tenancy: &Tenancy,
    id: SnapshotId,
) -> Result<Snapshot> {
    let snapshot = snapshots::find(tx, id)?
        .filter(|snapshot| tenancy.sees(&snapshot.project_id))
        .ok_or_else(|| Error::not_found(Subject::Snapshot, id))?;
    tenancy.check(&snapshot.project_id, Some(&snapshot.user_id))?;
    Ok(snapshot)
}

/// The same, locked until the transaction ends. What the requester may not know of is not locked.
pub(super) fn locked(
    tx: &mut Transaction<'_>,
    tenancy: &Tenancy,
    id: SnapshotId,
) -> Result<Snapshot> {
    let is_locked = snapshots::lock_of(tx, id, tenancy.project())?;
    let found = visible(tx, tenancy, id)?;
    if is_locked {
        return Ok(found);
    }
    // It came into the project between the two.
    snapshots::lock(tx, id)?;
    visible(tx, tenancy, id)
}

/// The snapshot with this EC2 name (`snap-` and 17 or 8 hex digits).
pub async fn get_by_ec2_id(
    service: &Service,
    request: &RequestContext,
    ec2_id: &str,
) -> Result<Snapshot> {
    let digits = ec2_id.strip_prefix("snap-").unwrap_or_default();
    let is_hex = digits
        .bytes()
        .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    if !is_hex || !matches!(digits.len(), 8 | 17) {
        return Err(Error::new(
            ErrorKind::Invalid,
            Subject::Snapshot,
            "A snapshot's name is snap- and 17 (or 8) hexadecimal digits.",
        )
        .on(ec2_id));
    }
    let found = get_by_ec2_ids(service, request, vec![ec2_id.to_owned()]).await?;
    let mut found = found.into_iter().flatten();
    found
        .next()
        .ok_or_else(|| Error::not_found(Subject::Snapshot, ec2_id))
}

/// The snapshots with these EC2 names, each in the place of its name; none where there is none, and for what is no name.
pub async fn get_by_ec2_ids(
    service: &Service,
    request: &RequestContext,
    ec2_ids: Vec<String>,
) -> Result<Vec<Option<Snapshot>>> {
    limits::check_list(ec2_ids.len(), 0, 0)?;
    let tenancy = policy::tenancy_of(request, Rule::VolumeGetSnapshot);
    service
        .database
        .read(move |tx| {
            let whole = snapshots::find_by_ec2_ids(tx, tenancy.project(), &ec2_ids)?;
            let mut found = Vec::with_capacity(ec2_ids.len());
            let mut short = ShortNames::default();
            for ec2_id in &ec2_ids {
                let snapshot = match whole.get(ec2_id) {
                    Some(snapshot) => Some(snapshot.clone()),
                    None => short.look_up(ec2_id, || {
                        snapshots::find_by_short_ec2_id(tx, tenancy.project(), ec2_id)
                    })?,
                };
                if let Some(snapshot) = &snapshot {
                    tenancy.check(&snapshot.project_id, Some(&snapshot.user_id))?;
                }
                found.push(snapshot);
            }
            Ok(found)
        })
        .await
}

/// A page of snapshots.
pub async fn list(
    service: &Service,
    request: &RequestContext,
    query: SnapshotQuery,
) -> Result<Page<Snapshot>> {
    policy::check(request, Rule::VolumeGetAllSnapshots)?;
    if query.all_projects || query.project_id.is_some() {
        policy::is_admin(request)?;
    }
    limits::check_list(
        query.ids.len().max(query.volume_ids.len()),
        query.metadata.len(),
        query.offset,
    )?;
    let project_id = match (&query.project_id, query.all_projects) {
        (Some(project_id), _) => Some(project_id.clone()),
        (None, true) => None,
        (None, false) => Some(request.project_id.clone()),
    };
    let decided = Decided {
        project_id,
        limit: service.page_size(query.limit),
        shared: Shared::default(),
        query,
    };
    service
        .database
        .read(move |tx| {
            let items = snapshot_list::page(tx, &decided)?;
            let mut page = Page::cut(items, decided.limit);
            if decided.query.with_total {
                page.total = Some(snapshot_list::total(tx, &decided)?);
            }
            Ok(page)
        })
        .await
}

/// Changes names and metadata.
pub async fn update(
    service: &Service,
    request: &RequestContext,
    id: SnapshotId,
    change: UpdateSnapshot,
) -> Result<Snapshot> {
    if let Some(name) = &change.name {
        limits::check_text("name", name)?;
    }
    if let Some(description) = &change.description {
        limits::check_text("description", description)?;
    }
    if let Some(metadata) = &change.metadata {
        limits::check_metadata(metadata)?;
    }
    let tenancy = policy::tenancy_of(request, Rule::VolumeUpdateSnapshot);
    let now_us = service.context.now_us();
    service
        .database
        .write(move |tx| {
            visible(tx, &tenancy, id)?;
            let (name, description) = (change.name.as_deref(), change.description.as_deref());
            snapshots::rename(tx, id, name, description, now_us)?;
            if let Some(metadata) = &change.metadata {
                snapshot_metadata::replace(tx, id, metadata)?;
            }
            visible(tx, &tenancy, id)
        })
        .await
}

/// Adds or replaces some metadata keys; returns all.
pub async fn merge_metadata(
    service: &Service,
    request: &RequestContext,
    id: SnapshotId,
    metadata: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>> {
    limits::check_metadata(&metadata)?;
    let tenancy = policy::tenancy_of(request, Rule::VolumeUpdateSnapshotMetadata);
    let now_us = service.context.now_us();
    service
        .database
        .write(move |tx| {
            visible(tx, &tenancy, id)?;
            // The row is locked by this, so that the count below is true when it is committed.
            snapshots::rename(tx, id, None, None, now_us)?;
            snapshot_metadata::merge(tx, id, &metadata)?;
            let all = snapshot_metadata::load(tx, id)?;
            limits::check_metadata_count(all.len())?;
            Ok(all)
        })
        .await
}

/// Removes one metadata key; not found when it is not there.
pub async fn delete_metadata_key(
    service: &Service,
    request: &RequestContext,
    id: SnapshotId,
    key: &str,
) -> Result<()> {
    let tenancy = policy::tenancy_of(request, Rule::VolumeDeleteSnapshotMetadata);
    let now_us = service.context.now_us();
    let key = key.to_owned();
    service
        .database
        .write(move |tx| {
            visible(tx, &tenancy, id)?;
            if !snapshot_metadata::remove(tx, id, &key)? {
                return Err(Error::not_found(Subject::Metadata, &key));
            }
            snapshots::rename(tx, id, None, None, now_us)?;
            Ok(())
        })
        .await
}

/// Takes a request to delete: the snapshot becomes `deleting`, an operation removes the VDI and then the snapshot. Volumes that
/// were made from it stay as they are.
///
/// # Errors
/// `Conflict` when its state does not allow it, or a volume is being made from it.
pub async fn delete(
    service: &Service,
    request: &RequestContext,
    id: SnapshotId,
    mode: DeleteMode,
) -> Result<()> {
    let rule = match mode {
        DeleteMode::Force => Rule::SnapshotAdminActionsForceDelete,
        DeleteMode::Normal | DeleteMode::EvenPending => Rule::VolumeDeleteSnapshot,
    };
    let tenancy = policy::tenancy_of(request, rule);
    let now_us = service.context.now_us();
    let operation_id = OperationId(service.context.new_uuid());
    let request_id = request.request_id.clone();
    service
        .database
        .write(move |tx| {
            let snapshot = visible(tx, &tenancy, id)?;
            services::check_not_frozen(tx, &snapshot.zone)?;
            if let Some(group_snapshot) = snapshot.traits.group_snapshot_id {
                let why = format!(
                    "it must not be part of a group snapshot; delete group snapshot {group_snapshot}"
                );
                return Err(busy(id, &why));
            }
            mark_deleting(tx, &snapshot, mode, now_us)?;
            check_removable(tx, &snapshot, now_us)?;
            if !snapshot.failure.is_empty() {
                snapshots::set_failure(tx, id, "")?;
            }
            if mode != DeleteMode::Normal && is_being_taken(tx, &snapshot)? {
                return match mode {
                    // The end of that operation asks for the removal.
                    DeleteMode::EvenPending => Ok(()),
                    _ => Err(busy(id, "an operation is at work on it")),
                };
            }
            let operation = NewOperation {
                id: operation_id,
                kind: OperationKind::DeleteSnapshot,
                target: id.to_string(),
                zone: snapshot.zone,
                request_id: request_id.clone(),
                not_before_us: now_us,
            };
            if !operations::insert(tx, &operation, now_us)? {
                return Err(busy(id, "an operation is at work on it"));
            }
            Ok(())
        })
        .await
}

/// Moves it to `deleting`, which locks the row: a volume that is asked for from now on finds it so.
fn mark_deleting(
    tx: &mut Transaction<'_>,
    snapshot: &Snapshot,
    mode: DeleteMode,
    now_us: i64,
) -> Result<()> {
    let [available, error, error_deleting] = SnapshotStatus::DELETABLE;
    let also_pending = [available, error, error_deleting, SnapshotStatus::Creating];
    let allowed: &[SnapshotStatus] = match mode {
        DeleteMode::Normal => &SnapshotStatus::DELETABLE,
        DeleteMode::EvenPending => &also_pending,
        // An operation at work is found out by its unfinished row.
        DeleteMode::Force => &SnapshotStatus::ALL,
    };
    if snapshots::change_status(tx, snapshot.id, allowed, SnapshotStatus::Deleting, now_us)? {
        return Ok(());
    }
    let left = snapshots::find(tx, snapshot.id)?;
    let is_leaving = left.is_none_or(|left| left.status == SnapshotStatus::Deleting);
    match mode {
        DeleteMode::EvenPending if is_leaving => {
            Err(Error::not_found(Subject::Snapshot, snapshot.id))
        }
        _ => Err(not_deletable(snapshot)),
    }
}

/// True while the operation is at work that takes the snapshot, alone or with others, or copies it from another one.
fn is_being_taken(tx: &mut Transaction<'_>, snapshot: &Snapshot) -> Result<bool> {
    if is_taken_with_others(tx, snapshot)? {
        return Ok(true);
    }
    let found = operations::find_unfinished(tx, &snapshot.id.to_string())?;
    let is_its_own = found.is_some_and(|operation| operation.kind == OperationKind::CreateSnapshot);
    Ok(is_its_own)
}

/// True while one operation takes it and others, and so no other one may take its row away.
pub(crate) fn is_taken_with_others(tx: &mut Transaction<'_>, snapshot: &Snapshot) -> Result<bool> {
    match snapshot.traits.ebs.set_id {
        Some(set_id) => Ok(operations::find_unfinished(tx, &set_id.to_string())?.is_some()),
        None => Ok(false),
    }
}

/// Refuses while something keeps the snapshot from being removed, or from leaving in another way.
pub(super) fn check_removable(
    tx: &mut Transaction<'_>,
    snapshot: &Snapshot,
    now_us: i64,
) -> Result<()> {
    snapshot_locks::check(tx, snapshot, now_us)?;
    check_unused(tx, snapshot)
}

/// Refuses while an operation of another object reads the snapshot.
fn check_unused(tx: &mut Transaction<'_>, snapshot: &Snapshot) -> Result<()> {
    if volumes::is_being_made_from_snapshot(tx, snapshot.id)? {
        return Err(busy(snapshot.id, "a volume is being made from it"));
    }
    if snapshot_ebs::is_being_copied(tx, snapshot.id)? {
        return Err(busy(snapshot.id, "it is being copied"));
    }
    // Forced: the state said `restoring`, and so does the volume's as long as its operation is at work.
    let volume = volumes::find(tx, snapshot.volume_id)?;
    let is_reverting = volume.is_some_and(|volume| volume.status == VolumeStatus::Reverting);
    if is_reverting && snapshot.status == SnapshotStatus::Restoring {
        return Err(busy(snapshot.id, "its volume is being reverted to it"));
    }
    Ok(())
}

fn not_deletable(snapshot: &Snapshot) -> Error {
    Error::new(
        ErrorKind::Conflict,
        Subject::Snapshot,
        format!(
            "Invalid snapshot: Snapshot status must be available or error or error_deleting, but is {}.",
            snapshot.status.as_str()
        ),
    )
    .on(snapshot.id.to_string())
}

fn busy(id: SnapshotId, why: &str) -> Error {
    Error::new(
        ErrorKind::Conflict,
        Subject::Snapshot,
        format!("Invalid snapshot: {why}."),
    )
    .on(id.to_string())
}
