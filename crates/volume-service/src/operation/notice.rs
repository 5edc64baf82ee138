//! Messages that tell a project why an operation failed.

use super::definition::StepTransaction;
use crate::app::messages::Message;
use crate::db::{messages, volumes};
use crate::error::Result;
use crate::model::id::VolumeId;

/// How long a message is kept, in microseconds: 30 days, as OpenStack's are.
const LIFETIME_US: i64 = 30 * 24 * 3600 * 1_000_000;

/// An action and a detail of OpenStack's message catalogue.
pub(super) struct Event {
    action: &'static str,
    detail: &'static str,
}

/// Scheduling a volume failed: no backend could be found.
pub(super) const NO_BACKEND: Event = Event {
    action: "001",
    detail: "003",
};
/// Attaching a volume failed.
pub(super) const NOT_ATTACHED: Event = Event {
    action: "002",
    detail: "001",
};

/// Tells the volume's project what happened to it.
pub(super) fn volume_failed(
    at: &mut StepTransaction<'_, '_>,
    id: VolumeId,
    event: Event,
    text: &str,
) -> Result<()> {
    let Some(volume) = volumes::find(at.transaction, id)? else {
        return Ok(());
    };
    let now_us = at.context.now_us();
    let message = Message {
        id: at.context.new_uuid(),
        project_id: volume.project_id,
        request_id: at.operation.request_id.clone(),
        resource_type: "VOLUME".to_owned(),
        resource_id: id.to_string(),
        action_id: event.action.to_owned(),
        detail_id: event.detail.to_owned(),
        text: text.to_owned(),
        created_at_us: now_us,
        expires_at_us: now_us.saturating_add(LIFETIME_US),
    };
    messages::insert(at.transaction, &message)
}
