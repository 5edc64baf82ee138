//! Why the array refuses a request.

use std::fmt;

/// A refusal, with the code that REST shows (a string there) and the HTTP status that goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// The HTTP status.
    pub status: u16,
    /// The code of the REST API.
    pub code: u32,
    /// What the array says.
    pub message: String,
    /// The field that is to blame.
    pub target: Option<&'static str>,
}

impl ApiError {
    /// A request that is wrong in itself.
    pub fn bad(code: u32, message: impl Into<String>) -> Self {
        Self::new(400, code, message)
    }

    /// Something that is not there.
    pub fn missing(code: u32, message: impl Into<String>) -> Self {
        Self::new(404, code, message)
    }

    /// Something that stands in the way.
    pub fn conflict(code: u32, message: impl Into<String>) -> Self {
        Self::new(409, code, message)
    }

    /// What the array could not do.
    pub fn failed(code: u32, message: impl Into<String>) -> Self {
        Self::new(500, code, message)
    }

    /// The entry of a collection that does not exist (code 4).
    pub fn no_entry(what: &str) -> Self {
        Self::missing(4, format!("entry doesn't exist: {what}"))
    }

    /// What an account may not do (code 6).
    pub fn forbidden() -> Self {
        Self::new(403, 6, "not authorized for that command")
    }

    /// Names the field that is to blame.
    pub fn at(mut self, target: &'static str) -> Self {
        self.target = Some(target);
        self
    }

    fn new(status: u16, code: u32, message: impl Into<String>) -> Self {
        ApiError {
            status,
            code,
            message: message.into(),
            target: None,
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for ApiError {}
