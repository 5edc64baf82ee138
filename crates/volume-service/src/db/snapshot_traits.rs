//! What few snapshots have: a row only where something is not as usual.

use super::{Param, Transaction};
use crate::error::Result;
use crate::model::id::SnapshotId;
use crate::model::snapshot::{SnapshotEbs, SnapshotTraits};

/// Reads the last of `snapshots::COLUMNS`, which has all traits in one text. None for a damaged text.
pub(super) fn parse(text: &str) -> Option<SnapshotTraits> {
    let mut parts = text.splitn(3, '|');
    let mut part = || parts.next();
    Some(SnapshotTraits {
        group_snapshot_id: match part()? {
            "" => None,
            id => Some(id.parse().ok()?),
        },
        is_hand_set: part()? == "1",
        progress: part().filter(|text| !text.is_empty()).map(str::to_owned),
        ebs: SnapshotEbs::default(),
    })
}

fn set(tx: &mut Transaction<'_>, id: SnapshotId, sql: &'static str, value: Param) -> Result<()> {
    tx.execute(
        "INSERT INTO snapshot_traits (snapshot_id, hand_set) VALUES (?1, 0) ON CONFLICT DO NOTHING",
        &[id.into()],
    )?;
    tx.execute(sql, &[id.into(), value])?;
    Ok(())
}

/// Records the group snapshot that it belongs to.
pub fn set_group_snapshot(
    tx: &mut Transaction<'_>,
    id: SnapshotId,
    group_snapshot_id: Option<uuid::Uuid>,
) -> Result<()> {
    let sql = "UPDATE snapshot_traits SET group_snapshot_id = ?2 WHERE snapshot_id = ?1";
    let value = group_snapshot_id.map(|id| id.to_string());
    set(tx, id, sql, value.into())
}

/// Records how far it is taken, as somebody says.
pub fn set_progress(tx: &mut Transaction<'_>, id: SnapshotId, progress: &str) -> Result<()> {
    let sql = "UPDATE snapshot_traits SET progress = ?2 WHERE snapshot_id = ?1";
    set(tx, id, sql, progress.into())
}

/// Marks a snapshot whose state an operator set by hand, or takes the mark off, and with it what was said of its progress.
pub fn set_hand_set(tx: &mut Transaction<'_>, id: SnapshotId, is_hand_set: bool) -> Result<()> {
    if !is_hand_set {
        let sql = "UPDATE snapshot_traits SET hand_set = 0, progress = NULL WHERE snapshot_id = ?1";
        return tx.execute(sql, &[id.into()]).map(drop);
    }
    let sql = "UPDATE snapshot_traits SET hand_set = ?2 WHERE snapshot_id = ?1";
    set(tx, id, sql, is_hand_set.into())
}
