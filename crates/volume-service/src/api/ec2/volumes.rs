//! CreateVolume and DeleteVolume.

use super::fault::{Code, Ec2Fault, Result};
use super::ids::{Dialect, Noun};
use super::parameters::Arguments;
use super::route::{Action, Call, DryRun, Element};
use super::schema::{Kind, Parameter};
use super::xml::Xml;
use super::{snapshots, tags, volume_view, words};
use crate::app::volumes;
use crate::app::volumes::{CreateVolume, DeleteMode, VolumeSource};
use crate::auth::rule::Rule;
use crate::error::{Error, Subject};
use crate::model::id::SnapshotId;
use crate::model::snapshot::Snapshot;
use crate::model::volume::{Volume, VolumeStatus};

/// Longest client token, in characters.
const CLIENT_TOKEN_MAX_CHARS: usize = 64;
/// Longest name of a zone or type, in characters.
const NAME_MAX_CHARS: usize = 255;
/// Longest text of any other kind, in characters.
const TEXT_MAX_CHARS: usize = 1024;
/// Any whole number.
const ANY_NUMBER: Kind = Kind::Number {
    min: i64::MIN,
    max: i64::MAX,
};

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
             flavor's label or id; with a snapshot the size may be left out, or larger",
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

const CREATE: &[Parameter] = &[
    Parameter::new(
        "AvailabilityZone",
        Kind::Text {
            max: NAME_MAX_CHARS,
        },
    )
    .required("The request must contain the parameter zone"),
    SIZE,
    Parameter::new("SnapshotId", Kind::Id(Noun::Snapshot, Dialect::Optional)),
    Parameter::new(
        "VolumeType",
        Kind::Text {
            max: NAME_MAX_CHARS,
        },
    ),
    // Its length is checked where EC2 checks it: after a dry run.
    Parameter::new(
        "ClientToken",
        Kind::Text {
            max: TEXT_MAX_CHARS,
        },
    ),
    tags::SPECIFICATION,
    Parameter::new(
        "AvailabilityZoneId",
        Kind::Text {
            max: NAME_MAX_CHARS,
        },
    )
    .unbuilt(),
    Parameter::new("Encrypted", Kind::Boolean).unbuilt(),
    Parameter::new("Iops", ANY_NUMBER).unbuilt(),
    Parameter::new(
        "KmsKeyId",
        Kind::Text {
            max: TEXT_MAX_CHARS,
        },
    )
    .unbuilt(),
    Parameter::new("MultiAttachEnabled", Kind::Boolean).unbuilt(),
    Parameter::new(
        "Operator",
        Kind::Struct(&[Parameter::new(
            "Principal",
            Kind::Text {
                max: TEXT_MAX_CHARS,
            },
        )]),
    )
    .unbuilt(),
    Parameter::new(
        "OutpostArn",
        Kind::Text {
            max: TEXT_MAX_CHARS,
        },
    )
    .unbuilt(),
    Parameter::new("Throughput", ANY_NUMBER).unbuilt(),
    Parameter::new("VolumeInitializationRate", ANY_NUMBER).unbuilt(),
];

async fn create(call: &Call, xml: &mut Xml) -> Result<()> {
    let given = call.arguments();
    let mut wanted = wanted_volume(given)?;
    let snapshot_id = given.text("SnapshotId");
    if let Some(ec2_id) = snapshot_id {
        let id = match snapshots::find(call, ec2_id).await {
            Ok(snapshot) => {
                check_size(wanted.size_gib, &snapshot)?;
                snapshot.id
            }
            Err(fault) => match source_before(call, &wanted, ec2_id).await? {
                Some(id) => id,
                None => return Err(fault),
            },
        };
        wanted.source = VolumeSource::Snapshot(id);
    }
    call.stop_if_dry()?;
    check_client_token(given)?;
    let volume = volumes::create(&call.service, &call.context, wanted)
        .await
        .map_err(|error| snapshots::of_source(error, snapshot_id.unwrap_or_default()))?;
    volume_view::write(xml, &volume, &[]);
    Ok(())
}

/// The snapshot that the same request made a volume of before: it may be gone since.
async fn source_before(
    call: &Call,
    wanted: &CreateVolume,
    ec2_id: &str,
) -> Result<Option<SnapshotId>> {
    let Some(token) = wanted.client_token.clone() else {
        return Ok(None);
    };
    let source = volumes::snapshot_of_token(&call.service, &call.context, token).await?;
    Ok(source.filter(|id| id.ec2_id().starts_with(ec2_id)))
}

/// A volume may be larger than its snapshot; without a size it is as large.
fn check_size(size_gib: u64, snapshot: &Snapshot) -> Result<()> {
    if size_gib == 0 || size_gib >= snapshot.size_gib {
        return Ok(());
    }
    Err(Ec2Fault::coded(
        Code::InvalidParameterValue,
        format!(
            "Volume of size {size_gib}GB is smaller than snapshot '{}', expect size >= {}GB",
            snapshot.ec2_id, snapshot.size_gib
        ),
    ))
}

fn check_client_token(given: Arguments<'_>) -> Result<()> {
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
    let size_gib = size(given);
    if size_gib.is_none() && given.text("SnapshotId").is_none() {
        return Err(words::missing(
            "The request must contain the parameter size/snapshot",
        ));
    }
    Ok(CreateVolume {
        size_gib: size_gib.unwrap_or_default(),
        zone: given.text("AvailabilityZone").map(str::to_owned),
        flavor: given.text("VolumeType").map(str::to_owned),
        metadata: tags::read(given, "volume")?,
        client_token: given.text("ClientToken").map(str::to_owned),
        ..CreateVolume::default()
    })
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
            code(&format!("{good}&Encrypted=true")),
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
