//! Whose word ends an attachment that an instance uses.
//!
//! A compute service must hear of the end first: a volume that is taken from under an instance leaves a device behind on the
//! host (CVE-2023-2088). Where a Keystone is, a compute service may be, and its token is asked for, as Cinder does. Cinder asks
//! Nova whether the instance is there still; we have no Nova to ask, and believe what the attachment says. With the built-in
//! identity there is none, and whoever may attach may detach: `docs/decisions/2026-11-22-ends-of-attachments.md`.

use crate::app::Service;
use crate::context::RequestContext;
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::attachment::Attachment;
use crate::model::id::AttachmentId;

/// Whether only services end what instances use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guard {
    is_up: bool,
}

impl Guard {
    /// What holds for a requester.
    pub(super) fn of(service: &Service, request: &RequestContext) -> Self {
        Guard {
            is_up: service.token_source.is_some() && !request.is_service,
        }
    }

    /// Refuses the end of what is connected to an instance.
    pub(super) fn check(self, attachment: &Attachment) -> Result<()> {
        match &attachment.instance_id {
            Some(instance) if self.is_up && attachment.is_connected() => Err(refused(instance)),
            _ => Ok(()),
        }
    }

    /// The same where a volume's attachments are ended: the named one, or the only one. Where that is not one, none is.
    pub(super) fn check_of_volume(
        self,
        held: &[Attachment],
        named: Option<AttachmentId>,
    ) -> Result<()> {
        let meant = match (named, held) {
            (None, []) => return Ok(()),
            (None, [only]) => Some(only),
            (None, _) => None,
            (Some(id), _) => held.iter().find(|attachment| attachment.id == id),
        };
        match meant {
            Some(attachment) => self.check(attachment),
            None if self.is_up => Err(refused("")),
            None => Ok(()),
        }
    }
}

/// Refuses, before anything is done, to end what only a service ends: the named one of a volume's attachments, or the only one.
///
/// # Errors
/// `Conflict`, in Cinder's words, which send the user to the compute service.
pub fn check_end(
    service: &Service,
    request: &RequestContext,
    held: &[Attachment],
    named: Option<AttachmentId>,
) -> Result<()> {
    Guard::of(service, request).check_of_volume(held, named)
}

fn refused(instance: &str) -> Error {
    let text = format!("Detach volume from instance {instance} using the Compute API");
    Error::new(ErrorKind::Conflict, Subject::Request, text)
}
