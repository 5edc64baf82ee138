//! What there is: zones, our processes, and the backends as scheduler pools.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::routing::on;
use serde_json::{Value, json};

use super::super::timestamp;
use super::caller::Caller;
use super::fault::Result;
use super::route::Route;
use super::schema::{ANY_OBJECT, BOOLEAN, TEXT, closed, field, list_of, required};
use super::volume_view::pool_name;
use crate::app::{Service, overview};
use crate::auth::rule::Rule;
use crate::model::backend::{Backend, BackendState, BackendUse};

const GIB: f64 = 1_073_741_824.0;

pub(super) const ROUTES: &[Route] = &[
    Route::get("/os-availability-zone", |verb| on(verb, zones)).answers(
        200,
        &closed(&[required("availabilityZoneInfo", list_of(&ANY_OBJECT))]),
    ),
    Route::get("/os-services", |verb| on(verb, services))
        .rule(Rule::ServicesIndex)
        .query(&[field("binary", TEXT), field("host", TEXT)])
        .answers(200, &closed(&[required("services", list_of(&ANY_OBJECT))])),
    Route::get("/scheduler-stats/get_pools", |verb| on(verb, pools))
        .rule(Rule::SchedulerStatsGetPools)
        .query(&[field("detail", BOOLEAN)])
        .answers(200, &closed(&[required("pools", list_of(&ANY_OBJECT))])),
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

/// `GET /scheduler-stats/get_pools`
pub(super) async fn pools(
    State(service): State<Service>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    let found = overview::pools(&service, &caller.context).await?;
    let query = query.unwrap_or_default();
    let detailed = form_urlencoded::parse(query.as_bytes())
        .any(|(name, value)| name == "detail" && value.eq_ignore_ascii_case("true"));
    let views: Vec<_> = found
        .iter()
        .map(|backend| {
            let mut view = json!({"name": pool_name(&backend.zone, backend.id)});
            if detailed {
                view["capabilities"] = capabilities(backend);
            }
            view
        })
        .collect();
    Ok(Json(json!({ "pools": views })))
}

fn capabilities(backend: &Backend) -> Value {
    let gib = |bytes: u64| ((bytes as f64 / GIB) * 100.0).round() / 100.0;
    let unknown = || json!("unknown");
    let free = match (backend.physical_size, backend.physical_utilisation) {
        (Some(size), Some(used)) => json!(gib(size.saturating_sub(used))),
        _ => unknown(),
    };
    let usable = backend.state == BackendState::Connected && backend.usage == BackendUse::Enabled;
    json!({
        "volume_backend_name": backend.name_label,
        "pool_name": format!("backend-{}", backend.id),
        "backend_state": if usable { "up" } else { "down" },
        "vendor_name": "xensm",
        "driver_version": env!("CARGO_PKG_VERSION"),
        "storage_protocol": backend.sr_type,
        "total_capacity_gb": backend.physical_size.map_or_else(unknown, |size| json!(gib(size))),
        "free_capacity_gb": free,
        "allocated_capacity_gb": backend.virtual_allocation.map_or_else(unknown, |size| json!(gib(size))),
        "provisioned_capacity_gb": backend.virtual_allocation.map_or_else(unknown, |size| json!(gib(size))),
        "reserved_percentage": 0,
        "QoS_support": false,
        "multiattach": false,
        "volume_type": backend.flavor_label,
        "availability_zone": backend.zone,
        "timestamp": backend.observed_at_us.map(timestamp::openstack),
    })
}
