//! Errors as Keystone words them; the statuses are those of `openstack/fault.rs`.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use super::super::openstack::fault::{
    Fault, log_failure, status_of_error, status_of_refusal, success,
};
use super::super::request::Refusal;
use crate::error::{Error, ErrorKind};

/// What an identity handler answers instead of a view.
#[derive(Debug)]
pub(super) struct IdentityFault(pub(super) Fault);

/// What identity handlers return.
pub(super) type Result<T> = std::result::Result<T, IdentityFault>;

impl From<Error> for IdentityFault {
    fn from(error: Error) -> Self {
        IdentityFault(Fault::App(error))
    }
}

impl From<Fault> for IdentityFault {
    fn from(fault: Fault) -> Self {
        IdentityFault(fault)
    }
}

impl IntoResponse for IdentityFault {
    fn into_response(self) -> Response {
        match self.0 {
            Fault::App(error) => {
                log_failure(&error);
                let status = status_of_error(&error);
                match error.kind {
                    ErrorKind::Unauthenticated => unauthorized(),
                    ErrorKind::Internal => body(
                        status,
                        "An unexpected error prevented the server from fulfilling your request.",
                    ),
                    ErrorKind::NotFound
                    | ErrorKind::Conflict
                    | ErrorKind::Invalid
                    | ErrorKind::Forbidden
                    | ErrorKind::QuotaExceeded
                    | ErrorKind::NoCapacity
                    | ErrorKind::Busy
                    | ErrorKind::Unavailable
                    | ErrorKind::NotSupported => body(status, &error.public),
                }
            }
            Fault::Refused(refusal) => refuse(refusal),
            Fault::BadRequest(text) => body(status_of_refusal(&Refusal::MalformedBody), &text),
            other => other.into_response(),
        }
    }
}

fn body(status: StatusCode, message: &str) -> Response {
    let title = status.canonical_reason().unwrap_or("Error");
    let view = json!({"error": {"code": status.as_u16(), "title": title, "message": message}});
    (status, Json(view)).into_response()
}

/// What a request without good credentials gets, from every OpenStack API of ours.
pub(in crate::api) fn unauthorized() -> Response {
    let mut response = body(
        success::UNAUTHORIZED,
        "The request you have made requires authentication.",
    );
    response.headers_mut().insert(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static("Keystone"),
    );
    response
}

/// What is not served here, and where it is.
pub(super) fn elsewhere(text: &str) -> Response {
    body(status_of_refusal(&Refusal::NoRoute), text)
}

/// A refusal of the frame, in this API's clothes.
pub(in crate::api) fn refuse(refusal: Refusal) -> Response {
    body(status_of_refusal(&refusal), &refusal.sentence())
}
