//! User messages (3.3): why something was refused or failed.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::routing::on;
use http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::timestamp;
use super::caller::Caller;
use super::fault::{Fault, Result, success};
use super::paging::Paging;
use super::route::Route;
use super::schema::{ANY_OBJECT, TEXT, closed, digits, field, list_of, open, required};
use crate::app::messages::{self, Message};
use crate::app::{Page, Service};
use crate::auth::rule::Rule;
use crate::error::{Error, Subject};

const SINCE: u16 = 3;

pub(super) const ROUTES: &[Route] = &[
    Route::get("/messages", |verb| on(verb, list))
        .rule(Rule::MessageGetAll)
        .since(SINCE)
        .query(&[
            field("limit", digits(0, i64::MAX)).since(5),
            field("marker", TEXT).since(5),
            field("resource_uuid", TEXT).since(5),
        ])
        .answers(200, &open(&[required("messages", list_of(&ANY_OBJECT))])),
    Route::get("/messages/{id}", |verb| on(verb, show))
        .rule(Rule::MessageGet)
        .since(SINCE)
        .answers(200, &closed(&[required("message", ANY_OBJECT)])),
    Route::delete("/messages/{id}", |verb| on(verb, delete))
        .rule(Rule::MessageDelete)
        .since(SINCE)
        .status(204),
];

fn message_id(text: &str) -> Result<Uuid> {
    Uuid::parse_str(text).map_err(|_| Error::not_found(Subject::Message, text).into())
}

fn view(caller: &Caller, message: &Message) -> Value {
    let id = message.id.to_string();
    json!({
        "links": caller.links.item("messages", &id),
        "id": id,
        "event_id": format!(
            "VOLUME_{}_{}_{}",
            message.resource_type, message.action_id, message.detail_id
        ),
        "user_message": message.text,
        "message_level": "ERROR",
        "created_at": timestamp::openstack(message.created_at_us),
        "guaranteed_until": timestamp::openstack(message.expires_at_us),
        "request_id": message.request_id,
        "resource_type": message.resource_type,
        "resource_uuid": message.resource_id,
    })
}

/// `GET /messages`, newest first; paging and the `resource_uuid` filter since 3.5.
pub(super) async fn list(
    State(service): State<Service>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    let mut paging = Paging::of(query.as_deref())?;
    let resource = paging.take("resource_uuid");
    let marker = paging.marker_id()?;
    if caller.version.at_least(31)
        && let Some((name, _)) = paging.filters.first()
    {
        return Err(Fault::BadRequest(format!(
            "Invalid filters {name} are found in query options."
        )));
    }
    let page = if paging.limit == Some(0) {
        Page {
            items: Vec::new(),
            has_more: false,
            total: None,
        }
    } else {
        let context = &caller.context;
        messages::list(&service, context, resource.as_deref(), marker, paging.limit).await?
    };
    let views: Vec<_> = page.items.iter().map(|m| view(&caller, m)).collect();
    let mut body = json!({ "messages": views });
    if page.has_more
        && let Some(last) = page.items.last()
    {
        let next = caller
            .links
            .next("messages", &paging.query, &last.id.to_string());
        body["messages_links"] = json!(next);
    }
    Ok(Json(body))
}

/// `GET /messages/{id}`
pub(super) async fn show(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    let message = messages::get(&service, &caller.context, message_id(&id)?).await?;
    Ok(Json(json!({"message": view(&caller, &message)})))
}

/// `DELETE /messages/{id}`
pub(super) async fn delete(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    messages::delete(&service, &caller.context, message_id(&id)?).await?;
    Ok(success::NO_CONTENT)
}
