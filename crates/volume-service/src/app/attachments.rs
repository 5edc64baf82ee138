//! Attachments: who uses a volume and how it is reached.
//!
//! A connector with `"xensm"` in its `"protocols"` list, or with a `"host_uuid"`, is a Xen host and gets the `xensm`
//! connection info; any other consumer gets `nbd` (unix socket when it is on the same machine).

use serde_json::Value;

use super::Service;
use crate::context::RequestContext;
use crate::error::Result;
use crate::model::attachment::{AttachMode, Attachment};
use crate::model::id::{AttachmentId, VolumeId};

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

/// Which attachments.
#[derive(Clone, Debug, Default)]
pub struct AttachmentQuery {
    /// Of every project; needs the admin role.
    pub all_projects: bool,
    /// Of one volume.
    pub volume_id: Option<VolumeId>,
    /// Of one instance.
    pub instance_id: Option<String>,
    /// In this state (OpenStack's word).
    pub status: Option<String>,
    /// The last one of the page before.
    pub marker: Option<AttachmentId>,
    /// How many at most.
    pub limit: Option<usize>,
}

/// Reserves the volume and, with a connector, connects it and waits (up to the stated limit) for the connection info.
pub async fn create(
    _service: &Service,
    _request: &RequestContext,
    _wanted: CreateAttachment,
) -> Result<Attachment> {
    unimplemented!()
}

/// One attachment.
pub async fn get(
    _service: &Service,
    _request: &RequestContext,
    _id: AttachmentId,
) -> Result<Attachment> {
    unimplemented!()
}

/// A page of attachments, oldest first.
pub async fn list(
    _service: &Service,
    _request: &RequestContext,
    _query: AttachmentQuery,
) -> Result<super::Page<Attachment>> {
    unimplemented!()
}

/// The attachments of some volumes, for views of volumes.
pub async fn of_volumes(
    _service: &Service,
    _request: &RequestContext,
    _volumes: &[VolumeId],
) -> Result<Vec<Attachment>> {
    unimplemented!()
}

/// Gives a reserved attachment its connector, connects, and waits for the connection info.
pub async fn connect(
    _service: &Service,
    _request: &RequestContext,
    _id: AttachmentId,
    _connector: Value,
) -> Result<Attachment> {
    unimplemented!()
}

/// The consumer says that it uses the volume: attachment `attached`, volume `in-use`.
pub async fn complete(
    _service: &Service,
    _request: &RequestContext,
    _id: AttachmentId,
) -> Result<Attachment> {
    unimplemented!()
}

/// Disconnects and removes the attachment, and waits for it; returns what is left on the volume.
pub async fn delete(
    _service: &Service,
    _request: &RequestContext,
    _id: AttachmentId,
) -> Result<Vec<Attachment>> {
    unimplemented!()
}
