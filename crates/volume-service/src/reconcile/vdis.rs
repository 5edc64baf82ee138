//! Removes VDIs of this deployment that no volume owns: what a worker made that had lost its lease, or what an undo could not
//! reach.
//!
//! The database decides: a VDI goes only when its volume's row is gone or names another VDI, no operation is at work on that
//! volume, and this has been so for the whole grace period.

use std::sync::Arc;

use uuid::Uuid;

use super::Report;
use super::sightings::Sightings;
use crate::db::{Transaction, backends, operations, volumes};
use crate::driver::FoundVdi;
use crate::error::Result;
use crate::model::backend::BackendState;
use crate::operation::Engine;

/// How long a VDI must be without an owner, in microseconds.
pub const GRACE_US: i64 = 600_000_000;
/// VDIs that one pass removes at most.
const REMOVALS_MAX: usize = 100;

/// The reconciler of VDIs.
pub struct Vdis {
    engine: Arc<Engine>,
    sightings: Sightings,
}

impl Vdis {
    /// Makes the reconciler.
    pub fn new(engine: Arc<Engine>) -> Self {
        Vdis {
            engine,
            sightings: Sightings::default(),
        }
    }

    /// Looks at every VDI of ours in the zone's connected backends once.
    pub async fn pass(&self) -> Result<Report> {
        let mut report = Report::default();
        let pool = self.engine.pool();
        let mut ours = Vec::new();
        for sr_uuid in self.connected_srs().await? {
            match pool.vdis_of_sr(sr_uuid).await {
                Ok(found) => ours.extend(found),
                Err(error) => {
                    report.failed += 1;
                    tracing::warn!(sr.uuid = %sr_uuid, "list the VDIs of SR {sr_uuid}: {error}");
                }
            }
        }
        let deployment = Some(self.engine.deployment().0);
        ours.retain(|vdi| vdi.deployment == deployment && !vdi.is_a_snapshot);
        report.looked = ours.len() as u64;
        let orphans = self.orphans(ours).await?;
        let now_us = self.engine.context().now_us();
        let overdue = self.sightings.overdue(&orphans, now_us, GRACE_US);
        for uuid in overdue.into_iter().take(REMOVALS_MAX) {
            match pool.destroy_vdi(uuid).await {
                Ok(()) => {
                    report.repaired += 1;
                    tracing::warn!(vdi.uuid = %uuid, "removed VDI {uuid}, which no volume owns");
                }
                Err(error) => {
                    report.failed += 1;
                    tracing::warn!(vdi.uuid = %uuid, "remove VDI {uuid}, which no volume owns: {error}");
                }
            }
        }
        Ok(report)
    }

    async fn connected_srs(&self) -> Result<Vec<Uuid>> {
        let (vault, zone) = (self.engine.vault().clone(), self.engine.zone().to_owned());
        let database = self.engine.database();
        let rows = database.read(move |tx| backends::of_zone(tx, &vault, &zone));
        Ok(rows
            .await?
            .into_iter()
            .filter(|row| row.state == BackendState::Connected)
            .filter_map(|row| row.sr_uuid)
            .collect())
    }

    /// Those that the database, asked after the pool, does not know.
    async fn orphans(&self, found: Vec<FoundVdi>) -> Result<Vec<Uuid>> {
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let database = self.engine.database();
        let orphans = database.read(move |tx| {
            let mut orphans = Vec::new();
            for vdi in &found {
                if is_orphan(tx, vdi)? {
                    orphans.push(vdi.uuid);
                }
            }
            Ok(orphans)
        });
        orphans.await
    }
}

fn is_orphan(tx: &mut Transaction<'_>, vdi: &FoundVdi) -> Result<bool> {
    // A mark that cannot be read says nothing about an owner: leave it.
    let Some(id) = vdi.volume else {
        return Ok(false);
    };
    let is_owned = volumes::find(tx, id)?.is_some_and(|row| row.vdi_uuid == Some(vdi.uuid));
    Ok(!is_owned && operations::find_unfinished(tx, &id.to_string())?.is_none())
}
