//! What administrators said of services. A service without a row is enabled and not frozen.

use super::{Row, Transaction};
use crate::error::Result;

/// OpenStack's name of what serves the volumes of a zone.
pub const VOLUME_BINARY: &str = "cinder-volume";

/// What an administrator said of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceState {
    /// `cinder-volume` or `cinder-scheduler`.
    pub binary: String,
    /// `xensm@<zone>`, or a machine's name.
    pub host: String,
    /// True when nothing new is placed there.
    pub is_disabled: bool,
    /// Why it is disabled; may be empty.
    pub reason: String,
    /// True when what is there may not be changed, and nothing new is placed there.
    pub is_frozen: bool,
    /// Microseconds since 1970.
    pub modified_at_us: i64,
}

/// The host of the service that serves a zone's volumes.
pub fn volume_host(zone: &str) -> String {
    format!("xensm@{zone}")
}

/// All states that were ever set.
pub fn list(tx: &mut Transaction<'_>) -> Result<Vec<ServiceState>> {
    tx.query(
        "SELECT binary_name, host, disabled, reason, frozen, modified_at_us FROM service_states",
        &[],
        from_row,
    )
}

/// Enables or disables a service.
pub fn set_disabled(
    tx: &mut Transaction<'_>,
    (binary, host): (&str, &str),
    is_disabled: bool,
    reason: &str,
    now_us: i64,
) -> Result<()> {
    tx.execute(
        "INSERT INTO service_states (binary_name, host, disabled, reason, frozen, modified_at_us) VALUES (?1, ?2, ?3, ?4, 0, ?5) \
         ON CONFLICT (binary_name, host) DO UPDATE SET disabled = excluded.disabled, reason = excluded.reason, \
         modified_at_us = excluded.modified_at_us",
        &[
            binary.into(),
            host.into(),
            is_disabled.into(),
            reason.into(),
            now_us.into(),
        ],
    )?;
    Ok(())
}

/// Freezes or thaws the service of a host.
pub fn set_frozen(
    tx: &mut Transaction<'_>,
    host: &str,
    is_frozen: bool,
    now_us: i64,
) -> Result<()> {
    tx.execute(
        "INSERT INTO service_states (binary_name, host, disabled, reason, frozen, modified_at_us) VALUES (?1, ?2, 0, '', ?3, ?4) \
         ON CONFLICT (binary_name, host) DO UPDATE SET frozen = excluded.frozen, modified_at_us = excluded.modified_at_us",
        &[
            VOLUME_BINARY.into(),
            host.into(),
            is_frozen.into(),
            now_us.into(),
        ],
    )?;
    Ok(())
}

/// What was said of the service of a zone's volumes, if it is disabled or frozen.
pub fn restriction(tx: &mut Transaction<'_>, zone: &str) -> Result<Option<ServiceState>> {
    tx.query_first(
        "SELECT binary_name, host, disabled, reason, frozen, modified_at_us FROM service_states \
         WHERE binary_name = 'cinder-volume' AND host = ?1 AND (disabled = 1 OR frozen = 1)",
        &[volume_host(zone).into()],
        from_row,
    )
}

fn from_row(row: &Row<'_>) -> Result<ServiceState> {
    Ok(ServiceState {
        binary: row.text(0)?,
        host: row.text(1)?,
        is_disabled: row.int(2)? != 0,
        reason: row.text(3)?,
        is_frozen: row.int(4)? != 0,
        modified_at_us: row.int(5)?,
    })
}
