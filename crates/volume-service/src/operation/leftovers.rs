//! What earlier tries left in the pool for a volume, found by its label and marks.

use super::job::Job;
use crate::driver::FoundVdi;
use crate::error::Result;
use crate::model::id::VolumeId;

/// The VDIs of a volume that this deployment made, no snapshots among them.
pub(super) async fn vdis(job: &Job, volume: VolumeId) -> Result<Vec<FoundVdi>> {
    let found = job
        .pool()?
        .vdis_of_volume(volume)
        .await
        .map_err(|error| job.zone_error(error))?;
    let deployment = Some(job.deployment().0);
    Ok(found
        .into_iter()
        .filter(|vdi| {
            vdi.volume == Some(volume) && vdi.deployment == deployment && !vdi.is_a_snapshot
        })
        .collect())
}

/// Destroys the VDIs that were made for the volume under this lease or an earlier one.
///
/// A later generation's are left alone: a worker that wakes up late must not remove what its successor made.
pub(super) async fn destroy(job: &Job, volume: VolumeId) -> Result<()> {
    for vdi in vdis(job, volume).await? {
        if !is_mine(job, &vdi) && is_of_later_try(job, &vdi) {
            continue;
        }
        job.pool()?
            .destroy_vdi(vdi.uuid)
            .await
            .map_err(|error| job.zone_error(error))?;
    }
    Ok(())
}

/// True for a VDI that was made by this operation under the present lease.
pub(super) fn is_mine(job: &Job, vdi: &FoundVdi) -> bool {
    vdi.operation == Some(job.operation()) && vdi.generation == job.generation()
}

fn is_of_later_try(job: &Job, vdi: &FoundVdi) -> bool {
    vdi.operation == Some(job.operation()) && vdi.generation > job.generation()
}
