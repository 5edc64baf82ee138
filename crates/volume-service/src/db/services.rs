//! Our processes and when they last said that they live.

use super::Transaction;
use crate::error::Result;

/// A process's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// `xensm-api` or `xensm-worker`.
    pub binary: String,
    /// The machine's name.
    pub machine: String,
    /// The zone it serves.
    pub zone: String,
    /// Microseconds since 1970.
    pub updated_at_us: i64,
}

/// A process says that it lives.
pub fn beat(tx: &mut Transaction<'_>, heartbeat: &Heartbeat) -> Result<()> {
    tx.execute(
        "INSERT INTO services (binary_name, machine, zone, updated_at_us) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (binary_name, machine, zone) DO UPDATE SET updated_at_us = excluded.updated_at_us",
        &[
            heartbeat.binary.as_str().into(),
            heartbeat.machine.as_str().into(),
            heartbeat.zone.as_str().into(),
            heartbeat.updated_at_us.into(),
        ],
    )?;
    Ok(())
}

/// Every process that has not been silent since before `since_us`.
pub fn list(tx: &mut Transaction<'_>, since_us: i64) -> Result<Vec<Heartbeat>> {
    tx.query(
        "SELECT binary_name, machine, zone, updated_at_us FROM services WHERE updated_at_us >= ?1 \
         ORDER BY binary_name, machine, zone",
        &[since_us.into()],
        |row| {
            Ok(Heartbeat {
                binary: row.text(0)?,
                machine: row.text(1)?,
                zone: row.text(2)?,
                updated_at_us: row.int(3)?,
            })
        },
    )
}

/// Forgets processes that have been silent since before `before_us`.
pub fn remove_silent(tx: &mut Transaction<'_>, before_us: i64) -> Result<u64> {
    tx.execute(
        "DELETE FROM services WHERE updated_at_us < ?1",
        &[before_us.into()],
    )
}
