//! The mark that compute services set before they let go of a volume, so that nobody else begins to.
//!
//! It is the volume's state alone: the attachment is what it was. Detaching ends it; so does taking it back, and the next pass of
//! the reconciler of operations, which gives every volume the state that its attachments imply. A caller that dies in
//! between leaves nothing to be reset by hand.

use super::volumes::{locked, visible};
use super::{Service, policy};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::volumes;
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::id::VolumeId;
use crate::model::volume::VolumeStatus;

/// Sets the mark: the volume goes from `in-use` to `detaching`.
///
/// # Errors
/// `Conflict` when it is not in use.
pub async fn begin(service: &Service, request: &RequestContext, id: VolumeId) -> Result<()> {
    let tenancy = policy::tenancy_of(request, Rule::VolumeActionsBeginDetaching);
    let now_us = service.context.now_us();
    service
        .database
        .write(move |tx| {
            visible(tx, &tenancy, id)?;
            let (from, to) = (VolumeStatus::InUse, VolumeStatus::Detaching);
            if volumes::change_status(tx, id, &[from], to, now_us)? {
                return Ok(());
            }
            Err(Error::new(
                ErrorKind::Conflict,
                Subject::Volume,
                "Invalid volume: Unable to detach volume. Volume status must be 'in-use' and attach_status must be 'attached' \
                 to detach.",
            )
            .on(id.to_string()))
        })
        .await
}

/// Takes the mark back; without one nothing happens.
pub async fn roll_back(service: &Service, request: &RequestContext, id: VolumeId) -> Result<()> {
    let tenancy = policy::tenancy_of(request, Rule::VolumeActionsRollDetaching);
    let now_us = service.context.now_us();
    service
        .database
        .write(move |tx| {
            if locked(tx, &tenancy, id)?.status == VolumeStatus::Detaching {
                volumes::settle(tx, id, now_us)?;
            }
            Ok(())
        })
        .await
}
