//! Group types and their specs: made and changed by administrators, read by everybody who may use them.

use std::collections::BTreeMap;

use super::groups::GroupSortKey;
use super::volumes::SortDirection;
use super::{Page, Service, flavors, limits, policy};
use crate::auth::policy::Target;
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::{Transaction, group_types};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::group::{CONSISTENCY_TYPE, CONSISTENT_SPEC, GroupType};
use crate::model::id::GroupTypeId;

/// A group type to be made.
#[derive(Clone, Debug, Default)]
pub struct NewGroupType {
    /// Its name.
    pub name: String,
    /// A sentence for people.
    pub description: String,
    /// True when only administrators may use it.
    pub is_private: bool,
    /// Its group specs.
    pub specs: BTreeMap<String, String>,
}

/// What of a group type is changed; none leaves it as it is.
#[derive(Clone, Debug, Default)]
pub struct GroupTypeChange {
    /// Its name.
    pub name: Option<String>,
    /// The sentence for people.
    pub description: Option<String>,
    /// Whether every project may use it.
    pub is_public: Option<bool>,
}

/// What a list of group types shows.
#[derive(Clone, Debug, Default)]
pub struct GroupTypeQuery {
    /// Public ones or private ones only; members see public ones only.
    pub is_public: Option<bool>,
    /// The order; newest first when empty.
    pub sort: Vec<(GroupSortKey, SortDirection)>,
    /// Only what is behind this one.
    pub marker: Option<GroupTypeId>,
    /// How many are passed over.
    pub offset: usize,
    /// How many at most.
    pub limit: Option<usize>,
}

/// True for who may read the specs of group types.
pub fn shows_specs(request: &RequestContext) -> bool {
    request.allows(Rule::GroupAccessGroupTypesSpecs, Target::OWN)
}

/// A page of group types.
pub async fn list(
    service: &Service,
    request: &RequestContext,
    mut query: GroupTypeQuery,
) -> Result<Page<GroupType>> {
    limits::check_list(0, 0, query.offset)?;
    if !request.is_admin() {
        query.is_public = Some(true);
    }
    let limit = service.page_size(query.limit);
    service
        .database
        .read(move |tx| Ok(Page::cut(group_types::page(tx, &query, limit)?, limit)))
        .await
}

/// A group type by id.
pub async fn get(
    service: &Service,
    request: &RequestContext,
    id: GroupTypeId,
) -> Result<GroupType> {
    let is_admin = request.is_admin();
    service
        .database
        .read(move |tx| usable(tx, is_admin, id))
        .await
}

/// The group type of requests that name none: the one called `default`, if there is one.
pub async fn default(service: &Service, request: &RequestContext) -> Result<Option<GroupType>> {
    let is_admin = request.is_admin();
    service
        .database
        .read(move |tx| {
            let found = group_types::find_by_name(tx, flavors::DEFAULT_LABEL)?;
            Ok(found.filter(|found| found.is_public || is_admin))
        })
        .await
}

/// Makes a group type; a name that exists is a conflict.
pub async fn create(
    service: &Service,
    request: &RequestContext,
    new: NewGroupType,
) -> Result<GroupType> {
    policy::check(request, Rule::GroupTypesCreate)?;
    limits::check_name("name", &new.name)?;
    limits::check_text("description", &new.description)?;
    limits::check_specs(&new.specs)?;
    let group_type = GroupType {
        id: GroupTypeId(service.context.new_uuid()),
        name: new.name,
        description: new.description,
        is_public: !new.is_private,
        specs: new.specs,
        created_at_us: service.context.now_us(),
    };
    service
        .database
        .write(move |tx| {
            if !group_types::insert(tx, &group_type)? {
                return Err(exists(&group_type.name));
            }
            Ok(group_type.clone())
        })
        .await
}

/// Changes a group type; a name that another one has is a conflict.
pub async fn update(
    service: &Service,
    request: &RequestContext,
    id: GroupTypeId,
    change: GroupTypeChange,
) -> Result<GroupType> {
    policy::check(request, Rule::GroupTypesUpdate)?;
    if let Some(name) = &change.name {
        limits::check_name("name", name)?;
    }
    if let Some(description) = &change.description {
        limits::check_text("description", description)?;
    }
    let now_us = service.context.now_us();
    service
        .database
        .write(move |tx| {
            group_types::lock(tx, id)?;
            existing(tx, id)?;
            let (name, description) = (change.name.as_deref(), change.description.as_deref());
            if !group_types::change(tx, id, name, description, change.is_public, now_us)? {
                return Err(exists(name.unwrap_or_default()));
            }
            existing(tx, id)
        })
        .await
}

/// Removes a group type; refuses while it has groups.
pub async fn delete(service: &Service, request: &RequestContext, id: GroupTypeId) -> Result<()> {
    policy::check(request, Rule::GroupTypesDelete)?;
    service
        .database
        .write(move |tx| {
            group_types::lock(tx, id)?;
            existing(tx, id)?;
            if group_types::is_used(tx, id)? {
                return Err(Error::invalid("Target group type is still in use."));
            }
            group_types::remove(tx, id).map(drop)
        })
        .await
}

/// A group type's specs.
pub async fn specs(
    service: &Service,
    request: &RequestContext,
    id: GroupTypeId,
) -> Result<BTreeMap<String, String>> {
    policy::check_routed(request, Rule::GroupTypesSpecsGetAll)?;
    let is_admin = request.is_admin();
    let found = service
        .database
        .read(move |tx| usable(tx, is_admin, id))
        .await?;
    Ok(found.specs)
}

/// Adds specs, or gives them other values. Groups that are there go by them from now on.
pub async fn set_specs(
    service: &Service,
    request: &RequestContext,
    id: GroupTypeId,
    specs: BTreeMap<String, String>,
) -> Result<()> {
    policy::check_routed(request, Rule::GroupTypesSpecsCreate)?;
    limits::check_specs(&specs)?;
    service
        .database
        .write(move |tx| {
            group_types::lock(tx, id)?;
            existing(tx, id)?;
            group_types::merge_specs(tx, id, &specs)?;
            limits::check_specs(&existing(tx, id)?.specs)
        })
        .await
}

/// Removes a spec.
///
/// # Errors
/// `NotFound` where there is none of this name.
pub async fn remove_spec(
    service: &Service,
    request: &RequestContext,
    id: GroupTypeId,
    name: &str,
) -> Result<()> {
    policy::check(request, Rule::GroupTypesSpecsDelete)?;
    let name = name.to_owned();
    service
        .database
        .write(move |tx| {
            group_types::lock(tx, id)?;
            existing(tx, id)?;
            if group_types::remove_spec(tx, id, &name)? {
                return Ok(());
            }
            let text = format!("Group Type {id} has no specs with key {name}.");
            Err(Error::new(ErrorKind::NotFound, Subject::Request, text).on(name.clone()))
        })
        .await
}

/// The group type that a request names by id or name, if the requester may use it.
pub(super) fn chosen(
    tx: &mut Transaction<'_>,
    is_admin: bool,
    id_or_name: &str,
) -> Result<GroupType> {
    let mut found = match id_or_name.parse() {
        Ok(id) => group_types::find(tx, id)?,
        Err(_) => None,
    };
    if found.is_none() {
        found = group_types::find_by_name(tx, id_or_name)?;
    }
    found
        .filter(|found| found.is_public || is_admin)
        .ok_or_else(|| not_found(id_or_name))
}

/// The type of the groups of the old consistency group API, which is made when it is needed first.
pub(super) fn of_consistency_groups(
    tx: &mut Transaction<'_>,
    fresh: GroupTypeId,
    now_us: i64,
) -> Result<GroupType> {
    let group_type = GroupType {
        id: fresh,
        name: CONSISTENCY_TYPE.to_owned(),
        description: "Groups of the consistency group API".to_owned(),
        is_public: true,
        specs: BTreeMap::from([(CONSISTENT_SPEC.to_owned(), "<is> True".to_owned())]),
        created_at_us: now_us,
    };
    group_types::insert(tx, &group_type)?;
    group_types::find_by_name(tx, CONSISTENCY_TYPE)?.ok_or_else(|| not_found(CONSISTENCY_TYPE))
}

fn usable(tx: &mut Transaction<'_>, is_admin: bool, id: GroupTypeId) -> Result<GroupType> {
    let found = existing(tx, id)?;
    if found.is_public || is_admin {
        return Ok(found);
    }
    Err(not_found(id))
}

fn existing(tx: &mut Transaction<'_>, id: GroupTypeId) -> Result<GroupType> {
    group_types::find(tx, id)?.ok_or_else(|| not_found(id))
}

fn not_found(id_or_name: impl ToString) -> Error {
    let named = id_or_name.to_string();
    let text = format!("Group type {named} could not be found.");
    Error::new(ErrorKind::NotFound, Subject::Request, text).on(named)
}

fn exists(name: &str) -> Error {
    let text = format!("Group Type {name} already exists.");
    Error::new(ErrorKind::Conflict, Subject::Request, text).on(name)
}
