//! The built-in identity: users, projects, tokens, application credentials, EC2 keys.

use base64::Engine as _;

use super::{Service, limits, policy};
use crate::auth::password;
use crate::config::Secret;
use crate::context::RequestContext;
use crate::db::credentials::{ApplicationCredential, Ec2Key};
use crate::db::{credentials, identity};
use crate::error::{Error, ErrorKind, Result, Subject};

pub use super::tokens::{authenticate, revoke, validate};

/// How somebody proves who they are.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// A user (by name or id) and password.
    Password {
        /// Name or id.
        user: String,
        /// The password.
        password: Secret,
    },
    /// An application credential.
    ApplicationCredential {
        /// Its id, or its name together with `user`.
        id_or_name: String,
        /// The user that a name belongs to.
        user: Option<String>,
        /// Its secret.
        secret: Secret,
    },
    /// A token that is still good, to change its scope.
    Token(Secret),
}

/// Which project a token is for.
#[derive(Clone, Debug)]
pub enum Scope {
    /// The user's default project, or the application credential's.
    Default,
    /// A project by name or id.
    Project(String),
    /// None.
    Unscoped,
}

/// What a token says.
#[derive(Clone, Debug)]
pub struct Token {
    /// What the client sends as `X-Auth-Token`; present only when just issued.
    pub text: Option<Secret>,
    /// Names it in logs and in revocation; not a secret.
    pub audit_id: String,
    /// The user.
    pub user: User,
    /// The project, unless unscoped.
    pub project: Option<Project>,
    /// Role names held in that project.
    pub roles: Vec<String>,
    /// `password`, `application_credential`, `token`.
    pub methods: Vec<String>,
    /// Microseconds since 1970.
    pub issued_at_us: i64,
    /// Microseconds since 1970.
    pub expires_at_us: i64,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// 32 hex digits.
    pub id: String,
    /// Unique name.
    pub name: String,
    /// The project of a token that names none.
    pub default_project_id: Option<String>,
}

/// A project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// 32 hex digits.
    pub id: String,
    /// Unique name.
    pub name: String,
    /// A sentence for people.
    pub description: String,
}

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

/// The roles that there are; each implies those behind it.
pub const ROLES: [&str; 3] = ["admin", "member", "reader"];

/// The projects that a user has a role in.
pub async fn projects_of(service: &Service, user_id: &str) -> Result<Vec<Project>> {
    let user_id = user_id.to_owned();
    service
        .database
        .read(move |tx| identity::projects_of(tx, &user_id))
        .await
}

/// The secret of an EC2 access key and who it acts for; the API verifies the signature with it.
pub async fn ec2_key(service: &Service, access_key: &str) -> Result<(Secret, RequestContext)> {
    let wanted = access_key.to_owned();
    let found = service
        .database
        .read(move |tx| {
            let Some(key) = credentials::find_ec2_key(tx, &wanted)? else {
                return Ok(None);
            };
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
    if roles.is_empty() {
        return Err(unknown().detail("its user has no role in its project any more"));
    }
    let secret = service
        .vault
        .open(&seal_name(&key.access_key), &key.sealed_secret)?;
    let secret = std::str::from_utf8(&secret).map_err(|error| unknown().caused_by(error))?;
    let request = RequestContext {
        request_id: format!("req-{}", service.context.new_uuid()),
        user_id: key.user_id,
        project_id: key.project_id,
        roles: implied(&roles),
    };
    Ok((Secret::new(secret), request))
}

/// Makes an application credential for the requester; returns its id and its secret, which is not shown again.
pub async fn create_application_credential(
    service: &Service,
    request: &RequestContext,
    name: &str,
    expires_at_us: Option<i64>,
) -> Result<(String, Secret)> {
    limits::check_name("application credential name", name)?;
    let now_us = service.context.now_us();
    if expires_at_us.is_some_and(|at| at <= now_us) {
        return Err(Error::invalid(
            "The application credential would have expired already.",
        ));
    }
    let secret = random_secret::<32>(service);
    let passwords = &service.authenticator.passwords;
    let secret_hash = passwords
        .hash(&service.context, &secret, password::RANDOM)
        .await?;
    let credential = ApplicationCredential {
        id: new_id(service),
        name: name.to_owned(),
        user_id: request.user_id.clone(),
        project_id: request.project_id.clone(),
        roles: request.roles.clone(),
        secret_hash,
        expires_at_us,
    };
    let id = credential.id.clone();
    service
        .database
        .write(move |tx| {
            if identity::roles(tx, &credential.user_id, &credential.project_id)?.is_empty() {
                return Err(no_role(&credential.user_id));
            }
            if credentials::insert_application_credential(tx, &credential, now_us)? {
                return Ok(());
            }
            Err(taken("An application credential", &credential.name))
        })
        .await?;
    Ok((id, secret))
}

/// Makes a project; administrators only.
pub async fn create_project(
    service: &Service,
    request: &RequestContext,
    name: &str,
    description: &str,
) -> Result<Project> {
    policy::is_admin(request)?;
    limits::check_name("project name", name)?;
    limits::check_text("description", description)?;
    let project = Project {
        id: new_id(service),
        name: name.to_owned(),
        description: description.to_owned(),
    };
    let now_us = service.context.now_us();
    service
        .database
        .write(move |tx| {
            if identity::insert_project(tx, &project, now_us)? {
                return Ok(project.clone());
            }
            Err(taken("A project", &project.name))
        })
        .await
}

/// Makes a user with a password and a role in a project; administrators only.
pub async fn create_user(
    service: &Service,
    request: &RequestContext,
    name: &str,
    password: Secret,
    project_id: &str,
    role: &str,
) -> Result<User> {
    policy::is_admin(request)?;
    limits::check_name("user name", name)?;
    let role = ROLES
        .into_iter()
        .find(|known| *known == role)
        .ok_or_else(|| {
            Error::invalid(format!(
                "Role '{role}' is unknown; expected one of: {}.",
                ROLES.join(", ")
            ))
        })?;
    let passwords = &service.authenticator.passwords;
    let hash = passwords
        .hash(&service.context, &password, password::CHOSEN)
        .await?;
    let id = new_id(service);
    let (name, project_id) = (name.to_owned(), project_id.to_owned());
    let now_us = service.context.now_us();
    service
        .database
        .write(move |tx| {
            let project = identity::find_project(tx, &project_id)?
                .ok_or_else(|| Error::not_found(Subject::Identity, &project_id))?;
            let user = User {
                id: id.clone(),
                name: name.clone(),
                default_project_id: Some(project.id.clone()),
            };
            if !identity::insert_user(tx, &user, &hash, now_us)? {
                return Err(taken("A user", &name));
            }
            identity::assign_role(tx, &user.id, &project.id, role)?;
            Ok(user)
        })
        .await
}

/// Makes an EC2 key pair for a user in a project; the user itself or an administrator.
pub async fn create_ec2_key(
    service: &Service,
    request: &RequestContext,
    user_id: &str,
    project_id: &str,
) -> Result<(String, Secret)> {
    if request.user_id != user_id {
        policy::is_admin(request)?;
    }
    let (key, secret) = new_ec2_key(service, user_id, project_id);
    let now_us = service.context.now_us();
    let access_key = key.access_key.clone();
    service
        .database
        .write(move |tx| {
            if identity::roles(tx, &key.user_id, &key.project_id)?.is_empty() {
                return Err(no_role(&key.user_id));
            }
            credentials::insert_ec2_key(tx, &key, now_us)
        })
        .await?;
    Ok((access_key, secret))
}

fn new_ec2_key(service: &Service, user_id: &str, project_id: &str) -> (Ec2Key, Secret) {
    let secret = random_secret::<30>(service);
    let key = sealed_key(service, &new_id(service), &secret, user_id, project_id);
    (key, secret)
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

/// The roles that these imply, strongest first.
pub(super) fn implied(held: &[String]) -> Vec<String> {
    let strongest = ROLES
        .iter()
        .position(|role| held.iter().any(|held| held == role))
        .unwrap_or(ROLES.len());
    ROLES[strongest..]
        .iter()
        .map(|role| (*role).to_owned())
        .collect()
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
