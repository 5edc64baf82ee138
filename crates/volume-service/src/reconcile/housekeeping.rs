//! Removes rows that nobody needs any more: finished operations, expired messages, silent services, client tokens of what is gone.

use std::sync::Arc;

use super::Report;
use crate::db::{client_tokens, messages, operations, services};
use crate::error::Result;
use crate::operation::Engine;

/// How long finished operations and silent services are kept, in microseconds: a week.
const KEPT_US: i64 = 7 * 24 * 3600 * 1_000_000;
/// How long a client token is remembered in any case, in microseconds: a day.
const TOKENS_KEPT_US: i64 = 24 * 3600 * 1_000_000;
/// Rows that one transaction removes at most of each kind.
const ROWS_MAX: usize = 1000;

/// The reconciler of rows.
pub struct Housekeeping {
    engine: Arc<Engine>,
}

impl Housekeeping {
    /// Makes the reconciler.
    pub fn new(engine: Arc<Engine>) -> Self {
        Housekeeping { engine }
    }

    /// Removes what is old, in transactions of bounded size.
    pub async fn pass(&self) -> Result<Report> {
        let mut report = Report::default();
        loop {
            let now_us = self.engine.context().now_us();
            let removed = self.engine.database().write(move |tx| {
                let before_us = now_us - KEPT_US;
                let finished = operations::remove_finished(tx, before_us, ROWS_MAX)?;
                let expired = messages::remove_expired(tx, now_us, ROWS_MAX)?;
                let forgotten = client_tokens::forget_gone(tx, now_us - TOKENS_KEPT_US, ROWS_MAX)?;
                services::remove_silent(tx, before_us)?;
                Ok([finished, expired, forgotten])
            });
            let removed = removed.await?;
            let sum: u64 = removed.iter().sum();
            report.looked += sum;
            report.repaired += sum;
            if removed.iter().all(|rows| *rows < ROWS_MAX as u64) {
                return Ok(report);
            }
        }
    }
}
