//! DescribeInstanceStatus.

use super::fault::Result;
use super::filters::{self, FILTER};
use super::instance_filters::{self, health};
use super::instance_view::{self, state};
use super::instances::{INCLUDE_MANAGED, described};
use super::page::{self, BadToken, MAX_RESULTS, NEXT_TOKEN, Paging};
use super::route::{Action, Call, Element};
use super::schema::{Kind, Parameter};
use super::xml::Xml;
use crate::app::instances::Shown;
use crate::auth::rule::Rule;

pub(super) const ACTIONS: &[Action] = &[Action::new("DescribeInstanceStatus", |call, xml| {
    Box::pin(describe(call, xml))
})
.rules(&[Rule::VolumeGetAll])
.parameters(&[
    page::ids("InstanceId", &page::INSTANCE_IDS),
    FILTER,
    Parameter::new("IncludeAllInstances", Kind::Boolean),
    MAX_RESULTS,
    NEXT_TOKEN,
    INCLUDE_MANAGED,
])
.filters(instance_filters::STATUS_NAMES)
.paging(&PAGING)
.answers(&[
    Element::of(
        "instanceStatusSet",
        &[
            Element::text("instanceId"),
            Element::text("availabilityZone"),
            Element::of("instanceState", instance_view::STATE),
            Element::of("systemStatus", STATUS),
            Element::of("instanceStatus", STATUS),
            Element::text("eventsSet"),
        ],
    ),
    Element::text("nextToken"),
])
.remark("what runs is `ok`: a pool does not look into its guests; without `IncludeAllInstances` only what runs")];

const PAGING: Paging = Paging {
    mark: 41,
    ids: "instancesSet",
    max_results: "maxResults",
    bad_token: BadToken::Unparsed,
};
const STATUS: &[Element] = &[
    Element::text("status"),
    Element::of("details", &[Element::text("name"), Element::text("status")]),
];

async fn describe(call: &Call, xml: &mut Xml) -> Result<()> {
    let given = call.arguments();
    let ids = given.list("InstanceId");
    let wanted = page::read(call, &PAGING, &ids)?;
    let filters = filters::read(given, call.action.filters)?;
    let are_all = given.flag("IncludeAllInstances");
    let is_wanted = |shown: &Shown| are_all || is_running(shown);
    let page = described(call, &filters, &ids, &wanted, is_wanted).await?;
    xml.items("instanceStatusSet", &page.instances, |xml, shown| {
        xml.text("instanceId", &shown.instance.id.ec2_id());
        xml.text("availabilityZone", &shown.instance.zone);
        instance_view::write_state(xml, &shown.instance);
        for name in ["systemStatus", "instanceStatus"] {
            xml.element(name, |xml| write_health(xml, is_running(shown)));
        }
        xml.empty("eventsSet");
    });
    if let Some(last) = page.next {
        xml.text("nextToken", &page::token_of(&PAGING, last));
    }
    Ok(())
}

fn is_running(shown: &Shown) -> bool {
    state(&shown.instance).1 == "running"
}

fn write_health(xml: &mut Xml, is_running: bool) {
    let (status, reachability) = health(is_running);
    xml.text("status", status);
    xml.items("details", reachability, |xml, word| {
        xml.text("name", "reachability");
        xml.text("status", word);
    });
}
