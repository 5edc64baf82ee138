//! Taking requests to extend volumes.

use super::delete_volume::refused;
use super::policy::Tenancy;
use super::refusal::{self, Asked};
use super::snapshots::InUse;
use super::volumes::visible;
use super::{Service, limits, modify_volume, policy, quota, services};
use crate::auth::rule::Rule;
use crate::config::Limits;
use crate::context::RequestContext;
use crate::db::operations::NewOperation;
use crate::db::{Transaction, operations, snapshots, volume_extensions, volumes};
use crate::error::{Error, Result};
use crate::model::id::{OperationId, VolumeId};
use crate::model::operation::OperationKind;
use crate::model::snapshot::SnapshotStatus;
use crate::model::volume::{Volume, VolumeStatus};

/// Takes a request to make a volume larger: it becomes `extending`, the GiB that it will have more count as used, and an
/// operation resizes the VDI. When that fails the volume keeps its size and its state, with the reason.
///
/// # Errors
/// `Conflict` when the volume's state does not allow it, `Invalid` for a size that is not larger, `QuotaExceeded`.
pub async fn extend(
    service: &Service,
    request: &RequestContext,
    id: VolumeId,
    new_size_gib: u64,
    in_use: InUse,
) -> Result<Volume> {
    limits::check_size(new_size_gib)?;
    let extension = Extension::of(service, request);
    let attached = policy::tenancy_of(request, Rule::VolumeExtendAttachedVolume);
    let extended = service
        .database
        .write(move |tx| {
            let volume = visible(tx, &extension.tenancy, id)?;
            if volume.status == VolumeStatus::InUse {
                attached.check(&volume.project_id, Some(&volume.user_id))?;
            }
            let volume = begin(tx, &extension, id, new_size_gib, in_use)?;
            modify_volume::note_extension(tx, &volume, new_size_gib, extension.now_us)?;
            Ok(volume)
        })
        .await;
    refusal::told(service, request, Asked::extension(id), extended).await
}

/// What it takes to extend a volume, besides the volume.
pub(super) struct Extension {
    operation_id: OperationId,
    request_id: String,
    pub(super) tenancy: Tenancy,
    pub(super) now_us: i64,
    pub(super) limits: Limits,
}

impl Extension {
    pub(super) fn of(service: &Service, request: &RequestContext) -> Self {
        Extension {
            operation_id: OperationId(service.context.new_uuid()),
            request_id: request.request_id.clone(),
            tenancy: policy::tenancy_of(request, Rule::VolumeExtend),
            now_us: service.context.now_us(),
            limits: service.config.limits.clone(),
        }
    }
}

/// Begins to make a volume larger that is there, and returns it as it is then.
pub(super) fn begin(
    tx: &mut Transaction<'_>,
    extension: &Extension,
    id: VolumeId,
    new_size_gib: u64,
    in_use: InUse,
) -> Result<Volume> {
    let (tenancy, now_us) = (&extension.tenancy, extension.now_us);
    let volume = visible(tx, tenancy, id)?;
    services::check_not_frozen(tx, &volume.zone)?;
    let allowed: &[VolumeStatus] = match in_use {
        InUse::Refuse => &[VolumeStatus::Available],
        InUse::Allow => &[VolumeStatus::Available, VolumeStatus::InUse],
    };
    if !volumes::change_status(tx, id, allowed, VolumeStatus::Extending, now_us)? {
        let status = volume.status.as_str();
        let why = format!("Volume {id} status must be 'available' to extend, currently {status}");
        return Err(refused(id, &why));
    }
    // Read again: the row is locked now.
    let volume = visible(tx, tenancy, id)?;
    if new_size_gib <= volume.size_gib {
        return Err(not_larger(&volume, new_size_gib));
    }
    if snapshots::exist_in(tx, id, SnapshotStatus::Creating)? {
        return Err(refused(id, "a snapshot of it is being taken"));
    }
    if volumes::is_being_cloned(tx, id)? {
        // The clone would be larger than what it was asked and counted for, and a copy would not fit.
        return Err(refused(id, "a volume is being cloned from it"));
    }
    if !volume_extensions::insert(tx, &volume, new_size_gib)? {
        return Err(refused(id, "it is being extended"));
    }
    let added_gib = new_size_gib - volume.size_gib;
    quota::check_extension(tx, &volume, added_gib, &extension.limits)?;
    if !volume.failure.is_empty() {
        volumes::set_failure(tx, id, "")?;
    }
    let operation = NewOperation {
        id: extension.operation_id,
        kind: OperationKind::ExtendVolume,
        target: id.to_string(),
        zone: volume.zone,
        request_id: extension.request_id.clone(),
        not_before_us: now_us,
    };
    if !operations::insert(tx, &operation, now_us)? {
        return Err(refused(id, "an operation is at work on it"));
    }
    visible(tx, tenancy, id)
}

fn not_larger(volume: &Volume, new_size_gib: u64) -> Error {
    Error::invalid(format!(
        "New size for extend must be greater than current size. (current: {}, extended: {new_size_gib}).",
        volume.size_gib
    ))
    .on(volume.id.to_string())
}
