//! Which projects may use flavors that are not public; administrators only.

use super::flavors::existing;
use super::{Service, policy};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::flavor_access;
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::id::FlavorId;

const PUBLIC: &str =
    "Invalid volume type: Type access modification is not applicable to public volume type.";

/// The projects that were given access.
///
/// # Errors
/// `NotFound` for a public flavor, which has no such list.
pub async fn list(
    service: &Service,
    request: &RequestContext,
    id: FlavorId,
) -> Result<Vec<String>> {
    policy::check(request, Rule::VolumeTypeAccessGetAllForType)?;
    service
        .database
        .read(move |tx| {
            if existing(tx, id)?.is_public {
                let text = "Access list not available for public volume types.";
                return Err(Error::new(ErrorKind::NotFound, Subject::Request, text));
            }
            flavor_access::list(tx, id)
        })
        .await
}

/// Gives a project access.
///
/// # Errors
/// `Invalid` for a public flavor, `Conflict` when the project has access.
pub async fn add(
    service: &Service,
    request: &RequestContext,
    id: FlavorId,
    project_id: &str,
) -> Result<()> {
    policy::check(request, Rule::VolumeTypeAccessAddProjectAccess)?;
    let project_id = project_id.to_owned();
    service
        .database
        .write(move |tx| {
            if existing(tx, id)?.is_public {
                return Err(Error::invalid(PUBLIC));
            }
            if flavor_access::add(tx, id, &project_id)? {
                return Ok(());
            }
            let text =
                format!("Volume type access for {id} / {project_id} combination already exists.");
            Err(Error::new(ErrorKind::Conflict, Subject::Request, text))
        })
        .await
}

/// Takes a project's access away. Its volumes stay as they are.
///
/// # Errors
/// `Invalid` for a public flavor, `NotFound` when the project has no access.
pub async fn remove(
    service: &Service,
    request: &RequestContext,
    id: FlavorId,
    project_id: &str,
) -> Result<()> {
    policy::check(request, Rule::VolumeTypeAccessRemoveProjectAccess)?;
    let project_id = project_id.to_owned();
    service
        .database
        .write(move |tx| {
            if existing(tx, id)?.is_public {
                return Err(Error::invalid(PUBLIC));
            }
            if flavor_access::remove(tx, id, &project_id)? {
                return Ok(());
            }
            let text = format!("Volume type access not found for {id} / {project_id} combination.");
            Err(Error::new(ErrorKind::NotFound, Subject::Request, text))
        })
        .await
}
