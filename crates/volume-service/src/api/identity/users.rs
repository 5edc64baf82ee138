//! `/v3/users`, and the groups that there are not.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use http::StatusCode;
use serde_json::{Value, json};

use super::super::openstack::fault::{Fault, success};
use super::super::openstack::{Fields, JsonBody};
use super::fault::Result;
use super::query::{DOMAIN, Query, base, boolean, check_common, collection, page};
use super::tokens::{Bearer, secret};
use crate::app::Service;
use crate::app::identity::{self, Force, NewUser, UserChange, UserEntry, UserFilter};

type Body = std::result::Result<JsonBody, Fault>;

fn view(service: &Service, entry: &UserEntry) -> Value {
    let user = &entry.user;
    let mut view = json!({
        "id": user.id,
        "name": user.name,
        "domain_id": DOMAIN,
        "enabled": entry.is_enabled,
        "password_expires_at": null,
        "options": {},
        "links": {"self": format!("{}/users/{}", base(service), user.id)},
    });
    if let Some(project_id) = &user.default_project_id {
        view["default_project_id"] = json!(project_id);
    }
    for (key, text) in [("email", &entry.email), ("description", &entry.description)] {
        if !text.is_empty() {
            view[key] = json!(text);
        }
    }
    view
}

/// `GET /v3/users`
pub(super) async fn list(
    State(service): State<Service>,
    bearer: Bearer,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    let query = Query::parse(query)?;
    let filter = UserFilter {
        name: query.text("name"),
        enabled: query.flag("enabled"),
        marker: query.text("marker"),
    };
    let mut listed = identity::users(&service, &bearer.context, filter, query.limit()?).await?;
    let outside = ["idp_id", "protocol_id", "unique_id", "password_expires_at"];
    if !query.is_of_the_domain() || outside.iter().any(|name| query.get(name).is_some()) {
        listed.items.clear();
        listed.is_truncated = false;
    }
    Ok(page(&service, "users", "users", &listed, |entry| {
        view(&service, entry)
    }))
}

/// `GET /v3/users/{id}`, by id.
pub(super) async fn show(
    State(service): State<Service>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    let entry = identity::user(&service, &bearer.context, &id).await?;
    Ok(Json(json!({"user": view(&service, &entry)})))
}

/// `POST /v3/users`
pub(super) async fn create(
    State(service): State<Service>,
    bearer: Bearer,
    body: Body,
) -> Result<(StatusCode, Json<Value>)> {
    identity::admin(&bearer.context, "identity:create_user")?;
    let JsonBody(body) = body?;
    let fields = Fields::top(&body).object("user")?;
    check_common(fields)?;
    let wanted = NewUser {
        name: fields.required_text("name")?.to_owned(),
        password: match fields.value("password") {
            None => None,
            Some(_) => Some(secret(fields, "password")?),
        },
        email: fields.text("email")?.unwrap_or_default().to_owned(),
        description: fields.text("description")?.unwrap_or_default().to_owned(),
        is_enabled: boolean(fields, "enabled")?.unwrap_or(true),
        default_project_id: fields.text("default_project_id")?.map(str::to_owned),
    };
    let made = identity::new_user(&service, &bearer.context, wanted).await?;
    let view = json!({"user": view(&service, &made)});
    Ok((success::CREATED, Json(view)))
}

/// `PATCH /v3/users/{id}`
pub(super) async fn update(
    State(service): State<Service>,
    bearer: Bearer,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<Value>> {
    identity::admin(&bearer.context, "identity:update_user")?;
    let JsonBody(body) = body?;
    let fields = Fields::top(&body).object("user")?;
    check_common(fields)?;
    let given = &body["user"];
    let cleared = |key: &str| given.get(key).is_some_and(Value::is_null);
    let text = |key: &str| -> Result<Option<String>> {
        Ok(match fields.text(key)? {
            Some(text) => Some(text.to_owned()),
            None => cleared(key).then(String::new),
        })
    };
    let change = UserChange {
        name: fields.text("name")?.map(str::to_owned),
        password: match fields.value("password") {
            None => None,
            Some(_) => Some(secret(fields, "password")?),
        },
        email: text("email")?,
        description: text("description")?,
        is_enabled: boolean(fields, "enabled")?,
        default_project_id: match fields.text("default_project_id")? {
            Some(id) => Some(Some(id.to_owned())),
            None => cleared("default_project_id").then_some(None),
        },
    };
    let changed = identity::update_user(&service, &bearer.context, &id, change, Force::No).await?;
    Ok(Json(json!({"user": view(&service, &changed)})))
}

/// `DELETE /v3/users/{id}`
pub(super) async fn delete(
    State(service): State<Service>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    identity::delete_user(&service, &bearer.context, &id, Force::No).await?;
    Ok(success::NO_CONTENT)
}

/// `POST /v3/users/{id}/password`: needs the present password and, as in Keystone, no token.
pub(super) async fn change_password(
    State(service): State<Service>,
    Path(id): Path<String>,
    body: Body,
) -> Result<StatusCode> {
    let JsonBody(body) = body?;
    let fields = Fields::top(&body).object("user")?;
    let original = secret(fields, "original_password")?;
    let wanted = secret(fields, "password")?;
    identity::change_password(&service, &id, original, wanted).await?;
    Ok(success::NO_CONTENT)
}

/// `GET /v3/users/{id}/groups`: none.
pub(super) async fn groups_of_user(
    State(service): State<Service>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    identity::user(&service, &bearer.context, &id).await?;
    let path = format!("users/{id}/groups");
    Ok(collection(&service, "groups", &path, Vec::new()))
}

/// `GET /v3/users/{id}/access_rules`: none.
pub(super) async fn access_rules(
    State(service): State<Service>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    identity::own_or_admin(&bearer.context, &id, "identity:list_access_rules")?;
    let path = format!("users/{id}/access_rules");
    Ok(collection(&service, "access_rules", &path, Vec::new()))
}

/// `GET /v3/groups`: none.
pub(super) async fn groups(State(service): State<Service>, bearer: Bearer) -> Result<Json<Value>> {
    identity::admin(&bearer.context, "identity:list_groups")?;
    Ok(collection(&service, "groups", "groups", Vec::new()))
}

/// `GET`, `PATCH` and `DELETE /v3/groups/{id}`, and what is below them.
pub(super) async fn no_group(bearer: Bearer, Path(id): Path<String>) -> Result<StatusCode> {
    identity::admin(&bearer.context, "identity:get_group")?;
    Err(identity::missing("group", &id).into())
}

/// `POST /v3/groups`
pub(super) async fn create_group(bearer: Bearer) -> Result<StatusCode> {
    identity::admin(&bearer.context, "identity:create_group")?;
    Err(Fault::not_supported("A group of users").into())
}
