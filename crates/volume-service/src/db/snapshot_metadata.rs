//! The user's own keys on a snapshot.

use std::collections::{BTreeMap, HashMap};

use super::Transaction;
use super::volume_metadata::{CHUNK, in_list, padded};
use crate::error::Result;
use crate::model::id::SnapshotId;
use crate::model::snapshot::Snapshot;

/// Adds or replaces keys.
pub fn merge(
    tx: &mut Transaction<'_>,
    id: SnapshotId,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    for (name, value) in metadata {
        tx.execute(
            "INSERT INTO snapshot_metadata (snapshot_id, name, value) VALUES (?1, ?2, ?3) \
             ON CONFLICT (snapshot_id, name) DO UPDATE SET value = excluded.value",
            &[id.into(), name.as_str().into(), value.as_str().into()],
        )?;
    }
    Ok(())
}

/// Replaces all keys.
pub fn replace(
    tx: &mut Transaction<'_>,
    id: SnapshotId,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    tx.execute(
        "DELETE FROM snapshot_metadata WHERE snapshot_id = ?1",
        &[id.into()],
    )?;
    merge(tx, id, metadata)
}

/// Removes a key; false when it is not there.
pub fn remove(tx: &mut Transaction<'_>, id: SnapshotId, name: &str) -> Result<bool> {
    let touched = tx.execute(
        "DELETE FROM snapshot_metadata WHERE snapshot_id = ?1 AND name = ?2",
        &[id.into(), name.into()],
    )?;
    Ok(touched == 1)
}

/// All keys of a snapshot.
pub fn load(tx: &mut Transaction<'_>, id: SnapshotId) -> Result<BTreeMap<String, String>> {
    let pairs = tx.query(
        "SELECT name, value FROM snapshot_metadata WHERE snapshot_id = ?1",
        &[id.into()],
        |row| Ok((row.text(0)?, row.text(1)?)),
    )?;
    Ok(pairs.into_iter().collect())
}

/// Fills in the metadata of a page of snapshots.
pub(super) fn fill(tx: &mut Transaction<'_>, snapshots: &mut [Snapshot]) -> Result<()> {
    if let [only] = snapshots {
        only.metadata = load(tx, only.id)?;
        return Ok(());
    }
    let mut places: HashMap<String, usize> = snapshots
        .iter()
        .enumerate()
        .map(|(place, snapshot)| (snapshot.id.to_string(), place))
        .collect();
    let sql = in_list(
        "SELECT snapshot_id, name, value FROM snapshot_metadata WHERE snapshot_id IN",
        CHUNK,
    );
    let ids: Vec<SnapshotId> = snapshots.iter().map(|snapshot| snapshot.id).collect();
    for chunk in ids.chunks(CHUNK) {
        let found = tx.query(&sql, &padded(chunk), |row| {
            Ok((row.text(0)?, row.text(1)?, row.text(2)?))
        })?;
        for (id, name, value) in found {
            if let Some(place) = places.get_mut(&id) {
                snapshots[*place].metadata.insert(name, value);
            }
        }
    }
    Ok(())
}
