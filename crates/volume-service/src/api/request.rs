//! The frame around each router: request id, access log, size limit, deadline, and what happens when a handler panics.
//!
//! A handler runs in a task of its own: a client that goes away, or a deadline that passes, ends the waiting and not the
//! work, so that a change of the database is never cut in half.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use http::{HeaderValue, Method, header};
use tokio::sync::Semaphore;
use tower::ServiceExt;
use tracing::Instrument;

use super::{ebs, ec2, identity, metrics, openstack};
use crate::app::{self, Service};
use crate::audit::{Event, Witness};
use crate::context::{Context, RequestContext};

/// How long a client waits for an answer: longer than the longest wait of a use case (`attachments::WAIT`), whose own
/// refusal says more.
pub(super) const REQUEST_DEADLINE: Duration = Duration::from_secs(75);
/// How long a request's body may take to arrive: a client that sends it byte by byte must not keep its place.
const BODY_DEADLINE: Duration = Duration::from_secs(30);
/// Requests of one router that are worked on at the same time; more are refused, not queued.
pub(super) const REQUESTS_IN_FLIGHT_MAX: usize = 1024;

/// Which of the three APIs a router speaks; decides how a refusal looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Api {
    /// Block Storage v3.
    Volume,
    /// Identity v3.
    Identity,
    /// EC2 Query.
    Ec2,
}

impl Api {
    /// The word in logs and metrics.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Api::Volume => "volume",
            Api::Identity => "identity",
            Api::Ec2 => "ec2",
        }
    }
}

/// What the frame and the extractors refuse before any use case is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The body is larger than the configured limit.
    BodyTooLarge {
        /// The limit in bytes.
        limit_bytes: usize,
    },
    /// The body broke off, or is no JSON object where one is needed.
    MalformedBody,
    /// The body has another media type.
    MediaType,
    /// The URL names another project than the token, or is otherwise not well formed.
    MalformedUrl,
    /// There is no such route, or not in the requested microversion.
    NoRoute,
    /// The route exists and does not know the method.
    Method,
    /// No answer within the deadline.
    Deadline,
    /// Too many requests are being worked on.
    TooManyRequests,
    /// A handler panicked.
    Panic,
}

impl Refusal {
    /// What the client reads, where its API does not word it in its own way.
    pub(super) fn sentence(&self) -> String {
        match self {
            Refusal::BodyTooLarge { limit_bytes } => {
                format!("Request is too large. The limit is {limit_bytes} bytes.")
            }
            Refusal::MalformedBody => "Malformed request body".to_owned(),
            Refusal::MediaType => "Unsupported Content-Type".to_owned(),
            Refusal::MalformedUrl => "Malformed request url".to_owned(),
            Refusal::NoRoute => "The resource could not be found.".to_owned(),
            Refusal::Method => "The method is not allowed for this resource.".to_owned(),
            Refusal::Deadline => format!(
                "The request was not answered within {} seconds. It may still take effect; look before repeating it.",
                REQUEST_DEADLINE.as_secs()
            ),
            Refusal::TooManyRequests => format!(
                "More than {REQUESTS_IN_FLIGHT_MAX} requests are being worked on. Try again later."
            ),
            Refusal::Panic => {
                "The server has either erred or is incapable of performing the requested operation."
                    .to_owned()
            }
        }
    }
}

/// Names a request in logs, headers and bodies: `req-<uuid>`.
#[derive(Clone, Debug)]
pub(super) struct RequestId(Arc<str>);

impl RequestId {
    fn new(context: &Context) -> Self {
        RequestId(format!("req-{}", context.new_uuid()).into())
    }

    /// `req-<uuid>`
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The uuid alone, as EC2 shows it.
    pub(super) fn uuid(&self) -> &str {
        self.0.strip_prefix("req-").unwrap_or(&self.0)
    }

    /// The id that the frame gave this request; a blank one when there is no frame.
    pub(super) fn of(extensions: &http::Extensions) -> Self {
        extensions
            .get::<RequestId>()
            .cloned()
            .unwrap_or_else(|| RequestId("req-unknown".into()))
    }
}

struct Frame {
    api: Api,
    service: Service,
    routes: Router,
    in_flight: Arc<Semaphore>,
}

/// Puts the frame around the routes of an API.
pub(super) fn frame(api: Api, service: Service, routes: Router) -> Router {
    Router::new().fallback(serve).with_state(Arc::new(Frame {
        api,
        service,
        routes,
        in_flight: Arc::new(Semaphore::new(REQUESTS_IN_FLIGHT_MAX)),
    }))
}

/// Tells the frame which route answered; a layer of the inner router.
pub(super) async fn note_route(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    if let Some(route) = route {
        response.extensions_mut().insert(route);
    }
    response
}

/// The layer that calls [`note_route`].
pub(super) fn observed(routes: Router) -> Router {
    routes.layer(middleware::from_fn(note_route))
}

async fn serve(State(frame): State<Arc<Frame>>, mut request: Request) -> Response {
    let started = Instant::now();
    let api = frame.api.as_str();
    let id = RequestId::new(&frame.service.context);
    let method = request.method().clone();
    let span = tracing::info_span!("request", request.id = id.as_str(), api);
    request.extensions_mut().insert(id.clone());
    let witness = Witness::default();
    request.extensions_mut().insert(witness.clone());
    let path = request.uri().path().to_owned();
    let mut response = answer(&frame, &id, request).instrument(span.clone()).await;

    let route = response
        .extensions()
        .get::<MatchedPath>()
        .map_or("none", |path| path.as_str())
        .to_owned();
    let status = response.status().as_u16();
    let elapsed = started.elapsed();
    metrics::global().count_request(api, &route, &method, status, elapsed);
    tracing::info!(
        parent: &span,
        method = method.as_str(),
        route,
        status,
        elapsed_ms = elapsed.as_secs_f64() * 1e3,
        "request served"
    );
    note(&frame, &witness, &id, &method, (route, path), status);
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        let headers = response.headers_mut();
        headers.insert("x-openstack-request-id", value.clone());
        if frame.api == Api::Volume {
            headers.insert("x-compute-request-id", value);
        }
    }
    if frame.api == Api::Ec2
        && let Ok(value) = HeaderValue::from_str(id.uuid())
    {
        response.headers_mut().insert("x-amzn-requestid", value);
    }
    response
}

/// Writes a request that changes something into the audit log, whatever came of it.
fn note(
    frame: &Frame,
    witness: &Witness,
    id: &RequestId,
    method: &Method,
    (route, path): (String, String),
    status: u16,
) {
    let Some(audit) = &frame.service.audit else {
        return;
    };
    // EC2's actions say in their names what they do, and not in the method.
    let action = witness.action();
    let changes = match &action {
        Some(action) => !action.starts_with("Describe"),
        None => ![Method::GET, Method::HEAD, Method::OPTIONS].contains(method),
    };
    if changes {
        audit.note(Event::Request {
            api: frame.api.as_str(),
            request_id: id.as_str().to_owned(),
            method: action.unwrap_or_else(|| method.to_string()),
            route,
            path,
            status,
            who: witness.who(),
        });
    }
}

async fn answer(frame: &Frame, id: &RequestId, request: Request) -> Response {
    let is_of_ebs = frame.api == Api::Ec2 && ebs::owns(request.uri().path());
    let refuse = |refusal| match frame.api {
        Api::Volume => openstack::refuse(refusal),
        Api::Identity => identity::refuse(refusal),
        Api::Ec2 if is_of_ebs => ebs::refuse(refusal),
        Api::Ec2 => ec2::refuse(refusal, id),
    };
    match request.uri().path() {
        "/healthz" => return health(&frame.service).await,
        "/metrics" if frame.api == Api::Volume => return exposition(),
        _ => {}
    }
    let limit_bytes = match is_of_ebs {
        true => ebs::BODY_MAX_BYTES,
        false => frame.service.config.limits.request_body_max_bytes,
    };
    if announced_length(&request) > limit_bytes as u64 {
        return refuse(Refusal::BodyTooLarge { limit_bytes });
    }
    let Ok(permit) = frame.in_flight.clone().try_acquire_owned() else {
        metrics::global().count_refusal("requests_in_flight");
        return refuse(Refusal::TooManyRequests);
    };
    let routes = frame.routes.clone();
    let work = async move {
        let _permit = permit;
        routes.oneshot(request).await
    };
    let task = tokio::spawn(work.in_current_span());
    match tokio::time::timeout(REQUEST_DEADLINE, task).await {
        Ok(Ok(Ok(response))) => response,
        Ok(Ok(Err(never))) => match never {},
        Ok(Err(failed)) => {
            tracing::error!(error = %failed, "a request handler panicked");
            refuse(Refusal::Panic)
        }
        Err(_) => {
            metrics::global().count_refusal("request_deadline");
            refuse(Refusal::Deadline)
        }
    }
}

fn announced_length(request: &Request) -> u64 {
    request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

/// Reads a body of at most the configured size, within a deadline.
pub(super) async fn read_body(service: &Service, body: Body) -> Result<Bytes, Refusal> {
    read_body_of(body, service.config.limits.request_body_max_bytes).await
}

/// Reads a body of at most this size, within a deadline.
pub(super) async fn read_body_of(body: Body, limit_bytes: usize) -> Result<Bytes, Refusal> {
    arrived(axum::body::to_bytes(body, limit_bytes), limit_bytes).await
}

async fn arrived(
    body: impl Future<Output = Result<Bytes, axum::Error>>,
    limit_bytes: usize,
) -> Result<Bytes, Refusal> {
    tokio::time::timeout(BODY_DEADLINE, body)
        .await
        .map_err(|_| Refusal::MalformedBody)?
        .map_err(|error| {
            let too_large = std::error::Error::source(&error)
                .is_some_and(|cause| cause.is::<http_body_util::LengthLimitError>());
            if too_large {
                Refusal::BodyTooLarge { limit_bytes }
            } else {
                Refusal::MalformedBody
            }
        })
}

async fn health(service: &Service) -> Response {
    match app::overview::zones(service, &RequestContext::operator()).await {
        Ok(_) => plain("text/plain; charset=utf-8", "ok\n"),
        Err(error) => {
            tracing::warn!(%error, "the health check failed");
            openstack::fault::unhealthy()
        }
    }
}

fn exposition() -> Response {
    plain(
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
        metrics::global().encode(),
    )
}

fn plain(media_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_does_not_keep_its_place() {
        let endless = arrived(std::future::pending(), 10).await;
        assert_eq!(endless, Err(Refusal::MalformedBody));
        let limit_bytes = 9;
        let large = axum::body::to_bytes(Body::from("0123456789"), limit_bytes);
        let refused = Err(Refusal::BodyTooLarge { limit_bytes });
        assert_eq!(arrived(large, limit_bytes).await, refused);
    }
}
