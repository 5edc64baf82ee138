//! What is there: zones, services, limits, messages.

use super::{Service, policy};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db;
use crate::db::services::Heartbeat;
use crate::error::Result;
use crate::model::backend::Backend;
use crate::model::quota::Usage;

/// A zone and whether a worker serves it.
#[derive(Clone, Debug)]
pub struct Zone {
    /// Its name.
    pub name: String,
    /// True when a live worker serves it.
    pub available: bool,
}

/// A live or lately live process of ours.
#[derive(Clone, Debug)]
pub struct ServiceStatus {
    /// `xensm-api` or `xensm-worker`.
    pub binary: String,
    /// The machine's name.
    pub machine: String,
    /// The zone it serves.
    pub zone: String,
    /// True while it renews its row.
    pub is_up: bool,
    /// Microseconds since 1970.
    pub updated_at_us: i64,
}

/// A process that has been silent for longer is down; OpenStack's `service_down_time`.
pub const DOWN_AFTER_US: i64 = 60 * 1_000_000;

/// A process that has been silent for longer is not shown any more.
const FORGOTTEN_AFTER_US: i64 = 24 * 3600 * 1_000_000;

/// The zones, in the configured order.
pub async fn zones(service: &Service, request: &RequestContext) -> Result<Vec<Zone>> {
    policy::check_routed(request, Rule::VolumeGetAll)?;
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

/// The name that a worker beats under.
pub const WORKER: &str = "xensm-worker";

/// Our processes; administrators only.
pub async fn services(service: &Service, request: &RequestContext) -> Result<Vec<ServiceStatus>> {
    policy::check_routed(request, Rule::ServicesIndex)?;
    let since_us = service.context.now_us() - DOWN_AFTER_US;
    Ok(heartbeats(service, FORGOTTEN_AFTER_US)
        .await?
        .into_iter()
        .map(|process| ServiceStatus {
            is_up: process.updated_at_us >= since_us,
            binary: process.binary,
            machine: process.machine,
            zone: process.zone,
            updated_at_us: process.updated_at_us,
        })
        .collect())
}

async fn heartbeats(service: &Service, age_us: i64) -> Result<Vec<Heartbeat>> {
    let since_us = service.context.now_us() - age_us;
    service
        .database
        .read(move |tx| db::services::list(tx, since_us))
        .await
}

/// What the requester's project has and may have, computed from rows.
/// The backends as scheduler pools; administrators only.
pub async fn pools(service: &Service, request: &RequestContext) -> Result<Vec<Backend>> {
    super::backends::list(service, request, None).await
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
