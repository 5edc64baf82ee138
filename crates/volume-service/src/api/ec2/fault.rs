//! Errors as EC2 clients read them. The only file of this API that knows status codes.
//!
//! Source of the codes: the EC2 API reference, "Error codes".

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use super::super::openstack::fault::log_failure;
use super::super::request::{Refusal, RequestId};
use super::xml::escape;
use crate::error::{Error, ErrorKind, Subject};
use crate::model::volume::VolumeStatus;

/// EC2's error codes that this service answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::api) enum Code {
    /// Who asks is not known.
    AuthFailure,
    /// A dry run would have succeeded.
    DryRunOperation,
    /// A client token was used before with other parameters.
    IdempotentParameterMismatch,
    /// The signature lacks a part.
    IncompleteSignature,
    /// The volume is being modified already.
    IncorrectModificationState,
    /// The thing is in a state that does not allow the request.
    IncorrectState,
    /// No backend can take it.
    InsufficientVolumeCapacity,
    /// A fault of ours.
    InternalError,
    /// The action is not built.
    InvalidAction,
    /// The paging token is not one of ours.
    InvalidNextToken,
    /// Parameters that exclude each other.
    InvalidParameterCombination,
    /// A parameter's value is wrong.
    InvalidParameterValue,
    /// The request as a whole is not understood.
    InvalidRequest,
    /// The snapshot's id is not written as one.
    InvalidSnapshotIdMalformed,
    /// The snapshot is being used.
    InvalidSnapshotInUse,
    /// The snapshot does not exist.
    InvalidSnapshotNotFound,
    /// The volume has not been modified.
    InvalidVolumeModificationNotFound,
    /// The volume does not exist.
    InvalidVolumeNotFound,
    /// The zone does not exist.
    InvalidZoneNotFound,
    /// The query or form is not well formed.
    MalformedQueryString,
    /// A parameter is missing.
    MissingParameter,
    /// The request came too late, or its clock is wrong.
    RequestExpired,
    /// Too many requests.
    RequestLimitExceeded,
    /// The signature is wrong.
    SignatureDoesNotMatch,
    /// A quota of snapshots would be exceeded.
    SnapshotLimitExceeded,
    /// Who asks may not do this.
    UnauthorizedOperation,
    /// A part that is needed does not answer.
    Unavailable,
    /// The parameter is not known.
    UnknownParameter,
    /// The volume type does not exist.
    UnknownVolumeType,
    /// EC2 has it and this service does not.
    UnsupportedOperation,
    /// The volume is attached.
    VolumeInUse,
    /// A quota would be exceeded.
    VolumeLimitExceeded,
}

impl Code {
    /// The word in the answer, and the HTTP status that goes with it.
    fn word_and_status(self) -> (&'static str, StatusCode) {
        match self {
            Code::AuthFailure => ("AuthFailure", StatusCode::UNAUTHORIZED),
            Code::DryRunOperation => ("DryRunOperation", StatusCode::PRECONDITION_FAILED),
            Code::IdempotentParameterMismatch => {
                ("IdempotentParameterMismatch", StatusCode::BAD_REQUEST)
            }
            Code::IncompleteSignature => ("IncompleteSignature", StatusCode::BAD_REQUEST),
            Code::IncorrectModificationState => {
                ("IncorrectModificationState", StatusCode::BAD_REQUEST)
            }
            Code::IncorrectState => ("IncorrectState", StatusCode::BAD_REQUEST),
            Code::InsufficientVolumeCapacity => (
                "InsufficientVolumeCapacity",
                StatusCode::SERVICE_UNAVAILABLE,
            ),
            Code::InternalError => ("InternalError", StatusCode::INTERNAL_SERVER_ERROR),
            Code::InvalidAction => ("InvalidAction", StatusCode::BAD_REQUEST),
            Code::InvalidNextToken => ("InvalidNextToken", StatusCode::BAD_REQUEST),
            Code::InvalidParameterCombination => {
                ("InvalidParameterCombination", StatusCode::BAD_REQUEST)
            }
            Code::InvalidParameterValue => ("InvalidParameterValue", StatusCode::BAD_REQUEST),
            Code::InvalidRequest => ("InvalidRequest", StatusCode::BAD_REQUEST),
            Code::InvalidSnapshotIdMalformed => {
                ("InvalidSnapshotID.Malformed", StatusCode::BAD_REQUEST)
            }
            Code::InvalidSnapshotInUse => ("InvalidSnapshot.InUse", StatusCode::BAD_REQUEST),
            Code::InvalidSnapshotNotFound => ("InvalidSnapshot.NotFound", StatusCode::BAD_REQUEST),
            Code::InvalidVolumeModificationNotFound => (
                "InvalidVolumeModification.NotFound",
                StatusCode::BAD_REQUEST,
            ),
            Code::InvalidVolumeNotFound => ("InvalidVolume.NotFound", StatusCode::BAD_REQUEST),
            Code::InvalidZoneNotFound => ("InvalidZone.NotFound", StatusCode::BAD_REQUEST),
            Code::MalformedQueryString => ("MalformedQueryString", StatusCode::BAD_REQUEST),
            Code::MissingParameter => ("MissingParameter", StatusCode::BAD_REQUEST),
            Code::RequestExpired => ("RequestExpired", StatusCode::BAD_REQUEST),
            Code::RequestLimitExceeded => ("RequestLimitExceeded", StatusCode::SERVICE_UNAVAILABLE),
            Code::SignatureDoesNotMatch => ("SignatureDoesNotMatch", StatusCode::FORBIDDEN),
            Code::SnapshotLimitExceeded => ("SnapshotLimitExceeded", StatusCode::BAD_REQUEST),
            Code::UnauthorizedOperation => ("UnauthorizedOperation", StatusCode::FORBIDDEN),
            Code::Unavailable => ("Unavailable", StatusCode::SERVICE_UNAVAILABLE),
            Code::UnknownParameter => ("UnknownParameter", StatusCode::BAD_REQUEST),
            Code::UnknownVolumeType => ("UnknownVolumeType", StatusCode::BAD_REQUEST),
            Code::UnsupportedOperation => ("UnsupportedOperation", StatusCode::BAD_REQUEST),
            Code::VolumeInUse => ("VolumeInUse", StatusCode::BAD_REQUEST),
            Code::VolumeLimitExceeded => ("VolumeLimitExceeded", StatusCode::BAD_REQUEST),
        }
    }
}

/// What an action answers instead of a document.
#[derive(Debug)]
pub(in crate::api) enum Ec2Fault {
    /// A use case refused or failed; of a volume, the state it was in is known.
    App(Error, Option<VolumeStatus>),
    /// The frame refused.
    Refused(Refusal),
    /// This API refused.
    Coded(Code, String),
}

/// What everything in this API returns.
pub(in crate::api) type Result<T> = std::result::Result<T, Ec2Fault>;

impl From<Error> for Ec2Fault {
    fn from(error: Error) -> Self {
        Ec2Fault::App(error, None)
    }
}

impl Ec2Fault {
    pub(super) fn coded(code: Code, message: impl Into<String>) -> Self {
        Ec2Fault::Coded(code, message.into())
    }

    /// Says which state the volume was in.
    pub(super) fn of_volume(self, status: VolumeStatus) -> Self {
        match self {
            Ec2Fault::App(error, _) => Ec2Fault::App(error, Some(status)),
            other => other,
        }
    }

    /// The code of this fault.
    pub(super) fn code(&self) -> Code {
        match self {
            Ec2Fault::App(error, status) => code_of_error(error, *status),
            Ec2Fault::Coded(code, _) => *code,
            Ec2Fault::Refused(refusal) => match refusal {
                Refusal::BodyTooLarge { .. }
                | Refusal::MalformedBody
                | Refusal::MediaType
                | Refusal::MalformedUrl
                | Refusal::NoRoute
                | Refusal::Method => Code::InvalidRequest,
                Refusal::TooManyRequests => Code::RequestLimitExceeded,
                Refusal::Deadline => Code::Unavailable,
                Refusal::Panic => Code::InternalError,
            },
        }
    }

    fn message(&self) -> String {
        let error = match self {
            Ec2Fault::Coded(_, text) => return text.clone(),
            Ec2Fault::Refused(Refusal::Panic) => {
                return "An internal error has occurred".to_owned();
            }
            Ec2Fault::Refused(refusal) => return refusal.sentence(),
            Ec2Fault::App(error, _) => error,
        };
        let object = &error.object;
        // The use case words a conflict with the OpenStack id, which EC2 clients do not know.
        if let Ec2Fault::App(_, Some(status)) = self
            && error.kind == ErrorKind::Conflict
            && error.subject == Subject::Volume
        {
            return match status {
                VolumeStatus::Available => format!(
                    "A snapshot of the volume '{object}' is being taken, or a volume is being made from it."
                ),
                _ => format!("The volume '{object}' is '{}'.", status.as_str()),
            };
        }
        match (error.kind, error.subject) {
            (ErrorKind::NotFound, Subject::Volume) => {
                format!("The volume '{object}' does not exist.")
            }
            (ErrorKind::NotFound, Subject::Snapshot) => {
                format!("The snapshot '{object}' does not exist.")
            }
            (ErrorKind::NotFound | ErrorKind::Invalid, Subject::Zone) => {
                format!("The zone '{object}' does not exist.")
            }
            (ErrorKind::NotFound, Subject::Flavor) => {
                format!("The volume type '{object}' does not exist.")
            }
            (ErrorKind::Internal, _) => "An internal error has occurred".to_owned(),
            (ErrorKind::Unauthenticated, _) => {
                "The provided access credentials could not be validated.".to_owned()
            }
            _ => error.public.clone(),
        }
    }

    /// The answer.
    pub(super) fn response(self, id: &RequestId) -> Response {
        if let Ec2Fault::App(error, _) = &self {
            log_failure(error);
        }
        let (word, status) = self.code().word_and_status();
        let status = match self {
            Ec2Fault::Refused(Refusal::BodyTooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Ec2Fault::Refused(Refusal::Method) => StatusCode::METHOD_NOT_ALLOWED,
            _ => status,
        };
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{word}</Code><Message>{}</Message></Error></Errors><RequestID>{}</RequestID></Response>",
            escape(&self.message()),
            id.uuid()
        );
        let mut response = (status, body).into_response();
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/xml;charset=UTF-8"),
        );
        response
    }
}

/// The code of a use case's error: what EC2 answers in the same case.
fn code_of_error(error: &Error, status: Option<VolumeStatus>) -> Code {
    match error.kind {
        ErrorKind::NotFound => match error.subject {
            Subject::Volume => Code::InvalidVolumeNotFound,
            Subject::Zone => Code::InvalidZoneNotFound,
            Subject::Flavor => Code::UnknownVolumeType,
            Subject::Snapshot => Code::InvalidSnapshotNotFound,
            Subject::Request
            | Subject::Backend
            | Subject::Attachment
            | Subject::Metadata
            | Subject::Identity
            | Subject::Operation
            | Subject::Database
            | Subject::Message => Code::InvalidParameterValue,
        },
        ErrorKind::Conflict => match error.subject {
            // Only a client token conflicts with the request as such.
            Subject::Request => Code::IdempotentParameterMismatch,
            Subject::Volume
            | Subject::Flavor
            | Subject::Backend
            | Subject::Attachment
            | Subject::Zone
            | Subject::Snapshot
            | Subject::Metadata
            | Subject::Identity
            | Subject::Operation
            | Subject::Database
            | Subject::Message => match status {
                Some(
                    VolumeStatus::Reserved
                    | VolumeStatus::Attaching
                    | VolumeStatus::InUse
                    | VolumeStatus::Detaching,
                ) => Code::VolumeInUse,
                Some(
                    VolumeStatus::Creating
                    | VolumeStatus::Available
                    | VolumeStatus::Extending
                    | VolumeStatus::Reverting
                    | VolumeStatus::Deleting
                    | VolumeStatus::Error
                    | VolumeStatus::ErrorDeleting
                    | VolumeStatus::Managing
                    | VolumeStatus::Unmanaging
                    | VolumeStatus::ErrorManaging
                    | VolumeStatus::AwaitingTransfer
                    | VolumeStatus::Maintenance
                    | VolumeStatus::Retyping
                    | VolumeStatus::ErrorExtending
                    | VolumeStatus::BackingUp
                    | VolumeStatus::ErrorBackingUp
                    | VolumeStatus::RestoringBackup
                    | VolumeStatus::ErrorRestoring
                    | VolumeStatus::Downloading
                    | VolumeStatus::Uploading,
                )
                | None => Code::IncorrectState,
            },
        },
        ErrorKind::Invalid => match error.subject {
            Subject::Zone => Code::InvalidZoneNotFound,
            Subject::Request
            | Subject::Volume
            | Subject::Flavor
            | Subject::Backend
            | Subject::Attachment
            | Subject::Snapshot
            | Subject::Metadata
            | Subject::Identity
            | Subject::Operation
            | Subject::Database
            | Subject::Message => Code::InvalidParameterValue,
        },
        ErrorKind::Unauthenticated => Code::AuthFailure,
        ErrorKind::Forbidden => Code::UnauthorizedOperation,
        ErrorKind::QuotaExceeded => match error.subject {
            Subject::Snapshot => Code::SnapshotLimitExceeded,
            Subject::Request
            | Subject::Volume
            | Subject::Flavor
            | Subject::Backend
            | Subject::Attachment
            | Subject::Zone
            | Subject::Metadata
            | Subject::Identity
            | Subject::Operation
            | Subject::Database
            | Subject::Message => Code::VolumeLimitExceeded,
        },
        ErrorKind::NoCapacity => Code::InsufficientVolumeCapacity,
        ErrorKind::Busy | ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::NotSupported => Code::UnsupportedOperation,
        ErrorKind::Internal => Code::InternalError,
    }
}

/// The status of a document that is no fault.
pub(super) const OK: StatusCode = StatusCode::OK;
