//! Application credentials and EC2 key pairs: made here, their secrets shown once.

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use serde_json::{Value, json};

use super::super::openstack::fault::{Fault, success};
use super::super::openstack::{Fields, JsonBody};
use super::super::timestamp;
use super::directory::forbidden;
use super::fault::Result;
use super::tokens::Bearer;
use crate::app::Service;
use crate::app::identity;

fn base(service: &Service, user: &str) -> String {
    let identity = service.config.endpoints.identity.trim_end_matches('/');
    format!("{identity}/v3/users/{user}")
}

/// Refuses the token of an application credential: what it made would outlive the credential and reach beyond its project.
fn check_unrestricted(bearer: &Bearer, action: &str) -> Result<()> {
    let methods = &bearer.token.methods;
    if methods
        .iter()
        .any(|method| method == "application_credential")
    {
        return Err(forbidden(action).into());
    }
    Ok(())
}

/// `POST /v3/users/{id}/application_credentials`, for oneself; it carries all roles of the token.
pub(super) async fn create_application_credential(
    State(service): State<Service>,
    bearer: Bearer,
    Path(user): Path<String>,
    body: std::result::Result<JsonBody, Fault>,
) -> Result<(StatusCode, Json<Value>)> {
    let JsonBody(body) = body?;
    if user != bearer.token.user.id {
        return Err(forbidden("identity:create_application_credential").into());
    }
    check_unrestricted(&bearer, "identity:create_application_credential")?;
    let fields = Fields::top(&body).object("application_credential")?;
    let name = fields.required_text("name")?;
    for unbuilt in ["secret", "roles", "access_rules"] {
        if fields
            .value(unbuilt)
            .is_some_and(|value| *value != json!([]))
        {
            let what = format!("An application credential with {unbuilt} of its own");
            return Err(Fault::not_supported(&what).into());
        }
    }
    let expires_at_us = match fields.text("expires_at")? {
        None => None,
        Some(text) => Some(timestamp::parse_iso(text).ok_or_else(|| {
            Fault::BadRequest(format!(
                "Invalid input for field 'expires_at': {text} is not an ISO 8601 time"
            ))
        })?),
    };
    let (id, secret) =
        identity::create_application_credential(&service, &bearer.context, name, expires_at_us)
            .await?;
    let own = format!("{}/application_credentials/{id}", base(&service, &user));
    let view = json!({"application_credential": {
        "id": id,
        "name": name,
        "description": null,
        "secret": secret.expose(),
        "project_id": bearer.context.project_id,
        "user_id": user,
        "expires_at": expires_at_us.map(timestamp::identity),
        "unrestricted": false,
        "roles": bearer.token.roles.iter().map(|role| json!({"name": role})).collect::<Vec<_>>(),
        "links": {"self": own},
    }});
    Ok((success::CREATED, Json(view)))
}

/// `GET /v3/users/{id}/application_credentials`: not built.
pub(super) async fn application_credentials(_bearer: Bearer) -> Result<Json<Value>> {
    Err(Fault::not_supported("Listing application credentials").into())
}

/// `GET` and `DELETE` of one application credential: not built.
pub(super) async fn application_credential(_bearer: Bearer) -> Result<Json<Value>> {
    Err(Fault::not_supported("Showing or deleting an application credential").into())
}

/// `POST /v3/users/{id}/credentials/OS-EC2`
pub(super) async fn create_ec2_key(
    State(service): State<Service>,
    bearer: Bearer,
    Path(user): Path<String>,
    body: std::result::Result<JsonBody, Fault>,
) -> Result<(StatusCode, Json<Value>)> {
    let JsonBody(body) = body?;
    check_unrestricted(&bearer, "identity:ec2_create_credential")?;
    let project = Fields::top(&body)
        .text("tenant_id")?
        .unwrap_or(&bearer.context.project_id);
    let (access, secret) =
        identity::create_ec2_key(&service, &bearer.context, &user, project).await?;
    let own = format!("{}/credentials/OS-EC2/{access}", base(&service, &user));
    let view = json!({"credential": {
        "access": access,
        "secret": secret.expose(),
        "user_id": user,
        "tenant_id": project,
        "trust_id": null,
        "links": {"self": own},
    }});
    Ok((success::CREATED, Json(view)))
}

/// `GET /v3/users/{id}/credentials/OS-EC2`: not built, and their secrets would not be shown again.
pub(super) async fn ec2_keys(_bearer: Bearer) -> Result<Json<Value>> {
    Err(Fault::not_supported("Listing EC2 credentials").into())
}
