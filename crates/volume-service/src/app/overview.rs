//! What is there: zones, services, pools, limits, messages.

use super::Service;
use crate::context::RequestContext;
use crate::error::Result;
use crate::model::backend::Backend;

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

/// What a project has and may have.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// Volumes that exist.
    pub volumes: u64,
    /// Their GiB.
    pub gigabytes: u64,
    /// Most volumes; negative for no limit.
    pub volumes_limit: i64,
    /// Most GiB; negative for no limit.
    pub gigabytes_limit: i64,
}

/// The zones, in the configured order.
pub async fn zones(_service: &Service, _request: &RequestContext) -> Result<Vec<Zone>> {
    unimplemented!()
}

/// Our processes; administrators only.
pub async fn services(_service: &Service, _request: &RequestContext) -> Result<Vec<ServiceStatus>> {
    unimplemented!()
}

/// The backends as scheduler pools; administrators only.
pub async fn pools(_service: &Service, _request: &RequestContext) -> Result<Vec<Backend>> {
    unimplemented!()
}

/// What the requester's project has and may have, computed from rows.
pub async fn usage(_service: &Service, _request: &RequestContext) -> Result<Usage> {
    unimplemented!()
}
