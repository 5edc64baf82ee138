//! Heads and pages of the two handlers, as a real pool sends them.
//!
//! Source: golden `xenapi/http`.

use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE,
};
use http::{Response, StatusCode, Version};
use http_body_util::{Either, Full};
use hyper::ext::ReasonPhrase;
use xenapi::Failure;

use super::body::{self, StreamBody};
use crate::server::http::Body;

/// An answer whose end is that of the connection. HTTP/1.0 makes the HTTP library do so; `close_delimited` puts the version
/// right on its way out.
fn close_delimited(status: StatusCode, body: StreamBody) -> Response<Body> {
    let mut response = Response::new(Either::Right(body));
    *response.status_mut() = status;
    *response.version_mut() = Version::HTTP_10;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-store"),
    );
    response
}

/// The head of a transfer that goes well so far.
pub fn begun(task: &str, content_type: &'static str, body: StreamBody) -> Response<Body> {
    let mut response = close_delimited(StatusCode::OK, body);
    let headers = response.headers_mut();
    if let Ok(task) = HeaderValue::from_str(task) {
        headers.insert("task-id", task);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Adds the name under which a client is to keep what it gets.
pub fn named(mut response: Response<Body>, uuid: &str, suffix: &str) -> Response<Body> {
    let disposition = format!("attachment; filename=\"{uuid}.{suffix}\"");
    if let Ok(disposition) = HeaderValue::from_str(&disposition) {
        response
            .headers_mut()
            .insert(CONTENT_DISPOSITION, disposition);
    }
    response
}

/// A head and nothing else.
pub fn bare(status: StatusCode) -> Response<Body> {
    close_delimited(status, body::channel().1)
}

/// The page of a request without valid credentials.
pub fn unauthorised(realm: &str) -> Response<Body> {
    let mut response = page(
        StatusCode::UNAUTHORIZED,
        "Unauthorised",
        "<h1>HTTP 401 unauthorised</h1>Please check your credentials and retry.".to_owned(),
    );
    if let Ok(challenge) = HeaderValue::from_str(&format!("Basic realm=\"{realm}\"")) {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

/// The page of a request that failed before its transfer began.
pub fn failed(failure: &Failure) -> Response<Body> {
    let told = format!("{}: [ {} ]", failure.code, failure.params.join("; "));
    let text = format!(
        "<h1>HTTP 500 internal server error</h1>An unexpected error occurred; please wait a while and try again. If the \
         problem persists, please contact your support representative.<h1> Additional information </h1>{}",
        escaped(&told)
    );
    page(StatusCode::INTERNAL_SERVER_ERROR, "Internal Error", text)
}

fn page(status: StatusCode, reason: &'static str, text: String) -> Response<Body> {
    let page = format!("<html><body>{text}</body></html>");
    let mut response = Response::new(Either::Left(Full::from(page)));
    *response.status_mut() = status;
    response
        .extensions_mut()
        .insert(ReasonPhrase::from_static(reason.as_bytes()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-store"),
    );
    response
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}
