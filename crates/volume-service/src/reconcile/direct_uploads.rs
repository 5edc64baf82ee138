//! Takes snapshots that clients wrote block by block to their end, and gives up those that nobody writes.

use std::sync::Arc;

use super::Report;
use super::operations::REQUEST_ID;
use crate::app::direct;
use crate::db::direct_uploads;
use crate::error::Result;
use crate::operation::Engine;

/// Uploads that a pass looks at; the rest waits for the next pass.
const ROWS_MAX: usize = 100;

/// The reconciler of uploads.
pub struct DirectUploads {
    engine: Arc<Engine>,
}

impl DirectUploads {
    /// Makes the reconciler.
    pub fn new(engine: Arc<Engine>) -> Self {
        DirectUploads { engine }
    }

    /// Takes each upload that is due one step further.
    pub async fn pass(&self) -> Result<Report> {
        let database = self.engine.database();
        let now_us = self.engine.context().now_us();
        let due = database
            .read(move |tx| direct_uploads::due(tx, now_us, ROWS_MAX))
            .await?;
        let mut report = Report::default();
        for upload in due {
            report.looked += 1;
            let context = self.engine.context().clone();
            let advanced = database
                .write(move |tx| direct::advance(tx, &context, REQUEST_ID, &upload))
                .await;
            match advanced {
                Ok(has_changed) => report.repaired += u64::from(has_changed),
                Err(error) => {
                    report.failed += 1;
                    tracing::warn!(%error, "a snapshot that was written block by block waits");
                }
            }
        }
        Ok(report)
    }
}
