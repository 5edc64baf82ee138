//! Which projects may make volumes of snapshots and copy them, besides their own.

use super::Transaction;
use super::select::Select;
use crate::error::Result;
use crate::model::id::SnapshotId;
use crate::model::snapshot_sharing::{BLOCK_ALL, EVERYBODY, PUBLIC_ACCESS};

/// Which snapshots a list is of, by whom they are shared with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shared {
    /// Only those that any of these projects may use without owning them ([`EVERYBODY`] for those that are public). None for all.
    pub with: Option<Vec<String>>,
    /// Only those of these projects; empty for all.
    pub owners: Vec<String>,
    /// None of this project's.
    pub not_of: Option<String>,
}

/// Adds the conditions to those of a list of snapshots.
pub(super) fn narrow(select: &mut Select, shared: &Shared) {
    select.one_of(
        "s.project_id",
        shared.owners.iter().map(|owner| owner.as_str().into()),
    );
    if let Some(project) = &shared.not_of {
        let place = select.param(project.as_str().into());
        select
            .condition
            .push_str(&format!(" AND s.project_id <> {place}"));
    }
    let Some(with) = &shared.with else { return };
    let mut ways = vec!["1 = 0".to_owned()];
    let named: Vec<String> = with
        .iter()
        .filter(|project| *project != EVERYBODY)
        .map(|project| select.param(project.as_str().into()))
        .collect();
    if !named.is_empty() {
        ways.push(format!(
            "s.id IN (SELECT h.snapshot_id FROM snapshot_shares h WHERE h.project_id IN ({}))",
            named.join(", ")
        ));
    }
    if with.iter().any(|project| project == EVERYBODY) {
        let all = select.param(EVERYBODY.into());
        let (name, value) = (
            select.param(PUBLIC_ACCESS.into()),
            select.param(BLOCK_ALL.into()),
        );
        ways.push(format!(
            "(s.id IN (SELECT h.snapshot_id FROM snapshot_shares h WHERE h.project_id = {all}) AND NOT EXISTS \
             (SELECT 1 FROM project_settings p WHERE p.project_id = s.project_id AND p.name = {name} AND p.value = {value}))"
        ));
    }
    select
        .condition
        .push_str(&format!(" AND ({})", ways.join(" OR ")));
}

/// The projects that a snapshot is shared with, sorted.
pub fn of(tx: &mut Transaction<'_>, id: SnapshotId) -> Result<Vec<String>> {
    tx.query(
        "SELECT project_id FROM snapshot_shares WHERE snapshot_id = ?1 ORDER BY project_id",
        &[id.into()],
        |row| row.text(0),
    )
}

/// True when the snapshot is shared with this very project.
pub fn is_with(tx: &mut Transaction<'_>, id: SnapshotId, project_id: &str) -> Result<bool> {
    let found = tx.query(
        "SELECT project_id FROM snapshot_shares WHERE snapshot_id = ?1 AND project_id = ?2",
        &[id.into(), project_id.into()],
        |row| row.text(0),
    )?;
    Ok(!found.is_empty())
}

/// Shares a snapshot with a project.
pub fn add(tx: &mut Transaction<'_>, id: SnapshotId, project_id: &str, now_us: i64) -> Result<()> {
    tx.execute(
        "INSERT INTO snapshot_shares (snapshot_id, project_id, created_at_us) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        &[id.into(), project_id.into(), now_us.into()],
    )?;
    Ok(())
}

/// Ends the share with a project.
pub fn remove(tx: &mut Transaction<'_>, id: SnapshotId, project_id: &str) -> Result<()> {
    tx.execute(
        "DELETE FROM snapshot_shares WHERE snapshot_id = ?1 AND project_id = ?2",
        &[id.into(), project_id.into()],
    )?;
    Ok(())
}

/// Ends all shares of a snapshot.
pub fn clear(tx: &mut Transaction<'_>, id: SnapshotId) -> Result<()> {
    tx.execute(
        "DELETE FROM snapshot_shares WHERE snapshot_id = ?1",
        &[id.into()],
    )?;
    Ok(())
}
