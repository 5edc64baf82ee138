//! Groups of volumes. Which volumes are in a group stands in `volume_traits`.

use super::group_list::{self, Listing, of_ids};
use super::select::Select;
use super::{Param, Row, Transaction, volumes};
use crate::app::groups::GroupQuery;
use crate::error::Result;
use crate::model::group::{CONSISTENCY_TYPE, Group, GroupStatus};
use crate::model::id::{FlavorId, GroupId, GroupSnapshotId, VolumeId};
use crate::model::volume::{Volume, VolumeStatus};

const COLUMNS: &str = "g.id, g.project_id, g.user_id, g.group_type_id, \
                       (SELECT t.name FROM group_types t WHERE t.id = g.group_type_id), g.name, g.description, g.zone, \
                       g.status, g.group_snapshot_id, g.source_group_id, g.failure, g.hand_set, g.created_at_us";

/// Adds a group with the flavors that its members may have.
pub fn insert(tx: &mut Transaction<'_>, group: &Group) -> Result<()> {
    tx.execute(
        "INSERT INTO volume_groups (id, project_id, user_id, group_type_id, name, description, zone, status, group_snapshot_id, \
         source_group_id, failure, hand_set, created_at_us, updated_at_us) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, '', 0, ?11, ?11)",
        &[
            group.id.into(),
            group.project_id.as_str().into(),
            group.user_id.as_str().into(),
            group.type_id.into(),
            group.name.as_str().into(),
            group.description.as_str().into(),
            group.zone.as_str().into(),
            group.status.as_str().into(),
            group.group_snapshot_id.map(|id| id.to_string()).into(),
            group.source_group_id.map(|id| id.to_string()).into(),
            group.created_at_us.into(),
        ],
    )?;
    for flavor in &group.flavors {
        tx.execute(
            "INSERT INTO group_flavors (group_id, flavor_id) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            &[group.id.into(), (*flavor).into()],
        )?;
    }
    Ok(())
}

/// A group of any project, if it exists.
pub fn find(tx: &mut Transaction<'_>, id: GroupId) -> Result<Option<Group>> {
    let sql = format!("SELECT {COLUMNS} FROM volume_groups g WHERE g.id = ?1");
    let found = tx.query_first(&sql, &[id.into()], from_row)?;
    let mut found: Vec<Group> = found.into_iter().collect();
    fill(tx, &mut found)?;
    Ok(found.pop())
}

/// The groups behind the marker that match, one more than `limit`.
///
/// # Errors
/// `Invalid` when the marker does not match.
pub fn page(tx: &mut Transaction<'_>, query: &GroupQuery, limit: usize) -> Result<Vec<Group>> {
    let listing = Listing {
        from: "volume_groups g",
        columns: COLUMNS,
        select: filters(query),
        sort: &query.sort,
        marker: query.marker,
        offset: query.offset,
        limit,
    };
    let mut found = group_list::page(tx, listing, from_row)?;
    fill(tx, &mut found)?;
    Ok(found)
}

/// What lists of groups and of their snapshots have in common.
pub(super) fn filters(query: &GroupQuery) -> Select {
    let mut select = Select::all();
    if let Some(project_id) = &query.project_id {
        select.equal("g.project_id", project_id.as_str().into());
    }
    if let Some(name) = &query.name {
        select.equal("g.name", name.as_str().into());
    }
    if let Some(part) = &query.name_part {
        select.has_part("g.name", part);
    }
    if let Some(status) = query.status {
        select.equal("g.status", status.as_str().into());
    }
    if query.without_consistency_groups {
        let place = select.param(CONSISTENCY_TYPE.into());
        select.condition.push_str(&format!(
            " AND NOT EXISTS (SELECT 1 FROM group_types t WHERE t.id = g.group_type_id AND t.name = {place})"
        ));
    }
    select
}

/// Locks the row until the transaction ends: whoever changes who is in the group, or goes by that, locks it first. False when the
/// group is gone.
pub fn lock(tx: &mut Transaction<'_>, id: GroupId) -> Result<bool> {
    let sql = "SELECT id FROM volume_groups WHERE id = ?1 /* for update */";
    Ok(tx.query_first(sql, &[id.into()], |_| Ok(()))?.is_some())
}

/// As [`lock`], for who may know of the groups of this project only (none for who may know of all): another project's is not locked,
/// so that nobody can keep its owners waiting.
pub fn lock_of(tx: &mut Transaction<'_>, id: GroupId, project: Option<&str>) -> Result<bool> {
    let Some(project) = project else {
        return lock(tx, id);
    };
    let sql = "SELECT id FROM volume_groups WHERE id = ?1 AND project_id = ?2 /* for update */";
    Ok(tx
        .query_first(sql, &[id.into(), project.into()], |_| Ok(()))?
        .is_some())
}

/// The ids of a group's members, oldest first.
pub fn member_ids(tx: &mut Transaction<'_>, id: GroupId) -> Result<Vec<VolumeId>> {
    tx.query(
        "SELECT v.id FROM volume_traits t JOIN volumes v ON v.id = t.volume_id \
         WHERE t.group_id = ?1 AND t.group_id IS NOT NULL ORDER BY v.created_at_us, v.id",
        &[id.into()],
        |row| row.parsed(0, |text| text.parse().ok()),
    )
}

/// A group's members, oldest first.
pub fn members(tx: &mut Transaction<'_>, id: GroupId) -> Result<Vec<Volume>> {
    let mut found = Vec::new();
    for id in member_ids(tx, id)? {
        found.extend(volumes::find(tx, id)?);
    }
    Ok(found)
}

/// Changes the texts of a group; none leaves one as it is.
pub fn rename(
    tx: &mut Transaction<'_>,
    id: GroupId,
    name: Option<&str>,
    description: Option<&str>,
    now_us: i64,
) -> Result<bool> {
    let touched = tx.execute(
        "UPDATE volume_groups SET name = COALESCE(?2, name), description = COALESCE(?3, description), updated_at_us = ?4 \
         WHERE id = ?1",
        &[id.into(), name.into(), description.into(), now_us.into()],
    )?;
    Ok(touched == 1)
}

/// Gives a group a state, and says whether an operator did.
pub fn set_status(
    tx: &mut Transaction<'_>,
    id: GroupId,
    status: GroupStatus,
    failure: &str,
    is_hand_set: bool,
    now_us: i64,
) -> Result<bool> {
    let touched = tx.execute(
        "UPDATE volume_groups SET status = ?2, failure = ?3, hand_set = ?4, updated_at_us = ?5 WHERE id = ?1",
        &[
            id.into(),
            status.as_str().into(),
            failure.into(),
            is_hand_set.into(),
            now_us.into(),
        ],
    )?;
    Ok(touched == 1)
}

/// Takes a group further that is on its way, by the states of its members: one that is being made ends when the last member is
/// made, one that is being deleted goes with the last one. Every transaction that ends the making or the removal of a volume of
/// such a group ends with this; the lock lets only the last one find that it is the last.
pub fn settle(tx: &mut Transaction<'_>, id: GroupId, now_us: i64) -> Result<bool> {
    lock(tx, id)?;
    let Some(group) = find(tx, id)?.filter(|group| !group.is_hand_set) else {
        return Ok(false);
    };
    let states = member_states(tx, id)?;
    let count = |status: VolumeStatus| states.iter().filter(|state| **state == status).count();
    let failed = format!(
        "{} of its {} volumes are in error",
        count(VolumeStatus::Error) + count(VolumeStatus::ErrorDeleting),
        states.len()
    );
    match group.status {
        GroupStatus::Creating if count(VolumeStatus::Creating) > 0 => Ok(false),
        GroupStatus::Creating if count(VolumeStatus::Error) > 0 => {
            set_status(tx, id, GroupStatus::Error, &failed, false, now_us)
        }
        GroupStatus::Creating => set_status(tx, id, GroupStatus::Available, "", false, now_us),
        GroupStatus::Deleting if count(VolumeStatus::Deleting) > 0 => Ok(false),
        GroupStatus::Deleting if states.is_empty() => remove(tx, id),
        GroupStatus::Deleting => {
            set_status(tx, id, GroupStatus::ErrorDeleting, &failed, false, now_us)
        }
        GroupStatus::Available
        | GroupStatus::Error
        | GroupStatus::ErrorDeleting
        | GroupStatus::Updating
        | GroupStatus::Deleted => Ok(false),
    }
}

/// Up to `limit` groups of a zone in a state that they should leave by themselves, for reconcilers.
pub fn on_their_way(tx: &mut Transaction<'_>, zone: &str, limit: usize) -> Result<Vec<GroupId>> {
    tx.query(
        "SELECT id FROM volume_groups WHERE zone = ?1 AND status IN ('creating', 'deleting') \
         AND status <> 'available' AND status <> 'error' AND hand_set = 0 ORDER BY created_at_us LIMIT ?2",
        &[
            zone.into(),
            i64::try_from(limit).unwrap_or(i64::MAX).into(),
        ],
        |row| row.parsed(0, |text| text.parse().ok()),
    )
}

/// True while a group is being made from this one.
pub fn is_being_made_from_group(tx: &mut Transaction<'_>, id: GroupId) -> Result<bool> {
    let sql = "SELECT id FROM volume_groups WHERE source_group_id = ?1 AND status = 'creating' AND hand_set = 0 LIMIT 1";
    Ok(tx.query_first(sql, &[id.into()], |_| Ok(()))?.is_some())
}

/// True while a group is being made from this group snapshot.
pub fn is_being_made_from_snapshot(tx: &mut Transaction<'_>, id: GroupSnapshotId) -> Result<bool> {
    let sql = "SELECT id FROM volume_groups WHERE group_snapshot_id = ?1 AND status = 'creating' AND hand_set = 0 LIMIT 1";
    Ok(tx.query_first(sql, &[id.into()], |_| Ok(()))?.is_some())
}

fn remove(tx: &mut Transaction<'_>, id: GroupId) -> Result<bool> {
    Ok(tx.execute("DELETE FROM volume_groups WHERE id = ?1", &[id.into()])? == 1)
}

fn member_states(tx: &mut Transaction<'_>, id: GroupId) -> Result<Vec<VolumeStatus>> {
    tx.query(
        "SELECT v.status FROM volume_traits t JOIN volumes v ON v.id = t.volume_id \
         WHERE t.group_id = ?1 AND t.group_id IS NOT NULL",
        &[id.into()],
        |row| row.parsed(0, VolumeStatus::parse),
    )
}

/// Adds the flavors that members may have.
fn fill(tx: &mut Transaction<'_>, groups: &mut [Group]) -> Result<()> {
    let ids: Vec<String> = groups.iter().map(|group| group.id.to_string()).collect();
    let head = "SELECT group_id, flavor_id FROM group_flavors WHERE group_id IN";
    let pairs = of_ids(tx, head, &ids, |row| {
        let id: GroupId = row.parsed(0, |text| text.parse().ok())?;
        let flavor: FlavorId = row.parsed(1, |text| text.parse().ok())?;
        Ok((id, flavor))
    })?;
    for (id, flavor) in pairs {
        if let Some(group) = groups.iter_mut().find(|group| group.id == id) {
            group.flavors.push(flavor);
        }
    }
    for group in groups {
        group.flavors.sort();
    }
    Ok(())
}

fn from_row(row: &Row<'_>) -> Result<Group> {
    Ok(Group {
        id: row.parsed(0, |text| text.parse().ok())?,
        project_id: row.text(1)?,
        user_id: row.text(2)?,
        type_id: row.parsed(3, |text| text.parse().ok())?,
        type_name: row.opt_text(4)?.unwrap_or_default(),
        name: row.text(5)?,
        description: row.text(6)?,
        zone: row.text(7)?,
        status: row.parsed(8, GroupStatus::parse)?,
        flavors: Vec::new(),
        group_snapshot_id: row.opt_parsed(9, |text| text.parse().ok())?,
        source_group_id: row.opt_parsed(10, |text| text.parse().ok())?,
        failure: row.text(11)?,
        is_hand_set: row.int(12)? != 0,
        created_at_us: row.int(13)?,
    })
}

impl From<GroupId> for Param {
    fn from(id: GroupId) -> Self {
        Param::Text(id.to_string())
    }
}
