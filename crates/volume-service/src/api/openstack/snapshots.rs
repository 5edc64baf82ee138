//! Snapshots: create, list, show, update, delete.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::routing::on;
use http::StatusCode;
use serde_json::{Value, json};

use super::answers::{LINKS, SNAPSHOT};
use super::body::{Fields, JsonBody};
use super::caller::Caller;
use super::fault::{Fault, Result, success};
use super::paging::Paging;
use super::route::Route;
use super::schema::{
    BOOLEAN, METADATA, NAME, Schema, UUID_OR_NULL, closed, field, integer, list_of, open, required,
};
use super::snapshot_list::{self, LIST_QUERY, Selection};
use super::snapshot_view::{Form, SnapshotView};
use crate::app::snapshots::{CreateSnapshot, DeleteMode, InUse, UpdateSnapshot};
use crate::app::{Page, Service, snapshots};
use crate::auth::rule::Rule;
use crate::error::{Error, Subject};
use crate::model::id::{SnapshotId, VolumeId};
use crate::model::snapshot::Snapshot;

/// The snapshot that a path names; what is no uuid cannot exist.
pub(super) fn snapshot_id(text: &str) -> Result<SnapshotId> {
    text.parse()
        .map_err(|_| Error::not_found(Subject::Snapshot, text).into())
}

pub(super) const ROUTES: &[Route] = &[
    Route::get("/snapshots", |verb| on(verb, list))
        .rule(Rule::VolumeGetAllSnapshots)
        .query(&LIST_QUERY)
        .answers(200, &LISTED),
    Route::get("/snapshots/detail", |verb| on(verb, detail))
        .rule(Rule::VolumeGetAllSnapshots)
        .query(&LIST_QUERY)
        .answers(200, &LISTED),
    Route::post("/snapshots", |verb| on(verb, create))
        .rule(Rule::VolumeCreateSnapshot)
        .body(&CREATE)
        .answers(202, &ONE),
    Route::get("/snapshots/{id}", |verb| on(verb, show))
        .rule(Rule::VolumeGetSnapshot)
        .answers(200, &ONE),
    Route::put("/snapshots/{id}", |verb| on(verb, update))
        .rule(Rule::VolumeUpdateSnapshot)
        .body(&UPDATE)
        .answers(200, &ONE),
    Route::delete("/snapshots/{id}", |verb| on(verb, delete))
        .rule(Rule::VolumeDeleteSnapshot)
        .status(202),
];

const LISTED: Schema = open(&[
    required("snapshots", list_of(&SNAPSHOT)),
    field("snapshots_links", LINKS),
    field("count", integer(0, i64::MAX)).since(45),
]);
const ONE: Schema = closed(&[required("snapshot", SNAPSHOT)]);

/// What a creation takes.
pub(super) const CREATE: Schema = closed(&[required(
    "snapshot",
    closed(&[
        field("name", NAME),
        field("display_name", NAME),
        field("description", NAME),
        required("volume_id", UUID_OR_NULL),
        field("force", BOOLEAN),
        field("metadata", Schema::OrNull(&METADATA)),
    ]),
)]);

/// What an update takes, one of them at least.
pub(super) const UPDATE: Schema = closed(&[required(
    "snapshot",
    closed(&[
        field("name", NAME),
        field("description", NAME),
        field("display_name", NAME),
        field("display_description", NAME),
    ])
    .some_of_since(0),
)]);

/// `POST /snapshots`
pub(super) async fn create(
    State(service): State<Service>,
    caller: Caller,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<Value>)> {
    let wanted = wanted(&caller, &Fields::top(&body))?;
    let snapshot = snapshots::create(&service, &caller.context, wanted).await?;
    let view = SnapshotView::new(&caller, &snapshot, Form::Detail);
    Ok((success::ACCEPTED, Json(json!({ "snapshot": view }))))
}

/// Reads the body. Up to 3.65 a volume in use needs `force`; since 3.66 it does not, and to forbid it is wrong.
pub(super) fn wanted(caller: &Caller, top: &Fields<'_>) -> Result<CreateSnapshot> {
    let fields = top.object("snapshot")?;
    let volume_id = fields
        .uuid("volume_id")?
        .map(VolumeId)
        .ok_or_else(|| Error::not_found(Subject::Volume, "None"))?;
    let force = fields.boolean("force")?;
    let needs_no_force = caller.version.at_least(66);
    if needs_no_force && force == Some(false) {
        return Err(Fault::BadRequest(
            "Since microversion 3.66 the 'force' flag is invalid for this request.  For backward compatability, however, \
             when the 'force' flag is passed with a value evaluating to True, it is silently ignored."
                .to_owned(),
        ));
    }
    let name = fields.text("name")?.or(fields.text("display_name")?);
    let description = fields.text("description")?;
    Ok(CreateSnapshot {
        volume_id,
        name: name.unwrap_or_default().trim().to_owned(),
        description: description.unwrap_or_default().trim().to_owned(),
        metadata: fields.metadata("metadata")?.unwrap_or_default(),
        in_use: if needs_no_force || force == Some(true) {
            InUse::Allow
        } else {
            InUse::Refuse
        },
    })
}

/// `GET /snapshots`
pub(super) async fn list(
    State(service): State<Service>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    listed(
        &service,
        &caller,
        query.as_deref(),
        "snapshots",
        Form::Summary,
    )
    .await
}

/// `GET /snapshots/detail`
pub(super) async fn detail(
    State(service): State<Service>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    listed(
        &service,
        &caller,
        query.as_deref(),
        "snapshots/detail",
        Form::Extended,
    )
    .await
}

async fn listed(
    service: &Service,
    caller: &Caller,
    query: Option<&str>,
    path: &str,
    form: Form,
) -> Result<Json<Value>> {
    let mut paging = Paging::of(query)?;
    let wants_count =
        caller.version.at_least(45) && paging.query.iter().any(|(name, _)| name == "with_count");
    let page = select(service, caller, &mut paging).await?;
    let views: Vec<_> = page
        .items
        .iter()
        .map(|snapshot| SnapshotView::new(caller, snapshot, form))
        .collect();
    let mut body = json!({ "snapshots": views });
    if paging.leads_on(&page)
        && let Some(last) = page.items.last()
    {
        let next = caller.links.next(path, &paging.query, &last.id.to_string());
        body["snapshots_links"] = json!(next);
    }
    if let Some(total) = page.total.filter(|_| wants_count) {
        body["count"] = json!(total);
    }
    Ok(Json(body))
}

async fn select(service: &Service, caller: &Caller, paging: &mut Paging) -> Result<Page<Snapshot>> {
    let nothing = |total| Page {
        items: Vec::new(),
        has_more: false,
        total,
    };
    match snapshot_list::read(caller, paging)? {
        Selection::Nothing => Ok(nothing(Some(0))),
        Selection::Query(query) if query.limit == Some(0) && !query.with_total => Ok(nothing(None)),
        Selection::Query(query) => Ok(snapshots::list(service, &caller.context, query).await?),
    }
}

/// `GET /snapshots/{id}`
pub(super) async fn show(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    let snapshot = snapshots::get(&service, &caller.context, snapshot_id(&id)?).await?;
    let view = SnapshotView::new(&caller, &snapshot, Form::Extended);
    Ok(Json(json!({ "snapshot": view })))
}

/// `PUT /snapshots/{id}`
pub(super) async fn update(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>> {
    let change = wanted_change(&Fields::top(&body))?;
    let id = snapshot_id(&id)?;
    let snapshot = snapshots::update(&service, &caller.context, id, change).await?;
    let view = SnapshotView::new(&caller, &snapshot, Form::Detail);
    Ok(Json(json!({ "snapshot": view })))
}

/// Reads the body of an update.
pub(super) fn wanted_change(top: &Fields<'_>) -> Result<UpdateSnapshot> {
    let fields = top.object("snapshot")?;
    Ok(UpdateSnapshot {
        name: fields.changed_text("name", "display_name")?,
        description: fields.changed_text("description", "display_description")?,
        metadata: None,
    })
}

/// `DELETE /snapshots/{id}`
pub(super) async fn delete(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    snapshots::delete(
        &service,
        &caller.context,
        snapshot_id(&id)?,
        DeleteMode::Normal,
    )
    .await?;
    Ok(success::ACCEPTED)
}
