//! User messages (3.3): why something was refused or failed.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::routing::on;
use http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::timestamp;
use super::answers::{LINKS, MESSAGE};
use super::caller::Caller;
use super::fault::{Fault, Result, success};
use super::filter_values;
use super::paging::{Paging, sort_direction};
use super::route::Route;
use super::schema::{PAGING, TEXT, closed, field, list_of, required};
use crate::app::messages::{self, Message, MessageQuery, MessageSortKey};
use crate::app::volumes::SortDirection;
use crate::app::{Page, Service};
use crate::auth::rule::Rule;
use crate::error::{Error, Subject};

const SINCE: u16 = 3;
/// Pages, sorting and filters; refusals of other filters.
const PAGES_SINCE: u16 = 5;
const FILTERS_SINCE: u16 = 31;
const LEVEL: &str = "ERROR";

pub(super) const ROUTES: &[Route] = &[
    Route::get("/messages", |verb| on(verb, list))
        .rule(Rule::MessageGetAll)
        .since(SINCE)
        .query(&[
            PAGING[0].since(PAGES_SINCE),
            PAGING[1].since(PAGES_SINCE),
            PAGING[2].since(PAGES_SINCE),
            PAGING[3].since(PAGES_SINCE),
            PAGING[4].since(PAGES_SINCE),
            PAGING[5].since(PAGES_SINCE),
            field("resource_uuid", TEXT).since(PAGES_SINCE),
            field("resource_type", TEXT).since(PAGES_SINCE),
            field("event_id", TEXT).since(PAGES_SINCE),
            field("request_id", TEXT).since(PAGES_SINCE),
            field("message_level", TEXT).since(PAGES_SINCE),
        ])
        .answers(
            200,
            &closed(&[
                required("messages", list_of(&MESSAGE)),
                field("messages_links", LINKS),
            ]),
        ),
    Route::get("/messages/{id}", |verb| on(verb, show))
        .rule(Rule::MessageGet)
        .since(SINCE)
        .answers(200, &closed(&[required("message", MESSAGE)])),
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
        "event_id": message.event(),
        "user_message": message.text,
        "message_level": LEVEL,
        "created_at": timestamp::openstack(message.created_at_us),
        "guaranteed_until": timestamp::openstack(message.expires_at_us),
        "request_id": message.request_id,
        "resource_type": message.resource_type,
        "resource_uuid": message.resource_id,
    })
}

/// `GET /messages`, newest first; sorting, paging and filters since 3.5.
pub(super) async fn list(
    State(service): State<Service>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    // What is not known yet is passed over.
    let query = query.filter(|_| caller.version.at_least(PAGES_SINCE));
    let mut paging = Paging::of(query.as_deref())?;
    // All messages tell of errors.
    let level = paging.take("message_level");
    let mut matches_none = level.is_some_and(|level| !level.eq_ignore_ascii_case(LEVEL));
    let wanted = MessageQuery {
        project_id: match caller.context.is_admin() {
            true => paging.take("project_id"),
            false => None,
        },
        resource_id: paging.take("resource_uuid"),
        resource_type: paging.take("resource_type"),
        event: paging.take("event_id"),
        request_id: paging.take("request_id"),
        sort: sort(&paging)?,
        marker: paging.marker_id()?,
        offset: paging.offset,
        limit: paging.limit,
    };
    if caller.version.at_least(FILTERS_SINCE) {
        let unknown = std::mem::take(&mut paging.filters);
        let names = unknown.into_iter().map(|(name, _)| name).collect();
        matches_none |= filter_values::judge_unknown(&caller, names)?;
    }
    let page = if matches_none || paging.limit == Some(0) {
        Page {
            items: Vec::new(),
            has_more: false,
            total: None,
        }
    } else {
        messages::list(&service, &caller.context, wanted).await?
    };
    let views: Vec<_> = page.items.iter().map(|m| view(&caller, m)).collect();
    let mut body = json!({ "messages": views });
    if paging.leads_on(&page)
        && let Some(last) = page.items.last()
    {
        let next = caller
            .links
            .next("messages", &paging.query, &last.id.to_string());
        body["messages_links"] = json!(next);
    }
    Ok(Json(body))
}

fn sort(paging: &Paging) -> Result<Vec<(MessageSortKey, SortDirection)>> {
    let known = |key: &str| match key {
        "created_at" => Ok(MessageSortKey::CreatedAt),
        "guaranteed_until" | "expires_at" => Ok(MessageSortKey::ExpiresAt),
        "resource_type" => Ok(MessageSortKey::ResourceType),
        "resource_uuid" => Ok(MessageSortKey::Resource),
        "request_id" => Ok(MessageSortKey::Request),
        "event_id" => Ok(MessageSortKey::Event),
        "id" => Ok(MessageSortKey::Id),
        _ => Err(Fault::BadRequest(
            "Invalid input received: Sort key supplied is invalid.".to_owned(),
        )),
    };
    paging
        .sort
        .iter()
        .map(|(key, direction)| Ok((known(key)?, sort_direction(direction)?)))
        .collect()
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
