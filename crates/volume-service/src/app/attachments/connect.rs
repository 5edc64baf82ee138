//! Connections: a reserved attachment is given its connector, and its consumer says that it uses the volume.

use serde_json::Value;
use tokio::time::Instant;

use super::create::{check_connector, host_name, refuse_second};
use super::read::own;
use super::work::{WAIT, failed, finished, insert_operation, new_operation, wrong_state};
use crate::app::{Service, policy};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::{Transaction, attachments, operations, volumes};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::attachment::{Attachment, AttachmentStatus};
use crate::model::id::{AttachmentId, OperationId};
use crate::model::operation::{OperationKind, OperationState};
use crate::model::volume::Volume;

/// Gives a reserved attachment its connector, connects, and waits for the connection info.
pub async fn connect(
    service: &Service,
    request: &RequestContext,
    id: AttachmentId,
    connector: Value,
) -> Result<Attachment> {
    check_connector(&connector)?;
    let tenancy = policy::tenancy_of(request, Rule::VolumeAttachmentUpdate);
    let now_us = service.context.now_us();
    let operation = new_operation(
        &service.context,
        request,
        OperationKind::AttachVolume,
        now_us,
    );
    let operation_id = operation.id;
    let begun = service
        .database
        .write(move |tx| {
            let attachment = own(tx, &tenancy, id)?;
            volumes::lock(tx, attachment.volume_id)?;
            let volume = volumes::get(tx, attachment.volume_id)?;
            refuse_error(&volume)?;
            refuse_second(tx, &volume, &attachment)?;
            let from = [AttachmentStatus::Reserved, AttachmentStatus::ErrorAttaching];
            if !attachments::change_status(tx, id, &from, AttachmentStatus::Attaching)? {
                let now = own(tx, &tenancy, id)?;
                return same_again(tx, now, &connector);
            }
            let mountpoint = connector.get("mountpoint").and_then(Value::as_str);
            let host = host_name(&connector);
            attachments::set_connector(tx, id, &connector, host.as_deref(), mountpoint)?;
            if !attachment.failure.is_empty() {
                attachments::set_failure(tx, id, "")?;
            }
            insert_operation(tx, &operation, id, &volume.zone, now_us)?;
            volumes::settle(tx, volume.id, now_us)?;
            Ok(Begun::Operation(operation_id))
        })
        .await?;
    match begun {
        Begun::Before(attachment) => Ok(*attachment),
        Begun::Operation(operation) => connected(service, id, operation).await,
    }
}

/// What is in an error state is not connected: OpenStack answers 409, and not as elsewhere 400.
fn refuse_error(volume: &Volume) -> Result<()> {
    let status = volume.status.as_str();
    if !status.contains("error") {
        return Ok(());
    }
    let text = format!(
        "Volume attachments can not be updated if the volume is in an error state. The Volume {} currently has a status of: \
         {status}",
        volume.id
    );
    Err(Error::new(ErrorKind::Conflict, Subject::Request, text))
}

/// What a request to connect led to.
enum Begun {
    /// It is connected already, by the same connector.
    Before(Box<Attachment>),
    /// An operation connects it.
    Operation(OperationId),
}

/// The same request again is answered with what the first one led (or leads) to; another connector is refused.
fn same_again(tx: &mut Transaction<'_>, now: Attachment, connector: &Value) -> Result<Begun> {
    let is_on_its_way = matches!(
        now.status,
        AttachmentStatus::Attached | AttachmentStatus::Attaching
    );
    if now.connector != *connector || !is_on_its_way {
        return Err(wrong_state(&now, "reserved"));
    }
    Ok(
        match operations::find_unfinished(tx, &now.id.to_string())? {
            Some(operation) => Begun::Operation(operation.id),
            None => Begun::Before(Box::new(now)),
        },
    )
}

/// The consumer says that it uses the volume: attachment `attached`, volume `in-use`.
pub async fn complete(
    service: &Service,
    request: &RequestContext,
    id: AttachmentId,
) -> Result<Attachment> {
    complete_for(service, request, id, Consumer::default()).await
}

/// What a consumer says of itself in the end; what the attachment says already stays.
#[derive(Clone, Debug, Default)]
pub struct Consumer {
    /// The instance that uses the volume.
    pub instance_id: Option<String>,
    /// The host that it is on.
    pub host_name: Option<String>,
    /// The device name in it.
    pub mountpoint: Option<String>,
}

/// As [`complete`], with who the consumer is.
pub async fn complete_for(
    service: &Service,
    request: &RequestContext,
    id: AttachmentId,
    consumer: Consumer,
) -> Result<Attachment> {
    let tenancy = policy::tenancy_of(request, Rule::VolumeAttachmentComplete);
    let now_us = service.context.now_us();
    service
        .database
        .write(move |tx| {
            let attachment = own(tx, &tenancy, id)?;
            volumes::lock(tx, attachment.volume_id)?;
            let attachment = own(tx, &tenancy, id)?;
            match attachment.status {
                AttachmentStatus::Attached => {}
                AttachmentStatus::Attaching if attachment.is_connected() => {
                    let from = [AttachmentStatus::Attaching];
                    attachments::change_status(tx, id, &from, AttachmentStatus::Attached)?;
                    attachments::set_attached_at(tx, id, now_us)?;
                    attachments::set_consumer(tx, id, &consumer)?;
                }
                _ => return Err(wrong_state(&attachment, "attaching or attached")),
            }
            volumes::settle(tx, attachment.volume_id, now_us)?;
            own(tx, &tenancy, id)
        })
        .await
}

/// Waits for an attachment to be connected.
pub(super) async fn connected(
    service: &Service,
    id: AttachmentId,
    operation: OperationId,
) -> Result<Attachment> {
    let outcome = finished(service, operation, Instant::now() + WAIT).await?;
    let attachment = service
        .database
        .read(move |tx| attachments::get(tx, id))
        .await?;
    match outcome.as_ref().map(|operation| operation.state) {
        Some(OperationState::Failed) => {
            Err(failed("Connecting the volume failed", &attachment, outcome))
        }
        _ => Ok(attachment),
    }
}
