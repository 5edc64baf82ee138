//! Webhooks, what happened, and who was told of it. Most events are written by triggers (migration 0011).

use super::{Param, Row, Transaction};
use crate::error::Result;

/// A webhook's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// A uuid.
    pub id: String,
    /// The only project of which it is told; none for all.
    pub project_id: Option<String>,
    /// Where it is told.
    pub url: String,
    /// What signs what it is told, sealed.
    pub sealed_secret: Vec<u8>,
    /// A prefix of the kinds that it is told; empty for all.
    pub kinds: String,
    /// True when addresses of this machine and its links will do.
    pub allows_local: bool,
    /// How often the next event was tried.
    pub attempts: i64,
    /// Events that were given up.
    pub dropped: i64,
    /// Why the last try failed; empty when it did not.
    pub failure: String,
    /// Microseconds since 1970.
    pub created_at_us: i64,
}

/// An event's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its number; given when it is stored.
    pub id: i64,
    /// Microseconds since 1970.
    pub at_us: i64,
    /// `volume.available`
    pub kind: String,
    /// The project that the resource belongs to.
    pub project_id: String,
    /// `volume`, `snapshot`
    pub resource_type: String,
    /// The resource's id.
    pub resource_id: String,
    /// A JSON object.
    pub data: String,
}

const WEBHOOK: &str = "id, project_id, url, sealed_secret, kinds, allows_local, attempts, dropped, failure, created_at_us";

/// Adds a webhook; it is told of what happens from now on.
pub fn insert(tx: &mut Transaction<'_>, webhook: &Webhook) -> Result<()> {
    tx.execute(
        "INSERT INTO webhooks (id, project_id, url, sealed_secret, kinds, after_event, allows_local, enabled, attempts, \
         next_attempt_us, dropped, failure, leased_until_us, created_at_us) \
         SELECT ?1, ?2, ?3, ?4, ?5, COALESCE(MAX(id), 0), ?6, 1, 0, 0, 0, '', 0, ?7 FROM events",
        &[
            webhook.id.as_str().into(),
            webhook.project_id.clone().into(),
            webhook.url.as_str().into(),
            Param::Bytes(webhook.sealed_secret.clone()),
            webhook.kinds.as_str().into(),
            webhook.allows_local.into(),
            webhook.created_at_us.into(),
        ],
    )?;
    Ok(())
}

/// Every webhook, oldest first.
pub fn list(tx: &mut Transaction<'_>) -> Result<Vec<Webhook>> {
    tx.query(
        &format!("SELECT {WEBHOOK} FROM webhooks ORDER BY created_at_us, id"),
        &[],
        webhook,
    )
}

/// Removes one; what nobody is to be told of any more goes with the next sweep. False when there is none.
pub fn remove(tx: &mut Transaction<'_>, id: &str) -> Result<bool> {
    Ok(tx.execute("DELETE FROM webhooks WHERE id = ?1", &[id.into()])? == 1)
}

/// Tells, while there is a webhook, what is no change of a row's state: no trigger sees why a row went.
pub fn tell(tx: &mut Transaction<'_>, event: &Event) -> Result<()> {
    tx.execute(
        "INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data) SELECT ?1, ?2, ?3, ?4, ?5, ?6 \
         WHERE EXISTS (SELECT 1 FROM webhooks WHERE enabled = 1)",
        &[
            event.at_us.into(),
            event.kind.as_str().into(),
            event.project_id.as_str().into(),
            event.resource_type.as_str().into(),
            event.resource_id.as_str().into(),
            event.data.as_str().into(),
        ],
    )?;
    Ok(())
}

/// Takes the webhook that is next and has something to be told, until a moment.
pub fn lease(tx: &mut Transaction<'_>, now_us: i64, until_us: i64) -> Result<Option<Webhook>> {
    let sql = format!(
        "UPDATE webhooks SET leased_until_us = ?2 WHERE leased_until_us <= ?1 AND id = (\
         SELECT w.id FROM webhooks w WHERE w.enabled = 1 AND w.leased_until_us <= ?1 AND w.next_attempt_us <= ?1 AND EXISTS (\
         SELECT 1 FROM events e WHERE e.id > w.after_event AND e.kind LIKE w.kinds || '%' \
         AND (w.project_id IS NULL OR w.project_id = e.project_id) \
         AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.webhook_id = w.id AND d.event_id = e.id)) \
         ORDER BY w.next_attempt_us, w.id LIMIT 1) RETURNING {WEBHOOK}"
    );
    tx.query_first(&sql, &[now_us.into(), until_us.into()], webhook)
}

/// What a webhook is to be told, oldest first, at most `limit`.
pub fn pending(tx: &mut Transaction<'_>, id: &str, limit: i64) -> Result<Vec<Event>> {
    tx.query(
        "SELECT e.id, e.at_us, e.kind, e.project_id, e.resource_type, e.resource_id, e.data FROM events e \
         JOIN webhooks w ON w.id = ?1 WHERE e.id > w.after_event AND e.kind LIKE w.kinds || '%' \
         AND (w.project_id IS NULL OR w.project_id = e.project_id) \
         AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.webhook_id = w.id AND d.event_id = e.id) \
         ORDER BY e.id LIMIT ?2",
        &[id.into(), limit.into()],
        |row| {
            Ok(Event {
                id: row.int(0)?,
                at_us: row.int(1)?,
                kind: row.text(2)?,
                project_id: row.text(3)?,
                resource_type: row.text(4)?,
                resource_id: row.text(5)?,
                data: row.text(6)?,
            })
        },
    )
}

/// A webhook was told of an event, or the event is given up for it.
pub fn settle(tx: &mut Transaction<'_>, id: &str, event_id: i64, given_up: bool) -> Result<()> {
    tx.execute(
        "INSERT INTO deliveries (webhook_id, event_id) SELECT w.id, e.id FROM webhooks w, events e \
         WHERE w.id = ?1 AND e.id = ?2 ON CONFLICT DO NOTHING",
        &[id.into(), event_id.into()],
    )?;
    tx.execute(
        "UPDATE webhooks SET attempts = 0, next_attempt_us = 0, dropped = dropped + ?2, \
         failure = CASE WHEN ?2 = 0 THEN '' ELSE failure END WHERE id = ?1",
        &[id.into(), given_up.into()],
    )?;
    Ok(())
}

/// A try failed; the next one is later.
pub fn postpone(
    tx: &mut Transaction<'_>,
    id: &str,
    next_attempt_us: i64,
    failure: &str,
) -> Result<()> {
    tx.execute(
        "UPDATE webhooks SET attempts = attempts + 1, next_attempt_us = ?2, failure = ?3 WHERE id = ?1",
        &[id.into(), next_attempt_us.into(), failure.into()],
    )?;
    Ok(())
}

/// Gives a webhook back.
pub fn release(tx: &mut Transaction<'_>, id: &str) -> Result<()> {
    tx.execute(
        "UPDATE webhooks SET leased_until_us = 0 WHERE id = ?1",
        &[id.into()],
    )?;
    Ok(())
}

/// Forgets, among the `limit` oldest events, those of which everybody was told, those that are too old, and those that have `kept`
/// newer ones. What is looked at is bounded: a receiver that is away for days must not make this slow for all writers.
pub fn sweep(tx: &mut Transaction<'_>, too_old_us: i64, limit: i64, kept: i64) -> Result<u64> {
    tx.execute(
        "DELETE FROM events WHERE id IN (SELECT e.id FROM (SELECT o.id, o.at_us, o.kind, o.project_id FROM events o \
         ORDER BY o.id LIMIT ?2) e WHERE e.at_us < ?1 OR e.id <= (SELECT MAX(n.id) FROM events n) - ?3 OR NOT EXISTS (\
         SELECT 1 FROM webhooks w WHERE e.id > w.after_event AND e.kind LIKE w.kinds || '%' \
         AND (w.project_id IS NULL OR w.project_id = e.project_id) \
         AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.webhook_id = w.id AND d.event_id = e.id)))",
        &[too_old_us.into(), limit.into(), kept.into()],
    )
}

fn webhook(row: &Row<'_>) -> Result<Webhook> {
    Ok(Webhook {
        id: row.text(0)?,
        project_id: row.opt_text(1)?,
        url: row.text(2)?,
        sealed_secret: row.bytes(3)?,
        kinds: row.text(4)?,
        allows_local: row.int(5)? != 0,
        attempts: row.int(6)?,
        dropped: row.int(7)?,
        failure: row.text(8)?,
        created_at_us: row.int(9)?,
    })
}
