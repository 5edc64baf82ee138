//! Attachments: who uses a volume.

use serde_json::Value;

use super::select::count;
use super::{Param, Row, Transaction, volume_metadata};
use crate::app::attachments::Consumer;
use crate::error::{Error, Result, Subject};
use crate::model::attachment::{AttachMode, Attachment, AttachmentStatus};
use crate::model::id::{AttachmentId, VolumeId};

pub(super) const COLUMNS: &str = "id, volume_id, project_id, instance_id, host_name, mountpoint, status, read_only, connector, \
                       connection_info, failure, attached_at_us, detached_at_us, created_at_us, \
                       (SELECT i.delete_on_termination FROM instance_attachments i WHERE i.attachment_id = attachments.id)";

/// Adds an attachment.
pub fn insert(tx: &mut Transaction<'_>, attachment: &Attachment) -> Result<()> {
    tx.execute(
        "INSERT INTO attachments (id, volume_id, project_id, instance_id, host_name, mountpoint, status, read_only, connector, \
         connection_info, failure, attached_at_us, detached_at_us, created_at_us) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        &[
            attachment.id.into(),
            attachment.volume_id.into(),
            attachment.project_id.as_str().into(),
            attachment.instance_id.clone().into(),
            attachment.host_name.clone().into(),
            attachment.mountpoint.clone().into(),
            attachment.status.as_str().into(),
            (attachment.mode == AttachMode::ReadOnly).into(),
            attachment.connector.to_string().into(),
            attachment.connection_info.to_string().into(),
            attachment.failure.as_str().into(),
            attachment.attached_at_us.into(),
            attachment.detached_at_us.into(),
            attachment.created_at_us.into(),
        ],
    )?;
    Ok(())
}

/// Removes all that a volume has; a failure may come with a later statement.
pub fn remove_of(tx: &mut Transaction<'_>, volume_id: VolumeId) -> Result<()> {
    tx.send(
        "DELETE FROM attachments WHERE volume_id = ?1",
        vec![volume_id.into()],
    )
}

/// An attachment of any project, if it exists; for workers and administrators.
pub fn find(tx: &mut Transaction<'_>, id: AttachmentId) -> Result<Option<Attachment>> {
    tx.query_first(
        &format!("SELECT {COLUMNS} FROM attachments WHERE id = ?1"),
        &[id.into()],
        from_row,
    )
}

/// An attachment of any project; for workers and administrators.
///
/// # Errors
/// `NotFound` when it does not exist.
pub fn get(tx: &mut Transaction<'_>, id: AttachmentId) -> Result<Attachment> {
    find(tx, id)?.ok_or_else(|| Error::not_found(Subject::Attachment, id))
}

/// The attachments of a volume, oldest first.
pub fn of_volume(tx: &mut Transaction<'_>, volume_id: VolumeId) -> Result<Vec<Attachment>> {
    tx.query(
        &format!(
            "SELECT {COLUMNS} FROM attachments WHERE volume_id = ?1 ORDER BY created_at_us, id"
        ),
        &[volume_id.into()],
        from_row,
    )
}

/// The attachments of some volumes of a project (of any project when none is named).
pub fn of_volumes(
    tx: &mut Transaction<'_>,
    project_id: Option<&str>,
    volumes: &[VolumeId],
) -> Result<Vec<Attachment>> {
    let sql = volume_metadata::in_list(
        &format!("SELECT {COLUMNS} FROM attachments WHERE volume_id IN"),
        volume_metadata::CHUNK,
    );
    let mut found = Vec::new();
    for chunk in volumes.chunks(volume_metadata::CHUNK) {
        found.extend(tx.query(&sql, &volume_metadata::padded(chunk), from_row)?);
    }
    found.retain(|attachment| project_id.is_none_or(|project| attachment.project_id == project));
    found.sort_by_key(|attachment| (attachment.created_at_us, attachment.id));
    Ok(found)
}

/// The attachments of a project by which an instance uses volumes, oldest first. The instance has its EC2 name: `i-` and the first 17
/// (or 8) digits of its id, which Nova writes with hyphens.
pub fn of_instance(
    tx: &mut Transaction<'_>,
    project_id: &str,
    ec2_id: &str,
) -> Result<Vec<Attachment>> {
    let digits = ec2_id.strip_prefix("i-").unwrap_or_default();
    tx.query(
        &format!(
            "SELECT {COLUMNS} FROM attachments WHERE project_id = ?1 AND instance_id IS NOT NULL \
             AND SUBSTR(REPLACE(LOWER(instance_id), '-', ''), 1, {}) = ?2 AND status IN (?3, ?4) ORDER BY created_at_us, id",
            digits.len()
        ),
        &[
            project_id.into(),
            digits.into(),
            AttachmentStatus::Attached.as_str().into(),
            AttachmentStatus::Detaching.as_str().into(),
        ],
        from_row,
    )
}

/// Up to `limit` attachments in a state, oldest first.
pub fn in_status(
    tx: &mut Transaction<'_>,
    status: AttachmentStatus,
    limit: usize,
) -> Result<Vec<Attachment>> {
    tx.query(
        &format!(
            "SELECT {COLUMNS} FROM attachments WHERE status = ?1 ORDER BY created_at_us, id LIMIT ?2"
        ),
        &[status.as_str().into(), count(limit)],
        from_row,
    )
}

/// Moves an attachment to a state if it is in one of some states; false, with nothing changed, when it is not (or is gone).
pub fn change_status(
    tx: &mut Transaction<'_>,
    id: AttachmentId,
    from: &[AttachmentStatus],
    to: AttachmentStatus,
) -> Result<bool> {
    let Some(first) = from.first() else {
        return Ok(false);
    };
    let mut params: Vec<Param> = vec![id.into(), to.as_str().into()];
    params.extend(from.iter().map(|status| Param::from(status.as_str())));
    params.resize(2 + AttachmentStatus::ALL.len(), first.as_str().into());
    let touched = tx.execute(
        "UPDATE attachments SET status = ?2 WHERE id = ?1 AND status IN (?3, ?4, ?5, ?6, ?7, ?8)",
        &params,
    )?;
    Ok(touched == 1)
}

/// Records what the consumer said of itself.
pub fn set_connector(
    tx: &mut Transaction<'_>,
    id: AttachmentId,
    connector: &Value,
    host_name: Option<&str>,
    mountpoint: Option<&str>,
) -> Result<bool> {
    let touched = tx.execute(
        "UPDATE attachments SET connector = ?2, host_name = ?3, mountpoint = COALESCE(?4, mountpoint) WHERE id = ?1",
        &[
            id.into(),
            connector.to_string().into(),
            host_name.into(),
            mountpoint.into(),
        ],
    )?;
    Ok(touched == 1)
}

/// Records what the consumer is told (never a secret).
pub fn set_connection_info(
    tx: &mut Transaction<'_>,
    id: AttachmentId,
    connection_info: &Value,
) -> Result<bool> {
    let touched = tx.execute(
        "UPDATE attachments SET connection_info = ?2 WHERE id = ?1",
        &[id.into(), connection_info.to_string().into()],
    )?;
    Ok(touched == 1)
}

/// Records who uses it, where that was not said before.
pub fn set_consumer(
    tx: &mut Transaction<'_>,
    id: AttachmentId,
    consumer: &Consumer,
) -> Result<bool> {
    let touched = tx.execute(
        "UPDATE attachments SET instance_id = COALESCE(instance_id, ?2), host_name = COALESCE(host_name, ?3), \
         mountpoint = COALESCE(mountpoint, ?4) WHERE id = ?1",
        &[
            id.into(),
            consumer.instance_id.clone().into(),
            consumer.host_name.clone().into(),
            consumer.mountpoint.clone().into(),
        ],
    )?;
    Ok(touched == 1)
}

/// Records when it was attached.
pub fn set_attached_at(
    tx: &mut Transaction<'_>,
    id: AttachmentId,
    attached_at_us: i64,
) -> Result<bool> {
    let touched = tx.execute(
        "UPDATE attachments SET attached_at_us = ?2 WHERE id = ?1",
        &[id.into(), attached_at_us.into()],
    )?;
    Ok(touched == 1)
}

/// Records why it failed; empty clears it.
pub fn set_failure(tx: &mut Transaction<'_>, id: AttachmentId, failure: &str) -> Result<bool> {
    let touched = tx.execute(
        "UPDATE attachments SET failure = ?2 WHERE id = ?1",
        &[id.into(), failure.into()],
    )?;
    Ok(touched == 1)
}

/// Removes it for good.
pub fn remove(tx: &mut Transaction<'_>, id: AttachmentId) -> Result<bool> {
    Ok(tx.execute("DELETE FROM attachments WHERE id = ?1", &[id.into()])? == 1)
}

pub(super) fn from_row(row: &Row<'_>) -> Result<Attachment> {
    let json = |text: &str| serde_json::from_str(text).ok();
    Ok(Attachment {
        id: row.parsed(0, |text| text.parse().ok())?,
        volume_id: row.parsed(1, |text| text.parse().ok())?,
        project_id: row.text(2)?,
        instance_id: row.opt_text(3)?,
        host_name: row.opt_text(4)?,
        mountpoint: row.opt_text(5)?,
        status: row.parsed(6, AttachmentStatus::parse)?,
        mode: if row.int(7)? == 0 {
            AttachMode::ReadWrite
        } else {
            AttachMode::ReadOnly
        },
        connector: row.parsed(8, json)?,
        connection_info: row.parsed(9, json)?,
        failure: row.text(10)?,
        attached_at_us: row.opt_int(11)?,
        detached_at_us: row.opt_int(12)?,
        created_at_us: row.int(13)?,
        delete_on_termination: row.opt_int(14)?.is_some_and(|wanted| wanted != 0),
    })
}

impl From<AttachmentId> for Param {
    fn from(id: AttachmentId) -> Self {
        Param::Text(id.to_string())
    }
}
