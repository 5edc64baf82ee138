//! Backends as placing sees them: without their secrets, which it neither needs nor may fail by, and what is known of their room.

use super::backends::{COLUMNS, bytes_at, without_secrets};
use super::{Param, Row, Transaction};
use crate::error::Result;
use crate::model::backend::Backend;
use crate::model::id::{BackendId, FlavorId};

/// The backends that volumes may be placed on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Choice {
    /// Those of a flavor, in any zone.
    OfFlavor(FlavorId),
    /// Those of a zone, of any flavor.
    InZone(String),
}

impl Choice {
    fn condition(&self) -> (&'static str, Param) {
        match self {
            Choice::OfFlavor(id) => ("b.flavor_id", (*id).into()),
            Choice::InZone(zone) => ("b.zone", zone.as_str().into()),
        }
    }
}

/// What was last seen of a backend's room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    id: BackendId,
    physical_size: Option<u64>,
    physical_utilisation: Option<u64>,
    virtual_allocation: Option<u64>,
    observed_at_us: Option<i64>,
}

impl Room {
    /// That of a backend that was read before.
    pub fn of(backend: &Backend) -> Self {
        Room {
            id: backend.id,
            physical_size: backend.physical_size,
            physical_utilisation: backend.physical_utilisation,
            virtual_allocation: backend.virtual_allocation,
            observed_at_us: backend.observed_at_us,
        }
    }
}

/// The backends to choose from, by number.
pub fn list(tx: &mut Transaction<'_>, choice: &Choice) -> Result<Vec<Backend>> {
    let (column, value) = choice.condition();
    tx.query(
        &format!("SELECT {COLUMNS} FROM backends b WHERE {column} = ?1 ORDER BY b.id"),
        &[value],
        without_secrets,
    )
}

/// Their rooms, by number.
pub fn rooms(tx: &mut Transaction<'_>, choice: &Choice) -> Result<Vec<Room>> {
    let (column, value) = choice.condition();
    tx.query(
        &format!(
            "SELECT b.id, b.physical_size, b.physical_utilisation, b.virtual_allocation, b.observed_at_us \
             FROM backends b WHERE {column} = ?1 ORDER BY b.id"
        ),
        &[value],
        room,
    )
}

/// A backend, if it exists.
pub fn find(tx: &mut Transaction<'_>, id: BackendId) -> Result<Option<Backend>> {
    tx.query_first(
        &format!("SELECT {COLUMNS} FROM backends b WHERE b.id = ?1"),
        &[id.into()],
        without_secrets,
    )
}

fn room(row: &Row<'_>) -> Result<Room> {
    Ok(Room {
        id: BackendId(row.int(0)?),
        physical_size: bytes_at(row, 1)?,
        physical_utilisation: bytes_at(row, 2)?,
        virtual_allocation: bytes_at(row, 3)?,
        observed_at_us: row.opt_int(4)?,
    })
}
