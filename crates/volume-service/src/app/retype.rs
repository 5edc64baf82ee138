//! Another flavor for a volume that is there.
//!
//! A flavor says where volumes are made; where one lies already, another flavor that may lie there too is a change of one column.
//! Anywhere else the volume would have to be moved, which is refused with every backend's reason in a message: the request was
//! taken, as Cinder does, and the volume stays what it was.

use super::delete_volume::refused;
use super::messages::Message;
use super::refusal::{self, Asked};
use super::volumes::locked;
use super::{Service, policy, quota};
use crate::auth::rule::Rule;
use crate::auth::vault::Vault;
use crate::context::RequestContext;
use crate::db::{Transaction, backends, flavors, messages, operations, qos_specs, volumes};
use crate::error::{Error, Result};
use crate::model::flavor::Flavor;
use crate::model::id::VolumeId;
use crate::model::volume::{Volume, VolumeStatus};
use crate::scheduler;

/// Whether a volume may be moved to have its new flavor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MigrationPolicy {
    /// It stays where it is.
    #[default]
    Never,
    /// It may be moved.
    OnDemand,
}

/// Gives a volume another flavor, by id or label.
///
/// # Errors
/// `Invalid` for a flavor that is not there, `QuotaExceeded` for the quotas of the new one, `Conflict` for its own, and for a state other than `available` and `in-use`.
pub async fn retype(
    service: &Service,
    request: &RequestContext,
    id: VolumeId,
    flavor: &str,
    policy_asked: MigrationPolicy,
) -> Result<()> {
    let changed = change(service, request, id, flavor, policy_asked).await;
    refusal::told(service, request, Asked::allocation(id), changed).await
}

async fn change(
    service: &Service,
    request: &RequestContext,
    id: VolumeId,
    flavor: &str,
    policy_asked: MigrationPolicy,
) -> Result<()> {
    let (context, request) = (service.context.clone(), request.clone());
    let (vault, flavor) = (service.vault.clone(), flavor.to_owned());
    let now_us = context.now_us();
    let limits = service.config.limits.clone();
    service
        .database
        .write(move |tx| {
            let tenancy = policy::tenancy_of(&request, Rule::VolumeRetype);
            let volume = locked(tx, &tenancy, id)?;
            let found = flavors::find_for(tx, tenancy.as_deref(), &flavor)?;
            let flavor = found.ok_or_else(|| {
                Error::invalid(format!(
                    "Invalid input received: Invalid volume_type passed: {flavor}."
                ))
            })?;
            check(tx, &volume, &flavor)?;
            let Some(why) = obstacle(tx, &vault, &volume, &flavor)? else {
                volumes::set_flavor(tx, id, flavor.id, now_us)?;
                let volume = volumes::get(tx, id)?;
                return quota::check_retype(tx, &volume, &limits);
            };
            let message = Message {
                id: context.new_uuid(),
                project_id: volume.project_id.clone(),
                request_id: request.request_id.clone(),
                resource_type: "VOLUME".to_owned(),
                resource_id: id.to_string(),
                action_id: RETYPE.to_owned(),
                detail_id: NO_VALID_BACKEND.to_owned(),
                text: unmoved(&flavor, &why, policy_asked),
                created_at_us: now_us,
                expires_at_us: now_us.saturating_add(super::messages::LIFETIME_US),
            };
            messages::insert(tx, &message)
        })
        .await
}

/// Why a volume cannot have another flavor where it is; none when it can.
pub(super) fn obstacle(
    tx: &mut Transaction<'_>,
    vault: &Vault,
    volume: &Volume,
    flavor: &Flavor,
) -> Result<Option<String>> {
    let known = flavors::by_id(tx, volume.flavor_id)?;
    let is_encrypted_alike =
        known.is_some_and(|known| known.encryption.is_none() && flavor.encryption.is_none());
    if !is_encrypted_alike {
        return Ok(Some(
            "what is encrypted, and how, stays as it is".to_owned(),
        ));
    }
    let Some(backend) = volume.backend_id else {
        return Ok(Some("the volume has no backend".to_owned()));
    };
    let facts = flavors::facts(tx, flavor.id)?;
    let backend = backends::get(tx, vault, backend)?;
    let held = scheduler::may_hold(&facts, &backend);
    Ok(held
        .err()
        .map(|reason| format!("backend {}: {}", backend.id, reason.for_tenants())))
}

/// `SCHEDULE_ALLOCATE_VOLUME` of OpenStack's catalogue: it has no word for a change of the type.
const RETYPE: &str = "001";
/// `NOT_ENOUGH_SPACE_FOR_IMAGE`'s neighbour: no valid backend could be found.
const NO_VALID_BACKEND: &str = "003";

fn unmoved(flavor: &Flavor, why: &str, asked: MigrationPolicy) -> String {
    let end = match asked {
        MigrationPolicy::Never => "the request says not to move it",
        MigrationPolicy::OnDemand => "volumes cannot be moved between backends",
    };
    format!(
        "the volume keeps its type, for it cannot have type {} where it is ({why}), and {end}",
        flavor.label
    )
}

fn check(tx: &mut Transaction<'_>, volume: &Volume, flavor: &Flavor) -> Result<()> {
    let is_settled = matches!(volume.status, VolumeStatus::Available | VolumeStatus::InUse);
    let is_at_work = operations::find_unfinished(tx, &volume.id.to_string())?.is_some();
    if is_settled
        && !is_at_work
        && volume.traits.group_id.is_none()
        && volume.flavor_id != flavor.id
        && (volume.status == VolumeStatus::Available || is_told_alike(tx, volume, flavor)?)
    {
        return Ok(());
    }
    let why = "Retype needs volume to be in available or in-use state, not be part of an active migration or a consistency \
               group, requested type has to be different that the one from the volume, and for in-use volumes front-end qos specs \
               cannot change";
    Err(refused(volume.id, why))
}

/// True when whoever has the volume attached was told of the same QoS specs as of another flavor's.
pub(super) fn is_told_alike(
    tx: &mut Transaction<'_>,
    volume: &Volume,
    flavor: &Flavor,
) -> Result<bool> {
    let mut told = |id| -> Result<_> {
        let qos = qos_specs::of_flavor(tx, id)?.filter(|qos| qos.consumer.is_front_end());
        Ok(qos.map(|qos| qos.specs))
    };
    Ok(told(volume.flavor_id)? == told(flavor.id)?)
}
