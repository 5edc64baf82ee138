//! Why a call did not give its result, and whether it may have been executed.

use crate::failure::code;
use crate::{Failure, wire};

/// An error of the client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The pool refused the call.
    #[error("{method}: {failure}")]
    Api {
        /// The method.
        method: String,
        /// What the pool answered; a session in it is left out.
        failure: Failure,
    },
    /// The connection could not be made, or broke.
    #[error("{method} at {endpoint}: connection failed {}", sent.words())]
    Transport {
        /// The method.
        method: String,
        /// Where it was called.
        endpoint: String,
        /// Whether the call may have reached the pool.
        sent: Sent,
        /// What the connection reported.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There was no answer in time.
    #[error("{method} at {endpoint}: no answer within {deadline_ms} ms; the deadline passed {}", sent.words())]
    Deadline {
        /// The method.
        method: String,
        /// Where it was called.
        endpoint: String,
        /// The time that the call had.
        deadline_ms: u128,
        /// Whether the call may have reached the pool.
        sent: Sent,
    },
    /// The answer is longer than the client takes.
    #[error("{method}: the answer is over the limit of {limit} bytes")]
    TooLarge {
        /// The method.
        method: String,
        /// The limit.
        limit: usize,
    },
    /// The answer is no XML-RPC.
    #[error("{method}: the answer cannot be read")]
    Protocol {
        /// The method.
        method: String,
        /// What is wrong with it.
        source: wire::Error,
    },
    /// The answer is a fault of the protocol.
    #[error("{method}: fault {code}: {message}")]
    Fault {
        /// The method.
        method: String,
        /// The code.
        code: i64,
        /// The text.
        message: String,
    },
    /// The answer has another HTTP status than 200.
    #[error("{method}: the pool answered HTTP status {status}")]
    HttpStatus {
        /// The method.
        method: String,
        /// The status.
        status: u16,
    },
    /// The result has another type than the method's.
    #[error("{method}: the result is not a {expected}")]
    UnexpectedResult {
        /// The method.
        method: String,
        /// The type that it should have.
        expected: &'static str,
    },
    /// A parameter cannot be sent.
    #[error("{method}: a parameter cannot be sent")]
    Parameter {
        /// The method.
        method: String,
        /// Why.
        source: wire::Error,
    },
    /// The client could not log in, so the call was not made.
    #[error("{method}: not called, because logging in failed")]
    Login {
        /// The method.
        method: String,
        /// Why.
        source: Box<Error>,
    },
    /// The hosts of the pool name each other as master.
    #[error("more than {limit} redirects to the master of the pool, the last to {address}")]
    TooManyRedirects {
        /// The limit.
        limit: usize,
        /// The last address.
        address: String,
    },
    /// The address of the master is none that can be called from here.
    #[error("cannot follow the redirect from {endpoint} to {address:?}")]
    Redirect {
        /// Who redirected.
        endpoint: String,
        /// To where.
        address: String,
    },
    /// A task has not ended in time. It goes on.
    #[error("task {task} has not ended within {deadline_ms} ms")]
    TaskPending {
        /// The task.
        task: String,
        /// The time that it had.
        deadline_ms: u128,
    },
    /// The URL of an endpoint cannot be used.
    #[error("endpoint {url:?}: expected {expected}")]
    Endpoint {
        /// The URL.
        url: String,
        /// What it should be.
        expected: &'static str,
    },
    /// An HTTPS endpoint without anything to know its certificate by.
    #[error("{endpoint}: name the CA file or the fingerprint of its certificate")]
    TrustMissing {
        /// The endpoint.
        endpoint: String,
    },
    /// The file with the certificates of authorities cannot be used.
    #[error("CA file {path}: expected PEM certificates")]
    CaFile {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it; nothing when it holds no certificate.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// A fingerprint is not 64 hexadecimal digits.
    #[error(
        "fingerprint {text:?}: expected the SHA-256 of the certificate as 64 hexadecimal digits"
    )]
    Fingerprint {
        /// The fingerprint.
        text: String,
    },
    /// TLS cannot be set up.
    #[error("set up TLS")]
    Tls(#[source] rustls::Error),
}

/// Whether a call may have reached the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Not a byte of its body was given to a connection.
    No,
    /// Some or all of it was.
    Maybe,
}

impl Sent {
    fn words(self) -> &'static str {
        match self {
            Sent::No => "before the call was sent",
            Sent::Maybe => "after the call was sent, so its outcome is unknown",
        }
    }
}

/// What became of a call that gave an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The pool never got it.
    NotSent,
    /// The pool answered that it failed.
    Refused,
    /// The pool may have executed it: look before doing it again.
    Unknown,
}

impl Error {
    /// Tells what became of the call.
    pub fn outcome(&self) -> Outcome {
        match self {
            Error::Api { .. } | Error::Fault { .. } => Outcome::Refused,
            Error::HttpStatus { status, .. } if (400..500).contains(status) => Outcome::Refused,
            Error::Transport { sent, .. } | Error::Deadline { sent, .. } => match sent {
                Sent::No => Outcome::NotSent,
                Sent::Maybe => Outcome::Unknown,
            },
            Error::HttpStatus { .. }
            | Error::TooLarge { .. }
            | Error::Protocol { .. }
            | Error::UnexpectedResult { .. }
            | Error::TaskPending { .. } => Outcome::Unknown,
            Error::Parameter { .. }
            | Error::Login { .. }
            | Error::TooManyRedirects { .. }
            | Error::Redirect { .. }
            | Error::Endpoint { .. }
            | Error::TrustMissing { .. }
            | Error::CaFile { .. }
            | Error::Fingerprint { .. }
            | Error::Tls(_) => Outcome::NotSent,
        }
    }

    /// Tells whether the same call may succeed later without anybody changing anything.
    ///
    /// It does not say that repeating is safe: for that the outcome must not be [`Outcome::Unknown`], or the call must
    /// be one that can be made twice.
    pub fn is_retriable(&self) -> bool {
        match self {
            Error::Api { failure, .. } => matches!(
                failure.code.as_str(),
                code::TOO_BUSY
                    | code::TOO_MANY_PENDING_TASKS
                    | code::OTHER_OPERATION_IN_PROGRESS
                    | code::SESSION_INVALID
                    | code::EVENTS_LOST
                    | code::HOST_IS_SLAVE
                    | code::HOST_OFFLINE
                    | code::CANNOT_CONTACT_HOST
            ),
            Error::Transport { .. } | Error::Deadline { .. } | Error::TaskPending { .. } => true,
            Error::HttpStatus { status, .. } => *status >= 500,
            Error::Login { source, .. } => source.is_retriable(),
            Error::TooManyRedirects { .. } | Error::Redirect { .. } => true,
            _ => false,
        }
    }

    /// The failure that the pool answered, if it did.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Error::Api { failure, .. } => Some(failure),
            _ => None,
        }
    }

    /// Tells whether the pool answered a failure of the code.
    pub fn is(&self, code: &str) -> bool {
        self.failure().is_some_and(|failure| failure.is(code))
    }
}
