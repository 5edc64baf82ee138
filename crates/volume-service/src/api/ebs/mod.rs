//! The EBS direct APIs: blocks of snapshots, on the EC2 listener, signed with version 4 for the service `ebs`.
//!
//! The table of operations is in `route.rs`. Source: the model of `ebs`, version 2019-11-02.

mod asked;
mod blocks;
mod fault;
mod route;
mod uploads;

#[cfg(test)]
mod tests;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{MethodRouter, on};
use http::{HeaderMap, header};

use super::ec2::parameters::Parameters;
use super::ec2::signature::{self, SignedRequest};
use super::request::{Refusal, RequestId, read_body_of};
use crate::app::{self, Service};
use crate::audit::Witness;

pub(super) use route::owns;

use asked::Asked;
use fault::{EbsFault, Result};
use route::{OPERATIONS, Operation};

/// Longest body: a block.
pub(super) const BODY_MAX_BYTES: usize = app::direct::BLOCK_BYTES as usize;

/// The service in the scope of a signature.
const SIGNED_SERVICE: &str = "ebs";
/// What a client announces that does not sign its body.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// The routes.
pub(super) fn routes() -> Router<Service> {
    let mut routes = Router::new();
    for operation in OPERATIONS {
        let handler = move |State(service): State<Service>, request: Request| {
            serve(service, operation, request)
        };
        let method: MethodRouter<Service> = on(operation.method.filter(), handler);
        routes = routes.route(operation.path, method);
    }
    routes.method_not_allowed_fallback(async || refuse(Refusal::Method))
}

/// A refusal of the frame, in this API's clothes.
pub(super) fn refuse(refusal: Refusal) -> Response {
    EbsFault::Frame(refusal).response()
}

async fn serve(service: Service, operation: &'static Operation, request: Request) -> Response {
    match answer(service, operation, request).await {
        Ok(response) => response,
        Err(fault) => fault.response(),
    }
}

async fn answer(
    service: Service,
    operation: &'static Operation,
    request: Request,
) -> Result<Response> {
    let id = RequestId::of(request.extensions());
    let (parts, body) = request.into_parts();
    let witness = parts
        .extensions
        .get::<Witness>()
        .cloned()
        .unwrap_or_default();
    let _room = match operation.moves_block {
        true => Some(app::direct::room_for_block(&service).await?),
        false => None,
    };
    let body = read_body_of(body, BODY_MAX_BYTES)
        .await
        .map_err(EbsFault::Frame)?;
    let query = parts.uri.query().unwrap_or_default();
    let parameters = Parameters::decode(query, b"").ok_or(EbsFault::Schema)?;
    let signed = SignedRequest {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: query.to_owned(),
        body_hash: unsigned_body(&service, operation, &parts.headers)?,
        headers: parts.headers,
        body: body.clone(),
    };
    check_scope(&signed)?;
    let context = signature::authenticate(&service, &signed, &parameters).await;
    let context = context.map_err(EbsFault::Signature)?.within_project();
    witness.saw(&context.user_id, &context.project_id);
    let mut context = context.ruled(Some(operation.rule));
    id.as_str().clone_into(&mut context.request_id);
    app::check_rules(&context, &[operation.rule]).map_err(EbsFault::App)?;
    let asked = Asked {
        path: &signed.path,
        query: &parameters,
        headers: &signed.headers,
        body: &body,
    };
    (operation.run)(&service, &context, asked).await
}

/// The hash that stands for a body which is not signed: only that of a block may be unsigned, as botocore leaves it, and only where
/// nobody can change it on its way.
fn unsigned_body(
    service: &Service,
    operation: &Operation,
    headers: &HeaderMap,
) -> Result<Option<String>> {
    let announced = headers
        .get("x-amz-content-sha256")
        .and_then(|value| value.to_str().ok());
    if announced != Some(UNSIGNED) {
        return Ok(None);
    }
    if operation.may_be_unsigned && is_protected(&service.config.endpoints.ec2) {
        return Ok(Some(UNSIGNED.to_owned()));
    }
    Err(EbsFault::bad_signature(
        "The body must be signed: it may be left out for PutSnapshotBlock only, over https or on one machine.",
    ))
}

/// True for an address that is reached by TLS, or without a network.
fn is_protected(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else {
        return url.starts_with("https://");
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => host,
        _ => authority,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address: Option<std::net::IpAddr> = host.parse().ok();
    host == "localhost" || address.is_some_and(|address| address.is_loopback())
}

/// A signature in the header, for this service: one for another service says that the request was meant for that.
fn check_scope(request: &SignedRequest) -> Result<()> {
    let text = request
        .header(header::AUTHORIZATION.as_str())
        .ok_or_else(EbsFault::unsigned)?;
    let claimed = signature::parse_authorization(text).ok_or_else(|| {
        EbsFault::bad_signature("The Authorization header is not AWS4-HMAC-SHA256 with Credential, SignedHeaders and Signature.")
    })?;
    if claimed.service == SIGNED_SERVICE {
        return Ok(());
    }
    Err(EbsFault::denied(
        "Credential should be scoped to correct service: 'ebs'.",
    ))
}

/// An answer in JSON.
fn json(status: http::StatusCode, value: &serde_json::Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    response
}
