//! The log levels of services (3.32).

use axum::Json;
use axum::extract::State;
use axum::routing::on;
use http::StatusCode;
use serde_json::{Value, json};

use super::body::{Fields, JsonBody};
use super::caller::Caller;
use super::fault::{Result, success};
use super::route::Route;
use super::schema::{ANY_OBJECT, NAME, Schema, closed, field, list_of, required, words};
use crate::app::Service;
use crate::app::log_levels::{self, API_BINARY, BACKUP_BINARY, LogLevel, ServiceLevels, WhichLogs};
use crate::app::services::SCHEDULER_BINARY;
use crate::auth::rule::Rule;
use crate::db::service_states::VOLUME_BINARY;

/// The microversion that brought them.
const SINCE: u16 = 32;

pub(super) const ROUTES: &[Route] = &[
    Route::put("/os-services/get-log", |verb| on(verb, get))
        .rule(Rule::ServicesUpdate)
        .since(SINCE)
        .body(&closed(&[
            field("binary", BINARY),
            field("server", NAME),
            field("prefix", NAME),
        ]))
        .answers(
            200,
            &closed(&[required("log_levels", list_of(&ANY_OBJECT))]),
        ),
    Route::put("/os-services/set-log", |verb| on(verb, set))
        .rule(Rule::ServicesUpdate)
        .since(SINCE)
        .body(&closed(&[
            field("binary", BINARY),
            field("server", NAME),
            field("prefix", NAME),
            field("level", NAME),
        ]))
        .status(202),
];

const BINARY: Schema = words(&[
    SCHEDULER_BINARY,
    VOLUME_BINARY,
    BACKUP_BINARY,
    API_BINARY,
    "",
    "*",
]);

/// `PUT /os-services/get-log`
async fn get(
    State(service): State<Service>,
    caller: Caller,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>> {
    let which = which(Fields::top(&body))?;
    let found = log_levels::get(&service, &caller.context, which).await?;
    let views: Vec<_> = found.iter().map(view).collect();
    Ok(Json(json!({ "log_levels": views })))
}

fn view(of: &ServiceLevels) -> Value {
    let levels: serde_json::Map<String, Value> = of
        .levels
        .iter()
        .map(|(part, level)| (part.clone(), json!(level.as_str())))
        .collect();
    json!({"host": of.host, "binary": of.binary, "levels": levels})
}

/// `PUT /os-services/set-log`
async fn set(
    State(service): State<Service>,
    caller: Caller,
    JsonBody(body): JsonBody,
) -> Result<StatusCode> {
    let fields = Fields::top(&body);
    let level = LogLevel::parse(fields.text("level")?.unwrap_or_default())?;
    log_levels::set(&service, &caller.context, which(fields)?, level).await?;
    Ok(success::ACCEPTED)
}

fn which(fields: Fields<'_>) -> Result<WhichLogs> {
    let named = |name| -> Result<Option<String>> {
        let text = fields.text(name)?.filter(|text| !text.is_empty());
        Ok(text.map(str::to_owned))
    };
    Ok(WhichLogs {
        binary: named("binary")?.filter(|binary| binary != "*"),
        server: named("server")?,
        prefix: named("prefix")?.unwrap_or_default(),
    })
}
