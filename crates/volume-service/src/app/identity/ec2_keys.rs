//! EC2 key pairs: what signs requests of the EC2 API.

use super::application_credentials::too_many;
use super::permission::own_or_admin;
use super::{implied, missing, new_id, no_role, random_secret, seal_name, sealed_key};
use crate::app::{Service, limits};
use crate::config::Secret;
use crate::context::RequestContext;
use crate::db::credentials::{self, Ec2Key, PER_USER_MAX};
use crate::db::identity;
use crate::error::{Error, ErrorKind, Result, Subject};

/// An EC2 key as it is shown: the secret to its user and to nobody else.
#[derive(Clone, Debug)]
pub struct ShownKey {
    /// Its public id.
    pub access_key: String,
    /// Whom it acts for.
    pub user_id: String,
    /// In which project.
    pub project_id: String,
    /// None for everybody but its user.
    pub secret: Option<Secret>,
}

/// The secret of an EC2 access key and who it acts for; the API verifies the signature with it.
pub async fn ec2_key(service: &Service, access_key: &str) -> Result<(Secret, RequestContext)> {
    if service.token_source.is_some() {
        return Err(Error::new(
            ErrorKind::Unauthenticated,
            Subject::Identity,
            "EC2 keys are Keystone's.",
        ));
    }
    let known = &service.authenticator.ec2_keys;
    let now_us = service.context.now_us();
    let wanted = access_key.to_owned();
    if let Some((secret, mut request)) = known.get(&wanted, now_us) {
        request.request_id = format!("req-{}", service.context.new_uuid());
        return Ok((secret, request.under(&service.config.policies)));
    }
    let changes = known.changes();
    let found = service
        .database
        .read(move |tx| {
            let Some(key) = credentials::find_ec2_key(tx, &wanted)? else {
                return Ok(None);
            };
            let user = identity::find_login(tx, &key.user_id)?;
            let project = identity::find_target(tx, &key.project_id)?;
            if !user.is_some_and(|user| user.is_enabled)
                || !project.is_some_and(|project| project.is_enabled)
            {
                return Ok(None);
            }
            let roles = identity::roles(tx, &key.user_id, &key.project_id)?;
            Ok(Some((key, roles)))
        })
        .await?;
    let unknown = || {
        Error::new(
            ErrorKind::Unauthenticated,
            Subject::Identity,
            "The access key is not known.",
        )
        .on(access_key.chars().take(64).collect::<String>())
    };
    let (key, roles) = found.ok_or_else(unknown)?;
    let roles = implied(&roles);
    if roles.is_empty() {
        return Err(unknown().detail("its user has no role in its project any more"));
    }
    let secret = opened(service, &key)?;
    let request_id = format!("req-{}", service.context.new_uuid());
    let request = RequestContext::new(request_id, key.user_id, key.project_id, roles)
        .under(&service.config.policies);
    // What was read before a change in this process must not be remembered after it.
    let found = (secret.clone(), request.clone());
    known.insert_unless_changed(changes, access_key.to_owned(), found, now_us);
    Ok((secret, request))
}

fn opened(service: &Service, key: &Ec2Key) -> Result<Secret> {
    let secret = service
        .vault
        .open(&seal_name(&key.access_key), &key.sealed_secret)?;
    let secret = std::str::from_utf8(&secret).map_err(|error| {
        Error::new(
            ErrorKind::Internal,
            Subject::Identity,
            "An unexpected error has occurred.",
        )
        .caused_by(error)
    })?;
    Ok(Secret::new(secret))
}

/// Makes an EC2 key pair for a user in a project; the user itself or an administrator.
pub async fn create_ec2_key(
    service: &Service,
    request: &RequestContext,
    user_id: &str,
    project_id: &str,
) -> Result<(String, Secret)> {
    own_or_admin(request, user_id, "identity:ec2_create_credential")?;
    let secret = random_secret::<30>(service);
    let key = sealed_key(service, &new_id(service), &secret, user_id, project_id);
    let access_key = key.access_key.clone();
    insert(service, key).await?;
    Ok((access_key, secret))
}

/// Stores an EC2 key pair that was made elsewhere; the user itself or an administrator.
///
/// # Errors
/// `Conflict` when the access key is there already.
pub async fn import_ec2_key(
    service: &Service,
    request: &RequestContext,
    user_id: &str,
    project_id: &str,
    access_key: &str,
    secret: &Secret,
) -> Result<()> {
    own_or_admin(request, user_id, "identity:create_credential")?;
    limits::check_name("access key", access_key)?;
    if secret.expose().is_empty() || secret.expose().len() > limits::TEXT_MAX {
        return Err(Error::invalid("An EC2 secret has 1 to 255 bytes."));
    }
    let key = sealed_key(service, access_key, secret, user_id, project_id);
    insert(service, key).await
}

async fn insert(service: &Service, key: Ec2Key) -> Result<()> {
    let now_us = service.context.now_us();
    service
        .database
        .write(move |tx| {
            if identity::roles(tx, &key.user_id, &key.project_id)?.is_empty() {
                return Err(no_role(&key.user_id));
            }
            if credentials::count_ec2_keys(tx, &key.user_id)? >= PER_USER_MAX {
                return Err(too_many("EC2 keys"));
            }
            if credentials::find_ec2_key(tx, &key.access_key)?.is_some() {
                return Err(super::taken("An EC2 key", &key.access_key));
            }
            credentials::insert_ec2_key(tx, &key, now_us)
        })
        .await
}

/// A user's EC2 keys: one's own with their secrets, or as an administrator without.
pub async fn ec2_keys(
    service: &Service,
    request: &RequestContext,
    user_id: &str,
) -> Result<Vec<ShownKey>> {
    own_or_admin(request, user_id, "identity:ec2_list_credentials")?;
    let wanted = user_id.to_owned();
    let keys = service
        .database
        .read(move |tx| credentials::ec2_keys_of(tx, &wanted))
        .await?;
    keys.into_iter()
        .map(|key| shown(service, request, key))
        .collect()
}

/// One of them.
pub async fn show_ec2_key(
    service: &Service,
    request: &RequestContext,
    user_id: &str,
    access_key: &str,
) -> Result<ShownKey> {
    own_or_admin(request, user_id, "identity:ec2_get_credential")?;
    let wanted = access_key.to_owned();
    let found = service
        .database
        .read(move |tx| credentials::find_ec2_key(tx, &wanted))
        .await?
        .filter(|key| key.user_id == user_id);
    let key = found.ok_or_else(|| missing("credential", access_key))?;
    shown(service, request, key)
}

fn shown(service: &Service, request: &RequestContext, key: Ec2Key) -> Result<ShownKey> {
    let secret = match request.user_id == key.user_id {
        true => Some(opened(service, &key)?),
        false => None,
    };
    Ok(ShownKey {
        access_key: key.access_key,
        user_id: key.user_id,
        project_id: key.project_id,
        secret,
    })
}

/// Removes one: one's own, or as an administrator.
pub async fn delete_ec2_key(
    service: &Service,
    request: &RequestContext,
    user_id: &str,
    access_key: &str,
) -> Result<()> {
    own_or_admin(request, user_id, "identity:ec2_delete_credential")?;
    let (user_id, wanted) = (user_id.to_owned(), access_key.to_owned());
    let removed = service
        .database
        .write(move |tx| {
            if credentials::remove_ec2_key(tx, &user_id, &wanted)? {
                return Ok(());
            }
            Err(missing("credential", &wanted))
        })
        .await;
    service
        .authenticator
        .ec2_keys
        .remove(&access_key.to_owned());
    removed
}
