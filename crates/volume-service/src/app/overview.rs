//! What is there: zones, services, limits, messages.
//! What is there: zones, pools, usage.

use super::{Service, policy};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db;
use crate::db::services::Heartbeat;
use crate::error::Result;
use crate::model::quota::Usage;

/// A zone and whether a worker serves it.
#[derive(Clone, Debug)]
pub struct Zone {
    /// Its name.
    pub name: String,
    /// True when a live worker serves it.
    pub available: bool,
}

/// A process that has been silent for longer is down; OpenStack's `service_down_time`.
pub const DOWN_AFTER_US: i64 = 60 * 1_000_000;

/// A process that has been silent for longer is not shown any more.
pub(super) const FORGOTTEN_AFTER_US: i64 = 24 * 3600 * 1_000_000;

/// The zones, in the configured order, for whoever has a token: Cinder has no policy for it.
pub async fn zones(service: &Service, _request: &RequestContext) -> Result<Vec<Zone>> {
    let alive = heartbeats(service, DOWN_AFTER_US).await?;
    Ok(service
        .config
        .zones
        .iter()
        .map(|zone| Zone {
            name: zone.name.clone(),
            available: alive
                .iter()
                .any(|process| process.zone == zone.name && process.binary == WORKER),
        })
        .collect())
}

/// Refuses a zone that there is not.
///
/// # Errors
/// `Invalid` about the zone.
pub fn check_zone(service: &Service, zone: &str) -> Result<()> {
    service.check_zone(zone)
}

/// The name that a worker beats under.
pub const WORKER: &str = "xensm-worker";

async fn heartbeats(service: &Service, age_us: i64) -> Result<Vec<Heartbeat>> {
    let since_us = service.context.now_us() - age_us;
    service
        .database
        .read(move |tx| db::services::list(tx, since_us))
        .await
}

/// What the requester's project has.
pub async fn usage(service: &Service, request: &RequestContext) -> Result<Usage> {
    policy::check_routed(request, Rule::UsedLimits)?;
    let project_id = request.project_id.clone();
    service
        .database
        .read(move |tx| db::quotas::usage(tx, &project_id))
        .await
}
