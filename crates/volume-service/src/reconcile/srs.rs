//! Forgets, never destroys, the SRs of removed backends.

use std::sync::Arc;

use uuid::Uuid;

use super::Report;
use super::sightings::Sightings;
use crate::db::backends;
use crate::error::Result;
use crate::operation::Engine;

/// How long an SR must be without a backend, in microseconds.
pub const GRACE_US: i64 = 300_000_000;

/// The reconciler of SRs.
pub struct Srs {
    engine: Arc<Engine>,
    sightings: Sightings,
}

impl Srs {
    /// Makes the reconciler.
    pub fn new(engine: Arc<Engine>) -> Self {
        Srs {
            engine,
            sightings: Sightings::default(),
        }
    }

    /// Looks at every SR of ours once.
    pub async fn pass(&self) -> Result<Report> {
        let mut report = Report::default();
        let zone = self.engine.zone().to_owned();
        let database = self.engine.database();
        let retired = database.read(move |tx| backends::retired(tx, &zone));
        for uuid in retired.await? {
            report.looked += 1;
            if self.forget(uuid, &mut report).await {
                let done = database.write(move |tx| backends::remove_retired(tx, uuid));
                done.await?;
            }
        }
        for uuid in self.abandoned(&mut report).await? {
            self.forget(uuid, &mut report).await;
        }
        Ok(report)
    }

    /// SRs that a worker made for a backend that was removed meanwhile, or for which another worker, after this one had lost its
    /// lease, made one too.
    async fn abandoned(&self, report: &mut Report) -> Result<Vec<Uuid>> {
        let found = self.engine.pool().marked_srs().await;
        let found = found.map_err(|error| error.on_zone(self.engine.zone()))?;
        report.looked += found.len() as u64;
        let vault = self.engine.vault().clone();
        let database = self.engine.database();
        let rows = database.read(move |tx| backends::list(tx, &vault)).await?;
        let deployment = self.engine.deployment();
        let mut suspects = Vec::new();
        for sr in found {
            let mark = sr.mark.unwrap_or_default();
            let is_known = rows.iter().any(|row| match row.sr_uuid {
                Some(uuid) => uuid == sr.uuid,
                None => deployment.backend_mark(row) == mark,
            });
            if deployment.owns_mark(&mark) && !is_known {
                suspects.push(sr.uuid);
            }
        }
        let now_us = self.engine.context().now_us();
        Ok(self.sightings.overdue(&suspects, now_us, GRACE_US))
    }

    /// Lets go of an SR that is marked as ours; true when it is done with.
    ///
    /// Only what this deployment brought into the pool is forgotten there. An SR that was in the pool before it became a backend
    /// may hold anybody's VDIs: it loses our mark and stays. One without our mark never became ours.
    async fn forget(&self, uuid: Uuid, report: &mut Report) -> bool {
        let pool = self.engine.pool();
        let is_ours = |mark: &Option<String>| {
            let deployment = self.engine.deployment();
            mark.as_deref()
                .is_some_and(|mark| deployment.owns_mark(mark))
        };
        let (what, done) = match pool.find_sr(uuid).await {
            Ok(None) => return true,
            Ok(Some(sr)) if !is_ours(&sr.mark) => return true,
            Ok(Some(sr)) if is_ours(&sr.made_with) => ("forget", pool.forget_sr(uuid).await),
            Ok(Some(_)) => ("take the mark off", pool.unmark_sr(uuid).await),
            Err(error) => ("find", Err(error)),
        };
        match done {
            Ok(()) => {
                report.repaired += 1;
                tracing::info!(sr.uuid = %uuid, "{what} SR {uuid}, whose backend was removed: done");
                true
            }
            Err(error) => {
                report.failed += 1;
                tracing::warn!(sr.uuid = %uuid, "{what} SR {uuid}, whose backend was removed: {error}");
                false
            }
        }
    }
}
