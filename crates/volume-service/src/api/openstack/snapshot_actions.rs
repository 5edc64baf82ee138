//! Snapshot actions: forced deletion, and the refusal of those that set a state by hand.

use axum::response::{IntoResponse, Response};
use axum::routing::on;

use super::fault::{Result, success};
use super::route::{Action, Call, Route, act};
use super::snapshots::snapshot_id;
use crate::app::snapshots;
use crate::app::snapshots::DeleteMode;
use crate::auth::rule::Rule;

pub(super) const ROUTES: &[Route] =
    &[Route::post("/snapshots/{id}/action", |verb| on(verb, act)).actions(ACTIONS)];

/// A snapshot's state follows its operation, and no VDI is adopted or let go of.
const ACTIONS: &[Action] = &[
    Action::new(
        "os-force_delete",
        Rule::SnapshotAdminActionsForceDelete,
        |call| Box::pin(force_delete(call)),
    ),
    Action::refused(
        "os-reset_status",
        Rule::SnapshotAdminActionsResetStatus,
        |call| Box::pin(unbuilt(call)),
    ),
    Action::refused(
        "os-update_snapshot_status",
        Rule::SnapshotActionsUpdateSnapshotStatus,
        |call| Box::pin(unbuilt(call)),
    ),
    Action::refused("os-unmanage", Rule::SnapshotUnmanage, |call| {
        Box::pin(unbuilt(call))
    }),
];

async fn force_delete(call: Call) -> Result<Response> {
    let id = snapshot_id(&call.id)?;
    snapshots::delete(&call.service, &call.caller.context, id, DeleteMode::Force).await?;
    Ok(success::ACCEPTED.into_response())
}

async fn unbuilt(call: Call) -> Result<Response> {
    let id = snapshot_id(&call.id)?;
    snapshots::get(&call.service, &call.caller.context, id).await?;
    Err(call.not_supported("snapshot"))
}
