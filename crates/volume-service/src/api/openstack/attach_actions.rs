//! The attach calls of before 3.27, carried out by the attachments.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::attachments::mode_field;
use super::caller::Caller;
use super::fault::{Fault, Result, success};
use super::route::Call;
use super::volumes::volume_id;
use crate::app::attachments::{Consumer, CreateAttachment};
use crate::app::{Service, attachments, detaching, reserving, volumes};
use crate::error::{Error, ErrorKind, Subject};
use crate::model::attachment::{AttachMode, Attachment, AttachmentStatus};
use crate::model::id::{AttachmentId, VolumeId};

/// An action on a volume that is about its attachments.
struct OfVolume<'a> {
    service: &'a Service,
    caller: &'a Caller,
    volume: VolumeId,
}

impl<'a> OfVolume<'a> {
    fn new(call: &'a Call) -> Result<Self> {
        Ok(OfVolume {
            service: &call.service,
            caller: &call.caller,
            volume: volume_id(&call.id)?,
        })
    }

    async fn existing(&self) -> Result<Vec<Attachment>> {
        let context = &self.caller.context;
        volumes::get(self.service, context, self.volume).await?;
        Ok(attachments::of_volumes(self.service, context, &[self.volume]).await?)
    }

    async fn create(&self, connector: Option<Value>, how: HowAttached) -> Result<Attachment> {
        let wanted = CreateAttachment {
            volume_id: self.volume,
            instance_id: how.instance_id,
            connector,
            mode: how.mode.unwrap_or(AttachMode::ReadWrite),
            mountpoint: how.mountpoint,
        };
        Ok(attachments::create(self.service, &self.caller.context, wanted).await?)
    }

    /// Refuses to end what only a service may end.
    fn check_end(&self, existing: &[Attachment], named: Option<AttachmentId>) -> Result<()> {
        let context = &self.caller.context;
        Ok(attachments::check_end(
            self.service,
            context,
            existing,
            named,
        )?)
    }

    async fn remove(&self, id: AttachmentId) -> Result<Response> {
        attachments::delete(self.service, &self.caller.context, id).await?;
        Ok(success::ACCEPTED.into_response())
    }
}

/// `os-reserve`
pub(super) async fn reserve(call: Call) -> Result<Response> {
    let of = OfVolume::new(&call)?;
    let reserved = of.create(None, HowAttached::default()).await?;
    reserving::mark(&call.service, of.volume, reserved.id).await?;
    Ok(success::ACCEPTED.into_response())
}

/// `os-unreserve`; of a volume that is not reserved it does nothing, as in Cinder.
pub(super) async fn unreserve(call: Call) -> Result<Response> {
    let of = OfVolume::new(&call)?;
    let reserved = of
        .existing()
        .await?
        .into_iter()
        .find(|attachment| attachment.status == AttachmentStatus::Reserved);
    match reserved {
        Some(attachment) => of.remove(attachment.id).await,
        None => Ok(success::ACCEPTED.into_response()),
    }
}

/// Connects what `os-reserve` reserved, or reserves and connects at once; what is connected already is said again.
pub(super) async fn initialize_connection(call: Call) -> Result<Response> {
    let of = OfVolume::new(&call)?;
    let fields = call.fields();
    let connector = fields.value("connector").cloned().unwrap_or_default();
    let enforces = connector.get("enforce_multipath").cloned();
    let attachment = match of.existing().await?.first() {
        None => of.create(Some(connector), HowAttached::default()).await?,
        Some(found) => {
            let context = &call.caller.context;
            attachments::connect(&call.service, context, found.id, connector).await?
        }
    };
    let mut info = connection_info(&attachment.connection_info);
    info["enforce_multipath"] = enforces.unwrap_or(json!(false));
    Ok(Json(json!({ "connection_info": info })).into_response())
}

/// Gives up a connection that was never used; one in use ends with `os-detach`.
pub(super) async fn terminate_connection(call: Call) -> Result<Response> {
    let of = OfVolume::new(&call)?;
    let existing = of.existing().await?;
    of.check_end(&existing, None)?;
    let unused = existing.into_iter().find(|attachment| {
        !matches!(
            attachment.status,
            AttachmentStatus::Attached | AttachmentStatus::Detaching
        )
    });
    match unused {
        Some(attachment) => of.remove(attachment.id).await,
        None => Ok(success::ACCEPTED.into_response()),
    }
}

/// `os-attach`: completes the connection that the consumer has, or one that is nobody's yet, or makes one.
pub(super) async fn attach(call: Call) -> Result<Response> {
    let of = OfVolume::new(&call)?;
    let fields = call.fields();
    let consumer = Consumer {
        instance_id: fields.uuid("instance_uuid")?.map(|id| id.to_string()),
        host_name: fields.text("host_name")?.map(str::to_owned),
        mountpoint: Some(fields.required_text("mountpoint")?.to_owned()),
    };
    let mode = mode_field(fields)?;
    let existing = of.existing().await?;
    let (service, context) = (of.service, &of.caller.context);
    let volume = volumes::get(service, context, of.volume).await?;
    if volume.traits.read_only == Some(true) && mode == AttachMode::ReadWrite {
        return Err(Fault::BadRequest(format!(
            "Invalid attaching mode 'rw' for volume {}.",
            of.volume
        )));
    }
    let connector = json!({"host": consumer.host_name.as_deref().unwrap_or_default()});
    let found = existing
        .iter()
        .find(|attachment| is_of(attachment, &consumer))
        .or_else(|| existing.iter().find(|one| is_free_for(one, &consumer)));
    let attachment = match found {
        Some(found) if found.status == AttachmentStatus::Reserved => {
            attachments::connect(service, context, found.id, connector).await?
        }
        Some(found) => found.clone(),
        None => {
            let how = HowAttached {
                instance_id: consumer.instance_id.clone(),
                mountpoint: consumer.mountpoint.clone(),
                mode: Some(mode),
            };
            of.create(Some(connector), how).await?
        }
    };
    attachments::complete_for(service, context, attachment.id, consumer).await?;
    Ok(success::ACCEPTED.into_response())
}

/// The same consumer's: of its instance, or where none is named, of its host.
fn is_of(attachment: &Attachment, consumer: &Consumer) -> bool {
    match &consumer.instance_id {
        Some(instance) => attachment.instance_id.as_ref() == Some(instance),
        None => attachment.host_name == consumer.host_name,
    }
}

/// Not said to be used yet, and not by another instance.
fn is_free_for(attachment: &Attachment, consumer: &Consumer) -> bool {
    attachment.status != AttachmentStatus::Attached
        && (attachment.instance_id.is_none() || attachment.instance_id == consumer.instance_id)
}

/// `os-detach`
pub(super) async fn detach(call: Call) -> Result<Response> {
    let of = OfVolume::new(&call)?;
    let named = call.fields().uuid("attachment_id")?.map(AttachmentId);
    let existing = of.existing().await?;
    of.check_end(&existing, named)?;
    let found = existing
        .iter()
        .find(|attachment| named.is_none_or(|id| id == attachment.id));
    match (found, named) {
        (Some(_), None) if existing.len() > 1 => Err(conflict(
            "Invalid volume: Detach volume failed: More than one attachment, but no attachment_id provided.",
        )),
        (Some(attachment), _) => of.remove(attachment.id).await,
        (None, Some(id)) => Err(Error::not_found(Subject::Attachment, id).into()),
        (None, None) => Err(conflict("The volume is not attached.")),
    }
}

/// Marks a volume in use as being detached, as compute services do before they let go of it.
pub(super) async fn begin_detaching(call: Call) -> Result<Response> {
    detaching::begin(&call.service, &call.caller.context, volume_id(&call.id)?).await?;
    Ok(success::ACCEPTED.into_response())
}

/// Takes the mark back; without one nothing happens.
pub(super) async fn roll_detaching(call: Call) -> Result<Response> {
    detaching::roll_back(&call.service, &call.caller.context, volume_id(&call.id)?).await?;
    Ok(success::ACCEPTED.into_response())
}

#[derive(Default)]
struct HowAttached {
    instance_id: Option<String>,
    mountpoint: Option<String>,
    mode: Option<AttachMode>,
}

pub(super) fn conflict(text: &str) -> Fault {
    Error::new(ErrorKind::Conflict, Subject::Volume, text).into()
}

/// From the flat form of the attachments API to the nested one of `os-initialize_connection`.
fn connection_info(flat: &Value) -> Value {
    let Value::Object(flat) = flat else {
        return json!({});
    };
    if flat.contains_key("data") {
        return Value::Object(flat.clone());
    }
    let mut data = flat.clone();
    let driver = data.remove("driver_volume_type");
    json!({"driver_volume_type": driver, "data": data})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nests_the_connection_info() {
        let flat = json!({"driver_volume_type": "nbd", "uri": "nbd+unix:///x"});
        let nested = json!({"driver_volume_type": "nbd", "data": {"uri": "nbd+unix:///x"}});
        assert_eq!(connection_info(&flat), nested);
        assert_eq!(connection_info(&nested), nested);
        assert_eq!(connection_info(&Value::Null), json!({}));
    }
}
