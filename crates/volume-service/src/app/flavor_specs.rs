//! Extra specs of flavors: what backends must be able to do. They stay as they are while there are volumes of the flavor.

use std::collections::BTreeMap;

use super::flavors::{usable, without_volumes};
use super::{Service, limits, policy};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::{Transaction, flavor_specs};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::flavor::ZONES_SPEC;
use crate::model::id::FlavorId;

/// What everybody may read of a flavor's specs; the others tell of the installation.
pub const VISIBLE: [&str; 3] = ["multiattach", ZONES_SPEC, "replication_enabled"];

/// How a spec says yes.
const YES: &str = "<is> True";
const IN_USE: &str = "Volume Type is currently in use.";

/// A flavor's specs, as far as the requester may read them.
pub async fn list(
    service: &Service,
    request: &RequestContext,
    id: FlavorId,
) -> Result<BTreeMap<String, String>> {
    policy::check_routed(request, Rule::TypesExtraSpecsIndex)?;
    let tenancy = policy::tenancy_of(request, Rule::TypesExtraSpecsIndex);
    let specs = service
        .database
        .read(move |tx| {
            usable(tx, &tenancy, id)?;
            flavor_specs::load(tx, id)
        })
        .await?;
    Ok(shown(request, specs))
}

/// What of a flavor's specs the requester may read.
pub fn shown(
    request: &RequestContext,
    mut specs: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    if !request.shows(Rule::TypesExtraSpecsReadSensitive) {
        specs.retain(|name, _| VISIBLE.contains(&name.as_str()));
    }
    specs
}

/// One spec.
///
/// # Errors
/// `NotFound` where there is none, or none that the requester may read.
pub async fn get(
    service: &Service,
    request: &RequestContext,
    id: FlavorId,
    name: &str,
) -> Result<String> {
    let mut specs = list(service, request, id).await?;
    specs.remove(name).ok_or_else(|| missing(id, name))
}

/// Adds specs, or gives them other values.
///
/// # Errors
/// `Invalid` while there are volumes of the flavor, and for specs that exclude each other.
pub async fn set(
    service: &Service,
    request: &RequestContext,
    id: FlavorId,
    specs: BTreeMap<String, String>,
) -> Result<()> {
    policy::check_routed(request, Rule::TypesExtraSpecsCreate)?;
    limits::check_specs(&specs)?;
    service
        .database
        .write(move |tx| {
            without_volumes(tx, id, IN_USE)?;
            flavor_specs::merge(tx, id, &specs)?;
            check_all(tx, id)
        })
        .await
}

/// Removes a spec.
///
/// # Errors
/// `NotFound`; `Invalid` while there are volumes of the flavor.
pub async fn remove(
    service: &Service,
    request: &RequestContext,
    id: FlavorId,
    name: &str,
) -> Result<()> {
    policy::check(request, Rule::TypesExtraSpecsDelete)?;
    let name = name.to_owned();
    service
        .database
        .write(move |tx| {
            without_volumes(tx, id, IN_USE)?;
            if flavor_specs::remove(tx, id, &name)? {
                return Ok(());
            }
            Err(missing(id, &name))
        })
        .await
}

fn check_all(tx: &mut Transaction<'_>, id: FlavorId) -> Result<()> {
    let all = flavor_specs::load(tx, id)?;
    limits::check_specs(&all)?;
    let says_yes = |name: &str| all.get(name).is_some_and(|value| value == YES);
    if says_yes("multiattach") && says_yes("cacheable") {
        return Err(Error::invalid("cacheable cannot be set with multiattach."));
    }
    Ok(())
}

fn missing(id: FlavorId, name: &str) -> Error {
    let text = format!("Volume Type {id} has no extra specs with key {name}.");
    Error::new(ErrorKind::NotFound, Subject::Request, text).on(name)
}
