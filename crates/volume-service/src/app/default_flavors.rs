//! The flavors of requests that name none, by project; administrators only.

use super::{Service, policy};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::{Transaction, default_flavors, flavors, identity};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::id::FlavorId;

/// A project's default flavor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultFlavor {
    /// The project.
    pub project_id: String,
    /// Its flavor.
    pub flavor_id: FlavorId,
}

/// All of them, by project.
pub async fn list(service: &Service, request: &RequestContext) -> Result<Vec<DefaultFlavor>> {
    policy::check(request, Rule::DefaultGetAll)?;
    let found = service.database.read(default_flavors::list).await?;
    Ok(found
        .into_iter()
        .map(|(project_id, flavor_id)| DefaultFlavor {
            project_id,
            flavor_id,
        })
        .collect())
}

/// A project's own default.
///
/// # Errors
/// `NotFound` when it has none, or there is no such project.
pub async fn get(
    service: &Service,
    request: &RequestContext,
    project_id: &str,
) -> Result<DefaultFlavor> {
    policy::check(request, Rule::DefaultGet)?;
    let is_ours = service.config.keystone.is_none();
    let project_id = project_id.to_owned();
    service
        .database
        .read(move |tx| {
            check_project(tx, is_ours, &project_id)?;
            let found = default_flavors::find(tx, &project_id)?;
            let flavor_id = found.ok_or_else(|| {
                let text = format!("Default type for project {project_id} not found.");
                Error::new(ErrorKind::NotFound, Subject::Request, text)
            })?;
            Ok(DefaultFlavor {
                project_id: project_id.clone(),
                flavor_id,
            })
        })
        .await
}

/// Gives a project a default of its own, by label or id.
///
/// # Errors
/// `NotFound` about the project, `Invalid` about the flavor.
pub async fn set(
    service: &Service,
    request: &RequestContext,
    project_id: &str,
    flavor: &str,
) -> Result<DefaultFlavor> {
    policy::check(request, Rule::DefaultSetOrUpdate)?;
    let is_ours = service.config.keystone.is_none();
    let (project_id, wanted) = (project_id.to_owned(), flavor.to_owned());
    service
        .database
        .write(move |tx| {
            check_project(tx, is_ours, &project_id)?;
            let flavor = flavors::find(tx, &wanted)?.ok_or_else(|| {
                let text = format!("Volume type with name {wanted} could not be found.");
                Error::new(ErrorKind::Invalid, Subject::Flavor, text).on(wanted.clone())
            })?;
            default_flavors::set(tx, &project_id, flavor.id)?;
            Ok(DefaultFlavor {
                project_id: project_id.clone(),
                flavor_id: flavor.id,
            })
        })
        .await
}

/// Takes a project's default away, if it has one; the project itself may be gone.
pub async fn unset(service: &Service, request: &RequestContext, project_id: &str) -> Result<()> {
    policy::check(request, Rule::DefaultUnset)?;
    let project_id = project_id.to_owned();
    service
        .database
        .write(move |tx| default_flavors::unset(tx, &project_id))
        .await
}

/// Refuses a project that is not there; those of a Keystone are known to it alone.
fn check_project(tx: &mut Transaction<'_>, is_ours: bool, project_id: &str) -> Result<()> {
    if !is_ours {
        return Ok(());
    }
    let found = identity::find_project(tx, project_id)?;
    if found.is_some_and(|project| project.id == project_id) {
        return Ok(());
    }
    let text = format!("Project with id {project_id} not found.");
    Err(Error::new(ErrorKind::NotFound, Subject::Identity, text).on(project_id))
}
