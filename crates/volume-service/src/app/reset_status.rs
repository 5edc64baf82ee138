//! States that an operator sets by hand. Operations and reconcilers keep states true by themselves; this is for tests of other
//! services, for keeping everybody away from a volume, and for databases that were repaired by hand.
//!
//! A state that an operation is at work on is never touched. `available` and `in-use` become what the attachments imply, and need a
//! VDI. Every other word is taken as it is, and the row is marked, so that no reconciler makes it true.

use super::volumes::visible;
use super::{Service, attachments as attachments_app, policy, snapshots as snapshots_app};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::{
    Transaction, attachments, operations, snapshot_traits, snapshots, volume_traits, volumes,
};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::attachment::volume_status;
use crate::model::id::{GroupSnapshotId, SnapshotId, VolumeId};
use crate::model::snapshot::{Snapshot, SnapshotStatus};
use crate::model::volume::{Volume, VolumeStatus};

/// What an operator says of a volume; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResetVolume {
    /// Its state.
    pub status: Option<VolumeStatus>,
    /// Whether it has attachments.
    pub attach_status: Option<AttachStatus>,
    /// What is said of its migration; the inner none clears it.
    pub migration_status: Option<Option<String>>,
}

/// Whether a volume has attachments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachStatus {
    /// It has: refused where it has none, for nobody can tell who would use it.
    Attached,
    /// It has none: those that it has are ended by operations.
    Detached,
}

/// Sets states of a volume by hand; administrators only.
///
/// # Errors
/// `Invalid` for a state that cannot be set (`deleting`; one that attachments or a missing VDI contradict), `Conflict` while an
/// operation is at work.
pub async fn volume(
    service: &Service,
    request: &RequestContext,
    id: VolumeId,
    wanted: ResetVolume,
) -> Result<()> {
    let (context, request) = (service.context.clone(), request.clone());
    let now_us = context.now_us();
    service
        .database
        .write(move |tx| {
            volumes::lock(tx, id)?;
            let volume = visible(
                tx,
                &policy::tenancy_of(&request, Rule::VolumeAdminActionsResetStatus),
                id,
            )?;
            if let Some(status) = &wanted.migration_status {
                volume_traits::set_migration_status(tx, id, status.as_deref())?;
            }
            match wanted.attach_status {
                None => {}
                Some(AttachStatus::Attached) if attachments::of_volume(tx, id)?.is_empty() => {
                    let why = "volume does not have any attachments";
                    return Err(contradicted("attached", why));
                }
                Some(AttachStatus::Attached) => {}
                Some(AttachStatus::Detached) => {
                    for attachment in attachments::of_volume(tx, id)? {
                        attachments_app::let_go(tx, &context, &request, &attachment, now_us)?;
                    }
                }
            }
            match wanted.status {
                Some(status) => set_volume(tx, &volume, status, now_us),
                None => Ok(()),
            }
        })
        .await
}

fn set_volume(
    tx: &mut Transaction<'_>,
    volume: &Volume,
    wanted: VolumeStatus,
    now_us: i64,
) -> Result<()> {
    let (id, word) = (volume.id, wanted.as_str());
    if wanted == VolumeStatus::Deleting {
        return Err(Error::invalid(format!("Cannot reset-state to {word}")));
    }
    if operations::find_unfinished(tx, &id.to_string())?.is_some() {
        let why = "Invalid volume: an operation is at work on it, which will end by itself.";
        return Err(Error::new(ErrorKind::Conflict, Subject::Volume, why).on(id.to_string()));
    }
    let is_derived = matches!(wanted, VolumeStatus::Available | VolumeStatus::InUse);
    if !is_derived {
        volumes::change_status(tx, id, &VolumeStatus::ALL, wanted, now_us)?;
        return volume_traits::set_hand_set(tx, id, true);
    }
    if volume.vdi_uuid.is_none() {
        return Err(contradicted(word, "volume was never made"));
    }
    settle_by_attachments(tx, id, wanted, now_us)
}

/// Gives a volume, whatever it is said to be, the state that its attachments imply.
fn settle_by_attachments(
    tx: &mut Transaction<'_>,
    id: VolumeId,
    wanted: VolumeStatus,
    now_us: i64,
) -> Result<()> {
    let held = attachments::of_volume(tx, id)?;
    let implied = volume_status(held.iter().map(|attachment| attachment.status));
    // Those that are being ended now are gone soon.
    let is_ending = implied == VolumeStatus::Detaching;
    match wanted {
        VolumeStatus::InUse if held.is_empty() => {
            let why = "volume does not have any attachments.";
            return Err(contradicted("in-use", why));
        }
        VolumeStatus::Available if !held.is_empty() && !is_ending => {
            let why = "volume has attachments; reset its attach status to detached too";
            return Err(contradicted("available", why));
        }
        _ => {}
    }
    volumes::change_status(tx, id, &VolumeStatus::ALL, implied, now_us)?;
    volume_traits::set_hand_set(tx, id, false)
}

/// Ends that a volume's state was set by hand, so that the end of an attachment shows.
pub(super) fn heal(tx: &mut Transaction<'_>, volume: &Volume, now_us: i64) -> Result<()> {
    if !volume.traits.is_hand_set || volume.vdi_uuid.is_none() {
        return Ok(());
    }
    if operations::find_unfinished(tx, &volume.id.to_string())?.is_some() {
        // It is being removed, or let go of: what is at work on it says what it becomes.
        return Ok(());
    }
    let held = attachments::of_volume(tx, volume.id)?;
    let implied = volume_status(held.iter().map(|attachment| attachment.status));
    volumes::change_status(tx, volume.id, &VolumeStatus::ALL, implied, now_us)?;
    volume_traits::set_hand_set(tx, volume.id, false)
}

fn contradicted(word: &str, why: &str) -> Error {
    Error::invalid(format!("Cannot reset-state to {word} because {why}"))
}

/// Sets the state of a snapshot by hand; administrators only.
///
/// # Errors
/// `Invalid` for `available` without a VDI, `Conflict` while an operation is at work.
pub async fn snapshot(
    service: &Service,
    request: &RequestContext,
    id: SnapshotId,
    wanted: SnapshotStatus,
) -> Result<()> {
    let request = request.clone();
    let now_us = service.context.now_us();
    service
        .database
        .write(move |tx| {
            snapshots::lock(tx, id)?;
            let snapshot = snapshots_app::visible(
                tx,
                &policy::tenancy_of(&request, Rule::SnapshotAdminActionsResetStatus),
                id,
            )?;
            set_snapshot(tx, &snapshot, wanted, now_us)
        })
        .await
}

/// What may be said of a snapshot that somebody else takes or removes: how it went, and how far it is.
///
/// # Errors
/// `Invalid` for a state that does not follow the present one.
pub async fn update_snapshot(
    service: &Service,
    request: &RequestContext,
    id: SnapshotId,
    wanted: &str,
    progress: Option<String>,
) -> Result<()> {
    let request = request.clone();
    let now_us = service.context.now_us();
    let wanted = wanted.to_owned();
    service
        .database
        .write(move |tx| {
            use SnapshotStatus::{Available, Creating, Deleting, Error as Failed, ErrorDeleting};
            snapshots::lock(tx, id)?;
            let snapshot = snapshots_app::visible(
                tx,
                &policy::tenancy_of(&request, Rule::SnapshotActionsUpdateSnapshotStatus),
                id,
            )?;
            let now = snapshot.status;
            let following: &[SnapshotStatus] = match now {
                Creating => &[Creating, Available, Failed],
                Deleting => &[Deleting, ErrorDeleting],
                _ => {
                    return Err(Error::invalid(format!(
                        "Snapshot status {} not allowed for update_snapshot_status",
                        now.as_str()
                    )));
                }
            };
            let to = following.iter().find(|one| one.as_str() == wanted);
            let to = to.ok_or_else(|| {
                Error::invalid(format!(
                    "Provided snapshot status {wanted} not allowed for snapshot with status {}.",
                    now.as_str()
                ))
            })?;
            set_snapshot(tx, &snapshot, *to, now_us)?;
            match &progress {
                Some(progress) => snapshot_traits::set_progress(tx, id, progress),
                None => Ok(()),
            }
        })
        .await
}

fn set_snapshot(
    tx: &mut Transaction<'_>,
    snapshot: &Snapshot,
    wanted: SnapshotStatus,
    now_us: i64,
) -> Result<()> {
    let id = snapshot.id;
    let volume = volumes::find(tx, snapshot.volume_id)?;
    // The one operation of a group snapshot takes all its snapshots.
    let is_taken_together = match snapshot.traits.group_snapshot_id {
        Some(together) => {
            let target = GroupSnapshotId(together).to_string();
            operations::find_unfinished(tx, &target)?.is_some()
        }
        None => false,
    };
    let is_at_work = match (snapshot.status, volume.map(|volume| volume.status)) {
        (SnapshotStatus::Restoring, Some(VolumeStatus::Reverting)) => true,
        // It goes with its volume, whose operation may have destroyed its VDI already.
        (SnapshotStatus::Deleting, Some(VolumeStatus::Deleting)) => {
            operations::find_unfinished(tx, &snapshot.volume_id.to_string())?.is_some()
        }
        _ => false,
    };
    if is_at_work
        || is_taken_together
        || snapshots_app::is_taken_with_others(tx, snapshot)?
        || operations::find_unfinished(tx, &id.to_string())?.is_some()
    {
        let why = "Invalid snapshot: an operation is at work on it, which will end by itself.";
        return Err(Error::new(ErrorKind::Conflict, Subject::Snapshot, why).on(id.to_string()));
    }
    let is_available = wanted == SnapshotStatus::Available;
    if is_available && snapshot.vdi_uuid.is_none() {
        return Err(contradicted("available", "snapshot was never taken"));
    }
    snapshots::change_status(tx, id, &SnapshotStatus::ALL, wanted, now_us)?;
    snapshot_traits::set_hand_set(tx, id, !is_available)
}
