//! Deletes groups, with their members if that is asked for. Each member goes by an operation of its own, as if it were deleted
//! alone; the last one takes the group along (`db::groups::settle`), whichever it is.

use super::delete_volume::{begin, refused as volume_refused};
use super::groups::{locked, refused};
use super::{Service, policy, services};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::{attachments, group_snapshots, groups, snapshots, volumes};
use crate::error::Result;
use crate::model::group::{Group, GroupStatus};
use crate::model::id::{GroupId, OperationId};

/// What becomes of the members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteGroup {
    /// There must be none.
    Empty,
    /// They are deleted too.
    WithVolumes,
}

/// Takes a request to delete: the group and its members become `deleting`. A group without members is gone at once.
///
/// # Errors
/// `Invalid` in Cinder's words when its state, a group snapshot, or a member does not allow it; nothing is changed then.
pub async fn delete(
    service: &Service,
    request: &RequestContext,
    id: GroupId,
    mode: DeleteGroup,
) -> Result<()> {
    let tenancy = policy::tenancy_of(request, Rule::GroupDelete);
    let now_us = service.context.now_us();
    let context = service.context.clone();
    let request_id = request.request_id.clone();
    service
        .database
        .write(move |tx| {
            let group = locked(tx, &tenancy, id)?;
            services::check_not_frozen(tx, &group.zone)?;
            check_status(&group, mode)?;
            if group_snapshots::exist(tx, id)? {
                return Err(refused(id, "Group has existing snapshots."));
            }
            if groups::is_being_made_from_group(tx, id)? {
                return Err(refused(id, "A group is being made from it."));
            }
            let mut members = groups::members(tx, id)?;
            members.sort_by_key(|volume| volume.id);
            if !members.is_empty() && mode == DeleteGroup::Empty {
                let why = format!(
                    "Group {id} still contains volumes. The delete-volumes flag is required to delete it."
                );
                return Err(refused(id, why));
            }
            for member in &members {
                // A snapshot or an attachment that is just being made waits for this, or this for it.
                volumes::lock(tx, member.id)?;
                let volume = &volumes::get(tx, member.id)?;
                if volume.project_id != group.project_id {
                    let why = "it is in the group and another project's; an administrator has to look at it";
                    return Err(volume_refused(volume.id, why));
                }
                if !attachments::of_volume(tx, volume.id)?.is_empty() {
                    let why = format!("Volume in group {id} is attached. Need to detach first.");
                    return Err(refused(id, why));
                }
                if snapshots::exist(tx, volume.id)? {
                    return Err(refused(id, "Volume in group still has dependent snapshots."));
                }
                let operation = OperationId(context.new_uuid());
                if !begin(tx, volume, operation, &request_id, now_us)? {
                    let why = "an operation is at work on it, which is in the group";
                    return Err(volume_refused(volume.id, why));
                }
            }
            groups::set_status(tx, id, GroupStatus::Deleting, "", false, now_us)?;
            groups::settle(tx, id, now_us).map(drop)
        })
        .await
}

fn check_status(group: &Group, mode: DeleteGroup) -> Result<()> {
    let is_settled = GroupStatus::DELETABLE.contains(&group.status);
    // With its volumes it goes whatever an operator made of its state, but not while its members are on their way.
    let is_at_work = !is_settled && !group.is_hand_set;
    if is_at_work || (mode == DeleteGroup::Empty && !is_settled) {
        return Err(refused(
            group.id,
            format!(
                "Group status must be available or error, but current status is: {}",
                group.status.as_str()
            ),
        ));
    }
    Ok(())
}
