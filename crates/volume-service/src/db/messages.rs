//! User messages.

use uuid::Uuid;

use super::{Row, Transaction};
use crate::app::messages::Message;
use crate::error::Result;

pub(super) const COLUMNS: &str = "id, project_id, request_id, resource_type, resource_id, action_id, detail_id, text, created_at_us, \
                       expires_at_us";

/// Adds a message.
pub fn insert(tx: &mut Transaction<'_>, message: &Message) -> Result<()> {
    tx.execute(
        "INSERT INTO messages (id, project_id, request_id, resource_type, resource_id, action_id, detail_id, text, \
         created_at_us, expires_at_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        &[
            message.id.to_string().into(),
            message.project_id.as_str().into(),
            message.request_id.as_str().into(),
            message.resource_type.as_str().into(),
            message.resource_id.as_str().into(),
            message.action_id.as_str().into(),
            message.detail_id.as_str().into(),
            message.text.as_str().into(),
            message.created_at_us.into(),
            message.expires_at_us.into(),
        ],
    )?;
    Ok(())
}

/// A project's message, if it exists and has not expired.
pub fn find(
    tx: &mut Transaction<'_>,
    project_id: &str,
    id: Uuid,
    now_us: i64,
) -> Result<Option<Message>> {
    tx.query_first(
        &format!("SELECT {COLUMNS} FROM messages WHERE id = ?1 AND project_id = ?2 AND expires_at_us > ?3"),
        &[id.to_string().into(), project_id.into(), now_us.into()],
        from_row,
    )
}

/// Removes a project's message; false when it is not there.
pub fn remove(tx: &mut Transaction<'_>, project_id: &str, id: Uuid) -> Result<bool> {
    let touched = tx.execute(
        "DELETE FROM messages WHERE id = ?1 AND project_id = ?2",
        &[id.to_string().into(), project_id.into()],
    )?;
    Ok(touched == 1)
}

/// Removes up to `limit` expired messages; returns how many.
pub fn remove_expired(tx: &mut Transaction<'_>, now_us: i64, limit: usize) -> Result<u64> {
    tx.execute(
        "DELETE FROM messages WHERE id IN (SELECT id FROM messages WHERE expires_at_us <= ?1 ORDER BY expires_at_us LIMIT ?2)",
        &[
            now_us.into(),
            i64::try_from(limit).unwrap_or(i64::MAX).into(),
        ],
    )
}

pub(super) fn from_row(row: &Row<'_>) -> Result<Message> {
    Ok(Message {
        id: row.parsed(0, |text| text.parse().ok())?,
        project_id: row.text(1)?,
        request_id: row.text(2)?,
        resource_type: row.text(3)?,
        resource_id: row.text(4)?,
        action_id: row.text(5)?,
        detail_id: row.text(6)?,
        text: row.text(7)?,
        created_at_us: row.int(8)?,
        expires_at_us: row.int(9)?,
    })
}
