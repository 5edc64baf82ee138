//! Volume actions about what a volume is: bootable, read-only, of another type, image metadata, and the refusal of what needs an image service.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::json;

use super::fault::{Fault, Result, success};
use super::route::Call;
use super::volumes::volume_id;
use crate::app::retype::{self, MigrationPolicy};
use crate::app::{volume_flags, volumes};
use crate::error::Subject;

pub(super) async fn set_bootable(call: Call) -> Result<Response> {
    let id = volume_id(&call.id)?;
    let fields = call.fields();
    let bootable = fields
        .boolean("bootable")?
        .ok_or_else(|| fields.missing("bootable"))?;
    let context = &call.caller.context;
    volume_flags::set_bootable(&call.service, context, id, bootable).await?;
    Ok(StatusCode::default().into_response())
}

pub(super) async fn set_read_only(call: Call) -> Result<Response> {
    let id = volume_id(&call.id)?;
    let fields = call.fields();
    let read_only = fields
        .boolean("readonly")?
        .ok_or_else(|| fields.missing("readonly"))?;
    let context = &call.caller.context;
    volume_flags::set_read_only(&call.service, context, id, read_only).await?;
    Ok(success::ACCEPTED.into_response())
}

pub(super) async fn retype(call: Call) -> Result<Response> {
    let id = volume_id(&call.id)?;
    let fields = call.fields();
    let flavor = fields.required_text("new_type")?;
    let policy = match fields.text("migration_policy")? {
        Some("on-demand") => MigrationPolicy::OnDemand,
        _ => MigrationPolicy::Never,
    };
    let context = &call.caller.context;
    retype::retype(&call.service, context, id, flavor, policy).await?;
    Ok(success::ACCEPTED.into_response())
}

pub(super) async fn set_image_metadata(call: Call) -> Result<Response> {
    let id = volume_id(&call.id)?;
    let fields = call.fields();
    let metadata = fields.metadata("metadata")?.unwrap_or_default();
    let context = &call.caller.context;
    let all = volume_flags::merge_image_metadata(&call.service, context, id, metadata);
    Ok(Json(json!({ "metadata": all.await? })).into_response())
}

pub(super) async fn unset_image_metadata(call: Call) -> Result<Response> {
    let id = volume_id(&call.id)?;
    let fields = call.fields();
    let key = fields.required_text("key")?;
    let context = &call.caller.context;
    let done = volume_flags::remove_image_metadata(&call.service, context, id, key).await;
    match done {
        Ok(()) => Ok(StatusCode::default().into_response()),
        Err(error) if error.subject == Subject::Metadata => {
            Err(Fault::NoImageMetadata(id.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn show_image_metadata(call: Call) -> Result<Response> {
    let id = volume_id(&call.id)?;
    let volume = volumes::get(&call.service, &call.caller.context, id).await?;
    let metadata = &volume.traits.image_metadata;
    Ok(Json(json!({ "metadata": metadata })).into_response())
}

/// There is no image service to take it.
pub(super) async fn upload_image(call: Call) -> Result<Response> {
    let id = volume_id(&call.id)?;
    volumes::get(&call.service, &call.caller.context, id).await?;
    Err(Fault::BadRequest(
        "Connection to glance failed: no image service is configured.".to_owned(),
    ))
}

/// There is no image to be found (3.68).
pub(super) async fn reimage(call: Call) -> Result<Response> {
    let id = volume_id(&call.id)?;
    let fields = call.fields();
    let image = fields
        .uuid("image_id")?
        .ok_or_else(|| fields.missing("image_id"))?;
    volumes::get(&call.service, &call.caller.context, id).await?;
    Err(Fault::NoImage(image.to_string()))
}
