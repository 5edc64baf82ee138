//! Tags of instances, of which each project has its own.

use std::collections::{BTreeMap, HashMap};

use super::Transaction;
use crate::error::Result;
use crate::model::id::InstanceId;

/// A project's tags of an instance.
pub fn of_instance(
    tx: &mut Transaction<'_>,
    project_id: &str,
    id: InstanceId,
) -> Result<BTreeMap<String, String>> {
    let found = tx.query(
        "SELECT name, value FROM instance_tags WHERE instance_id = ?1 AND project_id = ?2",
        &[id.into(), project_id.into()],
        |row| Ok((row.text(0)?, row.text(1)?)),
    )?;
    Ok(found.into_iter().collect())
}

/// A project's tags of all instances.
pub fn of_project(
    tx: &mut Transaction<'_>,
    project_id: &str,
) -> Result<HashMap<InstanceId, BTreeMap<String, String>>> {
    let found = tx.query(
        "SELECT instance_id, name, value FROM instance_tags WHERE project_id = ?1",
        &[project_id.into()],
        |row| {
            let id: InstanceId = row.parsed(0, |text| text.parse().ok())?;
            Ok((id, row.text(1)?, row.text(2)?))
        },
    )?;
    let mut tags: HashMap<InstanceId, BTreeMap<String, String>> = HashMap::new();
    for (id, name, value) in found {
        tags.entry(id).or_default().insert(name, value);
    }
    Ok(tags)
}

/// Adds a tag, or gives it another value.
pub fn set(
    tx: &mut Transaction<'_>,
    project_id: &str,
    id: InstanceId,
    name: &str,
    value: &str,
) -> Result<()> {
    tx.execute(
        "INSERT INTO instance_tags (instance_id, project_id, name, value) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (instance_id, project_id, name) DO UPDATE SET value = excluded.value",
        &[id.into(), project_id.into(), name.into(), value.into()],
    )?;
    Ok(())
}

/// Removes a tag; false when it was not there.
pub fn remove(
    tx: &mut Transaction<'_>,
    project_id: &str,
    id: InstanceId,
    name: &str,
) -> Result<bool> {
    let touched = tx.execute(
        "DELETE FROM instance_tags WHERE instance_id = ?1 AND project_id = ?2 AND name = ?3",
        &[id.into(), project_id.into(), name.into()],
    )?;
    Ok(touched == 1)
}
