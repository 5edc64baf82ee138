//! CreateSnapshot and DeleteSnapshot.

use super::fault::{Code, Ec2Fault, Result};
use super::ids::{Dialect, Noun};
use super::parameters::Arguments;
use super::route::{Action, Call, DryRun, Element};
use super::schema::{Kind, Parameter};
use super::xml::Xml;
use super::{snapshot_view, tags, volumes, words};
use crate::app::snapshot_sharing;
use crate::app::snapshots::{self, CreateSnapshot, DeleteMode, InUse};
use crate::auth::rule::Rule;
use crate::error::{Error, ErrorKind, Subject};
use crate::model::id::VolumeId;
use crate::model::snapshot::{Snapshot, SnapshotStatus};

/// Longest description that is read, in characters; what a snapshot may have is said by the use cases.
const TEXT: Kind = Kind::Text { max: 1024 };

/// The snapshot that a request is about.
pub(super) const SNAPSHOT_ID: Parameter =
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
            Parameter::new("Location", Kind::Words(&["regional"])),
            Parameter::new("OutpostArn", TEXT).unbuilt(),
        ])
        .answers(snapshot_view::NEW_SNAPSHOT)
        .remark("the snapshot is at top level of the answer; the volume may be in use"),
    Action::new("DeleteSnapshot", |call, xml| Box::pin(delete(call, xml)))
        .rules(&[Rule::VolumeDeleteSnapshot])
        .dry_run(DryRun::AfterLookup)
        .parameters(&[SNAPSHOT_ID])
        .answers(&[Element::text("return")])
        .remark(
            "volumes that were made from it stay; while one is being made it is `InvalidSnapshot.InUse`",
        ),
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
    snapshot_view::write_new(xml, "status", &snapshot);
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

/// The snapshot with this EC2 name, if something may be made of it.
pub(super) async fn find(call: &Call, ec2_id: &str) -> Result<Snapshot> {
    let (service, context) = (&call.service, &call.context);
    let found = snapshot_sharing::get_by_ec2_ids(service, context, vec![ec2_id.to_owned()]).await?;
    let found = found.into_iter().flatten().next();
    found.ok_or_else(|| words::absent(Noun::Snapshot, &[ec2_id]))
}

/// The requester's own snapshot with this EC2 name.
pub(super) async fn find_own(call: &Call, ec2_id: &str) -> Result<Snapshot> {
    let found = find(call, ec2_id).await?;
    match found.project_id == call.context.project_id {
        true => Ok(found),
        false => Err(words::absent(Noun::Snapshot, &[ec2_id])),
    }
}

/// A refusal that may be about the snapshot which a volume is to be made from.
pub(super) fn of_source(error: Error, ec2_id: &str) -> Ec2Fault {
    match (error.kind, error.subject) {
        (ErrorKind::Conflict, Subject::Snapshot) => Ec2Fault::coded(
            Code::IncorrectState,
            "Snapshot is in invalid state - pending",
        ),
        _ => named(error, ec2_id),
    }
}

/// Clients know the EC2 name only.
pub(super) fn named(error: Error, ec2_id: &str) -> Ec2Fault {
    match error.subject {
        Subject::Snapshot => error.on(ec2_id).into(),
        _ => error.into(),
    }
}

async fn delete(call: &Call, xml: &mut Xml) -> Result<()> {
    let ec2_id = call.arguments().text("SnapshotId").unwrap_or_default();
    let snapshot = find_own(call, ec2_id).await?;
    call.stop_if_dry()?;
    let mode = DeleteMode::EvenPending;
    snapshots::delete(&call.service, &call.context, snapshot.id, mode)
        .await
        .map_err(|error| match (error.kind, error.subject) {
            (ErrorKind::Conflict, Subject::SnapshotLock) => Ec2Fault::coded(
                Code::OperationNotPermitted,
                format!("The snapshot '{ec2_id}' is locked."),
            ),
            (ErrorKind::Conflict, _) => in_the_way(&snapshot),
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
            format!(
                "The snapshot '{ec2_id}' is currently in use: a volume or a copy is being made from it."
            ),
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
