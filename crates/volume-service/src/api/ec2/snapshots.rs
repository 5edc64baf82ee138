//! CreateSnapshot, DeleteSnapshot and DescribeSnapshotAttribute.

use super::fault::{Code, Ec2Fault, Result};
use super::ids::{Dialect, Noun};
use super::parameters::Arguments;
use super::route::{Action, Call, DryRun, Element};
use super::schema::{Kind, Parameter};
use super::xml::Xml;
use super::{snapshot_view, tags, volumes};
use crate::app::snapshots::{self, CreateSnapshot, DeleteMode, InUse};
use crate::auth::rule::Rule;
use crate::error::{Error, ErrorKind, Subject};
use crate::model::id::VolumeId;
use crate::model::snapshot::{Snapshot, SnapshotStatus};

/// Longest description that is read, in characters; what a snapshot may have is said by the use cases.
const TEXT: Kind = Kind::Text { max: 1024 };

const SNAPSHOT_ID: Parameter =
    Parameter::new("SnapshotId", Kind::Id(Noun::Snapshot, Dialect::Addressed))
        .required("The request must contain the parameter SnapshotId");

pub(super) const ACTIONS: &[Action] = &[
    Action::new("CreateSnapshot", |call, xml| Box::pin(create(call, xml)))
        .rules(&[Rule::VolumeCreateSnapshot])
        .dry_run(DryRun::AfterLookup)
        .parameters(&[
            Parameter::new("VolumeId", Kind::Id(Noun::Volume, Dialect::Addressed))
                .required("The request must contain the parameter VolumeId"),
            Parameter::new("Description", TEXT),
            tags::SPECIFICATION,
            Parameter::new("Location", Kind::Words(&["regional", "local"])).unbuilt(),
            Parameter::new("OutpostArn", TEXT).unbuilt(),
        ])
        .answers(snapshot_view::SNAPSHOT)
        .remark("the snapshot is at top level of the answer; the volume may be in use"),
    Action::new("DeleteSnapshot", |call, xml| Box::pin(delete(call, xml)))
        .rules(&[Rule::VolumeDeleteSnapshot])
        .dry_run(DryRun::AfterLookup)
        .parameters(&[SNAPSHOT_ID])
        .answers(&[Element::text("return")])
        .remark(
            "volumes that were made from it stay; while one is being made it is `InvalidSnapshot.InUse`",
        ),
    Action::new("DescribeSnapshotAttribute", |call, xml| {
        Box::pin(describe_attribute(call, xml))
    })
    .rules(&[Rule::VolumeGetSnapshot])
    .dry_run(DryRun::First)
    .parameters(&[
        Parameter::new("Attribute", TEXT)
            .required("The request must contain the parameter Attribute"),
        SNAPSHOT_ID,
    ])
    .answers(&[
        Element::text("snapshotId"),
        Element::text("createVolumePermission"),
        Element::text("productCodes"),
    ])
    .remark("`createVolumePermission` and `productCodes`, both empty: nothing is shared"),
];

async fn create(call: &Call, xml: &mut Xml) -> Result<()> {
    let given = call.arguments();
    let ec2_id = given.text("VolumeId").unwrap_or_default();
    let volume = volumes::find(call, ec2_id).await?;
    let wanted = wanted_snapshot(given, volume.id)?;
    call.stop_if_dry()?;
    let snapshot = snapshots::create(&call.service, &call.context, wanted)
        .await
        .map_err(|error| {
            let fault = volumes::named(error, ec2_id).of_volume(volume.status);
            match fault.code() {
                // EC2 takes snapshots of volumes in use: here its state is in the way, not who uses it.
                Code::VolumeInUse => Ec2Fault::coded(Code::IncorrectState, fault.message()),
                _ => fault,
            }
        })?;
    snapshot_view::write(xml, &snapshot);
    Ok(())
}

/// EC2 snapshots volumes in use too.
pub(super) fn wanted_snapshot(given: Arguments<'_>, volume_id: VolumeId) -> Result<CreateSnapshot> {
    Ok(CreateSnapshot {
        volume_id,
        name: String::new(),
        description: given.text("Description").unwrap_or_default().to_owned(),
        metadata: tags::read(given, "snapshot")?,
        in_use: InUse::Allow,
    })
}

/// The snapshot with this EC2 name.
pub(super) async fn find(call: &Call, ec2_id: &str) -> Result<Snapshot> {
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

async fn delete(call: &Call, xml: &mut Xml) -> Result<()> {
    let ec2_id = call.arguments().text("SnapshotId").unwrap_or_default();
    let snapshot = find(call, ec2_id).await?;
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
async fn describe_attribute(call: &Call, xml: &mut Xml) -> Result<()> {
    let given = call.arguments();
    let element = match given.text("Attribute").unwrap_or_default() {
        "createVolumePermission" => "createVolumePermission",
        "productCodes" => "productCodes",
        _ => {
            return Err(Ec2Fault::coded(
                Code::InvalidRequest,
                "The request received was invalid.",
            ));
        }
    };
    let snapshot = find(call, given.text("SnapshotId").unwrap_or_default()).await?;
    xml.text("snapshotId", &snapshot.ec2_id);
    xml.empty(element);
    Ok(())
}
