//! Volumes: create, read, change, delete.

use std::collections::BTreeMap;

use super::{Page, Service};
use crate::context::RequestContext;
use crate::error::Result;
use crate::model::id::VolumeId;
use crate::model::volume::{Volume, VolumeStatus};

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct CreateVolume {
    /// Name for people; at most 255 characters.
    pub name: String,
    /// Sentence for people; at most 255 characters.
    pub description: String,
    /// Size in GiB, at least 1.
    pub size_gib: u64,
    /// Flavor by id or label; none takes the default flavor.
    pub flavor: Option<String>,
    /// Zone; none takes the default zone.
    pub zone: Option<String>,
    /// The user's keys; keys 1 to 255 characters, values at most 255.
    pub metadata: BTreeMap<String, String>,
    /// EC2's ClientToken: the same token from the same project returns the same volume, and with other parameters is a
    /// conflict (subject `Request`, object the token).
    pub client_token: Option<String>,
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
    /// Sort keys, most significant first; empty means created_at descending. `id` is added as the last one.
    pub sort: Vec<(SortKey, SortDirection)>,
    /// The last volume of the page before; `Invalid` if it does not exist.
    pub marker: Option<VolumeId>,
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

/// Whether a volume is deleted only from a settled state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteMode {
    /// From `available`, `error` or `error_deleting` only.
    Normal,
    /// From any state that no operation is at work on; needs the admin role.
    Force,
}

/// Takes a request for a volume: validates, checks quota, writes the volume (`creating`) and its operation.
pub async fn create(
    _service: &Service,
    _request: &RequestContext,
    _wanted: CreateVolume,
) -> Result<Volume> {
    unimplemented!()
}

/// One volume of the project (of any project for an administrator).
pub async fn get(_service: &Service, _request: &RequestContext, _id: VolumeId) -> Result<Volume> {
    unimplemented!()
}

/// The volume with this EC2 name (`vol-` and 17 or 8 hex digits).
pub async fn get_by_ec2_id(
    _service: &Service,
    _request: &RequestContext,
    _ec2_id: &str,
) -> Result<Volume> {
    unimplemented!()
}

/// A page of volumes.
pub async fn list(
    _service: &Service,
    _request: &RequestContext,
    _query: VolumeQuery,
) -> Result<Page<Volume>> {
    unimplemented!()
}

/// Changes names and metadata.
pub async fn update(
    _service: &Service,
    _request: &RequestContext,
    _id: VolumeId,
    _change: UpdateVolume,
) -> Result<Volume> {
    unimplemented!()
}

/// Adds or replaces some metadata keys; returns all.
pub async fn merge_metadata(
    _service: &Service,
    _request: &RequestContext,
    _id: VolumeId,
    _metadata: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>> {
    unimplemented!()
}

/// Removes one metadata key; not found when it is not there.
pub async fn delete_metadata_key(
    _service: &Service,
    _request: &RequestContext,
    _id: VolumeId,
    _key: &str,
) -> Result<()> {
    unimplemented!()
}

/// Takes a request to delete: the volume becomes `deleting`, an operation removes the VDI and then the volume.
pub async fn delete(
    _service: &Service,
    _request: &RequestContext,
    _id: VolumeId,
    _mode: DeleteMode,
) -> Result<()> {
    unimplemented!()
}
