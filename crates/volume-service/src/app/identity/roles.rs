//! The roles that there are, and who has which where.

use super::model::{Force, Grant, GrantFilter};
use super::permission::{admin, own_or_admin};
use super::{LIST_MAX, Listed, forget_tokens, guarded, missing};
use crate::app::Service;
use crate::context::RequestContext;
use crate::db::{Transaction, credentials, directory, identity};
use crate::error::{Error, Result};

/// The roles of people; each implies those behind it.
pub const ROLES: [&str; 3] = ["admin", "member", "reader"];
/// The role of services that speak for their users; implies nothing and is implied by nothing.
pub const SERVICE_ROLE: &str = "service";
/// Every role.
pub const EVERY_ROLE: [&str; 4] = ["admin", "member", "reader", SERVICE_ROLE];

/// The roles that these imply, strongest first, and themselves.
pub fn implied(held: &[String]) -> Vec<String> {
    let strongest = ROLES
        .iter()
        .position(|role| held.iter().any(|held| held == role))
        .unwrap_or(ROLES.len());
    let is_service = held.iter().any(|held| held == SERVICE_ROLE);
    ROLES[strongest..]
        .iter()
        .copied()
        .chain(is_service.then_some(SERVICE_ROLE))
        .map(str::to_owned)
        .collect()
}

/// The role of this name.
pub(super) fn known(role: &str) -> Result<&'static str> {
    EVERY_ROLE
        .into_iter()
        .find(|known| *known == role)
        .ok_or_else(|| {
            Error::invalid(format!(
                "Role '{role}' is unknown; expected one of: {}.",
                EVERY_ROLE.join(", ")
            ))
        })
}

/// The grants that match: administrators see all, everybody its own.
pub async fn grants(
    service: &Service,
    request: &RequestContext,
    filter: GrantFilter,
) -> Result<Listed<Grant>> {
    match &filter.user_id {
        Some(user_id) if filter.project_id.is_some() => {
            own_or_admin(request, user_id, "identity:list_grants")?;
        }
        _ => admin(request, "identity:list_role_assignments")?,
    }
    let found = service
        .database
        .read(move |tx| directory::grants(tx, &filter, LIST_MAX + 1))
        .await?;
    Ok(Listed::cut(found, LIST_MAX))
}

/// True when the user has this very role in the project; administrators only.
///
/// # Errors
/// `NotFound` when user or project is not there.
pub async fn has_grant(
    service: &Service,
    request: &RequestContext,
    user_id: &str,
    project_id: &str,
    role: &str,
) -> Result<bool> {
    admin(request, "identity:check_grant")?;
    let role = known(role)?;
    let (user_id, project_id) = (user_id.to_owned(), project_id.to_owned());
    service
        .database
        .read(move |tx| {
            find_both(tx, &user_id, &project_id)?;
            let held = identity::roles(tx, &user_id, &project_id)?;
            Ok(held.iter().any(|held| held == role))
        })
        .await
}

/// Gives a user a role in a project; administrators only. Giving it twice is no error.
pub async fn grant(
    service: &Service,
    request: &RequestContext,
    user_id: &str,
    project_id: &str,
    role: &str,
) -> Result<()> {
    admin(request, "identity:create_grant")?;
    let role = known(role)?;
    let (user_id, project_id) = (user_id.to_owned(), project_id.to_owned());
    service
        .database
        .write(move |tx| {
            directory::lock(tx)?;
            find_both(tx, &user_id, &project_id)?;
            identity::assign_role(tx, &user_id, &project_id, role)
        })
        .await?;
    forget_tokens(service);
    Ok(())
}

/// Takes a role of a user in a project away, and the application credentials that the user made there; administrators only.
///
/// # Errors
/// `NotFound` when the user has not the role; `Conflict` when nobody else is an administrator.
pub async fn revoke_grant(
    service: &Service,
    request: &RequestContext,
    user_id: &str,
    project_id: &str,
    role: &str,
    force: Force,
) -> Result<()> {
    admin(request, "identity:revoke_grant")?;
    let role = known(role)?;
    let (user_id, project_id) = (user_id.to_owned(), project_id.to_owned());
    service
        .database
        .write(move |tx| {
            guarded(tx, force, |tx| {
                find_both(tx, &user_id, &project_id)?;
                if !directory::remove_role(tx, &user_id, &project_id, role)? {
                    return Err(missing("role assignment with role", role));
                }
                credentials::remove_application_credentials_in(tx, &user_id, &project_id)
            })
        })
        .await?;
    forget_tokens(service);
    Ok(())
}

fn find_both(tx: &mut Transaction<'_>, user_id: &str, project_id: &str) -> Result<()> {
    directory::user(tx, user_id)?.ok_or_else(|| missing("user", user_id))?;
    directory::project(tx, project_id)?.ok_or_else(|| missing("project", project_id))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_administrator_is_a_member_and_a_service_is_nothing_else() {
        let of = |held: &[&str]| implied(&held.iter().map(|r| (*r).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&["admin"]), ["admin", "member", "reader"]);
        assert_eq!(of(&["reader", "member"]), ["member", "reader"]);
        assert_eq!(of(&["service"]), ["service"]);
        assert_eq!(of(&["service", "reader"]), ["reader", "service"]);
        assert!(of(&["king"]).is_empty());
    }
}
