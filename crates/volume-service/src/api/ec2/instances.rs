//! DescribeInstances and DescribeInstanceAttribute.

use std::collections::HashSet;

use super::fault::Result;
use super::filters::{self, FILTER, Filter};
use super::ids::{Dialect, Noun};
use super::page::{self, BadToken, MAX_RESULTS, NEXT_TOKEN, Paging, Place, Wanted};
use super::route::{Action, Call, DryRun, Element};
use super::schema::{Kind, Parameter};
use super::xml::Xml;
use super::{instance_filters, instance_view, words};
use crate::app::instances::{self, Shown};
use crate::auth::rule::Rule;
use crate::model::id::InstanceId;

/// About what an instance takes in an answer, in bytes.
const INSTANCE_BYTES: usize = 1500;

/// The refusal of a request that names no instance.
pub(super) const NO_INSTANCE_ID: &str = "The request must contain the parameter InstanceId";
/// The instance that an action is about.
pub(super) const INSTANCE_ID: Parameter =
    Parameter::new("InstanceId", Kind::Id(Noun::Instance, Dialect::Addressed));
/// Takes what EC2's own services manage: nothing here.
pub(super) const INCLUDE_MANAGED: Parameter =
    Parameter::new("IncludeManagedResources", Kind::Boolean);

pub(super) const ACTIONS: &[Action] = &[
    Action::new("DescribeInstances", |call, xml| {
        Box::pin(describe(call, xml))
    })
    .rules(&[Rule::VolumeGetAll])
    .parameters(&[
        page::ids("InstanceId", &page::INSTANCE_IDS),
        FILTER,
        MAX_RESULTS,
        NEXT_TOKEN,
        INCLUDE_MANAGED,
    ])
    .filters(instance_filters::NAMES)
    .paging(&PAGING)
    .answers(&[
        Element::of("reservationSet", instance_view::RESERVATION),
        Element::text("nextToken"),
    ])
    .remark(
        "the VMs that `other_config:xensm:project` gives the project (ids with commas between them, or `*`), and the control domain of \
         our own storage manager; disks that are not the project's are shown with ids that no action takes; networks and images are empty",
    ),
    Action::new("DescribeInstanceAttribute", |call, xml| {
        Box::pin(describe_attribute(call, xml))
    })
    .rules(&[Rule::VolumeGetAll])
    .dry_run(DryRun::AfterLookup)
    .parameters(&[
        INSTANCE_ID.required(NO_INSTANCE_ID),
        Parameter::new("Attribute", Kind::Words(ATTRIBUTES))
            .required("The request must contain the parameter attribute"),
    ])
    .answers(&[
        Element::text("instanceId"),
        instance_view::MAPPING,
        Element::of("instanceType", VALUE),
        Element::of("rootDeviceName", VALUE),
    ])
    .remark("`blockDeviceMapping`, `instanceType` and `rootDeviceName`"),
];

const PAGING: Paging = Paging {
    mark: 40,
    ids: "instancesSet",
    max_results: "maxResults",
    bad_token: BadToken::Unparsed,
};
const ATTRIBUTES: &[&str] = &["blockDeviceMapping", "instanceType", "rootDeviceName"];
const VALUE: &[Element] = &[Element::text("value")];

async fn describe(call: &Call, xml: &mut Xml) -> Result<()> {
    let given = call.arguments();
    let ids = given.list("InstanceId");
    let wanted = page::read(call, &PAGING, &ids)?;
    let filters = filters::read(given, call.action.filters)?;
    let page = described(call, &filters, &ids, &wanted, |_| true).await?;
    xml.reserve(page.instances.len(), INSTANCE_BYTES);
    xml.items("reservationSet", &page.instances, |xml, shown| {
        instance_view::write(xml, shown, &call.context.project_id);
    });
    if let Some(last) = page.next {
        xml.text("nextToken", &page::token_of(&PAGING, last));
    }
    Ok(())
}

async fn describe_attribute(call: &Call, xml: &mut Xml) -> Result<()> {
    let given = call.arguments();
    let ec2_id = given.text("InstanceId").unwrap_or_default();
    let shown = find_all(call, &[ec2_id]).await?;
    call.stop_if_dry()?;
    for shown in &shown {
        xml.text("instanceId", &shown.instance.id.ec2_id());
        match given.text("Attribute") {
            Some("blockDeviceMapping") => instance_view::write_mapping(xml, shown),
            Some("instanceType") => {
                let named = &shown.instance.instance_type;
                xml.element("instanceType", |xml| xml.text("value", named));
            }
            _ => {
                let root = instance_view::root_device(&shown.instance);
                xml.element("rootDeviceName", |xml| xml.text("value", &root));
            }
        }
    }
    Ok(())
}

/// A page of instances.
#[derive(Default)]
pub(super) struct Described {
    pub(super) instances: Vec<Shown>,
    /// The last instance looked at, when there are more behind it.
    pub(super) next: Option<Place>,
}

/// The instances that are asked for and pass the filters and `is_wanted`.
pub(super) async fn described(
    call: &Call,
    filters: &[Filter],
    ids: &[&str],
    wanted: &Wanted,
    is_wanted: impl Fn(&Shown) -> bool,
) -> Result<Described> {
    let owner = &call.context.project_id;
    let passes = |shown: &Shown| {
        let passes = |filter| instance_filters::passes(filter, shown, owner);
        is_wanted(shown) && filters.iter().all(passes)
    };
    let mut page = Described::default();
    if !ids.is_empty() {
        for shown in find_all(call, ids).await? {
            let is_shown = passes(&shown);
            filters::pause(filters).await?;
            if is_shown {
                page.instances.push(shown);
            }
        }
        return Ok(page);
    }
    if filters.iter().any(Filter::matches_nothing) {
        return Ok(page);
    }
    let mut after = wanted.after.map(|(us, id)| (us, InstanceId(id)));
    for _ in 0..page::SCAN_PAGES_MAX {
        let limit = call.service.config.limits.page_max;
        let found = instances::list(&call.service, &call.context, after, limit).await?;
        let has_more = found.has_more;
        for shown in found.items {
            let place = (shown.instance.created_at_us, shown.instance.id.0);
            if page.instances.len() == wanted.max_results {
                return Ok(page);
            }
            let is_shown = passes(&shown);
            filters::pause(filters).await?;
            if is_shown {
                page.instances.push(shown);
            }
            page.next = Some(place);
        }
        if !has_more {
            page.next = None;
            break;
        }
        after = page.next.map(|(us, id)| (us, InstanceId(id)));
    }
    Ok(page)
}

/// The instances with these names, each once, in their order; refuses when one does not exist.
pub(super) async fn find_all(call: &Call, ids: &[&str]) -> Result<Vec<Shown>> {
    let wanted = ids.iter().map(|id| (*id).to_owned()).collect();
    let found = instances::by_ec2_ids(&call.service, &call.context, wanted).await?;
    let missing: Vec<&str> = ids
        .iter()
        .zip(&found)
        .filter(|(_, shown)| shown.is_none())
        .map(|(id, _)| *id)
        .collect();
    if !missing.is_empty() {
        return Err(words::absent(Noun::Instance, &missing));
    }
    let mut seen = HashSet::new();
    let mut shown: Vec<Shown> = found.into_iter().flatten().collect();
    shown.retain(|shown| seen.insert(shown.instance.id));
    Ok(shown)
}
