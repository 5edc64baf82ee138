//! Removes VDIs of this deployment that no volume or snapshot owns: what a worker made that had lost its lease, or what an undo could not
//! reach.
//!
//! The database decides: a VDI goes only when the operation that made it is known and ended without it, no operation is at work
//! on its volume, and this has been so for the whole grace period. That a VDI is not known is no reason: a database restored from
//! a copy does not know the volumes made since, and a copy or a migrated VDI carries the marks of the one it was made from. Such a
//! VDI is left for a person to judge. So is one of several that carry the same mark of being made: an operator's snapshot, taken in
//! that moment, looks like ours.
//!
//! It also takes the mark of being made from off VDIs that nothing is made from any more, for what an operator makes of them would
//! carry it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

use super::Report;
use super::sightings::Sightings;
use crate::db::{Transaction, backends, operations, retired_vdis, snapshots, volumes};
use crate::driver::FoundVdi;
use crate::error::Result;
use crate::model::backend::BackendState;
use crate::model::id::OperationId;
use crate::operation::Engine;

/// How long a VDI must be without an owner, in microseconds.
pub const GRACE_US: i64 = 600_000_000;
/// How long the mark of an operation must be without it, in microseconds.
const MARK_GRACE_US: i64 = 60_000_000;
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
    /// When those were first seen that carry a mark for nothing.
    marked: Sightings,
}

/// What the database says of VDIs that no volume owns.
#[derive(Default)]
struct Ownerless {
    /// Left by an operation that ended without them.
    orphans: Vec<Uuid>,
    /// Everything else, with what each says it is.
    strays: Vec<(Uuid, String)>,
    /// Owned, and with the mark of an operation that has ended.
    marked: Vec<Uuid>,
}

impl Vdis {
    /// Makes the reconciler.
    pub fn new(engine: Arc<Engine>) -> Self {
        Vdis {
            engine,
            sightings: Sightings::default(),
            strays: Sightings::default(),
            named: Mutex::default(),
            marked: Sightings::default(),
        }
    }

    /// Looks at every VDI of ours in the zone's connected backends once.
    pub async fn pass(&self) -> Result<Report> {
        let mut report = Report::default();
        self.destroy_retired(&mut report).await?;
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
        // What others took a snapshot of carries the marks of a volume.
        let is_theirs =
            |vdi: &FoundVdi| vdi.is_a_snapshot && vdi.volume.is_some() && vdi.making.is_none();
        ours.retain(|vdi| vdi.deployment == deployment && !is_theirs(vdi));
        report.looked = ours.len() as u64;
        let Ownerless {
            orphans,
            strays,
            marked,
        } = self.ownerless(ours).await?;
        let now_us = self.engine.context().now_us();
        report.unknown = strays.len() as u64;
        self.name_strays(&strays, now_us);
        for uuid in self.marked.overdue(&marked, now_us, MARK_GRACE_US) {
            match pool.end_making(uuid).await {
                Ok(()) => report.repaired += 1,
                Err(error) => {
                    report.failed += 1;
                    tracing::warn!(vdi.uuid = %uuid, "take the mark of an ended operation off VDI {uuid}: {error}");
                }
            }
        }
        let overdue = self.sightings.overdue(&orphans, now_us, GRACE_US);
        for uuid in overdue.into_iter().take(REMOVALS_MAX) {
            match pool.destroy_vdi(uuid).await {
                Ok(()) => {
                    report.repaired += 1;
                    tracing::warn!(vdi.uuid = %uuid, "removed VDI {uuid}, which nothing owns");
                }
                Err(error) => {
                    report.failed += 1;
                    tracing::warn!(vdi.uuid = %uuid, "remove VDI {uuid}, which nothing owns: {error}");
                }
            }
        }
        Ok(report)
    }

    /// Destroys the VDIs that volumes no longer have: the database said so.
    async fn destroy_retired(&self, report: &mut Report) -> Result<()> {
        let (database, zone) = (self.engine.database(), self.engine.zone().to_owned());
        let retired = database.read(move |tx| retired_vdis::list(tx, &zone, REMOVALS_MAX));
        for uuid in retired.await? {
            match self.engine.pool().destroy_vdi(uuid).await {
                Ok(()) => {
                    let removed = database.write(move |tx| retired_vdis::remove(tx, uuid));
                    removed.await?;
                    report.repaired += 1;
                }
                Err(error) => {
                    report.failed += 1;
                    let now_us = self.engine.context().now_us();
                    let postponed =
                        database.write(move |tx| retired_vdis::postpone(tx, uuid, now_us));
                    postponed.await?;
                    tracing::warn!(vdi.uuid = %uuid, "destroy VDI {uuid}, which a volume had before it was reverted: {error}");
                }
            }
        }
        Ok(())
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
    fn name_strays(&self, strays: &[(Uuid, String)], now_us: i64) {
        let uuids: Vec<Uuid> = strays.iter().map(|(uuid, _)| *uuid).collect();
        let overdue = self.strays.overdue(&uuids, now_us, GRACE_US);
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        named.retain(|uuid| uuids.contains(uuid));
        for (uuid, claim) in strays.iter().take(NAMED_MAX) {
            if overdue.contains(uuid) && named.insert(*uuid) {
                tracing::warn!(
                    vdi.uuid = %uuid,
                    "VDI {uuid} carries the mark of {claim}, which does not own it, and no record says why: it stays; \
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
                judge(tx, vdi, &found, &mut ownerless)?;
            }
            Ok(ownerless)
        });
        judged.await
    }
}

fn judge(
    tx: &mut Transaction<'_>,
    vdi: &FoundVdi,
    all: &[FoundVdi],
    ownerless: &mut Ownerless,
) -> Result<()> {
    if is_owned(tx, vdi)? {
        if let Some(making) = vdi.making
            && !is_at_work(tx, making.operation)?
        {
            ownerless.marked.push(vdi.uuid);
        }
        return Ok(());
    }
    if let Some(making) = vdi.making {
        if is_at_work(tx, making.operation)? {
            return Ok(());
        }
        let same = all.iter().filter(|other| other.making == Some(making));
        let mut born = 0;
        for other in same {
            born += u32::from(!is_owned(tx, other)?);
        }
        if born == 1 && retired_vdis::was_left(tx, making.operation, making.generation)? {
            ownerless.orphans.push(vdi.uuid);
        } else {
            let claim = format!("operation {}", making.operation);
            ownerless.strays.push((vdi.uuid, claim));
        }
        return Ok(());
    }
    let (target, claim) = match (vdi.volume, vdi.snapshot) {
        (Some(id), _) => (id.to_string(), format!("volume {id}")),
        (None, Some(id)) => (id.to_string(), format!("snapshot {id}")),
        (None, None) if vdi.is_temporary => return judge_temporary(tx, vdi, ownerless),
        // Marks that cannot be read, or another's, say nothing about an owner: leave it.
        (None, None) => return Ok(()),
    };
    if operations::find_unfinished(tx, &target)?.is_some() {
        return Ok(());
    }
    let is_left = match vdi.operation {
        Some(id) => retired_vdis::was_left(tx, id, vdi.generation)?,
        None => false,
    };
    if is_left {
        ownerless.orphans.push(vdi.uuid);
    } else {
        ownerless.strays.push((vdi.uuid, claim));
    }
    Ok(())
}

/// What an operation needed for a while it needs no more when it has ended, however it did.
fn judge_temporary(
    tx: &mut Transaction<'_>,
    vdi: &FoundVdi,
    ownerless: &mut Ownerless,
) -> Result<()> {
    let Some(id) = vdi.operation else {
        return Ok(());
    };
    match operations::find(tx, id)? {
        Some(made) if made.state.is_finished() => ownerless.orphans.push(vdi.uuid),
        Some(_) => {}
        None => ownerless.strays.push((vdi.uuid, format!("operation {id}"))),
    }
    Ok(())
}

/// True for a volume's or snapshot's own VDI.
fn is_owned(tx: &mut Transaction<'_>, vdi: &FoundVdi) -> Result<bool> {
    if let Some(id) = vdi.volume
        && volumes::find(tx, id)?.is_some_and(|row| row.vdi_uuid == Some(vdi.uuid))
    {
        return Ok(true);
    }
    let Some(id) = vdi.snapshot else {
        return Ok(false);
    };
    Ok(snapshots::find(tx, id)?.is_some_and(|row| row.vdi_uuid == Some(vdi.uuid)))
}

fn is_at_work(tx: &mut Transaction<'_>, id: OperationId) -> Result<bool> {
    Ok(operations::find(tx, id)?.is_some_and(|found| !found.state.is_finished()))
}
