//! Transfers of volumes between projects: `/os-volume-transfer`, and `/volume-transfers` of 3.55 with snapshots, history and pages.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::routing::on;
use http::StatusCode;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::super::timestamp;
use super::answers::{LINKS, TRANSFER};
use super::body::{Fields, JsonBody};
use super::caller::Caller;
use super::fault::{Fault, Result, success};
use super::paging::{Paging, sort_direction};
use super::route::Route;
use super::schema::{BOOLEAN, NAME, PAGING, Schema, TEXT, UUID, closed, field, list_of, required};
use crate::app::transfers::{
    self, CreateTransfer, Encrypted, Snapshots, TransferQuery, TransferSortKey,
};
use crate::app::volumes::SortDirection;
use crate::app::{Page, Service};
use crate::auth::rule::Rule;
use crate::config::Secret;
use crate::error::{Error, ErrorKind, Subject};
use crate::model::transfer::Transfer;

/// The microversions of `/volume-transfers`, of the history of a transfer, of pages, and of encrypted volumes.
const NEW_SINCE: u16 = 55;
const HISTORY_SINCE: u16 = 57;
const PAGES_SINCE: u16 = 59;
const ENCRYPTED_SINCE: u16 = 70;

/// The routes that both paths have.
macro_rules! routes {
    ($path:literal, $since:expr, $create:expr, $query:expr, $list:expr, $detail:expr) => {
        &[
            Route::get(concat!("/", $path), |verb| on(verb, $list))
                .rule(Rule::VolumeGetAllTransfers)
                .since($since)
                .query($query)
                .answers(200, &LIST),
            Route::post(concat!("/", $path), |verb| on(verb, create))
                .rule(Rule::VolumeCreateTransfer)
                .since($since)
                .body($create)
                .answers(202, &ONE),
            Route::get(concat!("/", $path, "/detail"), |verb| on(verb, $detail))
                .rule(Rule::VolumeGetAllTransfers)
                .since($since)
                .query($query)
                .answers(200, &LIST),
            Route::get(concat!("/", $path, "/{id}"), |verb| on(verb, show))
                .rule(Rule::VolumeGetTransfer)
                .since($since)
                .answers(200, &ONE),
            Route::delete(concat!("/", $path, "/{id}"), |verb| on(verb, delete))
                .rule(Rule::VolumeDeleteTransfer)
                .since($since)
                .status(202),
            Route::post(concat!("/", $path, "/{id}/accept"), |verb| on(verb, accept))
                .rule(Rule::VolumeAcceptTransfer)
                .since($since)
                .body(&ACCEPT)
                .answers(202, &ONE),
        ]
    };
}

pub(super) const OLD: &[Route] = routes!(
    "os-volume-transfer",
    0,
    &CREATE,
    &[field("all_tenants", BOOLEAN), field("name", TEXT)],
    list_old,
    detail_old
);
pub(super) const NEW: &[Route] = routes!(
    "volume-transfers",
    NEW_SINCE,
    &CREATE_NEW,
    &[
        field("all_tenants", BOOLEAN),
        field("name", TEXT),
        PAGING[0].since(PAGES_SINCE),
        PAGING[1].since(PAGES_SINCE),
        PAGING[2].since(PAGES_SINCE),
        PAGING[3].since(PAGES_SINCE),
        PAGING[4].since(PAGES_SINCE),
        PAGING[5].since(PAGES_SINCE),
    ],
    list_new,
    detail_new
);

const ONE: Schema = closed(&[required("transfer", TRANSFER)]);
const LIST: Schema = closed(&[
    required("transfers", list_of(&TRANSFER)),
    field("transfers_links", LINKS),
]);
const CREATE: Schema = closed(&[required(
    "transfer",
    closed(&[required("volume_id", UUID), field("name", NAME)]),
)]);
const CREATE_NEW: Schema = closed(&[required(
    "transfer",
    closed(&[
        required("volume_id", UUID),
        field("name", NAME),
        field("no_snapshots", BOOLEAN),
    ]),
)]);
const ACCEPT: Schema = closed(&[required(
    "accept",
    closed(&[required("auth_key", Schema::OneOf(&[TEXT, NUMBER]))]),
)]);
const NUMBER: Schema = super::schema::integer(i64::MIN, i64::MAX);

/// `POST /os-volume-transfer`, `POST /volume-transfers`; the only answer with the key.
async fn create(
    State(service): State<Service>,
    caller: Caller,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<Value>)> {
    let fields = Fields::top(&body).object("transfer")?;
    let volume_id = fields.uuid("volume_id")?;
    let volume_id = volume_id.ok_or_else(|| fields.missing("volume_id"))?;
    let stay = fields.boolean("no_snapshots")?.unwrap_or(false);
    let wanted = CreateTransfer {
        volume_id: crate::model::id::VolumeId(volume_id),
        name: fields.text("name")?.unwrap_or_default().trim().to_owned(),
        snapshots: if stay {
            Snapshots::Stay
        } else {
            Snapshots::GoAlong
        },
        encrypted: if caller.version.at_least(ENCRYPTED_SINCE) {
            Encrypted::Allow
        } else {
            Encrypted::Refuse
        },
    };
    let (transfer, key) = transfers::create(&service, &caller.context, wanted).await?;
    let mut view = detailed(&caller, &transfer);
    view.insert("auth_key".to_owned(), json!(key.expose()));
    Ok((success::ACCEPTED, Json(json!({ "transfer": view }))))
}

/// `GET /os-volume-transfer/{id}`, `GET /volume-transfers/{id}`
async fn show(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    let transfer = transfers::get(&service, &caller.context, transfer_id(&id)?).await?;
    Ok(Json(json!({"transfer": detailed(&caller, &transfer)})))
}

/// `DELETE /os-volume-transfer/{id}`, `DELETE /volume-transfers/{id}`
async fn delete(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    transfers::delete(&service, &caller.context, transfer_id(&id)?).await?;
    Ok(success::ACCEPTED)
}

/// `POST /os-volume-transfer/{id}/accept`, `POST /volume-transfers/{id}/accept`
async fn accept(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<Value>)> {
    let fields = Fields::top(&body).object("accept")?;
    let key = match fields.value("auth_key") {
        Some(Value::String(text)) => text.clone(),
        Some(number) => number.to_string(),
        None => return Err(fields.missing("auth_key")),
    };
    let (id, key) = (transfer_id(&id)?, Secret::new(key));
    let transfer = transfers::accept(&service, &caller.context, id, key).await?;
    let view = summary(&caller, &transfer);
    Ok((success::ACCEPTED, Json(json!({ "transfer": view }))))
}

async fn list_old(service: State<Service>, caller: Caller, query: RawQuery) -> Result<Json<Value>> {
    list(service, caller, query, false, summary).await
}

async fn detail_old(
    service: State<Service>,
    caller: Caller,
    query: RawQuery,
) -> Result<Json<Value>> {
    list(service, caller, query, false, detailed).await
}

async fn list_new(service: State<Service>, caller: Caller, query: RawQuery) -> Result<Json<Value>> {
    let pages = caller.version.at_least(PAGES_SINCE);
    list(service, caller, query, pages, summary).await
}

async fn detail_new(
    service: State<Service>,
    caller: Caller,
    query: RawQuery,
) -> Result<Json<Value>> {
    let pages = caller.version.at_least(PAGES_SINCE);
    list(service, caller, query, pages, detailed).await
}

/// A list; where it has no pages it is cut all the same, and sorted from the oldest on.
async fn list(
    State(service): State<Service>,
    caller: Caller,
    RawQuery(query): RawQuery,
    pages: bool,
    view: fn(&Caller, &Transfer) -> Map<String, Value>,
) -> Result<Json<Value>> {
    let mut paging = Paging::of(query.as_deref())?;
    let all_projects = paging
        .take("all_tenants")
        .is_some_and(|word| is_true(&word));
    let name = paging.take("name");
    let name = paging.take("display_name").or(name);
    let volume = paging.take("volume_id");
    let volume_id = volume.as_deref().map(str::parse).transpose();
    let (sort, marker) = if pages {
        (sort(&paging)?, paging.marker_id()?)
    } else {
        (Vec::new(), None)
    };
    let wanted = TransferQuery {
        project_id: None,
        name,
        volume_id: volume_id.unwrap_or(None),
        sort,
        marker,
        offset: paging.offset,
    };
    // What no transfer has matches none; the same is true of a volume's id that is none.
    let matches_none = !paging.filters.is_empty() || volume.is_some() != wanted.volume_id.is_some();
    let page = if matches_none || paging.limit == Some(0) {
        Page {
            items: Vec::new(),
            has_more: false,
            total: None,
        }
    } else {
        let context = &caller.context;
        transfers::list(&service, context, all_projects, wanted, paging.limit).await?
    };
    let views: Vec<_> = page.items.iter().map(|t| view(&caller, t)).collect();
    let mut body = json!({ "transfers": views });
    if let Some(last) = page
        .items
        .last()
        .filter(|_| pages && paging.leads_on(&page))
    {
        let marker = last.id.to_string();
        let next = caller
            .links
            .next("volume-transfers", &paging.query, &marker);
        body["transfers_links"] = json!(next);
    }
    Ok(Json(body))
}

fn sort(paging: &Paging) -> Result<Vec<(TransferSortKey, SortDirection)>> {
    if paging.sort.is_empty() {
        return Ok(vec![(
            TransferSortKey::CreatedAt,
            SortDirection::Descending,
        )]);
    }
    let known = |key: &str| match key {
        "created_at" => Ok(TransferSortKey::CreatedAt),
        "name" | "display_name" => Ok(TransferSortKey::Name),
        "volume_id" => Ok(TransferSortKey::Volume),
        "id" => Ok(TransferSortKey::Id),
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

fn is_true(word: &str) -> bool {
    ["1", "t", "true", "on", "y", "yes"].contains(&word.trim().to_ascii_lowercase().as_str())
}

fn transfer_id(text: &str) -> Result<Uuid> {
    Uuid::parse_str(text).map_err(|_| {
        let sentence = format!("Transfer {text} could not be found.");
        Error::new(ErrorKind::NotFound, Subject::Request, sentence).into()
    })
}

fn summary(caller: &Caller, transfer: &Transfer) -> Map<String, Value> {
    let id = transfer.id.to_string();
    let name = Some(&transfer.name).filter(|name| !name.is_empty());
    let mut view = Map::new();
    view.insert("volume_id".to_owned(), json!(transfer.volume_id));
    view.insert("name".to_owned(), json!(name));
    // Cinder names the old path in both.
    let links = caller.links.item("os-volume-transfer", &id);
    view.insert("links".to_owned(), json!(links));
    view.insert("id".to_owned(), json!(id));
    view
}

fn detailed(caller: &Caller, transfer: &Transfer) -> Map<String, Value> {
    let mut view = summary(caller, transfer);
    let created_at = timestamp::openstack(transfer.created_at_us);
    view.insert("created_at".to_owned(), json!(created_at));
    if caller.version.at_least(NEW_SINCE) {
        let stay = transfer.without_snapshots;
        view.insert("no_snapshots".to_owned(), json!(stay));
    }
    if caller.version.at_least(HISTORY_SINCE) {
        let source = &transfer.source_project_id;
        view.insert("source_project_id".to_owned(), json!(source));
        // An accepted transfer is gone.
        view.insert("destination_project_id".to_owned(), Value::Null);
        view.insert("accepted".to_owned(), json!(false));
    }
    view
}
