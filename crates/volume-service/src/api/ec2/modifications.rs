//! ModifyVolume, which makes volumes larger, and DescribeVolumesModifications.

use super::super::timestamp;
use super::fault::{Code, Ec2Fault, Result};
use super::filters::{self, FILTER, Filter};
use super::ids::{Dialect, Noun};
use super::page::{self, BadToken, MAX_RESULTS, NEXT_TOKEN, Paging, Place};
use super::route::{Action, Call, DryRun, Element};
use super::schema::{Kind, Parameter};
use super::volume_list::{find_all, place};
use super::volumes::{SIZE, find, named, size};
use super::words;
use super::xml::Xml;
use crate::app::modifications::{self, Modification, ModificationState};
use crate::app::snapshots::InUse;
use crate::app::volumes::{self, SortDirection, SortKey, VolumeQuery};
use crate::auth::rule::Rule;
use crate::error::ErrorKind;
use crate::model::id::VolumeId;
use crate::model::volume::{Volume, VolumeStatus};

/// Longest name of a type, in characters.
const NAME_MAX_CHARS: usize = 255;
/// Any whole number.
const ANY_NUMBER: Kind = Kind::Number {
    min: i64::MIN,
    max: i64::MAX,
};
/// Ids of volumes in the list of modifications.
const IDS: Kind = Kind::Id(Noun::Volume, Dialect::Addressed);

/// The filters of DescribeVolumesModifications. AWS documents two of them in camel case, and takes these.
const NAMES: &[&str] = &[
    "modification-state",
    "original-multi-attach-enabled",
    "original-size",
    "original-volume-type",
    "start-time",
    "target-multi-attach-enabled",
    "target-size",
    "target-volume-type",
    "volume-id",
];

pub(super) const ACTIONS: &[Action] = &[
    Action::new("ModifyVolume", |call, xml| Box::pin(modify(call, xml)))
        .rules(&[Rule::VolumeExtend])
        .dry_run(DryRun::First)
        .parameters(&[
            Parameter::new("VolumeId", Kind::Id(Noun::Volume, Dialect::Addressed)).required(
                "Value (null) for parameter volumeId is invalid. Parameter may not be null or empty.",
            ),
            SIZE,
            Parameter::new(
                "VolumeType",
                Kind::Text {
                    max: NAME_MAX_CHARS,
                },
            ),
            Parameter::new("Iops", ANY_NUMBER).unbuilt(),
            Parameter::new("MultiAttachEnabled", Kind::Boolean).unbuilt(),
            Parameter::new("Throughput", ANY_NUMBER).unbuilt(),
        ])
        .answers(&[Element::of("volumeModification", MODIFICATION)])
        .remark("makes a volume larger, attached or not; `VolumeType` is the one that it has"),
    Action::new("DescribeVolumesModifications", |call, xml| {
        Box::pin(describe(call, xml))
    })
    .rules(&[Rule::VolumeGetAll])
    .parameters(&[
        page::ids("VolumeId", &IDS),
        FILTER,
        MAX_RESULTS,
        NEXT_TOKEN,
    ])
    .filters(NAMES)
    .paging(&PAGING)
    .answers(&[
        Element::of("volumeModificationSet", MODIFICATION),
        Element::text("nextToken"),
    ])
    .remark("the latest of each volume, for a week; by the age of the volumes"),
];

const PAGING: Paging = Paging {
    mark: 2,
    ids: "volumeModificationSet",
    max_results: "MaxResults",
    bad_token: BadToken::Invalid,
};

const MODIFICATION: &[Element] = &[
    Element::text("volumeId"),
    Element::text("modificationState"),
    Element::text("statusMessage"),
    Element::text("targetSize"),
    Element::text("targetVolumeType"),
    Element::text("targetMultiAttachEnabled"),
    Element::text("originalSize"),
    Element::text("originalVolumeType"),
    Element::text("originalMultiAttachEnabled"),
    Element::text("progress"),
    Element::text("startTime"),
    Element::text("endTime"),
];

async fn modify(call: &Call, xml: &mut Xml) -> Result<()> {
    let given = call.arguments();
    let ec2_id = given.text("VolumeId").unwrap_or_default();
    let target = size(given);
    if target.is_none() && given.text("VolumeType").is_none() {
        return Err(Ec2Fault::coded(
            Code::InvalidParameterValue,
            "Invalid input: Must specify at least one of size, type, iops, throughput or multi-attach.",
        ));
    }
    let volume = find(call, ec2_id).await?;
    check_type(&volume, given.text("VolumeType"))?;
    let Some(target_gib) = target else {
        return Err(words::missing(
            "The request must contain the parameter size: nothing else of a volume can be modified.",
        ));
    };
    check_size(&volume, target_gib)?;
    if volume.status == VolumeStatus::Extending {
        return Err(Ec2Fault::coded(
            Code::IncorrectModificationState,
            format!("Volume {ec2_id} cannot be modified in modification state MODIFYING"),
        ));
    }
    let (id, status) = (volume.id, volume.status);
    let extended = volumes::extend(&call.service, &call.context, id, target_gib, InUse::Allow)
        .await
        .map_err(|error| match error.kind {
            ErrorKind::QuotaExceeded => Ec2Fault::coded(
                Code::VolumeModificationSizeLimitExceeded,
                error.public.clone(),
            ),
            _ => named(error, ec2_id).of_volume(status),
        })?;
    let begun = modifications::of_volumes(&call.service, &call.context, vec![extended]).await?;
    xml.element("volumeModification", |xml| {
        for modification in &begun {
            write(xml, modification);
        }
    });
    Ok(())
}

/// The type cannot change; naming the one that the volume has is no change.
fn check_type(volume: &Volume, wanted: Option<&str>) -> Result<()> {
    match wanted {
        Some(wanted) if wanted != volume.flavor_label && !wanted.is_empty() => {
            Err(Ec2Fault::coded(
                Code::UnsupportedOperation,
                "The type of a volume cannot be modified.",
            ))
        }
        _ => Ok(()),
    }
}

fn check_size(volume: &Volume, target_gib: u64) -> Result<()> {
    if target_gib > volume.size_gib {
        return Ok(());
    }
    Err(Ec2Fault::coded(
        Code::InvalidParameterValue,
        format!(
            "New size must be larger than the existing size of {} GiB: a volume can only grow.",
            volume.size_gib
        ),
    ))
}

async fn describe(call: &Call, xml: &mut Xml) -> Result<()> {
    let given = call.arguments();
    let ids = given.list("VolumeId");
    let wanted = page::read(call, &PAGING, &ids)?;
    let page = if ids.is_empty() {
        let filters = filters::read(given, call.action.filters)?;
        scan(call, &filters, &wanted).await?
    } else {
        of_named(call, &ids).await?
    };
    xml.items("volumeModificationSet", &page.modifications, write);
    if let Some(last) = page.next {
        xml.text("nextToken", &page::token_of(&PAGING, last));
    }
    Ok(())
}

#[derive(Default)]
struct Described {
    modifications: Vec<Modification>,
    /// The last volume looked at, when there are more behind it.
    next: Option<Place>,
}

/// Says what is missing before it looks at the filters, as EC2 does.
async fn of_named(call: &Call, ids: &[&str]) -> Result<Described> {
    let wanted = find_all(call, ids).await?;
    let names: Vec<String> = wanted.iter().map(|volume| volume.ec2_id.clone()).collect();
    let found = modifications::of_volumes(&call.service, &call.context, wanted).await?;
    let has_none = |name: &&String| found.iter().all(|found| found.volume.ec2_id != **name);
    if let Some(name) = names.iter().find(has_none) {
        return Err(Ec2Fault::coded(
            Code::InvalidVolumeModificationNotFound,
            format!("Modification for volume '{name}' does not exist."),
        ));
    }
    let filters = filters::read(call.arguments(), call.action.filters)?;
    let mut page = Described::default();
    for modification in found {
        let is_wanted = passes(&filters, &modification);
        filters::pause(&filters).await?;
        if is_wanted {
            page.modifications.push(modification);
        }
    }
    Ok(page)
}

/// Goes through the volumes, since few have been modified.
async fn scan(call: &Call, filters: &[Filter], wanted: &page::Wanted) -> Result<Described> {
    let mut query = VolumeQuery {
        sort: vec![(SortKey::CreatedAt, SortDirection::Ascending)],
        after: wanted.after.map(|(us, id)| (us, VolumeId(id))),
        ..VolumeQuery::default()
    };
    let mut page = Described::default();
    for _ in 0..page::SCAN_PAGES_MAX {
        let volumes = volumes::list(&call.service, &call.context, query.clone()).await?;
        page.next = volumes.items.last().map(place).filter(|_| volumes.has_more);
        let found = modifications::of_volumes(&call.service, &call.context, volumes.items).await?;
        for modification in found {
            let is_wanted = passes(filters, &modification);
            filters::pause(filters).await?;
            if !is_wanted {
                continue;
            }
            if page.modifications.len() == wanted.max_results {
                page.next = page.modifications.last().map(|last| place(&last.volume));
                return Ok(page);
            }
            page.modifications.push(modification);
        }
        if page.next.is_none() {
            break;
        }
        query.after = page.next.map(|(us, id)| (us, VolumeId(id)));
    }
    Ok(page)
}

fn passes(filters: &[Filter], modification: &Modification) -> bool {
    let matches = |filter: &Filter| match filter.name.as_str() {
        "modification-state" => filter.matches(state(modification.state)),
        "original-multi-attach-enabled" | "target-multi-attach-enabled" => filter.matches("false"),
        "original-size" => filter.matches(&modification.original_gib.to_string()),
        "target-size" => filter.matches(&modification.target_gib.to_string()),
        "original-volume-type" | "target-volume-type" => {
            filter.matches(&modification.volume.flavor_label)
        }
        "start-time" => filter.matches(&timestamp::ec2(modification.started_at_us)),
        "volume-id" => filter.matches(&modification.volume.ec2_id),
        // The names are checked before.
        _ => false,
    };
    filters.iter().all(matches)
}

fn state(state: ModificationState) -> &'static str {
    match state {
        ModificationState::Modifying => "modifying",
        ModificationState::Completed => "completed",
        ModificationState::Failed => "failed",
    }
}

fn write(xml: &mut Xml, modification: &Modification) {
    let flavor = &modification.volume.flavor_label;
    let is_completed = modification.state == ModificationState::Completed;
    xml.text("volumeId", &modification.volume.ec2_id);
    xml.text("modificationState", state(modification.state));
    if !modification.failure.is_empty() {
        xml.text("statusMessage", &modification.failure);
    }
    xml.number("targetSize", modification.target_gib);
    xml.text("targetVolumeType", flavor);
    xml.flag("targetMultiAttachEnabled", false);
    xml.number("originalSize", modification.original_gib);
    xml.text("originalVolumeType", flavor);
    xml.flag("originalMultiAttachEnabled", false);
    xml.number("progress", if is_completed { 100 } else { 0 });
    xml.time("startTime", modification.started_at_us);
    if let Some(ended_at_us) = modification.ended_at_us {
        xml.time("endTime", ended_at_us);
    }
}
