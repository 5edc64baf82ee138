//! Volume actions: what they are, and the refusal of what is not built.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};

use super::attach_actions::Call;
use super::body::{Fields, JsonBody};
use super::caller::Caller;
use super::fault::{Fault, Result, success};
use super::volumes::volume_id;
use crate::app::volumes::DeleteMode;
use crate::app::{Service, volumes};

/// Actions of Cinder's that are known and not built.
const UNBUILT: [&str; 20] = [
    "os-begin_detaching",
    "os-roll_detaching",
    "os-extend",
    "os-extend_volume_completion",
    "os-retype",
    "os-reset_status",
    "os-set_bootable",
    "os-update_readonly_flag",
    "os-volume_upload_image",
    "os-reimage",
    "os-migrate_volume",
    "os-migrate_volume_completion",
    "os-force_detach",
    "os-unmanage",
    "os-promote-replica",
    "os-reenable-replica",
    "os-set_image_metadata",
    "os-unset_image_metadata",
    "os-show_image_metadata",
    "revert",
];

/// `POST /volumes/{id}/action`
pub(super) async fn act(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Response> {
    let top = Fields::top(&body);
    let (action, _) = top.single()?;
    let volume = volume_id(&id)?;
    let call = Call {
        service,
        caller,
        volume,
    };
    match action {
        "os-reserve" => call.reserve().await,
        "os-unreserve" => call.unreserve().await,
        "os-initialize_connection" => call.initialize_connection(top.object(action)?).await,
        "os-terminate_connection" => call.terminate_connection().await,
        "os-attach" => call.attach(top.object(action)?).await,
        "os-detach" => call.detach(top.value(action)).await,
        "os-force_delete" => {
            let Call {
                service, caller, ..
            } = &call;
            volumes::delete(service, &caller.context, volume, DeleteMode::Force).await?;
            Ok(success::ACCEPTED.into_response())
        }
        _ if UNBUILT.contains(&action) => {
            volumes::get(&call.service, &call.caller.context, volume).await?;
            Err(Fault::not_supported(&format!("The volume action {action}")))
        }
        _ => Err(Fault::NoSuchAction(action.chars().take(64).collect())),
    }
}
