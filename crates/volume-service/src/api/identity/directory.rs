//! Projects, users and the one domain, as far as a token's bearer may see them.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use http::StatusCode;
use serde_json::{Value, json};

use super::super::openstack::fault::{Fault, success};
use super::super::openstack::{Fields, JsonBody};
use super::fault::Result;
use super::tokens::Bearer;
use crate::app::Service;
use crate::app::identity::{self, Project, User};
use crate::error::{Error, ErrorKind, Subject};

/// What Keystone says to somebody who may not do something.
pub(super) fn forbidden(action: &str) -> Error {
    Error::new(
        ErrorKind::Forbidden,
        Subject::Identity,
        format!("You are not authorized to perform the requested action: {action}."),
    )
}

fn not_found(what: &str, id: &str) -> Error {
    let text = format!("Could not find {what}: {id}.");
    Error::new(ErrorKind::NotFound, Subject::Identity, text)
}

fn base(service: &Service) -> String {
    let identity = service.config.endpoints.identity.trim_end_matches('/');
    format!("{identity}/v3")
}

fn project_view(service: &Service, project: &Project) -> Value {
    json!({
        "id": project.id,
        "name": project.name,
        "description": project.description,
        "domain_id": "default",
        "parent_id": "default",
        "enabled": true,
        "is_domain": false,
        "tags": [],
        "options": {},
        "links": {"self": format!("{}/projects/{}", base(service), project.id)},
    })
}

fn user_view(service: &Service, user: &User) -> Value {
    json!({
        "id": user.id,
        "name": user.name,
        "default_project_id": user.default_project_id,
        "domain_id": "default",
        "enabled": true,
        "password_expires_at": null,
        "options": {},
        "links": {"self": format!("{}/users/{}", base(service), user.id)},
    })
}

fn collection(service: &Service, key: &str, path: &str, items: Vec<Value>) -> Json<Value> {
    let own = format!("{}/{path}", base(service));
    Json(json!({key: items, "links": {"self": own, "previous": null, "next": null}}))
}

/// `GET /v3/auth/projects` and `/v3/projects`: the bearer's own, by `name` when given.
pub(super) async fn my_projects(
    State(service): State<Service>,
    bearer: Bearer,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    let name = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .find(|(key, _)| key == "name")
        .map(|(_, value)| value.into_owned());
    let projects = identity::projects_of(&service, &bearer.token.user.id).await?;
    let views = projects
        .iter()
        .filter(|project| name.as_ref().is_none_or(|name| *name == project.name))
        .map(|project| project_view(&service, project))
        .collect();
    Ok(collection(&service, "projects", "auth/projects", views))
}

/// `GET /v3/users/{id}/projects`
pub(super) async fn projects_of_user(
    State(service): State<Service>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    if id != bearer.token.user.id && !bearer.context.is_admin() {
        return Err(forbidden("identity:list_user_projects").into());
    }
    let projects = identity::projects_of(&service, &id).await?;
    let views = projects.iter().map(|p| project_view(&service, p)).collect();
    Ok(collection(
        &service,
        "projects",
        &format!("users/{id}/projects"),
        views,
    ))
}

/// `GET /v3/projects/{id}`, by id; clients that have a name try it here first and need the 404.
pub(super) async fn project(
    State(service): State<Service>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    let projects = identity::projects_of(&service, &bearer.token.user.id).await?;
    match projects.iter().find(|project| project.id == id) {
        Some(project) => Ok(Json(json!({"project": project_view(&service, project)}))),
        None => Err(not_found("project", &id).into()),
    }
}

/// `POST /v3/projects`
pub(super) async fn create_project(
    State(service): State<Service>,
    bearer: Bearer,
    body: std::result::Result<JsonBody, Fault>,
) -> Result<(StatusCode, Json<Value>)> {
    let JsonBody(body) = body?;
    let fields = Fields::top(&body).object("project")?;
    let name = fields.required_text("name")?;
    let description = fields.text("description")?.unwrap_or_default();
    let project = identity::create_project(&service, &bearer.context, name, description).await?;
    let view = json!({"project": project_view(&service, &project)});
    Ok((success::CREATED, Json(view)))
}

/// `GET /v3/users`: the bearer alone; a directory of users is not built.
pub(super) async fn users(
    State(service): State<Service>,
    bearer: Bearer,
    RawQuery(query): RawQuery,
) -> Json<Value> {
    let name = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .find(|(key, _)| key == "name")
        .map(|(_, value)| value.into_owned());
    let user = &bearer.token.user;
    let views = if name.is_none_or(|name| name == user.name) {
        vec![user_view(&service, user)]
    } else {
        Vec::new()
    };
    collection(&service, "users", "users", views)
}

/// `GET /v3/users/{id}`: the bearer's own.
pub(super) async fn user(
    State(service): State<Service>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    if id != bearer.token.user.id {
        return Err(not_found("user", &id).into());
    }
    Ok(Json(
        json!({"user": user_view(&service, &bearer.token.user)}),
    ))
}

fn the_domain(service: &Service) -> Value {
    json!({
        "id": "default",
        "name": "Default",
        "description": "The only domain.",
        "enabled": true,
        "tags": [],
        "options": {},
        "links": {"self": format!("{}/domains/default", base(service))},
    })
}

/// `GET /v3/domains`
pub(super) async fn domains(State(service): State<Service>, _bearer: Bearer) -> Json<Value> {
    let domain = the_domain(&service);
    collection(&service, "domains", "domains", vec![domain])
}

/// `GET /v3/domains/{id}`
pub(super) async fn domain(
    State(service): State<Service>,
    _bearer: Bearer,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    if id == "default" {
        Ok(Json(json!({"domain": the_domain(&service)})))
    } else {
        Err(not_found("domain", &id).into())
    }
}
