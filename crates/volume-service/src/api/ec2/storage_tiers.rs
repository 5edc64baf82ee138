//! DescribeFastSnapshotRestores and DescribeSnapshotTierStatus. Every snapshot is in the standard tier, and volumes of any are made as
//! fast as of any other: nothing is archived, and nothing has to be made fast.

use super::fault::Result;
use super::filters::{self, FILTER};
use super::page::{self, BadToken, MAX_RESULTS, NEXT_TOKEN, Paging};
use super::route::{Action, Call, Element};
use super::xml::Xml;
use crate::auth::rule::Rule;

pub(super) const ACTIONS: &[Action] = &[
    Action::new("DescribeFastSnapshotRestores", |call, xml| {
        Box::pin(describe_restores(call, xml))
    })
    .rules(&[Rule::VolumeGetAllSnapshots])
    .parameters(&[FILTER, MAX_RESULTS, NEXT_TOKEN])
    .filters(&[
        "availability-zone",
        "availability-zone-id",
        "owner-id",
        "snapshot-id",
        "state",
    ])
    .paging(&OF_RESTORES)
    .answers(&[Element::text("fastSnapshotRestoreSet")])
    .remark("empty: volumes of any snapshot are made at once"),
    Action::new("DescribeSnapshotTierStatus", |call, xml| {
        Box::pin(describe_tiers(call, xml))
    })
    .rules(&[Rule::VolumeGetAllSnapshots])
    .parameters(&[FILTER, MAX_RESULTS, NEXT_TOKEN])
    .filters(&["last-tiering-operation", "snapshot-id", "volume-id"])
    .paging(&OF_TIERS)
    .answers(&[Element::text("snapshotTierStatusSet")])
    .remark("empty: no snapshot was ever moved to another tier"),
];

const OF_RESTORES: Paging = Paging {
    mark: 23,
    ids: "snapshotIdsSet",
    max_results: "maxResults",
    bad_token: BadToken::Unparsed,
};
const OF_TIERS: Paging = Paging {
    mark: 24,
    ids: "snapshotIdsSet",
    max_results: "maxResults",
    bad_token: BadToken::Unparsed,
};

async fn describe_restores(call: &Call, xml: &mut Xml) -> Result<()> {
    check(call, &OF_RESTORES)?;
    xml.empty("fastSnapshotRestoreSet");
    Ok(())
}

async fn describe_tiers(call: &Call, xml: &mut Xml) -> Result<()> {
    check(call, &OF_TIERS)?;
    xml.empty("snapshotTierStatusSet");
    Ok(())
}

fn check(call: &Call, paging: &Paging) -> Result<()> {
    page::read(call, paging, &[])?;
    filters::read(call.arguments(), call.action.filters)?;
    Ok(())
}
