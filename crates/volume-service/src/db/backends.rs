//! Backends: configuration (secrets sealed), order, and what was last seen of them.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Param, Row, Transaction};
use crate::auth::vault::Vault;
use crate::config::Secret;
use crate::error::{Error, Result, Subject};
use crate::model::backend::{Backend, BackendState, BackendUse};
use crate::model::id::{BackendId, FlavorId};

/// A backend to be added.
#[derive(Clone, Debug)]
pub struct NewBackend {
    /// The flavor it serves.
    pub flavor_id: FlavorId,
    /// The zone whose pool has the SR.
    pub zone: String,
    /// Place in the flavor's order; none puts it last.
    pub position: Option<i64>,
    /// The SR type.
    pub sr_type: String,
    /// The SR, when it exists already.
    pub sr_uuid: Option<Uuid>,
    /// `SR.name_label`; empty for `SR-<id>`.
    pub name_label: String,
    /// `SR.name_description`.
    pub name_description: String,
    /// `device_config` without its secrets.
    pub config: BTreeMap<String, String>,
    /// The secret part of it.
    pub secrets: BTreeMap<String, Secret>,
}

/// What an SR says of its space, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Size of the medium.
    pub physical_size: u64,
    /// In use on the medium.
    pub physical_utilisation: u64,
    /// Sum of the sizes of the SR's VDIs.
    pub virtual_allocation: u64,
}

pub(super) const COLUMNS: &str = "b.id, b.flavor_id, (SELECT f.label FROM flavors f WHERE f.id = b.flavor_id), b.zone, b.position, \
                       b.sr_type, b.sr_uuid, b.name_label, b.name_description, b.config, b.secrets, b.enabled, b.state, \
                       b.failure, b.physical_size, b.physical_utilisation, b.virtual_allocation, b.observed_at_us, \
                       b.created_at_us, (SELECT c.capabilities FROM backend_capabilities c WHERE c.backend_id = b.id)";

/// Adds a backend (`new`, enabled) and returns its number.
///
/// # Errors
/// `Conflict` when another backend has the SR.
pub fn insert(
    tx: &mut Transaction<'_>,
    vault: &Vault,
    new: &NewBackend,
    now_us: i64,
) -> Result<BackendId> {
    let position = match new.position {
        Some(position) => position,
        None => tx
            .query_first(
                "SELECT COALESCE(MAX(position), 0) + 1 FROM backends WHERE flavor_id = ?1",
                &[new.flavor_id.into()],
                |row| row.int(0),
            )?
            .unwrap_or(1),
    };
    let id = tx
        .query_first(
            "INSERT INTO backends (flavor_id, zone, position, sr_type, sr_uuid, name_label, name_description, config, secrets, \
             enabled, state, failure, created_at_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 1, 'new', '', ?10) \
             ON CONFLICT DO NOTHING RETURNING id",
            &[
                new.flavor_id.into(),
                new.zone.as_str().into(),
                position.into(),
                new.sr_type.as_str().into(),
                uuid(new.sr_uuid),
                new.name_label.as_str().into(),
                new.name_description.as_str().into(),
                json(&new.config).into(),
                Param::Bytes(Vec::new()),
                now_us.into(),
            ],
            |row| row.int(0),
        )?
        .map(BackendId);
    let Some(id) = id else {
        let sr_uuid = new.sr_uuid.unwrap_or_default();
        return Err(Error::new(
            crate::ErrorKind::Conflict,
            Subject::Backend,
            format!("SR {sr_uuid} belongs to another backend."),
        )
        .on(sr_uuid.to_string()));
    };
    // The seal names the backend, whose number is known only now.
    let clear: BTreeMap<&str, &str> = new
        .secrets
        .iter()
        .map(|(key, secret)| (key.as_str(), secret.expose()))
        .collect();
    let clear = Zeroizing::new(json(&clear));
    let sealed = vault.seal(&seal_name(id), clear.as_bytes());
    tx.execute(
        "UPDATE backends SET secrets = ?2 WHERE id = ?1",
        &[id.into(), Param::Bytes(sealed)],
    )?;
    if let Some(sr_uuid) = new.sr_uuid {
        remove_retired(tx, sr_uuid)?;
    }
    Ok(id)
}

/// Records what an operator says of a backend, beside what its driver says.
pub fn set_capabilities(
    tx: &mut Transaction<'_>,
    id: BackendId,
    capabilities: &BTreeMap<String, String>,
) -> Result<()> {
    tx.execute(
        "INSERT INTO backend_capabilities (backend_id, capabilities) VALUES (?1, ?2) \
         ON CONFLICT (backend_id) DO UPDATE SET capabilities = excluded.capabilities",
        &[id.into(), json(capabilities).into()],
    )?;
    Ok(())
}

/// A backend, if it exists.
pub fn find(tx: &mut Transaction<'_>, vault: &Vault, id: BackendId) -> Result<Option<Backend>> {
    tx.query_first(
        &format!("SELECT {COLUMNS} FROM backends b WHERE b.id = ?1"),
        &[id.into()],
        |row| from_row(row, vault),
    )
}

/// A backend.
///
/// # Errors
/// `NotFound` when it does not exist.
pub fn get(tx: &mut Transaction<'_>, vault: &Vault, id: BackendId) -> Result<Backend> {
    find(tx, vault, id)?.ok_or_else(|| Error::not_found(Subject::Backend, id))
}

/// All backends: by flavor, then in the flavor's order.
pub fn list(tx: &mut Transaction<'_>, vault: &Vault) -> Result<Vec<Backend>> {
    tx.query(
        &format!("SELECT {COLUMNS} FROM backends b ORDER BY 3, b.position, b.id"),
        &[],
        |row| from_row(row, vault),
    )
}

/// A flavor's backends in its order.
pub fn of_flavor(
    tx: &mut Transaction<'_>,
    vault: &Vault,
    flavor_id: FlavorId,
) -> Result<Vec<Backend>> {
    tx.query(
        &format!(
            "SELECT {COLUMNS} FROM backends b WHERE b.flavor_id = ?1 ORDER BY b.position, b.id"
        ),
        &[flavor_id.into()],
        |row| from_row(row, vault),
    )
}

/// A zone's backends, by number.
pub fn of_zone(tx: &mut Transaction<'_>, vault: &Vault, zone: &str) -> Result<Vec<Backend>> {
    tx.query(
        &format!("SELECT {COLUMNS} FROM backends b WHERE b.zone = ?1 ORDER BY b.id"),
        &[zone.into()],
        |row| from_row(row, vault),
    )
}

/// The zones that have backends.
pub fn zones(tx: &mut Transaction<'_>) -> Result<Vec<String>> {
    tx.query(
        "SELECT DISTINCT zone FROM backends ORDER BY zone",
        &[],
        |row| row.text(0),
    )
}

/// Records the SR that was made for a backend; false, with nothing changed, when it has another one already.
pub fn set_sr(tx: &mut Transaction<'_>, id: BackendId, sr_uuid: Uuid) -> Result<bool> {
    let touched = tx.execute(
        "UPDATE backends SET sr_uuid = ?2 WHERE id = ?1 AND (sr_uuid IS NULL OR sr_uuid = ?2)",
        &[id.into(), sr_uuid.to_string().into()],
    )?;
    Ok(touched == 1)
}

/// Records what was seen of its connection, and why it is not better; false when the backend is gone.
pub fn set_state(
    tx: &mut Transaction<'_>,
    id: BackendId,
    state: BackendState,
    failure: &str,
    now_us: i64,
) -> Result<bool> {
    let touched = tx.execute(
        "UPDATE backends SET state = ?2, failure = ?3, observed_at_us = ?4 WHERE id = ?1",
        &[
            id.into(),
            state.as_str().into(),
            failure.into(),
            now_us.into(),
        ],
    )?;
    Ok(touched == 1)
}

/// Those that do not answer, and since when, in microseconds since 1970, as far as it is known.
pub fn unreachable(tx: &mut Transaction<'_>) -> Result<HashMap<BackendId, Option<i64>>> {
    let found = tx.query(
        "SELECT id, observed_at_us FROM backends WHERE state = ?1",
        &[BackendState::Unreachable.as_str().into()],
        |row| Ok((BackendId(row.int(0)?), row.opt_int(1)?)),
    )?;
    Ok(found.into_iter().collect())
}

/// Records what its SR says of its space, which nobody keeps; false when the backend is gone.
pub fn set_space(
    tx: &mut Transaction<'_>,
    id: BackendId,
    space: Space,
    now_us: i64,
) -> Result<bool> {
    let stored = |bytes: u64| Param::Int(i64::try_from(bytes).unwrap_or(i64::MAX));
    let touched = tx.execute(
        "UPDATE backends SET physical_size = ?2, physical_utilisation = ?3, virtual_allocation = ?4, observed_at_us = ?5 \
         WHERE id = ?1",
        &[
            id.into(),
            stored(space.physical_size),
            stored(space.physical_utilisation),
            stored(space.virtual_allocation),
            now_us.into(),
        ],
    )?;
    Ok(touched == 1)
}

/// Lets the scheduler use it, or not; false when the backend is gone.
pub fn set_use(tx: &mut Transaction<'_>, id: BackendId, usage: BackendUse) -> Result<bool> {
    let touched = tx.execute(
        "UPDATE backends SET enabled = ?2 WHERE id = ?1",
        &[id.into(), (usage == BackendUse::Enabled).into()],
    )?;
    Ok(touched == 1)
}

/// Moves it in its flavor's order; false when the backend is gone.
pub fn set_position(tx: &mut Transaction<'_>, id: BackendId, position: i64) -> Result<bool> {
    let touched = tx.execute(
        "UPDATE backends SET position = ?2 WHERE id = ?1",
        &[id.into(), position.into()],
    )?;
    Ok(touched == 1)
}

/// How many volumes are on it.
pub fn count_volumes(tx: &mut Transaction<'_>, id: BackendId) -> Result<u64> {
    let found = tx.query_first(
        "SELECT COUNT(*) FROM volumes WHERE backend_id = ?1",
        &[id.into()],
        |row| row.int(0),
    )?;
    Ok(u64::try_from(found.unwrap_or(0)).unwrap_or(0))
}

/// Removes a backend and leaves its SR to be forgotten in the pool; the database refuses (`Conflict`) while volumes are on it.
pub fn remove(tx: &mut Transaction<'_>, id: BackendId, now_us: i64) -> Result<bool> {
    tx.execute(
        "INSERT INTO retired_srs (sr_uuid, zone, retired_at_us) SELECT sr_uuid, zone, CAST(?2 AS BIGINT) FROM backends \
         WHERE id = ?1 AND sr_uuid IS NOT NULL ON CONFLICT DO NOTHING",
        &[id.into(), now_us.into()],
    )?;
    Ok(tx.execute("DELETE FROM backends WHERE id = ?1", &[id.into()])? == 1)
}

/// The SRs of removed backends of a zone that a reconciler has to forget (never destroy) in the pool.
pub fn retired(tx: &mut Transaction<'_>, zone: &str) -> Result<Vec<Uuid>> {
    tx.query(
        "SELECT sr_uuid FROM retired_srs WHERE zone = ?1 ORDER BY retired_at_us",
        &[zone.into()],
        |row| row.parsed(0, |text| text.parse().ok()),
    )
}

/// Such an SR is forgotten.
pub fn remove_retired(tx: &mut Transaction<'_>, sr_uuid: Uuid) -> Result<()> {
    tx.execute(
        "DELETE FROM retired_srs WHERE sr_uuid = ?1",
        &[sr_uuid.to_string().into()],
    )?;
    Ok(())
}

fn from_row(row: &Row<'_>, vault: &Vault) -> Result<Backend> {
    let mut backend = without_secrets(row)?;
    let id = backend.id;
    let clear = vault.open(&seal_name(id), &row.bytes(10)?)?;
    let secrets: BTreeMap<String, Zeroizing<String>> =
        serde_json::from_slice::<BTreeMap<String, String>>(&clear)
            .map_err(|error| {
                Error::new(
                    crate::ErrorKind::Internal,
                    Subject::Backend,
                    "A stored secret cannot be read.",
                )
                .on(id.to_string())
                .caused_by(error)
            })?
            .into_iter()
            .map(|(key, secret)| (key, Zeroizing::new(secret)))
            .collect();
    backend.secrets = secrets
        .iter()
        .map(|(key, secret)| (key.clone(), Secret::new(secret.as_str())))
        .collect();
    Ok(backend)
}

/// A row of [`COLUMNS`], with what is sealed left as it is.
pub(super) fn without_secrets(row: &Row<'_>) -> Result<Backend> {
    let id = BackendId(row.int(0)?);
    let label = row.text(7)?;
    Ok(Backend {
        id,
        flavor_id: row.parsed(1, |text| text.parse().ok())?,
        flavor_label: row.text(2)?,
        zone: row.text(3)?,
        position: row.int(4)?,
        sr_type: row.text(5)?,
        sr_uuid: row.opt_parsed(6, |text| text.parse().ok())?,
        name_label: if label.is_empty() {
            format!("SR-{id}")
        } else {
            label
        },
        name_description: row.text(8)?,
        config: row.parsed(9, |text| serde_json::from_str(text).ok())?,
        secrets: BTreeMap::new(),
        usage: if row.int(11)? == 0 {
            BackendUse::Disabled
        } else {
            BackendUse::Enabled
        },
        state: row.parsed(12, BackendState::parse)?,
        failure: row.text(13)?,
        physical_size: bytes_at(row, 14)?,
        physical_utilisation: bytes_at(row, 15)?,
        virtual_allocation: bytes_at(row, 16)?,
        observed_at_us: row.opt_int(17)?,
        created_at_us: row.int(18)?,
        capabilities: row
            .opt_parsed(19, |text| serde_json::from_str(text).ok())?
            .unwrap_or_default(),
    })
}

/// A number of bytes that may not be known.
pub(super) fn bytes_at(row: &Row<'_>, column: usize) -> Result<Option<u64>> {
    let found = row.opt_int(column)?;
    Ok(found.and_then(|bytes| u64::try_from(bytes).ok()))
}

fn seal_name(id: BackendId) -> String {
    format!("backend:{id}")
}

fn json(map: &impl serde::Serialize) -> String {
    serde_json::to_string(map).expect("a map of texts is JSON")
}

fn uuid(id: Option<Uuid>) -> Param {
    id.map(|id| id.to_string()).into()
}

impl From<BackendId> for Param {
    fn from(id: BackendId) -> Self {
        Param::Int(id.0)
    }
}
