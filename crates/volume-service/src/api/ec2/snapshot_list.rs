//! DescribeSnapshots.

use super::fault::Result;
use super::filters::{self, Filter};
use super::snapshots::find;
use super::xml::Xml;
use super::{Call, page, snapshot_filters, snapshot_view};
use crate::app::snapshots::{self, SnapshotQuery, SnapshotSortKey};
use crate::app::volumes::SortDirection;
use crate::model::id::SnapshotId;
use crate::model::snapshot::Snapshot;

pub(super) async fn describe(call: &Call, xml: &mut Xml) -> Result<()> {
    let parameters = &call.parameters;
    parameters.only(&[
        "SnapshotId",
        "Owner",
        "RestorableBy",
        "Filter",
        "MaxResults",
        "NextToken",
    ])?;
    let ids = parameters.list("SnapshotId")?;
    let filters = filters::read(parameters, &snapshot_filters::NAMES)?;
    let page_max = call.service.config.limits.page_max;
    let wanted = page::read(parameters, page_max, &ids, "snapshots")?;
    let is_own = |word: &&str| *word == "self" || *word == call.context.project_id;
    let owners = parameters.list("Owner")?;
    let restorers = parameters.list("RestorableBy")?;
    call.stop_if_dry()?;

    // Snapshots are shared with nobody: others own none that one sees, and "all" may use none.
    let nothing = (!owners.is_empty() && !owners.iter().any(is_own))
        || (!restorers.is_empty() && !restorers.iter().any(is_own));
    let page = if nothing {
        Described::default()
    } else if ids.is_empty() {
        scan(call, &filters, &wanted).await?
    } else {
        named_snapshots(call, &filters, &ids).await?
    };
    xml.items("snapshotSet", &page.snapshots, snapshot_view::write);
    if let Some(last) = page.next {
        xml.text("nextToken", &page::token_of(last.0));
    }
    Ok(())
}

#[derive(Default)]
struct Described {
    snapshots: Vec<Snapshot>,
    /// The last snapshot looked at, when there are more behind it.
    next: Option<SnapshotId>,
}

async fn named_snapshots(call: &Call, filters: &[Filter], ids: &[&str]) -> Result<Described> {
    let mut page = Described::default();
    for id in ids {
        let snapshot = find(call, id).await?;
        let known = page.snapshots.iter().any(|known| known.id == snapshot.id);
        if !known && passes_all(filters, &snapshot)? {
            page.snapshots.push(snapshot);
        }
    }
    Ok(page)
}

async fn scan(call: &Call, filters: &[Filter], wanted: &page::Wanted) -> Result<Described> {
    let mut query = SnapshotQuery {
        sort: vec![(SnapshotSortKey::CreatedAt, SortDirection::Ascending)],
        marker: wanted.marker.map(SnapshotId),
        limit: filters.is_empty().then_some(wanted.max_results),
        ..SnapshotQuery::default()
    };
    for filter in filters {
        narrow(&mut query, filter);
    }
    let mut page = Described::default();
    for _ in 0..page::SCAN_PAGES_MAX {
        let found = snapshots::list(&call.service, &call.context, query.clone())
            .await
            .map_err(|error| match error.kind {
                // The snapshot that the token names is gone.
                crate::error::ErrorKind::NotFound if query.marker.is_some() => page::bad_token(),
                _ => error.into(),
            })?;
        let last = found.items.last().map(|snapshot| snapshot.id);
        let cut = take_passing(filters, found.items, wanted.max_results, &mut page)?;
        page.next = cut.or(last.filter(|_| found.has_more));
        if page.next.is_none() || page.snapshots.len() >= wanted.max_results {
            break;
        }
        query.marker = page.next;
    }
    Ok(page)
}

/// Leaves to the database what it can decide exactly; the filter is applied again to what comes back.
fn narrow(query: &mut SnapshotQuery, filter: &Filter) {
    let Some(value) = filter.exact() else {
        return;
    };
    if let Some(key) = filter.name.strip_prefix("tag:") {
        query.metadata.insert(key.to_owned(), value.to_owned());
    } else if filter.name == "description" {
        query.description = Some(value.to_owned());
    } else if filter.name == "volume-size"
        && let Ok(size) = value.parse()
    {
        query.size_gib = Some(size);
    }
}

/// Adds the snapshots that pass until the page is full; returns the last one taken when some were left over.
fn take_passing(
    filters: &[Filter],
    found: Vec<Snapshot>,
    max_results: usize,
    page: &mut Described,
) -> Result<Option<SnapshotId>> {
    for snapshot in found {
        if page.snapshots.len() == max_results {
            return Ok(page.snapshots.last().map(|snapshot| snapshot.id));
        }
        if passes_all(filters, &snapshot)? {
            page.snapshots.push(snapshot);
        }
    }
    Ok(None)
}

fn passes_all(filters: &[Filter], snapshot: &Snapshot) -> Result<bool> {
    for filter in filters {
        if !snapshot_filters::passes(filter, snapshot)? {
            return Ok(false);
        }
    }
    Ok(true)
}
