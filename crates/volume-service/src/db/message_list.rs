//! Lists of user messages: filters, sorting and keyset paging.

use uuid::Uuid;

use super::messages::{COLUMNS, from_row};
use super::select::{Select, count, order};
use super::{Param, Transaction};
use crate::app::messages::{Message, MessageQuery, MessageSortKey};
use crate::app::volumes::SortDirection;
use crate::error::{Error, Result, Subject};

/// A page of a project's messages, with one more than `limit` when more follow.
///
/// # Errors
/// `Invalid` when the marker does not exist in the project.
pub fn page(
    tx: &mut Transaction<'_>,
    project_id: &str,
    query: &MessageQuery,
    now_us: i64,
    limit: usize,
) -> Result<Vec<Message>> {
    let sort = full_sort(&query.sort);
    let columns: Vec<(&str, SortDirection)> = sort
        .iter()
        .map(|(key, direction)| (column(*key), *direction))
        .collect();
    let mut select = filters(project_id, query, now_us);
    if let Some(marker) = query.marker {
        let values = sort_values(tx, project_id, marker, now_us, &sort)?;
        select.behind(&columns, values);
    }
    let limit = select.param(count(limit.saturating_add(1)));
    let offset = select.param(count(query.offset));
    let sql = format!(
        "SELECT {COLUMNS} FROM messages WHERE {} ORDER BY {} LIMIT {limit} OFFSET {offset}",
        select.condition,
        order(&columns)
    );
    tx.query(&sql, &select.params, from_row)
}

fn filters(project_id: &str, query: &MessageQuery, now_us: i64) -> Select {
    let mut select = Select::all();
    select.equal("project_id", project_id.into());
    let now = select.param(now_us.into());
    select
        .condition
        .push_str(&format!(" AND expires_at_us > {now}"));
    for (column, wanted) in [
        ("resource_id", &query.resource_id),
        ("resource_type", &query.resource_type),
        ("request_id", &query.request_id),
        (EVENT, &query.event),
    ] {
        if let Some(wanted) = wanted {
            select.equal(column, wanted.as_str().into());
        }
    }
    select
}

/// What a message is about, as in `VOLUME_VOLUME_001_002`.
const EVENT: &str = "('VOLUME_' || resource_type || '_' || action_id || '_' || detail_id)";

fn full_sort(asked: &[(MessageSortKey, SortDirection)]) -> Vec<(MessageSortKey, SortDirection)> {
    let mut sort = asked.to_vec();
    if sort.is_empty() {
        sort.push((MessageSortKey::CreatedAt, SortDirection::Descending));
    }
    if !sort.iter().any(|(key, _)| *key == MessageSortKey::Id) {
        let direction = sort
            .last()
            .map_or(SortDirection::Descending, |(_, direction)| *direction);
        sort.push((MessageSortKey::Id, direction));
    }
    sort
}

fn sort_values(
    tx: &mut Transaction<'_>,
    project_id: &str,
    marker: Uuid,
    now_us: i64,
    sort: &[(MessageSortKey, SortDirection)],
) -> Result<Vec<Param>> {
    let found = super::messages::find(tx, project_id, marker, now_us)?;
    let message = found.ok_or_else(|| Error::not_found(Subject::Message, marker))?;
    let value = |key: &MessageSortKey| match key {
        MessageSortKey::CreatedAt => message.created_at_us.into(),
        MessageSortKey::ExpiresAt => message.expires_at_us.into(),
        MessageSortKey::ResourceType => message.resource_type.as_str().into(),
        MessageSortKey::Resource => message.resource_id.as_str().into(),
        MessageSortKey::Request => message.request_id.as_str().into(),
        MessageSortKey::Event => message.event().into(),
        MessageSortKey::Id => message.id.to_string().into(),
    };
    Ok(sort.iter().map(|(key, _)| value(key)).collect())
}

fn column(key: MessageSortKey) -> &'static str {
    match key {
        MessageSortKey::CreatedAt => "created_at_us",
        MessageSortKey::ExpiresAt => "expires_at_us",
        MessageSortKey::ResourceType => "resource_type",
        MessageSortKey::Resource => "resource_id",
        MessageSortKey::Request => "request_id",
        MessageSortKey::Event => EVENT,
        MessageSortKey::Id => "id",
    }
}
