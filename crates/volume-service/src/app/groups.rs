//! Groups of volumes: make, read, rename, set states by hand. Who is in a group changes in `group_members.rs`; groups that are made
//! from others, and those that go, have files of their own.

use std::collections::BTreeMap;
use std::convert::Infallible;

use uuid::Uuid;

use super::policy::Tenancy;
use super::volumes::SortDirection;
use super::{Page, Service, group_types, limits, policy, quota, services};
use crate::auth::policy::Target;
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::{Transaction, flavors, groups};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::group::{CONSISTENCY_TYPE, Group, GroupStatus};
use crate::model::id::{GroupId, GroupTypeId, VolumeId};

pub use super::delete_group::{DeleteGroup, delete};
pub use super::group_members::{ChangeMembers, update};
pub use super::group_source::{CreateFromSource, GroupSource, create_from_source};

/// Most flavors that a request for a group names.
pub const FLAVORS_MAX: usize = 128;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct CreateGroup {
    /// Name for people; at most 255 characters.
    pub name: String,
    /// Sentence for people; at most 255 characters.
    pub description: String,
    /// The group type.
    pub group_type: WantedType,
    /// Flavors that members may have, by id or label.
    pub flavors: Vec<String>,
    /// The zone of all members; none takes the default zone.
    pub zone: Option<String>,
}

/// The type of a group to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WantedType {
    /// This one, by id or name.
    Named(String),
    /// That of the consistency group API.
    OfConsistencyGroups,
}

/// Which groups or group snapshots, in which order, which page.
#[derive(Clone, Debug, Default)]
pub struct GroupQuery {
    /// Those of every project; needs the admin role.
    pub all_projects: bool,
    /// Only this project's; decided by the use case.
    pub project_id: Option<String>,
    /// Exact name.
    pub name: Option<String>,
    /// With this in the name.
    pub name_part: Option<String>,
    /// In this state.
    pub status: Option<GroupStatus>,
    /// Of this group; group snapshots only.
    pub group_id: Option<GroupId>,
    /// Without those of the consistency group API.
    pub without_consistency_groups: bool,
    /// The order; newest first when empty.
    pub sort: Vec<(GroupSortKey, SortDirection)>,
    /// Only what is behind this one.
    pub marker: Option<Uuid>,
    /// How many are passed over.
    pub offset: usize,
    /// How many at most.
    pub limit: Option<usize>,
}

/// What groups, their types and their snapshots may be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupSortKey {
    /// When they were made.
    CreatedAt,
    /// When they were changed.
    UpdatedAt,
    /// Their names.
    Name,
    /// Their descriptions.
    Description,
    /// Their states; not of types.
    Status,
    /// Private types before public ones; only of types.
    IsPublic,
    /// Their ids.
    Id,
}

/// True for who may read which project a group is in.
pub fn shows_project(request: &RequestContext) -> bool {
    request.allows(Rule::GroupProjectAttribute, Target::OWN)
}

/// True for a group of the consistency group API, which the API of groups does not touch.
pub fn is_consistency_group(type_name: &str) -> bool {
    type_name == CONSISTENCY_TYPE
}

/// Makes a group without members.
///
/// # Errors
/// `NotFound` for the group type and for flavors, `QuotaExceeded` for the quota of groups.
pub async fn create(
    service: &Service,
    request: &RequestContext,
    wanted: CreateGroup,
) -> Result<Group> {
    check(service, request, &wanted)?;
    let tenancy = policy::tenancy_of(request, Rule::GroupCreate);
    let id = GroupId(service.context.new_uuid());
    let fresh = GroupTypeId(service.context.new_uuid());
    let now_us = service.context.now_us();
    let configured = service.config.limits.clone();
    let default_zone = service.config.default_zone.clone();
    let request = request.clone();
    service
        .database
        .write(move |tx| {
            let group_type = match &wanted.group_type {
                WantedType::Named(named) => group_types::chosen(tx, request.is_admin(), named)?,
                WantedType::OfConsistencyGroups => {
                    group_types::of_consistency_groups(tx, fresh, now_us)?
                }
            };
            if wanted.group_type != WantedType::OfConsistencyGroups {
                check_type(&group_type.name, group_type.id)?;
            }
            let mut chosen = Vec::new();
            for flavor in &wanted.flavors {
                let found = flavors::find_for(tx, tenancy.as_deref(), flavor)?;
                chosen.push(
                    found
                        .ok_or_else(|| Error::not_found(Subject::Flavor, flavor))?
                        .id,
                );
            }
            chosen.sort();
            chosen.dedup();
            let group = Group {
                id,
                project_id: request.project_id.clone(),
                user_id: request.user_id.clone(),
                type_id: group_type.id,
                type_name: group_type.name,
                name: wanted.name.clone(),
                description: wanted.description.clone(),
                zone: wanted.zone.clone().unwrap_or(default_zone.clone()),
                status: GroupStatus::Available,
                flavors: chosen,
                group_snapshot_id: None,
                source_group_id: None,
                failure: String::new(),
                is_hand_set: false,
                created_at_us: now_us,
            };
            services::check_not_frozen(tx, &group.zone)?;
            groups::insert(tx, &group)?;
            quota::check_group(tx, &group.project_id, &configured)?;
            Ok(group)
        })
        .await
}

fn check(service: &Service, request: &RequestContext, wanted: &CreateGroup) -> Result<()> {
    policy::check(request, Rule::GroupCreate)?;
    check_project(request)?;
    limits::check_text("name", &wanted.name)?;
    limits::check_text("description", &wanted.description)?;
    let count = wanted.flavors.len();
    if count == 0 || count > FLAVORS_MAX {
        return Err(Error::invalid(format!(
            "A group has 1 to {FLAVORS_MAX} volume types, not {count}."
        )));
    }
    match &wanted.zone {
        Some(zone) => service.check_zone(zone),
        None => Ok(()),
    }
}

/// A group is in a project.
pub(super) fn check_project(request: &RequestContext) -> Result<()> {
    if request.project_id.is_empty() {
        return Err(Error::invalid(
            "A group belongs to a project, and the request is in none.",
        ));
    }
    Ok(())
}

/// Refuses the type of the consistency group API.
pub(super) fn check_type(name: &str, id: GroupTypeId) -> Result<()> {
    if is_consistency_group(name) {
        return Err(Error::invalid(format!(
            "Group_type {id} is reserved for migrating CGs to groups. Migrated group can only be operated by CG APIs."
        )));
    }
    Ok(())
}

/// One group of the project (of any project for an administrator).
pub async fn get(service: &Service, request: &RequestContext, id: GroupId) -> Result<Group> {
    let tenancy = policy::tenancy_of(request, Rule::GroupGet);
    service
        .database
        .read(move |tx| visible(tx, &tenancy, id))
        .await
}

/// The group, if the requester may know of it.
pub(super) fn visible(tx: &mut Transaction<'_>, tenancy: &Tenancy, id: GroupId) -> Result<Group> {
    let group = groups::find(tx, id)?
        .filter(|group| tenancy.sees(&group.project_id))
        .ok_or_else(|| not_found(id))?;
    tenancy.check(&group.project_id, Some(&group.user_id))?;
    Ok(group)
}

/// The same, locked until the transaction ends. What the requester may not know of is not locked.
pub(super) fn locked(tx: &mut Transaction<'_>, tenancy: &Tenancy, id: GroupId) -> Result<Group> {
    let is_locked = groups::lock_of(tx, id, tenancy.project())?;
    let found = visible(tx, tenancy, id)?;
    if is_locked {
        return Ok(found);
    }
    // It came into the project between the two.
    groups::lock(tx, id)?;
    visible(tx, tenancy, id)
}

/// A page of groups.
pub async fn list(
    service: &Service,
    request: &RequestContext,
    mut query: GroupQuery,
) -> Result<Page<Group>> {
    policy::check(request, Rule::GroupGetAll)?;
    limits::check_list(0, 0, query.offset)?;
    query.project_id =
        (!(query.all_projects && request.is_admin())).then(|| request.project_id.clone());
    let limit = service.page_size(query.limit);
    service
        .database
        .read(move |tx| Ok(Page::cut(groups::page(tx, &query, limit)?, limit)))
        .await
}

/// The members of groups that the requester was shown, oldest first.
pub async fn members(
    service: &Service,
    ids: Vec<GroupId>,
) -> Result<BTreeMap<GroupId, Vec<VolumeId>>> {
    service
        .database
        .read(move |tx| {
            let mut all = BTreeMap::new();
            for id in &ids {
                all.insert(*id, groups::member_ids(tx, *id)?);
            }
            Ok(all)
        })
        .await
}

/// Sets the state of a group by hand; administrators only. Its members stay as they are.
pub async fn reset_status(
    service: &Service,
    request: &RequestContext,
    id: GroupId,
    status: GroupStatus,
) -> Result<()> {
    let tenancy = policy::tenancy_of(request, Rule::GroupResetStatus);
    let now_us = service.context.now_us();
    service
        .database
        .write(move |tx| {
            locked(tx, &tenancy, id)?;
            groups::set_status(tx, id, status, "", true, now_us).map(drop)
        })
        .await
}

/// Refuses what is asked of the replication of a group, as Cinder does for types without it: nothing is replicated here.
///
/// # Errors
/// `NotFound` and `Forbidden` before that.
pub async fn refuse_replication(
    service: &Service,
    request: &RequestContext,
    id: GroupId,
    rule: Rule,
) -> Result<Infallible> {
    let tenancy = policy::tenancy_of(request, rule);
    service
        .database
        .read(move |tx| {
            visible(tx, &tenancy, id)?;
            Err(Error::invalid(format!(
                "Invalid group type: Group {id} is not a replication group type."
            )))
        })
        .await
}

pub(super) fn not_found(id: GroupId) -> Error {
    let text = format!("Group {id} could not be found.");
    Error::new(ErrorKind::NotFound, Subject::Request, text).on(id.to_string())
}

/// Cinder's InvalidGroup.
pub(super) fn refused(id: GroupId, why: impl AsRef<str>) -> Error {
    Error::invalid(format!("Invalid Group: {}", why.as_ref())).on(id.to_string())
}
