//! Availability zones.

use axum::Json;
use axum::extract::State;
use axum::routing::on;
use serde_json::{Value, json};

use super::answers::ZONE;
use super::caller::Caller;
use super::fault::Result;
use super::route::Route;
use super::schema::{closed, list_of, required};
use crate::app::{Service, overview};

pub(super) const ROUTES: &[Route] = &[Route::get("/os-availability-zone", |verb| on(verb, zones))
    .answers(
        200,
        &closed(&[required("availabilityZoneInfo", list_of(&ZONE))]),
    )];

/// `GET /os-availability-zone`
pub(super) async fn zones(State(service): State<Service>, caller: Caller) -> Result<Json<Value>> {
    let zones = overview::zones(&service, &caller.context).await?;
    let views: Vec<_> = zones
        .iter()
        .map(|zone| json!({"zoneName": zone.name, "zoneState": {"available": zone.available}}))
        .collect();
    Ok(Json(json!({ "availabilityZoneInfo": views })))
}
