//! DescribeAvailabilityZones.

use super::Call;
use super::fault::{Code, Ec2Fault, Result};
use super::filters::{self, Filter};
use super::xml::Xml;
use crate::api::identity::REGION;
use crate::app::overview::{self, Zone};

/// The filters that there are.
const NAMES: [&str; 9] = [
    "zone-name",
    "zone-id",
    "state",
    "region-name",
    "group-name",
    "network-border-group",
    "opt-in-status",
    "zone-type",
    "message",
];

pub(super) async fn describe(call: &Call, xml: &mut Xml) -> Result<()> {
    let parameters = &call.parameters;
    parameters.only(&["ZoneName", "ZoneId", "Filter", "AllAvailabilityZones"])?;
    let mut names = parameters.list("ZoneName")?;
    names.extend(parameters.list("ZoneId")?);
    let filters = filters::read(parameters, &NAMES)?;
    call.stop_if_dry()?;
    let zones = overview::zones(&call.service, &call.context).await?;
    if let Some(name) = names
        .iter()
        .find(|name| !zones.iter().any(|zone| zone.name == **name))
    {
        let name: String = name.chars().take(64).collect();
        return Err(Ec2Fault::coded(
            Code::InvalidParameterValue,
            format!("Invalid availability zone: [{name}]"),
        ));
    }
    let mut shown = Vec::with_capacity(zones.len());
    for zone in &zones {
        let mut passes = names.is_empty() || names.contains(&zone.name.as_str());
        for filter in &filters {
            passes &= filter.matches_any(&[field(zone, filter)?]);
        }
        if passes {
            shown.push(zone);
        }
    }
    xml.items("availabilityZoneInfo", shown, |xml, zone| {
        xml.text("zoneName", &zone.name);
        xml.text("zoneState", state(zone));
        xml.text("regionName", REGION);
        xml.text("zoneId", &zone.name);
        xml.text("groupName", REGION);
        xml.text("networkBorderGroup", REGION);
        xml.text("optInStatus", "opt-in-not-required");
        xml.text("zoneType", "availability-zone");
        xml.empty("messageSet");
    });
    Ok(())
}

fn state(zone: &Zone) -> &'static str {
    if zone.available {
        "available"
    } else {
        "unavailable"
    }
}

fn field(zone: &Zone, filter: &Filter) -> Result<String> {
    let text = match filter.name.as_str() {
        "zone-name" | "zone-id" => &zone.name,
        "state" => state(zone),
        "region-name" | "group-name" | "network-border-group" => REGION,
        "opt-in-status" => "opt-in-not-required",
        "zone-type" => "availability-zone",
        "message" => "",
        _ => return Err(filters::unknown(&filter.name)),
    };
    Ok(text.to_owned())
}
