//! Lists of snapshots: filters, sorting and keyset paging, as for volumes.

use super::any_of::{self, Listed};
use super::select::{Select, count, order};
use super::snapshot_shares::{self, Shared};
use super::snapshots::{COLUMNS, from_row};
use super::{Param, Transaction, snapshot_metadata};
use crate::app::snapshots::{SnapshotQuery, SnapshotSortKey};
use crate::app::volumes::SortDirection;
use crate::error::{Error, Result, Subject};
use crate::model::id::SnapshotId;
use crate::model::snapshot::{Snapshot, SnapshotStatus};

/// A query with everything decided: tenancy and limit.
#[derive(Clone, Debug)]
pub struct Decided {
    /// Only this project's snapshots; none for every project.
    pub project_id: Option<String>,
    /// How many at most.
    pub limit: usize,
    /// Only those that are shared in such a way.
    pub shared: Shared,
    /// The rest.
    pub query: SnapshotQuery,
}

/// A page, with one snapshot more than `limit` when more follow.
///
/// # Errors
/// `Invalid` when the marker does not exist in the project.
pub fn page(tx: &mut Transaction<'_>, decided: &Decided) -> Result<Vec<Snapshot>> {
    let (sql, params) = statement(tx, decided)?;
    let mut found = tx.query(&sql, &params, from_row)?;
    snapshot_metadata::fill(tx, &mut found)?;
    Ok(found)
}

fn statement(tx: &mut Transaction<'_>, decided: &Decided) -> Result<(String, Vec<Param>)> {
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
        "SELECT {COLUMNS} FROM snapshots s WHERE {} ORDER BY {} LIMIT {limit}",
        select.condition,
        order(&columns)
    );
    if decided.query.offset > 0 {
        let offset = select.param(count(decided.query.offset));
        sql.push_str(&format!(" OFFSET {offset}"));
    }
    Ok((sql, select.params))
}

/// How many match, markers and limits aside.
pub fn total(tx: &mut Transaction<'_>, decided: &Decided) -> Result<u64> {
    let select = filters(decided);
    let sql = format!(
        "SELECT COUNT(*) FROM snapshots s WHERE {}",
        select.condition
    );
    let found = tx.query_first(&sql, &select.params, |row| row.int(0))?;
    Ok(u64::try_from(found.unwrap_or(0)).unwrap_or(0))
}

/// Adds `id` in the direction of the least significant key, so that one index serves both.
fn full_sort(asked: &[(SnapshotSortKey, SortDirection)]) -> Vec<(SnapshotSortKey, SortDirection)> {
    let mut sort = asked.to_vec();
    if sort.is_empty() {
        sort.push((SnapshotSortKey::CreatedAt, SortDirection::Descending));
    }
    if let Some(place) = sort.iter().position(|(key, _)| *key == SnapshotSortKey::Id) {
        // What follows a unique key never decides.
        sort.truncate(place + 1);
    } else {
        let direction = sort
            .last()
            .map_or(SortDirection::Descending, |(_, direction)| *direction);
        sort.push((SnapshotSortKey::Id, direction));
    }
    sort
}

fn sort_values(
    tx: &mut Transaction<'_>,
    project_id: Option<&str>,
    marker: SnapshotId,
    sort: &[(SnapshotSortKey, SortDirection)],
) -> Result<Vec<Param>> {
    let columns: Vec<&str> = sort.iter().map(|(key, _)| column(*key)).collect();
    let mut params: Vec<Param> = vec![marker.into()];
    let mut sql = format!(
        "SELECT {} FROM snapshots s WHERE s.id = ?1",
        columns.join(", ")
    );
    if let Some(project_id) = project_id {
        params.push(project_id.into());
        sql.push_str(" AND s.project_id = ?2");
    }
    tx.query_first(&sql, &params, |row| {
        sort.iter()
            .enumerate()
            .map(|(place, (key, _))| {
                Ok(match key {
                    SnapshotSortKey::CreatedAt
                    | SnapshotSortKey::UpdatedAt
                    | SnapshotSortKey::Size => Param::Int(row.int(place)?),
                    SnapshotSortKey::Name
                    | SnapshotSortKey::Status
                    | SnapshotSortKey::Volume
                    | SnapshotSortKey::Id => Param::Text(row.text(place)?),
                })
            })
            .collect::<Result<Vec<Param>>>()
    })?
    .ok_or_else(|| Error::not_found(Subject::Snapshot, marker))
}

fn filters(decided: &Decided) -> Select {
    let mut select = Select::all();
    let query = &decided.query;
    if let Some(project_id) = &decided.project_id {
        select.equal("s.project_id", project_id.as_str().into());
    }
    snapshot_shares::narrow(&mut select, &decided.shared);
    if query.hides_deleting {
        // No list of states: an index of them does not know the order of the list.
        select.condition.push_str(&format!(
            " AND s.status NOT IN ('{}', '{}')",
            SnapshotStatus::Deleting.as_str(),
            SnapshotStatus::Deleted.as_str()
        ));
    }
    if let Some(name) = &query.name {
        select.equal("s.name", name.as_str().into());
    }
    if let Some(part) = &query.name_part {
        select.has_part("s.name", part);
    }
    if let Some(description) = &query.description {
        select.equal("s.description", description.as_str().into());
    }
    if let Some(zone) = &query.zone {
        select.equal("s.zone", zone.as_str().into());
    }
    if let Some(size_gib) = query.size_gib {
        let size_gib = i64::try_from(size_gib).unwrap_or(i64::MAX);
        select.equal("s.size_gib", size_gib.into());
    }
    select.one_of(
        "s.status",
        query.statuses.iter().map(|status| status.as_str().into()),
    );
    select.one_of(
        "s.volume_id",
        query.volume_ids.iter().map(|id| Param::from(*id)),
    );
    select.one_of("s.id", query.ids.iter().map(|id| Param::from(*id)));
    any_of::narrow(&mut select, Listed::Snapshots, &query.any_of);
    for (name, value) in &query.metadata {
        let name = select.param(name.as_str().into());
        let value = select.param(value.as_str().into());
        select.condition.push_str(&format!(
            " AND EXISTS (SELECT 1 FROM snapshot_metadata m WHERE m.snapshot_id = s.id AND m.name = {name} AND m.value = {value})"
        ));
    }
    select
}

fn column(key: SnapshotSortKey) -> &'static str {
    match key {
        SnapshotSortKey::CreatedAt => "s.created_at_us",
        SnapshotSortKey::UpdatedAt => "s.updated_at_us",
        SnapshotSortKey::Name => "s.name",
        SnapshotSortKey::Size => "s.size_gib",
        SnapshotSortKey::Status => "s.status",
        SnapshotSortKey::Volume => "s.volume_id",
        SnapshotSortKey::Id => "s.id",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::migrate;
    use crate::model::id::VolumeId;

    /// Every page is read in the order of an index: it costs the same however many snapshots there are.
    #[test]
    fn no_page_scans_the_table_or_sorts() {
        let mut connection = rusqlite::Connection::open_in_memory().expect("a database");
        migrate::sqlite(&mut connection).expect("a schema");
        let mut tx = Transaction::on_sqlite(&connection);
        for key in [
            SnapshotSortKey::CreatedAt,
            SnapshotSortKey::UpdatedAt,
            SnapshotSortKey::Name,
            SnapshotSortKey::Size,
            SnapshotSortKey::Status,
            SnapshotSortKey::Volume,
            SnapshotSortKey::Id,
        ] {
            for direction in [SortDirection::Ascending, SortDirection::Descending] {
                let query = SnapshotQuery {
                    sort: vec![(key, direction)],
                    ..SnapshotQuery::default()
                };
                assert_plan_is_cheap(&mut tx, Some("p"), query);
            }
        }
        let of_volume = SnapshotQuery {
            volume_ids: vec![VolumeId(uuid::Uuid::nil())],
            ..SnapshotQuery::default()
        };
        assert_plan_is_cheap(&mut tx, None, of_volume);
        assert_plan_is_cheap(&mut tx, None, SnapshotQuery::default());
        let of_ec2 = SnapshotQuery {
            sort: vec![(SnapshotSortKey::CreatedAt, SortDirection::Ascending)],
            after: Some((1, SnapshotId(uuid::Uuid::nil()))),
            hides_deleting: true,
            ..SnapshotQuery::default()
        };
        assert_plan_is_cheap(&mut tx, Some("p"), of_ec2);
    }

    fn assert_plan_is_cheap(
        tx: &mut Transaction<'_>,
        project_id: Option<&str>,
        query: SnapshotQuery,
    ) {
        let decided = Decided {
            project_id: project_id.map(str::to_owned),
            limit: 100,
            shared: Shared::default(),
            query,
        };
        let (sql, params) = statement(tx, &decided).expect("a statement");
        let plan = tx
            .query(&format!("EXPLAIN QUERY PLAN {sql}"), &params, |row| {
                row.text(3)
            })
            .expect("a plan")
            .join("; ");
        assert!(plan.contains("INDEX"), "{decided:?}: {plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{decided:?}: {plan}");
    }
}
