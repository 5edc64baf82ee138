//! Who may see which attachments, and lists of them.

use crate::app::policy::Tenancy;
use crate::app::volumes::SortDirection;
use crate::app::{Page, Service, limits, policy};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::{Transaction, attachment_list, attachments};
use crate::error::{Error, Result, Subject};
use crate::model::attachment::Attachment;
use crate::model::id::{AttachmentId, VolumeId};

/// Which attachments.
#[derive(Clone, Debug, Default)]
pub struct AttachmentQuery {
    /// Of every project; needs the admin role.
    pub all_projects: bool,
    /// Of one volume.
    pub volume_id: Option<VolumeId>,
    /// Of one instance.
    pub instance_id: Option<String>,
    /// In this state (OpenStack's word).
    pub status: Option<String>,
    /// Sort keys, most significant first; empty means created_at descending. `id` is added as the last one.
    pub sort: Vec<(AttachmentSortKey, SortDirection)>,
    /// The last one of the page before; `Invalid` if it does not exist.
    pub marker: Option<AttachmentId>,
    /// How many to skip after the marker; bounded.
    pub offset: usize,
    /// How many at most; none and larger numbers mean the configured page size.
    pub limit: Option<usize>,
}

/// What a list of attachments may be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachmentSortKey {
    /// `created_at`
    CreatedAt,
    /// `attach_time`
    AttachedAt,
    /// `attach_status`
    Status,
    /// `attach_mode`
    Mode,
    /// `attached_host`
    Host,
    /// `instance_uuid`
    Instance,
    /// `mountpoint`
    Mountpoint,
    /// `volume_id`
    Volume,
    /// `id`
    Id,
}

/// One attachment.
pub async fn get(
    service: &Service,
    request: &RequestContext,
    id: AttachmentId,
) -> Result<Attachment> {
    let tenancy = policy::tenancy_of(request, Rule::VolumeGet);
    service.database.read(move |tx| own(tx, &tenancy, id)).await
}

/// The attachment, if the requester may know of it.
pub(super) fn own(
    tx: &mut Transaction<'_>,
    tenancy: &Tenancy,
    id: AttachmentId,
) -> Result<Attachment> {
    let attachment = attachments::find(tx, id)?
        .filter(|attachment| tenancy.sees(&attachment.project_id))
        .ok_or_else(|| Error::not_found(Subject::Attachment, id))?;
    tenancy.check(&attachment.project_id, None)?;
    Ok(attachment)
}

/// A page of attachments.
pub async fn list(
    service: &Service,
    request: &RequestContext,
    query: AttachmentQuery,
) -> Result<Page<Attachment>> {
    policy::check(request, Rule::VolumeGetAll)?;
    if query.all_projects {
        policy::is_admin(request)?;
    }
    limits::check_list(0, 0, query.offset)?;
    let project_id = (!query.all_projects).then(|| request.project_id.clone());
    let tenancy = policy::tenancy_of(request, Rule::VolumeGetAll).within(project_id.clone());
    let limit = service.page_size(query.limit);
    service
        .database
        .read(move |tx| {
            let behind = match query.marker {
                None => None,
                Some(id) => Some(own(tx, &tenancy, id)?),
            };
            let project = project_id.as_deref();
            let found = attachment_list::page(tx, project, &query, behind.as_ref(), limit)?;
            Ok(Page::cut(found, limit))
        })
        .await
}

/// The attachments of some volumes, for views of volumes.
pub async fn of_volumes(
    service: &Service,
    request: &RequestContext,
    volumes: &[VolumeId],
) -> Result<Vec<Attachment>> {
    policy::check(request, Rule::VolumeGet)?;
    let tenancy = policy::tenancy_of(request, Rule::VolumeGet);
    let volumes = volumes.to_vec();
    service
        .database
        .read_one(move |tx| attachments::of_volumes(tx, tenancy.project(), &volumes))
        .await
}
