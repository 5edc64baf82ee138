//! The attachments API (3.27; completion since 3.44, mode since 3.54).

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::on;
use serde_json::{Value, json};

use super::super::timestamp;
use super::answers::{ATTACHMENT, ATTACHMENT_SUMMARY, LINKS};
use super::body::{Fields, JsonBody};
use super::caller::Caller;
use super::fault::{Fault, Result, success};
use super::filter_values;
use super::paging::{Paging, sort_direction};
use super::route::{Action, Call, Route, act};
use super::schema::{
    ANY_OBJECT, Field, Schema, TEXT, UUID, UUID_OR_NULL, closed, digits, field, list_of, open,
    required, words,
};
use crate::app::attachments::{AttachmentQuery, AttachmentSortKey, CreateAttachment};
use crate::app::volumes::SortDirection;
use crate::app::{Page, Service, attachments};
use crate::auth::rule::Rule;
use crate::error::{Error, Subject};
use crate::model::attachment::{AttachMode, Attachment};
use crate::model::id::{AttachmentId, VolumeId};

/// The microversion that brought this API.
const SINCE: u16 = 27;

pub(super) const ROUTES: &[Route] = &[
    Route::get("/attachments", |verb| on(verb, list))
        .rule(Rule::VolumeGetAll)
        .since(SINCE)
        .query(&LIST_QUERY)
        .answers(200, &LISTED),
    Route::get("/attachments/detail", |verb| on(verb, detail))
        .rule(Rule::VolumeGetAll)
        .since(SINCE)
        .query(&LIST_QUERY)
        .answers(200, &DETAILED),
    Route::post("/attachments", |verb| on(verb, create))
        .rule(Rule::VolumeAttachmentCreate)
        .since(SINCE)
        .body(&CREATE)
        .answers(200, &ONE),
    Route::get("/attachments/{id}", |verb| on(verb, show))
        .rule(Rule::VolumeGet)
        .since(SINCE)
        .answers(200, &ONE),
    Route::put("/attachments/{id}", |verb| on(verb, update))
        .rule(Rule::VolumeAttachmentUpdate)
        .since(SINCE)
        .body(&UPDATE)
        .answers(200, &ONE),
    Route::delete("/attachments/{id}", |verb| on(verb, delete))
        .rule(Rule::VolumeAttachmentDelete)
        .since(SINCE)
        .answers(200, &LISTED),
    Route::post("/attachments/{id}/action", |verb| on(verb, act))
        .since(44)
        .actions(&[
            Action::new("os-complete", Rule::VolumeAttachmentComplete, |call| {
                Box::pin(complete(call))
            })
            .since(44)
            .status(204),
        ]),
];

const LIST_QUERY: [Field; 12] = [
    field("limit", digits(0, i64::MAX)),
    field("offset", digits(0, i64::MAX)),
    field("marker", TEXT),
    field("all_tenants", TEXT),
    field("project_id", TEXT),
    field("volume_id", TEXT),
    field("instance_id", TEXT),
    field("status", TEXT),
    field("attach_status", TEXT),
    field("sort", TEXT),
    field("sort_key", TEXT),
    field("sort_dir", TEXT),
];
const LISTED: Schema = closed(&[
    required("attachments", list_of(&ATTACHMENT_SUMMARY)),
    field("attachments_links", LINKS),
]);
const DETAILED: Schema = closed(&[
    required("attachments", list_of(&ATTACHMENT)),
    field("attachments_links", LINKS),
]);
const ONE: Schema = closed(&[required("attachment", ATTACHMENT)]);
const CREATE: Schema = open(&[required(
    "attachment",
    closed(&[
        field("instance_uuid", UUID_OR_NULL),
        field("connector", Schema::OrNull(&ANY_OBJECT)),
        required("volume_uuid", UUID),
        field("mode", Schema::OrNull(&words(&["rw", "ro"]))).since(54),
    ]),
)]);
const UPDATE: Schema = open(&[required(
    "attachment",
    closed(&[required("connector", ANY_OBJECT.not_empty())]),
)]);

fn attachment_id(text: &str) -> Result<AttachmentId> {
    text.parse()
        .map_err(|_| Error::not_found(Subject::Attachment, text).into())
}

fn summary(attachment: &Attachment) -> Value {
    json!({
        "id": attachment.id,
        "status": attachment.status.as_str(),
        "instance": attachment.instance_id,
        "volume_id": attachment.volume_id,
    })
}

fn detailed(attachment: &Attachment) -> Value {
    let time = |us: Option<i64>| us.map(timestamp::openstack).unwrap_or_default();
    let mut view = summary(attachment);
    view["attached_at"] = json!(time(attachment.attached_at_us));
    view["detached_at"] = json!(time(attachment.detached_at_us));
    view["attach_mode"] = json!(mode_word(attachment.mode));
    view["connection_info"] = attachment.connection_info.clone();
    view
}

pub(super) fn mode_word(mode: AttachMode) -> &'static str {
    match mode {
        AttachMode::ReadWrite => "rw",
        AttachMode::ReadOnly => "ro",
    }
}

pub(super) fn mode_field(fields: Fields<'_>) -> Result<AttachMode> {
    match fields.text("mode")? {
        None | Some("rw") => Ok(AttachMode::ReadWrite),
        Some("ro") => Ok(AttachMode::ReadOnly),
        Some(other) => Err(Fault::BadRequest(format!(
            "Invalid input for field/attribute mode. Value: {other}. '{other}' is not one of ['rw', 'ro']"
        ))),
    }
}

/// `POST /attachments`
pub(super) async fn create(
    State(service): State<Service>,
    caller: Caller,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>> {
    let top = Fields::top(&body);
    let fields = top.object("attachment")?;
    let volume = fields
        .uuid("volume_uuid")?
        .ok_or_else(|| fields.missing("volume_uuid"))?;
    let connector = match fields.value("connector") {
        None => None,
        Some(_) => Some(fields.object("connector")?).filter(|connector| !connector.is_empty()),
    };
    let mountpoint = match connector {
        Some(connector) => connector.text("mountpoint")?.map(str::to_owned),
        None => None,
    };
    // Before 3.54 the mode came inside the connector.
    let mode = match connector {
        Some(connector) if !fields.has("mode") => mode_field(connector)?,
        _ => mode_field(fields)?,
    };
    let wanted = CreateAttachment {
        volume_id: VolumeId(volume),
        instance_id: fields.uuid("instance_uuid")?.map(|id| id.to_string()),
        connector: connector.and_then(|_| fields.value("connector").cloned()),
        mode,
        mountpoint,
    };
    let attachment = attachments::create(&service, &caller.context, wanted).await?;
    Ok(Json(json!({"attachment": detailed(&attachment)})))
}

/// `GET /attachments`
pub(super) async fn list(
    State(service): State<Service>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    listed(&service, &caller, query.as_deref(), "attachments", summary).await
}

/// `GET /attachments/detail`
pub(super) async fn detail(
    State(service): State<Service>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    let path = "attachments/detail";
    listed(&service, &caller, query.as_deref(), path, detailed).await
}

async fn listed(
    service: &Service,
    caller: &Caller,
    query: Option<&str>,
    path: &str,
    view: fn(&Attachment) -> Value,
) -> Result<Json<Value>> {
    let mut paging = Paging::of(query)?;
    let page = match read(caller, &mut paging)? {
        Some(query) => attachments::list(service, &caller.context, query).await?,
        None => Page {
            items: Vec::new(),
            has_more: false,
            total: None,
        },
    };
    let views: Vec<_> = page.items.iter().map(view).collect();
    let mut body = json!({ "attachments": views });
    if paging.leads_on(&page)
        && let Some(last) = page.items.last()
    {
        let next = caller.links.next(path, &paging.query, &last.id.to_string());
        body["attachments_links"] = json!(next);
    }
    Ok(Json(body))
}

/// The query of a list; `None` when a filter cannot match anything.
fn read(caller: &Caller, paging: &mut Paging) -> Result<Option<AttachmentQuery>> {
    let mut query = AttachmentQuery {
        limit: paging.limit,
        marker: paging.marker_id()?.map(AttachmentId),
        sort: sort(paging)?,
        offset: paging.offset,
        ..AttachmentQuery::default()
    };
    if let Some(all) = paging.take("all_tenants") {
        query.all_projects =
            caller.context.is_admin() && ["1", "true", "True"].contains(&all.as_str());
    }
    paging.take("project_id");
    let mut unknown = Vec::new();
    for (name, value) in std::mem::take(&mut paging.filters) {
        match name.as_str() {
            "volume_id" => match value.parse() {
                Ok(id) => query.volume_id = Some(id),
                Err(_) => return Ok(None),
            },
            "instance_id" => query.instance_id = Some(value),
            "status" | "attach_status" => query.status = Some(value),
            _ => unknown.push(name),
        }
    }
    if filter_values::judge_unknown(caller, unknown)? {
        return Ok(None);
    }
    Ok((query.limit != Some(0)).then_some(query))
}

/// Cinder takes the names of its columns, and 'status' beside.
fn sort(paging: &Paging) -> Result<Vec<(AttachmentSortKey, SortDirection)>> {
    let known = |key: &str| match key {
        "created_at" => Ok(AttachmentSortKey::CreatedAt),
        "attach_time" => Ok(AttachmentSortKey::AttachedAt),
        "attach_status" | "status" => Ok(AttachmentSortKey::Status),
        "attach_mode" => Ok(AttachmentSortKey::Mode),
        "attached_host" => Ok(AttachmentSortKey::Host),
        "instance_uuid" => Ok(AttachmentSortKey::Instance),
        "mountpoint" => Ok(AttachmentSortKey::Mountpoint),
        "volume_id" => Ok(AttachmentSortKey::Volume),
        "id" => Ok(AttachmentSortKey::Id),
        _ => Err(Fault::BadRequest(
            "Invalid input received: Sort key supplied is invalid.".to_owned(),
        )),
    };
    paging
        .sort
        .iter()
        .map(|(key, direction)| Ok((known(key)?, sort_direction(direction)?)))
        .collect()
}

/// `GET /attachments/{id}`
pub(super) async fn show(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    let attachment = attachments::get(&service, &caller.context, attachment_id(&id)?).await?;
    Ok(Json(json!({"attachment": detailed(&attachment)})))
}

/// `PUT /attachments/{id}` gives a reserved attachment its connector.
pub(super) async fn update(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>> {
    let fields = Fields::top(&body).object("attachment")?;
    let connector = fields.value("connector").cloned().unwrap_or_default();
    let id = attachment_id(&id)?;
    let attachment = attachments::connect(&service, &caller.context, id, connector).await?;
    Ok(Json(json!({"attachment": detailed(&attachment)})))
}

/// `DELETE /attachments/{id}` answers what is left on the volume.
pub(super) async fn delete(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    let left = attachments::delete(&service, &caller.context, attachment_id(&id)?).await?;
    let views: Vec<_> = left.iter().map(summary).collect();
    Ok(Json(json!({ "attachments": views })))
}

/// `POST /attachments/{id}/action` with `os-complete` (3.44)
async fn complete(call: Call) -> Result<Response> {
    let id = attachment_id(&call.id)?;
    attachments::complete(&call.service, &call.caller.context, id).await?;
    Ok(success::NO_CONTENT.into_response())
}
