//! Removes rows that nobody needs any more: finished operations, expired messages, silent services, client tokens of what is gone.

use std::sync::{Arc, Mutex, PoisonError};

use super::Report;
use crate::db::client_tokens::{self, Seen};
use crate::db::{messages, operations, services};
use crate::error::Result;
use crate::operation::Engine;

/// How long finished operations and silent services are kept, in microseconds: a week.
const KEPT_US: i64 = 7 * 24 * 3600 * 1_000_000;
/// How long a client token is remembered in any case, in microseconds: a day.
const TOKENS_KEPT_US: i64 = 24 * 3600 * 1_000_000;
/// Transactions of client tokens in one pass; the next one goes on where it ended.
const TOKEN_PAGES_MAX: usize = 10;
/// Rows that one transaction removes at most.
const ROWS_MAX: usize = 1000;

/// The reconciler of rows.
pub struct Housekeeping {
    engine: Arc<Engine>,
    /// The client token that was looked at last; none to begin with the oldest.
    seen: Mutex<Option<Seen>>,
}

impl Housekeeping {
    /// Makes the reconciler.
    pub fn new(engine: Arc<Engine>) -> Self {
        Housekeeping {
            engine,
            seen: Mutex::default(),
        }
    }

    /// Removes what is old, in transactions of bounded size.
    pub async fn pass(&self) -> Result<Report> {
        let mut report = Report::default();
        self.forget_tokens(&mut report).await?;
        loop {
            let now_us = self.engine.context().now_us();
            let removed = self.engine.database().write(move |tx| {
                let before_us = now_us - KEPT_US;
                let finished = operations::remove_finished(tx, before_us, ROWS_MAX)?;
                let expired = messages::remove_expired(tx, now_us, ROWS_MAX)?;
                services::remove_silent(tx, before_us)?;
                Ok(finished + expired)
            });
            let removed = removed.await?;
            report.looked += removed;
            report.repaired += removed;
            if removed < ROWS_MAX as u64 {
                return Ok(report);
            }
        }
    }

    /// Looks at some of the client tokens, and forgets those of what is gone.
    async fn forget_tokens(&self, report: &mut Report) -> Result<()> {
        let before_us = self.engine.context().now_us() - TOKENS_KEPT_US;
        for _ in 0..TOKEN_PAGES_MAX {
            let after = self.lock().clone();
            let forgotten = self.engine.database().write(move |tx| {
                client_tokens::forget_gone(tx, before_us, after.as_ref(), ROWS_MAX)
            });
            let (forgotten, last) = forgotten.await?;
            report.looked += forgotten;
            report.repaired += forgotten;
            let is_done = last.is_none();
            *self.lock() = last;
            if is_done {
                break;
            }
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
