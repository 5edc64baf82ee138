//! Messages that tell a project why an operation failed.

use super::definition::StepTransaction;
use crate::app::messages::{LIFETIME_US, Message};
use crate::db::{messages, snapshots, volumes};
use crate::error::Result;
use crate::model::id::{SnapshotId, VolumeId};

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
    detail: "021",
};
/// Detaching a volume failed.
pub(super) const NOT_DETACHED: Event = Event {
    action: "002",
    detail: "022",
};
/// Removing a volume failed; the catalogue has no word for it.
pub(super) const NOT_REMOVED: Event = Event {
    action: "008",
    detail: "001",
};

/// Extending a volume failed in the driver.
pub(super) const NOT_EXTENDED: Event = Event {
    action: "007",
    detail: "010",
};
/// Making a volume's content on the backend failed; the catalogue has no word for a revert.
pub(super) const NOT_REVERTED: Event = Event {
    action: "008",
    detail: "001",
};
/// Taking a snapshot failed.
pub(super) const NOT_TAKEN: Event = Event {
    action: "009",
    detail: "013",
};
/// Deleting a snapshot failed.
pub(super) const NOT_DELETED: Event = Event {
    action: "010",
    detail: "016",
};

/// Adopting a VDI failed in the driver; the catalogue names only volumes.
pub(super) const NOT_MANAGED: Event = Event {
    action: "008",
    detail: "001",
};
/// Letting go of a VDI failed.
pub(super) const NOT_UNMANAGED: Event = Event {
    action: "006",
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
    let project_id = volume.project_id;
    tell(at, project_id, ("VOLUME", id.to_string()), event, text)
}

/// Tells the snapshot's project what happened to it.
pub(super) fn snapshot_failed(
    at: &mut StepTransaction<'_, '_>,
    id: SnapshotId,
    event: Event,
    text: &str,
) -> Result<()> {
    let Some(snapshot) = snapshots::find(at.transaction, id)? else {
        return Ok(());
    };
    let resource = ("VOLUME_SNAPSHOT", id.to_string());
    tell(at, snapshot.project_id, resource, event, text)
}

fn tell(
    at: &mut StepTransaction<'_, '_>,
    project_id: String,
    (resource_type, resource_id): (&str, String),
    event: Event,
    text: &str,
) -> Result<()> {
    let now_us = at.context.now_us();
    let message = Message {
        id: at.context.new_uuid(),
        project_id,
        request_id: at.operation.request_id.clone(),
        resource_type: resource_type.to_owned(),
        resource_id,
        action_id: event.action.to_owned(),
        detail_id: event.detail.to_owned(),
        text: text.to_owned(),
        created_at_us: now_us,
        expires_at_us: now_us.saturating_add(LIFETIME_US),
    };
    messages::insert(at.transaction, &message)
}
