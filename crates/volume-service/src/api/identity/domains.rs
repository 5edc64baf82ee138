//! The one domain.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use http::StatusCode;
use serde_json::{Value, json};

use super::fault::Result;
use super::query::{DOMAIN, Query, base, collection};
use super::tokens::Bearer;
use crate::app::Service;
use crate::app::identity;

fn the_domain(service: &Service) -> Value {
    json!({
        "id": DOMAIN,
        "name": "Default",
        "description": "The only domain.",
        "enabled": true,
        "tags": [],
        "options": {},
        "links": {"self": format!("{}/domains/default", base(service))},
    })
}

/// `GET /v3/domains`
pub(super) async fn list(
    State(service): State<Service>,
    _bearer: Bearer,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    let query = Query::parse(query)?;
    let is_meant = query
        .get("name")
        .is_none_or(|name| name.eq_ignore_ascii_case("Default"))
        && query.flag("enabled") != Some(false);
    let domains = is_meant.then(|| the_domain(&service)).into_iter().collect();
    Ok(collection(&service, "domains", "domains", domains))
}

/// `GET /v3/domains/{id}`
pub(super) async fn show(
    State(service): State<Service>,
    _bearer: Bearer,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    if id == DOMAIN {
        return Ok(Json(json!({"domain": the_domain(&service)})));
    }
    Err(identity::missing("domain", &id).into())
}

/// `GET /v3/auth/system`: nobody has a role there.
pub(super) async fn system(State(service): State<Service>, _bearer: Bearer) -> Json<Value> {
    collection(&service, "system", "auth/system", Vec::new())
}

/// Changes of a domain: there is one, and it stays as it is.
pub(super) async fn fixed(bearer: Bearer) -> Result<StatusCode> {
    identity::admin(&bearer.context, "identity:update_domain")?;
    Err(identity::forbidden("identity:update_domain")
        .detail("the built-in identity has one domain")
        .into())
}
