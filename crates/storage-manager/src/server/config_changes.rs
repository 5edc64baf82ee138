//! What drivers write back into the configuration of their SR.

use std::sync::Arc;

use uuid::Uuid;
use xenapi::Failure;

use super::Server;
use crate::database::Transaction;
use crate::sr::{ConfigChanges, KnownSr};

/// Records what a driver changes in the `device_config` of this host's PBD and in the `sm_config` of its SR.
///
/// A key that is a password is left out: passwords are in secrets, and what is in `device_config` everybody sees.
///
/// # Errors
/// Those of a transaction.
pub fn record(
    transaction: &mut Transaction<'_>,
    sr: &str,
    changes: &ConfigChanges,
) -> Result<(), Failure> {
    if changes.is_empty() {
        return Ok(());
    }
    let pbds: Vec<String> = transaction
        .pointing_at("PBD", "SR", sr)
        .filter(|pbd| pbd.flag("currently_attached"))
        .map(|pbd| pbd.reference.to_string())
        .collect();
    for (key, value) in &changes.device_config {
        if super::classes::pbd::is_password(key) {
            tracing::warn!(
                key,
                sr.reference = sr,
                "a driver wants a password recorded in the clear; it is left out"
            );
            continue;
        }
        for pbd in &pbds {
            transaction.set_entry("PBD", pbd, "device_config", key, value.as_deref())?;
        }
    }
    for (key, value) in &changes.sm_config {
        transaction.set_entry("SR", sr, "sm_config", key, value.as_deref())?;
    }
    Ok(())
}

/// The SRs that this host has a PBD for, as a driver may know them.
pub fn known_srs(server: &Arc<Server>) -> Vec<KnownSr> {
    let objects = server.database.read();
    let pbds = objects
        .all("PBD")
        .filter(|pbd| pbd.text("host") == server.home.host);
    pbds.filter_map(|pbd| {
        let sr = objects.find("SR", pbd.text("SR"))?;
        Some(KnownSr {
            sr_uuid: Uuid::parse_str(sr.uuid()).ok()?,
            sr_type: sr.text("type").to_owned(),
            device_config: pbd.texts("device_config"),
            sm_config: sr.texts("sm_config"),
        })
    })
    .collect()
}
