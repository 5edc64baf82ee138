//! The one error of this crate.

use std::fmt;

/// What a caller can do about an error; the only thing that APIs translate into status codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request names something that does not exist, or that this project may not see.
    NotFound,
    /// The thing is in a state that does not allow the request.
    Conflict,
    /// The request itself is wrong.
    Invalid,
    /// Who asks is not known: no, wrong or expired credentials.
    Unauthenticated,
    /// Who asks may not do this.
    Forbidden,
    /// A quota or stated limit would be exceeded.
    QuotaExceeded,
    /// No backend can take it.
    NoCapacity,
    /// Somebody else is at it; the same request may succeed later.
    Busy,
    /// A part that is needed does not answer.
    Unavailable,
    /// The request asks for something that is not built.
    NotSupported,
    /// A bug or damaged state of ours.
    Internal,
}

/// What an error is about, so that both APIs can word it as their model does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// Nothing in particular.
    Request,
    /// A volume.
    Volume,
    /// A flavor.
    Flavor,
    /// A backend.
    Backend,
    /// An attachment.
    Attachment,
    /// An availability zone.
    Zone,
    /// A snapshot.
    Snapshot,
    /// The lock of a snapshot.
    SnapshotLock,
    /// A metadata key.
    Metadata,
    /// A project, user or credential.
    Identity,
    /// An operation.
    Operation,
    /// The database.
    Database,
    /// A user message.
    Message,
    /// An instance.
    Instance,
}

/// An error with a text for the tenant and one for the operator.
pub struct Error {
    /// What a caller can do about it.
    pub kind: ErrorKind,
    /// What it is about.
    pub subject: Subject,
    /// The id or name of the subject, empty when there is none.
    pub object: String,
    /// A sentence that is safe for a tenant to read.
    pub public: String,
    /// What the operator needs beside it; may be empty.
    pub detail: String,
    /// The cause.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of nearly everything here.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Makes an error of a kind with the sentence for the tenant.
    pub fn new(kind: ErrorKind, subject: Subject, public: impl Into<String>) -> Self {
        Error {
            kind,
            subject,
            object: String::new(),
            public: public.into(),
            detail: String::new(),
            source: None,
        }
    }

    /// The subject with this id or name does not exist, or not for this project.
    pub fn not_found(subject: Subject, object: impl fmt::Display) -> Self {
        let object = object.to_string();
        let what = format!("{subject:?}").to_lowercase();
        Error::new(
            ErrorKind::NotFound,
            subject,
            format!("{what} {object} could not be found."),
        )
        .on(object)
    }

    /// The request is wrong.
    pub fn invalid(public: impl Into<String>) -> Self {
        Error::new(ErrorKind::Invalid, Subject::Request, public)
    }

    /// Names the object.
    #[must_use]
    pub fn on(mut self, object: impl Into<String>) -> Self {
        self.object = object.into();
        self
    }

    /// Adds what only the operator may read.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn caused_by(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// True when the same call may succeed later without anybody changing anything.
    pub fn is_retriable(&self) -> bool {
        matches!(self.kind, ErrorKind::Busy | ErrorKind::Unavailable)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.detail.strip_prefix(self.public.as_str()) {
            // A detail that was made of an error with the same words for users says them itself.
            Some(_) if !self.public.is_empty() => f.write_str(&self.detail),
            _ if self.detail.is_empty() => f.write_str(&self.public),
            _ => write!(f, "{} ({})", self.public, self.detail),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|cause| cause as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_users_and_operators_read_alike_is_told_once() {
        let inner =
            Error::new(ErrorKind::NotSupported, Subject::Backend, "it cannot").detail("why");
        let outer = Error::new(ErrorKind::NotSupported, Subject::Backend, "it cannot")
            .detail(inner.to_string());
        assert_eq!(outer.to_string(), "it cannot (why)");
        let bare = Error::invalid("The request is wrong.");
        assert_eq!(bare.to_string(), "The request is wrong.");
    }
}
