//! EC2 key pairs: `/v3/users/{id}/credentials/OS-EC2`, the same as `/v3/credentials` of type `ec2`, and `/v3/ec2tokens`.
//!
//! A key acts with all roles of its user, so the token of an application credential, which may have fewer, neither makes
//! nor sees one.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::super::openstack::fault::{Fault, success};
use super::super::openstack::{Fields, JsonBody, unauthenticated};
use super::catalog::stable_id;
use super::fault::Result;
use super::query::{Query, bad, base, collection};
use super::tokens::{Bearer, issued};
use crate::app::Service;
use crate::app::identity::{self, SERVICE_ROLE, ShownKey};
use crate::config::Secret;

type Body = std::result::Result<JsonBody, Fault>;

/// Refuses the token of an application credential.
fn check_whole(bearer: &Bearer, action: &str) -> Result<()> {
    match bearer.token.application_credential_id {
        Some(_) => Err(identity::forbidden(action).into()),
        None => Ok(()),
    }
}

fn view(service: &Service, key: &ShownKey) -> Value {
    let own = format!(
        "{}/users/{}/credentials/OS-EC2/{}",
        base(service),
        key.user_id,
        key.access_key
    );
    json!({
        "access": key.access_key,
        "secret": key.secret.as_ref().map(Secret::expose),
        "user_id": key.user_id,
        "tenant_id": key.project_id,
        "trust_id": null,
        "links": {"self": own},
    })
}

/// `POST /v3/users/{id}/credentials/OS-EC2`
pub(super) async fn create(
    State(service): State<Service>,
    bearer: Bearer,
    Path(user): Path<String>,
    body: Body,
) -> Result<(StatusCode, Json<Value>)> {
    check_whole(&bearer, "identity:ec2_create_credential")?;
    let JsonBody(body) = body?;
    let project = Fields::top(&body)
        .text("tenant_id")?
        .unwrap_or(&bearer.context.project_id)
        .to_owned();
    let (access_key, secret) =
        identity::create_ec2_key(&service, &bearer.context, &user, &project).await?;
    let key = ShownKey {
        access_key,
        user_id: user,
        project_id: project,
        secret: Some(secret),
    };
    Ok((
        success::CREATED,
        Json(json!({"credential": view(&service, &key)})),
    ))
}

/// `GET /v3/users/{id}/credentials/OS-EC2`
pub(super) async fn list(
    State(service): State<Service>,
    bearer: Bearer,
    Path(user): Path<String>,
) -> Result<Json<Value>> {
    check_whole(&bearer, "identity:ec2_list_credentials")?;
    let keys = identity::ec2_keys(&service, &bearer.context, &user).await?;
    let views = keys.iter().map(|key| view(&service, key)).collect();
    let path = format!("users/{user}/credentials/OS-EC2");
    Ok(collection(&service, "credentials", &path, views))
}

/// `GET /v3/users/{id}/credentials/OS-EC2/{access}`
pub(super) async fn show(
    State(service): State<Service>,
    bearer: Bearer,
    Path((user, access)): Path<(String, String)>,
) -> Result<Json<Value>> {
    check_whole(&bearer, "identity:ec2_get_credential")?;
    let key = identity::show_ec2_key(&service, &bearer.context, &user, &access).await?;
    Ok(Json(json!({"credential": view(&service, &key)})))
}

/// `DELETE` of the same.
pub(super) async fn delete(
    State(service): State<Service>,
    bearer: Bearer,
    Path((user, access)): Path<(String, String)>,
) -> Result<StatusCode> {
    check_whole(&bearer, "identity:ec2_delete_credential")?;
    identity::delete_ec2_key(&service, &bearer.context, &user, &access).await?;
    Ok(success::NO_CONTENT)
}

/// The id of a key in `/v3/credentials`.
fn credential_id(access_key: &str) -> String {
    stable_id(&["ec2", access_key])
}

fn generic_view(service: &Service, key: &ShownKey) -> Value {
    let id = credential_id(&key.access_key);
    let secret = key.secret.as_ref().map(Secret::expose);
    json!({
        "id": id,
        "type": "ec2",
        "user_id": key.user_id,
        "project_id": key.project_id,
        "blob": json!({"access": key.access_key, "secret": secret}).to_string(),
        "links": {"self": format!("{}/credentials/{id}", base(service))},
    })
}

/// `GET /v3/credentials`: one's own; those of another user as administrator, when `user_id` names it.
pub(super) async fn generic_list(
    State(service): State<Service>,
    bearer: Bearer,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    check_whole(&bearer, "identity:list_credentials")?;
    let query = Query::parse(query)?;
    let user = query.get("user_id").unwrap_or(&bearer.token.user.id);
    let keys = identity::ec2_keys(&service, &bearer.context, user).await?;
    let views = keys
        .iter()
        .filter(|_| query.get("type").is_none_or(|kind| kind == "ec2"))
        .map(|key| generic_view(&service, key))
        .collect();
    Ok(collection(&service, "credentials", "credentials", views))
}

async fn own_key(service: &Service, bearer: &Bearer, id: &str) -> Result<ShownKey> {
    let keys = identity::ec2_keys(service, &bearer.context, &bearer.token.user.id).await?;
    let found = keys
        .into_iter()
        .find(|key| credential_id(&key.access_key) == id);
    found.ok_or_else(|| identity::missing("credential", id).into())
}

/// `GET /v3/credentials/{id}`: one's own.
pub(super) async fn generic_show(
    State(service): State<Service>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    check_whole(&bearer, "identity:get_credential")?;
    let key = own_key(&service, &bearer, &id).await?;
    Ok(Json(json!({"credential": generic_view(&service, &key)})))
}

/// `DELETE /v3/credentials/{id}`: one's own.
pub(super) async fn generic_delete(
    State(service): State<Service>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    check_whole(&bearer, "identity:delete_credential")?;
    let key = own_key(&service, &bearer, &id).await?;
    identity::delete_ec2_key(&service, &bearer.context, &key.user_id, &key.access_key).await?;
    Ok(success::NO_CONTENT)
}

/// `PATCH /v3/credentials/{id}`
pub(super) async fn generic_update(_bearer: Bearer) -> Result<StatusCode> {
    Err(Fault::not_supported("Changing a credential").into())
}

/// `POST /v3/credentials`: an EC2 key that was made elsewhere.
pub(super) async fn generic_create(
    State(service): State<Service>,
    bearer: Bearer,
    body: Body,
) -> Result<(StatusCode, Json<Value>)> {
    check_whole(&bearer, "identity:create_credential")?;
    let JsonBody(body) = body?;
    let fields = Fields::top(&body).object("credential")?;
    if fields.required_text("type")? != "ec2" {
        return Err(Fault::not_supported("A credential that is not of type ec2").into());
    }
    let user = fields.text("user_id")?.unwrap_or(&bearer.token.user.id);
    let project = fields.text("project_id")?;
    let project = project.ok_or_else(|| fields.missing("project_id"))?;
    let blob = match fields.value("blob") {
        Some(Value::String(text)) => serde_json::from_str(text).unwrap_or(Value::Null),
        Some(value) => value.clone(),
        None => return Err(fields.missing("blob").into()),
    };
    let (Some(access), Some(secret)) = (blob["access"].as_str(), blob["secret"].as_str()) else {
        return Err(bad("blob", "has no access and secret"));
    };
    let secret = Secret::new(secret);
    let context = &bearer.context;
    identity::import_ec2_key(&service, context, user, project, access, &secret).await?;
    let key = ShownKey {
        access_key: access.to_owned(),
        user_id: user.to_owned(),
        project_id: project.to_owned(),
        secret: (context.user_id == user).then_some(secret),
    };
    let view = json!({"credential": generic_view(&service, &key)});
    Ok((success::CREATED, Json(view)))
}

/// `POST /v3/ec2tokens`: a token for whoever signed a request with an EC2 key. Only a service may ask: a signature that was
/// meant for one request, and that others see, must not become a token in their hands.
pub(super) async fn token(
    State(service): State<Service>,
    bearer: Bearer,
    body: Body,
) -> Result<Response> {
    if !bearer.context.is_admin() && !bearer.context.has_role(SERVICE_ROLE) {
        return Err(identity::forbidden("identity:ec2_tokens").into());
    }
    let JsonBody(body) = body?;
    let top = Fields::top(&body);
    let key = if top.value("credentials").is_some() {
        "credentials"
    } else {
        "ec2Credentials"
    };
    let given = top.object(key)?;
    let access = given.required_text("access")?;
    let (secret, context) = match identity::ec2_key(&service, access).await {
        Ok(found) => found,
        Err(error) if error.kind == crate::ErrorKind::Unauthenticated => {
            return Err(unauthenticated().into());
        }
        Err(error) => return Err(error.into()),
    };
    let now_us = service.context.now_us();
    if !super::super::ec2::is_signed(&body[key], &secret, now_us) {
        return Err(unauthenticated().into());
    }
    let token = identity::issue_for_key(&service, &context.user_id, &context.project_id).await?;
    issued(&service, &token, None)
}
