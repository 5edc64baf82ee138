//! Client tokens: what makes a request that is sent twice one request.

use super::{Param, Transaction};
use crate::error::{Error, ErrorKind, Result, Subject};

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
    /// It is the first one with this token, which is remembered from now on.
    New,
    /// The same request was there before and made this; it may be gone.
    Same(String),
    /// Another request was there before.
    Other,
}

/// Remembers the token of a request that makes `target`, unless it was used before. What is remembered goes when the transaction does
/// not end well.
pub fn replay(
    tx: &mut Transaction<'_>,
    project_id: &str,
    client: &ClientToken,
    target: &str,
    now_us: i64,
) -> Result<Replay> {
    let inserted = tx.execute(
        "INSERT INTO client_tokens (project_id, action, token, digest, target, created_at_us) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
        &[
            project_id.into(),
            client.action.into(),
            client.token.as_str().into(),
            client.digest.as_str().into(),
            target.into(),
            now_us.into(),
        ],
    )?;
    if inserted == 1 {
        return Ok(Replay::New);
    }
    let found = tx.query_first(
        "SELECT digest, target FROM client_tokens WHERE project_id = ?1 AND action = ?2 AND token = ?3",
        &[
            project_id.into(),
            client.action.into(),
            client.token.as_str().into(),
        ],
        |row| Ok((row.text(0)?, row.text(1)?)),
    )?;
    match found {
        Some((digest, target)) if digest == client.digest => Ok(Replay::Same(target)),
        Some(_) => Ok(Replay::Other),
        None => Err(Error::new(
            ErrorKind::Busy,
            Subject::Request,
            "The client token is being forgotten. Repeat the request.",
        )),
    }
}

/// A token that was looked at: when it was first used, and which one it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    created_at_us: i64,
    project_id: String,
    action: String,
    token: String,
}

impl Seen {
    fn params(&self) -> [Param; 4] {
        [
            self.created_at_us.into(),
            self.project_id.as_str().into(),
            self.action.as_str().into(),
            self.token.as_str().into(),
        ]
    }
}

/// Looks at the next tokens behind `after` that were first used before a moment, and forgets those of what is gone. Returns how many
/// were forgotten, and the last one that was looked at when there may be more.
pub fn forget_gone(
    tx: &mut Transaction<'_>,
    before_us: i64,
    after: Option<&Seen>,
    limit: usize,
) -> Result<(u64, Option<Seen>)> {
    let first = Seen {
        created_at_us: i64::MIN,
        project_id: String::new(),
        action: String::new(),
        token: String::new(),
    };
    let mut params = vec![Param::from(before_us)];
    params.extend(after.unwrap_or(&first).params());
    params.push(i64::try_from(limit).unwrap_or(i64::MAX).into());
    let seen = tx.query(
        "SELECT t.created_at_us, t.project_id, t.action, t.token, \
         (SELECT COUNT(*) FROM volumes v WHERE v.id = t.target) + (SELECT COUNT(*) FROM snapshots s WHERE s.id = t.target) \
         FROM client_tokens t WHERE t.created_at_us < ?1 \
         AND (t.created_at_us, t.project_id, t.action, t.token) > (?2, ?3, ?4, ?5) \
         ORDER BY t.created_at_us, t.project_id, t.action, t.token LIMIT ?6",
        &params,
        |row| {
            let seen = Seen {
                created_at_us: row.int(0)?,
                project_id: row.text(1)?,
                action: row.text(2)?,
                token: row.text(3)?,
            };
            Ok((seen, row.int(4)? > 0))
        },
    )?;
    let mut forgotten = 0;
    for (seen, is_there) in &seen {
        if !is_there {
            forgotten += tx.execute(
                "DELETE FROM client_tokens WHERE created_at_us = ?1 AND project_id = ?2 AND action = ?3 AND token = ?4",
                &seen.params(),
            )?;
        }
    }
    let is_full = seen.len() >= limit;
    let last = seen.into_iter().next_back().map(|(seen, _)| seen);
    Ok((forgotten, last.filter(|_| is_full)))
}
