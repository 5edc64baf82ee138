//! Cleaning up after services that died (3.24).

use axum::Json;
use axum::extract::State;
use axum::routing::on;
use http::StatusCode;
use serde_json::{Value, json};

use super::body::{Fields, JsonBody};
use super::caller::Caller;
use super::fault::{Fault, Result, success};
use super::route::Route;
use super::schema::{
    ANY_OBJECT, BOOLEAN, INTEGER_MAX, Schema, UUID_OR_NULL, closed, digits, field, list_of,
    required, text, words,
};
use super::service_control::HOST;
use crate::app::{Service, cleanup};
use crate::auth::rule::Rule;

pub(super) const ROUTES: &[Route] = &[
    Route::post("/workers/cleanup", |verb| on(verb, clean_up))
        .rule(Rule::WorkersCleanup)
        .since(24)
        .body(&FILTERS)
        .answers(202, &CLEANED),
    // What openstacksdk 4.22 sends, and with it `openstack block storage cleanup`; Cinder has no such method there.
    Route::put("/workers/cleanup", |verb| on(verb, clean_up))
        .rule(Rule::WorkersCleanup)
        .since(24)
        .body(&FILTERS)
        .answers(202, &CLEANED),
];

const CLEANED: Schema = closed(&[
    required("cleaning", list_of(&ANY_OBJECT)),
    required("unavailable", list_of(&ANY_OBJECT)),
]);

const FILTERS: Schema = closed(&[
    field("cluster_name", HOST),
    field("disabled", Schema::OrNull(&BOOLEAN)),
    field("host", HOST),
    field("is_up", Schema::OrNull(&BOOLEAN)),
    field(
        "binary",
        Schema::OrNull(&words(&["cinder-volume", "cinder-scheduler"])),
    ),
    field("resource_id", UUID_OR_NULL),
    field("resource_type", Schema::OrNull(&text(0, 40))),
    field("service_id", Schema::OrNull(&digits(0, INTEGER_MAX))),
]);

/// `POST /workers/cleanup`: workers take over from each other without being asked, so that no service is told to.
async fn clean_up(
    State(service): State<Service>,
    caller: Caller,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<Value>)> {
    let fields = Fields::top(&body);
    let kind = fields.text("resource_type")?.unwrap_or_default();
    if !["", "volume", "snapshot"].contains(&kind.to_lowercase().as_str()) {
        return Err(Fault::BadRequest(format!(
            "Invalid input received: Resource type {kind} not valid, must be Volume or Snapshot"
        )));
    }
    let id = fields.uuid("resource_id")?.map(|id| id.to_string());
    cleanup::clean_up(&service, &caller.context, id.as_deref()).await?;
    let view = json!({"cleaning": [], "unavailable": []});
    Ok((success::ACCEPTED, Json(view)))
}
