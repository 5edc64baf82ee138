//! DescribeInstanceTypes: the types of the instances that there are.

use std::collections::BTreeMap;

use super::fault::{Code, Ec2Fault, Result};
use super::filters::{self, FILTER, Filter};
use super::page::{self, BadToken, MAX_RESULTS, NEXT_TOKEN, Paging};
use super::route::{Action, Call, Element};
use super::schema::{Kind, LIST_MAX, Parameter};
use super::words;
use super::xml::Xml;
use crate::app::instance_attachments::ATTACHMENTS_PER_INSTANCE_MAX;
use crate::app::instances;
use crate::auth::rule::Rule;
use crate::model::instance::Instance;

/// Longest name of a type, in characters.
const NAME: Kind = Kind::Text { max: 255 };
/// What this pool's disks do not need or do not do.
const UNSUPPORTED: &str = "unsupported";

pub(super) const ACTIONS: &[Action] = &[Action::new("DescribeInstanceTypes", |call, xml| {
    Box::pin(describe(call, xml))
})
.rules(&[Rule::VolumeGetAll])
.parameters(&[
    Parameter::new("InstanceType", Kind::List(&NAME, LIST_MAX)),
    FILTER,
    MAX_RESULTS,
    NEXT_TOKEN,
    Parameter::new("IncludeUnsupportedInRegion", Kind::Boolean),
])
.filters(NAMES)
.paging(&PAGING)
.answers(&[
    Element::of("instanceTypeSet", TYPE),
    Element::text("nextToken"),
])
.remark(
    "the types of the instances that the project sees: `other_config:xensm:instance_type`, or `xen.<processors>x<GiB>`; all of them in \
     one page",
)];

const TYPE: &[Element] = &[
    Element::text("instanceType"),
    Element::text("currentGeneration"),
    Element::text("freeTierEligible"),
    Element::text("supportedUsageClasses"),
    Element::text("supportedRootDeviceTypes"),
    Element::text("supportedVirtualizationTypes"),
    Element::text("bareMetal"),
    Element::text("hypervisor"),
    Element::of("vCpuInfo", &[Element::text("defaultVCpus")]),
    Element::of("memoryInfo", &[Element::text("sizeInMiB")]),
    Element::text("instanceStorageSupported"),
    Element::of(
        "ebsInfo",
        &[
            Element::text("ebsOptimizedSupport"),
            Element::text("encryptionSupport"),
            Element::text("nvmeSupport"),
            Element::text("maximumEbsAttachments"),
            Element::text("attachmentLimitType"),
        ],
    ),
];
/// The filters that there are.
const NAMES: &[&str] = &[
    "bare-metal",
    "current-generation",
    "ebs-info.ebs-optimized-support",
    "ebs-info.encryption-support",
    "ebs-info.nvme-support",
    "free-tier-eligible",
    "hypervisor",
    "instance-storage-supported",
    "instance-type",
    "memory-info.size-in-mib",
    "supported-root-device-type",
    "supported-usage-class",
    "supported-virtualization-type",
    "vcpu-info.default-vcpus",
];
const PAGING: Paging = Paging {
    mark: 42,
    ids: "instanceTypesSet",
    max_results: "maxResults",
    bad_token: BadToken::Unparsed,
};

async fn describe(call: &Call, xml: &mut Xml) -> Result<()> {
    let given = call.arguments();
    let names = given.list("InstanceType");
    page::read(call, &PAGING, &names)?;
    let filters = filters::read(given, call.action.filters)?;
    let types = types(call).await?;
    if let Some(unknown) = names.iter().find(|name| !types.contains_key(**name)) {
        return Err(Ec2Fault::coded(
            Code::InvalidInstanceType,
            format!(
                "The following supplied instance types do not exist: [{}]",
                words::shown(unknown)
            ),
        ));
    }
    let mut wanted = Vec::new();
    for one in types.values() {
        let is_named = names.is_empty() || names.contains(&one.instance_type.as_str());
        let is_shown = is_named && filters.iter().all(|filter| passes(filter, one));
        filters::pause(&filters).await?;
        if is_shown {
            wanted.push(one);
        }
    }
    xml.items("instanceTypeSet", wanted, write);
    Ok(())
}

/// One instance of each type, by the type's name.
async fn types(call: &Call) -> Result<BTreeMap<String, Instance>> {
    let (mut types, mut after) = (BTreeMap::new(), None);
    for _ in 0..page::SCAN_PAGES_MAX {
        let limit = call.service.config.limits.page_max;
        let found = instances::list(&call.service, &call.context, after, limit).await?;
        let has_more = found.has_more;
        for shown in found.items {
            let instance = shown.instance;
            after = Some((instance.created_at_us, instance.id));
            let name = instance.instance_type.clone();
            types.entry(name).or_insert(instance);
        }
        if !has_more {
            break;
        }
    }
    Ok(types)
}

fn passes(filter: &Filter, one: &Instance) -> bool {
    filter.matches(match filter.name.as_str() {
        "instance-type" => &one.instance_type,
        "current-generation" => "true",
        "bare-metal" | "free-tier-eligible" | "instance-storage-supported" => "false",
        "hypervisor" => "xen",
        "supported-root-device-type" => "ebs",
        "supported-usage-class" => "on-demand",
        "supported-virtualization-type" => "hvm",
        "vcpu-info.default-vcpus" => return filter.matches(&one.vcpus.to_string()),
        "memory-info.size-in-mib" => return filter.matches(&one.memory_mib.to_string()),
        // The rest are `ebs-info.*`.
        _ => UNSUPPORTED,
    })
}

fn write(xml: &mut Xml, one: &Instance) {
    xml.text("instanceType", &one.instance_type);
    xml.flag("currentGeneration", true);
    xml.flag("freeTierEligible", false);
    xml.texts("supportedUsageClasses", &["on-demand"]);
    xml.texts("supportedRootDeviceTypes", &["ebs"]);
    xml.texts("supportedVirtualizationTypes", &["hvm"]);
    xml.flag("bareMetal", false);
    xml.text("hypervisor", "xen");
    xml.element("vCpuInfo", |xml| {
        xml.number("defaultVCpus", u64::from(one.vcpus));
    });
    xml.element("memoryInfo", |xml| xml.number("sizeInMiB", one.memory_mib));
    xml.flag("instanceStorageSupported", false);
    xml.element("ebsInfo", |xml| {
        for name in ["ebsOptimizedSupport", "encryptionSupport", "nvmeSupport"] {
            xml.text(name, UNSUPPORTED);
        }
        xml.number("maximumEbsAttachments", ATTACHMENTS_PER_INSTANCE_MAX as u64);
        xml.text("attachmentLimitType", "dedicated");
    });
}
