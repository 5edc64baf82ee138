//! Which snapshots a list shows: filters as Cinder's default `resource_filters` allow them.

use super::caller::Caller;
use super::fault::{Fault, Result};
use super::filter_values;
use super::paging::{Paging, sort_direction};
use super::schema::{BOOLEAN, Field, PAGING, TEXT, field};
use crate::app::snapshots::{SnapshotQuery, SnapshotSortKey};
use crate::model::id::SnapshotId;
use crate::model::snapshot::SnapshotStatus;

/// The filters that are carried out, in the order in which `resource_filters` names them.
pub(super) const FILTERS: [&str; 6] = [
    "name",
    "status",
    "volume_id",
    "metadata",
    "availability_zone",
    "consumes_quota",
];

/// What the query of a list may hold.
pub(super) const LIST_QUERY: [Field; 16] = [
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
    field("volume_id", TEXT),
    field("metadata", TEXT).since(22),
    field("availability_zone", TEXT),
    field("consumes_quota", BOOLEAN).since(65),
];

/// What a list request comes to.
pub(super) enum Selection {
    /// Ask for these.
    Query(SnapshotQuery),
    /// Nothing can match, as with a state that no snapshot has.
    Nothing,
}

/// Reads a list's query.
pub(super) fn read(caller: &Caller, paging: &mut Paging) -> Result<Selection> {
    let mut query = SnapshotQuery {
        limit: paging.limit,
        marker: paging.marker_id()?.map(SnapshotId),
        offset: paging.offset,
        ..SnapshotQuery::default()
    };
    for (key, direction) in &paging.sort {
        query
            .sort
            .push((sort_key(key)?, sort_direction(direction)?));
    }
    query.with_total = filter_values::with_count(caller, paging)?;
    (query.all_projects, query.project_id) = filter_values::projects(caller, paging)?;

    let mut nothing = false;
    let mut unknown = Vec::new();
    for (name, value) in std::mem::take(&mut paging.filters) {
        match name.as_str() {
            "name" => query.name = Some(value),
            "name~" if filter_values::knows_likeness(caller) => query.name_part = Some(value),
            "status" => match SnapshotStatus::parse(&value.to_lowercase()) {
                Some(status) => query.statuses = vec![status],
                None => nothing = true,
            },
            "volume_id" => match value.parse() {
                Ok(id) => query.volume_ids = vec![id],
                Err(_) => nothing = true,
            },
            "metadata" if caller.version.at_least(22) => {
                query.metadata = filter_values::dictionary(&value)?;
            }
            // Before it existed, Cinder dropped it.
            "metadata" => {}
            "availability_zone" => query.zone = Some(value),
            "consumes_quota" if caller.version.at_least(65) => {
                nothing |= !filter_values::boolean("consumes_quota", &value)?;
            }
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

fn sort_key(key: &str) -> Result<SnapshotSortKey> {
    match key {
        "created_at" => Ok(SnapshotSortKey::CreatedAt),
        "updated_at" => Ok(SnapshotSortKey::UpdatedAt),
        "name" | "display_name" => Ok(SnapshotSortKey::Name),
        "size" | "volume_size" => Ok(SnapshotSortKey::Size),
        "status" => Ok(SnapshotSortKey::Status),
        "volume_id" => Ok(SnapshotSortKey::Volume),
        "id" => Ok(SnapshotSortKey::Id),
        _ => Err(Fault::BadRequest(
            "Invalid input received: Sort key supplied is invalid.".to_owned(),
        )),
    }
}
