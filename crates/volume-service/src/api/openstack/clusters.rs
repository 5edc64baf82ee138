//! Clusters of volume services, of which there are none: workers of a zone take over from each other without being told (3.7).

use axum::Json;
use axum::extract::{Path, State};
use axum::routing::on;
use serde_json::{Value, json};

use super::body::JsonBody;
use super::caller::Caller;
use super::fault::Result;
use super::route::Route;
use super::schema::{
    ANY_OBJECT, FILLED_TEXT, NAME, Schema, TEXT, closed, field, list_of, required,
};
use crate::app::{Service, services};
use crate::auth::rule::Rule;
use crate::error::{Error, ErrorKind, Subject};

/// The microversion that brought them.
const SINCE: u16 = 7;

pub(super) const ROUTES: &[Route] = &[
    Route::get("/clusters", |verb| on(verb, list))
        .rule(Rule::ClustersGetAll)
        .since(SINCE)
        .answers(200, &LISTED)
        .refused(),
    Route::get("/clusters/detail", |verb| on(verb, list))
        .rule(Rule::ClustersGetAll)
        .since(SINCE)
        .answers(200, &LISTED)
        .refused(),
    Route::get("/clusters/{id}", |verb| on(verb, find))
        .rule(Rule::ClustersGet)
        .since(SINCE)
        .query(&[field("binary", TEXT)])
        .refused(),
    Route::put("/clusters/enable", |verb| on(verb, change))
        .rule(Rule::ClustersUpdate)
        .since(SINCE)
        .body(&CHANGE)
        .refused(),
    Route::put("/clusters/disable", |verb| on(verb, change))
        .rule(Rule::ClustersUpdate)
        .since(SINCE)
        .body(&DISABLE)
        .refused(),
];

const LISTED: Schema = closed(&[required("clusters", list_of(&ANY_OBJECT))]);
const CHANGE: Schema = closed(&[required("name", FILLED_TEXT), field("binary", NAME)]);
const DISABLE: Schema = closed(&[
    required("name", FILLED_TEXT),
    field("binary", NAME),
    field("disabled_reason", NAME),
]);

/// `GET /clusters`, `GET /clusters/detail`
async fn list(State(service): State<Service>, caller: Caller) -> Result<Json<Value>> {
    services::list(&service, &caller.context).await?;
    Ok(Json(json!({"clusters": []})))
}

/// `GET /clusters/{name}`
async fn find(
    State(service): State<Service>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<()> {
    services::list(&service, &caller.context).await?;
    Err(missing(&name))
}

/// `PUT /clusters/enable`, `PUT /clusters/disable`
async fn change(
    State(service): State<Service>,
    caller: Caller,
    JsonBody(body): JsonBody,
) -> Result<()> {
    services::list(&service, &caller.context).await?;
    Err(missing(body["name"].as_str().unwrap_or_default()))
}

fn missing(name: &str) -> super::fault::Fault {
    let text = format!("Cluster {name} could not be found.");
    Error::new(ErrorKind::NotFound, Subject::Request, text).into()
}
