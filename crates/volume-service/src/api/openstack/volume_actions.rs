//! Volume actions: what they are, and the refusal of what is not built.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};

use super::attach_actions::Call;
use super::body::{Fields, JsonBody};
use super::caller::Caller;
use super::fault::{Fault, Result, success};
use super::volumes::volume_id;
use crate::app::snapshots::InUse;
use crate::app::volumes::DeleteMode;
use crate::app::{Service, volumes};
use crate::error::{ErrorKind, Subject};

/// Actions of Cinder's that are known and not built.
const UNBUILT: [&str; 16] = [
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
        "os-begin_detaching" => call.begin_detaching().await,
        "os-roll_detaching" => call.roll_detaching().await,
        "os-extend" => extend(&call, top.object(action)?).await,
        "revert" if call.caller.version.at_least(40) => revert(&call, top.object(action)?).await,
        _ if UNBUILT.contains(&action) => {
            volumes::get(&call.service, &call.caller.context, volume).await?;
            Err(Fault::not_supported(&format!("The volume action {action}")))
        }
        _ => Err(Fault::NoSuchAction(action.chars().take(64).collect())),
    }
}

/// Up to 3.41 only a volume that is attached nowhere can grow.
async fn extend(call: &Call, fields: Fields<'_>) -> Result<Response> {
    fields.only(&["new_size"])?;
    let size_gib = fields
        .size("new_size")?
        .ok_or_else(|| fields.missing("new_size"))?;
    let in_use = if call.caller.version.at_least(42) {
        InUse::Allow
    } else {
        InUse::Refuse
    };
    volumes::extend(
        &call.service,
        &call.caller.context,
        call.volume,
        size_gib,
        in_use,
    )
    .await?;
    Ok(success::ACCEPTED.into_response())
}

/// To the latest snapshot (3.40). What is wrong with the choice of the snapshot is a 400, a state that forbids it a 409.
async fn revert(call: &Call, fields: Fields<'_>) -> Result<Response> {
    let named = fields.text("snapshot_id")?;
    let not_the_latest = || {
        Fault::BadRequest(format!(
            "Specified snapshot {} is None or not the latest one of volume {}.",
            named.unwrap_or("None"),
            call.volume
        ))
    };
    let Some(snapshot) = named.and_then(|text| text.parse().ok()) else {
        volumes::get(&call.service, &call.caller.context, call.volume).await?;
        return Err(not_the_latest());
    };
    volumes::revert(&call.service, &call.caller.context, call.volume, snapshot)
        .await
        .map_err(|error| match (error.kind, error.subject) {
            (ErrorKind::Conflict, _) => Fault::Conflict(error),
            (ErrorKind::NotFound, Subject::Snapshot) => not_the_latest(),
            _ => error.into(),
        })?;
    Ok(success::ACCEPTED.into_response())
}
