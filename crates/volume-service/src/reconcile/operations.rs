//! Gives every volume, snapshot and attachment that is on its way somewhere an operation that brings it there.
//!
//! Status and operation are written in one transaction, so this finds something only after a database was repaired by hand.
//! Operations whose worker died need no help: their lease ends and another worker claims them.

use std::sync::Arc;

use super::Report;
use crate::context::Context;
use crate::db::operations::{self, NewOperation};
use crate::db::{
    Transaction, attachments, direct_uploads, group_snapshots, groups, instance_attachments,
    snapshots, volumes,
};
use crate::error::Result;
use crate::model::attachment::{AttachmentStatus, volume_status};
use crate::model::group::GroupStatus;
use crate::model::id::OperationId;
use crate::model::operation::OperationKind;
use crate::model::snapshot::SnapshotStatus;
use crate::model::volume::VolumeStatus;
use crate::operation::Engine;

/// The request that a reconciler's operations are said to come from.
pub(super) const REQUEST_ID: &str = "req-reconcile";
/// Rows of one kind that a pass looks at; the rest waits for the next pass.
const ROWS_MAX: usize = 1000;

/// The reconciler of operations.
pub struct Operations {
    engine: Arc<Engine>,
}

impl Operations {
    /// Makes the reconciler.
    pub fn new(engine: Arc<Engine>) -> Self {
        Operations { engine }
    }

    /// Looks at everything in a transitional state once.
    pub async fn pass(&self) -> Result<Report> {
        let (context, zone) = (self.engine.context().clone(), self.engine.zone().to_owned());
        let database = self.engine.database();
        let passed = database.write(move |tx| {
            let mut report = Report::default();
            for (target, kind) in waiting(tx, &zone)? {
                report.looked += 1;
                report.repaired += u64::from(give(tx, &context, &zone, kind, target)?);
            }
            report.repaired += settle_volumes(tx, &zone, context.now_us())?;
            report.repaired += settle_snapshots(tx, &zone, context.now_us())?;
            report.repaired += settle_groups(tx, &zone, context.now_us())?;
            Ok(report)
        });
        passed.await
    }
}

/// Adds an operation unless its target has one.
pub(super) fn give(
    tx: &mut Transaction<'_>,
    context: &Context,
    zone: &str,
    kind: OperationKind,
    target: String,
) -> Result<bool> {
    if operations::find_unfinished(tx, &target)?.is_some() {
        return Ok(false);
    }
    let new = NewOperation {
        id: OperationId(context.new_uuid()),
        kind,
        target,
        zone: zone.to_owned(),
        request_id: REQUEST_ID.to_owned(),
        not_before_us: context.now_us(),
    };
    operations::insert(tx, &new, context.now_us())
}

/// What an operation has to move, with its kind.
fn waiting(tx: &mut Transaction<'_>, zone: &str) -> Result<Vec<(String, OperationKind)>> {
    let mut waiting = Vec::new();
    for (status, kind) in [
        (VolumeStatus::Creating, OperationKind::CreateVolume),
        (VolumeStatus::Extending, OperationKind::ExtendVolume),
        (VolumeStatus::Reverting, OperationKind::RevertVolume),
        (VolumeStatus::Deleting, OperationKind::DeleteVolume),
        (VolumeStatus::Managing, OperationKind::ManageVolume),
        (VolumeStatus::Unmanaging, OperationKind::UnmanageVolume),
    ] {
        for volume in volumes::in_status(tx, zone, status, ROWS_MAX)? {
            // Where an operator put it by hand, it stays.
            if volume.traits.is_hand_set && status != VolumeStatus::Deleting {
                continue;
            }
            waiting.push((volume.id.to_string(), kind));
        }
    }
    waiting.extend(waiting_snapshots(tx, zone)?);
    for (id, status) in group_snapshots::on_their_way(tx, zone, ROWS_MAX)? {
        if status == GroupStatus::Creating {
            waiting.push((id.to_string(), OperationKind::CreateGroupSnapshot));
        }
    }
    for (status, kind) in [
        (AttachmentStatus::Attaching, OperationKind::AttachVolume),
        (AttachmentStatus::Detaching, OperationKind::DetachVolume),
    ] {
        for attachment in attachments::in_status(tx, status, ROWS_MAX)? {
            if kind == OperationKind::AttachVolume && attachment.is_connected() {
                continue;
            }
            let is_ours = instance_attachments::find(tx, attachment.id)?.is_some();
            let kind = match kind {
                OperationKind::AttachVolume if is_ours => OperationKind::AttachInstance,
                kind => kind,
            };
            let volume = volumes::find(tx, attachment.volume_id)?;
            if volume.is_some_and(|volume| volume.zone == zone) {
                waiting.push((attachment.id.to_string(), kind));
            }
        }
    }
    Ok(waiting)
}

fn waiting_snapshots(tx: &mut Transaction<'_>, zone: &str) -> Result<Vec<(String, OperationKind)>> {
    let mut waiting = Vec::new();
    for (status, kind) in [
        (SnapshotStatus::Creating, OperationKind::CreateSnapshot),
        (SnapshotStatus::Deleting, OperationKind::DeleteSnapshot),
        (SnapshotStatus::Managing, OperationKind::ManageSnapshot),
        (SnapshotStatus::Unmanaging, OperationKind::UnmanageSnapshot),
    ] {
        for snapshot in snapshots::in_status(tx, zone, status, ROWS_MAX)? {
            // The snapshots of a group are taken together, by the group snapshot's operation.
            let is_of_group = snapshot.traits.group_snapshot_id.is_some();
            let is_taken_together = is_of_group && status == SnapshotStatus::Creating;
            // One that is written block by block is taken when that has ended.
            let is_written = status == SnapshotStatus::Creating
                && direct_uploads::of_snapshot(tx, snapshot.id)?.is_some();
            if snapshot.traits.is_hand_set || is_taken_together || is_written {
                continue;
            }
            if let Some(set_id) = snapshot.traits.ebs.set_id {
                let set = set_id.to_string();
                if operations::find_unfinished(tx, &set)?.is_some() {
                    continue;
                }
                if status == SnapshotStatus::Creating {
                    waiting.push((set, OperationKind::CreateSnapshots));
                    continue;
                }
            }
            // One that goes with its volume is removed by the volume's operation.
            let volume = volumes::find(tx, snapshot.volume_id)?;
            let goes_along = volume.is_some_and(|volume| volume.status == VolumeStatus::Deleting);
            if !goes_along {
                waiting.push((snapshot.id.to_string(), kind));
            }
        }
    }
    Ok(waiting)
}

/// Gives snapshots that nothing is restored from any more their state back.
fn settle_snapshots(tx: &mut Transaction<'_>, zone: &str, now_us: i64) -> Result<u64> {
    let (from, to) = (SnapshotStatus::Restoring, SnapshotStatus::Available);
    let mut settled = 0;
    for snapshot in snapshots::in_status(tx, zone, from, ROWS_MAX)? {
        if snapshot.traits.is_hand_set {
            continue;
        }
        volumes::lock(tx, snapshot.volume_id)?;
        let volume = volumes::find(tx, snapshot.volume_id)?;
        let is_reverting = volume.is_some_and(|volume| volume.status == VolumeStatus::Reverting);
        let target = snapshot.volume_id.to_string();
        if !is_reverting
            && operations::find_unfinished(tx, &target)?.is_none()
            && snapshots::change_status(tx, snapshot.id, &[from], to, now_us)?
        {
            settled += 1;
        }
    }
    Ok(settled)
}

/// Takes groups and group snapshots further whose last member is made, or gone, without that anybody noticed.
fn settle_groups(tx: &mut Transaction<'_>, zone: &str, now_us: i64) -> Result<u64> {
    let mut settled = 0;
    for id in groups::on_their_way(tx, zone, ROWS_MAX)? {
        settled += u64::from(groups::settle(tx, id, now_us)?);
    }
    for (id, status) in group_snapshots::on_their_way(tx, zone, ROWS_MAX)? {
        if status == GroupStatus::Deleting {
            settled += u64::from(group_snapshots::settle(tx, id, now_us)?);
        }
    }
    Ok(settled)
}

/// Gives volumes that are said to be attaching or detaching the state that their attachments say.
fn settle_volumes(tx: &mut Transaction<'_>, zone: &str, now_us: i64) -> Result<u64> {
    let mut settled = 0;
    for status in [VolumeStatus::Attaching, VolumeStatus::Detaching] {
        for volume in volumes::in_status(tx, zone, status, ROWS_MAX)? {
            if volume.traits.is_hand_set {
                continue;
            }
            volumes::lock(tx, volume.id)?;
            let held = attachments::of_volume(tx, volume.id)?;
            let to = volume_status(held.iter().map(|attachment| attachment.status));
            // What `os-reserve` has marked stays so until its attachment changes.
            let is_marked = (status, to) == (VolumeStatus::Attaching, VolumeStatus::Reserved);
            if to != status
                && !is_marked
                && volumes::change_status(tx, volume.id, &[status], to, now_us)?
            {
                settled += 1;
            }
        }
    }
    Ok(settled)
}
