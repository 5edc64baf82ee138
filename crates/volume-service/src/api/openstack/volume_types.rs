//! Flavors, which OpenStack calls volume types. They have no extra specs: a flavor's backends say all.

use axum::Json;
use axum::extract::{Path, State};
use axum::routing::on;
use http::StatusCode;
use serde_json::{Value, json};

use super::body::{Fields, JsonBody};
use super::caller::Caller;
use super::fault::{Fault, Result, success};
use super::route::Route;
use super::schema::{
    ANY_OBJECT, BOOLEAN, FILLED_TEXT, NAME, Schema, closed, field, list_of, open, required,
};
use super::volumes::volume_id;
use crate::app::{Service, flavors, volumes};
use crate::auth::rule::Rule;
use crate::error::{Error, Subject};
use crate::model::flavor::Flavor;

pub(super) const ROUTES: &[Route] = &[
    Route::get("/types", |verb| on(verb, list))
        .rule(Rule::TypeGetAll)
        .answers(
            200,
            &open(&[required("volume_types", list_of(&ANY_OBJECT))]),
        ),
    Route::post("/types", |verb| on(verb, create))
        .rule(Rule::TypeCreate)
        .body(&CREATE)
        .answers(200, &ONE),
    Route::get("/types/default", |verb| on(verb, default))
        .rule(Rule::TypeGet)
        .answers(200, &ONE),
    Route::get("/types/{id}", |verb| on(verb, show))
        .rule(Rule::TypeGet)
        .answers(200, &ONE),
    Route::delete("/types/{id}", |verb| on(verb, delete))
        .rule(Rule::TypeDelete)
        .status(202),
    Route::get("/types/{id}/extra_specs", |verb| on(verb, extra_specs))
        .rule(Rule::TypesExtraSpecsIndex)
        .answers(200, &closed(&[required("extra_specs", ANY_OBJECT)])),
    Route::get("/types/{id}/encryption", |verb| on(verb, encryption))
        .rule(Rule::VolumeTypeEncryptionGet)
        .answers(200, &ANY_OBJECT),
    Route::get("/volumes/{id}/encryption", |verb| {
        on(verb, volume_encryption)
    })
    .rule(Rule::VolumeEncryptionMetadata)
    .answers(200, &ANY_OBJECT),
];

const ONE: Schema = closed(&[required("volume_type", ANY_OBJECT)]);
const CREATE: Schema = open(&[required(
    "volume_type",
    open(&[
        required("name", FILLED_TEXT),
        field("description", NAME),
        field("extra_specs", ANY_OBJECT),
        field("os-volume-type-access:is_public", BOOLEAN),
    ]),
)]);

fn view(flavor: &Flavor) -> Value {
    json!({
        "id": flavor.id,
        "name": flavor.label,
        "description": flavor.description,
        "is_public": true,
        "os-volume-type-access:is_public": true,
        "qos_specs_id": null,
        "extra_specs": {},
    })
}

/// `GET /types`; every flavor is public, so that `is_public` filters nothing.
pub(super) async fn list(State(service): State<Service>, caller: Caller) -> Result<Json<Value>> {
    let flavors = flavors::list(&service, &caller.context).await?;
    let views: Vec<_> = flavors.iter().map(view).collect();
    Ok(Json(json!({ "volume_types": views })))
}

/// `GET /types/{id}`
pub(super) async fn show(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    let flavor = flavors::get(&service, &caller.context, &id).await?;
    Ok(Json(json!({"volume_type": view(&flavor)})))
}

/// `GET /types/default`
pub(super) async fn default(State(service): State<Service>, caller: Caller) -> Result<Json<Value>> {
    match flavors::default(&service, &caller.context).await? {
        Some(flavor) => Ok(Json(json!({"volume_type": view(&flavor)}))),
        None => Err(Error::not_found(Subject::Flavor, "default").into()),
    }
}

/// `POST /types`
pub(super) async fn create(
    State(service): State<Service>,
    caller: Caller,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>> {
    let fields = Fields::top(&body).object("volume_type")?;
    let label = fields.required_text("name")?;
    if fields
        .value("extra_specs")
        .is_some_and(|specs| *specs != json!({}))
    {
        return Err(Fault::not_supported("An extra spec of a volume type"));
    }
    let private = ["os-volume-type-access:is_public", "is_public"]
        .iter()
        .any(|key| {
            fields
                .value(key)
                .is_some_and(|value| *value == json!(false))
        });
    if private {
        return Err(Fault::not_supported("A private volume type"));
    }
    let description = fields.text("description")?.unwrap_or_default();
    let flavor = flavors::create(&service, &caller.context, label, description).await?;
    Ok(Json(json!({"volume_type": view(&flavor)})))
}

/// `DELETE /types/{id}`
pub(super) async fn delete(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    flavors::delete(&service, &caller.context, &id).await?;
    Ok(success::ACCEPTED)
}

/// `GET /types/{id}/extra_specs`
pub(super) async fn extra_specs(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    flavors::get(&service, &caller.context, &id).await?;
    Ok(Json(json!({"extra_specs": {}})))
}

/// `GET /types/{id}/encryption`: Cinder answers an empty object for a type without encryption.
pub(super) async fn encryption(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    flavors::get(&service, &caller.context, &id).await?;
    Ok(Json(json!({})))
}

/// `GET /volumes/{id}/encryption`, which compute services ask before they attach.
pub(super) async fn volume_encryption(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    volumes::get(&service, &caller.context, volume_id(&id)?).await?;
    Ok(Json(json!({"encryption_key_id": null})))
}
