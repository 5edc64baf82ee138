//! OpenStack Block Storage v3: one file per resource, faults as Cinder words them.
//!
//! Paths with and without a project are the same to the routes below: `address.rs` takes the project out first.

mod address;
mod admin_actions;
mod answers;
mod attach_actions;
mod attachments;
mod backups;
mod body;
mod caller;
mod clusters;
mod consistency_groups;
mod content_actions;
mod default_types;
mod extensions;
pub(super) mod fault;
mod filter_values;
mod group_actions;
mod group_snapshots;
mod group_types;
mod groups;
mod hosts;
mod limits;
mod manageable;
mod messages;
mod metadata;
pub(crate) mod microversion;
mod openapi;
mod openapi_parts;
pub(crate) mod paging;
mod pools;
mod python_words;
mod qos_specs;
mod quota_sets;
mod route;
mod schema;
mod service_control;
mod service_logs;
mod services;
mod snapshot_actions;
mod snapshot_list;
mod snapshot_metadata;
mod snapshot_view;
mod snapshots;
mod transfers;
mod type_access;
mod type_encryption;
mod type_extra_specs;
pub(super) mod untrusted;
mod versions;
mod volume_actions;
mod volume_filters;
mod volume_list;
mod volume_types;
mod volume_view;
mod volumes;
mod workers;

#[cfg(test)]
mod tests;

use axum::Router;
use axum::middleware;
use axum::routing::get;
use tower::ServiceExt;

use self::route::Route;
use super::request::{Api, Refusal, frame, observed};
use crate::app::Service;

pub(super) use body::{Fields, JsonBody};
pub(super) use caller::{token_header, unauthenticated};
pub(super) use fault::refuse;
pub use microversion::Microversion;
pub use openapi::openapi;

/// The router of the Block Storage listener: version discovery, `/v3`, `/healthz` and `/metrics`.
pub fn volume_router(service: Service) -> Router {
    let routes = observed(
        route::router(TABLES)
            .route("/", get(versions::list))
            .fallback(async || refuse(Refusal::NoRoute))
            .method_not_allowed_fallback(async || refuse(Refusal::Method))
            .layer(middleware::from_fn(microversion::negotiate))
            .with_state(service.clone()),
    );
    let addressed = routes.map_request(address::take_project);
    frame(
        Api::Volume,
        service,
        Router::new().fallback_service(addressed),
    )
}

/// The table of routes, by resource.
const TABLES: &[&[Route]] = &[
    versions::ROUTES,
    extensions::ROUTES,
    volumes::ROUTES,
    metadata::ROUTES,
    volume_actions::ROUTES,
    snapshots::ROUTES,
    snapshot_metadata::ROUTES,
    snapshot_actions::ROUTES,
    attachments::ROUTES,
    volume_types::ROUTES,
    type_extra_specs::ROUTES,
    type_access::ROUTES,
    type_encryption::ROUTES,
    default_types::ROUTES,
    qos_specs::ROUTES,
    pools::ROUTES,
    messages::ROUTES,
    limits::ROUTES,
    quota_sets::ROUTES,
    services::ROUTES,
    service_control::ROUTES,
    service_logs::ROUTES,
    hosts::ROUTES,
    workers::ROUTES,
    volume_list::ROUTES,
    backups::ROUTES,
    group_types::ROUTES,
    groups::ROUTES,
    group_actions::ROUTES,
    group_snapshots::ROUTES,
    consistency_groups::GROUPS,
    consistency_groups::SNAPSHOTS,
    transfers::OLD,
    transfers::NEW,
    clusters::ROUTES,
    manageable::OLD_VOLUMES,
    manageable::OLD_SNAPSHOTS,
    manageable::VOLUMES,
    manageable::SNAPSHOTS,
];
