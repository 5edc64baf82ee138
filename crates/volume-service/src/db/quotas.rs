//! Usage of projects, which triggers keep, and the limits that an administrator set.

use std::collections::BTreeMap;

use super::{Row, Transaction};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::id::{FlavorId, VolumeId};
use crate::model::quota::{QuotaKey, Resource, Usage};

/// The class whose limits every project has that has none of its own.
pub const DEFAULT_CLASS: &str = "default";

/// Limits by what they limit.
pub type LimitsByKey = BTreeMap<QuotaKey, i64>;

/// What a quota is judged by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// What the project has.
    pub project: Usage,
    /// What it has of the flavor.
    pub flavor: Usage,
    /// The limits that were set for the project or for every project.
    pub limits: LimitsByKey,
}

/// What a project has, in all and of one flavor, and the limits that were set for both; one statement.
pub fn standing(tx: &mut Transaction<'_>, project_id: &str, flavor: FlavorId) -> Result<Standing> {
    let key = |resource| QuotaKey::of_flavor(resource, flavor).to_string();
    let mut standing = Standing::default();
    // The rows of the class come first, those of the project replace them.
    tx.query(
        "SELECT CAST(0 AS BIGINT) AS source, CAST(NULL AS TEXT), CAST(NULL AS BIGINT), \
         CAST(SUM(volumes) AS BIGINT), CAST(SUM(gigabytes) AS BIGINT), CAST(SUM(snapshots) AS BIGINT), \
         CAST(SUM(CASE WHEN flavor_id = ?2 THEN volumes ELSE 0 END) AS BIGINT), \
         CAST(SUM(CASE WHEN flavor_id = ?2 THEN gigabytes ELSE 0 END) AS BIGINT), \
         CAST(SUM(CASE WHEN flavor_id = ?2 THEN snapshots ELSE 0 END) AS BIGINT) \
         FROM type_usage WHERE project_id = ?1 \
         UNION ALL SELECT 1, resource, hard_limit, NULL, NULL, NULL, NULL, NULL, NULL FROM quota_class_limits \
         WHERE class = 'default' AND resource IN ('volumes', 'gigabytes', 'snapshots', 'per_volume_gigabytes', ?3, ?4, ?5) \
         UNION ALL SELECT 2, resource, hard_limit, NULL, NULL, NULL, NULL, NULL, NULL FROM quota_limits \
         WHERE project_id = ?1 AND resource IN ('volumes', 'gigabytes', 'snapshots', 'per_volume_gigabytes', ?3, ?4, ?5) \
         ORDER BY source",
        &[
            project_id.into(),
            flavor.into(),
            key(Resource::Volumes).into(),
            key(Resource::Gigabytes).into(),
            key(Resource::Snapshots).into(),
        ],
        |row| {
            if row.int(0)? == 0 {
                standing.project = usage_at(row, 3)?;
                standing.flavor = usage_at(row, 6)?;
            } else {
                let key = row.parsed(1, QuotaKey::parse)?;
                standing.limits.insert(key, row.int(2)?);
            }
            Ok(())
        },
    )?;
    Ok(standing)
}

/// What a project may have of volumes; negative for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Most {
    /// Volumes in all.
    pub volumes: i64,
    /// GiB in all.
    pub gigabytes: i64,
    /// Volumes of one flavor.
    pub volumes_of_flavor: i64,
    /// GiB of one flavor.
    pub gigabytes_of_flavor: i64,
}

impl Most {
    /// True when nothing is limited.
    pub fn is_unlimited(self) -> bool {
        self.in_order().iter().all(|limit| *limit < 0)
    }

    fn in_order(self) -> [i64; 4] {
        [
            self.volumes,
            self.gigabytes,
            self.volumes_of_flavor,
            self.gigabytes_of_flavor,
        ]
    }
}

/// Shows that a project has no more than this, where the closure assumes it. The refusal may come with a later statement; the closure
/// runs again then, and judges.
pub fn expect_within(
    tx: &mut Transaction<'_>,
    project_id: &str,
    flavor: FlavorId,
    most: Most,
) -> Result<()> {
    let mut params = vec![project_id.into(), flavor.into()];
    for limit in most.in_order() {
        params.push(if limit < 0 { i64::MAX } else { limit }.into());
    }
    tx.post(
        "SELECT u.volumes FROM (SELECT CAST(SUM(volumes) AS BIGINT) AS volumes, CAST(SUM(gigabytes) AS BIGINT) AS gigabytes, \
         CAST(SUM(CASE WHEN flavor_id = ?2 THEN volumes ELSE 0 END) AS BIGINT) AS volumes_of_flavor, \
         CAST(SUM(CASE WHEN flavor_id = ?2 THEN gigabytes ELSE 0 END) AS BIGINT) AS gigabytes_of_flavor \
         FROM type_usage WHERE project_id = ?1) u \
         WHERE u.volumes <= ?3 AND u.gigabytes <= ?4 AND u.volumes_of_flavor <= ?5 AND u.gigabytes_of_flavor <= ?6",
        params,
        || {
            let text = "The request exceeds a quota.";
            Error::new(ErrorKind::QuotaExceeded, Subject::Volume, text)
        },
    )
}

/// What a project has of each flavor; what it has nothing of may be missing.
pub fn usage_by_flavor(
    tx: &mut Transaction<'_>,
    project_id: &str,
) -> Result<BTreeMap<String, Usage>> {
    usages(
        tx,
        "SELECT flavor_id, volumes, gigabytes, snapshots FROM type_usage WHERE project_id = ?1",
        project_id,
    )
}

/// What a project has.
pub fn usage(tx: &mut Transaction<'_>, project_id: &str) -> Result<Usage> {
    let found = tx.query_first(
        "SELECT CAST(SUM(volumes) AS BIGINT), CAST(SUM(gigabytes) AS BIGINT), CAST(SUM(snapshots) AS BIGINT) \
         FROM type_usage WHERE project_id = ?1",
        &[project_id.into()],
        |row| usage_at(row, 0),
    )?;
    Ok(found.unwrap_or_default())
}

/// What the snapshots of a volume in one project are.
pub fn of_snapshots(
    tx: &mut Transaction<'_>,
    volume_id: VolumeId,
    project_id: &str,
) -> Result<Usage> {
    let found = tx.query_first(
        "SELECT CAST(0 AS BIGINT), CAST(SUM(size_gib) AS BIGINT), COUNT(*) FROM snapshots WHERE volume_id = ?1 AND project_id = ?2",
        &[volume_id.into(), project_id.into()],
        |row| usage_at(row, 0),
    )?;
    Ok(found.unwrap_or_default())
}

/// How many groups a project has.
pub fn groups(tx: &mut Transaction<'_>, project_id: &str) -> Result<u64> {
    let found = tx.query_first(
        "SELECT COUNT(*) FROM volume_groups WHERE project_id = ?1",
        &[project_id.into()],
        |row| row.int(0),
    )?;
    Ok(unsigned(found))
}

/// The limits that were set for one project.
pub fn limits_of_project(tx: &mut Transaction<'_>, project_id: &str) -> Result<LimitsByKey> {
    limits(
        tx,
        "SELECT resource, hard_limit FROM quota_limits WHERE project_id = ?1",
        project_id,
    )
}

/// The limits that were set for a class.
pub fn limits_of_class(tx: &mut Transaction<'_>, class: &str) -> Result<LimitsByKey> {
    limits(
        tx,
        "SELECT resource, hard_limit FROM quota_class_limits WHERE class = ?1",
        class,
    )
}

/// Sets a limit of a project.
pub fn set_of_project(
    tx: &mut Transaction<'_>,
    project_id: &str,
    key: QuotaKey,
    hard_limit: i64,
) -> Result<()> {
    tx.execute(
        "INSERT INTO quota_limits (project_id, resource, hard_limit) VALUES (?1, ?2, ?3) \
         ON CONFLICT (project_id, resource) DO UPDATE SET hard_limit = excluded.hard_limit",
        &[project_id.into(), key.to_string().into(), hard_limit.into()],
    )?;
    Ok(())
}

/// Sets a limit of a class.
pub fn set_of_class(
    tx: &mut Transaction<'_>,
    class: &str,
    key: QuotaKey,
    hard_limit: i64,
) -> Result<()> {
    tx.execute(
        "INSERT INTO quota_class_limits (class, resource, hard_limit) VALUES (?1, ?2, ?3) \
         ON CONFLICT (class, resource) DO UPDATE SET hard_limit = excluded.hard_limit",
        &[class.into(), key.to_string().into(), hard_limit.into()],
    )?;
    Ok(())
}

/// Removes every limit of a project; it has those of every project again.
pub fn remove_of_project(tx: &mut Transaction<'_>, project_id: &str) -> Result<()> {
    tx.execute(
        "DELETE FROM quota_limits WHERE project_id = ?1",
        &[project_id.into()],
    )?;
    Ok(())
}

/// The first project behind this one, by bytes, that has or had anything.
pub fn project_behind(tx: &mut Transaction<'_>, project_id: &str) -> Result<Option<String>> {
    let found = tx.query(
        "SELECT MIN(project_id) FROM volumes WHERE project_id > ?1 \
         UNION ALL SELECT MIN(project_id) FROM snapshots WHERE project_id > ?1 \
         UNION ALL SELECT MIN(project_id) FROM type_usage WHERE project_id > ?1",
        &[project_id.into()],
        |row| row.opt_text(0),
    )?;
    Ok(found.into_iter().flatten().min())
}

/// What a project has of each flavor, counted row by row. Read in one transaction it is as old as [`usage_by_flavor`].
pub fn counted_by_flavor(
    tx: &mut Transaction<'_>,
    project_id: &str,
) -> Result<BTreeMap<String, Usage>> {
    usages(
        tx,
        "SELECT flavor_id, CAST(SUM(volumes) AS BIGINT), CAST(SUM(gigabytes) AS BIGINT), CAST(SUM(snapshots) AS BIGINT) \
         FROM counted_usage WHERE project_id = ?1 GROUP BY flavor_id",
        project_id,
    )
}

/// Replaces what the triggers counted by what is there.
pub fn recount(tx: &mut Transaction<'_>, project_id: &str) -> Result<()> {
    // Locks the rows: who changes the project's volumes meanwhile adds to the new numbers.
    tx.execute(
        "UPDATE type_usage SET volumes = 0, gigabytes = 0, snapshots = 0 WHERE project_id = ?1",
        &[project_id.into()],
    )?;
    tx.execute(
        "INSERT INTO type_usage (project_id, flavor_id, volumes, gigabytes, snapshots) \
         SELECT project_id, flavor_id, SUM(volumes), SUM(gigabytes), SUM(snapshots) FROM counted_usage \
         WHERE project_id = ?1 GROUP BY project_id, flavor_id \
         ON CONFLICT (project_id, flavor_id) DO UPDATE SET volumes = excluded.volumes, \
         gigabytes = excluded.gigabytes, snapshots = excluded.snapshots",
        &[project_id.into()],
    )?;
    Ok(())
}

fn limits(tx: &mut Transaction<'_>, sql: &str, owner: &str) -> Result<LimitsByKey> {
    let found = tx.query(sql, &[owner.into()], |row| {
        Ok((row.parsed(0, QuotaKey::parse)?, row.int(1)?))
    })?;
    Ok(found.into_iter().collect())
}

fn usages(
    tx: &mut Transaction<'_>,
    sql: &str,
    project_id: &str,
) -> Result<BTreeMap<String, Usage>> {
    let found = tx.query(sql, &[project_id.into()], |row| {
        Ok((row.text(0)?, usage_at(row, 1)?))
    })?;
    Ok(found.into_iter().collect())
}

fn usage_at(row: &Row<'_>, column: usize) -> Result<Usage> {
    Ok(Usage {
        volumes: unsigned(row.opt_int(column)?),
        gigabytes: unsigned(row.opt_int(column + 1)?),
        snapshots: unsigned(row.opt_int(column + 2)?),
    })
}

fn unsigned(number: Option<i64>) -> u64 {
    number
        .and_then(|number| u64::try_from(number).ok())
        .unwrap_or(0)
}
