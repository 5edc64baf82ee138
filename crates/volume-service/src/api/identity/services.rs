//! `/v3/services`, `/v3/endpoints` and `/v3/regions`: what the catalogue is made of, to read.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use http::StatusCode;
use serde_json::{Value, json};

use super::REGION;
use super::catalog::catalog;
use super::fault::Result;
use super::query::{Query, base, collection};
use super::tokens::Bearer;
use crate::app::Service;
use crate::app::identity;

/// What stands in a URL where a token's catalogue names its project.
const PROJECT: &str = "$(project_id)s";

fn entries(service: &Service) -> Vec<Value> {
    match catalog(service, PROJECT) {
        Value::Array(entries) => entries,
        _ => Vec::new(),
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn services_of(service: &Service) -> Vec<Value> {
    let view = |entry: &Value| {
        let id = text(entry, "id");
        json!({
            "id": id,
            "type": entry["type"],
            "name": entry["name"],
            "enabled": true,
            "links": {"self": format!("{}/services/{id}", base(service))},
        })
    };
    entries(service).iter().map(view).collect()
}

fn endpoints_of(service: &Service) -> Vec<Value> {
    let mut views = Vec::new();
    for entry in entries(service) {
        for endpoint in entry["endpoints"].as_array().into_iter().flatten() {
            let id = text(endpoint, "id");
            views.push(json!({
                "id": id,
                "service_id": entry["id"],
                "interface": endpoint["interface"],
                "region": REGION,
                "region_id": REGION,
                "url": endpoint["url"],
                "enabled": true,
                "links": {"self": format!("{}/endpoints/{id}", base(service))},
            }));
        }
    }
    views
}

fn region(service: &Service) -> Value {
    json!({
        "id": REGION,
        "description": "",
        "parent_region_id": null,
        "links": {"self": format!("{}/regions/{REGION}", base(service))},
    })
}

fn matching(items: Vec<Value>, query: &Query, filters: &[&str]) -> Vec<Value> {
    let fits = |item: &Value| {
        filters.iter().all(|filter| {
            query
                .get(filter)
                .is_none_or(|wanted| text(item, filter) == wanted)
        })
    };
    items.into_iter().filter(fits).collect()
}

fn by_id(items: Vec<Value>, what: &str, id: &str) -> Result<Json<Value>> {
    let found = items.into_iter().find(|item| text(item, "id") == id);
    let found = found.ok_or_else(|| identity::missing(what, id))?;
    Ok(Json(json!({what: found})))
}

/// `GET /v3/services`
pub(super) async fn services(
    State(service): State<Service>,
    bearer: Bearer,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    identity::admin(&bearer.context, "identity:list_services")?;
    let found = matching(
        services_of(&service),
        &Query::parse(query)?,
        &["type", "name"],
    );
    Ok(collection(&service, "services", "services", found))
}

/// `GET /v3/services/{id}`
pub(super) async fn service(
    State(service): State<Service>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    identity::admin(&bearer.context, "identity:get_service")?;
    by_id(services_of(&service), "service", &id)
}

/// `GET /v3/endpoints`
pub(super) async fn endpoints(
    State(service): State<Service>,
    bearer: Bearer,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    identity::admin(&bearer.context, "identity:list_endpoints")?;
    let filters = ["service_id", "interface", "region_id", "region"];
    let found = matching(endpoints_of(&service), &Query::parse(query)?, &filters);
    Ok(collection(&service, "endpoints", "endpoints", found))
}

/// `GET /v3/endpoints/{id}`
pub(super) async fn endpoint(
    State(service): State<Service>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    identity::admin(&bearer.context, "identity:get_endpoint")?;
    by_id(endpoints_of(&service), "endpoint", &id)
}

/// `GET /v3/regions`
pub(super) async fn regions(State(service): State<Service>, _bearer: Bearer) -> Json<Value> {
    let region = region(&service);
    collection(&service, "regions", "regions", vec![region])
}

/// `GET /v3/regions/{id}`
pub(super) async fn one_region(
    State(service): State<Service>,
    _bearer: Bearer,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    by_id(vec![region(&service)], "region", &id)
}

/// Changes of any of them: the catalogue is made of the configuration.
pub(super) async fn fixed(_bearer: Bearer) -> Result<StatusCode> {
    Err(identity::forbidden("identity:change_catalog")
        .detail("the catalogue is made of the configuration")
        .into())
}
