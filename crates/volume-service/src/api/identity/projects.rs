//! `/v3/projects` and its tags.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use http::StatusCode;
use serde_json::{Value, json};

use super::super::openstack::fault::{Fault, success};
use super::super::openstack::{Fields, JsonBody};
use super::fault::Result;
use super::query::{DOMAIN, Query, base, boolean, check_common, collection, page, texts};
use super::tokens::Bearer;
use crate::app::Service;
use crate::app::identity::{self, Force, Project, ProjectChange, ProjectEntry, ProjectFilter};

type Body = std::result::Result<JsonBody, Fault>;

fn view(service: &Service, entry: &ProjectEntry) -> Value {
    let project = &entry.project;
    json!({
        "id": project.id,
        "name": project.name,
        "description": project.description,
        "domain_id": DOMAIN,
        "parent_id": DOMAIN,
        "enabled": entry.is_enabled,
        "is_domain": false,
        "tags": entry.tags,
        "options": {},
        "links": {"self": format!("{}/projects/{}", base(service), project.id)},
    })
}

fn filter(query: &Query) -> ProjectFilter {
    ProjectFilter {
        name: query.text("name"),
        enabled: query.flag("enabled"),
        of_user: None,
        tags: query
            .get("tags")
            .map(|tags| tags.split(',').map(str::to_owned).collect())
            .unwrap_or_default(),
        marker: query.text("marker"),
    }
}

/// True when nothing can match: another domain, another parent, a project that is a domain.
fn matches_nothing(query: &Query) -> bool {
    !query.is_of_the_domain()
        || query.get("parent_id").is_some_and(|id| id != DOMAIN)
        || query.flag("is_domain") == Some(true)
}

fn check_filters(query: &Query) -> Result<()> {
    for unbuilt in ["tags-any", "not-tags", "not-tags-any"] {
        if query.get(unbuilt).is_some() {
            return Err(Fault::not_supported(&format!("The filter {unbuilt}")).into());
        }
    }
    Ok(())
}

/// `GET /v3/projects`
pub(super) async fn list(
    State(service): State<Service>,
    bearer: Bearer,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    let query = Query::parse(query)?;
    check_filters(&query)?;
    let mut listed =
        identity::projects(&service, &bearer.context, filter(&query), query.limit()?).await?;
    if matches_nothing(&query) {
        listed.items.clear();
        listed.is_truncated = false;
    }
    Ok(page(&service, "projects", "projects", &listed, |entry| {
        view(&service, entry)
    }))
}

/// `GET /v3/auth/projects`: those that the bearer may have a token for.
pub(super) async fn my_projects(
    State(service): State<Service>,
    bearer: Bearer,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    let query = Query::parse(query)?;
    let filter = ProjectFilter {
        enabled: Some(true),
        of_user: Some(bearer.token.user.id.clone()),
        ..filter(&query)
    };
    let listed = identity::projects(&service, &bearer.context, filter, query.limit()?).await?;
    Ok(page(
        &service,
        "projects",
        "auth/projects",
        &listed,
        |entry| view(&service, entry),
    ))
}

/// `GET /v3/users/{id}/projects`
pub(super) async fn projects_of_user(
    State(service): State<Service>,
    bearer: Bearer,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    let query = Query::parse(query)?;
    identity::user(&service, &bearer.context, &id).await?;
    let filter = ProjectFilter {
        of_user: Some(id.clone()),
        ..filter(&query)
    };
    let listed = identity::projects(&service, &bearer.context, filter, query.limit()?).await?;
    let path = format!("users/{id}/projects");
    Ok(page(&service, "projects", &path, &listed, |entry| {
        view(&service, entry)
    }))
}

/// `GET /v3/projects/{id}`, by id; clients that have a name try it here first and need the 404.
pub(super) async fn show(
    State(service): State<Service>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    let entry = identity::project(&service, &bearer.context, &id).await?;
    Ok(Json(json!({"project": view(&service, &entry)})))
}

/// `POST /v3/projects`
pub(super) async fn create(
    State(service): State<Service>,
    bearer: Bearer,
    body: Body,
) -> Result<(StatusCode, Json<Value>)> {
    identity::admin(&bearer.context, "identity:create_project")?;
    let JsonBody(body) = body?;
    let fields = Fields::top(&body).object("project")?;
    check_common(fields)?;
    if boolean(fields, "is_domain")? == Some(true) {
        return Err(Fault::not_supported("A project that is a domain").into());
    }
    if fields.text("parent_id")?.is_some_and(|id| id != DOMAIN) {
        return Err(Fault::not_supported("A project within a project").into());
    }
    let entry = ProjectEntry {
        project: Project {
            id: String::new(),
            name: fields.required_text("name")?.to_owned(),
            description: fields.text("description")?.unwrap_or_default().to_owned(),
        },
        is_enabled: boolean(fields, "enabled")?.unwrap_or(true),
        tags: texts(fields, "tags")?.unwrap_or_default(),
    };
    let made = identity::new_project(&service, &bearer.context, entry).await?;
    let view = json!({"project": view(&service, &made)});
    Ok((success::CREATED, Json(view)))
}

/// `PATCH /v3/projects/{id}`
pub(super) async fn update(
    State(service): State<Service>,
    bearer: Bearer,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<Value>> {
    identity::admin(&bearer.context, "identity:update_project")?;
    let JsonBody(body) = body?;
    let fields = Fields::top(&body).object("project")?;
    check_common(fields)?;
    let change = ProjectChange {
        name: fields.text("name")?.map(str::to_owned),
        description: fields.text("description")?.map(str::to_owned),
        is_enabled: boolean(fields, "enabled")?,
        tags: texts(fields, "tags")?,
    };
    change_project(&service, &bearer, &id, change).await
}

async fn change_project(
    service: &Service,
    bearer: &Bearer,
    id: &str,
    change: ProjectChange,
) -> Result<Json<Value>> {
    let context = &bearer.context;
    let changed = identity::update_project(service, context, id, change, Force::No).await?;
    Ok(Json(json!({"project": view(service, &changed)})))
}

/// `DELETE /v3/projects/{id}`
pub(super) async fn delete(
    State(service): State<Service>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    identity::delete_project(&service, &bearer.context, &id, Force::No).await?;
    Ok(success::NO_CONTENT)
}

/// `GET /v3/projects/{id}/tags`
pub(super) async fn tags(
    State(service): State<Service>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    let entry = identity::project(&service, &bearer.context, &id).await?;
    let tags = entry.tags.into_iter().map(Value::from).collect();
    Ok(collection(
        &service,
        "tags",
        &format!("projects/{id}/tags"),
        tags,
    ))
}

/// `PUT /v3/projects/{id}/tags`
pub(super) async fn set_tags(
    State(service): State<Service>,
    bearer: Bearer,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<Value>> {
    identity::admin(&bearer.context, "identity:update_project_tags")?;
    let JsonBody(body) = body?;
    let fields = Fields::top(&body);
    let tags = texts(fields, "tags")?.ok_or_else(|| fields.missing("tags"))?;
    put_tags(&service, &bearer, &id, tags).await?;
    let entry = identity::project(&service, &bearer.context, &id).await?;
    let tags = entry.tags.into_iter().map(Value::from).collect();
    Ok(collection(
        &service,
        "tags",
        &format!("projects/{id}/tags"),
        tags,
    ))
}

/// `DELETE /v3/projects/{id}/tags`
pub(super) async fn clear_tags(
    State(service): State<Service>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    put_tags(&service, &bearer, &id, Vec::new()).await?;
    Ok(success::NO_CONTENT)
}

/// `GET` and `HEAD /v3/projects/{id}/tags/{tag}`
pub(super) async fn has_tag(
    State(service): State<Service>,
    bearer: Bearer,
    Path((id, tag)): Path<(String, String)>,
) -> Result<StatusCode> {
    let entry = identity::project(&service, &bearer.context, &id).await?;
    if !entry.tags.contains(&tag) {
        return Err(identity::missing("project tag", &tag).into());
    }
    Ok(success::NO_CONTENT)
}

/// `PUT /v3/projects/{id}/tags/{tag}`
pub(super) async fn add_tag(
    State(service): State<Service>,
    bearer: Bearer,
    Path((id, tag)): Path<(String, String)>,
) -> Result<StatusCode> {
    identity::admin(&bearer.context, "identity:create_project_tag")?;
    let mut tags = identity::project(&service, &bearer.context, &id)
        .await?
        .tags;
    if !tags.contains(&tag) {
        tags.push(tag);
        put_tags(&service, &bearer, &id, tags).await?;
    }
    Ok(success::CREATED)
}

/// `DELETE /v3/projects/{id}/tags/{tag}`
pub(super) async fn remove_tag(
    State(service): State<Service>,
    bearer: Bearer,
    Path((id, tag)): Path<(String, String)>,
) -> Result<StatusCode> {
    identity::admin(&bearer.context, "identity:delete_project_tag")?;
    let mut tags = identity::project(&service, &bearer.context, &id)
        .await?
        .tags;
    let before = tags.len();
    tags.retain(|known| *known != tag);
    if tags.len() == before {
        return Err(identity::missing("project tag", &tag).into());
    }
    put_tags(&service, &bearer, &id, tags).await?;
    Ok(success::NO_CONTENT)
}

async fn put_tags(service: &Service, bearer: &Bearer, id: &str, tags: Vec<String>) -> Result<()> {
    let change = ProjectChange {
        tags: Some(tags),
        ..ProjectChange::default()
    };
    identity::update_project(service, &bearer.context, id, change, Force::No).await?;
    Ok(())
}
