//! Flavors; what the Block Storage API knows of them beyond their names is joined from tables of its own.

use super::{Param, Row, Transaction};
use super::{flavor_access, flavor_specs};
use crate::error::{Error, Result, Subject};
use crate::model::flavor::{ControlLocation, Flavor, FlavorFacts, zone_names};
use crate::model::id::FlavorId;

/// What a flavor is read from.
pub(super) const FROM: &str = "flavors f LEFT JOIN flavor_traits t ON t.flavor_id = f.id \
                               LEFT JOIN flavor_encryption e ON e.flavor_id = f.id";
/// Its columns; a flavor without traits is public.
pub(super) const COLUMNS: &str = "f.id, f.label, f.description, COALESCE(t.is_public, 1), t.qos_id, \
                                  e.control_location, f.created_at_us, \
                                  (SELECT s.value FROM flavor_specs s WHERE s.flavor_id = f.id \
                                  AND s.name = 'RESKEY:availability_zones')";

/// Adds a flavor; false, with nothing changed, when the label exists.
pub fn insert(tx: &mut Transaction<'_>, flavor: &Flavor) -> Result<bool> {
    let added = tx.execute(
        "INSERT INTO flavors (id, label, description, created_at_us) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        &[
            flavor.id.into(),
            flavor.label.as_str().into(),
            flavor.description.as_str().into(),
            flavor.created_at_us.into(),
        ],
    )?;
    if added == 1 && !flavor.is_public {
        set_public(tx, flavor.id, false, flavor.created_at_us)?;
    }
    Ok(added == 1)
}

/// Every flavor, by label.
pub fn list(tx: &mut Transaction<'_>) -> Result<Vec<Flavor>> {
    tx.query(
        &format!("SELECT {COLUMNS} FROM {FROM} ORDER BY f.label"),
        &[],
        from_row,
    )
}

/// A flavor by label or, when there is no such label, by id.
pub fn find(tx: &mut Transaction<'_>, id_or_label: &str) -> Result<Option<Flavor>> {
    let by_label = tx.query_first(
        &format!("SELECT {COLUMNS} FROM {FROM} WHERE f.label = ?1"),
        &[id_or_label.into()],
        from_row,
    )?;
    if by_label.is_some() {
        return Ok(by_label);
    }
    match id_or_label.parse::<FlavorId>() {
        Ok(id) => by_id(tx, id),
        Err(_) => Ok(None),
    }
}

/// A flavor by label or id that a project may use; none for a project means all.
pub fn find_for(
    tx: &mut Transaction<'_>,
    project_id: Option<&str>,
    id_or_label: &str,
) -> Result<Option<Flavor>> {
    let Some(flavor) = find(tx, id_or_label)? else {
        return Ok(None);
    };
    Ok(flavor_access::may_use(tx, project_id, &flavor)?.then_some(flavor))
}

/// A flavor by id.
pub fn by_id(tx: &mut Transaction<'_>, id: FlavorId) -> Result<Option<Flavor>> {
    tx.query_first(
        &format!("SELECT {COLUMNS} FROM {FROM} WHERE f.id = ?1"),
        &[id.into()],
        from_row,
    )
}

/// Keeps the flavor as it is, and keeps volumes of it from being made, until the transaction ends.
pub fn lock(tx: &mut Transaction<'_>, id: FlavorId) -> Result<()> {
    let sql = "SELECT id FROM flavors WHERE id = ?1 /* for update */";
    tx.query_first(sql, &[id.into()], |_| Ok(())).map(drop)
}

/// What placing a volume of a flavor must know of it.
///
/// # Errors
/// `NotFound` when there is no such flavor.
pub fn facts(tx: &mut Transaction<'_>, id: FlavorId) -> Result<FlavorFacts> {
    let found = tx.query_first(
        "SELECT CASE WHEN EXISTS (SELECT 1 FROM backends b WHERE b.flavor_id = f.id) THEN CAST(1 AS BIGINT) ELSE 0 END, \
         (SELECT e.control_location FROM flavor_encryption e WHERE e.flavor_id = f.id) FROM flavors f WHERE f.id = ?1",
        &[id.into()],
        |row| Ok((row.int(0)? != 0, control_location(row, 1)?)),
    )?;
    let (has_own_backends, encryption) =
        found.ok_or_else(|| Error::not_found(Subject::Flavor, id))?;
    Ok(FlavorFacts {
        id,
        has_own_backends,
        specs: flavor_specs::load(tx, id)?,
        needs_encryption: encryption == Some(ControlLocation::BackEnd),
    })
}

/// Changes a flavor's texts; none leaves one as it is. False when another flavor has the label.
pub fn rename(
    tx: &mut Transaction<'_>,
    id: FlavorId,
    label: Option<&str>,
    description: Option<&str>,
) -> Result<bool> {
    let touched = tx.execute(
        "UPDATE flavors SET label = COALESCE(?2, label), description = COALESCE(?3, description) WHERE id = ?1 \
         AND NOT EXISTS (SELECT 1 FROM flavors other WHERE other.label = ?2 AND other.id <> ?1)",
        &[id.into(), label.into(), description.into()],
    )?;
    Ok(touched == 1)
}

/// Makes a flavor everybody's, or only those projects' that are given access.
pub fn set_public(
    tx: &mut Transaction<'_>,
    id: FlavorId,
    is_public: bool,
    now_us: i64,
) -> Result<()> {
    tx.execute(
        "INSERT INTO flavor_traits (flavor_id, is_public, updated_at_us) VALUES (?1, ?2, ?3) \
         ON CONFLICT (flavor_id) DO UPDATE SET is_public = excluded.is_public, updated_at_us = excluded.updated_at_us",
        &[id.into(), is_public.into(), now_us.into()],
    )
    .map(drop)
}

/// How many backends and how many volumes a flavor has.
pub fn count_users(tx: &mut Transaction<'_>, id: FlavorId) -> Result<(u64, u64)> {
    Ok((
        count(tx, "SELECT COUNT(*) FROM backends WHERE flavor_id = ?1", id)?,
        count(tx, "SELECT COUNT(*) FROM volumes WHERE flavor_id = ?1", id)?,
    ))
}

/// True when there is a volume of the flavor.
pub fn has_volumes(tx: &mut Transaction<'_>, id: FlavorId) -> Result<bool> {
    // Counted by triggers, in far fewer rows than there are volumes, which have no index by their flavor.
    let sql = "SELECT 1 FROM type_usage WHERE flavor_id = ?1 AND volumes > 0 LIMIT 1";
    let found = tx.query_first(sql, &[id.into()], |_| Ok(()))?;
    Ok(found.is_some())
}

/// How many groups may hold volumes of the flavor.
pub fn count_groups(tx: &mut Transaction<'_>, id: FlavorId) -> Result<u64> {
    let sql = "SELECT COUNT(*) FROM group_flavors WHERE flavor_id = ?1";
    count(tx, sql, id)
}

/// Removes a flavor; the database refuses (`Conflict`) while anything refers to it.
pub fn remove(tx: &mut Transaction<'_>, id: FlavorId) -> Result<bool> {
    Ok(tx.execute("DELETE FROM flavors WHERE id = ?1", &[id.into()])? == 1)
}

fn count(tx: &mut Transaction<'_>, sql: &str, id: FlavorId) -> Result<u64> {
    let found = tx.query_first(sql, &[id.into()], |row| row.int(0))?;
    Ok(u64::try_from(found.unwrap_or(0)).unwrap_or(0))
}

pub(super) fn from_row(row: &Row<'_>) -> Result<Flavor> {
    Ok(Flavor {
        id: row.parsed(0, |text| text.parse().ok())?,
        label: row.text(1)?,
        description: row.text(2)?,
        is_public: row.int(3)? != 0,
        qos_id: row.opt_parsed(4, |text| text.parse().ok())?,
        encryption: control_location(row, 5)?,
        created_at_us: row.int(6)?,
        zones: row
            .opt_text(7)?
            .map_or_else(Vec::new, |listed| zone_names(&listed)),
    })
}

fn control_location(row: &Row<'_>, column: usize) -> Result<Option<ControlLocation>> {
    row.opt_parsed(column, ControlLocation::parse)
}

impl From<FlavorId> for Param {
    fn from(id: FlavorId) -> Self {
        Param::Text(id.to_string())
    }
}
