//! Flavors, which OpenStack calls volume types.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::routing::on;
use http::StatusCode;
use serde_json::{Value, json};

use super::answers::{LINKS, TEXTS};
use super::body::{Fields, JsonBody};
use super::caller::Caller;
use super::fault::{Fault, Result, success};
use super::filter_values;
use super::paging::{Paging, sort_direction};
use super::route::Route;
use super::schema::{
    BOOLEAN, FILLED_TEXT, KEY, NAME, PAGING, Schema, TEXT, closed, field, list_of, required,
};
use crate::app::flavors::{
    self, Described, FlavorChange, FlavorQuery, FlavorSortKey, NewFlavor, Shown,
};
use crate::app::{Service, flavor_specs};
use crate::auth::rule::Rule;
use crate::error::{Error, ErrorKind, Subject};
use crate::model::id::FlavorId;

pub(super) const ROUTES: &[Route] = &[
    Route::get("/types", |verb| on(verb, list))
        .rule(Rule::TypeGetAll)
        .query(&[
            PAGING[0],
            PAGING[1],
            PAGING[2],
            PAGING[3],
            PAGING[4],
            PAGING[5],
            field("is_public", TEXT),
            field("extra_specs", TEXT).since(52),
        ])
        .answers(
            200,
            &closed(&[
                required("volume_types", list_of(&SHOWN)),
                field("volume_type_links", LINKS),
            ]),
        ),
    Route::post("/types", |verb| on(verb, create))
        .rule(Rule::TypeCreate)
        .body(&CREATE)
        .answers(200, &ONE),
    Route::get("/types/default", |verb| on(verb, default))
        .rule(Rule::TypeGet)
        .answers(200, &ONE),
    Route::get("/types/{id}", |verb| on(verb, show))
        .rule(Rule::TypeGet)
        .answers(200, &ONE),
    Route::put("/types/{id}", |verb| on(verb, update))
        .rule(Rule::TypeUpdate)
        .body(&UPDATE)
        .answers(200, &ONE),
    Route::delete("/types/{id}", |verb| on(verb, delete))
        .rule(Rule::TypeDelete)
        .status(202),
];

const SHOWN: Schema = closed(&[
    required("id", TEXT),
    required("name", TEXT),
    required("is_public", Schema::TrueOrFalse),
    required("description", Schema::OrNull(&Schema::Any)),
    field("extra_specs", TEXTS),
    field("qos_specs_id", NAME),
    field("os-volume-type-access:is_public", Schema::TrueOrFalse),
]);
const ONE: Schema = closed(&[required("volume_type", SHOWN)]);
const CREATE: Schema = closed(&[required(
    "volume_type",
    closed(&[
        required("name", FILLED_TEXT),
        field("description", NAME),
        field("extra_specs", SPECS),
        field("os-volume-type-access:is_public", BOOLEAN),
    ]),
)]);
const UPDATE: Schema = closed(&[required(
    "volume_type",
    closed(&[
        field("name", Schema::OrNull(&FILLED_TEXT)),
        field("description", NAME),
        field("is_public", BOOLEAN),
        // What openstacksdk sends for it, and with it `openstack volume type set --public`; Cinder knows it in creations only.
        field("os-volume-type-access:is_public", BOOLEAN),
    ]),
)]);
/// Specs whose values may be null.
pub(super) const SPECS: Schema = Schema::Map {
    key: KEY,
    value: &NAME,
    min: 0,
    max: usize::MAX,
};

/// The type that a path names; what is no uuid cannot exist.
pub(super) fn type_id(text: &str) -> Result<FlavorId> {
    text.parse()
        .map_err(|_| Error::not_found(Subject::Flavor, text).into())
}

/// Specs of a body; null is stored as an empty text.
pub(super) fn specs(value: Option<&Value>) -> BTreeMap<String, String> {
    let map = value.and_then(Value::as_object);
    map.into_iter()
        .flatten()
        .map(|(name, value)| {
            let text = value.as_str().unwrap_or_default();
            (name.clone(), text.to_owned())
        })
        .collect()
}

/// Which form of a type is shown: Cinder answers a change without what its extensions add elsewhere.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Made,
    Changed,
    Found,
}

fn view(caller: &Caller, described: Described, form: Form) -> Value {
    let Described { flavor, specs } = described;
    let description = (!flavor.description.is_empty()).then_some(flavor.description);
    let mut view = json!({
        "id": flavor.id,
        "name": flavor.label,
        "description": description,
        "is_public": flavor.is_public,
    });
    let context = &caller.context;
    if context.shows(Rule::AccessTypesExtraSpecs) {
        view["extra_specs"] = json!(flavor_specs::shown(context, specs));
    }
    if form == Form::Found && context.shows(Rule::AccessTypesQosSpecsId) {
        view["qos_specs_id"] = json!(flavor.qos_id);
    }
    if form != Form::Changed && context.shows(Rule::VolumeTypeAccess) {
        view["os-volume-type-access:is_public"] = json!(flavor.is_public);
    }
    view
}

/// `GET /types`
async fn list(
    State(service): State<Service>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    let mut paging = Paging::of(query.as_deref())?;
    let Some(wanted) = wanted(&caller, &mut paging)? else {
        return Ok(Json(json!({"volume_types": []})));
    };
    let page = flavors::page(&service, &caller.context, wanted).await?;
    let links = page
        .items
        .last()
        .filter(|_| paging.leads_on(&page))
        .map(|last| {
            let marker = last.flavor.id.to_string();
            caller.links.next("types", &paging.query, &marker)
        });
    let views: Vec<_> = page
        .items
        .into_iter()
        .map(|described| view(&caller, described, Form::Found))
        .collect();
    let mut body = json!({ "volume_types": views });
    if let Some(links) = links {
        body["volume_type_links"] = json!(links);
    }
    Ok(Json(body))
}

/// Reads a list's query; none when nothing can match.
fn wanted(caller: &Caller, paging: &mut Paging) -> Result<Option<FlavorQuery>> {
    let is_admin = caller.context.is_admin();
    let own = Shown::UsableBy(caller.context.project_id.clone());
    let shown = match paging.take("is_public").as_deref() {
        Some(_) if !is_admin => own,
        None => own,
        Some(text) if text.eq_ignore_ascii_case("none") => Shown::All,
        Some(text) => match filter_values::boolean("is_public", text) {
            Ok(true) => own,
            Ok(false) => Shown::Private,
            Err(_) => {
                let text = format!("Invalid is_public filter [{text}]");
                return Err(Fault::BadRequest(text));
            }
        },
    };
    let mut query = FlavorQuery {
        shown,
        label: None,
        description: None,
        specs: BTreeMap::new(),
        sort: Vec::new(),
        marker: paging.marker_id()?.map(FlavorId),
        offset: paging.offset,
        limit: paging.limit,
    };
    for (key, direction) in &paging.sort {
        query
            .sort
            .push((sort_key(key)?, sort_direction(direction)?));
    }
    // Before 3.52 members had no filters.
    let has_filters = is_admin || caller.version.at_least(52);
    let mut nothing = false;
    let mut unknown = Vec::new();
    for (name, value) in std::mem::take(&mut paging.filters) {
        match name.as_str() {
            _ if !has_filters => {}
            "extra_specs" => query.specs = filter_values::dictionary(&value)?,
            "name" if is_admin => query.label = Some(value),
            "description" if is_admin => query.description = Some(value),
            _ => unknown.push(name),
        }
    }
    if caller.version.at_least(52) {
        nothing |= filter_values::judge_unknown(caller, unknown)?;
    } else {
        nothing |= !unknown.is_empty();
    }
    let sees_all = caller.context.shows(Rule::TypesExtraSpecsReadSensitive);
    let may_ask = |name: &String| sees_all || flavor_specs::VISIBLE.contains(&name.as_str());
    nothing |= !query.specs.keys().all(may_ask);
    Ok((!nothing).then_some(query))
}

fn sort_key(key: &str) -> Result<FlavorSortKey> {
    match key {
        "created_at" => Ok(FlavorSortKey::CreatedAt),
        "name" => Ok(FlavorSortKey::Label),
        "description" => Ok(FlavorSortKey::Description),
        "is_public" => Ok(FlavorSortKey::IsPublic),
        "id" => Ok(FlavorSortKey::Id),
        _ => Err(Fault::BadRequest(
            "Invalid input received: Sort key supplied is invalid.".to_owned(),
        )),
    }
}

/// `GET /types/{id}`
async fn show(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    let found = flavors::describe(&service, &caller.context, type_id(&id)?).await?;
    Ok(one(&caller, found, Form::Found))
}

/// `GET /types/default`
async fn default(State(service): State<Service>, caller: Caller) -> Result<Json<Value>> {
    match flavors::default(&service, &caller.context).await? {
        Some(found) => Ok(one(&caller, found, Form::Found)),
        None => {
            let text = "Default volume type can not be found.";
            Err(Error::new(ErrorKind::NotFound, Subject::Request, text).into())
        }
    }
}

/// `POST /types`
async fn create(
    State(service): State<Service>,
    caller: Caller,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>> {
    let fields = Fields::top(&body).object("volume_type")?;
    let is_public = fields.boolean("os-volume-type-access:is_public")?;
    let new = NewFlavor {
        label: fields.required_text("name")?.to_owned(),
        description: fields.text("description")?.unwrap_or_default().to_owned(),
        is_private: is_public == Some(false),
        specs: specs(fields.value("extra_specs")),
    };
    let made = flavors::make(&service, &caller.context, new).await?;
    Ok(one(&caller, made, Form::Made))
}

/// `PUT /types/{id}`
async fn update(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>> {
    let fields = Fields::top(&body).object("volume_type")?;
    let text = |key| Ok::<_, Fault>(fields.text(key)?.map(str::to_owned));
    let change = FlavorChange {
        label: text("name")?,
        description: text("description")?,
        is_public: match fields.boolean("is_public")? {
            None => fields.boolean("os-volume-type-access:is_public")?,
            said => said,
        },
    };
    if change
        .label
        .as_ref()
        .is_some_and(|label| label.trim().is_empty())
    {
        let text = "Volume type name can not be empty.".to_owned();
        return Err(Fault::BadRequest(text));
    }
    if change.label.is_none() && change.description.is_none() && change.is_public.is_none() {
        let text = "Specify volume type name, description, is_public or a combination thereof.";
        return Err(Fault::BadRequest(text.to_owned()));
    }
    let changed = flavors::update(&service, &caller.context, type_id(&id)?, change).await?;
    Ok(one(&caller, changed, Form::Changed))
}

/// `DELETE /types/{id}`
async fn delete(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    let id = type_id(&id)?;
    let deleted = flavors::delete_unless_default(&service, &caller.context, id).await;
    deleted.map_err(|error| match error.kind {
        ErrorKind::Conflict => Fault::BadRequest(format!(
            "Target volume type is still in use. {}",
            error.public
        )),
        _ => Fault::App(error),
    })?;
    Ok(success::ACCEPTED)
}

fn one(caller: &Caller, described: Described, form: Form) -> Json<Value> {
    Json(json!({"volume_type": view(caller, described, form)}))
}
