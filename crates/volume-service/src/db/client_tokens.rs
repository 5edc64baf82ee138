//! Client tokens: what makes a request that is sent twice one request.

use super::{Param, Transaction};
use crate::error::{Error, ErrorKind, Result, Subject};

/// The action whose tokens stood in the volumes' rows, and still do for versions that look for them there.
pub const CREATE_VOLUME: &str = "CreateVolume";

/// A token with what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientToken {
    /// EC2's action; each has tokens of its own.
    pub action: &'static str,
    /// As the client sent it.
    pub token: String,
    /// A digest of the other parameters.
    pub digest: String,
}

/// What a token says of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replay {
    /// It is the first one with this token.
    New,
    /// The same request was there before and made this; it may be gone.
    Same(String),
    /// Another request was there before.
    Other,
}

/// Looks for the request that used the token before. Nothing is written: who makes something then calls [`remember`].
pub fn replay(tx: &mut Transaction<'_>, project_id: &str, client: &ClientToken) -> Result<Replay> {
    let found = find(tx, project_id, client.action, &client.token)?;
    Ok(match found {
        None => Replay::New,
        Some((digest, target)) if digest == client.digest => Replay::Same(target),
        Some(_) => Replay::Other,
    })
}

/// What the request with this token made, whatever it asked for.
pub fn target(
    tx: &mut Transaction<'_>,
    project_id: &str,
    action: &str,
    token: &str,
) -> Result<Option<String>> {
    Ok(find(tx, project_id, action, token)?.map(|(_, target)| target))
}

/// The digest and the target.
fn find(
    tx: &mut Transaction<'_>,
    project_id: &str,
    action: &str,
    token: &str,
) -> Result<Option<(String, String)>> {
    let params: [Param; 3] = [project_id.into(), action.into(), token.into()];
    // Versions before the table write the volume's row only.
    let sql = match action {
        CREATE_VOLUME => {
            "SELECT digest, target FROM client_tokens WHERE project_id = ?1 AND action = ?2 AND token = ?3 \
             UNION ALL SELECT client_digest, id FROM volumes WHERE project_id = ?1 AND client_token = ?3 \
             AND client_token IS NOT NULL LIMIT 1"
        }
        _ => {
            "SELECT digest, target FROM client_tokens WHERE project_id = ?1 AND action = ?2 AND token = ?3"
        }
    };
    tx.query_first(sql, &params, |row| Ok((row.text(0)?, row.text(1)?)))
}

/// Remembers the token of a request that makes `target`, which [`replay`] has not found. What is remembered goes when the transaction
/// does not end well.
///
/// # Errors
/// `overtaken`, perhaps with a later statement, when somebody else has remembered it since.
pub fn remember(
    tx: &mut Transaction<'_>,
    project_id: &str,
    client: &ClientToken,
    target: &str,
    now_us: i64,
) -> Result<()> {
    tx.post(
        "INSERT INTO client_tokens (project_id, action, token, digest, target, created_at_us) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
        vec![
            project_id.into(),
            client.action.into(),
            client.token.as_str().into(),
            client.digest.as_str().into(),
            target.into(),
            now_us.into(),
        ],
        overtaken,
    )
}

/// The refusal of a request that was sent twice at the same time; sent again it finds what the other one made.
pub(super) fn overtaken() -> Error {
    Error::new(
        ErrorKind::Busy,
        Subject::Request,
        "Another request with the same client token is being worked on. Repeat the request.",
    )
}

/// True for what [`remember`] refuses.
pub fn is_overtaken(error: &Error) -> bool {
    error.kind == ErrorKind::Busy && error.subject == Subject::Request
}

/// Forgets tokens of what is gone that were first used before a moment, the oldest first; returns how many.
pub fn forget_gone(tx: &mut Transaction<'_>, before_us: i64, limit: usize) -> Result<u64> {
    tx.execute(
        "DELETE FROM client_tokens WHERE (project_id, action, token) IN (SELECT project_id, action, token FROM client_tokens \
         WHERE gone = 1 AND created_at_us < ?1 ORDER BY created_at_us LIMIT ?2)",
        &[
            before_us.into(),
            i64::try_from(limit).unwrap_or(i64::MAX).into(),
        ],
    )
}
