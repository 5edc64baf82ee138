//! Backends: what `nova-manage sm backend_*` does; administrators only.

use super::Service;
use crate::context::RequestContext;
use crate::error::Result;
use crate::model::backend::{Backend, BackendUse};
use crate::model::id::BackendId;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct AddBackend {
    /// The flavor, by label or id.
    pub flavor: String,
    /// The SR type, any case.
    pub sr_type: String,
    /// `key=value` pairs as given; `name_label`, `name_description` and `sr_uuid` are taken out, secret keys encrypted.
    pub parameters: Vec<(String, String)>,
    /// The zone; none takes the default zone.
    pub zone: Option<String>,
    /// Place in the flavor's order; none puts it last.
    pub position: Option<i64>,
}

/// What is known of an SR type: used to refuse unknown types and missing keys with the list of what is expected.
#[derive(Clone, Copy, Debug)]
pub struct SrTypeFacts {
    /// The type: `nfs`.
    pub sr_type: &'static str,
    /// What people call it: `NFS VHD`.
    pub name: &'static str,
    /// Keys that must be given.
    pub required: &'static [&'static str],
    /// Keys that may be given.
    pub optional: &'static [&'static str],
}

/// Every SR type of the specification and of XenServer that a backend may have.
pub fn sr_types() -> &'static [SrTypeFacts] {
    &[]
}

/// All backends, or those of a flavor, in the order in which the scheduler tries them.
pub async fn list(
    _service: &Service,
    _request: &RequestContext,
    _flavor: Option<&str>,
) -> Result<Vec<Backend>> {
    unimplemented!()
}

/// One backend.
pub async fn get(_service: &Service, _request: &RequestContext, _id: BackendId) -> Result<Backend> {
    unimplemented!()
}

/// Adds a backend and asks the zone's workers to connect it. A `sr_uuid=` that another backend has is a conflict.
pub async fn add(
    _service: &Service,
    _request: &RequestContext,
    _wanted: AddBackend,
) -> Result<Backend> {
    unimplemented!()
}

/// Removes a backend; refuses while volumes are on it, saying how many. The SR is forgotten in the pool, never destroyed.
pub async fn remove(_service: &Service, _request: &RequestContext, _id: BackendId) -> Result<()> {
    unimplemented!()
}

/// Lets the scheduler use it, or not.
pub async fn set_use(
    _service: &Service,
    _request: &RequestContext,
    _id: BackendId,
    _usage: BackendUse,
) -> Result<Backend> {
    unimplemented!()
}

/// Moves it in its flavor's order.
pub async fn set_position(
    _service: &Service,
    _request: &RequestContext,
    _id: BackendId,
    _position: i64,
) -> Result<Backend> {
    unimplemented!()
}
