//! DescribeVolumes.

use super::fault::Result;
use super::filters::{self, Filter};
use super::volumes::find;
use super::xml::Xml;
use super::{Call, page, volume_filters, volume_view};
use crate::app::volumes::{SortDirection, SortKey, VolumeQuery};
use crate::app::{attachments, volumes};
use crate::model::attachment::Attachment;
use crate::model::id::VolumeId;
use crate::model::volume::Volume;

pub(super) async fn describe(call: &Call, xml: &mut Xml) -> Result<()> {
    let parameters = &call.parameters;
    parameters.only(&["VolumeId", "Filter", "MaxResults", "NextToken"])?;
    let ids = parameters.list("VolumeId")?;
    let filters = filters::read(parameters, &volume_filters::NAMES)?;
    let page_max = call.service.config.limits.page_max;
    let wanted = page::read(parameters, page_max, &ids, "volumes")?;
    call.stop_if_dry()?;

    let page = if ids.is_empty() {
        scan(call, &filters, &wanted).await?
    } else {
        named_volumes(call, &filters, &ids).await?
    };
    xml.items("volumeSet", &page.volumes, |xml, volume| {
        volume_view::write(xml, volume, &page.attachments);
    });
    if let Some(last) = page.next {
        xml.text("nextToken", &page::token_of(last.0));
    }
    Ok(())
}

#[derive(Default)]
struct Described {
    volumes: Vec<Volume>,
    attachments: Vec<Attachment>,
    /// The last volume looked at, when there are more behind it.
    next: Option<VolumeId>,
}

async fn named_volumes(call: &Call, filters: &[Filter], ids: &[&str]) -> Result<Described> {
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        let volume = find(call, id).await?;
        if !found.iter().any(|known: &Volume| known.id == volume.id) {
            found.push(volume);
        }
    }
    let mut page = Described::default();
    take_passing(call, filters, found, usize::MAX, &mut page).await?;
    Ok(page)
}

async fn scan(call: &Call, filters: &[Filter], wanted: &page::Wanted) -> Result<Described> {
    let max_results = wanted.max_results;
    let mut query = VolumeQuery {
        sort: vec![(SortKey::CreatedAt, SortDirection::Ascending)],
        marker: wanted.marker.map(VolumeId),
        limit: filters.is_empty().then_some(max_results),
        ..VolumeQuery::default()
    };
    for filter in filters {
        narrow(&mut query, filter);
    }
    let mut page = Described::default();
    for _ in 0..page::SCAN_PAGES_MAX {
        let found = volumes::list(&call.service, &call.context, query.clone())
            .await
            .map_err(|error| match error.kind {
                // The volume that the token names is gone.
                crate::error::ErrorKind::NotFound if query.marker.is_some() => page::bad_token(),
                _ => error.into(),
            })?;
        let last = found.items.last().map(|volume| volume.id);
        let cut = take_passing(call, filters, found.items, max_results, &mut page).await?;
        page.next = cut.or(last.filter(|_| found.has_more));
        if page.next.is_none() || page.volumes.len() >= max_results {
            break;
        }
        query.marker = page.next;
    }
    Ok(page)
}

/// Leaves to the database what it can decide exactly; the filter is applied again to what comes back.
fn narrow(query: &mut VolumeQuery, filter: &Filter) {
    let Some(value) = filter.exact() else {
        return;
    };
    if let Some(key) = filter.name.strip_prefix("tag:") {
        query.metadata.insert(key.to_owned(), value.to_owned());
    } else if filter.name == "availability-zone" {
        query.zone = Some(value.to_owned());
    } else if filter.name == "size"
        && let Ok(size) = value.parse()
    {
        query.size_gib = Some(size);
    }
}

/// Adds the volumes that pass until the page is full; returns the last one taken when some were left over.
async fn take_passing(
    call: &Call,
    filters: &[Filter],
    found: Vec<Volume>,
    max_results: usize,
    page: &mut Described,
) -> Result<Option<VolumeId>> {
    if found.is_empty() {
        return Ok(None);
    }
    let ids: Vec<_> = found.iter().map(|volume| volume.id).collect();
    let attached = attachments::of_volumes(&call.service, &call.context, &ids).await?;
    let mut cut = None;
    for volume in found {
        if page.volumes.len() == max_results {
            cut = page.volumes.last().map(|volume| volume.id);
            break;
        }
        let mut passes = true;
        for filter in filters {
            passes &= volume_filters::passes(filter, &volume, &attached)?;
        }
        if passes {
            page.volumes.push(volume);
        }
    }
    page.attachments.extend(attached);
    Ok(cut)
}
