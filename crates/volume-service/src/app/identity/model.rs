//! What the identity's use cases take and give.

use crate::config::Secret;

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
    /// `password`, `application_credential`, `token`, `ec2credential`.
    pub methods: Vec<String>,
    /// The application credential that it was issued for.
    pub application_credential_id: Option<String>,
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

/// A user as the directory shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserEntry {
    /// Id, name, default project.
    pub user: User,
    /// Empty when there is none.
    pub email: String,
    /// A sentence for people; empty when there is none.
    pub description: String,
    /// False: the user cannot log in and its tokens are refused.
    pub is_enabled: bool,
}

/// A project as the directory shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectEntry {
    /// Id, name, description.
    pub project: Project,
    /// False: nobody has a token for it.
    pub is_enabled: bool,
    /// Words that operators sort projects by.
    pub tags: Vec<String>,
}

/// A role that a user has in a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The user's id.
    pub user_id: String,
    /// The user's name.
    pub user_name: String,
    /// The project's id.
    pub project_id: String,
    /// The project's name.
    pub project_name: String,
    /// The role's name.
    pub role: String,
}

/// Which users to list.
#[derive(Clone, Debug, Default)]
pub struct UserFilter {
    /// Of this name.
    pub name: Option<String>,
    /// Enabled, or disabled ones.
    pub enabled: Option<bool>,
    /// Behind the one with this id, by name.
    pub marker: Option<String>,
}

/// Which projects to list.
#[derive(Clone, Debug, Default)]
pub struct ProjectFilter {
    /// Of this name.
    pub name: Option<String>,
    /// Enabled, or disabled ones.
    pub enabled: Option<bool>,
    /// In which this user has a role.
    pub of_user: Option<String>,
    /// With all of these tags.
    pub tags: Vec<String>,
    /// Behind the one with this id, by name.
    pub marker: Option<String>,
}

/// Which grants to list.
#[derive(Clone, Debug, Default)]
pub struct GrantFilter {
    /// Of this user.
    pub user_id: Option<String>,
    /// In this project.
    pub project_id: Option<String>,
}

/// A user that is to be made.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// Its unique name.
    pub name: String,
    /// None: it cannot log in by password.
    pub password: Option<Secret>,
    /// May be empty.
    pub email: String,
    /// May be empty.
    pub description: String,
    /// May it log in?
    pub is_enabled: bool,
    /// The project of a token that names none, by id.
    pub default_project_id: Option<String>,
}

/// What is to be changed of a user; what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct UserChange {
    /// Another name.
    pub name: Option<String>,
    /// Another password; it ends the user's tokens.
    pub password: Option<Secret>,
    /// Another address.
    pub email: Option<String>,
    /// Another description.
    pub description: Option<String>,
    /// Disabling ends the user's tokens.
    pub is_enabled: Option<bool>,
    /// Another default project, or none.
    pub default_project_id: Option<Option<String>>,
}

/// What is to be changed of a project; what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct ProjectChange {
    /// Another name.
    pub name: Option<String>,
    /// Another description.
    pub description: Option<String>,
    /// Disabling ends the project's tokens.
    pub is_enabled: Option<bool>,
    /// All its tags.
    pub tags: Option<Vec<String>>,
}

/// Whether the last administrator may be removed, disabled or stripped of its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// No: what every API says.
    No,
    /// Yes: the operator at the machine insists.
    Yes,
}
