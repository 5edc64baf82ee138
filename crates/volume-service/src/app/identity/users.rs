//! Users: made, changed, removed, and the change of one's own password.

use std::num::NonZeroU32;

use super::model::{Force, NewUser, User, UserChange, UserEntry, UserFilter};
use super::permission::{admin, own_or_admin};
use super::roles::known;
use super::{KEPT_MAX, Listed, forget_tokens, guarded, missing, new_id, page, taken};
use crate::app::{Service, limits};
use crate::auth::password;
use crate::config::Secret;
use crate::context::RequestContext;
use crate::db::{Transaction, directory, identity};
use crate::error::{Error, ErrorKind, Result, Subject};

/// Users by name; administrators only.
pub async fn users(
    service: &Service,
    request: &RequestContext,
    filter: UserFilter,
    limit: Option<usize>,
) -> Result<Listed<UserEntry>> {
    admin(request, "identity:list_users")?;
    let limit = page(limit);
    let found = service
        .database
        .read(move |tx| directory::users(tx, &filter, limit + 1))
        .await?;
    Ok(Listed::cut(found, limit))
}

/// A user by id: oneself, or as an administrator.
pub async fn user(service: &Service, request: &RequestContext, id: &str) -> Result<UserEntry> {
    own_or_admin(request, id, "identity:get_user")?;
    let wanted = id.to_owned();
    let found = service
        .database
        .read(move |tx| directory::user(tx, &wanted))
        .await?;
    found.ok_or_else(|| missing("user", id))
}

/// A user by id or, when there is no such id, by name; administrators only.
pub async fn find_user(
    service: &Service,
    request: &RequestContext,
    id_or_name: &str,
) -> Result<UserEntry> {
    admin(request, "identity:get_user")?;
    let wanted = id_or_name.to_owned();
    let found = service
        .database
        .read(move |tx| match identity::find_login(tx, &wanted)? {
            Some(login) => directory::user(tx, &login.user.id),
            None => Ok(None),
        })
        .await?;
    found.ok_or_else(|| missing("user", id_or_name))
}

/// Makes a user without any role; administrators only.
pub async fn new_user(
    service: &Service,
    request: &RequestContext,
    wanted: NewUser,
) -> Result<UserEntry> {
    admin(request, "identity:create_user")?;
    make(service, wanted, None).await
}

/// Makes a user with a password and a role in a project; administrators only.
pub async fn create_user(
    service: &Service,
    request: &RequestContext,
    name: &str,
    password: Secret,
    project: &str,
    role: &str,
) -> Result<User> {
    admin(request, "identity:create_user")?;
    let role = known(role)?;
    let wanted = project.to_owned();
    let found = service
        .database
        .read(move |tx| identity::find_project(tx, &wanted))
        .await?;
    let project = found.ok_or_else(|| missing("project", project))?;
    let wanted = NewUser {
        name: name.to_owned(),
        password: Some(password),
        email: String::new(),
        description: String::new(),
        is_enabled: true,
        default_project_id: Some(project.id.clone()),
    };
    let made = make(service, wanted, Some((project.id, role))).await?;
    Ok(made.user)
}

async fn make(
    service: &Service,
    wanted: NewUser,
    grant: Option<(String, &'static str)>,
) -> Result<UserEntry> {
    let hash = match &wanted.password {
        Some(password) => hashed(service, password).await?,
        None => String::new(),
    };
    let entry = UserEntry {
        user: User {
            id: new_id(service),
            name: wanted.name,
            default_project_id: wanted.default_project_id,
        },
        email: wanted.email,
        description: wanted.description,
        is_enabled: wanted.is_enabled,
    };
    check(&entry)?;
    let now_us = service.context.now_us();
    service
        .database
        .write(move |tx| {
            directory::lock(tx)?;
            let all = directory::users(tx, &UserFilter::default(), KEPT_MAX)?;
            if all.len() >= KEPT_MAX {
                return Err(too_many("users"));
            }
            check_default_project(tx, &entry)?;
            if !identity::insert_user(tx, &entry.user, &hash, now_us)? {
                return Err(taken("A user", &entry.user.name));
            }
            directory::update_user(tx, &entry)?;
            if let Some((project_id, role)) = &grant {
                identity::assign_role(tx, &entry.user.id, project_id, role)?;
            }
            Ok(entry.clone())
        })
        .await
}

/// Changes a user; administrators only.
///
/// # Errors
/// `Conflict` for a name that somebody has, and when the last administrator would be disabled.
pub async fn update_user(
    service: &Service,
    request: &RequestContext,
    id: &str,
    change: UserChange,
    force: Force,
) -> Result<UserEntry> {
    admin(request, "identity:update_user")?;
    let hash = match &change.password {
        Some(password) => Some(hashed(service, password).await?),
        None => None,
    };
    let id = id.to_owned();
    let now_us = service.context.now_us();
    let changed = service
        .database
        .write(move |tx| {
            guarded(tx, force, |tx| {
                let mut entry = directory::user(tx, &id)?.ok_or_else(|| missing("user", &id))?;
                let was_enabled = entry.is_enabled;
                let change = change.clone();
                if let Some(name) = change.name {
                    entry.user.name = name;
                }
                if let Some(email) = change.email {
                    entry.email = email;
                }
                if let Some(description) = change.description {
                    entry.description = description;
                }
                if let Some(project_id) = change.default_project_id {
                    entry.user.default_project_id = project_id;
                    check_default_project(tx, &entry)?;
                }
                entry.is_enabled = change.is_enabled.unwrap_or(was_enabled);
                check(&entry)?;
                if !directory::update_user(tx, &entry)? {
                    return Err(taken("A user", &entry.user.name));
                }
                if let Some(hash) = &hash {
                    directory::set_password(tx, &id, hash)?;
                }
                if hash.is_some() || (was_enabled && !entry.is_enabled) {
                    directory::end_tokens_of_user(tx, &id, now_us)?;
                }
                Ok(entry)
            })
        })
        .await?;
    forget_tokens(service);
    Ok(changed)
}

/// Replaces a password by whoever knows the present one; it ends the user's tokens.
///
/// # Errors
/// `Unauthenticated`, in the words and the time of a refused login, for an unknown or disabled user and for a wrong password.
pub async fn change_password(
    service: &Service,
    user_id: &str,
    original: Secret,
    wanted: Secret,
) -> Result<()> {
    let refused = || {
        Error::new(
            ErrorKind::Unauthenticated,
            Subject::Identity,
            "The request you have made requires authentication.",
        )
    };
    let id = user_id.to_owned();
    let found = service
        .database
        .read(move |tx| identity::find_login(tx, &id))
        .await?
        .filter(|login| login.user.id == user_id);
    let hash = found.as_ref().map(|login| login.password_hash.as_str());
    let passwords = &service.authenticator.passwords;
    let is_right = passwords
        .verify(&original, hash, service.context.now_us())
        .await?;
    let login = found
        .filter(|login| is_right && login.is_enabled)
        .ok_or_else(refused)?;
    if original.expose() == wanted.expose() {
        return Err(Error::invalid(
            "The new password must differ from the original one.",
        ));
    }
    let new_hash = hashed(service, &wanted).await?;
    // Before the change: a login with the new password may follow in the same moment.
    let now_us = service.context.now_us();
    service
        .database
        .write(move |tx| {
            directory::lock(tx)?;
            let present = identity::find_login(tx, &login.user.id)?.ok_or_else(refused)?;
            if present.password_hash != login.password_hash {
                return Err(refused().detail("the password was changed in between"));
            }
            directory::set_password(tx, &login.user.id, &new_hash)?;
            directory::end_tokens_of_user(tx, &login.user.id, now_us)
        })
        .await?;
    forget_tokens(service);
    Ok(())
}

/// Removes a user with its grants, application credentials and EC2 keys; administrators only. Its volumes stay: they are the
/// project's.
///
/// # Errors
/// `Conflict` when it is the last administrator.
pub async fn delete_user(
    service: &Service,
    request: &RequestContext,
    id: &str,
    force: Force,
) -> Result<()> {
    admin(request, "identity:delete_user")?;
    let id = id.to_owned();
    service
        .database
        .write(move |tx| {
            guarded(tx, force, |tx| {
                if directory::remove_user(tx, &id)? {
                    return Ok(());
                }
                Err(missing("user", &id))
            })
        })
        .await?;
    forget_tokens(service);
    Ok(())
}

/// The hash of a password that somebody chose.
async fn hashed(service: &Service, password: &Secret) -> Result<String> {
    let iterations: NonZeroU32 = password::CHOSEN;
    let passwords = &service.authenticator.passwords;
    passwords.hash(&service.context, password, iterations).await
}

fn check(entry: &UserEntry) -> Result<()> {
    limits::check_name("user name", &entry.user.name)?;
    limits::check_text("email", &entry.email)?;
    limits::check_text("description", &entry.description)
}

fn check_default_project(tx: &mut Transaction<'_>, entry: &UserEntry) -> Result<()> {
    if let Some(project_id) = &entry.user.default_project_id {
        directory::project(tx, project_id)?.ok_or_else(|| missing("project", project_id))?;
    }
    Ok(())
}

pub(super) fn too_many(what: &str) -> Error {
    Error::new(
        ErrorKind::QuotaExceeded,
        Subject::Identity,
        format!("There are {KEPT_MAX} {what} already, which is the most."),
    )
}
