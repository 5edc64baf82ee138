//! What a new volume is made from.

use std::collections::BTreeMap;

use super::policy::Tenancy;
use super::snapshot_sharing::{self, Access};
use super::volumes::{self as volumes_app, CreateVolume};
use crate::db::{Transaction, flavors, snapshots, volumes};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::id::{FlavorId, SnapshotId, VolumeId};
use crate::model::snapshot::SnapshotStatus;
use crate::model::volume::{Volume, VolumeStatus};

/// What is in a new volume at first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VolumeSource {
    /// Zeroes.
    #[default]
    Blank,
    /// What the snapshot holds.
    Snapshot(SnapshotId),
    /// What the volume holds at some moment while the new one is being made. It may be in use.
    Volume(VolumeId),
}

impl VolumeSource {
    /// The snapshot, if it is one.
    pub fn snapshot_id(self) -> Option<SnapshotId> {
        match self {
            VolumeSource::Snapshot(id) => Some(id),
            VolumeSource::Blank | VolumeSource::Volume(_) => None,
        }
    }

    /// The volume, if it is one.
    pub fn volume_id(self) -> Option<VolumeId> {
        match self {
            VolumeSource::Volume(id) => Some(id),
            VolumeSource::Blank | VolumeSource::Snapshot(_) => None,
        }
    }
}

/// What a new volume takes from its source.
pub(super) struct Origin {
    /// Its size at least.
    pub(super) size_gib: u64,
    /// Its flavor, unless another one is asked for; none where that is gone.
    pub(super) flavor_id: Option<FlavorId>,
    /// Its zone.
    pub(super) zone: String,
    /// Whether an instance may boot from it.
    pub(super) bootable: bool,
    /// What is known of the image in it.
    pub(super) image_metadata: BTreeMap<String, String>,
}

/// Reads the source of a wanted volume, and locks it, so that it is not deleted between here and the commit.
///
/// # Errors
/// `NotFound` and `Conflict` about the source; `Invalid` for a size below its own or another zone.
pub(super) fn origin(
    tx: &mut Transaction<'_>,
    tenancy: &Tenancy,
    wanted: &CreateVolume,
) -> Result<Option<Origin>> {
    let (origin, what) = match wanted.source {
        VolumeSource::Blank => return Ok(None),
        VolumeSource::Snapshot(id) => (from_snapshot(tx, tenancy, id)?, "snapshot"),
        VolumeSource::Volume(id) => (from_volume(tx, tenancy, id)?, "source volume"),
    };
    if wanted.size_gib != 0 && wanted.size_gib < origin.size_gib {
        return Err(Error::invalid(format!(
            "Volume size '{}'GB cannot be smaller than the {what} size {}GB. They must be >= original {what} size.",
            wanted.size_gib, origin.size_gib
        )));
    }
    if wanted
        .zone
        .as_ref()
        .is_some_and(|zone| *zone != origin.zone)
    {
        return Err(Error::invalid(format!(
            "Volume must be in the same availability zone as the {what}, which is {}.",
            origin.zone
        )));
    }
    Ok(Some(origin))
}

fn from_snapshot(tx: &mut Transaction<'_>, tenancy: &Tenancy, id: SnapshotId) -> Result<Origin> {
    let (snapshot, access) = snapshot_sharing::locked(tx, tenancy, id)?;
    if snapshot.status != SnapshotStatus::Available {
        let message =
            "Invalid snapshot: Originating snapshot status must be one of 'available' values.";
        return Err(Error::new(ErrorKind::Conflict, Subject::Snapshot, message).on(id.to_string()));
    }
    if let Some(mut volume) = volumes::find(tx, snapshot.volume_id)? {
        // It may have been given to another project since, which then described it.
        if volume.project_id != snapshot.project_id {
            volume.traits.image_metadata.clear();
        }
        let origin = Origin {
            size_gib: snapshot.size_gib,
            ..of(volume)
        };
        return match access {
            Access::Own => Ok(origin),
            // Nothing is told of the owner's volume, and a flavor that only the owner may use is not given away.
            Access::Shared => Ok(Origin {
                flavor_id: usable(tx, tenancy, origin.flavor_id)?,
                image_metadata: BTreeMap::new(),
                ..origin
            }),
        };
    }
    let ebs = &snapshot.traits.ebs;
    let (flavor, bootable) = match snapshots::origin(tx, id)? {
        Some((flavor, bootable)) => (Some(flavor), bootable),
        None => (ebs.flavor_id, ebs.bootable),
    };
    let flavor_id = match access {
        // A copy may have been made of what another project shared.
        Access::Own if !ebs.is_copy => match flavor {
            Some(flavor) => flavors::by_id(tx, flavor)?.map(|flavor| flavor.id),
            None => None,
        },
        Access::Own | Access::Shared => usable(tx, tenancy, flavor)?,
    };
    Ok(Origin {
        size_gib: snapshot.size_gib,
        flavor_id,
        zone: snapshot.zone,
        bootable,
        image_metadata: BTreeMap::new(),
    })
}

/// The flavor, if the requester may use it.
fn usable(
    tx: &mut Transaction<'_>,
    tenancy: &Tenancy,
    id: Option<FlavorId>,
) -> Result<Option<FlavorId>> {
    let Some(id) = id else { return Ok(None) };
    let found = flavors::find_for(tx, tenancy.project(), &id.to_string())?;
    Ok(found.map(|flavor| flavor.id))
}

fn from_volume(tx: &mut Transaction<'_>, tenancy: &Tenancy, id: VolumeId) -> Result<Origin> {
    let volume = volumes_app::locked(tx, tenancy, id)?;
    if !matches!(volume.status, VolumeStatus::Available | VolumeStatus::InUse) {
        let message = "Invalid volume: Originating source volume status must be one of 'available, in-use' values.";
        return Err(Error::new(ErrorKind::Conflict, Subject::Volume, message).on(id.to_string()));
    }
    Ok(of(volume))
}

fn of(volume: Volume) -> Origin {
    Origin {
        size_gib: volume.size_gib,
        flavor_id: Some(volume.flavor_id),
        zone: volume.zone,
        bootable: volume.bootable,
        image_metadata: volume.traits.image_metadata,
    }
}
