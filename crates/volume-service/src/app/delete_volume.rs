//! Taking requests to delete volumes.

use std::sync::Arc;

use super::known::Seen;
use super::policy::Tenancy;
use super::volumes::judged;
use super::{Service, policy, services, snapshots as snapshots_app};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::operations::NewOperation;
use crate::db::volumes::Dependents;
use crate::db::{Transaction, attachments, operations, snapshots, volumes};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::attachment::AttachmentStatus;
use crate::model::id::{OperationId, VolumeId};
use crate::model::operation::OperationKind;
use crate::model::snapshot::SnapshotStatus;
use crate::model::volume::{Volume, VolumeStatus};
use crate::operation::intake::Intakes;

/// Whether a volume is deleted only from a settled state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteMode {
    /// From `available`, `error` or `error_deleting` only, and without snapshots.
    Normal,
    /// The same, and its snapshots go with it.
    Cascade,
    /// The same, and its snapshots stay.
    KeepSnapshots,
    /// From any state that no operation is at work on, without snapshots; needs the admin role.
    Force,
}

/// Takes a request to delete: the volume becomes `deleting`, an operation removes the VDI and then the volume. One that no
/// backend was found for is gone at once.
pub async fn delete(
    service: &Service,
    request: &RequestContext,
    id: VolumeId,
    mode: DeleteMode,
) -> Result<()> {
    let rule = match mode {
        DeleteMode::Force => Rule::VolumeForceDelete,
        DeleteMode::Normal | DeleteMode::Cascade | DeleteMode::KeepSnapshots => Rule::VolumeDelete,
    };
    let removal = Removal {
        id,
        mode,
        tenancy: policy::tenancy_of(request, rule),
        operation_id: OperationId(service.context.new_uuid()),
        request_id: request.request_id.clone(),
        now_us: service.context.now_us(),
        intakes: Arc::clone(&service.intakes),
    };
    let known = Arc::clone(&service.known);
    service
        .database
        .write(move |tx| known.using(tx, |tx, seen| removal.begin(tx, seen)))
        .await
}

/// A request to delete.
struct Removal {
    id: VolumeId,
    mode: DeleteMode,
    tenancy: Tenancy,
    operation_id: OperationId,
    request_id: String,
    now_us: i64,
    intakes: Arc<Intakes>,
}

impl Removal {
    fn begin(&self, tx: &mut Transaction<'_>, seen: &Seen) -> Result<()> {
        let (id, mode, now_us) = (self.id, self.mode, self.now_us);
        let (found, dependents) = volumes::lock_and_look(tx, id, self.tenancy.project())?.unzip();
        let volume = judged(found, &self.tenancy, id)?;
        let dependents = dependents.unwrap_or_default();
        if let Some(group) = volume.traits.group_id {
            let why = format!(
                "Volume must not belong to a group; take it out of group {group} first, or delete that with its volumes"
            );
            return Err(refused(id, &why));
        }
        services::refuse_frozen(seen.restriction(tx, &volume.zone)?)?;
        let allowed: &[VolumeStatus] = match mode {
            DeleteMode::Normal | DeleteMode::Cascade | DeleteMode::KeepSnapshots => &DELETABLE,
            // An operation at work is found out below, by its unfinished row.
            DeleteMode::Force => &VolumeStatus::ALL,
        };
        if !allowed.contains(&volume.status) {
            return Err(not_deletable(&volume));
        }
        if dependents.attachments && mode == DeleteMode::Force {
            drop_reservations(tx, id)?;
        }
        if dependents.attachments && !attachments::of_volume(tx, id)?.is_empty() {
            return Err(attached(id));
        }
        if dependents.clones {
            return Err(refused(id, "a volume is being cloned from it"));
        }
        if dependents.snapshots {
            settle_snapshots(tx, &volume, mode, now_us)?;
        }
        volumes::begin_deleting(tx, id, now_us)?;
        if !dependents.snapshots && was_never_placed(tx, &volume)? {
            return volumes::remove(tx, id).map(drop);
        }
        self.add_operation(tx, seen, &volume, dependents)
    }

    fn add_operation(
        &self,
        tx: &mut Transaction<'_>,
        seen: &Seen,
        volume: &Volume,
        dependents: Dependents,
    ) -> Result<()> {
        let id = self.id;
        let at_work = move || refused(id, "an operation is at work on it");
        let operation = NewOperation {
            id: self.operation_id,
            kind: OperationKind::DeleteVolume,
            target: id.to_string(),
            zone: volume.zone.clone(),
            request_id: self.request_id.clone(),
            not_before_us: self.now_us,
        };
        let cradle = match dependents.snapshots {
            true => None,
            false => self.intakes.of(&volume.zone),
        };
        if let Some(cradle) = cradle
            && let Some(born) = cradle.remove_volume(tx, seen, volume, &operation)?
        {
            return born.add(tx, at_work);
        }
        if !operations::insert(tx, &operation, self.now_us)? {
            return Err(at_work());
        }
        Ok(())
    }
}

/// Marks a member of a group that goes as a whole, and asks for its removal; false when an operation is at work on it. The caller
/// has seen that it has neither attachments nor snapshots.
///
/// # Errors
/// `Conflict` when its state does not allow it.
pub(super) fn begin(
    tx: &mut Transaction<'_>,
    volume: &Volume,
    operation_id: OperationId,
    request_id: &str,
    now_us: i64,
) -> Result<bool> {
    let id = volume.id;
    if !volumes::change_status(tx, id, &DELETABLE, VolumeStatus::Deleting, now_us)? {
        return Err(not_deletable(volume));
    }
    if volumes::is_being_cloned(tx, id)? {
        return Err(refused(id, "a volume is being cloned from it"));
    }
    volumes::set_failure(tx, id, "")?;
    let operation = NewOperation {
        id: operation_id,
        kind: OperationKind::DeleteVolume,
        target: id.to_string(),
        zone: volume.zone.clone(),
        request_id: request_id.to_owned(),
        not_before_us: now_us,
    };
    operations::insert(tx, &operation, now_us)
}

/// Snapshots that go with a volume at most: each costs a few statements of the request's transaction, and a call of the operation.
pub const CASCADE_MAX: usize = 1000;

/// The states that a volume is deleted from without force.
pub(super) const DELETABLE: [VolumeStatus; 6] = [
    VolumeStatus::Available,
    VolumeStatus::Error,
    VolumeStatus::ErrorDeleting,
    VolumeStatus::ErrorManaging,
    VolumeStatus::ErrorExtending,
    VolumeStatus::ErrorRestoring,
];

/// Whether no backend was ever found for it, which has no snapshots: there is nothing to remove but its row, which goes at once, as in
/// Cinder.
fn was_never_placed(tx: &mut Transaction<'_>, volume: &Volume) -> Result<bool> {
    Ok(volume.status == VolumeStatus::Error
        && volume.backend_id.is_none()
        && volume.vdi_uuid.is_none()
        && operations::find_unfinished(tx, &volume.id.to_string())?.is_none())
}

/// Decides what becomes of the volume's snapshots.
fn settle_snapshots(
    tx: &mut Transaction<'_>,
    volume: &Volume,
    mode: DeleteMode,
    now_us: i64,
) -> Result<()> {
    let id = volume.id;
    match mode {
        DeleteMode::Cascade => take_snapshots_along(tx, volume, now_us),
        DeleteMode::KeepSnapshots if snapshots::exist_in(tx, id, SnapshotStatus::Creating)? => {
            Err(refused(id, "a snapshot is being taken of it"))
        }
        DeleteMode::Normal | DeleteMode::Force if snapshots::exist(tx, id)? => {
            let why = "it has snapshots; delete them first, or delete it with cascade";
            Err(refused(id, why))
        }
        _ => Ok(()),
    }
}

/// Marks the volume's snapshots for the operation that removes the volume, which removes them before it.
fn take_snapshots_along(tx: &mut Transaction<'_>, volume: &Volume, now_us: i64) -> Result<()> {
    let id = volume.id;
    if snapshots::count_of_volume(tx, id, CASCADE_MAX + 1)? > CASCADE_MAX {
        let why = format!("it has more than {CASCADE_MAX} snapshots; delete some of them first");
        return Err(refused(id, &why));
    }
    for snapshot in snapshots::of_volume(tx, id)? {
        if snapshot.project_id != volume.project_id {
            // The volume was transferred without its snapshots, which not even an administrator means by its own.
            return Err(refused(id, "it has snapshots in another project"));
        }
        if snapshot.traits.group_snapshot_id.is_some() {
            let why = format!("its snapshot {} is part of a group snapshot", snapshot.id);
            return Err(refused(id, &why));
        }
        snapshots_app::check_removable(tx, &snapshot, now_us)?;
        let (from, to) = (SnapshotStatus::DELETABLE, SnapshotStatus::Deleting);
        let is_at_work = operations::find_unfinished(tx, &snapshot.id.to_string())?.is_some();
        if is_at_work || !snapshots::change_status(tx, snapshot.id, &from, to, now_us)? {
            let status = snapshot.status.as_str();
            let why = format!("its snapshot {} is {status}", snapshot.id);
            return Err(refused(id, &why));
        }
    }
    Ok(())
}

/// Claims that never got a connector hold nothing in a pool.
fn drop_reservations(tx: &mut Transaction<'_>, id: VolumeId) -> Result<()> {
    for attachment in attachments::of_volume(tx, id)? {
        if attachment.status == AttachmentStatus::Reserved {
            attachments::remove(tx, attachment.id)?;
        }
    }
    Ok(())
}

fn not_deletable(volume: &Volume) -> Error {
    Error::new(
        ErrorKind::Conflict,
        Subject::Volume,
        format!(
            "Invalid volume: Volume status must be available or error or error_deleting and must not be attached, but is {}.",
            volume.status.as_str()
        ),
    )
    .on(volume.id.to_string())
}

fn attached(id: VolumeId) -> Error {
    refused(id, "Volume is attached; delete its attachments first")
}

pub(super) fn refused(id: VolumeId, why: &str) -> Error {
    Error::new(
        ErrorKind::Conflict,
        Subject::Volume,
        format!("Invalid volume: {why}."),
    )
    .on(id.to_string())
}
