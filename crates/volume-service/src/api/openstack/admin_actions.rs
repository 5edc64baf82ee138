//! Volume actions of administrators: states set by hand, forced detaching, and the refusal of migration.

use axum::response::{IntoResponse, Response};

use super::body::Fields;
use super::fault::{Fault, Result, success};
use super::route::Call;
use super::volumes::volume_id;
use crate::app::reset_status::{self, AttachStatus, ResetVolume};
use crate::app::{adoption, attachments, backends, volumes};
use crate::model::id::{AttachmentId, VolumeId};
use crate::model::volume::{Volume, VolumeStatus};

/// The states that may be set by hand, in Cinder's order.
const STATUSES: [VolumeStatus; 22] = [
    VolumeStatus::Creating,
    VolumeStatus::Available,
    VolumeStatus::Deleting,
    VolumeStatus::Error,
    VolumeStatus::ErrorDeleting,
    VolumeStatus::ErrorManaging,
    VolumeStatus::Managing,
    VolumeStatus::Attaching,
    VolumeStatus::InUse,
    VolumeStatus::Detaching,
    VolumeStatus::Maintenance,
    VolumeStatus::RestoringBackup,
    VolumeStatus::ErrorRestoring,
    VolumeStatus::Reserved,
    VolumeStatus::AwaitingTransfer,
    VolumeStatus::BackingUp,
    VolumeStatus::ErrorBackingUp,
    VolumeStatus::ErrorExtending,
    VolumeStatus::Downloading,
    VolumeStatus::Uploading,
    VolumeStatus::Retyping,
    VolumeStatus::Extending,
];

/// What may be said of a migration.
const MIGRATION_STATUSES: [&str; 6] = [
    "migrating",
    "error",
    "success",
    "completing",
    "none",
    "starting",
];

/// The text of a field, in small letters; empty counts as absent.
fn word(fields: &Fields<'_>, key: &str) -> Result<Option<String>> {
    let text = fields.text(key)?.filter(|text| !text.is_empty());
    Ok(text.map(str::to_lowercase))
}

/// A word that is none of those that are known, in Cinder's sentence.
pub(super) fn not_among<'a>(
    what: &str,
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Fault {
    let known: Vec<String> = known.into_iter().map(|word| format!("'{word}'")).collect();
    let word: String = word.chars().take(64).collect();
    Fault::BadRequest(format!(
        "{what}: {word} is invalid, valid statuses are: ({}).",
        known.join(", ")
    ))
}

/// Reads the body of `os-reset_status`.
pub(super) fn wanted_reset(fields: &Fields<'_>) -> Result<ResetVolume> {
    let mut wanted = ResetVolume::default();
    if let Some(word) = word(fields, "status")? {
        let known = STATUSES.into_iter().find(|status| status.as_str() == word);
        let words = STATUSES.iter().map(|status| status.as_str());
        wanted.status = Some(known.ok_or_else(|| not_among("Volume status", &word, words))?);
    }
    if let Some(word) = word(fields, "attach_status")? {
        wanted.attach_status = Some(match word.as_str() {
            "attached" => AttachStatus::Attached,
            "detached" => AttachStatus::Detached,
            _ => {
                let words = ["attached", "detached"];
                return Err(not_among("Volume attach status", &word, words));
            }
        });
    }
    if let Some(word) = word(fields, "migration_status")? {
        if !MIGRATION_STATUSES.contains(&word.as_str()) {
            let what = "Volume migration status";
            return Err(not_among(what, &word, MIGRATION_STATUSES));
        }
        wanted.migration_status = Some((word != "none").then_some(word));
    }
    if wanted == ResetVolume::default() {
        return Err(Fault::BadRequest(
            "Must specify 'status', 'attach_status' or 'migration_status' for update.".to_owned(),
        ));
    }
    Ok(wanted)
}

async fn target(call: &Call, id: VolumeId) -> Result<Volume> {
    Ok(volumes::get(&call.service, &call.caller.context, id).await?)
}

pub(super) async fn reset_status(call: Call) -> Result<Response> {
    let id = volume_id(&call.id)?;
    let fields = call.fields();
    let wanted = wanted_reset(&fields)?;
    let context = &call.caller.context;
    reset_status::volume(&call.service, context, id, wanted).await?;
    Ok(success::ACCEPTED.into_response())
}

pub(super) async fn force_detach(call: Call) -> Result<Response> {
    let id = volume_id(&call.id)?;
    let fields = call.fields();
    let named = fields.text("attachment_id")?;
    let attachment: Option<AttachmentId> = named.and_then(|text| text.parse().ok());
    if let Some(named) = named
        && attachment.is_none()
    {
        target(&call, id).await?;
        let named: String = named.chars().take(64).collect();
        return Err(Fault::BadRequest(format!(
            "Error force detaching volume: Volume attachment could not be found with filter: attachment_id = {named}."
        )));
    }
    let context = &call.caller.context;
    attachments::force_detach(&call.service, context, id, attachment).await?;
    Ok(success::ACCEPTED.into_response())
}

/// Between backends nothing is moved yet: a place that is not there, or the volume's own, is refused as Cinder does, any other
/// in words of its own.
pub(super) async fn migrate(call: Call) -> Result<Response> {
    let id = volume_id(&call.id)?;
    let fields = call.fields();
    let (host, cluster) = (fields.text("host")?, fields.text("cluster")?);
    let volume = target(&call, id).await?;
    let given = |text: Option<&str>| text.is_some_and(|text| !text.is_empty());
    if given(host) == given(cluster) {
        return Err(Fault::BadRequest(if call.caller.version.at_least(16) {
            "Invalid input received: One and only one of cluster and host must be set.".to_owned()
        } else {
            "Invalid input received: Host field is missing.".to_owned()
        }));
    }
    let place = host.filter(|host| !host.is_empty()).or(cluster);
    let place: String = place.unwrap_or_default().chars().take(255).collect();
    let known = backends::list(&call.service, &call.caller.context, None).await?;
    let target = known.iter().find(|backend| {
        let pool = super::volume_view::pool_name(&backend.zone, backend.id);
        host == Some(pool.as_str())
    });
    match target {
        None => Err(Fault::BadRequest(format!(
            "Invalid host: No available service named '{place}'"
        ))),
        Some(target) if volume.backend_id == Some(target.id) => Err(Fault::BadRequest(format!(
            "Invalid volume: Volume {} status must be available or in-use, must not be migrating, have snapshots, be \
             replicated, be part of a group and destination host/cluster must be different than the current one",
            volume.id
        ))),
        Some(_) => Err(Fault::BadRequest(format!(
            "Invalid host: Volumes cannot be moved to '{place}': migration between backends is not supported by this \
             service."
        ))),
    }
}

pub(super) async fn migrate_completion(call: Call) -> Result<Response> {
    let id = volume_id(&call.id)?;
    let fields = call.fields();
    let new = fields
        .uuid("new_volume")?
        .ok_or_else(|| fields.missing("new_volume"))?;
    target(&call, id).await?;
    let context = &call.caller.context;
    volumes::get(&call.service, context, VolumeId(new)).await?;
    Err(Fault::BadRequest(
        "Invalid volume: Source volume not mid-migration.".to_owned(),
    ))
}

/// An extension ends by itself here: no compute service has anything to say in it.
pub(super) async fn extend_completion(call: Call) -> Result<Response> {
    let id = volume_id(&call.id)?;
    let volume = target(&call, id).await?;
    Err(Fault::BadRequest(
        match volume.status {
            VolumeStatus::Extending => {
                "Invalid volume: Required volume admin metadata is malformed or missing."
            }
            _ => "Invalid volume: Volume is not being extended.",
        }
        .to_owned(),
    ))
}

/// The volume goes, its VDI stays.
pub(super) async fn unmanage(call: Call) -> Result<Response> {
    let id = volume_id(&call.id)?;
    adoption::unmanage_volume(&call.service, &call.caller.context, id).await?;
    Ok(success::ACCEPTED.into_response())
}
