//! Errors as EC2 clients read them. The only file of this API that knows status codes.
//!
//! Source of the codes: the EC2 API reference, "Error codes"; the sentences are in `words.rs`.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use super::super::openstack::fault::log_failure;
use super::super::request::{Refusal, RequestId};
use super::words;
use super::xml::escape;
use crate::error::{Error, ErrorKind, Subject};
use crate::model::volume::VolumeStatus;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $word:literal, $status:ident;)*) => {
        /// EC2's error codes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(in crate::api) enum Code {
            $($(#[$doc])* $variant,)*
        }

        impl Code {
            /// All of them, in the order of their words.
            pub(super) const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// The word in the answer, and the HTTP status that goes with it.
            pub(super) fn word_and_status(self) -> (&'static str, StatusCode) {
                match self {
                    $(Code::$variant => ($word, StatusCode::$status),)*
                }
            }
        }
    };
}

codes! {
    /// More volumes than an instance takes.
    AttachmentLimitExceeded = "AttachmentLimitExceeded", BAD_REQUEST;
    /// Who asks is not known.
    AuthFailure = "AuthFailure", UNAUTHORIZED;
    /// More snapshots of a volume at a time than may be.
    ConcurrentSnapshotLimitExceeded = "ConcurrentSnapshotLimitExceeded", BAD_REQUEST;
    /// The conversion is over.
    DeleteConversionTaskError = "DeleteConversionTaskError", BAD_REQUEST;
    /// An image is larger than what it is for.
    DiskImageSizeTooLarge = "DiskImageSizeTooLarge", BAD_REQUEST;
    /// A dry run would have succeeded.
    DryRunOperation = "DryRunOperation", PRECONDITION_FAILED;
    /// More filters, or values of one, than may be.
    FilterLimitExceeded = "FilterLimitExceeded", BAD_REQUEST;
    /// A client token was used before with other parameters.
    IdempotentParameterMismatch = "IdempotentParameterMismatch", BAD_REQUEST;
    /// What is to be imported cannot be read.
    InaccessibleStorageLocation = "InaccessibleStorageLocation", BAD_REQUEST;
    /// The signature lacks a part.
    IncompleteSignature = "IncompleteSignature", BAD_REQUEST;
    /// The instance is in a state that does not allow the request.
    IncorrectInstanceState = "IncorrectInstanceState", BAD_REQUEST;
    /// The volume is being modified already.
    IncorrectModificationState = "IncorrectModificationState", BAD_REQUEST;
    /// The thing is in a state that does not allow the request.
    IncorrectState = "IncorrectState", BAD_REQUEST;
    /// No backend can take it.
    InsufficientVolumeCapacity = "InsufficientVolumeCapacity", SERVICE_UNAVAILABLE;
    /// A fault of ours.
    InternalError = "InternalError", INTERNAL_SERVER_ERROR;
    /// An account or group that a snapshot cannot be shared with.
    InvalidAmiAttributeItemValue = "InvalidAMIAttributeItemValue", BAD_REQUEST;
    /// The action is not built.
    InvalidAction = "InvalidAction", BAD_REQUEST;
    /// The volume is not attached there.
    InvalidAttachmentNotFound = "InvalidAttachment.NotFound", BAD_REQUEST;
    /// A block device mapping is wrong.
    InvalidBlockDeviceMapping = "InvalidBlockDeviceMapping", BAD_REQUEST;
    /// The conversion does not exist.
    InvalidConversionTaskId = "InvalidConversionTaskId", BAD_REQUEST;
    /// The conversion's id is not written as one.
    InvalidConversionTaskIdMalformed = "InvalidConversionTaskId.Malformed", BAD_REQUEST;
    /// The image's format is none that is taken.
    InvalidFormat = "InvalidFormat", BAD_REQUEST;
    /// The id is none of a thing that has tags.
    InvalidId = "InvalidID", BAD_REQUEST;
    /// The instance has nothing of which this could be said.
    InvalidInstanceAttributeValue = "InvalidInstanceAttributeValue", BAD_REQUEST;
    /// The instance's id is not written as one.
    InvalidInstanceIdMalformed = "InvalidInstanceID.Malformed", BAD_REQUEST;
    /// The instance does not exist.
    InvalidInstanceIdNotFound = "InvalidInstanceID.NotFound", BAD_REQUEST;
    /// The instance type does not exist.
    InvalidInstanceType = "InvalidInstanceType", BAD_REQUEST;
    /// The manifest of an import is wrong.
    InvalidManifest = "InvalidManifest", BAD_REQUEST;
    /// Parameters that exclude each other.
    InvalidParameterCombination = "InvalidParameterCombination", BAD_REQUEST;
    /// A parameter that needs another one.
    InvalidParameterDependency = "InvalidParameterDependency", BAD_REQUEST;
    /// A parameter's value is wrong.
    InvalidParameterValue = "InvalidParameterValue", BAD_REQUEST;
    /// The region does not exist.
    InvalidRegion = "InvalidRegion", BAD_REQUEST;
    /// The request as a whole is not understood.
    InvalidRequest = "InvalidRequest", BAD_REQUEST;
    /// The snapshot is being used.
    InvalidSnapshotInUse = "InvalidSnapshot.InUse", BAD_REQUEST;
    /// The snapshot does not exist.
    InvalidSnapshotNotFound = "InvalidSnapshot.NotFound", BAD_REQUEST;
    /// The snapshot's id is not written as one.
    InvalidSnapshotIdMalformed = "InvalidSnapshotID.Malformed", BAD_REQUEST;
    /// A tag has no key.
    InvalidTagKeyMalformed = "InvalidTagKey.Malformed", BAD_REQUEST;
    /// The account is not written as one.
    InvalidUserIdMalformed = "InvalidUserID.Malformed", BAD_REQUEST;
    /// The volume does not exist.
    InvalidVolumeNotFound = "InvalidVolume.NotFound", BAD_REQUEST;
    /// The volume lies in another zone than the instance.
    InvalidVolumeZoneMismatch = "InvalidVolume.ZoneMismatch", BAD_REQUEST;
    /// The volume's id is not written as one.
    InvalidVolumeIdMalformed = "InvalidVolumeID.Malformed", BAD_REQUEST;
    /// The volume has not been modified.
    InvalidVolumeModificationNotFound = "InvalidVolumeModification.NotFound", BAD_REQUEST;
    /// The zone does not exist.
    InvalidZoneNotFound = "InvalidZone.NotFound", BAD_REQUEST;
    /// The query or form is not well formed.
    MalformedQueryString = "MalformedQueryString", BAD_REQUEST;
    /// More operations a second than may be.
    MaxIopsLimitExceeded = "MaxIOPSLimitExceeded", BAD_REQUEST;
    /// The request names no action.
    MissingAction = "MissingAction", BAD_REQUEST;
    /// The request is not signed.
    MissingAuthenticationToken = "MissingAuthenticationToken", FORBIDDEN;
    /// A parameter is missing.
    MissingParameter = "MissingParameter", BAD_REQUEST;
    /// The API never had this version.
    NoSuchVersion = "NoSuchVersion", BAD_REQUEST;
    /// What is asked for is not allowed of this thing.
    OperationNotPermitted = "OperationNotPermitted", BAD_REQUEST;
    /// More snapshots are being taken than may be.
    PendingSnapshotLimitExceeded = "PendingSnapshotLimitExceeded", BAD_REQUEST;
    /// The request came too late, or its clock is wrong.
    RequestExpired = "RequestExpired", BAD_REQUEST;
    /// Too many requests.
    RequestLimitExceeded = "RequestLimitExceeded", SERVICE_UNAVAILABLE;
    /// More things of a kind than may be.
    ResourceLimitExceeded = "ResourceLimitExceeded", BAD_REQUEST;
    /// The service as a whole does not answer.
    ServiceUnavailable = "ServiceUnavailable", SERVICE_UNAVAILABLE;
    /// The signature is wrong.
    SignatureDoesNotMatch = "SignatureDoesNotMatch", FORBIDDEN;
    /// A quota of snapshots would be exceeded.
    SnapshotLimitExceeded = "SnapshotLimitExceeded", BAD_REQUEST;
    /// More tags than a thing may have.
    TagLimitExceeded = "TagLimitExceeded", BAD_REQUEST;
    /// Who asks may not do this.
    UnauthorizedOperation = "UnauthorizedOperation", FORBIDDEN;
    /// A part that is needed does not answer.
    Unavailable = "Unavailable", SERVICE_UNAVAILABLE;
    /// The parameter is not known.
    UnknownParameter = "UnknownParameter", BAD_REQUEST;
    /// The volume type does not exist.
    UnknownVolumeType = "UnknownVolumeType", BAD_REQUEST;
    /// EC2 has it and this service does not.
    UnsupportedOperation = "UnsupportedOperation", BAD_REQUEST;
    /// The volume is attached.
    VolumeInUse = "VolumeInUse", BAD_REQUEST;
    /// A quota would be exceeded.
    VolumeLimitExceeded = "VolumeLimitExceeded", BAD_REQUEST;
    /// The volume was modified too often.
    VolumeModificationRateExceeded = "VolumeModificationRateExceeded", BAD_REQUEST;
    /// A quota would be exceeded by a modification.
    VolumeModificationSizeLimitExceeded = "VolumeModificationSizeLimitExceeded", BAD_REQUEST;
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
    pub(in crate::api) fn code(&self) -> Code {
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

    /// What the client reads.
    pub(in crate::api) fn message(&self) -> String {
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
            (ErrorKind::NotFound, Subject::Instance) => words::no_instance(object),
            (ErrorKind::NotFound | ErrorKind::Invalid, Subject::Zone) => {
                format!("The zone '{object}' does not exist.")
            }
            (ErrorKind::NotFound, Subject::Flavor) => {
                format!("The volume type '{object}' does not exist.")
            }
            (ErrorKind::Internal, _) => "An internal error has occurred".to_owned(),
            (ErrorKind::Unauthenticated, _) => words::CREDENTIALS.to_owned(),
            (ErrorKind::Forbidden, _) => words::UNAUTHORIZED.to_owned(),
            _ => error.public.clone(),
        }
    }

    /// The answer.
    pub(super) fn response(self, id: &RequestId) -> Response {
        self.worded(|word, message| {
            format!(
                "<Response><Errors><Error><Code>{word}</Code><Message>{message}</Message></Error></Errors><RequestID>{}</RequestID></Response>",
                id.uuid()
            )
        })
    }

    /// The answer, with a document that is made of the code and the message; this is escaped.
    pub(super) fn worded(self, document: impl FnOnce(&str, &str) -> String) -> Response {
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
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}",
            document(word, &escape(&self.message()))
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
            Subject::Instance => Code::InvalidInstanceIdNotFound,
            Subject::Request
            | Subject::SnapshotLock
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
            Subject::SnapshotLock => Code::OperationNotPermitted,
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
            | Subject::Message
            | Subject::Instance => match status {
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
            | Subject::SnapshotLock
            | Subject::Volume
            | Subject::Flavor
            | Subject::Backend
            | Subject::Attachment
            | Subject::Snapshot
            | Subject::Metadata
            | Subject::Identity
            | Subject::Operation
            | Subject::Database
            | Subject::Message
            | Subject::Instance => Code::InvalidParameterValue,
        },
        ErrorKind::Unauthenticated => Code::AuthFailure,
        ErrorKind::Forbidden => Code::UnauthorizedOperation,
        ErrorKind::QuotaExceeded => match error.subject {
            Subject::Snapshot => Code::SnapshotLimitExceeded,
            Subject::Metadata => Code::TagLimitExceeded,
            Subject::Request
            | Subject::SnapshotLock
            | Subject::Volume
            | Subject::Flavor
            | Subject::Backend
            | Subject::Attachment
            | Subject::Zone
            | Subject::Identity
            | Subject::Operation
            | Subject::Database
            | Subject::Message
            | Subject::Instance => Code::VolumeLimitExceeded,
        },
        ErrorKind::NoCapacity => Code::InsufficientVolumeCapacity,
        ErrorKind::Busy | ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::NotSupported => Code::UnsupportedOperation,
        ErrorKind::Internal => Code::InternalError,
    }
}

/// The status of a document that is no fault.
pub(super) const OK: StatusCode = StatusCode::OK;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_has_a_word_of_its_own() {
        let words: BTreeSet<&str> = Code::ALL
            .iter()
            .map(|code| code.word_and_status().0)
            .collect();
        assert_eq!(words.len(), Code::ALL.len());
        for word in words {
            let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '.';
            assert!(word.chars().all(plain), "{word}");
        }
    }
}
