//! Removes rows that nobody needs any more: finished operations, expired messages, silent services.

use std::sync::Arc;

use super::Report;
use crate::db::{messages, operations, services};
use crate::error::Result;
use crate::operation::Engine;

/// How long finished operations and silent services are kept, in microseconds: a week.
const KEPT_US: i64 = 7 * 24 * 3600 * 1_000_000;
/// Rows that one transaction removes at most.
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
}
