//! The latest modification of each volume.

use std::collections::HashMap;

use super::volume_metadata::{CHUNK, in_list, padded};
use super::{Row, Transaction};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::id::VolumeId;
use crate::model::modification::{Modifiable, Modification, ModificationState};

const COLUMNS: &str =
    "m.volume_id, m.state, m.failure, m.original, m.target, m.started_at_us, m.ended_at_us";

/// Writes a modification in the place of the one before.
pub fn store(tx: &mut Transaction<'_>, modification: &Modification) -> Result<()> {
    tx.execute(
        "INSERT INTO volume_modifications (volume_id, state, failure, original, target, started_at_us, ended_at_us) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (volume_id) DO UPDATE SET state = excluded.state, \
         failure = excluded.failure, original = excluded.original, target = excluded.target, \
         started_at_us = excluded.started_at_us, ended_at_us = excluded.ended_at_us",
        &[
            modification.volume_id.into(),
            modification.state.as_str().into(),
            modification.failure.as_str().into(),
            json(&modification.original)?.into(),
            json(&modification.target)?.into(),
            modification.started_at_us.into(),
            modification.ended_at_us.into(),
        ],
    )?;
    Ok(())
}

/// Ends the modification of a volume that is under way, and returns what it was; none when there is none.
pub fn end(
    tx: &mut Transaction<'_>,
    id: VolumeId,
    state: ModificationState,
    failure: &str,
    now_us: i64,
) -> Result<Option<Modification>> {
    let Some(under_way) = find(tx, id)?.filter(|one| one.state == ModificationState::Modifying)
    else {
        return Ok(None);
    };
    tx.execute(
        "UPDATE volume_modifications SET state = ?2, failure = ?3, ended_at_us = ?4 WHERE volume_id = ?1",
        &[
            id.into(),
            state.as_str().into(),
            failure.into(),
            now_us.into(),
        ],
    )?;
    Ok(Some(under_way))
}

/// The modification of a volume.
pub fn find(tx: &mut Transaction<'_>, id: VolumeId) -> Result<Option<Modification>> {
    tx.query_first(
        &format!("SELECT {COLUMNS} FROM volume_modifications m WHERE m.volume_id = ?1"),
        &[id.into()],
        from_row,
    )
}

/// The modifications of many volumes, by their ids.
pub fn of_volumes(
    tx: &mut Transaction<'_>,
    ids: &[VolumeId],
) -> Result<HashMap<VolumeId, Modification>> {
    let head = format!("SELECT {COLUMNS} FROM volume_modifications m WHERE m.volume_id IN");
    let sql = in_list(&head, CHUNK);
    let mut found = HashMap::new();
    for chunk in ids.chunks(CHUNK) {
        let some = tx.query(&sql, &padded(chunk), from_row)?;
        found.extend(some.into_iter().map(|one| (one.volume_id, one)));
    }
    Ok(found)
}

/// The next modifications of a project's volumes behind a moment and an id, oldest volume first, each with the moment when its
/// volume was made.
pub fn page(
    tx: &mut Transaction<'_>,
    project_id: &str,
    (after_us, after_id): (i64, Option<VolumeId>),
    limit: usize,
) -> Result<Vec<(i64, Modification)>> {
    let sql = format!(
        "SELECT {COLUMNS}, v.created_at_us FROM volume_modifications m JOIN volumes v ON v.id = m.volume_id \
         WHERE v.project_id = ?1 AND (v.created_at_us, v.id) > (?2, ?3) ORDER BY v.created_at_us, v.id LIMIT ?4"
    );
    let after_id = after_id.map(|id| id.to_string()).unwrap_or_default();
    tx.query(
        &sql,
        &[
            project_id.into(),
            after_us.into(),
            after_id.into(),
            super::select::count(limit),
        ],
        |row| Ok((row.int(7)?, from_row(row)?)),
    )
}

fn json(facts: &Modifiable) -> Result<String> {
    serde_json::to_string(facts).map_err(|error| {
        Error::new(
            ErrorKind::Internal,
            Subject::Volume,
            "An unexpected error has occurred.",
        )
        .detail("what a volume is cannot be written as JSON")
        .caused_by(error)
    })
}

fn from_row(row: &Row<'_>) -> Result<Modification> {
    Ok(Modification {
        volume_id: row.parsed(0, |text| text.parse().ok())?,
        state: row.parsed(1, ModificationState::parse)?,
        failure: row.text(2)?,
        original: row.parsed(3, |text| serde_json::from_str(text).ok())?,
        target: row.parsed(4, |text| serde_json::from_str(text).ok())?,
        started_at_us: row.int(5)?,
        ended_at_us: row.opt_int(6)?,
    })
}
