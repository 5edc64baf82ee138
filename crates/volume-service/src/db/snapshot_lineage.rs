//! What a snapshot goes back to: the first volume of those that were made one from another's snapshots or content.

use uuid::Uuid;

use super::Transaction;
use crate::error::Result;
use crate::model::id::{SnapshotId, VolumeId};

/// Most generations that are followed; beyond, the volume that was reached counts as the first.
const GENERATIONS_MAX: usize = 64;

/// The first volume of a snapshot's line; none when there is no such snapshot. A volume that is gone is the first of its line.
pub fn first_volume(tx: &mut Transaction<'_>, id: SnapshotId) -> Result<Option<VolumeId>> {
    let mut id = id;
    for _ in 0..GENERATIONS_MAX {
        match parent_of(tx, id)? {
            Some(parent) if volume_of(tx, parent)?.is_some() => id = parent,
            _ => break,
        }
    }
    let Some(mut volume) = volume_of(tx, id)? else {
        return Ok(None);
    };
    for _ in 0..GENERATIONS_MAX {
        let parent = match source_of(tx, volume)? {
            (Some(snapshot), _) => volume_of(tx, snapshot)?,
            (None, parent) => parent,
        };
        match parent {
            Some(parent) if parent != volume => volume = parent,
            _ => break,
        }
    }
    Ok(Some(volume))
}

fn volume_of(tx: &mut Transaction<'_>, id: SnapshotId) -> Result<Option<VolumeId>> {
    tx.query_first(
        "SELECT COALESCE(e.lineage, s.volume_id) FROM snapshots s \
         LEFT JOIN snapshot_ebs e ON e.snapshot_id = s.id WHERE s.id = ?1",
        &[id.into()],
        |row| row.parsed(0, |text| Uuid::parse_str(text).ok().map(VolumeId)),
    )
}

/// What a snapshot began as that was written block by block.
fn parent_of(tx: &mut Transaction<'_>, id: SnapshotId) -> Result<Option<SnapshotId>> {
    tx.query_first(
        "SELECT parent_id FROM direct_parents WHERE snapshot_id = ?1",
        &[id.into()],
        |row| row.parsed(0, |text| text.parse().ok()),
    )
}

fn source_of(
    tx: &mut Transaction<'_>,
    volume: VolumeId,
) -> Result<(Option<SnapshotId>, Option<VolumeId>)> {
    let source = tx.query_first(
        "SELECT source_snapshot_id, source_volume_id FROM volume_sources WHERE volume_id = ?1",
        &[volume.into()],
        |row| {
            Ok((
                row.opt_parsed(0, |text| text.parse().ok())?,
                row.opt_parsed(1, |text| text.parse().ok())?,
            ))
        },
    )?;
    Ok(source.unwrap_or_default())
}
