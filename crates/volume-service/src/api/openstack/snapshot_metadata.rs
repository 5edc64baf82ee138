//! A snapshot's metadata, as a whole and by key.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::routing::on;
use http::StatusCode;
use serde_json::{Value, json};

use super::body::{Fields, JsonBody};
use super::caller::Caller;
use super::fault::{Fault, Result};
use super::metadata::{PAIR, WHOLE, wanted};
use super::route::Route;
use super::snapshots::snapshot_id;
use crate::app::snapshots::UpdateSnapshot;
use crate::app::{Service, snapshots};
use crate::auth::rule::Rule;

pub(super) const ROUTES: &[Route] = &[
    Route::get("/snapshots/{id}/metadata", |verb| on(verb, list))
        .rule(Rule::VolumeGetSnapshotMetadata)
        .answers(200, &WHOLE),
    Route::post("/snapshots/{id}/metadata", |verb| on(verb, merge))
        .rule(Rule::VolumeUpdateSnapshotMetadata)
        .body(&WHOLE)
        .answers(200, &WHOLE),
    Route::put("/snapshots/{id}/metadata", |verb| on(verb, replace))
        .rule(Rule::VolumeUpdateSnapshotMetadata)
        .body(&WHOLE)
        .answers(200, &WHOLE),
    Route::get("/snapshots/{id}/metadata/{key}", |verb| on(verb, show_key))
        .rule(Rule::VolumeGetSnapshotMetadata)
        .answers(200, &PAIR),
    Route::put("/snapshots/{id}/metadata/{key}", |verb| on(verb, put_key))
        .rule(Rule::VolumeUpdateSnapshotMetadata)
        .body(&PAIR)
        .answers(200, &PAIR),
    Route::delete("/snapshots/{id}/metadata/{key}", |verb| {
        on(verb, delete_key)
    })
    .rule(Rule::VolumeDeleteSnapshotMetadata),
];

fn view(metadata: &BTreeMap<String, String>) -> Json<Value> {
    Json(json!({ "metadata": metadata }))
}

fn no_key(id: String, key: String) -> Fault {
    let noun = "Snapshot";
    Fault::NoMetadataKey { noun, id, key }
}

/// `GET /snapshots/{id}/metadata`
pub(super) async fn list(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    let snapshot = snapshots::get(&service, &caller.context, snapshot_id(&id)?).await?;
    Ok(view(&snapshot.metadata))
}

/// `POST /snapshots/{id}/metadata` adds and replaces keys.
pub(super) async fn merge(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>> {
    let metadata = wanted(&body)?;
    let all =
        snapshots::merge_metadata(&service, &caller.context, snapshot_id(&id)?, metadata).await?;
    Ok(view(&all))
}

/// `PUT /snapshots/{id}/metadata` replaces all keys.
pub(super) async fn replace(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>> {
    let change = UpdateSnapshot {
        metadata: Some(wanted(&body)?),
        ..UpdateSnapshot::default()
    };
    let snapshot = snapshots::update(&service, &caller.context, snapshot_id(&id)?, change).await?;
    Ok(view(&snapshot.metadata))
}

/// `GET /snapshots/{id}/metadata/{key}`
pub(super) async fn show_key(
    State(service): State<Service>,
    caller: Caller,
    Path((id, key)): Path<(String, String)>,
) -> Result<Json<Value>> {
    let snapshot = snapshots::get(&service, &caller.context, snapshot_id(&id)?).await?;
    match snapshot.metadata.get(&key) {
        Some(value) => Ok(Json(json!({"meta": {key: value}}))),
        None => Err(no_key(id, key)),
    }
}

/// `PUT /snapshots/{id}/metadata/{key}`
pub(super) async fn put_key(
    State(service): State<Service>,
    caller: Caller,
    Path((id, key)): Path<(String, String)>,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>> {
    let top = Fields::top(&body);
    top.only(&["meta"])?;
    let (named, _) = top.object("meta")?.single()?;
    if named != key {
        return Err(Fault::BadRequest(
            "Request body and URI mismatch".to_owned(),
        ));
    }
    let metadata = top.metadata("meta")?.unwrap_or_default();
    let view = Json(json!({ "meta": metadata }));
    snapshots::merge_metadata(&service, &caller.context, snapshot_id(&id)?, metadata).await?;
    Ok(view)
}

/// `DELETE /snapshots/{id}/metadata/{key}`
pub(super) async fn delete_key(
    State(service): State<Service>,
    caller: Caller,
    Path((id, key)): Path<(String, String)>,
) -> Result<StatusCode> {
    let done =
        snapshots::delete_metadata_key(&service, &caller.context, snapshot_id(&id)?, &key).await;
    match done {
        Ok(()) => Ok(StatusCode::default()),
        Err(error) if error.subject == crate::error::Subject::Metadata => Err(no_key(id, key)),
        Err(error) => Err(error.into()),
    }
}
