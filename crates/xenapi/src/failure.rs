//! What a XenAPI call answers when it fails.

use std::fmt;

/// An error of the API: a code and its parameters, in the order that the code defines.
///
/// Source: XenAPI `ErrorDescription`; the codes are listed in the reference of each class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The code, for example `VDI_IN_USE`.
    pub code: String,
    /// The parameters of the code.
    pub params: Vec<String>,
}

impl Failure {
    /// Makes a failure from its code and parameters.
    pub fn new<I, S>(code: &str, params: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        Failure {
            code: code.to_owned(),
            params: params.into_iter().map(Into::into).collect(),
        }
    }

    /// A failure of an SR's driver: `SR_BACKEND_FAILURE_<number>` with an empty first parameter, the message with its
    /// detail, and the document (probe XML) that the driver wrote.
    pub fn backend(number: u16, message: &str, detail: &str, document: &str) -> Self {
        let text = if detail.is_empty() {
            message.to_owned()
        } else {
            format!("{message} [opterr={detail}]")
        };
        Failure::new(
            &format!("SR_BACKEND_FAILURE_{number}"),
            ["".to_owned(), text, document.to_owned()],
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.code, self.params.join(", "))
    }
}

impl std::error::Error for Failure {}
