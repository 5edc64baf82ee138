//! How flavors' volumes are encrypted.

use super::Transaction;
use crate::error::Result;
use crate::model::flavor::{ControlLocation, Encryption};
use crate::model::id::FlavorId;

/// A flavor's encryption, if it has one.
pub fn find(tx: &mut Transaction<'_>, id: FlavorId) -> Result<Option<Encryption>> {
    tx.query_first(
        "SELECT id, provider, control_location, cipher, key_size, created_at_us, updated_at_us FROM flavor_encryption \
         WHERE flavor_id = ?1",
        &[id.into()],
        |row| {
            Ok(Encryption {
                id: row.parsed(0, |text| text.parse().ok())?,
                provider: row.text(1)?,
                control_location: row.parsed(2, ControlLocation::parse)?,
                cipher: row.opt_text(3)?,
                key_size: row.opt_int(4)?,
                created_at_us: row.int(5)?,
                updated_at_us: row.int(6)?,
            })
        },
    )
}

/// Gives a flavor encryption; false, with nothing changed, when it has one.
pub fn insert(tx: &mut Transaction<'_>, id: FlavorId, encryption: &Encryption) -> Result<bool> {
    let added = tx.execute(
        "INSERT INTO flavor_encryption (flavor_id, id, provider, control_location, cipher, key_size, created_at_us, \
         updated_at_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
        &[
            id.into(),
            encryption.id.to_string().into(),
            encryption.provider.as_str().into(),
            encryption.control_location.as_str().into(),
            encryption.cipher.clone().into(),
            encryption.key_size.into(),
            encryption.created_at_us.into(),
            encryption.updated_at_us.into(),
        ],
    )?;
    Ok(added == 1)
}

/// Replaces all of a flavor's encryption but for its id.
pub fn update(tx: &mut Transaction<'_>, id: FlavorId, encryption: &Encryption) -> Result<bool> {
    let touched = tx.execute(
        "UPDATE flavor_encryption SET provider = ?2, control_location = ?3, cipher = ?4, key_size = ?5, updated_at_us = ?6 \
         WHERE flavor_id = ?1",
        &[
            id.into(),
            encryption.provider.as_str().into(),
            encryption.control_location.as_str().into(),
            encryption.cipher.clone().into(),
            encryption.key_size.into(),
            encryption.updated_at_us.into(),
        ],
    )?;
    Ok(touched == 1)
}

/// Takes a flavor's encryption away; false when it has none.
pub fn remove(tx: &mut Transaction<'_>, id: FlavorId) -> Result<bool> {
    let sql = "DELETE FROM flavor_encryption WHERE flavor_id = ?1";
    Ok(tx.execute(sql, &[id.into()])? == 1)
}
