//! Snapshots that clients write block by block.

use super::{Row, Transaction};
use crate::error::Result;
use crate::model::id::{SnapshotId, VolumeId};

/// Where an upload stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadState {
    /// Blocks are written.
    Open,
    /// All were; a snapshot is to be taken, unless it failed.
    Sealed,
    /// Nothing comes of it.
    Failed,
}

impl UploadState {
    const ALL: [UploadState; 3] = [UploadState::Open, UploadState::Sealed, UploadState::Failed];

    fn as_str(self) -> &'static str {
        match self {
            UploadState::Open => "open",
            UploadState::Sealed => "sealed",
            UploadState::Failed => "failed",
        }
    }
}

/// A snapshot that is being written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The volume that it is written to.
    pub volume_id: VolumeId,
    /// The snapshot; it may be gone.
    pub snapshot_id: SnapshotId,
    /// How long nobody may write, in microseconds.
    pub timeout_us: i64,
    /// When it is given up, in microseconds since 1970.
    pub deadline_us: i64,
    /// Where it stands.
    pub state: UploadState,
    /// Why it failed.
    pub failure: String,
}

const COLUMNS: &str = "u.volume_id, u.snapshot_id, u.timeout_us, u.deadline_us, u.state, u.failure";

/// Adds one that is open.
pub fn insert(tx: &mut Transaction<'_>, upload: &Upload) -> Result<()> {
    tx.execute(
        "INSERT INTO direct_uploads (volume_id, snapshot_id, timeout_us, deadline_us, state, failure) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        &[
            upload.volume_id.into(),
            upload.snapshot_id.into(),
            upload.timeout_us.into(),
            upload.deadline_us.into(),
            upload.state.as_str().into(),
            upload.failure.as_str().into(),
        ],
    )?;
    Ok(())
}

/// The upload of a snapshot.
pub fn of_snapshot(tx: &mut Transaction<'_>, id: SnapshotId) -> Result<Option<Upload>> {
    tx.query_first(
        &format!("SELECT {COLUMNS} FROM direct_uploads u WHERE u.snapshot_id = ?1"),
        &[id.into()],
        from_row,
    )
}

/// The upload to a volume.
pub fn find(tx: &mut Transaction<'_>, id: VolumeId) -> Result<Option<Upload>> {
    tx.query_first(
        &format!("SELECT {COLUMNS} FROM direct_uploads u WHERE u.volume_id = ?1"),
        &[id.into()],
        from_row,
    )
}

/// How many of a project's snapshots are being written.
pub fn count_open(tx: &mut Transaction<'_>, project_id: &str) -> Result<i64> {
    let found = tx.query_first(
        "SELECT COUNT(*) FROM direct_uploads u JOIN snapshots s ON s.id = u.snapshot_id \
         WHERE s.project_id = ?1 AND u.state = 'open'",
        &[project_id.into()],
        |row| row.int(0),
    )?;
    Ok(found.unwrap_or(0))
}

/// The uploads that are not open any more, and those whose time has come or whose snapshot is gone, by deadline and volume; the first
/// of them `after` such a pair.
pub fn due(
    tx: &mut Transaction<'_>,
    now_us: i64,
    after: (i64, VolumeId),
    limit: usize,
) -> Result<Vec<Upload>> {
    tx.query(
        &format!(
            "SELECT {COLUMNS} FROM direct_uploads u WHERE (u.state <> 'open' OR u.deadline_us <= ?1 \
             OR NOT EXISTS (SELECT 1 FROM snapshots s WHERE s.id = u.snapshot_id AND s.status = 'creating') \
             OR EXISTS (SELECT 1 FROM volumes v WHERE v.id = u.volume_id AND v.status = 'error')) \
             AND (u.deadline_us, u.volume_id) > (?2, ?3) ORDER BY u.deadline_us, u.volume_id LIMIT ?4"
        ),
        &[
            now_us.into(),
            after.0.into(),
            after.1.into(),
            i64::try_from(limit).unwrap_or(i64::MAX).into(),
        ],
        from_row,
    )
}

/// Ends the writing; false when it had ended before.
pub fn close(
    tx: &mut Transaction<'_>,
    id: VolumeId,
    state: UploadState,
    failure: &str,
) -> Result<bool> {
    let changed = tx.execute(
        "UPDATE direct_uploads SET state = ?2, failure = ?3 WHERE volume_id = ?1 AND state = 'open'",
        &[id.into(), state.as_str().into(), failure.into()],
    )?;
    Ok(changed == 1)
}

/// Notes that a block is written, and lets the time begin anew; false when writing has ended.
pub fn note_block(
    tx: &mut Transaction<'_>,
    id: VolumeId,
    block: u64,
    checksum: &str,
    now_us: i64,
) -> Result<bool> {
    let changed = tx.execute(
        "UPDATE direct_uploads SET deadline_us = timeout_us + ?2 WHERE volume_id = ?1 AND state = 'open' AND deadline_us > ?2",
        &[id.into(), now_us.into()],
    )?;
    if changed == 0 {
        return Ok(false);
    }
    tx.execute(
        "INSERT INTO direct_blocks (volume_id, block, checksum) VALUES (?1, ?2, ?3) \
         ON CONFLICT (volume_id, block) DO UPDATE SET checksum = excluded.checksum",
        &[
            id.into(),
            i64::try_from(block).unwrap_or(i64::MAX).into(),
            checksum.into(),
        ],
    )?;
    Ok(true)
}

/// The checksums of the blocks that are written, in their order.
pub fn checksums(tx: &mut Transaction<'_>, id: VolumeId) -> Result<Vec<String>> {
    tx.query(
        "SELECT checksum FROM direct_blocks WHERE volume_id = ?1 ORDER BY block",
        &[id.into()],
        |row| row.text(0),
    )
}

/// Forgets an upload with its blocks.
pub fn remove(tx: &mut Transaction<'_>, id: VolumeId) -> Result<()> {
    tx.execute(
        "DELETE FROM direct_blocks WHERE volume_id = ?1",
        &[id.into()],
    )?;
    tx.execute(
        "DELETE FROM direct_uploads WHERE volume_id = ?1",
        &[id.into()],
    )?;
    Ok(())
}

/// Remembers what a snapshot that is written began as.
pub fn set_parent(tx: &mut Transaction<'_>, id: SnapshotId, parent: SnapshotId) -> Result<()> {
    tx.execute(
        "INSERT INTO direct_parents (snapshot_id, parent_id) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        &[id.into(), parent.into()],
    )?;
    Ok(())
}

fn from_row(row: &Row<'_>) -> Result<Upload> {
    Ok(Upload {
        volume_id: row.parsed(0, |text| text.parse().ok())?,
        snapshot_id: row.parsed(1, |text| text.parse().ok())?,
        timeout_us: row.int(2)?,
        deadline_us: row.int(3)?,
        state: row.parsed(4, |text| {
            UploadState::ALL
                .into_iter()
                .find(|state| state.as_str() == text)
        })?,
        failure: row.text(5)?,
    })
}
