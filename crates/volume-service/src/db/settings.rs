//! Single values of the whole installation.

use super::{Param, Transaction};
use crate::error::Result;

/// A value, if it is set.
pub fn find(tx: &mut Transaction<'_>, name: &str) -> Result<Option<Vec<u8>>> {
    tx.query_first(
        "SELECT value FROM settings WHERE name = ?1",
        &[name.into()],
        |row| row.bytes(0),
    )
}

/// Sets a value unless it is set; false when it was.
pub fn insert(tx: &mut Transaction<'_>, name: &str, value: &[u8]) -> Result<bool> {
    let added = tx.execute(
        "INSERT INTO settings (name, value) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        &[name.into(), Param::Bytes(value.to_vec())],
    )?;
    Ok(added == 1)
}
