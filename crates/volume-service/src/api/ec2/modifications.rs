//! ModifyVolume, which makes volumes larger, and DescribeVolumesModifications.

use super::super::timestamp;
use super::fault::{Code, Ec2Fault, Result};
use super::filters::{self, Filter};
use super::volumes::{find, named, size};
use super::xml::Xml;
use super::{Call, page};
use crate::app::modifications::{self, Modification, ModificationState};
use crate::app::snapshots::InUse;
use crate::app::volumes::{self, SortDirection, SortKey, VolumeQuery};
use crate::model::id::VolumeId;
use crate::model::volume::{Volume, VolumeStatus};

/// Parameters of ModifyVolume that ask for something that is not built.
const UNBUILT: [&str; 3] = ["Iops", "Throughput", "MultiAttachEnabled"];

/// The filters of DescribeVolumesModifications.
const NAMES: [&str; 9] = [
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

pub(super) async fn modify(call: &Call, xml: &mut Xml) -> Result<()> {
    let parameters = &call.parameters;
    let known = ["VolumeId", "Size", "VolumeType"];
    parameters.only(&[known.as_slice(), UNBUILT.as_slice()].concat())?;
    parameters.refuse_unbuilt(&UNBUILT)?;
    let ec2_id = parameters.required("VolumeId")?;
    let target = size(parameters)?;
    let volume = find(call, ec2_id).await?;
    check_type(&volume, parameters.get("VolumeType"))?;
    let Some(target_gib) = target else {
        return Err(Ec2Fault::coded(
            Code::MissingParameter,
            "The request must contain the parameter size: nothing else of a volume can be modified.",
        ));
    };
    check_size(&volume, target_gib)?;
    if volume.status == VolumeStatus::Extending {
        return Err(Ec2Fault::coded(
            Code::IncorrectModificationState,
            format!("Cannot modify volume '{ec2_id}', currently in modification state 'modifying'"),
        ));
    }
    volumes::check_may_change(&call.context)?;
    call.stop_if_dry()?;
    let (id, status) = (volume.id, volume.status);
    let extended = volumes::extend(&call.service, &call.context, id, target_gib, InUse::Allow)
        .await
        .map_err(|error| named(error, ec2_id).of_volume(status))?;
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

pub(super) async fn describe(call: &Call, xml: &mut Xml) -> Result<()> {
    let parameters = &call.parameters;
    parameters.only(&["VolumeId", "Filter", "MaxResults", "NextToken"])?;
    let ids = parameters.list("VolumeId")?;
    let filters = filters::read(parameters, &NAMES)?;
    let page_max = call.service.config.limits.page_max;
    let wanted = page::read(parameters, page_max, &ids, "volumeIds")?;
    call.stop_if_dry()?;
    let page = if ids.is_empty() {
        scan(call, &filters, &wanted).await?
    } else {
        of_named(call, &filters, &ids).await?
    };
    xml.items("volumeModificationSet", &page.modifications, write);
    if let Some(last) = page.next {
        xml.text("nextToken", &page::token_of(last.0));
    }
    Ok(())
}

#[derive(Default)]
struct Described {
    modifications: Vec<Modification>,
    /// The last volume looked at, when there are more behind it.
    next: Option<VolumeId>,
}

async fn of_named(call: &Call, filters: &[Filter], ids: &[&str]) -> Result<Described> {
    let mut page = Described::default();
    for ec2_id in ids {
        let volume = find(call, ec2_id).await?;
        let found = modifications::of_volumes(&call.service, &call.context, vec![volume]).await?;
        if found.is_empty() {
            return Err(Ec2Fault::coded(
                Code::InvalidVolumeModificationNotFound,
                format!("Modification for volume '{ec2_id}' does not exist."),
            ));
        }
        page.modifications
            .extend(found.into_iter().filter(|found| passes(filters, found)));
    }
    Ok(page)
}

/// Goes through the volumes, since few have been modified.
async fn scan(call: &Call, filters: &[Filter], wanted: &page::Wanted) -> Result<Described> {
    let mut query = VolumeQuery {
        sort: vec![(SortKey::CreatedAt, SortDirection::Ascending)],
        marker: wanted.marker.map(VolumeId),
        ..VolumeQuery::default()
    };
    let mut page = Described::default();
    for _ in 0..page::SCAN_PAGES_MAX {
        let volumes = volumes::list(&call.service, &call.context, query.clone())
            .await
            .map_err(|error| match error.kind {
                crate::error::ErrorKind::NotFound if query.marker.is_some() => page::bad_token(),
                _ => error.into(),
            })?;
        page.next = volumes
            .items
            .last()
            .map(|volume| volume.id)
            .filter(|_| volumes.has_more);
        let found = modifications::of_volumes(&call.service, &call.context, volumes.items).await?;
        for modification in found {
            if !passes(filters, &modification) {
                continue;
            }
            if page.modifications.len() == wanted.max_results {
                page.next = page.modifications.last().map(|last| last.volume.id);
                return Ok(page);
            }
            page.modifications.push(modification);
        }
        if page.next.is_none() {
            break;
        }
        query.marker = page.next;
    }
    Ok(page)
}

fn passes(filters: &[Filter], modification: &Modification) -> bool {
    let text = |filter: &Filter| match filter.name.as_str() {
        "modification-state" => state(modification.state).to_owned(),
        "original-multi-attach-enabled" | "target-multi-attach-enabled" => "false".to_owned(),
        "original-size" => modification.original_gib.to_string(),
        "target-size" => modification.target_gib.to_string(),
        "original-volume-type" | "target-volume-type" => modification.volume.flavor_label.clone(),
        "start-time" => timestamp::ec2(modification.started_at_us),
        "volume-id" => modification.volume.ec2_id.clone(),
        // Tags: a modification has none.
        _ => String::new(),
    };
    filters
        .iter()
        .all(|filter| NAMES.contains(&filter.name.as_str()) && filter.matches_any(&[text(filter)]))
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
    xml.text("volumeId", &modification.volume.ec2_id);
    xml.text("modificationState", state(modification.state));
    if !modification.failure.is_empty() {
        xml.text("statusMessage", &modification.failure);
    }
    xml.text("targetSize", &modification.target_gib.to_string());
    xml.text("targetVolumeType", flavor);
    xml.text("targetMultiAttachEnabled", "false");
    xml.text("originalSize", &modification.original_gib.to_string());
    xml.text("originalVolumeType", flavor);
    xml.text("originalMultiAttachEnabled", "false");
    let progress = if modification.state == ModificationState::Completed {
        "100"
    } else {
        "0"
    };
    xml.text("progress", progress);
    xml.text("startTime", &timestamp::ec2(modification.started_at_us));
    if let Some(ended_at_us) = modification.ended_at_us {
        xml.text("endTime", &timestamp::ec2(ended_at_us));
    }
}
