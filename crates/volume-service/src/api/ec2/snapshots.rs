//! CreateSnapshot, DeleteSnapshot and DescribeSnapshotAttribute.

use super::fault::{Code, Ec2Fault, Result};
use super::parameters::{Parameters, wrong};
use super::xml::Xml;
use super::{Call, snapshot_view, tags, volumes};
use crate::app::snapshots::{self, CreateSnapshot, DeleteMode, InUse};
use crate::app::volumes::check_may_change;
use crate::error::{Error, ErrorKind, Subject};
use crate::model::id::VolumeId;
use crate::model::snapshot::{Snapshot, SnapshotStatus};

/// Parameters of CreateSnapshot that ask for something that is not built.
const UNBUILT: [&str; 2] = ["OutpostArn", "Location"];

pub(super) async fn create(call: &Call, xml: &mut Xml) -> Result<()> {
    let parameters = &call.parameters;
    let known = ["VolumeId", "Description", "TagSpecification"];
    parameters.only(&[known.as_slice(), UNBUILT.as_slice()].concat())?;
    parameters.refuse_unbuilt(&UNBUILT)?;
    let ec2_id = parameters.required("VolumeId")?;
    let volume = volumes::find(call, ec2_id).await?;
    let wanted = wanted_snapshot(parameters, volume.id)?;
    check_may_change(&call.context)?;
    call.stop_if_dry()?;
    let snapshot = snapshots::create(&call.service, &call.context, wanted)
        .await
        .map_err(|error| volumes::named(error, ec2_id).of_volume(volume.status))?;
    snapshot_view::write(xml, &snapshot);
    Ok(())
}

/// EC2 snapshots volumes in use too.
pub(super) fn wanted_snapshot(
    parameters: &Parameters,
    volume_id: VolumeId,
) -> Result<CreateSnapshot> {
    Ok(CreateSnapshot {
        volume_id,
        name: String::new(),
        description: parameters.get("Description").unwrap_or_default().to_owned(),
        metadata: tags::read(parameters, "snapshot")?,
        in_use: InUse::Allow,
    })
}

/// The snapshot with this EC2 name.
pub(super) async fn find(call: &Call, ec2_id: &str) -> Result<Snapshot> {
    let Some(digits) = ec2_id.strip_prefix("snap-") else {
        return Err(wrong("snapshotId", ec2_id, "Expected: 'snap-...'."));
    };
    let well_formed =
        matches!(digits.len(), 8 | 17) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    if !well_formed {
        let ec2_id: String = ec2_id.chars().take(64).collect();
        return Err(Ec2Fault::coded(
            Code::InvalidSnapshotIdMalformed,
            format!("The snapshot ID '{ec2_id}' is malformed"),
        ));
    }
    snapshots::get_by_ec2_id(&call.service, &call.context, ec2_id)
        .await
        .map_err(|error| named(error, ec2_id))
}

/// A refusal that may be about the snapshot which a volume is to be made from.
pub(super) fn of_source(error: Error, ec2_id: &str) -> Ec2Fault {
    match (error.kind, error.subject) {
        (ErrorKind::Conflict, Subject::Snapshot) => Ec2Fault::coded(
            Code::IncorrectState,
            format!("The snapshot '{ec2_id}' is not completed."),
        ),
        _ => named(error, ec2_id),
    }
}

/// Clients know the EC2 name only.
fn named(error: Error, ec2_id: &str) -> Ec2Fault {
    match error.subject {
        Subject::Snapshot => error.on(ec2_id).into(),
        _ => error.into(),
    }
}

pub(super) async fn delete(call: &Call, xml: &mut Xml) -> Result<()> {
    call.parameters.only(&["SnapshotId"])?;
    let ec2_id = call.parameters.required("SnapshotId")?;
    let snapshot = find(call, ec2_id).await?;
    check_may_change(&call.context)?;
    call.stop_if_dry()?;
    snapshots::delete(
        &call.service,
        &call.context,
        snapshot.id,
        DeleteMode::Normal,
    )
    .await
    .map_err(|error| match error.kind {
        ErrorKind::Conflict => in_the_way(&snapshot),
        _ => named(error, ec2_id),
    })?;
    xml.text("return", "true");
    Ok(())
}

fn in_the_way(snapshot: &Snapshot) -> Ec2Fault {
    let ec2_id = &snapshot.ec2_id;
    match snapshot.status {
        SnapshotStatus::Restoring => Ec2Fault::coded(
            Code::InvalidSnapshotInUse,
            format!(
                "The snapshot '{ec2_id}' is currently in use: its volume is being reverted to it."
            ),
        ),
        SnapshotStatus::Available => Ec2Fault::coded(
            Code::InvalidSnapshotInUse,
            format!("The snapshot '{ec2_id}' is currently in use: a volume is being made from it."),
        ),
        status => Ec2Fault::coded(
            Code::IncorrectState,
            format!(
                "The snapshot '{ec2_id}' is '{}'.",
                snapshot_view::ec2_status(status)
            ),
        ),
    }
}

/// Snapshots are shared with nobody and sold by nobody, so both attributes are empty.
pub(super) async fn describe_attribute(call: &Call, xml: &mut Xml) -> Result<()> {
    call.parameters.only(&["SnapshotId", "Attribute"])?;
    let attribute = call.parameters.required("Attribute")?;
    let element = match attribute {
        "createVolumePermission" => "createVolumePermission",
        "productCodes" => "productCodes",
        _ => {
            let why = "It is createVolumePermission or productCodes.";
            return Err(wrong("attribute", attribute, why));
        }
    };
    let ec2_id = call.parameters.required("SnapshotId")?;
    let snapshot = find(call, ec2_id).await?;
    call.stop_if_dry()?;
    xml.text("snapshotId", &snapshot.ec2_id);
    xml.empty(element);
    Ok(())
}
