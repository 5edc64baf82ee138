//! What EC2 knows of snapshots and OpenStack does not: a row only where something is not as usual, or the snapshot is complete.

use uuid::Uuid;

use super::Transaction;
use crate::error::Result;
use crate::model::id::SnapshotId;
use crate::model::snapshot::{SnapshotEbs, SnapshotStatus};

/// Reads the last of `snapshots::COLUMNS`, which has all of it in one text. None for a damaged text.
pub(super) fn parse(text: &str) -> Option<SnapshotEbs> {
    fn id<T: std::str::FromStr>(text: &str) -> Option<Option<T>> {
        if text.is_empty() {
            return Some(None);
        }
        text.parse().ok().map(Some)
    }
    let mut parts = text.split('|');
    let mut part = || parts.next();
    Some(SnapshotEbs {
        completed_at_us: id(part()?)?,
        set_id: id(part()?)?,
        is_copy: part()? == "1",
        copied_from: id(part()?)?,
        flavor_id: id(part()?)?,
        bootable: part()? == "1",
        encryption_key_id: id(part()?)?,
        lineage: id(part()?)?,
        completion_minutes: id(part()?)?,
    })
}

/// Adds what is known of a snapshot whose own row follows in the same transaction; false when there is such a row. Nothing is written
/// for what is as usual.
pub(super) fn insert(tx: &mut Transaction<'_>, id: SnapshotId, ebs: &SnapshotEbs) -> Result<bool> {
    if *ebs == SnapshotEbs::default() {
        return Ok(true);
    }
    let text = |id: Option<Uuid>| id.map(|id| id.to_string());
    let added = tx.execute(
        "INSERT INTO snapshot_ebs (snapshot_id, completed_at_us, set_id, is_copy, copied_from, flavor_id, bootable, \
         encryption_key_id, lineage, completion_minutes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING",
        &[
            id.into(),
            ebs.completed_at_us.into(),
            text(ebs.set_id).into(),
            ebs.is_copy.into(),
            text(ebs.copied_from.map(|id| id.0)).into(),
            text(ebs.flavor_id.map(|id| id.0)).into(),
            ebs.bootable.into(),
            text(ebs.encryption_key_id).into(),
            text(ebs.lineage.map(|id| id.0)).into(),
            ebs.completion_minutes.into(),
        ],
    )?;
    Ok(added == 1)
}

/// Takes back what [`insert`] added, when the snapshot's own row was not.
pub(super) fn remove(tx: &mut Transaction<'_>, id: SnapshotId) -> Result<()> {
    tx.execute(
        "DELETE FROM snapshot_ebs WHERE snapshot_id = ?1 AND NOT EXISTS (SELECT 1 FROM snapshots WHERE id = ?1)",
        &[id.into()],
    )?;
    Ok(())
}

/// Records when a snapshot was complete.
pub fn complete(tx: &mut Transaction<'_>, id: SnapshotId, now_us: i64) -> Result<()> {
    tx.execute(
        "INSERT INTO snapshot_ebs (snapshot_id, completed_at_us, is_copy, bootable) VALUES (?1, ?2, 0, 0) \
         ON CONFLICT (snapshot_id) DO UPDATE SET completed_at_us = excluded.completed_at_us",
        &[id.into(), now_us.into()],
    )?;
    Ok(())
}

/// True while a copy is being made of the snapshot.
pub fn is_being_copied(tx: &mut Transaction<'_>, id: SnapshotId) -> Result<bool> {
    let found = tx.query(
        "SELECT s.id FROM snapshot_ebs e JOIN snapshots s ON s.id = e.snapshot_id \
         WHERE e.copied_from = ?1 AND e.copied_from IS NOT NULL AND s.status = ?2 LIMIT 1",
        &[id.into(), SnapshotStatus::Creating.as_str().into()],
        |row| row.text(0),
    )?;
    Ok(!found.is_empty())
}

/// How many copies are being made in a project; counted up to `most`.
pub fn count_copying(tx: &mut Transaction<'_>, project_id: &str, most: usize) -> Result<usize> {
    let found = tx.query(
        "SELECT s.id FROM snapshots s WHERE s.project_id = ?1 AND s.status = ?2 \
         AND EXISTS (SELECT 1 FROM snapshot_ebs e WHERE e.snapshot_id = s.id AND e.is_copy = 1) LIMIT ?3",
        &[
            project_id.into(),
            SnapshotStatus::Creating.as_str().into(),
            super::select::count(most),
        ],
        |row| row.text(0),
    )?;
    Ok(found.len())
}

/// The snapshots of a set, in the order of their ids.
pub fn members(tx: &mut Transaction<'_>, set_id: Uuid) -> Result<Vec<SnapshotId>> {
    tx.query(
        "SELECT snapshot_id FROM snapshot_ebs WHERE set_id = ?1 AND set_id IS NOT NULL ORDER BY snapshot_id",
        &[set_id.to_string().into()],
        |row| row.parsed(0, |text| text.parse().ok()),
    )
}
