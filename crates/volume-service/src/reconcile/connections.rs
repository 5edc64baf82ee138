//! Removes VBDs of this deployment whose attachment is gone, was never made, or has another one.

use std::collections::HashSet;
use std::sync::Arc;

use uuid::Uuid;

use super::Report;
use super::sightings::Sightings;
use crate::db::{Transaction, attachments, operations};
use crate::driver::{FoundVbd, Unplug};
use crate::error::Result;
use crate::model::attachment::AttachmentStatus;
use crate::operation::Engine;

/// How long a VBD must be without an attachment, in microseconds.
pub const GRACE_US: i64 = 300_000_000;

/// The reconciler of connections.
pub struct Connections {
    engine: Arc<Engine>,
    sightings: Sightings,
}

impl Connections {
    /// Makes the reconciler.
    pub fn new(engine: Arc<Engine>) -> Self {
        Connections {
            engine,
            sightings: Sightings::default(),
        }
    }

    /// Looks at every VBD of ours once.
    pub async fn pass(&self) -> Result<Report> {
        let pool = self.engine.pool();
        let found = pool.vbds(None).await;
        let mut ours = found.map_err(|error| error.on_zone(self.engine.zone()))?;
        let deployment = Some(self.engine.deployment().0);
        ours.retain(|vbd| vbd.deployment == deployment);
        let mut report = Report {
            looked: ours.len() as u64,
            ..Report::default()
        };
        let plugged = ours.iter().filter(|vbd| vbd.is_plugged);
        let plugged: HashSet<Uuid> = plugged.map(|vbd| vbd.uuid).collect();
        let stale = self.stale(ours).await?;
        let now_us = self.engine.context().now_us();
        for uuid in self.sightings.overdue(&stale, now_us, GRACE_US) {
            // In a VM that is off nothing is plugged, and nothing can be unplugged.
            let unplugged = match plugged.contains(&uuid) {
                true => pool.unplug_vbd(uuid, Unplug::Ask).await,
                false => Ok(()),
            };
            let removed = match unplugged {
                Ok(()) => pool.destroy_vbd(uuid).await,
                Err(error) => Err(error),
            };
            match removed {
                Ok(()) => report.repaired += 1,
                Err(error) => {
                    report.failed += 1;
                    tracing::warn!("remove VBD {uuid}, which has no attachment: {error}");
                }
            }
        }
        Ok(report)
    }

    /// Those that the database, asked after the pool, does not know.
    async fn stale(&self, found: Vec<FoundVbd>) -> Result<Vec<Uuid>> {
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let database = self.engine.database();
        let stale = database.read(move |tx| {
            let mut stale = Vec::new();
            for vbd in &found {
                let is_doubled = !vbd.is_plugged
                    && found
                        .iter()
                        .any(|other| other.is_plugged && other.attachment == vbd.attachment);
                if is_stale(tx, vbd, is_doubled)? {
                    stale.push(vbd.uuid);
                }
            }
            Ok(stale)
        });
        stale.await
    }
}

/// `is_doubled` says that the attachment has another VBD, which is plugged.
fn is_stale(tx: &mut Transaction<'_>, vbd: &FoundVbd, is_doubled: bool) -> Result<bool> {
    let Some(id) = vbd.attachment else {
        return Ok(false);
    };
    let found = attachments::find(tx, id)?;
    let is_wanted = found.is_some_and(|row| row.status != AttachmentStatus::ErrorAttaching);
    let is_needless = !is_wanted || is_doubled;
    Ok(is_needless && operations::find_unfinished(tx, &id.to_string())?.is_none())
}
