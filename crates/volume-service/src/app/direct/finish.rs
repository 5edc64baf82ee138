//! Takes uploads that are sealed, failed or given up to their end, one small step at a time.

use crate::app::{attachments, delete_volume};
use crate::context::{Context, RequestContext};
use crate::db::direct_uploads::{self, Upload, UploadState};
use crate::db::operations::NewOperation;
use crate::db::{Transaction, attachments as attachment_rows, operations, snapshots, volumes};
use crate::error::Result;
use crate::model::id::OperationId;
use crate::model::operation::OperationKind;
use crate::model::snapshot::SnapshotStatus;
use crate::model::volume::{Volume, VolumeStatus};

/// Why a snapshot failed that nobody wrote to.
const TIMED_OUT: &str = "no block was written for longer than the timeout allows";

/// Does what is next for an upload; false when something else has to end first.
///
/// 1. What is given up, or has no volume, fails.
/// 2. The volume is detached.
/// 3. The snapshot is taken of it, or fails.
/// 4. When the snapshot is settled, or gone, the volume is removed.
/// 5. When the volume is gone, the upload is.
///
/// Each step is found done by the next look, so that it does not matter who takes it, or how often.
pub(crate) fn advance(
    tx: &mut Transaction<'_>,
    context: &Context,
    request_id: &str,
    seen: &Upload,
) -> Result<bool> {
    let (id, now_us) = (seen.volume_id, context.now_us());
    volumes::lock(tx, id)?;
    let Some(upload) = direct_uploads::find(tx, id)? else {
        return Ok(false);
    };
    let snapshot = snapshots::find(tx, upload.snapshot_id)?;
    let is_pending = snapshot
        .as_ref()
        .is_some_and(|snapshot| snapshot.status == SnapshotStatus::Creating);
    let fail = |tx: &mut Transaction<'_>, why: &str| {
        let (from, to) = (SnapshotStatus::Creating, SnapshotStatus::Error);
        snapshots::change_status(tx, upload.snapshot_id, &[from], to, now_us)?;
        snapshots::set_failure(tx, upload.snapshot_id, why)
    };
    let Some(volume) = volumes::find(tx, id)? else {
        if is_pending {
            fail(tx, "its volume is gone")?;
        }
        direct_uploads::remove(tx, id)?;
        return Ok(true);
    };
    if upload.state == UploadState::Open {
        let why = match () {
            () if !is_pending => "the snapshot was deleted",
            () if volume.status == VolumeStatus::Error => volume.failure.as_str(),
            () if upload.deadline_us <= now_us => TIMED_OUT,
            () => return Ok(false),
        };
        return direct_uploads::close(tx, id, UploadState::Failed, why);
    }
    if operations::find_unfinished(tx, &id.to_string())?.is_some() {
        return Ok(false);
    }
    let held = attachment_rows::of_volume(tx, id)?;
    if !held.is_empty() {
        return let_go(tx, context, request_id, &held, now_us);
    }
    let new = |context: &Context, kind, target: String, volume: &Volume| NewOperation {
        id: OperationId(context.new_uuid()),
        kind,
        target,
        zone: volume.zone.clone(),
        request_id: request_id.to_owned(),
        not_before_us: now_us,
    };
    // Also of one that was deleted while it was being taken: its volume stays until that is over.
    let target = upload.snapshot_id.to_string();
    if operations::find_unfinished(tx, &target)?.is_some() {
        return Ok(false);
    }
    if is_pending {
        let is_good = upload.state == UploadState::Sealed && upload.failure.is_empty();
        if !is_good || volume.status != VolumeStatus::Available {
            let why = match upload.failure.as_str() {
                "" => volume.failure.as_str(),
                why => why,
            };
            return fail(tx, why);
        }
        let taking = new(context, OperationKind::CreateSnapshot, target, &volume);
        return operations::insert(tx, &taking, now_us);
    }
    // What could not be removed is the operator's to remove.
    if [VolumeStatus::Deleting, VolumeStatus::ErrorDeleting].contains(&volume.status) {
        return Ok(false);
    }
    delete_volume::begin(
        tx,
        &volume,
        OperationId(context.new_uuid()),
        request_id,
        now_us,
    )
}

fn let_go(
    tx: &mut Transaction<'_>,
    context: &Context,
    request_id: &str,
    held: &[crate::model::attachment::Attachment],
    now_us: i64,
) -> Result<bool> {
    let request = RequestContext::new(request_id, "", "", Vec::new());
    for attachment in held {
        // One that an operation is at work on is let go of later.
        if operations::find_unfinished(tx, &attachment.id.to_string())?.is_some() {
            return Ok(false);
        }
        attachments::let_go(tx, context, &request, attachment, now_us)?;
    }
    Ok(true)
}
