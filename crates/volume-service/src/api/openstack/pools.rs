//! Backends as the pools of Cinder's scheduler, and what they can do.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::routing::on;
use serde_json::{Value, json};

use super::super::timestamp;
use super::answers::CAPABILITIES;
use super::caller::Caller;
use super::fault::Result;
use super::route::Route;
use super::schema::{ANY_OBJECT, BOOLEAN, Schema, TEXT, closed, field, list_of, required};
use super::volume_view::pool_name;
use crate::app::Service;
use crate::app::pools::{self, Host};
use crate::auth::rule::Rule;
use crate::error::{Error, ErrorKind, Subject};
use crate::model::backend::Backend;
use crate::model::id::BackendId;
use crate::scheduler;

pub(super) const ROUTES: &[Route] = &[
    Route::get("/scheduler-stats/get_pools", |verb| on(verb, list))
        .rule(Rule::SchedulerStatsGetPools)
        .query(&[
            field("detail", BOOLEAN),
            field("name", TEXT).since(28),
            field("volume_type", TEXT).since(35),
        ])
        .answers(200, &closed(&[required("pools", list_of(&POOL))])),
    Route::get("/capabilities/{host}", |verb| on(verb, show))
        .rule(Rule::Capabilities)
        .answers(200, &CAPABILITIES),
];

const POOL: Schema = closed(&[required("name", TEXT), field("capabilities", ANY_OBJECT)]);

/// `GET /scheduler-stats/get_pools`
async fn list(
    State(service): State<Service>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    let (mut is_detailed, mut flavor, mut filters) = (false, None, Vec::new());
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match name.as_ref() {
            "detail" => is_detailed = is_true(&value),
            "volume_type" if caller.version.at_least(35) => flavor = Some(value.into_owned()),
            "volume_type" => {}
            _ if caller.version.at_least(28) => {
                filters.push((name.into_owned(), value.into_owned()));
            }
            _ => {}
        }
    }
    let found = pools::list(&service, &caller.context, flavor.as_deref()).await?;
    let views: Vec<Value> = found
        .iter()
        .map(view)
        .filter(|view| filters.iter().all(|filter| passes(view, filter)))
        .map(|mut view| {
            if !is_detailed && let Some(map) = view.as_object_mut() {
                map.remove("capabilities");
            }
            view
        })
        .collect();
    Ok(Json(json!({ "pools": views })))
}

fn view(backend: &Backend) -> Value {
    let mut capabilities = scheduler::capabilities(backend).0;
    let seen_at = backend.observed_at_us.map(timestamp::openstack);
    capabilities.insert("timestamp".to_owned(), json!(seen_at));
    json!({
        "name": pool_name(&backend.zone, backend.id),
        "capabilities": capabilities,
    })
}

/// True when a pool has this name, or a capability of this name with this value, compared as what it is.
fn passes(view: &Value, (name, wanted): &(String, String)) -> bool {
    let known = if name == "name" {
        &view["name"]
    } else {
        &view["capabilities"][name.as_str()]
    };
    match known {
        Value::String(text) => text == wanted,
        Value::Bool(is) => *is == is_true(wanted),
        Value::Number(number) => number.as_f64() == wanted.trim().parse().ok(),
        _ => false,
    }
}

fn is_true(text: &str) -> bool {
    let text = text.trim().to_ascii_lowercase();
    ["1", "t", "true", "on", "y", "yes"].contains(&text.as_str())
}

/// `GET /capabilities/{host}`: of a pool, or of a zone, where a client left the pool out (it stands behind a `#`).
async fn show(
    State(service): State<Service>,
    caller: Caller,
    Path(host): Path<String>,
) -> Result<Json<Value>> {
    let missing = || {
        let text = format!("Can't find service: {host}");
        Error::new(ErrorKind::NotFound, Subject::Request, text)
    };
    let wanted = parse(&host);
    let found = pools::host(&service, &caller.context, wanted).await?;
    let found = found.ok_or_else(missing)?;
    let capabilities = found
        .backend
        .as_ref()
        .map(|backend| scheduler::capabilities(backend).0)
        .unwrap_or_default();
    let told = |name: &str, other: Value| capabilities.get(name).cloned().unwrap_or(other);
    let pool = found.is_pool.then(|| told("pool_name", Value::Null));
    Ok(Json(json!({
        "namespace": format!("OS::Storage::Capabilities::{host}"),
        "vendor_name": scheduler::VENDOR,
        "volume_backend_name": told("volume_backend_name", json!(host)),
        "pool_name": pool,
        "driver_version": env!("CARGO_PKG_VERSION"),
        "storage_protocol": told("storage_protocol", json!("XenAPI")),
        "display_name": null,
        "description": null,
        "visibility": null,
        "replication_targets": [],
        "properties": properties(),
    })))
}

/// `xensm@<zone>`, with or without `#backend-<number>`.
fn parse(host: &str) -> Option<Host> {
    let (service, pool) = match host.split_once('#') {
        Some((service, pool)) => (service, Some(pool)),
        None => (host, None),
    };
    let zone = service.strip_prefix("xensm@")?.to_owned();
    let backend = match pool {
        Some(pool) => Some(BackendId(pool.strip_prefix("backend-")?.parse().ok()?)),
        None => None,
    };
    Some(Host { zone, backend })
}

/// What volume types may ask of backends.
fn properties() -> Value {
    let property = |title: &str, description: &str, kind: &str| json!({"title": title, "description": description, "type": kind});
    json!({
        "storage_protocol": property("SR type", "The type of the storage repository.", "string"),
        "volume_backend_name": property("SR name", "The name of the storage repository.", "string"),
        "thin_provisioning_support": property(
            "Thin provisioning",
            "Volumes take room as they are written.",
            "boolean",
        ),
        "online_extend_support": property(
            "Online extension",
            "Volumes in use can be made larger.",
            "boolean",
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_zone_with_or_without_a_pool() {
        let host = |zone: &str, backend| {
            let zone = zone.to_owned();
            Some(Host { zone, backend })
        };
        assert_eq!(parse("xensm@nova"), host("nova", None));
        assert_eq!(
            parse("xensm@nova#backend-7"),
            host("nova", Some(BackendId(7)))
        );
        for odd in ["nova", "xensm@nova#7", "xensm@nova#backend-x", ""] {
            assert_eq!(parse(odd), None, "{odd}");
        }
    }
}
