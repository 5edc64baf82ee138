//! DescribeVolumes.

use std::collections::{HashMap, HashSet};

use super::fault::Result;
use super::filters::{self, FILTER, Filter};
use super::ids::Noun;
use super::page::{self, BadToken, MAX_RESULTS, NEXT_TOKEN, Paging, Place};
use super::route::{Action, Call, Element};
use super::schema::{Kind, Parameter};
use super::xml::Xml;
use super::{volume_filters, volume_view, words};
use crate::app::volumes::{SortDirection, SortKey, VolumeQuery};
use crate::app::{attachments, volume_performance, volumes};
use crate::auth::rule::Rule;
use crate::model::attachment::Attachment;
use crate::model::id::VolumeId;
use crate::model::volume::Volume;

/// About what a volume takes in an answer, in bytes.
const VOLUME_BYTES: usize = 1100;

pub(super) const ACTIONS: &[Action] =
    &[
        Action::new("DescribeVolumes", |call, xml| Box::pin(describe(call, xml)))
            .rules(&[Rule::VolumeGetAll])
            .parameters(&[
                page::ids("VolumeId", &page::VOLUME_IDS),
                FILTER,
                MAX_RESULTS,
                NEXT_TOKEN,
                Parameter::new("IncludeManagedResources", Kind::Boolean),
            ])
            .filters(volume_filters::NAMES)
            .paging(&PAGING)
            .answers(&[
                Element::of("volumeSet", volume_view::VOLUME),
                Element::text("nextToken"),
            ])
            .remark("oldest first"),
    ];

const PAGING: Paging = Paging {
    mark: 1,
    ids: "volumeIdsSet",
    max_results: "maxResults",
    bad_token: BadToken::Unparsed,
};

async fn describe(call: &Call, xml: &mut Xml) -> Result<()> {
    let given = call.arguments();
    let ids = given.list("VolumeId");
    let wanted = page::read(call, &PAGING, &ids)?;
    let filters = filters::read(given, call.action.filters)?;
    let page = if ids.is_empty() {
        scan(call, &filters, &wanted).await?
    } else {
        named_volumes(call, &filters, &ids).await?
    };
    let performance = performance_of(call, &page.volumes).await?;
    xml.reserve(page.volumes.len(), VOLUME_BYTES);
    xml.items("volumeSet", &page.volumes, |xml, shown| {
        let performance = performance.get(&shown.volume.id).cloned();
        volume_view::write(
            xml,
            &shown.volume,
            &shown.attachments,
            &performance.unwrap_or_default(),
        );
    });
    if let Some(last) = page.next {
        xml.text("nextToken", &page::token_of(&PAGING, last));
    }
    Ok(())
}

async fn performance_of(
    call: &Call,
    volumes: &[Shown],
) -> Result<HashMap<VolumeId, volume_performance::Shown>> {
    let volumes = volumes.iter().map(|shown| &shown.volume);
    Ok(volume_performance::of_volumes(&call.service, &call.context, volumes).await?)
}

/// A volume with its attachments, oldest first.
struct Shown {
    volume: Volume,
    attachments: Vec<Attachment>,
}

#[derive(Default)]
struct Described {
    volumes: Vec<Shown>,
    /// The last volume looked at, when there are more behind it.
    next: Option<Place>,
}

/// Where a volume stands in lists.
pub(super) fn place(volume: &Volume) -> Place {
    (volume.created_at_us, volume.id.0)
}

/// The volumes with these names, each once, in their order; refuses when one does not exist.
pub(super) async fn find_all(call: &Call, ids: &[&str]) -> Result<Vec<Volume>> {
    let wanted = ids.iter().map(|id| (*id).to_owned()).collect();
    let found = volumes::get_by_ec2_ids(&call.service, &call.context, wanted).await?;
    let missing: Vec<&str> = ids
        .iter()
        .zip(&found)
        .filter(|(_, volume)| volume.is_none())
        .map(|(id, _)| *id)
        .collect();
    if !missing.is_empty() {
        return Err(words::absent(Noun::Volume, &missing));
    }
    let mut seen = HashSet::new();
    let mut volumes: Vec<Volume> = found.into_iter().flatten().collect();
    volumes.retain(|volume| seen.insert(volume.id));
    Ok(volumes)
}

async fn named_volumes(call: &Call, filters: &[Filter], ids: &[&str]) -> Result<Described> {
    let found = find_all(call, ids).await?;
    let mut page = Described::default();
    take_passing(call, filters, found, usize::MAX, &mut page).await?;
    Ok(page)
}

async fn scan(call: &Call, filters: &[Filter], wanted: &page::Wanted) -> Result<Described> {
    let mut page = Described::default();
    if filters.iter().any(Filter::matches_nothing) {
        return Ok(page);
    }
    let max_results = wanted.max_results;
    let mut query = VolumeQuery {
        sort: vec![(SortKey::CreatedAt, SortDirection::Ascending)],
        after: wanted.after.map(|(us, id)| (us, VolumeId(id))),
        limit: filters.is_empty().then_some(max_results),
        ..VolumeQuery::default()
    };
    for filter in filters {
        if !volume_filters::narrow(&mut query, filter) {
            return Ok(page);
        }
    }
    for _ in 0..page::SCAN_PAGES_MAX {
        let found = volumes::list(&call.service, &call.context, query.clone()).await?;
        let last = found.items.last().map(place);
        let cut = take_passing(call, filters, found.items, max_results, &mut page).await?;
        page.next = cut.or(last.filter(|_| found.has_more));
        if page.next.is_none() || page.volumes.len() >= max_results {
            break;
        }
        query.after = page.next.map(|(us, id)| (us, VolumeId(id)));
    }
    Ok(page)
}

/// Adds the volumes that pass until the page is full; returns the last one taken when some were left over.
async fn take_passing(
    call: &Call,
    filters: &[Filter],
    found: Vec<Volume>,
    max_results: usize,
    page: &mut Described,
) -> Result<Option<Place>> {
    if found.is_empty() {
        return Ok(None);
    }
    let ids: Vec<_> = found.iter().map(|volume| volume.id).collect();
    let mut attached: HashMap<VolumeId, Vec<Attachment>> = HashMap::new();
    for attachment in attachments::of_volumes(&call.service, &call.context, &ids).await? {
        let of_one = attached.entry(attachment.volume_id).or_default();
        of_one.push(attachment);
    }
    for volume in found {
        if page.volumes.len() == max_results {
            return Ok(page.volumes.last().map(|shown| place(&shown.volume)));
        }
        let attachments = attached.remove(&volume.id).unwrap_or_default();
        let passes = |filter| volume_filters::passes(filter, &volume, &attachments);
        let is_wanted = filters.iter().all(passes);
        filters::pause(filters).await?;
        if is_wanted {
            page.volumes.push(Shown {
                volume,
                attachments,
            });
        }
    }
    Ok(None)
}
