//! XenAPI over HTTP/1.1: which path speaks which wire, headers, limits and refusals.
//!
//! Source: reference 1.1; golden 01 "session-wire" for what a real pool answers to each method and to broken bodies.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
};
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use xenapi::wire::Limits;
use xenapi::{Failure, jsonrpc, xmlrpc};

use super::Server;
use super::connection::Connection;
use super::dispatch::{self, Origin};
use super::metrics;
use super::transfer::{self, body::StreamBody};

/// The body of an answer: whole, or made while it is sent.
pub type Body = Either<Full<Bytes>, StreamBody>;

/// The body of an answer that is whole.
type Page = Full<Bytes>;

/// How long the body of a request may take to arrive.
const BODY_DEADLINE: std::time::Duration = std::time::Duration::from_secs(60);

/// Answers one request.
pub async fn handle(
    server: Arc<Server>,
    connection: Connection,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (parts, body) = request.into_parts();
    let transferred = match (&parts.method, parts.uri.path()) {
        (&Method::GET, "/export_raw_vdi") => transfer::export(&server, &connection, parts).await,
        (&Method::PUT, "/import_raw_vdi") => {
            transfer::import(&server, &connection, parts, body).await
        }
        _ => {
            let page = answer_call(server, connection.origin, parts, body).await;
            return Ok(page.map(Either::Left));
        }
    };
    // A real pool says HTTP/1.0 where it knows nothing better than 404.
    let is_streamed = matches!(transferred.body(), Either::Right(_));
    if is_streamed && transferred.status() != StatusCode::NOT_FOUND {
        connection.ends_with_answer.store(true, Ordering::Release);
    }
    Ok(transferred)
}

async fn answer_call(
    server: Arc<Server>,
    origin: Origin,
    parts: Parts,
    body: Incoming,
) -> Response<Page> {
    let path = parts.uri.path();
    match parts.method {
        Method::GET if path == "/healthz" => health(&server),
        // Over TCP it would tell anybody of the SRs: there a proxy that may read the socket serves it.
        Method::GET if path == "/metrics" && origin == Origin::UnixSocket => measured(&server),
        Method::POST => {
            let limited = Limited::new(body, Limits::CALL.body_bytes);
            let body = match tokio::time::timeout(BODY_DEADLINE, limited.collect()).await {
                Ok(Ok(body)) => body.to_bytes(),
                Ok(Err(error)) => return unreadable(&error.to_string()),
                Err(_) => return unreadable("the body did not arrive in time"),
            };
            if matches!(path, "/jsonrpc" | "/json") {
                json(server, origin, &body).await
            } else {
                xml(server, origin, &body).await
            }
        }
        Method::OPTIONS => preflight(),
        Method::GET | Method::PUT => page(
            StatusCode::FORBIDDEN,
            "403 forbidden",
            "Access to the requested resource is forbidden.",
        ),
        method => page(
            StatusCode::NOT_IMPLEMENTED,
            "501 Method Not Implemented",
            &format!("<p>Unknown {method} not supported.<br /></p>"),
        ),
    }
}

async fn xml(server: Arc<Server>, origin: Origin, body: &[u8]) -> Response<Page> {
    let call = match xmlrpc::parse_call(body, &Limits::CALL) {
        Ok(call) => call,
        Err(error) => return unreadable(&chain(&error)),
    };
    let bare = call.method == dispatch::LIST_METHODS;
    let result = dispatch::call(server, origin, call.method, call.params).await;
    let written = match &result {
        Ok(methods) if bare => xmlrpc::write_bare(methods),
        result => xmlrpc::write_response(result),
    };
    match written.or_else(|error| xmlrpc::write_response(&Err(unwritable(&error)))) {
        Ok(body) => answer(body, "text/xml"),
        Err(error) => unreadable(&chain(&error)),
    }
}

async fn json(server: Arc<Server>, origin: Origin, body: &[u8]) -> Response<Page> {
    let call = match jsonrpc::parse_call(body, &Limits::CALL) {
        Ok(call) => call,
        Err(error) => return unreadable(&chain(&error)),
    };
    let result = dispatch::call(server, origin, call.method, call.params).await;
    let written = jsonrpc::write_response(call.version, &call.id, &result);
    match written
        .or_else(|error| jsonrpc::write_response(call.version, &call.id, &Err(unwritable(&error))))
    {
        Ok(body) => answer(body, "application/json"),
        Err(error) => unreadable(&chain(&error)),
    }
}

/// A result that the wire cannot carry, for example a name with a control character over XML.
fn unwritable(error: &xenapi::wire::Error) -> Failure {
    Failure::new("INTERNAL_ERROR", [chain(error)])
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn health(server: &Server) -> Response<Page> {
    let (status, text) = if server.database.is_closed() {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the object database cannot be written\n",
        )
    } else {
        (StatusCode::OK, "ok\n")
    };
    let mut response = Response::new(Page::from(text));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

fn measured(server: &Server) -> Response<Page> {
    let mut response = Response::new(Page::from(metrics::text(server)));
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// The content type is compared exactly by Xen Orchestra, so it has no parameters.
fn answer(body: Vec<u8>, content_type: &'static str) -> Response<Page> {
    let mut response = Response::new(Page::from(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    shared_headers(headers);
    response
}

fn preflight() -> Response<Page> {
    let mut response = Response::new(Page::default());
    let headers = response.headers_mut();
    shared_headers(headers);
    headers.insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("PUT"),
    );
    response
}

fn shared_headers(headers: &mut http::HeaderMap) {
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-store"),
    );
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("X-Requested-With"),
    );
}

fn page(status: StatusCode, title: &str, text: &str) -> Response<Page> {
    let mut response = Response::new(Page::from(format!(
        "<html><body><h1>HTTP {title}</h1>{text}</body></html>"
    )));
    *response.status_mut() = status;
    // The words of a real pool.
    let reason = match status {
        StatusCode::INTERNAL_SERVER_ERROR => Some(ReasonPhrase::from_static(b"Internal Error")),
        StatusCode::NOT_IMPLEMENTED => Some(ReasonPhrase::from_static(b"Method not implemented")),
        _ => None,
    };
    reason.map(|reason| response.extensions_mut().insert(reason));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-store"),
    );
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// A body that is no call: a page with status 500, as a real pool answers, and no error of the API.
fn unreadable(reason: &str) -> Response<Page> {
    let mut text = String::with_capacity(reason.len() + 64);
    text.push_str("The request could not be read: ");
    for letter in reason.chars() {
        match letter {
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '&' => text.push_str("&amp;"),
            letter => text.push(letter),
        }
    }
    page(
        StatusCode::INTERNAL_SERVER_ERROR,
        "500 internal server error",
        &text,
    )
}
