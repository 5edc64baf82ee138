//! QoS specs, and the volume types that refer to them.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::routing::on;
use http::StatusCode;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::answers::{LINKS, QOS_ASSOCIATION, TEXTS, TEXTS_AS_SENT};
use super::body::{Fields, JsonBody};
use super::caller::Caller;
use super::fault::{Fault, Result, success};
use super::filter_values;
use super::paging::{Paging, sort_direction};
use super::route::Route;
use super::schema::{
    BOOLEAN, FILLED_TEXT, PAGING, Schema, TEXT, closed, field, list_of, open, required,
};
use super::volume_types::{SPECS, specs, type_id};
use crate::app::Service;
use crate::app::qos_specs::{self, QosQuery, QosSortKey, WhileInUse};
use crate::auth::rule::Rule;
use crate::error::{Error, ErrorKind, Subject};
use crate::model::id::FlavorId;
use crate::model::qos_specs::{Consumer, QosSpecs};

pub(super) const ROUTES: &[Route] = &[
    Route::get("/qos-specs", |verb| on(verb, list))
        .rule(Rule::QosSpecsManageGetAll)
        .query(&[
            PAGING[0],
            PAGING[1],
            PAGING[2],
            PAGING[3],
            PAGING[4],
            PAGING[5],
            field("id", TEXT),
            field("name", TEXT),
            field("consumer", TEXT),
        ])
        .answers(
            200,
            &closed(&[
                required("qos_specs", list_of(&SHOWN)),
                field("qos_specs_links", LINKS),
            ]),
        ),
    Route::post("/qos-specs", |verb| on(verb, create))
        .rule(Rule::QosSpecsManageCreate)
        .body(&CREATE)
        .answers(200, &ONE),
    Route::get("/qos-specs/{id}", |verb| on(verb, show))
        .rule(Rule::QosSpecsManageGet)
        .answers(200, &ONE),
    Route::put("/qos-specs/{id}", |verb| on(verb, update))
        .rule(Rule::QosSpecsManageUpdate)
        .body(&SET)
        .answers(200, &closed(&[required("qos_specs", TEXTS_AS_SENT)])),
    Route::delete("/qos-specs/{id}", |verb| on(verb, delete))
        .rule(Rule::QosSpecsManageDelete)
        .query(&[field("force", BOOLEAN)])
        .status(202),
    Route::put("/qos-specs/{id}/delete_keys", |verb| on(verb, delete_keys))
        .rule(Rule::QosSpecsManageDelete)
        .body(&KEYS)
        .status(202),
    Route::get("/qos-specs/{id}/associations", |verb| {
        on(verb, associations)
    })
    .rule(Rule::QosSpecsManageGetAll)
    .answers(
        200,
        &closed(&[required("qos_associations", list_of(&QOS_ASSOCIATION))]),
    ),
    Route::get("/qos-specs/{id}/associate", |verb| on(verb, associate))
        .rule(Rule::QosSpecsManageUpdate)
        .query(&[field("vol_type_id", TEXT)])
        .status(202),
    Route::get("/qos-specs/{id}/disassociate", |verb| {
        on(verb, disassociate)
    })
    .rule(Rule::QosSpecsManageUpdate)
    .query(&[field("vol_type_id", TEXT)])
    .status(202),
    Route::get("/qos-specs/{id}/disassociate_all", |verb| {
        on(verb, disassociate_all)
    })
    .rule(Rule::QosSpecsManageUpdate)
    .status(202),
];

const SHOWN: Schema = closed(&[
    required("id", TEXT),
    required("name", TEXT),
    required("consumer", TEXT),
    required("specs", TEXTS),
]);
const ONE: Schema = closed(&[required("qos_specs", SHOWN), required("links", LINKS)]);
/// Other fields are the figures themselves.
const CREATE: Schema = closed(&[required(
    "qos_specs",
    open(&[required("name", FILLED_TEXT)]),
)]);
const SET: Schema = closed(&[required("qos_specs", SPECS)]);
const KEYS: Schema = closed(&[required("keys", list_of(&FILLED_TEXT))]);

/// The QoS specs that a path names; what is no uuid cannot exist.
fn qos_id(text: &str) -> Result<Uuid> {
    Uuid::parse_str(text).map_err(|_| {
        let text = format!("No such QoS spec {text}.");
        Error::new(ErrorKind::NotFound, Subject::Request, text).into()
    })
}

fn view(qos: &QosSpecs) -> Value {
    json!({
        "id": qos.id,
        "name": qos.name,
        "consumer": qos.consumer.as_str(),
        "specs": qos.specs,
    })
}

fn one(caller: &Caller, qos: &QosSpecs) -> Json<Value> {
    let links = caller.links.item("qos-specs", &qos.id.to_string());
    Json(json!({"qos_specs": view(qos), "links": links}))
}

/// Takes the consumer out of figures.
fn take_consumer(figures: &mut BTreeMap<String, String>) -> Result<Option<Consumer>> {
    let Some(word) = figures.remove("consumer") else {
        return Ok(None);
    };
    let known = Consumer::parse(&word);
    known.map(Some).ok_or_else(|| {
        let words = Consumer::ALL.map(Consumer::as_str).join(", ");
        Fault::BadRequest(format!(
            "Invalid qos specs: Valid consumer of QoS specs are: {words}"
        ))
    })
}

/// `GET /qos-specs`
async fn list(
    State(service): State<Service>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    let mut paging = Paging::of(query.as_deref())?;
    let mut wanted = QosQuery {
        name: paging.take("name"),
        marker: paging.marker_id()?,
        offset: paging.offset,
        limit: paging.limit,
        ..QosQuery::default()
    };
    let mut nothing = false;
    if let Some(text) = paging.take("id") {
        wanted.id = text.parse().ok();
        nothing |= wanted.id.is_none();
    }
    if let Some(word) = paging.take("consumer") {
        wanted.consumer = Consumer::parse(&word);
        nothing |= wanted.consumer.is_none();
    }
    for (key, direction) in &paging.sort {
        wanted
            .sort
            .push((sort_key(key)?, sort_direction(direction)?));
    }
    let page = qos_specs::list(&service, &caller.context, wanted).await?;
    let found: &[QosSpecs] = if nothing { &[] } else { &page.items };
    let views: Vec<_> = found.iter().map(view).collect();
    let mut body = json!({ "qos_specs": views });
    if let Some(last) = found.last().filter(|_| paging.leads_on(&page)) {
        let marker = last.id.to_string();
        body["qos_specs_links"] = json!(caller.links.next("qos-specs", &paging.query, &marker));
    }
    Ok(Json(body))
}

fn sort_key(key: &str) -> Result<QosSortKey> {
    match key {
        "created_at" => Ok(QosSortKey::CreatedAt),
        "name" => Ok(QosSortKey::Name),
        "consumer" => Ok(QosSortKey::Consumer),
        "id" => Ok(QosSortKey::Id),
        _ => Err(Fault::BadRequest(
            "Invalid input received: Sort key supplied is invalid.".to_owned(),
        )),
    }
}

/// `POST /qos-specs`
async fn create(
    State(service): State<Service>,
    caller: Caller,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>> {
    let fields = Fields::top(&body).object("qos_specs")?;
    let name = fields.required_text("name")?.trim().to_owned();
    let sent = body.get("qos_specs").and_then(Value::as_object);
    let mut figures = figures(sent.into_iter().flatten())?;
    figures.remove("name");
    let consumer = take_consumer(&mut figures)?.unwrap_or(Consumer::BackEnd);
    let made = qos_specs::create(&service, &caller.context, &name, consumer, figures).await?;
    Ok(one(&caller, &made))
}

/// Figures of a creation, which Cinder's schema leaves to this check.
fn figures<'a>(
    sent: impl Iterator<Item = (&'a String, &'a Value)>,
) -> Result<BTreeMap<String, String>> {
    sent.map(|(key, value)| match value {
        Value::String(text) => Ok((key.clone(), text.clone())),
        _ => Err(Fault::BadRequest(format!(
            "Invalid input received: {key} is not a string or unicode"
        ))),
    })
    .collect()
}

/// `GET /qos-specs/{id}`
async fn show(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    let found = qos_specs::get(&service, &caller.context, qos_id(&id)?).await?;
    Ok(one(&caller, &found))
}

/// `PUT /qos-specs/{id}`, which answers what it was sent.
async fn update(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>> {
    let mut figures = specs(Fields::top(&body).value("qos_specs"));
    let consumer = take_consumer(&mut figures)?;
    qos_specs::update(&service, &caller.context, qos_id(&id)?, consumer, figures).await?;
    Ok(Json(Value::Object(body)))
}

/// `DELETE /qos-specs/{id}`
async fn delete(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<StatusCode> {
    let force = match parameter(query.as_deref(), "force") {
        Some(text) => filter_values::boolean("force", &text)?,
        None => false,
    };
    let in_use = if force {
        WhileInUse::LeaveFlavors
    } else {
        WhileInUse::Refuse
    };
    qos_specs::remove(&service, &caller.context, qos_id(&id)?, in_use).await?;
    Ok(success::ACCEPTED)
}

/// `PUT /qos-specs/{id}/delete_keys`
async fn delete_keys(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<StatusCode> {
    let names = key_names(&body);
    qos_specs::remove_keys(&service, &caller.context, qos_id(&id)?, names).await?;
    Ok(success::ACCEPTED)
}

fn key_names(body: &Map<String, Value>) -> Vec<String> {
    let sent = body.get("keys").and_then(Value::as_array);
    let texts = sent.into_iter().flatten().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

/// `GET /qos-specs/{id}/associations`
async fn associations(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    let found = qos_specs::flavors_of(&service, &caller.context, qos_id(&id)?).await?;
    let views: Vec<_> = found
        .iter()
        .map(|(id, name)| json!({"association_type": "volume_type", "id": id, "name": name}))
        .collect();
    Ok(Json(json!({ "qos_associations": views })))
}

/// `GET /qos-specs/{id}/associate`, which changes something all the same.
async fn associate(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<StatusCode> {
    let flavor = flavor_in(query.as_deref())?;
    qos_specs::associate(&service, &caller.context, qos_id(&id)?, flavor).await?;
    Ok(success::ACCEPTED)
}

/// `GET /qos-specs/{id}/disassociate`, which changes something all the same.
async fn disassociate(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<StatusCode> {
    let flavor = flavor_in(query.as_deref())?;
    qos_specs::disassociate(&service, &caller.context, qos_id(&id)?, flavor).await?;
    Ok(success::ACCEPTED)
}

/// `GET /qos-specs/{id}/disassociate_all`, which changes something all the same.
async fn disassociate_all(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    qos_specs::disassociate_all(&service, &caller.context, qos_id(&id)?).await?;
    Ok(success::ACCEPTED)
}

fn flavor_in(query: Option<&str>) -> Result<FlavorId> {
    match parameter(query, "vol_type_id") {
        Some(text) => type_id(&text),
        None => {
            let text = "Volume Type id must not be None.".to_owned();
            Err(Fault::BadRequest(text))
        }
    }
}

fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .find(|(key, value)| key == name && !value.is_empty())
        .map(|(_, value)| value.into_owned())
}
