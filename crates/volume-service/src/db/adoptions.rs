//! Volumes and snapshots that are made of VDIs that are there already, until their operation has found those.

use super::{Param, Transaction};
use crate::error::Result;
use crate::model::adoption::Reference;
use crate::model::id::{SnapshotId, VolumeId};

fn params(id: Param, reference: &Reference) -> [Param; 3] {
    let (text, is_uuid) = match reference {
        Reference::Name(name) => (name.clone(), false),
        Reference::Uuid(uuid) => (uuid.to_string(), true),
    };
    [id, text.into(), is_uuid.into()]
}

fn from_parts((text, is_uuid): (String, i64)) -> Option<Reference> {
    if is_uuid == 0 {
        return Some(Reference::Name(text));
    }
    text.parse().ok().map(Reference::Uuid)
}

/// Records which VDI a volume is to be made of.
pub fn insert_volume(tx: &mut Transaction<'_>, id: VolumeId, reference: &Reference) -> Result<()> {
    tx.execute(
        "INSERT INTO volume_adoptions (volume_id, reference, is_uuid) VALUES (?1, ?2, ?3)",
        &params(id.into(), reference),
    )?;
    Ok(())
}

/// The VDI that a volume is to be made of.
pub fn of_volume(tx: &mut Transaction<'_>, id: VolumeId) -> Result<Option<Reference>> {
    let found = tx.query_first(
        "SELECT reference, is_uuid FROM volume_adoptions WHERE volume_id = ?1",
        &[id.into()],
        |row| Ok((row.text(0)?, row.int(1)?)),
    )?;
    Ok(found.and_then(from_parts))
}

/// Records which VDI a snapshot is to be made of.
pub fn insert_snapshot(
    tx: &mut Transaction<'_>,
    id: SnapshotId,
    reference: &Reference,
) -> Result<()> {
    tx.execute(
        "INSERT INTO snapshot_adoptions (snapshot_id, reference, is_uuid) VALUES (?1, ?2, ?3)",
        &params(id.into(), reference),
    )?;
    Ok(())
}

/// The VDI that a snapshot is to be made of.
pub fn of_snapshot(tx: &mut Transaction<'_>, id: SnapshotId) -> Result<Option<Reference>> {
    let found = tx.query_first(
        "SELECT reference, is_uuid FROM snapshot_adoptions WHERE snapshot_id = ?1",
        &[id.into()],
        |row| Ok((row.text(0)?, row.int(1)?)),
    )?;
    Ok(found.and_then(from_parts))
}
