//! What there is: zones and our processes.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::routing::on;
use serde_json::{Value, json};

use super::super::timestamp;
use super::caller::Caller;
use super::fault::Result;
use super::route::Route;
use super::schema::{ANY_OBJECT, TEXT, closed, field, list_of, required};
use crate::app::{Service, overview};
use crate::auth::rule::Rule;

pub(super) const ROUTES: &[Route] = &[
    Route::get("/os-availability-zone", |verb| on(verb, zones)).answers(
        200,
        &closed(&[required("availabilityZoneInfo", list_of(&ANY_OBJECT))]),
    ),
    Route::get("/os-services", |verb| on(verb, services))
        .rule(Rule::ServicesIndex)
        .query(&[field("binary", TEXT), field("host", TEXT)])
        .answers(200, &closed(&[required("services", list_of(&ANY_OBJECT))])),
];

/// `GET /os-availability-zone`
pub(super) async fn zones(State(service): State<Service>, caller: Caller) -> Result<Json<Value>> {
    let zones = overview::zones(&service, &caller.context).await?;
    let views: Vec<_> = zones
        .iter()
        .map(|zone| json!({"zoneName": zone.name, "zoneState": {"available": zone.available}}))
        .collect();
    Ok(Json(json!({ "availabilityZoneInfo": views })))
}

/// `GET /os-services`
pub(super) async fn services(
    State(service): State<Service>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    let found = overview::services(&service, &caller.context).await?;
    let query = query.unwrap_or_default();
    let wanted = |name: &str| {
        form_urlencoded::parse(query.as_bytes())
            .find(|(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.into_owned())
    };
    let (binary, host) = (wanted("binary"), wanted("host"));
    let views: Vec<_> = found
        .iter()
        .filter(|status| binary.as_ref().is_none_or(|name| *name == status.binary))
        .filter(|status| host.as_ref().is_none_or(|name| *name == status.machine))
        .map(|status| {
            let mut view = json!({
                "binary": status.binary,
                "host": status.machine,
                "zone": status.zone,
                "status": "enabled",
                "state": if status.is_up { "up" } else { "down" },
                "updated_at": timestamp::openstack(status.updated_at_us),
                "disabled_reason": null,
            });
            if caller.version.at_least(7) {
                view["cluster"] = Value::Null;
            }
            view
        })
        .collect();
    Ok(Json(json!({ "services": views })))
}
