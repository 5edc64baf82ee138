//! Whether a volume can be used: that of the storage that it is on, as the worker of its zone last saw it.
//!
//! A storage that does not answer is tried again by the worker all the time (`reconcile/backends.rs`); whoever owns a volume on it may
//! ask for a try now.

use super::volumes::visible;
use super::{Service, policy};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::operations::NewOperation;
use crate::db::{backends, operations, volume_ebs, volumes};
use crate::error::Result;
use crate::model::id::{OperationId, VolumeId};
use crate::model::operation::OperationKind;
use crate::model::performance::Ebs;
use crate::model::volume::Volume;

/// A volume with what is known of its health.
#[derive(Clone, Debug)]
pub struct VolumeHealth {
    /// The volume.
    pub volume: Volume,
    /// What EC2 says of it besides.
    pub ebs: Ebs,
    /// Since when its storage does not answer, in microseconds since 1970; none when it does, or the volume is on none.
    pub stalled_since_us: Option<i64>,
}

/// What became of a wish to use a volume again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnableIo {
    /// Nothing keeps anybody from using it.
    Needless,
    /// Its storage is being connected anew.
    Asked,
}

/// The health of these volumes, in their order.
pub async fn of_volumes(
    service: &Service,
    request: &RequestContext,
    volumes: Vec<Volume>,
) -> Result<Vec<VolumeHealth>> {
    policy::check(request, Rule::VolumeGetAll)?;
    let ids: Vec<VolumeId> = volumes.iter().map(|volume| volume.id).collect();
    let (unreachable, mut known) = service
        .database
        .read(move |tx| {
            Ok((
                backends::unreachable(tx)?,
                volume_ebs::of_volumes(tx, &ids)?,
            ))
        })
        .await?;
    Ok(volumes
        .into_iter()
        .map(|volume| {
            let seen = volume.backend_id.and_then(|id| unreachable.get(&id));
            VolumeHealth {
                ebs: known.remove(&volume.id).unwrap_or_default(),
                stalled_since_us: seen.map(|at_us| at_us.unwrap_or(volume.created_at_us)),
                volume,
            }
        })
        .collect())
}

/// What EC2 says of a volume.
pub async fn ebs(service: &Service, request: &RequestContext, id: VolumeId) -> Result<Ebs> {
    let tenancy = policy::tenancy_of(request, Rule::VolumeGet);
    service
        .database
        .read(move |tx| {
            visible(tx, &tenancy, id)?;
            volume_ebs::load(tx, id)
        })
        .await
}

/// Says whether a volume is to be used again after an interruption without anybody being asked.
pub async fn set_auto_enable_io(
    service: &Service,
    request: &RequestContext,
    id: VolumeId,
    auto_enable_io: bool,
) -> Result<()> {
    let tenancy = policy::tenancy_of(request, Rule::VolumeUpdate);
    service
        .database
        .write(move |tx| {
            visible(tx, &tenancy, id)?;
            // Locked, so that nothing else that is said of it is lost.
            volumes::lock(tx, id)?;
            let ebs = Ebs {
                auto_enable_io,
                ..volume_ebs::load(tx, id)?
            };
            volume_ebs::store(tx, id, &ebs)
        })
        .await
}

/// Asks for the storage of a volume to be connected anew, where it does not answer; one try at a time.
pub async fn enable_io(
    service: &Service,
    request: &RequestContext,
    id: VolumeId,
) -> Result<EnableIo> {
    let tenancy = policy::tenancy_of(request, Rule::VolumeUpdate);
    let now_us = service.context.now_us();
    let operation_id = OperationId(service.context.new_uuid());
    let request_id = request.request_id.clone();
    service
        .database
        .write(move |tx| {
            let volume = visible(tx, &tenancy, id)?;
            let unreachable = backends::unreachable(tx)?;
            let silent = volume.backend_id.filter(|id| unreachable.contains_key(id));
            let Some(backend_id) = silent else {
                return Ok(EnableIo::Needless);
            };
            let new = NewOperation {
                id: operation_id,
                kind: OperationKind::ConnectBackend,
                target: backend_id.to_string(),
                zone: volume.zone,
                request_id: request_id.clone(),
                not_before_us: now_us,
            };
            // False while a try is under way, which will do.
            operations::insert(tx, &new, now_us)?;
            Ok(EnableIo::Asked)
        })
        .await
}
