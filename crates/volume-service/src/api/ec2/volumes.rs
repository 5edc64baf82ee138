//! CreateVolume and DeleteVolume.

use super::fault::{Code, Ec2Fault, Result};
use super::ids::{Dialect, Noun};
use super::parameters::Arguments;
use super::route::{Action, Call, DryRun, Element};
use super::schema::{Kind, Parameter};
use super::xml::Xml;
use super::{performance, snapshots, tags, volume_view, words};
use crate::app::volume_performance::{Shown, TypeLimits};
use crate::app::volumes::{CreateVolume, DeleteMode, VolumeSource};
use crate::app::{overview, volumes};
use crate::auth::rule::Rule;
use crate::error::{Error, Subject};
use crate::model::id::SnapshotId;
use crate::model::volume::{Volume, VolumeStatus};

/// Longest client token, in characters.
const CLIENT_TOKEN_MAX_CHARS: usize = 64;
/// Longest name of a zone or type, in characters.
const NAME_MAX_CHARS: usize = 255;
/// Longest text of any other kind, in characters.
const TEXT_MAX_CHARS: usize = 1024;

/// A size in GiB; the bound is that of EC2's type, what a volume can have is said by the use cases.
pub(super) const SIZE: Parameter = Parameter::new(
    "Size",
    Kind::Number {
        min: 1,
        max: 0x7fff_ffff,
    },
);

pub(super) const ACTIONS: &[Action] = &[
    Action::new("CreateVolume", |call, xml| Box::pin(create(call, xml)))
        .rules(&[Rule::VolumeCreate])
        .dry_run(DryRun::AfterLookup)
        .parameters(CREATE)
        .answers(volume_view::VOLUME)
        .remark(
            "the volume is at top level of the answer; the same token and parameters give the same volume; `VolumeType` is a \
             flavor's label or id, and says with its extra specs which `Iops` and `Throughput` may be asked for (`volume-types.md`); \
             with a snapshot the size may be left out, or larger; `Encrypted` is what the type is",
        ),
    Action::new("DeleteVolume", |call, xml| Box::pin(delete(call, xml)))
        .rules(&[Rule::VolumeDelete])
        .dry_run(DryRun::AfterLookup)
        .parameters(&[
            Parameter::new("VolumeId", Kind::Id(Noun::Volume, Dialect::Blunt)).required(
                "The request must include the VolumeId parameter. Add the required parameter and retry the request.",
            ),
        ])
        .answers(&[Element::text("return")])
        .remark(
            "from `available` and `error`; its snapshots stay and can be made volumes of (while one is being taken it is \
             `IncorrectState`)",
        ),
];

const NAME: Kind = Kind::Text {
    max: NAME_MAX_CHARS,
};
const TEXT: Kind = Kind::Text {
    max: TEXT_MAX_CHARS,
};

const CREATE: &[Parameter] = &[
    Parameter::new("AvailabilityZone", NAME),
    Parameter::new("AvailabilityZoneId", NAME),
    SIZE,
    Parameter::new("SnapshotId", Kind::Id(Noun::Snapshot, Dialect::Optional)),
    Parameter::new("VolumeType", NAME),
    performance::IOPS,
    performance::THROUGHPUT,
    performance::RATE,
    Parameter::new("Encrypted", Kind::Boolean),
    Parameter::new("KmsKeyId", TEXT),
    Parameter::new("MultiAttachEnabled", Kind::Boolean),
    // Its length is checked where EC2 checks it: after a dry run.
    Parameter::new("ClientToken", TEXT),
    tags::SPECIFICATION,
    Parameter::new(
        "Operator",
        Kind::Struct(&[Parameter::new("Principal", TEXT)]),
    )
    .unbuilt(),
    Parameter::new("OutpostArn", TEXT).unbuilt(),
];

async fn create(call: &Call, xml: &mut Xml) -> Result<()> {
    let given = call.arguments();
    let mut wanted = wanted_volume(given)?;
    // In earnest it is looked at behind the client token: it may have gone since the same request was there before.
    if let Some(zone) = wanted.zone.as_ref().filter(|_| call.is_dry_run()) {
        overview::check_zone(&call.service, zone)?;
    }
    let snapshot_id = given.text("SnapshotId");
    let rate = performance::rate(given, snapshot_id.is_some())?;
    let source = match snapshot_id {
        Some(ec2_id) => Some(source(call, &wanted, ec2_id).await?),
        None => None,
    };
    let mut size_gib = wanted.size_gib;
    if let Some(source) = &source {
        size_gib = size_gib.max(source.size_gib);
        // EC2 makes a volume that is asked to be smaller as large as its snapshot.
        if wanted.size_gib != 0 {
            wanted.size_gib = size_gib;
        }
        wanted.source = VolumeSource::Snapshot(source.id);
    }
    let is_gone = source.is_some_and(|source| source.is_gone);
    let named = wanted.flavor.as_deref();
    let limits = match performance::type_of(call, named, wanted.source).await {
        Err(_) if is_gone => TypeLimits::default(),
        limits => limits?,
    };
    // As the type writes its name: `GP3` and `gp3` are one request. A type may be named by its id too.
    if named.is_some_and(|named| named.eq_ignore_ascii_case(&limits.label)) {
        wanted.flavor = Some(limits.label.clone());
    }
    let asked = performance::asked(given);
    wanted.ebs = match performance::judge(&limits, size_gib, asked) {
        Err(_) if is_gone => performance::kept(asked),
        judged => judged?,
    };
    wanted.ebs.initialization_rate = rate;
    performance::check_encryption(given, &limits, snapshot_id.is_some())?;
    call.stop_if_dry()?;
    check_client_token(given)?;
    wanted.multiattach = performance::check_multi_attach(given, &limits)?;
    let ebs = wanted.ebs.clone();
    let volume = volumes::create(&call.service, &call.context, wanted)
        .await
        .map_err(|error| snapshots::of_source(error, snapshot_id.unwrap_or_default()))?;
    let performance = limits.shown(volume.size_gib, &ebs);
    volume_view::write_new(xml, &volume, &Shown { performance, ebs });
    Ok(())
}

/// A snapshot that a volume is to be made from.
struct Source {
    id: SnapshotId,
    size_gib: u64,
    /// True when the same request made a volume of it before, and it is gone since.
    is_gone: bool,
}

async fn source(call: &Call, wanted: &CreateVolume, ec2_id: &str) -> Result<Source> {
    let fault = match snapshots::find(call, ec2_id).await {
        Ok(snapshot) => {
            return Ok(Source {
                id: snapshot.id,
                size_gib: snapshot.size_gib,
                is_gone: false,
            });
        }
        Err(fault) => fault,
    };
    let Some(token) = wanted.client_token.clone() else {
        return Err(fault);
    };
    let before = volumes::snapshot_of_token(&call.service, &call.context, token).await?;
    match before.filter(|id| id.ec2_id().starts_with(ec2_id)) {
        Some(id) => Ok(Source {
            id,
            size_gib: 0,
            is_gone: true,
        }),
        None => Err(fault),
    }
}

/// Refuses a client token that EC2 does not take.
pub(super) fn check_client_token(given: Arguments<'_>) -> Result<()> {
    let Some(token) = given.text("ClientToken") else {
        return Ok(());
    };
    if token.chars().count() > CLIENT_TOKEN_MAX_CHARS {
        return Err(Ec2Fault::coded(
            Code::InvalidParameterValue,
            format!(
                "Client token must be less than or equal to {CLIENT_TOKEN_MAX_CHARS} characters."
            ),
        ));
    }
    if !token.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        let why = "It has printable ASCII characters only.";
        return Err(words::wrong("clientToken", token, why));
    }
    Ok(())
}

/// The size that a request names, in GiB.
pub(super) fn size(given: Arguments<'_>) -> Option<u64> {
    given.number(SIZE.name)?.try_into().ok()
}

/// Reads everything but the snapshot; a size of zero stands for the snapshot's.
pub(super) fn wanted_volume(given: Arguments<'_>) -> Result<CreateVolume> {
    let zone = zone(given)?;
    let size_gib = size(given);
    if size_gib.is_none() && given.text("SnapshotId").is_none() {
        return Err(words::missing(
            "The request must contain the parameter size/snapshot",
        ));
    }
    Ok(CreateVolume {
        size_gib: size_gib.unwrap_or_default(),
        zone: Some(zone.to_owned()),
        flavor: given.text("VolumeType").map(str::to_owned),
        metadata: tags::read(given, "volume")?,
        client_token: given.text("ClientToken").map(str::to_owned),
        ..CreateVolume::default()
    })
}

/// The zone that a request names, by its name or its id, which is the same.
fn zone(given: Arguments<'_>) -> Result<&str> {
    let (name, id) = (
        given.text("AvailabilityZone"),
        given.text("AvailabilityZoneId"),
    );
    match (name, id) {
        (Some(_), Some(_)) => Err(Ec2Fault::coded(
            Code::InvalidParameterCombination,
            "AvailabilityZone and AvailabilityZoneId can't be used together. Specify only one of these parameters.",
        )),
        (Some(zone), None) | (None, Some(zone)) => Ok(zone),
        (None, None) => Err(words::missing(
            "The request must contain the parameter zone",
        )),
    }
}

/// The volume with this EC2 name.
pub(super) async fn find(call: &Call, ec2_id: &str) -> Result<Volume> {
    volumes::get_by_ec2_id(&call.service, &call.context, ec2_id)
        .await
        .map_err(|error| named(error, ec2_id))
}

/// Clients know the EC2 name only.
pub(super) fn named(error: Error, ec2_id: &str) -> Ec2Fault {
    match error.subject {
        Subject::Volume => error.on(ec2_id).into(),
        _ => error.into(),
    }
}

async fn delete(call: &Call, xml: &mut Xml) -> Result<()> {
    let ec2_id = call.arguments().text("VolumeId").unwrap_or_default();
    let volume = find(call, ec2_id).await?;
    // It is as good as gone, and clients wait for that; what unmanaging leaves behind is not theirs to delete either.
    if matches!(
        volume.status,
        VolumeStatus::Deleting | VolumeStatus::Unmanaging
    ) {
        return Err(words::absent(Noun::Volume, &[ec2_id]));
    }
    call.stop_if_dry()?;
    let mode = DeleteMode::KeepSnapshots;
    volumes::delete(&call.service, &call.context, volume.id, mode)
        .await
        .map_err(|error| named(error, ec2_id).of_volume(volume.status))?;
    xml.text("return", "true");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::parameters::Parameters;
    use super::super::schema;
    use super::*;

    fn wanted(query: &str) -> Result<CreateVolume> {
        let parameters = Parameters::parse(query, b"").expect("good parameters");
        schema::check_names(CREATE, &parameters)?;
        schema::check_values(CREATE, &parameters)?;
        let wanted = wanted_volume(parameters.arguments())?;
        check_client_token(parameters.arguments())?;
        Ok(wanted)
    }

    #[test]
    fn reads_create_volume() {
        let wanted = wanted(
            "Size=8&AvailabilityZone=nova&VolumeType=gold&ClientToken=t&Encrypted=false\
             &TagSpecification.1.ResourceType=volume&TagSpecification.1.Tag.1.Key=Name\
             &TagSpecification.1.Tag.1.Value=db",
        )
        .expect("a good request");
        assert_eq!(wanted.size_gib, 8);
        assert_eq!(wanted.flavor.as_deref(), Some("gold"));
        assert_eq!(wanted.client_token.as_deref(), Some("t"));
        assert_eq!(wanted.metadata["Name"], "db");
    }

    #[test]
    fn refuses_create_volume_with_ec2s_codes() {
        let code = |query: &str| wanted(query).expect_err(query).code();
        assert_eq!(code("Size=8"), Code::MissingParameter);
        assert_eq!(
            code("Size=8&AvailabilityZone=nova&AvailabilityZoneId=nova"),
            Code::InvalidParameterCombination
        );
        for odd in ["Iops=0", "Iops=-1", "Throughput=-1", "Encrypted=maybe"] {
            let query = format!("Size=8&AvailabilityZone=nova&{odd}");
            assert_eq!(code(&query), Code::InvalidParameterValue, "{odd}");
        }
        assert_eq!(code("AvailabilityZone=nova"), Code::MissingParameter);
        for size in [
            "0",
            "-1",
            "1.5",
            "8GiB",
            "",
            "99999999999999999999",
            "2147483648",
        ] {
            let query = format!("AvailabilityZone=nova&Size={size}");
            assert_eq!(code(&query), Code::InvalidParameterValue, "{size}");
        }
        let good = "AvailabilityZone=nova&Size=8";
        assert_eq!(
            code(&format!("{good}&OutpostArn=arn")),
            Code::UnsupportedOperation
        );
        assert_eq!(code(&format!("{good}&Colour=red")), Code::UnknownParameter);
        for token in ["x".repeat(65), "t%C3%A4".to_owned()] {
            let query = format!("{good}&ClientToken={token}");
            assert_eq!(code(&query), Code::InvalidParameterValue);
        }
        let tag = format!("{good}&TagSpecification.1.ResourceType=instance");
        assert_eq!(code(&tag), Code::InvalidParameterValue);
    }
}
