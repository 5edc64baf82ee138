//! Takes snapshots that clients wrote block by block to their end, and gives up those that nobody writes.

use std::sync::Arc;

use super::Report;
use super::operations::REQUEST_ID;
use uuid::Uuid;

use crate::app::direct;
use crate::db::direct_uploads;
use crate::error::Result;
use crate::model::id::VolumeId;
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
        let mut report = Report::default();
        // All of them, a page at a time: those that wait for somebody stand in nobody's way.
        let mut after = (i64::MIN, VolumeId(Uuid::nil()));
        loop {
            let due = database.read(move |tx| direct_uploads::due(tx, now_us, after, ROWS_MAX));
            let due = due.await?;
            let Some(last) = due.last() else {
                return Ok(report);
            };
            after = (last.deadline_us, last.volume_id);
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
        }
    }
}
