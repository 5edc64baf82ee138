//! Extra specs of volume types.

use axum::Json;
use axum::extract::{Path, State};
use axum::routing::on;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::answers::{TEXTS, TEXTS_AS_SENT};
use super::body::{Fields, JsonBody};
use super::caller::Caller;
use super::fault::{Fault, Result, success};
use super::route::Route;
use super::schema::{NAME, Pattern, Schema, TEXT_MAX_CHARS, closed, required};
use super::volume_types::{specs, type_id};
use crate::app::{Service, flavor_specs};
use crate::auth::rule::Rule;

pub(super) const ROUTES: &[Route] = &[
    Route::get("/types/{id}/extra_specs", |verb| on(verb, list))
        .rule(Rule::TypesExtraSpecsIndex)
        .answers(200, &ALL),
    Route::post("/types/{id}/extra_specs", |verb| on(verb, set))
        .rule(Rule::TypesExtraSpecsCreate)
        .body(&CREATE)
        .answers(200, &SENT),
    Route::get("/types/{id}/extra_specs/{key}", |verb| on(verb, show))
        .rule(Rule::TypesExtraSpecsShow)
        .answers(200, &TEXTS),
    Route::put("/types/{id}/extra_specs/{key}", |verb| on(verb, set_one))
        .rule(Rule::TypesExtraSpecsUpdate)
        .body(&UPDATE)
        .answers(200, &TEXTS_AS_SENT),
    Route::delete("/types/{id}/extra_specs/{key}", |verb| on(verb, remove))
        .rule(Rule::TypesExtraSpecsDelete)
        .status(202),
];

const SENT: Schema = closed(&[required("extra_specs", TEXTS_AS_SENT)]);
const ALL: Schema = closed(&[required("extra_specs", TEXTS)]);
/// Cinder's keys of extra specs: those of metadata without spaces and slashes.
pub(super) const SPEC_KEY: Pattern = Pattern {
    expression: "^[a-zA-Z0-9-_:.]{1,255}$",
    matches: is_spec_key,
};
const CREATE: Schema = closed(&[required(
    "extra_specs",
    Schema::Map {
        key: SPEC_KEY,
        value: &NAME,
        min: 0,
        max: usize::MAX,
    },
)]);
const UPDATE: Schema = Schema::Map {
    key: SPEC_KEY,
    value: &NAME,
    min: 1,
    max: 1,
};

fn is_spec_key(text: &str) -> bool {
    (1..=TEXT_MAX_CHARS).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_:.".contains(&b))
}

/// `GET /types/{id}/extra_specs`
async fn list(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    let specs = flavor_specs::list(&service, &caller.context, type_id(&id)?).await?;
    Ok(Json(json!({ "extra_specs": specs })))
}

/// `POST /types/{id}/extra_specs`, which answers what it was sent.
async fn set(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>> {
    let wanted = specs(Fields::top(&body).value("extra_specs"));
    flavor_specs::set(&service, &caller.context, type_id(&id)?, wanted).await?;
    Ok(Json(Value::Object(body)))
}

/// `GET /types/{id}/extra_specs/{key}`
async fn show(
    State(service): State<Service>,
    caller: Caller,
    Path((id, key)): Path<(String, String)>,
) -> Result<Json<Value>> {
    let value = flavor_specs::get(&service, &caller.context, type_id(&id)?, &key).await?;
    let one: Map<String, Value> = [(key, Value::from(value))].into_iter().collect();
    Ok(Json(Value::Object(one)))
}

/// `PUT /types/{id}/extra_specs/{key}`, which answers what it was sent.
async fn set_one(
    State(service): State<Service>,
    caller: Caller,
    Path((id, key)): Path<(String, String)>,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>> {
    if !body.contains_key(&key) {
        return Err(Fault::BadRequest(
            "Request body and URI mismatch".to_owned(),
        ));
    }
    let body = Value::Object(body);
    let wanted = specs(Some(&body));
    flavor_specs::set(&service, &caller.context, type_id(&id)?, wanted).await?;
    Ok(Json(body))
}

/// `DELETE /types/{id}/extra_specs/{key}`
async fn remove(
    State(service): State<Service>,
    caller: Caller,
    Path((id, key)): Path<(String, String)>,
) -> Result<StatusCode> {
    flavor_specs::remove(&service, &caller.context, type_id(&id)?, &key).await?;
    Ok(success::ACCEPTED)
}
