//! Errors as EBS clients read them: JSON, and the exception's name in a header. The only file of this API that knows status codes.
//!
//! Source: the exceptions and reasons of the model of `ebs`, version 2019-11-02; what is refused without words, as recorded from AWS.

use axum::response::Response;
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::super::ec2::fault::{Code, Ec2Fault};
use super::super::openstack::fault::log_failure;
use super::super::request::Refusal;
use crate::app::direct::{DirectError, Reason};
use crate::error::{Error, ErrorKind, Subject};

/// What an operation answers instead.
#[derive(Debug)]
pub(super) enum EbsFault {
    /// The request breaks the model.
    Schema,
    /// A use case refused or failed.
    Direct(DirectError),
    /// The policy refused.
    App(Error),
    /// The frame refused.
    Frame(Refusal),
    /// Nobody is known to have signed it.
    Signature(Ec2Fault),
    /// This API refused: exception, status, reason, words.
    Coded(&'static str, StatusCode, &'static str, String),
}

/// What everything in this API returns.
pub(super) type Result<T> = std::result::Result<T, EbsFault>;

impl From<DirectError> for EbsFault {
    fn from(error: DirectError) -> Self {
        EbsFault::Direct(error)
    }
}

const VALIDATION: &str = "ValidationException";
const NOT_FOUND: &str = "ResourceNotFoundException";
const DENIED: &str = "AccessDeniedException";
const THROTTLED: &str = "RequestThrottledException";
const BAD_SIGNATURE: &str = "InvalidSignatureException";

/// A fault in its parts; words and reason may be empty.
struct Worded {
    exception: &'static str,
    status: StatusCode,
    reason: &'static str,
    words: String,
}

impl Worded {
    fn new(
        exception: &'static str,
        status: StatusCode,
        reason: &'static str,
        words: impl Into<String>,
    ) -> Self {
        Worded {
            exception,
            status,
            reason,
            words: words.into(),
        }
    }
}

impl EbsFault {
    /// The request has no signature.
    pub(super) fn unsigned() -> Self {
        let words = "Missing Authentication Token".to_owned();
        let exception = "MissingAuthenticationTokenException";
        EbsFault::Coded(exception, StatusCode::FORBIDDEN, "", words)
    }

    pub(super) fn bad_signature(words: &str) -> Self {
        EbsFault::Coded(BAD_SIGNATURE, StatusCode::FORBIDDEN, "", words.to_owned())
    }

    pub(super) fn denied(words: &str) -> Self {
        let reason = "UNAUTHORIZED_ACCOUNT";
        EbsFault::Coded(DENIED, StatusCode::FORBIDDEN, reason, words.to_owned())
    }

    /// A value, or some of them together, cannot be.
    pub(super) fn bad_value(words: &str) -> Self {
        let reason = "INVALID_PARAMETER_VALUE";
        EbsFault::Coded(
            VALIDATION,
            StatusCode::BAD_REQUEST,
            reason,
            words.to_owned(),
        )
    }

    pub(super) fn bad_tag(words: &str) -> Self {
        let status = StatusCode::BAD_REQUEST;
        EbsFault::Coded(VALIDATION, status, "INVALID_TAG", words.to_owned())
    }

    pub(super) fn bad_block(words: String) -> Self {
        EbsFault::Coded(VALIDATION, StatusCode::BAD_REQUEST, "INVALID_BLOCK", words)
    }

    /// EBS has it and this service does not.
    pub(super) fn unsupported(words: &str) -> Self {
        let reason = "INVALID_DEPENDENCY_REQUEST";
        EbsFault::Coded(
            VALIDATION,
            StatusCode::BAD_REQUEST,
            reason,
            words.to_owned(),
        )
    }

    fn worded(&self) -> Worded {
        match self {
            EbsFault::Schema => Worded::new(VALIDATION, StatusCode::BAD_REQUEST, "", ""),
            EbsFault::Direct(DirectError::Refused(reason, words)) => refused(*reason, words),
            EbsFault::Direct(DirectError::App(error)) | EbsFault::App(error) => of_error(error),
            EbsFault::Frame(refusal) => of_frame(refusal),
            EbsFault::Signature(fault) => of_signature(fault),
            EbsFault::Coded(exception, status, reason, words) => {
                Worded::new(exception, *status, reason, words.as_str())
            }
        }
    }

    /// The answer.
    pub(super) fn response(self) -> Response {
        if let EbsFault::Direct(DirectError::App(error)) | EbsFault::App(error) = &self {
            log_failure(error);
        }
        let worded = self.worded();
        let mut body = Map::new();
        if !worded.words.is_empty() {
            body.insert("Message".to_owned(), json!(worded.words));
        }
        if !worded.reason.is_empty() {
            body.insert("Reason".to_owned(), json!(worded.reason));
        }
        let mut response = super::json(worded.status, &Value::Object(body));
        response.headers_mut().insert(
            "x-amzn-errortype",
            HeaderValue::from_static(worded.exception),
        );
        response
    }
}

fn refused(reason: Reason, words: &str) -> Worded {
    let invalid = |reason| Worded::new(VALIDATION, StatusCode::BAD_REQUEST, reason, words);
    match reason {
        Reason::SnapshotNotFound => Worded::new(
            NOT_FOUND,
            StatusCode::NOT_FOUND,
            "SNAPSHOT_NOT_FOUND",
            words,
        ),
        Reason::InvalidSnapshotId => invalid("INVALID_SNAPSHOT_ID"),
        Reason::InvalidBlock => invalid("INVALID_BLOCK"),
        Reason::InvalidVolumeSize => invalid("INVALID_VOLUME_SIZE"),
        Reason::WriteRequestTimeout => invalid("WRITE_REQUEST_TIMEOUT"),
        Reason::WrongChecksum => Worded::new(BAD_SIGNATURE, StatusCode::FORBIDDEN, "", words),
        Reason::InvalidPageToken => invalid("INVALID_PAGE_TOKEN"),
        Reason::InvalidBlockToken => invalid("INVALID_BLOCK_TOKEN"),
        Reason::UnrelatedSnapshots => invalid("UNRELATED_SNAPSHOTS"),
        Reason::InvalidDependencyRequest => invalid("INVALID_DEPENDENCY_REQUEST"),
        Reason::Throttled => Worded::new(
            THROTTLED,
            StatusCode::BAD_REQUEST,
            "RESOURCE_LEVEL_THROTTLE",
            words,
        ),
    }
}

fn of_error(error: &Error) -> Worded {
    let words = error.public.as_str();
    match error.kind {
        ErrorKind::NotFound => Worded::new(
            NOT_FOUND,
            StatusCode::NOT_FOUND,
            "SNAPSHOT_NOT_FOUND",
            words,
        ),
        ErrorKind::Forbidden | ErrorKind::Unauthenticated => {
            Worded::new(DENIED, StatusCode::FORBIDDEN, "UNAUTHORIZED_ACCOUNT", words)
        }
        ErrorKind::Invalid => Worded::new(
            VALIDATION,
            StatusCode::BAD_REQUEST,
            "INVALID_PARAMETER_VALUE",
            words,
        ),
        ErrorKind::NotSupported => Worded::new(
            VALIDATION,
            StatusCode::BAD_REQUEST,
            "INVALID_DEPENDENCY_REQUEST",
            words,
        ),
        ErrorKind::Conflict if error.subject == Subject::Request => Worded::new(
            "ConflictException",
            StatusCode::CONFLICT,
            "",
            "Current request does not match request stored with this token.",
        ),
        ErrorKind::Conflict => Worded::new("ConflictException", StatusCode::CONFLICT, "", words),
        ErrorKind::QuotaExceeded if error.subject == Subject::Request => Worded::new(
            "ConcurrentLimitExceededException",
            StatusCode::BAD_REQUEST,
            "",
            words,
        ),
        ErrorKind::QuotaExceeded => Worded::new(
            "ServiceQuotaExceededException",
            StatusCode::PAYMENT_REQUIRED,
            "DEPENDENCY_SERVICE_QUOTA_EXCEEDED",
            words,
        ),
        ErrorKind::Busy => Worded::new(
            THROTTLED,
            StatusCode::BAD_REQUEST,
            "DEPENDENCY_REQUEST_THROTTLED",
            words,
        ),
        ErrorKind::NoCapacity | ErrorKind::Unavailable => Worded::new(
            "ServiceUnavailableException",
            StatusCode::SERVICE_UNAVAILABLE,
            "",
            words,
        ),
        ErrorKind::Internal => Worded::new(
            "InternalServerException",
            StatusCode::INTERNAL_SERVER_ERROR,
            "",
            "An internal error has occurred.",
        ),
    }
}

fn of_frame(refusal: &Refusal) -> Worded {
    let words = refusal.sentence();
    match refusal {
        Refusal::BodyTooLarge { .. } => {
            Worded::new(VALIDATION, StatusCode::BAD_REQUEST, "INVALID_BLOCK", words)
        }
        Refusal::MalformedBody | Refusal::MediaType | Refusal::MalformedUrl => Worded::new(
            VALIDATION,
            StatusCode::BAD_REQUEST,
            "INVALID_PARAMETER_VALUE",
            words,
        ),
        Refusal::NoRoute => Worded::new(
            "UnknownOperationException",
            StatusCode::NOT_FOUND,
            "",
            words,
        ),
        Refusal::Method => Worded::new(
            "UnknownOperationException",
            StatusCode::METHOD_NOT_ALLOWED,
            "",
            words,
        ),
        Refusal::TooManyRequests => Worded::new(
            THROTTLED,
            StatusCode::BAD_REQUEST,
            "ACCOUNT_THROTTLED",
            words,
        ),
        Refusal::Deadline => Worded::new(
            "ServiceUnavailableException",
            StatusCode::SERVICE_UNAVAILABLE,
            "",
            words,
        ),
        Refusal::Panic => Worded::new(
            "InternalServerException",
            StatusCode::INTERNAL_SERVER_ERROR,
            "",
            words,
        ),
    }
}

fn of_signature(fault: &Ec2Fault) -> Worded {
    let words = fault.message();
    let forbidden = |exception| Worded::new(exception, StatusCode::FORBIDDEN, "", words.as_str());
    match (fault, fault.code()) {
        (Ec2Fault::App(error, _), code) if code != Code::AuthFailure => of_error(error),
        (_, Code::SignatureDoesNotMatch | Code::RequestExpired) => forbidden(BAD_SIGNATURE),
        (_, Code::IncompleteSignature) => forbidden("IncompleteSignatureException"),
        _ => forbidden("UnrecognizedClientException"),
    }
}
