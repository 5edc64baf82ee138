//! Who is in a group: volumes of the same project and zone, of the flavors that the group allows. One transaction changes all that
//! a request asks for, or nothing.

use std::collections::BTreeSet;

use super::groups::{locked, refused};
use super::{Service, limits, policy, services};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::{Transaction, groups, operations, volume_traits, volumes};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::group::{Group, GroupStatus, MEMBERS_MAX};
use crate::model::id::{GroupId, VolumeId};
use crate::model::volume::{Volume, VolumeStatus};

/// What of a group is changed; none and empty leave it as it is.
#[derive(Clone, Debug, Default)]
pub struct ChangeMembers {
    /// Its name.
    pub name: Option<String>,
    /// The sentence for people.
    pub description: Option<String>,
    /// Ids of volumes that come in, as the request has them.
    pub add: Vec<String>,
    /// Ids of volumes that go out.
    pub remove: Vec<String>,
}

/// The states that a volume may come in with.
const ADDABLE: [VolumeStatus; 2] = [VolumeStatus::Available, VolumeStatus::InUse];
/// The states that a volume may go out with.
const REMOVABLE: [VolumeStatus; 4] = [
    VolumeStatus::Available,
    VolumeStatus::InUse,
    VolumeStatus::Error,
    VolumeStatus::ErrorDeleting,
];

/// Changes the texts of a group and who is in it.
///
/// # Errors
/// `Invalid` in Cinder's words, with nothing changed.
pub async fn update(
    service: &Service,
    request: &RequestContext,
    id: GroupId,
    change: ChangeMembers,
) -> Result<()> {
    if let Some(name) = &change.name {
        limits::check_text("name", name)?;
    }
    if let Some(description) = &change.description {
        limits::check_text("description", description)?;
    }
    if change.add.len().max(change.remove.len()) > MEMBERS_MAX {
        return Err(invalid_volume(format!(
            "At most {MEMBERS_MAX} volumes come or go at once: a group has no more."
        )));
    }
    let tenancy = policy::tenancy_of(request, Rule::GroupUpdate);
    let now_us = service.context.now_us();
    service
        .database
        .write(move |tx| {
            let group = locked(tx, &tenancy, id)?;
            let both: Vec<&String> = change
                .add
                .iter()
                .filter(|one| change.remove.contains(one))
                .collect();
            if !both.is_empty() {
                return Err(invalid_volume(format!(
                    "UUIDs {both:?} are in both add and remove volume list."
                )));
            }
            let present: BTreeSet<VolumeId> =
                groups::member_ids(tx, id)?.into_iter().collect();
            let coming = coming(tx, &group, &present, &change.add)?;
            let going = going(tx, &group, &present, &change.remove)?;
            let name = change.name.as_ref().filter(|name| **name != group.name);
            let description = change.description.as_ref();
            let description = description.filter(|text| **text != group.description);
            if name.is_none() && description.is_none() && coming.is_empty() && going.is_empty() {
                return Err(refused(
                    id,
                    format!(
                        "Cannot update group {id} because no valid name, description, add_volumes, or remove_volumes were \
                         provided."
                    ),
                ));
            }
            if group.status != GroupStatus::Available {
                return Err(refused(id, "Group status must be available."));
            }
            services::check_not_frozen(tx, &group.zone)?;
            let count = present.len() + coming.len() - going.len();
            check_count(&group, count)?;
            for volume in coming {
                volume_traits::set_group(tx, volume, Some(id.0))?;
            }
            for volume in going {
                volume_traits::set_group(tx, volume, None)?;
            }
            let (name, description) = (name.map(String::as_str), description.map(String::as_str));
            groups::rename(tx, id, name, description, now_us).map(drop)
        })
        .await
}

/// Refuses a group of too many.
pub(super) fn check_count(group: &Group, count: usize) -> Result<()> {
    if count <= MEMBERS_MAX {
        return Ok(());
    }
    let why = format!("A group has at most {MEMBERS_MAX} volumes, and it would have {count}.");
    Err(refused(group.id, why))
}

/// Refuses a group that no volume may be made in.
///
/// The caller has locked the group.
pub(super) fn check_new_member(tx: &mut Transaction<'_>, group: &Group) -> Result<()> {
    if group.status != GroupStatus::Available {
        return Err(refused(
            group.id,
            "Originating group status must be one of 'available' values.",
        ));
    }
    let count = groups::member_ids(tx, group.id)?.len();
    check_count(group, count + 1)
}

/// What is named, in the order of the ids that it means: a request may spell one in several ways. What is none comes first.
fn in_order(wanted: &[String]) -> BTreeSet<(Option<VolumeId>, &String)> {
    let meant = wanted.iter().map(|named| (named.parse().ok(), named));
    meant.collect()
}

/// The volumes that come in, locked in the order of their ids. What cannot come in, a volume of another project first of all, is not
/// locked: nobody else waits for this request.
fn coming(
    tx: &mut Transaction<'_>,
    group: &Group,
    present: &BTreeSet<VolumeId>,
    wanted: &[String],
) -> Result<BTreeSet<VolumeId>> {
    let mut coming = BTreeSet::new();
    for (id, named) in in_order(wanted) {
        let cannot = |why: &str| {
            invalid_volume(format!(
                "Cannot add volume {named} to group {} {why}.",
                group.id
            ))
        };
        let missing = || cannot("because volume cannot be found");
        let id = id.ok_or_else(missing)?;
        if present.contains(&id) {
            continue;
        }
        let check = |tx: &mut Transaction<'_>| {
            let volume = volumes::find(tx, id)?.ok_or_else(missing)?;
            if volume.project_id != group.project_id {
                // Not even that it is there.
                return Err(missing());
            }
            let checked = check_addable(tx, group, &volume);
            checked.map_err(|why| why.unwrap_or_else(|why| cannot(&why)))
        };
        check(tx)?;
        volumes::lock(tx, id)?;
        check(tx)?;
        coming.insert(id);
    }
    Ok(coming)
}

/// Why a volume cannot come in; an error of the database as it is.
type Why = std::result::Result<Error, String>;

fn check_addable(
    tx: &mut Transaction<'_>,
    group: &Group,
    volume: &Volume,
) -> std::result::Result<(), Why> {
    if let Some(other) = volume.traits.group_id {
        return Err(Err(format!("because it is already in group {other}")));
    }
    if !group.flavors.contains(&volume.flavor_id) {
        return Err(Err(format!(
            "because volume type {} is not supported by the group",
            volume.flavor_id
        )));
    }
    if !ADDABLE.contains(&volume.status) {
        return Err(Err(format!(
            "because volume is in an invalid state: {}. Valid states are: ('available', 'in-use')",
            volume.status.as_str()
        )));
    }
    if volume.zone != group.zone {
        return Err(Err(format!(
            "because it is in zone {} and the group in zone {}",
            volume.zone, group.zone
        )));
    }
    let unfinished = operations::find_unfinished(tx, &volume.id.to_string()).map_err(Ok)?;
    if unfinished.is_some() {
        return Err(Err("because an operation is at work on it".to_owned()));
    }
    Ok(())
}

fn going(
    tx: &mut Transaction<'_>,
    group: &Group,
    present: &BTreeSet<VolumeId>,
    wanted: &[String],
) -> Result<BTreeSet<VolumeId>> {
    let mut going = BTreeSet::new();
    for (id, named) in in_order(wanted) {
        let cannot = |why: &str| {
            invalid_volume(format!(
                "Cannot remove volume {named} from group {} because {why}.",
                group.id
            ))
        };
        let Some(id) = id.filter(|id| present.contains(id)) else {
            return Err(cannot("it is not in the group"));
        };
        volumes::lock(tx, id)?;
        let status = volumes::get(tx, id)?.status;
        if !REMOVABLE.contains(&status) {
            return Err(cannot(&format!(
                "volume is in an invalid state: {}. Valid states are: ('available', 'in-use', 'error', 'error_deleting')",
                status.as_str()
            )));
        }
        going.insert(id);
    }
    Ok(going)
}

/// Cinder's InvalidVolume.
fn invalid_volume(why: String) -> Error {
    Error::new(
        ErrorKind::Conflict,
        Subject::Volume,
        format!("Invalid volume: {why}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_is_taken_in_the_order_of_ids_however_they_are_spelled() {
        let first = "0a000000-0000-4000-8000-000000000000";
        let second = "{0B000000-0000-4000-8000-000000000000}";
        let wanted = ["no id", second, first].map(str::to_owned);
        let named: Vec<&str> = in_order(&wanted)
            .into_iter()
            .map(|(_, named)| named.as_str())
            .collect();
        assert_eq!(named, ["no id", first, second]);
    }
}
