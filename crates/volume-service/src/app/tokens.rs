//! Tokens of the built-in identity: issue, check, revoke.

use super::Service;
use super::identity::{Credentials, Project, Scope, Token, User, implied};
use crate::auth::token::{Claims, audit_text, id_bytes, id_text};
use crate::auth::token_source::Lateness;
use crate::config::Secret;
use crate::context::RequestContext;
use crate::db::credentials::ApplicationCredential;
use crate::db::{Transaction, credentials, identity};
use crate::error::{Error, ErrorKind, Result, Subject};

/// Who was found behind some credentials.
struct Proved {
    user: User,
    methods: Vec<&'static str>,
    /// An application credential fixes the project and bounds the roles.
    credential: Option<ApplicationCredential>,
    /// A token made from a token ends when the first one does.
    expires_at_us: Option<i64>,
    /// Before the proof was looked up: a change of the password that comes in between ends the token.
    since_us: i64,
}

/// Issues a token.
///
/// # Errors
/// `Unauthenticated`, always in the same words, whatever part of the credentials is wrong.
pub async fn authenticate(
    service: &Service,
    credentials: Credentials,
    scope: Scope,
) -> Result<Token> {
    let proved = match credentials {
        Credentials::Password { user, password } => by_password(service, user, password).await?,
        Credentials::ApplicationCredential {
            id_or_name,
            user,
            secret,
        } => by_application_credential(service, id_or_name, user, secret).await?,
        Credentials::Token(token) => by_token(service, token).await?,
    };
    issue(service, proved, scope).await
}

/// Issues a token to whoever signed with this user's EC2 key of this project.
pub async fn issue_for_key(service: &Service, user_id: &str, project_id: &str) -> Result<Token> {
    let since_us = service.context.now_us();
    let wanted = user_id.to_owned();
    let found = service
        .database
        .read(move |tx| identity::find_login(tx, &wanted))
        .await?;
    let login = found.filter(|login| login.is_enabled).ok_or_else(refused)?;
    let proved = Proved {
        user: login.user,
        methods: vec!["ec2credential"],
        credential: None,
        expires_at_us: None,
        since_us,
    };
    issue(service, proved, Scope::Project(project_id.to_owned())).await
}

/// Issues a token as a user without its password: for the operator at the machine, who can read the key that signs tokens.
pub async fn issue_for_user(
    service: &Service,
    request: &RequestContext,
    user_id: &str,
    project_id: &str,
) -> Result<Token> {
    if request.user_id != RequestContext::operator().user_id {
        return Err(super::identity::forbidden("identity:issue_token_for_user"));
    }
    let since_us = service.context.now_us();
    let wanted = user_id.to_owned();
    let found = service
        .database
        .read(move |tx| identity::find_login(tx, &wanted))
        .await?;
    let login = found.filter(|login| login.is_enabled).ok_or_else(|| {
        Error::new(
            ErrorKind::Conflict,
            Subject::Identity,
            "The user is disabled or not there.",
        )
        .on(user_id)
    })?;
    let proved = Proved {
        user: login.user,
        methods: vec!["token"],
        credential: None,
        expires_at_us: None,
        since_us,
    };
    issue(service, proved, Scope::Project(project_id.to_owned())).await
}

async fn issue(service: &Service, proved: Proved, scope: Scope) -> Result<Token> {
    let now_us = proved.since_us;
    let lifetime_us = i64::try_from(service.config.token_lifetime_s)
        .unwrap_or(i64::MAX)
        .saturating_mul(1_000_000);
    let ends = [
        Some(now_us.saturating_add(lifetime_us)),
        proved.expires_at_us,
        proved
            .credential
            .as_ref()
            .and_then(|credential| credential.expires_at_us),
    ];
    let expires_at_us = ends.into_iter().flatten().min().unwrap_or(now_us);
    let (project, roles, proved) = service
        .database
        .read({
            let mut proved = Some(proved);
            move |tx| scoped(tx, &mut proved, &scope)
        })
        .await?;
    let claims = Claims {
        audit_id: service.context.random_bytes(),
        user: id_bytes(&proved.user.id).ok_or_else(refused)?,
        project: project.as_ref().and_then(|project| id_bytes(&project.id)),
        application_credential: proved
            .credential
            .as_ref()
            .and_then(|credential| id_bytes(&credential.id)),
        methods: proved.methods,
        issued_at_us: now_us,
        expires_at_us,
    };
    Ok(Token {
        text: Some(service.authenticator.tokens.sign(&claims)),
        audit_id: audit_text(claims.audit_id),
        user: proved.user,
        project,
        roles,
        methods: claims
            .methods
            .iter()
            .map(|method| (*method).to_owned())
            .collect(),
        application_credential_id: proved.credential.map(|credential| credential.id),
        issued_at_us: now_us,
        expires_at_us,
    })
}

async fn by_password(service: &Service, user: String, password: Secret) -> Result<Proved> {
    let since_us = service.context.now_us();
    let found = service
        .database
        .read(move |tx| identity::find_login(tx, &user))
        .await?;
    let hash = found.as_ref().map(|login| login.password_hash.as_str());
    let passwords = &service.authenticator.passwords;
    let is_right = passwords.verify(&password, hash, since_us).await?;
    match found {
        // Asked after the password, so that time tells nobody which users there are.
        Some(login) if is_right && login.is_enabled => Ok(Proved {
            user: login.user,
            methods: vec!["password"],
            credential: None,
            expires_at_us: None,
            since_us,
        }),
        _ => Err(refused()),
    }
}

async fn by_application_credential(
    service: &Service,
    id_or_name: String,
    user: Option<String>,
    secret: Secret,
) -> Result<Proved> {
    let now_us = service.context.now_us();
    let found = service
        .database
        .read(move |tx| {
            let credential = match &user {
                None => credentials::find_application_credential(tx, &id_or_name)?,
                Some(user) => match identity::find_login(tx, user)? {
                    None => None,
                    Some(login) => credentials::find_application_credential_by_name(
                        tx,
                        &login.user.id,
                        &id_or_name,
                    )?,
                },
            };
            let Some(credential) = credential else {
                return Ok(None);
            };
            let login = identity::find_login(tx, &credential.user_id)?;
            Ok(login.map(|login| (login, credential)))
        })
        .await?;
    let hash = found
        .as_ref()
        .map(|(_, credential)| credential.secret_hash.as_str());
    let passwords = &service.authenticator.passwords;
    let is_right = passwords.verify(&secret, hash, now_us).await?;
    match found {
        Some((login, credential))
            if is_right
                && login.is_enabled
                && credential.expires_at_us.is_none_or(|at| at > now_us) =>
        {
            Ok(Proved {
                user: login.user,
                methods: vec!["application_credential"],
                credential: Some(credential),
                expires_at_us: None,
                since_us: now_us,
            })
        }
        _ => Err(refused()),
    }
}

async fn by_token(service: &Service, text: Secret) -> Result<Proved> {
    let since_us = service.context.now_us();
    let token = validate(service, &text).await?;
    let claims = service
        .authenticator
        .tokens
        .read(&text)
        .ok_or_else(refused)?;
    if claims.application_credential.is_some() {
        return Err(Error::new(
            ErrorKind::Forbidden,
            Subject::Identity,
            "A token of an application credential cannot be exchanged for another one.",
        ));
    }
    let mut methods = claims.methods;
    if !methods.contains(&"token") {
        methods.push("token");
    }
    Ok(Proved {
        user: token.user,
        methods,
        credential: None,
        expires_at_us: Some(token.expires_at_us),
        since_us,
    })
}

/// The project and the roles in it. A default project that is not there any more, or not for this user, leaves the token
/// without one, as Keystone does.
fn scoped(
    tx: &mut Transaction<'_>,
    proved: &mut Option<Proved>,
    scope: &Scope,
) -> Result<(Option<Project>, Vec<String>, Proved)> {
    let who = proved.as_ref().ok_or_else(refused)?;
    let wanted = match (&who.credential, scope) {
        (Some(credential), _) => Some(credential.project_id.clone()),
        (None, Scope::Project(project)) => Some(project.clone()),
        (None, Scope::Default) => who.user.default_project_id.clone(),
        (None, Scope::Unscoped) => None,
    };
    let is_default = who.credential.is_none() && matches!(scope, Scope::Default);
    let found = match &wanted {
        None => None,
        Some(wanted) => match in_project(tx, who, wanted, scope) {
            Ok(found) => Some(found),
            Err(error) if is_default && error.kind == ErrorKind::Unauthenticated => None,
            Err(error) => return Err(error),
        },
    };
    let (project, roles) = found.unzip();
    let who = proved.take().ok_or_else(refused)?;
    Ok((project, roles.unwrap_or_default(), who))
}

fn in_project(
    tx: &mut Transaction<'_>,
    who: &Proved,
    wanted: &str,
    scope: &Scope,
) -> Result<(Project, Vec<String>)> {
    let target = identity::find_target(tx, wanted)?.ok_or_else(refused)?;
    if !target.is_enabled {
        return Err(refused().detail("the project is disabled"));
    }
    let project = target.project;
    if let (Some(credential), Scope::Project(asked)) = (&who.credential, scope)
        && (asked != &project.id && asked != &project.name)
    {
        return Err(refused().detail(format!(
            "application credential {} belongs to another project",
            credential.id
        )));
    }
    let held = identity::roles(tx, &who.user.id, &project.id)?;
    let roles = bounded(&implied(&held), who.credential.as_ref());
    if roles.is_empty() {
        return Err(refused().detail("the user has no role in the project"));
    }
    Ok((project, roles))
}

/// The roles that both the user and the application credential have.
fn bounded(held: &[String], credential: Option<&ApplicationCredential>) -> Vec<String> {
    held.iter()
        .filter(|role| credential.is_none_or(|credential| credential.roles.contains(role)))
        .cloned()
        .collect()
}

/// Checks a token: signature, expiry, revocation, and that user, project and roles are still so.
///
/// What the database said is remembered for a few seconds; signature and expiry are checked each time.
pub async fn validate(service: &Service, token: &Secret) -> Result<Token> {
    match &service.token_source {
        Some(source) => source.validate(token, Lateness::Refused).await,
        None => checked(service, token, 0).await,
    }
}

/// As [`validate`], for a service that finishes what a user began: a token that expired less than two days ago will do.
pub async fn validate_expired(service: &Service, token: &Secret) -> Result<Token> {
    match &service.token_source {
        Some(source) => source.validate(token, Lateness::Allowed).await,
        None => checked(service, token, EXPIRED_WINDOW_US).await,
    }
}

/// True when these are the roles of a service, which speaks for users.
pub fn is_service(service: &Service, roles: &[String]) -> bool {
    match &service.token_source {
        Some(source) => roles
            .iter()
            .any(|role| source.service_roles().contains(role)),
        None => roles
            .iter()
            .any(|role| role == super::identity::SERVICE_ROLE),
    }
}

/// How long after its end a service may still show a user's token; Keystone's `allow_expired_window`.
const EXPIRED_WINDOW_US: i64 = 48 * 3600 * 1_000_000;

async fn checked(service: &Service, token: &Secret, late_us: i64) -> Result<Token> {
    let authenticator = &service.authenticator;
    let claims = authenticator.tokens.read(token).ok_or_else(refused)?;
    let now_us = service.context.now_us();
    if claims.expires_at_us.saturating_add(late_us) <= now_us {
        return Err(refused().detail("the token has expired"));
    }
    let audit_id = audit_text(claims.audit_id);
    if let Some(known) = authenticator.validated.get(&audit_id, now_us) {
        return Ok(known);
    }
    let changes = authenticator.validated.changes();
    let valid = service
        .database
        .read(move |tx| looked_up(tx, &claims, now_us))
        .await?;
    // What was read before a change in this process must not be remembered after it.
    authenticator
        .validated
        .insert_unless_changed(changes, audit_id, valid.clone(), now_us);
    Ok(valid)
}

fn looked_up(tx: &mut Transaction<'_>, claims: &Claims, now_us: i64) -> Result<Token> {
    let audit_id = audit_text(claims.audit_id);
    if credentials::is_token_revoked(tx, &audit_id)? {
        return Err(refused().detail("the token was revoked"));
    }
    let login = identity::find_login(tx, &id_text(claims.user))?.ok_or_else(refused)?;
    if !login.is_enabled || claims.issued_at_us <= login.tokens_after_us {
        return Err(refused().detail("the user is disabled, or its tokens were ended"));
    }
    let user = login.user;
    let credential = match claims.application_credential {
        None => None,
        Some(id) => {
            let found = credentials::find_application_credential(tx, &id_text(id))?;
            let found = found.filter(|found| found.expires_at_us.is_none_or(|at| at > now_us));
            Some(found.ok_or_else(|| refused().detail("the application credential is gone"))?)
        }
    };
    let mut project = None;
    let mut roles = Vec::new();
    if let Some(id) = claims.project {
        let found = identity::find_target(tx, &id_text(id))?.ok_or_else(refused)?;
        if !found.is_enabled || claims.issued_at_us <= found.tokens_after_us {
            return Err(refused().detail("the project is disabled, or its tokens were ended"));
        }
        let held = identity::roles(tx, &user.id, &found.project.id)?;
        roles = bounded(&implied(&held), credential.as_ref());
        if roles.is_empty() {
            return Err(refused().detail("the user has no role in the project any more"));
        }
        project = Some(found.project);
    }
    Ok(Token {
        text: None,
        audit_id,
        user,
        project,
        roles,
        methods: claims
            .methods
            .iter()
            .map(|method| (*method).to_owned())
            .collect(),
        application_credential_id: credential.map(|credential| credential.id),
        issued_at_us: claims.issued_at_us,
        expires_at_us: claims.expires_at_us,
    })
}

/// Revokes a token: one's own, or as an administrator.
pub async fn revoke(service: &Service, request: &RequestContext, token: &Secret) -> Result<()> {
    let revoked = validate(service, token).await?;
    if revoked.user.id != request.user_id {
        super::policy::is_admin(request)?;
    }
    // Remembered until no service may show it any more either.
    let over_us = service.context.now_us() - EXPIRED_WINDOW_US;
    let audit_id = revoked.audit_id.clone();
    service
        .database
        .write(move |tx| credentials::revoke_token(tx, &audit_id, revoked.expires_at_us, over_us))
        .await?;
    service.authenticator.validated.remove(&revoked.audit_id);
    Ok(())
}

fn refused() -> Error {
    Error::new(
        ErrorKind::Unauthenticated,
        Subject::Identity,
        "The request you have made requires authentication.",
    )
}
