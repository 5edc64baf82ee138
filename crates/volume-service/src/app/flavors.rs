//! Flavors: read by everybody, made and removed by administrators.

use super::Service;
use crate::context::RequestContext;
use crate::error::Result;
use crate::model::flavor::Flavor;

/// Every flavor, by label; all that match when a label is given (`nova-manage sm flavor_list [label]`).
pub async fn list(_service: &Service, _request: &RequestContext) -> Result<Vec<Flavor>> {
    unimplemented!()
}

/// A flavor by id or label.
pub async fn get(
    _service: &Service,
    _request: &RequestContext,
    _id_or_label: &str,
) -> Result<Flavor> {
    unimplemented!()
}

/// The flavor of requests that name none: the one called `default`, else none.
pub async fn default(_service: &Service, _request: &RequestContext) -> Result<Option<Flavor>> {
    unimplemented!()
}

/// Makes a flavor; a label that exists is a conflict.
pub async fn create(
    _service: &Service,
    _request: &RequestContext,
    _label: &str,
    _description: &str,
) -> Result<Flavor> {
    unimplemented!()
}

/// Removes a flavor; refuses while it has backends or volumes, saying how many.
pub async fn delete(
    _service: &Service,
    _request: &RequestContext,
    _id_or_label: &str,
) -> Result<()> {
    unimplemented!()
}
