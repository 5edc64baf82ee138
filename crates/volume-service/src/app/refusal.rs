//! Messages for requests that were refused: who asked finds the reason afterwards, as for operations that failed.
//!
//! A refusal is told once a minute for each project, thing and reason, so that a client that asks again and again fills no table.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::Service;
use super::messages::{LIFETIME_US, Message};
use crate::context::RequestContext;
use crate::db::messages;
use crate::error::{Error, ErrorKind, Result, Subject};

/// How long the same refusal is not told again, in microseconds.
const SILENCE_US: i64 = 60 * 1_000_000;
/// Refusals that are remembered at most; while there are more, none is told.
const REMEMBERED_MAX: usize = 4096;

/// The refusals that were told lately.
#[derive(Default)]
pub(crate) struct Refusals(Mutex<HashMap<Told, i64>>);

/// Project, thing, action and detail.
type Told = (String, String, &'static str, &'static str);

/// What was asked for, in OpenStack's catalogue of messages.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// `VOLUME` or `VOLUME_SNAPSHOT`.
    pub(super) resource_type: &'static str,
    /// What the message is filed under.
    pub(super) resource_id: String,
    /// The number of the action.
    pub(super) action: &'static str,
    /// True when the id is that of a thing that was not made, and so another one each time.
    pub(super) is_new: bool,
}

impl Asked {
    /// To make a volume that would have had this id.
    pub(super) fn new_volume(id: impl ToString) -> Self {
        Asked {
            resource_type: "VOLUME",
            resource_id: id.to_string(),
            action: "001",
            is_new: true,
        }
    }

    /// To extend a volume.
    pub(super) fn extension(id: impl ToString) -> Self {
        Asked {
            resource_type: "VOLUME",
            resource_id: id.to_string(),
            action: "007",
            is_new: false,
        }
    }

    /// To attach a volume.
    pub(super) fn attachment(volume_id: impl ToString) -> Self {
        Asked {
            resource_type: "VOLUME",
            resource_id: volume_id.to_string(),
            action: "002",
            is_new: false,
        }
    }

    /// To give a volume another flavor, or to another project; the catalogue has no words for that.
    pub(super) fn allocation(volume_id: impl ToString) -> Self {
        Asked {
            resource_type: "VOLUME",
            resource_id: volume_id.to_string(),
            action: "001",
            is_new: false,
        }
    }

    /// To take a snapshot of a volume.
    pub(super) fn snapshot(volume_id: impl ToString) -> Self {
        Asked {
            resource_type: "VOLUME",
            resource_id: volume_id.to_string(),
            action: "009",
            is_new: false,
        }
    }
}

/// Passes a result on, and files a message when it is a refusal that the project should find.
pub(super) async fn told<T>(
    service: &Service,
    request: &RequestContext,
    asked: Asked,
    result: Result<T>,
) -> Result<T> {
    if let Err(error) = &result
        && let Some(detail) = detail(error)
    {
        tell(service, request, asked, detail, error).await;
    }
    result
}

/// The detail number of a refusal; none for what is the request's own fault, or ours.
fn detail(error: &Error) -> Option<&'static str> {
    match error.kind {
        ErrorKind::QuotaExceeded => Some("006"),
        ErrorKind::NoCapacity => Some("003"),
        ErrorKind::Conflict => {
            let is_state = matches!(error.subject, Subject::Volume | Subject::Snapshot);
            is_state.then_some("027")
        }
        ErrorKind::NotFound
        | ErrorKind::Invalid
        | ErrorKind::Unauthenticated
        | ErrorKind::Forbidden
        | ErrorKind::Busy
        | ErrorKind::Unavailable
        | ErrorKind::NotSupported
        | ErrorKind::Internal => None,
    }
}

async fn tell(
    service: &Service,
    request: &RequestContext,
    asked: Asked,
    detail: &'static str,
    error: &Error,
) {
    let now_us = service.context.now_us();
    let thing = if asked.is_new {
        String::new()
    } else {
        asked.resource_id.clone()
    };
    let told = (request.project_id.clone(), thing, asked.action, detail);
    if request.project_id.is_empty() || !service.refusals.is_first(told, now_us) {
        return;
    }
    let message = Message {
        id: service.context.new_uuid(),
        project_id: request.project_id.clone(),
        request_id: request.request_id.clone(),
        resource_type: asked.resource_type.to_owned(),
        resource_id: asked.resource_id,
        action_id: asked.action.to_owned(),
        detail_id: detail.to_owned(),
        text: error.public.clone(),
        created_at_us: now_us,
        expires_at_us: now_us.saturating_add(LIFETIME_US),
    };
    let written = service
        .database
        .write(move |tx| messages::insert(tx, &message));
    if let Err(cause) = written.await {
        // The refusal itself is what the client needs to hear.
        tracing::warn!("a refusal was not filed as a message: {cause}");
    }
}

impl Refusals {
    /// True for a refusal that was not told within the last minute; it counts as told from now on.
    fn is_first(&self, told: Told, now_us: i64) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= REMEMBERED_MAX {
            seen.retain(|_, at_us| now_us - *at_us < SILENCE_US);
        }
        if seen.len() >= REMEMBERED_MAX {
            return false;
        }
        match seen.get_mut(&told) {
            Some(at_us) if now_us - *at_us < SILENCE_US => false,
            Some(at_us) => {
                *at_us = now_us;
                true
            }
            None => {
                seen.insert(told, now_us);
                true
            }
        }
    }
}
