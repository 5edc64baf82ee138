//! The projects that may use a flavor that is not public.

use super::Transaction;
use crate::error::Result;
use crate::model::flavor::Flavor;
use crate::model::id::FlavorId;

/// Most projects of a flavor that are shown.
const SHOWN_MAX: i64 = 10_000;

/// True when a project may use a flavor; no project means an administrator, who may use all.
pub fn may_use(
    tx: &mut Transaction<'_>,
    project_id: Option<&str>,
    flavor: &Flavor,
) -> Result<bool> {
    let Some(project_id) = project_id.filter(|_| !flavor.is_public) else {
        return Ok(true);
    };
    let found = tx.query_first(
        "SELECT 1 FROM flavor_access WHERE flavor_id = ?1 AND project_id = ?2",
        &[flavor.id.into(), project_id.into()],
        |_| Ok(()),
    )?;
    Ok(found.is_some())
}

/// The projects that were given access, by id.
pub fn list(tx: &mut Transaction<'_>, id: FlavorId) -> Result<Vec<String>> {
    tx.query(
        "SELECT project_id FROM flavor_access WHERE flavor_id = ?1 ORDER BY project_id LIMIT ?2",
        &[id.into(), SHOWN_MAX.into()],
        |row| row.text(0),
    )
}

/// Gives a project access; false when it has it.
pub fn add(tx: &mut Transaction<'_>, id: FlavorId, project_id: &str) -> Result<bool> {
    let added = tx.execute(
        "INSERT INTO flavor_access (flavor_id, project_id) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        &[id.into(), project_id.into()],
    )?;
    Ok(added == 1)
}

/// Takes a project's access away; false when it had none.
pub fn remove(tx: &mut Transaction<'_>, id: FlavorId, project_id: &str) -> Result<bool> {
    let removed = tx.execute(
        "DELETE FROM flavor_access WHERE flavor_id = ?1 AND project_id = ?2",
        &[id.into(), project_id.into()],
    )?;
    Ok(removed == 1)
}
