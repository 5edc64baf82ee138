//! Lists of volumes: filters, sorting and keyset paging.
//!
//! A page begins behind its marker's sort values, never at a count of rows, so that with an index the cost of a page does not
//! depend on how many volumes there are or how deep the page lies.

use super::any_of::{self, Listed};
use std::collections::HashMap;

use super::narrowing::narrow;
use super::select::{Select, count, order};
use super::volumes::{COLUMNS, EXTRAS, FROM, set_extras, without_extras};
use super::{Param, Transaction, volume_metadata};
use crate::app::volumes::{SortDirection, SortKey, VolumeQuery};
use crate::error::{Error, Result, Subject};
use crate::model::id::{FlavorId, VolumeId};
use crate::model::volume::Volume;

/// A query with everything decided: tenancy, flavor, limit.
#[derive(Clone, Debug)]
pub struct Decided {
    /// Only this project's volumes; none for every project.
    pub project_id: Option<String>,
    /// The flavor that the query's text means.
    pub flavor_id: Option<FlavorId>,
    /// How many at most.
    pub limit: usize,
    /// The rest.
    pub query: VolumeQuery,
}

/// A page, with one volume more than `limit` when more follow.
///
/// # Errors
/// `Invalid` when the marker does not exist in the project.
pub fn page(tx: &mut Transaction<'_>, decided: &Decided) -> Result<Vec<Volume>> {
    let sort = full_sort(&decided.query.sort);
    let columns: Vec<(&str, SortDirection)> = sort
        .iter()
        .map(|(key, direction)| (column(*key), *direction))
        .collect();
    let mut select = filters(decided);
    if let Some(marker) = decided.query.marker {
        let values = sort_values(tx, decided.project_id.as_deref(), marker, &sort)?;
        select.behind(&columns, values);
    }
    if let Some((created_at_us, id)) = decided.query.after {
        select.behind(&columns, vec![created_at_us.into(), id.into()]);
    }
    let limit = select.param(count(decided.limit.saturating_add(1)));
    let mut sql = format!(
        "SELECT {COLUMNS} FROM {FROM} WHERE {} ORDER BY {} LIMIT {limit}",
        select.condition,
        order(&columns)
    );
    if decided.query.offset > 0 {
        let offset = select.param(count(decided.query.offset));
        sql.push_str(&format!(" OFFSET {offset}"));
    }
    let mut volumes = tx.query(&sql, &select.params, without_extras)?;
    add_extras(tx, &mut volumes)?;
    Ok(volumes)
}

/// Adds what only some volumes have. PostgreSQL plans a page anew each time, for its limit is not known before: with these subqueries
/// that would cost more than the page. This statement is planned once.
fn add_extras(tx: &mut Transaction<'_>, volumes: &mut [Volume]) -> Result<()> {
    for chunk in volumes.chunks_mut(volume_metadata::CHUNK) {
        let places: HashMap<VolumeId, usize> = (0..)
            .zip(chunk.iter())
            .map(|(place, volume)| (volume.id, place))
            .collect();
        let mut params: Vec<Param> = chunk.iter().map(|volume| volume.id.into()).collect();
        let length = if params.len() == 1 {
            1
        } else {
            volume_metadata::CHUNK
        };
        if let Some(last) = params.last().cloned() {
            params.resize(length, last);
        }
        let ids: Vec<String> = (1..=length).map(|place| format!("?{place}")).collect();
        let ids = ids.join(", ");
        let having: Vec<String> = HAVING_EXTRAS
            .iter()
            .map(|table| format!("SELECT volume_id AS id FROM {table} WHERE volume_id IN ({ids})"))
            .collect();
        let having = having.join(" UNION ");
        let sql = format!("SELECT v.id, {EXTRAS} FROM ({having}) v");
        tx.query(&sql, &params, |row| {
            let id = row.parsed(0, |text| text.parse().ok())?;
            let volume = places.get(&id).and_then(|place| chunk.get_mut(*place));
            volume.map_or(Ok(()), |volume| set_extras(volume, row, 1))
        })?;
    }
    Ok(())
}

/// Where a volume has a row when it has extras.
const HAVING_EXTRAS: [&str; 4] = [
    "volume_sources",
    "volume_extensions",
    "volume_traits",
    "volume_metadata",
];

/// How many match, markers and limits aside.
pub fn total(tx: &mut Transaction<'_>, decided: &Decided) -> Result<u64> {
    let select = filters(decided);
    let sql = format!("SELECT COUNT(*) FROM volumes v WHERE {}", select.condition);
    let found = tx.query_first(&sql, &select.params, |row| row.int(0))?;
    Ok(u64::try_from(found.unwrap_or(0)).unwrap_or(0))
}

/// Adds `created_at` and `id` in the direction of the least significant key, so that one index serves them and a filter.
fn full_sort(asked: &[(SortKey, SortDirection)]) -> Vec<(SortKey, SortDirection)> {
    let mut sort = asked.to_vec();
    let direction = sort
        .last()
        .map_or(SortDirection::Descending, |(_, direction)| *direction);
    for last in [SortKey::CreatedAt, SortKey::Id] {
        // What follows a unique key never decides.
        if sort
            .iter()
            .all(|(key, _)| *key != last && *key != SortKey::Id)
        {
            sort.push((last, direction));
        }
    }
    if let Some(place) = sort.iter().position(|(key, _)| *key == SortKey::Id) {
        sort.truncate(place + 1);
    }
    sort
}

fn sort_values(
    tx: &mut Transaction<'_>,
    project_id: Option<&str>,
    marker: VolumeId,
    sort: &[(SortKey, SortDirection)],
) -> Result<Vec<Param>> {
    let columns: Vec<&str> = sort.iter().map(|(key, _)| column(*key)).collect();
    let mut params: Vec<Param> = vec![marker.into()];
    let mut sql = format!(
        "SELECT {} FROM volumes v WHERE v.id = ?1",
        columns.join(", ")
    );
    if let Some(project_id) = project_id {
        params.push(project_id.into());
        sql.push_str(" AND v.project_id = ?2");
    }
    tx.query_first(&sql, &params, |row| {
        sort.iter()
            .enumerate()
            .map(|(place, (key, _))| {
                Ok(match key {
                    SortKey::CreatedAt | SortKey::UpdatedAt | SortKey::Size | SortKey::Bootable => {
                        Param::Int(row.int(place)?)
                    }
                    SortKey::Name | SortKey::Status | SortKey::Zone | SortKey::Id => {
                        Param::Text(row.text(place)?)
                    }
                })
            })
            .collect::<Result<Vec<Param>>>()
    })?
    .ok_or_else(|| Error::not_found(Subject::Volume, marker))
}

pub(super) fn filters(decided: &Decided) -> Select {
    let mut select = Select::all();
    let query = &decided.query;
    if let Some(project_id) = &decided.project_id {
        select.equal("v.project_id", project_id.as_str().into());
    }
    if let Some(name) = &query.name {
        select.equal("v.name", name.as_str().into());
    }
    if let Some(flavor_id) = decided.flavor_id {
        select.equal("v.flavor_id", flavor_id.into());
    }
    if let Some(zone) = &query.zone {
        select.equal("v.zone", zone.as_str().into());
    }
    if let Some(size_gib) = query.size_gib {
        select.equal(
            "v.size_gib",
            i64::try_from(size_gib).unwrap_or(i64::MAX).into(),
        );
    }
    if let Some(bootable) = query.bootable {
        select.equal("v.bootable", bootable.into());
    }
    select.one_of(
        "v.status",
        query.statuses.iter().map(|status| status.as_str().into()),
    );
    select.one_of("v.id", query.ids.iter().map(|id| Param::from(*id)));
    narrow(&mut select, &query.narrowing);
    any_of::narrow(&mut select, Listed::Volumes, &query.any_of);
    for (name, value) in &query.metadata {
        let name = select.param(name.as_str().into());
        let value = select.param(value.as_str().into());
        select.condition.push_str(&format!(
            " AND EXISTS (SELECT 1 FROM volume_metadata m WHERE m.volume_id = v.id AND m.name = {name} AND m.value = {value})"
        ));
    }
    select
}

fn column(key: SortKey) -> &'static str {
    match key {
        SortKey::CreatedAt => "v.created_at_us",
        SortKey::UpdatedAt => "v.updated_at_us",
        SortKey::Name => "v.name",
        SortKey::Size => "v.size_gib",
        SortKey::Status => "v.status",
        SortKey::Zone => "v.zone",
        SortKey::Bootable => "v.bootable",
        SortKey::Id => "v.id",
    }
}
