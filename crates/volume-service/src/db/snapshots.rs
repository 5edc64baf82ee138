//! Snapshots: the row from the request to the end. Lists are in `snapshot_list.rs`, metadata in `snapshot_metadata.rs`.

use std::collections::HashMap;

use uuid::Uuid;

use super::{
    Param, Row, Transaction, ec2_names, snapshot_ebs, snapshot_metadata, snapshot_traits,
    volume_metadata,
};
use crate::error::{Error, Result, Subject};
use crate::model::id::{BackendId, FlavorId, SnapshotId, VolumeId};
use crate::model::snapshot::{Snapshot, SnapshotStatus, SnapshotTraits};

pub(super) const COLUMNS: &str = "s.id, s.ec2_id, s.project_id, s.user_id, s.volume_id, s.name, s.description, s.size_gib, \
                                  s.status, s.zone, s.backend_id, s.vdi_uuid, s.failure, s.created_at_us, s.updated_at_us, \
                                  (SELECT COALESCE(t.group_snapshot_id, '') || '|' || CAST(t.hand_set AS TEXT) || '|' || \
                                  COALESCE(t.progress, '') FROM snapshot_traits t WHERE t.snapshot_id = s.id), \
                                  (SELECT COALESCE(CAST(e.completed_at_us AS TEXT), '') || '|' || COALESCE(e.set_id, '') || '|' || \
                                  CAST(e.is_copy AS TEXT) || '|' || COALESCE(e.copied_from, '') || '|' || \
                                  COALESCE(e.flavor_id, '') || '|' || CAST(e.bootable AS TEXT) || '|' || \
                                  COALESCE(e.encryption_key_id, '') || '|' || COALESCE(e.lineage, '') || '|' || \
                                  COALESCE(CAST(e.completion_minutes AS TEXT), '') \
                                  FROM snapshot_ebs e WHERE e.snapshot_id = s.id)";

/// Adds a snapshot with its metadata and what EC2 knows of it; false, with nothing changed, when its id or EC2 name exists.
pub fn insert(tx: &mut Transaction<'_>, snapshot: &Snapshot) -> Result<bool> {
    // Before the snapshot, which is counted for the flavor that stands there.
    if !snapshot_ebs::insert(tx, snapshot.id, &snapshot.traits.ebs)? {
        return Ok(false);
    }
    let added = tx.execute(
        "INSERT INTO snapshots (id, ec2_id, project_id, user_id, volume_id, name, description, size_gib, status, zone, \
         backend_id, vdi_uuid, failure, created_at_us, updated_at_us) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, 0) ON CONFLICT DO NOTHING",
        &[
            snapshot.id.into(),
            snapshot.ec2_id.as_str().into(),
            snapshot.project_id.as_str().into(),
            snapshot.user_id.as_str().into(),
            snapshot.volume_id.into(),
            snapshot.name.as_str().into(),
            snapshot.description.as_str().into(),
            i64::try_from(snapshot.size_gib).unwrap_or(i64::MAX).into(),
            snapshot.status.as_str().into(),
            snapshot.zone.as_str().into(),
            snapshot.backend_id.into(),
            snapshot.vdi_uuid.map(|vdi| vdi.to_string()).into(),
            snapshot.failure.as_str().into(),
            snapshot.created_at_us.into(),
        ],
    )?;
    if added == 0 {
        snapshot_ebs::remove(tx, snapshot.id)?;
        return Ok(false);
    }
    snapshot_metadata::merge(tx, snapshot.id, &snapshot.metadata)?;
    Ok(true)
}

/// A snapshot of any project, if it exists; for workers and administrators.
pub fn find(tx: &mut Transaction<'_>, id: SnapshotId) -> Result<Option<Snapshot>> {
    let found = tx.query_first(
        &format!("SELECT {COLUMNS} FROM snapshots s WHERE s.id = ?1"),
        &[id.into()],
        from_row,
    )?;
    let mut found: Vec<Snapshot> = found.into_iter().collect();
    snapshot_metadata::fill(tx, &mut found)?;
    Ok(found.pop())
}

/// A snapshot of any project; for workers and administrators.
///
/// # Errors
/// `NotFound` when it does not exist.
pub fn get(tx: &mut Transaction<'_>, id: SnapshotId) -> Result<Snapshot> {
    find(tx, id)?.ok_or_else(|| Error::not_found(Subject::Snapshot, id))
}

/// The snapshots of a project (or of all) with these EC2 names, by their names; what is no whole name is passed over.
pub fn find_by_ec2_ids(
    tx: &mut Transaction<'_>,
    project_id: Option<&str>,
    ec2_ids: &[String],
) -> Result<HashMap<String, Snapshot>> {
    let wanted = ec2_names::whole(ec2_ids, "snap-");
    let mut found = Vec::with_capacity(wanted.len());
    for chunk in wanted.chunks(volume_metadata::CHUNK) {
        let head = format!("SELECT {COLUMNS} FROM snapshots s WHERE s.ec2_id IN");
        let (sql, params) = ec2_names::in_list(&head, chunk);
        found.extend(tx.query(&sql, &params, from_row)?);
    }
    found.retain(|snapshot| project_id.is_none_or(|project| project == snapshot.project_id));
    snapshot_metadata::fill(tx, &mut found)?;
    let by_name = |snapshot: Snapshot| (snapshot.ec2_id.clone(), snapshot);
    Ok(found.into_iter().map(by_name).collect())
}

/// The one snapshot of a project (or of all) whose EC2 name begins with a short one; none when two do.
pub fn find_by_short_ec2_id(
    tx: &mut Transaction<'_>,
    project_id: Option<&str>,
    short: &str,
) -> Result<Option<Snapshot>> {
    let Some(within) = ec2_names::short(short, "snap-") else {
        return Ok(None);
    };
    let (sql, params) = ec2_names::beginning("snapshots", within, project_id);
    let ids: Vec<SnapshotId> =
        tx.query(&sql, &params, |row| row.parsed(0, |text| text.parse().ok()))?;
    match ids[..] {
        [id] => find(tx, id),
        _ => Ok(None),
    }
}

/// The snapshots of a volume, newest first.
pub fn of_volume(tx: &mut Transaction<'_>, volume_id: VolumeId) -> Result<Vec<Snapshot>> {
    let mut found = tx.query(
        &format!(
            "SELECT {COLUMNS} FROM snapshots s WHERE s.volume_id = ?1 ORDER BY s.created_at_us DESC, s.id DESC"
        ),
        &[volume_id.into()],
        from_row,
    )?;
    snapshot_metadata::fill(tx, &mut found)?;
    Ok(found)
}

/// The newest snapshot of a volume.
pub fn latest_of_volume(
    tx: &mut Transaction<'_>,
    volume_id: VolumeId,
) -> Result<Option<SnapshotId>> {
    tx.query_first(
        "SELECT id FROM snapshots WHERE volume_id = ?1 ORDER BY created_at_us DESC, id DESC LIMIT 1",
        &[volume_id.into()],
        |row| row.parsed(0, |text| text.parse().ok()),
    )
}

/// How many snapshots a volume has; counted up to `most`.
pub fn count_of_volume(
    tx: &mut Transaction<'_>,
    volume_id: VolumeId,
    most: usize,
) -> Result<usize> {
    let found = tx.query_first(
        "SELECT COUNT(*) FROM (SELECT id FROM snapshots WHERE volume_id = ?1 LIMIT ?2) AS counted",
        &[
            volume_id.into(),
            i64::try_from(most).unwrap_or(i64::MAX).into(),
        ],
        |row| row.int(0),
    )?;
    Ok(usize::try_from(found.unwrap_or(0)).unwrap_or(0))
}

/// The flavor of the volume that the snapshot was taken of and that is gone, and whether an instance may boot from it.
pub fn origin(tx: &mut Transaction<'_>, id: SnapshotId) -> Result<Option<(FlavorId, bool)>> {
    tx.query_first(
        "SELECT flavor_id, bootable FROM snapshot_origins WHERE snapshot_id = ?1",
        &[id.into()],
        |row| Ok((row.parsed(0, |text| text.parse().ok())?, row.int(1)? != 0)),
    )
}

/// How many snapshots of volumes that are gone are on a backend.
pub fn count_orphans(tx: &mut Transaction<'_>, backend_id: BackendId) -> Result<u64> {
    let found = tx.query_first(
        "SELECT COUNT(*) FROM snapshots s WHERE s.backend_id = ?1 \
         AND NOT EXISTS (SELECT 1 FROM volumes v WHERE v.id = s.volume_id)",
        &[backend_id.into()],
        |row| row.int(0),
    )?;
    Ok(u64::try_from(found.unwrap_or(0)).unwrap_or(0))
}

/// A snapshot of the volume in this state, without its metadata.
pub fn find_in(
    tx: &mut Transaction<'_>,
    volume_id: VolumeId,
    status: SnapshotStatus,
) -> Result<Option<Snapshot>> {
    tx.query_first(
        &format!(
            "SELECT {COLUMNS} FROM snapshots s WHERE s.volume_id = ?1 AND s.status = ?2 LIMIT 1"
        ),
        &[volume_id.into(), status.as_str().into()],
        from_row,
    )
}

/// True while a snapshot of the volume exists.
pub fn exist(tx: &mut Transaction<'_>, volume_id: VolumeId) -> Result<bool> {
    let found = tx.query(
        "SELECT id FROM snapshots WHERE volume_id = ?1 LIMIT 1",
        &[volume_id.into()],
        |row| row.text(0),
    )?;
    Ok(!found.is_empty())
}

/// True while a snapshot of the volume is in this state.
pub fn exist_in(
    tx: &mut Transaction<'_>,
    volume_id: VolumeId,
    status: SnapshotStatus,
) -> Result<bool> {
    let found = tx.query(
        "SELECT id FROM snapshots WHERE volume_id = ?1 AND status = ?2 LIMIT 1",
        &[volume_id.into(), status.as_str().into()],
        |row| row.text(0),
    )?;
    Ok(!found.is_empty())
}

/// Moves a snapshot to a state if it is in one of some states; false, with nothing changed, when it is not (or is gone).
pub fn change_status(
    tx: &mut Transaction<'_>,
    id: SnapshotId,
    from: &[SnapshotStatus],
    to: SnapshotStatus,
    now_us: i64,
) -> Result<bool> {
    let Some(first) = from.first() else {
        return Ok(false);
    };
    let mut params: Vec<Param> = vec![id.into(), to.as_str().into(), now_us.into()];
    params.extend(from.iter().map(|status| Param::from(status.as_str())));
    // One statement text for any number of states: the first one fills the places that are left.
    params.resize(3 + SnapshotStatus::ALL.len(), first.as_str().into());
    let touched = tx.execute(
        "UPDATE snapshots SET status = ?2, updated_at_us = ?3 WHERE id = ?1 \
         AND status IN (?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        &params,
    )?;
    Ok(touched == 1)
}

/// Records where the snapshot is being, or was, taken.
pub fn set_backend(
    tx: &mut Transaction<'_>,
    id: SnapshotId,
    backend_id: Option<BackendId>,
) -> Result<bool> {
    let touched = tx.execute(
        "UPDATE snapshots SET backend_id = ?2 WHERE id = ?1",
        &[id.into(), backend_id.into()],
    )?;
    Ok(touched == 1)
}

/// Records the VDI of a snapshot; none takes it back.
pub fn set_vdi(tx: &mut Transaction<'_>, id: SnapshotId, vdi_uuid: Option<Uuid>) -> Result<bool> {
    let touched = tx.execute(
        "UPDATE snapshots SET vdi_uuid = ?2 WHERE id = ?1",
        &[id.into(), vdi_uuid.map(|vdi| vdi.to_string()).into()],
    )?;
    Ok(touched == 1)
}

/// Records why the last operation failed; empty clears it.
pub fn set_failure(tx: &mut Transaction<'_>, id: SnapshotId, failure: &str) -> Result<bool> {
    let touched = tx.execute(
        "UPDATE snapshots SET failure = ?2 WHERE id = ?1",
        &[id.into(), failure.into()],
    )?;
    Ok(touched == 1)
}

/// Changes the name, the description, or both; false when the snapshot is gone.
pub fn rename(
    tx: &mut Transaction<'_>,
    id: SnapshotId,
    name: Option<&str>,
    description: Option<&str>,
    now_us: i64,
) -> Result<bool> {
    let touched = tx.execute(
        "UPDATE snapshots SET name = COALESCE(?2, name), description = COALESCE(?3, description), updated_at_us = ?4 WHERE id = ?1",
        &[id.into(), name.into(), description.into(), now_us.into()],
    )?;
    Ok(touched == 1)
}

/// Locks the row until the transaction ends (on SQLite every transaction that writes is alone); false when it is gone.
pub fn lock(tx: &mut Transaction<'_>, id: SnapshotId) -> Result<bool> {
    let found = tx.query(
        "SELECT id FROM snapshots WHERE id = ?1 /* for update */",
        &[id.into()],
        |row| row.text(0),
    )?;
    Ok(!found.is_empty())
}

/// As [`lock`], for who may know of the snapshots of this project only (none for who may know of all): another project's is not locked,
/// so that nobody can keep its owners waiting.
pub fn lock_of(tx: &mut Transaction<'_>, id: SnapshotId, project: Option<&str>) -> Result<bool> {
    let Some(project) = project else {
        return lock(tx, id);
    };
    let sql = "SELECT id FROM snapshots WHERE id = ?1 AND project_id = ?2 /* for update */";
    Ok(tx
        .query_first(sql, &[id.into(), project.into()], |_| Ok(()))?
        .is_some())
}

/// Removes the row for good, with its metadata.
pub fn remove(tx: &mut Transaction<'_>, id: SnapshotId) -> Result<bool> {
    Ok(tx.execute("DELETE FROM snapshots WHERE id = ?1", &[id.into()])? == 1)
}

/// Removes the rows of those snapshots of a volume that are being deleted; a failure may come with a later statement.
pub fn remove_deleting_of(tx: &mut Transaction<'_>, volume_id: VolumeId) -> Result<()> {
    tx.send(
        "DELETE FROM snapshots WHERE volume_id = ?1 AND status = 'deleting'",
        vec![volume_id.into()],
    )
}

/// Up to `limit` snapshots of a zone in one state, without their metadata, for reconcilers.
pub fn in_status(
    tx: &mut Transaction<'_>,
    zone: &str,
    status: SnapshotStatus,
    limit: usize,
) -> Result<Vec<Snapshot>> {
    tx.query(
        &format!(
            "SELECT {COLUMNS} FROM snapshots s WHERE s.zone = ?1 AND s.status = ?2 ORDER BY s.created_at_us LIMIT ?3"
        ),
        &[
            zone.into(),
            status.as_str().into(),
            i64::try_from(limit).unwrap_or(i64::MAX).into(),
        ],
        from_row,
    )
}

pub(super) fn from_row(row: &Row<'_>) -> Result<Snapshot> {
    Ok(Snapshot {
        id: row.parsed(0, |text| text.parse().ok())?,
        ec2_id: row.text(1)?,
        project_id: row.text(2)?,
        user_id: row.text(3)?,
        volume_id: row.parsed(4, |text| text.parse().ok())?,
        name: row.text(5)?,
        description: row.text(6)?,
        size_gib: u64::try_from(row.int(7)?).unwrap_or(0),
        status: row.parsed(8, SnapshotStatus::parse)?,
        zone: row.text(9)?,
        backend_id: row.opt_int(10)?.map(BackendId),
        vdi_uuid: row.opt_parsed(11, |text| text.parse().ok())?,
        metadata: std::collections::BTreeMap::new(),
        traits: SnapshotTraits {
            ebs: row.opt_parsed(16, snapshot_ebs::parse)?.unwrap_or_default(),
            ..row
                .opt_parsed(15, snapshot_traits::parse)?
                .unwrap_or_default()
        },
        failure: row.text(12)?,
        created_at_us: row.int(13)?,
        updated_at_us: Some(row.int(14)?).filter(|at| *at != 0),
    })
}

impl From<SnapshotId> for Param {
    fn from(id: SnapshotId) -> Self {
        Param::Text(id.to_string())
    }
}
