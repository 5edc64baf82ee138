//! Who may: Keystone's defaults.

use crate::context::RequestContext;
use crate::error::{Error, ErrorKind, Result, Subject};

/// What Keystone says to somebody who may not do something.
pub fn forbidden(action: &str) -> Error {
    Error::new(
        ErrorKind::Forbidden,
        Subject::Identity,
        format!("You are not authorized to perform the requested action: {action}."),
    )
}

/// Administrators only.
///
/// # Errors
/// `Forbidden`, naming the action.
pub fn admin(request: &RequestContext, action: &str) -> Result<()> {
    if request.is_admin() {
        return Ok(());
    }
    Err(forbidden(action))
}

/// The user itself, or an administrator.
///
/// # Errors
/// `Forbidden`, naming the action.
pub fn own_or_admin(request: &RequestContext, user_id: &str, action: &str) -> Result<()> {
    if request.user_id == user_id {
        return Ok(());
    }
    admin(request, action)
}
