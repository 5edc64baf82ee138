//! Snapshots: create, list, show, update, delete.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use http::StatusCode;
use serde_json::{Value, json};

use super::body::{Fields, JsonBody};
use super::caller::Caller;
use super::fault::{Fault, Result, success};
use super::paging::Paging;
use super::snapshot_list::{self, Selection};
use super::snapshot_view::{Form, SnapshotView};
use crate::app::snapshots::{CreateSnapshot, DeleteMode, InUse, UpdateSnapshot};
use crate::app::{Page, Service, snapshots};
use crate::error::{Error, Subject};
use crate::model::id::{SnapshotId, VolumeId};
use crate::model::snapshot::Snapshot;

/// The snapshot that a path names; what is no uuid cannot exist.
pub(super) fn snapshot_id(text: &str) -> Result<SnapshotId> {
    text.parse()
        .map_err(|_| Error::not_found(Subject::Snapshot, text).into())
}

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
    top.only(&["snapshot"])?;
    let fields = top.object("snapshot")?;
    fields.only(&[
        "name",
        "display_name",
        "description",
        "volume_id",
        "force",
        "metadata",
    ])?;
    if !fields.has("volume_id") {
        return Err(fields.missing("volume_id"));
    }
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
    if page.has_more
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
    top.only(&["snapshot"])?;
    let fields = top.object("snapshot")?;
    fields.only(&["name", "description", "display_name", "display_description"])?;
    if fields.is_empty() {
        return Err(Fault::BadRequest(
            "Invalid input for field/attribute snapshot. Value: {}. {} is not valid under any of the given schemas"
                .to_owned(),
        ));
    }
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
