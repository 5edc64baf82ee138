//! Group snapshots (3.14).

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::on;
use http::StatusCode;
use serde_json::{Value, json};

use super::super::timestamp;
use super::body::{Fields, JsonBody};
use super::caller::Caller;
use super::fault::{Fault, Result, success};
use super::filter_values;
use super::group_actions::{STATUS, wanted_status};
use super::groups::{PROJECT_SINCE, base_query, or_null, own};
use super::paging::Paging;
use super::route::{Action, Call, Route, act};
use super::schema::{
    ANY_OBJECT, BOOLEAN, NAME, PAGING, Schema, TEXT, UUID, closed, field, list_of, required,
};
use crate::app::group_snapshots::{self, CreateGroupSnapshot};
use crate::app::groups::{GroupQuery, is_consistency_group};
use crate::app::{Page, Service};
use crate::auth::rule::Rule;
use crate::error::{Error, ErrorKind, Subject};
use crate::model::group::{GroupSnapshot, GroupStatus};
use crate::model::id::GroupSnapshotId;

/// The microversions of group snapshots, and of pages and filters of their lists.
const SINCE: u16 = 14;
const PAGES_SINCE: u16 = 29;

pub(super) const ROUTES: &[Route] = &[
    Route::get("/group_snapshots", |verb| on(verb, list))
        .since(SINCE)
        .rule(Rule::GroupGetAllGroupSnapshots)
        .query(QUERY)
        .answers(200, &LISTED),
    Route::get("/group_snapshots/detail", |verb| on(verb, detail))
        .since(SINCE)
        .rule(Rule::GroupGetAllGroupSnapshots)
        .query(QUERY)
        .answers(200, &LISTED),
    Route::post("/group_snapshots", |verb| on(verb, create))
        .since(SINCE)
        .rule(Rule::GroupCreateGroupSnapshot)
        .body(&CREATE)
        .answers(202, &ONE),
    Route::get("/group_snapshots/{id}", |verb| on(verb, show))
        .since(SINCE)
        .rule(Rule::GroupGetGroupSnapshot)
        .answers(200, &ONE),
    Route::delete("/group_snapshots/{id}", |verb| on(verb, delete))
        .since(SINCE)
        .rule(Rule::GroupDeleteGroupSnapshot)
        .status(202),
    Route::post("/group_snapshots/{id}/action", |verb| on(verb, act))
        .since(SINCE)
        .actions(ACTIONS),
];

const ACTIONS: &[Action] = &[Action::new(
    "reset_status",
    Rule::GroupResetGroupSnapshotStatus,
    |call| Box::pin(reset_status(call)),
)
.since(19)
.body(&STATUS)];

const QUERY: &[super::schema::Field] = &[
    PAGING[0].since(PAGES_SINCE),
    PAGING[1].since(PAGES_SINCE),
    PAGING[2].since(PAGES_SINCE),
    PAGING[3].since(PAGES_SINCE),
    PAGING[4].since(PAGES_SINCE),
    PAGING[5].since(PAGES_SINCE),
    field("all_tenants", BOOLEAN).since(PAGES_SINCE),
    field("name", TEXT).since(PAGES_SINCE),
    field("name~", TEXT).since(34),
    field("status", TEXT).since(PAGES_SINCE),
    field("group_id", TEXT).since(PAGES_SINCE),
];
const ONE: Schema = closed(&[required("group_snapshot", ANY_OBJECT)]);
const LISTED: Schema = closed(&[
    required("group_snapshots", list_of(&ANY_OBJECT)),
    field("group_snapshot_links", list_of(&ANY_OBJECT)),
]);
const CREATE: Schema = closed(&[required(
    "group_snapshot",
    closed(&[
        required("group_id", UUID),
        field("name", NAME),
        field("description", NAME),
    ]),
)]);

/// The group snapshot that a path names; what is no uuid cannot exist.
pub(super) fn group_snapshot_id(text: &str) -> Result<GroupSnapshotId> {
    text.parse().map_err(|_| {
        let sentence = format!("GroupSnapshot {text} could not be found.");
        Error::new(ErrorKind::NotFound, Subject::Request, sentence).into()
    })
}

/// The group snapshot of this API that a path names.
async fn own_snapshot(service: &Service, caller: &Caller, id: &str) -> Result<GroupSnapshot> {
    let id = group_snapshot_id(id)?;
    let found = group_snapshots::get(service, &caller.context, id).await?;
    if is_consistency_group(&found.type_name) {
        return Err(Fault::BadRequest(format!(
            "Group_type {} is reserved for migrating CGs to groups. Migrated group snapshots can only be operated by CG snapshot \
             APIs.",
            found.type_id
        )));
    }
    Ok(found)
}

fn summary(taken: &GroupSnapshot) -> Value {
    json!({"id": taken.id, "name": or_null(&taken.name)})
}

fn detailed(caller: &Caller, taken: &GroupSnapshot) -> Value {
    let mut view = json!({
        "id": taken.id,
        "group_id": taken.group_id,
        "group_type_id": taken.type_id,
        "status": taken.status.as_str(),
        "created_at": timestamp::openstack(taken.created_at_us),
        "name": or_null(&taken.name),
        "description": or_null(&taken.description),
    });
    if caller.version.at_least(PROJECT_SINCE) && group_snapshots::shows_project(&caller.context) {
        view["project_id"] = json!(taken.project_id);
    }
    view
}

/// `GET /group_snapshots`
async fn list(
    State(service): State<Service>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    let mut paging = Paging::of(query.as_deref())?;
    let page = select(&service, &caller, &mut paging).await?;
    let views = page.items.iter().map(summary).collect();
    Ok(listed(&caller, &paging, &page, "group_snapshots", views))
}

/// `GET /group_snapshots/detail`
async fn detail(
    State(service): State<Service>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    let mut paging = Paging::of(query.as_deref())?;
    let page = select(&service, &caller, &mut paging).await?;
    let views = page.items.iter();
    let views = views.map(|taken| detailed(&caller, taken)).collect();
    let path = "group_snapshots/detail";
    Ok(listed(&caller, &paging, &page, path, views))
}

async fn select(
    service: &Service,
    caller: &Caller,
    paging: &mut Paging,
) -> Result<Page<GroupSnapshot>> {
    if !caller.version.at_least(PAGES_SINCE) {
        // Before, neither pages nor filters are looked at.
        *paging = Paging::default();
    }
    let mut query = GroupQuery {
        without_consistency_groups: true,
        ..base_query(caller, paging)?
    };
    let mut unknown = Vec::new();
    let mut matches_none = false;
    for (name, value) in std::mem::take(&mut paging.filters) {
        match name.as_str() {
            "name" => query.name = Some(value),
            "name~" if filter_values::knows_likeness(caller) => query.name_part = Some(value),
            "status" => {
                query.status = GroupStatus::parse(&value);
                matches_none |= query.status.is_none();
            }
            "group_id" => {
                query.group_id = value.parse().ok();
                matches_none |= query.group_id.is_none();
            }
            _ => unknown.push(name),
        }
    }
    matches_none |= filter_values::judge_unknown(caller, unknown)?;
    if matches_none || query.limit == Some(0) {
        return Ok(Page {
            items: Vec::new(),
            has_more: false,
            total: None,
        });
    }
    Ok(group_snapshots::list(service, &caller.context, query).await?)
}

fn listed(
    caller: &Caller,
    paging: &Paging,
    page: &Page<GroupSnapshot>,
    path: &str,
    views: Vec<Value>,
) -> Json<Value> {
    let mut body = json!({ "group_snapshots": views });
    if let Some(last) = page.items.last().filter(|_| page.has_more) {
        let next = caller.links.next(path, &paging.query, &last.id.to_string());
        body["group_snapshot_links"] = json!(next);
    }
    Json(body)
}

/// `GET /group_snapshots/{id}`
async fn show(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    let found = own_snapshot(&service, &caller, &id).await?;
    let view = detailed(&caller, &found);
    Ok(Json(json!({ "group_snapshot": view })))
}

/// `POST /group_snapshots`
async fn create(
    State(service): State<Service>,
    caller: Caller,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<Value>)> {
    let fields = Fields::top(&body).object("group_snapshot")?;
    let group = own(&service, &caller, fields.required_text("group_id")?).await?;
    let text = |key| Ok::<_, Fault>(fields.text(key)?.unwrap_or_default().trim().to_owned());
    let wanted = CreateGroupSnapshot {
        group_id: group.id,
        name: text("name")?,
        description: text("description")?,
    };
    let taken = group_snapshots::create(&service, &caller.context, wanted).await?;
    let mut view = summary(&taken);
    view["group_type_id"] = json!(taken.type_id);
    Ok((success::ACCEPTED, Json(json!({ "group_snapshot": view }))))
}

/// `DELETE /group_snapshots/{id}`
async fn delete(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    let found = own_snapshot(&service, &caller, &id).await?;
    group_snapshots::delete(&service, &caller.context, found.id).await?;
    Ok(success::ACCEPTED)
}

async fn reset_status(call: Call) -> Result<Response> {
    let id = group_snapshot_id(&call.id)?;
    let fields = call.fields();
    let status = wanted_status(fields.required_text("status")?, "GroupSnapshot")?;
    group_snapshots::reset_status(&call.service, &call.caller.context, id, status).await?;
    Ok(success::ACCEPTED.into_response())
}
