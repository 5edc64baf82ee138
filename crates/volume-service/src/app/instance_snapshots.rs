//! Snapshots of the volumes of an instance, taken at one moment.
//!
//! They are ordinary snapshots, each of which may go alone; that they were asked for together is all that they have in common.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{Service, limits, policy, quota, services, snapshots as snapshots_app};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::operations::NewOperation;
use crate::db::{Transaction, attachments, operations, snapshots, volumes};
use crate::driver::MOMENT_MEMBERS;
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::id::{OperationId, SnapshotId, VolumeId};
use crate::model::operation::OperationKind;
use crate::model::snapshot::{Snapshot, SnapshotStatus};
use crate::model::volume::{Volume, VolumeStatus};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct CreateSnapshots {
    /// The EC2 name of the instance.
    pub instance_ec2_id: String,
    /// What the instance boots from stays out.
    pub excludes_boot: bool,
    /// The EC2 names of other volumes that stay out.
    pub excluded: Vec<String>,
    /// Sentence for people, of each snapshot.
    pub description: String,
    /// The user's keys of each snapshot.
    pub metadata: BTreeMap<String, String>,
    /// Each snapshot gets its volume's keys first.
    pub copies_tags: bool,
}

/// Takes a request for snapshots of all volumes of the project that an instance uses: writes them (`creating`) and their one
/// operation. In the order of the volumes' ids.
///
/// # Errors
/// `NotFound` (subject `Attachment`, object the name) about an instance that uses no volume of the project; `Invalid` about what is to
/// stay out; `Conflict` about a volume whose state does not allow it; `QuotaExceeded` for snapshots and GiB.
pub async fn create(
    service: &Service,
    request: &RequestContext,
    wanted: CreateSnapshots,
) -> Result<Vec<Snapshot>> {
    policy::check(request, Rule::VolumeCreateSnapshot)?;
    limits::check_text("description", &wanted.description)?;
    limits::check_metadata(&wanted.metadata)?;
    let set_id = service.context.new_uuid();
    let operation_id = OperationId(service.context.new_uuid());
    let now_us = service.context.now_us();
    let context = service.context.clone();
    let configured = service.config.limits.clone();
    let asker = request.clone();
    service
        .database
        .write(move |tx| {
            let members = members(tx, &asker.project_id, &wanted)?;
            let Some(zone) = members.first().map(|volume| volume.zone.clone()) else {
                return Err(Error::invalid(
                    "No volume of the instance is left to take a snapshot of.",
                ));
            };
            services::check_not_frozen(tx, &zone)?;
            let mut taken = Vec::with_capacity(members.len());
            for volume in &members {
                check(volume, &zone)?;
                let id = SnapshotId(context.new_uuid());
                let snapshot = Snapshot {
                    user_id: asker.user_id.clone(),
                    created_at_us: now_us,
                    ..of_member(volume, id, set_id, &wanted)
                };
                limits::check_metadata(&snapshot.metadata)?;
                if !snapshots::insert(tx, &snapshot)? {
                    return Err(snapshots_app::doubled());
                }
                quota::check_snapshot(tx, &snapshot, volume.flavor_id, &configured)?;
                taken.push(snapshot);
            }
            let operation = NewOperation {
                id: operation_id,
                kind: OperationKind::CreateSnapshots,
                target: set_id.to_string(),
                zone,
                request_id: asker.request_id.clone(),
                not_before_us: now_us,
            };
            operations::insert(tx, &operation, now_us)?;
            Ok(taken)
        })
        .await
}

/// The volumes, locked in the order of their ids.
fn members(
    tx: &mut Transaction<'_>,
    project_id: &str,
    wanted: &CreateSnapshots,
) -> Result<Vec<Volume>> {
    let ec2_id = &wanted.instance_ec2_id;
    let used = attachments::of_instance(tx, project_id, ec2_id)?;
    if used.is_empty() {
        return Err(Error::not_found(Subject::Attachment, ec2_id));
    }
    let mut ids: Vec<VolumeId> = used
        .iter()
        .filter(|used| !(wanted.excludes_boot && is_boot(used.mountpoint.as_deref())))
        .map(|used| used.volume_id)
        .collect();
    ids.sort();
    ids.dedup();
    let names: Vec<String> = used.iter().map(|used| used.volume_id.ec2_id()).collect();
    for excluded in &wanted.excluded {
        if !names.iter().any(|name| is_named(name, excluded)) {
            return Err(Error::invalid(format!(
                "The volume '{excluded}' is not attached to the instance '{ec2_id}'."
            )));
        }
    }
    let is_left = |id: &VolumeId| {
        let name = id.ec2_id();
        let mut excluded = wanted.excluded.iter();
        !excluded.any(|excluded| is_named(&name, excluded))
    };
    ids.retain(is_left);
    if ids.len() > MOMENT_MEMBERS {
        return Err(Error::invalid(format!(
            "Snapshots of {MOMENT_MEMBERS} volumes at most are taken at one moment, and the instance has {}.",
            ids.len()
        )));
    }
    let mut members = Vec::with_capacity(ids.len());
    for id in ids {
        volumes::lock(tx, id)?;
        members.push(volumes::get(tx, id)?);
    }
    Ok(members)
}

/// True for the whole name, and for one of old days, which is its beginning.
fn is_named(name: &str, asked: &str) -> bool {
    name == asked || (asked.len() == "vol-01234567".len() && name.starts_with(asked))
}

/// True for the first position of a device.
fn is_boot(device: Option<&str>) -> bool {
    let name = device.map(|device| device.strip_prefix("/dev/").unwrap_or(device));
    let name = name.map(|name| name.trim_end_matches(|digit: char| digit.is_ascii_digit()));
    matches!(name, Some("xvda" | "sda" | "vda" | "hda"))
}

fn check(volume: &Volume, zone: &str) -> Result<()> {
    if volume.zone != *zone {
        return Err(Error::invalid(format!(
            "The volume '{}' is in another zone than the others.",
            volume.ec2_id
        )));
    }
    if matches!(volume.status, VolumeStatus::Available | VolumeStatus::InUse) {
        return Ok(());
    }
    let text = format!(
        "Volume '{}' is not in the 'available' or 'in-use' state.",
        volume.ec2_id
    );
    Err(Error::new(ErrorKind::Conflict, Subject::Volume, text).on(volume.id.to_string()))
}

fn of_member(volume: &Volume, id: SnapshotId, set_id: Uuid, wanted: &CreateSnapshots) -> Snapshot {
    let mut metadata = match wanted.copies_tags {
        true => volume.metadata.clone(),
        false => BTreeMap::new(),
    };
    metadata.extend(wanted.metadata.clone());
    let mut traits = snapshots_app::traits_of(volume);
    traits.ebs.set_id = Some(set_id);
    Snapshot {
        id,
        ec2_id: id.ec2_id(),
        project_id: volume.project_id.clone(),
        user_id: String::new(),
        volume_id: volume.id,
        name: String::new(),
        description: wanted.description.clone(),
        size_gib: volume.size_gib,
        status: SnapshotStatus::Creating,
        zone: volume.zone.clone(),
        backend_id: volume.backend_id,
        vdi_uuid: None,
        metadata,
        traits,
        failure: String::new(),
        created_at_us: 0,
        updated_at_us: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_position_is_what_is_booted_from() {
        for boot in ["/dev/xvda", "/dev/sda1", "vda", "/dev/hda"] {
            assert!(is_boot(Some(boot)), "{boot}");
        }
        for data in ["/dev/xvdb", "/dev/sdaa", "/dev/nbd0", ""] {
            assert!(!is_boot(Some(data)), "{data}");
        }
        assert!(!is_boot(None));
    }
}
