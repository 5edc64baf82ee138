//! The consistency group API, which groups took the place of: other words for groups of a type of its own, whose snapshots are
//! promised to be of one moment. As in Cinder it shows the other groups too.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::routing::on;
use http::StatusCode;
use serde_json::{Value, json};

use super::super::timestamp;
use super::body::{Fields, JsonBody};
use super::caller::Caller;
use super::fault::{Fault, Result, success};
use super::group_snapshots::group_snapshot_id;
use super::groups::{base_query, group_id, or_null, select, summary, wanted_change};
use super::paging::Paging;
use super::route::Route;
use super::schema::{
    ANY_OBJECT, BOOLEAN, NAME, PAGING, Schema, TEXT, field, list_of, open, required,
};
use crate::app::group_snapshots::{self, CreateGroupSnapshot};
use crate::app::groups::{
    self, CreateFromSource, CreateGroup, DeleteGroup, GroupQuery, GroupSource, WantedType,
};
use crate::app::{Page, Service};
use crate::auth::rule::Rule;
use crate::model::group::{Group, GroupSnapshot};

pub(super) const GROUPS: &[Route] = &[
    Route::get("/consistencygroups", |verb| on(verb, list))
        .rule(Rule::GroupGetAll)
        .query(QUERY)
        .answers(200, &LISTED),
    Route::get("/consistencygroups/detail", |verb| on(verb, detail))
        .rule(Rule::GroupGetAll)
        .query(QUERY)
        .answers(200, &LISTED),
    Route::post("/consistencygroups", |verb| on(verb, create))
        .rule(Rule::GroupCreate)
        .body(&CREATE)
        .answers(202, &ONE),
    Route::post("/consistencygroups/create_from_src", |verb| {
        on(verb, create_from_source)
    })
    .rule(Rule::GroupCreate)
    .body(&FROM_SOURCE)
    .answers(202, &ONE),
    Route::get("/consistencygroups/{id}", |verb| on(verb, show))
        .rule(Rule::GroupGet)
        .answers(200, &ONE),
    Route::post("/consistencygroups/{id}/delete", |verb| on(verb, delete))
        .rule(Rule::GroupDelete)
        .body(&DELETE)
        .status(202),
    Route::put("/consistencygroups/{id}", |verb| on(verb, update))
        .rule(Rule::GroupUpdate)
        .body(&UPDATE)
        .status(202),
    Route::put("/consistencygroups/{id}/update", |verb| on(verb, update))
        .rule(Rule::GroupUpdate)
        .body(&UPDATE)
        .status(202),
];

pub(super) const SNAPSHOTS: &[Route] = &[
    Route::get("/cgsnapshots", |verb| on(verb, list_snapshots))
        .rule(Rule::GroupGetAllGroupSnapshots)
        .query(QUERY)
        .answers(200, &SNAPSHOTS_LISTED),
    Route::get("/cgsnapshots/detail", |verb| on(verb, detail_snapshots))
        .rule(Rule::GroupGetAllGroupSnapshots)
        .query(QUERY)
        .answers(200, &SNAPSHOTS_LISTED),
    Route::post("/cgsnapshots", |verb| on(verb, create_snapshot))
        .rule(Rule::GroupCreateGroupSnapshot)
        .body(&CREATE_SNAPSHOT)
        .answers(202, &ONE_SNAPSHOT),
    Route::get("/cgsnapshots/{id}", |verb| on(verb, show_snapshot))
        .rule(Rule::GroupGetGroupSnapshot)
        .answers(200, &ONE_SNAPSHOT),
    Route::delete("/cgsnapshots/{id}", |verb| on(verb, delete_snapshot))
        .rule(Rule::GroupDeleteGroupSnapshot)
        .status(202),
];

const QUERY: &[super::schema::Field] = &[
    PAGING[0],
    PAGING[1],
    PAGING[2],
    PAGING[3],
    PAGING[4],
    PAGING[5],
    field("all_tenants", BOOLEAN),
    field("name", TEXT),
];
const ONE: Schema = open(&[required("consistencygroup", ANY_OBJECT)]);
const LISTED: Schema = open(&[
    required("consistencygroups", list_of(&ANY_OBJECT)),
    field("consistencygroup_links", list_of(&ANY_OBJECT)),
]);
const ONE_SNAPSHOT: Schema = open(&[required("cgsnapshot", ANY_OBJECT)]);
const SNAPSHOTS_LISTED: Schema = open(&[required("cgsnapshots", list_of(&ANY_OBJECT))]);
const CREATE: Schema = open(&[required(
    "consistencygroup",
    open(&[
        required("volume_types", Schema::OrNull(&LONG_TEXT)),
        field("name", NAME),
        field("description", NAME),
        field("availability_zone", NAME),
    ]),
)]);
const FROM_SOURCE: Schema = open(&[required(
    "consistencygroup-from-src",
    open(&[
        field("name", NAME),
        field("description", NAME),
        field("cgsnapshot_id", NAME),
        field("source_cgid", NAME),
    ]),
)]);
const DELETE: Schema = open(&[field("consistencygroup", open(&[field("force", BOOLEAN)]))]);
const UPDATE: Schema = open(&[required(
    "consistencygroup",
    open(&[
        field("name", NAME),
        field("description", NAME),
        field("add_volumes", Schema::OrNull(&LONG_TEXT)),
        field("remove_volumes", Schema::OrNull(&LONG_TEXT)),
    ]),
)]);
const CREATE_SNAPSHOT: Schema = open(&[required(
    "cgsnapshot",
    open(&[
        required("consistencygroup_id", TEXT),
        field("name", NAME),
        field("description", NAME),
    ]),
)]);
/// Ids or names with commas between them.
const LONG_TEXT: Schema = super::schema::text(0, LONG_TEXT_MAX_CHARS);
const LONG_TEXT_MAX_CHARS: usize = 16 * 1024;

fn detailed(group: &Group) -> Value {
    json!({
        "id": group.id,
        "status": group.status.as_str(),
        "availability_zone": group.zone,
        "created_at": timestamp::openstack(group.created_at_us),
        "name": or_null(&group.name),
        "description": or_null(&group.description),
        "volume_types": group.flavors,
    })
}

fn snapshot_summary(taken: &GroupSnapshot) -> Value {
    json!({"id": taken.id, "name": or_null(&taken.name)})
}

fn snapshot_detailed(taken: &GroupSnapshot) -> Value {
    json!({
        "id": taken.id,
        "consistencygroup_id": taken.group_id,
        "status": taken.status.as_str(),
        "created_at": timestamp::openstack(taken.created_at_us),
        "name": or_null(&taken.name),
        "description": or_null(&taken.description),
    })
}

fn trimmed(fields: &Fields<'_>, key: &str) -> Result<String> {
    Ok(fields.text(key)?.unwrap_or_default().trim().to_owned())
}

/// `GET /consistencygroups`
async fn list(service: State<Service>, caller: Caller, query: RawQuery) -> Result<Json<Value>> {
    listed(service, caller, query, "consistencygroups", summary).await
}

/// `GET /consistencygroups/detail`
async fn detail(service: State<Service>, caller: Caller, query: RawQuery) -> Result<Json<Value>> {
    let path = "consistencygroups/detail";
    listed(service, caller, query, path, detailed).await
}

async fn listed(
    State(service): State<Service>,
    caller: Caller,
    RawQuery(query): RawQuery,
    path: &str,
    view: fn(&Group) -> Value,
) -> Result<Json<Value>> {
    let mut paging = Paging::of(query.as_deref())?;
    let page = select(&service, &caller, &mut paging, false).await?;
    let views: Vec<_> = page.items.iter().map(view).collect();
    let mut body = json!({ "consistencygroups": views });
    if let Some(last) = page.items.last().filter(|_| page.has_more) {
        let next = caller.links.next(path, &paging.query, &last.id.to_string());
        body["consistencygroup_links"] = json!(next);
    }
    Ok(Json(body))
}

/// `GET /consistencygroups/{id}`
async fn show(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    let group = groups::get(&service, &caller.context, group_id(&id)?).await?;
    Ok(Json(json!({"consistencygroup": detailed(&group)})))
}

/// `POST /consistencygroups`
async fn create(
    State(service): State<Service>,
    caller: Caller,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<Value>)> {
    let fields = Fields::top(&body).object("consistencygroup")?;
    let name = trimmed(&fields, "name")?;
    let listed = fields.value("volume_types").and_then(Value::as_str);
    let listed = listed.unwrap_or_default().trim_end_matches(',');
    if listed.is_empty() {
        return Err(Fault::BadRequest(format!(
            "volume_types must be provided to create consistency group {name}."
        )));
    }
    let wanted = CreateGroup {
        name,
        description: trimmed(&fields, "description")?,
        group_type: WantedType::OfConsistencyGroups,
        flavors: listed.split(',').map(str::to_owned).collect(),
        zone: fields.text("availability_zone")?.map(str::to_owned),
    };
    let group = groups::create(&service, &caller.context, wanted).await?;
    let view = summary(&group);
    Ok((success::ACCEPTED, Json(json!({ "consistencygroup": view }))))
}

/// `POST /consistencygroups/create_from_src`
async fn create_from_source(
    State(service): State<Service>,
    caller: Caller,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<Value>)> {
    let fields = Fields::top(&body).object("consistencygroup-from-src")?;
    let name = trimmed(&fields, "name")?;
    let given = |key| -> Result<Option<&str>> { Ok(fields.text(key)?.filter(|id| !id.is_empty())) };
    let source = match (given("cgsnapshot_id")?, given("source_cgid")?) {
        (Some(id), None) => GroupSource::Snapshot(group_snapshot_id(id)?),
        (None, Some(id)) => GroupSource::Group(group_id(id)?),
        (None, None) => {
            return Err(Fault::BadRequest(format!(
                "Either 'cgsnapshot_id' or 'source_cgid' must be provided to create consistency group {name} from source."
            )));
        }
        (Some(_), Some(_)) => {
            return Err(Fault::BadRequest(format!(
                "Cannot provide both 'cgsnapshot_id' and 'source_cgid' to create consistency group {name} from source."
            )));
        }
    };
    let wanted = CreateFromSource {
        name,
        description: trimmed(&fields, "description")?,
        source,
    };
    let group = groups::create_from_source(&service, &caller.context, wanted).await?;
    let view = summary(&group);
    Ok((success::ACCEPTED, Json(json!({ "consistencygroup": view }))))
}

/// `POST /consistencygroups/{id}/delete`
async fn delete(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<StatusCode> {
    let top = Fields::top(&body);
    let force = match top.has("consistencygroup") {
        true => top.object("consistencygroup")?.boolean("force")?,
        false => None,
    };
    let mode = match force {
        Some(true) => DeleteGroup::WithVolumes,
        Some(false) | None => DeleteGroup::Empty,
    };
    groups::delete(&service, &caller.context, group_id(&id)?, mode).await?;
    Ok(success::ACCEPTED)
}

/// `PUT /consistencygroups/{id}/update`
async fn update(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<StatusCode> {
    let id = group_id(&id)?;
    let change = wanted_change(&Fields::top(&body).object("consistencygroup")?)?;
    let is_blank = |text: &Option<String>| text.as_ref().is_none_or(String::is_empty);
    if is_blank(&change.name)
        && is_blank(&change.description)
        && change.add.is_empty()
        && change.remove.is_empty()
    {
        return Err(Fault::BadRequest(
            "Name, description, add_volumes, and remove_volumes can not be all empty in the request body."
                .to_owned(),
        ));
    }
    groups::update(&service, &caller.context, id, change).await?;
    Ok(success::ACCEPTED)
}

/// `GET /cgsnapshots`
async fn list_snapshots(
    service: State<Service>,
    caller: Caller,
    query: RawQuery,
) -> Result<Json<Value>> {
    snapshots_listed(service, caller, query, snapshot_summary).await
}

/// `GET /cgsnapshots/detail`
async fn detail_snapshots(
    service: State<Service>,
    caller: Caller,
    query: RawQuery,
) -> Result<Json<Value>> {
    snapshots_listed(service, caller, query, snapshot_detailed).await
}

async fn snapshots_listed(
    State(service): State<Service>,
    caller: Caller,
    RawQuery(query): RawQuery,
    view: fn(&GroupSnapshot) -> Value,
) -> Result<Json<Value>> {
    let mut paging = Paging::of(query.as_deref())?;
    let query = GroupQuery {
        name: paging.take("name"),
        ..base_query(&caller, &mut paging)?
    };
    let page = match query.limit {
        Some(0) => Page {
            items: Vec::new(),
            has_more: false,
            total: None,
        },
        _ => group_snapshots::list(&service, &caller.context, query).await?,
    };
    let views: Vec<_> = page.items.iter().map(view).collect();
    Ok(Json(json!({ "cgsnapshots": views })))
}

/// `GET /cgsnapshots/{id}`
async fn show_snapshot(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    let id = group_snapshot_id(&id)?;
    let found = group_snapshots::get(&service, &caller.context, id).await?;
    Ok(Json(json!({"cgsnapshot": snapshot_detailed(&found)})))
}

/// `POST /cgsnapshots`
async fn create_snapshot(
    State(service): State<Service>,
    caller: Caller,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<Value>)> {
    let fields = Fields::top(&body).object("cgsnapshot")?;
    let wanted = CreateGroupSnapshot {
        group_id: group_id(fields.required_text("consistencygroup_id")?)?,
        name: trimmed(&fields, "name")?,
        description: trimmed(&fields, "description")?,
    };
    let taken = group_snapshots::create(&service, &caller.context, wanted).await?;
    let view = snapshot_summary(&taken);
    Ok((success::ACCEPTED, Json(json!({ "cgsnapshot": view }))))
}

/// `DELETE /cgsnapshots/{id}`
async fn delete_snapshot(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    let id = group_snapshot_id(&id)?;
    group_snapshots::delete(&service, &caller.context, id).await?;
    Ok(success::ACCEPTED)
}
