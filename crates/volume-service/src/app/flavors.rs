//! Flavors: read by everybody who may use them, made, changed and removed by administrators.

use std::collections::BTreeMap;

use super::volumes::SortDirection;
use super::{Page, Service, limits, policy};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::{Transaction, default_flavors, flavor_access, flavor_list, flavor_specs, flavors};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::flavor::Flavor;
use crate::model::id::FlavorId;

/// The flavor of requests that name none, in projects without a default of their own.
pub const DEFAULT_LABEL: &str = "default";

/// A flavor to be made.
#[derive(Clone, Debug, Default)]
pub struct NewFlavor {
    /// Its name.
    pub label: String,
    /// A sentence for people.
    pub description: String,
    /// True when only projects that are given access may use it.
    pub is_private: bool,
    /// Its extra specs.
    pub specs: BTreeMap<String, String>,
}

/// What of a flavor is changed; none leaves it as it is.
#[derive(Clone, Debug, Default)]
pub struct FlavorChange {
    /// Its name.
    pub label: Option<String>,
    /// The sentence for people.
    pub description: Option<String>,
    /// Whether every project may use it.
    pub is_public: Option<bool>,
}

/// A flavor with its extra specs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// The flavor.
    pub flavor: Flavor,
    /// Its extra specs; all of them.
    pub specs: BTreeMap<String, String>,
}

/// What a list of flavors shows.
#[derive(Clone, Debug)]
pub struct FlavorQuery {
    /// Whose flavors.
    pub shown: Shown,
    /// This name only.
    pub label: Option<String>,
    /// This description only.
    pub description: Option<String>,
    /// With these extra specs only.
    pub specs: BTreeMap<String, String>,
    /// The order; newest first when empty.
    pub sort: Vec<(FlavorSortKey, SortDirection)>,
    /// Only what is behind this one.
    pub marker: Option<FlavorId>,
    /// How many are passed over.
    pub offset: usize,
    /// How many at most.
    pub limit: Option<usize>,
}

/// Whose flavors a list shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Public ones, and those that the project was given access to.
    UsableBy(String),
    /// Those that are not public; administrators only.
    Private,
    /// All; administrators only.
    All,
}

/// What flavors may be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlavorSortKey {
    /// When they were made.
    CreatedAt,
    /// Their names.
    Label,
    /// Their descriptions.
    Description,
    /// Private ones before public ones.
    IsPublic,
    /// Their ids.
    Id,
}

/// Every flavor that the requester may use, by label.
pub async fn list(service: &Service, request: &RequestContext) -> Result<Vec<Flavor>> {
    policy::check(request, Rule::TypeGetAll)?;
    let tenancy = policy::tenancy_of(request, Rule::TypeGet);
    service
        .database
        .read(move |tx| {
            let mut usable = Vec::new();
            for flavor in flavors::list(tx)? {
                if flavor_access::may_use(tx, tenancy.as_deref(), &flavor)? {
                    usable.push(flavor);
                }
            }
            Ok(usable)
        })
        .await
}

/// A page of flavors with their extra specs.
pub async fn page(
    service: &Service,
    request: &RequestContext,
    mut query: FlavorQuery,
) -> Result<Page<Described>> {
    policy::check(request, Rule::TypeGetAll)?;
    limits::check_list(0, query.specs.len(), query.offset)?;
    if !request.is_admin() {
        query.shown = Shown::UsableBy(request.project_id.clone());
    }
    let limit = service.page_size(query.limit);
    service
        .database
        .read(move |tx| {
            let page = Page::cut(flavor_list::page(tx, &query, limit)?, limit);
            let ids: Vec<FlavorId> = page.items.iter().map(|flavor| flavor.id).collect();
            let mut specs = flavor_specs::load_all(tx, &ids)?;
            let items = page.items.into_iter().map(|flavor| Described {
                specs: specs.remove(&flavor.id).unwrap_or_default(),
                flavor,
            });
            Ok(Page {
                items: items.collect(),
                has_more: page.has_more,
                total: None,
            })
        })
        .await
}

/// A flavor by label or id.
pub async fn get(service: &Service, request: &RequestContext, id_or_label: &str) -> Result<Flavor> {
    policy::check(request, Rule::TypeGet)?;
    let tenancy = policy::tenancy_of(request, Rule::TypeGet);
    let wanted = id_or_label.to_owned();
    service
        .database
        .read(move |tx| {
            flavors::find_for(tx, tenancy.as_deref(), &wanted)?
                .ok_or_else(|| Error::not_found(Subject::Flavor, &wanted))
        })
        .await
}

/// A flavor by id, with its extra specs.
pub async fn describe(
    service: &Service,
    request: &RequestContext,
    id: FlavorId,
) -> Result<Described> {
    policy::check(request, Rule::TypeGet)?;
    let tenancy = policy::tenancy_of(request, Rule::TypeGet);
    service
        .database
        .read(move |tx| {
            let flavor = usable(tx, &tenancy, id)?;
            described(tx, flavor)
        })
        .await
}

/// The flavor of requests that name none: the project's own default, else the one called `default`, else none.
pub async fn default(service: &Service, request: &RequestContext) -> Result<Option<Described>> {
    policy::check(request, Rule::TypeGet)?;
    let project_id = request.project_id.clone();
    service
        .database
        .read(move |tx| match default_of(tx, &project_id)? {
            Some(flavor) => described(tx, flavor).map(Some),
            None => Ok(None),
        })
        .await
}

/// Makes a public flavor without specs; a label that exists is a conflict.
pub async fn create(
    service: &Service,
    request: &RequestContext,
    label: &str,
    description: &str,
) -> Result<Flavor> {
    let new = NewFlavor {
        label: label.to_owned(),
        description: description.to_owned(),
        ..NewFlavor::default()
    };
    Ok(make(service, request, new).await?.flavor)
}

/// Makes a flavor; a label that exists is a conflict.
pub async fn make(
    service: &Service,
    request: &RequestContext,
    new: NewFlavor,
) -> Result<Described> {
    policy::check(request, Rule::TypeCreate)?;
    limits::check_name("flavor label", &new.label)?;
    limits::check_text("description", &new.description)?;
    limits::check_specs(&new.specs)?;
    let flavor = Flavor {
        id: FlavorId(service.context.new_uuid()),
        label: new.label,
        description: new.description,
        is_public: !new.is_private,
        qos_id: None,
        encryption: None,
        zones: Vec::new(),
        created_at_us: service.context.now_us(),
    };
    let specs = new.specs;
    service
        .database
        .write(move |tx| {
            if !flavors::insert(tx, &flavor)? {
                return Err(label_exists(&flavor.label));
            }
            flavor_specs::merge(tx, flavor.id, &specs)?;
            let flavor = existing(tx, flavor.id)?;
            described(tx, flavor)
        })
        .await
}

/// Changes a flavor; a label that another one has is a conflict.
pub async fn update(
    service: &Service,
    request: &RequestContext,
    id: FlavorId,
    change: FlavorChange,
) -> Result<Described> {
    policy::check(request, Rule::TypeUpdate)?;
    if let Some(label) = &change.label {
        limits::check_name("flavor label", label)?;
    }
    if let Some(description) = &change.description {
        limits::check_text("description", description)?;
    }
    let now_us = service.context.now_us();
    service
        .database
        .write(move |tx| {
            flavors::lock(tx, id)?;
            existing(tx, id)?;
            let (label, description) = (change.label.as_deref(), change.description.as_deref());
            if !flavors::rename(tx, id, label, description)? {
                return Err(label_exists(label.unwrap_or_default()));
            }
            if let Some(is_public) = change.is_public {
                flavors::set_public(tx, id, is_public, now_us)?;
            }
            let flavor = existing(tx, id)?;
            described(tx, flavor)
        })
        .await
}

/// Removes a flavor; refuses while it has backends, volumes or groups, or is a project's default, saying so.
pub async fn delete(service: &Service, request: &RequestContext, id_or_label: &str) -> Result<()> {
    policy::check(request, Rule::TypeDelete)?;
    let wanted = id_or_label.to_owned();
    service
        .database
        .write(move |tx| {
            let flavor = flavors::find(tx, &wanted)?
                .ok_or_else(|| Error::not_found(Subject::Flavor, &wanted))?;
            remove_unused(tx, &flavor)
        })
        .await
}

/// Removes a flavor as [`delete`] does, but never the one of requests that name none.
///
/// # Errors
/// `Invalid` about the flavor where it is in use or a default.
pub async fn delete_unless_default(
    service: &Service,
    request: &RequestContext,
    id: FlavorId,
) -> Result<()> {
    policy::check(request, Rule::TypeDelete)?;
    service
        .database
        .write(move |tx| {
            let flavor = existing(tx, id)?;
            if flavor.label == DEFAULT_LABEL {
                return Err(is_default(&flavor));
            }
            remove_unused(tx, &flavor)
        })
        .await
}

fn remove_unused(tx: &mut Transaction<'_>, flavor: &Flavor) -> Result<()> {
    flavors::lock(tx, flavor.id)?;
    if default_flavors::has(tx, flavor.id)? {
        return Err(is_default(flavor));
    }
    let (backends, volumes) = flavors::count_users(tx, flavor.id)?;
    let groups = flavors::count_groups(tx, flavor.id)?;
    if backends > 0 || volumes > 0 || groups > 0 {
        let and_groups = match groups {
            0 => String::new(),
            _ => format!(" and {}", counted(groups, "group")),
        };
        let text = format!(
            "Flavor {} has {} and {}{and_groups}; remove them first.",
            flavor.label,
            counted(backends, "backend"),
            counted(volumes, "volume")
        );
        let error = Error::new(ErrorKind::Conflict, Subject::Flavor, text);
        return Err(error.on(flavor.label.clone()));
    }
    flavors::remove(tx, flavor.id).map(drop)
}

/// The project's default flavor, else the one called `default`. A default that was made private since is passed over.
pub(super) fn default_of(tx: &mut Transaction<'_>, project_id: &str) -> Result<Option<Flavor>> {
    if let Some(id) = default_flavors::find(tx, project_id)?
        && let Some(flavor) = flavors::find_for(tx, Some(project_id), &id.to_string())?
    {
        return Ok(Some(flavor));
    }
    flavors::find(tx, DEFAULT_LABEL)
}

/// The flavor, if the requester may use it.
pub(super) fn usable(
    tx: &mut Transaction<'_>,
    tenancy: &policy::Tenancy,
    id: FlavorId,
) -> Result<Flavor> {
    flavors::find_for(tx, tenancy.as_deref(), &id.to_string())?
        .ok_or_else(|| Error::not_found(Subject::Flavor, id))
}

/// The flavor, for an administrator.
pub(super) fn existing(tx: &mut Transaction<'_>, id: FlavorId) -> Result<Flavor> {
    flavors::by_id(tx, id)?.ok_or_else(|| Error::not_found(Subject::Flavor, id))
}

/// The flavor, locked against new volumes of it.
///
/// # Errors
/// `NotFound`; `Invalid` with this text when it has volumes.
pub(super) fn without_volumes(
    tx: &mut Transaction<'_>,
    id: FlavorId,
    refusal: &str,
) -> Result<Flavor> {
    flavors::lock(tx, id)?;
    let flavor = existing(tx, id)?;
    if flavors::has_volumes(tx, id)? {
        let error = Error::new(ErrorKind::Invalid, Subject::Flavor, refusal);
        return Err(error.on(id.to_string()));
    }
    Ok(flavor)
}

fn described(tx: &mut Transaction<'_>, flavor: Flavor) -> Result<Described> {
    let specs = flavor_specs::load(tx, flavor.id)?;
    Ok(Described { flavor, specs })
}

fn label_exists(label: &str) -> Error {
    let text = format!("Flavor {label} already exists.");
    Error::new(ErrorKind::Conflict, Subject::Flavor, text).on(label)
}

fn is_default(flavor: &Flavor) -> Error {
    let text = format!(
        "The volume type {} is a default volume type and cannot be deleted.",
        flavor.id
    );
    Error::new(ErrorKind::Invalid, Subject::Flavor, text).on(flavor.label.clone())
}

/// `1 volume`, `2 volumes`.
pub(super) fn counted(count: u64, what: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {what}{ending}")
}
