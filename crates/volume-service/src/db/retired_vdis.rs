//! VDIs that a volume no longer has: they are destroyed by the operation that retired them, or by a reconciler.

use uuid::Uuid;

use super::{Transaction, operations};
use crate::error::Result;
use crate::model::id::OperationId;
use crate::model::operation::OperationState;

/// Says that a VDI is to be destroyed, whatever its marks say.
pub fn insert(tx: &mut Transaction<'_>, vdi: Uuid, zone: &str, now_us: i64) -> Result<()> {
    tx.execute(
        "INSERT INTO retired_vdis (vdi_uuid, zone, retired_at_us) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        &[vdi.to_string().into(), zone.into(), now_us.into()],
    )?;
    Ok(())
}

/// Up to `limit` VDIs of a zone that are to be destroyed, those whose turn is longest ago first.
pub fn list(tx: &mut Transaction<'_>, zone: &str, limit: usize) -> Result<Vec<Uuid>> {
    tx.query(
        "SELECT vdi_uuid FROM retired_vdis WHERE zone = ?1 ORDER BY retired_at_us LIMIT ?2",
        &[zone.into(), i64::try_from(limit).unwrap_or(i64::MAX).into()],
        |row| row.parsed(0, |text| text.parse().ok()),
    )
}

/// Such a VDI cannot be destroyed now: it waits behind all others.
pub fn postpone(tx: &mut Transaction<'_>, vdi: Uuid, now_us: i64) -> Result<()> {
    tx.execute(
        "UPDATE retired_vdis SET retired_at_us = ?2 WHERE vdi_uuid = ?1",
        &[vdi.to_string().into(), now_us.into()],
    )?;
    Ok(())
}

/// Such a VDI is destroyed.
pub fn remove(tx: &mut Transaction<'_>, vdi: Uuid) -> Result<()> {
    tx.execute(
        "DELETE FROM retired_vdis WHERE vdi_uuid = ?1",
        &[vdi.to_string().into()],
    )?;
    Ok(())
}

/// True for a VDI that is to be destroyed.
pub fn contain(tx: &mut Transaction<'_>, vdi: Uuid) -> Result<bool> {
    let found = tx.query_first(
        "SELECT vdi_uuid FROM retired_vdis WHERE vdi_uuid = ?1",
        &[vdi.to_string().into()],
        |row| row.text(0),
    )?;
    Ok(found.is_some())
}

/// True when the operation that made a VDI ended and cannot have kept it: it failed, or succeeded under a later lease, whose holder
/// made a VDI of its own. A reconciler destroys such a VDI unless a volume or snapshot has it.
pub fn was_left(tx: &mut Transaction<'_>, id: OperationId, generation: i64) -> Result<bool> {
    Ok(
        operations::find(tx, id)?.is_some_and(|made| match made.state {
            _ if made.kind.is_about_foreign_vdis() => false,
            OperationState::Failed => true,
            OperationState::Succeeded => generation < made.lease_generation,
            OperationState::Pending | OperationState::Running | OperationState::Undoing => false,
        }),
    )
}
