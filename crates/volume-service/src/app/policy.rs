//! Who may do what. Roles imply one another: an administrator is a member, a member is a reader.

use crate::context::RequestContext;
use crate::error::{Error, ErrorKind, Result, Subject};

/// Reading one's own project.
pub(super) fn may_read(request: &RequestContext) -> Result<()> {
    if request.has_role("reader") || request.has_role("member") || request.is_admin() {
        return Ok(());
    }
    Err(forbidden("read", "reader, member or admin"))
}

/// Changing one's own project.
pub(super) fn may_write(request: &RequestContext) -> Result<()> {
    if request.has_role("member") || request.is_admin() {
        return Ok(());
    }
    Err(forbidden("change", "member or admin"))
}

/// What belongs to the whole installation.
pub(super) fn is_admin(request: &RequestContext) -> Result<()> {
    if request.is_admin() {
        return Ok(());
    }
    Err(forbidden("administer", "admin"))
}

/// The only project whose objects the requester may touch; none for an administrator, who may touch all.
pub(super) fn tenancy(request: &RequestContext) -> Option<String> {
    (!request.is_admin()).then(|| request.project_id.clone())
}

/// True when an object of `project_id` exists for a requester of this tenancy.
pub(super) fn is_visible(tenancy: &Option<String>, project_id: &str) -> bool {
    tenancy.as_deref().is_none_or(|own| own == project_id)
}

fn forbidden(what: &str, role: &str) -> Error {
    Error::new(
        ErrorKind::Forbidden,
        Subject::Request,
        "You are not authorized to perform the requested action.",
    )
    .detail(format!("to {what}, a role is needed: {role}"))
}
