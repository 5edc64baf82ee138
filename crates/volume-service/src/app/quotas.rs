//! What projects have and may have, and administrators who say how much.

use std::collections::BTreeMap;

use super::quota::effective;
use super::{Service, policy};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::quotas::{self, LimitsByKey};
use crate::db::{Transaction, flavors};
use crate::error::{Error, Result};
use crate::model::flavor::Flavor;
use crate::model::quota::{QuotaKey, Resource, Usage};

/// Largest limit, which is Cinder's.
pub const LIMIT_MAX: i64 = 0x7fff_ffff;
/// Longest name of a project or class that a limit is set for, in characters.
const OWNER_MAX: usize = 255;

/// One limit and how much of it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// What is limited, as users know it: `volumes`, or `volumes_gold` for the flavor `gold`.
    pub name: String,
    /// How much is used.
    pub in_use: u64,
    /// The most that may be used; negative for no limit.
    pub limit: i64,
}

/// A project's quotas with what is used; those of another project for administrators only.
pub async fn show(
    service: &Service,
    request: &RequestContext,
    project_id: &str,
) -> Result<Vec<Quota>> {
    may_see(request, project_id)?;
    shown(service, project_id).await
}

/// The same as absolute limits, for which Cinder has no policy; administrators may ask for any project's.
pub async fn limits(
    service: &Service,
    request: &RequestContext,
    project_id: &str,
) -> Result<Vec<Quota>> {
    if project_id != request.project_id {
        policy::is_admin(request)?;
    }
    shown(service, project_id).await
}

async fn shown(service: &Service, project_id: &str) -> Result<Vec<Quota>> {
    let project_id = project_id.to_owned();
    let configured = service.config.limits.clone();
    service
        .database
        .read(move |tx| {
            let known = Known::load(tx)?;
            let limits = limits_for(tx, &project_id)?;
            let usage = used(tx, &project_id)?;
            Ok(known.quotas(
                |key| effective(key, &limits, &configured),
                |key| usage.of(key),
            ))
        })
        .await
}

/// The quotas of a project for which nobody set any.
pub async fn defaults(
    service: &Service,
    request: &RequestContext,
    project_id: &str,
) -> Result<Vec<Quota>> {
    may_see(request, project_id)?;
    of_class_unchecked(service, quotas::DEFAULT_CLASS).await
}

/// The quotas of a class; those that were not set are those of every project.
pub async fn of_class(
    service: &Service,
    request: &RequestContext,
    class: &str,
) -> Result<Vec<Quota>> {
    policy::check(request, Rule::QuotaClassesGet)?;
    of_class_unchecked(service, class).await
}

async fn of_class_unchecked(service: &Service, class: &str) -> Result<Vec<Quota>> {
    let class = class.to_owned();
    let configured = service.config.limits.clone();
    service
        .database
        .read(move |tx| {
            let known = Known::load(tx)?;
            let mut limits = quotas::limits_of_class(tx, quotas::DEFAULT_CLASS)?;
            limits.extend(quotas::limits_of_class(tx, &class)?);
            Ok(known.quotas(|key| effective(key, &limits, &configured), |_| 0))
        })
        .await
}

/// Sets limits of a project, all or none of them.
///
/// # Errors
/// `Invalid` for a name that is not known, a limit below -1 or above [`LIMIT_MAX`], and one below what is used.
pub async fn update(
    service: &Service,
    request: &RequestContext,
    project_id: &str,
    wanted: BTreeMap<String, i64>,
) -> Result<Vec<Quota>> {
    policy::check(request, Rule::QuotasUpdate)?;
    check_owner(project_id)?;
    check_numbers(&wanted)?;
    let project = project_id.to_owned();
    service
        .database
        .write(move |tx| {
            let keys = Known::load(tx)?.keys(&wanted, "quota set")?;
            let usage = used(tx, &project)?;
            for (name, key, limit) in keys {
                let in_use = usage.of(key);
                if u64::try_from(limit).is_ok_and(|limit| limit < in_use) {
                    return Err(Error::invalid(format!(
                        "Quota {name} limit must be equal or greater than existing resources. Current usage is {in_use} \
                         and the requested limit is {limit}."
                    )));
                }
                quotas::set_of_project(tx, &project, key, limit)?;
            }
            Ok(())
        })
        .await?;
    show(service, request, project_id).await
}

/// Sets limits of a class, all or none of them; those of `default` hold for every project without limits of its own at once.
pub async fn update_class(
    service: &Service,
    request: &RequestContext,
    class: &str,
    wanted: BTreeMap<String, i64>,
) -> Result<Vec<Quota>> {
    policy::check(request, Rule::QuotaClassesUpdate)?;
    check_owner(class)?;
    check_numbers(&wanted)?;
    let name = class.to_owned();
    service
        .database
        .write(move |tx| {
            for (_, key, limit) in Known::load(tx)?.keys(&wanted, "quota class set")? {
                quotas::set_of_class(tx, &name, key, limit)?;
            }
            Ok(())
        })
        .await?;
    of_class_unchecked(service, class).await
}

/// Removes every limit that was set for a project.
pub async fn delete(service: &Service, request: &RequestContext, project_id: &str) -> Result<()> {
    policy::check(request, Rule::QuotasDelete)?;
    let project_id = project_id.to_owned();
    service
        .database
        .write(move |tx| quotas::remove_of_project(tx, &project_id))
        .await
}

fn may_see(request: &RequestContext, project_id: &str) -> Result<()> {
    let rule = request.rule.unwrap_or(Rule::QuotasShow);
    policy::tenancy_of(request, rule).check(project_id, None)
}

fn check_owner(name: &str) -> Result<()> {
    let length = name.chars().count();
    if (1..=OWNER_MAX).contains(&length) && !name.contains('\0') {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "The name of a quota set must have 1 to {OWNER_MAX} characters, found {length}."
    )))
}

fn check_numbers(wanted: &BTreeMap<String, i64>) -> Result<()> {
    match wanted
        .iter()
        .find(|(_, limit)| !(-1..=LIMIT_MAX).contains(*limit))
    {
        None => Ok(()),
        Some((name, limit)) => Err(Error::invalid(format!(
            "Invalid input received: {name} must be -1 to {LIMIT_MAX}, found {limit}."
        ))),
    }
}

/// The limits that were set for a project or for every project.
fn limits_for(tx: &mut Transaction<'_>, project_id: &str) -> Result<LimitsByKey> {
    let mut limits = quotas::limits_of_class(tx, quotas::DEFAULT_CLASS)?;
    limits.extend(quotas::limits_of_project(tx, project_id)?);
    Ok(limits)
}

/// What a project uses.
struct Used {
    project: Usage,
    by_flavor: BTreeMap<String, Usage>,
    groups: u64,
}

fn used(tx: &mut Transaction<'_>, project_id: &str) -> Result<Used> {
    let by_flavor = quotas::usage_by_flavor(tx, project_id)?;
    let mut project = Usage::default();
    for usage in by_flavor.values() {
        project.volumes += usage.volumes;
        project.gigabytes += usage.gigabytes;
        project.snapshots += usage.snapshots;
    }
    Ok(Used {
        project,
        by_flavor,
        groups: quotas::groups(tx, project_id)?,
    })
}

impl Used {
    fn of(&self, key: QuotaKey) -> u64 {
        match (key.flavor, key.resource) {
            (None, Resource::Groups) => self.groups,
            (None, resource) => self.project.of(resource),
            (Some(flavor), resource) => self
                .by_flavor
                .get(&flavor.to_string())
                .map_or(0, |usage| usage.of(resource)),
        }
    }
}

/// The flavors, whose labels are part of the names.
struct Known(Vec<Flavor>);

impl Known {
    fn load(tx: &mut Transaction<'_>) -> Result<Self> {
        Ok(Known(flavors::list(tx)?))
    }

    /// Every quota that there is.
    fn quotas(
        &self,
        limit: impl Fn(QuotaKey) -> i64,
        in_use: impl Fn(QuotaKey) -> u64,
    ) -> Vec<Quota> {
        let of_flavors = self.0.iter().flat_map(|flavor| {
            Resource::OF_FLAVOR.map(|resource| {
                let name = format!("{}_{}", resource.as_str(), flavor.label);
                (name, QuotaKey::of_flavor(resource, flavor.id))
            })
        });
        Resource::ALL
            .map(|resource| (resource.as_str().to_owned(), QuotaKey::of_project(resource)))
            .into_iter()
            .chain(of_flavors)
            .map(|(name, key)| Quota {
                name,
                in_use: in_use(key),
                limit: limit(key),
            })
            .collect()
    }

    /// What the names of a request mean.
    fn keys(
        &self,
        wanted: &BTreeMap<String, i64>,
        what: &str,
    ) -> Result<Vec<(String, QuotaKey, i64)>> {
        let mut keys = Vec::with_capacity(wanted.len());
        let mut bad = Vec::new();
        for (name, limit) in wanted {
            match self.key(name) {
                Some(key) => keys.push((name.clone(), key, *limit)),
                None => bad.push(name.as_str()),
            }
        }
        if bad.is_empty() {
            return Ok(keys);
        }
        Err(Error::invalid(format!(
            "Invalid input received: Bad key(s) in {what}: {}",
            bad.join(", ")
        )))
    }

    fn key(&self, name: &str) -> Option<QuotaKey> {
        if let Some(resource) = Resource::ALL.into_iter().find(|r| r.as_str() == name) {
            return Some(QuotaKey::of_project(resource));
        }
        Resource::OF_FLAVOR.into_iter().find_map(|resource| {
            let label = name.strip_prefix(resource.as_str())?.strip_prefix('_')?;
            let flavor = self.0.iter().find(|flavor| flavor.label == label)?;
            Some(QuotaKey::of_flavor(resource, flavor.id))
        })
    }
}
