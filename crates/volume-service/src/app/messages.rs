//! User messages: why something was refused or failed, in words that a project may read.

use uuid::Uuid;

use super::volumes::SortDirection;
use super::{Page, Service, limits, policy};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::{message_list, messages};
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

impl Message {
    /// The event of OpenStack's catalogue: `VOLUME_VOLUME_001_002`.
    pub fn event(&self) -> String {
        format!(
            "VOLUME_{}_{}_{}",
            self.resource_type, self.action_id, self.detail_id
        )
    }
}

/// Which messages, in which order, which page.
#[derive(Clone, Debug, Default)]
pub struct MessageQuery {
    /// Of this project, for administrators; none for one's own.
    pub project_id: Option<String>,
    /// About this volume or snapshot.
    pub resource_id: Option<String>,
    /// About things of this kind.
    pub resource_type: Option<String>,
    /// About this event: `VOLUME_VOLUME_001_002`.
    pub event: Option<String>,
    /// That this request led to.
    pub request_id: Option<String>,
    /// Sort keys, most significant first; empty means created_at descending. `id` is added as the last one.
    pub sort: Vec<(MessageSortKey, SortDirection)>,
    /// The last message of the page before; `Invalid` if it does not exist.
    pub marker: Option<Uuid>,
    /// How many to skip after the marker; bounded.
    pub offset: usize,
    /// How many at most; none and larger numbers mean the configured page size.
    pub limit: Option<usize>,
}

/// What a list of messages may be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageSortKey {
    /// `created_at`
    CreatedAt,
    /// `guaranteed_until`
    ExpiresAt,
    /// `resource_type`
    ResourceType,
    /// `resource_uuid`
    Resource,
    /// `request_id`
    Request,
    /// `event_id`
    Event,
    /// `id`
    Id,
}

/// A page of the project's messages.
pub async fn list(
    service: &Service,
    request: &RequestContext,
    query: MessageQuery,
) -> Result<Page<Message>> {
    policy::check(request, Rule::MessageGetAll)?;
    limits::check_list(0, 0, query.offset)?;
    let named = query.project_id.clone().filter(|_| request.is_admin());
    let project_id = named.unwrap_or_else(|| request.project_id.clone());
    let limit = service.page_size(query.limit);
    let now_us = service.context.now_us();
    service
        .database
        .read(move |tx| {
            let found = message_list::page(tx, &project_id, &query, now_us, limit)?;
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
