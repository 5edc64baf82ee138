//! What is known of attachments that this service itself makes in instances.

use uuid::Uuid;

use super::{Row, Transaction, attachments};
use crate::error::Result;
use crate::model::attachment::Attachment;
use crate::model::id::{AttachmentId, InstanceId};
use crate::model::instance::InstanceAttachment;

const COLUMNS: &str =
    "instance_id, scope, position, delete_on_termination, is_forced, is_terminated, vbd_uuid";

/// Adds what is known of an attachment that is there; false, with nothing changed, when its position is taken.
pub fn insert(
    tx: &mut Transaction<'_>,
    id: AttachmentId,
    attachment: &InstanceAttachment,
) -> Result<bool> {
    let inserted = tx.execute(
        "INSERT INTO instance_attachments (attachment_id, instance_id, scope, position, delete_on_termination, is_forced, \
         is_terminated, vbd_uuid) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
        &[
            id.into(),
            attachment.instance_id.into(),
            attachment.scope.as_str().into(),
            i64::from(attachment.position).into(),
            attachment.delete_on_termination.into(),
            attachment.is_forced.into(),
            attachment.is_terminated.into(),
            attachment.vbd_uuid.map(|uuid| uuid.to_string()).into(),
        ],
    )?;
    Ok(inserted == 1)
}

/// What is known of an attachment; none for one that somebody else makes.
pub fn find(tx: &mut Transaction<'_>, id: AttachmentId) -> Result<Option<InstanceAttachment>> {
    tx.query_first(
        &format!("SELECT {COLUMNS} FROM instance_attachments WHERE attachment_id = ?1"),
        &[id.into()],
        from_row,
    )
}

/// All of an instance, with their attachments' ids.
pub fn of_instance(
    tx: &mut Transaction<'_>,
    id: InstanceId,
) -> Result<Vec<(AttachmentId, InstanceAttachment)>> {
    tx.query(
        &format!(
            "SELECT {COLUMNS}, attachment_id FROM instance_attachments WHERE instance_id = ?1 ORDER BY position, attachment_id"
        ),
        &[id.into()],
        |row| Ok((row.parsed(7, |text| text.parse().ok())?, from_row(row)?)),
    )
}

/// A project's attachments in an instance, oldest first.
pub fn held(tx: &mut Transaction<'_>, project_id: &str, id: InstanceId) -> Result<Vec<Attachment>> {
    tx.query(
        &format!(
            "SELECT {} FROM attachments WHERE project_id = ?1 \
             AND id IN (SELECT h.attachment_id FROM instance_attachments h WHERE h.instance_id = ?2) \
             ORDER BY created_at_us, id",
            attachments::COLUMNS
        ),
        &[project_id.into(), id.into()],
        attachments::from_row,
    )
}

/// Says which VBD was made for it.
pub fn set_vbd(tx: &mut Transaction<'_>, id: AttachmentId, vbd: Uuid) -> Result<bool> {
    let touched = tx.execute(
        "UPDATE instance_attachments SET vbd_uuid = ?2 WHERE attachment_id = ?1",
        &[id.into(), vbd.to_string().into()],
    )?;
    Ok(touched == 1)
}

/// Says whether its volume goes when the instance goes for good.
pub fn set_delete_on_termination(
    tx: &mut Transaction<'_>,
    id: AttachmentId,
    delete_on_termination: bool,
) -> Result<bool> {
    let touched = tx.execute(
        "UPDATE instance_attachments SET delete_on_termination = ?2 WHERE attachment_id = ?1",
        &[id.into(), delete_on_termination.into()],
    )?;
    Ok(touched == 1)
}

/// Its end is wanted without the guest's consent.
pub fn set_forced(tx: &mut Transaction<'_>, id: AttachmentId) -> Result<bool> {
    let touched = tx.execute(
        "UPDATE instance_attachments SET is_forced = 1 WHERE attachment_id = ?1",
        &[id.into()],
    )?;
    Ok(touched == 1)
}

/// Its instance is gone for good.
pub fn set_terminated(tx: &mut Transaction<'_>, id: AttachmentId) -> Result<bool> {
    let touched = tx.execute(
        "UPDATE instance_attachments SET is_terminated = 1 WHERE attachment_id = ?1",
        &[id.into()],
    )?;
    Ok(touched == 1)
}

fn from_row(row: &Row<'_>) -> Result<InstanceAttachment> {
    Ok(InstanceAttachment {
        instance_id: row.parsed(0, |text| text.parse().ok())?,
        scope: row.text(1)?,
        position: u32::try_from(row.int(2)?).unwrap_or(0),
        delete_on_termination: row.int(3)? != 0,
        is_forced: row.int(4)? != 0,
        is_terminated: row.int(5)? != 0,
        vbd_uuid: row.opt_parsed(6, |text| text.parse().ok())?,
    })
}
