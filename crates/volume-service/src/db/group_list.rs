//! Pages of groups, of their types and of their snapshots, which are sorted alike.

use uuid::Uuid;

use super::select::{Select, count, order};
use super::{Param, Row, Transaction};
use crate::app::groups::GroupSortKey;
use crate::app::volumes::SortDirection;
use crate::error::{Error, Result};

/// Ids that one statement asks for.
const IDS_PER_STATEMENT: usize = 64;

/// What a page is made of.
pub(super) struct Listing<'a> {
    /// What is read, with its alias `g`.
    pub(super) from: &'static str,
    /// Its columns.
    pub(super) columns: &'static str,
    /// The filters.
    pub(super) select: Select,
    /// The order; newest first when empty.
    pub(super) sort: &'a [(GroupSortKey, SortDirection)],
    /// The last item of the page before.
    pub(super) marker: Option<Uuid>,
    /// How many to skip.
    pub(super) offset: usize,
    /// How many at most.
    pub(super) limit: usize,
}

/// The rows behind the marker that match, one more than `limit`.
///
/// # Errors
/// `Invalid` when the marker does not match the filters.
pub(super) fn page<T>(
    tx: &mut Transaction<'_>,
    listing: Listing<'_>,
    map: impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let Listing {
        from,
        columns,
        mut select,
        marker,
        offset,
        limit,
        ..
    } = listing;
    let sort = full_sort(listing.sort);
    let by: Vec<(&str, SortDirection)> = sort
        .iter()
        .map(|(key, direction)| (column(*key), *direction))
        .collect();
    if let Some(marker) = marker {
        let values = sort_values(tx, from, &select, marker, &sort)?;
        select.behind(&by, values);
    }
    let limit = select.param(count(limit.saturating_add(1)));
    let offset = select.param(count(offset));
    let sql = format!(
        "SELECT {columns} FROM {from} WHERE {} ORDER BY {} LIMIT {limit} OFFSET {offset}",
        select.condition,
        order(&by)
    );
    tx.query(&sql, &select.params, map)
}

/// Rows of a table that belong to some of these ids: `head` ends with `IN`.
pub(super) fn of_ids<T>(
    tx: &mut Transaction<'_>,
    head: &str,
    ids: &[String],
    mut map: impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let mut found = Vec::new();
    for some in ids.chunks(IDS_PER_STATEMENT) {
        let places: Vec<String> = (1..=some.len()).map(|place| format!("?{place}")).collect();
        let params: Vec<Param> = some.iter().map(|id| id.as_str().into()).collect();
        let sql = format!("{head} ({})", places.join(", "));
        found.extend(tx.query(&sql, &params, &mut map)?);
    }
    Ok(found)
}

/// Adds `id` in the direction of the least significant key.
fn full_sort(asked: &[(GroupSortKey, SortDirection)]) -> Vec<(GroupSortKey, SortDirection)> {
    let mut sort = asked.to_vec();
    if sort.is_empty() {
        sort.push((GroupSortKey::CreatedAt, SortDirection::Descending));
    }
    let last = sort.last().map(|(_, direction)| *direction);
    sort.push((GroupSortKey::Id, last.unwrap_or(SortDirection::Descending)));
    sort
}

fn sort_values(
    tx: &mut Transaction<'_>,
    from: &str,
    filters: &Select,
    marker: Uuid,
    sort: &[(GroupSortKey, SortDirection)],
) -> Result<Vec<Param>> {
    let columns: Vec<&str> = sort.iter().map(|(key, _)| column(*key)).collect();
    let mut params = filters.params.clone();
    params.push(marker.to_string().into());
    let sql = format!(
        "SELECT {} FROM {from} WHERE {} AND g.id = ?{}",
        columns.join(", "),
        filters.condition,
        params.len()
    );
    let found = tx.query_first(&sql, &params, |row| {
        sort.iter()
            .enumerate()
            .map(|(place, (key, _))| {
                Ok(match key {
                    GroupSortKey::CreatedAt | GroupSortKey::UpdatedAt | GroupSortKey::IsPublic => {
                        Param::Int(row.int(place)?)
                    }
                    GroupSortKey::Name
                    | GroupSortKey::Description
                    | GroupSortKey::Status
                    | GroupSortKey::Id => Param::Text(row.text(place)?),
                })
            })
            .collect::<Result<Vec<Param>>>()
    })?;
    found.ok_or_else(|| {
        Error::invalid(format!("marker [{marker}] not found")).on(marker.to_string())
    })
}

fn column(key: GroupSortKey) -> &'static str {
    match key {
        GroupSortKey::CreatedAt => "g.created_at_us",
        GroupSortKey::UpdatedAt => "g.updated_at_us",
        GroupSortKey::Name => "g.name",
        GroupSortKey::Description => "g.description",
        GroupSortKey::Status => "g.status",
        GroupSortKey::IsPublic => "g.is_public",
        GroupSortKey::Id => "g.id",
    }
}
