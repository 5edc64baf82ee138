//! OpenStack Block Storage v3: one file per resource, faults as Cinder words them.
//!
//! Paths with and without a project are the same to the routes below: `address.rs` takes the project out first.

mod address;
mod attach_actions;
mod attachments;
mod body;
mod caller;
mod empty_collections;
pub(super) mod fault;
mod filter_values;
mod limits;
mod messages;
mod metadata;
pub(crate) mod microversion;
pub(crate) mod paging;
mod services;
mod snapshot_actions;
mod snapshot_list;
mod snapshot_metadata;
mod snapshot_view;
mod snapshots;
pub(super) mod untrusted;
mod versions;
mod volume_actions;
mod volume_list;
mod volume_types;
mod volume_view;
mod volumes;

#[cfg(test)]
mod tests;

use axum::Router;
use axum::middleware;
use axum::routing::{get, post, put};
use tower::ServiceExt;

use super::request::{Api, Refusal, frame, observed};
use crate::app::Service;

pub(super) use body::{Fields, JsonBody};
pub(super) use caller::{token_header, unauthenticated};
pub(super) use fault::refuse;

/// The router of the Block Storage listener: version discovery, `/v3`, `/healthz` and `/metrics`.
pub fn volume_router(service: Service) -> Router {
    let routes = observed(
        routes()
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

fn routes() -> Router<Service> {
    Router::new()
        .route("/", get(versions::list))
        .route("/v3", get(versions::show))
        .route("/v3/", get(versions::show))
        .merge(volume_routes())
        .merge(snapshot_routes())
        .route(
            "/v3/types",
            get(volume_types::list).post(volume_types::create),
        )
        .route("/v3/types/default", get(volume_types::default))
        .route(
            "/v3/types/{id}",
            get(volume_types::show).delete(volume_types::delete),
        )
        .route("/v3/types/{id}/extra_specs", get(volume_types::extra_specs))
        .route("/v3/types/{id}/encryption", get(volume_types::encryption))
        .route(
            "/v3/attachments",
            get(attachments::list).post(attachments::create),
        )
        .route("/v3/attachments/detail", get(attachments::detail))
        .route(
            "/v3/attachments/{id}",
            get(attachments::show)
                .put(attachments::update)
                .delete(attachments::delete),
        )
        .route("/v3/attachments/{id}/action", post(attachments::complete))
        .route("/v3/messages", get(messages::list))
        .route(
            "/v3/messages/{id}",
            get(messages::show).delete(messages::delete),
        )
        .route("/v3/limits", get(limits::limits))
        .route("/v3/os-quota-sets/{id}", get(limits::quota_set))
        .route(
            "/v3/os-quota-sets/{id}/defaults",
            get(limits::quota_defaults),
        )
        .route("/v3/os-availability-zone", get(services::zones))
        .route("/v3/os-services", get(services::services))
        .route("/v3/scheduler-stats/get_pools", get(services::pools))
        .route("/v3/extensions", get(versions::extensions))
        .route("/v3/resource_filters", get(volume_list::resource_filters))
        .merge(empty_collections::routes())
        .merge(empty_collections::refusals())
}

fn volume_routes() -> Router<Service> {
    Router::new()
        .route("/v3/volumes", get(volumes::list).post(volumes::create))
        .route("/v3/volumes/detail", get(volumes::detail))
        .route("/v3/volumes/summary", get(volumes::summary))
        .route(
            "/v3/volumes/{id}",
            get(volumes::show)
                .put(volumes::update)
                .delete(volumes::delete),
        )
        .route("/v3/volumes/{id}/action", post(volume_actions::act))
        .route(
            "/v3/volumes/{id}/metadata",
            get(metadata::list)
                .post(metadata::merge)
                .put(metadata::replace),
        )
        .route(
            "/v3/volumes/{id}/metadata/{key}",
            put(metadata::put_key)
                .get(metadata::show_key)
                .delete(metadata::delete_key),
        )
        .route(
            "/v3/volumes/{id}/encryption",
            get(volume_types::volume_encryption),
        )
}

fn snapshot_routes() -> Router<Service> {
    Router::new()
        .route(
            "/v3/snapshots",
            get(snapshots::list).post(snapshots::create),
        )
        .route("/v3/snapshots/detail", get(snapshots::detail))
        .route(
            "/v3/snapshots/{id}",
            get(snapshots::show)
                .put(snapshots::update)
                .delete(snapshots::delete),
        )
        .route("/v3/snapshots/{id}/action", post(snapshot_actions::act))
        .route(
            "/v3/snapshots/{id}/metadata",
            get(snapshot_metadata::list)
                .post(snapshot_metadata::merge)
                .put(snapshot_metadata::replace),
        )
        .route(
            "/v3/snapshots/{id}/metadata/{key}",
            put(snapshot_metadata::put_key)
                .get(snapshot_metadata::show_key)
                .delete(snapshot_metadata::delete_key),
        )
}
