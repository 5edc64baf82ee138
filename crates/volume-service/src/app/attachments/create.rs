//! Claims: a volume is reserved for a consumer, and connected at once where it said who it is.

use serde_json::Value;

use super::connect::connected;
use super::work::{insert_operation, new_operation};
use crate::app::refusal::{self, Asked};
use crate::app::volumes::locked;
use crate::app::{Service, limits, policy};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::{Transaction, attachments, volumes};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::attachment::{AttachMode, Attachment, AttachmentStatus};
use crate::model::id::{AttachmentId, OperationId, VolumeId};
use crate::model::operation::OperationKind;
use crate::model::volume::{Volume, VolumeStatus};

/// Reserves the volume and, with a connector, connects it and waits (up to the stated limit) for the connection info.
///
/// # Errors
/// `Conflict` for a volume that is not to be had, or is connected already.
pub async fn create(
    service: &Service,
    request: &RequestContext,
    wanted: CreateAttachment,
) -> Result<Attachment> {
    check(&wanted)?;
    let asked = Asked::attachment(wanted.volume_id);
    let connects = wanted.connector.is_some();
    let reserved = reserve(service, request, wanted).await;
    let (attachment, operation) = refusal::told(service, request, asked, reserved).await?;
    if !connects {
        return Ok(attachment);
    }
    connected(service, attachment.id, operation).await
}

/// Writes the claim, and the operation that connects it where it says by whom.
async fn reserve(
    service: &Service,
    request: &RequestContext,
    wanted: CreateAttachment,
) -> Result<(Attachment, OperationId)> {
    let tenancy = policy::tenancy_of(request, Rule::VolumeAttachmentCreate);
    let now_us = service.context.now_us();
    let operation = new_operation(
        &service.context,
        request,
        OperationKind::AttachVolume,
        now_us,
    );
    let mut attachment = Attachment {
        id: AttachmentId(service.context.new_uuid()),
        volume_id: wanted.volume_id,
        project_id: String::new(),
        instance_id: wanted.instance_id,
        host_name: wanted.connector.as_ref().and_then(host_name),
        mountpoint: wanted.mountpoint,
        status: AttachmentStatus::Reserved,
        mode: wanted.mode,
        connector: wanted.connector.clone().unwrap_or_else(nothing),
        connection_info: nothing(),
        failure: String::new(),
        attached_at_us: None,
        detached_at_us: None,
        created_at_us: now_us,
        delete_on_termination: false,
    };
    let connects = wanted.connector.is_some();
    if connects {
        attachment.status = AttachmentStatus::Attaching;
    }
    let operation_id = operation.id;
    service
        .database
        .write(move |tx| {
            let volume = locked(tx, &tenancy, wanted.volume_id)?;
            if volume.traits.read_only == Some(true) {
                attachment.mode = AttachMode::ReadOnly;
            }
            check_claim(tx, &volume, &attachment)?;
            if connects {
                refuse_second(tx, &volume, &attachment)?;
            }
            attachment.project_id.clone_from(&volume.project_id);
            attachments::insert(tx, &attachment)?;
            if connects {
                insert_operation(tx, &operation, attachment.id, &volume.zone, now_us)?;
            }
            volumes::settle(tx, volume.id, now_us)?;
            Ok((attachment.clone(), operation_id))
        })
        .await
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct CreateAttachment {
    /// The volume.
    pub volume_id: VolumeId,
    /// The instance that will use it.
    pub instance_id: Option<String>,
    /// Given: connect at once. Absent: only reserve.
    pub connector: Option<Value>,
    /// Whether the consumer writes.
    pub mode: AttachMode,
    /// The device name in the consumer.
    pub mountpoint: Option<String>,
}

fn check(wanted: &CreateAttachment) -> Result<()> {
    if let Some(connector) = &wanted.connector {
        check_connector(connector)?;
    }
    if let Some(instance_id) = &wanted.instance_id {
        limits::check_name("instance id", instance_id)?;
    }
    if let Some(mountpoint) = &wanted.mountpoint {
        limits::check_text("mountpoint", mountpoint)?;
    }
    Ok(())
}

pub(super) fn check_connector(connector: &Value) -> Result<()> {
    if !connector.is_object() {
        return Err(Error::invalid("The connector must be a JSON object."));
    }
    let length = connector.to_string().len();
    if length > limits::CONNECTOR_MAX_BYTES {
        return Err(Error::invalid(format!(
            "The connector has {length} bytes, more than {}.",
            limits::CONNECTOR_MAX_BYTES
        )));
    }
    for key in ["host", "mountpoint"] {
        if let Some(text) = connector.get(key).and_then(Value::as_str) {
            limits::check_text(key, text)?;
        }
    }
    Ok(())
}

pub(super) fn host_name(connector: &Value) -> Option<String> {
    connector.get("host")?.as_str().map(str::to_owned)
}

fn nothing() -> Value {
    Value::Object(serde_json::Map::new())
}

/// Several attachments of one volume are allowed if all of them read; and, as compute services claim a volume again for an instance
/// that they move, if they are one instance's, of which one at a time is connected.
fn check_claim(tx: &mut Transaction<'_>, volume: &Volume, wanted: &Attachment) -> Result<()> {
    let others = attachments::of_volume(tx, volume.id)?;
    let is_same_instance = others
        .iter()
        .any(|other| wanted.instance_id.is_some() && other.instance_id == wanted.instance_id);
    let status = volume.status.as_str();
    let text = match volume.status {
        VolumeStatus::Available => None,
        VolumeStatus::Reserved | VolumeStatus::InUse if is_same_instance => None,
        VolumeStatus::Reserved | VolumeStatus::Attaching | VolumeStatus::InUse
            if !others.is_empty() && all_read(&others, wanted) =>
        {
            None
        }
        _ if status.contains("error") => Some(format!(
            "Invalid volume: Volume attachments can not be created if the volume is in an error state. The Volume {} currently \
             has a status of: {status}",
            volume.id
        )),
        _ => Some(format!(
            "Invalid volume: Volume {} status must be available to reserve (or all its attachments read-only), but the current \
             status is {status}.",
            volume.id
        )),
    };
    if let Some(text) = text {
        return Err(
            Error::new(ErrorKind::Conflict, Subject::Volume, text).on(volume.id.to_string())
        );
    }
    if others.len() >= limits::ATTACHMENTS_PER_VOLUME_MAX {
        return Err(Error::new(
            ErrorKind::QuotaExceeded,
            Subject::Attachment,
            format!(
                "Volume {} has {} attachments, which is the most.",
                volume.id,
                others.len()
            ),
        ));
    }
    Ok(())
}

/// Refuses a second connection of a volume unless all of them read.
pub(super) fn refuse_second(
    tx: &mut Transaction<'_>,
    volume: &Volume,
    wanted: &Attachment,
) -> Result<()> {
    let mut others = attachments::of_volume(tx, volume.id)?;
    let holds_nothing = [AttachmentStatus::Reserved, AttachmentStatus::ErrorAttaching];
    others.retain(|other| other.id != wanted.id && !holds_nothing.contains(&other.status));
    if others.is_empty() || all_read(&others, wanted) {
        return Ok(());
    }
    let text = format!("duplicate connectors detected on volume {}", volume.id);
    Err(Error::new(ErrorKind::Conflict, Subject::Request, text))
}

fn all_read(others: &[Attachment], wanted: &Attachment) -> bool {
    others
        .iter()
        .chain([wanted])
        .all(|attachment| attachment.mode == AttachMode::ReadOnly)
}
