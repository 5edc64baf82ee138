//! Who asks, in which microversion, and how the links of the answer look.

use axum::extract::FromRequestParts;
use http::request::Parts;

use super::super::request::{Refusal, RequestId};
use super::address::{Links, ProjectInPath};
use super::fault::{Fault, Result};
use super::microversion::Microversion;
use super::route::Route;
use crate::app::{Service, identity};
use crate::audit::Witness;
use crate::auth::rule::Rule;
use crate::config::Secret;
use crate::context::RequestContext;
use crate::error::{Error, ErrorKind, Subject};

/// Longest token that is looked at, in bytes.
const TOKEN_MAX_BYTES: usize = 4096;

/// An authenticated request in a project.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// Who asks, in which project.
    pub(super) context: RequestContext,
    /// The microversion to answer in.
    pub(super) version: Microversion,
    /// Makes links.
    pub(super) links: Links,
    /// What of volumes is shown beside what everybody sees.
    pub(super) shown: ShownOfVolumes,
}

/// Which attributes of volumes the requester sees; decided once for a request, whatever many volumes it shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShownOfVolumes {
    /// What Cinder shows to administrators, whatever its policies say.
    pub(super) internals: bool,
    pub(super) host: bool,
    pub(super) project: bool,
    pub(super) migration: bool,
    pub(super) image_metadata: bool,
}

impl ShownOfVolumes {
    pub(super) fn to(context: &RequestContext) -> Self {
        ShownOfVolumes {
            internals: context.is_admin(),
            host: context.shows(Rule::VolumeHostAttribute),
            project: context.shows(Rule::VolumeTenantAttribute),
            migration: context.shows(Rule::VolumeMigStatusAttribute),
            image_metadata: context.shows(Rule::VolumeImageMetadataShow),
        }
    }
}

/// The token of a header, unless it is missing or absurd.
pub(in crate::api) fn token_header(headers: &http::HeaderMap, name: &str) -> Option<Secret> {
    let text = headers.get(name)?.to_str().ok()?.trim();
    (!text.is_empty() && text.len() <= TOKEN_MAX_BYTES).then(|| Secret::new(text))
}

/// The error of a request without usable credentials.
pub(in crate::api) fn unauthenticated() -> Error {
    Error::new(
        ErrorKind::Unauthenticated,
        Subject::Identity,
        "The request you have made requires authentication.",
    )
}

impl FromRequestParts<Service> for Caller {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Result<Self> {
        let token = token_header(&parts.headers, "x-auth-token").ok_or_else(unauthenticated)?;
        let is_service = is_service(parts, service).await?;
        let token = match is_service {
            true => identity::validate_expired(service, &token).await?,
            false => identity::validate(service, &token).await?,
        };
        let Some(project) = token.project else {
            return Err(Fault::App(Error::new(
                ErrorKind::Forbidden,
                Subject::Identity,
                "The token is not scoped to a project.",
            )));
        };
        let mut context = RequestContext::new(
            RequestId::of(&parts.extensions).as_str(),
            token.user.id,
            project.id,
            token.roles,
        )
        .under(&service.config.policies);
        context.is_service = is_service;
        let version = parts
            .extensions
            .get::<Microversion>()
            .copied()
            .unwrap_or(Microversion::MIN);
        if let Some(route) = parts.extensions.get::<&'static Route>() {
            version.needs(route.since)?;
            context.rule = route.rule_of_all();
        }
        if let Some(witness) = parts.extensions.get::<Witness>() {
            witness.saw(&context.user_id, &context.project_id);
        }
        let named = parts.extensions.get::<ProjectInPath>();
        if let Some(ProjectInPath(named)) = named
            && *named != context.project_id
        {
            if !context.is_admin() {
                return Err(Refusal::MalformedUrl.into());
            }
            context.project_id.clone_from(named);
        }
        let links = Links::new(
            &service.config.endpoints,
            named.map(|_| context.project_id.as_str()),
        );
        Ok(Caller {
            shown: ShownOfVolumes::to(&context),
            context,
            version,
            links,
        })
    }
}

/// True when `X-Service-Token` is a good token of a service; one that is not good is refused, as Keystone's middleware does.
async fn is_service(parts: &Parts, service: &Service) -> Result<bool> {
    let Some(token) = token_header(&parts.headers, "x-service-token") else {
        return Ok(false);
    };
    let token = identity::validate(service, &token).await?;
    Ok(identity::is_service(service, &token.roles))
}
