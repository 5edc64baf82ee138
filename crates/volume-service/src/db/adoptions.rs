//! Volumes and snapshots that are made of VDIs that are there already, until their operation has found those; and the claims by
//! which of two adoptions of one VDI the second is refused.

use uuid::Uuid;

use super::{Param, Transaction};
use crate::error::Result;
use crate::model::adoption::Reference;
use crate::model::id::BackendId;

/// Which VDI is to be adopted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adoption {
    /// How the request names it.
    pub reference: Reference,
    /// The backend that it must be on.
    pub backend_id: BackendId,
}

/// Records which VDI a volume or snapshot is to be made of.
pub fn insert(tx: &mut Transaction<'_>, target: &str, adoption: &Adoption) -> Result<()> {
    let (text, is_uuid) = match &adoption.reference {
        Reference::Name(name) => (name.clone(), false),
        Reference::Uuid(uuid) => (uuid.to_string(), true),
    };
    tx.execute(
        "INSERT INTO adoptions (target, reference, is_uuid, backend_id) VALUES (?1, ?2, ?3, ?4)",
        &[
            target.into(),
            text.into(),
            is_uuid.into(),
            adoption.backend_id.into(),
        ],
    )?;
    Ok(())
}

/// The VDI that a volume or snapshot is to be made of.
pub fn find(tx: &mut Transaction<'_>, target: &str) -> Result<Option<Adoption>> {
    let found = tx.query_first(
        "SELECT reference, is_uuid, backend_id FROM adoptions WHERE target = ?1",
        &[target.into()],
        |row| Ok((row.text(0)?, row.int(1)?, row.int(2)?)),
    )?;
    Ok(found.and_then(|(text, is_uuid, backend)| {
        let reference = match is_uuid {
            0 => Reference::Name(text),
            _ => Reference::Uuid(text.parse().ok()?),
        };
        Some(Adoption {
            reference,
            backend_id: BackendId(backend),
        })
    }))
}

/// Takes a VDI for a volume or snapshot; false, with nothing changed, when another one has it or is about to.
pub fn claim(
    tx: &mut Transaction<'_>,
    vdi: Uuid,
    backend_id: Option<BackendId>,
    target: &str,
) -> Result<bool> {
    let vdi_text = Param::from(vdi.to_string());
    tx.execute(
        "INSERT INTO vdi_claims (vdi_uuid, target) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        &[vdi_text.clone(), target.into()],
    )?;
    let holder = tx.query_first(
        "SELECT target FROM vdi_claims WHERE vdi_uuid = ?1",
        std::slice::from_ref(&vdi_text),
        |row| row.text(0),
    )?;
    if holder.as_deref() != Some(target) {
        return Ok(false);
    }
    // Whoever had claimed it before and has it now left no claim behind.
    if owner(tx, vdi, backend_id)?.is_none() {
        return Ok(true);
    }
    tx.execute("DELETE FROM vdi_claims WHERE target = ?1", &[target.into()])?;
    Ok(false)
}

/// The volume or snapshot on a backend that has this VDI.
pub fn owner(
    tx: &mut Transaction<'_>,
    vdi: Uuid,
    backend_id: Option<BackendId>,
) -> Result<Option<String>> {
    let vdi = Param::from(vdi.to_string());
    for sql in [
        "SELECT id FROM volumes WHERE backend_id = ?1 AND backend_id IS NOT NULL AND vdi_uuid = ?2 LIMIT 1",
        "SELECT id FROM snapshots WHERE backend_id = ?1 AND backend_id IS NOT NULL AND vdi_uuid = ?2 LIMIT 1",
    ] {
        let found = tx.query_first(sql, &[backend_id.into(), vdi.clone()], |row| row.text(0))?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Forgets what was to be adopted, and the claim.
pub fn remove(tx: &mut Transaction<'_>, target: &str) -> Result<()> {
    tx.execute("DELETE FROM adoptions WHERE target = ?1", &[target.into()])?;
    tx.execute("DELETE FROM vdi_claims WHERE target = ?1", &[target.into()])?;
    Ok(())
}
