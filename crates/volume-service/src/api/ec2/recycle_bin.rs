//! The recycle bin, which is always empty: what is deleted is gone. Lists are empty, and what should be restored does not exist.

use super::fault::{Code, Ec2Fault, Result};
use super::ids::{Dialect, Noun};
use super::page::{self, BadToken, MAX_RESULTS, NEXT_TOKEN, Paging};
use super::route::{Action, Call, Element};
use super::schema::{Kind, Parameter};
use super::snapshots::SNAPSHOT_ID;
use super::words;
use super::xml::Xml;
use crate::auth::rule::Rule;

pub(super) const ACTIONS: &[Action] = &[
    Action::new("ListSnapshotsInRecycleBin", |call, xml| {
        Box::pin(list_snapshots(call, xml))
    })
    .rules(&[Rule::VolumeGetAllSnapshots])
    .parameters(&[
        page::ids("SnapshotId", &page::SNAPSHOT_IDS),
        MAX_RESULTS,
        NEXT_TOKEN,
    ])
    .paging(&OF_SNAPSHOTS)
    .answers(&[Element::text("snapshotSet")])
    .remark("empty: what is deleted is gone"),
    Action::new("ListVolumesInRecycleBin", |call, xml| {
        Box::pin(list_volumes(call, xml))
    })
    .rules(&[Rule::VolumeGetAll])
    .parameters(&[
        page::ids("VolumeId", &page::VOLUME_IDS),
        MAX_RESULTS,
        NEXT_TOKEN,
    ])
    .paging(&OF_VOLUMES)
    .answers(&[Element::text("volumeSet")])
    .remark("empty: what is deleted is gone"),
    Action::new("RestoreSnapshotFromRecycleBin", |call, xml| {
        Box::pin(restore(call, xml))
    })
    .rules(&[Rule::VolumeDeleteSnapshot])
    .parameters(&[SNAPSHOT_ID])
    .remark("`InvalidSnapshot.NotFound`: nothing is in the recycle bin"),
    Action::new("RestoreVolumeFromRecycleBin", |call, xml| {
        Box::pin(restore(call, xml))
    })
    .rules(&[Rule::VolumeDelete])
    .parameters(&[
        Parameter::new("VolumeId", Kind::Id(Noun::Volume, Dialect::Addressed))
            .required("The request must contain the parameter VolumeId"),
    ])
    .remark("`InvalidVolume.NotFound`: nothing is in the recycle bin"),
];

const OF_SNAPSHOTS: Paging = Paging {
    mark: 21,
    ids: "snapshotIdsSet",
    max_results: "maxResults",
    bad_token: BadToken::Unparsed,
};
const OF_VOLUMES: Paging = Paging {
    mark: 22,
    ids: "volumeIdsSet",
    max_results: "maxResults",
    bad_token: BadToken::Unparsed,
};

async fn list_snapshots(call: &Call, xml: &mut Xml) -> Result<()> {
    list(call, &OF_SNAPSHOTS, "SnapshotId", Noun::Snapshot)?;
    xml.empty("snapshotSet");
    Ok(())
}

async fn list_volumes(call: &Call, xml: &mut Xml) -> Result<()> {
    list(call, &OF_VOLUMES, "VolumeId", Noun::Volume)?;
    xml.empty("volumeSet");
    Ok(())
}

fn list(call: &Call, paging: &Paging, parameter: &str, noun: Noun) -> Result<()> {
    let ids = call.arguments().list(parameter);
    page::read(call, paging, &ids)?;
    match ids.is_empty() {
        true => Ok(()),
        false => Err(words::absent(noun, &ids)),
    }
}

async fn restore(call: &Call, _xml: &mut Xml) -> Result<()> {
    let given = call.arguments();
    let (noun, code, ec2_id) = match given.text("SnapshotId") {
        Some(ec2_id) => (Noun::Snapshot, Code::InvalidSnapshotNotFound, ec2_id),
        None => {
            let ec2_id = given.text("VolumeId").unwrap_or_default();
            (Noun::Volume, Code::InvalidVolumeNotFound, ec2_id)
        }
    };
    Err(Ec2Fault::coded(
        code,
        format!(
            "The {} '{}' is not in the recycle bin.",
            noun.word(),
            words::shown(ec2_id)
        ),
    ))
}
