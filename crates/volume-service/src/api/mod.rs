//! Everything HTTP of the volume service: OpenStack Block Storage v3, OpenStack Identity v3, the EC2 Query API and, beside it, the
//! EBS direct APIs.
//!
//! A handler extracts, calls one use case of `app` and renders a view. Status codes exist in `openstack/fault.rs`,
//! `ec2/fault.rs` and `ebs/fault.rs` and nowhere else. `request.rs` frames each router: request ids, access log, limits, deadline, panics.

mod ebs;
mod ec2;
#[cfg(test)]
mod fixture;
mod identity;
pub mod metrics;
mod openstack;
#[cfg(test)]
mod parser_tests;
mod request;
mod timestamp;

pub use ec2::{ec2_router, ec2_table};
pub use identity::{REGION, identity_router};
pub use openstack::{Microversion, openapi, volume_router};

/// Parsers of untrusted text, open to the fuzz targets and to nobody else.
#[doc(hidden)]
pub mod parsers {
    pub use super::ec2::parameters::Parameters;
    pub use super::ec2::signature::parse_authorization;
    pub use super::ec2::untrusted::read_parameters as read_ec2_parameters;
    pub use super::openstack::microversion::Microversion;
    pub use super::openstack::paging::Paging;
    pub use super::openstack::untrusted::{
        read_body as read_openstack_body, read_query as read_openstack_query,
    };
}
