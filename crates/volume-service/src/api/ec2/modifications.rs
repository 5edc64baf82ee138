//! ModifyVolume and DescribeVolumesModifications.

use super::super::timestamp;
use super::fault::{Code, Ec2Fault, Result};
use super::filters::{self, FILTER, Filter};
use super::ids::{Dialect, Noun};
use super::page::{self, BadToken, MAX_RESULTS, NEXT_TOKEN, Paging, Place};
use super::route::{Action, Call, DryRun, Element};
use super::schema::{Kind, Parameter};
use super::volume_list::find_all;
use super::volumes::{SIZE, find, named, size};
use super::xml::Xml;
use super::{performance, volume_view};
use crate::app::modifications::{self, Modification, ModificationState};
use crate::app::modify_volume::{self, Modified, ModifyVolume};
use crate::app::volume_performance::Performance;
use crate::auth::rule::Rule;
use crate::error::ErrorKind;
use crate::model::id::VolumeId;
use crate::model::volume::Volume;

/// Longest name of a type, in characters.
const NAME_MAX_CHARS: usize = 255;
/// Ids of volumes in the list of modifications.
const IDS: Kind = Kind::Id(Noun::Volume, Dialect::Addressed);

/// The filters of DescribeVolumesModifications. AWS documents two of them in camel case, and takes these.
const NAMES: &[&str] = &[
    "modification-state",
    "original-iops",
    "original-multi-attach-enabled",
    "original-size",
    "original-volume-type",
    "start-time",
    "target-iops",
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
            performance::IOPS,
            performance::THROUGHPUT,
            Parameter::new("MultiAttachEnabled", Kind::Boolean),
        ])
        .answers(&[Element::of("volumeModification", MODIFICATION)])
        .remark(
            "a larger volume, attached or not, of another type where it can stay on its storage (`UnsupportedOperation` says why not), \
             with other figures, all or nothing; figures reach who attaches it next",
        ),
    Action::new("DescribeVolumesModifications", |call, xml| {
        Box::pin(describe(call, xml))
    })
    .rules(&[Rule::VolumeGetAll])
    .parameters(&[
        page::ids("VolumeId", &IDS),
        FILTER,
        MAX_RESULTS,
        NEXT_TOKEN,
        Parameter::new("IncludeManagedResources", Kind::Boolean),
    ])
    .filters(NAMES)
    .paging(&PAGING)
    .answers(&[
        Element::of("volumeModificationSet", MODIFICATION),
        Element::text("nextToken"),
    ])
    .remark("the latest of each volume, as long as it is there; by the age of the volumes"),
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
    Element::text("targetIops"),
    Element::text("targetThroughput"),
    Element::text("targetVolumeType"),
    Element::text("targetMultiAttachEnabled"),
    Element::text("originalSize"),
    Element::text("originalIops"),
    Element::text("originalThroughput"),
    Element::text("originalVolumeType"),
    Element::text("originalMultiAttachEnabled"),
    Element::text("progress"),
    Element::text("startTime"),
    Element::text("endTime"),
    volume_view::OPERATOR,
];

async fn modify(call: &Call, xml: &mut Xml) -> Result<()> {
    let given = call.arguments();
    let ec2_id = given.text("VolumeId").unwrap_or_default();
    let wanted = ModifyVolume {
        size_gib: size(given),
        flavor: given.text("VolumeType").map(str::to_owned),
        asked: performance::asked(given),
        multiattach: given
            .get("MultiAttachEnabled")
            .map(|_| given.flag("MultiAttachEnabled")),
    };
    let asks_for_nothing = wanted.size_gib.is_none()
        && wanted.flavor.is_none()
        && wanted.asked == Performance::default()
        && wanted.multiattach.is_none();
    if asks_for_nothing {
        return Err(Ec2Fault::coded(
            Code::InvalidParameterValue,
            "Invalid input: Must specify at least one of size, type, iops, throughput or multi-attach.",
        ));
    }
    let volume = find(call, ec2_id).await?;
    let (id, status) = (volume.id, volume.status);
    let modified = modify_volume::modify(&call.service, &call.context, id, wanted)
        .await
        .map_err(|error| match error.kind {
            ErrorKind::QuotaExceeded => {
                Ec2Fault::coded(Code::VolumeModificationSizeLimitExceeded, error.public)
            }
            _ => named(error, ec2_id).of_volume(status),
        })?;
    let modification = begun(modified, ec2_id)?;
    xml.element("volumeModification", |xml| write(xml, &modification));
    Ok(())
}

/// The modification that was begun, or the refusal in EC2's words.
fn begun(modified: Modified, ec2_id: &str) -> Result<Modification> {
    let (code, words) = match modified {
        Modified::Begun(modification) => return Ok(*modification),
        Modified::Unfit(unfit) => return Err(performance::refused(unfit)),
        Modified::UnderWay => (
            Code::IncorrectModificationState,
            format!("Volume {ec2_id} cannot be modified in modification state MODIFYING"),
        ),
        Modified::Smaller => (
            Code::InvalidParameterValue,
            "New size cannot be smaller than existing size".to_owned(),
        ),
        Modified::OneInstance(label) => (
            Code::InvalidParameterCombination,
            format!("The parameter multi-attach-enabled is not supported for {label} volumes."),
        ),
        Modified::FixedType(why) => (
            Code::UnsupportedOperation,
            format!("The volume {ec2_id} cannot have this type: {why}."),
        ),
    };
    Err(Ec2Fault::coded(code, words))
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
    let named = find_all(call, ids).await?;
    let wanted = named.iter().map(|volume| volume.id).collect();
    let found = modifications::of_volumes(&call.service, &call.context, wanted).await?;
    let has_none = |volume: &&Volume| found.iter().all(|found| found.volume_id != volume.id);
    if let Some(volume) = named.iter().find(has_none) {
        return Err(Ec2Fault::coded(
            Code::InvalidVolumeModificationNotFound,
            format!(
                "Modification for volume '{}' does not exist.",
                volume.ec2_id
            ),
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

async fn scan(call: &Call, filters: &[Filter], wanted: &page::Wanted) -> Result<Described> {
    let mut page = Described::default();
    let mut after = wanted.after.map(|(us, id)| (us, VolumeId(id)));
    let limit = filters.is_empty().then_some(wanted.max_results);
    for _ in 0..page::SCAN_PAGES_MAX {
        let found = modifications::list(&call.service, &call.context, after, limit).await?;
        let last = found.items.last().filter(|_| found.has_more);
        page.next = last.map(|(us, last)| (*us, last.volume_id.0));
        let mut taken = None;
        for (made_at_us, modification) in found.items {
            if page.modifications.len() == wanted.max_results {
                page.next = taken;
                return Ok(page);
            }
            taken = Some((made_at_us, modification.volume_id.0));
            let is_wanted = passes(filters, &modification);
            filters::pause(filters).await?;
            if is_wanted {
                page.modifications.push(modification);
            }
        }
        if page.next.is_none() || page.modifications.len() == wanted.max_results {
            break;
        }
        after = page.next.map(|(us, id)| (us, VolumeId(id)));
    }
    Ok(page)
}

fn passes(filters: &[Filter], modification: &Modification) -> bool {
    let (original, target) = (&modification.original, &modification.target);
    let number = |filter: &Filter, number: Option<u64>| {
        number.is_some_and(|number| filter.matches(&number.to_string()))
    };
    let flag = |filter: &Filter, flag: bool| filter.matches(if flag { "true" } else { "false" });
    let matches = |filter: &Filter| match filter.name.as_str() {
        "modification-state" => filter.matches(modification.state.as_str()),
        "original-iops" => number(filter, original.iops),
        "original-multi-attach-enabled" => flag(filter, original.multiattach),
        "original-size" => number(filter, Some(original.size_gib)),
        "original-volume-type" => filter.matches(&original.flavor_label),
        "start-time" => filter.matches(&timestamp::ec2(modification.started_at_us)),
        "target-iops" => number(filter, target.iops),
        "target-multi-attach-enabled" => flag(filter, target.multiattach),
        "target-size" => number(filter, Some(target.size_gib)),
        "target-volume-type" => filter.matches(&target.flavor_label),
        "volume-id" => filter.matches(&modification.volume_id.ec2_id()),
        // The names are checked before.
        _ => false,
    };
    filters.iter().all(matches)
}

fn write(xml: &mut Xml, modification: &Modification) {
    let (original, target) = (&modification.original, &modification.target);
    let is_completed = modification.state == ModificationState::Completed;
    xml.text("volumeId", &modification.volume_id.ec2_id());
    xml.text("modificationState", modification.state.as_str());
    if !modification.failure.is_empty() {
        xml.text("statusMessage", &modification.failure);
    }
    xml.number("targetSize", target.size_gib);
    if let Some(iops) = target.iops {
        xml.number("targetIops", iops);
    }
    xml.text("targetVolumeType", &target.flavor_label);
    if let Some(throughput) = target.throughput {
        xml.number("targetThroughput", throughput);
    }
    xml.flag("targetMultiAttachEnabled", target.multiattach);
    xml.number("originalSize", original.size_gib);
    if let Some(iops) = original.iops {
        xml.number("originalIops", iops);
    }
    xml.text("originalVolumeType", &original.flavor_label);
    if let Some(throughput) = original.throughput {
        xml.number("originalThroughput", throughput);
    }
    xml.flag("originalMultiAttachEnabled", original.multiattach);
    xml.number("progress", if is_completed { 100 } else { 0 });
    xml.time("startTime", modification.started_at_us);
    if let Some(ended_at_us) = modification.ended_at_us {
        xml.time("endTime", ended_at_us);
    }
    volume_view::write_operator(xml);
}
