//! Volumes: create, read, change; what is done to their bytes has files of its own.

use std::collections::BTreeMap;

use base64::Engine as _;

use super::narrowing::Narrowing;
use super::policy::Tenancy;
use super::refusal::{self, Asked};
use super::volume_flags::check_maintenance;
use super::volume_source;
use super::{Page, Service, flavor_choice, limits, policy, quota};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::operations::NewOperation;
use crate::db::volume_list::Decided;
use crate::db::volumes::ClientToken;
use crate::db::{Transaction, flavors, operations, volume_list, volume_metadata, volumes};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::id::{OperationId, VolumeId};
use crate::model::operation::OperationKind;
use crate::model::volume::{Volume, VolumeStatus, VolumeTraits};

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
    /// Zone; none takes the source's, or else the default zone. Never another one than the source's.
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
    /// What few lists are filtered by.
    pub narrowing: Narrowing,
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

/// Refuses who may not change the volumes of their project; what a dry run asks.
pub fn check_may_change(request: &RequestContext) -> Result<()> {
    policy::check(request, Rule::VolumeUpdate)
}

/// Takes a request for a volume: validates, checks quota, writes the volume (`creating`) and its operation.
///
/// # Errors
/// `Conflict` about the source when its state does not allow it.
pub async fn create(
    service: &Service,
    request: &RequestContext,
    wanted: CreateVolume,
) -> Result<Volume> {
    policy::check(request, Rule::VolumeCreate)?;
    check(service, request, &wanted)?;
    let id = VolumeId(service.context.new_uuid());
    let now_us = service.context.now_us();
    let operation_id = OperationId(service.context.new_uuid());
    let context = service.context.clone();
    let default_zone = service.config.default_zone.clone();
    let zones: Vec<String> = service
        .config
        .zones
        .iter()
        .map(|zone| zone.name.clone())
        .collect();
    let tenancy = policy::tenancy_of(request, Rule::VolumeCreate);
    let client = wanted.client_token.as_ref().map(|token| ClientToken {
        token: token.clone(),
        digest: digest(&wanted),
    });
    let limits = service.config.limits.clone();
    let asker = request.clone();
    let created = service
        .database
        .write(move |tx| {
            let origin = volume_source::origin(tx, &tenancy, &wanted)?;
            let flavor = flavor_choice::flavor(
                tx,
                &tenancy,
                &asker.project_id,
                wanted.flavor.as_deref(),
                origin.as_ref(),
            )?;
            let from_origin = origin.as_ref().map(|origin| &origin.zone);
            let asked_zone = wanted.zone.as_ref().or(from_origin);
            let zone = flavor_choice::zone(&flavor, asked_zone, &default_zone, &zones)?;
            let size_gib = match (&origin, wanted.size_gib) {
                (Some(origin), 0) => origin.size_gib,
                (_, size_gib) => size_gib,
            };
            let volume = Volume {
                id,
                ec2_id: id.ec2_id(),
                project_id: asker.project_id.clone(),
                user_id: asker.user_id.clone(),
                name: wanted.name.clone(),
                description: wanted.description.clone(),
                size_gib,
                extending_to_gib: None,
                status: VolumeStatus::Creating,
                flavor_id: flavor.id,
                flavor_label: flavor.label,
                zone,
                backend_id: None,
                vdi_uuid: None,
                source_snapshot_id: wanted.source.snapshot_id(),
                source_volume_id: wanted.source.volume_id(),
                bootable: origin.as_ref().is_some_and(|origin| origin.bootable),
                metadata: wanted.metadata.clone(),
                traits: VolumeTraits {
                    image_metadata: origin
                        .map(|origin| origin.image_metadata)
                        .unwrap_or_default(),
                    encryption_key_id: flavor.encryption.map(|_| context.new_uuid()),
                    ..VolumeTraits::default()
                },
                failure: String::new(),
                created_at_us: now_us,
                updated_at_us: None,
            };
            if !volumes::insert(tx, &volume, client.as_ref())? {
                return made_before(tx, &asker.project_id, client.as_ref());
            }
            let operation = NewOperation {
                id: operation_id,
                kind: OperationKind::CreateVolume,
                target: id.to_string(),
                zone: volume.zone.clone(),
                request_id: asker.request_id.clone(),
                not_before_us: now_us,
            };
            operations::add(tx, &operation, now_us)?;
            quota::check_volume(tx, &volume, &limits)?;
            Ok(volume)
        })
        .await;
    refusal::told(service, request, Asked::new_volume(id), created).await
}

fn check(service: &Service, request: &RequestContext, wanted: &CreateVolume) -> Result<()> {
    if request.project_id.is_empty() {
        return Err(Error::invalid(
            "A volume belongs to a project, and the request is in none.",
        ));
    }
    limits::check_text("name", &wanted.name)?;
    limits::check_text("description", &wanted.description)?;
    if wanted.size_gib != 0 || wanted.source == VolumeSource::Blank {
        limits::check_size(wanted.size_gib)?;
    }
    limits::check_metadata(&wanted.metadata)?;
    if let Some(token) = &wanted.client_token {
        limits::check_name("client token", token)?;
    }
    // Without one it is the source's, which is known to be there, or the default.
    match &wanted.zone {
        Some(zone) => service.check_zone(zone),
        None => Ok(()),
    }
}

/// The volume that the same client token made before.
fn made_before(
    tx: &mut Transaction<'_>,
    project_id: &str,
    client: Option<&ClientToken>,
) -> Result<Volume> {
    let found = match client {
        Some(client) => volumes::find_by_client_token(tx, project_id, &client.token)?
            .map(|(id, digest)| (id, digest == client.digest)),
        None => None,
    };
    match (found, client) {
        (Some((id, true)), _) => volumes::get(tx, id),
        (Some((_, false)), Some(client)) => Err(Error::new(
            ErrorKind::Conflict,
            Subject::Request,
            "The client token was used before with other parameters.",
        )
        .on(client.token.clone())),
        _ => Err(Error::new(
            ErrorKind::Internal,
            Subject::Volume,
            "An unexpected error has occurred.",
        )
        .detail("a fresh volume id, or its EC2 name, exists already")),
    }
}

/// What a client token stands for, besides itself.
fn digest(wanted: &CreateVolume) -> String {
    let mut parts = serde_json::json!([
        wanted.name,
        wanted.description,
        wanted.size_gib,
        wanted.flavor,
        wanted.zone,
        wanted.metadata,
    ]);
    // Without a source it is what it was before volumes could have one: tokens outlive updates.
    if let Some(parts) = parts.as_array_mut()
        && wanted.source != VolumeSource::Blank
    {
        parts.push(serde_json::json!(wanted.source.snapshot_id()));
        parts.push(serde_json::json!(wanted.source.volume_id()));
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, parts.to_string().as_bytes());
    base64::engine::general_purpose::STANDARD.encode(digest)
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
    let volume = volumes::find(tx, id)?
        .filter(|volume| tenancy.sees(&volume.project_id))
        .ok_or_else(|| Error::not_found(Subject::Volume, id))?;
    tenancy.check(&volume.project_id, Some(&volume.user_id))?;
    Ok(volume)
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
    let tenancy = policy::tenancy_of(request, Rule::VolumeGet);
    let ec2_id = ec2_id.to_owned();
    service
        .database
        .read(move |tx| {
            let missing = || Error::not_found(Subject::Volume, &ec2_id);
            let ids = volumes::find_by_ec2_prefix(tx, &ec2_id)?;
            // A short name that two volumes share names neither.
            let [id] = ids[..] else { return Err(missing()) };
            visible(tx, &tenancy, id).map_err(|error| match error.kind {
                ErrorKind::NotFound => missing(),
                _ => error,
            })
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

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::id::SnapshotId;

    #[test]
    fn a_client_token_means_without_a_source_what_it_always_meant() {
        // As EC2's CreateVolume has it. The digest is the SHA-256 of ["","",8,"gold","nova",{}]: tokens of databases that were
        // written before volumes had sources are compared with it.
        let wanted = CreateVolume {
            size_gib: 8,
            flavor: Some("gold".to_owned()),
            zone: Some("nova".to_owned()),
            client_token: Some("once".to_owned()),
            ..CreateVolume::default()
        };
        assert_eq!(
            digest(&wanted),
            "yhnh+vr/qIHSxKj0cNzcZ1e8UdiGP0pF68WzFVcHohU="
        );
        let of_snapshot = |number| {
            let id = SnapshotId(Uuid::from_u128(number));
            digest(&CreateVolume {
                source: VolumeSource::Snapshot(id),
                ..wanted.clone()
            })
        };
        assert_ne!(of_snapshot(1), digest(&wanted));
        assert_ne!(of_snapshot(1), of_snapshot(2));
    }
}
