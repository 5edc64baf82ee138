//! Group snapshots. Which snapshots belong to one stands in `snapshot_traits`.

use super::group_list::{self, Listing};
use super::groups::filters;
use super::{Param, Row, Transaction, snapshots};
use crate::app::groups::GroupQuery;
use crate::error::Result;
use crate::model::group::{GroupSnapshot, GroupStatus};
use crate::model::id::{GroupId, GroupSnapshotId, SnapshotId};
use crate::model::snapshot::{Snapshot, SnapshotStatus};

const COLUMNS: &str = "g.id, g.group_id, g.project_id, g.user_id, g.group_type_id, \
                       (SELECT t.name FROM group_types t WHERE t.id = g.group_type_id), g.name, g.description, g.zone, \
                       g.status, g.failure, g.hand_set, g.created_at_us";

/// Adds a group snapshot.
pub fn insert(tx: &mut Transaction<'_>, taken: &GroupSnapshot) -> Result<()> {
    tx.execute(
        "INSERT INTO group_snapshots (id, group_id, project_id, user_id, group_type_id, name, description, zone, status, failure, \
         hand_set, created_at_us, updated_at_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, '', 0, ?10, ?10)",
        &[
            taken.id.into(),
            taken.group_id.into(),
            taken.project_id.as_str().into(),
            taken.user_id.as_str().into(),
            taken.type_id.into(),
            taken.name.as_str().into(),
            taken.description.as_str().into(),
            taken.zone.as_str().into(),
            taken.status.as_str().into(),
            taken.created_at_us.into(),
        ],
    )?;
    Ok(())
}

/// A group snapshot of any project, if it exists.
pub fn find(tx: &mut Transaction<'_>, id: GroupSnapshotId) -> Result<Option<GroupSnapshot>> {
    let sql = format!("SELECT {COLUMNS} FROM group_snapshots g WHERE g.id = ?1");
    tx.query_first(&sql, &[id.into()], from_row)
}

/// The group snapshots behind the marker that match, one more than `limit`.
///
/// # Errors
/// `Invalid` when the marker does not match.
pub fn page(
    tx: &mut Transaction<'_>,
    query: &GroupQuery,
    limit: usize,
) -> Result<Vec<GroupSnapshot>> {
    let mut select = filters(query);
    if let Some(group_id) = query.group_id {
        select.equal("g.group_id", group_id.into());
    }
    let listing = Listing {
        from: "group_snapshots g",
        columns: COLUMNS,
        select,
        sort: &query.sort,
        marker: query.marker,
        offset: query.offset,
        limit,
    };
    group_list::page(tx, listing, from_row)
}

/// True while a group has snapshots.
pub fn exist(tx: &mut Transaction<'_>, id: GroupId) -> Result<bool> {
    let sql = "SELECT id FROM group_snapshots WHERE group_id = ?1 LIMIT 1";
    Ok(tx.query_first(sql, &[id.into()], |_| Ok(()))?.is_some())
}

/// Locks the row until the transaction ends: whoever goes by the states of its members locks it first. False when it is gone.
pub fn lock(tx: &mut Transaction<'_>, id: GroupSnapshotId) -> Result<bool> {
    let sql = "SELECT id FROM group_snapshots WHERE id = ?1 /* for update */";
    Ok(tx.query_first(sql, &[id.into()], |_| Ok(()))?.is_some())
}

/// As [`lock`], for who may know of the group snapshots of this project only (none for who may know of all): another project's is not locked,
/// so that nobody can keep its owners waiting.
pub fn lock_of(
    tx: &mut Transaction<'_>,
    id: GroupSnapshotId,
    project: Option<&str>,
) -> Result<bool> {
    let Some(project) = project else {
        return lock(tx, id);
    };
    let sql = "SELECT id FROM group_snapshots WHERE id = ?1 AND project_id = ?2 /* for update */";
    Ok(tx
        .query_first(sql, &[id.into(), project.into()], |_| Ok(()))?
        .is_some())
}

/// The snapshots that belong to it, by the age of their volumes' snapshots.
pub fn members(tx: &mut Transaction<'_>, id: GroupSnapshotId) -> Result<Vec<Snapshot>> {
    let ids: Vec<SnapshotId> = tx.query(
        "SELECT s.id FROM snapshot_traits t JOIN snapshots s ON s.id = t.snapshot_id \
         WHERE t.group_snapshot_id = ?1 AND t.group_snapshot_id IS NOT NULL ORDER BY s.created_at_us, s.volume_id, s.id",
        &[id.into()],
        |row| row.parsed(0, |text| text.parse().ok()),
    )?;
    let mut found = Vec::new();
    for id in ids {
        found.extend(snapshots::find(tx, id)?);
    }
    Ok(found)
}

/// Gives a group snapshot a state, and says whether an operator did.
pub fn set_status(
    tx: &mut Transaction<'_>,
    id: GroupSnapshotId,
    status: GroupStatus,
    failure: &str,
    is_hand_set: bool,
    now_us: i64,
) -> Result<bool> {
    let touched = tx.execute(
        "UPDATE group_snapshots SET status = ?2, failure = ?3, hand_set = ?4, updated_at_us = ?5 WHERE id = ?1",
        &[
            id.into(),
            status.as_str().into(),
            failure.into(),
            is_hand_set.into(),
            now_us.into(),
        ],
    )?;
    Ok(touched == 1)
}

/// Takes a group snapshot further that is being deleted: it goes with the last snapshot. Every transaction that ends the removal of
/// such a snapshot ends with this; the lock lets only the last one find that it is the last.
pub fn settle(tx: &mut Transaction<'_>, id: GroupSnapshotId, now_us: i64) -> Result<bool> {
    lock(tx, id)?;
    let found = find(tx, id)?;
    let is_going =
        |taken: &GroupSnapshot| taken.status == GroupStatus::Deleting && !taken.is_hand_set;
    if !found.as_ref().is_some_and(is_going) {
        return Ok(false);
    }
    let states: Vec<SnapshotStatus> = tx.query(
        "SELECT s.status FROM snapshot_traits t JOIN snapshots s ON s.id = t.snapshot_id \
         WHERE t.group_snapshot_id = ?1 AND t.group_snapshot_id IS NOT NULL",
        &[id.into()],
        |row| row.parsed(0, SnapshotStatus::parse),
    )?;
    if states.is_empty() {
        return Ok(tx.execute("DELETE FROM group_snapshots WHERE id = ?1", &[id.into()])? == 1);
    }
    if states.contains(&SnapshotStatus::Deleting) {
        return Ok(false);
    }
    let failure = format!("{} snapshots could not be removed", states.len());
    set_status(tx, id, GroupStatus::ErrorDeleting, &failure, false, now_us)
}

/// Up to `limit` group snapshots of a zone in a state that they should leave by themselves, for reconcilers.
pub fn on_their_way(
    tx: &mut Transaction<'_>,
    zone: &str,
    limit: usize,
) -> Result<Vec<(GroupSnapshotId, GroupStatus)>> {
    tx.query(
        "SELECT id, status FROM group_snapshots WHERE zone = ?1 AND status IN ('creating', 'deleting') \
         AND status <> 'available' AND status <> 'error' AND hand_set = 0 ORDER BY created_at_us LIMIT ?2",
        &[
            zone.into(),
            i64::try_from(limit).unwrap_or(i64::MAX).into(),
        ],
        |row| {
            let id: GroupSnapshotId = row.parsed(0, |text| text.parse().ok())?;
            Ok((id, row.parsed(1, GroupStatus::parse)?))
        },
    )
}

fn from_row(row: &Row<'_>) -> Result<GroupSnapshot> {
    Ok(GroupSnapshot {
        id: row.parsed(0, |text| text.parse().ok())?,
        group_id: row.parsed(1, |text| text.parse().ok())?,
        project_id: row.text(2)?,
        user_id: row.text(3)?,
        type_id: row.parsed(4, |text| text.parse().ok())?,
        type_name: row.opt_text(5)?.unwrap_or_default(),
        name: row.text(6)?,
        description: row.text(7)?,
        zone: row.text(8)?,
        status: row.parsed(9, GroupStatus::parse)?,
        failure: row.text(10)?,
        is_hand_set: row.int(11)? != 0,
        created_at_us: row.int(12)?,
    })
}

impl From<GroupSnapshotId> for Param {
    fn from(id: GroupSnapshotId) -> Self {
        Param::Text(id.to_string())
    }
}
