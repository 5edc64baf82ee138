//! AttachVolume, DetachVolume and ModifyInstanceAttribute.

use super::fault::{Code, Ec2Fault, Result};
use super::ids::{Dialect, Noun};
use super::instances::{INSTANCE_ID, NO_INSTANCE_ID, find_all};
use super::route::{Action, Call, DryRun, Element};
use super::schema::{Kind, LIST_MAX, Parameter};
use super::xml::Xml;
use super::{volume_view, volumes, words};
use crate::app::instance_attachments::{self, Attach, Detach, Outcome, Refusal};
use crate::app::instances;
use crate::auth::rule::Rule;
use crate::model::attachment::Attachment;

/// Longest name of a device that is read, in characters.
const DEVICE: Kind = Kind::Text { max: 255 };
/// The volume that an action is about.
const VOLUME_ID: Parameter = Parameter::new("VolumeId", Kind::Id(Noun::Volume, Dialect::Addressed));
const NO_VOLUME_ID: &str = "The request must contain the parameter volume";

pub(super) const ACTIONS: &[Action] = &[
    Action::new("AttachVolume", |call, xml| Box::pin(attach(call, xml)))
        .rules(&[Rule::VolumeAttachmentCreate])
        .dry_run(DryRun::AfterLookup)
        .parameters(&[
            VOLUME_ID.required(NO_VOLUME_ID),
            INSTANCE_ID.required(NO_INSTANCE_ID),
            Parameter::new("Device", DEVICE)
                .required("The request must contain the parameter device"),
            Parameter::new("EbsCardIndex", Kind::Number { min: 0, max: 0 }),
        ])
        .answers(volume_view::ATTACHMENT)
        .remark(
            "a VBD at the device's position (`/dev/sdf`, `xvdf`: 5), plugged if the VM runs; in a control domain the device is a name, \
             also `/dev/nbdN`, and `associatedResource` says where the bytes are (NBD over a unix socket); an attachment that fails is \
             gone, and a user message says why",
        ),
    Action::new("DetachVolume", |call, xml| Box::pin(detach(call, xml)))
        .rules(&[Rule::VolumeAttachmentDelete])
        .dry_run(DryRun::AfterLookup)
        .parameters(&[
            VOLUME_ID.required(NO_VOLUME_ID),
            Parameter::new("InstanceId", Kind::Id(Noun::Instance, Dialect::Optional)),
            Parameter::new("Device", DEVICE),
            Parameter::new("Force", Kind::Boolean),
        ])
        .answers(volume_view::ATTACHMENT)
        .remark(
            "what a guest does not let go of is `busy` and tried again each minute; `Force` does not ask the guest, where the pool can",
        ),
    Action::new("ModifyInstanceAttribute", |call, xml| {
        Box::pin(modify_attribute(call, xml))
    })
    .rules(&[Rule::VolumeAttachmentUpdate])
    .dry_run(DryRun::AfterLookup)
    .parameters(MODIFY)
    .answers(&[Element::text("return")])
    .remark("`deleteOnTermination` of the project's volumes"),
];

const TEXT: Kind = Kind::Text { max: 1024 };
const VALUE: Kind = Kind::Struct(&[Parameter::new("Value", TEXT)]);
const MODIFY: &[Parameter] = &[
    INSTANCE_ID.required(NO_INSTANCE_ID),
    Parameter::new("BlockDeviceMapping", Kind::Structs(MAPPING, LIST_MAX)),
    Parameter::new("Attribute", TEXT).unbuilt(),
    Parameter::new("Value", TEXT).unbuilt(),
    Parameter::new("DisableApiStop", VALUE).unbuilt(),
    Parameter::new("DisableApiTermination", VALUE).unbuilt(),
    Parameter::new("EbsOptimized", VALUE).unbuilt(),
    Parameter::new("InstanceType", VALUE).unbuilt(),
];
const MAPPING: &[Parameter] = &[
    Parameter::new("DeviceName", DEVICE)
        .required("The request must contain the parameter deviceName"),
    Parameter::new(
        "Ebs",
        Kind::Struct(&[
            Parameter::new("DeleteOnTermination", Kind::Boolean),
            Parameter::new("VolumeId", Kind::Id(Noun::Volume, Dialect::Optional)),
        ]),
    ),
];

async fn attach(call: &Call, xml: &mut Xml) -> Result<()> {
    let given = call.arguments();
    let text = |name: &str| given.text(name).unwrap_or_default();
    let volume = volumes::find(call, text("VolumeId")).await?;
    let instance = instances::get(&call.service, &call.context, text("InstanceId")).await?;
    call.stop_if_dry()?;
    let wanted = Attach {
        volume_id: volume.id,
        instance_id: instance.id,
        device: text("Device").to_owned(),
    };
    let attached = instance_attachments::attach(&call.service, &call.context, wanted).await;
    let attachment = granted(call, attached)?;
    volume_view::write_attachment(xml, &volume, &attachment);
    Ok(())
}

async fn detach(call: &Call, xml: &mut Xml) -> Result<()> {
    let given = call.arguments();
    let volume = volumes::find(call, given.text("VolumeId").unwrap_or_default()).await?;
    let instance = given.text("InstanceId");
    call.stop_if_dry()?;
    let wanted = Detach {
        volume_id: volume.id,
        instance: instance.map(str::to_owned),
        device: given.text("Device").map(str::to_owned),
        is_forced: given.flag("Force"),
    };
    let detached = instance_attachments::detach(&call.service, &call.context, wanted).await;
    if let (Some(ec2_id), Ok(Err(Refusal::NoSuchAttachment))) = (instance, &detached) {
        // Of an instance that nobody knows EC2 says that first.
        instances::get(&call.service, &call.context, ec2_id).await?;
    }
    let attachment = granted(call, detached)?;
    volume_view::write_attachment(xml, &volume, &attachment);
    Ok(())
}

/// What was asked for, or its refusal in EC2's words.
fn granted(call: &Call, outcome: Outcome<Attachment>) -> Result<Attachment> {
    let given = call.arguments();
    let text = |name: &str| words::shown(given.text(name).unwrap_or_default());
    let (volume, instance, device) = (text("VolumeId"), text("InstanceId"), text("Device"));
    let refusal = match outcome {
        Ok(Ok(attachment)) => return Ok(attachment),
        Ok(Err(refusal)) => refusal,
        // Of two requests at once the other one has it.
        Err(error) if error.object == device && !device.is_empty() => Refusal::DeviceTaken,
        Err(error) => return Err(volumes::named(error, &volume)),
    };
    let (code, message) = match refusal {
        Refusal::DeviceMalformed => (
            Code::InvalidParameterValue,
            format!(
                "Value ({device}) for parameter device is invalid. {device} is not a valid EBS device name."
            ),
        ),
        Refusal::InstanceGone => (
            Code::IncorrectState,
            format!("Instance '{instance}' is not 'running'."),
        ),
        Refusal::OtherZone => (
            Code::InvalidVolumeZoneMismatch,
            format!(
                "The volume '{volume}' is not in the same availability zone as instance '{instance}'"
            ),
        ),
        Refusal::VolumeNotAvailable => (
            Code::IncorrectState,
            format!("{volume} is not 'available'."),
        ),
        Refusal::VolumeInUse => (
            Code::VolumeInUse,
            format!("{volume} is already attached to an instance"),
        ),
        // EBS CSI drivers look for the last words.
        Refusal::DeviceTaken => (
            Code::InvalidParameterValue,
            format!(
                "Invalid value '{device}' for unixDevice. Attachment point {device} is already in use"
            ),
        ),
        Refusal::TooMany => (
            Code::AttachmentLimitExceeded,
            format!("The volume '{volume}' cannot be attached: there are too many attachments."),
        ),
        Refusal::NotAttached(status) => (
            Code::IncorrectState,
            format!(
                "Volume '{volume}' is in the '{}' state.",
                volume_view::ec2_statuses(status).last().unwrap_or(&"error")
            ),
        ),
        Refusal::NoSuchAttachment => (
            Code::InvalidAttachmentNotFound,
            match instance.is_empty() {
                true => format!("The volume '{volume}' is not attached as device '{device}'."),
                false => format!(
                    "The volume '{volume}' is not attached to instance '{instance}'{}.",
                    of_device(&device)
                ),
            },
        ),
        Refusal::WhichInstance => (
            Code::InvalidParameterCombination,
            format!(
                "The volume '{volume}' is attached to several instances: the parameter InstanceId is needed."
            ),
        ),
    };
    Err(Ec2Fault::coded(code, message))
}

fn of_device(device: &str) -> String {
    match device {
        "" => String::new(),
        device => format!(" as device '{device}'"),
    }
}

async fn modify_attribute(call: &Call, xml: &mut Xml) -> Result<()> {
    let given = call.arguments();
    let found = find_all(call, &[given.text("InstanceId").unwrap_or_default()]).await?;
    call.stop_if_dry()?;
    let mut wanted = Vec::new();
    for mapping in given.members("BlockDeviceMapping") {
        let (device, ebs) = (mapping.text("DeviceName"), mapping.group("Ebs"));
        if let (Some(device), Some(_)) = (device, ebs.get("DeleteOnTermination")) {
            wanted.push((device.to_owned(), ebs.flag("DeleteOnTermination")));
        }
    }
    if wanted.is_empty() {
        let words =
            "The request must contain the parameter BlockDeviceMapping with DeleteOnTermination";
        return Err(words::missing(words));
    }
    for shown in found {
        let id = shown.instance.id;
        let missing = instance_attachments::set_delete_on_termination(
            &call.service,
            &call.context,
            id,
            wanted.clone(),
        );
        if let Some(device) = missing.await? {
            return Err(Ec2Fault::coded(
                Code::InvalidInstanceAttributeValue,
                format!("No device is currently mapped at {}", words::shown(&device)),
            ));
        }
    }
    xml.text("return", "true");
    Ok(())
}
