//! Backups, as Cinder shows them while its backup service is away: none are there, and none can be made.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::on;
use serde_json::{Value, json};

use super::body::{Fields, JsonBody};
use super::caller::Caller;
use super::fault::Result;
use super::paging::Paging;
use super::route::{Action, Call, Route, act};
use super::schema::{
    ANY_OBJECT, BOOLEAN, Field, METADATA, NAME, PAGING, Schema, TEXT, UUID, UUID_OR_NULL, closed,
    field, list_of, open, required,
};
use crate::app::{Service, backups};
use crate::auth::rule::Rule;
use crate::model::id::VolumeId;

pub(super) const ROUTES: &[Route] = &[
    Route::get("/backups", |verb| on(verb, list))
        .rule(Rule::BackupGetAll)
        .query(&QUERY)
        .answers(200, &LISTED)
        .refused(),
    Route::get("/backups/detail", |verb| on(verb, list))
        .rule(Rule::BackupGetAll)
        .query(&QUERY)
        .answers(200, &LISTED)
        .refused(),
    Route::post("/backups", |verb| on(verb, create))
        .rule(Rule::BackupCreate)
        .body(&CREATE)
        .status(202)
        .refused(),
    Route::get("/backups/{id}", |verb| on(verb, find))
        .rule(Rule::BackupGet)
        .refused(),
    Route::put("/backups/{id}", |verb| on(verb, change))
        .rule(Rule::BackupUpdate)
        .since(9)
        .body(&UPDATE)
        .refused(),
    Route::delete("/backups/{id}", |verb| on(verb, find))
        .rule(Rule::BackupDelete)
        .status(202)
        .refused(),
    Route::post("/backups/{id}/restore", |verb| on(verb, change))
        .rule(Rule::BackupRestore)
        .body(&RESTORE)
        .status(202)
        .refused(),
    Route::get("/backups/{id}/export_record", |verb| on(verb, find))
        .rule(Rule::BackupExportImport)
        .refused(),
    Route::post("/backups/import_record", |verb| on(verb, import))
        .rule(Rule::BackupBackupImport)
        .body(&IMPORT)
        .status(201)
        .refused(),
    Route::post("/backups/{id}/action", |verb| on(verb, act)).actions(ACTIONS),
];

const ACTIONS: &[Action] = &[
    Action::refused(
        "os-reset_status",
        Rule::BackupAdminActionsResetStatus,
        |call| Box::pin(refuse(call)),
    )
    .body(&closed(&[required("status", TEXT)])),
    Action::refused(
        "os-force_delete",
        Rule::BackupAdminActionsForceDelete,
        |call| Box::pin(refuse(call)),
    ),
];

/// There is nothing to be sorted, so that a direction is not looked at.
const QUERY: [Field; 3] = [PAGING[0], PAGING[1], PAGING[2]];
const LISTED: Schema = closed(&[required("backups", list_of(&ANY_OBJECT))]);
const CREATE: Schema = closed(&[required(
    "backup",
    closed(&[
        required("volume_id", UUID),
        field("container", NAME),
        field("description", NAME),
        field("incremental", BOOLEAN),
        field("force", BOOLEAN),
        field("name", NAME),
        field("snapshot_id", UUID_OR_NULL),
        field("metadata", Schema::OrNull(&METADATA)).since(43),
        field("availability_zone", NAME).since(51),
    ]),
)]);
const UPDATE: Schema = closed(&[required("backup", Schema::OrNull(&CHANGES))]);
const CHANGES: Schema = closed(&[
    field("name", NAME),
    field("description", NAME),
    field("metadata", METADATA).since(43),
]);
const RESTORE: Schema = closed(&[required("restore", Schema::OrNull(&TARGET))]);
const TARGET: Schema = closed(&[field("name", NAME), field("volume_id", UUID_OR_NULL)]);
const IMPORT: Schema = closed(&[required(
    "backup-record",
    open(&[
        required("backup_service", TEXT),
        required("backup_url", TEXT),
    ]),
)]);

/// `GET /backups`, `GET /backups/detail`
async fn list(caller: Caller, RawQuery(query): RawQuery) -> Result<Json<Value>> {
    Paging::of(query.as_deref())?;
    backups::list(&caller.context)?;
    Ok(Json(json!({"backups": []})))
}

/// `POST /backups`
async fn create(
    State(service): State<Service>,
    caller: Caller,
    JsonBody(body): JsonBody,
) -> Result<()> {
    let fields = Fields::top(&body).object("backup")?;
    let volume = fields.uuid("volume_id")?;
    let volume = volume.ok_or_else(|| fields.missing("volume_id"))?;
    Ok(backups::create(&service, &caller.context, VolumeId(volume)).await?)
}

/// `POST /backups/import_record`
async fn import(caller: Caller, JsonBody(_): JsonBody) -> Result<()> {
    Ok(backups::import(&caller.context)?)
}

/// What is asked of one that is not there.
async fn find(caller: Caller, Path(id): Path<String>) -> Result<()> {
    Ok(backups::find(&caller.context, &id)?)
}

/// The same with a body.
async fn change(caller: Caller, Path(id): Path<String>, JsonBody(_): JsonBody) -> Result<()> {
    Ok(backups::find(&caller.context, &id)?)
}

async fn refuse(call: Call) -> Result<Response> {
    backups::find(&call.caller.context, &call.id)?;
    Ok(().into_response())
}
