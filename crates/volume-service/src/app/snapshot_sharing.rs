//! Snapshots that projects use without owning them: whom their owners share them with, and what such a project sees of them.
//!
//! Whoever a snapshot is shared with may make volumes and copies of it, and nothing else. Of the owner's own notes (name, metadata,
//! why something failed) nothing is shown.

use super::policy::Tenancy;
use super::short_names::ShortNames;
use super::snapshots::{self as snapshots_app, SnapshotQuery};
use super::{Page, Service, limits, policy};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::snapshot_list::{self, Decided};
use crate::db::snapshot_shares::Shared;
use crate::db::{Transaction, identity, project_settings, snapshot_shares, snapshots};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::id::SnapshotId;
use crate::model::snapshot::{Snapshot, SnapshotStatus};
use crate::model::snapshot_sharing::{EVERYBODY, PUBLIC_ACCESS, PublicAccess};

/// Projects that a snapshot is shared with at most.
pub const SHARES_MAX: usize = 1000;

/// Why somebody may read a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// It is the project's, or an administrator asks.
    Own,
    /// It is shared with the project, or with everybody.
    Shared,
}

/// The snapshot, if the requester may make something of it.
pub(super) fn readable(
    tx: &mut Transaction<'_>,
    tenancy: &Tenancy,
    id: SnapshotId,
) -> Result<(Snapshot, Access)> {
    let missing = || Error::not_found(Subject::Snapshot, id);
    let snapshot = snapshots::find(tx, id)?.ok_or_else(missing)?;
    if tenancy.sees(&snapshot.project_id) {
        tenancy.check(&snapshot.project_id, Some(&snapshot.user_id))?;
        return Ok((snapshot, Access::Own));
    }
    let project_id = tenancy.project().unwrap_or_default();
    if !is_shared_with(tx, &snapshot, project_id)? {
        return Err(missing());
    }
    // What is made of it is the requester's own.
    tenancy.check(project_id, None)?;
    Ok((as_seen(snapshot), Access::Shared))
}

/// The same, locked until the transaction ends. What the requester may not know of is not locked.
pub(super) fn locked(
    tx: &mut Transaction<'_>,
    tenancy: &Tenancy,
    id: SnapshotId,
) -> Result<(Snapshot, Access)> {
    let is_locked = snapshots::lock_of(tx, id, tenancy.project())?;
    let found = readable(tx, tenancy, id)?;
    if is_locked {
        return Ok(found);
    }
    // Another project's: it is shared as long as the lock holds.
    snapshots::lock(tx, id)?;
    readable(tx, tenancy, id)
}

fn is_shared_with(tx: &mut Transaction<'_>, snapshot: &Snapshot, project_id: &str) -> Result<bool> {
    if snapshot_shares::is_with(tx, snapshot.id, project_id)? {
        return Ok(true);
    }
    Ok(snapshot_shares::is_with(tx, snapshot.id, EVERYBODY)?
        && public_access_of(tx, &snapshot.project_id)? != PublicAccess::BlockAll)
}

/// What others see of a snapshot.
fn as_seen(snapshot: Snapshot) -> Snapshot {
    Snapshot {
        name: String::new(),
        metadata: std::collections::BTreeMap::new(),
        failure: String::new(),
        ..snapshot
    }
}

/// The snapshots with these EC2 names that the requester may make something of, each in the place of its name; none where there is
/// none. Whole names only find those of other projects.
pub async fn get_by_ec2_ids(
    service: &Service,
    request: &RequestContext,
    ec2_ids: Vec<String>,
) -> Result<Vec<Option<Snapshot>>> {
    limits::check_list(ec2_ids.len(), 0, 0)?;
    let tenancy = policy::tenancy_of(request, Rule::VolumeGetSnapshot);
    service
        .database
        .read(move |tx| {
            let whole = snapshots::find_by_ec2_ids(tx, None, &ec2_ids)?;
            let mut found = Vec::with_capacity(ec2_ids.len());
            let mut short = ShortNames::default();
            for ec2_id in &ec2_ids {
                let snapshot = match whole.get(ec2_id) {
                    Some(snapshot) => Some(snapshot.clone()),
                    None => short.look_up(ec2_id, || {
                        snapshots::find_by_short_ec2_id(tx, tenancy.project(), ec2_id)
                    })?,
                };
                found.push(match snapshot {
                    Some(snapshot) => seen_by(tx, &tenancy, snapshot)?,
                    None => None,
                });
            }
            Ok(found)
        })
        .await
}

fn seen_by(
    tx: &mut Transaction<'_>,
    tenancy: &Tenancy,
    snapshot: Snapshot,
) -> Result<Option<Snapshot>> {
    if is_leaving(&snapshot) {
        return Ok(None);
    }
    if tenancy.sees(&snapshot.project_id) {
        tenancy.check(&snapshot.project_id, Some(&snapshot.user_id))?;
        return Ok(Some(snapshot));
    }
    let project_id = tenancy.project().unwrap_or_default();
    let is_shared = is_shared_with(tx, &snapshot, project_id)?;
    Ok(is_shared.then(|| as_seen(snapshot)))
}

/// True for one that is as good as gone.
fn is_leaving(snapshot: &Snapshot) -> bool {
    matches!(
        snapshot.status,
        SnapshotStatus::Deleting | SnapshotStatus::Deleted
    )
}

/// Which snapshots a project looks for among those that it may use.
#[derive(Clone, Debug, Default)]
pub struct Discovery {
    /// Of these projects; empty for all.
    pub owners: Vec<String>,
    /// Those that these projects may use ([`EVERYBODY`] for public ones); empty for all.
    pub restorable_by: Vec<String>,
}

/// A page of the snapshots that the project may use, its own and those of others, oldest first: the query must be sorted so.
pub async fn discover(
    service: &Service,
    request: &RequestContext,
    query: SnapshotQuery,
    discovery: Discovery,
) -> Result<Page<Snapshot>> {
    policy::check(request, Rule::VolumeGetAllSnapshots)?;
    let limit = service.page_size(query.limit);
    let me = request.project_id.clone();
    let decided = |project_id, shared| Decided {
        project_id,
        limit,
        shared,
        query: query.clone(),
    };
    let own = own(&me, &discovery).map(|shared| decided(Some(me.clone()), shared));
    // Their owners' tags are not theirs.
    let has_tags = !query.metadata.is_empty()
        || !query.any_of.tags.is_empty()
        || !query.any_of.tag_keys.is_empty();
    let of_others = of_others(&me, &discovery)
        .filter(|_| !has_tags)
        .map(|shared| decided(None, shared));
    service
        .database
        .read(move |tx| {
            let mut found = match &own {
                Some(own) => snapshot_list::page(tx, own)?,
                None => Vec::new(),
            };
            if let Some(of_others) = &of_others {
                let shared = snapshot_list::page(tx, of_others)?;
                found.extend(shared.into_iter().map(as_seen));
                found.sort_by_key(|snapshot| (snapshot.created_at_us, snapshot.id));
            }
            Ok(Page::cut(found, limit))
        })
        .await
}

/// Which of its own snapshots a project looks for.
fn own(me: &str, discovery: &Discovery) -> Option<Shared> {
    let owners = &discovery.owners;
    if !owners.is_empty() && !owners.iter().any(|owner| owner == me) {
        return None;
    }
    let by = &discovery.restorable_by;
    let is_all = by.is_empty() || by.iter().any(|project| project == me);
    Some(Shared {
        with: (!is_all).then(|| by.clone()),
        ..Shared::default()
    })
}

/// Which snapshots of others a project looks for.
fn of_others(me: &str, discovery: &Discovery) -> Option<Shared> {
    let owners = discovery.owners.iter().filter(|owner| *owner != me);
    let owners: Vec<String> = owners.cloned().collect();
    if owners.is_empty() && !discovery.owners.is_empty() {
        return None;
    }
    let mut with = vec![me.to_owned(), EVERYBODY.to_owned()];
    if !discovery.restorable_by.is_empty() {
        with.retain(|project| discovery.restorable_by.contains(project));
    }
    (!with.is_empty()).then(|| Shared {
        with: Some(with),
        owners,
        not_of: Some(me.to_owned()),
    })
}

/// The projects that the requester's snapshot is shared with, sorted; [`EVERYBODY`] among them when it is public.
pub async fn shares(
    service: &Service,
    request: &RequestContext,
    id: SnapshotId,
) -> Result<Vec<String>> {
    let tenancy = policy::tenancy_of(request, Rule::VolumeGetSnapshot);
    service
        .database
        .read(move |tx| {
            snapshots_app::visible(tx, &tenancy, id)?;
            snapshot_shares::of(tx, id)
        })
        .await
}

/// How the shares of a snapshot are to change.
#[derive(Clone, Debug)]
pub enum ShareChange {
    /// With these projects too.
    Add(Vec<String>),
    /// With these no more.
    Remove(Vec<String>),
    /// With nobody.
    Clear,
}

/// Changes whom a snapshot of the requester's is shared with; all of it or nothing. A share with its own project changes nothing.
///
/// # Errors
/// `NotFound` about a project (subject `Identity`) that is not there; `Conflict` where the snapshot may not be shared so;
/// `QuotaExceeded` beyond [`SHARES_MAX`].
pub async fn change_shares(
    service: &Service,
    request: &RequestContext,
    id: SnapshotId,
    change: ShareChange,
) -> Result<()> {
    let tenancy = policy::tenancy_of(request, Rule::VolumeUpdateSnapshot);
    let now_us = service.context.now_us();
    // Those of a Keystone are known to it alone.
    let is_ours = service.config.keystone.is_none();
    service
        .database
        .write(move |tx| {
            // Whoever makes something of it holds it so too: a share that ends here is not used behind the commit.
            let snapshot = snapshots_app::locked(tx, &tenancy, id)?;
            if is_leaving(&snapshot) {
                return Err(Error::not_found(Subject::Snapshot, id));
            }
            match &change {
                ShareChange::Clear => snapshot_shares::clear(tx, id),
                ShareChange::Remove(projects) => projects
                    .iter()
                    .try_for_each(|project| snapshot_shares::remove(tx, id, project)),
                ShareChange::Add(projects) => {
                    for project in projects {
                        share(tx, &snapshot, project, is_ours, now_us)?;
                    }
                    check_count(tx, id)
                }
            }
        })
        .await
}

fn share(
    tx: &mut Transaction<'_>,
    snapshot: &Snapshot,
    project_id: &str,
    is_ours: bool,
    now_us: i64,
) -> Result<()> {
    if project_id == snapshot.project_id {
        return Ok(());
    }
    let is_public = project_id == EVERYBODY;
    if snapshot.traits.ebs.encryption_key_id.is_some() {
        return Err(refused(match is_public {
            true => "Encrypted snapshots cannot be shared publicly.",
            false => "Encrypted snapshots cannot be shared: their keys are the project's.",
        }));
    }
    if is_public {
        if public_access_of(tx, &snapshot.project_id)? != PublicAccess::Unblocked {
            return Err(refused(
                "Public sharing of snapshots is blocked for this account.",
            ));
        }
    } else if is_ours {
        let found = identity::find_project(tx, project_id)?;
        if found.is_none_or(|project| project.id != project_id) {
            let text = format!("Project with id {project_id} not found.");
            return Err(Error::new(ErrorKind::NotFound, Subject::Identity, text).on(project_id));
        }
    }
    snapshot_shares::add(tx, snapshot.id, project_id, now_us)
}

fn check_count(tx: &mut Transaction<'_>, id: SnapshotId) -> Result<()> {
    if snapshot_shares::of(tx, id)?.len() <= SHARES_MAX {
        return Ok(());
    }
    let text = format!("A snapshot is shared with {SHARES_MAX} accounts at most.");
    Err(Error::new(ErrorKind::QuotaExceeded, Subject::Request, text))
}

fn refused(text: &str) -> Error {
    Error::new(ErrorKind::Conflict, Subject::Snapshot, text)
}

/// Whether the snapshots of the requester's project may be public.
pub async fn public_access(service: &Service, request: &RequestContext) -> Result<PublicAccess> {
    policy::check(request, Rule::VolumeGetAllSnapshots)?;
    let project_id = request.project_id.clone();
    service
        .database
        .read(move |tx| public_access_of(tx, &project_id))
        .await
}

/// Decides whether the snapshots of the requester's project may be public.
pub async fn set_public_access(
    service: &Service,
    request: &RequestContext,
    access: PublicAccess,
) -> Result<()> {
    policy::check(request, Rule::VolumeUpdateSnapshot)?;
    if request.project_id.is_empty() {
        return Err(Error::invalid(
            "It is decided for a project, and the request is in none.",
        ));
    }
    let project_id = request.project_id.clone();
    let value = (access != PublicAccess::Unblocked).then(|| access.as_str());
    service
        .database
        .write(move |tx| project_settings::set(tx, &project_id, PUBLIC_ACCESS, value))
        .await
}

fn public_access_of(tx: &mut Transaction<'_>, project_id: &str) -> Result<PublicAccess> {
    let found = project_settings::find(tx, project_id, PUBLIC_ACCESS)?;
    Ok(found
        .and_then(|value| PublicAccess::parse(&value))
        .unwrap_or_default())
}
