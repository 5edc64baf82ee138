//! Quotas. Each is judged by what the project has with the new thing in it, which no concurrent request can change unseen: whoever
//! adds to a project waits for who added to it before.

use super::known::Seen;
use crate::config::Limits;
use crate::db::quotas::{self, LimitsByKey, Most, Standing};
use crate::db::{Transaction, flavors};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::id::FlavorId;
use crate::model::quota::{QuotaKey, Resource, Usage};
use crate::model::snapshot::Snapshot;
use crate::model::volume::Volume;

/// What was just added to a project.
pub(super) struct Added {
    /// What it is, for the refusal.
    pub(super) subject: Subject,
    /// Of which flavor.
    pub(super) flavor_id: FlavorId,
    /// How much.
    pub(super) usage: Usage,
    /// The size in GiB that a volume has with it.
    pub(super) volume_gib: Option<u64>,
    /// Whose limits are asked.
    pub(super) scope: Scope,
}

/// Whose limits are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Those of the project and of the flavor.
    Project,
    /// Those of the flavor: the project has no more than before.
    Flavor,
}

/// Judges a volume that was just added.
pub(crate) fn check_volume(
    tx: &mut Transaction<'_>,
    volume: &Volume,
    limits: &Limits,
) -> Result<()> {
    check(tx, &volume.project_id, &one(volume), limits)
}

fn one(volume: &Volume) -> Added {
    Added {
        subject: Subject::Volume,
        flavor_id: volume.flavor_id,
        usage: Usage {
            volumes: 1,
            gigabytes: volume.size_gib,
            snapshots: 0,
        },
        volume_gib: Some(volume.size_gib),
        scope: Scope::Project,
    }
}

/// The same at the end of a request. By limits that are known it is judged behind the request, which runs again where that refuses; where
/// nothing is limited nothing is asked.
pub(super) fn check_new_volume(
    tx: &mut Transaction<'_>,
    seen: &Seen,
    volume: &Volume,
    limits: &Limits,
) -> Result<()> {
    let added = one(volume);
    let (project_id, flavor_id) = (&volume.project_id, volume.flavor_id);
    if let Some(set) = seen.limits(project_id, flavor_id) {
        check_size(&added, &set, limits)?;
        let limit = |key| effective(key, &set, limits);
        let of_project = |resource| limit(QuotaKey::of_project(resource));
        let of_flavor = |resource| limit(QuotaKey::of_flavor(resource, flavor_id));
        let most = Most {
            volumes: of_project(Resource::Volumes),
            gigabytes: of_project(Resource::Gigabytes),
            volumes_of_flavor: of_flavor(Resource::Volumes),
            gigabytes_of_flavor: of_flavor(Resource::Gigabytes),
        };
        if most.is_unlimited() {
            return Ok(());
        }
        if tx.assume() {
            return quotas::expect_within(tx, project_id, flavor_id, most);
        }
    }
    let standing = seen.standing(tx, project_id, flavor_id)?;
    judge(tx, &standing, &added, limits)
}

/// Judges a snapshot of a volume of this flavor that was just added.
pub(super) fn check_snapshot(
    tx: &mut Transaction<'_>,
    snapshot: &Snapshot,
    flavor_id: FlavorId,
    limits: &Limits,
) -> Result<()> {
    let added = Added {
        subject: Subject::Snapshot,
        flavor_id,
        usage: Usage {
            volumes: 0,
            gigabytes: snapshot.size_gib,
            snapshots: 1,
        },
        volume_gib: None,
        scope: Scope::Project,
    };
    check(tx, &snapshot.project_id, &added, limits)
}

/// Judges an extension that was just added.
pub(super) fn check_extension(
    tx: &mut Transaction<'_>,
    volume: &Volume,
    added_gib: u64,
    limits: &Limits,
) -> Result<()> {
    let added = Added {
        subject: Subject::Volume,
        flavor_id: volume.flavor_id,
        usage: Usage {
            volumes: 0,
            gigabytes: added_gib,
            snapshots: 0,
        },
        volume_gib: Some(volume.size_gib.saturating_add(added_gib)),
        scope: Scope::Project,
    };
    check(tx, &volume.project_id, &added, limits)
}

/// Judges a volume that was just given another flavor, with its snapshots.
pub(super) fn check_retype(
    tx: &mut Transaction<'_>,
    volume: &Volume,
    limits: &Limits,
) -> Result<()> {
    let snapshots = quotas::of_snapshots(tx, volume.id, &volume.project_id)?;
    let added = Added {
        subject: Subject::Volume,
        flavor_id: volume.flavor_id,
        usage: Usage {
            volumes: 1,
            gigabytes: volume.size_gib.saturating_add(snapshots.gigabytes),
            snapshots: snapshots.snapshots,
        },
        volume_gib: None,
        scope: Scope::Flavor,
    };
    check(tx, &volume.project_id, &added, limits)
}

/// Judges a group that was just added.
pub(super) fn check_group(
    tx: &mut Transaction<'_>,
    project_id: &str,
    limits: &Limits,
) -> Result<()> {
    let key = QuotaKey::of_project(Resource::Groups);
    let of_project = quotas::limits_of_project(tx, project_id)?;
    let of_class = quotas::limits_of_class(tx, quotas::DEFAULT_CLASS)?;
    let set = of_project.get(&key).or(of_class.get(&key));
    let limit = set.copied().unwrap_or_else(|| configured(key, limits));
    if !is_over(quotas::groups(tx, project_id)?, limit) {
        return Ok(());
    }
    Err(exceeded(
        Subject::Request,
        format!("GroupLimitExceeded: Maximum number of groups allowed ({limit}) exceeded"),
    ))
}

/// Judges what was just added; one statement unless it refuses.
///
/// # Errors
/// `QuotaExceeded` in Cinder's words and in its order: the size of the one volume, GiB, numbers; the project before the flavor.
pub(super) fn check(
    tx: &mut Transaction<'_>,
    project_id: &str,
    added: &Added,
    limits: &Limits,
) -> Result<()> {
    let standing = quotas::standing(tx, project_id, added.flavor_id)?;
    judge(tx, &standing, added, limits)
}

/// Judges the size of the one volume.
fn check_size(added: &Added, set: &LimitsByKey, limits: &Limits) -> Result<()> {
    if let Some(size_gib) = added.volume_gib {
        let key = QuotaKey::of_project(Resource::PerVolumeGigabytes);
        let limit = effective(key, set, limits);
        if added.scope == Scope::Project && is_over(size_gib, limit) {
            return Err(exceeded(
                added.subject,
                format!(
                    "VolumeSizeExceedsLimit: Requested volume size {size_gib}G is larger than maximum allowed limit {limit}G."
                ),
            ));
        }
    }
    Ok(())
}

fn judge(
    tx: &mut Transaction<'_>,
    standing: &Standing,
    added: &Added,
    limits: &Limits,
) -> Result<()> {
    check_size(added, &standing.limits, limits)?;
    match first_over(standing, added, limits) {
        None => Ok(()),
        Some((key, used, limit)) => {
            let name = public_name(tx, key)?;
            Err(refusal(added, key, &name, used, limit))
        }
    }
}

/// The first limit that is exceeded, with what is used and allowed.
fn first_over(standing: &Standing, added: &Added, limits: &Limits) -> Option<(QuotaKey, u64, i64)> {
    [Resource::Gigabytes, Resource::Snapshots, Resource::Volumes]
        .into_iter()
        .filter(|resource| added.usage.of(*resource) > 0)
        .flat_map(|resource| {
            let of_flavor = QuotaKey::of_flavor(resource, added.flavor_id);
            [
                (QuotaKey::of_project(resource), &standing.project),
                (of_flavor, &standing.flavor),
            ]
        })
        .filter(|(key, _)| added.scope == Scope::Project || key.flavor.is_some())
        .map(|(key, usage)| {
            let limit = effective(key, &standing.limits, limits);
            (key, usage.of(key.resource), limit)
        })
        .find(|(_, used, limit)| is_over(*used, *limit))
}

fn refusal(added: &Added, key: QuotaKey, name: &str, used: u64, limit: i64) -> Error {
    let asked = added.usage.of(key.resource);
    let sentence = match key.resource {
        Resource::Gigabytes => format!(
            "VolumeSizeExceedsAvailableQuota: Requested volume or snapshot exceeds allowed {name} quota. Requested {asked}G, \
             quota is {limit}G and {}G has been consumed.",
            used.saturating_sub(asked)
        ),
        Resource::Snapshots => {
            format!(
                "SnapshotLimitExceeded: Maximum number of snapshots allowed ({limit}) exceeded."
            )
        }
        _ => format!(
            "VolumeLimitExceeded: Maximum number of volumes allowed ({limit}) exceeded for quota '{name}'."
        ),
    };
    exceeded(added.subject, sentence)
}

/// The name of a limit as users know it: with the flavor's label.
fn public_name(tx: &mut Transaction<'_>, key: QuotaKey) -> Result<String> {
    let Some(flavor) = key.flavor else {
        return Ok(key.to_string());
    };
    let label = flavors::find(tx, &flavor.to_string())?.map(|flavor| flavor.label);
    Ok(format!(
        "{}_{}",
        key.resource.as_str(),
        label.unwrap_or_else(|| flavor.to_string())
    ))
}

/// The limit that holds: what was set, or else what is configured.
pub(super) fn effective(key: QuotaKey, set: &LimitsByKey, limits: &Limits) -> i64 {
    set.get(&key)
        .copied()
        .unwrap_or_else(|| configured(key, limits))
}

/// The limit of a project for which nobody set one. What is not built may not be had.
fn configured(key: QuotaKey, limits: &Limits) -> i64 {
    if key.flavor.is_some() {
        return -1;
    }
    match key.resource {
        Resource::Volumes => limits.volumes_per_project,
        Resource::Snapshots => limits.snapshots_per_project,
        Resource::Gigabytes => limits.gigabytes_per_project,
        Resource::PerVolumeGigabytes => limits.gigabytes_per_volume,
        Resource::Groups => limits.groups_per_project,
        Resource::Backups | Resource::BackupGigabytes => 0,
    }
}

/// A negative limit is none.
fn is_over(used: u64, limit: i64) -> bool {
    u64::try_from(limit).is_ok_and(|limit| used > limit)
}

fn exceeded(subject: Subject, public: String) -> Error {
    Error::new(ErrorKind::QuotaExceeded, subject, public)
}
