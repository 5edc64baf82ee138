//! Snapshot actions: forced deletion, and states set by hand or by who takes snapshots elsewhere.

use axum::response::{IntoResponse, Response};
use axum::routing::on;

use super::admin_actions::not_among;
use super::fault::{Fault, Result, success};
use super::route::{Action, Call, Route, act};
use super::schema::{NAME, TEXT, closed, field, required};
use super::snapshots::snapshot_id;
use crate::app::snapshots::DeleteMode;
use crate::app::{adoption, reset_status, snapshots};
use crate::auth::rule::Rule;
use crate::model::snapshot::SnapshotStatus;

pub(super) const ROUTES: &[Route] =
    &[Route::post("/snapshots/{id}/action", |verb| on(verb, act)).actions(ACTIONS)];

const ACTIONS: &[Action] = &[
    Action::new(
        "os-force_delete",
        Rule::SnapshotAdminActionsForceDelete,
        |call| Box::pin(force_delete(call)),
    ),
    Action::new(
        "os-reset_status",
        Rule::SnapshotAdminActionsResetStatus,
        |call| Box::pin(reset(call)),
    )
    .body(&closed(&[required("status", TEXT)])),
    Action::new(
        "os-update_snapshot_status",
        Rule::SnapshotActionsUpdateSnapshotStatus,
        |call| Box::pin(update(call)),
    )
    .body(&closed(&[
        required("status", TEXT),
        field("progress", NAME),
    ])),
    Action::new("os-unmanage", Rule::SnapshotUnmanage, |call| {
        Box::pin(unmanage(call))
    }),
];

async fn force_delete(call: Call) -> Result<Response> {
    let id = snapshot_id(&call.id)?;
    snapshots::delete(&call.service, &call.caller.context, id, DeleteMode::Force).await?;
    Ok(success::ACCEPTED.into_response())
}

/// `os-reset_status`
async fn reset(call: Call) -> Result<Response> {
    let id = snapshot_id(&call.id)?;
    let word = call.fields().required_text("status")?.to_lowercase();
    let known = STATUSES.into_iter().find(|status| status.as_str() == word);
    let words = STATUSES.iter().map(|status| status.as_str());
    let status = known.ok_or_else(|| not_among("Snapshot status", &word, words))?;
    reset_status::snapshot(&call.service, &call.caller.context, id, status).await?;
    Ok(success::ACCEPTED.into_response())
}

/// `os-update_snapshot_status`
async fn update(call: Call) -> Result<Response> {
    let id = snapshot_id(&call.id)?;
    let fields = call.fields();
    let status = fields.required_text("status")?;
    let progress = progress(fields.text("progress")?)?;
    let context = &call.caller.context;
    reset_status::update_snapshot(&call.service, context, id, status, progress).await?;
    Ok(success::ACCEPTED.into_response())
}

/// The snapshot goes, its VDI stays.
async fn unmanage(call: Call) -> Result<Response> {
    let id = snapshot_id(&call.id)?;
    adoption::unmanage_snapshot(&call.service, &call.caller.context, id).await?;
    Ok(success::ACCEPTED.into_response())
}

/// The states that may be set by hand, in Cinder's order.
const STATUSES: [SnapshotStatus; 10] = [
    SnapshotStatus::Error,
    SnapshotStatus::Available,
    SnapshotStatus::Creating,
    SnapshotStatus::Deleting,
    SnapshotStatus::Deleted,
    SnapshotStatus::Updating,
    SnapshotStatus::ErrorDeleting,
    SnapshotStatus::Unmanaging,
    SnapshotStatus::BackingUp,
    SnapshotStatus::Restoring,
];

/// `80%`; empty counts as absent.
fn progress(text: Option<&str>) -> Result<Option<String>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let refused = |why: &str| {
        Err(Fault::BadRequest(format!(
            "Invalid input received: progress must be an integer percentage{why}"
        )))
    };
    match text.strip_suffix('%').map(str::parse::<i64>) {
        Some(Ok(0..=100)) => Ok(Some(text.to_owned())),
        Some(Ok(_)) | None => refused(" between 0 and 100"),
        Some(Err(_)) => refused(""),
    }
}
