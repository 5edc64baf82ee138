//! How volumes of a type are encrypted, and what compute services are told of a volume's encryption.

use axum::Json;
use axum::extract::{Path, State};
use axum::routing::on;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::super::timestamp;
use super::answers::{ENCRYPTION, VOLUME_ENCRYPTION};
use super::body::{Fields, JsonBody};
use super::caller::Caller;
use super::fault::{Fault, Result, success};
use super::route::Route;
use super::schema::{
    ANY_OBJECT, Field, INTEGER_MAX, NAME, Schema, TEXT, closed, digits, field, open, required,
    words,
};
use super::volume_types::type_id;
use super::volumes::volume_id;
use crate::app::flavor_encryption::{self, WantedEncryption};
use crate::app::{Service, volumes};
use crate::auth::rule::Rule;
use crate::error::{Error, ErrorKind, Subject};
use crate::model::flavor::{ControlLocation, Encryption};
use crate::model::id::FlavorId;

pub(super) const ROUTES: &[Route] = &[
    Route::get("/types/{id}/encryption", |verb| on(verb, list))
        .rule(Rule::VolumeTypeEncryptionGet)
        .answers(200, &ENCRYPTION),
    Route::post("/types/{id}/encryption", |verb| on(verb, create))
        .rule(Rule::VolumeTypeEncryptionCreate)
        .body(&CREATE)
        .answers(200, &ECHO),
    Route::get("/types/{id}/encryption/{key}", |verb| on(verb, show))
        .rule(Rule::VolumeTypeEncryptionGet)
        .answers(200, &ENCRYPTION),
    Route::put("/types/{id}/encryption/{key}", |verb| on(verb, update))
        .rule(Rule::VolumeTypeEncryptionUpdate)
        .body(&UPDATE)
        .answers(200, &ECHO),
    Route::delete("/types/{id}/encryption/{key}", |verb| on(verb, remove))
        .rule(Rule::VolumeTypeEncryptionDelete)
        .status(202),
    Route::get("/volumes/{id}/encryption", |verb| on(verb, of_volume))
        .rule(Rule::VolumeEncryptionMetadata)
        .answers(200, &VOLUME_ENCRYPTION),
    Route::get("/volumes/{id}/encryption/{key}", |verb| {
        on(verb, item_of_volume)
    })
    .rule(Rule::VolumeEncryptionMetadata),
];

const LOCATION: Schema = words(&["front-end", "back-end"]);
const KEY_SIZE: Field = field("key_size", Schema::OrNull(&digits(0, INTEGER_MAX)));
const CREATE: Schema = closed(&[required(
    "encryption",
    open(&[
        required("provider", TEXT),
        required("control_location", LOCATION),
        field("cipher", NAME),
        KEY_SIZE,
    ]),
)]);
const UPDATE: Schema = closed(&[required(
    "encryption",
    open(&[
        field("provider", TEXT),
        field("control_location", LOCATION),
        field("cipher", NAME),
        KEY_SIZE,
    ]),
)]);
const ECHO: Schema = closed(&[required("encryption", ANY_OBJECT)]);

fn wanted(body: &Map<String, Value>) -> Result<WantedEncryption> {
    let fields = Fields::top(body).object("encryption")?;
    let text = |key| Ok::<_, Fault>(fields.text(key)?.map(str::to_owned));
    let location = fields.text("control_location")?;
    Ok(WantedEncryption {
        provider: text("provider")?,
        control_location: location.and_then(ControlLocation::parse),
        cipher: text("cipher")?,
        key_size: fields.value("key_size").and_then(whole),
    })
}

fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::String(digits) => digits.trim().parse().ok(),
        other => other.as_i64(),
    }
}

/// What was sent, with the key's size as a number, which is what Cinder answers.
fn echo(mut body: Map<String, Value>) -> Json<Value> {
    let sent = body.get_mut("encryption").and_then(Value::as_object_mut);
    if let Some(size) = sent.and_then(|sent| sent.get_mut("key_size")) {
        *size = json!(whole(size));
    }
    Json(Value::Object(body))
}

fn view(id: FlavorId, encryption: Encryption) -> Map<String, Value> {
    let was_changed = encryption.updated_at_us != encryption.created_at_us;
    let updated_at = was_changed.then(|| timestamp::openstack(encryption.updated_at_us));
    let view = [
        ("volume_type_id", json!(id)),
        ("encryption_id", json!(encryption.id)),
        ("provider", json!(encryption.provider)),
        (
            "control_location",
            json!(encryption.control_location.as_str()),
        ),
        ("cipher", json!(encryption.cipher)),
        ("key_size", json!(encryption.key_size)),
        (
            "created_at",
            json!(timestamp::openstack(encryption.created_at_us)),
        ),
        ("updated_at", json!(updated_at)),
        ("deleted", json!(false)),
        ("deleted_at", Value::Null),
    ];
    view.into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

/// `GET /types/{id}/encryption`: Cinder answers an empty object for a type without encryption.
async fn list(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    let id = type_id(&id)?;
    let found = flavor_encryption::get(&service, &caller.context, id).await?;
    let view = found.map(|encryption| view(id, encryption));
    Ok(Json(Value::Object(view.unwrap_or_default())))
}

/// `GET /types/{id}/encryption/{key}`
async fn show(
    State(service): State<Service>,
    caller: Caller,
    Path((id, key)): Path<(String, String)>,
) -> Result<Json<Value>> {
    let id = type_id(&id)?;
    let found = flavor_encryption::get(&service, &caller.context, id).await?;
    let mut view = found.map_or_else(Map::new, |encryption| view(id, encryption));
    let value = view
        .remove(&key)
        .ok_or_else(|| flavor_encryption::missing(id))?;
    let one: Map<String, Value> = [(key, value)].into_iter().collect();
    Ok(Json(Value::Object(one)))
}

/// `POST /types/{id}/encryption`, which answers what it was sent, and the ids.
async fn create(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
    JsonBody(mut body): JsonBody,
) -> Result<Json<Value>> {
    let (id, wanted) = (type_id(&id)?, wanted(&body)?);
    let made = flavor_encryption::create(&service, &caller.context, id, wanted).await?;
    if let Some(sent) = body.get_mut("encryption").and_then(Value::as_object_mut) {
        sent.insert("volume_type_id".to_owned(), json!(id));
        sent.insert("encryption_id".to_owned(), json!(made.id));
    }
    Ok(echo(body))
}

/// `PUT /types/{id}/encryption/{encryption_id}`; a type has one at most, so that the second id says nothing.
async fn update(
    State(service): State<Service>,
    caller: Caller,
    Path((id, _)): Path<(String, String)>,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>> {
    let wanted = wanted(&body)?;
    flavor_encryption::update(&service, &caller.context, type_id(&id)?, wanted).await?;
    Ok(echo(body))
}

/// `DELETE /types/{id}/encryption/{encryption_id}`
async fn remove(
    State(service): State<Service>,
    caller: Caller,
    Path((id, _)): Path<(String, String)>,
) -> Result<StatusCode> {
    flavor_encryption::remove(&service, &caller.context, type_id(&id)?).await?;
    Ok(success::ACCEPTED)
}

/// What is told of a volume's encryption; the key's id alone where there is none.
async fn told(service: &Service, caller: &Caller, id: &str) -> Result<Map<String, Value>> {
    let volume = volumes::get(service, &caller.context, volume_id(id)?).await?;
    let found = flavor_encryption::of_volume(service, &volume).await?;
    let mut told = Map::new();
    let key_id = volume.traits.encryption_key_id;
    told.insert("encryption_key_id".to_owned(), json!(key_id));
    if let Some(encryption) = found {
        let mut view = view(volume.flavor_id, encryption);
        for key in ["control_location", "cipher", "key_size", "provider"] {
            told.insert(key.to_owned(), view.remove(key).unwrap_or_default());
        }
    }
    Ok(told)
}

/// `GET /volumes/{id}/encryption`, which compute services ask before they attach.
async fn of_volume(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    Ok(Json(Value::Object(told(&service, &caller, &id).await?)))
}

/// `GET /volumes/{id}/encryption/{key}`, which answers the bare text.
async fn item_of_volume(
    State(service): State<Service>,
    caller: Caller,
    Path((id, key)): Path<(String, String)>,
) -> Result<String> {
    match told(&service, &caller, &id).await?.remove(&key) {
        Some(Value::String(text)) => Ok(text),
        Some(Value::Null) => Ok(String::new()),
        Some(value) => Ok(value.to_string()),
        None => {
            let text = format!("Volume {id} has no encryption metadata with key {key}.");
            Err(Error::new(ErrorKind::NotFound, Subject::Request, text).into())
        }
    }
}
