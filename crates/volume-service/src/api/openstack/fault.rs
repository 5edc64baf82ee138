//! Errors as OpenStack clients read them. The only file of this API that knows status codes.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use super::super::request::Refusal;
use super::microversion::Microversion;
use crate::error::{Error, ErrorKind, Subject};

/// Seconds after which a client may try again what was refused for now.
const RETRY_AFTER_S: &str = "1";

/// What a handler answers instead of a view.
#[derive(Debug)]
pub(in crate::api) enum Fault {
    /// A use case refused or failed.
    App(Error),
    /// The request never reached a use case.
    Refused(Refusal),
    /// A field of the request is wrong, in the words of Cinder's schema checks.
    BadRequest(String),
    /// The action in the body is not one of Cinder's.
    NoSuchAction(String),
    /// The volume or snapshot has no such metadata key.
    NoMetadataKey {
        /// What it is: `Volume`.
        noun: &'static str,
        /// Its id.
        id: String,
        /// The key.
        key: String,
    },
    /// The volume has no such key of image metadata.
    NoImageMetadata(String),
    /// There is no such image, for there is no image service.
    NoImage(String),
    /// There is no such backup, for there is no backup service.
    NoBackup(String),
    /// What the client has read has changed since.
    Changed,
    /// A state does not allow the request, where Cinder answers 409 and not, as elsewhere, 400.
    Conflict(Error),
    /// The microversion header is not understood.
    VersionSyntax(String),
    /// The microversion is outside of what we speak.
    VersionRange(String),
}

/// Most of what the volume API returns.
pub(in crate::api) type Result<T> = std::result::Result<T, Fault>;

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Fault::App(error)
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Fault::Refused(refusal)
    }
}

impl Fault {
    /// Says that something of Cinder's is not built here.
    pub(in crate::api) fn not_supported(what: &str) -> Self {
        Fault::App(Error::new(
            ErrorKind::NotSupported,
            Subject::Request,
            format!("{what} is not supported by this service."),
        ))
    }

    /// The name that the fault has in the body, by status.
    fn name(status: StatusCode) -> &'static str {
        match status.as_u16() {
            400 => "badRequest",
            401 => "unauthorized",
            403 => "forbidden",
            404 => "itemNotFound",
            405 => "badMethod",
            409 => "conflictingRequest",
            413 => "overLimit",
            415 => "badMediaType",
            501 => "notImplemented",
            503 => "serviceUnavailable",
            _ => "computeFault",
        }
    }

    /// The status of this fault.
    pub(in crate::api) fn status(&self) -> StatusCode {
        match self {
            Fault::App(error) => status_of_error(error),
            Fault::Refused(refusal) => status_of_refusal(refusal),
            Fault::BadRequest(_) | Fault::NoSuchAction(_) | Fault::VersionSyntax(_) => {
                StatusCode::BAD_REQUEST
            }
            Fault::NoMetadataKey { .. }
            | Fault::NoImageMetadata(_)
            | Fault::NoImage(_)
            | Fault::NoBackup(_) => StatusCode::NOT_FOUND,
            Fault::Conflict(_) => StatusCode::CONFLICT,
            Fault::Changed => StatusCode::PRECONDITION_FAILED,
            Fault::VersionRange(_) => StatusCode::NOT_ACCEPTABLE,
        }
    }

    fn message(&self) -> String {
        match self {
            Fault::App(error) | Fault::Conflict(error) => message_of(error),
            Fault::Refused(refusal) => refusal.sentence(),
            Fault::BadRequest(text) => text.clone(),
            Fault::NoSuchAction(action) => format!(
                "There is no such action: {action}. Verify the request body and Content-Type header and try again."
            ),
            Fault::NoMetadataKey { noun, id, key } => {
                format!("{noun} {id} has no metadata with key {key}.")
            }
            Fault::NoImageMetadata(id) => {
                format!("Glance metadata for volume/snapshot {id} cannot be found.")
            }
            Fault::Changed => "The metadata has changed since it was read.".to_owned(),
            Fault::NoBackup(id) => format!("Backup {id} could not be found."),
            Fault::NoImage(id) => format!("Image {id} could not be found."),
            Fault::VersionSyntax(text) => format!(
                "API Version String {text} is of invalid format. Must be of format MajorNum.MinorNum."
            ),
            Fault::VersionRange(text) => format!(
                "Version {text} is not supported by the API. Minimum is {} and maximum is {}.",
                Microversion::MIN,
                Microversion::MAX
            ),
        }
    }
}

/// The status of a use case's error: what Cinder answers in the same case.
pub(in crate::api) fn status_of_error(error: &Error) -> StatusCode {
    match error.kind {
        ErrorKind::NotFound => match error.subject {
            // Cinder treats a zone as a wrong value of a field, and a marker likewise.
            Subject::Zone => StatusCode::BAD_REQUEST,
            Subject::Request
            | Subject::Volume
            | Subject::Flavor
            | Subject::Backend
            | Subject::Attachment
            | Subject::Snapshot
            | Subject::SnapshotLock
            | Subject::Metadata
            | Subject::Identity
            | Subject::Operation
            | Subject::Database
            | Subject::Message
            | Subject::Instance => StatusCode::NOT_FOUND,
        },
        ErrorKind::Conflict => match error.subject {
            // Cinder's InvalidVolume and InvalidSnapshot are 400.
            Subject::Volume | Subject::Attachment | Subject::Snapshot | Subject::SnapshotLock => {
                StatusCode::BAD_REQUEST
            }
            Subject::Request
            | Subject::Flavor
            | Subject::Backend
            | Subject::Zone
            | Subject::Metadata
            | Subject::Identity
            | Subject::Operation
            | Subject::Database
            | Subject::Message
            | Subject::Instance => StatusCode::CONFLICT,
        },
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorKind::Forbidden => StatusCode::FORBIDDEN,
        ErrorKind::QuotaExceeded => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::NoCapacity | ErrorKind::Busy | ErrorKind::Unavailable => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        ErrorKind::NotSupported => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The status of what the frame refuses; the identity API shares it.
pub(in crate::api) fn status_of_refusal(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::MalformedBody | Refusal::MalformedUrl => StatusCode::BAD_REQUEST,
        Refusal::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Refusal::NoRoute => StatusCode::NOT_FOUND,
        Refusal::Method => StatusCode::METHOD_NOT_ALLOWED,
        Refusal::Deadline | Refusal::TooManyRequests => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::Panic => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn message_of(error: &Error) -> String {
    let object = &error.object;
    match (error.kind, error.subject) {
        (ErrorKind::NotFound, Subject::Volume) => format!("Volume {object} could not be found."),
        (ErrorKind::NotFound, Subject::Flavor) => {
            format!("Volume type {object} could not be found.")
        }
        (ErrorKind::NotFound, Subject::Attachment) => {
            format!("Volume attachment could not be found with filter: attachment_id = {object}.")
        }
        (ErrorKind::NotFound, Subject::Snapshot) => {
            format!("Snapshot {object} could not be found.")
        }
        (ErrorKind::NotFound, Subject::Message) => format!("Message {object} could not be found."),
        (ErrorKind::NotFound, Subject::Zone) => {
            format!("Availability zone '{object}' is invalid.")
        }
        (ErrorKind::Conflict, Subject::Volume | Subject::Attachment) => {
            prefixed("Invalid volume: ", &error.public)
        }
        (ErrorKind::Conflict, Subject::Snapshot | Subject::SnapshotLock) => {
            prefixed("Invalid snapshot: ", &error.public)
        }
        (ErrorKind::Internal, _) => Refusal::Panic.sentence(),
        _ => sentence(&error.public),
    }
}

/// The sentence behind a prefix that it may have already.
fn prefixed(prefix: &str, text: &str) -> String {
    format!(
        "{prefix}{}",
        sentence(text.strip_prefix(prefix).unwrap_or(text))
    )
}

/// The text with a capital first letter.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}

/// Writes a failure to the log once, with its chain; what is the client's own doing is not logged.
pub(in crate::api) fn log_failure(error: &Error) {
    let mut chain = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        chain.push_str(": ");
        chain.push_str(&inner.to_string());
        cause = inner.source();
    }
    match error.kind {
        ErrorKind::Internal => tracing::error!(error = chain, "request failed: {chain}"),
        ErrorKind::Unavailable | ErrorKind::Busy | ErrorKind::NoCapacity => {
            tracing::warn!(error = chain, "request refused for now: {chain}");
        }
        ErrorKind::NotFound
        | ErrorKind::Conflict
        | ErrorKind::Invalid
        | ErrorKind::Unauthenticated
        | ErrorKind::Forbidden
        | ErrorKind::QuotaExceeded
        | ErrorKind::NotSupported => tracing::debug!(error = chain, "request refused: {chain}"),
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        if let Fault::App(error) | Fault::Conflict(error) = &self {
            log_failure(error);
        }
        let status = self.status();
        let over_quota =
            matches!(&self, Fault::App(error) if error.kind == ErrorKind::QuotaExceeded);
        if status == StatusCode::UNAUTHORIZED {
            // The words of Keystone's middleware, which stands in front of Cinder.
            return super::super::identity::unauthorized();
        }
        let body = json!({
            Fault::name(status): {"code": status.as_u16(), "message": self.message()}
        });
        let mut response = (status, axum::Json(body)).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
        }
        if over_quota {
            // Waiting does not help: Cinder says so with a zero.
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static("0"));
        }
        response
    }
}

/// A refusal of the frame, in this API's clothes.
pub(in crate::api) fn refuse(refusal: Refusal) -> Response {
    Fault::Refused(refusal).into_response()
}

/// What the health check answers when the database does not.
pub(in crate::api) fn unhealthy() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "database unavailable\n").into_response()
}

/// The statuses that other files of the OpenStack APIs answer with.
pub(in crate::api) mod success {
    use http::StatusCode;

    /// Done, with nothing in the body.
    pub(in crate::api) const OK: StatusCode = StatusCode::OK;
    /// Made.
    pub(in crate::api) const CREATED: StatusCode = StatusCode::CREATED;
    /// Taken; an operation carries it out.
    pub(in crate::api) const ACCEPTED: StatusCode = StatusCode::ACCEPTED;
    /// Done, nothing to say.
    pub(in crate::api) const NO_CONTENT: StatusCode = StatusCode::NO_CONTENT;
    /// Who asks is not known; the body is the identity API's.
    pub(in crate::api) const UNAUTHORIZED: StatusCode = StatusCode::UNAUTHORIZED;
    /// The list of API versions.
    pub(in crate::api) const MULTIPLE_CHOICES: StatusCode = StatusCode::MULTIPLE_CHOICES;
}
