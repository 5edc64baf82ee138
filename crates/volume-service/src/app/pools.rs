//! Backends as the pools of Cinder's scheduler; administrators only.

use super::{Service, policy};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::{backends, flavors};
use crate::error::{Error, Result, Subject};
use crate::model::backend::Backend;
use crate::model::id::BackendId;
use crate::scheduler;

/// A zone, or one backend of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The zone.
    pub zone: String,
    /// The backend; none for the zone as a whole.
    pub backend: Option<BackendId>,
}

/// What is known of a host.
#[derive(Clone, Debug)]
pub struct FoundHost {
    /// The backend: the one that was asked for, or the only one of the zone.
    pub backend: Option<Backend>,
    /// True when a backend was asked for.
    pub is_pool: bool,
}

/// All backends, or those that may hold volumes of a flavor, by label or id.
pub async fn list(
    service: &Service,
    request: &RequestContext,
    flavor: Option<&str>,
) -> Result<Vec<Backend>> {
    policy::check_routed(request, Rule::SchedulerStatsGetPools)?;
    let vault = service.vault.clone();
    let flavor = flavor.map(str::to_owned);
    service
        .database
        .read(move |tx| {
            let mut all = backends::list(tx, &vault)?;
            if let Some(wanted) = &flavor {
                let flavor = flavors::find(tx, wanted)?
                    .ok_or_else(|| Error::not_found(Subject::Flavor, wanted))?;
                let facts = flavors::facts(tx, flavor.id)?;
                all.retain(|backend| scheduler::may_hold(&facts, backend).is_ok());
            }
            Ok(all)
        })
        .await
}

/// What is known of a host; none when there is no such zone or backend.
pub async fn host(
    service: &Service,
    request: &RequestContext,
    wanted: Option<Host>,
) -> Result<Option<FoundHost>> {
    policy::check_routed(request, Rule::Capabilities)?;
    let Some(Host { zone, backend }) = wanted else {
        return Ok(None);
    };
    let is_configured = service.config.zones.iter().any(|known| known.name == zone);
    let vault = service.vault.clone();
    service
        .database
        .read(move |tx| {
            let mut all = backends::of_zone(tx, &vault, &zone)?;
            if let Some(id) = backend {
                let found = all.into_iter().find(|backend| backend.id == id);
                return Ok(found.map(|backend| FoundHost {
                    backend: Some(backend),
                    is_pool: true,
                }));
            }
            let only = if all.len() == 1 { all.pop() } else { None };
            Ok(is_configured.then_some(FoundHost {
                backend: only,
                is_pool: false,
            }))
        })
        .await
}
