//! DescribeSnapshots.

use std::collections::HashSet;

use super::fault::{Code, Ec2Fault, Result};
use super::filters::{self, FILTER, Filter};
use super::ids::Noun;
use super::page::{self, BadToken, MAX_RESULTS, NEXT_TOKEN, Paging, Place};
use super::route::{Action, Call, Element};
use super::schema::{Kind, LIST_MAX, Parameter};
use super::xml::Xml;
use super::{snapshot_filters, snapshot_view, words};
use crate::app::snapshot_sharing::{self, Discovery};
use crate::app::snapshots::{SnapshotQuery, SnapshotSortKey};
use crate::app::volumes::SortDirection;
use crate::auth::rule::Rule;
use crate::model::id::SnapshotId;
use crate::model::snapshot::Snapshot;
use crate::model::snapshot_sharing::EVERYBODY;

/// About what a snapshot takes in an answer, in bytes.
const SNAPSHOT_BYTES: usize = 600;
/// An account, or `self`, or `all`.
const ACCOUNT: Kind = Kind::Text { max: 255 };

pub(super) const ACTIONS: &[Action] = &[Action::new("DescribeSnapshots", |call, xml| {
    Box::pin(describe(call, xml))
})
.rules(&[Rule::VolumeGetAllSnapshots])
.parameters(&[
    page::ids("SnapshotId", &page::SNAPSHOT_IDS),
    Parameter::new("Owner", Kind::List(&ACCOUNT, LIST_MAX)),
    Parameter::new("RestorableBy", Kind::List(&ACCOUNT, LIST_MAX)),
    FILTER,
    MAX_RESULTS,
    NEXT_TOKEN,
])
.filters(snapshot_filters::NAMES)
.paging(&PAGING)
.answers(&[
    Element::of("snapshotSet", snapshot_view::SNAPSHOT),
    Element::text("nextToken"),
])
.remark("the project's own, those that others share with it, and public ones, oldest first; of those of others no tags are shown")];

const PAGING: Paging = Paging {
    mark: 3,
    ids: "snapshotIdsSet",
    max_results: "maxResults",
    bad_token: BadToken::Unparsed,
};

async fn describe(call: &Call, xml: &mut Xml) -> Result<()> {
    let given = call.arguments();
    let ids = given.list("SnapshotId");
    let wanted = page::read(call, &PAGING, &ids)?;
    let filters = filters::read(given, call.action.filters)?;
    let discovery = discovery(call)?;
    let page = if ids.is_empty() {
        scan(call, &filters, &wanted, &discovery).await?
    } else {
        named_snapshots(call, &filters, &ids, &discovery).await?
    };
    xml.reserve(page.snapshots.len(), SNAPSHOT_BYTES);
    xml.items("snapshotSet", &page.snapshots, snapshot_view::write);
    if let Some(last) = page.next {
        xml.text("nextToken", &page::token_of(&PAGING, last));
    }
    Ok(())
}

/// Whose snapshots are asked for, and whose to use.
fn discovery(call: &Call) -> Result<Discovery> {
    let given = call.arguments();
    let (owners, restorers) = (given.list("Owner"), given.list("RestorableBy"));
    // A project of another identity service may have any id.
    let is_own = |word: &&&str| **word == call.context.project_id;
    let others = owners.iter().chain(&restorers).filter(|word| !is_own(word));
    for account in others {
        check_account(account)?;
    }
    let named = |account: &str| match account {
        "self" => call.context.project_id.clone(),
        account => account.to_owned(),
    };
    Ok(Discovery {
        owners: owners.into_iter().map(named).collect(),
        restorable_by: restorers
            .into_iter()
            .map(|account| match account {
                "all" => EVERYBODY.to_owned(),
                account => named(account),
            })
            .collect(),
    })
}

/// Refuses what is neither an account of ours or of EC2's nor an alias.
fn check_account(account: &str) -> Result<()> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if !account.is_empty() && account.bytes().all(is_plain) {
        return Ok(());
    }
    Err(Ec2Fault::coded(
        Code::InvalidUserIdMalformed,
        format!("Invalid user id: \"{}\"", words::shown(account)),
    ))
}

#[derive(Default)]
struct Described {
    snapshots: Vec<Snapshot>,
    /// The last snapshot looked at, when there are more behind it.
    next: Option<Place>,
}

fn place(snapshot: &Snapshot) -> Place {
    (snapshot.created_at_us, snapshot.id.0)
}

/// The snapshots with these names, each once, in their order; refuses when one does not exist.
async fn named_snapshots(
    call: &Call,
    filters: &[Filter],
    ids: &[&str],
    discovery: &Discovery,
) -> Result<Described> {
    let wanted = ids.iter().map(|id| (*id).to_owned()).collect();
    let found = snapshot_sharing::get_by_ec2_ids(&call.service, &call.context, wanted).await?;
    let missing: Vec<&str> = ids
        .iter()
        .zip(&found)
        .filter(|(_, snapshot)| snapshot.is_none())
        .map(|(id, _)| *id)
        .collect();
    if !missing.is_empty() {
        return Err(words::absent(Noun::Snapshot, &missing));
    }
    let mut seen = HashSet::new();
    let mut snapshots: Vec<Snapshot> = found.into_iter().flatten().collect();
    snapshots
        .retain(|snapshot| seen.insert(snapshot.id) && is_discovered(call, discovery, snapshot));
    let mut page = Described::default();
    take_passing(filters, snapshots, usize::MAX, &mut page).await?;
    Ok(page)
}

/// True for a snapshot that is of, and for, the accounts that are asked for.
fn is_discovered(call: &Call, discovery: &Discovery, snapshot: &Snapshot) -> bool {
    let me = &call.context.project_id;
    let (owners, restorers) = (&discovery.owners, &discovery.restorable_by);
    // One that the requester may use without owning it is for the requester, be it for others too.
    let is_for_me = restorers.contains(me)
        || (snapshot.project_id != *me && restorers.iter().any(|one| one == EVERYBODY));
    (owners.is_empty() || owners.contains(&snapshot.project_id))
        && (restorers.is_empty() || is_for_me)
}

async fn scan(
    call: &Call,
    filters: &[Filter],
    wanted: &page::Wanted,
    discovery: &Discovery,
) -> Result<Described> {
    let mut page = Described::default();
    if filters.iter().any(Filter::matches_nothing) {
        return Ok(page);
    }
    let mut query = SnapshotQuery {
        sort: vec![(SnapshotSortKey::CreatedAt, SortDirection::Ascending)],
        after: wanted.after.map(|(us, id)| (us, SnapshotId(id))),
        limit: filters.is_empty().then_some(wanted.max_results),
        hides_deleting: true,
        ..SnapshotQuery::default()
    };
    for filter in filters {
        if !snapshot_filters::narrow(&mut query, filter) {
            return Ok(page);
        }
    }
    for _ in 0..page::SCAN_PAGES_MAX {
        let (service, context) = (&call.service, &call.context);
        let found =
            snapshot_sharing::discover(service, context, query.clone(), discovery.clone()).await?;
        let last = found.items.last().map(place);
        let cut = take_passing(filters, found.items, wanted.max_results, &mut page).await?;
        page.next = cut.or(last.filter(|_| found.has_more));
        if page.next.is_none() || page.snapshots.len() >= wanted.max_results {
            break;
        }
        query.after = page.next.map(|(us, id)| (us, SnapshotId(id)));
    }
    Ok(page)
}

/// Adds the snapshots that pass until the page is full; returns the last one taken when some were left over.
async fn take_passing(
    filters: &[Filter],
    found: Vec<Snapshot>,
    max_results: usize,
    page: &mut Described,
) -> Result<Option<Place>> {
    for snapshot in found {
        if page.snapshots.len() == max_results {
            return Ok(page.snapshots.last().map(place));
        }
        let is_wanted = passes_all(filters, &snapshot);
        filters::pause(filters).await?;
        if is_wanted {
            page.snapshots.push(snapshot);
        }
    }
    Ok(None)
}

fn passes_all(filters: &[Filter], snapshot: &Snapshot) -> bool {
    filters
        .iter()
        .all(|filter| snapshot_filters::passes(filter, snapshot))
}
