//! Locks of snapshots.

use super::select::{Select, count};
use super::{Row, Transaction};
use crate::error::Result;
use crate::model::id::SnapshotId;
use crate::model::snapshot_lock::{LockMode, LockTerm, SnapshotLock};

const COLUMNS: &str = "k.mode, k.days, k.until_us, k.cool_off_hours, k.cool_off_until_us, k.created_at_us, k.set_at_us";

/// The lock of a snapshot, if it has one, also one that holds no more.
pub fn find(tx: &mut Transaction<'_>, id: SnapshotId) -> Result<Option<SnapshotLock>> {
    tx.query_first(
        &format!("SELECT {COLUMNS} FROM snapshot_locks k WHERE k.snapshot_id = ?1"),
        &[id.into()],
        from_row,
    )
}

/// Puts a lock in the place of whatever the snapshot had.
pub fn set(tx: &mut Transaction<'_>, id: SnapshotId, lock: &SnapshotLock) -> Result<()> {
    remove(tx, id)?;
    let (days, until_us) = match lock.term {
        LockTerm::Days(days) => (Some(days), None),
        LockTerm::Until(until_us) => (None, Some(until_us)),
    };
    tx.execute(
        "INSERT INTO snapshot_locks (snapshot_id, mode, days, until_us, cool_off_hours, cool_off_until_us, created_at_us, set_at_us) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        &[
            id.into(),
            lock.mode.as_str().into(),
            days.into(),
            until_us.into(),
            lock.cool_off_hours.into(),
            lock.cool_off_until_us.into(),
            lock.created_at_us.into(),
            lock.set_at_us.into(),
        ],
    )?;
    Ok(())
}

/// Takes the lock off; false when there was none.
pub fn remove(tx: &mut Transaction<'_>, id: SnapshotId) -> Result<bool> {
    let removed = tx.execute(
        "DELETE FROM snapshot_locks WHERE snapshot_id = ?1",
        &[id.into()],
    )?;
    Ok(removed > 0)
}

/// The next locked snapshots of a project, by the moment they were locked and their ids, with that moment.
pub fn page(
    tx: &mut Transaction<'_>,
    project_id: &str,
    after: Option<(i64, SnapshotId)>,
    limit: usize,
) -> Result<Vec<(i64, SnapshotId)>> {
    let mut select = Select::all();
    select.equal("s.project_id", project_id.into());
    if let Some((created_at_us, id)) = after {
        let (at, id) = (select.param(created_at_us.into()), select.param(id.into()));
        select.condition.push_str(&format!(
            " AND (k.created_at_us, k.snapshot_id) > ({at}, {id})"
        ));
    }
    let limit = select.param(count(limit));
    let sql = format!(
        "SELECT k.created_at_us, k.snapshot_id FROM snapshot_locks k JOIN snapshots s ON s.id = k.snapshot_id \
         WHERE {} ORDER BY k.created_at_us, k.snapshot_id LIMIT {limit}",
        select.condition
    );
    tx.query(&sql, &select.params, |row| {
        Ok((row.int(0)?, row.parsed(1, |text| text.parse().ok())?))
    })
}

fn from_row(row: &Row<'_>) -> Result<SnapshotLock> {
    Ok(SnapshotLock {
        mode: row.parsed(0, LockMode::parse)?,
        term: match (row.opt_int(1)?, row.opt_int(2)?) {
            (Some(days), _) => LockTerm::Days(days),
            // Without either, which is not written, it holds for ever.
            (None, until_us) => LockTerm::Until(until_us.unwrap_or(i64::MAX)),
        },
        cool_off_hours: row.opt_int(3)?,
        cool_off_until_us: row.opt_int(4)?,
        created_at_us: row.int(5)?,
        set_at_us: row.int(6)?,
    })
}
