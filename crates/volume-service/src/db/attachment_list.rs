//! Lists of attachments: filters, sorting and keyset paging.

use super::attachments::{COLUMNS, from_row};
use super::select::{Select, count, order};
use super::{Param, Transaction};
use crate::app::attachments::{AttachmentQuery, AttachmentSortKey};
use crate::app::volumes::SortDirection;
use crate::error::Result;
use crate::model::attachment::{AttachMode, Attachment};

/// A page of a project's attachments (of any project when none is named), with one more than `limit` when more follow.
pub fn page(
    tx: &mut Transaction<'_>,
    project_id: Option<&str>,
    query: &AttachmentQuery,
    behind: Option<&Attachment>,
    limit: usize,
) -> Result<Vec<Attachment>> {
    let sort = full_sort(&query.sort);
    let columns: Vec<(&str, SortDirection)> = sort
        .iter()
        .map(|(key, direction)| (column(*key), *direction))
        .collect();
    let mut select = Select::all();
    if let Some(project_id) = project_id {
        select.equal("project_id", project_id.into());
    }
    if let Some(volume_id) = query.volume_id {
        select.equal("volume_id", volume_id.into());
    }
    if let Some(instance_id) = &query.instance_id {
        select.equal("instance_id", instance_id.as_str().into());
    }
    if let Some(status) = &query.status {
        select.equal("status", status.as_str().into());
    }
    if let Some(marker) = behind {
        let values = sort.iter().map(|(key, _)| value(*key, marker)).collect();
        select.behind(&columns, values);
    }
    let limit = select.param(count(limit.saturating_add(1)));
    let offset = select.param(count(query.offset));
    let sql = format!(
        "SELECT {COLUMNS} FROM attachments WHERE {} ORDER BY {} LIMIT {limit} OFFSET {offset}",
        select.condition,
        order(&columns)
    );
    tx.query(&sql, &select.params, from_row)
}

fn full_sort(
    asked: &[(AttachmentSortKey, SortDirection)],
) -> Vec<(AttachmentSortKey, SortDirection)> {
    let mut sort = asked.to_vec();
    if sort.is_empty() {
        sort.push((AttachmentSortKey::CreatedAt, SortDirection::Descending));
    }
    if !sort.iter().any(|(key, _)| *key == AttachmentSortKey::Id) {
        let direction = sort
            .last()
            .map_or(SortDirection::Descending, |(_, direction)| *direction);
        sort.push((AttachmentSortKey::Id, direction));
    }
    sort
}

/// What may be absent sorts as the empty text, or as the beginning of time: a row value with NULL in it compares with nothing.
fn column(key: AttachmentSortKey) -> &'static str {
    match key {
        AttachmentSortKey::CreatedAt => "created_at_us",
        AttachmentSortKey::AttachedAt => "COALESCE(attached_at_us, 0)",
        AttachmentSortKey::Status => "status",
        AttachmentSortKey::Mode => "read_only",
        AttachmentSortKey::Host => "COALESCE(host_name, '')",
        AttachmentSortKey::Instance => "COALESCE(instance_id, '')",
        AttachmentSortKey::Mountpoint => "COALESCE(mountpoint, '')",
        AttachmentSortKey::Volume => "volume_id",
        AttachmentSortKey::Id => "id",
    }
}

/// What a column holds for an attachment.
fn value(key: AttachmentSortKey, of: &Attachment) -> Param {
    let text = |text: &Option<String>| text.as_deref().unwrap_or_default().into();
    match key {
        AttachmentSortKey::CreatedAt => of.created_at_us.into(),
        AttachmentSortKey::AttachedAt => of.attached_at_us.unwrap_or_default().into(),
        AttachmentSortKey::Status => of.status.as_str().into(),
        AttachmentSortKey::Mode => (of.mode == AttachMode::ReadOnly).into(),
        AttachmentSortKey::Host => text(&of.host_name),
        AttachmentSortKey::Instance => text(&of.instance_id),
        AttachmentSortKey::Mountpoint => text(&of.mountpoint),
        AttachmentSortKey::Volume => of.volume_id.into(),
        AttachmentSortKey::Id => of.id.into(),
    }
}
