//! Application credentials: passwords for programs, for one project, with no more roles than their maker had.

use super::model::Token;
use super::permission::{forbidden, own_or_admin};
use super::{missing, new_id, no_role, random_secret, taken};
use crate::app::{Service, limits};
use crate::auth::password;
use crate::config::Secret;
use crate::context::RequestContext;
use crate::db::credentials::{self, ApplicationCredential, PER_USER_MAX};
use crate::db::identity;
use crate::error::{Error, ErrorKind, Result, Subject};

/// An application credential that is to be made.
#[derive(Clone, Debug, Default)]
pub struct NewApplicationCredential {
    /// Unique for the user.
    pub name: String,
    /// May be empty.
    pub description: String,
    /// None: one is drawn.
    pub secret: Option<Secret>,
    /// None: all that the token has.
    pub roles: Option<Vec<String>>,
    /// Microseconds since 1970; none for never.
    pub expires_at_us: Option<i64>,
    /// Whether its tokens may make and delete application credentials.
    pub is_unrestricted: bool,
}

/// Refuses the token of an application credential that was not made to handle others.
pub(super) fn check_unrestricted(
    credential: Option<&ApplicationCredential>,
    action: &str,
) -> Result<()> {
    match credential {
        Some(credential) if !credential.is_unrestricted => Err(forbidden(action)),
        _ => Ok(()),
    }
}

/// Makes an application credential for the bearer of a token; returns it and its secret, which is not shown again.
///
/// # Errors
/// `Forbidden` for roles that the token has not, and for the token of an application credential that is not unrestricted.
pub async fn create_application_credential(
    service: &Service,
    token: &Token,
    wanted: NewApplicationCredential,
) -> Result<(ApplicationCredential, Secret)> {
    const ACTION: &str = "identity:create_application_credential";
    let NewApplicationCredential { name, .. } = &wanted;
    limits::check_name("application credential name", name)?;
    limits::check_text("description", &wanted.description)?;
    let now_us = service.context.now_us();
    if wanted.expires_at_us.is_some_and(|at| at <= now_us) {
        return Err(Error::invalid(
            "The application credential would have expired already.",
        ));
    }
    let project = token.project.as_ref().ok_or_else(|| forbidden(ACTION))?;
    let roles = wanted.roles.unwrap_or_else(|| token.roles.clone());
    if roles.is_empty() || roles.iter().any(|role| !token.roles.contains(role)) {
        return Err(forbidden(ACTION).detail("it names a role that the token has not"));
    }
    let (secret, iterations) = match wanted.secret {
        Some(secret) => (secret, password::CHOSEN),
        None => (random_secret::<32>(service), password::RANDOM),
    };
    let passwords = &service.authenticator.passwords;
    let secret_hash = passwords
        .hash(&service.context, &secret, iterations)
        .await?;
    let credential = ApplicationCredential {
        id: new_id(service),
        name: wanted.name,
        user_id: token.user.id.clone(),
        project_id: project.id.clone(),
        roles: super::implied(&roles),
        secret_hash,
        expires_at_us: wanted.expires_at_us,
        description: wanted.description,
        is_unrestricted: wanted.is_unrestricted,
    };
    let maker = token.application_credential_id.clone();
    let made = service
        .database
        .write(move |tx| {
            check_maker(tx, maker.as_deref(), ACTION)?;
            if identity::roles(tx, &credential.user_id, &credential.project_id)?.is_empty() {
                return Err(no_role(&credential.user_id));
            }
            if credentials::count_application_credentials(tx, &credential.user_id)? >= PER_USER_MAX
            {
                return Err(too_many("application credentials"));
            }
            if credentials::insert_application_credential(tx, &credential, now_us)? {
                return Ok(credential.clone());
            }
            Err(taken("An application credential", &credential.name))
        })
        .await?;
    Ok((made, secret))
}

/// The application credential behind the token that asks must be there and unrestricted.
fn check_maker(
    tx: &mut crate::db::Transaction<'_>,
    maker: Option<&str>,
    action: &str,
) -> Result<()> {
    let Some(maker) = maker else { return Ok(()) };
    let found = credentials::find_application_credential(tx, maker)?;
    let found = found.ok_or_else(|| forbidden(action))?;
    check_unrestricted(Some(&found), action)
}

/// A user's application credentials: one's own, or as an administrator.
pub async fn application_credentials(
    service: &Service,
    request: &RequestContext,
    user_id: &str,
) -> Result<Vec<ApplicationCredential>> {
    own_or_admin(request, user_id, "identity:list_application_credentials")?;
    let user_id = user_id.to_owned();
    service
        .database
        .read(move |tx| credentials::application_credentials_of(tx, &user_id))
        .await
}

/// One of them.
pub async fn application_credential(
    service: &Service,
    request: &RequestContext,
    user_id: &str,
    id: &str,
) -> Result<ApplicationCredential> {
    own_or_admin(request, user_id, "identity:get_application_credential")?;
    let wanted = id.to_owned();
    let found = service
        .database
        .read(move |tx| credentials::find_application_credential(tx, &wanted))
        .await?;
    found
        .filter(|credential| credential.user_id == user_id)
        .ok_or_else(|| missing("application credential", id))
}

/// Removes one, and with it its tokens.
pub async fn delete_application_credential(
    service: &Service,
    request: &RequestContext,
    maker: Option<&str>,
    user_id: &str,
    id: &str,
) -> Result<()> {
    const ACTION: &str = "identity:delete_application_credential";
    own_or_admin(request, user_id, ACTION)?;
    let (user_id, id) = (user_id.to_owned(), id.to_owned());
    let maker = maker.map(str::to_owned);
    service
        .database
        .write(move |tx| {
            check_maker(tx, maker.as_deref(), ACTION)?;
            if credentials::remove_application_credential(tx, &user_id, &id)? {
                return Ok(());
            }
            Err(missing("application credential", &id))
        })
        .await?;
    super::forget_tokens(service);
    Ok(())
}

pub(super) fn too_many(what: &str) -> Error {
    Error::new(
        ErrorKind::QuotaExceeded,
        Subject::Identity,
        format!("The user has {PER_USER_MAX} {what} already, which is the most."),
    )
}
