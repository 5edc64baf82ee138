//! Volumes: create, read, change; what is done to their bytes has files of its own.

use std::collections::BTreeMap;

use super::any_of::AnyOf;
use super::narrowing::Narrowing;
use super::policy::Tenancy;
use super::short_names::ShortNames;
use super::volume_flags::check_maintenance;
use super::{Page, Service, limits, policy};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::volume_list::Decided;
use crate::db::{Transaction, flavors, volume_list, volume_metadata, volumes};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::id::{GroupId, VolumeId};
use crate::model::performance::Ebs;
use crate::model::volume::{Volume, VolumeStatus};

pub use super::create_volume::{create, snapshot_of_token};
pub use super::delete_volume::{CASCADE_MAX, DeleteMode, delete};
pub use super::extend_volume::extend;
pub use super::revert_volume::revert;
pub use super::volume_source::VolumeSource;

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct CreateVolume {
    /// Name for people; at most 255 characters.
    pub name: String,
    /// Sentence for people; at most 255 characters.
    pub description: String,
    /// Size in GiB, at least 1 and at least that of its source; 0 takes the source's.
    pub size_gib: u64,
    /// What is in it at first.
    pub source: VolumeSource,
    /// Flavor by id or label; none takes the source's, or else the default flavor.
    pub flavor: Option<String>,
    /// Zone; none takes the source's, or else the default zone. Never another one than the source's. In a group it is the group's.
    pub zone: Option<String>,
    /// The group that it is a member of from the start; the flavor must be named then.
    pub group_id: Option<GroupId>,
    /// The user's keys; keys 1 to 255 characters, values at most 255.
    pub metadata: BTreeMap<String, String>,
    /// EC2's ClientToken: the same token from the same project returns the same volume, and with other parameters is a
    /// conflict (subject `Request`, object the token).
    pub client_token: Option<String>,
    /// What EC2 says of it besides; judged by `volume_performance`.
    pub ebs: Ebs,
    /// True when several instances may use it at once; its type must allow that.
    pub multiattach: bool,
}

/// Which volumes, in which order, which page.
#[derive(Clone, Debug, Default)]
pub struct VolumeQuery {
    /// Volumes of every project; needs the admin role.
    pub all_projects: bool,
    /// One project among them; needs the admin role.
    pub project_id: Option<String>,
    /// Exact name.
    pub name: Option<String>,
    /// Any of these states; empty for all.
    pub statuses: Vec<VolumeStatus>,
    /// Flavor label or id.
    pub flavor: Option<String>,
    /// Exact zone.
    pub zone: Option<String>,
    /// Exact size.
    pub size_gib: Option<u64>,
    /// Bootable or not.
    pub bootable: Option<bool>,
    /// All of these keys with these values.
    pub metadata: BTreeMap<String, String>,
    /// Only these volumes; empty for all.
    pub ids: Vec<VolumeId>,
    /// What few lists are filtered by.
    pub narrowing: Narrowing,
    /// What is filtered by several values.
    pub any_of: AnyOf,
    /// Sort keys, most significant first; empty means created_at descending. `id` is added as the last one.
    pub sort: Vec<(SortKey, SortDirection)>,
    /// The last volume of the page before; `Invalid` if it does not exist.
    pub marker: Option<VolumeId>,
    /// Behind which time and id the page begins, when it is sorted by the time of creation, oldest first; both may be gone.
    pub after: Option<(i64, VolumeId)>,
    /// How many to skip after the marker; bounded.
    pub offset: usize,
    /// How many at most; none and larger numbers mean the configured page size.
    pub limit: Option<usize>,
    /// Count all that match.
    pub with_total: bool,
}

/// What a list may be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortKey {
    /// `created_at`
    CreatedAt,
    /// `updated_at`
    UpdatedAt,
    /// `name`
    Name,
    /// `size`
    Size,
    /// `status`
    Status,
    /// `availability_zone`
    Zone,
    /// `bootable`
    Bootable,
    /// `id`
    Id,
}

/// Which way a list is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortDirection {
    /// Small to large.
    Ascending,
    /// Large to small.
    Descending,
}

/// What may be changed; `None` leaves it.
#[derive(Clone, Debug, Default)]
pub struct UpdateVolume {
    /// The name.
    pub name: Option<String>,
    /// The description.
    pub description: Option<String>,
    /// All of the metadata.
    pub metadata: Option<BTreeMap<String, String>>,
}

/// One volume of the project (of any project for an administrator).
pub async fn get(service: &Service, request: &RequestContext, id: VolumeId) -> Result<Volume> {
    let tenancy = policy::tenancy_of(request, Rule::VolumeGet);
    service
        .database
        .read_one(move |tx| visible(tx, &tenancy, id))
        .await
}

/// The volume, if the requester may know of it.
pub(super) fn visible(tx: &mut Transaction<'_>, tenancy: &Tenancy, id: VolumeId) -> Result<Volume> {
    let found = volumes::find(tx, id)?;
    judged(found, tenancy, id)
}

/// A volume that was looked up, if the requester may know of it.
pub(super) fn judged(found: Option<Volume>, tenancy: &Tenancy, id: VolumeId) -> Result<Volume> {
    let volume = found
        .filter(|volume| tenancy.sees(&volume.project_id))
        .ok_or_else(|| Error::not_found(Subject::Volume, id))?;
    tenancy.check(&volume.project_id, Some(&volume.user_id))?;
    Ok(volume)
}

/// The same, locked until the transaction ends. What the requester may not know of is not locked.
pub(super) fn locked(tx: &mut Transaction<'_>, tenancy: &Tenancy, id: VolumeId) -> Result<Volume> {
    let is_locked = volumes::lock_of(tx, id, tenancy.project())?;
    let found = visible(tx, tenancy, id)?;
    if is_locked {
        return Ok(found);
    }
    // It came into the project between the two.
    volumes::lock(tx, id)?;
    visible(tx, tenancy, id)
}

/// The volume with this EC2 name (`vol-` and 17 or 8 hex digits).
pub async fn get_by_ec2_id(
    service: &Service,
    request: &RequestContext,
    ec2_id: &str,
) -> Result<Volume> {
    let digits = ec2_id.strip_prefix("vol-").unwrap_or_default();
    let is_hex = digits
        .bytes()
        .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    if !is_hex || !matches!(digits.len(), 8 | 17) {
        return Err(Error::new(
            ErrorKind::Invalid,
            Subject::Volume,
            "A volume's name is vol- and 17 (or 8) hexadecimal digits.",
        )
        .on(ec2_id));
    }
    let found = get_by_ec2_ids(service, request, vec![ec2_id.to_owned()]).await?;
    let mut found = found.into_iter().flatten();
    found
        .next()
        .ok_or_else(|| Error::not_found(Subject::Volume, ec2_id))
}

/// The volumes with these EC2 names, each in the place of its name; none where there is none, and for what is no name.
pub async fn get_by_ec2_ids(
    service: &Service,
    request: &RequestContext,
    ec2_ids: Vec<String>,
) -> Result<Vec<Option<Volume>>> {
    limits::check_list(ec2_ids.len(), 0, 0)?;
    let tenancy = policy::tenancy_of(request, Rule::VolumeGet);
    service
        .database
        .read(move |tx| {
            let whole = volumes::find_by_ec2_ids(tx, tenancy.project(), &ec2_ids)?;
            let mut found = Vec::with_capacity(ec2_ids.len());
            let mut short = ShortNames::default();
            for ec2_id in &ec2_ids {
                let volume = match whole.get(ec2_id) {
                    Some(volume) => Some(volume.clone()),
                    None => short.look_up(ec2_id, || {
                        volumes::find_by_short_ec2_id(tx, tenancy.project(), ec2_id)
                    })?,
                };
                if let Some(volume) = &volume {
                    tenancy.check(&volume.project_id, Some(&volume.user_id))?;
                }
                found.push(volume);
            }
            Ok(found)
        })
        .await
}

/// A page of volumes.
pub async fn list(
    service: &Service,
    request: &RequestContext,
    query: VolumeQuery,
) -> Result<Page<Volume>> {
    policy::check(request, Rule::VolumeGetAll)?;
    if query.all_projects || query.project_id.is_some() {
        policy::is_admin(request)?;
    }
    limits::check_list(query.ids.len(), query.metadata.len(), query.offset)?;
    let project_id = match (&query.project_id, query.all_projects) {
        (Some(project_id), _) => Some(project_id.clone()),
        (None, true) => None,
        (None, false) => Some(request.project_id.clone()),
    };
    let mut decided = Decided {
        project_id,
        flavor_id: None,
        limit: service.page_size(query.limit),
        query,
    };
    // Not of one state: between the statements a marker or a flavor may go, which is as if it had gone before.
    service
        .database
        .read_one(move |tx| {
            if let Some(flavor) = decided.query.flavor.clone() {
                let Some(flavor) = flavors::find(tx, &flavor)? else {
                    return Ok(Page::empty(decided.query.with_total));
                };
                decided.flavor_id = Some(flavor.id);
            }
            let items = volume_list::page(tx, &decided)?;
            let mut page = Page::cut(items, decided.limit);
            if decided.query.with_total {
                page.total = Some(volume_list::total(tx, &decided)?);
            }
            Ok(page)
        })
        .await
}

/// Changes names and metadata.
pub async fn update(
    service: &Service,
    request: &RequestContext,
    id: VolumeId,
    change: UpdateVolume,
) -> Result<Volume> {
    if let Some(name) = &change.name {
        limits::check_text("name", name)?;
    }
    if let Some(description) = &change.description {
        limits::check_text("description", description)?;
    }
    if let Some(metadata) = &change.metadata {
        limits::check_metadata(metadata)?;
    }
    let tenancy = policy::tenancy_of(request, Rule::VolumeUpdate);
    let now_us = service.context.now_us();
    service
        .database
        .write(move |tx| {
            check_maintenance(&visible(tx, &tenancy, id)?, "update the volume")?;
            let (name, description) = (change.name.as_deref(), change.description.as_deref());
            volumes::rename(tx, id, name, description, now_us)?;
            if let Some(metadata) = &change.metadata {
                volume_metadata::replace(tx, id, metadata)?;
            }
            visible(tx, &tenancy, id)
        })
        .await
}

/// Adds or replaces some metadata keys; returns all.
pub async fn merge_metadata(
    service: &Service,
    request: &RequestContext,
    id: VolumeId,
    metadata: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>> {
    limits::check_metadata(&metadata)?;
    let tenancy = policy::tenancy_of(request, Rule::VolumeUpdateVolumeMetadata);
    let now_us = service.context.now_us();
    service
        .database
        .write(move |tx| {
            check_maintenance(&visible(tx, &tenancy, id)?, "update metadata for volume")?;
            // The row is locked by this, so that the count below is true when it is committed.
            volumes::rename(tx, id, None, None, now_us)?;
            volume_metadata::merge(tx, id, &metadata)?;
            let all = volume_metadata::load(tx, id)?;
            limits::check_metadata_count(all.len())?;
            Ok(all)
        })
        .await
}

/// Removes one metadata key; not found when it is not there.
pub async fn delete_metadata_key(
    service: &Service,
    request: &RequestContext,
    id: VolumeId,
    key: &str,
) -> Result<()> {
    let tenancy = policy::tenancy_of(request, Rule::VolumeDeleteVolumeMetadata);
    let now_us = service.context.now_us();
    let key = key.to_owned();
    service
        .database
        .write(move |tx| {
            check_maintenance(&visible(tx, &tenancy, id)?, "delete metadata for volume")?;
            if !volume_metadata::remove(tx, id, &key)? {
                return Err(Error::not_found(Subject::Metadata, &key));
            }
            volumes::rename(tx, id, None, None, now_us)?;
            Ok(())
        })
        .await
}
