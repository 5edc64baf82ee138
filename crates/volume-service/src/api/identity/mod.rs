//! The built-in OpenStack Identity v3, for an install without Keystone: tokens, catalogue, users, projects, roles and
//! credentials. One domain, called `default`; fixed roles; no groups.

mod application_credentials;
mod catalog;
mod domains;
mod ec2_credentials;
mod fault;
mod projects;
mod query;
mod roles;
mod services;
mod tokens;
mod users;
mod versions;

#[cfg(test)]
mod tests;

use axum::Router;
use axum::routing::{get, post, put};

use super::request::{Api, Refusal, frame, observed};
use crate::app::Service;

pub(super) use fault::{refuse, unauthorized};

/// The one region of the catalogue.
pub const REGION: &str = "RegionOne";

/// The router of the Identity listener: version discovery, `/v3` and `/healthz`.
pub fn identity_router(service: Service) -> Router {
    if let Some(keystone) = &service.config.keystone {
        let text = format!("Identity is served by Keystone at {}.", keystone.url);
        let routes = Router::new()
            .fallback(async move || fault::elsewhere(&text))
            .with_state(service.clone());
        return frame(Api::Identity, service, observed(routes));
    }
    let routes = Router::new()
        .route("/", get(versions::list))
        .route("/v3", get(versions::show))
        .route("/v3/", get(versions::show))
        .merge(token_routes())
        .merge(project_routes())
        .merge(user_routes())
        .merge(role_routes())
        .merge(credential_routes())
        .merge(catalog_routes())
        .fallback(async || refuse(Refusal::NoRoute))
        .method_not_allowed_fallback(async || refuse(Refusal::Method))
        .with_state(service.clone());
    frame(Api::Identity, service, observed(routes))
}

fn token_routes() -> Router<Service> {
    Router::new()
        .route(
            "/v3/auth/tokens",
            post(tokens::issue).get(tokens::show).delete(tokens::revoke),
        )
        .route("/v3/auth/catalog", get(tokens::catalog))
        .route("/v3/auth/projects", get(projects::my_projects))
        .route("/v3/auth/domains", get(domains::list))
        .route("/v3/auth/system", get(domains::system))
        .route("/v3/ec2tokens", post(ec2_credentials::token))
}

fn project_routes() -> Router<Service> {
    Router::new()
        .route("/v3/projects", get(projects::list).post(projects::create))
        .route(
            "/v3/projects/{id}",
            get(projects::show)
                .patch(projects::update)
                .delete(projects::delete),
        )
        .route(
            "/v3/projects/{id}/tags",
            get(projects::tags)
                .put(projects::set_tags)
                .delete(projects::clear_tags),
        )
        .route(
            "/v3/projects/{id}/tags/{tag}",
            get(projects::has_tag)
                .put(projects::add_tag)
                .delete(projects::remove_tag),
        )
        .route("/v3/domains", get(domains::list).post(domains::fixed))
        .route(
            "/v3/domains/{id}",
            get(domains::show)
                .patch(domains::fixed)
                .delete(domains::fixed),
        )
}

fn user_routes() -> Router<Service> {
    Router::new()
        .route("/v3/users", get(users::list).post(users::create))
        .route(
            "/v3/users/{id}",
            get(users::show).patch(users::update).delete(users::delete),
        )
        .route("/v3/users/{id}/password", post(users::change_password))
        .route("/v3/users/{id}/projects", get(projects::projects_of_user))
        .route("/v3/users/{id}/groups", get(users::groups_of_user))
        .route("/v3/users/{id}/access_rules", get(users::access_rules))
        .route("/v3/groups", get(users::groups).post(users::create_group))
        .route(
            "/v3/groups/{id}",
            get(users::no_group)
                .patch(users::no_group)
                .delete(users::no_group),
        )
        .route("/v3/groups/{id}/users", get(users::no_group))
}

fn role_routes() -> Router<Service> {
    let elsewhere = || {
        put(roles::not_here)
            .get(roles::not_here)
            .delete(roles::not_here)
    };
    Router::new()
        .route("/v3/roles", get(roles::list).post(roles::fixed))
        .route(
            "/v3/roles/{id}",
            get(roles::show).patch(roles::fixed).delete(roles::fixed),
        )
        .route("/v3/roles/{id}/implies", get(roles::implies))
        .route(
            "/v3/roles/{id}/implies/{implied}",
            put(roles::fixed).delete(roles::fixed),
        )
        .route("/v3/role_inferences", get(roles::inferences))
        .route("/v3/role_assignments", get(roles::assignments))
        .route(
            "/v3/projects/{project}/users/{user}/roles",
            get(roles::granted),
        )
        .route(
            "/v3/projects/{project}/users/{user}/roles/{role}",
            put(roles::grant).get(roles::check).delete(roles::revoke),
        )
        .route(
            "/v3/projects/{project}/groups/{group}/roles",
            get(roles::none_here),
        )
        .route(
            "/v3/projects/{project}/groups/{group}/roles/{role}",
            elsewhere(),
        )
        .route(
            "/v3/domains/{domain}/users/{user}/roles",
            get(roles::none_here),
        )
        .route(
            "/v3/domains/{domain}/users/{user}/roles/{role}",
            elsewhere(),
        )
        .route(
            "/v3/domains/{domain}/groups/{group}/roles",
            get(roles::none_here),
        )
        .route(
            "/v3/domains/{domain}/groups/{group}/roles/{role}",
            elsewhere(),
        )
        .route("/v3/system/users/{user}/roles", get(roles::none_here))
        .route("/v3/system/users/{user}/roles/{role}", elsewhere())
        .route("/v3/system/groups/{group}/roles", get(roles::none_here))
        .route("/v3/system/groups/{group}/roles/{role}", elsewhere())
}

fn credential_routes() -> Router<Service> {
    Router::new()
        .route(
            "/v3/users/{id}/application_credentials",
            post(application_credentials::create).get(application_credentials::list),
        )
        .route(
            "/v3/users/{id}/application_credentials/{credential}",
            get(application_credentials::show).delete(application_credentials::delete),
        )
        .route(
            "/v3/users/{id}/credentials/OS-EC2",
            post(ec2_credentials::create).get(ec2_credentials::list),
        )
        .route(
            "/v3/users/{id}/credentials/OS-EC2/{access}",
            get(ec2_credentials::show).delete(ec2_credentials::delete),
        )
        .route(
            "/v3/credentials",
            get(ec2_credentials::generic_list).post(ec2_credentials::generic_create),
        )
        .route(
            "/v3/credentials/{id}",
            get(ec2_credentials::generic_show)
                .patch(ec2_credentials::generic_update)
                .delete(ec2_credentials::generic_delete),
        )
}

fn catalog_routes() -> Router<Service> {
    Router::new()
        .route(
            "/v3/services",
            get(services::services).post(services::fixed),
        )
        .route(
            "/v3/services/{id}",
            get(services::service)
                .patch(services::fixed)
                .delete(services::fixed),
        )
        .route(
            "/v3/endpoints",
            get(services::endpoints).post(services::fixed),
        )
        .route(
            "/v3/endpoints/{id}",
            get(services::endpoint)
                .patch(services::fixed)
                .delete(services::fixed),
        )
        .route("/v3/regions", get(services::regions).post(services::fixed))
        .route(
            "/v3/regions/{id}",
            get(services::one_region)
                .patch(services::fixed)
                .put(services::fixed)
                .delete(services::fixed),
        )
}
