//! The user's own keys on a volume.

use std::collections::{BTreeMap, HashMap};

use super::{Param, Transaction};
use crate::error::Result;
use crate::model::id::VolumeId;
use crate::model::volume::Volume;

/// Volumes (or snapshots) whose rows one statement reads.
pub(super) const CHUNK: usize = 128;

/// Adds or replaces keys.
pub fn merge(
    tx: &mut Transaction<'_>,
    id: VolumeId,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    for (name, value) in metadata {
        tx.execute(
            "INSERT INTO volume_metadata (volume_id, name, value) VALUES (?1, ?2, ?3) \
             ON CONFLICT (volume_id, name) DO UPDATE SET value = excluded.value",
            &[id.into(), name.as_str().into(), value.as_str().into()],
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

/// Fills in the metadata of a page of volumes.
pub(super) fn fill(tx: &mut Transaction<'_>, volumes: &mut [Volume]) -> Result<()> {
    if let [only] = volumes {
        only.metadata = load(tx, only.id)?;
        return Ok(());
    }
    let mut places: HashMap<String, usize> = volumes
        .iter()
        .enumerate()
        .map(|(place, volume)| (volume.id.to_string(), place))
        .collect();
    let sql = in_list(
        "SELECT volume_id, name, value FROM volume_metadata WHERE volume_id IN",
        CHUNK,
    );
    let ids: Vec<VolumeId> = volumes.iter().map(|volume| volume.id).collect();
    for chunk in ids.chunks(CHUNK) {
        let found = tx.query(&sql, &padded(chunk), |row| {
            Ok((row.text(0)?, row.text(1)?, row.text(2)?))
        })?;
        for (id, name, value) in found {
            if let Some(place) = places.get_mut(&id) {
                volumes[*place].metadata.insert(name, value);
            }
        }
    }
    Ok(())
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
