//! Pages of flavors.

use super::flavors::{COLUMNS, FROM, from_row};
use super::select::{Select, count, order};
use super::{Param, Transaction};
use crate::app::flavors::{FlavorQuery, FlavorSortKey, Shown};
use crate::app::volumes::SortDirection;
use crate::error::{Error, Result};
use crate::model::flavor::{Flavor, ZONES_SPEC};
use crate::model::id::FlavorId;

/// The flavors behind the marker that match, one more than `limit`.
///
/// # Errors
/// `Invalid` when the marker does not exist.
pub fn page(tx: &mut Transaction<'_>, query: &FlavorQuery, limit: usize) -> Result<Vec<Flavor>> {
    let sort = full_sort(&query.sort);
    let columns: Vec<(&str, SortDirection)> = sort
        .iter()
        .map(|(key, direction)| (column(*key), *direction))
        .collect();
    let mut select = filters(query);
    if let Some(marker) = query.marker {
        let values = sort_values(tx, marker, &sort)?;
        select.behind(&columns, values);
    }
    let limit = select.param(count(limit.saturating_add(1)));
    let offset = select.param(count(query.offset));
    let sql = format!(
        "SELECT {COLUMNS} FROM {FROM} WHERE {} ORDER BY {} LIMIT {limit} OFFSET {offset}",
        select.condition,
        order(&columns)
    );
    tx.query(&sql, &select.params, from_row)
}

fn filters(query: &FlavorQuery) -> Select {
    let mut select = Select::all();
    match &query.shown {
        Shown::All => {}
        Shown::Private => select.condition.push_str(" AND t.is_public = 0"),
        Shown::UsableBy(project_id) => {
            let place = select.param(project_id.as_str().into());
            select.condition.push_str(&format!(
                " AND (COALESCE(t.is_public, 1) = 1 OR EXISTS (SELECT 1 FROM flavor_access a WHERE a.flavor_id = f.id \
                 AND a.project_id = {place}))"
            ));
        }
    }
    if let Some(label) = &query.label {
        select.equal("f.label", label.as_str().into());
    }
    if let Some(description) = &query.description {
        select.equal("f.description", description.as_str().into());
    }
    for (name, value) in &query.specs {
        // A list of zones has the wanted one somewhere in it.
        let (operator, value) = if name == ZONES_SPEC {
            ("LIKE", format!("%{value}%"))
        } else {
            ("=", value.clone())
        };
        let name = select.param(name.as_str().into());
        let value = select.param(value.into());
        select.condition.push_str(&format!(
            " AND EXISTS (SELECT 1 FROM flavor_specs w WHERE w.flavor_id = f.id AND w.name = {name} \
             AND w.value {operator} {value})"
        ));
    }
    select
}

/// Adds `id` in the direction of the least significant key.
fn full_sort(asked: &[(FlavorSortKey, SortDirection)]) -> Vec<(FlavorSortKey, SortDirection)> {
    let mut sort = asked.to_vec();
    if sort.is_empty() {
        sort.push((FlavorSortKey::CreatedAt, SortDirection::Descending));
    }
    let last = sort.last().map(|(_, direction)| *direction);
    sort.push((FlavorSortKey::Id, last.unwrap_or(SortDirection::Descending)));
    sort
}

fn sort_values(
    tx: &mut Transaction<'_>,
    marker: FlavorId,
    sort: &[(FlavorSortKey, SortDirection)],
) -> Result<Vec<Param>> {
    let columns: Vec<&str> = sort.iter().map(|(key, _)| column(*key)).collect();
    let sql = format!("SELECT {} FROM {FROM} WHERE f.id = ?1", columns.join(", "));
    let found = tx.query_first(&sql, &[marker.into()], |row| {
        sort.iter()
            .enumerate()
            .map(|(place, (key, _))| {
                Ok(match key {
                    FlavorSortKey::CreatedAt | FlavorSortKey::IsPublic => {
                        Param::Int(row.int(place)?)
                    }
                    FlavorSortKey::Label | FlavorSortKey::Description | FlavorSortKey::Id => {
                        Param::Text(row.text(place)?)
                    }
                })
            })
            .collect::<Result<Vec<Param>>>()
    })?;
    found.ok_or_else(|| {
        Error::invalid(format!("marker [{marker}] not found")).on(marker.to_string())
    })
}

fn column(key: FlavorSortKey) -> &'static str {
    match key {
        FlavorSortKey::CreatedAt => "f.created_at_us",
        FlavorSortKey::Label => "f.label",
        FlavorSortKey::Description => "f.description",
        FlavorSortKey::IsPublic => "COALESCE(t.is_public, 1)",
        FlavorSortKey::Id => "f.id",
    }
}
