//! What a project decides for all of its things.

use super::Transaction;
use crate::error::Result;

/// The project's value; none where it is as usual.
pub fn find(tx: &mut Transaction<'_>, project_id: &str, name: &str) -> Result<Option<String>> {
    tx.query_first(
        "SELECT value FROM project_settings WHERE project_id = ?1 AND name = ?2",
        &[project_id.into(), name.into()],
        |row| row.text(0),
    )
}

/// Sets the project's value; none makes it as usual again.
pub fn set(
    tx: &mut Transaction<'_>,
    project_id: &str,
    name: &str,
    value: Option<&str>,
) -> Result<()> {
    let Some(value) = value else {
        tx.execute(
            "DELETE FROM project_settings WHERE project_id = ?1 AND name = ?2",
            &[project_id.into(), name.into()],
        )?;
        return Ok(());
    };
    tx.execute(
        "INSERT INTO project_settings (project_id, name, value) VALUES (?1, ?2, ?3) \
         ON CONFLICT (project_id, name) DO UPDATE SET value = excluded.value",
        &[project_id.into(), name.into(), value.into()],
    )?;
    Ok(())
}
