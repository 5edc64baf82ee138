//! The flavors of requests that name none, by project.

use super::{Row, Transaction};
use crate::error::Result;
use crate::model::id::FlavorId;

/// Most projects that are shown.
const SHOWN_MAX: i64 = 10_000;

/// A project's default flavor, if it has one of its own.
pub fn find(tx: &mut Transaction<'_>, project_id: &str) -> Result<Option<FlavorId>> {
    tx.query_first(
        "SELECT flavor_id FROM default_flavors WHERE project_id = ?1",
        &[project_id.into()],
        |row| row.parsed(0, |text| text.parse().ok()),
    )
}

/// All of them, by project.
pub fn list(tx: &mut Transaction<'_>) -> Result<Vec<(String, FlavorId)>> {
    let pair = |row: &Row<'_>| Ok((row.text(0)?, row.parsed(1, |text| text.parse().ok())?));
    let sql = "SELECT project_id, flavor_id FROM default_flavors ORDER BY project_id LIMIT ?1";
    tx.query(sql, &[SHOWN_MAX.into()], pair)
}

/// True when the flavor is a project's default.
pub fn has(tx: &mut Transaction<'_>, flavor_id: FlavorId) -> Result<bool> {
    let found = tx.query_first(
        "SELECT 1 FROM default_flavors WHERE flavor_id = ?1 LIMIT 1",
        &[flavor_id.into()],
        |_| Ok(()),
    )?;
    Ok(found.is_some())
}

/// Gives a project a default flavor of its own.
pub fn set(tx: &mut Transaction<'_>, project_id: &str, flavor_id: FlavorId) -> Result<()> {
    tx.execute(
        "INSERT INTO default_flavors (project_id, flavor_id) VALUES (?1, ?2) \
         ON CONFLICT (project_id) DO UPDATE SET flavor_id = excluded.flavor_id",
        &[project_id.into(), flavor_id.into()],
    )
    .map(drop)
}

/// Takes it away.
pub fn unset(tx: &mut Transaction<'_>, project_id: &str) -> Result<()> {
    let sql = "DELETE FROM default_flavors WHERE project_id = ?1";
    tx.execute(sql, &[project_id.into()]).map(drop)
}
