//! CreateVolume and DeleteVolume.

use super::fault::{Code, Ec2Fault, Result};
use super::parameters::{Parameters, wrong};
use super::xml::Xml;
use super::{Call, snapshots, tags, volume_view};
use crate::app::volumes;
use crate::app::volumes::{CreateVolume, DeleteMode, VolumeSource};
use crate::error::{Error, Subject};
use crate::model::snapshot::Snapshot;
use crate::model::volume::Volume;

/// Longest client token, in characters.
const CLIENT_TOKEN_MAX_CHARS: usize = 64;
/// Largest size, in GiB; what the volume API takes too.
const SIZE_MAX_GIB: u64 = 0x7fff_ffff;

/// Parameters of CreateVolume that ask for something that is not built.
const UNBUILT: [&str; 9] = [
    "Iops",
    "KmsKeyId",
    "OutpostArn",
    "Throughput",
    "VolumeInitializationRate",
    "SourceVolumeId",
    "Operator",
    "Encrypted",
    "MultiAttachEnabled",
];

pub(super) async fn create(call: &Call, xml: &mut Xml) -> Result<()> {
    let mut wanted = wanted_volume(&call.parameters)?;
    let snapshot_id = named_snapshot(&call.parameters);
    if let Some(ec2_id) = snapshot_id {
        let snapshot = snapshots::find(call, ec2_id).await?;
        check_size(wanted.size_gib, &snapshot)?;
        wanted.source = VolumeSource::Snapshot(snapshot.id);
    }
    volumes::check_may_change(&call.context)?;
    call.stop_if_dry()?;
    let volume = volumes::create(&call.service, &call.context, wanted)
        .await
        .map_err(|error| snapshots::of_source(error, snapshot_id.unwrap_or_default()))?;
    volume_view::write(xml, &volume, &[]);
    Ok(())
}

fn named_snapshot(parameters: &Parameters) -> Option<&str> {
    parameters.get("SnapshotId").filter(|id| !id.is_empty())
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

/// The size that a request names, in GiB.
pub(super) fn size(parameters: &Parameters) -> Result<Option<u64>> {
    let Some(text) = parameters.get("Size") else {
        return Ok(None);
    };
    parameters
        .number("Size")?
        .filter(|size| (1..=SIZE_MAX_GIB).contains(size))
        .map(Some)
        .ok_or_else(|| {
            let why = format!("It must be 1 to {SIZE_MAX_GIB} GiB.");
            wrong("size", text, &why)
        })
}

/// Reads everything but the snapshot; a size of zero stands for the snapshot's.
pub(super) fn wanted_volume(parameters: &Parameters) -> Result<CreateVolume> {
    let known = [
        "Size",
        "SnapshotId",
        "VolumeType",
        "AvailabilityZone",
        "ClientToken",
        "TagSpecification",
    ];
    parameters.only(&[known.as_slice(), UNBUILT.as_slice()].concat())?;
    parameters.refuse_unbuilt(&UNBUILT)?;
    let zone = parameters.required("AvailabilityZone")?;
    let size_gib = size(parameters)?;
    if size_gib.is_none() && named_snapshot(parameters).is_none() {
        return Err(Ec2Fault::coded(
            Code::MissingParameter,
            "The request must contain the parameter size/snapshot",
        ));
    }
    let client_token = parameters
        .get("ClientToken")
        .filter(|token| !token.is_empty());
    if let Some(token) = client_token
        && (token.chars().count() > CLIENT_TOKEN_MAX_CHARS || !token.is_ascii())
    {
        let why = format!("It has at most {CLIENT_TOKEN_MAX_CHARS} ASCII characters.");
        return Err(wrong("clientToken", token, &why));
    }
    Ok(CreateVolume {
        size_gib: size_gib.unwrap_or_default(),
        zone: Some(zone.to_owned()),
        flavor: parameters
            .get("VolumeType")
            .filter(|flavor| !flavor.is_empty())
            .map(str::to_owned),
        metadata: tags::read(parameters, "volume")?,
        client_token: client_token.map(str::to_owned),
        ..CreateVolume::default()
    })
}

/// The volume with this EC2 name.
pub(super) async fn find(call: &Call, ec2_id: &str) -> Result<Volume> {
    let digits = ec2_id.strip_prefix("vol-").unwrap_or_default();
    let well_formed =
        matches!(digits.len(), 8 | 17) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    if !well_formed {
        return Err(wrong("volume", ec2_id, "Expected: 'vol-...'."));
    }
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

pub(super) async fn delete(call: &Call, xml: &mut Xml) -> Result<()> {
    call.parameters.only(&["VolumeId"])?;
    let ec2_id = call.parameters.required("VolumeId")?;
    let volume = find(call, ec2_id).await?;
    volumes::check_may_change(&call.context)?;
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
    use super::*;

    fn wanted(query: &str) -> Result<CreateVolume> {
        wanted_volume(&Parameters::parse(query, b"").expect("good parameters"))
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
        let long = format!("{good}&ClientToken={}", "x".repeat(65));
        assert_eq!(code(&long), Code::InvalidParameterValue);
        let tag = format!("{good}&TagSpecification.1.ResourceType=instance");
        assert_eq!(code(&tag), Code::InvalidParameterValue);
    }
}
