//! The built-in OpenStack Identity v3, for an install without Keystone: tokens, catalogue, and reading of what a token
//! needs. One domain, called `default`.

mod catalog;
mod credentials;
mod directory;
mod fault;
mod tokens;
mod versions;

#[cfg(test)]
mod tests;

use axum::Router;
use axum::routing::{get, post};

use super::request::{Api, Refusal, frame, observed};
use crate::app::Service;

pub(super) use fault::{refuse, unauthorized};

/// The one region of the catalogue.
pub const REGION: &str = "RegionOne";

/// The router of the Identity listener: version discovery, `/v3` and `/healthz`.
pub fn identity_router(service: Service) -> Router {
    let routes = Router::new()
        .route("/", get(versions::list))
        .route("/v3", get(versions::show))
        .route("/v3/", get(versions::show))
        .route(
            "/v3/auth/tokens",
            post(tokens::issue).get(tokens::show).delete(tokens::revoke),
        )
        .route("/v3/auth/catalog", get(tokens::catalog))
        .route("/v3/auth/projects", get(directory::my_projects))
        .route("/v3/auth/domains", get(directory::domains))
        .route("/v3/domains", get(directory::domains))
        .route("/v3/domains/{id}", get(directory::domain))
        .route(
            "/v3/projects",
            get(directory::my_projects).post(directory::create_project),
        )
        .route("/v3/projects/{id}", get(directory::project))
        .route("/v3/users", get(directory::users))
        .route("/v3/users/{id}", get(directory::user))
        .route("/v3/users/{id}/projects", get(directory::projects_of_user))
        .route(
            "/v3/users/{id}/application_credentials",
            post(credentials::create_application_credential)
                .get(credentials::application_credentials),
        )
        .route(
            "/v3/users/{id}/application_credentials/{credential}",
            get(credentials::application_credential).delete(credentials::application_credential),
        )
        .route(
            "/v3/users/{id}/credentials/OS-EC2",
            post(credentials::create_ec2_key).get(credentials::ec2_keys),
        )
        .fallback(async || refuse(Refusal::NoRoute))
        .method_not_allowed_fallback(async || refuse(Refusal::Method))
        .with_state(service.clone());
    frame(Api::Identity, service, observed(routes))
}
