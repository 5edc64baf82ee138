//! User messages: why something was refused or failed, in words that a project may read.

use uuid::Uuid;

use super::{Page, Service};
use crate::context::RequestContext;
use crate::error::Result;

/// A message to a project.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Its id.
    pub id: Uuid,
    /// The project that may read it.
    pub project_id: String,
    /// The request that led to it.
    pub request_id: String,
    /// `VOLUME`, in OpenStack's spelling.
    pub resource_type: String,
    /// The volume's id.
    pub resource_id: String,
    /// The event and detail ids of OpenStack's message catalogue: `VOLUME_VOLUME_001_002` is made of these.
    pub action_id: String,
    /// The detail number of the same.
    pub detail_id: String,
    /// What happened, for the user.
    pub text: String,
    /// Microseconds since 1970.
    pub created_at_us: i64,
    /// Microseconds since 1970.
    pub expires_at_us: i64,
}

/// The project's messages, newest first; of one resource when an id is given.
pub async fn list(
    _service: &Service,
    _request: &RequestContext,
    _resource_id: Option<&str>,
    _marker: Option<Uuid>,
    _limit: Option<usize>,
) -> Result<Page<Message>> {
    unimplemented!()
}

/// One message.
pub async fn get(_service: &Service, _request: &RequestContext, _id: Uuid) -> Result<Message> {
    unimplemented!()
}

/// Removes a message.
pub async fn delete(_service: &Service, _request: &RequestContext, _id: Uuid) -> Result<()> {
    unimplemented!()
}
