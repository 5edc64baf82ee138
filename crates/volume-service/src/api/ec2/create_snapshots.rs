//! CreateSnapshots: of the volumes of an instance, at one moment.

use super::fault::{Code, Ec2Fault, Result};
use super::ids::{Dialect, Noun};
use super::route::{Action, Call, DryRun, Element};
use super::schema::{Kind, LIST_MAX, Parameter};
use super::xml::Xml;
use super::{snapshot_view, tags, words};
use crate::app::instance_snapshots::{self, CreateSnapshots};
use crate::auth::rule::Rule;
use crate::error::{ErrorKind, Subject};

const TEXT: Kind = Kind::Text { max: 1024 };
const VOLUME: Kind = Kind::Id(Noun::Volume, Dialect::Addressed);

pub(super) const ACTIONS: &[Action] = &[Action::new("CreateSnapshots", |call, xml| {
    Box::pin(create(call, xml))
})
.rules(&[Rule::VolumeCreateSnapshot])
.dry_run(DryRun::First)
.parameters(&[
    Parameter::new(
        "InstanceSpecification",
        Kind::Struct(&[
            Parameter::new("InstanceId", TEXT),
            Parameter::new("ExcludeBootVolume", Kind::Boolean),
            Parameter::new("ExcludeDataVolumeId", Kind::List(&VOLUME, LIST_MAX)),
        ]),
    ),
    Parameter::new("CopyTagsFromSource", Kind::Words(&["volume"])),
    Parameter::new("Description", TEXT),
    tags::SPECIFICATION,
    Parameter::new("Location", Kind::Words(&["regional"])),
    Parameter::new("OutpostArn", TEXT).unbuilt(),
])
.answers(&[Element::of("snapshotSet", SNAPSHOT)])
.remark(
    "of the project's volumes that the instance uses, all or none, while it goes on; a pool that cannot keep a moment for several \
     volumes leaves all of them `error`",
)];

/// As in the answer of CreateSnapshot, but for the name of the state.
const SNAPSHOT: &[Element] = &[
    Element::text("snapshotId"),
    Element::text("volumeId"),
    Element::text("state"),
    Element::text("startTime"),
    Element::text("progress"),
    Element::text("ownerId"),
    Element::text("volumeSize"),
    Element::text("description"),
    Element::text("encrypted"),
    tags::SET,
];

async fn create(call: &Call, xml: &mut Xml) -> Result<()> {
    let given = call.arguments();
    let instance = given.group("InstanceSpecification");
    let Some(ec2_id) = instance.text("InstanceId") else {
        return Err(words::missing(
            "The request must contain the parameter InstanceSpecification.InstanceId",
        ));
    };
    check_instance(ec2_id)?;
    let excluded = instance.list("ExcludeDataVolumeId");
    let wanted = CreateSnapshots {
        instance_ec2_id: ec2_id.to_owned(),
        excludes_boot: instance.flag("ExcludeBootVolume"),
        excluded: excluded.into_iter().map(str::to_owned).collect(),
        description: given.text("Description").unwrap_or_default().to_owned(),
        metadata: tags::read(given, "snapshot")?,
        copies_tags: given.text("CopyTagsFromSource").is_some(),
    };
    let taken = instance_snapshots::create(&call.service, &call.context, wanted).await;
    let taken = taken.map_err(|error| match (error.kind, error.subject) {
        (ErrorKind::NotFound, Subject::Attachment) => Ec2Fault::coded(
            Code::InvalidInstanceIdNotFound,
            format!("The instance ID '{ec2_id}' does not exist, or uses no volume of this account"),
        ),
        _ => error.into(),
    })?;
    xml.items("snapshotSet", &taken, |xml, snapshot| {
        snapshot_view::write_new(xml, "state", snapshot);
    });
    Ok(())
}

/// Refuses what is not written as the id of an instance.
fn check_instance(ec2_id: &str) -> Result<()> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let digits = ec2_id.strip_prefix("i-").unwrap_or_default();
    if matches!(digits.len(), 8 | 17) && digits.bytes().all(is_digit) {
        return Ok(());
    }
    Err(Ec2Fault::coded(
        Code::InvalidInstanceIdMalformed,
        format!("Invalid id: \"{}\"", words::shown(ec2_id)),
    ))
}
