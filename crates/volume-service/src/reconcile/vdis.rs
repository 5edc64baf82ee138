//! Removes VDIs of this deployment that no volume owns: what a worker made that had lost its lease, or what an undo could not
//! reach.
//!
//! The database decides: a VDI goes only when the operation that made it is known and ended without it, no operation is at work
//! on its volume, and this has been so for the whole grace period. That a VDI is not known is no reason: a database restored from
//! a copy does not know the volumes made since, and a copy or a migrated VDI carries the marks of the one it was made from. Such a
//! VDI is left for a person to judge.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

use super::Report;
use super::sightings::Sightings;
use crate::db::{Transaction, backends, operations, volumes};
use crate::driver::FoundVdi;
use crate::error::Result;
use crate::model::backend::BackendState;
use crate::model::id::VolumeId;
use crate::model::operation::OperationState;
use crate::operation::Engine;

/// How long a VDI must be without an owner, in microseconds.
pub const GRACE_US: i64 = 600_000_000;
/// VDIs that one pass removes at most.
const REMOVALS_MAX: usize = 100;
/// VDIs that the log names at most.
const NAMED_MAX: usize = 100;

/// The reconciler of VDIs.
pub struct Vdis {
    engine: Arc<Engine>,
    sightings: Sightings,
    /// When those were first seen that a person must judge.
    strays: Sightings,
    /// Those that the log has named.
    named: Mutex<HashSet<Uuid>>,
}

/// What the database says of VDIs that no volume owns.
#[derive(Default)]
struct Ownerless {
    /// Left by an operation that ended without them.
    orphans: Vec<Uuid>,
    /// Everything else, with the volume whose mark each carries.
    strays: Vec<(Uuid, VolumeId)>,
}

impl Vdis {
    /// Makes the reconciler.
    pub fn new(engine: Arc<Engine>) -> Self {
        Vdis {
            engine,
            sightings: Sightings::default(),
            strays: Sightings::default(),
            named: Mutex::default(),
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
        let Ownerless { orphans, strays } = self.ownerless(ours).await?;
        let now_us = self.engine.context().now_us();
        report.unknown = strays.len() as u64;
        self.name_strays(&strays, now_us);
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

    /// Writes each into the log, once.
    fn name_strays(&self, strays: &[(Uuid, VolumeId)], now_us: i64) {
        let uuids: Vec<Uuid> = strays.iter().map(|(uuid, _)| *uuid).collect();
        let overdue = self.strays.overdue(&uuids, now_us, GRACE_US);
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        named.retain(|uuid| uuids.contains(uuid));
        for (uuid, volume) in strays.iter().take(NAMED_MAX) {
            if overdue.contains(uuid) && named.insert(*uuid) {
                tracing::warn!(
                    vdi.uuid = %uuid, volume.id = %volume,
                    "VDI {uuid} carries the mark of volume {volume}, which does not own it, and no record says why: it stays; \
                     when nobody needs it, remove it with xe vdi-destroy uuid={uuid}"
                );
            }
        }
    }

    /// Those that no volume owns, by what the database, asked after the pool, says.
    async fn ownerless(&self, found: Vec<FoundVdi>) -> Result<Ownerless> {
        if found.is_empty() {
            return Ok(Ownerless::default());
        }
        let database = self.engine.database();
        let judged = database.read(move |tx| {
            let mut ownerless = Ownerless::default();
            for vdi in &found {
                // A mark that cannot be read says nothing about an owner: leave it.
                let Some(volume) = vdi.volume else { continue };
                if is_owned(tx, vdi, volume)? {
                    continue;
                }
                if was_left(tx, vdi)? {
                    ownerless.orphans.push(vdi.uuid);
                } else {
                    ownerless.strays.push((vdi.uuid, volume));
                }
            }
            Ok(ownerless)
        });
        judged.await
    }
}

/// True for a volume's own VDI, and while an operation is at work on the volume.
fn is_owned(tx: &mut Transaction<'_>, vdi: &FoundVdi, volume: VolumeId) -> Result<bool> {
    let is_owned = volumes::find(tx, volume)?.is_some_and(|row| row.vdi_uuid == Some(vdi.uuid));
    Ok(is_owned || operations::find_unfinished(tx, &volume.to_string())?.is_some())
}

/// True when the operation that made it ended and cannot have kept it: it failed, or succeeded under a later lease, whose holder
/// made a VDI of its own.
fn was_left(tx: &mut Transaction<'_>, vdi: &FoundVdi) -> Result<bool> {
    let Some(id) = vdi.operation else {
        return Ok(false);
    };
    Ok(
        operations::find(tx, id)?.is_some_and(|made| match made.state {
            OperationState::Failed => true,
            OperationState::Succeeded => vdi.generation < made.lease_generation,
            OperationState::Pending | OperationState::Running | OperationState::Undoing => false,
        }),
    )
}
