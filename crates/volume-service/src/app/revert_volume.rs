//! Taking requests to revert volumes to a snapshot.

use super::delete_volume::refused;
use super::snapshots::{self as snapshots_app};
use super::volumes::visible;
use super::{Service, policy};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::operations::NewOperation;
use crate::db::{operations, snapshots, volumes};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::id::{OperationId, SnapshotId, VolumeId};
use crate::model::operation::OperationKind;
use crate::model::snapshot::SnapshotStatus;
use crate::model::volume::VolumeStatus;

/// Takes a request to bring a volume back to its latest snapshot: the volume becomes `reverting`, the snapshot `restoring`, and an
/// operation does it. A volume that was extended since keeps its size. When it fails the volume is as it was, with the reason.
///
/// # Errors
/// `Conflict` when the volume is not `available` or the snapshot not `available`; `Invalid` when it is not the volume's latest one.
pub async fn revert(
    service: &Service,
    request: &RequestContext,
    id: VolumeId,
    snapshot_id: SnapshotId,
) -> Result<()> {
    let tenancy = policy::tenancy_of(request, Rule::VolumeRevertToSnapshot);
    let now_us = service.context.now_us();
    let operation_id = OperationId(service.context.new_uuid());
    let request_id = request.request_id.clone();
    service
        .database
        .write(move |tx| {
            let volume = visible(tx, &tenancy, id)?;
            let snapshot = snapshots_app::visible(tx, &tenancy, snapshot_id)?;
            if snapshot.volume_id != id {
                return Err(Error::invalid(format!(
                    "Snapshot {snapshot_id} is not a snapshot of volume {id}."
                ))
                .on(snapshot_id.to_string()));
            }
            let (from, to) = (VolumeStatus::Available, VolumeStatus::Reverting);
            if !volumes::change_status(tx, id, &[from], to, now_us)? {
                let status = volume.status.as_str();
                let why = format!("Volume {id} status must be available to revert, but is {status}");
                return Err(refused(id, &why));
            }
            // The volume's row is locked now: no snapshot is added behind this.
            if snapshots::latest_of_volume(tx, id)? != Some(snapshot_id) {
                return Err(Error::invalid(format!(
                    "Snapshot {snapshot_id} is not the latest one of volume {id}: a volume is reverted to its latest \
                     snapshot only."
                ))
                .on(snapshot_id.to_string()));
            }
            if volumes::is_being_cloned(tx, id)? {
                return Err(refused(id, "a volume is being cloned from it"));
            }
            let (from, to) = (SnapshotStatus::Available, SnapshotStatus::Restoring);
            if !snapshots::change_status(tx, snapshot_id, &[from], to, now_us)? {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    Subject::Snapshot,
                    format!(
                        "Invalid snapshot: Snapshot {snapshot_id} status must be available, but is {}.",
                        snapshot.status.as_str()
                    ),
                )
                .on(snapshot_id.to_string()));
            }
            if !volume.failure.is_empty() {
                volumes::set_failure(tx, id, "")?;
            }
            let operation = NewOperation {
                id: operation_id,
                kind: OperationKind::RevertVolume,
                target: id.to_string(),
                zone: volume.zone,
                request_id: request_id.clone(),
                not_before_us: now_us,
            };
            if !operations::insert(tx, &operation, now_us)? {
                return Err(refused(id, "an operation is at work on it"));
            }
            Ok(())
        })
        .await
}
