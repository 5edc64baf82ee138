//! Groups of volumes (3.13): make, list, show, change. What is done to them stands in `group_actions.rs`.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::routing::on;
use http::StatusCode;
use serde_json::{Value, json};

use super::super::timestamp;
use super::body::{Fields, JsonBody};
use super::caller::Caller;
use super::fault::{Fault, Result, success};
use super::filter_values;
use super::paging::{Paging, sort_direction};
use super::python_words::shown;
use super::route::Route;
use super::schema::{
    ANY_OBJECT, BOOLEAN, FILLED_TEXT, NAME, PAGING, Schema, TEXT, closed, field, list_of, required,
};
use crate::app::groups::{
    self, ChangeMembers, CreateGroup, GroupQuery, GroupSortKey, WantedType, is_consistency_group,
};
use crate::app::volumes::SortDirection;
use crate::app::{Page, Service};
use crate::auth::rule::Rule;
use crate::error::{Error, ErrorKind, Subject};
use crate::model::group::{Group, GroupStatus};
use crate::model::id::{GroupId, VolumeId};

/// The microversions of groups, of their sources, of `list_volume`, of replication, and of `project_id`.
pub(super) const SINCE: u16 = 13;
const SOURCES_SINCE: u16 = 14;
const VOLUMES_SINCE: u16 = 25;
const REPLICATION_SINCE: u16 = 38;
pub(super) const PROJECT_SINCE: u16 = 58;
/// From here on unknown filters are refused.
const FILTERS_SINCE: u16 = 31;

pub(super) const ROUTES: &[Route] = &[
    Route::get("/groups", |verb| on(verb, list))
        .since(SINCE)
        .rule(Rule::GroupGetAll)
        .query(QUERY)
        .answers(200, &LISTED),
    Route::get("/groups/detail", |verb| on(verb, detail))
        .since(SINCE)
        .rule(Rule::GroupGetAll)
        .query(QUERY)
        .answers(200, &LISTED),
    Route::post("/groups", |verb| on(verb, create))
        .since(SINCE)
        .rule(Rule::GroupCreate)
        .body(&CREATE)
        .answers(202, &ONE),
    Route::get("/groups/{id}", |verb| on(verb, show))
        .since(SINCE)
        .rule(Rule::GroupGet)
        .query(&[field("list_volume", BOOLEAN).since(VOLUMES_SINCE)])
        .answers(200, &ONE),
    Route::put("/groups/{id}", |verb| on(verb, update))
        .since(SINCE)
        .rule(Rule::GroupUpdate)
        .body(&UPDATE)
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
    field("name~", TEXT).since(34),
    field("list_volume", BOOLEAN).since(VOLUMES_SINCE),
];
pub(super) const ONE: Schema = closed(&[required("group", ANY_OBJECT)]);
const LISTED: Schema = closed(&[
    required("groups", list_of(&ANY_OBJECT)),
    field("group_links", list_of(&ANY_OBJECT)),
]);
const CREATE: Schema = closed(&[required(
    "group",
    closed(&[
        required("group_type", FILLED_TEXT),
        required(
            "volume_types",
            Schema::List {
                item: &TEXT,
                min: 1,
            },
        ),
        field("name", NAME),
        field("description", NAME),
        field("availability_zone", Schema::OrNull(&FILLED_TEXT)),
    ]),
)]);
/// Lists of uuids with commas between them, which Cinder takes to be no longer than a description.
const UPDATE: Schema = closed(&[required(
    "group",
    closed(&[
        field("name", NAME),
        field("description", NAME),
        field("add_volumes", NAME),
        field("remove_volumes", NAME),
    ])
    .some_of_since(SINCE),
)]);

/// The group that a request names; what is no uuid cannot exist.
pub(super) fn group_id(text: &str) -> Result<GroupId> {
    text.parse().map_err(|_| {
        let sentence = format!("Group {text} could not be found.");
        Error::new(ErrorKind::NotFound, Subject::Request, sentence).into()
    })
}

/// The group of this API that a path names: those of the consistency group API are refused.
pub(super) async fn own(service: &Service, caller: &Caller, id: &str) -> Result<Group> {
    let group = groups::get(service, &caller.context, group_id(id)?).await?;
    if is_consistency_group(&group.type_name) {
        return Err(Fault::BadRequest(format!(
            "Group_type {} is reserved for migrating CGs to groups. Migrated group can only be operated by CG APIs.",
            group.type_id
        )));
    }
    Ok(group)
}

/// A text that is shown as null when there is none.
pub(super) fn or_null(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

pub(super) fn summary(group: &Group) -> Value {
    json!({"id": group.id, "name": or_null(&group.name)})
}

fn detailed(caller: &Caller, group: &Group, members: Option<&Vec<VolumeId>>) -> Value {
    let mut view = json!({
        "id": group.id,
        "status": group.status.as_str(),
        "availability_zone": group.zone,
        "created_at": timestamp::openstack(group.created_at_us),
        "name": or_null(&group.name),
        "description": or_null(&group.description),
        "group_type": group.type_id,
        "volume_types": group.flavors,
    });
    if caller.version.at_least(SOURCES_SINCE) {
        view["group_snapshot_id"] = json!(group.group_snapshot_id);
        view["source_group_id"] = json!(group.source_group_id);
    }
    if let Some(members) = members {
        view["volumes"] = json!(members);
    }
    if caller.version.at_least(REPLICATION_SINCE) {
        view["replication_status"] = json!("disabled");
    }
    if caller.version.at_least(PROJECT_SINCE) && groups::shows_project(&caller.context) {
        view["project_id"] = json!(group.project_id);
    }
    view
}

/// `GET /groups`
async fn list(
    State(service): State<Service>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    let mut paging = Paging::of(query.as_deref())?;
    let page = select(&service, &caller, &mut paging, true).await?;
    let views = page.items.iter().map(summary).collect();
    Ok(listed(&caller, &paging, &page, "groups", views))
}

/// `GET /groups/detail`
async fn detail(
    State(service): State<Service>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    let mut paging = Paging::of(query.as_deref())?;
    let with_volumes = wants_volumes(&caller, &paging)?;
    let page = select(&service, &caller, &mut paging, true).await?;
    let members = members_of(&service, &page.items, with_volumes).await?;
    let view = |group: &Group| detailed(&caller, group, members.get(&group.id));
    let views = page.items.iter().map(view).collect();
    Ok(listed(&caller, &paging, &page, "groups/detail", views))
}

/// `list_volume`, which is passed over before 3.25.
fn wants_volumes(caller: &Caller, paging: &Paging) -> Result<bool> {
    let mut asked = paging.filters.iter().rev();
    match asked.find(|(name, _)| name == "list_volume") {
        Some((name, word)) if caller.version.at_least(VOLUMES_SINCE) => {
            filter_values::boolean(name, word)
        }
        _ => Ok(false),
    }
}

async fn members_of(
    service: &Service,
    groups: &[Group],
    wanted: bool,
) -> Result<BTreeMap<GroupId, Vec<VolumeId>>> {
    if !wanted {
        return Ok(BTreeMap::new());
    }
    let ids = groups.iter().map(|group| group.id).collect();
    Ok(groups::members(service, ids).await?)
}

/// Asks for a page; `without_consistency_groups` for the API of groups.
pub(super) async fn select(
    service: &Service,
    caller: &Caller,
    paging: &mut Paging,
    without_consistency_groups: bool,
) -> Result<Page<Group>> {
    paging.take("list_volume");
    let mut query = GroupQuery {
        without_consistency_groups,
        ..base_query(caller, paging)?
    };
    let mut unknown = Vec::new();
    let mut matches_none = false;
    for (name, value) in std::mem::take(&mut paging.filters) {
        match name.as_str() {
            "name" => query.name = Some(value),
            "name~" if filter_values::knows_likeness(caller) => query.name_part = Some(value),
            "status" if caller.context.is_admin() || !caller.version.at_least(FILTERS_SINCE) => {
                query.status = GroupStatus::parse(&value);
                matches_none |= query.status.is_none();
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
    Ok(groups::list(service, &caller.context, query).await?)
}

/// What lists of groups and of their snapshots have in common.
pub(super) fn base_query(caller: &Caller, paging: &mut Paging) -> Result<GroupQuery> {
    let keys = [
        GroupSortKey::CreatedAt,
        GroupSortKey::UpdatedAt,
        GroupSortKey::Name,
        GroupSortKey::Description,
        GroupSortKey::Status,
        GroupSortKey::Id,
    ];
    let (all_projects, _) = filter_values::projects(caller, paging)?;
    Ok(GroupQuery {
        all_projects,
        sort: sort_keys(paging, &keys)?,
        marker: paging.marker_id()?,
        offset: paging.offset,
        limit: paging.limit,
        ..GroupQuery::default()
    })
}

/// The sort keys of a request, which must be among these.
pub(super) fn sort_keys(
    paging: &Paging,
    allowed: &[GroupSortKey],
) -> Result<Vec<(GroupSortKey, SortDirection)>> {
    let known = |key: &str| {
        let found = match key {
            "created_at" => Some(GroupSortKey::CreatedAt),
            "updated_at" => Some(GroupSortKey::UpdatedAt),
            "name" => Some(GroupSortKey::Name),
            "description" => Some(GroupSortKey::Description),
            "status" => Some(GroupSortKey::Status),
            "is_public" => Some(GroupSortKey::IsPublic),
            "id" => Some(GroupSortKey::Id),
            _ => None,
        };
        let found = found.filter(|key| allowed.contains(key));
        found.ok_or_else(|| {
            let text = "Invalid input received: Sort key supplied is invalid.";
            Fault::BadRequest(text.to_owned())
        })
    };
    paging
        .sort
        .iter()
        .map(|(key, direction)| Ok((known(key)?, sort_direction(direction)?)))
        .collect()
}

fn listed(
    caller: &Caller,
    paging: &Paging,
    page: &Page<Group>,
    path: &str,
    views: Vec<Value>,
) -> Json<Value> {
    let mut body = json!({ "groups": views });
    if let Some(last) = page.items.last().filter(|_| page.has_more) {
        let next = caller.links.next(path, &paging.query, &last.id.to_string());
        body["group_links"] = json!(next);
    }
    Json(body)
}

/// `GET /groups/{id}`
async fn show(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    let paging = Paging::of(query.as_deref())?;
    let with_volumes = wants_volumes(&caller, &paging)?;
    let group = own(&service, &caller, &id).await?;
    let members = members_of(&service, std::slice::from_ref(&group), with_volumes).await?;
    let view = detailed(&caller, &group, members.get(&group.id));
    Ok(Json(json!({ "group": view })))
}

/// `POST /groups`
async fn create(
    State(service): State<Service>,
    caller: Caller,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<Value>)> {
    let fields = Fields::top(&body).object("group")?;
    let text = |key| Ok::<_, Fault>(fields.text(key)?.unwrap_or_default().trim().to_owned());
    let listed = fields.value("volume_types").and_then(Value::as_array);
    let flavors: Vec<String> = listed
        .into_iter()
        .flatten()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect();
    if flavors.iter().collect::<BTreeSet<_>>().len() < flavors.len() {
        let shown = shown(&json!(flavors));
        return Err(Fault::BadRequest(format!(
            "Invalid input for field/attribute volume_types. Value: {shown}. {shown} has non-unique elements"
        )));
    }
    let wanted = CreateGroup {
        name: text("name")?,
        description: text("description")?,
        group_type: WantedType::Named(fields.required_text("group_type")?.to_owned()),
        flavors,
        zone: fields.text("availability_zone")?.map(str::to_owned),
    };
    let group = groups::create(&service, &caller.context, wanted).await?;
    let view = summary(&group);
    Ok((success::ACCEPTED, Json(json!({ "group": view }))))
}

/// `PUT /groups/{id}`
async fn update(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<StatusCode> {
    let group = own(&service, &caller, &id).await?;
    let change = wanted_change(&Fields::top(&body).object("group")?)?;
    groups::update(&service, &caller.context, group.id, change).await?;
    Ok(success::ACCEPTED)
}

/// Reads the body of a change.
pub(super) fn wanted_change(fields: &Fields<'_>) -> Result<ChangeMembers> {
    let text = |key| Ok::<_, Fault>(fields.text(key)?.map(|text| text.trim().to_owned()));
    let ids = |key: &str| {
        let text = fields.value(key).and_then(Value::as_str);
        let text = text.unwrap_or_default().trim_matches(',');
        let parts = text.split(',').filter(|part| !part.is_empty());
        parts.map(str::to_owned).collect()
    };
    Ok(ChangeMembers {
        name: text("name")?,
        description: text("description")?,
        add: ids("add_volumes"),
        remove: ids("remove_volumes"),
    })
}
