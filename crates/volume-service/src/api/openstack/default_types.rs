//! The volume types of requests that name none, by project.

use axum::Json;
use axum::extract::{Path, State};
use axum::routing::on;
use http::StatusCode;
use serde_json::{Value, json};

use super::body::{Fields, JsonBody};
use super::caller::Caller;
use super::fault::{Result, success};
use super::route::Route;
use super::schema::{FILLED_TEXT, Schema, TEXT, closed, list_of, open, required};
use crate::app::Service;
use crate::app::default_flavors::{self, DefaultFlavor};
use crate::auth::rule::Rule;

pub(super) const ROUTES: &[Route] = &[
    Route::get("/default-types", |verb| on(verb, list))
        .rule(Rule::DefaultGetAll)
        .since(62)
        .answers(200, &closed(&[required("default_types", list_of(&SHOWN))])),
    Route::get("/default-types/{project}", |verb| on(verb, show))
        .rule(Rule::DefaultGet)
        .since(62)
        .answers(200, &ONE),
    Route::put("/default-types/{project}", |verb| on(verb, set))
        .rule(Rule::DefaultSetOrUpdate)
        .since(62)
        .body(&SET)
        .answers(200, &ONE),
    Route::delete("/default-types/{project}", |verb| on(verb, unset))
        .rule(Rule::DefaultUnset)
        .since(62)
        .status(204),
];

const SHOWN: Schema = closed(&[
    required("project_id", TEXT),
    required("volume_type_id", TEXT),
]);
const ONE: Schema = closed(&[required("default_type", SHOWN)]);
const SET: Schema = open(&[required(
    "default_type",
    closed(&[required("volume_type", FILLED_TEXT)]),
)]);

fn view(default: &DefaultFlavor) -> Value {
    json!({"project_id": default.project_id, "volume_type_id": default.flavor_id})
}

/// `GET /default-types`
async fn list(State(service): State<Service>, caller: Caller) -> Result<Json<Value>> {
    let found = default_flavors::list(&service, &caller.context).await?;
    let views: Vec<_> = found.iter().map(view).collect();
    Ok(Json(json!({ "default_types": views })))
}

/// `GET /default-types/{project}`
async fn show(
    State(service): State<Service>,
    caller: Caller,
    Path(project): Path<String>,
) -> Result<Json<Value>> {
    let found = default_flavors::get(&service, &caller.context, &project).await?;
    Ok(Json(json!({"default_type": view(&found)})))
}

/// `PUT /default-types/{project}`
async fn set(
    State(service): State<Service>,
    caller: Caller,
    Path(project): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>> {
    let fields = Fields::top(&body).object("default_type")?;
    let flavor = fields.required_text("volume_type")?;
    let set = default_flavors::set(&service, &caller.context, &project, flavor).await?;
    Ok(Json(json!({"default_type": view(&set)})))
}

/// `DELETE /default-types/{project}`
async fn unset(
    State(service): State<Service>,
    caller: Caller,
    Path(project): Path<String>,
) -> Result<StatusCode> {
    default_flavors::unset(&service, &caller.context, &project).await?;
    Ok(success::NO_CONTENT)
}
