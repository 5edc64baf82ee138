//! Which volumes a list shows: filters as Cinder's default `resource_filters` allow them, paging, sorting.

use axum::routing::on;
use serde_json::{Value, json};

use super::answers::RESOURCE_FILTERS;
use super::caller::Caller;
use super::fault::{Fault, Result};
use super::filter_values;
use super::paging::Paging;
use super::route::Route;
use super::schema::{BOOLEAN, Field, PAGING, TEXT, closed, field, list_of, required};
use super::snapshot_list;
use super::volume_filters::{self, Known};
use crate::app::volumes::VolumeQuery;
use crate::model::id::VolumeId;
use crate::model::volume::VolumeStatus;

/// The filters that are carried out, in the order in which `resource_filters` names them.
const FILTERS: [&str; 12] = [
    "name",
    "status",
    "metadata",
    "bootable",
    "migration_status",
    "availability_zone",
    "group_id",
    "size",
    "created_at",
    "updated_at",
    "consumes_quota",
    "volume_type",
];

pub(super) const ROUTES: &[Route] =
    &[
        Route::get("/resource_filters", |verb| on(verb, resource_filters))
            .since(33)
            .answers(
                200,
                &closed(&[required("resource_filters", list_of(&RESOURCE_FILTERS))]),
            ),
    ];

/// What the query of a list may hold.
pub(super) const LIST_QUERY: [Field; 28] = [
    PAGING[0],
    PAGING[1],
    PAGING[2],
    PAGING[3],
    PAGING[4],
    PAGING[5],
    field("with_count", BOOLEAN).since(45),
    field("all_tenants", BOOLEAN),
    field("project_id", TEXT),
    field("name", TEXT),
    field("name~", TEXT).since(34),
    field("status", TEXT),
    field("metadata", TEXT),
    field("bootable", BOOLEAN),
    field("migration_status", TEXT),
    field("availability_zone", TEXT),
    field("group_id", TEXT).since(10),
    field("size", TEXT),
    field("consumes_quota", BOOLEAN).since(65),
    field("volume_type", TEXT),
    field("created_at", TEXT).since(60),
    field("updated_at", TEXT).since(60),
    field("glance_metadata", TEXT).since(4),
    field("user_id", TEXT),
    field("host", TEXT),
    field("snapshot_id", TEXT),
    field("source_volid", TEXT),
    field("volume_type_id", TEXT),
];

/// What a list request comes to.
pub(super) enum Selection {
    /// Ask for these.
    Query(VolumeQuery),
    /// Nothing can match, as with a group that is none.
    Nothing,
}

/// Reads a list's query.
pub(super) fn read(caller: &Caller, paging: &mut Paging) -> Result<Selection> {
    let mut query = VolumeQuery {
        sort: paging.volume_sort()?,
        limit: paging.limit,
        marker: paging.marker_id()?.map(VolumeId),
        offset: paging.offset,
        ..VolumeQuery::default()
    };
    query.with_total = filter_values::with_count(caller, paging)?;
    (query.all_projects, query.project_id) = filter_values::projects(caller, paging)?;

    let mut nothing = false;
    let mut unknown = Vec::new();
    for (name, value) in std::mem::take(&mut paging.filters) {
        match name.as_str() {
            "name" => query.name = Some(value),
            "status" => match VolumeStatus::parse(&value.to_lowercase()) {
                Some(status) => query.statuses = vec![status],
                None => nothing = true,
            },
            "metadata" => query.metadata = filter_values::dictionary(&value)?,
            "bootable" => query.bootable = Some(bootable(caller, &value)?),
            "availability_zone" => query.zone = Some(value),
            "size" => match value.parse() {
                Ok(size) => query.size_gib = Some(size),
                Err(_) => nothing = true,
            },
            "volume_type" | "volume_type_id" => query.flavor = Some(value),
            "consumes_quota" if caller.version.at_least(65) => {
                nothing |= !filter_values::boolean("consumes_quota", &value)?;
            }
            "migration_status" => query.narrowing.migration_status = Some(value),
            "group_id" if caller.version.at_least(10) => match value.parse() {
                Ok(id) => query.narrowing.group_id = Some(id),
                Err(_) => nothing = true,
            },
            "created_at" | "updated_at" if caller.version.at_least(60) => {
                let bounds = volume_filters::times(&name, &value)?;
                query.narrowing.times.extend(bounds);
            }
            // Before, they filter nothing.
            "created_at" | "updated_at" | "group_id" => {}
            _ if caller.context.is_admin() => match volume_filters::of_administrators(
                caller,
                &name,
                &value,
                &mut query.narrowing,
            )? {
                Known::Taken => {}
                Known::Nothing => nothing = true,
                Known::Not => unknown.push(name),
            },
            _ => unknown.push(name),
        }
    }
    nothing |= filter_values::judge_unknown(caller, unknown)?;
    Ok(if nothing {
        Selection::Nothing
    } else {
        Selection::Query(query)
    })
}

/// From 3.2 on only booleans are understood; before, everything is true that is not `false`.
fn bootable(caller: &Caller, text: &str) -> Result<bool> {
    if caller.version.at_least(2) {
        filter_values::boolean("bootable", text).map_err(|_| {
            let text: String = text.chars().take(64).collect();
            Fault::BadRequest(format!("Invalid input received: 'bootable = {text}'"))
        })
    } else {
        Ok(!["false", "False", "FALSE"].contains(&text))
    }
}

/// `GET /resource_filters` (3.33).
pub(super) async fn resource_filters(_caller: Caller) -> Result<axum::Json<Value>> {
    Ok(axum::Json(json!({"resource_filters": [
        {"resource": "volume", "filters": FILTERS},
        {"resource": "snapshot", "filters": snapshot_list::FILTERS},
        {"resource": "group", "filters": ["name"]},
        {"resource": "group_snapshot", "filters": ["name", "status", "group_id"]},
        {"resource": "attachment", "filters": ["volume_id", "status", "instance_id", "attach_status"]},
        {"resource": "pool", "filters": ["name", "volume_type"]},
        {"resource": "volume_type", "filters": ["is_public", "extra_specs"]},
        {"resource": "message", "filters": ["resource_uuid"]},
    ]})))
}
