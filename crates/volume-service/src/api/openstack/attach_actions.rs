//! The attach calls of before 3.27, carried out by the attachments.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::attachments::mode_field;
use super::body::Fields;
use super::caller::Caller;
use super::fault::{Fault, Result, success};
use crate::app::attachments::CreateAttachment;
use crate::app::{Service, attachments, detaching, volumes};
use crate::error::{Error, ErrorKind, Subject};
use crate::model::attachment::{AttachMode, Attachment, AttachmentStatus};
use crate::model::id::{AttachmentId, VolumeId};

/// An action on a volume.
pub(super) struct Call {
    pub(super) service: Service,
    pub(super) caller: Caller,
    pub(super) volume: VolumeId,
}

impl Call {
    async fn existing(&self) -> Result<Vec<Attachment>> {
        let context = &self.caller.context;
        volumes::get(&self.service, context, self.volume).await?;
        Ok(attachments::of_volumes(&self.service, context, &[self.volume]).await?)
    }

    async fn create(
        &self,
        connector: Option<Value>,
        how: Option<HowAttached>,
    ) -> Result<Attachment> {
        let how = how.unwrap_or_default();
        let wanted = CreateAttachment {
            volume_id: self.volume,
            instance_id: how.instance_id,
            connector,
            mode: how.mode.unwrap_or(AttachMode::ReadWrite),
            mountpoint: how.mountpoint,
        };
        Ok(attachments::create(&self.service, &self.caller.context, wanted).await?)
    }

    async fn remove(&self, id: AttachmentId) -> Result<Response> {
        attachments::delete(&self.service, &self.caller.context, id).await?;
        Ok(success::ACCEPTED.into_response())
    }

    pub(super) async fn reserve(&self) -> Result<Response> {
        self.create(None, None).await?;
        Ok(success::ACCEPTED.into_response())
    }

    pub(super) async fn unreserve(&self) -> Result<Response> {
        let reserved = self
            .existing()
            .await?
            .into_iter()
            .find(|attachment| attachment.status == AttachmentStatus::Reserved);
        match reserved {
            Some(attachment) => self.remove(attachment.id).await,
            None => Err(conflict("The volume is not reserved.")),
        }
    }

    /// Connects what `os-reserve` reserved, or reserves and connects at once; what is connected already is said again.
    pub(super) async fn initialize_connection(&self, fields: Fields<'_>) -> Result<Response> {
        fields.only(&["connector"])?;
        fields.object("connector")?;
        let connector = fields.value("connector").cloned().unwrap_or_default();
        let attachment = match self.existing().await?.first() {
            None => self.create(Some(connector), None).await?,
            Some(found) => {
                let context = &self.caller.context;
                attachments::connect(&self.service, context, found.id, connector).await?
            }
        };
        let info = connection_info(&attachment.connection_info);
        Ok(Json(json!({ "connection_info": info })).into_response())
    }

    /// Gives up a connection that was never used; one in use ends with `os-detach`.
    pub(super) async fn terminate_connection(&self) -> Result<Response> {
        let unused = self.existing().await?.into_iter().find(|attachment| {
            !matches!(
                attachment.status,
                AttachmentStatus::Attached | AttachmentStatus::Detaching
            )
        });
        match unused {
            Some(attachment) => self.remove(attachment.id).await,
            None => Ok(success::ACCEPTED.into_response()),
        }
    }

    pub(super) async fn attach(&self, fields: Fields<'_>) -> Result<Response> {
        fields.only(&["instance_uuid", "mountpoint", "host_name", "mode"])?;
        let how = HowAttached {
            instance_id: fields.uuid("instance_uuid")?.map(|id| id.to_string()),
            mountpoint: Some(fields.required_text("mountpoint")?.to_owned()),
            mode: Some(mode_field(fields)?),
        };
        let host = fields.text("host_name")?;
        let existing = self.existing().await?;
        let attachment = match existing.first() {
            Some(found) => found.clone(),
            None => {
                let connector = json!({"host": host.unwrap_or_default()});
                self.create(Some(connector), Some(how)).await?
            }
        };
        attachments::complete(&self.service, &self.caller.context, attachment.id).await?;
        Ok(success::ACCEPTED.into_response())
    }

    pub(super) async fn detach(&self, fields: Option<&Value>) -> Result<Response> {
        let empty = Map::new();
        let fields = Fields::top(match fields {
            Some(Value::Object(map)) => map,
            _ => &empty,
        });
        fields.only(&["attachment_id"])?;
        let named = fields.uuid("attachment_id")?.map(AttachmentId);
        let existing = self.existing().await?;
        let found = existing
            .iter()
            .find(|attachment| named.is_none_or(|id| id == attachment.id));
        match (found, named) {
            (Some(attachment), _) => self.remove(attachment.id).await,
            (None, Some(id)) => Err(Error::not_found(Subject::Attachment, id).into()),
            (None, None) => Err(conflict("The volume is not attached.")),
        }
    }
}

impl Call {
    /// Marks a volume in use as being detached, as compute services do before they let go of it.
    pub(super) async fn begin_detaching(&self) -> Result<Response> {
        detaching::begin(&self.service, &self.caller.context, self.volume).await?;
        Ok(success::ACCEPTED.into_response())
    }

    /// Takes the mark back; without one nothing happens.
    pub(super) async fn roll_detaching(&self) -> Result<Response> {
        detaching::roll_back(&self.service, &self.caller.context, self.volume).await?;
        Ok(success::ACCEPTED.into_response())
    }
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
