//! Volumes that are being extended, and by how much.

use super::Transaction;
use crate::error::Result;
use crate::model::volume::Volume;

/// Records that a volume is being extended to a larger size: what it will have more counts as used from now on. False, with
/// nothing changed, when it is being extended already or is that large.
pub fn insert(tx: &mut Transaction<'_>, volume: &Volume, size_gib: u64) -> Result<bool> {
    let added_gib = i64::try_from(size_gib.saturating_sub(volume.size_gib)).unwrap_or(i64::MAX);
    if added_gib == 0 {
        return Ok(false);
    }
    let added = tx.execute(
        "INSERT INTO volume_extensions (volume_id, project_id, added_gib) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        &[
            volume.id.into(),
            volume.project_id.as_str().into(),
            added_gib.into(),
        ],
    )?;
    Ok(added == 1)
}

/// Gives a volume the size that it was being extended to; false when it was not being extended.
pub fn finish(tx: &mut Transaction<'_>, volume: &Volume) -> Result<bool> {
    let Some(size_gib) = volume.extending_to_gib else {
        return Ok(false);
    };
    tx.execute(
        "UPDATE volumes SET size_gib = ?2 WHERE id = ?1",
        &[
            volume.id.into(),
            i64::try_from(size_gib).unwrap_or(i64::MAX).into(),
        ],
    )?;
    remove(tx, volume)
}

/// Takes an extension back; false when there was none.
pub fn remove(tx: &mut Transaction<'_>, volume: &Volume) -> Result<bool> {
    let removed = tx.execute(
        "DELETE FROM volume_extensions WHERE volume_id = ?1",
        &[volume.id.into()],
    )?;
    Ok(removed == 1)
}
