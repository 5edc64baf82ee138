//! Volumes that projects offer to others.

use uuid::Uuid;

use super::select::{Select, count, order};
use super::{Param, Row, Transaction};
use crate::app::volumes::SortDirection;
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::id::VolumeId;
use crate::model::transfer::Transfer;

const COLUMNS: &str =
    "id, volume_id, name, no_snapshots, source_project_id, created_at_us, salt, key_hash";

/// What a key is recognised by; the key itself is kept nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyProof {
    /// Random bytes.
    pub salt: Vec<u8>,
    /// HMAC-SHA256 of the key with the salt.
    pub hash: Vec<u8>,
}

/// What a list may be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferSortKey {
    /// `created_at`
    CreatedAt,
    /// `name`
    Name,
    /// `volume_id`
    Volume,
    /// `id`
    Id,
}

/// Which transfers, in which order, which page.
#[derive(Clone, Debug, Default)]
pub struct TransferQuery {
    /// Only this project's; none for every project.
    pub project_id: Option<String>,
    /// Exact name.
    pub name: Option<String>,
    /// Only that of this volume.
    pub volume_id: Option<VolumeId>,
    /// Sort keys, most significant first; empty means created_at. `id` is added as the last one.
    pub sort: Vec<(TransferSortKey, SortDirection)>,
    /// The last transfer of the page before; `Invalid` if it does not exist.
    pub marker: Option<Uuid>,
    /// How many to skip after the marker.
    pub offset: usize,
}

/// Adds a transfer. One of the same volume that its state has left behind goes.
pub fn insert(tx: &mut Transaction<'_>, transfer: &Transfer, proof: &KeyProof) -> Result<()> {
    tx.execute(
        "DELETE FROM transfers WHERE volume_id = ?1",
        &[transfer.volume_id.into()],
    )?;
    tx.execute(
        "INSERT INTO transfers (id, volume_id, name, salt, key_hash, no_snapshots, source_project_id, created_at_us) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        &[
            transfer.id.to_string().into(),
            transfer.volume_id.into(),
            transfer.name.as_str().into(),
            proof.salt.clone().into(),
            proof.hash.clone().into(),
            transfer.without_snapshots.into(),
            transfer.source_project_id.as_str().into(),
            transfer.created_at_us.into(),
        ],
    )?;
    Ok(())
}

/// A transfer of any project, if it exists, and what its key is recognised by.
pub fn find(tx: &mut Transaction<'_>, id: Uuid) -> Result<Option<(Transfer, KeyProof)>> {
    tx.query_first(
        &format!("SELECT {COLUMNS} FROM transfers WHERE id = ?1"),
        &[id.to_string().into()],
        |row| {
            let proof = KeyProof {
                salt: row.bytes(6)?,
                hash: row.bytes(7)?,
            };
            Ok((from_row(row)?, proof))
        },
    )
}

/// Up to `limit` transfers.
///
/// # Errors
/// `Invalid` when the marker does not exist in the project.
pub fn list(
    tx: &mut Transaction<'_>,
    query: &TransferQuery,
    limit: usize,
) -> Result<Vec<Transfer>> {
    let sort = full_sort(&query.sort);
    let columns: Vec<(&str, SortDirection)> = sort
        .iter()
        .map(|(key, direction)| (column(*key), *direction))
        .collect();
    let mut select = Select::all();
    if let Some(project_id) = &query.project_id {
        select.equal("source_project_id", project_id.as_str().into());
    }
    if let Some(name) = &query.name {
        select.equal("name", name.as_str().into());
    }
    if let Some(volume_id) = query.volume_id {
        select.equal("volume_id", volume_id.into());
    }
    if let Some(marker) = query.marker {
        let values = sort_values(tx, query, marker, &sort)?;
        select.behind(&columns, values);
    }
    let limit = select.param(count(limit));
    let offset = select.param(count(query.offset));
    let sql = format!(
        "SELECT {COLUMNS} FROM transfers WHERE {} ORDER BY {} LIMIT {limit} OFFSET {offset}",
        select.condition,
        order(&columns)
    );
    tx.query(&sql, &select.params, from_row)
}

/// Removes a transfer; false when it is gone.
pub fn remove(tx: &mut Transaction<'_>, id: Uuid) -> Result<bool> {
    let removed = tx.execute(
        "DELETE FROM transfers WHERE id = ?1",
        &[id.to_string().into()],
    )?;
    Ok(removed == 1)
}

/// Gives a volume to a user of a project. A client token of EC2 stays behind: it meant a request of the other project.
pub fn give_volume(
    tx: &mut Transaction<'_>,
    id: VolumeId,
    project_id: &str,
    user_id: &str,
) -> Result<()> {
    tx.execute(
        "UPDATE volumes SET project_id = ?2, user_id = ?3, client_token = NULL, client_digest = NULL WHERE id = ?1",
        &[id.into(), project_id.into(), user_id.into()],
    )?;
    Ok(())
}

/// Gives the snapshots that a volume has in one project to a user of another.
pub fn give_snapshots(
    tx: &mut Transaction<'_>,
    volume_id: VolumeId,
    from_project_id: &str,
    project_id: &str,
    user_id: &str,
) -> Result<()> {
    // Whom its giver shared them with is not for the receiver to bear.
    tx.execute(
        "DELETE FROM snapshot_shares WHERE snapshot_id IN \
         (SELECT id FROM snapshots WHERE volume_id = ?1 AND project_id = ?2 AND project_id <> ?3)",
        &[volume_id.into(), from_project_id.into(), project_id.into()],
    )?;
    tx.execute(
        "UPDATE snapshots SET project_id = ?3, user_id = ?4 WHERE volume_id = ?1 AND project_id = ?2",
        &[
            volume_id.into(),
            from_project_id.into(),
            project_id.into(),
            user_id.into(),
        ],
    )?;
    Ok(())
}

fn full_sort(asked: &[(TransferSortKey, SortDirection)]) -> Vec<(TransferSortKey, SortDirection)> {
    let mut sort = asked.to_vec();
    if sort.is_empty() {
        sort.push((TransferSortKey::CreatedAt, SortDirection::Ascending));
    }
    if !sort.iter().any(|(key, _)| *key == TransferSortKey::Id) {
        let direction = sort
            .last()
            .map_or(SortDirection::Ascending, |(_, direction)| *direction);
        sort.push((TransferSortKey::Id, direction));
    }
    sort
}

/// What is said of a transfer that is not there.
pub fn missing(id: Uuid) -> Error {
    let text = format!("Transfer {id} could not be found.");
    Error::new(ErrorKind::NotFound, Subject::Request, text).on(id.to_string())
}

fn sort_values(
    tx: &mut Transaction<'_>,
    query: &TransferQuery,
    marker: Uuid,
    sort: &[(TransferSortKey, SortDirection)],
) -> Result<Vec<Param>> {
    let found = find(tx, marker)?.map(|(transfer, _)| transfer);
    let is_own = |transfer: &Transfer| {
        let project_id = query.project_id.as_ref();
        project_id.is_none_or(|own| *own == transfer.source_project_id)
    };
    let transfer = found.filter(is_own).ok_or_else(|| missing(marker))?;
    let value = |key: &TransferSortKey| match key {
        TransferSortKey::CreatedAt => transfer.created_at_us.into(),
        TransferSortKey::Name => transfer.name.as_str().into(),
        TransferSortKey::Volume => transfer.volume_id.into(),
        TransferSortKey::Id => transfer.id.to_string().into(),
    };
    Ok(sort.iter().map(|(key, _)| value(key)).collect())
}

fn column(key: TransferSortKey) -> &'static str {
    match key {
        TransferSortKey::CreatedAt => "created_at_us",
        TransferSortKey::Name => "name",
        TransferSortKey::Volume => "volume_id",
        TransferSortKey::Id => "id",
    }
}

fn from_row(row: &Row<'_>) -> Result<Transfer> {
    Ok(Transfer {
        id: row.parsed(0, |text| text.parse().ok())?,
        volume_id: row.parsed(1, |text| text.parse().ok())?,
        name: row.text(2)?,
        without_snapshots: row.int(3)? != 0,
        source_project_id: row.text(4)?,
        created_at_us: row.int(5)?,
    })
}
