//! Snapshot actions: forced deletion, and the refusal of those that set a state by hand.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};

use super::body::{Fields, JsonBody};
use super::caller::Caller;
use super::fault::{Fault, Result, success};
use super::snapshots::snapshot_id;
use crate::app::snapshots::DeleteMode;
use crate::app::{Service, snapshots};

/// Actions of Cinder's that are known and not built: a snapshot's state follows its operation, and no VDI is adopted or
/// let go of.
const UNBUILT: [&str; 3] = [
    "os-reset_status",
    "os-update_snapshot_status",
    "os-unmanage",
];

/// `POST /snapshots/{id}/action`
pub(super) async fn act(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Response> {
    let (action, _) = Fields::top(&body).single()?;
    let id = snapshot_id(&id)?;
    match action {
        "os-force_delete" => {
            snapshots::delete(&service, &caller.context, id, DeleteMode::Force).await?;
            Ok(success::ACCEPTED.into_response())
        }
        _ if UNBUILT.contains(&action) => {
            snapshots::get(&service, &caller.context, id).await?;
            Err(Fault::not_supported(&format!(
                "The snapshot action {action}"
            )))
        }
        _ => Err(Fault::NoSuchAction(action.chars().take(64).collect())),
    }
}
