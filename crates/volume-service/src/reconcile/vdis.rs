//! Removes VDIs of this deployment that no volume owns: what a worker made that had lost its lease, or what an undo could not
//! reach.
//!
//! The database decides: a VDI goes only when its volume's row is gone or names another VDI, the operation that made it is
//! known and finished, no operation is at work on that volume, and all this has been so for the whole grace period. A VDI
//! whose operation the database does not know is reported and never removed: after a restore from an old backup those are
//! the volumes that were made since.

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
        let Orphans { removable, unknown } = self.orphans(ours).await?;
        for uuid in &unknown {
            report.unknown += 1;
            tracing::warn!(
                vdi.uuid = %uuid,
                "VDI {uuid} is ours by its marks, but the database knows neither its volume nor the operation that made it: \
                 it is left alone; was the database restored from an old backup?"
            );
        }
        let now_us = self.engine.context().now_us();
        let overdue = self.sightings.overdue(&removable, now_us, GRACE_US);
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

    /// Those that the database, asked after the pool, gives no owner.
    async fn orphans(&self, found: Vec<FoundVdi>) -> Result<Orphans> {
        if found.is_empty() {
            return Ok(Orphans::default());
        }
        let database = self.engine.database();
        let orphans = database.read(move |tx| {
            let mut orphans = Orphans::default();
            for vdi in &found {
                if is_owned(tx, vdi)? {
                    continue;
                }
                match is_maker_finished(tx, vdi)? {
                    true => orphans.removable.push(vdi.uuid),
                    false => orphans.unknown.push(vdi.uuid),
                }
            }
            Ok(orphans)
        });
        orphans.await
    }
}

/// VDIs without an owner.
#[derive(Default)]
struct Orphans {
    /// The database knows how they came to be and that nobody needs them.
    removable: Vec<Uuid>,
    /// The database does not know how they came to be.
    unknown: Vec<Uuid>,
}

fn is_owned(tx: &mut Transaction<'_>, vdi: &FoundVdi) -> Result<bool> {
    // A mark that cannot be read says nothing about an owner: leave it.
    let Some(id) = vdi.volume else {
        return Ok(true);
    };
    let is_named = volumes::find(tx, id)?.is_some_and(|row| row.vdi_uuid == Some(vdi.uuid));
    Ok(is_named || operations::find_unfinished(tx, &id.to_string())?.is_some())
}

fn is_maker_finished(tx: &mut Transaction<'_>, vdi: &FoundVdi) -> Result<bool> {
    let Some(id) = vdi.operation else {
        return Ok(false);
    };
    Ok(operations::find(tx, id)?.is_some_and(|maker| maker.state.is_finished()))
}
