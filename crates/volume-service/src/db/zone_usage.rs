//! What lies in a zone, by project.

use super::Transaction;
use crate::error::Result;

/// What a project has in a zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZoneUsage {
    /// The project.
    pub project_id: String,
    /// Volumes.
    pub volumes: i64,
    /// Their GiB.
    pub volume_gib: i64,
    /// Snapshots.
    pub snapshots: i64,
    /// Their GiB.
    pub snapshot_gib: i64,
}

/// What each project has in a zone, at most `limit` projects.
pub fn by_project(tx: &mut Transaction<'_>, zone: &str, limit: usize) -> Result<Vec<ZoneUsage>> {
    tx.query(
        "SELECT project_id, CAST(SUM(volumes) AS BIGINT), CAST(SUM(volume_gib) AS BIGINT), CAST(SUM(snapshots) AS BIGINT), \
         CAST(SUM(snapshot_gib) AS BIGINT) FROM \
         (SELECT project_id, COUNT(*) AS volumes, SUM(size_gib) AS volume_gib, 0 AS snapshots, 0 AS snapshot_gib \
         FROM volumes WHERE zone = ?1 GROUP BY project_id \
         UNION ALL SELECT project_id, 0, 0, COUNT(*), SUM(size_gib) FROM snapshots WHERE zone = ?1 GROUP BY project_id) AS parts \
         GROUP BY project_id ORDER BY project_id LIMIT ?2",
        &[zone.into(), i64::try_from(limit).unwrap_or(i64::MAX).into()],
        |row| {
            Ok(ZoneUsage {
                project_id: row.text(0)?,
                volumes: row.int(1)?,
                volume_gib: row.int(2)?,
                snapshots: row.int(3)?,
                snapshot_gib: row.int(4)?,
            })
        },
    )
}
