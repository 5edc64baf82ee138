//! Hosts: the services again, as an older part of the API has them, and what lies on one.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::routing::on;
use serde_json::{Value, json};

use super::super::timestamp;
use super::answers::{HOST, HOST_RESOURCE, TEXTS};
use super::body::JsonBody;
use super::caller::Caller;
use super::fault::{Fault, Result};
use super::route::Route;
use super::schema::{Schema, TEXT, closed, field, list_of, open, required};
use crate::app::Service;
use crate::app::services::{self, Usability};
use crate::auth::rule::Rule;
use crate::db::zone_usage::ZoneUsage;
use crate::error::{Error, ErrorKind, Subject};

pub(super) const ROUTES: &[Route] = &[
    Route::get("/os-hosts", |verb| on(verb, list))
        .rule(Rule::Hosts)
        .query(&[field("zone", TEXT)])
        .answers(200, &closed(&[required("hosts", list_of(&HOST))])),
    Route::get("/os-hosts/{id}", |verb| on(verb, show))
        .rule(Rule::Hosts)
        .answers(200, &closed(&[required("host", list_of(&HOST_RESOURCE))])),
    Route::put("/os-hosts/{id}", |verb| on(verb, update))
        .rule(Rule::Hosts)
        .body(&UPDATE)
        .answers(200, &TEXTS),
];

const UPDATE: Schema = open(&[field("status", TEXT)]);

/// `GET /os-hosts`: the services that are enabled.
async fn list(
    State(service): State<Service>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    let found = services::list(&service, &caller.context).await?;
    let zone = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .find(|(name, value)| name == "zone" && !value.is_empty())
        .map(|(_, value)| value.into_owned());
    let views: Vec<_> = found
        .iter()
        .filter(|one| !one.is_disabled && zone.as_ref().is_none_or(|zone| *zone == one.zone))
        .map(|one| {
            json!({
                "host_name": one.host,
                "service": one.binary,
                "zone": one.zone,
                "service-status": if one.is_up { "available" } else { "unavailable" },
                "service-state": "enabled",
                "last-update": timestamp::openstack(one.updated_at_us),
            })
        })
        .collect();
    Ok(Json(json!({ "hosts": views })))
}

/// `GET /os-hosts/{host}`: what lies there, in all and by project.
async fn show(
    State(service): State<Service>,
    caller: Caller,
    Path(host): Path<String>,
) -> Result<Json<Value>> {
    let projects = services::usage_of_host(&service, &caller.context, &host).await?;
    let mut total = ZoneUsage {
        project_id: "(total)".to_owned(),
        ..ZoneUsage::default()
    };
    for usage in &projects {
        total.volumes += usage.volumes;
        total.volume_gib += usage.volume_gib;
        total.snapshots += usage.snapshots;
        total.snapshot_gib += usage.snapshot_gib;
    }
    let views: Vec<_> = std::iter::once(&total)
        .chain(&projects)
        .map(|usage| {
            json!({"resource": {
                "host": host,
                "project": usage.project_id,
                "volume_count": usage.volumes.to_string(),
                "total_volume_gb": usage.volume_gib.to_string(),
                "snapshot_count": usage.snapshots.to_string(),
                "total_snapshot_gb": usage.snapshot_gib.to_string(),
            }})
        })
        .collect();
    Ok(Json(json!({ "host": views })))
}

/// `PUT /os-hosts/{host}`: enables or disables every service of a host.
async fn update(
    State(service): State<Service>,
    caller: Caller,
    Path(host): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>> {
    let mut wanted = None;
    for (key, value) in &body {
        let word = value.as_str().unwrap_or_default().trim().to_lowercase();
        match (key.trim().to_lowercase().as_str(), word.as_str()) {
            ("status", "enable") => wanted = Some(("enabled", Usability::Enabled)),
            ("status", "disable") => {
                let reason = String::new();
                wanted = Some(("disabled", Usability::Disabled { reason }));
            }
            ("status", _) => return Err(Fault::BadRequest(format!("Invalid status: '{word}'"))),
            _ => {
                return Err(Fault::BadRequest(format!(
                    "Invalid update setting: '{key}'"
                )));
            }
        }
    }
    let found = services::list(&service, &caller.context).await?;
    let of_host: Vec<_> = found.iter().filter(|one| one.host == host).collect();
    if of_host.is_empty() {
        let sentence = format!("Host {host} could not be found.");
        return Err(Error::new(ErrorKind::NotFound, Subject::Request, sentence).into());
    }
    let Some((status, usability)) = wanted else {
        return Ok(Json(json!({})));
    };
    for one in of_host {
        let (context, wanted) = (&caller.context, usability.clone());
        services::set_usability(&service, context, &one.binary, &host, wanted).await?;
    }
    Ok(Json(json!({"host": host, "status": status})))
}
