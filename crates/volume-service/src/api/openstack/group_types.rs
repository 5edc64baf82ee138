//! Group types and their specs (3.11).

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::routing::on;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::body::{Fields, JsonBody};
use super::caller::Caller;
use super::fault::{Fault, Result, success};
use super::filter_values;
use super::groups::sort_keys;
use super::paging::Paging;
use super::route::Route;
use super::schema::{
    ANY_OBJECT, BOOLEAN, FILLED_TEXT, NAME, PAGING, Schema, TEXT, closed, field, list_of, required,
};
use super::type_extra_specs::SPEC_KEY;
use super::volume_types::{SPECS, specs};
use crate::app::Service;
use crate::app::group_types::{self, GroupTypeChange, GroupTypeQuery, NewGroupType};
use crate::app::groups::GroupSortKey;
use crate::auth::rule::Rule;
use crate::error::{Error, ErrorKind, Subject};
use crate::model::group::GroupType;
use crate::model::id::GroupTypeId;

/// The microversion that brought them.
const SINCE: u16 = 11;

pub(super) const ROUTES: &[Route] = &[
    Route::get("/group_types", |verb| on(verb, list))
        .since(SINCE)
        .query(&[
            PAGING[0],
            PAGING[1],
            PAGING[2],
            PAGING[3],
            PAGING[4],
            PAGING[5],
            field("is_public", TEXT),
        ])
        .answers(
            200,
            &closed(&[
                required("group_types", list_of(&SHOWN)),
                field("group_type_links", list_of(&ANY_OBJECT)),
            ]),
        ),
    Route::post("/group_types", |verb| on(verb, create))
        .since(SINCE)
        .rule(Rule::GroupTypesCreate)
        .body(&CREATE)
        .answers(202, &ONE),
    Route::get("/group_types/default", |verb| on(verb, default))
        .since(SINCE)
        .answers(200, &ONE),
    Route::get("/group_types/{id}", |verb| on(verb, show))
        .since(SINCE)
        .answers(200, &ONE),
    Route::put("/group_types/{id}", |verb| on(verb, update))
        .since(SINCE)
        .rule(Rule::GroupTypesUpdate)
        .body(&UPDATE)
        .answers(200, &ONE),
    Route::delete("/group_types/{id}", |verb| on(verb, delete))
        .since(SINCE)
        .rule(Rule::GroupTypesDelete)
        .status(202),
    Route::get("/group_types/{id}/group_specs", |verb| on(verb, list_specs))
        .since(SINCE)
        .rule(Rule::GroupTypesSpecsGetAll)
        .answers(200, &ALL_SPECS),
    Route::post("/group_types/{id}/group_specs", |verb| on(verb, set_specs))
        .since(SINCE)
        .rule(Rule::GroupTypesSpecsCreate)
        .body(&SET_SPECS)
        .answers(202, &ALL_SPECS),
    Route::get("/group_types/{id}/group_specs/{key}", |verb| {
        on(verb, show_spec)
    })
    .since(SINCE)
    .rule(Rule::GroupTypesSpecsGet)
    .answers(200, &ANY_OBJECT),
    Route::put("/group_types/{id}/group_specs/{key}", |verb| {
        on(verb, set_spec)
    })
    .since(SINCE)
    .rule(Rule::GroupTypesSpecsUpdate)
    .body(&SET_SPEC)
    .answers(200, &ANY_OBJECT),
    Route::delete("/group_types/{id}/group_specs/{key}", |verb| {
        on(verb, remove_spec)
    })
    .since(SINCE)
    .rule(Rule::GroupTypesSpecsDelete)
    .status(202),
];

const SHOWN: Schema = closed(&[
    required("id", TEXT),
    required("name", TEXT),
    required("description", Schema::OrNull(&Schema::Any)),
    required("is_public", Schema::TrueOrFalse),
    field("group_specs", ANY_OBJECT),
]);
const ONE: Schema = closed(&[required("group_type", SHOWN)]);
const CREATE: Schema = closed(&[required(
    "group_type",
    closed(&[
        required("name", FILLED_TEXT),
        field("description", NAME),
        field("is_public", BOOLEAN),
        field("group_specs", SPECS),
    ]),
)]);
const UPDATE: Schema = closed(&[required(
    "group_type",
    closed(&[
        field("name", NAME),
        field("description", NAME),
        field("is_public", BOOLEAN),
    ]),
)]);
const ALL_SPECS: Schema = closed(&[required("group_specs", ANY_OBJECT)]);
const SET_SPECS: Schema = closed(&[required(
    "group_specs",
    Schema::Map {
        key: SPEC_KEY,
        value: &NAME,
        min: 0,
        max: usize::MAX,
    },
)]);
const SET_SPEC: Schema = Schema::Map {
    key: SPEC_KEY,
    value: &NAME,
    min: 1,
    max: 1,
};

/// The group type that a path names; what is no uuid cannot exist.
fn type_id(text: &str) -> Result<GroupTypeId> {
    text.parse().map_err(|_| {
        let sentence = format!("Group type {text} could not be found.");
        Error::new(ErrorKind::NotFound, Subject::Request, sentence).into()
    })
}

fn view(caller: &Caller, group_type: &GroupType) -> Value {
    let description = Some(&group_type.description).filter(|text| !text.is_empty());
    let mut view = json!({
        "id": group_type.id,
        "name": group_type.name,
        "description": description,
        "is_public": group_type.is_public,
    });
    if group_types::shows_specs(&caller.context) {
        view["group_specs"] = json!(group_type.specs);
    }
    view
}

fn one(caller: &Caller, group_type: &GroupType) -> Json<Value> {
    Json(json!({"group_type": view(caller, group_type)}))
}

/// `GET /group_types`
async fn list(
    State(service): State<Service>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    let mut paging = Paging::of(query.as_deref())?;
    let is_public = match paging.take("is_public").as_deref() {
        _ if !caller.context.is_admin() => Some(true),
        None => Some(true),
        Some(text) if text.eq_ignore_ascii_case("none") => None,
        Some(text) => Some(
            filter_values::boolean("is_public", text)
                .map_err(|_| Fault::BadRequest(format!("Invalid is_public filter [{text}]")))?,
        ),
    };
    let keys = [
        GroupSortKey::CreatedAt,
        GroupSortKey::UpdatedAt,
        GroupSortKey::Name,
        GroupSortKey::Description,
        GroupSortKey::IsPublic,
        GroupSortKey::Id,
    ];
    let query = GroupTypeQuery {
        is_public,
        sort: sort_keys(&paging, &keys)?,
        marker: paging.marker_id()?.map(GroupTypeId),
        offset: paging.offset,
        limit: paging.limit,
    };
    let page = group_types::list(&service, &caller.context, query).await?;
    let views: Vec<_> = page.items.iter().map(|one| view(&caller, one)).collect();
    let mut body = json!({ "group_types": views });
    if let Some(last) = page.items.last().filter(|_| page.has_more) {
        let marker = last.id.to_string();
        let next = caller.links.next("group_types", &paging.query, &marker);
        body["group_type_links"] = json!(next);
    }
    Ok(Json(body))
}

/// `GET /group_types/{id}`
async fn show(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    let found = group_types::get(&service, &caller.context, type_id(&id)?).await?;
    Ok(one(&caller, &found))
}

/// `GET /group_types/default`
async fn default(State(service): State<Service>, caller: Caller) -> Result<Json<Value>> {
    match group_types::default(&service, &caller.context).await? {
        Some(found) => Ok(one(&caller, &found)),
        None => {
            let text = "Default group type can not be found.";
            Err(Error::new(ErrorKind::NotFound, Subject::Request, text).into())
        }
    }
}

/// `POST /group_types`
async fn create(
    State(service): State<Service>,
    caller: Caller,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<Value>)> {
    let fields = Fields::top(&body).object("group_type")?;
    let new = NewGroupType {
        name: fields.required_text("name")?.to_owned(),
        description: fields.text("description")?.unwrap_or_default().to_owned(),
        is_private: fields.boolean("is_public")? == Some(false),
        specs: specs(fields.value("group_specs")),
    };
    let made = group_types::create(&service, &caller.context, new).await?;
    Ok((success::ACCEPTED, one(&caller, &made)))
}

/// `PUT /group_types/{id}`
async fn update(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>> {
    let fields = Fields::top(&body).object("group_type")?;
    let text = |key| Ok::<_, Fault>(fields.text(key)?.map(str::to_owned));
    let change = GroupTypeChange {
        name: text("name")?.filter(|name| !name.is_empty()),
        description: text("description")?,
        is_public: fields.boolean("is_public")?,
    };
    if change
        .name
        .as_ref()
        .is_some_and(|name| name.trim().is_empty())
    {
        let text = "Group type name can not be empty.".to_owned();
        return Err(Fault::BadRequest(text));
    }
    if change.name.is_none() && change.description.is_none() && change.is_public.is_none() {
        let text = "Specify group type name, description or a combination thereof.";
        return Err(Fault::BadRequest(text.to_owned()));
    }
    let changed = group_types::update(&service, &caller.context, type_id(&id)?, change).await?;
    Ok(one(&caller, &changed))
}

/// `DELETE /group_types/{id}`
async fn delete(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    group_types::delete(&service, &caller.context, type_id(&id)?).await?;
    Ok(success::ACCEPTED)
}

/// `GET /group_types/{id}/group_specs`
async fn list_specs(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    let specs = group_types::specs(&service, &caller.context, type_id(&id)?).await?;
    Ok(Json(json!({ "group_specs": specs })))
}

/// `POST /group_types/{id}/group_specs`, which answers what it was sent.
async fn set_specs(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<Value>)> {
    let wanted = specs(Fields::top(&body).value("group_specs"));
    group_types::set_specs(&service, &caller.context, type_id(&id)?, wanted).await?;
    Ok((success::ACCEPTED, Json(Value::Object(body))))
}

/// `GET /group_types/{id}/group_specs/{key}`
async fn show_spec(
    State(service): State<Service>,
    caller: Caller,
    Path((id, key)): Path<(String, String)>,
) -> Result<Json<Value>> {
    let id = type_id(&id)?;
    let mut specs = group_types::specs(&service, &caller.context, id).await?;
    let Some(value) = specs.remove(&key) else {
        let text = format!("Group Type {id} has no extra spec with key {key}.");
        return Err(Error::new(ErrorKind::NotFound, Subject::Request, text).into());
    };
    let one: Map<String, Value> = [(key, Value::from(value))].into_iter().collect();
    Ok(Json(Value::Object(one)))
}

/// `PUT /group_types/{id}/group_specs/{key}`, which answers what it was sent.
async fn set_spec(
    State(service): State<Service>,
    caller: Caller,
    Path((id, key)): Path<(String, String)>,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>> {
    if !body.contains_key(&key) {
        return Err(Fault::BadRequest(
            "Request body and URI mismatch".to_owned(),
        ));
    }
    let body = Value::Object(body);
    let wanted = specs(Some(&body));
    group_types::set_specs(&service, &caller.context, type_id(&id)?, wanted).await?;
    Ok(Json(body))
}

/// `DELETE /group_types/{id}/group_specs/{key}`
async fn remove_spec(
    State(service): State<Service>,
    caller: Caller,
    Path((id, key)): Path<(String, String)>,
) -> Result<StatusCode> {
    group_types::remove_spec(&service, &caller.context, type_id(&id)?, &key).await?;
    Ok(success::ACCEPTED)
}
