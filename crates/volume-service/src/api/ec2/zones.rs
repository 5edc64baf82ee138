//! DescribeAvailabilityZones.

use super::fault::{Code, Ec2Fault, Result};
use super::filters::{self, FILTER, Filter};
use super::route::{Action, Call, Element};
use super::schema::{Kind, LIST_MAX, Parameter};
use super::words;
use super::xml::Xml;
use crate::api::identity::REGION;
use crate::app::overview::{self, Zone};

/// Longest name of a zone, in characters.
const NAME: Kind = Kind::Text { max: 255 };

pub(super) const ACTIONS: &[Action] = &[Action::new("DescribeAvailabilityZones", |call, xml| {
    Box::pin(describe(call, xml))
})
.parameters(&[
    Parameter::new("ZoneName", Kind::List(&NAME, LIST_MAX)),
    Parameter::new("ZoneId", Kind::List(&NAME, LIST_MAX)),
    FILTER,
    Parameter::new("AllAvailabilityZones", Kind::Boolean),
])
.filters(NAMES)
.answers(&[Element::of(
    "availabilityZoneInfo",
    &[
        Element::text("zoneName"),
        Element::text("zoneState"),
        Element::text("regionName"),
        Element::text("zoneId"),
        Element::text("groupName"),
        Element::text("networkBorderGroup"),
        Element::text("optInStatus"),
        Element::text("zoneType"),
        Element::text("groupLongName"),
        Element::text("geographySet"),
        Element::text("messageSet"),
    ],
)])
.remark("a zone's id is its name, the region is `RegionOne`")];

/// The filters that there are.
const NAMES: &[&str] = &[
    "zone-name",
    "zone-id",
    "state",
    "region-name",
    "group-name",
    "group-long-name",
    "opt-in-status",
    "parent-zone-id",
    "parent-zone-name",
    "zone-type",
    "message",
];

async fn describe(call: &Call, xml: &mut Xml) -> Result<()> {
    let given = call.arguments();
    let mut names = given.list("ZoneName");
    names.extend(given.list("ZoneId"));
    let filters = filters::read(given, call.action.filters)?;
    let zones = overview::zones(&call.service, &call.context).await?;
    let unknown = |name: &&&str| !zones.iter().any(|zone| zone.name == ***name);
    if let Some(name) = names.iter().find(unknown) {
        return Err(Ec2Fault::coded(
            Code::InvalidParameterValue,
            format!("Invalid availability zone: [{}]", words::shown(name)),
        ));
    }
    let shown = zones.iter().filter(|zone| {
        let is_named = names.is_empty() || names.contains(&zone.name.as_str());
        is_named && filters.iter().all(|filter| passes(filter, zone))
    });
    xml.items("availabilityZoneInfo", shown, |xml, zone| {
        xml.text("zoneName", &zone.name);
        xml.text("zoneState", state(zone));
        xml.text("regionName", REGION);
        xml.text("zoneId", &zone.name);
        xml.text("groupName", REGION);
        xml.text("networkBorderGroup", REGION);
        xml.text("optInStatus", "opt-in-not-required");
        xml.text("zoneType", "availability-zone");
        xml.text("groupLongName", REGION);
        xml.empty("geographySet");
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

fn passes(filter: &Filter, zone: &Zone) -> bool {
    filter.matches(match filter.name.as_str() {
        "zone-name" | "zone-id" => &zone.name,
        "state" => state(zone),
        "region-name" | "group-name" | "group-long-name" => REGION,
        "opt-in-status" => "opt-in-not-required",
        "zone-type" => "availability-zone",
        // No zone lies within another one.
        "message" | "parent-zone-id" | "parent-zone-name" => "",
        // The names are checked before.
        _ => return false,
    })
}
