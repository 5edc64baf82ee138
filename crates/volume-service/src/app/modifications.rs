//! How volumes were modified: the latest modification of each.

use super::{Page, Service, policy};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::volume_modifications;
use crate::error::Result;
use crate::model::id::VolumeId;

pub use crate::model::modification::{Modifiable, Modification, ModificationState};

/// A modification with the place of its volume in lists: when that was made, in microseconds since 1970.
pub type Placed = (i64, Modification);

/// The latest modifications of these volumes, in their order; volumes that were not modified are left out.
pub async fn of_volumes(
    service: &Service,
    request: &RequestContext,
    ids: Vec<VolumeId>,
) -> Result<Vec<Modification>> {
    policy::check(request, Rule::VolumeGetAll)?;
    service
        .database
        .read(move |tx| {
            let mut found = volume_modifications::of_volumes(tx, &ids)?;
            Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
        })
        .await
}

/// A page of the modifications of the project's volumes, oldest volume first, behind a place.
pub async fn list(
    service: &Service,
    request: &RequestContext,
    after: Option<(i64, VolumeId)>,
    limit: Option<usize>,
) -> Result<Page<Placed>> {
    policy::check(request, Rule::VolumeGetAll)?;
    let (project_id, limit) = (request.project_id.clone(), service.page_size(limit));
    let after = match after {
        Some((us, id)) => (us, Some(id)),
        None => (i64::MIN, None),
    };
    service
        .database
        .read(move |tx| {
            let items =
                volume_modifications::page(tx, &project_id, after, limit.saturating_add(1))?;
            Ok(Page::cut(items, limit))
        })
        .await
}
