//! A volume's metadata, as a whole and by key.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::on;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::body::{Fields, JsonBody};
use super::caller::Caller;
use super::fault::{Fault, Result};
use super::route::Route;
use super::schema::{METADATA, ONE_PAIR, Schema, closed, required};
use super::volumes::volume_id;
use crate::app::volumes::UpdateVolume;
use crate::app::{Service, volumes};
use crate::auth::rule::Rule;

pub(super) const ROUTES: &[Route] = &[
    Route::get("/volumes/{id}/metadata", |verb| on(verb, list))
        .rule(Rule::VolumeGetVolumeMetadata)
        .answers(200, &WHOLE),
    Route::post("/volumes/{id}/metadata", |verb| on(verb, merge))
        .rule(Rule::VolumeCreateVolumeMetadata)
        .body(&WHOLE)
        .answers(200, &WHOLE),
    Route::put("/volumes/{id}/metadata", |verb| on(verb, replace))
        .rule(Rule::VolumeUpdateVolumeMetadata)
        .body(&WHOLE)
        .answers(200, &WHOLE),
    Route::get("/volumes/{id}/metadata/{key}", |verb| on(verb, show_key))
        .rule(Rule::VolumeGetVolumeMetadata)
        .answers(200, &PAIR),
    Route::put("/volumes/{id}/metadata/{key}", |verb| on(verb, put_key))
        .rule(Rule::VolumeUpdateVolumeMetadata)
        .body(&PAIR)
        .answers(200, &PAIR),
    Route::delete("/volumes/{id}/metadata/{key}", |verb| on(verb, delete_key))
        .rule(Rule::VolumeDeleteVolumeMetadata),
];

/// A body that holds metadata and nothing else.
pub(super) const WHOLE: Schema = closed(&[required("metadata", METADATA)]);
/// A body that holds one key.
pub(super) const PAIR: Schema = closed(&[required("meta", ONE_PAIR)]);

fn view(metadata: &BTreeMap<String, String>) -> Json<Value> {
    Json(json!({ "metadata": metadata }))
}

/// Reads a body that holds metadata and nothing else.
pub(super) fn wanted(body: &serde_json::Map<String, Value>) -> Result<BTreeMap<String, String>> {
    let top = Fields::top(body);
    top.only(&["metadata"])?;
    top.object("metadata")?;
    Ok(top.metadata("metadata")?.unwrap_or_default())
}

fn no_key(id: String, key: String) -> Fault {
    let noun = "Volume";
    Fault::NoMetadataKey { noun, id, key }
}

/// `GET /volumes/{id}/metadata`
pub(super) async fn list(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response> {
    let volume = volumes::get(&service, &caller.context, volume_id(&id)?).await?;
    let mut answer = view(&volume.metadata).into_response();
    if caller.version.at_least(ETAGS_SINCE)
        && let Ok(tag) = HeaderValue::from_str(&etag(&volume.metadata))
    {
        answer.headers_mut().insert(header::ETAG, tag);
    }
    Ok(answer)
}

/// The microversion that brought tags of what was read.
const ETAGS_SINCE: u16 = 15;

/// A tag of what metadata says, as a client that changes it may name it.
fn etag(metadata: &BTreeMap<String, String>) -> String {
    let text = json!({ "metadata": metadata }).to_string();
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let bytes = digest.as_ref().iter().take(16);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// Refuses (412) when the metadata is no longer what the client has read, if it says what that was.
async fn check_etag(
    service: &Service,
    caller: &Caller,
    headers: &HeaderMap,
    id: &str,
) -> Result<()> {
    let Some(wanted) = headers.get(header::IF_MATCH) else {
        return Ok(());
    };
    if !caller.version.at_least(ETAGS_SINCE) {
        return Ok(());
    }
    let volume = volumes::get(service, &caller.context, volume_id(id)?).await?;
    let now = etag(&volume.metadata);
    let tags = wanted.to_str().unwrap_or_default().split(',');
    let bare = |tag: &str| {
        tag.trim()
            .trim_start_matches("W/")
            .trim_matches('"')
            .to_owned()
    };
    if tags.map(bare).any(|tag| tag == now || tag == "*") {
        return Ok(());
    }
    Err(Fault::Changed)
}

/// `POST /volumes/{id}/metadata` adds and replaces keys.
pub(super) async fn merge(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>> {
    let metadata = wanted(&body)?;
    let all = volumes::merge_metadata(&service, &caller.context, volume_id(&id)?, metadata).await?;
    Ok(view(&all))
}

/// `PUT /volumes/{id}/metadata` replaces all keys.
pub(super) async fn replace(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>> {
    check_etag(&service, &caller, &headers, &id).await?;
    let change = UpdateVolume {
        metadata: Some(wanted(&body)?),
        ..UpdateVolume::default()
    };
    let volume = volumes::update(&service, &caller.context, volume_id(&id)?, change).await?;
    Ok(view(&volume.metadata))
}

/// `GET /volumes/{id}/metadata/{key}`
pub(super) async fn show_key(
    State(service): State<Service>,
    caller: Caller,
    Path((id, key)): Path<(String, String)>,
) -> Result<Json<Value>> {
    let volume = volumes::get(&service, &caller.context, volume_id(&id)?).await?;
    match volume.metadata.get(&key) {
        Some(value) => Ok(Json(json!({"meta": {key: value}}))),
        None => Err(no_key(id, key)),
    }
}

/// `PUT /volumes/{id}/metadata/{key}`
pub(super) async fn put_key(
    State(service): State<Service>,
    caller: Caller,
    Path((id, key)): Path<(String, String)>,
    headers: HeaderMap,
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
    check_etag(&service, &caller, &headers, &id).await?;
    let metadata = top.metadata("meta")?.unwrap_or_default();
    let view = Json(json!({ "meta": metadata }));
    volumes::merge_metadata(&service, &caller.context, volume_id(&id)?, metadata).await?;
    Ok(view)
}

/// `DELETE /volumes/{id}/metadata/{key}`
pub(super) async fn delete_key(
    State(service): State<Service>,
    caller: Caller,
    Path((id, key)): Path<(String, String)>,
) -> Result<StatusCode> {
    let done = volumes::delete_metadata_key(&service, &caller.context, volume_id(&id)?, &key).await;
    match done {
        Ok(()) => Ok(StatusCode::default()),
        Err(error) if error.subject == crate::error::Subject::Metadata => Err(no_key(id, key)),
        Err(error) => Err(error.into()),
    }
}
