//! Quotas. Each is judged by the project's usage with the new thing in it, which no concurrent request can change unseen: the
//! usage row is locked by the transaction that touched it first.

use crate::config::Limits;
use crate::db::{Transaction, snapshots, volumes};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::snapshot::Snapshot;
use crate::model::volume::Volume;

/// Judges a volume that was just added.
pub(super) fn check_volume(
    tx: &mut Transaction<'_>,
    volume: &Volume,
    limits: &Limits,
) -> Result<()> {
    let (count, gigabytes) = volumes::usage(tx, &volume.project_id)?;
    if is_over(count, limits.volumes_per_project) {
        return Err(exceeded(
            Subject::Volume,
            format!(
                "VolumeLimitExceeded: Maximum number of volumes allowed ({}) exceeded for quota 'volumes'.",
                limits.volumes_per_project
            ),
        ));
    }
    check_gigabytes(Subject::Volume, gigabytes, volume.size_gib, limits)
}

/// Judges a snapshot that was just added.
pub(super) fn check_snapshot(
    tx: &mut Transaction<'_>,
    snapshot: &Snapshot,
    limits: &Limits,
) -> Result<()> {
    let count = snapshots::usage(tx, &snapshot.project_id)?;
    if is_over(count, limits.snapshots_per_project) {
        return Err(exceeded(
            Subject::Snapshot,
            format!(
                "SnapshotLimitExceeded: Maximum number of snapshots allowed ({}) exceeded.",
                limits.snapshots_per_project
            ),
        ));
    }
    let (_, gigabytes) = volumes::usage(tx, &snapshot.project_id)?;
    check_gigabytes(Subject::Snapshot, gigabytes, snapshot.size_gib, limits)
}

/// Judges an extension that was just added.
pub(super) fn check_extension(
    tx: &mut Transaction<'_>,
    volume: &Volume,
    added_gib: u64,
    limits: &Limits,
) -> Result<()> {
    let (_, gigabytes) = volumes::usage(tx, &volume.project_id)?;
    check_gigabytes(Subject::Volume, gigabytes, added_gib, limits)
}

fn check_gigabytes(subject: Subject, used: u64, asked: u64, limits: &Limits) -> Result<()> {
    if !is_over(used, limits.gigabytes_per_project) {
        return Ok(());
    }
    Err(exceeded(
        subject,
        format!(
            "VolumeSizeExceedsAvailableQuota: Requested volume or snapshot exceeds allowed gigabytes quota. Requested {asked}G, \
             quota is {}G and {}G has been consumed.",
            limits.gigabytes_per_project,
            used.saturating_sub(asked)
        ),
    ))
}

/// A negative limit is none.
fn is_over(used: u64, limit: i64) -> bool {
    u64::try_from(limit).is_ok_and(|limit| used > limit)
}

fn exceeded(subject: Subject, public: String) -> Error {
    Error::new(ErrorKind::QuotaExceeded, subject, public)
}
