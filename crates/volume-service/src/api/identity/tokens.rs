//! Tokens: issue, validate, revoke.

use axum::extract::{FromRequestParts, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::super::openstack::fault::{Fault, success};
use super::super::openstack::{Fields, JsonBody};
use super::super::openstack::{token_header, unauthenticated};
use super::super::request::RequestId;
use super::super::timestamp;
use super::catalog::catalog as service_catalog;
use super::fault::{IdentityFault, Result};
use super::query::bad;
use super::roles::role_id;
use crate::app::Service;
use crate::app::identity::{self, Credentials, SERVICE_ROLE, Scope, Token};
use crate::audit::Witness;
use crate::config::Secret;
use crate::context::RequestContext;
use crate::error::{Error, ErrorKind, Subject};

/// Longest password, secret or token that is looked at, in bytes.
const SECRET_MAX_BYTES: usize = 4096;

/// The bearer of a good token.
pub(super) struct Bearer {
    /// What the token says.
    pub(super) token: Token,
    /// Who asks, for use cases. Not under the policy file, which is Block Storage's: whom it makes an administrator there must
    /// not be able to make administrators here.
    pub(super) context: RequestContext,
}

impl FromRequestParts<Service> for Bearer {
    type Rejection = IdentityFault;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Result<Self> {
        let text = token_header(&parts.headers, "x-auth-token").ok_or_else(unauthenticated)?;
        let token = identity::validate(service, &text).await?;
        let project = token.project.as_ref();
        let context = RequestContext::new(
            RequestId::of(&parts.extensions).as_str(),
            token.user.id.as_str(),
            project.map_or("", |project| project.id.as_str()),
            token.roles.clone(),
        );
        if let Some(witness) = parts.extensions.get::<Witness>() {
            witness.saw(&context.user_id, &context.project_id);
        }
        Ok(Bearer { token, context })
    }
}

/// `POST /v3/auth/tokens`
pub(super) async fn issue(
    State(service): State<Service>,
    RawQuery(query): RawQuery,
    witness: Option<Extension<Witness>>,
    body: std::result::Result<JsonBody, Fault>,
) -> Result<Response> {
    let JsonBody(body) = body?;
    let auth = Fields::top(&body).object("auth")?;
    let credentials = credentials(auth)?;
    let scope = scope(auth)?;
    let token = identity::authenticate(&service, credentials, scope).await?;
    if let Some(Extension(witness)) = witness {
        let project = token.project.as_ref().map(|project| project.id.as_str());
        witness.saw(&token.user.id, project.unwrap_or_default());
    }
    issued(&service, &token, query.as_deref())
}

/// The answer to whoever asked for a token.
pub(super) fn issued(service: &Service, token: &Token, query: Option<&str>) -> Result<Response> {
    let text = token.text.as_ref().ok_or_else(|| {
        Error::new(
            ErrorKind::Internal,
            Subject::Identity,
            "A token was issued without its text.",
        )
    })?;
    let mut subject = HeaderValue::from_str(text.expose()).map_err(|cause| {
        Error::new(
            ErrorKind::Internal,
            Subject::Identity,
            "A token does not fit into a header.",
        )
        .caused_by(cause)
    })?;
    subject.set_sensitive(true);
    let view = view(service, token, query);
    let mut response = (success::CREATED, Json(view)).into_response();
    response.headers_mut().insert("x-subject-token", subject);
    vary(&mut response);
    Ok(response)
}

fn vary(response: &mut Response) {
    response
        .headers_mut()
        .insert(header::VARY, HeaderValue::from_static("X-Auth-Token"));
}

/// A password, secret or token of a body.
pub(super) fn secret(fields: Fields<'_>, key: &str) -> Result<Secret> {
    match fields.value(key).and_then(Value::as_str) {
        Some(text) if text.len() <= SECRET_MAX_BYTES => Ok(Secret::new(text)),
        Some(_) => Err(unauthenticated().into()),
        None if fields.value(key).is_some() => Err(bad(key, "is not of type 'string'")),
        None => Err(fields.missing(key).into()),
    }
}

fn credentials(auth: Fields<'_>) -> Result<Credentials> {
    let identity = auth.object("identity")?;
    let methods = identity
        .value("methods")
        .and_then(Value::as_array)
        .ok_or_else(|| identity.missing("methods"))?;
    let method = match methods.as_slice() {
        [Value::String(method)] => method.as_str(),
        // Several methods at once are a second factor, which is not built.
        _ => return Err(unauthenticated().into()),
    };
    match method {
        "password" => {
            let user = identity.object("password")?.object("user")?;
            Ok(Credentials::Password {
                user: user_of(user)?,
                password: secret(user, "password")?,
            })
        }
        "token" => {
            let token = identity.object("token")?;
            Ok(Credentials::Token(secret(token, "id")?))
        }
        "application_credential" => {
            let given = identity.object("application_credential")?;
            let user = match given.value("user") {
                None => None,
                Some(_) => Some(user_of(given.object("user")?)?),
            };
            let id_or_name = match given.text("id")? {
                Some(id) => id,
                None => given.required_text("name")?,
            };
            Ok(Credentials::ApplicationCredential {
                id_or_name: id_or_name.to_owned(),
                user,
                secret: secret(given, "secret")?,
            })
        }
        _ => Err(unauthenticated().into()),
    }
}

/// A user by id, or by name in the one domain.
fn user_of(user: Fields<'_>) -> Result<String> {
    if let Some(id) = user.text("id")? {
        return Ok(id.to_owned());
    }
    let name = user.required_text("name")?;
    in_default_domain(user)?;
    Ok(name.to_owned())
}

fn in_default_domain(named: Fields<'_>) -> Result<()> {
    let domain = named.object("domain")?;
    let is_default = match (domain.text("id")?, domain.text("name")?) {
        (Some(id), _) => id == "default",
        (None, Some(name)) => name.eq_ignore_ascii_case("default"),
        (None, None) => return Err(domain.missing("name").into()),
    };
    if is_default {
        Ok(())
    } else {
        Err(unauthenticated().into())
    }
}

fn scope(auth: Fields<'_>) -> Result<Scope> {
    let Some(given) = auth.value("scope") else {
        return Ok(Scope::Default);
    };
    if given.as_str() == Some("unscoped") {
        return Ok(Scope::Unscoped);
    }
    let scope = auth.object("scope")?;
    if scope.value("unscoped").is_some() {
        return Ok(Scope::Unscoped);
    }
    if scope.value("domain").is_some() || scope.value("system").is_some() {
        // Nobody has a role in a domain or in the system: all roles are in projects.
        return Err(unauthenticated().into());
    }
    let project = scope.object("project")?;
    if let Some(id) = project.text("id")? {
        return Ok(Scope::Project(id.to_owned()));
    }
    let name = project.required_text("name")?;
    in_default_domain(project)?;
    Ok(Scope::Project(name.to_owned()))
}

fn view(service: &Service, token: &Token, query: Option<&str>) -> Value {
    let domain = json!({"id": "default", "name": "Default"});
    let roles: Vec<_> = token
        .roles
        .iter()
        .map(|role| json!({"id": role_id(role), "name": role}))
        .collect();
    let mut view = json!({
        "methods": token.methods,
        "user": {
            "domain": domain,
            "id": token.user.id,
            "name": token.user.name,
            "password_expires_at": null,
        },
        "audit_ids": [token.audit_id],
        "issued_at": timestamp::identity(token.issued_at_us),
        "expires_at": timestamp::identity(token.expires_at_us),
    });
    if let Some(id) = &token.application_credential_id {
        view["application_credential"] = json!({"id": id});
    }
    if let Some(project) = &token.project {
        view["project"] = json!({"domain": domain, "id": project.id, "name": project.name});
        view["is_domain"] = json!(false);
        view["roles"] = json!(roles);
        let without_catalog = query.is_some_and(|query| {
            form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "nocatalog")
        });
        if !without_catalog {
            view["catalog"] = service_catalog(service, &project.id);
        }
    }
    json!({ "token": view })
}

/// The token that `X-Subject-Token` names, if the bearer may know of it: its own user's, or any as administrator.
async fn subject(
    service: &Service,
    bearer: &Bearer,
    headers: &HeaderMap,
    query: Option<&str>,
) -> Result<(Secret, Token)> {
    let unknown = || {
        Error::new(
            ErrorKind::NotFound,
            Subject::Identity,
            "Could not find token.",
        )
    };
    let text = token_header(headers, "x-subject-token").ok_or_else(unknown)?;
    // A service may finish what a user began before its token expired.
    let is_late = query.is_some_and(|query| {
        form_urlencoded::parse(query.as_bytes())
            .any(|(name, value)| name == "allow_expired" && matches!(&*value, "1" | "true"))
    }) && bearer.context.has_role(SERVICE_ROLE);
    let found = match is_late {
        true => identity::validate_expired(service, &text).await,
        false => identity::validate(service, &text).await,
    };
    let token = match found {
        Ok(token) => token,
        Err(error) if error.kind == ErrorKind::Unauthenticated => return Err(unknown().into()),
        Err(error) => return Err(error.into()),
    };
    let may = token.user.id == bearer.token.user.id
        || bearer.context.is_admin()
        || bearer.context.has_role(SERVICE_ROLE);
    if !may {
        return Err(identity::forbidden("identity:validate_token").into());
    }
    Ok((text, token))
}

/// `GET` and `HEAD /v3/auth/tokens`
pub(super) async fn show(
    State(service): State<Service>,
    RawQuery(query): RawQuery,
    bearer: Bearer,
    headers: HeaderMap,
) -> Result<Response> {
    let (_, token) = subject(&service, &bearer, &headers, query.as_deref()).await?;
    let mut response = Json(view(&service, &token, query.as_deref())).into_response();
    if let Some(text) = headers.get("x-subject-token") {
        let mut text = text.clone();
        text.set_sensitive(true);
        response.headers_mut().insert("x-subject-token", text);
    }
    vary(&mut response);
    Ok(response)
}

/// `DELETE /v3/auth/tokens`
pub(super) async fn revoke(
    State(service): State<Service>,
    bearer: Bearer,
    headers: HeaderMap,
) -> Result<StatusCode> {
    let (text, _) = subject(&service, &bearer, &headers, None).await?;
    identity::revoke(&service, &bearer.context, &text).await?;
    Ok(success::NO_CONTENT)
}

/// `GET /v3/auth/catalog`
pub(super) async fn catalog(State(service): State<Service>, bearer: Bearer) -> Json<Value> {
    let base = service
        .config
        .endpoints
        .identity
        .trim_end_matches('/')
        .to_owned();
    let catalog = match &bearer.token.project {
        Some(project) => service_catalog(&service, &project.id),
        None => json!([]),
    };
    Json(json!({
        "catalog": catalog,
        "links": {"self": format!("{base}/v3/auth/catalog"), "previous": null, "next": null},
    }))
}
