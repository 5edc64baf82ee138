//! The filters of a list of volumes that few requests have, and sums over what a list would show.

use std::collections::BTreeMap;

use super::select::Select;
use super::volume_list::{Decided, filters};
use super::{Param, Transaction};
use crate::app::narrowing::{Comparison, Moment, Narrowing};
use crate::error::Result;

/// Adds the conditions to those of a list.
pub(super) fn narrow(select: &mut Select, narrowing: &Narrowing) {
    if let Some(part) = &narrowing.name_part {
        select.has_part("v.name", part);
    }
    for bound in &narrowing.times {
        let column = match bound.moment {
            Moment::Created => "v.created_at_us",
            Moment::Updated => "v.updated_at_us",
        };
        let place = select.param(bound.at_us.into());
        let sign = sign(bound.comparison);
        select
            .condition
            .push_str(&format!(" AND {column} {sign} {place}"));
        if bound.moment == Moment::Updated {
            select.condition.push_str(" AND v.updated_at_us <> 0");
        }
    }
    if let Some(user_id) = &narrowing.user_id {
        select.equal("v.user_id", user_id.as_str().into());
    }
    if let Some(place) = &narrowing.place {
        select.equal("v.zone", place.zone.as_str().into());
        match place.backend_id {
            Some(backend) => select.equal("v.backend_id", backend.into()),
            None => select.condition.push_str(" AND v.backend_id IS NOT NULL"),
        }
    }
    let source = |select: &mut Select, column: &str, id: Param| {
        let id = select.param(id);
        select.condition.push_str(&format!(
            " AND EXISTS (SELECT 1 FROM volume_sources s WHERE s.volume_id = v.id AND s.{column} = {id})"
        ));
    };
    if let Some(id) = narrowing.source_snapshot_id {
        source(select, "source_snapshot_id", id.into());
    }
    if let Some(id) = narrowing.source_volume_id {
        source(select, "source_volume_id", id.into());
    }
    for (name, value) in &narrowing.image_metadata {
        let name = select.param(name.as_str().into());
        let value = select.param(value.as_str().into());
        select.condition.push_str(&format!(
            " AND EXISTS (SELECT 1 FROM volume_image_metadata i WHERE i.volume_id = v.id AND i.name = {name} \
             AND i.value = {value})"
        ));
    }
    let group = narrowing.group_id.map(|id| id.to_string());
    for (column, value) in [
        ("group_id", group),
        ("migration_status", narrowing.migration_status.clone()),
    ] {
        let Some(value) = value else { continue };
        let value = select.param(value.into());
        select.condition.push_str(&format!(
            " AND v.id IN (SELECT t.volume_id FROM volume_traits t WHERE t.{column} = {value})"
        ));
    }
}

fn sign(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::After => ">",
        Comparison::NotBefore => ">=",
        Comparison::At => "=",
        Comparison::NotAt => "<>",
        Comparison::Before => "<",
        Comparison::NotAfter => "<=",
    }
}

/// How many volumes match, and their GiB.
pub fn sum(tx: &mut Transaction<'_>, decided: &Decided) -> Result<(u64, u64)> {
    let select = filters(decided);
    let sql = format!(
        "SELECT COUNT(*), CAST(COALESCE(SUM(v.size_gib), 0) AS BIGINT) FROM volumes v WHERE {}",
        select.condition
    );
    let found = tx.query_first(&sql, &select.params, |row| Ok((row.int(0)?, row.int(1)?)))?;
    let (count, size) = found.unwrap_or((0, 0));
    Ok((
        u64::try_from(count).unwrap_or(0),
        u64::try_from(size).unwrap_or(0),
    ))
}

/// The different metadata of the volumes that match; none when there are more than `most` different pairs.
pub fn distinct_metadata(
    tx: &mut Transaction<'_>,
    decided: &Decided,
    most: usize,
) -> Result<Option<BTreeMap<String, Vec<String>>>> {
    let mut select = filters(decided);
    let limit = select.param(super::select::count(most.saturating_add(1)));
    let sql = format!(
        "SELECT DISTINCT m.name, m.value FROM volumes v JOIN volume_metadata m ON m.volume_id = v.id WHERE {} \
         ORDER BY m.name, m.value LIMIT {limit}",
        select.condition
    );
    let pairs = tx.query(&sql, &select.params, |row| Ok((row.text(0)?, row.text(1)?)))?;
    if pairs.len() > most {
        return Ok(None);
    }
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in pairs {
        found.entry(name).or_default().push(value);
    }
    Ok(Some(found))
}
