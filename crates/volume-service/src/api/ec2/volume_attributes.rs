//! DescribeVolumeAttribute, ModifyVolumeAttribute and EnableVolumeIO.

use super::fault::{Code, Ec2Fault, Result};
use super::ids::{Dialect, Noun};
use super::route::{Action, Call, DryRun, Element};
use super::schema::{Kind, Parameter};
use super::volumes::{find, named};
use super::words;
use super::xml::Xml;
use crate::app::volume_health::{self, EnableIo};
use crate::auth::rule::Rule;

/// Longest name of an attribute that is read at all, in characters.
const TEXT: Kind = Kind::Text { max: 1024 };
/// The refusal of a request that names no volume.
const NULL_ID: &str =
    "Value (null) for parameter volumeId is invalid. Parameter may not be null or empty.";

pub(super) const ACTIONS: &[Action] = &[
    Action::new("DescribeVolumeAttribute", |call, xml| {
        Box::pin(describe(call, xml))
    })
    .rules(&[Rule::VolumeGet])
    .dry_run(DryRun::First)
    .parameters(&[
        Parameter::new("VolumeId", Kind::Id(Noun::Volume, Dialect::Addressed)).required(NULL_ID),
        Parameter::new("Attribute", TEXT),
    ])
    .answers(&[
        Element::text("volumeId"),
        Element::of("autoEnableIO", &[Element::text("value")]),
        Element::text("productCodes"),
    ])
    .remark("`autoEnableIO`, or `productCodes`, which are empty"),
    Action::new("ModifyVolumeAttribute", |call, xml| {
        Box::pin(modify(call, xml))
    })
    .rules(&[Rule::VolumeUpdate])
    .dry_run(DryRun::First)
    .parameters(&[
        Parameter::new("VolumeId", Kind::Id(Noun::Volume, Dialect::Malformed)).required("volumeId"),
        Parameter::new(
            "AutoEnableIO",
            Kind::Struct(&[Parameter::new("Value", Kind::Boolean)]),
        ),
    ])
    .answers(&[Element::text("return")])
    .remark(
        "`AutoEnableIO` is kept and shown; a storage that does not answer is tried again by itself either way",
    ),
    Action::new("EnableVolumeIO", |call, xml| {
        Box::pin(enable_io(call, xml))
    })
    .rules(&[Rule::VolumeUpdate])
    .dry_run(DryRun::First)
    .parameters(&[
        Parameter::new("VolumeId", Kind::Id(Noun::Volume, Dialect::Addressed)).required(NULL_ID),
    ])
    .answers(&[Element::text("return")])
    .remark(
        "of a volume whose storage does not answer: it is connected anew at once; any other is `IncorrectState`",
    ),
];

fn none_named() -> Ec2Fault {
    Ec2Fault::coded(
        Code::InvalidParameterCombination,
        "No attributes specified.",
    )
}

async fn describe(call: &Call, xml: &mut Xml) -> Result<()> {
    let given = call.arguments();
    let attribute = given.text("Attribute").ok_or_else(none_named)?;
    if !matches!(attribute, "autoEnableIO" | "productCodes") {
        return Err(words::wrong("attribute", attribute, "Unknown attribute."));
    }
    let ec2_id = given.text("VolumeId").unwrap_or_default();
    let volume = find(call, ec2_id).await?;
    let ebs = volume_health::ebs(&call.service, &call.context, volume.id)
        .await
        .map_err(|error| named(error, ec2_id))?;
    xml.text("volumeId", &volume.ec2_id);
    match attribute {
        "autoEnableIO" => xml.element("autoEnableIO", |xml| {
            xml.flag("value", ebs.auto_enable_io);
        }),
        _ => xml.empty("productCodes"),
    }
    Ok(())
}

async fn modify(call: &Call, xml: &mut Xml) -> Result<()> {
    let given = call.arguments();
    let wanted = given.group("AutoEnableIO");
    if wanted.is_empty() {
        return Err(none_named());
    }
    let ec2_id = given.text("VolumeId").unwrap_or_default();
    let volume = find(call, ec2_id).await?;
    let is_wanted = wanted.flag("Value");
    volume_health::set_auto_enable_io(&call.service, &call.context, volume.id, is_wanted)
        .await
        .map_err(|error| named(error, ec2_id))?;
    xml.text("return", "true");
    Ok(())
}

async fn enable_io(call: &Call, xml: &mut Xml) -> Result<()> {
    let ec2_id = call.arguments().text("VolumeId").unwrap_or_default();
    let volume = find(call, ec2_id).await?;
    let outcome = volume_health::enable_io(&call.service, &call.context, volume.id)
        .await
        .map_err(|error| named(error, ec2_id))?;
    match outcome {
        EnableIo::Asked => {
            xml.text("return", "true");
            Ok(())
        }
        EnableIo::Needless => Err(Ec2Fault::coded(
            Code::IncorrectState,
            format!("Volume {ec2_id} already has IO enabled."),
        )),
    }
}
