//! Instances: the virtual machines that a project may attach its volumes to.

use std::collections::BTreeMap;

use super::{Page, Service, policy};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::{Transaction, instance_attachments, instance_tags, instances};
use crate::error::{Error, Result, Subject};
use crate::model::attachment::Attachment;
use crate::model::id::InstanceId;
use crate::model::instance::Instance;

/// An instance with what the requester's project has of it.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The instance.
    pub instance: Instance,
    /// The project's tags.
    pub tags: BTreeMap<String, String>,
    /// The project's attachments in it, by position.
    pub attachments: Vec<Attachment>,
}

/// The instance with this EC2 name.
///
/// # Errors
/// `NotFound` (object the name) when there is none that the project may see.
pub async fn get(service: &Service, request: &RequestContext, ec2_id: &str) -> Result<Instance> {
    policy::check(request, Rule::VolumeGetAll)?;
    let (project_id, ec2_id) = (request.project_id.clone(), ec2_id.to_owned());
    service
        .database
        .read(move |tx| own(tx, &project_id, &ec2_id))
        .await
}

/// See [`get`].
pub(super) fn own(tx: &mut Transaction<'_>, project_id: &str, ec2_id: &str) -> Result<Instance> {
    instances::find(tx, project_id, ec2_id)?
        .ok_or_else(|| Error::not_found(Subject::Instance, ec2_id))
}

/// The instances with these EC2 names, in their order; none for each that the project may not see.
pub async fn by_ec2_ids(
    service: &Service,
    request: &RequestContext,
    ec2_ids: Vec<String>,
) -> Result<Vec<Option<Shown>>> {
    policy::check(request, Rule::VolumeGetAll)?;
    let project_id = request.project_id.clone();
    service
        .database
        .read(move |tx| {
            let mut found = Vec::with_capacity(ec2_ids.len());
            for ec2_id in &ec2_ids {
                let instance = instances::find(tx, &project_id, ec2_id)?;
                found.push(match instance {
                    Some(instance) => shown(tx, &project_id, vec![instance])?.pop(),
                    None => None,
                });
            }
            Ok(found)
        })
        .await
}

/// A page of the instances that the project may see, those first that were seen first, behind a place in that order.
pub async fn list(
    service: &Service,
    request: &RequestContext,
    after: Option<(i64, InstanceId)>,
    limit: usize,
) -> Result<Page<Shown>> {
    policy::check(request, Rule::VolumeGetAll)?;
    let project_id = request.project_id.clone();
    let limit = service.page_size(Some(limit));
    service
        .database
        .read(move |tx| {
            let found = instances::page(tx, &project_id, after, limit.saturating_add(1))?;
            Ok(Page::cut(shown(tx, &project_id, found)?, limit))
        })
        .await
}

fn shown(tx: &mut Transaction<'_>, project_id: &str, found: Vec<Instance>) -> Result<Vec<Shown>> {
    let mut tags = match &found[..] {
        [] => return Ok(Vec::new()),
        [only] => [(
            only.id,
            instance_tags::of_instance(tx, project_id, only.id)?,
        )]
        .into(),
        _ => instance_tags::of_project(tx, project_id)?,
    };
    found
        .into_iter()
        .map(|instance| {
            Ok(Shown {
                tags: tags.remove(&instance.id).unwrap_or_default(),
                attachments: instance_attachments::held(tx, project_id, instance.id)?,
                instance,
            })
        })
        .collect()
}
