//! The built-in identity: users, projects, tokens, application credentials, EC2 keys.

use super::Service;
use crate::config::Secret;
use crate::context::RequestContext;
use crate::error::Result;

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

/// Makes the first user, project, roles and keys in an empty database; false when there are users already.
pub async fn bootstrap(_service: &Service, _first: &FirstCredentials) -> Result<bool> {
    unimplemented!()
}

/// Issues a token.
pub async fn authenticate(
    _service: &Service,
    _credentials: Credentials,
    _scope: Scope,
) -> Result<Token> {
    unimplemented!()
}

/// Checks a token: signature, expiry, revocation, and that user, project and roles are still so.
pub async fn validate(_service: &Service, _token: &Secret) -> Result<Token> {
    unimplemented!()
}

/// Revokes a token.
pub async fn revoke(_service: &Service, _request: &RequestContext, _token: &Secret) -> Result<()> {
    unimplemented!()
}

/// The projects that a user has a role in.
pub async fn projects_of(_service: &Service, _user_id: &str) -> Result<Vec<Project>> {
    unimplemented!()
}

/// The secret of an EC2 access key and who it acts for; the API verifies the signature with it.
pub async fn ec2_key(_service: &Service, _access_key: &str) -> Result<(Secret, RequestContext)> {
    unimplemented!()
}

/// Makes an application credential for the requester; returns its id and its secret, which is not shown again.
pub async fn create_application_credential(
    _service: &Service,
    _request: &RequestContext,
    _name: &str,
    _expires_at_us: Option<i64>,
) -> Result<(String, Secret)> {
    unimplemented!()
}

/// Makes a project; administrators only.
pub async fn create_project(
    _service: &Service,
    _request: &RequestContext,
    _name: &str,
    _description: &str,
) -> Result<Project> {
    unimplemented!()
}

/// Makes a user with a password and a role in a project; administrators only.
pub async fn create_user(
    _service: &Service,
    _request: &RequestContext,
    _name: &str,
    _password: Secret,
    _project_id: &str,
    _role: &str,
) -> Result<User> {
    unimplemented!()
}

/// Makes an EC2 key pair for a user in a project; the user itself or an administrator.
pub async fn create_ec2_key(
    _service: &Service,
    _request: &RequestContext,
    _user_id: &str,
    _project_id: &str,
) -> Result<(String, Secret)> {
    unimplemented!()
}
