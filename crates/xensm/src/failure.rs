//! What a command says when it fails: what, on which object, why, and what to type next.

use std::fmt;
use std::process::ExitCode;

use volume_service::{Error, ErrorKind};

/// Exit codes by kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It was tried and failed.
    Failed = 1,
    /// The command line or the configuration is wrong, or (as `nova-manage` always did) the thing does not exist.
    Usage = 2,
    /// What was named does not exist.
    NotFound = 3,
    /// The thing is in a state that does not allow it.
    Conflict = 4,
    /// A part that is needed does not answer.
    Unavailable = 5,
}

/// A command's failure.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What was attempted and what went wrong.
    pub message: String,
    /// Causes, outermost first, one line each.
    pub causes: Vec<String>,
    /// What to do next.
    pub hints: Vec<String>,
}

/// The result of a command.
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// Makes a failure.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Failure {
            exit,
            message: message.into(),
            causes: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// Something was attempted and failed for this cause.
    pub fn failed(message: impl Into<String>, cause: &(dyn std::error::Error + 'static)) -> Self {
        let mut failure = Failure::new(Exit::Failed, message);
        let mut next = Some(cause);
        while let Some(cause) = next {
            failure.causes.push(cause.to_string());
            next = cause.source();
        }
        failure
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.exit as u8)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match error.kind {
            ErrorKind::NotFound => Exit::NotFound,
            ErrorKind::Conflict | ErrorKind::Busy => Exit::Conflict,
            ErrorKind::Invalid | ErrorKind::NotSupported => Exit::Usage,
            ErrorKind::Unavailable | ErrorKind::NoCapacity => Exit::Unavailable,
            ErrorKind::Unauthenticated
            | ErrorKind::Forbidden
            | ErrorKind::QuotaExceeded
            | ErrorKind::Internal => Exit::Failed,
        };
        let mut failure = Failure::new(exit, error.public.clone());
        if !error.detail.is_empty() {
            failure.causes.push(error.detail.clone());
        }
        let mut next = std::error::Error::source(&error);
        while let Some(cause) = next {
            let text = cause.to_string();
            // Some errors tell the one behind them in their own words.
            let is_told = failure
                .causes
                .last()
                .is_some_and(|told| told.ends_with(&text));
            if !is_told {
                failure.causes.push(text);
            }
            next = cause.source();
        }
        failure
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        for cause in &self.causes {
            write!(f, "\n  because: {cause}")?;
        }
        for hint in &self.hints {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}
