//! Groups that are made from a group snapshot or from another group: each member by an operation of its own, as if it were made
//! alone; the last one settles the group (`db::groups::settle`), whichever it is.

use std::collections::BTreeSet;

use super::create_volume::{Creation, add, flavor_of_snapshot};
use super::groups::{check_project, locked, refused};
use super::volumes::{CreateVolume, VolumeSource};
use super::{
    Service, group_members, group_snapshots as snapshots_app, limits, policy, quota, services,
};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::{Transaction, group_snapshots, groups, snapshots, volumes};
use crate::error::Result;
use crate::model::group::{Group, GroupStatus};
use crate::model::id::{FlavorId, GroupId, GroupSnapshotId, GroupTypeId};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct CreateFromSource {
    /// Name for people; at most 255 characters.
    pub name: String,
    /// Sentence for people; at most 255 characters.
    pub description: String,
    /// What it is made from.
    pub source: GroupSource,
}

/// What a group is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupSource {
    /// What the snapshots of all members hold, which is of one moment.
    Snapshot(GroupSnapshotId),
    /// What each member holds while its copy is being made; not of one moment.
    Group(GroupId),
}

/// Makes a group with a volume for each one of its source.
///
/// # Errors
/// `NotFound` and `Invalid` about the source, `QuotaExceeded` for the quotas of groups, volumes and GiB.
pub async fn create_from_source(
    service: &Service,
    request: &RequestContext,
    wanted: CreateFromSource,
) -> Result<Group> {
    policy::check(request, Rule::GroupCreate)?;
    policy::check(request, Rule::VolumeCreate)?;
    check_project(request)?;
    limits::check_text("name", &wanted.name)?;
    limits::check_text("description", &wanted.description)?;
    let may_read_group = policy::tenancy_of(request, Rule::GroupGet);
    let may_read_snapshot = policy::tenancy_of(request, Rule::GroupGetGroupSnapshot);
    let id = GroupId(service.context.new_uuid());
    let now_us = service.context.now_us();
    let configured = service.config.limits.clone();
    let asker = request.clone();
    let creation = Creation::of(service, request);
    service
        .database
        .write(move |tx| {
            let source = match wanted.source {
                GroupSource::Snapshot(source) => {
                    let taken = snapshots_app::locked(tx, &may_read_snapshot, source)?;
                    of_snapshot(tx, taken)?
                }
                GroupSource::Group(source) => {
                    let group = locked(tx, &may_read_group, source)?;
                    of_group(tx, group)?
                }
            };
            lock_sources(tx, &source.volumes)?;
            services::check_not_frozen(tx, &source.zone)?;
            let group = Group {
                id,
                project_id: asker.project_id.clone(),
                user_id: asker.user_id.clone(),
                type_id: source.type_id,
                type_name: source.type_name.clone(),
                name: wanted.name.clone(),
                description: wanted.description.clone(),
                zone: source.zone.clone(),
                status: GroupStatus::Creating,
                flavors: source.flavors.clone(),
                group_snapshot_id: match wanted.source {
                    GroupSource::Snapshot(id) => Some(id),
                    GroupSource::Group(_) => None,
                },
                source_group_id: match wanted.source {
                    GroupSource::Group(id) => Some(id),
                    GroupSource::Snapshot(_) => None,
                },
                failure: String::new(),
                is_hand_set: false,
                created_at_us: now_us,
            };
            groups::insert(tx, &group)?;
            quota::check_group(tx, &group.project_id, &configured)?;
            group_members::check_count(&group, source.volumes.len())?;
            creation.known.using(tx, |tx, seen| {
                for volume in &source.volumes {
                    let wanted = CreateVolume {
                        source: *volume,
                        ..CreateVolume::default()
                    };
                    add(tx, seen, &creation.fresh(), &wanted, Some(&group), None)?;
                }
                Ok(())
            })?;
            groups::find(tx, id)?.ok_or_else(|| refused(id, "it is gone"))
        })
        .await
}

/// What a new group takes from its source.
struct Source {
    type_id: GroupTypeId,
    type_name: String,
    zone: String,
    flavors: Vec<FlavorId>,
    volumes: Vec<VolumeSource>,
}

/// Locks the sources of all members before the first insert locks the project's usage, in the order of their ids: whoever locks
/// several locks them so.
fn lock_sources(tx: &mut Transaction<'_>, sources: &[VolumeSource]) -> Result<()> {
    let taken: BTreeSet<_> = sources.iter().filter_map(|one| one.snapshot_id()).collect();
    for snapshot in taken {
        snapshots::lock(tx, snapshot)?;
    }
    let copied: BTreeSet<_> = sources.iter().filter_map(|one| one.volume_id()).collect();
    for volume in copied {
        volumes::lock(tx, volume)?;
    }
    Ok(())
}

fn of_snapshot(
    tx: &mut Transaction<'_>,
    taken: crate::model::group::GroupSnapshot,
) -> Result<Source> {
    if taken.status != GroupStatus::Available {
        return Err(snapshots_app::refused(
            taken.id,
            "Originating group snapshot status must be one of 'available' values.",
        ));
    }
    let snapshots = group_snapshots::members(tx, taken.id)?;
    if snapshots.is_empty() {
        let why = "Group snapshot is empty. No group will be created.";
        return Err(refused(taken.group_id, why));
    }
    // It cannot be deleted as long as it has snapshots.
    let group = groups::find(tx, taken.group_id)?;
    let group = group.ok_or_else(|| super::groups::not_found(taken.group_id))?;
    let mut flavors = group.flavors;
    for snapshot in &snapshots {
        // Its volume may have left the group since.
        flavors.extend(flavor_of_snapshot(tx, snapshot)?);
    }
    flavors.sort();
    flavors.dedup();
    Ok(Source {
        type_id: taken.type_id,
        type_name: taken.type_name,
        zone: taken.zone,
        flavors,
        volumes: snapshots
            .iter()
            .map(|snapshot| VolumeSource::Snapshot(snapshot.id))
            .collect(),
    })
}

fn of_group(tx: &mut Transaction<'_>, group: Group) -> Result<Source> {
    if group.status != GroupStatus::Available {
        return Err(refused(
            group.id,
            "Originating group status must be one of 'available' values.",
        ));
    }
    let members = groups::member_ids(tx, group.id)?;
    if members.is_empty() {
        let why = "Source Group is empty. No group will be created.";
        return Err(refused(group.id, why));
    }
    Ok(Source {
        type_id: group.type_id,
        type_name: group.type_name,
        zone: group.zone,
        flavors: group.flavors,
        volumes: members.into_iter().map(VolumeSource::Volume).collect(),
    })
}
