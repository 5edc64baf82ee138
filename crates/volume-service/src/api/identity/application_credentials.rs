//! `/v3/users/{id}/application_credentials`: secrets are shown once.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use http::StatusCode;
use serde_json::{Value, json};

use super::super::openstack::fault::{Fault, success};
use super::super::openstack::{Fields, JsonBody};
use super::super::timestamp;
use super::fault::Result;
use super::query::{Query, bad, base, boolean, collection};
use super::roles::{role_by_id, role_id};
use super::tokens::{Bearer, secret};
use crate::app::Service;
use crate::app::identity::{self, EVERY_ROLE, NewApplicationCredential};
use crate::db::credentials::ApplicationCredential;

fn view(service: &Service, credential: &ApplicationCredential) -> Value {
    let own = format!(
        "{}/users/{}/application_credentials/{}",
        base(service),
        credential.user_id,
        credential.id
    );
    let roles: Vec<Value> = credential
        .roles
        .iter()
        .map(|role| json!({"id": role_id(role), "name": role, "domain_id": null}))
        .collect();
    let description = (!credential.description.is_empty()).then_some(&credential.description);
    json!({
        "id": credential.id,
        "name": credential.name,
        "description": description,
        "project_id": credential.project_id,
        "user_id": credential.user_id,
        "expires_at": credential.expires_at_us.map(timestamp::identity),
        "unrestricted": credential.is_unrestricted,
        "roles": roles,
        "system": null,
        "links": {"self": own},
    })
}

/// `POST /v3/users/{id}/application_credentials`, for oneself.
pub(super) async fn create(
    State(service): State<Service>,
    bearer: Bearer,
    Path(user): Path<String>,
    body: std::result::Result<JsonBody, Fault>,
) -> Result<(StatusCode, Json<Value>)> {
    if user != bearer.token.user.id {
        return Err(identity::forbidden("identity:create_application_credential").into());
    }
    let JsonBody(body) = body?;
    let fields = Fields::top(&body).object("application_credential")?;
    if fields
        .value("access_rules")
        .is_some_and(|rules| *rules != json!([]))
    {
        return Err(Fault::not_supported("An application credential with access rules").into());
    }
    let wanted = NewApplicationCredential {
        name: fields.required_text("name")?.to_owned(),
        description: fields.text("description")?.unwrap_or_default().to_owned(),
        secret: match fields.value("secret") {
            None => None,
            Some(_) => Some(secret(fields, "secret")?),
        },
        roles: roles(fields)?,
        expires_at_us: match fields.text("expires_at")? {
            None => None,
            Some(text) => Some(
                timestamp::parse_iso(text)
                    .ok_or_else(|| bad("expires_at", "is not an ISO 8601 time"))?,
            ),
        },
        is_unrestricted: boolean(fields, "unrestricted")?.unwrap_or(false),
    };
    let (made, secret) =
        identity::create_application_credential(&service, &bearer.token, wanted).await?;
    let mut view = view(&service, &made);
    view["secret"] = json!(secret.expose());
    Ok((
        success::CREATED,
        Json(json!({"application_credential": view})),
    ))
}

/// The names of the roles in a body, each given by id or by name; an empty list is as none.
fn roles(fields: Fields<'_>) -> Result<Option<Vec<String>>> {
    let Some(value) = fields.value("roles") else {
        return Ok(None);
    };
    let items = value
        .as_array()
        .ok_or_else(|| bad("roles", "is not of type 'array'"))?;
    let mut names = Vec::new();
    for item in items.iter().take(EVERY_ROLE.len() * 2) {
        let name = match (item["id"].as_str(), item["name"].as_str()) {
            (Some(id), _) => role_by_id(id)?,
            (None, Some(name)) => EVERY_ROLE
                .into_iter()
                .find(|known| *known == name)
                .ok_or_else(|| identity::missing("role", name))?,
            (None, None) => return Err(bad("roles", "has an item without id and name")),
        };
        names.push(name.to_owned());
    }
    Ok((!names.is_empty()).then_some(names))
}

/// `GET /v3/users/{id}/application_credentials`
pub(super) async fn list(
    State(service): State<Service>,
    bearer: Bearer,
    Path(user): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    let query = Query::parse(query)?;
    let found = identity::application_credentials(&service, &bearer.context, &user).await?;
    let views = found
        .iter()
        .filter(|credential| query.get("name").is_none_or(|name| name == credential.name))
        .map(|credential| view(&service, credential))
        .collect();
    let path = format!("users/{user}/application_credentials");
    Ok(collection(
        &service,
        "application_credentials",
        &path,
        views,
    ))
}

/// `GET /v3/users/{id}/application_credentials/{credential}`
pub(super) async fn show(
    State(service): State<Service>,
    bearer: Bearer,
    Path((user, id)): Path<(String, String)>,
) -> Result<Json<Value>> {
    let found = identity::application_credential(&service, &bearer.context, &user, &id).await?;
    Ok(Json(
        json!({"application_credential": view(&service, &found)}),
    ))
}

/// `DELETE` of the same.
pub(super) async fn delete(
    State(service): State<Service>,
    bearer: Bearer,
    Path((user, id)): Path<(String, String)>,
) -> Result<StatusCode> {
    let maker = bearer.token.application_credential_id.as_deref();
    identity::delete_application_credential(&service, &bearer.context, maker, &user, &id).await?;
    Ok(success::NO_CONTENT)
}
