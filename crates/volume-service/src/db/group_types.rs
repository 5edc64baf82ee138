//! Group types and their specs.

use std::collections::BTreeMap;

use super::group_list::{self, Listing, of_ids};
use super::select::Select;
use super::{Param, Row, Transaction};
use crate::app::group_types::GroupTypeQuery;
use crate::error::Result;
use crate::model::group::GroupType;
use crate::model::id::GroupTypeId;

const COLUMNS: &str = "g.id, g.name, g.description, g.is_public, g.created_at_us";

/// Adds a group type with its specs; false, with nothing changed, when the name exists.
pub fn insert(tx: &mut Transaction<'_>, group_type: &GroupType) -> Result<bool> {
    let added = tx.execute(
        "INSERT INTO group_types (id, name, description, is_public, created_at_us, updated_at_us) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?5) ON CONFLICT DO NOTHING",
        &[
            group_type.id.into(),
            group_type.name.as_str().into(),
            group_type.description.as_str().into(),
            group_type.is_public.into(),
            group_type.created_at_us.into(),
        ],
    )?;
    if added == 1 {
        merge_specs(tx, group_type.id, &group_type.specs)?;
    }
    Ok(added == 1)
}

/// A group type by id.
pub fn find(tx: &mut Transaction<'_>, id: GroupTypeId) -> Result<Option<GroupType>> {
    let sql = format!("SELECT {COLUMNS} FROM group_types g WHERE g.id = ?1");
    let found = tx.query_first(&sql, &[id.into()], from_row)?;
    filled(tx, found)
}

/// A group type by name.
pub fn find_by_name(tx: &mut Transaction<'_>, name: &str) -> Result<Option<GroupType>> {
    let sql = format!("SELECT {COLUMNS} FROM group_types g WHERE g.name = ?1");
    let found = tx.query_first(&sql, &[name.into()], from_row)?;
    filled(tx, found)
}

/// Keeps the type as it is, and groups of it from being made, until the transaction ends; false when there is none.
pub fn lock(tx: &mut Transaction<'_>, id: GroupTypeId) -> Result<bool> {
    let sql = "SELECT id FROM group_types WHERE id = ?1 /* for update */";
    Ok(tx.query_first(sql, &[id.into()], |_| Ok(()))?.is_some())
}

/// The group types behind the marker that match, one more than `limit`.
///
/// # Errors
/// `Invalid` when the marker does not match.
pub fn page(
    tx: &mut Transaction<'_>,
    query: &GroupTypeQuery,
    limit: usize,
) -> Result<Vec<GroupType>> {
    let mut select = Select::all();
    if let Some(is_public) = query.is_public {
        select.equal("g.is_public", is_public.into());
    }
    let listing = Listing {
        from: "group_types g",
        columns: COLUMNS,
        select,
        sort: &query.sort,
        marker: query.marker.map(|id| id.0),
        offset: query.offset,
        limit,
    };
    let mut found = group_list::page(tx, listing, from_row)?;
    let ids: Vec<String> = found.iter().map(|one| one.id.to_string()).collect();
    let head = "SELECT group_type_id, name, value FROM group_type_specs WHERE group_type_id IN";
    let specs = of_ids(tx, head, &ids, |row| {
        let id: GroupTypeId = row.parsed(0, |text| text.parse().ok())?;
        Ok((id, row.text(1)?, row.text(2)?))
    })?;
    for (id, name, value) in specs {
        if let Some(one) = found.iter_mut().find(|one| one.id == id) {
            one.specs.insert(name, value);
        }
    }
    Ok(found)
}

/// Changes a group type; none leaves what it is. False when another one has the name.
pub fn change(
    tx: &mut Transaction<'_>,
    id: GroupTypeId,
    name: Option<&str>,
    description: Option<&str>,
    is_public: Option<bool>,
    now_us: i64,
) -> Result<bool> {
    let touched = tx.execute(
        "UPDATE group_types SET name = COALESCE(?2, name), description = COALESCE(?3, description), \
         is_public = COALESCE(?4, is_public), updated_at_us = ?5 WHERE id = ?1 \
         AND NOT EXISTS (SELECT 1 FROM group_types other WHERE other.name = ?2 AND other.id <> ?1)",
        &[
            id.into(),
            name.into(),
            description.into(),
            is_public.into(),
            now_us.into(),
        ],
    )?;
    Ok(touched == 1)
}

/// True while there are groups, or group snapshots, of the type.
pub fn is_used(tx: &mut Transaction<'_>, id: GroupTypeId) -> Result<bool> {
    let sql = "SELECT 1 FROM volume_groups WHERE group_type_id = ?1 UNION ALL \
               SELECT 1 FROM group_snapshots WHERE group_type_id = ?1 LIMIT 1";
    Ok(tx.query_first(sql, &[id.into()], |_| Ok(()))?.is_some())
}

/// Removes a type that is not used.
pub fn remove(tx: &mut Transaction<'_>, id: GroupTypeId) -> Result<bool> {
    Ok(tx.execute("DELETE FROM group_types WHERE id = ?1", &[id.into()])? == 1)
}

/// Adds specs, or gives them other values.
pub fn merge_specs(
    tx: &mut Transaction<'_>,
    id: GroupTypeId,
    specs: &BTreeMap<String, String>,
) -> Result<()> {
    for (name, value) in specs {
        tx.execute(
            "INSERT INTO group_type_specs (group_type_id, name, value) VALUES (?1, ?2, ?3) \
             ON CONFLICT (group_type_id, name) DO UPDATE SET value = excluded.value",
            &[id.into(), name.as_str().into(), value.as_str().into()],
        )?;
    }
    Ok(())
}

/// Removes a spec; false when there is none of this name.
pub fn remove_spec(tx: &mut Transaction<'_>, id: GroupTypeId, name: &str) -> Result<bool> {
    let touched = tx.execute(
        "DELETE FROM group_type_specs WHERE group_type_id = ?1 AND name = ?2",
        &[id.into(), name.into()],
    )?;
    Ok(touched == 1)
}

fn filled(tx: &mut Transaction<'_>, found: Option<GroupType>) -> Result<Option<GroupType>> {
    let Some(mut group_type) = found else {
        return Ok(None);
    };
    let pairs = tx.query(
        "SELECT name, value FROM group_type_specs WHERE group_type_id = ?1",
        &[group_type.id.into()],
        |row| Ok((row.text(0)?, row.text(1)?)),
    )?;
    group_type.specs = pairs.into_iter().collect();
    Ok(Some(group_type))
}

fn from_row(row: &Row<'_>) -> Result<GroupType> {
    Ok(GroupType {
        id: row.parsed(0, |text| text.parse().ok())?,
        name: row.text(1)?,
        description: row.text(2)?,
        is_public: row.int(3)? != 0,
        specs: BTreeMap::new(),
        created_at_us: row.int(4)?,
    })
}

impl From<GroupTypeId> for Param {
    fn from(id: GroupTypeId) -> Self {
        Param::Text(id.to_string())
    }
}
