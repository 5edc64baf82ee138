//! Who says what a token is worth, when it is not the built-in identity.

use std::pin::Pin;

use crate::app::identity::Token;
use crate::config::Secret;
use crate::error::Result;

/// A future that may be sent.
pub type TokenFuture<'a> = Pin<Box<dyn Future<Output = Result<Token>> + Send + 'a>>;

/// Whether a token must not have expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lateness {
    /// It must be good now.
    Refused,
    /// It may have expired a while ago: a service finishes what its user began.
    Allowed,
}

/// Tells what a token is worth.
pub trait TokenSource: Send + Sync {
    /// What the token says.
    ///
    /// # Errors
    /// `Unauthenticated` for one that is not good, `Unavailable` when that cannot be found out.
    fn validate<'a>(&'a self, token: &'a Secret, late: Lateness) -> TokenFuture<'a>;

    /// The token of whoever signed a request with an EC2 key; the request is described as OpenStack's `ec2tokens` wants it.
    ///
    /// # Errors
    /// As `validate`.
    fn validate_signed(&self, described: serde_json::Value) -> TokenFuture<'_>;

    /// The role names whose bearers are services.
    fn service_roles(&self) -> &[String];
}
