//! The user's own keys on a volume.

use std::collections::BTreeMap;

use super::{Param, Transaction};
use crate::error::{Error, Result, Subject};
use crate::model::id::VolumeId;

/// Volumes (or snapshots) whose rows one statement reads.
pub(super) const CHUNK: usize = 128;

/// Adds or replaces keys.
pub fn merge(
    tx: &mut Transaction<'_>,
    id: VolumeId,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    for (name, value) in metadata {
        tx.post(
            "INSERT INTO volume_metadata (volume_id, name, value) VALUES (?1, ?2, ?3) \
             ON CONFLICT (volume_id, name) DO UPDATE SET value = excluded.value",
            vec![id.into(), name.as_str().into(), value.as_str().into()],
            move || Error::not_found(Subject::Volume, id),
        )?;
    }
    Ok(())
}

/// Replaces all keys.
pub fn replace(
    tx: &mut Transaction<'_>,
    id: VolumeId,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    tx.execute(
        "DELETE FROM volume_metadata WHERE volume_id = ?1",
        &[id.into()],
    )?;
    merge(tx, id, metadata)
}

/// Removes a key; false when it is not there.
pub fn remove(tx: &mut Transaction<'_>, id: VolumeId, name: &str) -> Result<bool> {
    let touched = tx.execute(
        "DELETE FROM volume_metadata WHERE volume_id = ?1 AND name = ?2",
        &[id.into(), name.into()],
    )?;
    Ok(touched == 1)
}

/// All keys of a volume.
pub fn load(tx: &mut Transaction<'_>, id: VolumeId) -> Result<BTreeMap<String, String>> {
    let pairs = tx.query(
        "SELECT name, value FROM volume_metadata WHERE volume_id = ?1",
        &[id.into()],
        |row| Ok((row.text(0)?, row.text(1)?)),
    )?;
    Ok(pairs.into_iter().collect())
}

/// `<head> (?1, ?2, ...)` with `count` places, so that every page uses one prepared statement.
pub(super) fn in_list(head: &str, count: usize) -> String {
    let places: Vec<String> = (1..=count).map(|place| format!("?{place}")).collect();
    format!("{head} ({})", places.join(", "))
}

/// The ids as parameters; the last one fills the places that are left.
pub(super) fn padded<I: Copy + Into<Param>>(ids: &[I]) -> Vec<Param> {
    let mut params: Vec<Param> = ids.iter().map(|id| (*id).into()).collect();
    if let Some(last) = params.last().cloned() {
        params.resize(CHUNK, last);
    }
    params
}
