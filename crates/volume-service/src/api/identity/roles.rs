//! `/v3/roles`, grants and `/v3/role_assignments`. The roles are fixed.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use http::StatusCode;
use serde_json::{Value, json};

use super::super::openstack::fault::{Fault, success};
use super::catalog::stable_id;
use super::fault::Result;
use super::query::{DOMAIN, Query, base, collection};
use super::tokens::Bearer;
use crate::app::Service;
use crate::app::identity::{self, EVERY_ROLE, Force, Grant, GrantFilter, ROLES};

/// The id of a role, the same everywhere.
pub(super) fn role_id(name: &str) -> String {
    stable_id(&["role", name])
}

/// The name of a role by its id.
pub(super) fn role_by_id(id: &str) -> Result<&'static str> {
    let found = EVERY_ROLE.into_iter().find(|name| role_id(name) == id);
    found.ok_or_else(|| identity::missing("role", id).into())
}

fn describe(name: &str) -> &'static str {
    match name {
        "admin" => "Everything, in every project.",
        "member" => "Reads and changes its project.",
        "reader" => "Reads its project.",
        _ => "Speaks for users of other services.",
    }
}

fn view(service: &Service, name: &str) -> Value {
    let id = role_id(name);
    json!({
        "id": id,
        "name": name,
        "domain_id": null,
        "description": describe(name),
        "options": {},
        "links": {"self": format!("{}/roles/{id}", base(service))},
    })
}

/// `GET /v3/roles`
pub(super) async fn list(
    State(service): State<Service>,
    _bearer: Bearer,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    let query = Query::parse(query)?;
    let roles = EVERY_ROLE
        .into_iter()
        .filter(|name| query.get("name").is_none_or(|wanted| wanted == *name))
        // Roles are of the whole installation; no domain has its own.
        .filter(|_| query.get("domain_id").is_none_or(|id| id == "null"))
        .map(|name| view(&service, name))
        .collect();
    Ok(collection(&service, "roles", "roles", roles))
}

/// `GET /v3/roles/{id}`
pub(super) async fn show(
    State(service): State<Service>,
    _bearer: Bearer,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    let name = role_by_id(&id)?;
    Ok(Json(json!({"role": view(&service, name)})))
}

/// `POST /v3/roles`, `PATCH` and `DELETE /v3/roles/{id}`: the roles are fixed.
pub(super) async fn fixed(_bearer: Bearer) -> Result<StatusCode> {
    Err(identity::forbidden("identity:change_role")
        .detail("the roles of the built-in identity are fixed")
        .into())
}

fn implied_by(name: &str) -> &'static [&'static str] {
    match name {
        "admin" => &ROLES[1..2],
        "member" => &ROLES[2..3],
        _ => &[],
    }
}

fn brief(service: &Service, name: &str) -> Value {
    let id = role_id(name);
    json!({"id": id, "name": name, "links": {"self": format!("{}/roles/{id}", base(service))}})
}

fn inference(service: &Service, name: &str) -> Value {
    let implies: Vec<Value> = implied_by(name)
        .iter()
        .map(|name| brief(service, name))
        .collect();
    json!({"prior_role": brief(service, name), "implies": implies})
}

/// `GET /v3/role_inferences`
pub(super) async fn inferences(State(service): State<Service>, _bearer: Bearer) -> Json<Value> {
    let all = ROLES[..2]
        .iter()
        .map(|name| inference(&service, name))
        .collect();
    collection(&service, "role_inferences", "role_inferences", all)
}

/// `GET /v3/roles/{id}/implies`
pub(super) async fn implies(
    State(service): State<Service>,
    _bearer: Bearer,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    let name = role_by_id(&id)?;
    let own = format!("{}/roles/{id}/implies", base(&service));
    let view = json!({"role_inference": inference(&service, name), "links": {"self": own}});
    Ok(Json(view))
}

/// `GET /v3/projects/{project}/users/{user}/roles`
pub(super) async fn granted(
    State(service): State<Service>,
    bearer: Bearer,
    Path((project, user)): Path<(String, String)>,
) -> Result<Json<Value>> {
    identity::admin(&bearer.context, "identity:list_grants")?;
    identity::user(&service, &bearer.context, &user).await?;
    identity::project(&service, &bearer.context, &project).await?;
    let path = format!("projects/{project}/users/{user}/roles");
    let filter = GrantFilter {
        user_id: Some(user),
        project_id: Some(project),
    };
    let listed = identity::grants(&service, &bearer.context, filter).await?;
    let roles = listed
        .items
        .iter()
        .map(|grant| view(&service, &grant.role))
        .collect();
    Ok(collection(&service, "roles", &path, roles))
}

/// `HEAD` and `GET /v3/projects/{project}/users/{user}/roles/{role}`
pub(super) async fn check(
    State(service): State<Service>,
    bearer: Bearer,
    Path((project, user, role)): Path<(String, String, String)>,
) -> Result<StatusCode> {
    identity::admin(&bearer.context, "identity:check_grant")?;
    let name = role_by_id(&role)?;
    if identity::has_grant(&service, &bearer.context, &user, &project, name).await? {
        return Ok(success::NO_CONTENT);
    }
    Err(identity::missing("role assignment with role", &role).into())
}

/// `PUT` of the same.
pub(super) async fn grant(
    State(service): State<Service>,
    bearer: Bearer,
    Path((project, user, role)): Path<(String, String, String)>,
) -> Result<StatusCode> {
    identity::admin(&bearer.context, "identity:create_grant")?;
    let name = role_by_id(&role)?;
    identity::grant(&service, &bearer.context, &user, &project, name).await?;
    Ok(success::NO_CONTENT)
}

/// `DELETE` of the same.
pub(super) async fn revoke(
    State(service): State<Service>,
    bearer: Bearer,
    Path((project, user, role)): Path<(String, String, String)>,
) -> Result<StatusCode> {
    identity::admin(&bearer.context, "identity:revoke_grant")?;
    let name = role_by_id(&role)?;
    let context = &bearer.context;
    identity::revoke_grant(&service, context, &user, &project, name, Force::No).await?;
    Ok(success::NO_CONTENT)
}

/// Grants to groups, in a domain or in the system: all grants are users' in projects.
pub(super) async fn not_here(bearer: Bearer) -> Result<StatusCode> {
    identity::admin(&bearer.context, "identity:create_grant")?;
    Err(Fault::not_supported("A role of a group, in a domain or in the system").into())
}

/// The lists of such grants: empty.
pub(super) async fn none_here(
    State(service): State<Service>,
    bearer: Bearer,
) -> Result<Json<Value>> {
    identity::admin(&bearer.context, "identity:list_grants")?;
    Ok(collection(&service, "roles", "roles", Vec::new()))
}

/// `GET /v3/role_assignments`
pub(super) async fn assignments(
    State(service): State<Service>,
    bearer: Bearer,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    let query = Query::parse(query)?;
    let filter = GrantFilter {
        user_id: query.text("user.id"),
        project_id: query.text("scope.project.id"),
    };
    identity::admin(&bearer.context, "identity:list_role_assignments")?;
    let listed = identity::grants(&service, &bearer.context, filter).await?;
    let outside = [
        "group.id",
        "scope.domain.id",
        "scope.system",
        "scope.OS-INHERIT:inherited_to",
    ];
    let names = query.get("include_names").is_some() && query.flag("include_names") != Some(false);
    let effective = query.get("effective").is_some() && query.flag("effective") != Some(false);
    let mut views = Vec::new();
    if outside.iter().all(|name| query.get(name).is_none()) {
        for grant in &listed.items {
            let roles = match effective {
                true => identity::implied(std::slice::from_ref(&grant.role)),
                false => vec![grant.role.clone()],
            };
            for role in roles {
                if query.get("role.id").is_none_or(|id| id == role_id(&role)) {
                    views.push(assignment(&service, grant, &role, names));
                }
            }
        }
    }
    let mut body = collection(&service, "role_assignments", "role_assignments", views);
    if listed.is_truncated {
        body.0["truncated"] = json!(true);
    }
    Ok(body)
}

fn assignment(service: &Service, grant: &Grant, role: &str, names: bool) -> Value {
    let id = role_id(role);
    let link = format!(
        "{}/projects/{}/users/{}/roles/{id}",
        base(service),
        grant.project_id,
        grant.user_id
    );
    let mut view = json!({
        "role": {"id": id},
        "user": {"id": grant.user_id},
        "scope": {"project": {"id": grant.project_id}},
        "links": {"assignment": link},
    });
    if names {
        let domain = json!({"id": DOMAIN, "name": "Default"});
        view["role"]["name"] = json!(role);
        view["user"]["name"] = json!(grant.user_name);
        view["user"]["domain"] = domain.clone();
        view["scope"]["project"]["name"] = json!(grant.project_name);
        view["scope"]["project"]["domain"] = domain;
    }
    view
}
