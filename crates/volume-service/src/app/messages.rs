//! User messages: why something was refused or failed, in words that a project may read.

use uuid::Uuid;

use super::{Page, Service, policy};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::messages;
use crate::error::{Error, Result, Subject};

/// How long a message is kept, in microseconds: 30 days, as OpenStack's are.
pub const LIFETIME_US: i64 = 30 * 24 * 3600 * 1_000_000;

/// A message to a project.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Its id.
    pub id: Uuid,
    /// The project that may read it.
    pub project_id: String,
    /// The request that led to it.
    pub request_id: String,
    /// `VOLUME` or `VOLUME_SNAPSHOT`, in OpenStack's spelling.
    pub resource_type: String,
    /// The volume's or snapshot's id.
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
    service: &Service,
    request: &RequestContext,
    resource_id: Option<&str>,
    marker: Option<Uuid>,
    limit: Option<usize>,
) -> Result<Page<Message>> {
    policy::check(request, Rule::MessageGetAll)?;
    let project_id = request.project_id.clone();
    let resource_id = resource_id.map(str::to_owned);
    let limit = service.page_size(limit);
    let now_us = service.context.now_us();
    service
        .database
        .read(move |tx| {
            let behind = match marker {
                None => None,
                Some(id) => Some(
                    messages::find(tx, &project_id, id, now_us)?
                        .ok_or_else(|| Error::invalid(format!("marker [{id}] not found")))?,
                ),
            };
            let found = messages::list(
                tx,
                &project_id,
                resource_id.as_deref(),
                behind.as_ref(),
                now_us,
                limit.saturating_add(1),
            )?;
            Ok(Page::cut(found, limit))
        })
        .await
}

/// One message.
pub async fn get(service: &Service, request: &RequestContext, id: Uuid) -> Result<Message> {
    policy::check(request, Rule::MessageGet)?;
    let project_id = request.project_id.clone();
    let now_us = service.context.now_us();
    service
        .database
        .read(move |tx| {
            messages::find(tx, &project_id, id, now_us)?
                .ok_or_else(|| Error::not_found(Subject::Message, id))
        })
        .await
}

/// Removes a message.
pub async fn delete(service: &Service, request: &RequestContext, id: Uuid) -> Result<()> {
    policy::check(request, Rule::MessageDelete)?;
    let project_id = request.project_id.clone();
    service
        .database
        .write(move |tx| {
            if messages::remove(tx, &project_id, id)? {
                return Ok(());
            }
            Err(Error::not_found(Subject::Message, id))
        })
        .await
}
