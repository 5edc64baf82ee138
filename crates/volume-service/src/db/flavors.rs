//! Flavors.

use super::{Param, Row, Transaction};
use crate::error::Result;
use crate::model::flavor::Flavor;
use crate::model::id::FlavorId;

const COLUMNS: &str = "id, label, description, created_at_us";

/// Adds a flavor; false, with nothing changed, when the label exists.
pub fn insert(tx: &mut Transaction<'_>, flavor: &Flavor) -> Result<bool> {
    let added = tx.execute(
        "INSERT INTO flavors (id, label, description, created_at_us) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        &[
            flavor.id.into(),
            flavor.label.as_str().into(),
            flavor.description.as_str().into(),
            flavor.created_at_us.into(),
        ],
    )?;
    Ok(added == 1)
}

/// Every flavor, by label.
pub fn list(tx: &mut Transaction<'_>) -> Result<Vec<Flavor>> {
    tx.query(
        &format!("SELECT {COLUMNS} FROM flavors ORDER BY label"),
        &[],
        from_row,
    )
}

/// A flavor by label or, when there is no such label, by id.
pub fn find(tx: &mut Transaction<'_>, id_or_label: &str) -> Result<Option<Flavor>> {
    let by_label = tx.query_first(
        &format!("SELECT {COLUMNS} FROM flavors WHERE label = ?1"),
        &[id_or_label.into()],
        from_row,
    )?;
    if by_label.is_some() {
        return Ok(by_label);
    }
    let Ok(id) = id_or_label.parse::<FlavorId>() else {
        return Ok(None);
    };
    tx.query_first(
        &format!("SELECT {COLUMNS} FROM flavors WHERE id = ?1"),
        &[id.into()],
        from_row,
    )
}

/// How many backends and how many volumes a flavor has.
pub fn count_users(tx: &mut Transaction<'_>, id: FlavorId) -> Result<(u64, u64)> {
    let mut count = |sql: &str| -> Result<u64> {
        let found = tx.query_first(sql, &[id.into()], |row| row.int(0))?;
        Ok(u64::try_from(found.unwrap_or(0)).unwrap_or(0))
    };
    Ok((
        count("SELECT COUNT(*) FROM backends WHERE flavor_id = ?1")?,
        count("SELECT COUNT(*) FROM volumes WHERE flavor_id = ?1")?,
    ))
}

/// Removes a flavor; the database refuses (`Conflict`) while anything refers to it.
pub fn remove(tx: &mut Transaction<'_>, id: FlavorId) -> Result<bool> {
    Ok(tx.execute("DELETE FROM flavors WHERE id = ?1", &[id.into()])? == 1)
}

fn from_row(row: &Row<'_>) -> Result<Flavor> {
    Ok(Flavor {
        id: row.parsed(0, |text| text.parse().ok())?,
        label: row.text(1)?,
        description: row.text(2)?,
        created_at_us: row.int(3)?,
    })
}

impl From<FlavorId> for Param {
    fn from(id: FlavorId) -> Self {
        Param::Text(id.to_string())
    }
}
