//! The first start of an installation.

use super::model::{Project, User};
use super::roles::ROLES;
use super::{new_id, sealed_key};
use crate::app::{Service, limits};
use crate::auth::password;
use crate::config::Secret;
use crate::db::{credentials, identity};
use crate::error::Result;

/// What the first user is made with. The caller keeps it durably before it calls [`bootstrap`], so that a crash between the
/// two loses no credentials.
#[derive(Clone, Debug)]
pub struct FirstCredentials {
    /// The administrator's name.
    pub user_name: String,
    /// Its password, random, of at least 128 bits (so that few hash iterations will do).
    pub password: Secret,
    /// The name of the project that it works in.
    pub project_name: String,
    /// Its EC2 access key id.
    pub ec2_access_key: String,
    /// Its EC2 secret key.
    pub ec2_secret_key: Secret,
}

/// True once there is a user: [`bootstrap`] has been here.
pub async fn has_users(service: &Service) -> Result<bool> {
    service.database.read(identity::has_users).await
}

/// Makes the first user, project, roles and keys in an empty database; false when there are users already.
pub async fn bootstrap(service: &Service, first: &FirstCredentials) -> Result<bool> {
    if service.database.read(identity::has_users).await? {
        return Ok(false);
    }
    limits::check_name("user name", &first.user_name)?;
    limits::check_name("project name", &first.project_name)?;
    limits::check_name("access key", &first.ec2_access_key)?;
    let project = Project {
        id: new_id(service),
        name: first.project_name.clone(),
        description: "Made at the first start.".to_owned(),
    };
    let user = User {
        id: new_id(service),
        name: first.user_name.clone(),
        default_project_id: Some(project.id.clone()),
    };
    let iterations = if first.password.expose().len() >= RANDOM_PASSWORD_MIN {
        password::RANDOM
    } else {
        password::CHOSEN
    };
    let passwords = &service.authenticator.passwords;
    let hash = passwords
        .hash(&service.context, &first.password, iterations)
        .await?;
    let key = sealed_key(
        service,
        &first.ec2_access_key,
        &first.ec2_secret_key,
        &user.id,
        &project.id,
    );
    let now_us = service.context.now_us();
    service
        .database
        .write(move |tx| {
            // Another process that starts at the same moment loses here or by the unique names.
            if identity::has_users(tx)?
                || !identity::insert_project(tx, &project, now_us)?
                || !identity::insert_user(tx, &user, &hash, now_us)?
            {
                return Ok(false);
            }
            for role in ROLES {
                identity::assign_role(tx, &user.id, &project.id, role)?;
            }
            credentials::insert_ec2_key(tx, &key, now_us)?;
            Ok(true)
        })
        .await
}

/// Shortest first password that can hold 128 random bits (in base64); a shorter one is hashed like any that people choose.
const RANDOM_PASSWORD_MIN: usize = 22;
