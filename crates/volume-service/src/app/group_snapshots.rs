//! Group snapshots: the snapshots of all members of a group, taken by one operation at one moment.
//!
//! They are ordinary snapshots, which are read, and which volumes are made from, like all others; only removed they are together.

use super::groups::{self as groups_app, GroupQuery};
use super::policy::Tenancy;
use super::snapshots::check_removable;
use super::{Page, Service, limits, policy, quota, services};
use crate::auth::policy::Target;
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::operations::NewOperation;
use crate::db::{
    Transaction, group_snapshots, groups, operations, snapshot_traits, snapshots, volumes,
};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::group::{Group, GroupSnapshot, GroupStatus};
use crate::model::id::{GroupId, GroupSnapshotId, OperationId, SnapshotId};
use crate::model::operation::OperationKind;
use crate::model::snapshot::{Snapshot, SnapshotStatus};
use crate::model::volume::{Volume, VolumeStatus};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct CreateGroupSnapshot {
    /// The group.
    pub group_id: GroupId,
    /// Name for people, also of all its snapshots; at most 255 characters.
    pub name: String,
    /// Sentence for people, also of all its snapshots; at most 255 characters.
    pub description: String,
}

/// True for who may read which project a group snapshot is in.
pub fn shows_project(request: &RequestContext) -> bool {
    request.allows(Rule::GroupSnapshotProjectAttribute, Target::OWN)
}

/// Takes a request for a group snapshot: writes it and the snapshot of each member (`creating`), and their one operation.
///
/// # Errors
/// `Invalid` about the group, also while another snapshot of it is being taken, `Conflict` about a member whose state does not allow
/// it, `QuotaExceeded` for snapshots and GiB.
pub async fn create(
    service: &Service,
    request: &RequestContext,
    wanted: CreateGroupSnapshot,
) -> Result<GroupSnapshot> {
    limits::check_text("name", &wanted.name)?;
    limits::check_text("description", &wanted.description)?;
    let tenancy = policy::tenancy_of(request, Rule::GroupCreateGroupSnapshot);
    let id = GroupSnapshotId(service.context.new_uuid());
    let operation_id = OperationId(service.context.new_uuid());
    let now_us = service.context.now_us();
    let context = service.context.clone();
    let configured = service.config.limits.clone();
    let asker = request.clone();
    service
        .database
        .write(move |tx| {
            let group = groups_app::locked(tx, &tenancy, wanted.group_id)?;
            services::check_not_frozen(tx, &group.zone)?;
            check_none_creating(tx, group.id)?;
            let members = members(tx, &group)?;
            let taken = GroupSnapshot {
                id,
                group_id: group.id,
                project_id: group.project_id.clone(),
                user_id: asker.user_id.clone(),
                type_id: group.type_id,
                type_name: group.type_name.clone(),
                name: wanted.name.clone(),
                description: wanted.description.clone(),
                zone: group.zone.clone(),
                status: GroupStatus::Creating,
                failure: String::new(),
                is_hand_set: false,
                created_at_us: now_us,
            };
            group_snapshots::insert(tx, &taken)?;
            for volume in &members {
                let snapshot = of_member(&taken, volume, SnapshotId(context.new_uuid()));
                if !snapshots::insert(tx, &snapshot)? {
                    return Err(super::snapshots::doubled());
                }
                snapshot_traits::set_group_snapshot(tx, snapshot.id, Some(id.0))?;
                quota::check_snapshot(tx, &snapshot, volume.flavor_id, &configured)?;
            }
            let operation = NewOperation {
                id: operation_id,
                kind: OperationKind::CreateGroupSnapshot,
                target: id.to_string(),
                zone: group.zone,
                request_id: asker.request_id.clone(),
                not_before_us: now_us,
            };
            operations::insert(tx, &operation, now_us)?;
            Ok(taken)
        })
        .await
}

/// Refuses while a group snapshot of the group is being taken: the next would only wait for it, in a place of the worker's. Under the
/// group's lock.
fn check_none_creating(tx: &mut Transaction<'_>, id: GroupId) -> Result<()> {
    let creating = GroupQuery {
        status: Some(GroupStatus::Creating),
        group_id: Some(id),
        ..GroupQuery::default()
    };
    match group_snapshots::page(tx, &creating, 1)?.first() {
        None => Ok(()),
        Some(other) => {
            let why = format!("Group snapshot {} of it is still being created.", other.id);
            Err(groups_app::refused(id, why))
        }
    }
}

/// The members, locked, so that none is deleted, extended or reverted between here and the commit.
fn members(tx: &mut Transaction<'_>, group: &Group) -> Result<Vec<Volume>> {
    if group.status != GroupStatus::Available {
        return Err(groups_app::refused(
            group.id,
            format!(
                "Group status must be available, but current status is: {}",
                group.status.as_str()
            ),
        ));
    }
    let mut ids = groups::member_ids(tx, group.id)?;
    if ids.is_empty() {
        let why = "Group is empty. No group snapshot will be created.";
        return Err(groups_app::refused(group.id, why));
    }
    ids.sort();
    let mut members = Vec::with_capacity(ids.len());
    for id in ids {
        volumes::lock(tx, id)?;
        let volume = volumes::get(tx, id)?;
        if volume.project_id != group.project_id {
            let why = format!(
                "Volume {id} in it is another project's; an administrator has to look at it."
            );
            return Err(groups_app::refused(group.id, why));
        }
        if !matches!(volume.status, VolumeStatus::Available | VolumeStatus::InUse) {
            return Err(Error::new(
                ErrorKind::Conflict,
                Subject::Volume,
                format!(
                    "Invalid volume: Volume {id} status must be available or in-use, but current status is: {}.",
                    volume.status.as_str()
                ),
            )
            .on(id.to_string()));
        }
        members.push(volume);
    }
    Ok(members)
}

fn of_member(taken: &GroupSnapshot, volume: &Volume, id: SnapshotId) -> Snapshot {
    Snapshot {
        id,
        ec2_id: id.ec2_id(),
        project_id: taken.project_id.clone(),
        user_id: taken.user_id.clone(),
        volume_id: volume.id,
        name: taken.name.clone(),
        description: taken.description.clone(),
        size_gib: volume.size_gib,
        status: SnapshotStatus::Creating,
        zone: taken.zone.clone(),
        backend_id: volume.backend_id,
        vdi_uuid: None,
        metadata: std::collections::BTreeMap::new(),
        traits: super::snapshots::traits_of(volume),
        failure: String::new(),
        created_at_us: taken.created_at_us,
        updated_at_us: None,
    }
}

/// One group snapshot of the project (of any project for an administrator).
pub async fn get(
    service: &Service,
    request: &RequestContext,
    id: GroupSnapshotId,
) -> Result<GroupSnapshot> {
    let tenancy = policy::tenancy_of(request, Rule::GroupGetGroupSnapshot);
    service
        .database
        .read(move |tx| visible(tx, &tenancy, id))
        .await
}

/// The group snapshot, if the requester may know of it.
pub(super) fn visible(
    tx: &mut Transaction<'_>,
    tenancy: &Tenancy,
    id: GroupSnapshotId,
) -> Result<GroupSnapshot> {
    let taken = group_snapshots::find(tx, id)?
        .filter(|taken| tenancy.sees(&taken.project_id))
        .ok_or_else(|| {
            let text = format!("GroupSnapshot {id} could not be found.");
            Error::new(ErrorKind::NotFound, Subject::Request, text).on(id.to_string())
        })?;
    tenancy.check(&taken.project_id, Some(&taken.user_id))?;
    Ok(taken)
}

/// The same, locked until the transaction ends. What the requester may not know of is not locked.
pub(super) fn locked(
    tx: &mut Transaction<'_>,
    tenancy: &Tenancy,
    id: GroupSnapshotId,
) -> Result<GroupSnapshot> {
    let is_locked = group_snapshots::lock_of(tx, id, tenancy.project())?;
    let found = visible(tx, tenancy, id)?;
    if is_locked {
        return Ok(found);
    }
    // It came into the project between the two.
    group_snapshots::lock(tx, id)?;
    visible(tx, tenancy, id)
}

/// A page of group snapshots.
pub async fn list(
    service: &Service,
    request: &RequestContext,
    mut query: GroupQuery,
) -> Result<Page<GroupSnapshot>> {
    policy::check(request, Rule::GroupGetAllGroupSnapshots)?;
    limits::check_list(0, 0, query.offset)?;
    query.project_id =
        (!(query.all_projects && request.is_admin())).then(|| request.project_id.clone());
    let limit = service.page_size(query.limit);
    service
        .database
        .read(move |tx| Ok(Page::cut(group_snapshots::page(tx, &query, limit)?, limit)))
        .await
}

/// Takes a request to delete: it and its snapshots become `deleting`. Each goes by an operation of its own, and the last one takes
/// the group snapshot along.
///
/// # Errors
/// `Invalid` when its state does not allow it or a group is being made from it, `Conflict` when a volume is being made from one of
/// its snapshots.
pub async fn delete(
    service: &Service,
    request: &RequestContext,
    id: GroupSnapshotId,
) -> Result<()> {
    let tenancy = policy::tenancy_of(request, Rule::GroupDeleteGroupSnapshot);
    let now_us = service.context.now_us();
    let context = service.context.clone();
    let request_id = request.request_id.clone();
    service
        .database
        .write(move |tx| {
            let taken = locked(tx, &tenancy, id)?;
            services::check_not_frozen(tx, &taken.zone)?;
            let is_source = groups::is_being_made_from_snapshot(tx, id)?;
            let is_at_work = operations::find_unfinished(tx, &id.to_string())?.is_some();
            if !GroupStatus::DELETABLE.contains(&taken.status) || is_source || is_at_work {
                return Err(refused(
                    id,
                    "GroupSnapshot status must be available or error, and no Group can be currently using it as source for its \
                     creation.",
                ));
            }
            for snapshot in group_snapshots::members(tx, id)? {
                let operation = NewOperation {
                    id: OperationId(context.new_uuid()),
                    kind: OperationKind::DeleteSnapshot,
                    target: snapshot.id.to_string(),
                    zone: snapshot.zone.clone(),
                    request_id: request_id.clone(),
                    not_before_us: now_us,
                };
                let (from, to) = (SnapshotStatus::DELETABLE, SnapshotStatus::Deleting);
                if !snapshots::change_status(tx, snapshot.id, &from, to, now_us)? {
                    let why = format!(
                        "its snapshot {} is {}",
                        snapshot.id,
                        snapshot.status.as_str()
                    );
                    return Err(refused(id, &why));
                }
                check_removable(tx, &snapshot, now_us)?;
                if !snapshot.failure.is_empty() {
                    snapshots::set_failure(tx, snapshot.id, "")?;
                }
                if !operations::insert(tx, &operation, now_us)? {
                    let why = format!("an operation is at work on its snapshot {}", snapshot.id);
                    return Err(refused(id, &why));
                }
            }
            group_snapshots::set_status(tx, id, GroupStatus::Deleting, "", false, now_us)?;
            group_snapshots::settle(tx, id, now_us).map(drop)
        })
        .await
}

/// Sets the state of a group snapshot by hand; administrators only. Its snapshots stay as they are.
///
/// # Errors
/// `Invalid` while its operation is at work.
pub async fn reset_status(
    service: &Service,
    request: &RequestContext,
    id: GroupSnapshotId,
    status: GroupStatus,
) -> Result<()> {
    let tenancy = policy::tenancy_of(request, Rule::GroupResetGroupSnapshotStatus);
    let now_us = service.context.now_us();
    service
        .database
        .write(move |tx| {
            locked(tx, &tenancy, id)?;
            if operations::find_unfinished(tx, &id.to_string())?.is_some() {
                let why = "an operation is at work on it, which will end by itself.";
                return Err(refused(id, why));
            }
            group_snapshots::set_status(tx, id, status, "", true, now_us).map(drop)
        })
        .await
}

/// Cinder's InvalidGroupSnapshot.
pub(super) fn refused(id: GroupSnapshotId, why: &str) -> Error {
    Error::invalid(format!("Invalid GroupSnapshot: {why}")).on(id.to_string())
}
