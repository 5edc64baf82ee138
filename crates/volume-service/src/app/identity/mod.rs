//! The built-in identity: users, projects, roles, tokens, application credentials, EC2 keys.
//!
//! Who may do what follows Keystone's defaults: an administrator everything, everybody else what concerns itself. Every
//! change of users, projects and grants takes one lock and is refused when it would leave no administrator.

mod application_credentials;
mod bootstrap;
mod ec2_keys;
mod model;
mod permission;
mod projects;
mod roles;
mod users;

pub use super::tokens::{
    authenticate, is_service, issue_for_key, issue_for_user, revoke, validate, validate_expired,
};
pub use application_credentials::{
    NewApplicationCredential, application_credential, application_credentials,
    create_application_credential, delete_application_credential,
};
pub use bootstrap::{FirstCredentials, bootstrap, has_users};
pub use ec2_keys::{
    ShownKey, create_ec2_key, delete_ec2_key, ec2_key, ec2_keys, import_ec2_key, show_ec2_key,
};
pub use model::{
    Credentials, Force, Grant, GrantFilter, NewUser, Project, ProjectChange, ProjectEntry,
    ProjectFilter, Scope, Token, User, UserChange, UserEntry, UserFilter,
};
pub use permission::{admin, forbidden, own_or_admin};
pub use projects::{
    create_project, delete_project, new_project, project, projects, projects_of, update_project,
};
pub use roles::{EVERY_ROLE, ROLES, SERVICE_ROLE, grant, grants, has_grant, implied, revoke_grant};
pub use users::{
    change_password, create_user, delete_user, find_user, new_user, update_user, user, users,
};

use base64::Engine as _;

use super::Service;
use crate::config::Secret;
use crate::db::credentials::Ec2Key;
use crate::db::{Transaction, directory};
use crate::error::{Error, ErrorKind, Result, Subject};

/// Most users, projects or grants that one list shows.
pub const LIST_MAX: usize = 10_000;
/// Most users, and most projects, that are kept.
const KEPT_MAX: usize = 100_000;

/// Items of a list, and whether there are more behind them.
#[derive(Clone, Debug)]
pub struct Listed<T> {
    /// The items, in order.
    pub items: Vec<T>,
    /// True when the list was cut.
    pub is_truncated: bool,
}

impl<T> Listed<T> {
    /// Of items that were read with one more than `limit`.
    fn cut(mut items: Vec<T>, limit: usize) -> Self {
        let is_truncated = items.len() > limit;
        items.truncate(limit);
        Listed {
            items,
            is_truncated,
        }
    }
}

fn page(asked: Option<usize>) -> usize {
    asked.map_or(LIST_MAX, |asked| asked.clamp(1, LIST_MAX))
}

/// Runs a change of the directory that must not take the last administrator away.
fn guarded<T>(
    tx: &mut Transaction<'_>,
    force: Force,
    change: impl FnOnce(&mut Transaction<'_>) -> Result<T>,
) -> Result<T> {
    directory::lock(tx)?;
    let had = directory::has_administrator(tx)?;
    let done = change(tx)?;
    if force == Force::No && had && !directory::has_administrator(tx)? {
        return Err(Error::new(
            ErrorKind::Conflict,
            Subject::Identity,
            "This would leave no enabled administrator. Give somebody else the role admin first, \
             or insist with --force at the machine.",
        ));
    }
    Ok(done)
}

/// What this process remembers of tokens and keys is looked up again.
fn forget_tokens(service: &Service) {
    service.authenticator.validated.clear();
    service.authenticator.ec2_keys.clear();
}

fn sealed_key(
    service: &Service,
    access_key: &str,
    secret: &Secret,
    user_id: &str,
    project_id: &str,
) -> Ec2Key {
    Ec2Key {
        access_key: access_key.to_owned(),
        user_id: user_id.to_owned(),
        project_id: project_id.to_owned(),
        sealed_secret: service
            .vault
            .seal(&seal_name(access_key), secret.expose().as_bytes()),
    }
}

fn seal_name(access_key: &str) -> String {
    format!("ec2_key:{access_key}")
}

/// 32 hex digits.
fn new_id(service: &Service) -> String {
    service.context.new_uuid().simple().to_string()
}

/// `N` random bytes as text that needs no quoting anywhere.
fn random_secret<const N: usize>(service: &Service) -> Secret {
    let bytes = zeroize::Zeroizing::new(service.context.random_bytes::<N>());
    Secret::new(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&bytes[..]))
}

fn taken(what: &str, name: &str) -> Error {
    Error::new(
        ErrorKind::Conflict,
        Subject::Identity,
        format!("{what} named {name} exists already."),
    )
    .on(name)
}

fn no_role(user_id: &str) -> Error {
    Error::new(
        ErrorKind::Forbidden,
        Subject::Identity,
        "The user has no role in that project.",
    )
    .on(user_id)
}

/// What Keystone says of something that is not there.
pub fn missing(what: &str, id: &str) -> Error {
    let id: String = id.chars().take(64).collect();
    Error::new(
        ErrorKind::NotFound,
        Subject::Identity,
        format!("Could not find {what}: {id}."),
    )
    .on(id)
}
