//! Locks of snapshots: what keeps one from being removed until a moment, whoever asks.

use super::{Page, Service, limits, policy, snapshots as snapshots_app};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::{Transaction, snapshot_locks, snapshots};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::id::SnapshotId;
use crate::model::snapshot::{Snapshot, SnapshotStatus};
use crate::model::snapshot_lock::{HOUR_US, LockMode, LockState, LockTerm, SnapshotLock};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct WantedLock {
    /// Who may take it off.
    pub mode: LockMode,
    /// How long it holds.
    pub term: LockTerm,
    /// How many hours it may be taken off all the same; with `compliance` only.
    pub cool_off_hours: Option<i64>,
}

/// A locked snapshot.
#[derive(Clone, Debug)]
pub struct Locked {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// Its lock.
    pub lock: SnapshotLock,
    /// Where that stands now.
    pub state: LockState,
}

impl Locked {
    fn of(snapshot: Snapshot, lock: SnapshotLock, now_us: i64) -> Self {
        Locked {
            state: lock.state(complete_at(&snapshot), now_us),
            snapshot,
            lock,
        }
    }

    /// When the days of the lock begin; none while the snapshot is not complete.
    pub fn starts_at_us(&self) -> Option<i64> {
        self.lock.starts_at_us(complete_at(&self.snapshot))
    }

    /// When the lock ends; none while that is not known.
    pub fn ends_at_us(&self) -> Option<i64> {
        self.lock.ends_at_us(complete_at(&self.snapshot))
    }
}

/// When the snapshot was complete, as far as its lock is concerned: one of which nobody wrote it down was so when it was locked.
fn complete_at(snapshot: &Snapshot) -> Option<i64> {
    let is_taken = !matches!(
        snapshot.status,
        SnapshotStatus::Creating | SnapshotStatus::Managing
    );
    let written = snapshot.traits.ebs.completed_at_us;
    written.or_else(|| is_taken.then_some(snapshot.created_at_us))
}

/// Refuses while a lock holds the snapshot.
pub(super) fn check(tx: &mut Transaction<'_>, snapshot: &Snapshot, now_us: i64) -> Result<()> {
    // One that came to nothing holds no byte that could be kept.
    let is_empty = snapshot.vdi_uuid.is_none() && snapshot.backend_id.is_none();
    if is_empty && snapshot.status == SnapshotStatus::Error {
        return Ok(());
    }
    let lock = snapshot_locks::find(tx, snapshot.id)?;
    let state = lock.map(|lock| lock.state(complete_at(snapshot), now_us));
    match state {
        None | Some(LockState::Expired) => Ok(()),
        Some(_) => Err(refused(snapshot.id, "it is locked")),
    }
}

/// Locks a snapshot, or changes its lock.
///
/// # Errors
/// `Conflict` about the lock where its mode does not allow the change; `Invalid` for a time that lies behind.
pub async fn lock(
    service: &Service,
    request: &RequestContext,
    id: SnapshotId,
    wanted: WantedLock,
) -> Result<Locked> {
    let tenancy = policy::tenancy_of(request, Rule::VolumeUpdateSnapshot);
    let now_us = service.context.now_us();
    service
        .database
        .write(move |tx| {
            let snapshot = snapshots_app::locked(tx, &tenancy, id)?;
            if snapshot.status == SnapshotStatus::Deleting {
                return Err(Error::not_found(Subject::Snapshot, id));
            }
            let complete = complete_at(&snapshot);
            let held = snapshot_locks::find(tx, id)?
                .filter(|held| held.state(complete, now_us) != LockState::Expired);
            let wanted = new_lock(&wanted, held, now_us);
            if wanted.ends_at_us(complete).is_some_and(|at| at <= now_us) {
                return Err(Error::invalid(
                    "The lock would end before it begins: its date must lie ahead.",
                ));
            }
            if let Some(held) = held
                && held.state(complete, now_us) == LockState::Compliance
            {
                check_growth(&held, &wanted, complete, id)?;
            }
            snapshot_locks::set(tx, id, &wanted)?;
            Ok(Locked::of(snapshot, wanted, now_us))
        })
        .await
}

fn new_lock(wanted: &WantedLock, held: Option<SnapshotLock>, now_us: i64) -> SnapshotLock {
    let hours = wanted.cool_off_hours;
    SnapshotLock {
        mode: wanted.mode,
        term: wanted.term,
        cool_off_hours: hours,
        cool_off_until_us: hours.map(|hours| now_us.saturating_add(hours.saturating_mul(HOUR_US))),
        created_at_us: held.map_or(now_us, |held| held.created_at_us),
        set_at_us: now_us,
    }
}

/// A lock that has cooled off only ever gets longer.
fn check_growth(
    held: &SnapshotLock,
    wanted: &SnapshotLock,
    complete: Option<i64>,
    id: SnapshotId,
) -> Result<()> {
    let is_longer = match (held.ends_at_us(complete), wanted.ends_at_us(complete)) {
        (Some(held), Some(wanted)) => wanted >= held,
        // The snapshot is not complete: both are days, or the one of them has no end yet.
        (None, None) => wanted.days() >= held.days(),
        (None, Some(_)) => false,
        (Some(_), None) => true,
    };
    let is_allowed =
        wanted.mode == LockMode::Compliance && wanted.cool_off_hours.is_none() && is_longer;
    if is_allowed {
        return Ok(());
    }
    let why = "its compliance lock has cooled off: it can be extended only, without another time to cool off";
    Err(refused(id, why))
}

/// Takes the lock off.
///
/// # Errors
/// `Conflict`: about the snapshot where there is none, about the lock where it has cooled off.
pub async fn unlock(service: &Service, request: &RequestContext, id: SnapshotId) -> Result<()> {
    let tenancy = policy::tenancy_of(request, Rule::VolumeUpdateSnapshot);
    let now_us = service.context.now_us();
    service
        .database
        .write(move |tx| {
            let snapshot = snapshots_app::locked(tx, &tenancy, id)?;
            let Some(held) = snapshot_locks::find(tx, id)? else {
                let text = format!("The snapshot '{}' is not locked.", snapshot.ec2_id);
                return Err(Error::new(ErrorKind::Conflict, Subject::Snapshot, text));
            };
            if held.state(complete_at(&snapshot), now_us) == LockState::Compliance {
                return Err(refused(id, "its compliance lock has cooled off"));
            }
            snapshot_locks::remove(tx, id).map(drop)
        })
        .await
}

/// The locks of these snapshots, those that have none left out.
pub async fn of(
    service: &Service,
    request: &RequestContext,
    ids: Vec<SnapshotId>,
) -> Result<Vec<Locked>> {
    limits::check_list(ids.len(), 0, 0)?;
    let tenancy = policy::tenancy_of(request, Rule::VolumeGetSnapshot);
    let now_us = service.context.now_us();
    service
        .database
        .read(move |tx| {
            let mut found = Vec::with_capacity(ids.len());
            for id in &ids {
                let snapshot = snapshots_app::visible(tx, &tenancy, *id)?;
                if let Some(lock) = snapshot_locks::find(tx, *id)? {
                    found.push(Locked::of(snapshot, lock, now_us));
                }
            }
            Ok(found)
        })
        .await
}

/// A page of the project's locked snapshots, by the moment they were locked; `after` is the last one of the page before.
pub async fn list(
    service: &Service,
    request: &RequestContext,
    after: Option<(i64, SnapshotId)>,
    limit: usize,
) -> Result<Page<Locked>> {
    policy::check(request, Rule::VolumeGetAllSnapshots)?;
    let (project_id, now_us) = (request.project_id.clone(), service.context.now_us());
    let limit = service.page_size(Some(limit));
    service
        .database
        .read(move |tx| {
            let places = snapshot_locks::page(tx, &project_id, after, limit.saturating_add(1))?;
            let mut found = Vec::with_capacity(places.len());
            for (_, id) in places {
                let snapshot = snapshots::find(tx, id)?;
                let lock = snapshot_locks::find(tx, id)?;
                if let (Some(snapshot), Some(lock)) = (snapshot, lock) {
                    found.push(Locked::of(snapshot, lock, now_us));
                }
            }
            Ok(Page::cut(found, limit))
        })
        .await
}

fn refused(id: SnapshotId, why: &str) -> Error {
    let text = format!("Invalid snapshot: {why}.");
    Error::new(ErrorKind::Conflict, Subject::SnapshotLock, text).on(id.to_string())
}
